//! What is asked of a policy, in the form of a record or of OPA's API, `{"input": …}`.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use sealwright_attest::parse_strict;
use sealwright_fuzz::forgive_the_engine;
use sealwright_policy::{DecisionInput, Policy, replay};
use serde_json::Value;

const LIMIT: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    forgive_the_engine();
    static POLICY: OnceLock<Policy> = OnceLock::new();
    let policy = POLICY.get_or_init(|| Policy::starter().unwrap());
    let Ok(document) = parse_strict(data, LIMIT) else { return };
    let input = document.get("input").cloned().unwrap_or(document);
    let Ok(input) = serde_json::from_value::<DecisionInput>(input) else { return };
    let written = serde_json::to_vec(&input).unwrap();
    let again: DecisionInput = serde_json::from_slice(&written).expect("what is written is read");
    let (outcome, repeated) = (replay(policy, &input), replay(policy, &again));
    let timed_out = |outcome: &sealwright_policy::Outcome| {
        outcome.violations.iter().any(|violation| violation.code == "POLICY_TIMEOUT")
    };
    if !timed_out(&outcome) && !timed_out(&repeated) {
        assert_eq!(outcome, repeated);
    }
    assert_eq!(outcome.allow, outcome.violations.is_empty());
    if outcome.allow {
        let approved = |role: &str| {
            let is = |predicate: &Value| {
                predicate["decision"] == "APPROVED" && predicate["role"] == role
            };
            input.attestations.iter().filter(|one| is(&one.predicate)).count()
        };
        assert!(approved("compliance") > 0 && approved("lead-data-scientist") > 0);
    }
});
