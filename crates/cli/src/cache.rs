//! The cache of digests on disk, for `digest` and `sign`. Verifying never asks it.
//!
//! `sealwright_manifest` says what may be kept and when it is found again; this file adds two rules.
//! The cache lies in a directory that nobody else can write to. And it forgets everything when the
//! machine is started again: after a crash a file can have new bytes and, for want of a journal commit,
//! the old time.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use sealwright_manifest::{CachedDigests, ChunkSize, Chunks, DigestCache, FileState, Sha256};

/// Digests by file, in SQLite.
pub(crate) struct FileCache {
    db: Mutex<Connection>,
    boot: String,
}

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS file (
        mount INTEGER NOT NULL, device INTEGER NOT NULL, inode INTEGER NOT NULL,
        boot TEXT NOT NULL, size INTEGER NOT NULL,
        modified_s INTEGER NOT NULL, modified_ns INTEGER NOT NULL,
        changed_s INTEGER NOT NULL, changed_ns INTEGER NOT NULL,
        fsverity BLOB NOT NULL, sha256 BLOB, chunk_size INTEGER, chunks BLOB,
        PRIMARY KEY (mount, device, inode)
    ) STRICT, WITHOUT ROWID;";

impl FileCache {
    /// The cache, unless it cannot be had: hashing does not need it.
    pub(crate) fn of_user() -> Option<Self> {
        Self::open(&directory()?)
    }

    fn open(directory: &Path) -> Option<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory).ok()?;
        let metadata = fs::metadata(directory).ok()?;
        let is_ours = metadata.uid() == rustix::process::geteuid().as_raw();
        if !is_ours || metadata.mode() & 0o022 != 0 {
            return None;
        }
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let path = directory.join("digests-v2.sqlite");
        let db = connect(&path, &boot).or_else(|_| {
            // Whatever made it unusable, nothing in it is needed.
            fs::remove_file(&path).map_err(|_| rusqlite::Error::InvalidQuery)?;
            connect(&path, &boot)
        });
        Some(Self { db: Mutex::new(db.ok()?), boot })
    }

    fn db(&self) -> MutexGuard<'_, Connection> {
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn connect(path: &Path, boot: &str) -> rusqlite::Result<Connection> {
    let db = Connection::open(path)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "NORMAL")?;
    db.execute_batch(SCHEMA)?;
    db.execute("DELETE FROM file WHERE boot <> ?1", [boot])?;
    Ok(db)
}

impl DigestCache for FileCache {
    fn find(&self, state: &FileState) -> Option<CachedDigests> {
        let query = "SELECT fsverity, sha256, chunk_size, chunks FROM file
            WHERE device = ?1 AND inode = ?2 AND boot = ?3 AND size = ?4 AND modified_s = ?5
            AND modified_ns = ?6 AND changed_s = ?7 AND changed_ns = ?8 AND mount = ?9";
        let FileState { mount, device, inode, size, modified, changed } = state;
        let key = params![
            device.cast_signed(),
            inode.cast_signed(),
            self.boot,
            size.cast_signed(),
            modified.0,
            modified.1.cast_signed(),
            changed.0,
            changed.1.cast_signed(),
            mount.cast_signed(),
        ];
        let found = |row: &Row<'_>| Ok(digests(row, *size));
        let db = self.db();
        let mut statement = db.prepare_cached(query).ok()?;
        statement.query_row(key, found).optional().ok()??
    }

    fn keep(&self, state: &FileState, digests: CachedDigests) {
        let FileState { mount, device, inode, size, modified, changed } = state;
        let CachedDigests { fsverity, sha256, chunks } = digests;
        let chunk_size = chunks.as_ref().map(|chunks| chunks.size().bytes().cast_signed());
        let values = params![
            mount.cast_signed(),
            device.cast_signed(),
            inode.cast_signed(),
            self.boot,
            size.cast_signed(),
            modified.0,
            modified.1.cast_signed(),
            changed.0,
            changed.1.cast_signed(),
            fsverity.as_bytes(),
            sha256.as_ref().map(Sha256::as_bytes),
            chunk_size,
            chunks.as_ref().map(|chunks| chunks.hashes().as_flattened()),
        ];
        let insert = "INSERT OR REPLACE INTO file
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
        // What cannot be kept is hashed again.
        let _ = self.db().execute(insert, values);
    }

    fn now(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_secs()).unwrap_or(0)
    }
}

/// The digests of a file of `size` bytes; `None` if the row makes no sense.
fn digests(row: &Row<'_>, size: u64) -> Option<CachedDigests> {
    let fsverity = Sha256::from_bytes(row.get(0).ok()?);
    let sha256 = row.get::<_, Option<[u8; 32]>>(1).ok()?.map(Sha256::from_bytes);
    let chunk_size: Option<i64> = row.get(2).ok()?;
    let hashes: Option<Vec<u8>> = row.get(3).ok()?;
    let chunks = match (chunk_size, hashes) {
        (Some(bytes), Some(hashes)) => {
            let (hashes, _) = hashes.as_chunks();
            let chunk_size = ChunkSize::from_bytes(bytes.cast_unsigned())?;
            Some(Chunks::new(chunk_size, hashes.to_vec(), size, &fsverity)?)
        }
        _ => None,
    };
    Some(CachedDigests { fsverity, sha256, chunks })
}

/// `$XDG_CACHE_HOME/sealwright/digests`, or the same below `~/.cache`.
fn directory() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let caches = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(caches.join("sealwright").join("digests"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn state(changed: (i64, u64)) -> FileState {
        FileState { mount: 9, device: 1, inode: u64::MAX, size: 5, modified: (-1, 2), changed }
    }

    fn digests(text: &str) -> CachedDigests {
        let sha256 = Some(Sha256::of(text.as_bytes()));
        CachedDigests { fsverity: Sha256::of(b"tree"), sha256, chunks: None }
    }

    #[test]
    fn only_the_very_state_is_found() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("cache");
        let cache = FileCache::open(&directory).unwrap();
        cache.keep(&state((7, 8)), digests("a"));
        assert_eq!(cache.find(&state((7, 8))), Some(digests("a")));
        assert_eq!(cache.find(&state((7, 9))), None);
        assert_eq!(cache.find(&FileState { size: 6, ..state((7, 8)) }), None);
        assert_eq!(cache.find(&FileState { mount: 10, ..state((7, 8)) }), None);
        cache.keep(&state((7, 9)), digests("b"));
        assert_eq!(cache.find(&state((7, 8))), None, "a file has one state");
        drop(cache);
        let again = FileCache::open(&directory).unwrap();
        assert_eq!(again.find(&state((7, 9))), Some(digests("b")));
    }

    #[test]
    fn a_restart_of_the_machine_forgets_all() {
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let cache = FileCache::open(place.path()).unwrap();
        let before = FileCache { db: cache.db, boot: "another".to_owned() };
        before.keep(&state((7, 8)), digests("a"));
        assert_eq!(before.find(&state((7, 8))), Some(digests("a")));
        assert_eq!(FileCache::open(place.path()).unwrap().find(&state((7, 8))), None);
        assert_eq!(before.find(&state((7, 8))), None, "it is gone, not only passed over");
    }

    #[test]
    fn a_place_that_others_can_write_to_is_not_used() {
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(FileCache::open(place.path()).is_none());
    }

    #[test]
    fn a_broken_cache_is_made_anew() {
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(place.path().join("digests-v2.sqlite"), vec![7; 10_000]).unwrap();
        let cache = FileCache::open(place.path()).unwrap();
        cache.keep(&state((7, 8)), digests("a"));
        assert_eq!(cache.find(&state((7, 8))), Some(digests("a")));
    }
}
