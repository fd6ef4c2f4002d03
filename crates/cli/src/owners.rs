//! The owners, whose signatures make a role binding or a policy count.

use std::path::PathBuf;

use sealwright_attest::{Bundle, Owners, OwnersError, PublicKey, VerifyError};

use crate::error::CliError;
use crate::files;
use crate::keyref;

/// Whose signatures count as the owners', and how many of them there must be.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct OwnerArgs {
    /// Public key of an owner, who signs role bindings and policies; may be repeated, and a file may
    /// hold several keys.
    #[arg(
        id = "owner_keys",
        long = "owner-key",
        value_name = "FILE",
        env = "SEALWRIGHT_OWNER_KEY"
    )]
    keys: Vec<PathBuf>,
    /// How many owners must have signed; without this 2, or 1 if there is only one key.
    #[arg(
        id = "owners_required",
        long = "owners-required",
        value_name = "N",
        env = "SEALWRIGHT_OWNERS_REQUIRED",
        value_parser = clap::value_parser!(u8).range(1..)
    )]
    required: Option<u8>,
}

impl OwnerArgs {
    /// The files with the owners' keys.
    pub(crate) fn files(&self) -> &[PathBuf] {
        &self.keys
    }

    /// How many must sign, as far as somebody has said.
    pub(crate) fn required(&self) -> Option<usize> {
        self.required.map(usize::from)
    }

    /// The owners, if keys were given.
    pub(crate) fn owners(&self) -> Result<Option<Owners>, CliError> {
        let mut keys = Vec::new();
        for path in &self.keys {
            keys.extend(read_keys(path)?);
        }
        if keys.is_empty() {
            return match self.required {
                None => Ok(None),
                Some(_) => Err(CliError::input("--owners-required needs the owners' keys")
                    .hint("give --owner-key FILE for each owner")),
            };
        }
        let required = self.required().unwrap_or_else(|| keys.len().min(2));
        Ok(Some(Owners::new(keys, required)?))
    }

    /// The owners, without whom nothing goes on.
    pub(crate) fn require(&self) -> Result<Owners, CliError> {
        self.owners()?.ok_or_else(|| {
            CliError::input("no owner's key").hint("give --owner-key FILE for each owner")
        })
    }
}

/// Reads the bundles in a file: one, or one a line.
pub(crate) fn read_bundles(path: &std::path::Path) -> Result<Vec<Bundle>, CliError> {
    let bytes = files::read(path, "bundle", sealwright_attest::MAX_BUNDLE_SIZE)?;
    Bundle::parse_all(&bytes).map_err(|error| CliError::from(error).about(path.display()))
}

/// The keys in a PEM file, one or several.
fn read_keys(path: &std::path::Path) -> Result<Vec<PublicKey>, CliError> {
    let text = files::read_text(path, "public key")?;
    PublicKey::from_pem_all(&text).map_err(|error| keyref::key_error(path, &error))
}

impl From<OwnersError> for CliError {
    fn from(error: OwnersError) -> Self {
        let message = error.to_string();
        match error {
            OwnersError::Count { .. }
            | OwnersError::Required { .. }
            | OwnersError::SharedKey { .. } => {
                Self::input(message).hint("give each owner's key once, with --owner-key FILE")
            }
            OwnersError::TooFew { .. } => Self::failed(message)
                .hint("another owner has to add a signature: `… sign --add FILE`"),
            OwnersError::Signature { source: VerifyError::NotLogged, .. } => Self::failed(message)
                .hint("have it logged: `sealwright roles publish FILE --service URL`"),
            OwnersError::NotOwner { .. } | OwnersError::Signature { .. } => {
                Self::failed(message).hint("check --owner-key: who should have signed?")
            }
            OwnersError::OtherStatement { .. } | OwnersError::Twice { .. } => Self::failed(message)
                .hint("one file holds the signatures of different owners over one statement"),
        }
    }
}
