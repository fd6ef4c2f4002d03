//! Policies in force: a bundle, and the owners' word that it is to decide.
//!
//! Whoever can change the policy can say yes to everything, so a policy decides only with the
//! signatures of as many owners as a role binding needs, over a statement whose subject is the bundle.

use std::ops::Deref;

use sealwright_attest::{
    Bundle, OwnerSigned, Owners, OwnersError, Statement, Subject, Timestamp, TrustedRoot,
    from_value, predicate,
};
use sealwright_manifest::Sha256;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bundle::PolicyBundle;
use crate::error::PolicyError;
use crate::policy::Policy;

/// What owners say of a policy: the predicate [`predicate::POLICY`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PolicyPredicate {
    /// Which policy this is a revision of: a DNS label.
    pub name: String,
    /// Counts up.
    pub revision: u64,
    /// [`Policy::digest`].
    pub policy_sha256: String,
    /// The tests that it came with.
    pub tests: PassedTests,
    /// What the signature means.
    pub meaning: String,
    /// From then on it decides nothing any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_on: Option<Timestamp>,
    /// The bundle that it was compared with before it was signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<PreviousBundle>,
}

/// How many tests passed, which were all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PassedTests {
    /// At least one.
    pub passed: u64,
}

/// A bundle by its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreviousBundle {
    /// SHA-256 in lower-case hex.
    pub sha256: String,
}

/// Enough owners' word about a policy. The only makers check their signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyApproval {
    statement: Sha256,
    bundle: String,
    predicate: PolicyPredicate,
    signers: Vec<String>,
    logged_at: Option<Timestamp>,
}

/// A policy that may decide for others: approved by enough owners, without a fault that the lint finds,
/// its own tests passed.
///
/// The only maker is [`ApprovedPolicy::activate`].
#[derive(Debug)]
pub struct ApprovedPolicy {
    policy: Policy,
    approval: PolicyApproval,
}

/// Why a bundle does not come into force. [`ActivationError::code`] is stable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ActivationError {
    /// Not enough owners signed one statement about it.
    #[error("the policy's approval")]
    Owners(#[from] OwnersError),
    /// What they signed is not a statement about a policy.
    #[error("the approval is not a policy statement: {message}")]
    Statement {
        /// What is wrong with it.
        message: String,
    },
    /// They signed another bundle.
    #[error("the approval is for the bundle {approved}, and this one is {found}")]
    OtherBundle {
        /// SHA-256 of the approved bundle.
        approved: String,
        /// SHA-256 of this one.
        found: String,
    },
    /// The bundle says another thing of itself than the statement.
    #[error("the bundle's {what} is {found}, and {approved} was approved")]
    Mismatch {
        /// `name`, `revision` or `policy digest`.
        what: &'static str,
        /// What the bundle says.
        found: String,
        /// What the statement says.
        approved: String,
    },
    /// The bundle cannot be loaded.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A bundle without tests is not known to do anything.
    #[error("the policy has no tests of its own")]
    NoTests,
    /// One of its own tests fails.
    #[error("the policy's own test {name} fails: {detail}")]
    Test {
        /// The full path of the test.
        name: String,
        /// Why.
        detail: String,
    },
    /// Its time is over.
    #[error("the policy's approval expired at {at}")]
    Expired {
        /// When.
        at: Timestamp,
    },
    /// A newer one was approved, or another one of the same revision.
    #[error(transparent)]
    Superseded(#[from] Superseded),
}

/// Why an approved policy must not decide any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Superseded {
    /// The owners approved a newer revision.
    #[error(
        "revision {newest} of the policy {name} was approved, and revision {found} would decide"
    )]
    Newer {
        /// The policy's name.
        name: String,
        /// The revision in force here.
        found: u64,
        /// The newest one.
        newest: u64,
    },
    /// The owners approved two bundles as one revision; which of them is meant nobody knows.
    #[error(
        "two bundles were approved as revision {revision} of the policy {name}: {one} and {other}"
    )]
    Conflict {
        /// The policy's name.
        name: String,
        /// The revision.
        revision: u64,
        /// SHA-256 of the bundle in force here.
        one: String,
        /// SHA-256 of the other.
        other: String,
    },
}

impl PolicyPredicate {
    /// The statement that this is about `bundle`.
    #[must_use]
    pub fn to_statement(&self, bundle: &Sha256) -> Statement {
        Statement {
            subject: vec![Subject::sha256(format!("{}.tar.gz", self.name), bundle)],
            predicate_type: predicate::POLICY.to_owned(),
            predicate: serde_json::to_value(self).unwrap_or_default(),
        }
    }

    /// What a statement says, whoever signed it.
    ///
    /// # Errors
    /// [`ActivationError::Statement`].
    pub fn of(statement: &Statement) -> Result<Self, ActivationError> {
        let wrong = |message: String| ActivationError::Statement { message };
        if statement.predicate_type != predicate::POLICY {
            return Err(wrong(format!("it is of type {}", statement.predicate_type)));
        }
        let value: Value = statement.predicate.clone();
        predicate::check(predicate::POLICY, &value).map_err(|error| wrong(error.to_string()))?;
        from_value(value).map_err(|error| wrong(error.to_string()))
    }
}

impl PolicyApproval {
    /// What enough owners signed, if it is about a policy.
    ///
    /// # Errors
    /// [`ActivationError::Statement`].
    pub fn of(signed: &OwnerSigned) -> Result<Self, ActivationError> {
        let predicate = PolicyPredicate::of(signed.statement())?;
        let digests = signed.statement().subject_digests();
        let [bundle] = &digests[..] else {
            let message = String::from("it is not about exactly one bundle");
            return Err(ActivationError::Statement { message });
        };
        if signed.statement().subject.len() != 1 {
            let message = String::from("it is about more than one bundle");
            return Err(ActivationError::Statement { message });
        }
        Ok(Self {
            statement: signed.digest(),
            bundle: bundle.clone(),
            predicate,
            signers: signed.signers().to_vec(),
            logged_at: signed.time(),
        })
    }

    /// Names the statement.
    #[must_use]
    pub fn statement(&self) -> Sha256 {
        self.statement
    }

    /// SHA-256 of the bundle, lower-case hex.
    #[must_use]
    pub fn bundle(&self) -> &str {
        &self.bundle
    }

    /// What they said.
    #[must_use]
    pub fn predicate(&self) -> &PolicyPredicate {
        &self.predicate
    }

    /// Ids of the keys of those who signed.
    #[must_use]
    pub fn signers(&self) -> &[String] {
        &self.signers
    }

    /// The latest log-signed time of the signatures; none if no trusted root was given.
    #[must_use]
    pub fn logged_at(&self) -> Option<Timestamp> {
        self.logged_at
    }

    /// Whether it is over at `time`.
    ///
    /// # Errors
    /// [`ActivationError::Expired`].
    pub fn check_time(&self, time: Timestamp) -> Result<(), ActivationError> {
        match self.predicate.expires_on {
            Some(at) if at <= time => Err(ActivationError::Expired { at }),
            _ => Ok(()),
        }
    }

    /// Holds this approval against another one that enough owners signed; one of another policy, or an
    /// older one, changes nothing.
    ///
    /// # Errors
    /// [`Superseded`].
    pub fn check_against(&self, other: &Self) -> Result<(), Superseded> {
        let (mine, theirs) = (&self.predicate, &other.predicate);
        if mine.name != theirs.name {
            return Ok(());
        }
        let name = mine.name.clone();
        if theirs.revision > mine.revision {
            let (found, newest) = (mine.revision, theirs.revision);
            return Err(Superseded::Newer { name, found, newest });
        }
        if theirs.revision == mine.revision && other.bundle != self.bundle {
            let (one, other) = (self.bundle.clone(), other.bundle.clone());
            return Err(Superseded::Conflict { name, revision: mine.revision, one, other });
        }
        Ok(())
    }

    /// For records and answers: `statement`, `bundle`, `name`, `revision`, `signers`, `logged_at`,
    /// `expires_on`.
    #[must_use]
    pub fn to_value(&self) -> Value {
        serde_json::json!({
            "statement": self.statement,
            "bundle": self.bundle,
            "name": self.predicate.name,
            "revision": self.predicate.revision,
            "signers": self.signers,
            "logged_at": self.logged_at,
            "expires_on": self.predicate.expires_on,
        })
    }
}

impl Superseded {
    /// A stable name.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Newer { .. } => "POLICY_SUPERSEDED",
            Self::Conflict { .. } => "POLICY_CONFLICT",
        }
    }
}

impl ActivationError {
    /// A stable name for scripts and tests.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Owners(_) | Self::Statement { .. } => "POLICY_UNAPPROVED",
            Self::OtherBundle { .. } | Self::Mismatch { .. } => "POLICY_OTHER_BUNDLE",
            Self::Policy(_) => "POLICY_UNUSABLE",
            Self::NoTests | Self::Test { .. } => "POLICY_UNTESTED",
            Self::Expired { .. } => "POLICY_EXPIRED",
            Self::Superseded(superseded) => superseded.code(),
        }
    }
}

impl ApprovedPolicy {
    /// Puts the policy in `bundle` into force on the word of `approval`: enough of `owners` signed one
    /// statement about exactly these bytes, each of them in a log of `root` if there is one; the policy
    /// loads, it is the one that the statement names, it has tests, and they pass.
    ///
    /// # Errors
    /// [`ActivationError`].
    pub fn activate(
        bundle: &[u8],
        approval: &[Bundle],
        owners: &Owners,
        root: Option<&TrustedRoot>,
        time: Timestamp,
    ) -> Result<Self, ActivationError> {
        let approval = PolicyApproval::of(&owners.verify(approval, root)?)?;
        approval.check_time(time)?;
        let found = Sha256::of(bundle).to_string();
        if found != approval.bundle {
            return Err(ActivationError::OtherBundle { approved: approval.bundle, found });
        }
        let bundle = PolicyBundle::read(bundle).map_err(PolicyError::from)?;
        let policy = bundle.policy()?;
        let said = &approval.predicate;
        let name = bundle.manifest().name();
        for (what, found, approved) in [
            ("name", name.unwrap_or_default().to_owned(), said.name.clone()),
            ("revision", bundle.manifest().revision.clone(), said.revision.to_string()),
            ("policy digest", policy.digest().to_owned(), said.policy_sha256.clone()),
        ] {
            if found != approved {
                return Err(ActivationError::Mismatch { what, found, approved });
            }
        }
        policy.check_tests()?;
        Ok(Self { policy, approval })
    }

    /// Who approved it.
    #[must_use]
    pub fn approval(&self) -> &PolicyApproval {
        &self.approval
    }

    /// The policy and its approval apart.
    #[must_use]
    pub fn into_parts(self) -> (Policy, PolicyApproval) {
        (self.policy, self.approval)
    }
}

impl Deref for ApprovedPolicy {
    type Target = Policy;

    fn deref(&self) -> &Policy {
        &self.policy
    }
}

impl Policy {
    /// Runs the policy's own tests, and counts them.
    ///
    /// # Errors
    /// [`ActivationError::NoTests`], [`ActivationError::Test`] for the first that fails,
    /// [`ActivationError::Policy`] if they are not valid Rego.
    pub fn check_tests(&self) -> Result<u64, ActivationError> {
        let outcomes = self.run_tests()?;
        if let Some(failed) = outcomes.iter().find(|outcome| !outcome.passed) {
            let detail = failed.detail.clone().unwrap_or_default();
            return Err(ActivationError::Test { name: failed.name.clone(), detail });
        }
        match u64::try_from(outcomes.len()) {
            Ok(0) | Err(_) => Err(ActivationError::NoTests),
            Ok(count) => Ok(count),
        }
    }
}
