//! The predicate types that Sealwright knows, and their JSON schemas.
//!
//! A statement of an unknown type is carried, logged and found like any other; what is in it is then
//! nobody's business but the policy's. A statement of a known type must obey its schema before it
//! is signed and when it is verified.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use jsonschema::Validator;
use serde_json::Value;

/// A person's approval or rejection, in a role.
pub const APPROVAL: &str = "https://sealwright.dev/predicate/approval/v0.1";
/// Withdrawal of a model, a statement or a signer.
pub const REVOCATION: &str = "https://sealwright.dev/predicate/revocation/v0.1";
/// Which principals hold which keys and roles.
pub const ROLE_BINDING: &str = "https://sealwright.dev/predicate/role-binding/v0.1";
/// A policy that the owners put into force.
pub const POLICY: &str = "https://sealwright.dev/predicate/policy/v0.1";
/// What was done to an attestation service by those who run it.
pub const ADMINISTRATION: &str = "https://sealwright.dev/predicate/administration/v0.1";
/// in-toto test result, with our `sealwright_metrics` for the numbers.
pub const TEST_RESULT: &str = "https://in-toto.io/attestation/test-result/v0.1";
/// SLSA build provenance.
pub const PROVENANCE: &str = "https://slsa.dev/provenance/v1";
/// SLSA verification summary: a verdict of ours outside of the process.
pub const VERIFICATION_SUMMARY: &str = "https://slsa.dev/verification_summary/v1";
/// in-toto vulnerability scan.
pub const VULNS: &str = "https://in-toto.io/attestation/vulns/v0.2";
/// in-toto attribute report (SCAI).
pub const SCAI: &str = "https://in-toto.io/attestation/scai/v0.3";
/// CycloneDX bill of materials.
pub const CYCLONEDX: &str = "https://cyclonedx.org/bom";

/// OpenVEX: whether a known vulnerability does harm here.
pub const OPENVEX: &str = "https://openvex.dev/ns/v0.2.0";
/// A scan of the model's files for code that runs when they are loaded.
pub const MODEL_SCAN: &str = "https://sealwright.dev/predicate/model-scan/v0.1";

/// Type URI, short name on the command line, and schema of every known predicate.
const KNOWN: [(&str, &str, &str); 13] = [
    (APPROVAL, "approval", include_str!("../schemas/approval-v0.1.json")),
    (REVOCATION, "revocation", include_str!("../schemas/revocation-v0.1.json")),
    (ROLE_BINDING, "role-binding", include_str!("../schemas/role-binding-v0.1.json")),
    (POLICY, "policy", include_str!("../schemas/policy-v0.1.json")),
    (ADMINISTRATION, "administration", include_str!("../schemas/administration-v0.1.json")),
    (TEST_RESULT, "test-result", include_str!("../schemas/test-result-v0.1.json")),
    (PROVENANCE, "slsaprovenance1", include_str!("../schemas/provenance-v1.json")),
    (VERIFICATION_SUMMARY, "vsa", include_str!("../schemas/verification-summary-v1.json")),
    (VULNS, "vulns", include_str!("../schemas/vulns-v0.2.json")),
    (SCAI, "scai", include_str!("../schemas/scai-v0.3.json")),
    (CYCLONEDX, "cyclonedx", include_str!("../schemas/cyclonedx-outline.json")),
    (OPENVEX, "openvex", include_str!("../schemas/openvex-v0.2.0.json")),
    (MODEL_SCAN, "model-scan", include_str!("../schemas/model-scan-v0.1.json")),
];

/// Why a predicate of a known type is not acceptable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("predicate does not obey the schema of {predicate_type}: {message} at {place}")]
pub struct SchemaViolation {
    /// The type.
    pub predicate_type: String,
    /// What is wrong.
    pub message: String,
    /// JSON pointer into the predicate; `/` for the whole.
    pub place: String,
}

/// The type URI that a short name such as `approval` stands for; other texts stand for themselves.
pub fn resolve_type(name: &str) -> &str {
    KNOWN.iter().find(|(_, short, _)| *short == name).map_or(name, |(uri, _, _)| uri)
}

/// Short names and type URIs of the known predicates.
pub fn known_types() -> impl Iterator<Item = (&'static str, &'static str)> {
    KNOWN.iter().map(|(uri, short, _)| (*short, *uri))
}

/// The published JSON schema of a known type.
pub fn schema(predicate_type: &str) -> Option<&'static str> {
    KNOWN.iter().find(|(uri, _, _)| *uri == predicate_type).map(|(_, _, text)| *text)
}

/// Checks `predicate` against the schema of its type; unknown types pass.
///
/// # Errors
/// [`SchemaViolation`] with the first violation.
pub fn check(predicate_type: &str, predicate: &Value) -> Result<(), SchemaViolation> {
    let Some(validator) = validators().get(predicate_type) else { return Ok(()) };
    let violation = |message: String, place: String| SchemaViolation {
        predicate_type: predicate_type.to_owned(),
        message,
        place: if place.is_empty() { "/".to_owned() } else { place },
    };
    match validator {
        Some(validator) => validator.validate(predicate).map_err(|error| {
            // A predicate can be large; the message is for a person.
            let text: String = error.to_string().chars().take(300).collect();
            violation(text, error.instance_path().to_string())
        }),
        // A schema of ours that does not compile must not let everything pass.
        None => Err(violation("the built-in schema is broken".to_owned(), String::new())),
    }
}

fn validators() -> &'static BTreeMap<&'static str, Option<Validator>> {
    static VALIDATORS: OnceLock<BTreeMap<&'static str, Option<Validator>>> = OnceLock::new();
    VALIDATORS.get_or_init(|| {
        let compile = |text| {
            let schema: Value = serde_json::from_str(text).ok()?;
            jsonschema::options().should_validate_formats(true).build(&schema).ok()
        };
        KNOWN.iter().map(|&(uri, _, text)| (uri, compile(text))).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_schema_compiles_and_refuses_an_empty_predicate() {
        for (short, uri) in known_types() {
            assert!(validators()[uri].is_some(), "{short}");
            assert!(check(uri, &json!({})).is_err(), "{short}");
            assert_eq!(resolve_type(short), uri);
        }
        assert_eq!(check("https://example.com/other/v1", &json!({})), Ok(()));
    }

    #[test]
    fn an_approval_needs_an_expiry_that_is_a_time() {
        let good = json!({
            "decision": "APPROVED", "role": "compliance", "environment": "prod",
            "meaning": "fit for use", "expiresOn": "2027-01-01T00:00:00Z"
        });
        assert_eq!(check(APPROVAL, &good), Ok(()));
        for (field, value) in [
            ("expiresOn", json!("tomorrow")),
            ("decision", json!("approved")),
            ("environment", json!("")),
            ("role", json!(["compliance"])),
        ] {
            let mut bad = good.clone();
            bad[field] = value;
            let error = check(APPROVAL, &bad).unwrap_err();
            assert_eq!(error.place, format!("/{field}"), "{error}");
        }
    }

    /// Each of `changes` makes `good` a bad predicate of the type.
    #[track_caller]
    fn only_good_is_good(predicate_type: &str, good: &Value, changes: &[(&str, Value)]) {
        assert_eq!(check(predicate_type, good), Ok(()));
        for (place, value) in changes {
            let mut bad = good.clone();
            *bad.pointer_mut(place).unwrap() = value.clone();
            assert!(check(predicate_type, &bad).is_err(), "{place} {value}");
        }
    }

    #[test]
    fn an_openvex_statement_says_why_it_does_no_harm() {
        let good = json!({
            "@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://vex.example/1",
            "author": "product security", "timestamp": "2026-11-19T12:00:00Z", "version": 1,
            "statements": [{
                "vulnerability": {"name": "CVE-2026-1", "aliases": ["GHSA-1"]},
                "products": [{"@id": "model", "hashes": {"sha-256": "00"}}],
                "status": "not_affected",
                "justification": "vulnerable_code_not_in_execute_path",
            }],
        });
        let changes = [
            ("/@context", json!("https://openvex.dev/ns/v0.0.1")),
            ("/timestamp", json!("yesterday")),
            ("/version", json!("1")),
            ("/statements", json!([])),
            ("/statements/0/vulnerability", json!("CVE-2026-1")),
            ("/statements/0/status", json!("Not_Affected")),
            ("/statements/0/status", json!("affected")),
            ("/statements/0/justification", json!("because")),
            ("/statements/0/products", json!([{}])),
        ];
        only_good_is_good(OPENVEX, &good, &changes);
        let mut bad = good;
        bad["statements"][0].as_object_mut().unwrap().remove("justification");
        assert!(check(OPENVEX, &bad).is_err());
    }

    #[test]
    fn a_model_scan_says_what_it_left_out() {
        let good = json!({
            "scanner": {"uri": "https://scanner.example", "version": "1.2"},
            "scannedOn": "2026-11-19T12:00:00Z",
            "result": "FINDINGS",
            "findings": [{"id": "pickle-reduce", "severity": "critical", "path": "model.pkl"}],
            "skipped": [],
        });
        let changes = [
            ("/scannedOn", json!("today")),
            ("/result", json!("clean")),
            ("/findings", json!(null)),
            ("/findings/0/severity", json!("CRITICAL")),
            ("/findings/0", json!({"id": "x"})),
            ("/skipped", json!(0)),
            ("/scanner", json!({"uri": "x"})),
        ];
        only_good_is_good(MODEL_SCAN, &good, &changes);
        let mut bad = good;
        bad.as_object_mut().unwrap().remove("skipped");
        assert!(check(MODEL_SCAN, &bad).is_err());
    }

    #[test]
    fn an_interval_has_two_ends() {
        let good = json!({
            "result": "PASSED", "configuration": [],
            "sealwright_metrics": [{
                "metric": "accuracy", "slice": "overall", "value": 0.9, "ci95": [0.88, 0.92],
                "ci95Method": "wilson", "comparator": ">=", "threshold": 0.8, "passed": true,
            }],
        });
        let changes = [[0.9].as_slice(), &[0.8, 0.9, 1.0]]
            .map(|ends| ("/sealwright_metrics/0/ci95", json!(ends)))
            .into_iter()
            .chain([("/sealwright_metrics/0/ci95", json!(["0.8", "0.9"]))]);
        only_good_is_good(TEST_RESULT, &good, &changes.collect::<Vec<_>>());
    }
}
