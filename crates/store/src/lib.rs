//! The log's state and the statements it stands for: one SQLite database and a directory of tiles.
//!
//! The store keeps things and gives them back. It does not judge: whether a statement is well
//! formed, who signed it and what it is worth is for others to say. It reads no clock either; the
//! time is an argument.
//!
//! # What is where
//!
//! ```text
//! <dir>/lock             held exclusively while a store is open
//! <dir>/log.db           SQLite: entries, stored hashes, statements, signed checkpoints
//! <dir>/checkpoint       the published checkpoint, a signed note
//! <dir>/tile/...         hash tiles and entry bundles (C2SP tlog-tiles)
//! <dir>/tmp/             files being written
//! ```
//!
//! The database is the truth. Tiles and the `checkpoint` file are derived from it; readers of the
//! log need nothing else.
//!
//! # What is durable when
//!
//! An append is acknowledged after these steps, in this order:
//!
//! 1. One database transaction holds the entries, their hashes, their statements and the signed
//!    checkpoint with its time. SQLite runs in WAL mode with `synchronous=FULL`: the commit
//!    returns after the log file was synced. A signature over a tree therefore never exists
//!    outside without the tree being kept, and no second tree of that size can be signed.
//! 2. Each new tile and entry bundle: written to `tmp/`, `fsync`, `rename` into place, `fsync` of
//!    its directory. The first time a process uses a directory, it also syncs the parent, since
//!    whoever created the directory may have died before doing so. A tile never changes: if it is
//!    there already it must be equal, byte for byte, and is synced again.
//! 3. The `checkpoint` file, replaced in the same way. It comes last: whatever it promises is there.
//!
//! A crash before the end of step 1 leaves nothing. A crash later leaves publishing owed: the next
//! [`Store::open`] (or, if publishing failed without a crash, the next call that writes) finishes
//! it before anything else. Until then the batch is not visible through the reading functions.
//!
//! Time never goes back: the store refuses to sign at a time before the last one it signed.
//!
//! A database that is behind its own published checkpoint was restored from an old copy; going on
//! would sign a second history. [`Store::open`] refuses it.

mod backup;
mod check;
mod database;
mod error;
mod files;
mod hook;
mod objects;
mod records;
mod schema;
mod sequence;
mod shared;
mod sqlite;
mod statements;
mod store;

pub use backup::{Snapshot, snapshot};
pub use check::{CheckReport, Problem};
pub use error::{Corruption, StoreError, WriteFault};
#[cfg(feature = "testing")]
pub use hook::Step;
pub use objects::TileReader;
#[cfg(all(feature = "testing", feature = "scale-out"))]
pub use postgres;
pub use records::{RecordName, WitnessRecords};
pub use shared::{Moved, Place};
pub use statements::{Filter, MAX_TEXT, Payload, StatementRecord, StoredStatement};
pub use store::{Appended, LoggedEntry, NewEntry, Store};
