//! `serve backup`: the instance at one moment, while it runs.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use sealwright_server::service::{self, BackupError, BackupReport};

use crate::error::CliError;
use crate::output::{self, GOOD, STRONG, Ui};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory of the instance, which may be running.
    #[arg(long, value_name = "DIR", default_value = "sealwright-data")]
    data: PathBuf,
    /// Directory to write; not there yet. Either all of it is there afterwards, or nothing.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Leave out private keys, which a restore then needs from elsewhere.
    #[arg(long)]
    without_keys: bool,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let report = service::backup(&args.data, &args.out, !args.without_keys)?;
    let BackupReport { entries, files, bytes, manifest_sha256, left_out } = report;
    let value = json!({
        "ok": true,
        "backup": output::path(&args.out),
        "entries": entries,
        "files": files,
        "bytes": bytes,
        "manifest_sha256": manifest_sha256,
        "keys_left_out": left_out,
    });
    let rows = [
        ("backup", args.out.display().to_string()),
        ("entries", entries.to_string()),
        ("files", format!("{files}, {bytes} bytes")),
        ("manifest", format!("sha256 {manifest_sha256}")),
    ];
    ui.result(&value, &format!("{GOOD}backed up{GOOD:#}\n{}", output::fields(&rows)));
    let note = match left_out.is_empty() {
        true => {
            "the backup has the service's private keys in it, not encrypted: keep it as you keep them."
                .to_owned()
        }
        false => format!("not in the backup, and needed to restore it: {}", left_out.join(", ")),
    };
    ui.note(&format!("{STRONG}note:{STRONG:#} {note}"));
    Ok(ExitCode::SUCCESS)
}

impl From<BackupError> for CliError {
    fn from(error: BackupError) -> Self {
        let (message, hint) = (Self::chain(&error), error.hint());
        let make = match error {
            _ if error.is_refusal() => Self::failed,
            BackupError::File { .. } | BackupError::Store(_) => Self::environment,
            BackupError::Start(error) => return error.into(),
            _ => Self::input,
        };
        make(message).hint(hint)
    }
}
