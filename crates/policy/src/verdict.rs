//! The answer, and its form outside of the process.

use sealwright_attest::Timestamp;
use sealwright_manifest::Sha256;
use serde::{Deserialize, Serialize};

use crate::input::DecisionInput;
use crate::summary::Summary;

/// The predicate type of [`Summary::to_predicate`].
pub const VSA_TYPE: &str = "https://slsa.dev/verification_summary/v1";

/// Codes this crate gives itself. All others are the policy's; see the README of the
/// starter policy for those.
pub mod code {
    /// The document for the policy is not well-formed; a fault of the caller.
    pub const INPUT_INVALID: &str = "INPUT_INVALID";
    /// The engine reported an error, or the answer of the policy is not a decision.
    pub const POLICY_ERROR: &str = "POLICY_ERROR";
    /// The policy took longer than 100 ms.
    pub const POLICY_TIMEOUT: &str = "POLICY_TIMEOUT";
    /// The policy has no decision for this input.
    pub const POLICY_UNDEFINED: &str = "POLICY_UNDEFINED";
    /// The engine panicked.
    pub const POLICY_PANIC: &str = "POLICY_PANIC";
    /// The policy denied and gave no reason.
    pub const POLICY_NO_REASON: &str = "POLICY_NO_REASON";
}

/// One reason for a deny.
///
/// Ordered by code, control and message.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Violation {
    /// Stable and for programs: upper-case letters, digits and underscores.
    pub code: String,
    /// What the rule is there for, such as `two-role-approval`.
    pub control: String,
    /// One sentence for people: what is missing and how to mend it. No control
    /// characters.
    pub message: String,
}

/// What a policy said about an input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Outcome {
    /// True only if there are no violations.
    pub allow: bool,
    /// Sorted, no two alike. Not empty if `allow` is false.
    pub violations: Vec<Violation>,
    /// The statements the policy relied on, by the SHA-256 of their envelopes; sorted.
    pub evidence: Vec<String>,
}

/// What [`crate::decide`] decided, with all that is needed to decide it again.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Verdict {
    /// True only if there are no violations.
    pub allow: bool,
    /// Sorted, no two alike. Not empty if `allow` is false.
    pub violations: Vec<Violation>,
    /// The statements the policy relied on, by the SHA-256 of their envelopes; sorted.
    pub evidence: Vec<String>,
    /// [`crate::Policy::digest`].
    pub policy_digest: String,
    /// [`crate::Policy::verified_levels`].
    pub verified_levels: Vec<String>,
    /// What the policy was asked.
    pub input: DecisionInput,
}

impl Outcome {
    /// A deny for one reason that is not the policy's.
    pub(crate) fn deny(code: &str, message: impl Into<String>) -> Self {
        let violation = Violation {
            code: code.to_owned(),
            control: String::from("policy-engine"),
            message: message.into(),
        };
        Self { allow: false, violations: vec![violation], evidence: Vec::new() }
    }
}

impl Verdict {
    /// What the verdict says in a verification summary (SLSA VSA version 1, [`VSA_TYPE`]), whose
    /// subject is `self.input.model.digest`. `resources` are what the caller decided with beside the
    /// policy: name and SHA-256.
    #[must_use]
    pub fn summary<'a>(
        &'a self,
        verifier_id: &'a str,
        verifier_version: &'a str,
        time: Timestamp,
        resource_uri: &'a str,
        resources: &'a [(&'a str, Sha256)],
    ) -> Summary<'a> {
        Summary {
            verifier_id,
            verifier_version,
            time,
            resource_uri,
            policy_digest: &self.policy_digest,
            statements: self.statements().collect(),
            resources,
            passed: self.allow,
            levels: &self.verified_levels,
            violations: &self.violations,
            id: &self.input.evaluation.id,
            purpose: &self.input.evaluation.purpose,
            request: &self.input.request,
            more: Vec::new(),
        }
    }

    /// SHA-256 of the envelope of every statement that the policy was given.
    pub fn statements(&self) -> impl Iterator<Item = &str> {
        let all = self.input.attestations.iter().chain(&self.input.revocations);
        all.map(|a| a.envelope_sha256.as_str())
    }
}
