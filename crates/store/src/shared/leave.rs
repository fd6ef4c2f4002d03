//! Moving a log from its directory to database and bucket. It is the same log afterwards, and goes on
//! there alone.

use std::path::Path;

use sealwright_tlog::merkle::stored_hash_count;
use sealwright_tlog::tile::tiles_for_growth;
use sealwright_tlog::{
    Frontier, LogKey, VerifiedCheckpoint, leaf_hash, stored_hashes_for_leaf, tree_hash,
};

use super::bucket::Bucket;
use super::postgres::Postgres;
use super::{Moved, Place};
use crate::database::{Database, EntryRow, LogRow, StatementRow, Transaction, hashes_for};
use crate::error::{Corruption, StoreError};
use crate::files::Files;
use crate::objects::Objects as _;
use crate::sqlite::Sqlite;
use crate::store::{
    DATABASE, MOVED, Store, TILES, published_checkpoint, size_of, stored_head, tile_content,
};

/// Entries that are copied together.
const ENTRIES: u16 = 256;

/// Entries whose statements are copied together; a statement may be large.
const STATEMENTS: u64 = 32;

impl Store {
    /// Moves the log in `dir` to `place`, where there must be none. All of it is copied in one
    /// transaction, read back, and held against the log's last checkpoint before that transaction is
    /// committed. Then `dir` is marked, and is no longer served from.
    ///
    /// When this was interrupted it is called again, and goes on or starts over. `progress` is told how
    /// many entries are copied, of how many.
    ///
    /// # Errors
    /// [`StoreError::NotEmpty`], [`StoreError::Moved`], and whatever either side says.
    pub fn move_to(
        dir: &Path,
        key: &LogKey,
        place: &Place,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Moved, StoreError> {
        let mut departure = Departure::open(dir, key, place)?;
        let bucket = Bucket::open(place)?;
        bucket.probe()?;
        let db = Postgres::open(place, true)?;
        db.begin_lease()?;
        let moved = departure.run(&db, bucket, key, place, progress);
        db.end_lease();
        moved
    }
}

/// A log that is about to leave its directory.
struct Departure {
    db: Sqlite,
    /// Holds the directory's lock.
    files: Files,
    head: VerifiedCheckpoint,
    row: LogRow,
    /// Whether the directory says already that the log went on elsewhere.
    is_marked: bool,
}

impl Departure {
    fn open(dir: &Path, key: &LogKey, place: &Place) -> Result<Self, StoreError> {
        if !dir.join(DATABASE).exists() {
            return Err(StoreError::NoLog);
        }
        let files = Files::open(dir)?;
        let marker = files.read(MOVED)?;
        let to = marker.as_ref().map(|to| String::from_utf8_lossy(to).trim().to_owned());
        if let Some(to) = to.filter(|to| *to != place.bucket) {
            return Err(StoreError::Moved { to });
        }
        let db = Sqlite::open(&files.path(DATABASE), key.verifier())?;
        let head = stored_head(&db, key)?;
        if db.entry_count()? != size_of(&head) {
            return Err(Corruption::EntryCount.into());
        }
        // What was published must be in the database. What is still owed is published elsewhere.
        published_checkpoint(&files, &db, key, &head)?;
        db.prepare_to_leave()?;
        let row = db.log_row()?.ok_or(Corruption::MissingRow)?;
        Ok(Self { db, files, head, row, is_marked: marker.is_some() })
    }

    fn run(
        &mut self,
        db: &Postgres,
        mut bucket: Bucket,
        key: &LogKey,
        place: &Place,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Moved, StoreError> {
        let moved = match db.log_row()? {
            None if bucket.checkpoint()?.is_some() => {
                return Err(StoreError::NotEmpty { what: "the bucket" });
            }
            None => self.copy(db, &mut bucket, place, progress)?,
            // An earlier attempt came this far.
            Some(row) if row == self.row && self.is_marked => self.count(db)?,
            Some(_) if self.is_marked => {
                return Err(StoreError::Moved { to: place.bucket.clone() });
            }
            Some(_) => return Err(StoreError::NotEmpty { what: "the database" }),
        };
        // A database that was put back to the time of the move looks as if the log never went on. What
        // the bucket says is replaced only by what follows it.
        let (published, version) = published_checkpoint(&bucket, db, key, &self.head)?;
        if published.as_ref() != Some(&self.head) {
            bucket.replace_checkpoint(self.head.note(), version.as_ref())?;
        }
        db.set_published(self.head.note())?;
        Ok(moved)
    }

    fn copy(
        &mut self,
        db: &Postgres,
        bucket: &mut Bucket,
        place: &Place,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Moved, StoreError> {
        let size = size_of(&self.head);
        let tx = Transaction::begin(db)?;
        for first in (0..size).step_by(usize::from(ENTRIES)) {
            self.copy_entries(db, first)?;
            progress(first, size);
        }
        for first in (0..size).step_by(usize::try_from(STATEMENTS).unwrap_or(1)) {
            let range = first..first.saturating_add(STATEMENTS).min(size);
            let statements = self.db.statements_in(range)?;
            let rows: Vec<_> = statements
                .iter()
                .map(|it| StatementRow {
                    index: it.index,
                    record: &it.record,
                    erased_at: it.erased_at,
                })
                .collect();
            db.insert_statements(&rows)?;
        }
        let mut next = 0;
        loop {
            let rows = self.db.checkpoints(next, ENTRIES)?;
            let Some(last) = rows.last() else { break };
            next = last.size.saturating_add(1);
            rows.iter().try_for_each(|row| db.insert_checkpoint(row))?;
        }
        db.insert_log(&self.row)?;
        let moved = self.count(db)?;
        verify(db, &self.head)?;
        Self::write_tiles(db, bucket, size)?;
        // From here on the old log must not go on. If the commit fails, this is called again.
        self.mark(place)?;
        tx.commit()?;
        progress(size, size);
        Ok(moved)
    }

    fn copy_entries(&self, db: &Postgres, first: u64) -> Result<(), StoreError> {
        let bodies = self.db.bodies(first, ENTRIES)?;
        let mut hashes = hashes_for(db, |hashes| tree_hash(first, hashes))?;
        let mut stored = Vec::new();
        let mut entries = Vec::new();
        for ((index, body), expected) in bodies.iter().zip(first..) {
            if *index != expected {
                return Err(Corruption::EntryCount.into());
            }
            let leaf = leaf_hash(body);
            let complete = stored_hashes_for_leaf(*index, leaf, &hashes)?;
            for (position, hash) in (stored_hash_count(*index)..).zip(complete) {
                hashes.add(position, hash);
                stored.push((position, hash));
            }
            entries.push(EntryRow { index: *index, leaf, body });
        }
        db.insert_entries(&entries, &stored)
    }

    fn write_tiles(db: &Postgres, bucket: &mut Bucket, size: u64) -> Result<(), StoreError> {
        for tiles in tiles_for_growth(0, size).chunks(TILES) {
            let contents = tiles.iter().map(|tile| Ok((tile.path(), tile_content(db, tile)?)));
            let contents: Vec<_> = contents.collect::<Result<_, StoreError>>()?;
            bucket.write_tiles(&contents, &mut || Ok(()))?;
        }
        Ok(())
    }

    /// What has come to the other side; as much as there was on this one.
    fn count(&self, db: &Postgres) -> Result<Moved, StoreError> {
        let counts = db.counts()?;
        match counts == self.db.counts()? {
            true => Ok(counts),
            false => Err(Corruption::Copy.into()),
        }
    }

    fn mark(&mut self, place: &Place) -> Result<(), StoreError> {
        if !self.is_marked {
            self.files.replace(MOVED, format!("{}\n", place.bucket).as_bytes())?;
            self.is_marked = true;
        }
        Ok(())
    }
}

/// Reads all entries back, and sees that they are those of the checkpoint.
fn verify(db: &Postgres, head: &VerifiedCheckpoint) -> Result<(), StoreError> {
    let mut tree = Frontier::default();
    while tree.size() < size_of(head) {
        let bodies = db.bodies(tree.size(), ENTRIES)?;
        if bodies.is_empty() {
            return Err(Corruption::EntryCount.into());
        }
        for (index, body) in bodies {
            if index != tree.size() {
                return Err(Corruption::EntryCount.into());
            }
            tree.push(leaf_hash(&body));
        }
    }
    if tree.root() == head.checkpoint().root { Ok(()) } else { Err(Corruption::Root.into()) }
}
