//! The store: opening, reading, publishing.

use std::fmt;
use std::path::Path;

use sealwright_tlog::tile::{encode_entry_bundle, tiles_for_growth};
use sealwright_tlog::{
    Checkpoint, ConsistencyProof, Hash, InclusionProof, LogKey, ProveError, Tile, TileKind,
    VerifiedCheckpoint, leaf_hash, tree_hash, verify_checkpoint,
};

use crate::database::{CheckpointRow, Database, Hashes, LogRow, Transaction, with_hashes};
use crate::error::{Corruption, StoreError};
use crate::files::{Files, sync_dir};
use crate::hook::{Hook, Step};
use crate::objects::{Objects, TileReader, Version};
use crate::sqlite::Sqlite;
use crate::statements::StatementRecord;

pub(crate) const DATABASE: &str = "log.db";

/// Names the place where the log went on, if it did.
pub(crate) const MOVED: &str = "moved-to";

/// Tiles that are written together.
pub(crate) const TILES: usize = 8;

/// One log and the statements in it.
///
/// One thread writes; reading needs only `&self`.
pub struct Store {
    /// Fields are dropped in order, so the database is closed before the directory's lock goes.
    pub(crate) db: Box<dyn Database>,
    pub(crate) objects: Box<dyn Objects>,
    pub(crate) key: LogKey,
    /// The latest committed checkpoint, as far as this process knows. It differs from `published`
    /// only when publishing is owed.
    pub(crate) head: VerifiedCheckpoint,
    /// What readers of the log were shown last. Nothing beyond it is shown here.
    pub(crate) published: VerifiedCheckpoint,
    /// Which checkpoint the next one replaces.
    pub(crate) version: Option<Version>,
    /// A clock that is behind the last signature by up to this many seconds stands still instead.
    pub(crate) max_step_back_s: u64,
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
    /// Whether its statement is stored now and was not before, be the entry new or not.
    pub statement_added: bool,
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

/// How a store is opened.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// To serve. What a crash left unpublished is published; a log may be started if there is none.
    Serve { may_start: bool },
    /// To be looked at as it is.
    Look,
}

impl Store {
    /// Opens the log in `dir`, or starts one there with an empty tree signed at `now` (seconds
    /// since 1970).
    ///
    /// Takes the directory for itself; checks that the stored checkpoint is signed by this key
    /// and fits the stored hashes; publishes what a crash left unpublished.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(dir: &Path, origin: &str, key: &LogKey, now: u64) -> Result<Self, StoreError> {
        let files = Files::open(dir)?;
        refuse_moved(&files)?;
        let db = Sqlite::open(&files.path(DATABASE), key.verifier())?;
        let is_new = db.log_row()?.is_none();
        let how = Opening::Serve { may_start: true };
        let store = Self::load(Box::new(db), Box::new(files), origin, key, how, now)?;
        if is_new {
            // The database's files are there to stay.
            sync_dir(dir)?;
        }
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
        let files = Files::open(dir)?;
        // Whoever looks may append afterwards.
        refuse_moved(&files)?;
        let db = Sqlite::open(&files.path(DATABASE), key.verifier())?;
        Self::load(Box::new(db), Box::new(files), origin, key, Opening::Look, now)
    }

    /// Makes a store of a database and the place where the log is published.
    pub(crate) fn load(
        db: Box<dyn Database>,
        objects: Box<dyn Objects>,
        origin: &str,
        key: &LogKey,
        how: Opening,
        now: u64,
    ) -> Result<Self, StoreError> {
        if origin != key.origin() {
            return Err(StoreError::WrongOrigin {
                stored: key.origin().to_owned(),
                given: origin.to_owned(),
            });
        }
        // Others may append. Where this fails, the connection is gone, and the lease with it.
        db.begin_lease()?;
        let opened = match how {
            Opening::Look => Self::read(db, objects, key).and_then(|(store, _)| store.counted()),
            Opening::Serve { may_start } => Self::serve(db, objects, key, may_start, now),
        };
        opened.inspect(|store| store.db.end_lease())
    }

    fn serve(
        db: Box<dyn Database>,
        objects: Box<dyn Objects>,
        key: &LogKey,
        may_start: bool,
        now: u64,
    ) -> Result<Self, StoreError> {
        if db.log_row()?.is_none() {
            if !may_start {
                return Err(StoreError::NoLog);
            }
            refuse_published(&*objects, key)?;
            start_log(&*db, key, now)?;
        }
        let (mut store, from) = Self::read(db, objects, key)?;
        if !store.db.is_shared() {
            store.check_clock(now)?;
            // Also when nothing seems owed: the process that wrote the file may have died before
            // syncing it.
            store.publish(from)?;
            store.publish_missing_tiles(from)?;
        } else if store.is_publishing_owed()? {
            store.publish(from)?;
        }
        Ok(store)
    }

    /// Reads the head, checks it against what is published, and tells the size of that.
    fn read(
        db: Box<dyn Database>,
        objects: Box<dyn Objects>,
        key: &LogKey,
    ) -> Result<(Self, u64), StoreError> {
        let head = stored_head(&*db, key)?;
        let (published, version) = published_checkpoint(&*objects, &*db, key, &head)?;
        let from = published.as_ref().map_or(0, size_of);
        let store = Self {
            db,
            objects,
            key: key.clone(),
            published: published.unwrap_or_else(|| head.clone()),
            version,
            head,
            max_step_back_s: 0,
            hook: Hook::default(),
        };
        Ok((store, from))
    }

    /// Counts the entries. Whoever serves does not: it takes long while others wait, and a checkpoint whose
    /// root is that of the stored hashes, up to the last entry, is enough to go on from.
    fn counted(self) -> Result<Self, StoreError> {
        match self.db.entry_count()? == size_of(&self.head) {
            true => Ok(self),
            false => Err(Corruption::EntryCount.into()),
        }
    }

    /// Lets a clock that is behind the log's last signature by up to so many seconds stand still,
    /// where it would be refused otherwise: time servers correct by so much, and the clocks of those
    /// who share a log differ by so much.
    pub fn tolerate_steps_back(&mut self, max_step_back_s: u64) {
        self.max_step_back_s = max_step_back_s;
    }

    /// Sees what others who share the log have published. Whoever reads calls this first, so that
    /// whatever anybody has acknowledged is there. Where the log is not shared, it does nothing.
    ///
    /// # Errors
    /// [`StoreError::RolledBack`] when the database is behind what this process has seen.
    pub fn follow(&mut self) -> Result<(), StoreError> {
        if !self.db.is_shared() {
            return Ok(());
        }
        let note = self.db.published()?.ok_or(StoreError::NoLog)?;
        if note != self.published.note() {
            let published = verify_checkpoint(&note, self.key.verifier())?;
            refuse_rollback(&self.published, &published)?;
            self.published = published;
        }
        Ok(())
    }

    /// Name of the log.
    pub fn origin(&self) -> &str {
        self.key.origin()
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
    ///
    /// # Errors
    /// When the database fails, or does not prove the entry.
    pub fn entry(&self, index: u64) -> Result<Option<LoggedEntry>, StoreError> {
        if index >= self.size() {
            return Ok(None);
        }
        let body = self.db.bodies(index, 1)?.pop().filter(|(found, _)| *found == index);
        let (_, body) = body.ok_or(Corruption::MissingRow)?;
        let note = self.db.first_checkpoint_with(index)?;
        let checkpoint = verify_checkpoint(&note, self.key.verifier())?;
        let proof = with_hashes(&*self.db, |hashes| {
            InclusionProof::prove(index, size_of(&checkpoint), hashes).map_err(prove_error)
        })?;
        // A proof that does not hold must not leave the house.
        checkpoint
            .verify_inclusion(&proof, &leaf_hash(&body))
            .map_err(|_| Corruption::EntryProof)?;
        Ok(Some(LoggedEntry { index, body, checkpoint, proof }))
    }

    /// Whether a tile is published.
    pub fn has_tile(&self, tile: &Tile) -> bool {
        tile.min_log_size().is_some_and(|size| size <= self.size())
    }

    /// Where tiles can be read without holding up others who read from the store; `None` where
    /// [`Store::tile`] reads a file.
    pub fn tile_reader(&self) -> Option<TileReader> {
        self.objects.reader()
    }

    /// The published bytes of a hash tile or an entry bundle; `None` if there is none. Those of a shared
    /// log are made of the database, which is not the quickest way: see [`Store::tile_reader`].
    ///
    /// # Errors
    /// When neither a file nor the database has what was published.
    pub fn tile(&self, tile: &Tile) -> Result<Option<Vec<u8>>, StoreError> {
        if !self.has_tile(tile) {
            return Ok(None);
        }
        if self.db.is_shared() {
            return tile_content(&*self.db, tile).map(Some);
        }
        self.objects.read(&tile.path())
    }

    /// Shows that the log of today begins with its first `old_size` entries unchanged.
    ///
    /// # Errors
    /// [`StoreError::NoSuchSize`], or when the database fails.
    pub fn consistency(&self, old_size: u64) -> Result<ConsistencyProof, StoreError> {
        with_hashes(&*self.db, |hashes| {
            ConsistencyProof::prove(old_size, self.size(), hashes).map_err(prove_error)
        })
    }

    /// Publishes the committed checkpoint, and before it the tiles by which the log has grown
    /// since `published_size`.
    pub(crate) fn publish(&mut self, published_size: u64) -> Result<(), StoreError> {
        let tiles = tiles_for_growth(published_size, size_of(&self.head));
        self.write_tiles(&tiles)?;
        self.hook.at(Step::TilesPublished)?;
        let replaced = self.objects.replace_checkpoint(self.head.note(), self.version.as_ref())?;
        self.version = Some(replaced);
        self.hook.at(Step::CheckpointReplaced)?;
        self.db.set_published(self.head.note())?;
        self.published = self.head.clone();
        self.hook.at(Step::CheckpointPublished)
    }

    /// Writes again what someone removed from below the published size.
    fn publish_missing_tiles(&mut self, published_size: u64) -> Result<(), StoreError> {
        for tile in tiles_for_growth(0, published_size) {
            if !self.objects.exists(&tile.path())? {
                tracing::warn!(%tile, "a published tile is missing; writing it again");
                self.write_tiles(&[tile])?;
            }
        }
        Ok(())
    }

    fn write_tiles(&mut self, tiles: &[Tile]) -> Result<(), StoreError> {
        let Self { db, objects, hook, .. } = self;
        for tiles in tiles.chunks(TILES) {
            let contents = tiles.iter().map(|tile| Ok((tile.path(), tile_content(&**db, tile)?)));
            let contents: Vec<_> = contents.collect::<Result<_, StoreError>>()?;
            objects.write_tiles(&contents, &mut || hook.at(Step::TilePublished))?;
            db.keep_lease()?;
        }
        Ok(())
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({:?}, {} entries)", self.origin(), self.size())
    }
}

/// Refuses to serve a log that went on elsewhere.
fn refuse_moved(files: &Files) -> Result<(), StoreError> {
    match files.read(MOVED)? {
        None => Ok(()),
        Some(to) => Err(StoreError::Moved { to: String::from_utf8_lossy(&to).trim().to_owned() }),
    }
}

/// Refuses to begin a log where one was published.
fn refuse_published(objects: &dyn Objects, key: &LogKey) -> Result<(), StoreError> {
    let Some(published) = objects.checkpoint()? else { return Ok(()) };
    let published = verify_checkpoint(&published.note, key.verifier())?;
    Err(StoreError::RolledBack {
        published_size: size_of(&published),
        published_at: signed_at(&published)?,
        stored_size: 0,
        stored_at: 0,
    })
}

fn start_log(db: &dyn Database, key: &LogKey, now: u64) -> Result<(), StoreError> {
    let tx = Transaction::begin(db)?;
    let head = sign(key, 0, &Hashes::default(), now)?;
    db.insert_checkpoint(&checkpoint_row(&head)?)?;
    db.insert_log(&LogRow {
        origin: key.origin().to_owned(),
        verifier_key: key.verifier().to_string(),
        checkpoint: head.note().to_vec(),
    })?;
    tx.commit()
}

pub(crate) fn checkpoint_row(checkpoint: &VerifiedCheckpoint) -> Result<CheckpointRow, StoreError> {
    let (size, signed_at) = (size_of(checkpoint), signed_at(checkpoint)?);
    Ok(CheckpointRow { size, note: checkpoint.note().to_vec(), signed_at })
}

/// The committed checkpoint, checked against key and hashes and the index of the last entry.
pub(crate) fn stored_head(
    db: &dyn Database,
    key: &LogKey,
) -> Result<VerifiedCheckpoint, StoreError> {
    let row = db.log_row()?.ok_or(Corruption::MissingRow)?;
    if row.origin != key.origin() {
        return Err(StoreError::WrongOrigin { stored: row.origin, given: key.origin().to_owned() });
    }
    let given = key.verifier().to_string();
    if row.verifier_key != given {
        return Err(StoreError::WrongKey { stored: row.verifier_key, given });
    }
    let head = verify_checkpoint(&row.checkpoint, key.verifier())?;
    signed_at(&head)?;
    if db.next_index()? != size_of(&head) {
        return Err(Corruption::EntryCount.into());
    }
    if stored_root(db, size_of(&head))? != head.checkpoint().root {
        return Err(Corruption::Root.into());
    }
    Ok(head)
}

fn stored_root(db: &dyn Database, size: u64) -> Result<Hash, StoreError> {
    with_hashes(db, |hashes| tree_hash(size, hashes))
}

/// The published checkpoint with its version, if there is one; refuses one the database does not
/// know of.
pub(crate) fn published_checkpoint(
    objects: &dyn Objects,
    db: &dyn Database,
    key: &LogKey,
    head: &VerifiedCheckpoint,
) -> Result<(Option<VerifiedCheckpoint>, Option<Version>), StoreError> {
    let Some(found) = objects.checkpoint()? else { return Ok((None, None)) };
    let published = verify_checkpoint(&found.note, key.verifier())?;
    refuse_rollback(&published, head)?;
    if stored_root(db, size_of(&published))? != published.checkpoint().root {
        return Err(Corruption::PublishedRoot.into());
    }
    Ok((Some(published), Some(found.version)))
}

/// Refuses a stored checkpoint that is before one that was published.
pub(crate) fn refuse_rollback(
    published: &VerifiedCheckpoint,
    stored: &VerifiedCheckpoint,
) -> Result<(), StoreError> {
    let (published_size, stored_size) = (size_of(published), size_of(stored));
    let (published_at, stored_at) = (signed_at(published)?, signed_at(stored)?);
    if published_size > stored_size || published_at > stored_at {
        return Err(StoreError::RolledBack {
            published_size,
            published_at,
            stored_size,
            stored_at,
        });
    }
    Ok(())
}

/// Signs the tree of the first `size` entries, and checks the signature before anyone sees it.
pub(crate) fn sign(
    key: &LogKey,
    size: u64,
    hashes: &Hashes,
    now: u64,
) -> Result<VerifiedCheckpoint, StoreError> {
    let root = tree_hash(size, hashes)?;
    let checkpoint =
        Checkpoint { origin: key.origin().to_owned(), size, root, extensions: Vec::new() };
    let note = key.sign_checkpoint(&checkpoint, now)?.to_string();
    Ok(verify_checkpoint(note.as_bytes(), key.verifier())?)
}

/// What a tile has to hold.
pub(crate) fn tile_content(db: &dyn Database, tile: &Tile) -> Result<Vec<u8>, StoreError> {
    if matches!(tile.kind(), TileKind::Hashes { .. }) {
        let missing = || Err(Corruption::MissingRow.into());
        return with_hashes(db, |hashes| tile.hash_data(hashes).unwrap_or_else(missing));
    }
    let first = tile.index().saturating_mul(256);
    let bodies = db.bodies(first, tile.width())?;
    let is_whole = bodies.len() == usize::from(tile.width())
        && bodies.iter().zip(first..).all(|((found, _), index)| *found == index);
    if !is_whole {
        return Err(Corruption::MissingRow.into());
    }
    let bodies: Vec<_> = bodies.into_iter().map(|(_, body)| body).collect();
    encode_entry_bundle(&bodies).map_err(|_| Corruption::EntryLength.into())
}

pub(crate) fn size_of(checkpoint: &VerifiedCheckpoint) -> u64 {
    checkpoint.checkpoint().size
}

pub(crate) fn signed_at(checkpoint: &VerifiedCheckpoint) -> Result<u64, StoreError> {
    checkpoint.cosigned_at().ok_or(Corruption::NoTime.into())
}

fn prove_error(error: ProveError<StoreError>) -> StoreError {
    match error {
        ProveError::OutOfRange { asked, size } => StoreError::NoSuchSize { asked, size },
        ProveError::Read(error) => error,
    }
}
