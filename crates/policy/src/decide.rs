//! From verified statements to a verdict.

use std::collections::BTreeSet;
use std::time::Duration;

use sealwright_attest::{Timestamp, Verified, predicate};
use sealwright_manifest::Sha256;
use serde_json::Value;

use crate::answer::{clean, read_decision};
use crate::engine::{self, Failure};
use crate::input::{
    API_VERSION, Attestation, DecisionInput, Evaluation, KIND, LogEntry, LogInput, MAX_INPUT_BYTES,
    Model, ModelDigest, Refused, RequestInput, SignerInput,
};
use crate::policy::{DECISION, Policy};
use crate::verdict::{Outcome, Verdict, code};

/// What is asked: may this model be used, there, now?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The caller's name for this decision; unique in its records.
    pub id: String,
    /// The time of the decision.
    pub time: Timestamp,
    /// What the model is to be used for, such as `verify`, `deploy` or `mount`.
    pub purpose: String,
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
    /// A name of the model for people. Nothing is matched by it.
    pub model_name: String,
    /// The model digest.
    pub model_digest: Sha256,
    /// Why bundles were refused by the verifier, in a few words each. They change no
    /// decision, only what a deny says.
    pub rejected: Vec<String>,
}

impl Request {
    /// The part of it that says who wants to use the model, and where.
    #[must_use]
    pub fn to_input(&self) -> RequestInput {
        RequestInput {
            environment: self.environment.clone(),
            cluster: self.cluster.clone(),
            namespace: self.namespace.clone(),
            workload: self.workload.clone(),
            principal: self.principal.clone(),
            dry_run: self.dry_run,
        }
    }
}

/// The newest state of the log the caller has verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogView {
    /// The log's origin.
    pub origin: String,
    /// When the log signed the checkpoint.
    pub checkpoint_time: Timestamp,
    /// How many entries the checkpoint covers.
    pub tree_size: u64,
    /// Names of the witnesses that cosigned the checkpoint, as the caller has verified.
    pub witnesses: Vec<String>,
}

/// Decides whether the model of `request` may be used, on the statements in `facts`
/// about it. Statements about other models are left out, except revocations that name a
/// signer, or one of the statements that are left. Of what was logged several times with one signature, the
/// first entry counts.
///
/// Never fails: whatever goes wrong is a deny with a code of [`code`].
#[must_use]
pub fn decide(
    policy: &Policy,
    request: &Request,
    log: Option<&LogView>,
    facts: &[Verified],
) -> Verdict {
    let facts = facts.iter().map(|verified| Fact::of(verified, &request.model_digest));
    decide_facts(policy, request, log, facts)
}

/// Decides again from a recorded input, with the policy of then or with another one.
///
/// Gives an [`Outcome`] and not a [`Verdict`], because nothing here shows that the
/// statements in `input` were ever verified.
#[must_use]
pub fn replay(policy: &Policy, input: &DecisionInput) -> Outcome {
    outcome(policy, input, engine::DECISION_LIMIT)
}

/// The part of a verified statement that a policy may see.
#[derive(Clone, Debug)]
struct Fact {
    envelope_sha256: String,
    signing: Sha256,
    predicate_type: String,
    predicate: Value,
    about_model: bool,
    signer: SignerInput,
    log: LogEntry,
    time: Timestamp,
}

impl Fact {
    fn of(verified: &Verified, model_digest: &Sha256) -> Self {
        let (statement, signer, logged) =
            (verified.statement(), verified.signer(), verified.logged());
        Self {
            envelope_sha256: verified.digest().to_string(),
            signing: verified.signing(),
            predicate_type: statement.predicate_type.clone(),
            predicate: statement.predicate.clone(),
            about_model: verified.is_about(model_digest),
            signer: SignerInput {
                principal: signer.principal().to_owned(),
                key: signer.key_id().to_owned(),
                roles: signer.roles().to_vec(),
            },
            log: LogEntry { origin: logged.origin().to_owned(), index: logged.index() },
            time: logged.time(),
        }
    }
}

fn decide_facts(
    policy: &Policy,
    request: &Request,
    log: Option<&LogView>,
    facts: impl IntoIterator<Item = Fact>,
) -> Verdict {
    let input = decision_input(policy, request, log, facts);
    let Outcome { allow, violations, evidence } = outcome(policy, &input, engine::DECISION_LIMIT);
    Verdict {
        allow,
        violations,
        evidence,
        policy_digest: policy.digest().to_owned(),
        verified_levels: policy.verified_levels(),
        input,
    }
}

fn decision_input(
    policy: &Policy,
    request: &Request,
    log: Option<&LogView>,
    facts: impl IntoIterator<Item = Fact>,
) -> DecisionInput {
    let facts = concerning(first_logged(facts), &request.model_digest);
    let (mut attestations, mut revocations) = (Vec::new(), Vec::new());
    for fact in facts {
        let is_revocation = fact.predicate_type == predicate::REVOCATION;
        let list = if is_revocation { &mut revocations } else { &mut attestations };
        list.push(attestation(fact, &request.model_digest));
    }
    // The order in which a caller found its statements must not show in the record.
    for list in [&mut attestations, &mut revocations] {
        list.sort_by_cached_key(|a| {
            (a.envelope_sha256.clone(), a.log.origin.clone(), a.log.index, a.signer.key.clone())
        });
        list.dedup();
    }
    let mut rejected: Vec<&String> = request.rejected.iter().collect();
    rejected.sort_unstable();
    DecisionInput {
        api_version: API_VERSION.to_owned(),
        kind: KIND.to_owned(),
        evaluation: Evaluation {
            id: request.id.clone(),
            time: request.time,
            purpose: request.purpose.clone(),
            policy_sha256: policy.digest().to_owned(),
        },
        request: request.to_input(),
        model: Model {
            name: request.model_name.clone(),
            digest: ModelDigest { sha256: request.model_digest.to_string() },
        },
        attestations,
        revocations,
        log: log.map(|log| LogInput {
            origin: log.origin.clone(),
            checkpoint_time: log.checkpoint_time,
            tree_size: log.tree_size,
            witnesses: log.witnesses.clone(),
        }),
        rejected: rejected.into_iter().map(|reason| Refused { reason: reason.clone() }).collect(),
    }
}

/// Leaves out what was logged again. Anybody can make a second valid ECDSA signature out of one
/// that is public, and log the statement with it: an old approval would then come after the
/// rejection that followed it, and an old test result would be new. Who signs a statement anew makes
/// another signature, and that one counts.
fn first_logged(facts: impl IntoIterator<Item = Fact>) -> Vec<Fact> {
    let mut facts: Vec<Fact> = facts.into_iter().collect();
    facts.sort_by_key(|fact| fact.log.index);
    let mut seen = BTreeSet::new();
    facts.retain(|fact| seen.insert((fact.log.origin.clone(), fact.signing)));
    facts
}

/// Leaves out what is about other models. A revocation can name a signer or a statement, and so
/// reach models that it is not about; left out is only one that surely does not: revocations gather
/// for ever, and all of them together would make every decision slower until none is in time.
fn concerning(mut facts: Vec<Fact>, model_digest: &Sha256) -> Vec<Fact> {
    facts.retain(|fact| fact.about_model || fact.predicate_type == predicate::REVOCATION);
    let model = model_digest.to_string();
    let statements: BTreeSet<_> = facts.iter().map(|fact| fact.envelope_sha256.clone()).collect();
    facts.retain(|fact| {
        let target = |name| fact.predicate.pointer(name).and_then(Value::as_str);
        let elsewhere = match (target("/target/model_sha256"), target("/target/envelope_sha256")) {
            (Some(recalled), None) => recalled != model,
            (None, Some(withdrawn)) => !statements.contains(withdrawn),
            _ => false,
        };
        fact.about_model || !elsewhere
    });
    facts
}

fn attestation(fact: Fact, model_digest: &Sha256) -> Attestation {
    Attestation {
        envelope_sha256: fact.envelope_sha256,
        verified: true,
        predicate_type: fact.predicate_type,
        subject_digest: fact.about_model.then(|| model_digest.to_string()),
        time: fact.time,
        time_source: String::from("log-signed"),
        signer: fact.signer,
        log: fact.log,
        predicate: fact.predicate,
    }
}

fn outcome(policy: &Policy, input: &DecisionInput, limit: Duration) -> Outcome {
    if let Some(fault) = input.fault() {
        return Outcome::deny(
            code::INPUT_INVALID,
            format!("The decision cannot be asked: {fault}."),
        );
    }
    let json = match serde_json::to_string(input) {
        Ok(json) if json.len() <= MAX_INPUT_BYTES => json,
        Ok(_) => {
            let message = "The decision cannot be asked: the statements are too large.";
            return Outcome::deny(code::INPUT_INVALID, message);
        }
        Err(error) => return Outcome::deny(code::INPUT_INVALID, clean(&error.to_string())),
    };
    match engine::evaluate(policy.engine(), DECISION, &json, limit) {
        Ok(value) => read_decision(value, input).unwrap_or_else(|fault| {
            let message = format!("The policy's answer is not a decision: {fault}.");
            Outcome::deny(code::POLICY_ERROR, clean(&message))
        }),
        Err(Failure::Error(text)) => {
            Outcome::deny(code::POLICY_ERROR, clean(&format!("The policy failed: {text}")))
        }
        Err(Failure::Timeout) => Outcome::deny(
            code::POLICY_TIMEOUT,
            format!("The policy took longer than {} ms; make it cheaper.", limit.as_millis()),
        ),
        Err(Failure::Undefined) => Outcome::deny(
            code::POLICY_UNDEFINED,
            "The policy has no decision for this input; give data.sealwright.main.decision a value for every input.",
        ),
        Err(Failure::Panic) => Outcome::deny(
            code::POLICY_PANIC,
            "The policy engine panicked on this policy and input; its report is on standard error.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::verdict::VSA_TYPE;

    const DIGEST: Sha256 = Sha256::from_bytes([7; 32]);

    fn time(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn policy() -> Policy {
        Policy::load(std::path::Path::new(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../policies/starter"
        )))
        .unwrap()
    }

    fn request() -> Request {
        Request {
            id: String::from("decision-1"),
            time: time("2026-11-20T10:00:00Z"),
            purpose: String::from("deploy"),
            environment: String::from("prod"),
            cluster: None,
            namespace: Some(String::from("loans")),
            workload: None,
            principal: None,
            dry_run: false,
            model_name: String::from("loan-approval"),
            model_digest: DIGEST,
            rejected: Vec::new(),
        }
    }

    fn log() -> LogView {
        LogView {
            origin: String::from("log.example"),
            checkpoint_time: time("2026-11-20T09:50:00Z"),
            tree_size: 40,
            witnesses: Vec::new(),
        }
    }

    fn fact(index: u8, predicate_type: &str, who: &str, roles: &[&str], predicate: Value) -> Fact {
        Fact {
            envelope_sha256: Sha256::from_bytes([index; 32]).to_string(),
            signing: Sha256::from_bytes([index; 32]),
            predicate_type: predicate_type.to_owned(),
            predicate,
            about_model: true,
            signer: SignerInput {
                principal: format!("{who}@loans.example"),
                key: format!("key of {who}"),
                roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            },
            log: LogEntry { origin: String::from("log.example"), index: index.into() },
            time: time("2026-11-19T12:00:00Z"),
        }
    }

    fn approval(index: u8, who: &str, role: &str) -> Fact {
        let predicate = json!({
            "decision": "APPROVED", "role": role, "environment": "prod", "meaning": "fit for use",
            "expiresOn": "2027-02-01T00:00:00Z",
        });
        fact(index, predicate::APPROVAL, who, &[role], predicate)
    }

    fn facts(policy: &Policy) -> Vec<Fact> {
        // A value on the right side of every gate of the policy: the threshold itself.
        let gates = policy.data().pointer("/sealwright/config/gates/required").unwrap();
        let metrics: Vec<Value> = gates
            .as_array()
            .unwrap()
            .iter()
            .map(|gate| {
                json!({ "metric": gate["metric"], "slice": gate["slice"], "value": gate["threshold"] })
            })
            .collect();
        let result =
            json!({ "result": "PASSED", "configuration": [], "sealwright_metrics": metrics });
        let oms = sealwright_attest::OMS_PREDICATE_TYPE;
        vec![
            fact(0, oms, "trainer", &["trainer"], json!({})),
            fact(1, predicate::TEST_RESULT, "evaluator", &["evaluator"], result),
            approval(2, "lead", "lead-data-scientist"),
            approval(3, "officer", "compliance"),
        ]
    }

    #[test]
    fn good_facts_are_allowed_whatever_their_order() {
        let policy = policy();
        let mut facts = facts(&policy);
        let first = decide_facts(&policy, &request(), Some(&log()), facts.clone());
        assert!(first.allow, "{:#?}", first.violations);
        assert_eq!(first.evidence.len(), 4);
        facts.reverse();
        facts.push(facts[0].clone());
        assert_eq!(decide_facts(&policy, &request(), Some(&log()), facts), first);
    }

    #[test]
    fn without_a_log_view_nothing_is_allowed() {
        let policy = policy();
        let verdict = decide_facts(&policy, &request(), None, facts(&policy));
        assert!(!verdict.allow);
        assert!(verdict.violations.iter().any(|violation| violation.code == "LOG_STALE"));
        assert!(!decide(&policy, &request(), Some(&log()), &[]).allow);
    }

    #[test]
    fn facts_about_other_models_stay_outside_but_for_revocations() {
        let policy = policy();
        let mut facts = facts(&policy);
        facts[3].about_model = false;
        let verdict = decide_facts(&policy, &request(), Some(&log()), facts.clone());
        assert_eq!(verdict.violations[0].code, "APPROVAL_MISSING");
        assert_eq!(verdict.input.attestations.len(), 3);

        facts[3].about_model = true;
        let revocation = json!({
            "target": { "signer": "officer@loans.example" }, "role": "security",
            "reason": "left", "effective": "2026-11-01T00:00:00Z",
        });
        let mut revocation =
            fact(9, predicate::REVOCATION, "security-officer", &["security"], revocation);
        revocation.about_model = false;
        facts.push(revocation);
        let verdict = decide_facts(&policy, &request(), Some(&log()), facts);
        assert_eq!(verdict.violations[0].code, "APPROVAL_MISSING");
        assert_eq!(verdict.input.revocations.len(), 1);
        assert_eq!(verdict.input.revocations[0].subject_digest, None);
    }

    #[test]
    fn what_is_logged_again_counts_as_it_was_logged_first() {
        let policy = policy();
        let mut facts = facts(&policy);
        facts[1].time = time("2026-08-01T00:00:00Z");
        let mut again = facts[1].clone();
        (again.log.index, again.time) = (30, time("2026-11-19T12:00:00Z"));
        facts.insert(0, again.clone());
        let verdict = decide_facts(&policy, &request(), Some(&log()), facts.clone());
        assert_eq!(verdict.violations[0].code, "GATE_MISSING");
        assert_eq!(verdict.input.attestations.len(), 4);
        // Signed anew it is another act.
        again.signing = Sha256::from_bytes([30; 32]);
        facts.push(again);
        assert!(decide_facts(&policy, &request(), Some(&log()), facts).allow);
    }

    #[test]
    fn revocations_of_other_models_make_no_decision_slower() {
        let policy = policy();
        let mut facts = facts(&policy);
        for number in 0..5000 {
            let other = Sha256::of(format!("{number}").as_bytes()).to_string();
            let name = if number % 2 == 0 { "model_sha256" } else { "envelope_sha256" };
            let predicate = json!({
                "target": { name: other }, "role": "security", "reason": "recall",
                "effective": "2026-11-01T00:00:00Z",
            });
            let mut revocation =
                fact(9, predicate::REVOCATION, "security-officer", &["security"], predicate);
            revocation.about_model = false;
            revocation.signing = Sha256::of(other.as_bytes());
            facts.push(revocation);
        }
        let verdict = decide_facts(&policy, &request(), Some(&log()), facts.clone());
        assert!(verdict.allow, "{:#?}", verdict.violations);
        assert_eq!(verdict.input.revocations, []);
        // One of them names what counts here.
        let own = facts[3].envelope_sha256.clone();
        facts[5].predicate["target"]["envelope_sha256"] = own.into();
        let verdict = decide_facts(&policy, &request(), Some(&log()), facts);
        assert_eq!(verdict.violations[0].code, "APPROVAL_MISSING");
        assert_eq!(verdict.input.revocations.len(), 1);
    }

    #[test]
    fn a_record_replays_to_the_same_answer() {
        let policy = policy();
        for count in 0..=4 {
            let some = facts(&policy).into_iter().take(count);
            let verdict = decide_facts(&policy, &request(), Some(&log()), some);
            let record = serde_json::to_vec(&verdict.input).unwrap();
            let outcome = replay(&policy, &serde_json::from_slice(&record).unwrap());
            assert_eq!(outcome.allow, verdict.allow);
            assert_eq!(outcome.violations, verdict.violations);
            assert_eq!(outcome.evidence, verdict.evidence);
        }
    }

    #[test]
    fn a_verdict_is_a_vsa() {
        let policy = policy();
        let verdict = decide_facts(&policy, &request(), Some(&log()), facts(&policy));
        let roles = [("role-binding", DIGEST)];
        let summary = verdict.summary(
            "https://sealwright.example/verifier",
            "0.1.0",
            time("2026-11-20T10:00:01Z"),
            "oci://registry.example/loan-approval",
            &roles,
        );
        let vsa = summary.to_predicate();
        predicate::check(predicate::VERIFICATION_SUMMARY, &vsa).unwrap();
        assert_eq!(VSA_TYPE, predicate::VERIFICATION_SUMMARY);
        let mut inputs: Vec<Value> = (0..4)
            .map(|n| json!({ "digest": { "sha256": Sha256::from_bytes([n; 32]).to_string() } }))
            .collect();
        let uri = format!("https://sealwright.dev/policy/sha256/{}", policy.digest());
        inputs.extend([
            json!({ "name": "policy", "uri": uri, "digest": { "sha256": policy.digest() } }),
            json!({ "name": "role-binding", "digest": { "sha256": DIGEST } }),
        ]);
        assert_eq!(
            vsa,
            json!({
                "verifier": {
                    "id": "https://sealwright.example/verifier",
                    "version": { "sealwright": "0.1.0" },
                },
                "timeVerified": "2026-11-20T10:00:01Z",
                "resourceUri": "oci://registry.example/loan-approval",
                "policy": {
                    "uri": format!("https://sealwright.dev/policy/sha256/{}", policy.digest()),
                    "digest": { "sha256": policy.digest() },
                },
                "inputAttestations": inputs,
                "verificationResult": "PASSED",
                "verifiedLevels": ["SEALWRIGHT_TWO_ROLE_APPROVED"],
                "https://sealwright.dev/vsa/v0.1/violations": [],
                "https://sealwright.dev/vsa/v0.1/request": {
                    "id": "decision-1", "purpose": "deploy", "environment": "prod",
                    "cluster": null, "namespace": "loans", "workload": null, "principal": null,
                },
            })
        );
    }

    #[test]
    fn a_deny_is_a_failed_vsa_with_its_reasons() {
        let policy = policy();
        let request = Request { dry_run: true, ..request() };
        let some = facts(&policy).into_iter().take(3);
        let verdict = decide_facts(&policy, &request, Some(&log()), some);
        let summary = verdict.summary("https://v.example", "0", request.time, "x:y", &[]);
        let vsa = summary.to_predicate();
        assert_eq!(vsa["verificationResult"], "FAILED");
        assert_eq!(vsa["verifiedLevels"], json!(["FAILED"]));
        let violations = &vsa["https://sealwright.dev/vsa/v0.1/violations"];
        assert_eq!(violations[0]["code"], "APPROVAL_MISSING");
        assert_eq!(vsa["https://sealwright.dev/vsa/v0.1/dryRun"], true);
    }

    #[test]
    fn a_policy_is_shared_between_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<Policy>();
    }
}
