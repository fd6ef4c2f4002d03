//! The mathematics of a tile-based transparency log: hashes, proofs, tiles, signed notes,
//! checkpoints and cosignatures.
//!
//! Everything here is a plain function over values. Reading and writing tiles, and knowing what
//! time it is, belong to the caller: hashes come in through [`HashReader`], time as an argument.
//!
//! | Module | Specification |
//! | --- | --- |
//! | [`hash`], [`merkle`], [`frontier`], [`proof`] | RFC 6962 §2.1 |
//! | [`tile`], [`tile_reader`] | C2SP tlog-tiles |
//! | [`note`], [`key`] | C2SP signed-note |
//! | [`checkpoint`] | C2SP tlog-checkpoint |
//! | [`cosignature`] | C2SP tlog-cosignature, `cosignature/v1` |
//! | [`witness`] | C2SP tlog-witness |

pub mod checkpoint;
pub mod cosignature;
pub mod frontier;
pub mod hash;
pub mod key;
pub mod merkle;
pub mod note;
pub mod proof;
pub mod tile;
pub mod tile_reader;
pub mod witness;

pub use checkpoint::{Checkpoint, CheckpointError, VerifiedCheckpoint, verify_checkpoint};
pub use frontier::Frontier;
pub use hash::{Hash, leaf_hash, node_hash};
pub use key::{KeyError, LogKey, VerifierKey};
pub use merkle::{HashReader, MissingHash, stored_hashes_for_leaf, tree_hash};
pub use note::{NoteError, NoteSignature, SignedNote};
pub use proof::{ConsistencyProof, InclusionProof, ProofError, ProveError};
pub use tile::{Tile, TileKind};
pub use tile_reader::{TileHashes, TileReadError, TileSource};
