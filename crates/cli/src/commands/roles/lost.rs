use std::process::ExitCode;

use sealwright_attest::{EndReason, Timestamp};

use super::draft::{Draft, DraftArgs, OwnKeyArgs, parse_time};
use crate::error::CliError;
use crate::output::Ui;

/// Say that a principal's key was lost or stolen, and since when.
///
/// What the key signed, and was logged before that time, stays valid: the log's time cannot be
/// forged by whoever has the key. What was logged later counts for nothing. Changes the draft only.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    draft: DraftArgs,
    #[command(flatten)]
    key: OwnKeyArgs,
    /// Since when somebody else may have had it (RFC 3339).
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Timestamp,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let mut draft = Draft::open(&args.draft)?;
    let ended = args.key.ended(&draft, args.since, EndReason::Lost)?;
    draft.end(&ended)?;
    let remarks = [
        format!(
            "Approvals, test results and revocations by this key that were logged since {} count no \
             more, also the true ones: they have to be made again with another key.",
            args.since
        ),
        "Give the principal a new key, if it has no other: `sealwright roles add … --public-key`."
            .to_owned(),
    ];
    draft.finish(&remarks, ui)
}
