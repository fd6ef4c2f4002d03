//! The database: queries. All of them run in the caller's transaction, if there is one.

use std::ops::Range;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, ToSql, params};
use sealwright_tlog::merkle::stored_hash_count;
use sealwright_tlog::{Hash, HashReader, VerifierKey, stored_hashes_for_leaf};

use crate::error::{Corruption, StoreError};
use crate::schema;
use crate::statements::{Filter, Payload, StatementRecord, StoredStatement};
use crate::store::NewEntry;

/// The one row of the table `log`.
pub(crate) struct LogRow {
    pub(crate) origin: String,
    pub(crate) verifier_key: String,
    pub(crate) checkpoint: Vec<u8>,
}

/// Opens the database; creates file and schema if need be.
pub(crate) fn open(path: &Path, verifier: &VerifierKey) -> Result<Connection, StoreError> {
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
    // What is erased is overwritten.
    db.pragma_update(None, "secure_delete", "ON")?;
    // The lock keeps other stores out; this is for someone who reads or backs up with a tool.
    db.busy_timeout(std::time::Duration::from_secs(10))?;
    schema::prepare(&mut db, verifier)?;
    Ok(db)
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
pub(crate) fn insert_checkpoint(
    db: &Connection,
    size: u64,
    note: &[u8],
    signed_at: u64,
) -> Result<(), StoreError> {
    db.execute(
        "INSERT INTO checkpoints (size, note, signed_at) VALUES (?1, ?2, ?3)",
        params![size, note, signed_at],
    )?;
    Ok(())
}

/// The size of the last tree that was signed before `time` (seconds since 1970), or 0.
pub(crate) fn size_before(db: &Connection, time: u64) -> Result<u64, StoreError> {
    let time = i64::try_from(time).unwrap_or(i64::MAX);
    Ok(db
        .prepare_cached(
            "SELECT size FROM checkpoints WHERE signed_at < ?1
             ORDER BY signed_at DESC, size DESC LIMIT 1",
        )?
        .query_row(params![time], |row| row.get(0))
        .optional()?
        .unwrap_or(0))
}

/// The first checkpoint that has the entry with this index in it.
pub(crate) fn first_checkpoint_with(db: &Connection, index: u64) -> Result<Vec<u8>, StoreError> {
    db.prepare_cached("SELECT note FROM checkpoints WHERE size > ?1 ORDER BY size LIMIT 1")?
        .query_row(params![index], |row| row.get(0))
        .optional()?
        .ok_or(Corruption::MissingRow.into())
}

/// The first checkpoint of every size that was signed, by size, with its time as it is listed.
pub(crate) fn checkpoints(db: &Connection) -> Result<Vec<(u64, Vec<u8>, u64)>, StoreError> {
    let mut query =
        db.prepare_cached("SELECT size, note, signed_at FROM checkpoints ORDER BY size")?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
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
        "INSERT INTO statements
             (idx, envelope_sha256, predicate_type, bundle, public_key_pem, project, retention)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        index,
        statement.envelope_sha256,
        statement.predicate_type,
        statement.bundle,
        statement.public_key_pem,
        statement.project,
        statement.retention,
    ])?;
    for subject in &statement.subjects {
        // A statement may name a subject twice.
        db.prepare_cached("INSERT OR IGNORE INTO subjects (sha256, idx) VALUES (?1, ?2)")?
            .execute(params![subject, index])?;
    }
    for signer in &statement.signers {
        db.prepare_cached("INSERT OR IGNORE INTO signers (signer, idx) VALUES (?1, ?2)")?
            .execute(params![signer, index])?;
    }
    Ok(())
}

/// Indexes of the statements in `range` that the filter lets through (its own range aside), in log
/// order, at most `limit`.
pub(crate) fn find(
    db: &Connection,
    filter: &Filter,
    range: Range<u64>,
    limit: u32,
) -> Result<Vec<u64>, StoreError> {
    let mut parameters: Vec<&dyn ToSql> = vec![&range.start, &range.end, &limit];
    let sql = find_sql(filter, &mut |value| {
        parameters.push(value);
        parameters.len()
    });
    let mut query = db.prepare_cached(&sql)?;
    let rows = query.query_map(parameters.as_slice(), |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The query for a filter. Parameters are `?1` (first index), `?2` (end), `?3` (limit), and those
/// that `place` takes, which returns their numbers.
///
/// `CROSS JOIN` keeps SQLite to the order of the tables: first the subject's, which is rarest, then
/// the signer's, and the statements' last. Each is walked by an index in log order.
fn find_sql<'a>(filter: &'a Filter, place: &mut impl FnMut(&'a String) -> usize) -> String {
    let mut tables: Vec<&str> = Vec::new();
    let mut conditions = Vec::new();
    for (table, column, value) in
        [("subjects", "sha256", &filter.subject), ("signers", "signer", &filter.signer)]
    {
        if let Some(value) = value {
            tables.push(table);
            conditions.push(format!("{table}.{column} = ?{}", place(value)));
        }
    }
    let of_statement = [("project", &filter.project), ("predicate_type", &filter.predicate_type)];
    if tables.is_empty() || of_statement.iter().any(|(_, value)| value.is_some()) {
        tables.push("statements");
    }
    for (column, value) in of_statement {
        if let Some(value) = value {
            conditions.push(format!("statements.{column} = ?{}", place(value)));
        }
    }
    let first = tables.first().copied().unwrap_or("statements");
    for table in tables.iter().skip(1) {
        conditions.push(format!("{table}.idx = {first}.idx"));
    }
    conditions.push(format!("{first}.idx >= ?1 AND {first}.idx < ?2"));
    format!(
        "SELECT {first}.idx FROM {} WHERE {} ORDER BY {first}.idx LIMIT ?3",
        tables.join(" CROSS JOIN "),
        conditions.join(" AND "),
    )
}

/// Indexes below `until` of statements of a retention class that are not erased, in log order.
pub(crate) fn find_to_erase(
    db: &Connection,
    retention: &str,
    until: u64,
    limit: u32,
) -> Result<Vec<u64>, StoreError> {
    let mut query = db.prepare_cached(
        "SELECT idx FROM statements WHERE retention = ?1 AND idx < ?2 AND erased_at IS NULL
         ORDER BY idx LIMIT ?3",
    )?;
    let rows = query.query_map(params![retention, until, limit], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The statement that the entry with this index stands for.
pub(crate) fn statement_at(
    db: &Connection,
    index: u64,
) -> Result<Option<StoredStatement>, StoreError> {
    Ok(db
        .prepare_cached(
            "SELECT idx, envelope_sha256, predicate_type, bundle, public_key_pem, project,
                 retention, erased_at
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
        project: row.get(5)?,
        retention: row.get(6)?,
        payload: match row.get(7)? {
            Some(at) => Payload::Erased { at },
            None => Payload::Kept { bundle: row.get(3)?, public_key_pem: row.get(4)? },
        },
    })
}

/// Erases bundle and key of a statement, if that was not done before.
pub(crate) fn erase(db: &Connection, index: u64, now: u64) -> Result<(), StoreError> {
    db.execute(
        "UPDATE statements SET bundle = x'', public_key_pem = '', erased_at = ?2
         WHERE idx = ?1 AND erased_at IS NULL",
        params![index, now],
    )?;
    // The write-ahead log has older pages until it is emptied. Also when nothing was left to erase:
    // whoever erased it may have died before.
    let busy: i64 = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if busy == 0 { Ok(()) } else { Err(StoreError::EraseBusy) }
}

/// Whether something is left of an erased statement.
pub(crate) fn has_remains(db: &Connection, index: u64) -> Result<bool, StoreError> {
    Ok(db
        .prepare_cached(
            "SELECT length(bundle) + length(public_key_pem) > 0 FROM statements
             WHERE idx = ?1 AND erased_at IS NOT NULL",
        )?
        .query_row(params![index], |row| row.get(0))
        .optional()?
        .unwrap_or(false))
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
