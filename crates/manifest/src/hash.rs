//! One pass over one file: SHA-256 and fs-verity digest together.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, Stat, fstat};
use sha2::{Digest as _, Sha256 as Hasher};

use crate::digest::Sha256;
use crate::error::ManifestError;
use crate::fsverity::FsVerityHasher;
use crate::model::Entry;
use crate::open::{open_beneath, open_root, require_regular, unreadable};

const BUFFER_SIZE: usize = 256 * 1024;

/// The most bytes that [`read_verified`] takes into memory: 4 GiB.
pub const MAX_WHOLE_FILE: u64 = 4 << 30;

/// Hashes the file `name` below `root`; `progress` is told the bytes of each piece.
pub(crate) fn hash_file(
    fd: OwnedFd,
    name: &str,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Entry, ManifestError> {
    let path = Path::new(name);
    let before = stat(&fd, path)?;
    require_regular(FileType::from_raw_mode(before.st_mode), path)?;
    let mut file = File::from(fd);
    let mut plain = Hasher::new();
    let mut tree = FsVerityHasher::new();
    let mut size = 0;
    let mut buffer = vec![0; BUFFER_SIZE];
    loop {
        let count = read(&mut file, &mut buffer, path)?;
        let Some(piece) = buffer.get(..count).filter(|piece| !piece.is_empty()) else { break };
        plain.update(piece);
        tree.update(piece);
        size += count as u64;
        progress(count as u64);
        // Whoever writes as fast as we read would keep us here for ever.
        if i64::try_from(size).is_ok_and(|size| size > before.st_size) {
            return Err(ManifestError::ChangedWhileReading { path: path.to_owned() });
        }
    }
    let after = stat(&file.into(), path)?;
    if is_changed(&before, &after) || u64::try_from(after.st_size) != Ok(size) {
        return Err(ManifestError::ChangedWhileReading { path: path.to_owned() });
    }
    let sha256 = Sha256::from_bytes(plain.finalize().into());
    Ok(Entry { name: name.to_owned(), size, sha256, fsverity: tree.finish() })
}

/// Reads a file of the model into memory and gives the bytes only if they are the recorded ones.
///
/// What is returned is what was hashed: there is no second look at the disk, and so no time between
/// check and use. `model` is the directory (or the one file) that `entry` belongs to.
///
/// # Errors
/// [`ManifestError::Mismatch`] when size or fs-verity digest differ, [`ManifestError::TooLarge`]
/// above [`MAX_WHOLE_FILE`], and what opening a file can give.
pub fn read_verified(model: &Path, entry: &Entry) -> Result<Vec<u8>, ManifestError> {
    if entry.size > MAX_WHOLE_FILE {
        let name = entry.name.clone();
        return Err(ManifestError::TooLarge { name, size: entry.size, limit: MAX_WHOLE_FILE });
    }
    let path = Path::new(&entry.name);
    let root = open_root(model)?;
    let is_directory = FileType::from_raw_mode(stat(&root, model)?.st_mode).is_dir();
    let fd = if is_directory { open_beneath(&root, &entry.name)? } else { root };
    require_regular(FileType::from_raw_mode(stat(&fd, path)?.st_mode), path)?;
    let mut bytes = Vec::new();
    // One byte more than recorded is enough to know that the file has grown.
    File::from(fd)
        .take(entry.size + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| ManifestError::Unreadable { path: path.to_owned(), source })?;
    let mut tree = FsVerityHasher::new();
    tree.update(&bytes);
    if bytes.len() as u64 != entry.size || tree.finish() != entry.fsverity {
        return Err(ManifestError::Mismatch { name: entry.name.clone() });
    }
    Ok(bytes)
}

fn stat(fd: &OwnedFd, path: &Path) -> Result<Stat, ManifestError> {
    fstat(fd).map_err(|errno| unreadable(path, errno))
}

pub(crate) fn is_changed(before: &Stat, after: &Stat) -> bool {
    before.st_size != after.st_size
        || (before.st_mtime, before.st_mtime_nsec) != (after.st_mtime, after.st_mtime_nsec)
        || (before.st_ctime, before.st_ctime_nsec) != (after.st_ctime, after.st_ctime_nsec)
}

pub(crate) fn read(
    file: &mut impl Read,
    buffer: &mut [u8],
    path: &Path,
) -> Result<usize, ManifestError> {
    loop {
        match file.read(buffer) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => {
                return Err(ManifestError::Unreadable { path: path.to_owned(), source });
            }
            Ok(count) => return Ok(count),
        }
    }
}
