//! What can be wrong with a model on disk.

use std::io;
use std::path::PathBuf;

use crate::name::InvalidName;

/// Why no manifest could be made. Each variant names the file it is about.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The path given as model is not there.
    #[error("{} does not exist", path.display())]
    NotFound {
        /// The path as the caller gave it.
        path: PathBuf,
    },
    /// A file or directory cannot be opened, listed or read; usually permissions or a bad disk.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file, below the model's root.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// No regular file is left after the ignored paths (OMS v1.0 §6.1: an empty model must be
    /// refused).
    #[error("{} holds no files to identify", path.display())]
    Empty {
        /// The model's root.
        path: PathBuf,
    },
    /// A name that OMS v1.0 §6.1.2 does not allow; on Linux that is one that is not UTF-8.
    #[error("file name {path:?} cannot be recorded: {reason}")]
    Name {
        /// The name, with undecodable bytes replaced.
        path: String,
        /// What is wrong with it.
        reason: InvalidName,
    },
    /// A symbolic link inside the model. What it points to can change without the model changing.
    #[error("{} is a symbolic link", path.display())]
    Symlink {
        /// The link, below the model's root.
        path: PathBuf,
    },
    /// A FIFO, socket or device (OMS v1.0 §6.1: only regular files).
    #[error("{} is a {kind}, not a regular file", path.display())]
    SpecialFile {
        /// The file, below the model's root.
        path: PathBuf,
        /// What it is: `FIFO`, `socket`, `device`, …
        kind: &'static str,
    },
    /// Size, time or inode changed between the first and the last byte read.
    #[error("{} was being written to while it was read", path.display())]
    ChangedWhileReading {
        /// The file, below the model's root.
        path: PathBuf,
    },
    /// Directories are nested deeper than [`crate::walk::MAX_DEPTH`].
    #[error("{} is nested deeper than {limit} directories", path.display())]
    TooDeep {
        /// The directory that is one too deep.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
    /// More files than [`crate::walk::MAX_FILES`].
    #[error("the model has more than {limit} files")]
    TooManyFiles {
        /// The limit.
        limit: usize,
    },
    /// The bytes on disk do not have the digest or size that the manifest records.
    #[error("{name} does not have the recorded content")]
    Mismatch {
        /// The file's name in the manifest.
        name: String,
    },
    /// A file is larger than the caller is willing to hold in memory.
    #[error("{name} has {size} bytes, more than the {limit} that can be held in memory")]
    TooLarge {
        /// The file's name in the manifest.
        name: String,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// Two entries have one name, or the list is not in ascending order.
    #[error("manifest entries are not unique and ascending at {name:?}")]
    Order {
        /// The first name out of order.
        name: String,
    },
}
