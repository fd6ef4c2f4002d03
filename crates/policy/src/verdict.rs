//! The answer, and its form outside of the process.

use sealwright_attest::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::input::DecisionInput;

/// The predicate type of [`Verdict::to_vsa_predicate`].
pub const VSA_TYPE: &str = "https://slsa.dev/verification_summary/v1";

/// Extension fields of a VSA have URIs for names (SLSA VSA v1, parsing rules).
const EXTENSION: &str = "https://sealwright.dev/vsa/v0.1/";

/// Codes this crate gives itself. All others are the policy's; see the README of the
/// starter policy for those.
pub mod code {
    /// The document for the policy is not well-formed; a fault of the caller.
    pub const INPUT_INVALID: &str = "INPUT_INVALID";
    /// The engine reported an error, or the answer of the policy is not a decision.
    pub const POLICY_ERROR: &str = "POLICY_ERROR";
    /// The policy took longer than 100 ms, and 2 ms for each statement.
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
    /// The predicate of a SLSA Verification Summary Attestation, version 1
    /// ([`VSA_TYPE`]) with this verdict; its subject is `self.input.model.digest`.
    ///
    /// `inputAttestations` lists every statement the policy was given, as the
    /// specification demands of a list that is not empty. `resource_uri` must say where
    /// the model may be used, not only which model it is: a VSA for one environment must
    /// be useless in another. `time` is when the verdict was made. Our own fields, which
    /// readers of a VSA must ignore, have names under
    /// `https://sealwright.dev/vsa/v0.1/`: `violations`, `request`, and `dryRun` if the
    /// request was one.
    #[must_use]
    pub fn to_vsa_predicate(
        &self,
        verifier_id: &str,
        verifier_version: &str,
        time: Timestamp,
        resource_uri: &str,
    ) -> Value {
        let digest_only = |sha256: &String| json!({ "digest": { "sha256": sha256 } });
        let statements = self.input.attestations.iter().chain(&self.input.revocations);
        let mut inputs: Vec<&String> = statements.map(|a| &a.envelope_sha256).collect();
        inputs.sort_unstable();
        inputs.dedup();
        let failed = vec![String::from("FAILED")];
        let mut predicate = json!({
            "verifier": { "id": verifier_id, "version": { "sealwright": verifier_version } },
            "timeVerified": time.to_string(),
            "resourceUri": resource_uri,
            "policy": {
                "uri": format!("https://sealwright.dev/policy/sha256/{}", self.policy_digest),
                "digest": { "sha256": self.policy_digest },
            },
            "inputAttestations": inputs.into_iter().map(digest_only).collect::<Vec<_>>(),
            "verificationResult": if self.allow { "PASSED" } else { "FAILED" },
            "verifiedLevels": if self.allow { &self.verified_levels } else { &failed },
        });
        if let Some(fields) = predicate.as_object_mut() {
            self.add_extensions(fields);
        }
        predicate
    }

    fn add_extensions(&self, fields: &mut Map<String, Value>) {
        let mut add = |name: &str, value: Value| fields.insert(format!("{EXTENSION}{name}"), value);
        let request = &self.input.request;
        add("violations", json!(self.violations));
        add(
            "request",
            json!({
                "id": self.input.evaluation.id,
                "purpose": self.input.evaluation.purpose,
                "environment": request.environment,
                "cluster": request.cluster,
                "namespace": request.namespace,
                "workload": request.workload,
                "principal": request.principal,
            }),
        );
        if request.dry_run {
            add("dryRun", Value::Bool(true));
        }
    }
}
