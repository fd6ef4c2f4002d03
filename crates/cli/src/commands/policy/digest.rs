use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::approval::read_policy_bundle;
use crate::error::CliError;
use crate::output::Ui;
use crate::policy::PolicyChoice;

/// Print the digest of a policy: of the files that decide.
///
/// The same rules and data have the same digest in a directory and in a bundle; decisions name it. A
/// bundle has its own SHA-256 as well, which the owners sign (--json, or sha256sum).
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A directory, a bundle, or `starter`.
    #[arg(value_name = "POLICY")]
    policy: PolicyChoice,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let policy = args.policy.load()?;
    let file: Option<PathBuf> = args.policy.path().filter(|path| path.is_file()).map(Into::into);
    let bundle = file.map(|path| read_policy_bundle(&path)).transpose()?;
    let value = json!({
        "ok": true,
        "policy_digest": policy.digest(),
        "bundle_sha256": bundle.as_ref().map(|(_, bundle)| bundle.sha256()),
        "name": bundle.as_ref().and_then(|(_, bundle)| bundle.manifest().name()),
        "revision": bundle.as_ref().map(|(_, bundle)| &bundle.manifest().revision),
    });
    ui.result(&value, &format!("{}\n", policy.digest()));
    Ok(ExitCode::SUCCESS)
}
