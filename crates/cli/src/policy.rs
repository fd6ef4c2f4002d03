//! Which policy to decide by.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sealwright_policy::{Policy, PolicyError};

use crate::error::CliError;

/// `starter`, or a directory.
#[derive(Debug, Clone)]
pub(crate) enum PolicyChoice {
    /// The policy in `policies/starter`, built into this program.
    Starter,
    /// A directory with `.rego` files and `data.json`.
    Directory(PathBuf),
}

impl FromStr for PolicyChoice {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "starter" => Self::Starter,
            path => Self::Directory(PathBuf::from(path)),
        })
    }
}

impl PolicyChoice {
    /// The directory; none for the built-in policy.
    pub(crate) fn directory(&self) -> Option<&Path> {
        match self {
            Self::Starter => None,
            Self::Directory(path) => Some(path),
        }
    }

    /// Loads and checks the policy.
    pub(crate) fn load(&self) -> Result<Policy, CliError> {
        Ok(match self {
            Self::Starter => Policy::starter()?,
            Self::Directory(path) => Policy::load(path)?,
        })
    }
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
            _ => Self::input(message)
                .hint("--policy names a directory with .rego files and data.json, or `starter`"),
        }
    }
}
