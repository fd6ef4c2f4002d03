//! Where a tree's hashes are stored, and the roots that follow from them.
//!
//! A log keeps the hash of every *complete* subtree (2^level leaves) in one append-only sequence:
//! first the leaf, then each larger subtree which that leaf completes. The hash of any range of
//! leaves is computed from those. The numbering is the one of Go's `golang.org/x/mod/sumdb/tlog`.

use crate::hash::{Hash, node_hash};

/// Gives out stored hashes by their position in append order.
pub trait HashReader {
    /// What can go wrong while reading.
    type Error;

    /// The hash at `position`; a position that was never written is an error.
    fn read_hash(&self, position: u64) -> Result<Hash, Self::Error>;
}

/// A position at which a sequence in memory has no hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no stored hash at position {position}")]
pub struct MissingHash {
    /// The position asked for.
    pub position: u64,
}

impl HashReader for [Hash] {
    type Error = MissingHash;

    fn read_hash(&self, position: u64) -> Result<Hash, MissingHash> {
        usize::try_from(position)
            .ok()
            .and_then(|i| self.get(i))
            .copied()
            .ok_or(MissingHash { position })
    }
}

impl HashReader for Vec<Hash> {
    type Error = MissingHash;

    fn read_hash(&self, position: u64) -> Result<Hash, MissingHash> {
        self.as_slice().read_hash(position)
    }
}

/// The position of the `n`-th complete subtree of `2^level` leaves.
///
/// Beyond 2^62 leaves the answer saturates; no reader holds a hash there.
pub fn stored_hash_position(level: u8, n: u64) -> u64 {
    // The subtree is stored `level` places after the last of its leaves.
    let last_leaf = (0..level).fold(n, |n, _| n.saturating_mul(2).saturating_add(1));
    let mut position = u64::from(level);
    let mut rest = last_leaf;
    while rest > 0 {
        position = position.saturating_add(rest);
        rest >>= 1;
    }
    position
}

/// Which complete subtree is stored at `position`: its level and its number, so that
/// [`stored_hash_position`] gives the position back.
pub fn split_stored_hash_position(position: u64) -> (u8, u64) {
    // Leaf n stands at most at 2n, so the leaf that was appended last is this one or a later one.
    let mut leaf = position / 2;
    let mut at = stored_hash_position(0, leaf);
    // Each leaf adds its own hash and one for each subtree it completes.
    while let Some(next) = at.checked_add(1 + u64::from((!leaf).trailing_zeros()))
        && next <= position
    {
        leaf += 1;
        at = next;
    }
    let level = u8::try_from(position.saturating_sub(at)).unwrap_or(63).min(63);
    (level, leaf >> level)
}

/// How many hashes a log of `size` leaves has stored.
pub fn stored_hash_count(size: u64) -> u64 {
    match size.checked_sub(1) {
        None => 0,
        Some(last) => stored_hash_position(0, last)
            .saturating_add(1)
            .saturating_add(u64::from(last.trailing_ones())),
    }
}

/// The hashes to store for the leaf with this `index`, in append order: its own, then those of
/// the subtrees it completes. They go to positions from `stored_hash_count(index)` on.
pub fn stored_hashes_for_leaf<R: HashReader + ?Sized>(
    index: u64,
    leaf: Hash,
    reader: &R,
) -> Result<Vec<Hash>, R::Error> {
    let mut hashes = vec![leaf];
    let mut hash = leaf;
    let mut rest = index;
    let mut level = 0;
    // An odd number at a level means: the right child is done, so the parent is complete.
    while rest & 1 == 1 {
        let left = reader.read_hash(stored_hash_position(level, rest - 1))?;
        hash = node_hash(&left, &hash);
        hashes.push(hash);
        rest >>= 1;
        level += 1;
    }
    Ok(hashes)
}

/// The root of the tree of the first `size` leaves.
pub fn tree_hash<R: HashReader + ?Sized>(size: u64, reader: &R) -> Result<Hash, R::Error> {
    if size == 0 { Ok(Hash::EMPTY_ROOT) } else { range_hash(0, size, reader) }
}

/// `MTH(D[start:end])` for a range that the recursion of RFC 6962 §2.1 can reach: not empty, and
/// `start` a multiple of the smallest power of two that is at least `end - start`.
pub(crate) fn range_hash<R: HashReader + ?Sized>(
    start: u64,
    end: u64,
    reader: &R,
) -> Result<Hash, R::Error> {
    Ok(fold_subtrees(&complete_subtrees(start, end, reader)?))
}

/// The roots of the complete subtrees that make up such a range, from left to right.
pub(crate) fn complete_subtrees<R: HashReader + ?Sized>(
    start: u64,
    end: u64,
    reader: &R,
) -> Result<Vec<Hash>, R::Error> {
    let mut subtrees = Vec::new();
    let mut at = start;
    while at < end {
        let level = largest_level(end - at);
        subtrees.push(reader.read_hash(stored_hash_position(level, at >> level))?);
        at += 1 << level;
    }
    Ok(subtrees)
}

/// The root over them. They shrink from left to right, so the tree leans left: fold from the right.
pub(crate) fn fold_subtrees(subtrees: &[Hash]) -> Hash {
    let Some((last, before)) = subtrees.split_last() else { return Hash::EMPTY_ROOT };
    before.iter().rev().fold(*last, |right, left| node_hash(left, &right))
}

/// The level of the largest complete subtree within `leaves` (which is not 0) leaves.
fn largest_level(leaves: u64) -> u8 {
    #[expect(clippy::cast_possible_truncation, reason = "a logarithm of a u64 is below 64")]
    let level = leaves.ilog2() as u8;
    level
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::leaf_hash;

    #[test]
    fn positions_follow_append_order() {
        // Leaf 0, leaf 1, (0,1), leaf 2, leaf 3, (2,3), ((0,1),(2,3)), leaf 4.
        let order = [(0, 0), (0, 1), (1, 0), (0, 2), (0, 3), (1, 1), (2, 0), (0, 4)];
        for (position, (level, n)) in order.into_iter().enumerate() {
            assert_eq!(stored_hash_position(level, n), position as u64, "level {level} n {n}");
        }
    }

    #[test]
    fn positions_can_be_split_again() {
        for position in (0..5000).chain([1 << 20, (1 << 40) + 12_345, 1 << 62]) {
            let (level, n) = split_stored_hash_position(position);
            assert_eq!(stored_hash_position(level, n), position);
        }
    }

    #[test]
    fn counts_match_what_is_stored() {
        let mut hashes = Vec::new();
        for index in 0..300_u64 {
            assert_eq!(hashes.len() as u64, stored_hash_count(index));
            let new =
                stored_hashes_for_leaf(index, leaf_hash(&index.to_be_bytes()), &hashes).unwrap();
            hashes.extend(new);
        }
        assert_eq!(hashes.len() as u64, stored_hash_count(300));
    }

    #[test]
    fn a_missing_hash_is_an_error() {
        let none: Vec<Hash> = Vec::new();
        assert_eq!(tree_hash(0, &none), Ok(Hash::EMPTY_ROOT));
        assert_eq!(tree_hash(1, &none), Err(MissingHash { position: 0 }));
        assert!(tree_hash(u64::MAX, &none).is_err());
        assert!(stored_hashes_for_leaf(u64::MAX, Hash::EMPTY_ROOT, &none).is_err());
    }
}
