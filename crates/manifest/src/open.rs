//! Opening files below a model's root without ever following a link.
//!
//! Every component is opened relative to its parent's descriptor with `O_NOFOLLOW`, so that a
//! directory swapped for a link while we walk leads to an error and not out of the model.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, openat, openat2};

use crate::error::ManifestError;

/// The root of a model: the only path that may itself be a symbolic link, since the caller named
/// it.
pub(crate) fn open_root(path: &Path) -> Result<OwnedFd, ManifestError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    openat(CWD, path, flags, Mode::empty()).map_err(|errno| match errno {
        rustix::io::Errno::NOENT => ManifestError::NotFound { path: path.to_owned() },
        // A socket cannot be opened.
        rustix::io::Errno::NXIO => {
            ManifestError::SpecialFile { path: path.to_owned(), kind: "socket" }
        }
        errno => unreadable(path, errno),
    })
}

/// Opens `name` (a checked manifest name) below `root`.
pub(crate) fn open_beneath(root: &OwnedFd, name: &str) -> Result<OwnedFd, ManifestError> {
    let mut parent: Option<OwnedFd> = None;
    let mut components = name.split('/').peekable();
    while let Some(component) = components.next() {
        let is_last = components.peek().is_none();
        let fd = open_child(parent.as_ref().unwrap_or(root), component, !is_last)
            .map_err(|errno| unreadable(Path::new(name), errno))?;
        if is_last {
            return Ok(fd);
        }
        parent = Some(fd);
    }
    Err(ManifestError::NotFound { path: PathBuf::from(name) })
}

/// Opens `name` below `root` following links, as long as every step stays below `root`
/// (`openat2` with `RESOLVE_BENEATH`: an absolute link or one that climbs out is an error).
pub(crate) fn open_inside(root: &OwnedFd, name: &str) -> Result<OwnedFd, rustix::io::Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    openat2(root, name, flags, Mode::empty(), resolve)
}

/// Opens one directory entry; `O_NONBLOCK` so that a FIFO put there cannot hang us.
pub(crate) fn open_child(
    parent: &OwnedFd,
    name: &str,
    directory: bool,
) -> Result<OwnedFd, rustix::io::Errno> {
    let mut flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    if directory {
        flags |= OFlags::DIRECTORY;
    }
    openat(parent, name, flags, Mode::empty())
}

/// Refuses what is not a regular file.
pub(crate) fn require_regular(kind: FileType, path: &Path) -> Result<(), ManifestError> {
    let kind = match kind {
        FileType::RegularFile => return Ok(()),
        FileType::Symlink => return Err(ManifestError::Symlink { path: path.to_owned() }),
        FileType::Fifo => "FIFO",
        FileType::Socket => "socket",
        FileType::CharacterDevice | FileType::BlockDevice => "device",
        FileType::Directory => "directory",
        FileType::Unknown => "file of unknown kind",
    };
    Err(ManifestError::SpecialFile { path: path.to_owned(), kind })
}

pub(crate) fn unreadable(path: &Path, errno: rustix::io::Errno) -> ManifestError {
    if errno == rustix::io::Errno::LOOP {
        return ManifestError::Symlink { path: path.to_owned() };
    }
    ManifestError::Unreadable { path: path.to_owned(), source: io::Error::from(errno) }
}
