//! A monitor: has a log only grown since it was last looked at, and what is new in it?
//!
//! Nothing the log says is believed: the hashes come from its tiles, the entries from its bundles,
//! and all of it has to lead to the roots that it signed. Blocking.

mod interests;

use std::fmt;

use sealwright_tlog::tile::{FULL_WIDTH, MAX_ENTRY_LEN, parse_entry_bundle};
use sealwright_tlog::{
    Checkpoint, CheckpointError, ConsistencyProof, Frontier, ProofError, ProveError, Tile,
    TileHashes, TileKind, TileReadError, TileSource, VerifiedCheckpoint, VerifierKey, leaf_hash,
    tree_hash, verify_checkpoint,
};

use crate::client::{ClientError, ServiceClient};

pub use interests::{Finding, InterestError, Interests};

/// What a look at a log found, all of it verified.
#[derive(Debug)]
pub struct Look {
    /// The log's checkpoint now: the one to remember for the next look.
    pub checkpoint: VerifiedCheckpoint,
    /// How many entries had been looked at before.
    pub old_size: u64,
    /// New entries that concern what is of interest.
    pub findings: Vec<Finding>,
    /// Numbers of new entries that nobody here can read, so that they may concern anything.
    pub unreadable: Vec<u64>,
}

/// Why a look at a log did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The log cannot be asked now. It says nothing of the log's honesty.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The log did what no honest log does.
    #[error("{0}")]
    Alarm(Box<Alarm>),
}

/// Misbehaviour of a log.
#[derive(Debug)]
pub struct Alarm {
    /// What kind.
    pub kind: AlarmKind,
    /// What exactly, for people.
    pub detail: String,
    /// The checkpoint that the log shows now, byte for byte; with the one seen before it is the
    /// evidence.
    pub note: Vec<u8>,
    /// What is in that checkpoint, if it is signed by the log.
    pub shown: Option<Checkpoint>,
}

/// Kinds of misbehaviour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlarmKind {
    /// The log signed two histories: its tree does not extend the one seen before.
    Fork,
    /// The log shows a smaller tree than before.
    Rewind,
    /// What it shows is not a checkpoint that its key signed.
    Checkpoint,
    /// Its tiles are missing or malformed, or do not lead to the root it signed.
    Tiles,
    /// Its entries are missing or malformed, or do not lead to the root it signed.
    Entries,
}

impl AlarmKind {
    /// A stable name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fork => "fork",
            Self::Rewind => "rewind",
            Self::Checkpoint => "checkpoint",
            Self::Tiles => "tiles",
            Self::Entries => "entries",
        }
    }
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

/// Looks at the log at `client`'s URL, whose checkpoints `key` signs, and compares it with the
/// checkpoint `before`; without one, with the empty tree.
///
/// All entries from the size of `before` on are fetched and hashed. That the root which the log
/// signed comes out shows at once that nothing before was changed and that no new entry is held back
/// or altered.
///
/// # Errors
/// [`LookError`]. What was found until then is not worth anything, and is not told.
pub fn look(
    client: &ServiceClient,
    key: &VerifierKey,
    before: Option<&Checkpoint>,
    interests: &Interests,
) -> Result<Look, LookError> {
    let note = client.log_checkpoint().map_err(|error| match error {
        ClientError::TooLarge { limit } => {
            let detail = format!("the log's checkpoint is longer than {limit} bytes");
            alarm(AlarmKind::Checkpoint, detail, &[], None)
        }
        error => error.into(),
    })?;
    let now = verify_checkpoint(&note, key).map_err(|error| not_signed(&error, &note))?;
    let view = View { client, note: &note, now: now.checkpoint() };
    let empty = Checkpoint {
        origin: key.name().to_owned(),
        size: 0,
        root: sealwright_tlog::Hash::EMPTY_ROOT,
        extensions: Vec::new(),
    };
    let before = before.unwrap_or(&empty);
    let mut edge = view.check_growth(before)?;
    let (findings, unreadable) = view.read_entries(&mut edge, interests)?;
    if edge.root() != view.now.root {
        return Err(view.alarm(
            AlarmKind::Entries,
            format!(
                "the entries from {} on do not lead to the root that the log signed: one is \
                 omitted or altered",
                before.size
            ),
        ));
    }
    Ok(Look { old_size: before.size, findings, unreadable, checkpoint: now })
}

/// A log as it shows itself in one checkpoint.
struct View<'a> {
    client: &'a ServiceClient,
    note: &'a [u8],
    now: &'a Checkpoint,
}

impl View<'_> {
    /// Checks by the hash tiles that the tree extends the one before; gives that one's edge.
    fn check_growth(&self, before: &Checkpoint) -> Result<Frontier, LookError> {
        let (old, new) = (before.size, self.now.size);
        if new < old {
            let detail = format!("the log went back from {old} to {new} entries");
            return Err(self.alarm(AlarmKind::Rewind, detail));
        }
        if new == old && self.now.root != before.root {
            let detail = format!("the log signed two different trees of {new} entries");
            return Err(self.alarm(AlarmKind::Fork, detail));
        }
        if new == 0 {
            return Ok(Frontier::default());
        }
        let tiles = TileHashes::new(self, new);
        let root = tree_hash(new, &tiles).map_err(|error| self.bad_tiles(error))?;
        if root != self.now.root {
            let detail = "the log's hash tiles do not lead to the root that it signed".to_owned();
            return Err(self.alarm(AlarmKind::Tiles, detail));
        }
        let proof = ConsistencyProof::prove(old, new, &tiles).map_err(|error| match error {
            ProveError::Read(error) => self.bad_tiles(error),
            error => self.alarm(AlarmKind::Tiles, error.to_string()),
        })?;
        proof.verify(&before.root, &self.now.root).map_err(|error| self.fork(old, &error))?;
        let edge = Frontier::read(old, &tiles).map_err(|error| self.bad_tiles(error))?;
        if edge.root() != before.root {
            let detail = format!("the log's hash tiles do not lead to its root at {old} entries");
            return Err(self.alarm(AlarmKind::Tiles, detail));
        }
        Ok(edge)
    }

    /// Appends all entries that `edge` does not have yet; gives those of interest, and the numbers
    /// of those that cannot be read.
    fn read_entries(
        &self,
        edge: &mut Frontier,
        interests: &Interests,
    ) -> Result<(Vec<Finding>, Vec<u64>), LookError> {
        let (mut findings, mut unreadable) = (Vec::new(), Vec::new());
        let full = u64::from(FULL_WIDTH);
        while edge.size() < self.now.size {
            let index = edge.size() / full;
            let width = (self.now.size - index * full).min(full);
            let tile = u16::try_from(width).ok().and_then(|width| Tile::entries(index, width));
            let Some(tile) = tile else { break };
            let bundle = self.fetch(&tile, AlarmKind::Entries)?;
            let entries = parse_entry_bundle(&bundle, tile.width())
                .map_err(|error| self.alarm(AlarmKind::Entries, format!("{tile}: {error}")))?;
            let known = usize::try_from(edge.size() % full).unwrap_or_default();
            for entry in entries.into_iter().skip(known) {
                match interests.look_at(edge.size(), entry) {
                    Ok(finding) => findings.extend(finding),
                    Err(_) => unreadable.push(edge.size()),
                }
                edge.push(leaf_hash(entry));
            }
        }
        Ok((findings, unreadable))
    }

    /// A tile. A partial one may be gone once the full one is there (C2SP tlog-tiles).
    fn fetch(&self, tile: &Tile, kind: AlarmKind) -> Result<Vec<u8>, LookError> {
        let missing = match self.get(tile) {
            Err(error) if tile.width() < FULL_WIDTH && is_absent(&error) => error,
            other => return other.map_err(|error| self.not_served(tile, kind, error)),
        };
        let Ok(content) = self.get(&tile.full()) else {
            return Err(self.not_served(tile, kind, missing));
        };
        tile.cut(&content)
            .ok_or_else(|| self.alarm(kind, format!("the full tile of {tile} is malformed")))
    }

    fn get(&self, tile: &Tile) -> Result<Vec<u8>, ClientError> {
        let width = usize::from(tile.width());
        let limit = match tile.kind() {
            TileKind::Hashes { .. } => width * 32,
            TileKind::Entries => width * (2 + MAX_ENTRY_LEN),
        };
        self.client.log_file(&tile.path(), limit)
    }

    fn not_served(&self, tile: &Tile, kind: AlarmKind, error: ClientError) -> LookError {
        match error {
            error if is_absent(&error) => {
                let detail = format!("the log signed a tree whose {tile} it does not serve");
                self.alarm(kind, detail)
            }
            ClientError::TooLarge { limit } => {
                self.alarm(kind, format!("{tile} is longer than {limit} bytes"))
            }
            error => error.into(),
        }
    }

    fn bad_tiles(&self, error: TileReadError<LookError>) -> LookError {
        match error {
            TileReadError::Source(error) => error,
            error => self.alarm(AlarmKind::Tiles, error.to_string()),
        }
    }

    fn fork(&self, old: u64, error: &ProofError) -> LookError {
        let detail = format!(
            "the log forked: its tree of {} entries does not extend the one of {old} entries that \
             it showed before ({error})",
            self.now.size
        );
        self.alarm(AlarmKind::Fork, detail)
    }

    fn alarm(&self, kind: AlarmKind, detail: String) -> LookError {
        alarm(kind, detail, self.note, Some(self.now.clone()))
    }
}

impl TileSource for View<'_> {
    type Error = LookError;

    fn read_tile(&self, tile: &Tile) -> Result<Vec<u8>, LookError> {
        self.fetch(tile, AlarmKind::Tiles)
    }
}

fn alarm(kind: AlarmKind, detail: String, note: &[u8], shown: Option<Checkpoint>) -> LookError {
    LookError::Alarm(Box::new(Alarm { kind, detail, note: note.to_vec(), shown }))
}

fn not_signed(error: &CheckpointError, note: &[u8]) -> LookError {
    alarm(AlarmKind::Checkpoint, format!("what the log shows is refused: {error}"), note, None)
}

fn is_absent(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused { status: 404 | 410, .. })
}
