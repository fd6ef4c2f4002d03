//! `serve migrate`: from one process to many.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use sealwright_server::service;

use super::storage::StorageArgs;
use crate::error::CliError;
use crate::output::{self, GOOD, Ui};

/// Move the log of a stopped instance to PostgreSQL and a bucket.
///
/// All of it is copied, read back and held against the log's last checkpoint before it counts. Then the
/// directory is marked: its log does not start again, since two would be two histories. The keys stay
/// where they are; copy them, and `trusted_root.json`, to every front end. When it was cut off, run it
/// again.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory of the instance, which must not be running.
    #[arg(long, value_name = "DIR", default_value = "sealwright-data")]
    data: PathBuf,
    #[command(flatten)]
    storage: StorageArgs,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let place = args.storage.required()?;
    let moved = service::migrate(&args.data, &place, &mut |_, _| {})?;
    args.storage.say_what_is_insecure(ui);
    let value = json!({
        "ok": true,
        "data": output::path(&args.data),
        "bucket": place.bucket,
        "entries": moved.entries,
        "statements": moved.statements,
        "checkpoints": moved.checkpoints,
    });
    let rows = [
        ("to", place.bucket.clone()),
        ("entries", format!("{}, read back and held against the checkpoint", moved.entries)),
        ("statements", moved.statements.to_string()),
        ("checkpoints", moved.checkpoints.to_string()),
    ];
    ui.result(&value, &format!("{GOOD}moved{GOOD:#}\n{}", output::fields(&rows)));
    Ok(ExitCode::SUCCESS)
}
