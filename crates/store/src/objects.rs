//! What the store asks of the place where readers of the log find it: files in a directory, or
//! objects in a bucket.

use std::sync::Arc;

use sealwright_tlog::Tile;

use crate::error::StoreError;

/// Where tiles and the checkpoint are published. Paths are those of C2SP tlog-tiles.
pub(crate) trait Objects: Send {
    /// The content of a tile; `None` if it is not there.
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Another handle to read tiles with, if reading them may take long.
    fn reader(&self) -> Option<TileReader>;

    /// Whether a tile is there.
    fn exists(&self, path: &str) -> Result<bool, StoreError>;

    /// Writes tiles, durably. A tile never changes: one that is there already must be equal. `each`
    /// is called after each of them.
    fn write_tiles(
        &mut self,
        tiles: &[(String, Vec<u8>)],
        each: &mut dyn FnMut() -> Result<(), StoreError>,
    ) -> Result<(), StoreError>;

    /// The published checkpoint; `None` if there is none.
    fn checkpoint(&self) -> Result<Option<Published>, StoreError>;

    /// Publishes a checkpoint, durably, in the place of the one that was read last, and of no other:
    /// fails with [`StoreError::LeaseLost`] when somebody else has replaced that. Returns what the
    /// next one replaces.
    fn replace_checkpoint(
        &mut self,
        note: &[u8],
        last: Option<&Version>,
    ) -> Result<Version, StoreError>;
}

type ReadTile = dyn Fn(&str) -> Result<Option<Vec<u8>>, StoreError> + Send + Sync;

/// Reads published tiles of a shared log from its bucket, without the store. Gives up soon: the database
/// has them as well.
#[derive(Clone)]
pub struct TileReader(pub(crate) Arc<ReadTile>);

impl TileReader {
    /// The bytes of a tile, which the caller knows to be published ([`Store::has_tile`]); `None` if the
    /// bucket has none or does not answer in time. Blocks, and must not be called on an async thread.
    ///
    /// [`Store::has_tile`]: crate::Store::has_tile
    pub fn read(&self, tile: &Tile) -> Option<Vec<u8>> {
        (self.0)(&tile.path()).unwrap_or_else(|error| {
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::warn!(%tile, error, "a tile comes from the database instead of the bucket");
            None
        })
    }
}

impl std::fmt::Debug for TileReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TileReader")
    }
}

/// A checkpoint as it was published.
pub(crate) struct Published {
    pub(crate) note: Vec<u8>,
    pub(crate) version: Version,
}

/// What distinguishes one content of an object from the next: its entity tag. A directory that
/// one process holds needs none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version(pub(crate) Option<String>);
