//! The database: schema and queries. All of them run in the caller's transaction, if there is one.

use std::ops::Range;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, params};
use sealwright_tlog::merkle::stored_hash_count;
use sealwright_tlog::{Hash, HashReader, stored_hashes_for_leaf};

use crate::error::{Corruption, StoreError};
use crate::store::{NewEntry, StatementRecord, StoredStatement};

const SCHEMA_VERSION: i64 = 1;

const SCHEMA: &str = "
    -- One row: which log this is, and its latest checkpoint. The checkpoint may be newer than the
    -- one in `checkpoints` for the same size, since a log without news signs again to stay fresh.
    CREATE TABLE log (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        origin TEXT NOT NULL,
        verifier_key TEXT NOT NULL,
        checkpoint BLOB NOT NULL
    ) STRICT;

    -- What is logged. `leaf` is SHA-256(0x00 || body).
    CREATE TABLE entries (
        idx INTEGER PRIMARY KEY,
        leaf BLOB NOT NULL UNIQUE CHECK (length(leaf) = 32),
        body BLOB NOT NULL
    ) STRICT;

    -- The hashes of all complete subtrees, in append order.
    CREATE TABLE hashes (
        position INTEGER PRIMARY KEY,
        hash BLOB NOT NULL CHECK (length(hash) = 32)
    ) STRICT;

    -- The first checkpoint of each tree size that was signed.
    CREATE TABLE checkpoints (
        size INTEGER PRIMARY KEY,
        note BLOB NOT NULL
    ) STRICT;

    -- The statement an entry stands for.
    CREATE TABLE statements (
        idx INTEGER PRIMARY KEY REFERENCES entries (idx),
        envelope_sha256 TEXT NOT NULL,
        predicate_type TEXT NOT NULL,
        bundle BLOB NOT NULL,
        public_key_pem TEXT NOT NULL
    ) STRICT;

    CREATE INDEX statements_by_type ON statements (predicate_type, idx);

    -- What the statements are about, by SHA-256 in hex.
    CREATE TABLE subjects (
        sha256 TEXT NOT NULL,
        idx INTEGER NOT NULL REFERENCES statements (idx),
        PRIMARY KEY (sha256, idx)
    ) STRICT, WITHOUT ROWID;
";

/// The one row of the table `log`.
pub(crate) struct LogRow {
    pub(crate) origin: String,
    pub(crate) verifier_key: String,
    pub(crate) checkpoint: Vec<u8>,
}

/// Opens the database; creates file and schema if need be.
pub(crate) fn open(path: &Path) -> Result<Connection, StoreError> {
    // Without the URI flag, since a directory may be called "file:".
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(path, flags)?;
    let mode: String = db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(Corruption::NotWal.into());
    }
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "foreign_keys", "ON")?;
    db.pragma_update(None, "trusted_schema", "OFF")?;
    // The lock keeps other stores out; this is for someone who reads or backs up with a tool.
    db.busy_timeout(std::time::Duration::from_secs(10))?;
    match db.pragma_query_value(None, "user_version", |row| row.get(0))? {
        0 => create_schema(&mut db)?,
        SCHEMA_VERSION => {}
        found => return Err(StoreError::SchemaVersion { found, supported: SCHEMA_VERSION }),
    }
    Ok(db)
}

fn create_schema(db: &mut Connection) -> Result<(), StoreError> {
    let tx = db.transaction()?;
    tx.execute_batch(SCHEMA)?;
    tx.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    Ok(tx.commit()?)
}

/// Which log this is; `None` before its first checkpoint.
pub(crate) fn log_row(db: &Connection) -> Result<Option<LogRow>, StoreError> {
    Ok(db
        .prepare_cached("SELECT origin, verifier_key, checkpoint FROM log")?
        .query_row([], |row| {
            Ok(LogRow { origin: row.get(0)?, verifier_key: row.get(1)?, checkpoint: row.get(2)? })
        })
        .optional()?)
}

/// Writes the first checkpoint of a new log.
pub(crate) fn insert_log(db: &Connection, row: &LogRow) -> Result<(), StoreError> {
    db.execute(
        "INSERT INTO log (id, origin, verifier_key, checkpoint) VALUES (1, ?1, ?2, ?3)",
        params![row.origin, row.verifier_key, row.checkpoint],
    )?;
    Ok(())
}

/// Makes a signed note the log's latest checkpoint.
pub(crate) fn set_checkpoint(db: &Connection, note: &[u8]) -> Result<(), StoreError> {
    match db.execute("UPDATE log SET checkpoint = ?1", params![note])? {
        1 => Ok(()),
        _ => Err(Corruption::MissingRow.into()),
    }
}

/// Keeps a signed note as the first one of its tree size.
pub(crate) fn insert_checkpoint(db: &Connection, size: u64, note: &[u8]) -> Result<(), StoreError> {
    db.execute("INSERT INTO checkpoints (size, note) VALUES (?1, ?2)", params![size, note])?;
    Ok(())
}

/// The first checkpoint that has the entry with this index in it.
pub(crate) fn first_checkpoint_with(db: &Connection, index: u64) -> Result<Vec<u8>, StoreError> {
    db.prepare_cached("SELECT note FROM checkpoints WHERE size > ?1 ORDER BY size LIMIT 1")?
        .query_row(params![index], |row| row.get(0))
        .optional()?
        .ok_or(Corruption::MissingRow.into())
}

/// The first checkpoint of every size that was signed, by size.
pub(crate) fn checkpoints(db: &Connection) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
    let mut query = db.prepare_cached("SELECT size, note FROM checkpoints ORDER BY size")?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How many entries there are; an error if their indexes are not 0, 1, 2, ...
pub(crate) fn entry_count(db: &Connection) -> Result<u64, StoreError> {
    let (count, next): (u64, u64) =
        db.query_row("SELECT count(*), coalesce(max(idx) + 1, 0) FROM entries", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    if count == next { Ok(count) } else { Err(Corruption::EntryCount.into()) }
}

/// The index of the entry with this leaf hash.
pub(crate) fn index_of(db: &Connection, leaf: &Hash) -> Result<Option<u64>, StoreError> {
    Ok(db
        .prepare_cached("SELECT idx FROM entries WHERE leaf = ?1")?
        .query_row(params![leaf.as_bytes()], |row| row.get(0))
        .optional()?)
}

/// The body of the entry with this index.
pub(crate) fn body(db: &Connection, index: u64) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(db
        .prepare_cached("SELECT body FROM entries WHERE idx = ?1")?
        .query_row(params![index], |row| row.get(0))
        .optional()?)
}

/// The bodies of the entries from `first` on, at most `count`.
pub(crate) fn bodies(db: &Connection, first: u64, count: u16) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut query =
        db.prepare_cached("SELECT body FROM entries WHERE idx >= ?1 ORDER BY idx LIMIT ?2")?;
    let rows = query.query_map(params![first, count], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Adds an entry: its body, the hashes it completes, its statement if it comes with one.
pub(crate) fn insert_entry(
    db: &Connection,
    index: u64,
    leaf: Hash,
    entry: &NewEntry,
) -> Result<(), StoreError> {
    db.prepare_cached("INSERT INTO entries (idx, leaf, body) VALUES (?1, ?2, ?3)")?
        .execute(params![index, leaf.as_bytes(), entry.body])?;
    let hashes = stored_hashes_for_leaf(index, leaf, &StoredHashes(db))?;
    for (position, hash) in (stored_hash_count(index)..).zip(hashes) {
        db.prepare_cached("INSERT INTO hashes (position, hash) VALUES (?1, ?2)")?
            .execute(params![position, hash.as_bytes()])?;
    }
    match &entry.statement {
        Some(statement) => insert_statement(db, index, statement),
        None => Ok(()),
    }
}

/// Adds the statement that an entry stands for.
pub(crate) fn insert_statement(
    db: &Connection,
    index: u64,
    statement: &StatementRecord,
) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT INTO statements (idx, envelope_sha256, predicate_type, bundle, public_key_pem)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        index,
        statement.envelope_sha256,
        statement.predicate_type,
        statement.bundle,
        statement.public_key_pem
    ])?;
    for subject in &statement.subjects {
        // A statement may name a subject twice.
        db.prepare_cached("INSERT OR IGNORE INTO subjects (sha256, idx) VALUES (?1, ?2)")?
            .execute(params![subject, index])?;
    }
    Ok(())
}

/// Indexes of the statements about a subject: at most `limit` of those in `range`, in log order.
pub(crate) fn indexes_about(
    db: &Connection,
    subject: &str,
    range: Range<u64>,
    limit: u32,
) -> Result<Vec<u64>, StoreError> {
    let mut query = db.prepare_cached(
        "SELECT idx FROM subjects WHERE sha256 = ?1 AND idx >= ?2 AND idx < ?3
         ORDER BY idx LIMIT ?4",
    )?;
    let rows =
        query.query_map(params![subject, range.start, range.end, limit], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The same for the statements of a predicate type.
pub(crate) fn indexes_of_type(
    db: &Connection,
    predicate_type: &str,
    range: Range<u64>,
    limit: u32,
) -> Result<Vec<u64>, StoreError> {
    let mut query = db.prepare_cached(
        "SELECT idx FROM statements WHERE predicate_type = ?1 AND idx >= ?2 AND idx < ?3
         ORDER BY idx LIMIT ?4",
    )?;
    let parameters = params![predicate_type, range.start, range.end, limit];
    let rows = query.query_map(parameters, |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The statement that the entry with this index stands for.
pub(crate) fn statement_at(
    db: &Connection,
    index: u64,
) -> Result<Option<StoredStatement>, StoreError> {
    Ok(db
        .prepare_cached(
            "SELECT idx, envelope_sha256, predicate_type, bundle, public_key_pem
             FROM statements WHERE idx = ?1",
        )?
        .query_row(params![index], statement)
        .optional()?)
}

fn statement(row: &Row<'_>) -> rusqlite::Result<StoredStatement> {
    Ok(StoredStatement {
        index: row.get(0)?,
        envelope_sha256: row.get(1)?,
        predicate_type: row.get(2)?,
        bundle: row.get(3)?,
        public_key_pem: row.get(4)?,
    })
}

/// The stored hashes, for the mathematics of the log.
pub(crate) struct StoredHashes<'a>(pub(crate) &'a Connection);

impl HashReader for StoredHashes<'_> {
    type Error = StoreError;

    fn read_hash(&self, position: u64) -> Result<Hash, StoreError> {
        self.0
            .prepare_cached("SELECT hash FROM hashes WHERE position = ?1")?
            .query_row(params![position], |row| row.get(0))
            .optional()?
            .map(Hash)
            .ok_or(Corruption::MissingRow.into())
    }
}
