use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use sealwright_attest::RoleBinding;

use super::latest;
use crate::error::CliError;
use crate::files::{self, Access};
use crate::output::{self, GOOD, Ui};
use crate::owners::read_bundles;
use crate::service::{ServiceArgs, TrustArgs};

/// Have the owners' signatures of a role binding logged: it is in force then.
///
/// FILE is replaced by the same with log entries. Signatures that are logged already stay as they
/// are.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Role binding that enough owners have signed.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    trust: TrustArgs,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let client = args.service.client()?.ok_or_else(|| {
        CliError::input("nowhere to publish").hint("give --service URL of the attestation service")
    })?;
    let (owners, root) = (args.trust.owners.require()?, args.trust.root()?);
    let mut bundles = read_bundles(&args.file)?;
    // What too few signed is not published by mistake.
    let refused = |error| CliError::from(error).about(args.file.display());
    let unlogged = RoleBinding::verify(&bundles, &owners, None).map_err(refused)?;
    let payload = bundles.first().map(|bundle| bundle.envelope().payload.as_slice());
    latest::check(&client, &owners, payload.unwrap_or_default(), unlogged.table())?;
    files::check_writable(&args.file)?;
    for (number, bundle) in (1..).zip(&mut bundles) {
        let signed = owners.signature(bundle, number)?;
        let is_logged = match &root {
            Some(root) => signed.check_log(bundle, root).is_ok(),
            None => !bundle.log_entries().is_empty(),
        };
        if !is_logged {
            *bundle = client.submit(bundle, signed.key())?;
        }
    }
    let binding = RoleBinding::verify(&bundles, &owners, root.as_ref()).map_err(refused)?;
    files::write(&args.file, super::sign::to_file(&bundles).as_bytes(), Access::Public)?;
    let entries: Vec<_> = bundles
        .iter()
        .filter_map(|bundle| bundle.log_entries().first().map(|entry| entry.log_index))
        .collect();
    let value = json!({
        "ok": true,
        "bundle": output::path(&args.file),
        "statement": binding.digest(),
        "revision": binding.revision(),
        "entries": entries,
        "verified": root.is_some(),
    });
    let listed = entries.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let logged = match root {
        Some(_) => format!("entries {listed}"),
        None => format!("entries {listed}, not verified (give --trusted-root)"),
    };
    let rows = [
        ("revision", binding.revision().to_string()),
        ("signed by", output::count(binding.signers().len(), "owner")),
        ("logged", logged),
        ("bundle", args.file.display().to_string()),
    ];
    ui.result(&value, &format!("{GOOD}published{GOOD:#}\n{}", output::fields(&rows)));
    Ok(ExitCode::SUCCESS)
}
