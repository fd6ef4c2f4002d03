//! The document a policy reads as `input`.
//!
//! Field names are those of the Rego rules. Unknown fields are refused when a recorded
//! input is read back, so that a replay never runs on half of it.

use sealwright_attest::Timestamp;
use sealwright_manifest::Sha256;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The value of [`DecisionInput::api_version`].
pub(crate) const API_VERSION: &str = "sealwright.dev/v1";
/// The value of [`DecisionInput::kind`].
pub(crate) const KIND: &str = "ModelDecisionInput";
/// How many statements and revocations one decision may look at.
pub(crate) const MAX_STATEMENTS: usize = 4096;
/// The largest input in bytes of JSON.
pub(crate) const MAX_INPUT_BYTES: usize = 16 * 1024 * 1024;

/// Everything a decision depends on besides the policy. With the policy's digest it
/// is the record from which the decision can be replayed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecisionInput {
    /// `sealwright.dev/v1`.
    #[serde(rename = "apiVersion")]
    pub api_version: String,
    /// `ModelDecisionInput`.
    pub kind: String,
    /// When, why and under which rules.
    pub evaluation: Evaluation,
    /// Who wants to use the model, and where.
    pub request: RequestInput,
    /// The model in question.
    pub model: Model,
    /// Verified statements about the model, sorted.
    pub attestations: Vec<Attestation>,
    /// Verified revocations, sorted; also those about other models, if they name a signer
    /// or a statement that is among [`DecisionInput::attestations`].
    pub revocations: Vec<Attestation>,
    /// The newest state of the log the caller has verified.
    pub log: Option<LogInput>,
    /// What did not become a statement; only for messages.
    pub rejected: Vec<Refused>,
}

/// When, why and under which rules a decision is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// The caller's name for this decision; unique in its records.
    pub id: String,
    /// The time of the decision, RFC 3339 in UTC.
    pub time: Timestamp,
    /// What the model is to be used for, such as `verify`, `deploy` or `mount`.
    pub purpose: String,
    /// [`crate::Policy::digest`].
    pub policy_sha256: String,
}

/// Who wants to use the model, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestInput {
    /// The environment, such as `prod`: a DNS label.
    pub environment: String,
    /// The cluster, if there is one.
    pub cluster: Option<String>,
    /// The namespace, if there is one.
    pub namespace: Option<String>,
    /// The workload, such as `Deployment/scorer`, if there is one.
    pub workload: Option<String>,
    /// Who asks, if known.
    pub principal: Option<String>,
    /// True if nothing will be done with the answer.
    pub dry_run: bool,
}

/// The model in question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// A name for people. Nothing is matched by it.
    pub name: String,
    /// What everything is matched by.
    pub digest: ModelDigest,
}

/// The identity of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelDigest {
    /// SHA-256 of the canonical manifest, 64 lower-case hex digits.
    pub sha256: String,
}

/// One verified statement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attestation {
    /// SHA-256 of the envelope, lower-case hex.
    pub envelope_sha256: String,
    /// Always true in what [`crate::decide`] makes.
    pub verified: bool,
    /// The in-toto predicate type.
    pub predicate_type: String,
    /// The model digest the statement is about; absent if it is about no model.
    pub subject_digest: Option<String>,
    /// The trusted time, RFC 3339 in UTC; never one the signer wrote.
    pub time: Timestamp,
    /// Where `time` is from: `log-signed`.
    pub time_source: String,
    /// Who signed.
    pub signer: SignerInput,
    /// Where it is in the log.
    pub log: LogEntry,
    /// The predicate, an object.
    pub predicate: Value,
}

/// Who signed a statement, as the verifier says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignerInput {
    /// The name the role binding gives the key.
    pub principal: String,
    /// The identity of the key.
    pub key: String,
    /// The roles the principal was bound to at the trusted time, sorted.
    pub roles: Vec<String>,
}

/// A place in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogEntry {
    /// The log's origin (C2SP tlog-checkpoint).
    pub origin: String,
    /// The index of the entry, from 0.
    pub index: u64,
}

/// A verified checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogInput {
    /// The log's origin.
    pub origin: String,
    /// When the log signed the checkpoint, RFC 3339 in UTC.
    pub checkpoint_time: Timestamp,
    /// How many entries it covers.
    pub tree_size: u64,
    /// Names of the witnesses known to the verifier that cosigned it, ascending. Records of before
    /// there were any have none.
    #[serde(default)]
    pub witnesses: Vec<String>,
}

/// Something that was offered as a statement and refused by the verifier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// Why, in a few words.
    pub reason: String,
}

impl DecisionInput {
    /// How many statements and revocations the decision looks at.
    pub(crate) fn statements(&self) -> usize {
        self.attestations.len().saturating_add(self.revocations.len())
    }

    /// The document as compact JSON: what [`DecisionInput::digest`] is of. Reading it back and writing
    /// it again gives the same bytes.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // String keys and finite numbers only: this cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// SHA-256 of [`DecisionInput::to_json`]: names the document in records and summaries.
    #[must_use]
    pub fn digest(&self) -> Sha256 {
        Sha256::of(&self.to_json())
    }

    /// What is wrong with the document, if anything. No decision is asked with one that has a fault;
    /// the rules may rely on it.
    #[must_use]
    pub fn fault(&self) -> Option<&'static str> {
        let statements = || self.attestations.iter().chain(&self.revocations);
        let checks = [
            (self.api_version == API_VERSION, "apiVersion is not sealwright.dev/v1"),
            (self.kind == KIND, "kind is not ModelDecisionInput"),
            (!self.evaluation.id.is_empty(), "the decision has no id"),
            (is_label(&self.request.environment), "the environment is not a DNS label"),
            (is_sha256(&self.model.digest.sha256), "the model digest is not a SHA-256"),
            (statements().count() <= MAX_STATEMENTS, "there are too many statements"),
            (statements().all(|a| a.verified), "a statement is not verified"),
            (
                statements().all(|a| is_sha256(&a.envelope_sha256)),
                "an envelope digest is not a SHA-256",
            ),
            (statements().all(|a| a.predicate.is_object()), "a predicate is not an object"),
            (
                self.attestations
                    .iter()
                    .all(|a| a.subject_digest.as_ref() == Some(&self.model.digest.sha256)),
                "a statement is about another model",
            ),
        ];
        checks.into_iter().find(|(holds, _)| !holds).map(|(_, fault)| fault)
    }
}

/// RFC 1123, section 2.1, as Kubernetes reads it.
pub(crate) fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
