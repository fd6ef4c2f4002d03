//! The decisions file: one JSON object per line, on disk before the answer is given.
//!
//! The file is opened for appending, and every record is one `write` followed by `fdatasync`. A
//! crash or a full disk can leave the beginning of a record at the end of the file; the next
//! record then starts on a line of its own. Readers skip a line that is not JSON: its decision
//! was never answered.
//!
//! A record carries what the policy was asked. If that is large, it is in a file of its own, named by
//! its SHA-256, in a directory beside the decisions file; it is there before the record is.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sealwright_manifest::Sha256;
use serde::Serialize;

use crate::durable;

/// The largest policy input in a record, in bytes of JSON.
pub(crate) const MAX_INLINE_INPUT: usize = 256 << 10;

/// An open decisions file.
#[derive(Debug)]
pub(crate) struct DecisionLog {
    path: PathBuf,
    /// Held while one record is appended, so that records do not mix.
    file: Mutex<File>,
    /// How much of it is on disk for certain: what comes after may be a decision that was answered with
    /// a no, because its record could not be written.
    durable: Arc<AtomicU64>,
}

/// Where a policy input of a decisions file is that is too large for its record.
#[must_use]
pub fn input_file(decisions: &Path, digest: &Sha256) -> PathBuf {
    input_dir(decisions).join(format!("{digest}.json"))
}

fn input_dir(decisions: &Path) -> PathBuf {
    durable::beside(decisions, ".inputs")
}

impl DecisionLog {
    /// Opens the file for appending; creates it, readable by its owner only, if it is not there.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file =
            OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        // The name must survive a crash, too.
        File::open(durable::parent(path))?.sync_all()?;
        file.sync_all()?;
        let durable = Arc::new(file.metadata()?.len().into());
        Ok(Self { path: path.to_owned(), file: Mutex::new(file), durable })
    }

    /// How many bytes of the file may be acted upon. It grows.
    pub(crate) fn durable(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.durable)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps a policy input beside the file. When this returns, it is on disk.
    pub(crate) fn keep_input(&self, digest: &Sha256, json: &[u8]) -> io::Result<()> {
        let dir = input_dir(&self.path);
        match DirBuilder::new().mode(0o700).create(&dir) {
            Ok(()) => File::open(durable::parent(&dir))?.sync_all()?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        durable::replace(&input_file(&self.path, digest), json, 0o600)
    }

    /// Appends one record. When this returns, the record is on disk; or it is an error, and the record
    /// is taken back if that is possible.
    pub(crate) fn append<R: Serialize>(&self, record: &R) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        // A panic elsewhere leaves at worst a torn line, which the next append expects.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if !ends_with_newline(&file)? {
            line.insert(0, b'\n');
        }
        let before = file.metadata()?.len();
        let written = write_once(&mut file, &line).and_then(|()| file.sync_data());
        if let Err(error) = written {
            let most = before.saturating_add(line.len() as u64);
            if let Err(error) = take_back(&file, before, most) {
                tracing::error!(
                    %error, offset = before,
                    "the decisions file may keep a record of a decision that was answered with a no"
                );
            }
            return Err(error);
        }
        self.durable.fetch_max(file.metadata()?.len(), Ordering::Release);
        Ok(())
    }
}

/// Cuts the file to `length`, unless somebody else has appended to it: it has more than `most` bytes.
fn take_back(file: &File, length: u64, most: u64) -> io::Result<()> {
    if file.metadata()?.len() > most {
        return Err(io::Error::other("another process appends to it"));
    }
    file.set_len(length)?;
    file.sync_data()
}

fn ends_with_newline(file: &File) -> io::Result<bool> {
    let Some(last) = file.metadata()?.len().checked_sub(1) else { return Ok(true) };
    let mut byte = [0];
    file.read_exact_at(&mut byte, last)?;
    Ok(byte == *b"\n")
}

/// One `write`, so that another process that appends to the same file cannot come in between.
fn write_once(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    loop {
        match file.write(bytes) {
            Ok(written) if written == bytes.len() => return Ok(()),
            Ok(_) => return Err(io::Error::new(io::ErrorKind::StorageFull, "record cut short")),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_line_stays_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("decisions.jsonl");
        let log = DecisionLog::open(&path).unwrap();
        log.append(&1).unwrap();
        std::fs::write(&path, "1\n{\"id\":\"ab").unwrap();
        // The open file notices, and so does one that is opened after a restart.
        log.append(&2).unwrap();
        DecisionLog::open(&path).unwrap().append(&3).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n{\"id\":\"ab\n2\n3\n");
    }

    #[test]
    fn what_cannot_be_written_is_an_error() {
        assert!(DecisionLog::open(Path::new("/nowhere/decisions.jsonl")).is_err());
        assert!(DecisionLog::open(Path::new("/dev/full")).is_err());
        let full = OpenOptions::new().read(true).append(true).open("/dev/full").unwrap();
        let durable = Arc::default();
        let log = DecisionLog { path: "/dev/full".into(), file: Mutex::new(full), durable };
        assert!(log.append(&1).is_err());
        assert_eq!(log.durable.load(Ordering::Acquire), 0);
    }

    #[test]
    fn what_was_not_synced_is_taken_back_but_not_what_others_wrote() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("decisions.jsonl");
        let log = DecisionLog::open(&path).unwrap();
        log.append(&1).unwrap();
        assert_eq!(log.durable.load(Ordering::Acquire), 2);
        std::fs::write(&path, "1\n{\"id\":1").unwrap();
        let file = log.file.lock().unwrap();
        assert!(take_back(&file, 2, 8).is_err());
        take_back(&file, 2, 9).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n");
    }
}
