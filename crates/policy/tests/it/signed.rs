//! The whole way with real keys and a real log: statements are signed, logged, verified,
//! and only then decided on.

use std::collections::BTreeMap;

use sealwright_attest::{
    Bundle, Curve, HASHEDREKORD_KIND, HASHEDREKORD_VERSION, InclusionEvidence, KeyFile, LogEntry,
    Owners, RoleBinding, Signer, Statement, Subject, Timestamp, TransparencyLog, TrustedRoot,
    Verified, hashedrekord_body, oms_statement, predicate, sign, verify,
};
use sealwright_manifest::{Hashing, Manifest, Sha256, WalkOptions, digest_model};
use sealwright_policy::{LogView, Request, Verdict, decide};
use sealwright_tlog::{
    Checkpoint, Hash, InclusionProof, LogKey, leaf_hash, stored_hashes_for_leaf, tree_hash,
};
use serde_json::{Value, json};

use crate::support::{STARTER, approval, metrics};

const LOGGED_AT: u64 = 1_790_000_000;
const MINUTE: u64 = 60;

const TRAINER: &str = "trainer@loans.example";
const EVALUATOR: &str = "evaluator@loans.example";
const LEAD: &str = "data-science-lead@loans.example";
const OFFICER: &str = "compliance-officer@loans.example";
const SECURITY: &str = "security-officer@loans.example";

const PEOPLE: [(&str, &str); 5] = [
    (TRAINER, "trainer"),
    (EVALUATOR, "evaluator"),
    (LEAD, "lead-data-scientist"),
    (OFFICER, "compliance"),
    (SECURITY, "security"),
];

struct World {
    keys: BTreeMap<&'static str, KeyFile>,
    roles: RoleBinding,
    manifest: Manifest,
    log_key: LogKey,
    hashes: Vec<Hash>,
    size: u64,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("weights.bin"), [1, 2, 3]).unwrap();
        let manifest =
            digest_model(directory.path(), &WalkOptions::default(), &Hashing::default()).unwrap();
        let key = || KeyFile::generate(Curve::P256).unwrap();
        let keys: BTreeMap<_, _> = PEOPLE.iter().map(|(name, _)| (*name, key())).collect();
        let log_key = LogKey::from_seed("log.example", &[7; 32]).unwrap();
        let roles = role_binding(&keys, &key());
        Self { keys, roles, manifest, log_key, hashes: Vec::new(), size: 0 }
    }

    fn model(&self) -> Sha256 {
        self.manifest.model_digest()
    }

    /// Signs as `who`, logs, and verifies.
    fn fact(&mut self, who: &str, payload: Vec<u8>) -> Verified {
        let key = &self.keys[who];
        let bundle = sign(payload, key, "").unwrap();
        let body = hashedrekord_body(bundle.envelope(), key.public_key());
        let bundle = self.log(bundle, body);
        let root = TrustedRoot::of_log(TransparencyLog {
            base_url: "https://log.example".into(),
            key: self.log_key.verifier().clone(),
            valid_from: time(1_780_000_000),
            valid_until: None,
        });
        verify(&bundle, &self.roles, &root).unwrap()
    }

    fn statement(&mut self, who: &str, predicate_type: &str, predicate: Value) -> Verified {
        let subject = vec![Subject::sha256("model", &self.model())];
        let predicate_type = predicate_type.to_owned();
        self.fact(who, Statement { subject, predicate_type, predicate }.to_payload())
    }

    fn log(&mut self, bundle: Bundle, body: Vec<u8>) -> Bundle {
        let index = self.size;
        let new = stored_hashes_for_leaf(index, leaf_hash(&body), &self.hashes).unwrap();
        self.hashes.extend(new);
        self.size += 1;
        let root = tree_hash(self.size, &self.hashes).unwrap();
        let checkpoint =
            Checkpoint { origin: "log.example".into(), size: self.size, root, extensions: vec![] };
        let note = self.log_key.sign_checkpoint(&checkpoint, LOGGED_AT).unwrap();
        let proof = InclusionProof::prove(index, self.size, &self.hashes).unwrap();
        bundle.with_log_entry(LogEntry {
            log_index: index,
            log_id: self.log_key.verifier().log_id().to_vec(),
            kind: HASHEDREKORD_KIND.into(),
            version: HASHEDREKORD_VERSION.into(),
            integrated_time: 0,
            inclusion_promise: None,
            inclusion: Some(InclusionEvidence {
                log_index: index,
                root_hash: root.as_bytes().to_vec(),
                tree_size: self.size,
                hashes: proof.hashes.iter().map(|hash| hash.as_bytes().to_vec()).collect(),
                checkpoint: note.to_string(),
            }),
            canonicalized_body: body,
        })
    }

    /// Signature, test result and both approvals.
    fn good_facts(&mut self) -> Vec<Verified> {
        let oms = oms_statement("toy", &self.manifest, &[]).to_payload();
        vec![
            self.fact(TRAINER, oms),
            self.statement(EVALUATOR, predicate::TEST_RESULT, metrics(0.9, 0.08)),
            self.statement(LEAD, predicate::APPROVAL, approved("lead-data-scientist")),
            self.statement(OFFICER, predicate::APPROVAL, approved("compliance")),
        ]
    }

    fn revocation(&mut self, who: &str, target: &Value) -> Verified {
        let predicate = json!({
            "target": target, "role": "security", "reason": "recall",
            "effective": time(LOGGED_AT).to_string(),
        });
        self.statement(who, predicate::REVOCATION, predicate)
    }

    fn decide(&self, facts: &[Verified]) -> Verdict {
        let request = Request {
            id: "decision-1".into(),
            time: time(LOGGED_AT + MINUTE),
            purpose: "verify".into(),
            environment: "prod".into(),
            cluster: None,
            namespace: None,
            workload: None,
            principal: None,
            dry_run: false,
            model_name: "toy".into(),
            model_digest: self.model(),
            rejected: Vec::new(),
        };
        let log = LogView {
            origin: "log.example".into(),
            checkpoint_time: time(LOGGED_AT),
            tree_size: self.size,
            witnesses: Vec::new(),
        };
        decide(&STARTER, &request, Some(&log), facts)
    }
}

fn time(unix: u64) -> Timestamp {
    Timestamp::from_unix(unix).unwrap()
}

fn approved(role: &str) -> Value {
    let mut predicate = approval(role);
    predicate["meaning"] = json!("fit for use");
    predicate
}

fn role_binding(keys: &BTreeMap<&'static str, KeyFile>, owner: &KeyFile) -> RoleBinding {
    let (from, until) = ("2020-01-01T00:00:00Z", "2090-01-01T00:00:00Z");
    let principals: Vec<Value> = PEOPLE
        .iter()
        .map(|(name, role)| {
            json!({
                "name": name,
                "publicKeys": [keys[name].public_key().pem()],
                "roles": [{ "role": role, "validFrom": from, "validUntil": until }],
            })
        })
        .collect();
    let statement = RoleBinding::statement(json!({ "principals": principals })).unwrap();
    let bundle = sign(statement.to_payload(), owner, "").unwrap();
    let owners = Owners::new(vec![owner.public_key().clone()], 1).unwrap();
    RoleBinding::verify(&[bundle], &owners, None).unwrap()
}

fn codes(verdict: &Verdict) -> Vec<&str> {
    verdict.violations.iter().map(|violation| violation.code.as_str()).collect()
}

#[test]
fn signed_tested_and_approved_is_allowed() {
    let mut world = World::new();
    let facts = world.good_facts();
    let verdict = world.decide(&facts);
    assert!(verdict.allow, "{:#?}", verdict.violations);
    let mut digests: Vec<String> = facts.iter().map(|fact| fact.digest().to_string()).collect();
    digests.sort();
    assert_eq!(verdict.evidence, digests);
    for missing in 0..facts.len() {
        let mut some = facts.clone();
        some.remove(missing);
        assert!(!world.decide(&some).allow, "without {missing}");
    }
}

#[test]
fn a_role_is_what_the_binding_says() {
    let mut world = World::new();
    let mut facts = world.good_facts();
    facts[3] = world.statement(SECURITY, predicate::APPROVAL, approved("compliance"));
    assert_eq!(codes(&world.decide(&facts)), ["APPROVAL_MISSING"]);
    facts[3] = world.statement(OFFICER, predicate::APPROVAL, approved("lead-data-scientist"));
    assert_eq!(codes(&world.decide(&facts)), ["APPROVAL_MISSING"]);
}

#[test]
fn what_is_about_another_model_does_not_count() {
    let mut world = World::new();
    let mut facts = world.good_facts();
    let other = Statement {
        subject: vec![Subject::sha256("model", &Sha256::of(b"another model"))],
        predicate_type: predicate::APPROVAL.into(),
        predicate: approved("compliance"),
    };
    facts[3] = world.fact(OFFICER, other.to_payload());
    assert_eq!(codes(&world.decide(&facts)), ["APPROVAL_MISSING"]);
}

#[test]
fn revocations_reach_models_statements_and_signers() {
    let mut world = World::new();
    let facts = world.good_facts();
    let targets = [
        (json!({ "model_sha256": world.model().to_string() }), "MODEL_REVOKED"),
        (json!({ "envelope_sha256": facts[0].digest().to_string() }), "SIGNATURE_MISSING"),
        (json!({ "signer": OFFICER }), "APPROVAL_MISSING"),
    ];
    for (target, code) in targets {
        let mut facts = facts.clone();
        facts.push(world.revocation(SECURITY, &target));
        assert_eq!(codes(&world.decide(&facts)), [code]);
        facts.pop();
        facts.push(world.revocation(TRAINER, &target));
        assert!(world.decide(&facts).allow, "a trainer may not revoke");
    }
}
