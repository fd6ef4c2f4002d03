//! The fs-verity digest of a file, as the Linux kernel computes it.
//!
//! Kernel documentation `Documentation/filesystems/fsverity.rst`, "Merkle tree" and "fs-verity
//! descriptor": SHA-256, 4096-byte blocks, no salt. Equal to `fsverity digest FILE`.

use std::mem;

use crate::{BLOCK_SIZE, Block, Digest, Engine, Sha256};

/// Hashes in a block of hashes.
pub(crate) const HASHES: usize = BLOCK_SIZE / size_of::<Digest>();
/// A level is hashed when it has this many hashes: enough full blocks for all lanes.
pub(crate) const BATCH: usize = 16 * HASHES;

/// Computes the fs-verity digest from a file's bytes, given in pieces of any size.
///
/// Holds less than one block of data and at most 64 KiB of hashes per tree level, whatever the
/// file's size. Fastest when pieces are multiples of [`BLOCK_SIZE`] and at least 64 KiB.
#[derive(Debug, Clone)]
pub struct FsVerityHasher {
    size: u64,
    blocks: Blocks,
    tree: Tree,
}

impl FsVerityHasher {
    /// A hasher that has seen no bytes.
    pub const fn new(engine: Engine) -> Self {
        Self { size: 0, blocks: Blocks::new(), tree: Tree::new(engine) }
    }

    /// Keeps the hashes of one level of the tree for [`FsVerityHasher::finish_with_level`]. A hash of
    /// level `n` covers `BLOCK_SIZE * 128^n` bytes; level 1 is [`crate::SPAN_SIZE`].
    #[must_use]
    pub const fn keeping(mut self, level: u32) -> Self {
        self.tree.kept_level = Some(level as usize);
        self
    }

    /// Takes the next bytes of the file.
    pub fn update(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        self.blocks.feed(bytes, |blocks| self.tree.add(0, blocks));
    }

    /// Takes the next bytes of the file for this tree and for a stream, in one pass.
    ///
    /// The same as `self.update(bytes); stream.update(bytes)`, in less time where the processor can
    /// interleave the two.
    pub fn update_with_stream(&mut self, stream: &mut Sha256, bytes: &[u8]) {
        if !self.blocks.0.is_empty() {
            stream.update(bytes);
            return self.update(bytes);
        }
        self.size += bytes.len() as u64;
        let (blocks, rest) = bytes.as_chunks();
        self.tree.add_by(0, blocks, |_, blocks, out| {
            stream.update_with_blocks(blocks.as_flattened(), out);
        });
        stream.update(rest);
        self.blocks.0.extend_from_slice(rest);
    }

    /// The digest: SHA-256 of the fs-verity descriptor of all bytes given so far.
    pub fn finish(self) -> Digest {
        self.finish_with_level().0
    }

    /// The digest, and the hashes of the level that is kept, in the order of the file.
    pub fn finish_with_level(mut self) -> (Digest, Vec<Digest>) {
        if let Some(last) = self.blocks.last() {
            self.tree.add(0, &[last]);
        }
        let engine = self.tree.engine;
        let (root, kept) = self.tree.root();
        (descriptor_digest(engine, self.size, &root), kept)
    }
}

/// SHA-256 of `struct fsverity_descriptor`: version, algorithm, log2 of the block size, salt size,
/// four reserved bytes, data size (little-endian), root hash in 64 bytes, salt in 32, reserved.
pub(crate) fn descriptor_digest(engine: Engine, size: u64, root: &Digest) -> Digest {
    const VERSION: u8 = 1;
    const ALGORITHM_SHA256: u8 = 1;
    const LOG_BLOCK_SIZE: u8 = 12;
    let mut descriptor = [0; 256];
    descriptor[0] = VERSION;
    descriptor[1] = ALGORITHM_SHA256;
    descriptor[2] = LOG_BLOCK_SIZE;
    descriptor[8..16].copy_from_slice(&size.to_le_bytes());
    descriptor[16..48].copy_from_slice(root);
    let mut hash = Sha256::new(engine);
    hash.update(&descriptor);
    hash.finish()
}

/// Makes whole blocks of pieces of any size. Holds the bytes of a block that was begun.
#[derive(Debug, Clone)]
pub(crate) struct Blocks(Vec<u8>);

impl Blocks {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    /// Hands on the whole blocks that `bytes` complete.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut take: impl FnMut(&[Block])) {
        let held = self.0.len();
        let missing = if held == 0 { 0 } else { BLOCK_SIZE.saturating_sub(held) };
        let (head, bytes) = bytes.split_at(bytes.len().min(missing));
        self.0.extend_from_slice(head);
        if let ([block], _) = self.0.as_chunks() {
            take(&[*block]);
            self.0.clear();
        }
        let (blocks, rest) = bytes.as_chunks();
        take(blocks);
        self.0.extend_from_slice(rest);
    }

    /// What is held, filled up with zeros.
    pub(crate) fn last(&self) -> Option<Block> {
        (!self.0.is_empty()).then(|| zero_padded(&self.0))
    }
}

/// `bytes`, at most one block, filled up with zeros.
pub(crate) fn zero_padded(bytes: &[u8]) -> Block {
    let mut block = [0; BLOCK_SIZE];
    for (place, byte) in block.iter_mut().zip(bytes) {
        *place = *byte;
    }
    block
}

/// A Merkle tree that grows at its right edge.
///
/// `levels[0]` takes the hashes of data blocks, `levels[n + 1]` the hashes of full blocks of hashes
/// of `levels[n]`, which are then forgotten.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    engine: Engine,
    levels: Vec<Vec<Digest>>,
    /// The level whose hashes are not forgotten.
    pub(crate) kept_level: Option<usize>,
    kept: Vec<Digest>,
}

impl Tree {
    pub(crate) const fn new(engine: Engine) -> Self {
        Self { engine, levels: Vec::new(), kept_level: None, kept: Vec::new() }
    }

    pub(crate) const fn engine(&self) -> Engine {
        self.engine
    }

    /// Adds the hashes of `blocks` to a level.
    fn add(&mut self, level: usize, blocks: &[Block]) {
        self.add_by(level, blocks, |engine, blocks, out| engine.hash_blocks(blocks, out));
    }

    /// Adds the hashes of `blocks`, as `hash` computes them, to a level.
    fn add_by(
        &mut self,
        level: usize,
        blocks: &[Block],
        mut hash: impl FnMut(Engine, &[Block], &mut [Digest]),
    ) {
        for blocks in blocks.chunks(BATCH) {
            let hashes = self.level(level);
            let before = hashes.len();
            hashes.resize(before + blocks.len(), [0; 32]);
            let engine = self.engine;
            if let Some(out) = self.level(level).get_mut(before..) {
                hash(engine, blocks, out);
            }
            self.keep(level, before);
            self.settle(level);
        }
    }

    /// Adds hashes to the lowest level.
    pub(crate) fn add_hashes(&mut self, hashes: &[Digest]) {
        for hashes in hashes.chunks(BATCH) {
            let before = self.level(0).len();
            self.level(0).extend_from_slice(hashes);
            self.keep(0, before);
            self.settle(0);
        }
    }

    /// Keeps the hashes of a level from `before` on, if it is the one to be kept.
    fn keep(&mut self, level: usize, before: usize) {
        if self.kept_level == Some(level)
            && let Some(new) = self.levels.get(level).and_then(|hashes| hashes.get(before..))
        {
            self.kept.extend_from_slice(new);
        }
    }

    /// Hashes the full blocks of a level once there are many.
    fn settle(&mut self, level: usize) {
        if self.level(level).len() < BATCH {
            return;
        }
        let mut hashes = mem::take(self.level(level));
        let (blocks, rest) = hashes.as_flattened().as_chunks();
        self.add(level + 1, blocks);
        let rest = rest.len() / size_of::<Digest>();
        hashes.drain(..hashes.len() - rest);
        *self.level(level) = hashes;
    }

    fn level(&mut self, level: usize) -> &mut Vec<Digest> {
        if self.levels.len() <= level {
            self.levels.resize(level + 1, Vec::new());
        }
        &mut self.levels[level]
    }

    /// The root, and the hashes of the kept level. The tree ends at the first level that is one hash;
    /// the root of an empty file is zero.
    pub(crate) fn root(mut self) -> (Digest, Vec<Digest>) {
        for level in 0.. {
            let hashes = mem::take(self.level(level));
            let is_top = self.levels.iter().skip(level + 1).all(Vec::is_empty);
            match hashes.as_slice() {
                [] if is_top => break,
                [root] if is_top => return (*root, self.kept),
                hashes => {
                    let (blocks, rest) = hashes.as_flattened().as_chunks();
                    self.add(level + 1, blocks);
                    if !rest.is_empty() {
                        self.add(level + 1, &[zero_padded(rest)]);
                    }
                }
            }
        }
        ([0; 32], self.kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(data: &[u8]) -> Digest {
        let mut hasher = FsVerityHasher::new(Engine::best());
        hasher.update(data);
        hasher.finish()
    }

    /// The value in fsverity-utils' own documentation of an empty file.
    #[test]
    fn empty_file() {
        let hex: String = digest(b"").iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95");
    }

    #[test]
    fn pieces_do_not_matter() {
        let data: Vec<u8> = (0..=250).cycle().take(BLOCK_SIZE * 130 + 17).collect();
        let whole = digest(&data);
        for piece in [1000, 4095, 4096, 4097, 70_000] {
            let mut hasher = FsVerityHasher::new(Engine::best());
            data.chunks(piece).for_each(|part| hasher.update(part));
            assert_eq!(hasher.finish(), whole, "pieces of {piece}");
        }
    }
}
