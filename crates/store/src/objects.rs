//! What the store asks of the place where readers of the log find it: files in a directory, or
//! objects in a bucket.

use crate::error::StoreError;

/// Where tiles and the checkpoint are published. Paths are those of C2SP tlog-tiles.
pub(crate) trait Objects: Send {
    /// The content of a tile; `None` if it is not there.
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, StoreError>;

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

/// A checkpoint as it was published.
pub(crate) struct Published {
    pub(crate) note: Vec<u8>,
    pub(crate) version: Version,
}

/// What distinguishes one content of an object from the next: its entity tag. A directory that
/// one process holds needs none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version(pub(crate) Option<String>);
