//! What one role binding changes of another, for whoever is about to sign it.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::{CertificateIdentity, EndedKey, Principal, RoleGrant, RoleTable};
use crate::key::PublicKey;
use crate::time::Timestamp;

/// One difference between two role bindings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum RoleChange {
    /// Nobody of that name was there.
    PrincipalAdded {
        /// The principal.
        principal: String,
    },
    /// Nobody of that name is there any more: all that they ever signed counts for nothing.
    PrincipalRemoved {
        /// The principal.
        principal: String,
    },
    /// A key is new.
    KeyAdded {
        /// The principal.
        principal: String,
        /// [`PublicKey::id`].
        key_id: String,
    },
    /// A key is gone: whatever it signed counts for nothing.
    KeyRemoved {
        /// The principal.
        principal: String,
        /// [`PublicKey::id`].
        key_id: String,
    },
    /// An identity is new.
    IdentityAdded {
        /// The principal.
        principal: String,
        /// Subject and authority.
        identity: String,
    },
    /// An identity is gone.
    IdentityRemoved {
        /// The principal.
        principal: String,
        /// Subject and authority.
        identity: String,
    },
    /// A key or an identity counts only for what was logged before some time.
    KeyEnded {
        /// The principal.
        principal: String,
        /// Which one, and since when.
        #[serde(flatten)]
        ended: EndedKey,
    },
    /// That is no longer so.
    KeyEndLifted {
        /// The principal.
        principal: String,
        /// Which one, and since when it was.
        #[serde(flatten)]
        ended: EndedKey,
    },
    /// A role for a period is new.
    RoleGranted {
        /// The principal.
        principal: String,
        /// Role and period.
        #[serde(flatten)]
        grant: RoleGrant,
    },
    /// A role for a period is gone: what was said in it counts for nothing.
    RoleWithdrawn {
        /// The principal.
        principal: String,
        /// Role and period.
        #[serde(flatten)]
        grant: RoleGrant,
    },
    /// A role is held for another period.
    PeriodChanged {
        /// The principal.
        principal: String,
        /// Role and new period.
        #[serde(flatten)]
        grant: RoleGrant,
        /// First second of the old period.
        was_from: Timestamp,
        /// Last second of the old period.
        was_until: Timestamp,
    },
}

pub(super) fn between(older: Option<&RoleTable>, newer: &RoleTable) -> Vec<RoleChange> {
    let old = older.map(|table| table.principals.as_slice()).unwrap_or_default();
    let named = |list: &[Principal], name: &str| list.iter().any(|p| p.name == name);
    let mut changes = Vec::new();
    for gone in old.iter().filter(|p| !named(&newer.principals, &p.name)) {
        changes.push(RoleChange::PrincipalRemoved { principal: gone.name.clone() });
    }
    for principal in &newer.principals {
        let before = old.iter().find(|p| p.name == principal.name);
        if before.is_none() {
            changes.push(RoleChange::PrincipalAdded { principal: principal.name.clone() });
        }
        key_changes(before, principal, &mut changes);
        identity_changes(before, principal, &mut changes);
        end_changes(before, principal, &mut changes);
        grant_changes(before, principal, &mut changes);
    }
    changes
}

/// What is only in the first set, and only in the second.
fn differences<T: Ord + Clone>(old: &BTreeSet<T>, new: &BTreeSet<T>) -> (Vec<T>, Vec<T>) {
    (old.difference(new).cloned().collect(), new.difference(old).cloned().collect())
}

fn key_changes(before: Option<&Principal>, now: &Principal, changes: &mut Vec<RoleChange>) {
    let ids = |p: &Principal| p.keys.iter().map(PublicKey::id).collect::<BTreeSet<_>>();
    let (gone, new) = differences(&before.map(ids).unwrap_or_default(), &ids(now));
    let principal = || now.name.clone();
    changes.extend(
        gone.into_iter().map(|key_id| RoleChange::KeyRemoved { principal: principal(), key_id }),
    );
    changes.extend(
        new.into_iter().map(|key_id| RoleChange::KeyAdded { principal: principal(), key_id }),
    );
}

fn identity_changes(before: Option<&Principal>, now: &Principal, changes: &mut Vec<RoleChange>) {
    // By id: two identities can look the same.
    let ids = |p: &Principal| {
        let by_id = |identity: &CertificateIdentity| (identity.id(), identity.to_string());
        p.identities.iter().map(by_id).collect::<BTreeSet<_>>()
    };
    let (gone, new) = differences(&before.map(ids).unwrap_or_default(), &ids(now));
    let principal = || now.name.clone();
    changes.extend(
        gone.into_iter()
            .map(|(_, identity)| RoleChange::IdentityRemoved { principal: principal(), identity }),
    );
    changes.extend(
        new.into_iter()
            .map(|(_, identity)| RoleChange::IdentityAdded { principal: principal(), identity }),
    );
}

fn end_changes(before: Option<&Principal>, now: &Principal, changes: &mut Vec<RoleChange>) {
    let old = before.map(|p| p.ended.as_slice()).unwrap_or_default();
    let principal = || now.name.clone();
    for ended in old.iter().filter(|ended| !now.ended.contains(ended)) {
        changes.push(RoleChange::KeyEndLifted { principal: principal(), ended: ended.clone() });
    }
    for ended in now.ended.iter().filter(|ended| !old.contains(ended)) {
        changes.push(RoleChange::KeyEnded { principal: principal(), ended: ended.clone() });
    }
}

fn grant_changes(before: Option<&Principal>, now: &Principal, changes: &mut Vec<RoleChange>) {
    let grants = |p: &Principal| p.roles.iter().cloned().collect::<BTreeSet<_>>();
    let (gone, mut new) = differences(&before.map(grants).unwrap_or_default(), &grants(now));
    let principal = || now.name.clone();
    for old in gone {
        let place = new.iter().position(|grant| grant.role == old.role);
        changes.push(match place {
            Some(place) => RoleChange::PeriodChanged {
                principal: principal(),
                grant: new.remove(place),
                was_from: old.valid_from,
                was_until: old.valid_until,
            },
            None => RoleChange::RoleWithdrawn { principal: principal(), grant: old },
        });
    }
    changes.extend(
        new.into_iter().map(|grant| RoleChange::RoleGranted { principal: principal(), grant }),
    );
}

impl fmt::Display for RoleChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let period = |g: &RoleGrant| format!("{} to {}", g.valid_from, g.valid_until);
        match self {
            Self::PrincipalAdded { principal } => write!(f, "+ {principal}"),
            Self::PrincipalRemoved { principal } => write!(f, "- {principal}"),
            Self::KeyAdded { principal, key_id } => write!(f, "+ {principal}: key {key_id}"),
            Self::KeyRemoved { principal, key_id } => write!(f, "- {principal}: key {key_id}"),
            Self::IdentityAdded { principal, identity } => {
                write!(f, "+ {principal}: identity {identity}")
            }
            Self::IdentityRemoved { principal, identity } => {
                write!(f, "- {principal}: identity {identity}")
            }
            Self::KeyEnded { principal, ended: EndedKey { key_id, counts_before, reason } } => {
                write!(
                    f,
                    "! {principal}: key {key_id} {reason}, counts only before {counts_before}"
                )
            }
            Self::KeyEndLifted { principal, ended } => {
                let EndedKey { key_id, counts_before, reason } = ended;
                write!(f, "! {principal}: key {key_id} no longer {reason} at {counts_before}")
            }
            Self::RoleGranted { principal, grant } => {
                write!(f, "+ {principal}: {} from {}", grant.role, period(grant))
            }
            Self::RoleWithdrawn { principal, grant } => {
                write!(f, "- {principal}: {} from {}", grant.role, period(grant))
            }
            Self::PeriodChanged { principal, grant, was_from, was_until } => write!(
                f,
                "! {principal}: {} from {}, was {was_from} to {was_until}",
                grant.role,
                period(grant)
            ),
        }
    }
}
