//! The role binding in force: the newest one that enough owners signed and a log holds.
//!
//! A verifier is given one binding and the owners' keys. Before it decides it asks the service for
//! everything that the owners have signed as a role binding, and takes the one with the highest
//! revision, if that is newer than its own. So a rotated or lost key counts for all verifiers as soon
//! as the owners have published it, without a restart and without a file that has to be carried about;
//! and an older revision that is shown again changes nothing.
//!
//! What this cannot see is a binding that the service leaves out: then the newest one seen by this
//! process, and at least the one that it was given, stays in force.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use sealwright_attest::predicate::ROLE_BINDING;
use sealwright_attest::{
    Bundle, LogProof, Owners, OwnersError, PublicKey, RoleBinding, RoleBindingError, Statement,
    TrustedRoot, VerificationMaterial, VerifyError,
};
use sealwright_manifest::Sha256;

use super::{Denial, EvidenceSource, Signers, code, incomplete};
use crate::client::ErasedStatement;

/// The owners, and the newest of their role bindings that this process has seen.
#[derive(Debug)]
pub struct RoleBindings {
    owners: Owners,
    /// Its revision only ever grows.
    newest: Mutex<Arc<RoleBinding>>,
}

/// Signatures of different owners over one payload.
#[derive(Default)]
struct Group {
    bundles: Vec<Bundle>,
    signers: BTreeSet<String>,
    /// Owners signed it, and it is not well-formed as far as this program can tell.
    unreadable: bool,
}

impl RoleBindings {
    /// Begins with the binding that the verifier was given.
    #[must_use]
    pub fn new(owners: Owners, given: RoleBinding) -> Self {
        Self { owners, newest: Mutex::new(Arc::new(given)) }
    }

    /// The newest binding seen so far.
    #[must_use]
    pub fn newest(&self) -> Arc<RoleBinding> {
        // A panic elsewhere cannot leave half a binding behind.
        Arc::clone(&self.newest.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The owners.
    #[must_use]
    pub fn owners(&self) -> &Owners {
        &self.owners
    }

    /// Asks for newer bindings, and gives the one in force.
    ///
    /// # Errors
    /// [`Denial`] when the source fails or keeps something back, when two bindings claim one revision,
    /// when the newest one cannot be read, and when one was erased that may have been newer.
    pub fn in_force(
        &self,
        source: &dyn EvidenceSource,
        root: &TrustedRoot,
    ) -> Result<Arc<RoleBinding>, Denial> {
        let keys = self.owners.keys().iter().map(PublicKey::id).collect();
        let signers = Signers { keys, ..Signers::default() };
        let found = source.statements_by(ROLE_BINDING, &signers)?;
        if !found.complete {
            return Err(incomplete());
        }
        let known = self.newest();
        let mut newer = Vec::new();
        for group in self.groups(found.bundles, root).into_values() {
            newer.extend(self.binding(&group, root, &known)?);
        }
        let in_force = self.advance(newer)?;
        check_erased(&found.erased, &signers, &in_force)?;
        Ok(in_force)
    }

    /// The owners' signatures that count, by what they are over. Strangers' are passed over.
    fn groups(&self, bundles: Vec<Bundle>, root: &TrustedRoot) -> BTreeMap<[u8; 32], Group> {
        let mut groups = BTreeMap::<_, Group>::new();
        for bundle in bundles {
            let group = *bundle.envelope().digest().as_bytes();
            match self.owners.signature(&bundle, 1) {
                Ok(signed) if signed.check_log(&bundle, root).is_ok() => {
                    let group = groups.entry(group).or_default();
                    // Once for each owner: the same may be logged again as its twin.
                    if group.signers.insert(signed.key().id()) {
                        group.bundles.push(bundle);
                    }
                }
                // The signature holds, and what it is over is nothing that we know.
                Err(OwnersError::Signature { source: VerifyError::Schema(problem), .. })
                    if problem.predicate_type == ROLE_BINDING =>
                {
                    // The service names every key; what it does not name could count twice.
                    let VerificationMaterial::PublicKey { hint } = bundle.material() else {
                        continue;
                    };
                    let (hint, group) = (hint.clone(), groups.entry(group).or_default());
                    if !hint.is_empty() && group.signers.insert(hint) {
                        group.unreadable = true;
                        group.bundles.push(bundle);
                    }
                }
                _ => {}
            }
        }
        groups
    }

    /// The binding in a group, if enough owners signed it and it may be newer than `known`.
    fn binding(
        &self,
        group: &Group,
        root: &TrustedRoot,
        known: &RoleBinding,
    ) -> Result<Option<RoleBinding>, Denial> {
        if group.signers.len() < self.owners.required() {
            return Ok(None);
        }
        let unreadable = |reason: String| match revision(group.bundles.first()) {
            Some(revision) if revision <= known.revision() => Ok(None),
            _ => Err(Denial::new(
                code::ROLES_UNREADABLE,
                format!(
                    "The owners have signed a role binding that cannot be read here: {reason}. Nobody \
                     knows what it changes; the owners have to sign a newer one, or this program has to \
                     be."
                ),
            )),
        };
        if group.unreadable {
            return unreadable("it is not of the known form".to_owned());
        }
        match RoleBinding::verify(&group.bundles, &self.owners, Some(root)) {
            Ok(binding) => Ok(Some(binding)),
            // Owners sign other things, too.
            Err(RoleBindingError::Type { .. } | RoleBindingError::Owners(_)) => Ok(None),
            Err(error) => unreadable(error.to_string()),
        }
    }

    /// Takes the newest of `found` if it is newer than the one in force, and gives that.
    fn advance(&self, found: Vec<RoleBinding>) -> Result<Arc<RoleBinding>, Denial> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let highest = found.iter().map(RoleBinding::revision).max().unwrap_or_default();
        let highest = highest.max(newest.revision());
        // Without a number nobody can tell them apart; the one that was given stays.
        if highest == 0 {
            return Ok(Arc::clone(&newest));
        }
        let mut candidates: Vec<_> =
            found.into_iter().filter(|binding| binding.revision() == highest).collect();
        let mut digests: BTreeSet<_> = candidates.iter().map(|b| b.digest().to_string()).collect();
        if newest.revision() == highest {
            digests.insert(newest.digest().to_string());
        }
        if digests.len() > 1 {
            return Err(Denial::new(
                code::ROLES_AMBIGUOUS,
                format!(
                    "The owners have signed {} different role bindings with the revision {highest}; \
                     they have to sign one with a higher revision.",
                    digests.len()
                ),
            ));
        }
        if newest.revision() < highest
            && let Some(binding) = candidates.pop()
        {
            *newest = Arc::new(binding);
        }
        Ok(Arc::clone(&newest))
    }
}

/// What was erased after the binding in force was logged may have been a newer one.
fn check_erased(
    erased: &[ErasedStatement],
    owners: &Signers,
    in_force: &RoleBinding,
) -> Result<(), Denial> {
    let last = in_force.logged().iter().map(LogProof::index).max();
    let is_owners = |statement: &&ErasedStatement| {
        let key = statement.signer.as_ref().map(|signer| signer.key_id.as_ref());
        key.is_none_or(|key| key.is_some_and(|key| owners.keys.contains(key)))
    };
    let newer = |statement: &&ErasedStatement| {
        statement.predicate_type == ROLE_BINDING && last.is_none_or(|last| statement.index > last)
    };
    match erased.iter().filter(is_owners).find(newer) {
        Some(ErasedStatement { index, .. }) => Err(Denial::new(
            code::ROLES_ERASED,
            format!(
                "Entry {index} is a role binding that was erased, and may have been newer than the one \
                 in force; the owners have to sign a newer one."
            ),
        )),
        None => Ok(()),
    }
}

/// The revision that a payload claims, whatever else is in it.
fn revision(bundle: Option<&Bundle>) -> Option<u64> {
    let payload = &bundle?.envelope().payload;
    Statement::parse(payload).ok()?.predicate.get("revision")?.as_u64()
}

/// For the record: which binding decided, and how much stands behind it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RolesRecord {
    /// Names the statement.
    pub statement: Sha256,
    /// Its revision; 0 if it does not say.
    pub revision: u64,
    /// How many owners signed it.
    pub owners: usize,
    /// Whether a log holds every one of these signatures.
    pub logged: bool,
}

impl RolesRecord {
    /// Of a binding.
    #[must_use]
    pub fn of(binding: &RoleBinding) -> Self {
        Self {
            statement: binding.digest(),
            revision: binding.revision(),
            owners: binding.signers().len(),
            logged: !binding.logged().is_empty(),
        }
    }
}
