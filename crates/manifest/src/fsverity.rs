//! The fs-verity digest of a file, as the Linux kernel computes it.
//!
//! Kernel documentation `Documentation/filesystems/fsverity.rst`, "Merkle tree" and "fs-verity
//! descriptor": SHA-256, 4096-byte blocks, no salt. Equal to `fsverity digest FILE`.

use sha2::{Digest as _, Sha256 as Hasher};

use crate::digest::Sha256;

/// Bytes in a block, of file data and of tree levels alike.
pub const BLOCK_SIZE: usize = 4096;
const LOG_BLOCK_SIZE: u8 = 12;
const ALGORITHM_SHA256: u8 = 1;
const DESCRIPTOR_SIZE: usize = 256;

/// Computes the fs-verity digest from a file's bytes, given in pieces of any size.
///
/// Holds one block of data and at most one block per tree level, whatever the file's size.
pub struct FsVerityHasher {
    data: Vec<u8>,
    size: u64,
    /// `levels[0]` collects hashes of data blocks, `levels[n + 1]` hashes of full blocks of
    /// `levels[n]`.
    levels: Vec<Vec<u8>>,
}

impl Default for FsVerityHasher {
    fn default() -> Self {
        Self::new()
    }
}

impl FsVerityHasher {
    /// A hasher that has seen no bytes.
    pub fn new() -> Self {
        Self { data: Vec::with_capacity(BLOCK_SIZE), size: 0, levels: Vec::new() }
    }

    /// Takes the next bytes of the file.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.size += bytes.len() as u64;
        if !self.data.is_empty() {
            let (head, rest) = bytes.split_at(bytes.len().min(BLOCK_SIZE - self.data.len()));
            self.data.extend_from_slice(head);
            bytes = rest;
            if self.data.len() == BLOCK_SIZE {
                let hash = hash_block(&self.data);
                self.data.clear();
                self.push(0, hash);
            }
        }
        let mut blocks = bytes.chunks_exact(BLOCK_SIZE);
        for block in &mut blocks {
            self.push(0, hash_block(block));
        }
        self.data.extend_from_slice(blocks.remainder());
    }

    /// The digest: SHA-256 of the fs-verity descriptor of all bytes given so far.
    pub fn finish(mut self) -> Sha256 {
        if !self.data.is_empty() {
            let hash = hash_block(&self.data);
            self.push(0, hash);
        }
        descriptor_digest(self.size, &self.root_hash())
    }

    fn push(&mut self, level: usize, hash: [u8; 32]) {
        if self.levels.len() == level {
            self.levels.push(Vec::with_capacity(BLOCK_SIZE));
        }
        let Some(pending) = self.levels.get_mut(level) else { return };
        pending.extend_from_slice(&hash);
        if pending.len() == BLOCK_SIZE {
            let hash = hash_block(pending);
            pending.clear();
            self.push(level + 1, hash);
        }
    }

    /// The tree ends at the first level that is one hash; the root of an empty file is zero.
    fn root_hash(&mut self) -> [u8; 32] {
        let mut level = 0;
        while level < self.levels.len() {
            let is_top = level + 1 == self.levels.len();
            let pending = std::mem::take(&mut self.levels[level]);
            if let (true, Ok(root)) = (is_top, <[u8; 32]>::try_from(pending.as_slice())) {
                return root;
            }
            if !pending.is_empty() {
                self.push(level + 1, hash_block(&pending));
            }
            level += 1;
        }
        [0; 32]
    }
}

/// Hashes one block; a short one is padded with zeros.
fn hash_block(block: &[u8]) -> [u8; 32] {
    let mut hasher = Hasher::new();
    hasher.update(block);
    if block.len() < BLOCK_SIZE {
        hasher.update(&[0; BLOCK_SIZE][block.len()..]);
    }
    hasher.finalize().into()
}

/// `struct fsverity_descriptor`: version, algorithm, log2 of the block size, salt size, four
/// reserved bytes, data size (little-endian), root hash in 64 bytes, salt in 32, reserved.
fn descriptor_digest(size: u64, root: &[u8; 32]) -> Sha256 {
    let mut descriptor = [0; DESCRIPTOR_SIZE];
    descriptor[0] = 1;
    descriptor[1] = ALGORITHM_SHA256;
    descriptor[2] = LOG_BLOCK_SIZE;
    descriptor[8..16].copy_from_slice(&size.to_le_bytes());
    descriptor[16..48].copy_from_slice(root);
    Sha256::of(&descriptor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(data: &[u8]) -> String {
        let mut hasher = FsVerityHasher::new();
        hasher.update(data);
        hasher.finish().to_string()
    }

    /// The value in fsverity-utils' own documentation of an empty file.
    #[test]
    fn empty_file() {
        assert_eq!(digest(b""), "3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95");
    }

    #[test]
    fn pieces_do_not_matter() {
        let data: Vec<u8> = (0..=250).cycle().take(BLOCK_SIZE * 130 + 17).collect();
        let whole = digest(&data);
        for piece in [1000, 4095, 4096, 4097, 70_000] {
            let mut hasher = FsVerityHasher::new();
            data.chunks(piece).for_each(|part| hasher.update(part));
            assert_eq!(hasher.finish().to_string(), whole, "pieces of {piece}");
        }
    }
}
