//! The owners' word about a bundle: reading it, and what it says.

use std::path::Path;

use serde_json::Value;

use sealwright_attest::TrustedRoot;
use sealwright_policy::{
    ActivationError, ApprovedPolicy, PolicyApproval, PolicyBundle, PolicyError,
};

use crate::clock;
use crate::error::CliError;
use crate::files;
use crate::keyref;
use crate::owners::{OwnerArgs, read_bundles};
use crate::service::short;

/// Reads a file that is to be a bundle.
pub(super) fn read_policy_bundle(path: &Path) -> Result<(Vec<u8>, PolicyBundle), CliError> {
    let bytes = files::read(path, "policy bundle", PolicyBundle::MAX_BYTES)?;
    let bundle = PolicyBundle::read(&bytes)
        .map_err(|error| CliError::from(PolicyError::from(error)).about(path.display()))?;
    Ok((bytes, bundle))
}

/// Puts the bundle into force on the owners' word in `approval`.
pub(crate) fn activate(
    bundle: &Path,
    approval: &Path,
    owners: &OwnerArgs,
    root: Option<&TrustedRoot>,
) -> Result<ApprovedPolicy, CliError> {
    owners.require()?;
    let bytes = files::read(bundle, "policy bundle", PolicyBundle::MAX_BYTES)?;
    activate_bytes((bundle, &bytes), approval, owners, root)
}

/// The same for a bundle that was read.
pub(super) fn activate_bytes(
    (path, bytes): (&Path, &[u8]),
    approval: &Path,
    owners: &OwnerArgs,
    root: Option<&TrustedRoot>,
) -> Result<ApprovedPolicy, CliError> {
    let owners = owners.require()?;
    let signatures = read_bundles(approval)?;
    ApprovedPolicy::activate(bytes, &signatures, &owners, root, clock::now()?)
        .map_err(|error| CliError::from(error).about(path.display()))
}

/// Checks OPA's own signature of the bundle at `path` by the key in the file `key`.
pub(super) fn check_signature(
    bundle: &PolicyBundle,
    path: &Path,
    key: &Path,
    scope: &str,
) -> Result<(), CliError> {
    bundle.verify_signature(&keyref::read_public(key)?, scope).map_err(|error| {
        CliError::failed(format!("{}: {error}", path.display()))
            .hint("get the bundle anew, or check --key and --scope")
    })
}

/// For `--json`: null, or what the owners said.
pub(crate) fn approval_value(approval: Option<&PolicyApproval>) -> Value {
    approval.map_or(Value::Null, PolicyApproval::to_value)
}

/// For people, in a line.
pub(crate) fn approval_text(approval: Option<&PolicyApproval>) -> String {
    let Some(approval) = approval else { return "by nobody: the caller's own choice".to_owned() };
    let said = approval.predicate();
    let signers: Vec<String> = approval.signers().iter().map(|key| short(key)).collect();
    format!("{}, revision {}, by {}", said.name, said.revision, signers.join(" and "))
}

impl From<ActivationError> for CliError {
    fn from(error: ActivationError) -> Self {
        let message = format!("{}: {}", error.code(), Self::chain(&error));
        match error {
            ActivationError::Policy(error) => error.into(),
            ActivationError::Owners(error) => Self::from(error).about("the policy's approval"),
            ActivationError::Statement { .. } => {
                Self::failed(message).hint("give what `sealwright policy sign` wrote")
            }
            ActivationError::OtherBundle { .. } | ActivationError::Mismatch { .. } => {
                Self::failed(message).hint("give the bundle and the approval that belong together")
            }
            ActivationError::NoTests => Self::failed(message)
                .hint("write rules test_… in files *_test.rego beside the rules"),
            ActivationError::Test { .. } => {
                Self::failed(message).hint("`sealwright policy test` shows what happens in it")
            }
            ActivationError::Expired { .. } => Self::failed(message)
                .hint("the owners have to approve it anew: `sealwright policy sign`"),
            _ => Self::failed(message).hint("get the newest bundle, and its approval"),
        }
    }
}
