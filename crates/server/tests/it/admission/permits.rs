//! Permits: a second yes that runs out.

use sealwright_attest::predicate::VERIFICATION_SUMMARY;
use sealwright_attest::{KeyFile, Signer as _, Statement, Timestamp};
use sealwright_policy::Policy;
use serde_json::{Value, json};

use super::{Scene, write};
use crate::world::{ENVIRONMENT, about, policy_dir, revocation, sign_with};

const LIFE_S: u64 = 4 * 3600;

/// A webhook that wants permits, and the key of whoever makes them.
fn scene() -> (Scene, KeyFile) {
    let key = KeyFile::generate(sealwright_attest::Curve::P256).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = write(&dir, "permit.pub", key.public_key().pem());
    (Scene::approved_with(|config| config.permit_key = Some(path)), key)
}

fn permit(scene: &Scene, from: Timestamp) -> Statement {
    let policy = Policy::load(&policy_dir()).unwrap();
    let roles = scene.service.state().role_bindings[0].envelope().digest();
    let predicate = json!({
        "verifier": {"id": "https://sealwright.dev/permits"},
        "timeVerified": from,
        "resourceUri": "https://sealwright.dev/model",
        "policy": {"digest": {"sha256": policy.digest()}},
        "inputAttestations": [role_binding(&roles.to_string())],
        "verificationResult": "PASSED",
        "verifiedLevels": [],
        "https://sealwright.dev/vsa/v0.1/environment": ENVIRONMENT,
        "https://sealwright.dev/vsa/v0.1/expiresOn": from.plus_seconds(LIFE_S),
    });
    about(&scene.model, VERIFICATION_SUMMARY, predicate)
}

fn role_binding(digest: &str) -> Value {
    json!({"name": "role-binding", "digest": {"sha256": digest}})
}

fn give(scene: &Scene, key: &KeyFile, statement: &Statement) {
    let mut state = scene.service.state();
    let bundle = state.log.append(sign_with(key, statement), key);
    state.permits = vec![bundle];
}

#[test]
fn without_a_permit_a_yes_is_not_enough() {
    let (scene, key) = scene();
    let answer = scene.ask(&scene.pod());
    assert_eq!(answer.codes, "PERMIT_MISSING");
    give(&scene, &key, &permit(&scene, scene.now));
    assert!(scene.ask(&scene.pod()).allowed);
    let records = scene.records();
    assert_eq!(
        (&records[0]["allowed"], &records[0]["policyAllowed"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(records[0]["statement"]["predicate"]["verificationResult"], "FAILED");
    let violation =
        &records[0]["statement"]["predicate"]["https://sealwright.dev/vsa/v0.1/violations"][0];
    assert_eq!(
        (&violation["code"], &violation["control"]),
        (&json!("PERMIT_MISSING"), &json!("deploy-permit"))
    );
    assert_eq!(records[1]["permit"]["environment"], ENVIRONMENT);
    // The permit is among what the decision rests on.
    let inputs = records[1]["statement"]["predicate"]["inputAttestations"].as_array().unwrap();
    let permit = &records[1]["permit"]["statement"];
    assert!(inputs.iter().any(|input| input["digest"]["sha256"] == *permit), "{inputs:?}");
    // Nor is a permit enough.
    scene.service.state().statements.truncate(3);
    assert_eq!(scene.ask(&scene.pod()).codes, "APPROVAL_MISSING");
}

#[test]
fn only_a_permit_for_this_and_by_that_key_counts() {
    let (scene, key) = scene();
    let with = |change: &dyn Fn(&mut Statement)| {
        let mut statement = permit(&scene, scene.now);
        change(&mut statement);
        give(&scene, &key, &statement);
        scene.ask(&scene.pod()).codes
    };
    let set = |name: &'static str, value: Value| {
        move |statement: &mut Statement| statement.predicate[name] = value.clone()
    };
    assert_eq!(with(&|_| {}), "");
    let extension = "https://sealwright.dev/vsa/v0.1/environment";
    assert_eq!(with(&set(extension, json!("staging"))), "PERMIT_MISSING");
    assert_eq!(with(&set(extension, json!([ENVIRONMENT]))), "PERMIT_MISSING");
    assert_eq!(with(&set("verificationResult", json!("FAILED"))), "PERMIT_MISSING");
    assert_eq!(with(&set("verifier", json!({"id": "https://x.example"}))), "PERMIT_MISSING");
    assert_eq!(with(&set("policy", json!({}))), "PERMIT_MISSING");
    let other = json!({"digest": {"sha256": "ab".repeat(32)}});
    assert_eq!(with(&set("policy", other)), "PERMIT_OTHER_POLICY");
    let others = role_binding(&"ab".repeat(32));
    assert_eq!(with(&set("inputAttestations", json!([others]))), "PERMIT_OTHER_ROLES");
    assert_eq!(with(&set("inputAttestations", json!([]))), "PERMIT_MISSING");
    assert_eq!(
        with(&|s| {
            let inputs = s.predicate["inputAttestations"].as_array_mut().unwrap();
            inputs.push(others.clone());
        }),
        "PERMIT_MISSING"
    );
    assert_eq!(with(&set("timeVerified", Value::Null)), "PERMIT_MISSING");
    let ends = "https://sealwright.dev/vsa/v0.1/expiresOn";
    assert_eq!(with(&set(ends, json!("2026-11-24T11:59:59Z"))), "PERMIT_EXPIRED");
    assert_eq!(with(&set(ends, json!("soon"))), "PERMIT_MISSING");
    assert_eq!(with(&set(ends, Value::Null)), "PERMIT_MISSING");
    assert_eq!(with(&|s| s.subject = crate::world::other_subject()), "PERMIT_MISSING");
    assert_eq!(with(&|s| s.predicate_type = "https://example.com/x".into()), "PERMIT_MISSING");

    // By somebody else, and by the right key but in no log.
    give(&scene, &scene.people.lead, &permit(&scene, scene.now));
    assert_eq!(scene.ask(&scene.pod()).codes, "PERMIT_MISSING");
    scene.service.state().permits = vec![sign_with(&key, &permit(&scene, scene.now))];
    assert_eq!(scene.ask(&scene.pod()).codes, "PERMIT_MISSING");
    // One of several is enough.
    let old = scene.service.state().permits.clone();
    give(&scene, &key, &permit(&scene, scene.now));
    scene.service.state().permits.extend(old);
    assert!(scene.ask(&scene.pod()).allowed);
}

/// A revocation that the service keeps to itself is a yes for no longer than a permit lives.
#[test]
fn a_hidden_revocation_holds_no_longer_than_the_permit() {
    let (scene, key) = scene();
    give(&scene, &key, &permit(&scene, scene.now));
    assert!(scene.ask_at(scene.now).allowed);
    // It is logged, so whoever makes permits makes no more of them; and the webhook is not told.
    let mut state = scene.service.state();
    let recall = revocation(&scene.model, "compliance", scene.now);
    let hidden = state.log.append(sign_with(&scene.people.officer, &recall), &scene.people.officer);
    drop(state);
    let last = scene.now.plus_seconds(LIFE_S);
    assert!(scene.ask_at(last).allowed);
    let answer = scene.ask_at(last.plus_seconds(1));
    assert_eq!(answer.codes, "PERMIT_EXPIRED");
    assert!(answer.message.contains("was not renewed"), "{answer:#?}");
    // Told at last, it says what the matter is.
    scene.service.state().statements.push(hidden);
    assert_eq!(scene.ask_at(last.plus_seconds(2)).codes, "MODEL_REVOKED");
}

#[test]
fn a_permit_that_says_for_ever_is_not_believed_for_ever() {
    let (scene, key) = scene();
    let mut statement = permit(&scene, scene.now);
    statement.predicate["https://sealwright.dev/vsa/v0.1/expiresOn"] =
        json!("2099-01-01T00:00:00Z");
    give(&scene, &key, &statement);
    let day = scene.now.plus_seconds(24 * 3600);
    assert!(scene.ask_at(day).allowed);
    let answer = scene.ask_at(day.plus_seconds(1));
    assert_eq!(answer.codes, "PERMIT_EXPIRED");
    assert!(answer.message.contains("--permit-max-age"), "{answer:#?}");
    // Nor when it is proven anew, in a tree of that time.
    give(&scene, &key, &statement);
    assert_eq!(scene.ask_at(day.plus_seconds(1)).codes, "PERMIT_EXPIRED");
}

#[test]
fn a_permit_of_a_larger_tree_betrays_an_old_checkpoint() {
    let (scene, key) = scene();
    let before = scene.service.state().log.checkpoint();
    give(&scene, &key, &permit(&scene, scene.now));
    scene.service.state().checkpoint = Some(before);
    assert_eq!(scene.ask(&scene.pod()).codes, "LOG_ROLLED_BACK");
}
