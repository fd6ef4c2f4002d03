//! The store: appending in batches, publishing, reading.

use std::fmt;
use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};
use sealwright_tlog::tile::{MAX_ENTRY_LEN, encode_entry_bundle, tiles_for_growth};
use sealwright_tlog::{
    Checkpoint, ConsistencyProof, InclusionProof, LogKey, ProveError, Tile, TileKind,
    VerifiedCheckpoint, leaf_hash, tree_hash, verify_checkpoint,
};

use crate::db::{self, LogRow, StoredHashes};
use crate::error::{Corruption, StoreError};
use crate::files::Files;
use crate::hook::{Hook, Step};
use crate::statements::StatementRecord;

const DATABASE: &str = "log.db";
const CHECKPOINT: &str = "checkpoint";

/// One log and the statements in it.
///
/// One thread writes; reading needs only `&self`.
pub struct Store {
    pub(crate) db: Connection,
    /// Holds the lock. Fields are dropped in order, so the database is closed before.
    files: Files,
    key: LogKey,
    /// The latest committed checkpoint. It differs from `published` only when publishing is owed.
    head: VerifiedCheckpoint,
    /// What the `checkpoint` file says. Nothing beyond it is shown to readers.
    published: VerifiedCheckpoint,
    /// Its size, or 0 if there was none, when the store was opened.
    published_at_start: u64,
    pub(crate) hook: Hook,
}

/// An entry to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntry {
    /// What is logged, at most 65535 bytes. Two entries with the same body are the same entry.
    pub body: Vec<u8>,
    /// The statement it stands for; none for an entry of which only the hash is known here.
    pub statement: Option<StatementRecord>,
}

/// Where an entry is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its index, from 0.
    pub index: u64,
    /// Whether it was there before, or earlier in the same batch.
    pub duplicate: bool,
}

/// An entry with the proof that it was logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedEntry {
    /// Its index, from 0.
    pub index: u64,
    /// What was logged.
    pub body: Vec<u8>,
    /// The first checkpoint with this entry in it. Its time is when the entry was logged, and
    /// stays so, however often the log signs later.
    pub checkpoint: VerifiedCheckpoint,
    /// Shows that the entry is in that checkpoint's tree.
    pub proof: InclusionProof,
}

impl Store {
    /// Opens the log in `dir`, or starts one there with an empty tree signed at `now` (seconds
    /// since 1970).
    ///
    /// Takes the directory for itself; checks that the stored checkpoint is signed by this key
    /// and fits the stored hashes; publishes what a crash left unpublished.
    pub fn open(dir: &Path, origin: &str, key: &LogKey, now: u64) -> Result<Self, StoreError> {
        let mut store = Self::load(dir, origin, key, true, now)?;
        store.check_clock(now)?;
        // Also when nothing seems owed: the process that wrote the file may have died before
        // syncing it.
        let from = store.published_at_start;
        store.publish(from)?;
        store.publish_missing_tiles(from)?;
        Ok(store)
    }

    /// Opens the log in `dir` for [`Store::check`]: nothing is started, published or mended.
    ///
    /// # Errors
    /// As [`Store::open`]; [`StoreError::Corrupt`] also if there is no log.
    pub fn open_as_it_is(
        dir: &Path,
        origin: &str,
        key: &LogKey,
        now: u64,
    ) -> Result<Self, StoreError> {
        if !dir.join(DATABASE).exists() {
            return Err(Corruption::MissingRow.into());
        }
        Self::load(dir, origin, key, false, now)
    }

    /// Opens database and files; starts a log if there is none and `may_start`.
    fn load(
        dir: &Path,
        origin: &str,
        key: &LogKey,
        may_start: bool,
        now: u64,
    ) -> Result<Self, StoreError> {
        if origin != key.origin() {
            return Err(StoreError::WrongOrigin {
                stored: key.origin().to_owned(),
                given: origin.to_owned(),
            });
        }
        let files = Files::open(dir)?;
        let db = db::open(&files.path(DATABASE), key.verifier())?;
        if db::log_row(&db)?.is_none() {
            if !may_start {
                return Err(Corruption::MissingRow.into());
            }
            start_log(&db, key, now)?;
            files.sync_root()?;
        }
        let head = stored_head(&db, key)?;
        let published = published_checkpoint(&files, &db, key, &head)?;
        let from = published.as_ref().map_or(0, size_of);
        Ok(Self {
            db,
            files,
            key: key.clone(),
            published: published.unwrap_or_else(|| head.clone()),
            published_at_start: from,
            head,
            hook: Hook::default(),
        })
    }

    /// Appends a batch: one transaction, one checkpoint signed at `now` (seconds since 1970).
    ///
    /// Returns when all of it is durable and published. After an error the batch may be in the
    /// log nevertheless, if only publishing failed; it is not visible then, and appending it
    /// again is safe, since an entry that is there already is found, not added.
    pub fn append(&mut self, entries: &[NewEntry], now: u64) -> Result<Vec<Appended>, StoreError> {
        check_entries(entries)?;
        self.settle()?;
        self.check_clock(now)?;
        let mut size = size_of(&self.head);
        let mut appended = Vec::with_capacity(entries.len());
        let mut is_changed = false;
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for entry in entries {
            let leaf = leaf_hash(&entry.body);
            if let Some(index) = db::index_of(&tx, &leaf)? {
                // Somebody may bring the statement of an entry that was logged without it.
                if let Some(statement) = &entry.statement
                    && db::statement_at(&tx, index)?.is_none()
                {
                    db::insert_statement(&tx, index, statement)?;
                    is_changed = true;
                }
                appended.push(Appended { index, duplicate: true });
            } else {
                db::insert_entry(&tx, size, leaf, entry)?;
                appended.push(Appended { index: size, duplicate: false });
                size += 1;
            }
        }
        if size == size_of(&self.head) {
            if is_changed {
                tx.commit()?;
            }
            return Ok(appended);
        }
        let head = sign(&tx, &self.key, size, now)?;
        db::insert_checkpoint(&tx, size, head.note(), signed_at(&head)?)?;
        db::set_checkpoint(&tx, head.note())?;
        self.hook.at(Step::Signed)?;
        tx.commit()?;
        self.head = head;
        self.hook.at(Step::Committed)?;
        self.publish(size_of(&self.published))?;
        Ok(appended)
    }

    /// The latest checkpoint, signed again with the time `now` (seconds since 1970) if it is older
    /// than `max_age_s` seconds. The new one is durable before it is returned.
    pub fn refresh_checkpoint(
        &mut self,
        now: u64,
        max_age_s: u64,
    ) -> Result<&VerifiedCheckpoint, StoreError> {
        self.settle()?;
        let last_signed = self.check_clock(now)?;
        if now.saturating_sub(last_signed) > max_age_s {
            let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let head = sign(&tx, &self.key, size_of(&self.head), now)?;
            db::set_checkpoint(&tx, head.note())?;
            self.hook.at(Step::Signed)?;
            tx.commit()?;
            self.head = head;
            self.hook.at(Step::Committed)?;
            self.publish(size_of(&self.published))?;
        }
        Ok(&self.published)
    }

    /// Name of the log.
    pub fn origin(&self) -> &str {
        self.key.origin()
    }

    /// Whether the file that readers see has the latest checkpoint.
    pub(crate) fn has_published_latest(&self) -> Result<bool, StoreError> {
        Ok(self.files.read(CHECKPOINT)?.as_deref() == Some(self.head.note()))
    }

    /// The log's public key.
    pub(crate) fn verifier(&self) -> &sealwright_tlog::VerifierKey {
        self.key.verifier()
    }

    /// How many entries the log has.
    pub fn size(&self) -> u64 {
        size_of(&self.published)
    }

    /// The published checkpoint.
    pub fn checkpoint(&self) -> &VerifiedCheckpoint {
        &self.published
    }

    /// An entry with its proof; `None` if the log has no such index.
    pub fn entry(&self, index: u64) -> Result<Option<LoggedEntry>, StoreError> {
        if index >= self.size() {
            return Ok(None);
        }
        let body = db::body(&self.db, index)?.ok_or(Corruption::MissingRow)?;
        let note = db::first_checkpoint_with(&self.db, index)?;
        let checkpoint = verify_checkpoint(&note, self.key.verifier())?;
        let proof = InclusionProof::prove(index, size_of(&checkpoint), &StoredHashes(&self.db))
            .map_err(prove_error)?;
        // A proof that does not hold must not leave the house.
        checkpoint
            .verify_inclusion(&proof, &leaf_hash(&body))
            .map_err(|_| Corruption::EntryProof)?;
        Ok(Some(LoggedEntry { index, body, checkpoint, proof }))
    }

    /// The published bytes of a hash tile or an entry bundle; `None` if there is none.
    pub fn tile(&self, tile: &Tile) -> Result<Option<Vec<u8>>, StoreError> {
        match tile.min_log_size() {
            Some(size) if size <= self.size() => self.files.read(&tile.path()),
            _ => Ok(None),
        }
    }

    /// Shows that the log of today begins with its first `old_size` entries unchanged.
    pub fn consistency(&self, old_size: u64) -> Result<ConsistencyProof, StoreError> {
        ConsistencyProof::prove(old_size, self.size(), &StoredHashes(&self.db)).map_err(prove_error)
    }

    /// Brings memory and files up to what the database says. After a commit that failed halfway
    /// only the database knows whether it happened; after a failed publication it is still owed.
    fn settle(&mut self) -> Result<(), StoreError> {
        let row = db::log_row(&self.db)?.ok_or(Corruption::MissingRow)?;
        if row.checkpoint != self.head.note() {
            self.head = stored_head(&self.db, &self.key)?;
        }
        if self.head != self.published {
            self.publish(size_of(&self.published))?;
        }
        Ok(())
    }

    /// Refuses to go back in time; returns the time of the last checkpoint.
    fn check_clock(&self, now: u64) -> Result<u64, StoreError> {
        let last_signed = signed_at(&self.head)?;
        if now < last_signed {
            return Err(StoreError::ClockBehind { now, last_signed });
        }
        Ok(last_signed)
    }

    /// Publishes the committed checkpoint, and before it the tiles by which the log has grown
    /// since `published_size`.
    fn publish(&mut self, published_size: u64) -> Result<(), StoreError> {
        for tile in tiles_for_growth(published_size, size_of(&self.head)) {
            self.write_tile(&tile)?;
            self.hook.at(Step::TilePublished)?;
        }
        self.hook.at(Step::TilesPublished)?;
        self.files.replace(CHECKPOINT, self.head.note())?;
        self.published = self.head.clone();
        self.hook.at(Step::CheckpointPublished)
    }

    /// Writes again what someone removed from below the published size.
    fn publish_missing_tiles(&mut self, published_size: u64) -> Result<(), StoreError> {
        for tile in tiles_for_growth(0, published_size) {
            if !self.files.exists(&tile.path())? {
                tracing::warn!(%tile, "a published tile is missing; writing it again");
                self.write_tile(&tile)?;
            }
        }
        Ok(())
    }

    fn write_tile(&mut self, tile: &Tile) -> Result<(), StoreError> {
        let content = match (tile.kind(), tile.hash_data(&StoredHashes(&self.db))) {
            (TileKind::Hashes { .. }, Some(data)) => data?,
            _ => entry_bundle(&self.db, tile)?,
        };
        self.files.write_immutable(&tile.path(), &content)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({:?}, {} entries)", self.origin(), self.size())
    }
}

fn start_log(db: &Connection, key: &LogKey, now: u64) -> Result<(), StoreError> {
    let tx = db.unchecked_transaction()?;
    let head = sign(&tx, key, 0, now)?;
    db::insert_checkpoint(&tx, 0, head.note(), signed_at(&head)?)?;
    db::insert_log(
        &tx,
        &LogRow {
            origin: key.origin().to_owned(),
            verifier_key: key.verifier().to_string(),
            checkpoint: head.note().to_vec(),
        },
    )?;
    Ok(tx.commit()?)
}

/// The committed checkpoint, checked against key, entries and hashes.
fn stored_head(db: &Connection, key: &LogKey) -> Result<VerifiedCheckpoint, StoreError> {
    let row = db::log_row(db)?.ok_or(Corruption::MissingRow)?;
    if row.origin != key.origin() {
        return Err(StoreError::WrongOrigin { stored: row.origin, given: key.origin().to_owned() });
    }
    let given = key.verifier().to_string();
    if row.verifier_key != given {
        return Err(StoreError::WrongKey { stored: row.verifier_key, given });
    }
    let head = verify_checkpoint(&row.checkpoint, key.verifier())?;
    signed_at(&head)?;
    if db::entry_count(db)? != size_of(&head) {
        return Err(Corruption::EntryCount.into());
    }
    if tree_hash(size_of(&head), &StoredHashes(db))? != head.checkpoint().root {
        return Err(Corruption::Root.into());
    }
    Ok(head)
}

/// The published checkpoint, if there is one; refuses one the database does not know of.
fn published_checkpoint(
    files: &Files,
    db: &Connection,
    key: &LogKey,
    head: &VerifiedCheckpoint,
) -> Result<Option<VerifiedCheckpoint>, StoreError> {
    let Some(note) = files.read(CHECKPOINT)? else { return Ok(None) };
    let published = verify_checkpoint(&note, key.verifier())?;
    let (published_size, stored_size) = (size_of(&published), size_of(head));
    let (published_at, stored_at) = (signed_at(&published)?, signed_at(head)?);
    if published_size > stored_size || published_at > stored_at {
        return Err(StoreError::RolledBack {
            published_size,
            published_at,
            stored_size,
            stored_at,
        });
    }
    if tree_hash(published_size, &StoredHashes(db))? != published.checkpoint().root {
        return Err(Corruption::PublishedRoot.into());
    }
    Ok(Some(published))
}

/// Signs the tree of the first `size` entries, and checks the signature before anyone sees it.
fn sign(
    db: &Connection,
    key: &LogKey,
    size: u64,
    now: u64,
) -> Result<VerifiedCheckpoint, StoreError> {
    let root = tree_hash(size, &StoredHashes(db))?;
    let checkpoint =
        Checkpoint { origin: key.origin().to_owned(), size, root, extensions: Vec::new() };
    let note = key.sign_checkpoint(&checkpoint, now)?.to_string();
    Ok(verify_checkpoint(note.as_bytes(), key.verifier())?)
}

fn entry_bundle(db: &Connection, tile: &Tile) -> Result<Vec<u8>, StoreError> {
    let first = tile.index().saturating_mul(256);
    let bodies = db::bodies(db, first, tile.width())?;
    if bodies.len() != usize::from(tile.width()) {
        return Err(Corruption::MissingRow.into());
    }
    encode_entry_bundle(&bodies).map_err(|_| Corruption::EntryLength.into())
}

fn check_entries(entries: &[NewEntry]) -> Result<(), StoreError> {
    for (position, entry) in entries.iter().enumerate() {
        let len = entry.body.len();
        if len > MAX_ENTRY_LEN {
            return Err(StoreError::EntryTooLong { position, len });
        }
        let Some(statement) = &entry.statement else { continue };
        for digest in statement.subjects.iter().chain([&statement.envelope_sha256]) {
            if !is_sha256_hex(digest) {
                return Err(StoreError::MalformedDigest { position, digest: digest.clone() });
            }
        }
    }
    Ok(())
}

fn is_sha256_hex(digest: &str) -> bool {
    digest.len() == 64 && digest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn size_of(checkpoint: &VerifiedCheckpoint) -> u64 {
    checkpoint.checkpoint().size
}

fn signed_at(checkpoint: &VerifiedCheckpoint) -> Result<u64, StoreError> {
    checkpoint.cosigned_at().ok_or(Corruption::NoTime.into())
}

fn prove_error(error: ProveError<StoreError>) -> StoreError {
    match error {
        ProveError::OutOfRange { asked, size } => StoreError::NoSuchSize { asked, size },
        ProveError::Read(error) => error,
    }
}
