//! Durable files: written completely, synced, then renamed into place.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::error::StoreError;
use crate::objects::{Objects, Published, TileReader, Version};

const LOCK: &str = "lock";
pub(crate) const CHECKPOINT: &str = "checkpoint";
const TEMPORARY: &str = "tmp/next";

/// A store's directory, held exclusively.
pub(crate) struct Files {
    root: PathBuf,
    /// Directories whose entry in their parent is known to be durable.
    durable_dirs: HashSet<PathBuf>,
    /// The lock goes with the file handle, also when the process is killed.
    lock: File,
}

impl Drop for Files {
    fn drop(&mut self) {
        // Closing is not enough: a child that another thread forked just now has a copy of the
        // handle, until it has become another program.
        let _ = self.lock.unlock();
    }
}

impl Files {
    /// Creates the directory if need be (mode 0700) and takes its lock.
    pub(crate) fn open(root: &Path) -> Result<Self, StoreError> {
        create_root(root)?;
        let lock = take_lock(root)?;
        let mut files = Self { root: root.to_owned(), durable_dirs: HashSet::new(), lock };
        files.make_dirs(Path::new("tmp"))?;
        Ok(files)
    }

    /// Where a file of the store is.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// The content of a file; `None` if it is not there.
    pub(crate) fn read(&self, path: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.path(path);
        match fs::read(&path) {
            Ok(content) => Ok(Some(content)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(StoreError::file(&path, error)),
        }
    }

    /// Writes a file that never changes. One that is there already must be equal.
    fn write_immutable(&mut self, path: &str, content: &[u8]) -> Result<(), StoreError> {
        match self.read(path)? {
            None => self.replace(path, content),
            Some(present) if present == content => {
                // Whoever wrote it may have died before syncing.
                let path = Path::new(path);
                self.make_dirs(path.parent().unwrap_or(Path::new("")))?;
                sync(&self.root.join(path))?;
                self.sync_parent(path)
            }
            Some(_) => Err(StoreError::ImmutableDiffers { path: path.to_owned() }),
        }
    }

    /// Writes a file, or puts a new one in its place; a reader sees the old or the new one.
    pub(crate) fn replace(&mut self, path: &str, content: &[u8]) -> Result<(), StoreError> {
        let path = Path::new(path);
        self.make_dirs(path.parent().unwrap_or(Path::new("")))?;
        let (from, to) = (self.path(TEMPORARY), self.root.join(path));
        write_synced(&from, content).map_err(|error| StoreError::file(&from, error))?;
        fs::rename(&from, &to).map_err(|error| StoreError::file(&to, error))?;
        self.sync_parent(path)
    }

    /// Creates a directory and those above it, and makes their entries durable.
    fn make_dirs(&mut self, dir: &Path) -> Result<(), StoreError> {
        let Some(parent) = dir.parent() else { return Ok(()) };
        if self.durable_dirs.contains(dir) {
            return Ok(());
        }
        self.make_dirs(parent)?;
        create_dir(&self.root.join(dir))?;
        sync(&self.root.join(parent))?;
        self.durable_dirs.insert(dir.to_owned());
        Ok(())
    }

    fn sync_parent(&self, path: &Path) -> Result<(), StoreError> {
        sync(&self.root.join(path.parent().unwrap_or(Path::new(""))))
    }
}

impl Objects for Files {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(path)
    }

    fn reader(&self) -> Option<TileReader> {
        None
    }

    fn exists(&self, path: &str) -> Result<bool, StoreError> {
        let path = self.path(path);
        path.try_exists().map_err(|error| StoreError::file(&path, error))
    }

    fn write_tiles(
        &mut self,
        tiles: &[(String, Vec<u8>)],
        each: &mut dyn FnMut() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        for (path, content) in tiles {
            self.write_immutable(path, content)?;
            each()?;
        }
        Ok(())
    }

    fn checkpoint(&self) -> Result<Option<Published>, StoreError> {
        let note = self.read(CHECKPOINT)?;
        Ok(note.map(|note| Published { note, version: Version(None) }))
    }

    /// The directory's lock keeps everybody else from replacing it.
    fn replace_checkpoint(
        &mut self,
        note: &[u8],
        _last: Option<&Version>,
    ) -> Result<Version, StoreError> {
        self.replace(CHECKPOINT, note)?;
        Ok(Version(None))
    }
}

/// Syncs a store's own directory, where the database's files are.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    sync(dir)
}

/// Creates a store's directory, and those above it, durably.
fn create_root(dir: &Path) -> Result<(), StoreError> {
    if dir.as_os_str().is_empty() || dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().unwrap_or(Path::new(""));
    create_root(parent)?;
    create_dir(dir)?;
    sync(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })
}

fn take_lock(root: &Path) -> Result<File, StoreError> {
    let path = root.join(LOCK);
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| StoreError::file(&path, error))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { dir: root.to_owned() }),
        Err(TryLockError::Error(error)) => Err(StoreError::file(&path, error)),
    }
}

fn write_synced(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn create_dir(path: &Path) -> Result<(), StoreError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if !path.is_dir() => Err(StoreError::file(path, error)),
        _ => Ok(()),
    }
}

fn sync(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|error| StoreError::file(path, error))
}

/// A path below a file or a missing directory is absent too.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
