//! The right edge of a tree: the least that is needed to append leaves and to know the root.

use crate::hash::{Hash, node_hash};
use crate::merkle::{HashReader, complete_subtrees, fold_subtrees};

/// The roots of the complete subtrees that a tree of some size consists of, the largest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    subtrees: Vec<Hash>,
}

impl Frontier {
    /// The edge of the tree of the first `size` leaves. Its [`Frontier::root`] says whether the
    /// hashes that were read are those of a tree that is known.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn read<R: HashReader + ?Sized>(size: u64, reader: &R) -> Result<Self, R::Error> {
        Ok(Self { size, subtrees: complete_subtrees(0, size, reader)? })
    }

    /// How many leaves the tree has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf by its hash.
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        // As in a binary number to which one is added, each trailing one carries.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.subtrees.pop() {
                hash = node_hash(&left, &hash);
            }
        }
        self.subtrees.push(hash);
        self.size = self.size.saturating_add(1);
    }

    /// The root of the tree.
    pub fn root(&self) -> Hash {
        fold_subtrees(&self.subtrees)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::leaf_hash;
    use crate::merkle::{stored_hashes_for_leaf, tree_hash};

    #[test]
    fn an_edge_grows_as_the_tree_does() {
        let mut hashes = Vec::new();
        let mut grown = Frontier::default();
        for index in 0..600_u64 {
            assert_eq!(grown.root(), tree_hash(index, &hashes).unwrap());
            assert_eq!(Frontier::read(index, &hashes).unwrap(), grown);
            let leaf = leaf_hash(&index.to_be_bytes());
            let stored = stored_hashes_for_leaf(index, leaf, &hashes).unwrap();
            hashes.extend(stored);
            grown.push(leaf);
            assert_eq!(grown.size(), index + 1);
        }
    }
}
