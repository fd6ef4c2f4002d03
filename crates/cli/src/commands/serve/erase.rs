//! `serve erase`: what a statement said is gone; that there was one stays proven.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use sealwright_attest::Timestamp;
use sealwright_server::service::{self, EraseError};

use super::storage::StorageArgs;
use crate::error::CliError;
use crate::output::{self, GOOD, Ui};

/// The bundle and its key or certificate are removed from the database and do not come back when
/// somebody submits them again. The entry, its proofs, the type and the digests of the subjects stay.
/// Copies that clients fetched and backups are elsewhere. Revocations and administrative acts stay.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Indexes of the statements, as `sealwright find` shows them.
    #[arg(required = true, value_name = "INDEX")]
    indexes: Vec<u64>,
    /// Directory of the instance, which must not be running.
    #[arg(long, value_name = "DIR", default_value = "sealwright-data")]
    data: PathBuf,
    #[command(flatten)]
    storage: StorageArgs,
    /// Why: it goes into the log, and must not repeat what is to be forgotten.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    if args.reason.trim().is_empty() {
        return Err(CliError::input("--reason is empty").hint("say why, as for an auditor"));
    }
    let place = args.storage.place()?;
    let erased = service::erase(&args.data, place.as_ref(), &args.indexes, &args.reason)?;
    let time = |seconds| Timestamp::from_unix(seconds).ok();
    let list: Vec<_> = erased
        .iter()
        .map(|statement| json!({"index": statement.index, "erasedAt": time(statement.at)}))
        .collect();
    let value = json!({"ok": true, "erased": list, "reason": args.reason});
    let rows: Vec<_> = erased
        .iter()
        .map(|statement| {
            let at = time(statement.at).map(|time| time.to_string()).unwrap_or_default();
            ("entry", format!("{}, at {at}", statement.index))
        })
        .collect();
    let text = format!("{GOOD}erased{GOOD:#}\n{}", output::fields(&rows));
    ui.result(&value, &text);
    Ok(ExitCode::SUCCESS)
}

impl From<EraseError> for CliError {
    fn from(error: EraseError) -> Self {
        let message = error.to_string();
        match error {
            EraseError::Start(error) => error.into(),
            EraseError::NoStatement { .. } => {
                Self::input(message).hint("see which there are: sealwright find --service URL")
            }
            EraseError::Failed { .. } => {
                Self::environment(message).hint("look at the disk; erasing again later is safe")
            }
            EraseError::Never { .. } => Self::failed(message).hint("nothing was erased"),
        }
    }
}
