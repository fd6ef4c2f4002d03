//! No small change to a denied input makes it allowed, but for taking away a "no".
//!
//! Every field of every denied input is deleted and replaced by values of all kinds.
//! What a signer wrote cannot be changed after verification, nor can a caller drop a
//! revocation without showing an older log; but a rule that lets a field's absence turn
//! a deny into an allow would be wrong even so.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{
    APPROVAL, DIGEST, LEAD, OFFICER, REVOCATION, SIGNATURE, STARTER, TEST_RESULT, TRAINER,
    approval, changed, decide_with, envelope, metrics, passing, statement,
};

type Change = fn(&mut Value);

fn push(input: &mut Value, list: &str, item: Value) {
    input[list].as_array_mut().unwrap().push(item);
}

fn revocation(target: &Value) -> Value {
    let predicate = json!({ "target": target, "role": "security", "reason": "recall", "effective": "2026-11-19T00:00:00Z" });
    statement(9, REVOCATION, "security-officer@loans.example", "security", &predicate)
}

fn remove(input: &mut Value, index: usize) {
    input["attestations"].as_array_mut().unwrap().remove(index);
}

/// Denied inputs, each with the place of the "no" (or of the fact that makes a "yes"
/// worthless) that may not be hidden, as a prefix of a JSON pointer. Changes inside of it
/// may allow; no others may.
const DENIED: &[(&str, Change, &[&str])] = &[
    ("no signature", |i| remove(i, 0), &[]),
    ("no test result", |i| remove(i, 1), &[]),
    ("no lead", |i| remove(i, 2), &[]),
    ("no compliance", |i| remove(i, 3), &[]),
    ("nothing at all", |i| i["attestations"] = json!([]), &[]),
    ("no role", |i| i["attestations"][3]["signer"]["roles"] = json!([]), &[]),
    (
        "accuracy too low",
        |i| i["attestations"][1]["predicate"] = metrics(0.5, 0.08),
        // The number itself, which the evaluator signed.
        &["/attestations/1/predicate/sealwright_metrics/0/value"],
    ),
    (
        "a second, failed test",
        |i| {
            push(
                i,
                "attestations",
                statement(
                    5,
                    TEST_RESULT,
                    "evaluator@loans.example",
                    "evaluator",
                    &metrics(0.5, 0.5),
                ),
            )
        },
        &["/attestations/4"],
    ),
    (
        "tests failed",
        |i| i["attestations"][1]["predicate"]["result"] = json!("FAILED"),
        &["/attestations/1/predicate/result"],
    ),
    ("another environment", |i| i["request"]["environment"] = json!("staging"), &[]),
    (
        "approval expired",
        |i| i["attestations"][3]["predicate"]["expiresOn"] = json!("2026-11-20T00:00:00Z"),
        &["/evaluation/time", "/attestations/3/predicate/expiresOn"],
    ),
    (
        "one person in both roles",
        |i| {
            i["attestations"][3]["signer"] = i["attestations"][2]["signer"].clone();
            i["attestations"][3]["signer"]["roles"] = json!(["compliance", "lead-data-scientist"]);
        },
        &[],
    ),
    (
        "the trainer approves",
        |i| {
            i["attestations"][2]["signer"] = i["attestations"][0]["signer"].clone();
            i["attestations"][2]["signer"]["roles"] = json!(["lead-data-scientist"]);
        },
        &[],
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
        &["/attestations/4"],
    ),
    (
        "rejected",
        |i| {
            let mut rejection = approval("compliance");
            rejection["decision"] = json!("REJECTED");
            push(i, "attestations", statement(4, APPROVAL, OFFICER, "compliance", &rejection));
        },
        &["/attestations/4"],
    ),
    (
        "model revoked",
        |i| push(i, "revocations", revocation(&json!({ "model_sha256": DIGEST }))),
        &["/revocations", "/evaluation/time"],
    ),
    (
        "statement revoked",
        |i| push(i, "revocations", revocation(&json!({ "envelope_sha256": envelope(0) }))),
        &["/revocations", "/attestations/0/envelope_sha256", "/evaluation/time"],
    ),
    (
        "signer revoked",
        |i| push(i, "revocations", revocation(&json!({ "signer": OFFICER }))),
        &[
            "/revocations",
            "/attestations/3/time",
            "/attestations/3/signer/principal",
            "/evaluation/time",
        ],
    ),
    (
        "old checkpoint",
        |i| i["log"]["checkpoint_time"] = json!("2026-11-20T08:00:00Z"),
        &["/log/checkpoint_time", "/evaluation/time"],
    ),
    ("another log", |i| i["log"]["origin"] = json!("other.example"), &[]),
];

/// The pointers of all values inside `value`, itself excepted.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    let mut add = |key: &str, inner: &Value| {
        let pointer = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
        pointers(inner, &pointer, found);
        found.push(pointer);
    };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, inner)| add(key, inner)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, inner)| add(&index.to_string(), inner));
        }
        _ => {}
    }
}

fn deleted(input: &Value, pointer: &str) -> Value {
    let mut mutant = input.clone();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match mutant.pointer_mut(parent).unwrap() {
        Value::Object(fields) => {
            fields.remove(&key.replace("~1", "/").replace("~0", "~"));
        }
        Value::Array(items) => {
            items.remove(key.parse().unwrap());
        }
        _ => unreachable!("a pointer leads into a container"),
    }
    mutant
}

/// The input with the value at `pointer` deleted, and with other values in its place.
fn mutants(input: &Value, pointer: &str) -> Vec<Value> {
    let replacements = [
        json!(null),
        json!(true),
        json!(1e300),
        json!("x"),
        json!("2100-01-01T00:00:00Z"),
        json!({}),
    ];
    let mut mutants = vec![deleted(input, pointer)];
    for replacement in replacements {
        let mut mutant = input.clone();
        *mutant.pointer_mut(pointer).unwrap() = replacement;
        mutants.push(mutant);
    }
    mutants
}

#[test]
fn no_change_but_the_expected_ones_flips_a_deny() {
    let (mut decided, mut unexpected) = (0_usize, BTreeSet::new());
    for (name, change, allowed_to_flip) in DENIED {
        let input = changed(change);
        assert!(!decide_with(&STARTER, &input).unwrap().allow, "{name}");
        let mut places = Vec::new();
        pointers(&input, "", &mut places);
        // Two of the eight metrics stand for the others.
        places.retain(|place| !(2..8).any(|row| place.contains(&format!("_metrics/{row}"))));
        for place in places {
            let expected = allowed_to_flip.iter().any(|prefix| place.starts_with(prefix));
            for mutant in mutants(&input, &place) {
                let Some(outcome) = decide_with(&STARTER, &mutant) else { continue };
                decided += 1;
                assert_eq!(outcome.allow, outcome.violations.is_empty());
                if outcome.allow && !expected {
                    unexpected.insert(format!("{name}: {place}"));
                }
            }
        }
    }
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    assert!(decided > 5000, "only {decided} mutants were decided");
}

/// What the passing input rests on: without it, or with another value, it is denied.
#[test]
fn every_field_the_policy_needs_is_needed() {
    for place in [
        "/attestations/0/signer/roles/0",
        "/attestations/1/signer/roles/0",
        "/attestations/2/signer/roles/0",
        "/attestations/1/predicate/result",
        "/attestations/1/predicate/sealwright_metrics",
        "/attestations/1/predicate/sealwright_metrics/0/value",
        "/attestations/1/predicate/sealwright_metrics/0/metric",
        "/attestations/2/predicate/decision",
        "/attestations/2/predicate/role",
        "/attestations/2/predicate/environment",
        "/attestations/2/predicate/expiresOn",
        "/log",
    ] {
        let input = passing();
        let outcome = decide_with(&STARTER, &deleted(&input, place));
        assert!(outcome.is_none_or(|outcome| !outcome.allow), "{place}");
        let mut nulled = input;
        *nulled.pointer_mut(place).unwrap() = Value::Null;
        let outcome = decide_with(&STARTER, &nulled);
        assert!(outcome.is_none_or(|outcome| !outcome.allow), "{place} is null");
    }
    assert_eq!(TRAINER, passing()["attestations"][0]["signer"]["principal"]);
}
