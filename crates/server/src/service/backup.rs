//! Backups of an instance, taken while it runs, and their way back.
//!
//! ```text
//! <backup>/manifest.json    what is in it: paths, lengths, digests; the log's checkpoint
//! <backup>/data/…           the files of the data directory
//! ```
//!
//! A log that is restored from an old copy would sign a second history, with other entries in the
//! places of those that it has shown and forgotten. Whoever remembers a newer checkpoint can tell, and
//! a restore that is shown one refuses to go behind it.

mod files;
mod manifest;
mod restore;

use std::io;
use std::path::{Path, PathBuf};

use sealwright_store::{StoreError, snapshot};

use super::StartError;
use super::trust::has_keys;
use crate::state::now;
pub use restore::{RestoreOptions, Restored, restore};

use files::{copy_others, put_in_place, temporary_beside};
use manifest::{FileEntry, Manifest};

/// Where in a backup the files of the data directory are.
const DATA: &str = "data";

/// What a backup has in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupReport {
    /// Entries of the log.
    pub entries: u64,
    /// Files beside the manifest.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// SHA-256 of `manifest.json` in hex: whoever keeps it elsewhere can tell whether a backup is the one
    /// that was made.
    pub manifest_sha256: String,
    /// Private keys that were left out, relative to the data directory.
    pub left_out: Vec<String>,
}

/// Why there is no backup, or why it is not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The directory has something in it, or is something else.
    #[error("{} is there already", path.display())]
    Exists {
        /// The directory.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// The error as it was reported.
        source: io::Error,
    },
    /// The manifest is missing, or not one.
    #[error("{} is not the manifest of a backup: {problem}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A file of the backup is missing, or is not what the manifest says.
    #[error("{} is not what was backed up", path.display())]
    Differs {
        /// The file.
        path: PathBuf,
    },
    /// The backup has no keys, and they were not given.
    #[error("the backup was made without {key}")]
    NoKey {
        /// The key, relative to the data directory.
        key: String,
    },
    /// What was restored contradicts itself.
    #[error("the backup is damaged: {}", problems.first().map_or("", String::as_str))]
    Damaged {
        /// What does not fit.
        problems: Vec<String>,
    },
    /// A checkpoint to compare with is not one of this log.
    #[error("the newest checkpoint is none that this log signed")]
    OtherCheckpoint,
    /// The log was larger when it signed a checkpoint than it is in the backup.
    #[error("the backup has {entries} entries, and the log has shown a checkpoint with {shown}")]
    Older {
        /// Entries in the backup.
        entries: u64,
        /// Entries under the newest checkpoint.
        shown: u64,
    },
    /// The backup is of another history.
    #[error("the backup does not begin with the {shown} entries that the log has shown")]
    Forked {
        /// Entries under the newest checkpoint.
        shown: u64,
    },
    /// The instance cannot be used.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The log cannot be copied.
    #[error("the log cannot be copied")]
    Store(#[from] StoreError),
}

impl BackupError {
    fn file(path: &Path, source: io::Error) -> Self {
        Self::File { path: path.to_owned(), source }
    }

    /// Whether the backup was read and is not good to be restored.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Differs { .. } | Self::Damaged { .. } | Self::Older { .. } | Self::Forked { .. }
        )
    }

    /// What the operator can do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Exists { .. } => "choose a directory that is not there yet, or is empty",
            Self::File { .. } | Self::Store(_) => {
                "check the path, who may use it, and whether there is space"
            }
            Self::Manifest { .. } => "give the directory that `serve backup` made",
            Self::Differs { .. } | Self::Damaged { .. } => "use another copy of the backup",
            Self::NoKey { .. } => "give --keys DIR with the keys of the data directory",
            Self::OtherCheckpoint => "give a checkpoint of the log that is restored",
            Self::Older { .. } => {
                "use a newer backup. Going on from this one would put other entries in the places of \
                 those that were shown, which monitors and witnesses report as a fork; if there is none, \
                 start a new log with a new key"
            }
            Self::Forked { .. } => "use a backup of the log that showed the checkpoint",
            Self::Start(error) => error.hint(),
        }
    }
}

/// Backs up the instance in `data_dir`, which may be running, into the directory `to`, which is not
/// there yet. Either all of it is there afterwards, or nothing.
///
/// Private keys are left out unless `with_keys`, and so is what is meant to be kept offline.
///
/// # Errors
/// [`BackupError`].
pub fn backup(data_dir: &Path, to: &Path, with_keys: bool) -> Result<BackupReport, BackupError> {
    if !has_keys(data_dir) {
        return Err(StartError::NotInitialised { dir: data_dir.to_owned() }.into());
    }
    if to.exists() {
        return Err(BackupError::Exists { path: to.to_owned() });
    }
    let building = temporary_beside(to)?;
    let data = building.path().join(DATA);
    std::fs::create_dir(&data).map_err(|error| BackupError::file(&data, error))?;
    // First: whatever is copied later is as new as the log, or newer.
    let log = snapshot(data_dir, &data)?;
    let left_out = copy_others(data_dir, &data, with_keys)?;
    let files = files::digests(&data)?;
    let manifest = Manifest {
        format: manifest::FORMAT,
        origin: log.origin,
        made: now(),
        entries: log.size,
        checkpoint: String::from_utf8_lossy(&log.checkpoint).into_owned(),
        left_out: left_out.clone(),
        files,
    };
    let manifest_sha256 = manifest.write(building.path())?;
    put_in_place(building, to)?;
    Ok(BackupReport {
        entries: manifest.entries,
        files: manifest.files.len(),
        bytes: manifest.files.values().map(|file: &FileEntry| file.size).sum(),
        manifest_sha256,
        left_out,
    })
}
