use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use sealwright_attest::RoleBinding;

use super::table;
use crate::error::CliError;
use crate::output::{self, Ui};
use crate::owners::{OwnerArgs, read_bundles};
use crate::service::{log_text, log_value, read_trusted_root};

/// Show a role binding, after checking that enough owners signed it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Role binding.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    owners: OwnerArgs,
    /// `trusted_root.json`: check also that a log holds every signature.
    #[arg(long, value_name = "FILE", env = "SEALWRIGHT_TRUSTED_ROOT")]
    trusted_root: Option<PathBuf>,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let owners = args.owners.require()?;
    let root = args.trusted_root.as_deref().map(read_trusted_root).transpose()?;
    let binding = RoleBinding::verify(&read_bundles(&args.file)?, &owners, root.as_ref())
        .map_err(|error| CliError::from(error).about(args.file.display()))?;
    let value = json!({
        "ok": true,
        "statement": binding.digest(),
        "revision": binding.revision(),
        "signers": binding.signers(),
        "owners_required": owners.required(),
        "log": binding.logged().iter().map(log_value).collect::<Vec<_>>(),
        "principals": table::principals_value(binding.table()),
    });
    let signed = match (binding.signers().len(), owners.required()) {
        (1, 1) => "1 owner, who can change it alone".to_owned(),
        (signed, required) => format!("{signed} owners, of whom {required} must"),
    };
    let revision = match binding.revision() {
        0 => "none".to_owned(),
        revision => revision.to_string(),
    };
    let mut rows = vec![("revision", revision), ("signed by", signed)];
    rows.extend(binding.logged().iter().map(|proof| ("logged", log_text(proof))));
    if root.is_none() {
        rows.push(("logged", "not checked (give --trusted-root)".to_owned()));
    }
    let text = output::fields(&rows) + &table::principals_text(binding.table());
    ui.result(&value, &text);
    Ok(ExitCode::SUCCESS)
}
