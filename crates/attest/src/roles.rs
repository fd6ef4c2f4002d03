//! Who may speak in which role, and when.
//!
//! A role binding is a statement that the [`Owners`] sign. What a statement says of its own signer's
//! role can narrow what the binding grants, and never widen it.
//!
//! A principal is known by keys, and by the identities that authorities certify for the length of one
//! signature. Whatever it signs with, it stays one principal.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use sealwright_manifest::Sha256;

use crate::bundle::Bundle;
use crate::key::{KeyError, PublicKey};
use crate::owners::{OwnerSigned, Owners, OwnersError};
use crate::predicate::ROLE_BINDING;
use crate::statement::{Statement, Subject};
use crate::time::Timestamp;
use crate::trust::TrustedRoot;
use crate::verify::LogProof;
use crate::x509::CertificateError;

mod changes;
mod identity;
mod wire;

pub use changes::RoleChange;
pub use identity::{CertificateAuthority, CertificateIdentity, CertificateVerifier, OidcIdentity};

/// A checked role binding: signed by enough owners, every key parsed, no key of two principals.
#[derive(Debug, Clone)]
pub struct RoleBinding {
    table: RoleTable,
    /// Places of principal and key, by the key's id.
    holders: BTreeMap<String, (usize, usize)>,
    digest: Sha256,
    signers: Vec<String>,
    logged: Vec<LogProof>,
}

/// What a role binding says, signed or not: every key parsed, no name, key or identity of two
/// principals.
#[derive(Debug, Clone)]
pub struct RoleTable {
    revision: u64,
    principals: Vec<Principal>,
}

/// A person or a pipeline, with its keys and roles.
#[derive(Debug, Clone)]
pub struct Principal {
    /// Name, unique in the binding.
    pub name: String,
    /// Its keys; one person can have several, and stays one person.
    pub keys: Vec<PublicKey>,
    /// Whom authorities certify it to be, for signatures without a key of its own.
    pub identities: Vec<CertificateIdentity>,
    /// Keys and identities that no longer count, and since when.
    pub ended: Vec<EndedKey>,
    /// What it may speak as.
    pub roles: Vec<RoleGrant>,
}

/// One role for one period; both ends are inside.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RoleGrant {
    /// Role name, such as `compliance`.
    pub role: String,
    /// First second.
    pub valid_from: Timestamp,
    /// Last second.
    pub valid_until: Timestamp,
}

/// A key that counts only for what was logged before some time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EndedKey {
    /// [`PublicKey::id`], or [`CertificateIdentity::id`].
    pub key_id: String,
    /// The first second at which it no longer counts.
    pub counts_before: Timestamp,
    /// Why.
    pub reason: EndReason,
}

/// Why a key no longer counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EndReason {
    /// Somebody else may have had it since.
    Lost,
    /// Its holder has another one.
    Replaced,
}

/// Why a role binding cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RoleBindingError {
    /// Too few owners signed it, or it is not logged where it must be.
    #[error("role binding: {0}")]
    Owners(#[from] OwnersError),
    /// A statement of another kind.
    #[error("predicate type {found:?} is not a role binding")]
    Type {
        /// What the statement says.
        found: String,
    },
    /// A field is missing, unknown, or of the wrong type.
    #[error("role binding: {message}")]
    Shape {
        /// Names the field.
        message: String,
    },
    /// A principal's key cannot be read.
    #[error("role binding: key of {principal:?}: {source}")]
    Key {
        /// The principal.
        principal: String,
        /// What is wrong with the key.
        source: KeyError,
    },
    /// The certificate authority of a principal's identity cannot be read.
    #[error("role binding: authority of {principal:?}: {source}")]
    Authority {
        /// The principal.
        principal: String,
        /// What is wrong with the certificate.
        source: CertificateError,
    },
    /// Two principals with one name, or with one key: one person could then pass for two.
    #[error("role binding: {what} of {principal:?} is also another principal's")]
    Shared {
        /// `the name`, `a key` or `an identity`.
        what: &'static str,
        /// The second principal.
        principal: String,
    },
    /// A principal with neither a key nor an identity.
    #[error("role binding: {principal:?} has neither a key nor an identity")]
    Keyless {
        /// The principal.
        principal: String,
    },
    /// What is said to have ended is not this principal's, or ends twice.
    #[error(
        "role binding: {principal:?} has no key or identity {key_id} that could end, or it ends twice"
    )]
    Ended {
        /// The principal.
        principal: String,
        /// What was named.
        key_id: String,
    },
}

impl RoleBinding {
    /// The role binding that enough owners signed, one bundle for each of them; with `root`, all of which
    /// must be logged.
    ///
    /// # Errors
    /// [`RoleBindingError`].
    pub fn verify(
        bundles: &[Bundle],
        owners: &Owners,
        root: Option<&TrustedRoot>,
    ) -> Result<Self, RoleBindingError> {
        Self::from_signed(&owners.verify(bundles, root)?)
    }

    fn from_signed(signed: &OwnerSigned) -> Result<Self, RoleBindingError> {
        let table = RoleTable::of_statement(signed.statement())?;
        let of = |(place, principal): (usize, &Principal)| {
            let keys = principal.keys.iter().enumerate();
            keys.map(|(key, public)| (public.id(), (place, key))).collect::<Vec<_>>()
        };
        let holders = table.principals.iter().enumerate().flat_map(of).collect();
        Ok(Self {
            table,
            holders,
            digest: signed.digest(),
            signers: signed.signers().to_vec(),
            logged: signed.logged().to_vec(),
        })
    }

    /// The statement to sign for a role-binding predicate, after the checks that a verifier will
    /// make. Its subject is the SHA-256 of the predicate in RFC 8785 form.
    ///
    /// # Errors
    /// [`RoleBindingError`], but never about the signature.
    pub fn statement(predicate: Value) -> Result<Statement, RoleBindingError> {
        RoleTable::parse(&predicate)?;
        let canonical = serde_json_canonicalizer::to_vec(&predicate)
            .map_err(|error| RoleBindingError::Shape { message: error.to_string() })?;
        let subject = vec![Subject::sha256("role-binding", &Sha256::of(&canonical))];
        Ok(Statement { subject, predicate_type: ROLE_BINDING.to_owned(), predicate })
    }

    /// What it says.
    pub fn table(&self) -> &RoleTable {
        &self.table
    }

    /// [`RoleTable::revision`].
    pub fn revision(&self) -> u64 {
        self.table.revision
    }

    /// The principals.
    pub fn principals(&self) -> &[Principal] {
        &self.table.principals
    }

    /// Names this binding: the signed statement's digest.
    pub fn digest(&self) -> Sha256 {
        self.digest
    }

    /// [`PublicKey::id`] of each owner who signed.
    pub fn signers(&self) -> &[String] {
        &self.signers
    }

    /// Where each of the signatures was logged; empty if it was verified without a trusted root.
    pub fn logged(&self) -> &[LogProof] {
        &self.logged
    }

    /// Who holds the key with this [`PublicKey::id`].
    pub fn holder(&self, key_id: &str) -> Option<(&Principal, &PublicKey)> {
        let (place, key) = *self.holders.get(key_id)?;
        let principal = self.table.principals.get(place)?;
        Some((principal, principal.keys.get(key)?))
    }

    /// Every identity, and whose it is.
    pub fn identities(&self) -> impl Iterator<Item = (&Principal, &CertificateIdentity)> {
        let of = |principal| move |identity| (principal, identity);
        self.table.principals.iter().flat_map(move |p| p.identities.iter().map(of(p)))
    }

    /// Whether a principal may have signed what was signed with a certificate for one of these
    /// `subjects`, by `issuer`'s word.
    pub fn may_be_certified<'a>(
        &self,
        mut subjects: impl Iterator<Item = &'a str>,
        issuer: Option<&str>,
    ) -> bool {
        subjects.any(|subject| {
            self.identities().any(|(_, identity)| {
                identity.subject() == subject
                    // One of a plain authority says nothing of an issuer.
                    && identity.issuer().is_none_or(|wanted| issuer.is_none_or(|is| is == wanted))
            })
        })
    }
}

impl RoleTable {
    /// Reads the predicate of a role binding, without anybody's signature.
    ///
    /// # Errors
    /// [`RoleBindingError`], but never about signatures.
    pub fn parse(predicate: &Value) -> Result<Self, RoleBindingError> {
        wire::parse(predicate)
    }

    /// The same for a statement.
    ///
    /// # Errors
    /// [`RoleBindingError`], but never about signatures.
    pub fn of_statement(statement: &Statement) -> Result<Self, RoleBindingError> {
        if statement.predicate_type != ROLE_BINDING {
            return Err(RoleBindingError::Type { found: statement.predicate_type.clone() });
        }
        Self::parse(&statement.predicate)
    }

    /// Counts up from 1 with every binding that the owners sign; the highest one is in force. 0 for a
    /// binding that does not say, of which nobody knows what it replaces.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The principals.
    pub fn principals(&self) -> &[Principal] {
        &self.principals
    }

    /// What this table changes of an `older` one; all that it has, if there is none.
    pub fn changes_since(&self, older: Option<&Self>) -> Vec<RoleChange> {
        changes::between(older, self)
    }
}

impl Principal {
    /// The roles at `time`, ascending, each once.
    pub fn roles_at(&self, time: Timestamp) -> Vec<String> {
        let valid = |g: &&RoleGrant| g.valid_from <= time && time <= g.valid_until;
        let roles: BTreeSet<_> = self.roles.iter().filter(valid).map(|g| g.role.clone()).collect();
        roles.into_iter().collect()
    }

    /// The end of a key or an identity, if it no longer counts at `time`.
    pub fn ended_at(&self, key_id: &str, time: Timestamp) -> Option<&EndedKey> {
        self.ended.iter().find(|ended| ended.key_id == key_id && ended.counts_before <= time)
    }
}

impl std::fmt::Display for EndReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            EndReason::Lost => "lost",
            EndReason::Replaced => "replaced",
        })
    }
}
