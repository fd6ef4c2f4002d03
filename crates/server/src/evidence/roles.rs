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

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sealwright_attest::predicate::ROLE_BINDING;
use sealwright_attest::{
    Bundle, LogProof, Owners, PublicKey, RoleBinding, RoleBindingError, Statement, TrustedRoot,
};
use sealwright_manifest::Sha256;

use super::owned::{self, Group};
use super::{Denial, EvidenceSource, Signers, code, incomplete};
use crate::client::ErasedStatement;

/// The owners, and the newest of their role bindings that this process has seen.
#[derive(Debug)]
pub struct RoleBindings {
    owners: Owners,
    memory: Mutex<Memory>,
}

/// What is not forgotten while the process runs, whatever the service shows later.
#[derive(Debug)]
struct Memory {
    /// Its revision only ever grows.
    newest: Arc<RoleBinding>,
    /// The binding in force must have a higher revision than this.
    above: Option<(u64, Denial)>,
    /// All signatures of the binding in force must have been logged after this entry.
    after: Option<(u64, Denial)>,
}

impl RoleBindings {
    /// Begins with the binding that the verifier was given.
    #[must_use]
    pub fn new(owners: Owners, given: RoleBinding) -> Self {
        Self {
            owners,
            memory: Mutex::new(Memory { newest: Arc::new(given), above: None, after: None }),
        }
    }

    /// The newest binding seen so far.
    #[must_use]
    pub fn newest(&self) -> Arc<RoleBinding> {
        Arc::clone(&self.remembered().newest)
    }

    fn remembered(&self) -> MutexGuard<'_, Memory> {
        // A panic elsewhere cannot leave half an entry behind.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
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
    /// when the newest one cannot be read, and when one was erased from the log `origin` that may have
    /// been newer. Each of these holds until there is a newer binding, also when it is not shown again.
    pub fn in_force(
        &self,
        source: &dyn EvidenceSource,
        root: &TrustedRoot,
        origin: &str,
    ) -> Result<Arc<RoleBinding>, Denial> {
        let keys = self.owners.keys().iter().map(PublicKey::id).collect();
        let signers = Signers { keys, ..Signers::default() };
        let found = source.statements_by(ROLE_BINDING, &signers)?;
        if !found.complete {
            return Err(incomplete());
        }
        let mut readable = Vec::new();
        let groups = owned::groups(found.bundles, ROLE_BINDING, &self.owners, root);
        let mut memory = self.remembered();
        // All of them first: what cannot be read is mended by a newer one, wherever that stands.
        for group in groups {
            match self.binding(&group, root) {
                Ok(binding) => readable.extend(binding),
                Err(reason) => memory.unreadable(&group, &reason),
            }
        }
        memory.advance(readable);
        memory.erased(&found.erased, &signers);
        memory.in_force(origin)
    }

    /// The binding in a group, if enough owners signed it.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn binding(&self, group: &Group, root: &TrustedRoot) -> Result<Option<RoleBinding>, String> {
        if !group.is_whole(&self.owners) {
            return Ok(None);
        }
        if group.unreadable {
            return Err("it is not of the known form".to_owned());
        }
        match RoleBinding::verify(&group.bundles, &self.owners, Some(root)) {
            Ok(binding) => Ok(Some(binding)),
            // Owners sign other things, too.
            Err(RoleBindingError::Type { .. } | RoleBindingError::Owners(_)) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Memory {
    /// Takes the newest of `found` if it is newer than the one in force.
    fn advance(&mut self, found: Vec<RoleBinding>) {
        let highest = found.iter().map(RoleBinding::revision).max().unwrap_or_default();
        let highest = highest.max(self.newest.revision());
        // Without a number nobody can tell them apart; the one that was given stays.
        if highest == 0 {
            return;
        }
        let mut candidates: Vec<_> =
            found.into_iter().filter(|binding| binding.revision() == highest).collect();
        let mut digests: BTreeSet<_> = candidates.iter().map(|b| b.digest().to_string()).collect();
        if self.newest.revision() == highest {
            digests.insert(self.newest.digest().to_string());
        }
        if digests.len() > 1 {
            let denial = Denial::new(
                code::ROLES_AMBIGUOUS,
                format!(
                    "The owners have signed {} different role bindings with the revision {highest}; \
                     they have to sign one with a higher revision.",
                    digests.len()
                ),
            );
            raise(&mut self.above, highest, denial);
        }
        if self.newest.revision() < highest
            && let Some(binding) = candidates.pop()
        {
            self.newest = Arc::new(binding);
        }
    }

    /// Nobody knows what it changes: only what is newer can be in force.
    fn unreadable(&mut self, group: &Group, reason: &str) {
        let denial = Denial::new(
            code::ROLES_UNREADABLE,
            format!(
                "The owners have signed a role binding that cannot be read here: {reason}. Nobody knows \
                 what it changes; the owners have to sign a newer one, or this program has to be."
            ),
        );
        match revision(group.bundles.first()) {
            Some(revision) => raise(&mut self.above, revision, denial),
            // Without a number, what was logged later is newer.
            None => raise(&mut self.after, group.last_entry, denial),
        }
    }

    /// What was erased may have been newer than what was logged before it.
    fn erased(&mut self, erased: &[ErasedStatement], owners: &Signers) {
        let is_owners = |statement: &&ErasedStatement| {
            let key = statement.signer.as_ref().map(|signer| signer.key_id.as_ref());
            statement.predicate_type == ROLE_BINDING
                && key.is_none_or(|key| key.is_some_and(|key| owners.keys.contains(key)))
        };
        if let Some(index) = erased.iter().filter(is_owners).map(|erased| erased.index).max() {
            let denial = Denial::new(
                code::ROLES_ERASED,
                format!(
                    "Entry {index} is a role binding that was erased, and may have been newer than the \
                     one in force; the owners have to sign a newer one."
                ),
            );
            raise(&mut self.after, index, denial);
        }
    }

    fn in_force(&self, origin: &str) -> Result<Arc<RoleBinding>, Denial> {
        if let Some((revision, denial)) = &self.above
            && self.newest.revision() <= *revision
        {
            return Err(denial.clone());
        }
        let own = self.newest.logged().iter().filter(|proof| proof.origin() == origin);
        let first = own.map(LogProof::index).min();
        match &self.after {
            // The entry itself is one of the binding's own, or there is none.
            Some((index, denial)) if first.is_none_or(|first| first < *index) => {
                Err(denial.clone())
            }
            _ => Ok(Arc::clone(&self.newest)),
        }
    }
}

fn raise(limit: &mut Option<(u64, Denial)>, to: u64, denial: Denial) {
    if limit.as_ref().is_none_or(|(old, _)| *old < to) {
        *limit = Some((to, denial));
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
