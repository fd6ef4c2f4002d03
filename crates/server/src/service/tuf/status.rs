//! What there is, and what has to be done by when.

use std::fs;
use std::path::{Path, PathBuf};

use sealwright_attest::Timestamp as Time;
use sealwright_tuf::{Document, Metadata, RoleName, Root};

use super::CeremonyError;
use super::ceremony::{check_published, offline_keys};
use super::repository::{Repository, TUF_DIR, online_key_id};
use crate::service::authorities;

/// Whoever has to sign is told this many days before it is too late.
pub const WARN_DAYS: u64 = 60;
const DAY_S: u64 = 24 * 60 * 60;

/// The repository of an instance, and the certificates of its authorities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// A first root that nobody can fetch yet.
    pub waiting: Option<WaitingRoot>,
    /// The published roles, root first; none while the first root waits.
    pub roles: Vec<RoleStatus>,
    /// The root's keys, by name: all of it, and for people.
    pub root_keys: Vec<(String, String)>,
    /// How many of them must sign.
    pub threshold: u32,
    /// The name of the service's own key.
    pub online_key: String,
    /// The authorities' certificates.
    pub certificates: Vec<Certificate>,
    /// Private keys of the root that still lie beside the service.
    pub keys_here: Vec<PathBuf>,
    /// What has expired, or does not hold together, in words.
    pub problems: Vec<String>,
    /// What has to be done soon, in words.
    pub warnings: Vec<String>,
}

/// A root without enough signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingRoot {
    /// The file, as it was made; the signed one may be elsewhere.
    pub path: PathBuf,
    /// Good signatures in that file.
    pub signatures: usize,
}

/// One published role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoleStatus {
    /// Which.
    pub role: RoleName,
    /// Its version.
    pub version: u64,
    /// Its expiry.
    pub expires: Time,
}

/// A certificate of an authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Whose.
    pub name: &'static str,
    /// Its last second.
    pub until: Time,
}

/// Looks at everything that expires.
///
/// # Errors
/// [`CeremonyError`]; not for what has only expired.
pub fn status(data_dir: &Path, now: Time) -> Result<Status, CeremonyError> {
    let (waiting, root, roles, whole) = match check_published(data_dir) {
        Ok(()) => {
            let repository = Repository::open(data_dir)?;
            let root = repository.trust.root().clone();
            let published = repository.published(&repository.trust);
            let mut roles = vec![role(&root)];
            if let Some(published) = &published {
                roles.push(role(published.targets.content()));
                roles.push(role(published.snapshot.content()));
                roles.push(role(published.timestamp.content()));
            }
            (None, root, roles, published.is_some())
        }
        Err(CeremonyError::Waiting { path }) => {
            let bytes = fs::read(&path).unwrap_or_default();
            let document = Document::<Root>::parse(&bytes).map_err(|error| {
                CeremonyError::Damaged { path: path.clone(), problem: error.to_string() }
            })?;
            let root = document.unverified().clone();
            let signatures = root.count_signatures(&document);
            (Some(WaitingRoot { path, signatures }), root, Vec::new(), true)
        }
        Err(error) => return Err(error),
    };
    let mut status = Status {
        waiting,
        root_keys: root_keys(&root),
        threshold: root.role(RoleName::Root).map_or(0, |role| role.threshold),
        online_key: online_key_id(&root).unwrap_or_default().to_owned(),
        roles,
        certificates: authorities::expiries(data_dir)?,
        keys_here: offline_keys(data_dir),
        problems: Vec::new(),
        warnings: Vec::new(),
    };
    if !whole {
        let path = data_dir.join(TUF_DIR);
        status
            .problems
            .push(format!("{}: clients cannot read it; start the service", path.display()));
    }
    status.judge(now);
    Ok(status)
}

impl Status {
    fn judge(&mut self, now: Time) {
        let soon = now.plus_seconds(WARN_DAYS * DAY_S);
        for RoleStatus { role, version, expires } in &self.roles {
            let what = format!("version {version} of {role}");
            if *expires <= now {
                self.problems.push(format!("{what} expired at {expires}: clients refuse it"));
            } else if *role == RoleName::Root && *expires <= soon {
                self.warnings.push(format!(
                    "{what} expires at {expires}: {} of its keys have to sign the next one before",
                    self.threshold
                ));
            }
        }
        for Certificate { name, until } in &self.certificates {
            if *until < now {
                self.problems.push(format!("the certificate of the {name} ended at {until}"));
            } else if *until <= soon {
                self.warnings
                    .push(format!("the certificate of the {name} ends at {until}: renew it"));
            }
        }
        if !self.keys_here.is_empty() {
            self.warnings.push(format!(
                "private keys of the root lie beside the service: move {} to places of their own",
                self.keys_here
                    .iter()
                    .map(|path| path.display().to_string())
                    .collect::<Vec<_>>()
                    .join(", ")
            ));
        }
    }
}

fn role<T: Metadata>(content: &T) -> RoleStatus {
    RoleStatus { role: T::ROLE, version: content.version(), expires: content.expires() }
}

fn root_keys(root: &Root) -> Vec<(String, String)> {
    let ids = root.role(RoleName::Root).map(|role| &role.key_ids).into_iter().flatten();
    ids.filter_map(|id| Some((id.clone(), root.keys.get(id)?.to_string()))).collect()
}
