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

/// Type URI, short name on the command line, and schema of every known predicate.
const KNOWN: [(&str, &str, &str); 11] = [
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
}
