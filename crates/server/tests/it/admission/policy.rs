//! Which policy decides: one that enough owners approved, and the newest of them.

use std::path::PathBuf;
use std::sync::Arc;

use sealwright_attest::{Bundle, Curve, KeyFile, Signer as _, Timestamp};
use sealwright_manifest::Sha256;
use sealwright_policy::{
    ActivationError, BundleOptions, PassedTests, Policy, PolicyBundle, PolicyPredicate,
};
use sealwright_server::admission::{Admission, Config, ConfigError};
use serde_json::json;

use super::{Scene, write};
use crate::world::{policy_dir, sign_with, with_twin_signature};

/// A scene with two owners, both of whom must sign.
struct Approved {
    scene: Scene,
    config: Config,
    second: KeyFile,
}

fn bundle(revision: u64) -> Vec<u8> {
    let policy = Policy::load(&policy_dir()).unwrap();
    PolicyBundle::build(&policy, &BundleOptions { name: "loans", revision, signer: None }).unwrap()
}

fn predicate(revision: u64) -> PolicyPredicate {
    PolicyPredicate {
        name: "loans".to_owned(),
        revision,
        policy_sha256: Policy::load(&policy_dir()).unwrap().digest().to_owned(),
        tests: PassedTests { passed: 1 },
        meaning: "Decides from now on.".to_owned(),
        expires_on: None,
        previous: None,
    }
}

impl Approved {
    fn new() -> Self {
        let mut used: Option<Config> = None;
        let scene = Scene::approved_with(|config| used = Some(config.clone()));
        let (mut config, second) = (used.unwrap(), KeyFile::generate(Curve::P256).unwrap());
        config.owner_keys.push(write(&scene.dir, "second.pem", second.public_key().pem()));
        let first = scene.people.role_binding();
        let payload = first.envelope().payload.clone();
        let again = sealwright_attest::sign(payload, &second, &second.public_key().id()).unwrap();
        let both = {
            let log = &mut scene.service.state().log;
            [log.append(first, &scene.people.owner), log.append(again, &second)]
        };
        let roles = Bundle::to_json_lines(&both);
        config.role_binding = write(&scene.dir, "roles.jsonl", roles);
        Self { scene, config, second }
    }

    /// Signs a policy statement as these owners, and logs each signature.
    fn approve(
        &self,
        bundle: &[u8],
        predicate: &PolicyPredicate,
        owners: &[&KeyFile],
    ) -> Vec<Bundle> {
        let statement = predicate.to_statement(&Sha256::of(bundle));
        let mut state = self.scene.service.state();
        let logged = |key: &&KeyFile| {
            let bundle = state.log.append(sign_with(key, &statement), key);
            state.statements.push(bundle.clone());
            bundle
        };
        owners.iter().map(logged).collect()
    }

    fn both(&self) -> [&KeyFile; 2] {
        [&self.scene.people.owner, &self.second]
    }

    fn files(&mut self, bundle: &[u8], approval: &[Bundle]) {
        self.config.policy = Some(write(&self.scene.dir, "policy.tar.gz", bundle));
        let approval = Bundle::to_json_lines(approval);
        self.config.policy_approval = Some(write(&self.scene.dir, "approval.jsonl", approval));
    }

    fn load(&self) -> Result<Admission, ConfigError> {
        Admission::load(&self.config, self.scene.service.clone())
    }

    fn start(&mut self) {
        self.scene.admission = Arc::new(self.load().unwrap());
    }

    /// Revision 3 decides.
    fn running() -> Self {
        let mut approved = Self::new();
        let bundle = bundle(3);
        let approval = approved.approve(&bundle, &predicate(3), &approved.both());
        approved.files(&bundle, &approval);
        approved.start();
        approved
    }

    #[track_caller]
    fn denies(&self, code: &str) {
        let answer = self.scene.ask(&self.scene.pod());
        assert!(!answer.allowed && answer.message.contains(code), "{code}: {}", answer.message);
    }

    #[track_caller]
    fn allows(&self) {
        let answer = self.scene.ask(&self.scene.pod());
        assert!(answer.allowed, "{}", answer.message);
    }

    fn last_record(&self) -> serde_json::Value {
        let text = std::fs::read_to_string(&self.config.decisions).unwrap();
        serde_json::from_str(text.lines().last().unwrap()).unwrap()
    }
}

#[test]
fn an_approved_policy_decides_and_the_record_says_by_whose_word() {
    let approved = Approved::running();
    approved.allows();
    let record = approved.last_record();
    assert_eq!(record["mode"], "enforce");
    let said = &record["policyApproval"];
    assert_eq!(said["revision"], 3);
    assert_eq!(said["signers"].as_array().unwrap().len(), 2);
    assert_eq!(said["bundle"], Sha256::of(&bundle(3)).to_string());
}

#[test]
fn without_both_owners_the_webhook_does_not_start() {
    let mut approved = Approved::new();
    let (bundle, said) = (bundle(3), predicate(3));
    let unapproved = |approved: &Approved| {
        let error = approved.load().unwrap_err();
        assert!(matches!(error, ConfigError::PolicyNotInForce { .. }), "{error}");
    };
    let alone = approved.approve(&bundle, &said, &[&approved.second]);
    approved.files(&bundle, &alone);
    unapproved(&approved);
    let stranger =
        approved.approve(&bundle, &said, &[&approved.second, &approved.scene.people.lead]);
    approved.files(&bundle, &stranger);
    unapproved(&approved);
    // Signed by both, and in no log.
    let statement = said.to_statement(&Sha256::of(&bundle));
    let unlogged = approved.both().map(|key| sign_with(key, &statement));
    approved.files(&bundle, &unlogged);
    unapproved(&approved);
    approved.config.policy_approval = None;
    assert!(matches!(approved.load(), Err(ConfigError::PolicyUnapproved { .. })));
    approved.config.policy = None;
    approved.config.policy_approval = Some(PathBuf::from("x"));
    assert!(matches!(approved.load(), Err(ConfigError::ApprovalAlone { .. })));
}

#[test]
fn an_expired_approval_decides_nothing() {
    let mut approved = Approved::new();
    let bundle = bundle(3);
    let at = |text| Some(Timestamp::parse(text).unwrap());
    let long_ago = PolicyPredicate { expires_on: at("2020-01-01T00:00:00Z"), ..predicate(3) };
    let approval = approved.approve(&bundle, &long_ago, &approved.both());
    approved.files(&bundle, &approval);
    let Err(ConfigError::PolicyNotInForce { source, .. }) = approved.load() else { panic!() };
    assert!(matches!(source, ActivationError::Expired { .. }), "{source}");

    let mut approved = Approved::new();
    let later = PolicyPredicate { expires_on: at("2090-01-01T00:00:00Z"), ..predicate(3) };
    let approval = approved.approve(&bundle, &later, &approved.both());
    approved.files(&bundle, &approval);
    approved.start();
    approved.allows();
    approved.scene.now = Timestamp::parse("2090-01-01T00:00:00Z").unwrap();
    approved.denies("POLICY_EXPIRED");
}

#[test]
fn an_older_revision_stops_when_a_newer_one_is_approved() {
    let approved = Approved::running();
    approved.allows();
    // Older ones, other names, and what one owner said alone change nothing.
    approved.approve(&bundle(2), &predicate(2), &approved.both());
    let other = PolicyPredicate { name: "other".to_owned(), ..predicate(9) };
    approved.approve(b"other", &other, &approved.both());
    approved.approve(&bundle(4), &predicate(4), &[&approved.second]);
    approved.allows();
    // The twin of one signature is not a second owner's.
    let twin = {
        let mut state = approved.scene.service.state();
        let last = state.statements.last().unwrap().clone();
        state.log.append(with_twin_signature(&last), &approved.second)
    };
    approved.scene.service.state().statements.push(twin);
    approved.allows();
    approved.approve(&bundle(4), &predicate(4), &[&approved.scene.people.owner]);
    approved.denies("POLICY_SUPERSEDED");
    assert_eq!(approved.last_record()["allowed"], json!(false));
    // Who has seen it does not forget it, whatever the service shows then.
    approved.scene.service.state().statements.truncate(6);
    approved.denies("POLICY_SUPERSEDED");
}

#[test]
fn two_bundles_of_one_revision_are_none() {
    let approved = Approved::running();
    approved.approve(b"another bundle", &predicate(3), &approved.both());
    approved.denies("POLICY_CONFLICT");
}

#[test]
fn an_older_bundle_cannot_be_replayed_after_a_restart() {
    let mut approved = Approved::running();
    let newer = bundle(4);
    let approval = approved.approve(&newer, &predicate(4), &approved.both());
    approved.start();
    approved.denies("POLICY_SUPERSEDED");
    approved.files(&newer, &approval);
    approved.start();
    approved.allows();
}

#[test]
fn what_may_be_a_newer_policy_and_cannot_be_read_is_a_no() {
    let approved = Approved::running();
    approved.scene.service.state().complete = false;
    approved.denies("EVIDENCE_INCOMPLETE");

    // A later version of this program may say more of a policy.
    let approved = Approved::running();
    let log = |revision, owners: &[&KeyFile]| {
        let mut statement = predicate(revision).to_statement(&Sha256::of(b"later"));
        statement.predicate["strict"] = json!(true);
        let mut state = approved.scene.service.state();
        for key in owners {
            let bundle = state.log.append(sign_with(key, &statement), key);
            state.statements.push(bundle);
        }
    };
    log(2, &approved.both());
    log(4, &[&approved.second]);
    approved.allows();
    log(4, &[&approved.scene.people.owner]);
    approved.denies("POLICY_UNREADABLE");
}

#[test]
fn an_unapproved_policy_decides_only_if_the_operator_says_insecure() {
    let mut approved = Approved::new();
    for policy in [policy_dir(), write(&approved.scene.dir, "p.tar.gz", bundle(1))] {
        approved.config.policy = Some(policy);
        approved.config.insecure_unapproved_policy = false;
        assert!(matches!(approved.load(), Err(ConfigError::PolicyUnapproved { .. })));
        approved.config.insecure_unapproved_policy = true;
        approved.start();
        let answer = approved.scene.ask(&approved.scene.pod());
        assert!(answer.allowed);
        assert!(answer.warnings.iter().any(|w| w.contains("insecure_unapproved_policy")));
        let record = approved.last_record();
        assert_eq!(record["mode"], "insecure_unapproved_policy");
        assert_eq!(record["policyApproval"], json!(null));
    }
}
