//! The whole store held against itself and the checkpoint: what nobody asks for while it serves.

use std::fmt;

use sealwright_tlog::merkle::stored_hash_count;
use sealwright_tlog::tile::{encode_entry_bundle, tiles_for_growth};
use sealwright_tlog::{
    HashReader as _, Tile, TileKind, leaf_hash, stored_hashes_for_leaf, tree_hash,
    verify_checkpoint,
};

use crate::db::{self, StoredHashes};
use crate::error::StoreError;
use crate::statements::Payload;
use crate::store::Store;

/// Problems that are named; more are counted.
const MAX_NAMED: usize = 100;

/// What [`Store::check`] looked at, and what does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckReport {
    /// Entries, whose hashes were computed anew from their bodies.
    pub entries: u64,
    /// Checkpoints that the log ever signed for another size, each held against the tree.
    pub checkpoints: u64,
    /// Tiles and entry bundles on disk, compared byte for byte.
    pub tiles: u64,
    /// Statements that were erased.
    pub erased: u64,
    /// The first hundred problems.
    pub problems: Vec<Problem>,
    /// How many more there are.
    pub more: u64,
}

/// Something that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// An entry is missing, or its leaf is not the hash of its body.
    Entry {
        /// Its index.
        index: u64,
    },
    /// A stored hash is not that of the entries.
    Hash {
        /// Its place among the stored hashes.
        position: u64,
    },
    /// A checkpoint is not signed by the log, or is not of this tree.
    Checkpoint {
        /// Its tree size.
        size: u64,
    },
    /// A statement was erased, and something of it is still there.
    Erased {
        /// Its index.
        index: u64,
    },
    /// The published checkpoint is missing, or is not the latest.
    Published,
    /// A tile is missing, or is not what the entries give.
    Tile {
        /// Its path.
        path: String,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry { index } => write!(f, "entry {index} is not what was logged"),
            Self::Hash { position } => {
                write!(f, "the stored hash {position} is not that of the entries")
            }
            Self::Checkpoint { size } => {
                write!(f, "the checkpoint of size {size} is not of this tree")
            }
            Self::Erased { index } => {
                write!(f, "statement {index} was erased, and something of it is still there")
            }
            Self::Published => f.write_str("the published checkpoint is missing or not the latest"),
            Self::Tile { path } => write!(f, "{path} is not what the entries give"),
        }
    }
}

impl CheckReport {
    /// Whether everything fits.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    fn found(&mut self, problem: Problem) {
        if self.problems.len() < MAX_NAMED {
            self.problems.push(problem);
        } else {
            self.more += 1;
        }
    }
}

impl Store {
    /// Computes every hash anew from the entries, and compares the stored hashes, all checkpoints that
    /// were ever signed, and every tile on disk with that. Reads everything; takes memory for one tile.
    ///
    /// # Errors
    /// When something cannot be read at all. What can be read and does not fit is in the report.
    pub fn check(&self) -> Result<CheckReport, StoreError> {
        let mut report = CheckReport::default();
        self.check_entries(&mut report)?;
        self.check_checkpoints(&mut report)?;
        if !self.has_published_latest()? {
            report.found(Problem::Published);
        }
        for tile in tiles_for_growth(0, self.size()) {
            report.tiles += 1;
            if !self.is_right(&tile)? {
                report.found(Problem::Tile { path: tile.path() });
            }
        }
        Ok(report)
    }

    fn check_entries(&self, report: &mut CheckReport) -> Result<(), StoreError> {
        let stored = StoredHashes(&self.db);
        for index in 0..self.size() {
            report.entries += 1;
            let Some(body) = db::body(&self.db, index)? else {
                report.found(Problem::Entry { index });
                continue;
            };
            let leaf = leaf_hash(&body);
            if db::index_of(&self.db, &leaf)? != Some(index) {
                report.found(Problem::Entry { index });
            }
            // The hashes to the left were compared before: what is computed of them is the truth, or
            // their difference is in the report already.
            let computed = stored_hashes_for_leaf(index, leaf, &stored)?;
            for (position, hash) in (stored_hash_count(index)..).zip(computed) {
                if stored.read_hash(position)? != hash {
                    report.found(Problem::Hash { position });
                }
            }
            self.check_erased(index, report)?;
        }
        Ok(())
    }

    fn check_erased(&self, index: u64, report: &mut CheckReport) -> Result<(), StoreError> {
        let statement = db::statement_at(&self.db, index)?;
        if matches!(statement.map(|it| it.payload), Some(Payload::Erased { .. })) {
            report.erased += 1;
            if db::has_remains(&self.db, index)? {
                report.found(Problem::Erased { index });
            }
        }
        Ok(())
    }

    fn check_checkpoints(&self, report: &mut CheckReport) -> Result<(), StoreError> {
        let mut last = 0;
        for (size, note, signed_at) in db::checkpoints(&self.db)? {
            report.checkpoints += 1;
            let is_right = match verify_checkpoint(&note, self.verifier()) {
                Ok(checkpoint) => {
                    let time = checkpoint.cosigned_at().unwrap_or(0);
                    let is_later = time >= last;
                    last = time;
                    let tree = checkpoint.checkpoint();
                    let fits = tree.size == size && size <= self.size() && time == signed_at;
                    is_later && fits && tree.root == tree_hash(size, &StoredHashes(&self.db))?
                }
                Err(_) => false,
            };
            if !is_right {
                report.found(Problem::Checkpoint { size });
            }
        }
        Ok(())
    }

    fn is_right(&self, tile: &Tile) -> Result<bool, StoreError> {
        let Some(content) = self.tile(tile)? else { return Ok(false) };
        let expected = match tile.kind() {
            TileKind::Hashes { .. } => match tile.hash_data(&StoredHashes(&self.db)) {
                Some(data) => data?,
                None => return Ok(false),
            },
            TileKind::Entries => {
                let first = tile.index().saturating_mul(256);
                let bodies = db::bodies(&self.db, first, tile.width())?;
                encode_entry_bundle(&bodies).unwrap_or_default()
            }
        };
        Ok(content == expected)
    }
}
