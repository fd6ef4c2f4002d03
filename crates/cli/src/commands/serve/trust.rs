//! `serve trust`: the files that clients are given.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use sealwright_server::service;

use crate::error::CliError;
use crate::files;
use crate::output::{self, GOOD, Ui};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory of the instance.
    #[arg(long, value_name = "DIR", default_value = "sealwright-data")]
    data: PathBuf,
    /// Directory to write to: trusted_root.json (for verifiers), signing_config.json (for signers),
    /// trust_config.json (both, as sigstore-python takes it), audit_key.pub (of administrative acts).
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// URL at which clients reach the service, if it is not the one that the trusted root names.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Issuer of ID tokens that signers should log in with.
    #[arg(long, value_name = "URL")]
    oidc_url: Option<String>,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let made = service::trust_files(&args.data, args.url.as_deref(), args.oidc_url.as_deref())?;
    std::fs::create_dir_all(&args.out).map_err(|error| {
        CliError::environment(format!("cannot create {}: {error}", args.out.display()))
            .hint("choose another --out")
    })?;
    let documents = [
        ("trusted_root.json", made.trusted_root),
        ("signing_config.json", made.signing_config),
        ("trust_config.json", made.trust_config),
    ];
    let mut value = json!({"ok": true});
    let mut rows = Vec::new();
    for (name, document) in documents {
        let path = args.out.join(name);
        files::write(&path, document.as_bytes(), files::Access::Public)?;
        value[name.trim_end_matches(".json")] = output::path(&path);
        rows.push((name.trim_end_matches(".json"), path.display().to_string()));
    }
    // What the service's operators do is in the log, signed by this key.
    if let Some(key) = service::audit_public_key(&args.data) {
        let path = args.out.join("audit_key.pub");
        files::write(&path, key.as_bytes(), files::Access::Public)?;
        value["audit_key"] = output::path(&path);
        rows.push(("audit key", path.display().to_string()));
    }
    ui.result(&value, &format!("{GOOD}written{GOOD:#}\n{}", output::fields(&rows)));
    Ok(ExitCode::SUCCESS)
}
