use std::process::ExitCode;

use serde_json::json;

use crate::error::CliError;
use crate::model::ModelArgs;
use crate::output::{self, STRONG, Ui};

/// Show a model's identity: the model digest, the OMS root, the manifest.
///
/// The model digest is the SHA-256 of the canonical manifest: names, sizes and fs-verity digests of
/// all files. With --json the whole manifest is printed, and its canonical form as text, so that
/// anybody can check the digest with `sha256sum`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// List the files too.
    #[arg(long)]
    files: bool,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let name = args.model.name()?;
    let manifest = args.model.manifest()?;
    let (digest, root) = (manifest.model_digest(), manifest.oms_root());
    let value = json!({
        "model_digest": digest,
        "oms_root": root,
        "name": name,
        "size": manifest.total_size(),
        "manifest": {
            "version": sealwright_manifest::CANONICAL_VERSION,
            "files": manifest,
        },
        "canonical_manifest": manifest.canonical(),
    });
    let files = output::count(manifest.entries().len(), "file");
    let mut text = output::fields(&[
        ("model digest", format!("{STRONG}{digest}{STRONG:#}")),
        ("OMS root", root.to_string()),
        ("content", format!("{files}, {}", output::size(manifest.total_size()))),
    ]);
    if args.files {
        text.push('\n');
        for entry in manifest.entries() {
            let size = output::size(entry.size);
            text +=
                &format!("{size:>10}  {}  {:?}\n", &entry.fsverity.to_string()[..16], entry.name);
        }
    }
    ui.result(&value, &text);
    Ok(ExitCode::SUCCESS)
}
