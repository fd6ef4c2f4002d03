//! SQLite: the database of a log that one process holds.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, ToSql, params};
use sealwright_tlog::{Hash, VerifierKey};

use crate::database::{CheckpointRow, Database, EntryRow, LogRow, StatementRow, find_sql};
use crate::error::{Corruption, StoreError};
use crate::schema;
use crate::statements::{Filter, Payload, StoredStatement};

/// A database in one file. Whoever opens it holds the directory's lock, so no lease is needed.
pub(crate) struct Sqlite(pub(crate) Connection);

impl Sqlite {
    /// Opens the database; creates file and schema if need be.
    pub(crate) fn open(path: &Path, verifier: &VerifierKey) -> Result<Self, StoreError> {
        // Without the URI flag, since a directory may be called "file:".
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut db = Connection::open_with_flags(path, flags)?;
        let mode: String =
            db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
        if mode != "wal" {
            return Err(Corruption::NotWal.into());
        }
        db.pragma_update(None, "synchronous", "FULL")?;
        db.pragma_update(None, "foreign_keys", "ON")?;
        db.pragma_update(None, "trusted_schema", "OFF")?;
        // In KiB. Leaf hashes are random, so a large log touches pages all over their index with every
        // batch; SQLite's own 2 MiB hold too few of them.
        db.pragma_update(None, "cache_size", -(32 << 10))?;
        // What is erased is overwritten.
        db.pragma_update(None, "secure_delete", "ON")?;
        // The lock keeps other stores out; this is for someone who reads or backs up with a tool.
        db.busy_timeout(std::time::Duration::from_secs(10))?;
        schema::prepare(&mut db, verifier)?;
        Ok(Self(db))
    }
}

impl Database for Sqlite {
    fn is_shared(&self) -> bool {
        false
    }

    fn begin_lease(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn keep_lease(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn end_lease(&self) {}

    fn begin(&self) -> Result<(), StoreError> {
        Ok(self.0.execute_batch("BEGIN IMMEDIATE")?)
    }

    fn commit(&self) -> Result<(), StoreError> {
        Ok(self.0.execute_batch("COMMIT")?)
    }

    fn rollback(&self) {
        // Some errors have undone it already.
        if !self.0.is_autocommit()
            && let Err(error) = self.0.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a transaction cannot be undone");
        }
    }

    fn log_row(&self) -> Result<Option<LogRow>, StoreError> {
        Ok(self
            .0
            .prepare_cached("SELECT origin, verifier_key, checkpoint FROM log")?
            .query_row([], |row| {
                Ok(LogRow {
                    origin: row.get(0)?,
                    verifier_key: row.get(1)?,
                    checkpoint: row.get(2)?,
                })
            })
            .optional()?)
    }

    fn insert_log(&self, row: &LogRow) -> Result<(), StoreError> {
        self.0.execute(
            "INSERT INTO log (id, origin, verifier_key, checkpoint) VALUES (1, ?1, ?2, ?3)",
            params![row.origin, row.verifier_key, row.checkpoint],
        )?;
        Ok(())
    }

    fn set_checkpoint(&self, note: &[u8], last: &[u8]) -> Result<(), StoreError> {
        let sql = "UPDATE log SET checkpoint = ?1 WHERE checkpoint = ?2";
        match self.0.execute(sql, params![note, last])? {
            1 => Ok(()),
            _ => Err(StoreError::LeaseLost),
        }
    }

    fn set_published(&self, _note: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }

    fn published(&self) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(None)
    }

    fn insert_checkpoint(&self, row: &CheckpointRow) -> Result<(), StoreError> {
        self.0.execute(
            "INSERT INTO checkpoints (size, note, signed_at) VALUES (?1, ?2, ?3)",
            params![row.size, row.note, row.signed_at],
        )?;
        Ok(())
    }

    fn first_checkpoint_with(&self, index: u64) -> Result<Vec<u8>, StoreError> {
        self.0
            .prepare_cached("SELECT note FROM checkpoints WHERE size > ?1 ORDER BY size LIMIT 1")?
            .query_row(params![index], |row| row.get(0))
            .optional()?
            .ok_or(Corruption::MissingRow.into())
    }

    fn checkpoints(&self, size: u64, limit: u16) -> Result<Vec<CheckpointRow>, StoreError> {
        let mut query = self.0.prepare_cached(
            "SELECT size, note, signed_at FROM checkpoints WHERE size >= ?1 ORDER BY size LIMIT ?2",
        )?;
        let rows = query.query_map(params![size, limit], |row| {
            Ok(CheckpointRow { size: row.get(0)?, note: row.get(1)?, signed_at: row.get(2)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn size_before(&self, time: u64) -> Result<u64, StoreError> {
        let time = i64::try_from(time).unwrap_or(i64::MAX);
        Ok(self
            .0
            .prepare_cached(
                "SELECT size FROM checkpoints WHERE signed_at < ?1
                 ORDER BY signed_at DESC, size DESC LIMIT 1",
            )?
            .query_row(params![time], |row| row.get(0))
            .optional()?
            .unwrap_or(0))
    }

    fn entry_count(&self) -> Result<u64, StoreError> {
        let count = self.0.query_row("SELECT count(*) FROM entries", [], |row| row.get(0))?;
        if count == self.next_index()? { Ok(count) } else { Err(Corruption::EntryCount.into()) }
    }

    fn next_index(&self) -> Result<u64, StoreError> {
        let sql = "SELECT coalesce(max(idx) + 1, 0) FROM entries";
        Ok(self.0.query_row(sql, [], |row| row.get(0))?)
    }

    fn indexes_of(&self, leaves: &[Hash]) -> Result<HashMap<Hash, u64>, StoreError> {
        let mut query = self.0.prepare_cached("SELECT idx FROM entries WHERE leaf = ?1")?;
        let mut found = HashMap::new();
        for leaf in leaves {
            let index = query.query_row(params![leaf.as_bytes()], |row| row.get(0)).optional()?;
            found.extend(index.map(|index| (*leaf, index)));
        }
        Ok(found)
    }

    fn bodies(&self, first: u64, count: u16) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let mut query = self.0.prepare_cached(
            "SELECT idx, body FROM entries WHERE idx >= ?1 ORDER BY idx LIMIT ?2",
        )?;
        let rows = query.query_map(params![first, count], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn hashes(&self, positions: &[u64]) -> Result<HashMap<u64, Hash>, StoreError> {
        let mut query = self.0.prepare_cached("SELECT hash FROM hashes WHERE position = ?1")?;
        let mut found = HashMap::with_capacity(positions.len());
        for position in positions {
            let hash = query.query_row(params![position], |row| row.get(0)).optional()?;
            found.extend(hash.map(|hash| (*position, Hash(hash))));
        }
        Ok(found)
    }

    fn insert_entries(
        &self,
        entries: &[EntryRow<'_>],
        hashes: &[(u64, Hash)],
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO entries (idx, leaf, body) VALUES (?1, ?2, ?3)";
        let mut insert = self.0.prepare_cached(sql)?;
        for entry in entries {
            insert.execute(params![entry.index, entry.leaf.as_bytes(), entry.body])?;
        }
        let sql = "INSERT INTO hashes (position, hash) VALUES (?1, ?2)";
        let mut insert = self.0.prepare_cached(sql)?;
        for (position, hash) in hashes {
            insert.execute(params![position, hash.as_bytes()])?;
        }
        Ok(())
    }

    fn insert_statements(&self, statements: &[StatementRow<'_>]) -> Result<(), StoreError> {
        statements.iter().try_for_each(|row| insert_statement(&self.0, row))
    }

    fn without_statement(&self, indexes: &[u64]) -> Result<Vec<u64>, StoreError> {
        let mut query = self.0.prepare_cached("SELECT 1 FROM statements WHERE idx = ?1")?;
        let mut without = Vec::new();
        for index in indexes {
            if !query.exists(params![index])? {
                without.push(*index);
            }
        }
        Ok(without)
    }

    fn statement_at(&self, index: u64) -> Result<Option<StoredStatement>, StoreError> {
        Ok(self
            .0
            .prepare_cached(
                "SELECT idx, envelope_sha256, predicate_type, bundle, public_key_pem, project,
                     retention, erased_at
                 FROM statements WHERE idx = ?1",
            )?
            .query_row(params![index], statement)
            .optional()?)
    }

    fn find(&self, filter: &Filter, range: Range<u64>, limit: u32) -> Result<Vec<u64>, StoreError> {
        let (sql, values) = find_sql(filter, '?');
        let mut parameters: Vec<&dyn ToSql> = vec![&range.start, &range.end, &limit];
        parameters.extend(values.into_iter().map(|value| value as &dyn ToSql));
        let mut query = self.0.prepare_cached(&sql)?;
        let rows = query.query_map(parameters.as_slice(), |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn find_to_erase(
        &self,
        retention: &str,
        until: u64,
        limit: u32,
    ) -> Result<Vec<u64>, StoreError> {
        let mut query = self.0.prepare_cached(
            "SELECT idx FROM statements WHERE retention = ?1 AND idx < ?2 AND erased_at IS NULL
             ORDER BY idx LIMIT ?3",
        )?;
        let rows = query.query_map(params![retention, until, limit], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn erase(&self, index: u64, now: u64) -> Result<(), StoreError> {
        self.0.execute(
            "UPDATE statements SET bundle = x'', public_key_pem = '', erased_at = ?2
             WHERE idx = ?1 AND erased_at IS NULL",
            params![index, now],
        )?;
        // The write-ahead log has older pages until it is emptied. Also when nothing was left to
        // erase: whoever erased it may have died before.
        let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
        let busy: i64 = self.0.query_row(sql, [], |row| row.get(0))?;
        if busy == 0 { Ok(()) } else { Err(StoreError::EraseBusy) }
    }

    fn erased(&self) -> Result<(u64, Vec<u64>), StoreError> {
        let sql = "SELECT count(*) FROM statements WHERE erased_at IS NOT NULL";
        let count = self.0.query_row(sql, [], |row| row.get(0))?;
        let mut query = self.0.prepare(
            "SELECT idx FROM statements WHERE erased_at IS NOT NULL
             AND (length(bundle) > 0 OR length(public_key_pem) > 0) ORDER BY idx",
        )?;
        let rows = query.query_map([], |row| row.get(0))?;
        Ok((count, rows.collect::<Result<_, _>>()?))
    }

    #[cfg(feature = "testing")]
    fn set_pragma(&self, name: &str, value: i64) {
        let set = self.0.pragma_update(None, name, value);
        assert!(set.is_ok(), "{name} = {value}: {set:?}");
    }
}

fn insert_statement(db: &Connection, row: &StatementRow<'_>) -> Result<(), StoreError> {
    let StatementRow { index, record, erased_at } = row;
    db.prepare_cached(
        "INSERT INTO statements (idx, envelope_sha256, predicate_type, bundle, public_key_pem,
             project, retention, erased_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        index,
        record.envelope_sha256,
        record.predicate_type,
        record.bundle,
        record.public_key_pem,
        record.project,
        record.retention,
        erased_at,
    ])?;
    // A statement may name a subject twice.
    let sql = "INSERT OR IGNORE INTO subjects (sha256, idx) VALUES (?1, ?2)";
    for subject in &record.subjects {
        db.prepare_cached(sql)?.execute(params![subject, index])?;
    }
    let sql = "INSERT OR IGNORE INTO signers (signer, idx) VALUES (?1, ?2)";
    for signer in &record.signers {
        db.prepare_cached(sql)?.execute(params![signer, index])?;
    }
    Ok(())
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
