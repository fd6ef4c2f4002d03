//! `serve renew`: new keys and certificates for the authorities.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use sealwright_server::service::{self, Issuer, Renewal};

use super::authority_keys::AuthorityKeyArgs;
use crate::error::CliError;
use crate::keyref::{self, PassphraseArgs};
use crate::output::{self, GOOD, STRONG, Ui};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory of the instance. It may be running, and goes over to the new keys by itself.
    #[arg(long, value_name = "DIR", default_value = "sealwright-data")]
    data: PathBuf,
    /// The private key of the authorities' root, which `serve init` wrote to offline/root-key.pem.
    #[arg(long, value_name = "REF", required_unless_present = "new_root")]
    root_key: Option<String>,
    /// Make a new root as well: its key is written to offline/.
    #[arg(long, conflicts_with_all = ["root_key", "only"])]
    new_root: bool,
    /// Renew only this one: certificates (with the key of their log), or timestamps.
    #[arg(long, value_name = "AUTHORITY")]
    only: Option<Only>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    #[command(flatten)]
    keys: AuthorityKeyArgs,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Only {
    Certificates,
    Timestamps,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let parts = match args.only {
        None => Renewal::All,
        Some(Only::Certificates) => Renewal::Certificates,
        Some(Only::Timestamps) => Renewal::Timestamps,
    };
    let signer = args.root_key.as_ref().map(|key| keyref::open_signer(key, &args.passphrase, ui));
    let signer = signer.transpose()?;
    let issuer = signer.as_ref().map_or(Issuer::NewRoot, |signer| Issuer::Root(signer.as_ref()));
    let keys = args.keys.open(&args.passphrase, ui)?;
    let made = service::renew(&args.data, &issuer, parts, &keys)?;
    let value = json!({
        "ok": true,
        "authority": output::path(&made.dir),
        "root_key": made.root_key.as_deref().map(output::path),
        "until": made.until,
        "old_until": made.old_until,
    });
    let rows = [
        ("authority", made.dir.display().to_string()),
        ("until", made.until.to_string()),
        ("old until", made.old_until.to_string()),
    ];
    ui.result(&value, &format!("{GOOD}renewed{GOOD:#}\n{}", output::fields(&rows)));
    if let Some(path) = &made.root_key {
        ui.note(&format!(
            "{STRONG}note:{STRONG:#} move {} to a place offline, as the one before.",
            path.display()
        ));
    }
    ui.note(&format!(
        "{STRONG}note:{STRONG:#} verifiers that hold a copy of trusted_root.json need the new one; clients \
         of the TUF repository get it by themselves."
    ));
    Ok(ExitCode::SUCCESS)
}
