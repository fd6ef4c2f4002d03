//! Text that is taken for a policy.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use sealwright_fuzz::forgive_the_engine;
use sealwright_policy::{DecisionInput, Policy, Suite, SuiteOptions, replay};
use serde_json::json;

fn input() -> &'static DecisionInput {
    static INPUT: OnceLock<DecisionInput> = OnceLock::new();
    INPUT.get_or_init(|| {
        let digest = "0".repeat(64);
        let input = json!({
            "apiVersion": "sealwright.dev/v1",
            "kind": "ModelDecisionInput",
            "evaluation": {"id": "1", "time": "2026-11-20T10:00:00Z", "purpose": "deploy", "policy_sha256": digest},
            "request": {"environment": "prod", "dry_run": false},
            "model": {"name": "model", "digest": {"sha256": digest}},
            "attestations": [],
            "revocations": [],
            "log": null,
            "rejected": [],
        });
        serde_json::from_value(input).unwrap()
    })
}

fuzz_target!(|data: &[u8]| {
    forgive_the_engine();
    let Ok(text) = std::str::from_utf8(data) else { return };
    // A policy that loads answers, whatever the answer is.
    if let Ok(policy) = Policy::from_files([("main.rego", text)]) {
        let outcome = replay(&policy, input());
        assert_eq!(outcome.allow, outcome.violations.is_empty());
        assert!(outcome.evidence.is_empty());
    }
    // And what is no policy can be looked at.
    let modules = [("main.rego".to_owned(), text.to_owned())];
    if let Ok(suite) = Suite::new(&modules, &json!({}), SuiteOptions::default()) {
        let _ = suite.lint();
    }
});
