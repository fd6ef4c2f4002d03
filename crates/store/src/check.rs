//! The whole store held against itself and the checkpoint: what nobody asks for while it serves.

use std::collections::HashMap;
use std::fmt;

use sealwright_tlog::merkle::stored_hash_count;
use sealwright_tlog::tile::tiles_for_growth;
use sealwright_tlog::{
    HashReader as _, leaf_hash, stored_hashes_for_leaf, tree_hash, verify_checkpoint,
};

use crate::database::{hashes_for, with_hashes};
use crate::error::StoreError;
use crate::store::{Store, tile_content};

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

/// Entries that are looked at together.
const CHUNK: u16 = 256;

impl Store {
    /// Computes every hash anew from the entries, and compares the stored hashes, all checkpoints that
    /// were ever signed, and every published tile with that. Reads everything; takes memory for one
    /// tile.
    ///
    /// # Errors
    /// When something cannot be read at all. What can be read and does not fit is in the report.
    pub fn check(&self) -> Result<CheckReport, StoreError> {
        let mut report = CheckReport::default();
        for first in (0..self.size()).step_by(usize::from(CHUNK)) {
            self.check_entries(first, &mut report)?;
        }
        // Others may have appended meanwhile.
        if self.db.next_index()? < self.size() {
            report.found(Problem::Entry { index: self.size() });
        }
        self.check_checkpoints(&mut report)?;
        if !self.is_latest_published()? {
            report.found(Problem::Published);
        }
        let (erased, remains) = self.db.erased()?;
        report.erased = erased;
        for index in remains {
            report.found(Problem::Erased { index });
        }
        for tile in tiles_for_growth(0, self.size()) {
            report.tiles += 1;
            // An entry that is missing is in the report already.
            let expected = tile_content(&*self.db, &tile).ok();
            if expected.is_none() || self.objects.read(&tile.path())? != expected {
                report.found(Problem::Tile { path: tile.path() });
            }
        }
        Ok(report)
    }

    /// Whether the checkpoint that readers see is the latest one, at a moment when nobody appends.
    fn is_latest_published(&self) -> Result<bool, StoreError> {
        self.db.begin_lease()?;
        let (latest, published) = (self.db.log_row(), self.objects.checkpoint());
        self.db.end_lease();
        let latest = latest?.map(|row| row.checkpoint);
        Ok(latest.is_some() && latest == published?.map(|published| published.note))
    }

    /// Checks a chunk of entries from `first` on.
    fn check_entries(&self, first: u64, report: &mut CheckReport) -> Result<(), StoreError> {
        let end = first.saturating_add(u64::from(CHUNK)).min(self.size());
        let bodies: HashMap<_, _> = self.db.bodies(first, CHUNK)?.into_iter().collect();
        let leaves: HashMap<_, _> =
            bodies.iter().map(|(index, body)| (*index, leaf_hash(body))).collect();
        let known = self.db.indexes_of(&leaves.values().copied().collect::<Vec<_>>())?;
        // The hashes to the left were compared before: what is computed of them is the truth, or their
        // difference is in the report already.
        let stored = hashes_for(&*self.db, |hashes| {
            tree_hash(first, hashes)?;
            let own = stored_hash_count(first)..stored_hash_count(end);
            own.into_iter().try_for_each(|position| hashes.read_hash(position).map(|_| ()))
        })?;
        for index in first..end {
            report.entries += 1;
            let Some(leaf) = leaves.get(&index) else {
                report.found(Problem::Entry { index });
                continue;
            };
            if known.get(leaf) != Some(&index) {
                report.found(Problem::Entry { index });
            }
            let computed = stored_hashes_for_leaf(index, *leaf, &stored)?;
            for (position, hash) in (stored_hash_count(index)..).zip(computed) {
                if stored.read_hash(position)? != hash {
                    report.found(Problem::Hash { position });
                }
            }
        }
        Ok(())
    }

    fn check_checkpoints(&self, report: &mut CheckReport) -> Result<(), StoreError> {
        let (mut next, mut last) = (0, 0);
        loop {
            let rows = self.db.checkpoints(next, CHUNK)?;
            let Some(end) = rows.last() else { return Ok(()) };
            next = end.size.saturating_add(1);
            for row in rows {
                report.checkpoints += 1;
                let is_right = match verify_checkpoint(&row.note, self.verifier()) {
                    Ok(checkpoint) => {
                        let time = checkpoint.cosigned_at().unwrap_or(0);
                        let is_later = time >= last && time == row.signed_at;
                        last = time;
                        let tree = checkpoint.checkpoint();
                        is_later
                            && tree.size == row.size
                            && row.size <= self.size()
                            && tree.root == with_hashes(&*self.db, |h| tree_hash(row.size, h))?
                    }
                    Err(_) => false,
                };
                if !is_right {
                    report.found(Problem::Checkpoint { size: row.size });
                }
            }
        }
    }
}
