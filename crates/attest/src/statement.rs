//! in-toto Statement v1.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use sealwright_manifest::{Manifest, Sha256};

use crate::bundle::MAX_BUNDLE_SIZE;
use crate::json::{JsonError, from_value, parse_strict};
use crate::predicate;

/// `_type` of every statement that is written or read.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// What a statement is about (in-toto `ResourceDescriptor`): matched by digest, never by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// Informative.
    #[serde(default)]
    pub name: String,
    /// Algorithm name → lower-case hexadecimal digest; never empty.
    pub digest: BTreeMap<String, String>,
    /// More about the subject; only model-signing 0.2 says something here that matters.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub annotations: serde_json::Map<String, Value>,
}

impl Subject {
    /// A subject with one SHA-256 digest.
    pub fn sha256(name: impl Into<String>, digest: &Sha256) -> Self {
        let digest = BTreeMap::from([("sha256".to_owned(), digest.to_string())]);
        Self { name: name.into(), digest, annotations: serde_json::Map::new() }
    }
}

/// The subjects of every statement about a model: the model digest first, then the OMS root.
pub fn model_subjects(name: &str, manifest: &Manifest) -> Vec<Subject> {
    vec![
        Subject::sha256(name, &manifest.model_digest()),
        Subject::sha256("oms-root", &manifest.oms_root()),
    ]
}

/// A parsed statement. Trust in it is said by the type it is in, not by this one.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// At least one; each has a digest.
    pub subject: Vec<Subject>,
    /// Type URI of the predicate, compared exactly.
    pub predicate_type: String,
    /// A JSON object.
    pub predicate: Value,
}

/// Why a payload is not a statement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// Not JSON, too large, or a name twice.
    #[error("statement: {0}")]
    Json(#[from] JsonError),
    /// A field is missing or of the wrong type.
    #[error("not an in-toto statement: {message}")]
    Shape {
        /// Names the field.
        message: String,
    },
    /// `_type` is another one.
    #[error("statement type {found:?} is not {STATEMENT_TYPE}")]
    Type {
        /// What it says.
        found: String,
    },
    /// No subject, or one without a digest (in-toto Statement v1 "Fields").
    #[error("every statement needs a subject, and every subject a digest")]
    NoDigest,
}

#[derive(Serialize, Deserialize)]
struct Wire<S, P> {
    #[serde(rename = "_type")]
    type_: S,
    subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    predicate_type: S,
    predicate: P,
}

impl Statement {
    /// Parses a DSSE payload. Unknown fields are ignored, as in-toto v1 asks.
    ///
    /// # Errors
    /// [`StatementError`].
    pub fn parse(payload: &[u8]) -> Result<Self, StatementError> {
        let value = parse_strict(payload, MAX_BUNDLE_SIZE)?;
        let wire: Wire<String, Value> = from_value(value)
            .map_err(|error| StatementError::Shape { message: error.to_string() })?;
        if wire.type_ != STATEMENT_TYPE {
            return Err(StatementError::Type { found: wire.type_ });
        }
        if wire.subject.is_empty() || wire.subject.iter().any(|s| s.digest.is_empty()) {
            return Err(StatementError::NoDigest);
        }
        if !wire.predicate.is_object() {
            let message = "predicate is not an object".to_owned();
            return Err(StatementError::Shape { message });
        }
        let Wire { subject, predicate_type, predicate, .. } = wire;
        Ok(Self { subject, predicate_type, predicate })
    }

    /// Whether it says no to something: a rejection (an approval that is not `APPROVED`), a revocation, or
    /// a test result that is not `PASSED`.
    pub fn says_no(&self) -> bool {
        let is_not = |field: &str, yes| self.predicate.get(field).is_none_or(|found| found != yes);
        match self.predicate_type.as_str() {
            predicate::APPROVAL => is_not("decision", "APPROVED"),
            predicate::TEST_RESULT => is_not("result", "PASSED"),
            other => other == predicate::REVOCATION,
        }
    }

    /// The payload to sign: compact JSON in a fixed member order.
    pub fn to_payload(&self) -> Vec<u8> {
        let wire = Wire {
            type_: STATEMENT_TYPE,
            subject: self.subject.clone(),
            predicate_type: self.predicate_type.as_str(),
            predicate: &self.predicate,
        };
        // String keys and finite numbers only: this cannot fail.
        serde_json::to_vec(&wire).unwrap_or_default()
    }

    /// Whether one of the subjects has this SHA-256 digest.
    pub fn is_about(&self, digest: &str) -> bool {
        self.subject.iter().any(|s| s.digest.get("sha256").is_some_and(|d| d == digest))
    }

    /// SHA-256 of every subject that has one, in order.
    pub fn subject_digests(&self) -> Vec<String> {
        self.subject.iter().filter_map(|s| s.digest.get("sha256").cloned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_statements_are_read() {
        let digest = Sha256::of(b"");
        let good = Statement {
            subject: vec![Subject::sha256("m", &digest)],
            predicate_type: "https://example.com/p/v1".into(),
            predicate: serde_json::json!({"a": 1}),
        };
        let payload = good.to_payload();
        assert_eq!(Statement::parse(&payload), Ok(good.clone()));
        assert!(good.is_about(&digest.to_string()));
        let text = String::from_utf8(payload).unwrap();
        for (from, to) in [
            ("Statement/v1", "Statement/v9"),
            (r#""sha256""#, r#""sha256":"x","sha256""#),
            (r#"{"a":1}"#, "[]"),
            (r#""predicate":"#, r#""predicatf":"#),
        ] {
            assert!(Statement::parse(text.replace(from, to).as_bytes()).is_err(), "{from}");
        }
        let bare = Statement { subject: vec![], ..good };
        assert_eq!(Statement::parse(&bare.to_payload()), Err(StatementError::NoDigest));
    }
}
