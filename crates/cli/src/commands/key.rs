use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use sealwright_attest::{Curve, KeyFile, Signer as _};

use crate::error::CliError;
use crate::files::{self, Access};
use crate::keyref::{self, PassphraseArgs};
use crate::output::{self, GOOD, Ui};

/// Generate keys, and show their public halves.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, clap::Subcommand)]
enum KeyCommand {
    Generate(GenerateArgs),
    Public(PublicArgs),
}

/// Generate a key pair: PREFIX.key (encrypted PKCS#8) and PREFIX.pub.
///
/// Refuses to put a private key into a git work tree or a model directory, where it would be
/// published sooner or later, and never overwrites a key.
#[derive(Debug, clap::Args)]
struct GenerateArgs {
    /// Path of the two files, without `.key` and `.pub`.
    #[arg(long, short, value_name = "PREFIX", default_value = "sealwright")]
    output: PathBuf,
    /// Curve.
    #[arg(long, value_enum, default_value_t = Algorithm::P256)]
    algorithm: Algorithm,
    /// Write it even into a git work tree or a model directory: for keys that protect nothing.
    #[arg(long)]
    insecure_any_place: bool,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// Print the public key of a key reference in PEM.
#[derive(Debug, clap::Args)]
struct PublicArgs {
    /// Key: `file:PATH` or a path.
    #[arg(value_name = "REF")]
    key: String,
    /// Write to a file instead.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Algorithm {
    P256,
    P384,
    P521,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    match &args.command {
        KeyCommand::Generate(args) => generate(args, ui),
        KeyCommand::Public(args) => public(args, ui),
    }
}

fn generate(args: &GenerateArgs, ui: &Ui) -> Result<ExitCode, CliError> {
    if args.output.is_dir() || args.output.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return Err(CliError::input(format!("{} is a directory", args.output.display()))
            .hint("give the path of the key without `.key`: --output ~/keys/NAME"));
    }
    let private = with_extension(&args.output, "key");
    let public = with_extension(&args.output, "pub");
    if !args.insecure_any_place {
        refuse_unsafe_place(&files::parent(&private))?;
    }
    for path in [&private, &public] {
        if std::fs::symlink_metadata(path).is_ok() {
            return Err(CliError::input(format!("{} already exists", path.display()))
                .hint("choose another --output; an existing key is never overwritten"));
        }
    }
    let passphrase = args.passphrase.obtain_new(ui)?;
    let key = KeyFile::generate(match args.algorithm {
        Algorithm::P256 => Curve::P256,
        Algorithm::P384 => Curve::P384,
        Algorithm::P521 => Curve::P521,
    })?;
    let pem = key.encrypted_pem(passphrase.as_bytes())?;
    files::write_new(&private, pem.as_bytes(), Access::Private)?;
    if let Err(error) = files::write_new(&public, key.public_key().pem().as_bytes(), Access::Public)
    {
        // Half a key pair is worse than none.
        let _ = std::fs::remove_file(&private);
        return Err(error);
    }
    let id = key.public_key().id();
    let value = json!({
        "ok": true,
        "key": output::path(&private),
        "public_key": output::path(&public),
        "key_id": id,
    });
    let rows = [
        ("private", format!("{} (encrypted)", private.display())),
        ("public", public.display().to_string()),
        ("key id", id),
    ];
    ui.result(&value, &format!("{GOOD}generated{GOOD:#}\n{}", output::fields(&rows)));
    Ok(ExitCode::SUCCESS)
}

fn public(args: &PublicArgs, ui: &Ui) -> Result<ExitCode, CliError> {
    let key = keyref::open_public(&args.key, &args.passphrase, ui)?;
    if let Some(path) = &args.output {
        files::write(path, key.pem().as_bytes(), Access::Public)?;
    }
    if ui.is_json() {
        ui.result(&json!({"ok": true, "key_id": key.id(), "public_key": key.pem()}), "");
    } else if args.output.is_none() {
        ui.raw(key.pem().as_bytes());
    }
    Ok(ExitCode::SUCCESS)
}

fn with_extension(prefix: &Path, extension: &str) -> PathBuf {
    let mut path = prefix.as_os_str().to_owned();
    path.push(".");
    path.push(extension);
    PathBuf::from(path)
}

/// Files that only a model directory has.
const WEIGHTS: [&str; 12] = [
    "safetensors",
    "onnx",
    "gguf",
    "ggml",
    "pt",
    "pth",
    "ckpt",
    "h5",
    "keras",
    "tflite",
    "pkl",
    "joblib",
];

/// Refuses a directory that lies in a git work tree or in a model.
fn refuse_unsafe_place(directory: &Path) -> Result<(), CliError> {
    let refused = |what: &str, place: &Path| {
        CliError::input(format!(
            "refusing to write a private key into {what} ({})",
            place.display()
        ))
        .hint("keys belong outside of what is published: --output ~/keys/NAME")
    };
    let Ok(directory) = directory.canonicalize() else {
        return Err(CliError::input(format!("{} does not exist", directory.display()))
            .hint("create the directory for the key first"));
    };
    for place in directory.ancestors() {
        // `.git` is a directory, or a file in linked work trees and submodules.
        if place.join(".git").exists() {
            return Err(refused("a git work tree", place));
        }
        if holds_weights(place) && (place == directory || !is_common_ground(place)) {
            return Err(refused("a model directory", place));
        }
    }
    Ok(())
}

/// Home, /tmp, the root: a model file that lies about there does not make everything below a model.
fn is_common_ground(place: &Path) -> bool {
    let is_sticky = std::fs::metadata(place).is_ok_and(|meta| meta.mode() & 0o1000 != 0);
    let home = std::env::home_dir().and_then(|home| home.canonicalize().ok());
    is_sticky || place.parent().is_none() || home.is_some_and(|home| home.starts_with(place))
}

fn holds_weights(directory: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(directory) else { return false };
    let mut has_config = false;
    let mut has_bin = false;
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        let extension = path.extension().and_then(|extension| extension.to_str());
        if extension.is_some_and(|extension| WEIGHTS.contains(&extension)) {
            return true;
        }
        has_bin |= extension == Some("bin");
        has_config |= path.file_name().is_some_and(|name| name == "config.json");
    }
    has_bin && has_config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_trees_and_models_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("a/b");
        std::fs::create_dir_all(&place).unwrap();
        assert!(refuse_unsafe_place(&place).is_ok());
        std::fs::write(directory.path().join("a/model.safetensors"), b"").unwrap();
        assert!(refuse_unsafe_place(&place).is_err());
        std::fs::remove_file(directory.path().join("a/model.safetensors")).unwrap();
        std::fs::write(directory.path().join(".git"), b"gitdir: x").unwrap();
        assert!(refuse_unsafe_place(&place).is_err());
        assert!(refuse_unsafe_place(&place.join("missing")).is_err());
    }
}
