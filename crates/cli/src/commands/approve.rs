use std::process::ExitCode;

use serde_json::json;

use sealwright_attest::{Timestamp, predicate};

use crate::clock;
use crate::commands::attest::{self, StatementArgs};
use crate::error::CliError;
use crate::model::ModelArgs;
use crate::output::Ui;
use crate::service::announce;

const DAY: u64 = 24 * 60 * 60;

/// Approve a model (or reject it) in a role, as a person.
///
/// What is signed is shown first. The role is the capacity in which you sign; that your key may
/// speak in it is for the owner's role binding to say, when the approval is verified.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Role to sign in, such as `compliance`.
    #[arg(long = "as", value_name = "ROLE")]
    role: String,
    /// Reject instead: a standing rejection vetoes the model.
    #[arg(long)]
    reject: bool,
    /// Environment that the approval is for.
    #[arg(long, value_name = "NAME", default_value = "production")]
    environment: String,
    /// What the signature means.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "I have reviewed the evidence and accept this \
        model for use in this environment."
    )]
    meaning: String,
    /// Last moment at which the approval counts; 90 days from now otherwise.
    #[arg(long, value_name = "RFC3339", value_parser = Timestamp::parse)]
    expires: Option<Timestamp>,
    /// A condition that the approval is bound to; may be repeated.
    #[arg(long = "condition", value_name = "TEXT")]
    conditions: Vec<String>,
    /// A statement that you have seen, by its digest (`statement` in the output of `attest`); may be
    /// repeated.
    #[arg(long, value_name = "SHA256")]
    evidence: Vec<String>,
    /// Your name as it should stand in an audit.
    #[arg(long, value_name = "NAME")]
    printed_name: Option<String>,
    /// A comment.
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    #[command(flatten)]
    out: StatementArgs,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let now = clock::now()?;
    let expires = args.expires.unwrap_or_else(|| now.plus_seconds(90 * DAY));
    if expires <= now {
        return Err(CliError::input(format!("the approval would expire at {expires}, before now"))
            .hint("give a later time with --expires"));
    }
    let decision = if args.reject { "REJECTED" } else { "APPROVED" };
    let meaning = match (args.reject, args.meaning.starts_with("I have reviewed")) {
        (true, true) => "I have reviewed the evidence and reject this model.",
        _ => &args.meaning,
    };
    let mut predicate = json!({
        "decision": decision,
        "role": args.role,
        "environment": args.environment,
        "meaning": meaning,
        "expiresOn": expires,
    });
    let evidence: Vec<_> =
        args.evidence.iter().map(|digest| json!({"digest": {"sha256": digest}})).collect();
    for (member, value, is_given) in [
        ("conditions", json!(args.conditions), !args.conditions.is_empty()),
        ("evidence", json!(evidence), !evidence.is_empty()),
        ("printedName", json!(args.printed_name), args.printed_name.is_some()),
        ("comment", json!(args.comment), args.comment.is_some()),
    ] {
        if is_given {
            predicate[member] = value;
        }
    }
    attest::check(predicate::APPROVAL, &predicate)?;
    let role = Some(args.role.as_str());
    let draft = attest::prepare(&args.model, &args.out, predicate::APPROVAL, role, ui)?;
    announce(
        ui,
        "You sign:",
        &[
            ("decision", decision.to_owned()),
            ("model", args.model.path.display().to_string()),
            ("model digest", draft.model_digest().to_string()),
            ("as", args.role.clone()),
            ("for", args.environment.clone()),
            ("until", expires.to_string()),
            ("meaning", meaning.to_owned()),
        ],
    );
    attest::report(&draft.sign(predicate)?, predicate::APPROVAL, ui);
    Ok(ExitCode::SUCCESS)
}
