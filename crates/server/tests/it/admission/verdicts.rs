//! The record of a decision, and the signed verdict that follows it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sealwright_attest::predicate::{TEST_RESULT, VERIFICATION_SUMMARY};
use sealwright_attest::{
    Bundle, Curve, KeyFile, PublicKey, Signer as _, Statement, check_signature,
};
use sealwright_manifest::Sha256;
use sealwright_policy::{DecisionInput, Policy, replay};
use sealwright_server::admission::{Admission, Config, StatementLog, input_file};
use sealwright_server::client::ClientError;
use serde_json::{Value, json};

use super::{Answer, Scene, captured};
use crate::world::{about, policy_dir, revocation};

fn input_of(record: &Value) -> DecisionInput {
    serde_json::from_value(record["policyInput"].clone()).unwrap()
}

#[test]
fn a_record_is_enough_to_decide_again() {
    let scene = Scene::approved();
    assert!(scene.ask(&scene.pod()).allowed);
    scene.service.state().statements.remove(2);
    assert!(!scene.ask(&scene.pod()).allowed);
    let policy = Policy::load(&policy_dir()).unwrap();
    for record in scene.records() {
        let input = input_of(&record);
        assert_eq!(json!(input.digest()), record["inputs"]["policyInput"]);
        assert_eq!(json!(replay(&policy, &input).allow), record["policyAllowed"]);
        assert_eq!((&record["signed"], &record["signer"]), (&json!(false), &Value::Null));
        assert_eq!(input.evaluation.id, record["id"].as_str().unwrap());
    }
}

#[test]
fn a_large_input_is_in_a_file_beside() {
    let scene = Scene::approved();
    let long = "x".repeat(300 << 10);
    let predicate = json!({"result": "PASSED", "configuration": [], "note": long});
    scene.service.log(&scene.people.lead, &about(&scene.model, TEST_RESULT, predicate));
    assert!(scene.ask(&scene.pod()).allowed);
    let record = scene.records().remove(0);
    assert_eq!(record["policyInput"], Value::Null);
    let digest = record["inputs"]["policyInput"].as_str().unwrap();
    let decisions = scene.dir.path().join("decisions.jsonl");
    let kept = std::fs::read(input_file(&decisions, &Sha256::parse(digest).unwrap())).unwrap();
    assert_eq!(Sha256::of(&kept).to_string(), digest);
    let input: DecisionInput = serde_json::from_slice(&kept).unwrap();
    assert!(replay(&Policy::load(&policy_dir()).unwrap(), &input).allow);
    assert!(std::fs::metadata(&decisions).unwrap().len() < 20_000);

    // Without it there is no record, and without a record no yes.
    std::fs::remove_dir_all(scene.dir.path().join("decisions.jsonl.inputs")).unwrap();
    std::fs::write(scene.dir.path().join("decisions.jsonl.inputs"), "").unwrap();
    assert_eq!(scene.ask(&scene.pod()).codes, "DECISION_NOT_RECORDED");
}

/// A thousand pods of one model make a thousand verdicts about it.
#[test]
fn verdicts_are_no_evidence() {
    let scene = Scene::approved();
    assert!(scene.ask(&scene.pod()).allowed);
    let verdict = scene.records()[0]["statement"].clone();
    let verdict = Statement::parse(&serde_json::to_vec(&verdict).unwrap()).unwrap();
    for _ in 0..500 {
        scene.service.log(&scene.people.stranger, &verdict);
        scene.service.log(&scene.people.officer, &verdict);
    }
    let mut failed = verdict.clone();
    failed.predicate["verificationResult"] = json!("FAILED");
    scene.service.log(&scene.people.officer, &failed);
    assert!(scene.ask(&scene.pod()).allowed);
    let records = scene.records();
    assert_eq!(records[1]["ignored"], json!([]));
    assert_eq!(input_of(&records[1]).attestations, input_of(&records[0]).attestations);
}

/// Logs into the scene's log, after failing as often as it is told.
struct Log {
    service: Arc<super::Service>,
    key: KeyFile,
    failures: AtomicUsize,
    /// Refused for good.
    refusals: AtomicUsize,
    logged: Mutex<Sender<Statement>>,
    seen: Mutex<Vec<Bundle>>,
}

impl StatementLog for Log {
    fn submit(&self, bundle: &Bundle, key: &PublicKey) -> Result<Bundle, ClientError> {
        let refused = |status, reason: &str| ClientError::Refused {
            status,
            reason: reason.to_owned(),
            message: String::new(),
        };
        let take = |left: &AtomicUsize| {
            left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok()
        };
        self.seen.lock().unwrap().push(bundle.clone());
        if take(&self.failures) {
            return Err(refused(503, "BUSY"));
        }
        if take(&self.refusals) {
            return Err(refused(400, "REQUEST_SHAPE"));
        }
        let signed = check_signature(bundle, key).unwrap();
        let completed = self.service.state().log.append(bundle.clone(), &self.key);
        self.logged.lock().unwrap().send(signed.statement().clone()).unwrap();
        Ok(completed)
    }
}

/// A webhook with that scene's files that signs its verdicts.
struct Signing {
    scene: Scene,
    config: Config,
    pem: String,
}

impl Signing {
    fn new() -> Self {
        let mut used: Option<Config> = None;
        let scene = Scene::approved_with(|config| used = Some(config.clone()));
        let pem = KeyFile::generate(Curve::P256).unwrap().unencrypted_pem().unwrap().to_string();
        Self { scene, config: used.unwrap(), pem }
    }

    fn key(&self) -> KeyFile {
        KeyFile::from_pem(&self.pem, None).unwrap()
    }

    fn start(
        &self,
        failures: usize,
        refusals: usize,
    ) -> (Admission, Receiver<Statement>, Arc<Log>) {
        let (sender, logged) = channel();
        let log = Arc::new(Log {
            service: self.scene.service.clone(),
            key: self.key(),
            failures: failures.into(),
            refusals: refusals.into(),
            logged: Mutex::new(sender),
            seen: Mutex::default(),
        });
        let admission = Admission::load(&self.config, self.scene.service.clone()).unwrap();
        let admission = admission.with_signer(Arc::new(self.key()), log.clone()).unwrap();
        (admission, logged, log)
    }

    fn ask(&self, admission: &Admission, review: &Value) -> Answer {
        let bytes = serde_json::to_vec(review).unwrap();
        Answer::parse(&admission.answer(&bytes, self.scene.now))
    }

    /// What is in the file beside the decisions file, once everything is logged.
    fn state(&self) -> Value {
        let path = PathBuf::from(format!("{}.logged", self.config.decisions.display()));
        let size = std::fs::metadata(&self.config.decisions).unwrap().len();
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let state = std::fs::read(&path).unwrap_or_default();
            let state: Value = serde_json::from_slice(&state).unwrap_or_default();
            if state["offset"] == size {
                return state;
            }
            assert!(Instant::now() < until, "{state}");
            std::thread::yield_now();
        }
    }
}

fn next(logged: &Receiver<Statement>) -> Statement {
    logged.recv_timeout(Duration::from_secs(60)).unwrap()
}

#[test]
fn every_decision_about_a_model_becomes_a_signed_verdict() {
    let signing = Signing::new();
    let scene = &signing.scene;
    let (admission, logged, _) = signing.start(0, 0);
    assert!(signing.ask(&admission, &scene.pod()).allowed);
    let statement = next(&logged);
    assert_eq!(statement.predicate_type, VERIFICATION_SUMMARY);
    assert!(statement.is_about(&scene.model.model_digest().to_string()));
    let record = scene.records().remove(0);
    assert_eq!(
        serde_json::to_value(&statement.predicate).unwrap(),
        record["statement"]["predicate"]
    );
    assert_eq!(
        (&record["signed"], &record["signer"]),
        (&json!(true), &json!(signing.key().public_key().id()))
    );
    let predicate = &statement.predicate;
    assert_eq!(predicate["verificationResult"], "PASSED");
    assert_eq!(predicate["verifiedLevels"], json!(["SEALWRIGHT_TWO_ROLE_APPROVED"]));
    let inputs = predicate["inputAttestations"].as_array().unwrap();
    let named = |name: &str| inputs.iter().find(|input| input["name"] == name).unwrap();
    let digest = |name: &str| named(name)["digest"]["sha256"].clone();
    assert_eq!(digest("policy"), record["inputs"]["policy"]);
    assert_eq!(digest("role-binding"), record["inputs"]["roleBinding"]);
    assert_eq!(digest("trusted-root"), record["inputs"]["trustedRoot"]);
    assert_eq!(digest("policy-input"), record["inputs"]["policyInput"]);
    assert_eq!(inputs.iter().filter(|input| input["name"].is_null()).count(), 4);

    // A no by policy, one before policy, and a dry run.
    scene.service.log(&scene.people.officer, &revocation(&scene.model, "compliance", scene.now));
    assert_eq!(signing.ask(&admission, &scene.pod()).codes, "MODEL_REVOKED");
    let predicate = next(&logged).predicate;
    assert_eq!(
        (&predicate["verificationResult"], &predicate["verifiedLevels"]),
        (&json!("FAILED"), &json!(["FAILED"]))
    );
    scene.service.state().complete = false;
    assert_eq!(signing.ask(&admission, &scene.pod()).codes, "EVIDENCE_INCOMPLETE");
    let predicate = next(&logged).predicate;
    assert_eq!(predicate["verificationResult"], "FAILED");
    let violations = &predicate["https://sealwright.dev/vsa/v0.1/violations"];
    assert_eq!(violations[0]["code"], "EVIDENCE_INCOMPLETE");
    let dry = scene.name_model(captured("pod-create-dryrun"));
    signing.ask(&admission, &dry);
    assert_eq!(next(&logged).predicate["https://sealwright.dev/vsa/v0.1/dryRun"], true);
    assert_eq!(scene.records()[3]["dryRun"], true);

    // What is about no model has nothing to be about.
    signing.ask(&admission, &captured("pod-create-generateName"));
    let record = scene.records().remove(4);
    assert_eq!((&record["statement"], &record["signed"]), (&Value::Null, &json!(false)));
}

#[test]
fn what_was_not_logged_is_logged_by_the_next_process_with_the_same_signature() {
    let signing = Signing::new();
    let (admission, _logged, log) = signing.start(usize::MAX, 0);
    // Answers do not wait for the service.
    assert!(signing.ask(&admission, &signing.scene.pod()).allowed);
    assert!(signing.ask(&admission, &signing.scene.pod()).allowed);
    let until = Instant::now() + Duration::from_secs(60);
    while log.seen.lock().unwrap().is_empty() {
        assert!(Instant::now() < until);
        std::thread::yield_now();
    }
    drop(admission);
    let tried = log.seen.lock().unwrap()[0].clone();

    let (admission, logged, log) = signing.start(1, 0);
    let ids: Vec<Value> = (0..2)
        .map(|_| next(&logged).predicate["https://sealwright.dev/vsa/v0.1/request"]["id"].clone())
        .collect();
    let records = signing.scene.records();
    assert_eq!(ids, [records[0]["id"].clone(), records[1]["id"].clone()]);
    assert_eq!(log.seen.lock().unwrap()[0].envelope(), tried.envelope());
    assert_eq!(signing.state()["pending"], Value::Null);
    drop(admission);

    // Nothing is logged twice by a third, and a file that is another one begins anew.
    let (admission, logged, _) = signing.start(0, 0);
    assert!(signing.ask(&admission, &signing.scene.pod()).allowed);
    let id = next(&logged).predicate["https://sealwright.dev/vsa/v0.1/request"]["id"].clone();
    assert_eq!(id, signing.scene.records()[2]["id"]);
    signing.state();
    drop(admission);
    std::fs::rename(&signing.config.decisions, signing.scene.dir.path().join("old")).unwrap();
    let (admission, logged, _) = signing.start(0, 0);
    assert!(signing.ask(&admission, &signing.scene.pod()).allowed);
    let id = next(&logged).predicate["https://sealwright.dev/vsa/v0.1/request"]["id"].clone();
    assert_eq!(id, signing.scene.records()[0]["id"]);
}

#[test]
fn what_the_service_refuses_for_good_holds_nothing_up() {
    let signing = Signing::new();
    let (admission, logged, log) = signing.start(0, 1);
    assert!(signing.ask(&admission, &signing.scene.pod()).allowed);
    assert!(signing.ask(&admission, &signing.scene.pod()).allowed);
    let id = next(&logged).predicate["https://sealwright.dev/vsa/v0.1/request"]["id"].clone();
    assert_eq!(id, signing.scene.records()[1]["id"]);
    assert_eq!(log.seen.lock().unwrap().len(), 2);
}

#[test]
fn torn_lines_and_old_records_are_passed_over() {
    let signing = Signing::new();
    assert!(signing.scene.ask(&signing.scene.pod()).allowed);
    let mut text = std::fs::read_to_string(&signing.config.decisions).unwrap();
    text += "{\"signed\":true,\"statement\":";
    std::fs::write(&signing.config.decisions, text).unwrap();
    let (admission, logged, log) = signing.start(0, 0);
    assert!(signing.ask(&admission, &signing.scene.pod()).allowed);
    next(&logged);
    signing.state();
    // The first was answered before there was a key.
    assert_eq!(log.seen.lock().unwrap().len(), 1);
}

/// Whoever can write to the decisions file has no use of the key for anything but verdicts.
#[test]
fn only_verdicts_that_say_what_was_answered_are_signed() {
    let signing = Signing::new();
    let (admission, logged, _) = signing.start(0, 0);
    assert!(signing.ask(&admission, &signing.scene.pod()).allowed);
    next(&logged);
    signing.state();
    drop(admission);
    let good = signing.scene.records().remove(0);
    let changes: [(&str, Value); 8] = [
        ("/allowed", json!(false)),
        ("/allowed", Value::Null),
        ("/signer", json!("ab".repeat(32))),
        ("/model/sha256", json!("ab".repeat(32))),
        ("/statement/predicateType", json!("https://sealwright.dev/predicate/approval/v0.1")),
        ("/statement/predicate/verifier/id", json!("https://sealwright.dev/permits")),
        ("/statement/predicate/verificationResult", json!("FAILED")),
        ("/statement/subject", json!([])),
    ];
    let mut text = std::fs::read_to_string(&signing.config.decisions).unwrap();
    for (place, value) in changes {
        let mut record = good.clone();
        *record.pointer_mut(place).unwrap() = value;
        text += &format!("{record}\n");
    }
    std::fs::write(&signing.config.decisions, text).unwrap();
    let (admission, logged, log) = signing.start(0, 0);
    assert!(signing.ask(&admission, &signing.scene.pod()).allowed);
    let id = next(&logged).predicate["https://sealwright.dev/vsa/v0.1/request"]["id"].clone();
    assert_eq!(id, signing.scene.records()[9]["id"]);
    assert_eq!(log.seen.lock().unwrap().len(), 1);
}

#[test]
fn the_key_for_verdicts_is_for_verdicts_alone() {
    let signing = Signing::new();
    let (_, _, log) = signing.start(0, 0);
    let mut config = signing.config.clone();
    config.permit_key = Some(signing.scene.dir.path().join("permit.pub"));
    std::fs::write(config.permit_key.as_ref().unwrap(), signing.key().public_key().pem()).unwrap();
    let admission = Admission::load(&config, signing.scene.service.clone()).unwrap();
    let refused = admission.with_signer(Arc::new(signing.key()), log.clone()).unwrap_err();
    assert!(refused.to_string().contains("permit key"), "{refused}");
    let admission = Admission::load(&signing.config, signing.scene.service.clone()).unwrap();
    let officer = signing.scene.people.officer.unencrypted_pem().unwrap();
    let officer = KeyFile::from_pem(&officer, None).unwrap();
    let refused = admission.with_signer(Arc::new(officer), log).unwrap_err();
    assert!(refused.to_string().contains("role binding"), "{refused}");
}

#[test]
fn a_file_that_lost_its_end_is_not_logged_once_more() {
    let signing = Signing::new();
    let (admission, logged, _) = signing.start(0, 0);
    for _ in 0..3 {
        assert!(signing.ask(&admission, &signing.scene.pod()).allowed);
        next(&logged);
    }
    signing.state();
    drop(admission);
    let text = std::fs::read_to_string(&signing.config.decisions).unwrap();
    let two: usize = text.lines().take(2).map(|line| line.len() + 1).sum();
    std::fs::write(&signing.config.decisions, &text[..two]).unwrap();
    let (admission, logged, log) = signing.start(0, 0);
    assert!(signing.ask(&admission, &signing.scene.pod()).allowed);
    let id = next(&logged).predicate["https://sealwright.dev/vsa/v0.1/request"]["id"].clone();
    assert_eq!(id, signing.scene.records()[2]["id"]);
    assert_eq!(log.seen.lock().unwrap().len(), 1);
}
