//! The policy that decides, and by whose word it does.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sealwright_attest::{Bundle, Owners, Timestamp, TrustedRoot};
use sealwright_policy::{ApprovedPolicy, Policy, PolicyApproval};
use serde_json::Value;

use super::config::{ConfigError, load_policy, read};
use crate::evidence::{Denial, EvidenceSource, check_policy_in_force, code};
use crate::state::time_now;

/// What an operator says of the policy.
#[derive(Debug)]
pub(super) struct PolicyFiles<'a> {
    pub(super) policy: Option<&'a PathBuf>,
    pub(super) approval: Option<&'a PathBuf>,
    pub(super) insecure_unapproved: bool,
}

/// A policy, and why it may decide.
#[derive(Debug)]
pub(super) struct PolicyInForce {
    policy: Policy,
    word: Word,
    /// Why it does not decide any more: who has seen a newer one never goes back.
    superseded: Mutex<Option<Denial>>,
}

#[derive(Debug)]
enum Word {
    /// Comes with the program.
    BuiltIn,
    /// Enough owners signed it.
    Approved(Box<Approved>),
    /// Whoever can write its files can change it.
    InsecureUnapproved,
}

#[derive(Debug)]
struct Approved {
    approval: PolicyApproval,
    owners: Owners,
}

impl PolicyInForce {
    /// Loads the policy that an operator names; the built-in one, if none.
    pub(super) fn load(
        files: &PolicyFiles<'_>,
        owners: impl FnOnce() -> Result<Owners, ConfigError>,
        root: &TrustedRoot,
    ) -> Result<Self, ConfigError> {
        let (policy, word) = match (files.policy, files.approval) {
            (None, None) => (load_policy(None)?, Word::BuiltIn),
            (None, Some(approval)) => {
                return Err(ConfigError::ApprovalAlone { path: approval.clone() });
            }
            (Some(path), Some(approval)) => {
                let owners = owners()?;
                let (policy, approval) = activate(path, approval, &owners, root)?.into_parts();
                (policy, Word::Approved(Box::new(Approved { approval, owners })))
            }
            (Some(path), None) if files.insecure_unapproved => {
                (load_policy(Some(path))?, Word::InsecureUnapproved)
            }
            (Some(path), None) => {
                return Err(ConfigError::PolicyUnapproved { path: path.clone() });
            }
        };
        Ok(Self { policy, word, superseded: Mutex::new(None) })
    }

    /// Whether it still decides at `time`: asks for newer ones.
    pub(super) fn check(
        &self,
        source: &dyn EvidenceSource,
        root: &TrustedRoot,
        time: Timestamp,
    ) -> Result<(), Denial> {
        let Word::Approved(approved) = &self.word else { return Ok(()) };
        let Approved { approval, owners } = &**approved;
        let known = || self.superseded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(denial) = known().clone() {
            return Err(denial);
        }
        let checked = check_policy_in_force(source, owners, root, approval, time);
        if let Err(denial) = &checked
            && matches!(denial.code, code::POLICY_SUPERSEDED | code::POLICY_CONFLICT)
        {
            *known() = Some(denial.clone());
        }
        checked
    }

    /// For records: null, or what the owners said.
    pub(super) fn approval(&self) -> Value {
        match &self.word {
            Word::Approved(approved) => approved.approval.to_value(),
            Word::BuiltIn | Word::InsecureUnapproved => Value::Null,
        }
    }

    pub(super) fn is_unapproved(&self) -> bool {
        matches!(self.word, Word::InsecureUnapproved)
    }
}

impl Deref for PolicyInForce {
    type Target = Policy;

    fn deref(&self) -> &Policy {
        &self.policy
    }
}

fn activate(
    path: &Path,
    approval: &Path,
    owners: &Owners,
    root: &TrustedRoot,
) -> Result<ApprovedPolicy, ConfigError> {
    let format = |source| ConfigError::ApprovalFormat { path: approval.to_owned(), source };
    let signatures = Bundle::parse_all(&read(approval)?).map_err(format)?;
    let time = time_now().map_err(|source| ConfigError::Clock { source: Box::new(source) })?;
    ApprovedPolicy::activate(&read(path)?, &signatures, owners, Some(root), time)
        .map_err(|source| ConfigError::PolicyNotInForce { path: path.to_owned(), source })
}
