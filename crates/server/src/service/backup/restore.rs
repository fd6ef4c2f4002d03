//! Putting a backup into the place of a data directory, after it was checked from end to end.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use sealwright_attest::TrustedRoot;
use sealwright_tlog::{Checkpoint, VerifierKey, verify_checkpoint};

use super::files::{digest, put_in_place, temporary_beside, write};
use super::manifest::Manifest;
use super::{BackupError, DATA};
use crate::service::audit;
use crate::service::check::{InstanceReport, check};
use crate::service::data::{self, TRUSTED_ROOT_FILE};
use crate::service::{Config, StartError};
use crate::state::now;

/// What to restore, and what it must not be behind.
#[derive(Debug, Clone, Copy)]
pub struct RestoreOptions<'a> {
    /// The directory that [`super::backup`] made.
    pub from: &'a Path,
    /// The data directory: not there yet, or empty.
    pub data_dir: &'a Path,
    /// Where the private keys are that the backup was made without, under the paths that they have in a
    /// data directory.
    pub keys: Option<&'a Path>,
    /// Checkpoints that the log has shown, signed notes. Without any, nobody can tell whether the backup
    /// is the newest.
    pub newest: &'a [Vec<u8>],
}

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Name of the log.
    pub origin: String,
    /// When the backup was made, in seconds since 1970.
    pub made: u64,
    /// What the check of it found: no problems.
    pub report: InstanceReport,
}

/// Restores a backup. Everything is checked before the data directory is there: digests of the files,
/// every hash, checkpoint, tile and signature of the instance, and that it is not behind the
/// checkpoints that are given.
///
/// # Errors
/// [`BackupError`]; then the data directory is as it was.
pub fn restore(options: &RestoreOptions<'_>) -> Result<Restored, BackupError> {
    let RestoreOptions { from, data_dir, keys, newest } = *options;
    let is_free = match fs::read_dir(data_dir) {
        Ok(mut entries) => entries.next().is_none(),
        Err(_) => !data_dir.exists(),
    };
    if !is_free {
        return Err(BackupError::Exists { path: data_dir.to_owned() });
    }
    let manifest = Manifest::read(from)?;
    let building = temporary_beside(data_dir)?;
    copy(&manifest, from, keys, building.path())?;
    let trusted_root = building.path().join(TRUSTED_ROOT_FILE);
    let bad = || StartError::TrustedRoot { path: trusted_root.clone() };
    let text = fs::read(&trusted_root).map_err(|error| BackupError::file(&trusted_root, error))?;
    let root = TrustedRoot::parse(&text).map_err(|_| bad())?;
    let key = root.logs().first().ok_or_else(bad)?.key.clone();
    let config = Config { origin: key.name().to_owned(), ..Config::new(building.path()) };
    // Makes tiles that were not published yet.
    drop(data::open_log(&config, now())?);
    let report = check(building.path(), None)?;
    if !report.problems.is_empty() {
        return Err(BackupError::Damaged { problems: report.problems });
    }
    is_not_behind(&config, &key, newest)?;
    // The next start writes it into the log. This does not: the log may go on elsewhere, and what is
    // restored be meant for a trial.
    audit::note_restored(building.path(), manifest.made, report.store.entries)?;
    put_in_place(building, data_dir)?;
    Ok(Restored { origin: manifest.origin, made: manifest.made, report })
}

fn copy(
    manifest: &Manifest,
    from: &Path,
    keys: Option<&Path>,
    to: &Path,
) -> Result<(), BackupError> {
    for (path, expected) in &manifest.files {
        let (source, into) = (from.join(DATA).join(path), to.join(path));
        let differs = || BackupError::Differs { path: source.clone() };
        let parent = into.parent().unwrap_or(to);
        fs::create_dir_all(parent).map_err(|error| BackupError::file(parent, error))?;
        fs::copy(&source, &into).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => differs(),
            _ => BackupError::file(&source, error),
        })?;
        let mode = fs::Permissions::from_mode(expected.mode & 0o777);
        fs::set_permissions(&into, mode).map_err(|error| BackupError::file(&into, error))?;
        // Of what was written: what was read first may have been something else.
        if digest(&into)? != *expected {
            return Err(differs());
        }
    }
    for path in &manifest.left_out {
        let no_key = || BackupError::NoKey { key: path.clone() };
        let source = keys.ok_or_else(no_key)?.join(path);
        let content = fs::read(&source).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => no_key(),
            _ => BackupError::file(&source, error),
        })?;
        write(&to.join(path), &zeroize::Zeroizing::new(content), 0o600)?;
    }
    Ok(())
}

/// Whether the log continues every checkpoint in `newest`.
fn is_not_behind(
    config: &Config,
    key: &VerifierKey,
    newest: &[Vec<u8>],
) -> Result<(), BackupError> {
    let store = data::open_as_it_is(config, now())?;
    let own = store.checkpoint().checkpoint();
    for note in newest {
        let shown = verify_checkpoint(note, key).map_err(|_| BackupError::OtherCheckpoint)?;
        let Checkpoint { size: shown, root, .. } = shown.checkpoint();
        if *shown > own.size {
            return Err(BackupError::Older { entries: own.size, shown: *shown });
        }
        let proof = store.consistency(*shown)?;
        proof.verify(root, &own.root).map_err(|_| BackupError::Forked { shown: *shown })?;
    }
    Ok(())
}
