//! What a log takes along from SQLite when it moves.

use std::ops::Range;

use rusqlite::{Row, params};

use super::Moved;
use crate::error::StoreError;
use crate::sqlite::Sqlite;
use crate::statements::StatementRecord;

/// A statement with all that is recorded of it.
pub(super) struct FullStatement {
    pub(super) index: u64,
    pub(super) record: StatementRecord,
    /// In seconds since 1970; bundle and key are empty then.
    pub(super) erased_at: Option<u64>,
}

impl Sqlite {
    /// Makes [`Sqlite::statements_in`] fast, which nobody asks for while a log serves.
    pub(super) fn prepare_to_leave(&self) -> Result<(), StoreError> {
        Ok(self.0.execute_batch(
            "CREATE INDEX IF NOT EXISTS subjects_by_entry ON subjects (idx);
             CREATE INDEX IF NOT EXISTS signers_by_entry ON signers (idx);",
        )?)
    }

    /// All that is recorded of the statements in a range, in log order.
    pub(super) fn statements_in(
        &self,
        range: Range<u64>,
    ) -> Result<Vec<FullStatement>, StoreError> {
        let mut query = self.0.prepare_cached(
            "SELECT idx, envelope_sha256, predicate_type, bundle, public_key_pem, project,
                 retention, erased_at
             FROM statements WHERE idx >= ?1 AND idx < ?2 ORDER BY idx",
        )?;
        let rows = query.query_map(params![range.start, range.end], full_statement)?;
        let mut statements = rows.collect::<Result<Vec<_>, _>>()?;
        for FullStatement { index, record, .. } in &mut statements {
            let subjects = "SELECT sha256 FROM subjects WHERE idx = ?1 ORDER BY sha256";
            record.subjects = self.strings(subjects, *index)?;
            let signers = "SELECT signer FROM signers WHERE idx = ?1 ORDER BY signer";
            record.signers = self.strings(signers, *index)?;
        }
        Ok(statements)
    }

    fn strings(&self, sql: &str, index: u64) -> Result<Vec<String>, StoreError> {
        let mut query = self.0.prepare_cached(sql)?;
        let rows = query.query_map(params![index], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// How much there is.
    pub(super) fn counts(&self) -> Result<Moved, StoreError> {
        let sql = "SELECT (SELECT count(*) FROM entries), (SELECT count(*) FROM statements),
                   (SELECT count(*) FROM checkpoints), (SELECT count(*) FROM subjects),
                   (SELECT count(*) FROM signers)";
        Ok(self.0.query_row(sql, [], |row| {
            Ok(Moved {
                entries: row.get(0)?,
                statements: row.get(1)?,
                checkpoints: row.get(2)?,
                subjects: row.get(3)?,
                signers: row.get(4)?,
            })
        })?)
    }
}

fn full_statement(row: &Row<'_>) -> rusqlite::Result<FullStatement> {
    Ok(FullStatement {
        index: row.get(0)?,
        erased_at: row.get(7)?,
        record: StatementRecord {
            envelope_sha256: row.get(1)?,
            predicate_type: row.get(2)?,
            bundle: row.get(3)?,
            public_key_pem: row.get(4)?,
            project: row.get(5)?,
            retention: row.get(6)?,
            ..StatementRecord::default()
        },
    })
}
