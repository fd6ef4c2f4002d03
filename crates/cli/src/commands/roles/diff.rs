use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::table;
use crate::error::CliError;
use crate::output::{self, BAD, Ui};
use crate::owners::OwnerArgs;

/// Show what one role binding changes of another; each is a draft or signed.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What is in force.
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// What shall be.
    #[arg(value_name = "NEW")]
    new: PathBuf,
    #[command(flatten)]
    owners: OwnerArgs,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let owners = args.owners.owners()?;
    let (old, new) =
        (table::read(&args.old, owners.as_ref())?, table::read(&args.new, owners.as_ref())?);
    let changes = new.table.changes_since(Some(&old.table));
    let value = json!({
        "ok": true,
        "old": {"revision": old.table.revision(), "verified": old.verified},
        "new": {"revision": new.table.revision(), "verified": new.verified},
        "changes": changes,
    });
    let revisions = format!("{} to {}", old.table.revision(), new.table.revision());
    let mut text = output::fields(&[("revision", revisions)]);
    if old.verified == Some(false) || new.verified == Some(false) {
        text += &format!("{BAD}not verified:{BAD:#} give --owner-key to check who signed\n");
    }
    ui.result(&value, &(text + &table::change_lines(&changes)));
    Ok(ExitCode::SUCCESS)
}
