use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};

use sealwright_attest::{RoleBinding, Timestamp, predicate};

use crate::clock;
use crate::commands::attest::{self, Draft, StatementArgs};
use crate::error::CliError;
use crate::evidence::{self, Evidence};
use crate::model::ModelArgs;
use crate::output::{Ui, plain};
use crate::policy::PolicyChoice;

const DAY: u64 = 24 * 60 * 60;

const ACCEPT: &str =
    "I have reviewed the evidence and accept this model for use in this environment.";
const REFUSE: &str = "I have reviewed the evidence and reject this model.";

/// Approve a model in a role, as a person.
///
/// What is signed is shown first, with all that is known about the model, and on a terminal it is asked
/// for. The role is the capacity in which you sign; that your key may speak in it is for the owners'
/// role binding to say, when the approval is verified.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    review: ReviewArgs,
    /// Reject instead, as `sealwright reject` does.
    #[arg(long)]
    reject: bool,
}

/// Reject a model in a role, as a person: a standing rejection vetoes the model.
///
/// The same as `approve` with the opposite answer. Only who rejected a model can change that: by an
/// approval that names the rejection with --evidence, or by revoking it.
#[derive(Debug, clap::Args)]
pub(crate) struct RejectArgs {
    #[command(flatten)]
    review: ReviewArgs,
}

/// What is said of a model, and what of it was seen.
#[derive(Debug, clap::Args)]
struct ReviewArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Role to sign in, such as `compliance`.
    #[arg(long = "as", value_name = "ROLE")]
    role: String,
    /// Environment that it is for.
    #[arg(long, value_name = "NAME", default_value = "production")]
    environment: String,
    /// What the signature means; a sentence that says so otherwise.
    #[arg(long, value_name = "TEXT")]
    meaning: Option<String>,
    /// Last moment at which it counts; 90 days from now otherwise.
    #[arg(long, value_name = "RFC3339", value_parser = Timestamp::parse)]
    expires: Option<Timestamp>,
    /// A condition that it is bound to; may be repeated. People read it, and a policy can.
    #[arg(long = "condition", value_name = "TEXT")]
    conditions: Vec<String>,
    /// A statement that you have seen, by its digest (`statement` in the output of `attest`); may be
    /// repeated. With a service it must be known there, or given with --attestation.
    #[arg(long, value_name = "SHA256")]
    evidence: Vec<String>,
    /// Cite every statement that is shown and verifies.
    #[arg(long)]
    all_evidence: bool,
    /// A bundle about the model to show, beside what the service knows; may be repeated.
    #[arg(long = "attestation", value_name = "FILE")]
    attestations: Vec<PathBuf>,
    /// The policy under which you decide, to be named by its digest: a directory, or `starter`.
    #[arg(long, value_name = "DIR")]
    policy: Option<PolicyChoice>,
    /// Your name as it should stand in an audit.
    #[arg(long, value_name = "NAME")]
    printed_name: Option<String>,
    /// A comment.
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    /// Show what would be signed, and sign nothing.
    #[arg(long)]
    dry_run: bool,
    /// Sign without asking, also on a terminal.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    out: StatementArgs,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    review(&args.review, if args.reject { "REJECTED" } else { "APPROVED" }, ui)
}

pub(crate) fn run_reject(args: &RejectArgs, ui: &Ui) -> Result<ExitCode, CliError> {
    review(&args.review, "REJECTED", ui)
}

fn review(args: &ReviewArgs, decision: &str, ui: &Ui) -> Result<ExitCode, CliError> {
    let now = clock::now()?;
    let expires = args.expires.unwrap_or_else(|| now.plus_seconds(90 * DAY));
    if expires <= now {
        return Err(CliError::input(format!("the approval would expire at {expires}, before now"))
            .hint("give a later time with --expires"));
    }
    let predicate = args.predicate(decision, expires, &[])?;
    attest::check(predicate::APPROVAL, &predicate)?;
    let role = Some(args.role.as_str());
    let draft = attest::prepare(&args.model, &args.out, predicate::APPROVAL, role, ui)?;
    let desk = Desk::open(args, &draft)?;
    let cited = desk.cited(args)?;
    let predicate =
        args.predicate(decision, expires, &evidence::citation(&desk.evidence, &cited))?;
    let statement = draft.statement(predicate.clone())?;
    let warnings = desk.warnings(args, &draft, now);
    let mut shown = json!({
        "evidence": desk.evidence.to_value(&cited),
        "warnings": warnings,
    });
    let told = format!(
        "You sign:\n{}{}{}",
        evidence::rows(&rows(args, &draft, &predicate)),
        desk.evidence.told(&cited),
        evidence::warn(&warnings)
    );
    if args.dry_run {
        shown["ok"] = json!(true);
        shown["dry_run"] = json!(true);
        shown["model_digest"] = json!(draft.model_digest());
        shown["predicate_type"] = json!(predicate::APPROVAL);
        shown["statement_to_sign"] =
            serde_json::from_slice(&statement.to_payload()).unwrap_or_default();
        ui.result(&shown, &format!("{told}dry run: nothing was signed"));
        return Ok(ExitCode::SUCCESS);
    }
    ui.confirm(&told, "Sign this?", args.yes)?;
    attest::report_with(&draft.sign(predicate)?, predicate::APPROVAL, shown, ui);
    Ok(ExitCode::SUCCESS)
}

impl ReviewArgs {
    fn predicate(
        &self,
        decision: &str,
        expires: Timestamp,
        evidence: &[Value],
    ) -> Result<Value, CliError> {
        let standard = if decision == "APPROVED" { ACCEPT } else { REFUSE };
        let mut predicate = json!({
            "decision": decision,
            "role": self.role,
            "environment": self.environment,
            "meaning": self.meaning.as_deref().unwrap_or(standard),
            "expiresOn": expires,
        });
        let policy = self.policy.as_ref().map(PolicyChoice::load).transpose()?;
        let policy = policy.map(|policy| {
            let uri = format!("https://sealwright.dev/policy/sha256/{}", policy.digest());
            json!({"uri": uri, "digest": {"sha256": policy.digest()}})
        });
        for (member, value, is_given) in [
            ("conditions", json!(self.conditions), !self.conditions.is_empty()),
            ("evidence", json!(evidence), !evidence.is_empty()),
            ("policy", json!(policy), policy.is_some()),
            ("printedName", json!(self.printed_name), self.printed_name.is_some()),
            ("comment", json!(self.comment), self.comment.is_some()),
        ] {
            if is_given {
                predicate[member] = value;
            }
        }
        Ok(predicate)
    }
}

/// What lies before whoever signs.
struct Desk {
    evidence: Evidence,
    roles: Option<RoleBinding>,
    has_service: bool,
}

impl Desk {
    fn open(args: &ReviewArgs, draft: &Draft<'_>) -> Result<Self, CliError> {
        let StatementArgs { service, trust, .. } = &args.out;
        Ok(Self {
            evidence: Evidence::gather(service, trust, &draft.model_digest(), &args.attestations)?,
            roles: trust.all_given()?.map(|(roles, _)| roles),
            has_service: service.service.is_some(),
        })
    }

    /// The digests that are cited; each must be known where there is somebody to ask.
    fn cited(&self, args: &ReviewArgs) -> Result<BTreeSet<String>, CliError> {
        let mut cited = BTreeSet::new();
        for digest in &args.evidence {
            let bare = digest.strip_prefix("sha256:").unwrap_or(digest).to_owned();
            if self.has_service && self.evidence.statement(&bare).is_none() {
                return Err(CliError::input(format!(
                    "--evidence {bare}: the service knows no such statement about this model"
                ))
                .hint(
                    "`sealwright find --model MODEL` lists them; others need --attestation FILE",
                ));
            }
            cited.insert(bare);
        }
        if args.all_evidence {
            let usable = |seen: &&evidence::Seen| seen.signer.is_some() || !self.evidence.has_trust;
            cited.extend(self.evidence.statements.iter().filter(usable).map(|s| s.digest.clone()));
        }
        Ok(cited)
    }

    fn warnings(&self, args: &ReviewArgs, draft: &Draft<'_>, now: Timestamp) -> Vec<String> {
        let mut warnings = self.evidence.warnings(draft.public_key(), self.roles.as_ref());
        if let Some(roles) = &self.roles {
            let id = draft.public_key().id();
            let holds = roles
                .holder(&id)
                .is_some_and(|(principal, _)| principal.roles_at(now).contains(&args.role));
            if !holds {
                warnings.push(format!(
                    "the role binding does not give your key the role {} now: this will not count",
                    args.role
                ));
            }
        }
        warnings
    }
}

fn rows(args: &ReviewArgs, draft: &Draft<'_>, predicate: &Value) -> Vec<(&'static str, String)> {
    let text = |name: &str| plain(predicate[name].as_str().unwrap_or_default());
    let mut rows = vec![
        ("decision", text("decision")),
        ("model", evidence::shown(&args.model.path)),
        ("model digest", draft.model_digest().to_string()),
        ("as", text("role")),
        ("for", text("environment")),
        ("until", text("expiresOn")),
        ("meaning", text("meaning")),
    ];
    rows.extend(args.conditions.iter().map(|condition| ("condition", plain(condition))));
    if let Some(choice) = &args.policy {
        let name = choice.path().map_or("starter".to_owned(), evidence::shown);
        rows.push(("policy", name));
        rows.push((
            "",
            predicate["policy"]["digest"]["sha256"].as_str().unwrap_or_default().into(),
        ));
    }
    rows.extend(args.printed_name.iter().map(|name| ("name", plain(name))));
    rows.extend(args.comment.iter().map(|comment| ("comment", plain(comment))));
    rows
}
