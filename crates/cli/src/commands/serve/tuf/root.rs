//! `serve tuf rotate` and `serve tuf publish`: one root follows another.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use sealwright_server::service::tuf::{self, RootChange};
use sealwright_tuf::{Document, RoleName, Root};

use super::DataArgs;
use crate::error::CliError;
use crate::files::{self, Access};
use crate::output::{self, GOOD, Ui};

#[derive(Debug, clap::Args)]
pub(super) struct RotateArgs {
    #[command(flatten)]
    instance: DataArgs,
    /// Public key (PEM) that signs roots from now on.
    #[arg(long, value_name = "PEM")]
    add: Vec<PathBuf>,
    /// Key that signs no more: the first characters of its name, as `status` shows it.
    #[arg(long, value_name = "NAME")]
    remove: Vec<String>,
    /// How many keys must sign from now on.
    #[arg(long, value_name = "K")]
    threshold: Option<u32>,
    /// Give the service a new key for the other roles, which makes the old one worthless.
    #[arg(long)]
    new_online_key: bool,
    /// File to write the unsigned root to; N.root.json otherwise.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct PublishArgs {
    #[command(flatten)]
    instance: DataArgs,
    /// The signed root.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(super) fn rotate(args: &RotateArgs, ui: &Ui) -> Result<ExitCode, CliError> {
    let change = RootChange {
        add: args.add.clone(),
        remove: args.remove.clone(),
        threshold: args.threshold,
        new_online_key: args.new_online_key,
    };
    let bytes = tuf::rotate(&args.instance.data, &change)?;
    let document = read_root(&bytes)?;
    let root = document.unverified();
    let path = args.out.clone().unwrap_or_else(|| RoleName::Root.file_name(root.version).into());
    files::write_new(&path, &bytes, Access::Public)?;
    let value = json!({
        "ok": true,
        "file": output::path(&path),
        "version": root.version,
        "expires": root.expires,
    });
    let rows = [
        ("file", path.display().to_string()),
        ("version", root.version.to_string()),
        ("expires", root.expires.to_string()),
        ("then", "enough holders of old and of new keys sign it, and `publish` it".to_owned()),
    ];
    ui.result(&value, &format!("{GOOD}prepared{GOOD:#}\n{}", output::fields(&rows)));
    Ok(ExitCode::SUCCESS)
}

pub(super) fn publish(args: &PublishArgs, ui: &Ui) -> Result<ExitCode, CliError> {
    let bytes = files::read(&args.file, "root", RoleName::Root.max_size())?;
    // What is no root at all is said before anything is looked for.
    read_root(&bytes)?;
    let published = tuf::publish(&args.instance.data, &bytes)?;
    let value = json!({"ok": true, "version": published.version, "expires": published.expires});
    let rows =
        [("version", published.version.to_string()), ("expires", published.expires.to_string())];
    ui.result(&value, &format!("{GOOD}published{GOOD:#}\n{}", output::fields(&rows)));
    Ok(ExitCode::SUCCESS)
}

pub(super) fn read_root(bytes: &[u8]) -> Result<Document<Root>, CliError> {
    Document::parse(bytes).map_err(|error| {
        CliError::input(error.to_string())
            .hint("a root as `sealwright serve tuf rotate` writes it, N.root.json")
    })
}
