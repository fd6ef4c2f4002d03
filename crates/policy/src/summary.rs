//! A decision outside of the process: the predicate of a SLSA Verification Summary Attestation.

use sealwright_attest::Timestamp;
use sealwright_manifest::Sha256;
use serde_json::{Map, Value, json};

use crate::input::RequestInput;
use crate::verdict::Violation;

/// Extension fields of a VSA have URIs for names (SLSA VSA v1, parsing rules): these begin so.
pub const VSA_EXTENSION: &str = "https://sealwright.dev/vsa/v0.1/";

/// What a verification summary says. [`Summary::to_predicate`] writes it down.
#[derive(Clone, Debug)]
pub struct Summary<'a> {
    /// `verifier.id`: who decided, a URI.
    pub verifier_id: &'a str,
    /// Of the program.
    pub verifier_version: &'a str,
    /// When it was decided.
    pub time: Timestamp,
    /// Where the model may be used, not only which model it is: a summary for one environment must be
    /// useless in another.
    pub resource_uri: &'a str,
    /// [`crate::Policy::digest`].
    pub policy_digest: &'a str,
    /// SHA-256 of the envelope of every statement that the policy was given, lower-case hex.
    pub statements: Vec<&'a str>,
    /// What else the decision rests on: name and SHA-256, such as the role binding's.
    pub resources: &'a [(&'a str, Sha256)],
    /// The answer.
    pub passed: bool,
    /// `verifiedLevels` of a yes.
    pub levels: &'a [String],
    /// Why it is a no.
    pub violations: &'a [Violation],
    /// The caller's name for the decision; unique in its records.
    pub id: &'a str,
    /// What for.
    pub purpose: &'a str,
    /// Who asked, and where.
    pub request: &'a RequestInput,
    /// More extension fields, by the part of their names after [`VSA_EXTENSION`].
    pub more: Vec<(&'a str, Value)>,
}

impl Summary<'_> {
    /// The predicate (SLSA VSA version 1).
    ///
    /// `inputAttestations` lists everything that the decision rests on by digest: every statement, as
    /// the specification demands of a list that is not empty, and then, with their names, the policy
    /// and [`Summary::resources`]. Our own fields, which readers of a VSA must ignore, are
    /// `violations`, `request`, `dryRun` if the request was one, and [`Summary::more`].
    #[must_use]
    pub fn to_predicate(&self) -> Value {
        let policy_uri = format!("https://sealwright.dev/policy/sha256/{}", self.policy_digest);
        let mut statements = self.statements.clone();
        statements.sort_unstable();
        statements.dedup();
        let mut inputs: Vec<Value> =
            statements.into_iter().map(|sha256| json!({"digest": {"sha256": sha256}})).collect();
        inputs.push(json!({
            "name": "policy", "uri": policy_uri, "digest": {"sha256": self.policy_digest},
        }));
        inputs.extend(
            self.resources
                .iter()
                .map(|(name, sha256)| json!({"name": name, "digest": {"sha256": sha256}})),
        );
        let failed = [String::from("FAILED")];
        let mut predicate = json!({
            "verifier": {
                "id": self.verifier_id,
                "version": {"sealwright": self.verifier_version},
            },
            "timeVerified": self.time.to_string(),
            "resourceUri": self.resource_uri,
            "policy": {"uri": policy_uri, "digest": {"sha256": self.policy_digest}},
            "inputAttestations": inputs,
            "verificationResult": if self.passed { "PASSED" } else { "FAILED" },
            "verifiedLevels": if self.passed { self.levels } else { &failed },
        });
        if let Some(fields) = predicate.as_object_mut() {
            self.add_extensions(fields);
        }
        predicate
    }

    fn add_extensions(&self, fields: &mut Map<String, Value>) {
        let mut add =
            |name: &str, value: Value| fields.insert(format!("{VSA_EXTENSION}{name}"), value);
        let request = self.request;
        add("violations", json!(self.violations));
        add(
            "request",
            json!({
                "id": self.id,
                "purpose": self.purpose,
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
        for (name, value) in &self.more {
            add(name, value.clone());
        }
    }
}
