//! Copying files of a data directory, and telling keys from what may be seen.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use tempfile::TempDir;

use super::BackupError;
use super::manifest::FileEntry;
use crate::service::authorities::OFFLINE_DIR;

/// What the log is made of, which is copied in another way; what other processes have in use; and what
/// belongs elsewhere.
const NOT_COPIED: [&str; 8] =
    ["log.db", "log.db-wal", "log.db-shm", "checkpoint", "tile", "lock", "tmp", OFFLINE_DIR];

/// A directory that nobody else can read, beside `path`: where it can be renamed to.
pub(super) fn temporary_beside(path: &Path) -> Result<TempDir, BackupError> {
    let parent = parent(path);
    fs::create_dir_all(parent).map_err(|error| BackupError::file(parent, error))?;
    tempfile::Builder::new()
        .prefix(".sealwright-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(parent)
        .map_err(|error| BackupError::file(parent, error))
}

/// Makes all of it durable, and then puts it where it belongs, in the place of nothing or of an empty
/// directory.
pub(super) fn put_in_place(building: TempDir, path: &Path) -> Result<(), BackupError> {
    let failed = |error| BackupError::file(path, error);
    sync_tree(building.path()).map_err(failed)?;
    fs::rename(building.path(), path).map_err(|error| match error.kind() {
        io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists => {
            BackupError::Exists { path: path.to_owned() }
        }
        _ => BackupError::file(path, error),
    })?;
    // It has another name now.
    let _ = building.keep();
    File::open(parent(path)).and_then(|dir| dir.sync_all()).map_err(failed)
}

/// Copies everything but the log; private keys only if they are wanted. Gives the keys that were left
/// out.
pub(super) fn copy_others(
    from: &Path,
    to: &Path,
    with_keys: bool,
) -> Result<Vec<String>, BackupError> {
    let mut left_out = Vec::new();
    for path in files_below(from, &|name| !NOT_COPIED.contains(&name) && !name.starts_with('.'))? {
        let source = from.join(&path);
        let content = fs::read(&source).map_err(|error| BackupError::file(&source, error))?;
        let content = zeroize::Zeroizing::new(content);
        if !with_keys && is_private(&path, &content) {
            left_out.push(path);
            continue;
        }
        let mode = fs::metadata(&source).map_err(|error| BackupError::file(&source, error))?.mode();
        write(&to.join(&path), &content, mode)?;
    }
    Ok(left_out)
}

/// Length, digest and mode of every file below a directory.
pub(super) fn digests(dir: &Path) -> Result<BTreeMap<String, FileEntry>, BackupError> {
    let paths = files_below(dir, &|_| true)?;
    let entry = |path: String| {
        let entry = digest(&dir.join(&path))?;
        Ok((path, entry))
    };
    paths.into_iter().map(entry).collect()
}

pub(super) fn digest(path: &Path) -> Result<FileEntry, BackupError> {
    let failed = |error| BackupError::file(path, error);
    let mut file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode() & 0o777;
    let (mut context, mut size) = (Context::new(&SHA256), 0);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer).map_err(failed)?;
        let Some(part) = buffer.get(..read).filter(|part| !part.is_empty()) else { break };
        context.update(part);
        size += part.len() as u64;
    }
    Ok(FileEntry { size, sha256: hex::encode(context.finish()), mode })
}

/// Writes a new file, and the directories above it, for the owner alone until its mode is set.
pub(super) fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), BackupError> {
    let write = || {
        fs::create_dir_all(parent(path))?;
        let mut file = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o600))
            .tempfile_in(parent(path))?;
        io::Write::write_all(&mut file, content)?;
        file.as_file().set_permissions(Permissions::from_mode(mode & 0o777))?;
        file.persist_noclobber(path)?;
        Ok(())
    };
    write().map_err(|error: io::Error| BackupError::file(path, error))
}

/// Whether it is a private key: by what it is, and by what it is called, if it is in a format of its
/// own.
fn is_private(path: &str, content: &[u8]) -> bool {
    const MARK: &[u8] = b"PRIVATE KEY";
    path.ends_with("key.pem") || content.windows(MARK.len()).any(|part| part == MARK)
}

/// Paths of all files below a directory, whose names (and those of the directories above) are wanted.
fn files_below(dir: &Path, is_wanted: &dyn Fn(&str) -> bool) -> Result<Vec<String>, BackupError> {
    let mut found = Vec::new();
    let mut left = vec![PathBuf::new()];
    while let Some(relative) = left.pop() {
        let here = dir.join(&relative);
        let failed = |error| BackupError::file(&here, error);
        for entry in fs::read_dir(&here).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if !is_wanted(name) {
                continue;
            }
            let path = relative.join(name);
            let metadata = fs::metadata(entry.path()).map_err(failed)?;
            if metadata.is_dir() {
                left.push(path);
            } else if metadata.is_file() {
                found.extend(path.to_str().map(str::to_owned));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Makes everything below a directory durable, itself too.
fn sync_tree(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            sync_tree(&path)?;
        } else {
            File::open(&path)?.sync_all()?;
        }
    }
    File::open(dir)?.sync_all()
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
