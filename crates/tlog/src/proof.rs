//! Inclusion and consistency proofs (RFC 6962 §2.1.1 and §2.1.2; the verifying algorithms are the
//! step-by-step ones of RFC 9162 §2.1.3.2 and §2.1.4.2).

use crate::hash::{Hash, node_hash};
use crate::merkle::{HashReader, range_hash};

/// Shows that a leaf is in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InclusionProof {
    /// Number of the leaf, from 0.
    pub index: u64,
    /// How many leaves the tree has.
    pub size: u64,
    /// The audit path, from the leaf's sibling up to the root's child.
    pub hashes: Vec<Hash>,
}

/// Shows that a tree begins with all leaves of an older one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsistencyProof {
    /// How many leaves the older tree has.
    pub old_size: u64,
    /// How many leaves the newer tree has.
    pub new_size: u64,
    /// The proof; empty when the sizes are equal or the older tree is empty.
    pub hashes: Vec<Hash>,
}

/// Why a proof does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The leaf would be outside the tree.
    #[error("leaf {index} is not in a tree of {size} leaves")]
    IndexOutOfRange {
        /// Number of the leaf.
        index: u64,
        /// Leaves of the tree.
        size: u64,
    },
    /// The proof is for a tree of another size than the checkpoint's.
    #[error("the proof is for a tree of {proof} leaves, the checkpoint has {checkpoint}")]
    SizeMismatch {
        /// Leaves the proof speaks of.
        proof: u64,
        /// Leaves the checkpoint speaks of.
        checkpoint: u64,
    },
    /// The newer tree would be the smaller one.
    #[error("the older tree has {old_size} leaves, the newer only {new_size}")]
    SizesReversed {
        /// Leaves of the older tree.
        old_size: u64,
        /// Leaves of the newer tree.
        new_size: u64,
    },
    /// The number of hashes cannot be right for these sizes.
    #[error("the proof has too few or too many hashes ({hashes})")]
    WrongLength {
        /// Hashes in the proof.
        hashes: usize,
    },
    /// The proof leads to another root: leaf, proof or root was altered.
    #[error("the proof leads to root {computed}, not {expected}")]
    RootMismatch {
        /// What the proof leads to.
        computed: Hash,
        /// What the caller trusts.
        expected: Hash,
    },
}

/// Why a proof cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProveError<E> {
    /// Leaf or tree size lies outside the tree.
    #[error("{asked} is outside a tree of {size} leaves")]
    OutOfRange {
        /// The leaf, or the older size.
        asked: u64,
        /// Leaves of the tree.
        size: u64,
    },
    /// A stored hash could not be read.
    #[error("cannot read a stored hash")]
    Read(#[source] E),
}

impl InclusionProof {
    /// `PATH(index, D[size])` of RFC 6962 §2.1.1.
    pub fn prove<R: HashReader + ?Sized>(
        index: u64,
        size: u64,
        reader: &R,
    ) -> Result<Self, ProveError<R::Error>> {
        if index >= size {
            return Err(ProveError::OutOfRange { asked: index, size });
        }
        let mut hashes = Vec::new();
        let (mut start, mut end) = (0, size);
        while end - start > 1 {
            let middle = start + split(end - start);
            let sibling = if index < middle { (middle, end) } else { (start, middle) };
            hashes.push(range_hash(sibling.0, sibling.1, reader).map_err(ProveError::Read)?);
            if index < middle {
                end = middle;
            } else {
                start = middle;
            }
        }
        hashes.reverse();
        Ok(Self { index, size, hashes })
    }

    /// Checks that the leaf with this hash is at [`Self::index`] of the tree with this root.
    ///
    /// The caller must know that [`Self::size`] belongs to `root`: some proofs hold for several
    /// sizes. [`crate::VerifiedCheckpoint::verify_inclusion`] sees to that.
    pub fn verify(&self, leaf: &Hash, root: &Hash) -> Result<(), ProofError> {
        let Some(last) = self.size.checked_sub(1).filter(|last| self.index <= *last) else {
            return Err(ProofError::IndexOutOfRange { index: self.index, size: self.size });
        };
        let mut walk = Walk { node: self.index, last };
        let mut hash = *leaf;
        for sibling in &self.hashes {
            hash = match walk.up().ok_or_else(|| wrong_length(&self.hashes))? {
                Side::Left => node_hash(sibling, &hash),
                Side::Right => node_hash(&hash, sibling),
            };
        }
        if !walk.at_root() {
            return Err(wrong_length(&self.hashes));
        }
        same_root(hash, root)
    }
}

impl ConsistencyProof {
    /// `PROOF(old_size, D[new_size])` of RFC 6962 §2.1.2. Equal sizes and an empty older tree need
    /// no hashes (C2SP tlog-witness asks for exactly that).
    pub fn prove<R: HashReader + ?Sized>(
        old_size: u64,
        new_size: u64,
        reader: &R,
    ) -> Result<Self, ProveError<R::Error>> {
        if old_size > new_size {
            return Err(ProveError::OutOfRange { asked: old_size, size: new_size });
        }
        let mut hashes = Vec::new();
        if old_size > 0 {
            let (mut start, mut end) = (0, new_size);
            // Until the older tree's right edge is a subtree of the newer one.
            while end != old_size {
                let middle = start + split(end - start);
                let other = if old_size <= middle { (middle, end) } else { (start, middle) };
                hashes.push(range_hash(other.0, other.1, reader).map_err(ProveError::Read)?);
                if old_size <= middle {
                    end = middle;
                } else {
                    start = middle;
                }
            }
            // If that subtree is the whole older tree, the verifier has its hash already.
            if start > 0 {
                hashes.push(range_hash(start, end, reader).map_err(ProveError::Read)?);
            }
            hashes.reverse();
        }
        Ok(Self { old_size, new_size, hashes })
    }

    /// Checks that the tree with `new_root` is the one with `old_root`, continued.
    pub fn verify(&self, old_root: &Hash, new_root: &Hash) -> Result<(), ProofError> {
        let Self { old_size, new_size, hashes } = self;
        if old_size > new_size {
            return Err(ProofError::SizesReversed { old_size: *old_size, new_size: *new_size });
        }
        if *old_size == 0 || old_size == new_size {
            return self.verify_trivial(old_root, new_root);
        }
        let mut walk = Walk { node: old_size - 1, last: new_size - 1 };
        while walk.node & 1 == 1 {
            walk.shift();
        }
        // An older tree of 2^k leaves is the first subtree itself.
        let (first, rest) = if old_size.is_power_of_two() {
            (old_root, hashes.as_slice())
        } else {
            hashes.split_first().ok_or_else(|| wrong_length(hashes))?
        };
        let (mut old, mut new) = (*first, *first);
        for hash in rest {
            match walk.up().ok_or_else(|| wrong_length(hashes))? {
                Side::Left => {
                    old = node_hash(hash, &old);
                    new = node_hash(hash, &new);
                }
                Side::Right => new = node_hash(&new, hash),
            }
        }
        if !walk.at_root() {
            return Err(wrong_length(hashes));
        }
        same_root(old, old_root)?;
        same_root(new, new_root)
    }

    fn verify_trivial(&self, old_root: &Hash, new_root: &Hash) -> Result<(), ProofError> {
        if !self.hashes.is_empty() {
            return Err(wrong_length(&self.hashes));
        }
        if self.old_size == 0 {
            same_root(Hash::EMPTY_ROOT, old_root)?;
        }
        if self.old_size == self.new_size { same_root(*old_root, new_root) } else { Ok(()) }
    }
}

/// On which side of a node its sibling stands.
enum Side {
    Left,
    Right,
}

/// The way from a node up to the root: `fn` and `sn` of RFC 9162.
struct Walk {
    node: u64,
    last: u64,
}

impl Walk {
    /// Goes one sibling up, skipping the levels where the right edge has none; `None` at the root.
    fn up(&mut self) -> Option<Side> {
        if self.at_root() {
            return None;
        }
        let side = if self.node & 1 == 1 || self.node == self.last {
            while self.node & 1 == 0 && self.node != 0 {
                self.shift();
            }
            Side::Left
        } else {
            Side::Right
        };
        self.shift();
        Some(side)
    }

    fn shift(&mut self) {
        self.node >>= 1;
        self.last >>= 1;
    }

    fn at_root(&self) -> bool {
        self.last == 0
    }
}

/// The largest power of two smaller than `leaves`, which is at least 2.
fn split(leaves: u64) -> u64 {
    1 << (leaves - 1).ilog2()
}

fn same_root(computed: Hash, expected: &Hash) -> Result<(), ProofError> {
    if computed == *expected {
        Ok(())
    } else {
        Err(ProofError::RootMismatch { computed, expected: *expected })
    }
}

fn wrong_length(hashes: &[Hash]) -> ProofError {
    ProofError::WrongLength { hashes: hashes.len() }
}
