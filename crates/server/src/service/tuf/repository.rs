//! The repository on disk: read, planned anew, written step by step.
//!
//! What is to be written is planned first, as a list of whole files in an order in which a client that
//! comes between any two of them, or after a crash, finds a state that holds together: files with versions
//! in their names come first and are never written over, the timestamp comes last and makes them count.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sealwright_attest::{KeyFile, Signer as _, Timestamp as Time};
use sealwright_tuf::{
    Document, Key, MetaFile, Metadata, RoleName, Root, Snapshot, TargetFile, Targets, Timestamp,
    Trust, Update, update,
};
use zeroize::Zeroizing;

use super::CeremonyError;
use crate::durable;
use crate::service::StartError;
use crate::service::data::{TRUSTED_ROOT_FILE, create_dir, replace, write_new};
use crate::service::trust::trust_files;

pub(super) const TUF_DIR: &str = "tuf";
pub(super) const REPOSITORY_DIR: &str = "repository";
pub(super) const ONLINE_DIR: &str = "online";
pub(super) const TARGETS_DIR: &str = "targets";
const LOCK_FILE: &str = "lock";
const SIGNING_CONFIG: &str = "signing_config.v0.2.json";

const DAY_S: u64 = 24 * 60 * 60;
/// People sign it.
pub(super) const ROOT_LIFETIME_S: u64 = 365 * DAY_S;

/// A timestamp this old may be held back by whoever stands between, and no longer.
const TIMESTAMP_LIFETIME_S: u64 = 7 * DAY_S;
const SNAPSHOT_LIFETIME_S: u64 = 30 * DAY_S;
const TARGETS_LIFETIME_S: u64 = 90 * DAY_S;

/// Another command that writes is waited for, for this long.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// Files by target name, as they should be. What is not named stays.
pub(crate) type Wanted = BTreeMap<&'static str, Vec<u8>>;

/// One file to be written.
#[derive(Debug, Clone)]
pub(super) enum Write {
    /// A file of a new name: a version, or a content in its name.
    New {
        /// Below the repository.
        path: String,
        content: Vec<u8>,
    },
    /// The timestamp, in place of the last one.
    Timestamp { content: Vec<u8> },
}

/// What is on disk.
pub(super) struct Repository {
    dir: PathBuf,
    /// The newest root.
    pub(super) trust: Trust,
    /// The highest versions that there are, whether anything names them or not: they come no more.
    timestamp: u64,
    snapshot: u64,
    targets: u64,
}

/// Kept while somebody writes.
pub(super) struct Lock {
    _file: File,
}

/// Waits for whoever writes to the repository of `data_dir` now.
pub(super) fn lock(data_dir: &Path) -> Result<Lock, CeremonyError> {
    let path = data_dir.join(TUF_DIR).join(LOCK_FILE);
    let file = durable::lock(&path, LOCK_PATIENCE);
    Ok(Lock { _file: file.map_err(|error| StartError::file(&path, error))? })
}

/// Whether the instance has a repository that is published.
pub(super) fn is_published(data_dir: &Path) -> bool {
    repository_dir(data_dir).exists()
}

pub(super) fn repository_dir(data_dir: &Path) -> PathBuf {
    data_dir.join(TUF_DIR).join(REPOSITORY_DIR)
}

/// What clients are to be given: the trusted root as it is on disk, and the signing config.
pub(crate) fn wanted(data_dir: &Path, oidc_url: Option<&str>) -> Result<Wanted, StartError> {
    let files = trust_files(data_dir, None, oidc_url)?;
    Ok([
        (TRUSTED_ROOT_FILE, files.trusted_root.into_bytes()),
        (SIGNING_CONFIG, files.signing_config.into_bytes()),
    ]
    .into())
}

/// Signs anew what expires soon, or is not what is wanted; does nothing where there is nothing to be
/// done, or no repository. Says whether something was written.
pub(crate) fn renew(data_dir: &Path, wanted: &Wanted, now: Time) -> Result<bool, CeremonyError> {
    if !is_published(data_dir) {
        return Ok(false);
    }
    let _lock = lock(data_dir)?;
    let repository = Repository::open(data_dir)?;
    let signer = online_key(data_dir, repository.trust.root())?;
    let writes = repository.plan(&repository.trust, &signer, wanted, now)?;
    apply(&repository.dir, &writes)?;
    Ok(!writes.is_empty())
}

/// The key that a root gives the online roles to: all three to one, which is here.
pub(super) fn online_key(data_dir: &Path, root: &Root) -> Result<KeyFile, CeremonyError> {
    let dir = data_dir.join(TUF_DIR).join(ONLINE_DIR);
    let missing = || CeremonyError::OnlineKey { path: dir.clone() };
    let id = online_key_id(root).ok_or_else(missing)?;
    let pem = fs::read_to_string(dir.join(format!("{id}.pem"))).map_err(|_| missing())?;
    let key = KeyFile::from_pem(&Zeroizing::new(pem), None).map_err(|_| missing())?;
    // The file has the name of the key that it should be.
    let is_meant = Key::of(key.public_key())
        .is_ok_and(|own| own.id() == id && root.keys.get(id).is_some_and(|it| it.is_same(&own)));
    if is_meant { Ok(key) } else { Err(missing()) }
}

/// Refuses a root in which a key passes for another.
pub(super) fn check_names(root: &Root) -> Result<(), CeremonyError> {
    match root.misnamed_key() {
        None => Ok(()),
        Some((name, key)) => {
            Err(CeremonyError::KeyMisnamed { name: name.clone(), key: key.to_string() })
        }
    }
}

/// The name of that key.
pub(super) fn online_key_id(root: &Root) -> Option<&str> {
    let role = |role| root.role(role);
    let timestamp = role(RoleName::Timestamp)?;
    let all = [timestamp, role(RoleName::Snapshot)?, role(RoleName::Targets)?];
    let is_one = all.iter().all(|it| *it == timestamp && it.threshold == 1);
    let mut ids = timestamp.key_ids.iter();
    let id = ids.next().filter(|_| is_one && ids.next().is_none())?;
    Some(id)
}

/// A repository that is not there yet: everything in a directory that nobody sees before it is whole.
pub(super) fn build(
    dir: &Path,
    trust: &Trust,
    signer: &KeyFile,
    wanted: &Wanted,
    now: Time,
) -> Result<(), CeremonyError> {
    let repository = Repository {
        dir: dir.to_owned(),
        trust: trust.clone(),
        timestamp: 0,
        snapshot: 0,
        targets: 0,
    };
    let mut writes = repository.plan(trust, signer, wanted, now)?;
    let path = RoleName::Root.file_name(trust.root().version);
    writes.insert(0, Write::New { path, content: trust.bytes().to_vec() });
    repository.check_outcome(trust, &writes, now)?;
    apply(dir, &writes)
}

/// Carries a plan out, one durable file after the other.
pub(super) fn apply(dir: &Path, writes: &[Write]) -> Result<(), CeremonyError> {
    for write in writes {
        match write {
            Write::New { path, content } => {
                let path = dir.join(path);
                let (parent, name) = split(&path)?;
                create_dir(parent)?;
                if !write_new(parent, name, content, 0o644)? && read(&path)? != *content {
                    let problem = "it is there already, with other content".to_owned();
                    return Err(CeremonyError::Damaged { path, problem });
                }
            }
            Write::Timestamp { content } => {
                replace(dir, &RoleName::Timestamp.file_name(0), content)?;
            }
        }
    }
    Ok(())
}

fn split(path: &Path) -> Result<(&Path, &str), CeremonyError> {
    let parts = path.parent().zip(path.file_name().and_then(|name| name.to_str()));
    parts.ok_or_else(|| StartError::file(path, io::ErrorKind::InvalidInput.into()).into())
}

fn read(path: &Path) -> Result<Vec<u8>, StartError> {
    fs::read(path).map_err(|error| StartError::file(path, error))
}

impl Repository {
    /// Reads what is on disk: the chain of roots from the first, and which versions there are.
    pub(super) fn open(data_dir: &Path) -> Result<Self, CeremonyError> {
        let dir = repository_dir(data_dir);
        if !dir.exists() {
            return Err(CeremonyError::NoRepository { dir: data_dir.to_owned() });
        }
        let damaged = |name: &str, problem: String| {
            let path = dir.join(name);
            CeremonyError::Damaged { path, problem }
        };
        let first = RoleName::Root.file_name(1);
        let mut trust = Trust::begin(&read(&dir.join(&first))?)
            .map_err(|refused| damaged(&first, refused.to_string()))?;
        loop {
            let next = RoleName::Root.file_name(trust.root().version + 1);
            let bytes = match fs::read(dir.join(&next)) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => return Err(StartError::file(&dir.join(&next), error).into()),
            };
            trust = trust.advance(&bytes).map_err(|refused| damaged(&next, refused.to_string()))?;
        }
        // The file is the only place where its version is, and is put into place with the directory.
        let name = RoleName::Timestamp.file_name(0);
        let timestamp = Document::<Timestamp>::parse(&read(&dir.join(&name))?)
            .map_err(|error| damaged(&name, error.to_string()))?;
        let highest =
            |role| highest_version(&dir, role).map_err(|error| StartError::file(&dir, error));
        Ok(Self {
            timestamp: timestamp.unverified().version,
            snapshot: highest(RoleName::Snapshot)?,
            targets: highest(RoleName::Targets)?,
            trust,
            dir,
        })
    }

    /// What a client of this root is given, if it holds together; expired or not.
    pub(super) fn published(&self, trust: &Trust) -> Option<Update> {
        // Before all expiries: the owner reads what there is.
        let epoch = Time::from_unix(0).ok()?;
        let mut fetch = |name: &str, _| -> io::Result<Option<Vec<u8>>> {
            fs::read(self.dir.join(name)).map(Some)
        };
        update(trust, (None, None), epoch, &mut fetch).ok()
    }

    /// Sees that clients of `trust` find their way when `writes` are carried out, new ones and those who
    /// have seen what is there now.
    pub(super) fn check_outcome(
        &self,
        trust: &Trust,
        writes: &[Write],
        now: Time,
    ) -> Result<(), CeremonyError> {
        let timestamp = RoleName::Timestamp.file_name(0);
        let planned = |name: &str| {
            writes.iter().find_map(|write| match write {
                Write::New { path, content } => (path == name).then(|| content.clone()),
                Write::Timestamp { content } => (timestamp == name).then(|| content.clone()),
            })
        };
        let mut fetch = |name: &str, _| -> io::Result<Option<Vec<u8>>> {
            match planned(name) {
                Some(content) => Ok(Some(content)),
                None => fs::read(self.dir.join(name)).map(Some),
            }
        };
        let seen = self.published(&self.trust);
        let seen = seen.as_ref().map(|it| (it.timestamp.bytes(), it.snapshot.bytes()));
        for kept in [(None, None), seen.unzip()] {
            update(trust, kept, now, &mut fetch)
                .map_err(|error| CeremonyError::Outcome { problem: error.to_string() })?;
        }
        Ok(())
    }

    /// What has to be written so that clients of `trust` find what is wanted, and nothing that expires
    /// soon: whatever has less than half of its life before it is signed anew.
    pub(super) fn plan(
        &self,
        trust: &Trust,
        signer: &KeyFile,
        wanted: &Wanted,
        now: Time,
    ) -> Result<Vec<Write>, CeremonyError> {
        let mut writes = Vec::new();
        let published = self.published(trust);
        let mut files = match &published {
            Some(published) => published.targets.content().targets.clone(),
            None => self.last_targets(),
        };
        for (name, content) in wanted {
            let file = TargetFile::of(content);
            let path = file.path(name);
            if files.get(*name) != Some(&file) || !self.dir.join(&path).exists() {
                writes.push(Write::New { path, content: content.clone() });
                files.insert((*name).to_owned(), file);
            }
        }
        let published = published.as_ref();
        let kept = published.filter(|it| it.targets.content().targets == files);
        let kept = kept.filter(|it| !is_due(it.targets.content(), TARGETS_LIFETIME_S, now));
        let targets = match kept {
            Some(published) => published.snapshot.content().targets.clone(),
            None => {
                let expires = now.plus_seconds(TARGETS_LIFETIME_S);
                let targets = Targets { version: self.targets + 1, expires, targets: files };
                new_file(&targets, signer, &mut writes)?
            }
        };
        let kept = kept.filter(|it| !is_due(it.snapshot.content(), SNAPSHOT_LIFETIME_S, now));
        let snapshot = match kept {
            Some(published) => published.timestamp.content().snapshot.clone(),
            None => {
                let (version, expires) = (self.snapshot + 1, now.plus_seconds(SNAPSHOT_LIFETIME_S));
                let snapshot = Snapshot { version, expires, targets, others: BTreeMap::new() };
                new_file(&snapshot, signer, &mut writes)?
            }
        };
        if kept.is_none_or(|it| is_due(it.timestamp.content(), TIMESTAMP_LIFETIME_S, now)) {
            let (version, expires) = (self.timestamp + 1, now.plus_seconds(TIMESTAMP_LIFETIME_S));
            let content = signed(&Timestamp { version, expires, snapshot }, signer)?;
            writes.push(Write::Timestamp { content });
        }
        Ok(writes)
    }

    /// The files that were published last, when nobody's signature says so any more: the online key was
    /// taken away, and what it signed before is ours all the same.
    fn last_targets(&self) -> BTreeMap<String, TargetFile> {
        let name = RoleName::Targets.file_name(self.targets);
        let bytes = fs::read(self.dir.join(name)).unwrap_or_default();
        let document = Document::<Targets>::parse(&bytes);
        document.map(|it| it.unverified().targets.clone()).unwrap_or_default()
    }
}

fn is_due<T: Metadata>(content: &T, lifetime_s: u64, now: Time) -> bool {
    content.expires() <= now.plus_seconds(lifetime_s / 2)
}

fn new_file<T: Metadata>(
    content: &T,
    signer: &KeyFile,
    writes: &mut Vec<Write>,
) -> Result<MetaFile, CeremonyError> {
    let bytes = signed(content, signer)?;
    let file = MetaFile::of(content.version(), &bytes);
    writes.push(Write::New { path: T::ROLE.file_name(content.version()), content: bytes });
    Ok(file)
}

fn signed<T: Metadata>(content: &T, signer: &KeyFile) -> Result<Vec<u8>, CeremonyError> {
    let mut document = Document::new(content).map_err(|_| CeremonyError::Signing)?;
    document.sign(signer).map_err(|_| CeremonyError::Signing)?;
    Ok(document.to_json())
}

fn highest_version(dir: &Path, role: RoleName) -> io::Result<u64> {
    let mut highest = 0;
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let version = name.to_str().and_then(|name| name.split('.').next()?.parse().ok());
        let version = version.filter(|version| name.to_str() == Some(&*role.file_name(*version)));
        highest = highest.max(version.unwrap_or(0));
    }
    Ok(highest)
}
