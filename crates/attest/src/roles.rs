//! Who may speak in which role, and when.
//!
//! A role binding is a statement signed by the owner's key. What a statement says of its own
//! signer's role can narrow what the binding grants, and never widen it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use sealwright_manifest::Sha256;

use crate::bundle::Bundle;
use crate::json::from_value;
use crate::key::{KeyError, PublicKey};
use crate::owners::{Owners, OwnersError};
use crate::predicate::ROLE_BINDING;
use crate::statement::{Statement, Subject};
use crate::time::Timestamp;
use crate::trust::TrustedRoot;

/// A checked role binding: signed by the owner, every key parsed, no key of two principals.
#[derive(Debug, Clone)]
pub struct RoleBinding {
    principals: Vec<Principal>,
    digest: Sha256,
}

/// A person or a pipeline, with its keys and roles.
#[derive(Debug, Clone)]
pub struct Principal {
    /// Name, unique in the binding.
    pub name: String,
    /// Its keys; one person can have several, and stays one person.
    pub keys: Vec<PublicKey>,
    /// What it may speak as.
    pub roles: Vec<RoleGrant>,
}

/// One role for one period; both ends are inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RoleGrant {
    /// Role name, such as `compliance`.
    pub role: String,
    /// First second.
    pub valid_from: Timestamp,
    /// Last second.
    pub valid_until: Timestamp,
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
    /// Two principals with one name, or with one key: one person could then pass for two.
    #[error("role binding: {what} of {principal:?} is also another principal's")]
    Shared {
        /// `the name` or `a key`.
        what: &'static str,
        /// The second principal.
        principal: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireBinding {
    principals: Vec<WirePrincipal>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WirePrincipal {
    name: String,
    public_keys: Vec<String>,
    roles: Vec<RoleGrant>,
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
        let signed = owners.verify(bundles, root)?;
        let Statement { predicate_type, predicate, .. } = signed.statement();
        if predicate_type != ROLE_BINDING {
            return Err(RoleBindingError::Type { found: predicate_type.clone() });
        }
        Ok(Self { principals: principals(predicate)?, digest: signed.digest() })
    }

    /// The statement to sign for a role-binding predicate, after the checks that a verifier will
    /// make. Its subject is the SHA-256 of the predicate in RFC 8785 form.
    ///
    /// # Errors
    /// [`RoleBindingError`], but never about the signature.
    pub fn statement(predicate: Value) -> Result<Statement, RoleBindingError> {
        principals(&predicate)?;
        let canonical = serde_json_canonicalizer::to_vec(&predicate)
            .map_err(|error| RoleBindingError::Shape { message: error.to_string() })?;
        let subject = vec![Subject::sha256("role-binding", &Sha256::of(&canonical))];
        Ok(Statement { subject, predicate_type: ROLE_BINDING.to_owned(), predicate })
    }

    /// The principals.
    pub fn principals(&self) -> &[Principal] {
        &self.principals
    }

    /// Names this binding: the signed statement's digest.
    pub fn digest(&self) -> Sha256 {
        self.digest
    }

    /// Who holds the key with this [`PublicKey::id`].
    pub fn holder(&self, key_id: &str) -> Option<(&Principal, &PublicKey)> {
        self.principals.iter().find_map(|principal| {
            let key = principal.keys.iter().find(|key| key.id() == key_id)?;
            Some((principal, key))
        })
    }
}

impl Principal {
    /// The roles at `time`, ascending, each once.
    pub fn roles_at(&self, time: Timestamp) -> Vec<String> {
        let valid = |g: &&RoleGrant| g.valid_from <= time && time <= g.valid_until;
        let roles: BTreeSet<_> = self.roles.iter().filter(valid).map(|g| g.role.clone()).collect();
        roles.into_iter().collect()
    }
}

fn principals(predicate: &Value) -> Result<Vec<Principal>, RoleBindingError> {
    let wire: WireBinding = from_value(predicate.clone())
        .map_err(|error| RoleBindingError::Shape { message: error.to_string() })?;
    let mut names = BTreeSet::new();
    let mut key_ids = BTreeSet::new();
    let mut principals = Vec::new();
    for WirePrincipal { name, public_keys, roles } in wire.principals {
        let shared = |what| RoleBindingError::Shared { what, principal: name.clone() };
        if !names.insert(name.clone()) {
            return Err(shared("the name"));
        }
        let mut keys = Vec::new();
        for pem in &public_keys {
            let key = PublicKey::from_pem(pem)
                .map_err(|source| RoleBindingError::Key { principal: name.clone(), source })?;
            if !key_ids.insert(key.id()) {
                return Err(shared("a key"));
            }
            keys.push(key);
        }
        principals.push(Principal { name, keys, roles });
    }
    Ok(principals)
}
