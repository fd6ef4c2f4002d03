use std::process::ExitCode;

use serde_json::json;

use sealwright_attest::{Timestamp, predicate};

use crate::clock;
use crate::commands::attest::{self, StatementArgs};
use crate::error::CliError;
use crate::model::ModelArgs;
use crate::output::Ui;
use crate::service::announce;

/// Withdraw a model, one statement about it, or what one signer said about it.
///
/// Without --statement or --signer the whole model is withdrawn.
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
    /// Withdraw only what this principal said of the model.
    #[arg(long, value_name = "PRINCIPAL")]
    signer: Option<String>,
    /// From when on; now otherwise.
    #[arg(long, value_name = "RFC3339", value_parser = Timestamp::parse)]
    effective: Option<Timestamp>,
    #[command(flatten)]
    out: StatementArgs,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let effective = args.effective.map_or_else(clock::now, Ok)?;
    let role = Some(args.role.as_str());
    let draft = attest::prepare(&args.model, &args.out, predicate::REVOCATION, role, ui)?;
    let target = match (&args.statement, &args.signer) {
        (Some(statement), _) => json!({"envelope_sha256": statement}),
        (None, Some(signer)) => json!({"signer": signer}),
        (None, None) => json!({"model_sha256": draft.model_digest()}),
    };
    announce(
        ui,
        "You revoke:",
        &[
            ("target", target.to_string()),
            ("as", args.role.clone()),
            ("from", effective.to_string()),
            ("reason", args.reason.clone()),
        ],
    );
    let predicate = json!({
        "target": target,
        "role": args.role,
        "reason": args.reason,
        "effective": effective,
    });
    attest::report(&draft.sign(predicate)?, predicate::REVOCATION, ui);
    Ok(ExitCode::SUCCESS)
}
