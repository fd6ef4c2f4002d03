//! PostgreSQL: the database of a log that several processes share.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;

use postgres::Row;
use postgres::types::ToSql;
use sealwright_tlog::Hash;

use super::link::Link;
use super::postgres_schema::{SCHEMA, VERSION};
use super::{Moved, Place};
use crate::database::{CheckpointRow, Database, EntryRow, LogRow, StatementRow, find_sql};
use crate::error::{Corruption, StoreError};
use crate::statements::{Filter, Payload, StatementRecord, StoredStatement};

/// What a statement is found by, of one kind.
type List = fn(&StatementRecord) -> &[String];

type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// A database that is reached over one connection.
pub(super) struct Postgres(RefCell<Link>);

impl Postgres {
    /// Connects, and makes the schema if there is none and `may_create`.
    pub(super) fn open(place: &Place, may_create: bool) -> Result<Self, StoreError> {
        let db = Self(RefCell::new(Link::new(place)?));
        if db.is_there("SELECT to_regclass('sealwright.version')::text")? {
            return db.check_version();
        }
        if !may_create {
            return Err(StoreError::NoLog);
        }
        db.begin_lease()?;
        let made = db.create();
        db.end_lease();
        made?;
        db.check_version()
    }

    /// Makes the schema, whole or not at all.
    fn create(&self) -> Result<(), StoreError> {
        // Somebody without the right to create schemas may have been given this one.
        let schema = match self.is_there("SELECT to_regnamespace('sealwright')::text")? {
            true => "",
            false => "CREATE SCHEMA sealwright;",
        };
        self.batch(&format!("BEGIN; {schema} {SCHEMA} COMMIT"))
    }

    fn check_version(self) -> Result<Self, StoreError> {
        let rows = self.rows("SELECT version FROM version", &[])?;
        let found = rows.first().map(|row| row.try_get(0)).transpose().map_err(shape)?;
        match found {
            Some(VERSION) => {
                self.add_index();
                Ok(self)
            }
            found => {
                Err(StoreError::SchemaVersion { found: found.unwrap_or(0), supported: VERSION })
            }
        }
    }

    /// What databases of this version lack that are older than the index. Whoever may not make it finds
    /// the same without, more slowly.
    fn add_index(&self) {
        let sql = "SELECT to_regclass('sealwright.statements_by_digest')::text";
        if let Ok(false) = self.is_there(sql) {
            let made = self.batch(
                "CREATE INDEX IF NOT EXISTS statements_by_digest
                 ON sealwright.statements (envelope_sha256, idx)",
            );
            drop(made);
        }
    }

    fn is_there(&self, sql: &str) -> Result<bool, StoreError> {
        let rows = self.rows(sql, &[])?;
        let name: Option<String> =
            rows.first().map(|row| row.try_get(0)).transpose().map_err(shape)?.flatten();
        Ok(name.is_some())
    }

    fn rows(&self, sql: &str, parameters: Parameters<'_>) -> Result<Vec<Row>, StoreError> {
        self.0.borrow_mut().with(|live| {
            let statement = live.statement(sql)?;
            live.client.query(&statement, parameters)
        })
    }

    /// Returns how many rows were changed.
    fn execute(&self, sql: &str, parameters: Parameters<'_>) -> Result<u64, StoreError> {
        self.0.borrow_mut().with(|live| {
            let statement = live.statement(sql)?;
            live.client.execute(&statement, parameters)
        })
    }

    fn batch(&self, sql: &str) -> Result<(), StoreError> {
        self.0.borrow_mut().with(|live| live.client.batch_execute(sql))
    }

    /// The number in the first column of the first row.
    fn number(&self, sql: &str, parameters: Parameters<'_>) -> Result<Option<u64>, StoreError> {
        self.rows(sql, parameters)?.first().map(|row| natural(row, 0)).transpose()
    }

    fn numbers(&self, sql: &str, parameters: Parameters<'_>) -> Result<Vec<u64>, StoreError> {
        self.rows(sql, parameters)?.iter().map(|row| natural(row, 0)).collect()
    }
}

impl Database for Postgres {
    fn is_shared(&self) -> bool {
        true
    }

    fn begin_lease(&self) -> Result<(), StoreError> {
        self.0.borrow_mut().begin_lease()
    }

    fn keep_lease(&self) -> Result<(), StoreError> {
        self.batch("SELECT 1")
    }

    fn end_lease(&self) {
        self.0.borrow_mut().end_lease();
    }

    fn begin(&self) -> Result<(), StoreError> {
        self.batch("BEGIN")
    }

    fn commit(&self) -> Result<(), StoreError> {
        self.batch("COMMIT")
    }

    fn rollback(&self) {
        self.0.borrow_mut().rollback();
    }

    fn log_row(&self) -> Result<Option<LogRow>, StoreError> {
        let rows = self.rows("SELECT origin, verifier_key, checkpoint FROM log", &[])?;
        rows.first()
            .map(|row| {
                Ok(LogRow {
                    origin: row.try_get(0).map_err(shape)?,
                    verifier_key: row.try_get(1).map_err(shape)?,
                    checkpoint: row.try_get(2).map_err(shape)?,
                })
            })
            .transpose()
    }

    fn insert_log(&self, row: &LogRow) -> Result<(), StoreError> {
        let sql = "INSERT INTO log (id, origin, verifier_key, checkpoint) VALUES (1, $1, $2, $3)";
        self.execute(sql, &[&row.origin, &row.verifier_key, &row.checkpoint]).map(|_| ())
    }

    fn set_checkpoint(&self, note: &[u8], last: &[u8]) -> Result<(), StoreError> {
        let sql = "UPDATE log SET checkpoint = $1 WHERE checkpoint = $2";
        match self.execute(sql, &[&note, &last])? {
            1 => Ok(()),
            _ => Err(StoreError::LeaseLost),
        }
    }

    fn set_published(&self, note: &[u8]) -> Result<(), StoreError> {
        let sql = "UPDATE log SET published = $1 WHERE checkpoint = $1";
        match self.execute(sql, &[&note])? {
            1 => Ok(()),
            _ => Err(StoreError::LeaseLost),
        }
    }

    fn published(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let rows = self.rows("SELECT published FROM log", &[])?;
        Ok(rows.first().map(|row| row.try_get(0)).transpose().map_err(shape)?.flatten())
    }

    fn insert_checkpoint(&self, row: &CheckpointRow) -> Result<(), StoreError> {
        let sql = "INSERT INTO checkpoints (size, note, signed_at) VALUES ($1, $2, $3)";
        self.execute(sql, &[&int(row.size), &row.note, &int(row.signed_at)]).map(|_| ())
    }

    fn first_checkpoint_with(&self, index: u64) -> Result<Vec<u8>, StoreError> {
        let sql = "SELECT note FROM checkpoints WHERE size > $1 ORDER BY size LIMIT 1";
        let rows = self.rows(sql, &[&int(index)])?;
        let row = rows.first().ok_or(Corruption::MissingRow)?;
        row.try_get(0).map_err(shape)
    }

    fn checkpoints(&self, size: u64, limit: u16) -> Result<Vec<CheckpointRow>, StoreError> {
        let sql = "SELECT size, note, signed_at FROM checkpoints WHERE size >= $1
                   ORDER BY size LIMIT $2";
        let rows = self.rows(sql, &[&int(size), &i64::from(limit)])?;
        let checkpoint = |row: &Row| {
            let note = row.try_get(1).map_err(shape)?;
            Ok(CheckpointRow { size: natural(row, 0)?, note, signed_at: natural(row, 2)? })
        };
        rows.iter().map(checkpoint).collect()
    }

    fn size_before(&self, time: u64) -> Result<u64, StoreError> {
        let sql = "SELECT size FROM checkpoints WHERE signed_at < $1
                   ORDER BY signed_at DESC, size DESC LIMIT 1";
        Ok(self.number(sql, &[&int(time)])?.unwrap_or(0))
    }

    fn entry_count(&self) -> Result<u64, StoreError> {
        // In one statement, since others append meanwhile.
        let sql = "SELECT count(*), coalesce(max(idx) + 1, 0) FROM entries";
        let rows = self.rows(sql, &[])?;
        let row = rows.first().ok_or(Corruption::MissingRow)?;
        let (count, next) = (natural(row, 0)?, natural(row, 1)?);
        if count == next { Ok(count) } else { Err(Corruption::EntryCount.into()) }
    }

    fn next_index(&self) -> Result<u64, StoreError> {
        Ok(self.number("SELECT coalesce(max(idx) + 1, 0) FROM entries", &[])?.unwrap_or(0))
    }

    fn indexes_of(&self, leaves: &[Hash]) -> Result<HashMap<Hash, u64>, StoreError> {
        let leaves: Vec<&[u8]> = leaves.iter().map(|leaf| leaf.as_bytes().as_slice()).collect();
        let sql = "SELECT idx, leaf FROM entries WHERE leaf = ANY($1)";
        let rows = self.rows(sql, &[&leaves])?;
        rows.iter().map(|row| Ok((hash(row, 1)?, natural(row, 0)?))).collect()
    }

    fn bodies(&self, first: u64, count: u16) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let sql = "SELECT idx, body FROM entries WHERE idx >= $1 ORDER BY idx LIMIT $2";
        let rows = self.rows(sql, &[&int(first), &i64::from(count)])?;
        let body = |row: &Row| Ok((natural(row, 0)?, row.try_get(1).map_err(shape)?));
        rows.iter().map(body).collect()
    }

    fn hashes(&self, positions: &[u64]) -> Result<HashMap<u64, Hash>, StoreError> {
        if positions.is_empty() {
            return Ok(HashMap::new());
        }
        let positions: Vec<i64> = positions.iter().map(|position| int(*position)).collect();
        let sql = "SELECT position, hash FROM hashes WHERE position = ANY($1)";
        let rows = self.rows(sql, &[&positions])?;
        rows.iter().map(|row| Ok((natural(row, 0)?, hash(row, 1)?))).collect()
    }

    fn insert_entries(
        &self,
        entries: &[EntryRow<'_>],
        hashes: &[(u64, Hash)],
    ) -> Result<(), StoreError> {
        let indexes: Vec<i64> = entries.iter().map(|entry| int(entry.index)).collect();
        let leaves: Vec<&[u8]> =
            entries.iter().map(|entry| entry.leaf.as_bytes().as_slice()).collect();
        let bodies: Vec<&[u8]> = entries.iter().map(|entry| entry.body).collect();
        let sql = "INSERT INTO entries (idx, leaf, body)
                   SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bytea[])";
        self.execute(sql, &[&indexes, &leaves, &bodies])?;
        let positions: Vec<i64> = hashes.iter().map(|(position, _)| int(*position)).collect();
        let hashes: Vec<&[u8]> =
            hashes.iter().map(|(_, hash)| hash.as_bytes().as_slice()).collect();
        let sql = "INSERT INTO hashes (position, hash)
                   SELECT * FROM unnest($1::bigint[], $2::bytea[])";
        self.execute(sql, &[&positions, &hashes]).map(|_| ())
    }

    fn insert_statements(&self, statements: &[StatementRow<'_>]) -> Result<(), StoreError> {
        let indexes: Vec<i64> = statements.iter().map(|row| int(row.index)).collect();
        let erased: Vec<Option<i64>> =
            statements.iter().map(|row| row.erased_at.map(int)).collect();
        let column = |value: fn(&StatementRecord) -> &[u8]| -> Vec<&[u8]> {
            statements.iter().map(|row| value(row.record)).collect()
        };
        self.execute(
            "INSERT INTO statements (idx, envelope_sha256, predicate_type, bundle,
                 public_key_pem, project, retention, erased_at)
             SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bytea[], $4::bytea[],
                 $5::bytea[], $6::bytea[], $7::bytea[], $8::bigint[])",
            &[
                &indexes,
                &column(|record| record.envelope_sha256.as_bytes()),
                &column(|record| record.predicate_type.as_bytes()),
                &column(|record| &record.bundle),
                &column(|record| record.public_key_pem.as_bytes()),
                &column(|record| record.project.as_bytes()),
                &column(|record| record.retention.as_bytes()),
                &erased,
            ],
        )?;
        let lists: [(&str, List); 2] = [
            (
                "INSERT INTO subjects (sha256, idx)
                 SELECT * FROM unnest($1::bytea[], $2::bigint[]) ON CONFLICT DO NOTHING",
                |record| &record.subjects,
            ),
            (
                "INSERT INTO signers (signer, idx)
                 SELECT * FROM unnest($1::bytea[], $2::bigint[]) ON CONFLICT DO NOTHING",
                |record| &record.signers,
            ),
        ];
        for (sql, list) in lists {
            let pairs = statements
                .iter()
                .flat_map(|row| list(row.record).iter().map(|it| (it.as_bytes(), int(row.index))));
            let (values, indexes): (Vec<&[u8]>, Vec<i64>) = pairs.unzip();
            self.execute(sql, &[&values, &indexes])?;
        }
        Ok(())
    }

    fn without_statement(&self, indexes: &[u64]) -> Result<Vec<u64>, StoreError> {
        let indexes: Vec<i64> = indexes.iter().map(|index| int(*index)).collect();
        let sql = "SELECT idx FROM unnest($1::bigint[]) AS asked (idx)
                   WHERE NOT EXISTS (SELECT FROM statements WHERE statements.idx = asked.idx)";
        self.numbers(sql, &[&indexes])
    }

    fn statement_at(&self, index: u64) -> Result<Option<StoredStatement>, StoreError> {
        let sql = "SELECT idx, envelope_sha256, predicate_type, bundle, public_key_pem, project,
                       retention, erased_at
                   FROM statements WHERE idx = $1";
        self.rows(sql, &[&int(index)])?.first().map(statement).transpose()
    }

    fn find(&self, filter: &Filter, range: Range<u64>, limit: u32) -> Result<Vec<u64>, StoreError> {
        let (sql, values) = find_sql(filter, '$');
        let (start, end, limit) = (int(range.start), int(range.end), i64::from(limit));
        let values: Vec<&[u8]> = values.into_iter().map(|value| value.as_bytes()).collect();
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&start, &end, &limit];
        parameters.extend(values.iter().map(|value| value as &(dyn ToSql + Sync)));
        self.numbers(&sql, &parameters)
    }

    fn find_to_erase(
        &self,
        retention: &str,
        until: u64,
        limit: u32,
    ) -> Result<Vec<u64>, StoreError> {
        let sql = "SELECT idx FROM statements WHERE retention = $1 AND idx < $2
                   AND erased_at IS NULL ORDER BY idx LIMIT $3";
        self.numbers(sql, &[&retention.as_bytes(), &int(until), &i64::from(limit)])
    }

    fn erase(&self, index: u64, now: u64) -> Result<(), StoreError> {
        let sql = "UPDATE statements SET bundle = '', public_key_pem = '', erased_at = $2
                   WHERE idx = $1 AND erased_at IS NULL";
        self.execute(sql, &[&int(index), &int(now)]).map(|_| ())
    }

    fn erased(&self) -> Result<(u64, Vec<u64>), StoreError> {
        let sql = "SELECT count(*) FROM statements WHERE erased_at IS NOT NULL";
        let count = self.number(sql, &[])?.unwrap_or(0);
        let sql = "SELECT idx FROM statements WHERE erased_at IS NOT NULL
                   AND (length(bundle) > 0 OR length(public_key_pem) > 0) ORDER BY idx";
        Ok((count, self.numbers(sql, &[])?))
    }

    #[cfg(feature = "testing")]
    fn set_pragma(&self, _name: &str, _value: i64) {}
}

impl Postgres {
    /// How much there is.
    pub(super) fn counts(&self) -> Result<Moved, StoreError> {
        let sql = "SELECT (SELECT count(*) FROM entries), (SELECT count(*) FROM statements),
                   (SELECT count(*) FROM checkpoints), (SELECT count(*) FROM subjects),
                   (SELECT count(*) FROM signers)";
        let rows = self.rows(sql, &[])?;
        let row = rows.first().ok_or(Corruption::MissingRow)?;
        Ok(Moved {
            entries: natural(row, 0)?,
            statements: natural(row, 1)?,
            checkpoints: natural(row, 2)?,
            subjects: natural(row, 3)?,
            signers: natural(row, 4)?,
        })
    }
}

fn statement(row: &Row) -> Result<StoredStatement, StoreError> {
    let erased_at: Option<i64> = row.try_get(7).map_err(shape)?;
    Ok(StoredStatement {
        index: natural(row, 0)?,
        envelope_sha256: text(row, 1)?,
        predicate_type: text(row, 2)?,
        project: text(row, 5)?,
        retention: text(row, 6)?,
        payload: match erased_at {
            Some(at) => Payload::Erased { at: u64::try_from(at).map_err(|_| Corruption::Value)? },
            None => Payload::Kept {
                bundle: row.try_get(3).map_err(shape)?,
                public_key_pem: text(row, 4)?,
            },
        },
    })
}

/// A number as PostgreSQL has it. None that the log can come to is too large.
fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn natural(row: &Row, column: usize) -> Result<u64, StoreError> {
    let number: i64 = row.try_get(column).map_err(shape)?;
    u64::try_from(number).map_err(|_| Corruption::Value.into())
}

fn hash(row: &Row, column: usize) -> Result<Hash, StoreError> {
    let bytes: &[u8] = row.try_get(column).map_err(shape)?;
    bytes.try_into().map(Hash).map_err(|_| Corruption::Value.into())
}

fn text(row: &Row, column: usize) -> Result<String, StoreError> {
    let bytes: Vec<u8> = row.try_get(column).map_err(shape)?;
    String::from_utf8(bytes).map_err(|_| Corruption::Value.into())
}

/// A column is not of the type that it should have.
fn shape(error: postgres::Error) -> StoreError {
    StoreError::Database(Box::new(error))
}
