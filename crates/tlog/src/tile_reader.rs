//! Stored hashes out of hash tiles: what a reader of a log knows who has not stored it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::hash::{Hash, node_hash};
use crate::merkle::{HashReader, split_stored_hash_position};
use crate::tile::{FULL_WIDTH, Tile};

/// Tree levels in one tile.
const LEVELS: u8 = 8;

/// Gives out hash tiles, unverified: from a directory, from the network.
pub trait TileSource {
    /// What can go wrong.
    type Error;

    /// The content of a hash tile.
    ///
    /// # Errors
    /// When the tile cannot be had.
    fn read_tile(&self, tile: &Tile) -> Result<Vec<u8>, Self::Error>;
}

/// The hashes of a tree of `size` leaves, read from its tiles.
///
/// Nothing is verified: a root or a proof computed from these hashes is worth what it is compared
/// with. Each tile is asked for once.
pub struct TileHashes<'a, S: TileSource> {
    source: &'a S,
    size: u64,
    tiles: RefCell<HashMap<Tile, Vec<Hash>>>,
}

/// Why tiles do not give a hash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TileReadError<E> {
    /// The tile cannot be had.
    #[error("cannot read a tile")]
    Source(#[source] E),
    /// The tile is not as long as its path says.
    #[error("{tile} has {len} bytes, not {} hashes", tile.width())]
    Length {
        /// The tile.
        tile: Tile,
        /// Its length in bytes.
        len: usize,
    },
    /// The tree has no such hash.
    #[error("the tree has no hash at position {position}")]
    Outside {
        /// The position asked for.
        position: u64,
    },
}

impl<'a, S: TileSource> TileHashes<'a, S> {
    /// The hashes of the tree of `size` leaves.
    pub fn new(source: &'a S, size: u64) -> Self {
        Self { source, size, tiles: RefCell::new(HashMap::new()) }
    }

    /// The root of a complete subtree below one hash of the tile above, from the hashes of `tile`.
    fn subtree(
        &self,
        tile: Tile,
        first: usize,
        count: usize,
    ) -> Result<Option<Hash>, TileReadError<S::Error>> {
        let mut tiles = self.tiles.borrow_mut();
        let hashes = match tiles.entry(tile) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let content = self.source.read_tile(&tile).map_err(TileReadError::Source)?;
                let hashes = parse(&content, tile.width())
                    .ok_or(TileReadError::Length { tile, len: content.len() })?;
                place.insert(hashes)
            }
        };
        let hashes = hashes.get(first..first + count);
        Ok(hashes.and_then(complete))
    }
}

impl<S: TileSource> HashReader for TileHashes<'_, S> {
    type Error = TileReadError<S::Error>;

    fn read_hash(&self, position: u64) -> Result<Hash, Self::Error> {
        let outside = || TileReadError::Outside { position };
        let (level, n) = split_stored_hash_position(position);
        let (tile_level, within) = (level / LEVELS, level % LEVELS);
        let full = u64::from(FULL_WIDTH);
        let first = n.checked_mul(1 << within).ok_or_else(outside)?;
        let at_level = self.size.checked_shr(u32::from(tile_level * LEVELS)).unwrap_or(0);
        let index = first / full;
        let width = at_level.saturating_sub(index.saturating_mul(full)).min(full);
        let tile = u16::try_from(width).ok().and_then(|w| Tile::hashes(tile_level, index, w));
        let first = usize::try_from(first % full).map_err(|_| outside())?;
        self.subtree(tile.ok_or_else(outside)?, first, 1 << within)?.ok_or_else(outside)
    }
}

/// The hashes of a tile of exactly this width.
fn parse(content: &[u8], width: u16) -> Option<Vec<Hash>> {
    let (hashes, rest) = content.as_chunks::<{ Hash::LEN }>();
    (rest.is_empty() && hashes.len() == usize::from(width))
        .then(|| hashes.iter().copied().map(Hash).collect())
}

/// The root of a complete subtree from its leaves, 2^k of them.
fn complete(hashes: &[Hash]) -> Option<Hash> {
    match hashes {
        [] => None,
        [hash] => Some(*hash),
        hashes => {
            let (left, right) = hashes.split_at(hashes.len() / 2);
            Some(node_hash(&complete(left)?, &complete(right)?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::leaf_hash;
    use crate::merkle::{stored_hash_count, stored_hashes_for_leaf, tree_hash};
    use crate::proof::ConsistencyProof;

    struct Stored(Vec<Hash>);

    impl TileSource for Stored {
        type Error = ();

        fn read_tile(&self, tile: &Tile) -> Result<Vec<u8>, ()> {
            tile.hash_data(&self.0).ok_or(())?.map_err(|_| ())
        }
    }

    fn stored(size: u64) -> Stored {
        let mut hashes = Vec::new();
        for index in 0..size {
            let leaf = leaf_hash(&index.to_be_bytes());
            let new = stored_hashes_for_leaf(index, leaf, &hashes).unwrap();
            hashes.extend(new);
        }
        Stored(hashes)
    }

    #[test]
    fn tiles_give_every_stored_hash() {
        let all = stored(70_000);
        for size in [1, 2, 255, 256, 257, 1000, 65_536, 70_000] {
            let tiles = TileHashes::new(&all, size);
            assert_eq!(tree_hash(size, &tiles).unwrap(), tree_hash(size, &all.0).unwrap());
            let count = stored_hash_count(size);
            for position in (0..count).step_by(97).chain(count - 1..count) {
                assert_eq!(tiles.read_hash(position).unwrap(), all.0.read_hash(position).unwrap());
            }
            for old in [0, 1, size / 3, size - 1, size] {
                let proof = ConsistencyProof::prove(old, size, &tiles).unwrap();
                assert_eq!(proof, ConsistencyProof::prove(old, size, &all.0).unwrap());
            }
        }
        for position in [3, u64::MAX, u64::MAX - 1, 1 << 63] {
            assert!(TileHashes::new(&all, 2).read_hash(position).is_err(), "{position}");
        }
    }

    #[test]
    fn a_tile_of_another_length_is_refused() {
        struct Short;
        impl TileSource for Short {
            type Error = ();
            fn read_tile(&self, _: &Tile) -> Result<Vec<u8>, ()> {
                Ok(vec![0; 33])
            }
        }
        let tile = Tile::hashes(0, 0, 2).unwrap();
        let error = TileHashes::new(&Short, 2).read_hash(0).unwrap_err();
        assert_eq!(error, TileReadError::Length { tile, len: 33 });
    }
}
