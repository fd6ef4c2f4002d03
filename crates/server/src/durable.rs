//! Files that must outlive a crash: the old content or the whole new one, never half of it.

use std::fs::{File, Permissions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

/// The kernel tells nobody in time when a lock is free.
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// The directory that holds `path`.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// `path` with `suffix` after its name: `decisions.jsonl.logged`.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Puts a file in place of another: temporary file, fsync, rename, fsync of the directory.
pub(crate) fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    temporary(path, content, mode)?.persist(path)?;
    File::open(parent(path))?.sync_all()
}

/// The same, but never over another file; says whether it did.
pub(crate) fn write_new(path: &Path, content: &[u8], mode: u32) -> io::Result<bool> {
    match temporary(path, content, mode)?.persist_noclobber(path) {
        Ok(_) => File::open(parent(path))?.sync_all().map(|()| true),
        Err(refused) if refused.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(refused) => Err(refused.error),
    }
}

/// Waits for whoever has the lock file at `path`, which is made if it is not there: another process may
/// be about to end.
///
/// # Errors
/// [`io::ErrorKind::TimedOut`] if it is not free within `patience`.
pub(crate) fn lock(path: &Path, patience: Duration) -> io::Result<File> {
    let file = File::options().create(true).append(true).mode(0o600).open(path)?;
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if begun.elapsed() < patience => {
                thread::sleep(LOCK_RETRY)
            }
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::TimedOut.into()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// The whole content, synced, in the directory of `path`.
fn temporary(path: &Path, content: &[u8], mode: u32) -> io::Result<NamedTempFile> {
    let mut file = tempfile::Builder::new()
        .prefix(".new-")
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(parent(path))?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    Ok(file)
}
