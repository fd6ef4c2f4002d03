//! Reading with a limit, and writing whole files or none.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::error::CliError;

/// Reads a file of at most `limit` bytes; `what` names it in the error.
///
/// A FIFO or device is refused: reading one may never end.
pub(crate) fn read(path: &Path, what: &str, limit: usize) -> Result<Vec<u8>, CliError> {
    let shown = path.display();
    let failed = |error: &io::Error| match error.kind() {
        io::ErrorKind::NotFound => {
            CliError::input(format!("{what} {shown} does not exist")).hint("check the path")
        }
        io::ErrorKind::PermissionDenied => {
            CliError::environment(format!("{what} {shown} cannot be read: permission denied"))
                .hint("check who owns the file and its mode")
        }
        _ => CliError::environment(format!("{what} {shown} cannot be read: {error}")),
    };
    // O_NONBLOCK: opening a FIFO for reading would wait for a writer.
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file =
        fs::OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|e| failed(&e))?;
    let meta = file.metadata().map_err(|e| failed(&e))?;
    if !meta.is_file() {
        return Err(CliError::input(format!("{what} {shown} is not a regular file"))
            .hint("give the path of a file"));
    }
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(|e| failed(&e))?;
    if bytes.len() > limit {
        return Err(CliError::input(format!("{what} {shown} is larger than {limit} bytes"))
            .hint("check that this is the right file"));
    }
    Ok(bytes)
}

/// Reads a UTF-8 text file of at most 1 MiB.
pub(crate) fn read_text(path: &Path, what: &str) -> Result<String, CliError> {
    String::from_utf8(read(path, what, 1 << 20)?)
        .map_err(|_| CliError::input(format!("{what} {} is not text", path.display())))
}

/// Who may read a file that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody, as the umask says.
    Public,
    /// The owner only.
    Private,
}

/// Writes `bytes` to `path`, replacing what is there, so that at any instant the old file or the
/// whole new one is to be seen: temporary file beside it, fsync, rename, fsync of the directory.
pub(crate) fn write(path: &Path, bytes: &[u8], access: Access) -> Result<(), CliError> {
    let failed = |error: io::Error| write_error(path, &error);
    let directory = parent(path);
    let mut file =
        tempfile::Builder::new().prefix(".sealwright-").tempfile_in(&directory).map_err(failed)?;
    if access == Access::Public {
        file.as_file()
            .set_permissions(fs::Permissions::from_mode(public_mode()))
            .map_err(failed)?;
    }
    file.write_all(bytes).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|persist| failed(persist.error))?;
    File::open(&directory).and_then(|directory| directory.sync_all()).map_err(failed)
}

/// Like [`write()`], for a file that must not exist yet.
pub(crate) fn write_new(path: &Path, bytes: &[u8], access: Access) -> Result<(), CliError> {
    if fs::symlink_metadata(path).is_ok() {
        return Err(CliError::input(format!("{} already exists", path.display()))
            .hint("choose another name; an existing key is never overwritten"));
    }
    write(path, bytes, access)
}

/// The directory that holds `path`.
pub(crate) fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn write_error(path: &Path, error: &io::Error) -> CliError {
    let message = format!("cannot write {}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            CliError::environment(message).hint("free some space; nothing was left half-written")
        }
        io::ErrorKind::NotFound => {
            CliError::input(message).hint("the directory must exist before the file is written")
        }
        _ => CliError::environment(message)
            .hint("check that the directory is writable; --output chooses another place"),
    }
}

/// 0666 less the umask, as any other program's files. The umask is read from /proc, since asking
/// the kernel for it means setting it.
fn public_mode() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let umask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    let umask = umask.and_then(|text| u32::from_str_radix(text.trim(), 8).ok()).unwrap_or(0o022);
    0o666 & !umask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_whole_and_private_if_asked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        write_new(&path, b"one", Access::Private).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(write_new(&path, b"two", Access::Private).is_err());
        write(&path, b"three", Access::Public).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"three");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary file stays");
        assert!(write(&directory.path().join("no/such"), b"", Access::Public).is_err());
        assert_eq!(read(&path, "file", 5).unwrap(), b"three");
        assert!(read(&path, "file", 4).is_err());
        assert!(read(directory.path(), "file", 4).is_err());
    }
}
