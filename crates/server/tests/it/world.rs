//! A small world to test in: an owner, people with keys and roles, a log in memory, one model.
//!
//! Everything is real except for the sockets and the disk: the statements are signed, logged and
//! verified by the crates that do so outside of tests. Time is the caller's.

use std::path::PathBuf;

use sealwright_attest::{
    Bundle, Curve, InclusionEvidence, KeyFile, LogEntry, RoleBinding, Signer as _, Statement,
    Subject, Timestamp, TransparencyLog, TrustedRoot, hashedrekord_body, model_subjects,
    oms_statement, predicate, sign,
};
use sealwright_manifest::{Entry, FsVerityHasher, Manifest, Sha256};
use sealwright_tlog::{
    Checkpoint, ConsistencyProof, Hash, InclusionProof, LogKey, leaf_hash, stored_hashes_for_leaf,
    tree_hash,
};
use serde_json::{Value, json};

pub(crate) const ENVIRONMENT: &str = "prod";
pub(crate) const MODEL_NAME: &str = "loans/loan-approval";
pub(crate) const ORIGIN: &str = "log.example";

/// The people and pipelines of the starter policy.
pub(crate) struct People {
    pub(crate) owner: KeyFile,
    pub(crate) trainer: KeyFile,
    pub(crate) evaluator: KeyFile,
    pub(crate) lead: KeyFile,
    pub(crate) officer: KeyFile,
    /// In no role binding.
    pub(crate) stranger: KeyFile,
}

impl People {
    pub(crate) fn new() -> Self {
        let key = || KeyFile::generate(Curve::P256).unwrap();
        Self {
            owner: key(),
            trainer: key(),
            evaluator: key(),
            lead: key(),
            officer: key(),
            stranger: key(),
        }
    }

    /// The role binding, signed by the owner.
    pub(crate) fn role_binding(&self) -> Bundle {
        sign_with(&self.owner, &self.roles())
    }

    /// What it says.
    pub(crate) fn roles(&self) -> Statement {
        let principal = |name: &str, role: &str, key: &KeyFile| {
            json!({
                "name": name,
                "publicKeys": [key.public_key().pem()],
                "roles": [{
                    "role": role,
                    "validFrom": "2020-01-01T00:00:00Z",
                    "validUntil": "2099-01-01T00:00:00Z",
                }],
            })
        };
        RoleBinding::statement(json!({"principals": [
            principal("trainer@loans.example", "trainer", &self.trainer),
            principal("evaluator@loans.example", "evaluator", &self.evaluator),
            principal("data-science-lead@loans.example", "lead-data-scientist", &self.lead),
            principal("compliance-officer@loans.example", "compliance", &self.officer),
        ]}))
        .unwrap()
    }
}

/// A bundle that is in no log yet.
pub(crate) fn sign_with(key: &KeyFile, statement: &Statement) -> Bundle {
    sign(statement.to_payload(), key, &key.public_key().id()).unwrap()
}

/// The same bundle with the other signature that is valid over the same bytes: anybody can turn an
/// ECDSA signature (r, s) on P-256 into (r, n - s) without the key.
pub(crate) fn with_twin_signature(bundle: &Bundle) -> Bundle {
    let order = hex::decode("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
    let mut envelope = bundle.envelope().clone();
    // SEQUENCE of two INTEGERs, each shorter than 128 bytes.
    let (header, rest) = envelope.signature.split_at(4);
    let (r, s) = rest.split_at(usize::from(header[3]));
    let s = &s[2..];
    let mut twin = vec![0; 33 - s.len()];
    twin.extend(s);
    let mut borrow = 0;
    for (place, n) in order.unwrap().iter().enumerate().rev() {
        let difference = i16::from(*n) - i16::from(twin[place + 1]) - borrow;
        borrow = i16::from(difference < 0);
        twin[place + 1] = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    while twin.len() > 1 && twin[0] == 0 && twin[1] < 0x80 {
        twin.remove(0);
    }
    let mut body = [&[0x02, header[3]], r, &[0x02, u8::try_from(twin.len()).unwrap()]].concat();
    body.extend(twin);
    envelope.signature = [&[0x30, u8::try_from(body.len()).unwrap()], body.as_slice()].concat();
    Bundle::new(envelope, bundle.material().clone())
}

/// A model of two files, different for every `content`.
pub(crate) fn model(content: &str) -> Manifest {
    let entry = |name: &str, content: &str| {
        let mut tree = FsVerityHasher::new();
        tree.update(content.as_bytes());
        Entry {
            name: name.to_owned(),
            size: content.len() as u64,
            sha256: Sha256::of(content.as_bytes()),
            fsverity: tree.finish(),
            chunks: None,
        }
    };
    Manifest::new(vec![entry("config.json", "{}"), entry("model.safetensors", content)]).unwrap()
}

/// A statement about a model, by its model digest and its OMS root.
pub(crate) fn about(model: &Manifest, predicate_type: &str, predicate: Value) -> Statement {
    let subject = model_subjects(MODEL_NAME, model);
    Statement { subject, predicate_type: predicate_type.to_owned(), predicate }
}

pub(crate) fn signature(model: &Manifest) -> Statement {
    oms_statement(MODEL_NAME, model, &[])
}

/// A test result in which every gate of the starter policy just holds.
pub(crate) fn test_result(model: &Manifest) -> Statement {
    let data = std::fs::read(policy_dir().join("data.json")).unwrap();
    let data: Value = serde_json::from_slice(&data).unwrap();
    let gates = data.pointer("/sealwright/config/gates/required").unwrap().as_array().unwrap();
    let metrics: Vec<Value> = gates
        .iter()
        .map(|gate| {
            let mut metric = gate.clone();
            metric["value"] = gate["threshold"].clone();
            metric["passed"] = json!(true);
            metric
        })
        .collect();
    let predicate = json!({
        "result": "PASSED",
        "configuration": [{"name": "gates.toml"}],
        "sealwright_metrics": metrics,
    });
    about(model, predicate::TEST_RESULT, predicate)
}

pub(crate) fn approval(model: &Manifest, role: &str, decision: &str, now: Timestamp) -> Statement {
    let predicate = json!({
        "decision": decision,
        "role": role,
        "environment": ENVIRONMENT,
        "meaning": "Fit for use.",
        "expiresOn": now.plus_seconds(30 * 86400),
    });
    about(model, predicate::APPROVAL, predicate)
}

pub(crate) fn revocation(model: &Manifest, role: &str, effective: Timestamp) -> Statement {
    let predicate = json!({
        "target": {"model_sha256": model.model_digest()},
        "role": role,
        "reason": "Recalled.",
        "effective": effective,
    });
    about(model, predicate::REVOCATION, predicate)
}

/// What the starter policy asks for: who signs, and what.
pub(crate) fn approvable<'a>(
    people: &'a People,
    model: &Manifest,
    now: Timestamp,
) -> Vec<(&'a KeyFile, Statement)> {
    vec![
        (&people.trainer, signature(model)),
        (&people.evaluator, test_result(model)),
        (&people.lead, approval(model, "lead-data-scientist", "APPROVED", now)),
        (&people.officer, approval(model, "compliance", "APPROVED", now)),
    ]
}

/// The policy that the repository ships.
pub(crate) fn policy_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../policies/starter")
}

/// A log in memory: appends, proves, signs checkpoints.
#[derive(Clone)]
pub(crate) struct MemoryLog {
    key: LogKey,
    hashes: Vec<Hash>,
    size: u64,
    time: Timestamp,
}

impl MemoryLog {
    pub(crate) fn new(time: Timestamp) -> Self {
        Self::named(ORIGIN, time)
    }

    pub(crate) fn named(origin: &str, time: Timestamp) -> Self {
        let key = LogKey::generate(origin).unwrap();
        Self { key, hashes: Vec::new(), size: 0, time }
    }

    /// The trusted root in which this log is the only one.
    pub(crate) fn trusted_root(&self) -> TrustedRoot {
        TrustedRoot::of_log(TransparencyLog {
            base_url: format!("https://{}", self.key.origin()),
            key: self.key.verifier().clone(),
            valid_from: Timestamp::parse("2020-01-01T00:00:00Z").unwrap(),
            valid_until: None,
        })
    }

    /// From now on checkpoints are signed at this time.
    pub(crate) fn set_time(&mut self, time: Timestamp) {
        self.time = time;
    }

    /// Logs a bundle that `key` signed.
    pub(crate) fn append(&mut self, bundle: Bundle, key: &KeyFile) -> Bundle {
        let canonicalized_body = hashedrekord_body(bundle.envelope(), key.public_key());
        let (log_index, leaf) = (self.size, leaf_hash(&canonicalized_body));
        self.append_leaf(leaf);
        let proof = InclusionProof::prove(log_index, self.size, &self.hashes).unwrap();
        bundle.with_log_entry(LogEntry {
            log_index,
            log_id: self.key.verifier().log_id().to_vec(),
            kind: "hashedrekord".to_owned(),
            version: "0.0.2".to_owned(),
            integrated_time: 0,
            inclusion_promise: None,
            inclusion: Some(InclusionEvidence {
                log_index,
                root_hash: self.root().as_bytes().to_vec(),
                tree_size: self.size,
                hashes: proof.hashes.iter().map(|hash| hash.as_bytes().to_vec()).collect(),
                checkpoint: String::from_utf8(self.checkpoint()).unwrap(),
            }),
            canonicalized_body,
        })
    }

    /// Logs something about another model.
    pub(crate) fn append_other(&mut self) {
        self.append_leaf(leaf_hash(&self.size.to_be_bytes()));
    }

    /// The current checkpoint, a signed note with a time.
    pub(crate) fn checkpoint(&self) -> Vec<u8> {
        let checkpoint = Checkpoint {
            origin: self.key.origin().to_owned(),
            size: self.size,
            root: self.root(),
            extensions: Vec::new(),
        };
        let note = self.key.sign_checkpoint(&checkpoint, self.time.unix()).unwrap();
        note.to_string().into_bytes()
    }

    /// Proof that the current tree continues the one of `old_size` leaves.
    pub(crate) fn consistency(&self, old_size: u64) -> ConsistencyProof {
        ConsistencyProof::prove(old_size, self.size, &self.hashes).unwrap()
    }

    fn append_leaf(&mut self, leaf: Hash) {
        let stored = stored_hashes_for_leaf(self.size, leaf, &self.hashes).unwrap();
        self.hashes.extend(stored);
        self.size += 1;
    }

    fn root(&self) -> Hash {
        tree_hash(self.size, &self.hashes).unwrap()
    }
}

/// A subject for statements that are about no model.
pub(crate) fn other_subject() -> Vec<Subject> {
    vec![Subject::sha256("other", &Sha256::of(b"other"))]
}
