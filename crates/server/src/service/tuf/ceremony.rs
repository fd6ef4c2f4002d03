//! Making a repository, and changing its root.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sealwright_attest::{Curve, KeyFile, PublicKey, Signer as _, Timestamp as Time};
use sealwright_tuf::{Document, Key, KeyId, RoleKeys, RoleName, Root, Trust};

use super::repository::{
    ONLINE_DIR, REPOSITORY_DIR, ROOT_LIFETIME_S, Repository, TUF_DIR, Wanted, Write, apply, build,
    check_names, is_published, lock, online_key, online_key_id, repository_dir, wanted,
};
use super::{CeremonyError, RootKeys, TufMade};
use crate::service::StartError;
use crate::service::authorities::OFFLINE_DIR;
use crate::service::data::{create_dir, write_new};
use crate::service::trust::has_keys;
use crate::state::time_now;

const STAGING: &str = ".tuf-";

/// How the next root differs from the one that counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RootChange {
    /// Public keys (PEM) that sign from now on.
    pub add: Vec<PathBuf>,
    /// Keys that sign no more: how their names begin.
    pub remove: Vec<String>,
    /// How many must sign.
    pub threshold: Option<u32>,
    /// Whether the service gets a new key for the other roles, and the old one is worth nothing.
    pub new_online_key: bool,
}

/// A root that clients find now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its version.
    pub version: u64,
    /// Its expiry.
    pub expires: Time,
}

/// Makes the repository of an instance that has none.
///
/// # Errors
/// [`CeremonyError`].
pub fn init(data_dir: &Path, keys: &RootKeys) -> Result<TufMade, CeremonyError> {
    if !has_keys(data_dir) {
        return Err(StartError::NotInitialised { dir: data_dir.to_owned() }.into());
    }
    let made = create(data_dir, keys, time_now()?)?;
    made.ok_or_else(|| CeremonyError::Exists { dir: data_dir.to_owned() })
}

/// Makes the repository at `now`, unless there is one.
pub(crate) fn create(
    data_dir: &Path,
    keys: &RootKeys,
    now: Time,
) -> Result<Option<TufMade>, CeremonyError> {
    let dir = data_dir.join(TUF_DIR);
    if dir.exists() {
        return Ok(None);
    }
    let given = read_keys(&keys.public)?;
    let holders =
        if given.is_empty() { usize::try_from(keys.count).unwrap_or(0) } else { given.len() };
    check_threshold(holders, keys.threshold)?;
    remove_unfinished(data_dir)?;
    let wanted = wanted(data_dir, None)?;
    let staging = tempfile::Builder::new()
        .prefix(STAGING)
        .tempdir_in(data_dir)
        .map_err(|error| StartError::file(data_dir, error))?;
    let online = new_online_key(&staging.path().join(ONLINE_DIR))?;
    let signers = match given.is_empty() {
        true => (0..holders).map(|_| generate()).collect::<Result<Vec<_>, _>>()?,
        false => Vec::new(),
    };
    let made = signers.iter().map(key_of).collect::<Result<Vec<_>, _>>()?;
    let holders = if given.is_empty() { made } else { given };
    let root = root(1, &holders, keys.threshold, &key_of(&online)?, now);
    let mut document = Document::new(&root).map_err(|_| CeremonyError::Signing)?;
    for signer in &signers {
        document.sign(signer).map_err(|_| CeremonyError::Signing)?;
    }
    let bytes = document.to_json();
    let name = RoleName::Root.file_name(1);
    let path = if signers.is_empty() {
        write_new(staging.path(), &name, &bytes, 0o644)?;
        dir.join(name)
    } else {
        let repository = staging.path().join(REPOSITORY_DIR);
        build(&repository, &Trust::begin(&bytes)?, &online, &wanted, now)?;
        repository_dir(data_dir).join(name)
    };
    // Before what they vouch for is there, so that they cannot be lost.
    let mut root_keys = Vec::new();
    let written = write_offline(data_dir, &signers, &mut root_keys);
    if let Err(error) = written.and_then(|()| put_in_place(staging, &dir)) {
        for key in root_keys {
            // Of a root that never was.
            let _ = fs::remove_file(key);
        }
        return Err(error);
    }
    Ok(Some(TufMade { root_keys, root: path, waits: signers.is_empty() }))
}

/// Writes the root's private keys, and says which it wrote.
fn write_offline(
    data_dir: &Path,
    signers: &[KeyFile],
    written: &mut Vec<PathBuf>,
) -> Result<(), CeremonyError> {
    let offline = data_dir.join(OFFLINE_DIR);
    for (index, signer) in signers.iter().enumerate() {
        create_dir(&offline)?;
        let name = format!("tuf-root-{}.pem", index + 1);
        let pem = signer.unencrypted_pem().map_err(|_| CeremonyError::Signing)?;
        if !write_new(&offline, &name, pem.as_bytes(), 0o600)? {
            return Err(CeremonyError::Leftover { path: offline.join(name) });
        }
        written.push(offline.join(name));
    }
    Ok(())
}

/// The next root, unsigned: for those to sign who hold keys of the present root, and of the next.
///
/// # Errors
/// [`CeremonyError`].
pub fn rotate(data_dir: &Path, change: &RootChange) -> Result<Vec<u8>, CeremonyError> {
    check_published(data_dir)?;
    let now = time_now()?;
    let _lock = lock(data_dir)?;
    let repository = Repository::open(data_dir)?;
    let old = repository.trust.root();
    check_names(old)?;
    let role = old.role(RoleName::Root).ok_or(CeremonyError::Signing)?;
    let mut removed = BTreeSet::new();
    for name in &change.remove {
        let fitting: Vec<_> = role.key_ids.iter().filter(|id| id.starts_with(name)).collect();
        let [id] = fitting[..] else {
            return Err(CeremonyError::KeyName { name: name.clone(), found: fitting.len() });
        };
        removed.insert(id.clone());
    }
    let kept = role.key_ids.iter().filter(|id| !removed.contains(*id));
    let mut holders: BTreeMap<KeyId, Key> =
        kept.filter_map(|id| Some((id.clone(), old.keys.get(id)?.clone()))).collect();
    holders.extend(read_keys(&change.add)?.into_iter().map(|key| (key.id(), key)));
    let threshold = change.threshold.unwrap_or(role.threshold);
    check_threshold(holders.len(), threshold)?;
    let online = match change.new_online_key {
        true => key_of(&new_online_key(&data_dir.join(TUF_DIR).join(ONLINE_DIR))?)?,
        false => key_of(&online_key(data_dir, old)?)?,
    };
    let holders: Vec<_> = holders.into_values().collect();
    let next = root(old.version + 1, &holders, threshold, &online, now);
    Ok(Document::new(&next).map_err(|_| CeremonyError::Signing)?.to_json())
}

/// Publishes a root that enough people have signed: of the one before, and of itself.
///
/// # Errors
/// [`CeremonyError`].
pub fn publish(data_dir: &Path, root: &[u8]) -> Result<Published, CeremonyError> {
    if !data_dir.join(TUF_DIR).exists() {
        return Err(CeremonyError::NoRepository { dir: data_dir.to_owned() });
    }
    let now = time_now()?;
    let _lock = lock(data_dir)?;
    let trust = match is_published(data_dir) {
        true => publish_next(data_dir, root, now)?,
        false => publish_first(data_dir, root, now)?,
    };
    forget_other_keys(data_dir, trust.root())?;
    Ok(Published { version: trust.root().version, expires: trust.root().expires })
}

fn publish_first(data_dir: &Path, root: &[u8], now: Time) -> Result<Trust, CeremonyError> {
    let trust = Trust::begin(root)?;
    if trust.root().version != 1 {
        let found = trust.root().version;
        return Err(sealwright_tuf::Refused::RootVersion { expected: 1, found }.into());
    }
    trust.check_expiry(now)?;
    check_names(trust.root())?;
    let signer = online_key(data_dir, trust.root())?;
    let dir = data_dir.join(TUF_DIR);
    let staging = tempfile::Builder::new()
        .prefix(STAGING)
        .tempdir_in(&dir)
        .map_err(|error| StartError::file(&dir, error))?;
    build(staging.path(), &trust, &signer, &wanted(data_dir, None)?, now)?;
    put_in_place(staging, &repository_dir(data_dir))?;
    Ok(trust)
}

fn publish_next(data_dir: &Path, root: &[u8], now: Time) -> Result<Trust, CeremonyError> {
    let repository = Repository::open(data_dir)?;
    let trust = repository.trust.advance(root)?;
    trust.check_expiry(now)?;
    check_names(trust.root())?;
    let signer = online_key(data_dir, trust.root())?;
    let writes = plan_next(&repository, &trust, &signer, now)?;
    apply(&repository_dir(data_dir), &writes)?;
    Ok(trust)
}

/// The root comes just before the timestamp: what it gives its name to is there already, and a client
/// that comes between the two finds an old timestamp, as long as one file takes to be written.
pub(super) fn plan_next(
    repository: &Repository,
    next: &Trust,
    signer: &KeyFile,
    now: Time,
) -> Result<Vec<Write>, CeremonyError> {
    let mut writes = repository.plan(next, signer, &Wanted::new(), now)?;
    let path = RoleName::Root.file_name(next.root().version);
    let root = Write::New { path, content: next.bytes().to_vec() };
    let timestamp = writes.iter().position(|write| matches!(write, Write::Timestamp { .. }));
    writes.insert(timestamp.unwrap_or(writes.len()), root);
    repository.check_outcome(next, &writes, now)?;
    Ok(writes)
}

/// A key that no root names any more is of no use but to thieves.
fn forget_other_keys(data_dir: &Path, root: &Root) -> Result<(), CeremonyError> {
    let dir = data_dir.join(TUF_DIR).join(ONLINE_DIR);
    let failed = |error| StartError::file(&dir, error);
    let kept = online_key_id(root).map(|id| format!("{id}.pem"));
    for entry in fs::read_dir(&dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_str() != kept.as_deref() {
            fs::remove_file(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}

/// There is a repository, and clients see it.
pub(super) fn check_published(data_dir: &Path) -> Result<(), CeremonyError> {
    let dir = data_dir.join(TUF_DIR);
    match (is_published(data_dir), dir.exists()) {
        (true, _) => Ok(()),
        (false, true) => {
            Err(CeremonyError::Waiting { path: dir.join(RoleName::Root.file_name(1)) })
        }
        (false, false) => Err(CeremonyError::NoRepository { dir: data_dir.to_owned() }),
    }
}

fn check_threshold(keys: usize, threshold: u32) -> Result<(), CeremonyError> {
    match usize::try_from(threshold) {
        Ok(wanted) if (1..=keys).contains(&wanted) => Ok(()),
        _ => Err(CeremonyError::Threshold { keys, threshold }),
    }
}

fn root(version: u64, holders: &[Key], threshold: u32, online: &Key, now: Time) -> Root {
    let role = |keys: &[Key], threshold| RoleKeys {
        key_ids: keys.iter().map(Key::id).collect(),
        threshold,
    };
    let mut roles: BTreeMap<_, _> = RoleName::ALL
        .into_iter()
        .map(|name| (name, role(std::slice::from_ref(online), 1)))
        .collect();
    roles.insert(RoleName::Root, role(holders, threshold));
    Root {
        version,
        expires: now.plus_seconds(ROOT_LIFETIME_S),
        consistent_snapshot: true,
        keys: holders.iter().chain([online]).map(|key| (key.id(), key.clone())).collect(),
        roles,
    }
}

/// Public keys in PEM files, each once.
fn read_keys(paths: &[PathBuf]) -> Result<Vec<Key>, CeremonyError> {
    let mut keys = BTreeMap::new();
    for path in paths {
        let bad = |problem: String| CeremonyError::Key { path: path.clone(), problem };
        let text = fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
        let key = PublicKey::from_pem(&text).map_err(|error| bad(error.to_string()))?;
        let key = Key::of(&key).map_err(|error| bad(error.to_string()))?;
        if keys.insert(key.id(), key).is_some() {
            return Err(bad("the same key is given twice".to_owned()));
        }
    }
    Ok(keys.into_values().collect())
}

fn generate() -> Result<KeyFile, CeremonyError> {
    // What every stock client verifies.
    KeyFile::generate(Curve::P256).map_err(|_| CeremonyError::Signing)
}

fn key_of(key: &KeyFile) -> Result<Key, CeremonyError> {
    Key::of(key.public_key()).map_err(|_| CeremonyError::Signing)
}

fn new_online_key(dir: &Path) -> Result<KeyFile, CeremonyError> {
    let key = generate()?;
    create_dir(dir)?;
    let pem = key.unencrypted_pem().map_err(|_| CeremonyError::Signing)?;
    write_new(dir, &format!("{}.pem", key_of(&key)?.id()), pem.as_bytes(), 0o600)?;
    Ok(key)
}

/// Gives a directory that was built aside its name, in one step.
fn put_in_place(staging: tempfile::TempDir, path: &Path) -> Result<(), CeremonyError> {
    let parent = path.parent().unwrap_or(path);
    fs::rename(staging.path(), path)
        .and_then(|()| fs::File::open(parent)?.sync_all())
        .map_err(|error| StartError::file(path, error))?;
    // It has another name now.
    let _ = staging.keep();
    Ok(())
}

/// Removes what an attempt left that did not get to its end, and the keys of the root that never was.
fn remove_unfinished(data_dir: &Path) -> Result<(), StartError> {
    let failed = |error| StartError::file(data_dir, error);
    for entry in fs::read_dir(data_dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.file_name().as_encoded_bytes().starts_with(STAGING.as_bytes()) {
            continue;
        }
        for key in offline_keys(data_dir) {
            match fs::remove_file(key) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
        }
        // Last, so that an attempt that ends here is seen the next time.
        fs::remove_dir_all(entry.path()).map_err(failed)?;
    }
    Ok(())
}

/// The root's private keys that lie where they should not stay.
pub(super) fn offline_keys(data_dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(data_dir.join(OFFLINE_DIR)).into_iter().flatten().flatten();
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("tuf-root-"))
    };
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).filter(is_ours).collect();
    paths.sort();
    paths
}
