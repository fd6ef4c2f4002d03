//! The starter policy, and an input it allows.

use std::path::PathBuf;
use std::sync::LazyLock;

use sealwright_policy::{DecisionInput, Outcome, Policy, replay};
use serde_json::{Value, json};

pub(crate) const DIGEST: &str = "5d41402abc4b2a76b9719d911017c592ae1f3a2b7a9f6a2c0a0f9b1e2d3c4b5a";

pub(crate) static STARTER: LazyLock<Policy> =
    LazyLock::new(|| Policy::load(&starter_dir()).unwrap());

pub(crate) fn starter_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../policies/starter")
}

/// The digest of the envelope with the number `n`.
pub(crate) fn envelope(n: u8) -> String {
    format!("{n:064x}")
}

/// A statement about the model, logged at `index`, a day before the decision.
pub(crate) fn statement(
    n: u8,
    predicate_type: &str,
    principal: &str,
    role: &str,
    predicate: &Value,
) -> Value {
    json!({
        "envelope_sha256": envelope(n),
        "verified": true,
        "predicate_type": predicate_type,
        "subject_digest": DIGEST,
        "time": "2026-11-19T12:00:00Z",
        "time_source": "log-signed",
        "signer": { "principal": principal, "key": format!("key of {principal}"), "roles": [role] },
        "log": { "origin": "log.example", "index": n },
        "predicate": predicate,
    })
}

pub(crate) const SIGNATURE: &str = "https://model_signing/signature/v1.0";
pub(crate) const TEST_RESULT: &str = "https://in-toto.io/attestation/test-result/v0.1";
pub(crate) const APPROVAL: &str = "https://sealwright.dev/predicate/approval/v0.1";
pub(crate) const REVOCATION: &str = "https://sealwright.dev/predicate/revocation/v0.1";

pub(crate) const TRAINER: &str = "trainer@loans.example";
pub(crate) const LEAD: &str = "data-science-lead@loans.example";
pub(crate) const OFFICER: &str = "compliance-officer@loans.example";

pub(crate) fn approval(role: &str) -> Value {
    json!({
        "decision": "APPROVED",
        "role": role,
        "environment": "prod",
        "expiresOn": "2027-02-01T00:00:00Z",
    })
}

/// A test result with a value for every gate.
pub(crate) fn metrics(accuracy: f64, parity: f64) -> Value {
    let row = |metric, slice, value: f64| {
        json!({
            "metric": metric, "slice": slice, "value": value, "sampleSize": 789,
            "comparator": "<=", "threshold": 1, "passed": true,
        })
    };
    json!({
        "result": "PASSED",
        "configuration": [],
        "sealwright_metrics": [
            row("accuracy", "overall", accuracy),
            row("balanced_accuracy", "overall", 0.7),
            row("roc_auc", "overall", 0.8),
            row("demographic_parity_ratio", "race", 0.9),
            row("demographic_parity_difference", "race", parity),
            row("equal_opportunity_difference", "race", 0.05),
            row("demographic_parity_difference", "sex", 0.02),
            row("equal_opportunity_difference", "sex", 0.02),
        ],
    })
}

/// An input the starter policy allows: signed, tested, approved by two people.
pub(crate) fn passing() -> Value {
    json!({
        "apiVersion": "sealwright.dev/v1",
        "kind": "ModelDecisionInput",
        "evaluation": {
            "id": "decision-1",
            "time": "2026-11-20T10:00:00Z",
            "purpose": "deploy",
            "policy_sha256": STARTER.digest(),
        },
        "request": {
            "environment": "prod",
            "cluster": "eu-1",
            "namespace": "loans",
            "workload": "Deployment/scorer",
            "principal": "deployer@loans.example",
            "dry_run": false,
        },
        "model": { "name": "loan-approval", "digest": { "sha256": DIGEST } },
        "attestations": [
            statement(0, SIGNATURE, TRAINER, "trainer", &json!({ "resources": [] })),
            statement(1, TEST_RESULT, "evaluator@loans.example", "evaluator", &metrics(0.9, 0.08)),
            statement(2, APPROVAL, LEAD, "lead-data-scientist", &approval("lead-data-scientist")),
            statement(3, APPROVAL, OFFICER, "compliance", &approval("compliance")),
        ],
        "revocations": [],
        "log": {
            "origin": "log.example",
            "checkpoint_time": "2026-11-20T09:50:00Z",
            "tree_size": 40,
        },
        "rejected": [],
    })
}

/// The passing input after `change`.
pub(crate) fn changed(change: impl FnOnce(&mut Value)) -> Value {
    let mut input = passing();
    change(&mut input);
    input
}

/// What `policy` says about `input`; none if the input cannot even be read.
pub(crate) fn decide_with(policy: &Policy, input: &Value) -> Option<Outcome> {
    let input: DecisionInput = serde_json::from_value(input.clone()).ok()?;
    Some(replay(policy, &input))
}

/// The codes with which the starter policy denies `input`, sorted; empty for an allow.
pub(crate) fn codes(input: &Value) -> Vec<String> {
    let outcome = decide_with(&STARTER, input).unwrap();
    assert_eq!(outcome.allow, outcome.violations.is_empty());
    outcome.violations.into_iter().map(|violation| violation.code).collect()
}
