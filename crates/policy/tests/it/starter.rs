//! The shipped policy: its own tests, and every code from one change.

use serde_json::{Value, json};

use crate::support::{
    APPROVAL, DIGEST, LEAD, OFFICER, REVOCATION, SIGNATURE, STARTER, TRAINER, approval, changed,
    codes, decide_with, envelope, metrics, passing, starter_dir, statement,
};

#[test]
fn the_policy_passes_its_own_tests() {
    let outcomes = STARTER.run_tests().unwrap();
    let failed: Vec<_> = outcomes.iter().filter(|outcome| !outcome.passed).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(outcomes.len() >= 50, "only {} tests ran", outcomes.len());
}

#[test]
fn the_passing_input_is_allowed_on_its_evidence() {
    let outcome = decide_with(&STARTER, &passing()).unwrap();
    assert!(outcome.allow, "{outcome:#?}");
    assert_eq!(outcome.violations, []);
    assert_eq!(outcome.evidence, [0, 1, 2, 3].map(envelope));
}

type Change = fn(&mut Value);

fn push(input: &mut Value, list: &str, item: Value) {
    input[list].as_array_mut().unwrap().push(item);
}

fn remove(input: &mut Value, index: usize) {
    input["attestations"].as_array_mut().unwrap().remove(index);
}

fn revoke(input: &mut Value, target: &Value) {
    let predicate =
        json!({ "target": target, "reason": "recall", "effective": "2026-11-19T00:00:00Z" });
    let who = "security-officer@loans.example";
    push(input, "revocations", statement(9, REVOCATION, who, "security", &predicate));
}

/// One change to the passing input, and the codes it must lead to.
const TABLE: &[(&str, Change, &[&str])] = &[
    ("nothing", |_| {}, &[]),
    ("no signature", |i| remove(i, 0), &["SIGNATURE_MISSING"]),
    (
        "signed in another role",
        |i| i["attestations"][0]["signer"]["roles"] = json!(["evaluator"]),
        &["SIGNATURE_MISSING"],
    ),
    ("no test result", |i| remove(i, 1), &["GATE_MISSING"]),
    (
        "accuracy too low",
        |i| i["attestations"][1]["predicate"] = metrics(0.87, 0.08),
        &["GATE_FAILED"],
    ),
    (
        "fairness gap too wide",
        |i| i["attestations"][1]["predicate"] = metrics(0.9, 0.21),
        &["GATE_FAILED"],
    ),
    (
        "a metric that is text",
        |i| i["attestations"][1]["predicate"]["sealwright_metrics"][0]["value"] = json!("0.95"),
        &["GATE_FAILED"],
    ),
    (
        "tests failed",
        |i| i["attestations"][1]["predicate"]["result"] = json!("FAILED"),
        &["GATE_FAILED"],
    ),
    ("no lead", |i| remove(i, 2), &["APPROVAL_MISSING"]),
    ("no compliance", |i| remove(i, 3), &["APPROVAL_MISSING"]),
    (
        "approved for another environment",
        |i| i["attestations"][3]["predicate"]["environment"] = json!("staging"),
        &["APPROVAL_MISSING"],
    ),
    (
        "approval expired",
        |i| i["attestations"][3]["predicate"]["expiresOn"] = json!("2026-11-20T00:00:00Z"),
        &["APPROVAL_MISSING"],
    ),
    (
        "approver not bound to the role",
        |i| i["attestations"][3]["signer"]["roles"] = json!(["security"]),
        &["APPROVAL_MISSING"],
    ),
    (
        "one person in both roles",
        |i| {
            i["attestations"][3]["signer"] = i["attestations"][2]["signer"].clone();
            i["attestations"][3]["signer"]["roles"] = json!(["compliance", "lead-data-scientist"]);
        },
        &["SAME_PERSON"],
    ),
    (
        "the trainer approves",
        |i| i["attestations"][2]["signer"]["principal"] = json!(TRAINER),
        &["SELF_APPROVAL"],
    ),
    (
        "an approver also signed",
        |i| {
            push(
                i,
                "attestations",
                statement(4, SIGNATURE, LEAD, "lead-data-scientist", &json!({})),
            )
        },
        &["SELF_APPROVAL"],
    ),
    (
        "rejected",
        |i| {
            let mut rejection = approval("compliance");
            rejection["decision"] = json!("REJECTED");
            push(i, "attestations", statement(4, APPROVAL, OFFICER, "compliance", &rejection));
        },
        &["REJECTED"],
    ),
    ("model revoked", |i| revoke(i, &json!({ "model_sha256": DIGEST })), &["MODEL_REVOKED"]),
    (
        "statement revoked",
        |i| revoke(i, &json!({ "envelope_sha256": envelope(0) })),
        &["SIGNATURE_MISSING"],
    ),
    ("signer revoked", |i| revoke(i, &json!({ "signer": LEAD })), &["APPROVAL_MISSING"]),
    (
        "old checkpoint",
        |i| i["log"]["checkpoint_time"] = json!("2026-11-20T08:00:00Z"),
        &["LOG_STALE"],
    ),
    (
        "environment is no label",
        |i| i["request"]["environment"] = json!("Prod!"),
        &["INPUT_INVALID"],
    ),
    (
        "a statement about another model",
        |i| i["attestations"][0]["subject_digest"] = json!(envelope(7)),
        &["INPUT_INVALID"],
    ),
];

#[test]
fn every_code_is_one_change_away() {
    for (name, change, expected) in TABLE {
        assert_eq!(codes(&changed(change)), *expected, "{name}");
    }
}

#[test]
fn the_gates_are_those_of_the_example() {
    let path = starter_dir().join("../../examples/loan-approval/gates.toml");
    let example: Value = toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let data = std::fs::read(starter_dir().join("data.json")).unwrap();
    let data: Value = serde_json::from_slice(&data).unwrap();
    assert_eq!(data["sealwright"]["config"]["gates"]["required"], example["gate"]);
}

#[test]
fn a_denial_names_the_role_and_the_way_out() {
    let outcome = decide_with(&STARTER, &changed(|i| remove(i, 3))).unwrap();
    assert_eq!(
        outcome.violations[0].message,
        "No approval by role compliance counts for environment prod; somebody bound to that \
         role must run `sealwright approve --as compliance`."
    );
    assert_eq!(outcome.violations[0].control, "two-role-approval");
}

#[test]
fn a_replay_is_the_same_to_the_byte() {
    for (name, change, _) in TABLE {
        let input = changed(change);
        let first = serde_json::to_string(&decide_with(&STARTER, &input)).unwrap();
        let second = serde_json::to_string(&decide_with(&STARTER, &input)).unwrap();
        assert_eq!(first, second, "{name}");
    }
}
