use std::process::ExitCode;

use serde_json::json;

use sealwright_attest::{EndReason, EndedKey, Timestamp};

use super::draft::{Draft, DraftArgs, key_id, list_of, parse_time};
use crate::clock;
use crate::error::CliError;
use crate::keyref;
use crate::output::Ui;

/// For how long the old key still counts, in seconds: two weeks.
const OVERLAP: u64 = 14 * 86_400;

/// Replace a principal's key; for a while both count.
///
/// What the old key signed, and was logged before it ends, stays valid. Changes the draft only.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    draft: DraftArgs,
    /// The old key: a public key file, or its id (64 hexadecimal digits).
    #[arg(long, value_name = "FILE|ID")]
    old: String,
    /// Public key that replaces it.
    #[arg(long, value_name = "FILE")]
    new: std::path::PathBuf,
    /// When the old key ends (RFC 3339); in two weeks, if left out.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<Timestamp>,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let now = clock::now()?;
    let counts_before = args.until.unwrap_or_else(|| now.plus_seconds(OVERLAP));
    let mut draft = Draft::open(&args.draft)?;
    let new = keyref::read_public(&args.new)?;
    list_of(draft.principal()?, "publicKeys")?.push(json!(new.pem()));
    let reason = EndReason::Replaced;
    draft.end(&EndedKey { key_id: key_id(&args.old)?, counts_before, reason })?;
    let remarks = (counts_before <= now).then(|| {
        format!("What the old key signed and was logged since {counts_before} counts no more.")
    });
    draft.finish(remarks.as_slice(), ui)
}
