//! Reading with a limit, and writing whole files or none.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::error::CliError;
use crate::output;

/// Reads a file of at most `limit` bytes; `what` names it in the error. Opened as by [`open`].
pub(crate) fn read(path: &Path, what: &str, limit: usize) -> Result<Vec<u8>, CliError> {
    let file = open(path, what)?;
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| read_error(path, what, &error))?;
    if bytes.len() > limit {
        let (shown, limit) = (path.display(), output::size(limit as u64));
        return Err(CliError::input(format!("{what} {shown} is larger than {limit}"))
            .hint("check that this is the right file"));
    }
    Ok(bytes)
}

/// Opens a regular file.
///
/// A FIFO or device is refused: reading one may never end. Not so `/dev/stdin` and `/dev/fd/N`, which
/// a shell makes of `<(command)`.
pub(crate) fn open(path: &Path, what: &str) -> Result<File, CliError> {
    let shown = path.display();
    let failed = |error: io::Error| read_error(path, what, &error);
    let is_inherited =
        ["/dev/fd", "/dev/stdin", "/proc/self/fd"].iter().any(|place| path.starts_with(place));
    let regular = |meta: fs::Metadata| {
        if meta.is_file() || (is_inherited && !meta.is_dir()) {
            return Ok(());
        }
        let kind = kind(meta.file_type());
        Err(CliError::input(format!("{what} {shown} is a {kind}, not a regular file"))
            .hint("give the path of a file"))
    };
    // Before opening, since a socket cannot be opened; and after it, since it may be another then.
    regular(fs::metadata(path).map_err(failed)?)?;
    // O_NONBLOCK: opening a FIFO for reading would wait for a writer.
    let flags = if is_inherited { OFlags::empty() } else { OFlags::NONBLOCK };
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    regular(file.metadata().map_err(failed)?)?;
    Ok(file)
}

/// A file cannot be opened or read.
pub(crate) fn read_error(path: &Path, what: &str, error: &io::Error) -> CliError {
    let shown = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => {
            CliError::input(format!("{what} {shown} does not exist")).hint(path_hint(path))
        }
        io::ErrorKind::PermissionDenied => {
            CliError::environment(format!("{what} {shown} cannot be read: permission denied"))
                .hint("check who owns the file and its mode")
        }
        _ => CliError::environment(format!("{what} {shown} cannot be read: {error}"))
            .hint("check that it is a file, and that its disk works"),
    }
}

/// Reads a UTF-8 text file of at most 1 MiB.
pub(crate) fn read_text(path: &Path, what: &str) -> Result<String, CliError> {
    String::from_utf8(read(path, what, 1 << 20)?).map_err(|_| {
        CliError::input(format!("{what} {} is not UTF-8 text", path.display()))
            .hint("check that this is the right file")
    })
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
///
/// A link is followed, so that it stays one. What is no regular file, such as `/dev/stdout`, is
/// written to and not replaced.
pub(crate) fn write(path: &Path, bytes: &[u8], access: Access) -> Result<(), CliError> {
    let failed = |error: io::Error| write_error(path, &error);
    match target(path)? {
        Target::File(file) => {
            let temporary = temporary(&file, bytes, access).map_err(failed)?;
            temporary.persist(&file).map_err(|persist| failed(persist.error))?;
            sync_parent(&file).map_err(failed)
        }
        Target::Stream => {
            let mut stream = fs::OpenOptions::new().write(true).open(path).map_err(failed)?;
            stream.write_all(bytes).map_err(failed)
        }
    }
}

/// Like [`write()`], for a file that must not exist yet; not even one that came a moment ago is
/// replaced.
pub(crate) fn write_new(path: &Path, bytes: &[u8], access: Access) -> Result<(), CliError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            CliError::input(format!("{} already exists", path.display()))
                .hint("choose another name; what is there is never overwritten")
        }
        _ => write_error(path, &error),
    };
    let temporary = temporary(path, bytes, access).map_err(failed)?;
    temporary.persist_noclobber(path).map_err(|persist| failed(persist.error))?;
    sync_parent(path).map_err(failed)
}

/// Like [`write_new`], under the first of `places` where nothing is yet, however many write there at
/// the same time. `None` if there is something everywhere.
pub(crate) fn write_first_free(
    places: impl IntoIterator<Item = PathBuf>,
    bytes: &[u8],
    access: Access,
) -> Result<Option<PathBuf>, CliError> {
    let mut written = None;
    for path in places {
        let failed = |error: io::Error| write_error(&path, &error);
        let file = match written.take() {
            Some(file) => file,
            None => temporary(&path, bytes, access).map_err(failed)?,
        };
        match file.persist_noclobber(&path) {
            Ok(_) => {
                sync_parent(&path).map_err(failed)?;
                return Ok(Some(path));
            }
            Err(persist) if persist.error.kind() == io::ErrorKind::AlreadyExists => {
                written = Some(persist.file);
            }
            Err(persist) => return Err(failed(persist.error)),
        }
    }
    Ok(None)
}

/// Refuses early what [`write()`] would refuse late: after a passphrase was typed, a large model
/// hashed, a statement logged.
pub(crate) fn check_writable(path: &Path) -> Result<(), CliError> {
    let place = match target(path)? {
        Target::File(file) => parent(&file),
        Target::Stream => path.to_owned(),
    };
    rustix::fs::access(&place, rustix::fs::Access::WRITE_OK)
        .map_err(|errno| write_error(path, &errno.into()))
}

/// What a path to write to stands for.
enum Target {
    /// A regular file, which may not exist yet; links are resolved.
    File(PathBuf),
    /// A device, FIFO or pipe.
    Stream,
}

fn target(path: &Path) -> Result<Target, CliError> {
    match fs::metadata(path) {
        Ok(meta) if meta.is_file() => {
            path.canonicalize().map(Target::File).map_err(|error| write_error(path, &error))
        }
        Ok(meta) if meta.is_dir() => {
            Err(CliError::input(format!("cannot write {}: it is a directory", path.display()))
                .hint("give the path of a file"))
        }
        Ok(_) => Ok(Target::Stream),
        Err(_) if path.is_symlink() => {
            Err(CliError::input(format!("cannot write {}: it is a broken link", path.display()))
                .hint("remove the link, or choose another path"))
        }
        Err(_) if path.file_name().is_none() || ends_with_slash(path) => {
            Err(CliError::input(format!("cannot write {}: it names no file", path.display()))
                .hint("give the path of a file"))
        }
        Err(_) => Ok(Target::File(path.to_owned())),
    }
}

/// `Path` forgets a slash at the end, and whoever typed it meant a directory.
fn ends_with_slash(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b"/")
}

fn temporary(path: &Path, bytes: &[u8], access: Access) -> io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::Builder::new().prefix(".sealwright-").tempfile_in(parent(path))?;
    if access == Access::Public {
        file.as_file().set_permissions(fs::Permissions::from_mode(public_mode()))?;
    }
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    File::open(parent(path))?.sync_all()
}

/// The directory that holds `path`.
pub(crate) fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// What to try when there is nothing at a path.
fn path_hint(path: &Path) -> &'static str {
    if path.starts_with("~") {
        "the shell expands ~ only at the start of a word: write /home/… or $HOME/…"
    } else {
        "check the path"
    }
}

/// What something that is no regular file is called.
fn kind(file_type: fs::FileType) -> &'static str {
    match () {
        () if file_type.is_dir() => "directory",
        () if file_type.is_fifo() => "FIFO",
        () if file_type.is_socket() => "socket",
        () => "device",
    }
}

fn write_error(path: &Path, error: &io::Error) -> CliError {
    // tempfile adds the name of its own file, which says nothing to whoever reads this.
    let cause = error.to_string();
    let cause = cause.split(" at path \"").next().unwrap_or_default();
    let message = format!("cannot write {}: {cause}", path.display());
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            CliError::environment(message).hint("free some space; nothing was left half-written")
        }
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            CliError::input(message).hint("the directory must exist before the file is written")
        }
        _ => CliError::environment(message)
            .hint("check that the directory is writable, or choose another one"),
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
