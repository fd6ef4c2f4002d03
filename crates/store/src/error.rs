//! What can go wrong in the store.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use rustix::io::Errno;
use sealwright_tlog::CheckpointError;

/// Why the store refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process, or another store of this one, has the directory open.
    #[error("the store in {} is in use by another process", dir.display())]
    Locked {
        /// The store's directory.
        dir: PathBuf,
    },
    /// The store is of another log.
    #[error("the store belongs to log {stored:?}, not {given:?}")]
    WrongOrigin {
        /// Origin of the stored log.
        stored: String,
        /// Origin asked for.
        given: String,
    },
    /// The log was signed with another key so far. A log keeps its key.
    #[error("the log is signed by {stored}, not {given}")]
    WrongKey {
        /// vkey of the stored log.
        stored: String,
        /// vkey of the key given.
        given: String,
    },
    /// The database was written by another version of this program.
    #[error("the database has schema version {found}; this program knows {supported}")]
    SchemaVersion {
        /// Version in the database.
        found: i64,
        /// Version this program writes.
        supported: i64,
    },
    /// The time given is before the last one that was signed: the clock was set back.
    #[error("the clock says {now}, but the log has signed {last_signed} already")]
    ClockBehind {
        /// The time given, in seconds since 1970.
        now: u64,
        /// The time of the last checkpoint, in seconds since 1970.
        last_signed: u64,
    },
    /// More was published than the database knows. It was restored from an old copy.
    #[error(
        "the published checkpoint (size {published_size}, time {published_at}) is ahead of the \
         database (size {stored_size}, time {stored_at})"
    )]
    RolledBack {
        /// Tree size of the published checkpoint.
        published_size: u64,
        /// Time of the published checkpoint, in seconds since 1970.
        published_at: u64,
        /// Tree size in the database.
        stored_size: u64,
        /// Time in the database, in seconds since 1970.
        stored_at: u64,
    },
    /// A file that may never change has other content than it should.
    #[error("{path} exists with other content")]
    ImmutableDiffers {
        /// Path under the store's directory.
        path: String,
    },
    /// The stored data contradicts itself.
    #[error("the store is corrupt: {what}")]
    Corrupt {
        /// What does not fit.
        what: Corruption,
    },
    /// A stored or published checkpoint does not verify, or one cannot be signed.
    #[error("the log's checkpoint is refused")]
    Checkpoint(#[from] CheckpointError),
    /// An entry is longer than an entry bundle can hold. Nothing was written.
    #[error("entry {position} of the batch has {len} bytes; at most 65535 fit")]
    EntryTooLong {
        /// Place of the entry in the batch, from 0.
        position: usize,
        /// Its length in bytes.
        len: usize,
    },
    /// A digest is not SHA-256 in 64 lower-case hex digits. Nothing was written.
    #[error("entry {position} of the batch has a malformed digest {digest:?}")]
    MalformedDigest {
        /// Place of the entry in the batch, from 0.
        position: usize,
        /// The digest.
        digest: String,
    },
    /// A type, signer, project or class has more than [`crate::MAX_TEXT`] bytes. Nothing was written.
    #[error("entry {position} of the batch has a text of {len} bytes; at most 1024 fit")]
    TextTooLong {
        /// Place of the entry in the batch, from 0.
        position: usize,
        /// The text's length in bytes.
        len: usize,
    },
    /// A tree larger than the log was asked for.
    #[error("the log has {size} entries, not {asked}")]
    NoSuchSize {
        /// The size asked for.
        asked: u64,
        /// Entries of the log.
        size: u64,
    },
    /// There is no log, and none may be started.
    #[error("there is no log")]
    NoLog,
    /// The log went on elsewhere. Going on here would make a second history.
    #[error("the log was moved to {to}")]
    Moved {
        /// Where it went on.
        to: String,
    },
    /// A log was to be moved to where there is one.
    #[error("{what} holds a log already")]
    NotEmpty {
        /// Database or bucket.
        what: &'static str,
    },
    /// The right to append was lost while it was used: the connection to the database broke, or
    /// somebody else has taken over. What was being appended may be in the log; appending it again is
    /// safe.
    #[error("the right to append to the log was lost")]
    LeaseLost,
    /// Somebody else has held the right to append for too long. Nothing was written.
    #[error("another front end has been appending for too long")]
    LeaseBusy,
    /// A statement was erased, and somebody who reads the database keeps the copy in its write-ahead
    /// log from being overwritten. Try again.
    #[error("somebody reads the database; what was erased is still in its write-ahead log")]
    EraseBusy,
    /// The disk refuses writes. What the store knew before is unchanged, and trying again later
    /// is safe.
    #[error("cannot write: {fault}")]
    Unwritable {
        /// What is wrong with the disk.
        fault: WriteFault,
        /// The error as it was reported.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Any other trouble with a file.
    #[error("cannot use {}", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// The error as it was reported.
        source: io::Error,
    },
    /// Any other trouble with the database.
    #[error("the database failed")]
    Database(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Database or bucket cannot be reached, or do not answer in time.
    #[error("cannot reach {what}")]
    Unreachable {
        /// Which of the two.
        what: &'static str,
        /// The error as it was reported.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Database or bucket cannot be used as they are, or as they are given.
    #[error("{what} cannot be used: {problem}")]
    Place {
        /// Which of the two, or of their URLs.
        what: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// This program was built without PostgreSQL and S3.
    #[error("this program was built without PostgreSQL and S3")]
    NotBuilt,
}

/// Why a disk refuses writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteFault {
    /// No space is left, or a quota is used up.
    #[error("no space is left")]
    Full,
    /// The file system or the database is read-only.
    #[error("read-only")]
    ReadOnly,
    /// The device reports an error.
    #[error("the device reports an error")]
    Device,
}

/// What does not fit together in a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Corruption {
    /// The checkpoint speaks of another number of entries than there are.
    #[error("the number of entries is not the checkpoint's tree size")]
    EntryCount,
    /// The stored hashes lead to another root than the checkpoint's.
    #[error("the stored hashes do not lead to the checkpoint's root")]
    Root,
    /// The published checkpoint is not of a prefix of the stored tree.
    #[error("the published checkpoint contradicts the stored tree")]
    PublishedRoot,
    /// A checkpoint has no log-signed time.
    #[error("a checkpoint has no time")]
    NoTime,
    /// Something the store wrote is not there.
    #[error("a row is missing")]
    MissingRow,
    /// The stored hashes do not prove a stored entry.
    #[error("the stored hashes do not prove an entry")]
    EntryProof,
    /// What was read back of a copy is not what was written.
    #[error("the copy is not complete")]
    Copy,
    /// A stored value is not of the form in which it was written.
    #[error("a value is malformed")]
    Value,
    /// A stored entry is longer than an entry can be.
    #[error("an entry is too long")]
    EntryLength,
    /// SQLite cannot keep a write-ahead log here.
    #[error("the database does not run in WAL mode")]
    NotWal,
}

impl From<Corruption> for StoreError {
    fn from(what: Corruption) -> Self {
        Self::Corrupt { what }
    }
}

/// SQLite could not make room for the index of its write-ahead log, and says no more than that.
const NO_ROOM_FOR_WAL_INDEX: i32 = rusqlite::ffi::SQLITE_IOERR_SHMSIZE;

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let extended = error.sqlite_error().map(|error| error.extended_code);
        let fault = match error.sqlite_error_code() {
            Some(_) if extended == Some(NO_ROOM_FOR_WAL_INDEX) => WriteFault::Full,
            Some(ErrorCode::DiskFull) => WriteFault::Full,
            Some(ErrorCode::ReadOnly) => WriteFault::ReadOnly,
            Some(ErrorCode::SystemIoFailure) => WriteFault::Device,
            _ => return Self::Database(Box::new(error)),
        };
        Self::Unwritable { fault, source: Box::new(error) }
    }
}

impl StoreError {
    /// Sorts an error of the file system.
    pub(crate) fn file(path: &Path, error: io::Error) -> Self {
        let fault = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => WriteFault::Full,
            io::ErrorKind::ReadOnlyFilesystem => WriteFault::ReadOnly,
            _ if Errno::from_io_error(&error) == Some(Errno::IO) => WriteFault::Device,
            _ => return Self::File { path: path.to_owned(), source: error },
        };
        Self::Unwritable { fault, source: Box::new(error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(error: &StoreError) -> Option<WriteFault> {
        match error {
            StoreError::Unwritable { fault, .. } => Some(*fault),
            _ => None,
        }
    }

    #[test]
    fn errors_of_the_file_system_are_sorted() {
        for (errno, expected) in [
            (Errno::NOSPC, Some(WriteFault::Full)),
            (Errno::DQUOT, Some(WriteFault::Full)),
            (Errno::ROFS, Some(WriteFault::ReadOnly)),
            (Errno::IO, Some(WriteFault::Device)),
            (Errno::ACCESS, None),
            (Errno::NOENT, None),
        ] {
            assert_eq!(fault(&StoreError::file(Path::new("x"), errno.into())), expected, "{errno}");
        }
    }

    #[test]
    fn errors_of_sqlite_are_sorted() {
        use rusqlite::ffi;
        for (code, expected) in [
            (ffi::SQLITE_FULL, Some(WriteFault::Full)),
            (ffi::SQLITE_READONLY, Some(WriteFault::ReadOnly)),
            (ffi::SQLITE_READONLY_DBMOVED, Some(WriteFault::ReadOnly)),
            (ffi::SQLITE_IOERR, Some(WriteFault::Device)),
            (ffi::SQLITE_IOERR_FSYNC, Some(WriteFault::Device)),
            (ffi::SQLITE_IOERR_SHMSIZE, Some(WriteFault::Full)),
            (ffi::SQLITE_CORRUPT, None),
            (ffi::SQLITE_BUSY, None),
        ] {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            assert_eq!(fault(&error.into()), expected, "{code}");
        }
    }
}
