use std::process::ExitCode;

use serde_json::json;

use sealwright_manifest::Manifest;

use crate::cache::FileCache;
use crate::error::CliError;
use crate::model::{self, ModelArgs};
use crate::output::{self, STRONG, Ui};

/// Show a model's identity: the model digest, the manifest, the OMS root.
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
    /// The OMS root too, which takes the plain SHA-256 of every file and so about twice the time; --json
    /// always has it.
    #[arg(long)]
    oms_root: bool,
    /// Do not read again what has not changed since it was last hashed, as far as the file system
    /// tells.
    #[arg(long)]
    cached: bool,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let name = args.model.name()?;
    let options = args.model.options(Vec::new())?;
    let cache = args.cached.then(FileCache::of_user).flatten();
    let (identity, manifest, cached) = if args.oms_root || ui.is_json() {
        let hashed = model::hash(&args.model.path, &options, cache.as_ref())?;
        (hashed.value.identity(), Some(hashed.value), hashed.cached)
    } else {
        let hashed = model::identify(&args.model.path, &options, cache.as_ref(), None)?;
        (hashed.value, None, hashed.cached)
    };
    let (digest, root) = (identity.model_digest(), manifest.as_ref().map(Manifest::oms_root));
    let value = json!({
        "model_digest": digest,
        "oms_root": root,
        "name": name,
        "size": identity.total_size(),
        "cached_size": cached,
        "manifest": {
            "version": sealwright_manifest::CANONICAL_VERSION,
            "files": manifest,
        },
        "canonical_manifest": identity.canonical(),
    });
    let mut rows = vec![("model digest", format!("{STRONG}{digest}{STRONG:#}"))];
    rows.extend(root.map(|root| ("OMS root", root.to_string())));
    let content = model::content(identity.files().len(), identity.total_size(), cached);
    rows.push(("content", content));
    let mut text = output::fields(&rows);
    if args.files {
        text.push('\n');
        for file in identity.files() {
            let size = output::size(file.size);
            text += &format!("{size:>10}  {}  {:?}\n", &file.fsverity.to_string()[..16], file.name);
        }
    }
    ui.result(&value, &text);
    Ok(ExitCode::SUCCESS)
}
