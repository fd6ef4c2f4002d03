use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use sealwright_policy::Policy;

use super::approval::{
    activate_bytes, approval_text, approval_value, check_signature, read_policy_bundle,
};
use crate::error::CliError;
use crate::output::{self, GOOD, Ui, plain};
use crate::owners::OwnerArgs;
use crate::service::read_trusted_root;

/// Check who signed a policy bundle.
///
/// With --key, OPA's own signature inside the bundle must be by that key. With --approval, enough owners
/// must have signed the statement that puts the bundle into force, its tests must pass, and, with
/// --trusted-root, every signature must be logged. Exit code 1 if not.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The bundle, a `.tar.gz`.
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// Public key of OPA's own signature.
    #[arg(long, value_name = "FILE", required_unless_present = "approval")]
    key: Option<PathBuf>,
    /// Scope of OPA's own signature.
    #[arg(long, value_name = "SCOPE", requires = "key", default_value = "")]
    scope: String,
    /// The owners' approval, which `sealwright policy sign` writes.
    #[arg(long, value_name = "FILE")]
    approval: Option<PathBuf>,
    #[command(flatten)]
    owners: OwnerArgs,
    /// `trusted_root.json`: the logs to believe.
    #[arg(long, value_name = "FILE", env = "SEALWRIGHT_TRUSTED_ROOT")]
    trusted_root: Option<PathBuf>,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let (bytes, bundle) = read_policy_bundle(&args.bundle)?;
    if let Some(key) = &args.key {
        check_signature(&bundle, &args.bundle, key, &args.scope)?;
    }
    let root = args.trusted_root.as_deref().map(read_trusted_root).transpose()?;
    let approved = args.approval.as_ref();
    let approved = approved
        .map(|approval| {
            activate_bytes((&args.bundle, &bytes), approval, &args.owners, root.as_ref())
        })
        .transpose()?;
    let approval = approved.as_ref().map(|approved| approved.approval());
    // Rego of others can be signed as well.
    let policy = bundle.policy();
    let manifest = bundle.manifest();
    let value = json!({
        "ok": true,
        "bundle_sha256": bundle.sha256(),
        "policy_digest": policy.as_ref().ok().map(Policy::digest),
        "name": manifest.name(),
        "revision": manifest.revision,
        "bundle_signature": if args.key.is_some() { "verified" } else { "unchecked" },
        "policy_approval": approval_value(approval),
        "logged": root.is_some() && approval.is_some(),
    });
    let mut rows = vec![
        (
            "policy",
            format!("{}, revision {}", manifest.name().unwrap_or("(no name)"), manifest.revision),
        ),
        (
            "policy digest",
            match &policy {
                Ok(policy) => policy.digest().to_owned(),
                Err(error) => {
                    format!("not a policy for models: {}", plain(&CliError::chain(error)))
                }
            },
        ),
        ("bundle digest", bundle.sha256().to_string()),
    ];
    if let Some(key) = &args.key {
        rows.push(("signed by", key.display().to_string()));
    }
    if args.approval.is_some() {
        rows.push(("approved", approval_text(approval)));
        let logged = match approval.and_then(|approval| approval.logged_at()) {
            Some(time) => format!("{time} (log-signed time)"),
            None => "not checked (give --trusted-root)".to_owned(),
        };
        rows.push(("logged", logged));
    }
    ui.result(&value, &format!("{GOOD}verified{GOOD:#}\n{}", output::fields(&rows)));
    Ok(ExitCode::SUCCESS)
}
