//! What the store asks of a database. There is one implementation for each kind of database; what
//! must be true whatever the database is, is in [`crate::Store`].

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;

use sealwright_tlog::{Hash, HashReader};

use crate::error::{Corruption, StoreError};
use crate::statements::{Filter, StatementRecord, StoredStatement};

/// The database of one log.
///
/// What is written outside of a transaction is durable when the call returns, as is a transaction
/// when [`Database::commit`] does. After an error of `commit` only the database knows whether it
/// happened.
pub(crate) trait Database: Send {
    /// Whether other processes append to the same log. If so, what memory says of it may be old.
    fn is_shared(&self) -> bool;

    /// Waits until nobody else may append, and keeps it so until [`Database::end_lease`] or until the
    /// connection is lost. Everything that appends happens in between, publishing included.
    fn begin_lease(&self) -> Result<(), StoreError>;

    /// Fails with [`StoreError::LeaseLost`] when somebody else may append by now.
    fn keep_lease(&self) -> Result<(), StoreError>;

    /// Lets others append.
    fn end_lease(&self);

    /// Begins a transaction. Inside a lease, and not inside another transaction.
    fn begin(&self) -> Result<(), StoreError>;

    /// Commits it.
    fn commit(&self) -> Result<(), StoreError>;

    /// Undoes it.
    fn rollback(&self);

    /// Which log this is; `None` before its first checkpoint.
    fn log_row(&self) -> Result<Option<LogRow>, StoreError>;

    /// Writes the first checkpoint of a new log.
    fn insert_log(&self, row: &LogRow) -> Result<(), StoreError>;

    /// Makes a signed note the log's latest checkpoint, in the place of `last` and of no other: fails
    /// with [`StoreError::LeaseLost`] when somebody else has replaced that.
    fn set_checkpoint(&self, note: &[u8], last: &[u8]) -> Result<(), StoreError>;

    /// Tells those who share the database that the latest checkpoint, this one, is published: fails
    /// with [`StoreError::LeaseLost`] when it is not the latest any more.
    fn set_published(&self, note: &[u8]) -> Result<(), StoreError>;

    /// The published checkpoint, if the database is told of it.
    fn published(&self) -> Result<Option<Vec<u8>>, StoreError>;

    /// Keeps a checkpoint as the first one of its tree size.
    fn insert_checkpoint(&self, row: &CheckpointRow) -> Result<(), StoreError>;

    /// The first checkpoint that has the entry with this index in it.
    fn first_checkpoint_with(&self, index: u64) -> Result<Vec<u8>, StoreError>;

    /// The first checkpoints of sizes from `size` on, by size, at most `limit`.
    fn checkpoints(&self, size: u64, limit: u16) -> Result<Vec<CheckpointRow>, StoreError>;

    /// The size of the last tree that was signed before `time` (seconds since 1970), or 0.
    fn size_before(&self, time: u64) -> Result<u64, StoreError>;

    /// How many entries there are; an error if their indexes are not 0, 1, 2, ... Counts them all.
    fn entry_count(&self) -> Result<u64, StoreError>;

    /// The index after the last entry's.
    fn next_index(&self) -> Result<u64, StoreError>;

    /// The indexes of those of the leaf hashes that the log has.
    fn indexes_of(&self, leaves: &[Hash]) -> Result<HashMap<Hash, u64>, StoreError>;

    /// The bodies of the entries from `first` on with their indexes, in log order, at most `count`.
    fn bodies(&self, first: u64, count: u16) -> Result<Vec<(u64, Vec<u8>)>, StoreError>;

    /// The stored hashes at these positions; those that are missing are left out.
    fn hashes(&self, positions: &[u64]) -> Result<HashMap<u64, Hash>, StoreError>;

    /// Adds entries, and stored hashes with their positions.
    fn insert_entries(
        &self,
        entries: &[EntryRow<'_>],
        hashes: &[(u64, Hash)],
    ) -> Result<(), StoreError>;

    /// Adds the statements that entries stand for.
    fn insert_statements(&self, statements: &[StatementRow<'_>]) -> Result<(), StoreError>;

    /// Which of these entries have no statement.
    fn without_statement(&self, indexes: &[u64]) -> Result<Vec<u64>, StoreError>;

    /// The statement that the entry with this index stands for.
    fn statement_at(&self, index: u64) -> Result<Option<StoredStatement>, StoreError>;

    /// Indexes of the statements in `range` that the filter lets through (its own range aside), in
    /// log order, at most `limit`.
    fn find(&self, filter: &Filter, range: Range<u64>, limit: u32) -> Result<Vec<u64>, StoreError>;

    /// Indexes below `until` of statements of a retention class that are not erased, in log order.
    fn find_to_erase(
        &self,
        retention: &str,
        until: u64,
        limit: u32,
    ) -> Result<Vec<u64>, StoreError>;

    /// Erases bundle and key of a statement, if that was not done before.
    fn erase(&self, index: u64, now: u64) -> Result<(), StoreError>;

    /// How many statements are erased, and which of them still have something of it.
    fn erased(&self) -> Result<(u64, Vec<u64>), StoreError>;

    /// Sets a pragma of SQLite.
    #[cfg(feature = "testing")]
    fn set_pragma(&self, name: &str, value: i64);
}

/// The one row of the table `log`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogRow {
    pub(crate) origin: String,
    pub(crate) verifier_key: String,
    /// The latest checkpoint that was committed.
    pub(crate) checkpoint: Vec<u8>,
}

/// The first checkpoint of a tree size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CheckpointRow {
    pub(crate) size: u64,
    pub(crate) note: Vec<u8>,
    /// In seconds since 1970.
    pub(crate) signed_at: u64,
}

/// An entry.
#[derive(Clone, Copy)]
pub(crate) struct EntryRow<'a> {
    pub(crate) index: u64,
    pub(crate) leaf: Hash,
    pub(crate) body: &'a [u8],
}

/// A statement to be added.
#[derive(Clone, Copy)]
pub(crate) struct StatementRow<'a> {
    pub(crate) index: u64,
    pub(crate) record: &'a StatementRecord,
    /// In seconds since 1970; bundle and key are empty then.
    pub(crate) erased_at: Option<u64>,
}

/// A transaction: undone when dropped before it was committed.
pub(crate) struct Transaction<'a> {
    db: &'a dyn Database,
    is_over: bool,
}

impl<'a> Transaction<'a> {
    pub(crate) fn begin(db: &'a dyn Database) -> Result<Self, StoreError> {
        db.begin()?;
        Ok(Self { db, is_over: false })
    }

    pub(crate) fn commit(mut self) -> Result<(), StoreError> {
        self.db.commit()?;
        self.is_over = true;
        Ok(())
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.db.rollback();
        }
    }
}

/// Stored hashes in memory, for the mathematics of the log.
#[derive(Default)]
pub(crate) struct Hashes {
    known: HashMap<u64, Hash>,
    /// While it is only asked which hashes are needed.
    wanted: Option<RefCell<Vec<u64>>>,
}

impl Hashes {
    /// Adds a hash that is not stored yet.
    pub(crate) fn add(&mut self, position: u64, hash: Hash) {
        self.known.insert(position, hash);
    }
}

impl HashReader for Hashes {
    type Error = StoreError;

    fn read_hash(&self, position: u64) -> Result<Hash, StoreError> {
        match (&self.wanted, self.known.get(&position)) {
            (Some(wanted), _) => {
                wanted.borrow_mut().push(position);
                Ok(Hash([0; Hash::LEN]))
            }
            (None, Some(hash)) => Ok(*hash),
            (None, None) => Err(Corruption::MissingRow.into()),
        }
    }
}

/// The stored hashes that a computation needs, read in one query. Which ones that are never depends
/// on what they are, so it is run on any first.
pub(crate) fn hashes_for<T>(
    db: &dyn Database,
    compute: impl Fn(&Hashes) -> Result<T, StoreError>,
) -> Result<Hashes, StoreError> {
    let recording = Hashes { wanted: Some(RefCell::default()), ..Hashes::default() };
    compute(&recording)?;
    let wanted = recording.wanted.map(RefCell::into_inner).unwrap_or_default();
    Ok(Hashes { known: db.hashes(&wanted)?, wanted: None })
}

/// Computes something of the stored hashes.
pub(crate) fn with_hashes<T>(
    db: &dyn Database,
    compute: impl Fn(&Hashes) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    compute(&hashes_for(db, &compute)?)
}

/// The query for a filter. Parameters are `{mark}1` (first index), `{mark}2` (end), `{mark}3` (limit),
/// and the strings that are returned with it.
///
/// `CROSS JOIN` keeps SQLite to the order of the tables: first the subject's, which is rarest, then
/// the signer's, and the statements' last. Each is walked by an index in log order.
pub(crate) fn find_sql(filter: &Filter, mark: char) -> (String, Vec<&String>) {
    let mut tables: Vec<&str> = Vec::new();
    let mut conditions = Vec::new();
    let mut values = Vec::new();
    for (table, column, value) in
        [("subjects", "sha256", &filter.subject), ("signers", "signer", &filter.signer)]
    {
        if let Some(value) = value {
            tables.push(table);
            values.push(value);
            conditions.push(format!("{table}.{column} = {mark}{}", values.len() + 3));
        }
    }
    let of_statement = [
        ("envelope_sha256 =", &filter.envelope_sha256),
        ("project =", &filter.project),
        ("predicate_type =", &filter.predicate_type),
        ("predicate_type <>", &filter.except_type),
    ];
    if tables.is_empty() || of_statement.iter().any(|(_, value)| value.is_some()) {
        tables.push("statements");
    }
    for (condition, value) in of_statement {
        if let Some(value) = value {
            values.push(value);
            conditions.push(format!("statements.{condition} {mark}{}", values.len() + 3));
        }
    }
    let first = tables.first().copied().unwrap_or("statements");
    for table in tables.iter().skip(1) {
        conditions.push(format!("{table}.idx = {first}.idx"));
    }
    conditions.push(format!("{first}.idx >= {mark}1 AND {first}.idx < {mark}2"));
    let sql = format!(
        "SELECT {first}.idx FROM {} WHERE {} ORDER BY {first}.idx LIMIT {mark}3",
        tables.join(" CROSS JOIN "),
        conditions.join(" AND "),
    );
    (sql, values)
}
