//! Which policy to decide by.

use std::convert::Infallible;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sealwright_policy::{Policy, PolicyBundle, PolicyError};

use crate::error::CliError;

/// `starter`, a directory, or a bundle.
#[derive(Debug, Clone)]
pub(crate) enum PolicyChoice {
    /// The policy in `policies/starter`, built into this program.
    Starter,
    /// A directory with `.rego` files and data, or an OPA bundle of it.
    Path(PathBuf),
}

impl FromStr for PolicyChoice {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "starter" => Self::Starter,
            path => Self::Path(PathBuf::from(path)),
        })
    }
}

impl PolicyChoice {
    /// The directory or bundle; none for the built-in policy.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Starter => None,
            Self::Path(path) => Some(path),
        }
    }

    /// Loads and checks the policy.
    pub(crate) fn load(&self) -> Result<Policy, CliError> {
        Ok(match self {
            Self::Starter => Policy::starter()?,
            Self::Path(path) => load(path)?,
        })
    }
}

/// Loads a directory, or a bundle.
pub(crate) fn load(path: &Path) -> Result<Policy, PolicyError> {
    if !path.is_file() {
        return Policy::load(path);
    }
    let failed = |source| PolicyError::Io { path: path.to_owned(), source };
    let limit = u64::try_from(PolicyBundle::MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    Policy::from_bundle(&bytes)
}

impl From<PolicyError> for CliError {
    fn from(error: PolicyError) -> Self {
        let message = format!("policy: {}", Self::chain(&error));
        match error {
            PolicyError::Io { source, .. }
                if !matches!(source.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput) =>
            {
                Self::environment(message).hint("check the path and who may use it")
            }
            PolicyError::Unsafe { .. } => {
                Self::input(message).hint("`sealwright policy lint` lists everything it finds")
            }
            PolicyError::Bundle(_) => {
                Self::input(message).hint("make bundles with `sealwright policy build`")
            }
            _ => Self::input(message).hint(
                "a policy is a directory with .rego files and data.json, a bundle of it, or `starter`",
            ),
        }
    }
}
