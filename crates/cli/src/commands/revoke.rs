use std::process::ExitCode;

use serde_json::{Value, json};

use sealwright_attest::{Timestamp, predicate};
use sealwright_manifest::Sha256;

use crate::clock;
use crate::commands::attest::{self, Draft, StatementArgs};
use crate::error::CliError;
use crate::evidence;
use crate::impact::{Impact, Target};
use crate::model::ModelArgs;
use crate::output::{Ui, plain};

/// Withdraw a model, one statement about it, or what one signer says of any model.
///
/// Without --statement or --signer the whole model is withdrawn. What that will stop is shown first, as
/// far as the service's log tells, and on a terminal it is asked for. It takes effect at the next
/// decision.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Role to sign in.
    #[arg(long = "as", value_name = "ROLE")]
    role: String,
    /// Why.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Withdraw only this statement (its digest, as `attest` prints it).
    #[arg(long, value_name = "SHA256", conflicts_with = "signer")]
    statement: Option<String>,
    /// Withdraw what this principal, or the key with this id, says from then on: of every model.
    #[arg(long, value_name = "PRINCIPAL")]
    signer: Option<String>,
    /// From when on; now otherwise. What a signer said before still counts.
    #[arg(long, value_name = "RFC3339", value_parser = Timestamp::parse)]
    effective: Option<Timestamp>,
    /// Show what it would stop, and sign nothing.
    #[arg(long)]
    dry_run: bool,
    /// Sign without asking, also on a terminal.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    out: StatementArgs,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let now = clock::now()?;
    let effective = args.effective.unwrap_or(now);
    let wanted = args.target()?;
    let role = Some(args.role.as_str());
    let draft = attest::prepare(&args.model, &args.out, predicate::REVOCATION, role, ui)?;
    let target = match &wanted {
        Target::Statement(statement) => json!({"envelope_sha256": statement}),
        Target::Signer(signer) => json!({"signer": signer}),
        Target::Model => json!({"model_sha256": draft.model_digest()}),
    };
    let predicate = json!({
        "target": target,
        "role": args.role,
        "reason": args.reason,
        "effective": effective,
    });
    let statement = draft.statement(predicate.clone())?;
    let warnings = warnings(args, &draft, now)?;
    let rows = [
        ("model", evidence::shown(&args.model.path)),
        ("model digest", draft.model_digest().to_string()),
        ("withdrawn", withdrawn(&wanted)),
        ("as", plain(&args.role)),
        ("from", effective.to_string()),
        ("reason", plain(&args.reason)),
    ];
    let mut told = format!("You revoke:\n{}", evidence::rows(&rows));
    let mut shown = json!({"warnings": warnings});
    match look(args, &draft, &wanted, (effective, now)) {
        Ok(None) => told += "What it stops cannot be told without a service.\n",
        Ok(Some(impact)) => {
            shown["stops"] = impact.to_value();
            told += &impact.told(&wanted);
        }
        Err(error) if args.dry_run => return Err(error),
        // To revoke must not wait for a list.
        Err(error) => {
            let why = plain(error.message());
            told += &evidence::set_in(&format!("What it stops cannot be told: {why}"), 0);
        }
    }
    told += &evidence::warn(&warnings);
    if args.dry_run {
        shown["ok"] = json!(true);
        shown["dry_run"] = json!(true);
        shown["model_digest"] = json!(draft.model_digest());
        shown["predicate_type"] = json!(predicate::REVOCATION);
        shown["statement_to_sign"] =
            serde_json::from_slice::<Value>(&statement.to_payload()).unwrap_or_default();
        ui.result(&shown, &format!("{told}dry run: nothing was signed"));
        return Ok(ExitCode::SUCCESS);
    }
    ui.confirm(&told, "Revoke this?", args.yes)?;
    attest::report_with(&draft.sign(predicate)?, predicate::REVOCATION, shown, ui);
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn target(&self) -> Result<Target, CliError> {
        Ok(match (&self.statement, &self.signer) {
            (Some(statement), _) => {
                let digest = statement.strip_prefix("sha256:").unwrap_or(statement);
                Sha256::parse(digest).map_err(|_| {
                    CliError::input(format!("--statement {statement:?} is not a SHA-256"))
                        .hint("give the statement's digest, as `attest` and `find` print it")
                })?;
                Target::Statement(digest.to_owned())
            }
            (None, Some(signer)) => Target::Signer(signer.clone()),
            (None, None) => Target::Model,
        })
    }
}

fn look(
    args: &Args,
    draft: &Draft<'_>,
    target: &Target,
    times: (Timestamp, Timestamp),
) -> Result<Option<Impact>, CliError> {
    let Some(client) = args.out.service.client()? else { return Ok(None) };
    let roles = args.out.trust.all_given()?.map(|(roles, _)| roles);
    Impact::look(&client, &draft.model_digest(), target, roles.as_ref(), times).map(Some)
}

fn warnings(args: &Args, draft: &Draft<'_>, now: Timestamp) -> Result<Vec<String>, CliError> {
    let Some((roles, _)) = args.out.trust.all_given()? else { return Ok(Vec::new()) };
    let id = draft.public_key().id();
    let holds = roles
        .holder(&id)
        .is_some_and(|(principal, _)| principal.roles_at(now).contains(&args.role));
    let warning = format!(
        "the role binding does not give your key the role {} now: this will stop nothing",
        plain(&args.role)
    );
    Ok((!holds).then_some(warning).into_iter().collect())
}

fn withdrawn(target: &Target) -> String {
    match target {
        Target::Model => "the whole model".to_owned(),
        Target::Statement(digest) => format!("the statement {digest}"),
        Target::Signer(name) => format!("what {} says of any model", plain(name)),
    }
}
