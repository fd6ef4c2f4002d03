//! Key references: where a key is, as a URI.
//!
//! `file:PATH` and a bare path are keys in PEM files. Other schemes are named in the error, so that
//! a reference meant for an HSM or a KMS is never taken for a file name.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use sealwright_attest::{KeyError, KeyFile, PublicKey, Signer};

use crate::error::CliError;
use crate::files;
use crate::output::Ui;

const KNOWN_SCHEMES: [&str; 8] = [
    "pkcs11:",
    "awskms://",
    "gcpkms://",
    "azurekms://",
    "hashivault://",
    "openbao://",
    "tpm2:",
    "k8s://",
];

/// The key to sign with.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SigningKeyArgs {
    /// Key to sign with: `file:PATH` or a path.
    #[arg(long, value_name = "REF")]
    pub(crate) key: String,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseArgs,
}

/// Where the passphrase of an encrypted key comes from.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PassphraseArgs {
    /// File whose first line is the passphrase; asked for on the terminal otherwise.
    #[arg(long, value_name = "FILE", env = "SEALWRIGHT_PASSPHRASE_FILE")]
    passphrase_file: Option<PathBuf>,
}

impl SigningKeyArgs {
    /// Opens the key; asks for a passphrase only if it needs one.
    pub(crate) fn open(&self, ui: &Ui) -> Result<Box<dyn Signer>, CliError> {
        Ok(open_signer(&self.key, &self.passphrase, ui)?)
    }
}

/// Opens the private key that `reference` names.
pub(crate) fn open_signer(
    reference: &str,
    passphrase: &PassphraseArgs,
    ui: &Ui,
) -> Result<Box<dyn Signer + Send + Sync>, CliError> {
    let path = file_path(reference)?;
    let pem = Zeroizing::new(files::read_text(&path, "key file")?);
    let secret = match KeyFile::is_encrypted(&pem) {
        true => Some(passphrase.obtain(&format!("Passphrase for {}: ", path.display()), ui)?),
        false => None,
    };
    let secret = secret.as_ref().map(|text| text.as_bytes());
    let key = KeyFile::from_pem(&pem, secret).map_err(|error| key_error(&path, &error))?;
    Ok(Box::new(key))
}

/// The public key that `reference` names: a public key file, or a private key's public half.
pub(crate) fn open_public(
    reference: &str,
    passphrase: &PassphraseArgs,
    ui: &Ui,
) -> Result<PublicKey, CliError> {
    let path = file_path(reference)?;
    let pem = Zeroizing::new(files::read_text(&path, "key file")?);
    if pem.contains("PRIVATE KEY-----") {
        return Ok(open_signer(reference, passphrase, ui)?.public_key().clone());
    }
    PublicKey::from_pem(&pem).map_err(|error| key_error(&path, &error))
}

/// A public key in a PEM file.
pub(crate) fn read_public(path: &Path) -> Result<PublicKey, CliError> {
    let pem = files::read_text(path, "public key")?;
    PublicKey::from_pem(&pem).map_err(|error| key_error(path, &error))
}

/// The path in a `file:` reference or a bare path.
pub(crate) fn file_path(reference: &str) -> Result<PathBuf, CliError> {
    if let Some(scheme) = KNOWN_SCHEMES.iter().find(|scheme| reference.starts_with(**scheme)) {
        return Err(CliError::input(format!("key references {scheme}… are not supported yet"))
            .hint("use a key file: --key file:PATH"));
    }
    let path = reference.strip_prefix("file:").unwrap_or(reference);
    // `file:///x` is the URL spelling of `file:/x`.
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() || path.contains("://") {
        return Err(CliError::input(format!("{reference:?} is not a key reference"))
            .hint("write --key file:PATH"));
    }
    Ok(PathBuf::from(path))
}

impl PassphraseArgs {
    /// The passphrase from the file, or from the terminal.
    pub(crate) fn obtain(&self, prompt: &str, ui: &Ui) -> Result<Zeroizing<String>, CliError> {
        if let Some(path) = &self.passphrase_file {
            let text = Zeroizing::new(files::read_text(path, "passphrase file")?);
            return Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()));
        }
        if !ui.can_ask() {
            return Err(CliError::input("the key needs a passphrase, and there is no terminal")
                .hint("give --passphrase-file FILE (or SEALWRIGHT_PASSPHRASE_FILE)"));
        }
        rpassword::prompt_password(prompt).map(Zeroizing::new).map_err(|error| {
            CliError::environment(format!("cannot read the passphrase: {error}"))
                .hint("give --passphrase-file FILE")
        })
    }

    /// A passphrase for a new key: asked for twice on the terminal.
    pub(crate) fn obtain_new(&self, ui: &Ui) -> Result<Zeroizing<String>, CliError> {
        let first = self.obtain("Passphrase for the new key: ", ui)?;
        if first.is_empty() {
            return Err(CliError::input("the passphrase is empty")
                .hint("private keys are only written encrypted; choose a passphrase"));
        }
        if self.passphrase_file.is_none() && *self.obtain("The same once more: ", ui)? != *first {
            return Err(CliError::input("the two passphrases differ").hint("try again"));
        }
        Ok(first)
    }
}

pub(crate) fn key_error(path: &Path, error: &KeyError) -> CliError {
    let message = format!("{}: {error}", path.display());
    let hint = match error {
        KeyError::WrongPassphrase => "try the passphrase again, or check --passphrase-file",
        KeyError::PassphraseRequired => "give --passphrase-file FILE",
        KeyError::UnsupportedEncryption { .. } => {
            "encrypt it anew: `openssl pkcs8 -topk8 -in KEY -out NEW`"
        }
        KeyError::UnsupportedAlgorithm => "make one with `sealwright key generate`",
        KeyError::WrongLabel { .. } => {
            "public keys verify, private keys sign: check which is meant"
        }
        KeyError::NotPem | KeyError::Malformed => "the file should be a key in PEM",
    };
    CliError::input(message).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_files_or_refused() {
        for (reference, path) in [
            ("file:keys/a.key", "keys/a.key"),
            ("file:/abs/a", "/abs/a"),
            ("file:///abs/a", "/abs/a"),
            ("a.key", "a.key"),
        ] {
            assert_eq!(file_path(reference).ok(), Some(PathBuf::from(path)), "{reference}");
        }
        for reference in ["", "file:", "pkcs11:token=x", "awskms:///alias/x", "ftp://x/y"] {
            assert!(file_path(reference).is_err(), "{reference}");
        }
    }
}
