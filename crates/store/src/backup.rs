//! A copy of a log at one moment, taken while another process appends to it.

use std::fs;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};
use sealwright_tlog::tile::tiles_for_growth;
use sealwright_tlog::{VerifierKey, verify_checkpoint};

use crate::error::{Corruption, StoreError};
use crate::files::CHECKPOINT;
use crate::store::DATABASE;

/// What [`snapshot`] copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Name of the log.
    pub origin: String,
    /// Entries of the log at that moment.
    pub size: u64,
    /// Its checkpoint, a signed note.
    pub checkpoint: Vec<u8>,
}

/// Copies the log in `dir` as it is at one moment into the directory `to`, which has no log yet. The
/// log may be in use meanwhile; what is appended later is not in the copy.
///
/// Nothing is synced to disk: that is the caller's, when all of a backup is there. Tiles that are not
/// published yet are not copied; [`crate::Store::open`] makes them from the database.
///
/// # Errors
/// [`StoreError::File`], [`StoreError::Corrupt`] if there is no log, and whatever the database says.
pub fn snapshot(dir: &Path, to: &Path) -> Result<Snapshot, StoreError> {
    let (source, copy) = (dir.join(DATABASE), to.join(DATABASE));
    if !source.exists() {
        return Err(Corruption::MissingRow.into());
    }
    // SQLite copies into no file that has something in it.
    if copy.exists() {
        let there = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
        return Err(StoreError::file(&copy, there));
    }
    let name = copy.to_str().ok_or_else(|| {
        let problem = std::io::Error::new(std::io::ErrorKind::InvalidInput, "not UTF-8");
        StoreError::file(&copy, problem)
    })?;
    // One statement reads in one transaction, so this is one moment; and it leaves out free pages,
    // where erased statements may have been.
    open(&source)?.execute("VACUUM INTO ?1", params![name])?;
    let db = open(&copy)?;
    let row: Option<(String, String, Vec<u8>)> = db
        .query_row("SELECT origin, verifier_key, checkpoint FROM log", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    let (origin, key, note) = row.ok_or(Corruption::MissingRow)?;
    drop(db);
    let key = VerifierKey::parse(&key).map_err(|_| Corruption::MissingRow)?;
    let checkpoint = verify_checkpoint(&note, &key)?;
    let size = checkpoint.checkpoint().size;
    for tile in tiles_for_growth(0, size) {
        let (from, into) = (dir.join(tile.path()), to.join(tile.path()));
        let failed = |error| StoreError::file(&into, error);
        match fs::read(&from) {
            Ok(content) => {
                fs::create_dir_all(into.parent().unwrap_or(to)).map_err(failed)?;
                fs::write(&into, content).map_err(failed)?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::file(&from, error)),
        }
    }
    let into = to.join(CHECKPOINT);
    fs::write(&into, &note).map_err(|error| StoreError::file(&into, error))?;
    Ok(Snapshot { origin, size, checkpoint: note })
}

/// Opens a database that is there, without changing what is in it.
fn open(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(std::time::Duration::from_secs(10))?;
    Ok(db)
}
