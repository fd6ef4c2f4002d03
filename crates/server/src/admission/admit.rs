//! From a request to a decision, and from the decision to its record and the answer.

use std::sync::Arc;

use sealwright_attest::{
    PublicKey, RoleBinding, SharedSigner, Statement, Subject, Timestamp, TrustedRoot, predicate,
};
use sealwright_manifest::Sha256;
use sealwright_policy::{DecisionInput, Request, Summary, Verdict, Violation, decide};
use serde::Serialize;
use serde_json::Value;

use super::code;
use super::metrics::Metrics;
use super::pod::{MODEL_ANNOTATION, ModelReference};
use super::policy::PolicyInForce;
use super::publish::{Publisher, StatementLog, Work};
use super::record::{DecisionLog, MAX_INLINE_INPUT};
use super::review::{Response, Review, Unreadable};
use super::scope::{NothingRuns, Scope, scope};
use crate::evidence::{
    Denial, Evidence, EvidenceSource, LogMemory, LogState, RoleBindings, RolesRecord, find_permit,
    gather, is_weighty,
};
use crate::permit::{Needed, Permit, ROLE_BINDING};
use crate::text;

/// `verifier.id` of the webhook's verification summaries.
pub const VERIFIER_ID: &str = "https://sealwright.dev/admission";

/// The control that a missing permit belongs to.
const PERMIT_CONTROL: &str = "deploy-permit";
/// The control that everything belongs to which is wrong before a policy is asked.
const WEBHOOK_CONTROL: &str = "admission";

/// How many violations a message lists.
const MAX_LINES: usize = 20;

/// The webhook, without its sockets: what it trusts, what it asks, what it remembers, where it
/// writes. Nothing of it changes while it runs except the log memory, the newest role binding and the
/// decisions file; another policy needs a restart.
pub struct Admission {
    pub(super) roles: RoleBindings,
    pub(super) root: TrustedRoot,
    pub(super) root_digest: Sha256,
    pub(super) policy: PolicyInForce,
    pub(super) environment: String,
    pub(super) cluster: Option<String>,
    pub(super) insecure_allow_unnamed: bool,
    pub(super) deadline_ms: u64,
    pub(super) permits: Option<PermitRule>,
    pub(super) source: Arc<dyn EvidenceSource>,
    pub(super) memory: LogMemory,
    pub(super) decisions: DecisionLog,
    pub(super) publisher: Option<Publisher>,
    pub(super) metrics: Metrics,
}

/// Without a permit by this key, no model is let in.
#[derive(Debug)]
pub(super) struct PermitRule {
    pub(super) key: PublicKey,
    /// No permit counts for longer than this after it was logged.
    pub(super) max_age_s: u64,
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admission").field("policy", &self.policy).finish_non_exhaustive()
    }
}

/// A review, or why there is none; either gets a decision, a record and an answer.
pub(crate) type Asked = Result<Review, Unreadable>;

/// What was decided; not yet recorded, not yet answered.
#[derive(Debug)]
pub(crate) struct Decision {
    id: String,
    time: Timestamp,
    allowed: bool,
    basis: Basis,
    model: Option<ModelReference>,
    reasons: Vec<Reason>,
    ignored: Vec<String>,
    log: Option<LogState>,
    roles: Option<RolesRecord>,
    /// What policy is asked, once there is a model to ask about.
    question: Option<Request>,
    verdict: Option<Verdict>,
    permit: Option<Permit>,
}

/// What a decision rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Basis {
    /// The policy was asked.
    Policy,
    /// The request could not be brought before the policy.
    BeforePolicy,
    /// The pod names no model, and the configuration lets such pods pass.
    InsecureAllowUnnamed,
    /// Nothing starts to run.
    #[serde(untagged)]
    NothingRuns(NothingRuns),
}

/// Why a request was denied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Reason {
    code: String,
    message: String,
    #[serde(skip)]
    control: String,
}

impl Admission {
    /// The same, with every verdict signed and logged after it was answered. What an earlier process
    /// with this decisions file left unlogged is logged first.
    ///
    /// # Errors
    /// When the key is somebody's in the role binding or the permit key, when the state beside the
    /// decisions file cannot be read or is another process's, or there are no threads.
    pub fn with_signer(
        mut self,
        signer: SharedSigner,
        log: Arc<dyn StatementLog>,
    ) -> std::io::Result<Self> {
        let id = signer.public_key().id();
        if let Some((principal, _)) = self.roles.newest().holder(&id) {
            let name = &principal.name;
            return Err(std::io::Error::other(format!(
                "the key that signs verdicts is that of {name:?} in the role binding; it has to be for \
                 verdicts alone"
            )));
        }
        if self.permits.as_ref().is_some_and(|rule| rule.key.id() == id) {
            return Err(std::io::Error::other(
                "the key that signs verdicts is the permit key; it has to be for verdicts alone",
            ));
        }
        let work = Work::new(&self.decisions, signer, log, self.root.clone())?;
        self.publisher = Some(Publisher::start(work)?);
        Ok(self)
    }

    /// What `/metrics` gives: OpenMetrics text.
    pub(crate) fn metrics_text(&self, now: Timestamp) -> String {
        let progress = self.publisher.as_ref().map(|publisher| publisher.progress.as_ref());
        self.metrics.text(self.decisions.path(), progress, now)
    }

    /// Answers the body of one webhook call: an `AdmissionReview` in, an `AdmissionReview` out,
    /// whatever the bytes are. Blocks on the evidence source and on the disk.
    pub fn answer(&self, body: &[u8], now: Timestamp) -> Vec<u8> {
        let asked = Review::parse(body);
        let decision = self.judge(&asked, now);
        self.conclude(&asked, decision)
    }

    /// Whether the service answers with a checkpoint that verifies; the reason if not.
    ///
    /// # Errors
    /// `CODE: sentence`.
    pub fn ready(&self) -> Result<(), String> {
        match self.memory.current(self.source.as_ref(), &self.root) {
            Ok(_) => Ok(()),
            Err(Denial { code, message }) => Err(format!("{code}: {message}")),
        }
    }

    /// Decides; writes nothing but the log memory.
    pub(crate) fn judge(&self, asked: &Asked, now: Timestamp) -> Decision {
        let mut decision = Decision::new(now);
        if let Err(denial) = self.fill(&mut decision, asked) {
            decision.deny(denial);
        }
        decision
    }

    /// The decision for a request that could not be judged.
    pub(crate) fn refuse(&self, asked: &Asked, denial: Denial, now: Timestamp) -> Decision {
        let mut decision = Decision::new(now);
        if let Ok(review) = asked
            && let Ok(Scope::Model(model)) = scope(review)
            && text::is_dns_label(&review.namespace)
        {
            decision.question = Some(self.question(&decision, review, &model));
            decision.model = Some(model);
        }
        decision.deny(denial);
        decision
    }

    /// The answer when not even a denial can be recorded: there is no time, or recording panicked.
    pub(crate) fn last_resort(asked: &Asked) -> Vec<u8> {
        let message = format!("sealwright: request is denied\n{}: see the log.", code::INTERNAL);
        let (warnings, audit) = (Vec::new(), Vec::new());
        let uid = uid(asked).to_owned();
        Response { uid, allowed: false, status: 403, message, warnings, audit }.to_json()
    }

    /// Writes the record, then gives the answer.
    pub(crate) fn conclude(&self, asked: &Asked, mut decision: Decision) -> Vec<u8> {
        match self.write_down(asked, &decision) {
            Ok(()) => self.publisher.iter().for_each(Publisher::wake),
            Err(error) => {
                tracing::error!(id = decision.id, %error, "cannot write to the decisions file");
                decision.deny_also(Denial::new(
                    code::DECISION_NOT_RECORDED,
                    "The decision could not be written down; see the webhook's log.",
                ));
            }
        }
        self.metrics.decided(decision.allowed);
        let codes = decision.codes();
        let Decision { id, allowed, .. } = &decision;
        match asked {
            Ok(review) => tracing::info!(
                id, allowed, codes, uid = review.uid, dry_run = review.dry_run,
                resource = %review.resource, namespace = review.namespace, "decided"
            ),
            Err(_) => tracing::warn!(id, allowed, codes, "decided"),
        }
        self.response(asked, &decision).to_json()
    }

    fn write_down(&self, asked: &Asked, decision: &Decision) -> std::io::Result<()> {
        let input = decision.verdict.as_ref().map(|verdict| verdict.input.to_json());
        let kept = input.as_ref().map(|json| (Sha256::of(json), json));
        if let Some((digest, json)) = &kept
            && json.len() > MAX_INLINE_INPUT
        {
            self.decisions.keep_input(digest, json)?;
        }
        self.decisions.append(&self.record(
            asked,
            decision,
            kept.map(|(digest, json)| (digest, json.len())),
        ))
    }

    fn fill(&self, decision: &mut Decision, asked: &Asked) -> Result<(), Denial> {
        if decision.id.is_empty() {
            let message = "The system gives no randomness for a decision id.";
            return Err(Denial::new(code::DECISION_NOT_RECORDED, message));
        }
        let review = match asked {
            Ok(review) => review,
            Err(Unreadable { code, message, .. }) => return Err(Denial::new(code, message)),
        };
        match scope(review)? {
            Scope::NothingRuns(why) => decision.allow(Basis::NothingRuns(why)),
            Scope::Unnamed if self.insecure_allow_unnamed => {
                decision.allow(Basis::InsecureAllowUnnamed);
            }
            Scope::Unnamed => return Err(unnamed()),
            Scope::Model(model) => {
                decision.model = Some(model.clone());
                self.ask_policy(decision, review, &model)?;
            }
        }
        Ok(())
    }

    fn ask_policy(
        &self,
        decision: &mut Decision,
        review: &Review,
        model: &ModelReference,
    ) -> Result<(), Denial> {
        if !text::is_dns_label(&review.namespace) {
            let message = "The request's namespace is missing or not a DNS label.";
            return Err(Denial::new(code::REVIEW_MALFORMED, message));
        }
        let mut request = self.question(decision, review, model);
        decision.question = Some(request.clone());
        self.policy.check(self.source.as_ref(), &self.root, decision.time)?;
        let evidence =
            gather(self.source.as_ref(), &self.roles, &self.root, &self.memory, model.digest())?;
        let Evidence { verified, ignored, log, roles } = evidence;
        decision.roles = Some(RolesRecord::of(&roles));
        request.rejected.clone_from(&ignored);
        let verdict = decide(&self.policy, &request, Some(&log.view()), &verified);
        decision.basis = Basis::Policy;
        decision.allowed = verdict.allow;
        decision.reasons = verdict.violations.iter().map(Reason::of).collect();
        decision.ignored = ignored;
        decision.verdict = Some(verdict);
        if decision.allowed
            && let Some(rule) = &self.permits
        {
            match self.permit(rule, model, (&log, &roles), decision.time) {
                Ok(permit) => decision.permit = Some(permit),
                Err(denial) => decision.deny_also(denial),
            }
        }
        decision.log = Some(log);
        Ok(())
    }

    /// What policy is asked about a model.
    fn question(&self, decision: &Decision, review: &Review, model: &ModelReference) -> Request {
        Request {
            id: decision.id.clone(),
            time: decision.time,
            purpose: "deploy".to_owned(),
            environment: self.environment.clone(),
            cluster: self.cluster.clone(),
            namespace: Some(review.namespace.clone()),
            workload: Some(format!("Pod/{}", text::line(&review.name, 253))),
            principal: Some(text::line(&review.user, 253)),
            dry_run: review.dry_run,
            model_name: model.name().to_owned(),
            model_digest: *model.digest(),
            rejected: Vec::new(),
        }
    }

    fn permit(
        &self,
        rule: &PermitRule,
        model: &ModelReference,
        (log, roles): (&LogState, &RoleBinding),
        now: Timestamp,
    ) -> Result<Permit, Denial> {
        let needed = Needed {
            model: model.digest(),
            environment: &self.environment,
            policy: self.policy.digest(),
            role_binding: &roles.digest(),
            max_age_s: rule.max_age_s,
            now,
        };
        let trusted = (&self.root, &self.memory);
        find_permit(self.source.as_ref(), &rule.key, trusted, log, &needed)
    }

    fn response(&self, asked: &Asked, decision: &Decision) -> Response {
        let Decision { id, allowed, .. } = decision;
        let mut warnings = Vec::new();
        if *allowed && decision.basis == Basis::InsecureAllowUnnamed {
            warnings.push(format!(
                "sealwright: this pod names no model and was let in unchecked \
                 (insecure_allow_unnamed); decision {id}"
            ));
        }
        if *allowed && decision.verdict.is_some() && self.policy.is_unapproved() {
            warnings.push(format!(
                "sealwright: the policy was approved by nobody \
                 (insecure_unapproved_policy); decision {id}"
            ));
        }
        if *allowed && decision.rests_on_unlogged_roles() {
            warnings.push(format!(
                "sealwright: the role binding is in no log \
                 (insecure_unlogged_roles); decision {id}"
            ));
        }
        if *allowed {
            let weighty = decision.ignored.iter().filter(|reason| is_weighty(reason));
            warnings.extend(
                weighty
                    .take(MAX_LINES)
                    .map(|reason| format!("sealwright: ignored {reason}; decision {id}")),
            );
        }
        let status = match (allowed, asked) {
            (true, _) => 200,
            (false, Ok(_)) => 403,
            (false, Err(_)) => 400,
        };
        Response {
            uid: uid(asked).to_owned(),
            allowed: *allowed,
            status,
            message: message(asked, decision),
            warnings,
            audit: vec![
                ("decision-id", id.clone()),
                ("policy-sha256", self.policy.digest().to_owned()),
                ("codes", decision.codes()),
            ],
        }
    }

    /// `input` is digest and size of what policy was asked.
    fn record<'a>(
        &'a self,
        asked: &'a Asked,
        decision: &'a Decision,
        input: Option<(Sha256, usize)>,
    ) -> Record<'a> {
        let review = asked.as_ref().ok();
        let mode = match decision.basis {
            Basis::InsecureAllowUnnamed => "insecure_allow_unnamed",
            Basis::Policy if self.policy.is_unapproved() => "insecure_unapproved_policy",
            _ if decision.rests_on_unlogged_roles() => "insecure_unlogged_roles",
            _ => "enforce",
        };
        let roles = self.roles_of(decision);
        let statement = self.summary(decision, &roles, input.map(|(digest, _)| digest));
        let signer = self.publisher.as_ref().filter(|_| statement.is_some());
        let is_inline = input.is_some_and(|(_, size)| size <= MAX_INLINE_INPUT);
        Record {
            id: &decision.id,
            time: decision.time,
            uid: uid(asked),
            dry_run: review.is_some_and(|review| review.dry_run),
            allowed: decision.allowed,
            policy_allowed: decision.verdict.as_ref().map(|verdict| verdict.allow),
            mode,
            basis: decision.basis,
            request: review.map(RequestRecord::of),
            model: decision.model.as_ref(),
            violations: &decision.reasons,
            ignored: &decision.ignored,
            inputs: Inputs {
                policy: self.policy.digest(),
                role_binding: roles.statement,
                trusted_root: self.root_digest,
                policy_input: input.map(|(digest, _)| digest),
            },
            log: decision.log.as_ref().map(LogRecord::of),
            policy_approval: self.policy.approval(),
            roles,
            permit: decision.permit.as_ref(),
            signed: signer.is_some(),
            signer: signer.map(|publisher| publisher.key_id.as_str()),
            statement,
            policy_input: decision.verdict.as_ref().filter(|_| is_inline).map(|v| &v.input),
        }
    }

    /// The role binding that a decision rests on; before there is any evidence, the newest that is known.
    fn roles_of(&self, decision: &Decision) -> RolesRecord {
        decision.roles.clone().unwrap_or_else(|| RolesRecord::of(&self.roles.newest()))
    }

    /// The decision as an in-toto statement (SLSA verification summary): there is one for every
    /// decision about a model digest. It is signed later, if there is a key.
    fn summary(
        &self,
        decision: &Decision,
        roles: &RolesRecord,
        input: Option<Sha256>,
    ) -> Option<Value> {
        let (model, question) = (decision.model.as_ref()?, decision.question.as_ref()?);
        let mut resources =
            vec![(ROLE_BINDING, roles.statement), ("trusted-root", self.root_digest)];
        resources.extend(input.map(|digest| ("policy-input", digest)));
        let mut statements: Vec<String> =
            decision.verdict.iter().flat_map(Verdict::statements).map(str::to_owned).collect();
        statements.extend(decision.permit.as_ref().map(|permit| permit.statement.to_string()));
        let namespace = question.namespace.as_deref().unwrap_or_default();
        let violations: Vec<Violation> = decision.reasons.iter().map(Reason::violation).collect();
        let summary = Summary {
            verifier_id: VERIFIER_ID,
            verifier_version: env!("CARGO_PKG_VERSION"),
            time: decision.time,
            resource_uri: &self.resource_uri(model, namespace),
            policy_digest: self.policy.digest(),
            statements: statements.iter().map(String::as_str).collect(),
            resources: &resources,
            passed: decision.allowed,
            levels: &self.policy.verified_levels(),
            violations: &violations,
            id: &decision.id,
            purpose: &question.purpose,
            request: &question.to_input(),
            more: Vec::new(),
        };
        let statement = Statement {
            subject: vec![Subject::sha256(model.name(), model.digest())],
            predicate_type: predicate::VERIFICATION_SUMMARY.to_owned(),
            predicate: summary.to_predicate(),
        };
        serde_json::from_slice(&statement.to_payload()).ok()
    }

    /// Where the model would run. All parts are DNS labels or hexadecimal and need no escape.
    fn resource_uri(&self, model: &ModelReference, namespace: &str) -> String {
        let cluster = self.cluster.as_ref().map(|name| format!("&cluster={name}"));
        format!(
            "https://sealwright.dev/model/sha256/{}?environment={}{}&namespace={namespace}",
            model.digest(),
            self.environment,
            cluster.unwrap_or_default(),
        )
    }
}

impl Decision {
    /// A denial, until something allows.
    fn new(time: Timestamp) -> Self {
        Self {
            id: decision_id().unwrap_or_default(),
            time,
            allowed: false,
            basis: Basis::BeforePolicy,
            model: None,
            reasons: Vec::new(),
            ignored: Vec::new(),
            log: None,
            roles: None,
            question: None,
            verdict: None,
            permit: None,
        }
    }

    fn allow(&mut self, basis: Basis) {
        self.allowed = true;
        self.basis = basis;
    }

    fn deny(&mut self, denial: Denial) {
        self.basis = Basis::BeforePolicy;
        self.deny_also(denial);
    }

    /// Denies for one reason more, whatever was decided so far.
    fn deny_also(&mut self, Denial { code, message }: Denial) {
        self.allowed = false;
        let control = if code.starts_with("PERMIT_") { PERMIT_CONTROL } else { WEBHOOK_CONTROL };
        self.reasons.push(Reason { code: code.to_owned(), message, control: control.to_owned() });
    }

    /// Whether nobody outside of the owners can know who was who.
    fn rests_on_unlogged_roles(&self) -> bool {
        self.roles.as_ref().is_some_and(|roles| !roles.logged)
    }

    /// The codes, each once, separated by commas.
    fn codes(&self) -> String {
        let mut codes: Vec<&str> = self.reasons.iter().map(|reason| reason.code.as_str()).collect();
        codes.sort_unstable();
        codes.dedup();
        codes.join(",")
    }
}

impl Reason {
    fn of(violation: &Violation) -> Self {
        let Violation { code, control, message } = violation.clone();
        Self { code, message, control }
    }

    fn violation(&self) -> Violation {
        let Self { code, message, control } = self.clone();
        Violation { code, control, message }
    }
}

fn uid(asked: &Asked) -> &str {
    match asked {
        Ok(review) => &review.uid,
        Err(unreadable) => &unreadable.uid,
    }
}

/// 128 random bits in hexadecimal.
fn decision_id() -> Option<String> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(hex::encode(bytes))
}

fn unnamed() -> Denial {
    Denial::new(
        code::MODEL_UNNAMED,
        format!(
            "The pod has no annotation {MODEL_ANNOTATION}; name its model as NAME@sha256:DIGEST, \
             with the digest that `sealwright digest MODEL` prints."
        ),
    )
}

/// One line that says what was decided about what, then `CODE: sentence` for each violation.
fn message(asked: &Asked, decision: &Decision) -> String {
    let what = match (&decision.model, asked) {
        (Some(model), _) => model.to_string(),
        (None, Ok(review)) => review.subject(),
        (None, Err(_)) => "request".to_owned(),
    };
    let how = if decision.allowed { "allowed" } else { "denied" };
    let mut lines = vec![format!("sealwright: {what} is {how}; decision {}", decision.id)];
    let reasons = &decision.reasons;
    lines.extend(
        reasons
            .iter()
            .take(MAX_LINES)
            .map(|r| format!("{}: {}", r.code, text::line(&r.message, 600))),
    );
    if reasons.len() > MAX_LINES {
        lines.push(format!("and {} more", reasons.len() - MAX_LINES));
    }
    if !decision.allowed {
        lines.extend(decision.ignored.iter().map(|reason| format!("ignored: {reason}")));
    }
    lines.join("\n")
}

/// One line of the decisions file.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    id: &'a str,
    time: Timestamp,
    uid: &'a str,
    dry_run: bool,
    allowed: bool,
    /// What policy said, where it was asked; the answer is no without a permit, if one is needed.
    policy_allowed: Option<bool>,
    mode: &'static str,
    basis: Basis,
    request: Option<RequestRecord>,
    model: Option<&'a ModelReference>,
    violations: &'a [Reason],
    ignored: &'a [String],
    inputs: Inputs<'a>,
    log: Option<LogRecord<'a>>,
    /// Which statement of which owners put the policy into force; null if none did.
    policy_approval: Value,
    roles: RolesRecord,
    permit: Option<&'a Permit>,
    /// Whether the statement is signed and logged after this record.
    signed: bool,
    /// By the key with this id.
    signer: Option<&'a str>,
    statement: Option<Value>,
    /// What policy was asked; if it is large, it is in a file beside, and only its digest is here.
    policy_input: Option<&'a DecisionInput>,
}

/// Who asked for what; cut to a length that leaves every record small.
#[derive(Serialize)]
struct RequestRecord {
    operation: String,
    resource: String,
    kind: String,
    namespace: String,
    name: String,
    user: String,
}

/// SHA-256 of everything that the decision depends on.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Inputs<'a> {
    policy: &'a str,
    role_binding: Sha256,
    trusted_root: Sha256,
    /// Of the policy's input document as compact JSON.
    policy_input: Option<Sha256>,
}

/// The checkpoint that the decision rests on.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogRecord<'a> {
    origin: &'a str,
    tree_size: u64,
    root_hash: String,
    checkpoint_time: Timestamp,
}

impl RequestRecord {
    fn of(review: &Review) -> Self {
        let cut = |text: &str| text::line(text, 253);
        Self {
            operation: format!("{:?}", review.operation).to_uppercase(),
            resource: cut(&review.resource.to_string()),
            kind: cut(&review.kind),
            namespace: cut(&review.namespace),
            name: cut(&review.name),
            user: cut(&review.user),
        }
    }
}

impl<'a> LogRecord<'a> {
    fn of(log: &'a LogState) -> Self {
        Self {
            origin: &log.origin,
            tree_size: log.size,
            root_hash: log.root.to_base64(),
            checkpoint_time: log.time,
        }
    }
}
