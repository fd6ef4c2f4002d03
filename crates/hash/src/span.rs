//! The tree of one file, built by many threads.

use crate::fsverity::{BATCH, Blocks, HASHES, Tree, descriptor_digest, zero_padded};
use crate::{BLOCK_SIZE, Block, Digest, Engine};

/// Bytes of a file under one hash of the tree's second level: 512 KiB.
pub const SPAN_SIZE: usize = BLOCK_SIZE * HASHES;

/// Hashes a part of a file on its own.
///
/// The part starts at a multiple of [`SPAN_SIZE`], and ends at one or at the file's end. It comes in
/// pieces of any size. [`SpanMerger`] takes the result.
#[derive(Debug, Clone)]
pub struct SpanHasher {
    engine: Engine,
    blocks: Blocks,
    /// Hashes of blocks that are not hashed themselves yet.
    hashes: Vec<Digest>,
    spans: Vec<Digest>,
}

impl SpanHasher {
    /// A hasher that has seen no bytes.
    pub const fn new(engine: Engine) -> Self {
        Self { engine, blocks: Blocks::new(), hashes: Vec::new(), spans: Vec::new() }
    }

    /// Takes the next bytes of the part.
    pub fn update(&mut self, bytes: &[u8]) {
        let (engine, hashes, spans) = (self.engine, &mut self.hashes, &mut self.spans);
        self.blocks.feed(bytes, |blocks| {
            for blocks in blocks.chunks(BATCH) {
                append(engine, hashes, blocks);
                if hashes.len() >= BATCH {
                    let (full, rest) = hashes.as_flattened().as_chunks();
                    let rest = rest.len() / size_of::<Digest>();
                    append(engine, spans, full);
                    hashes.drain(..hashes.len() - rest);
                }
            }
        });
    }

    /// One hash for each span of the part, the last of which may be short; nothing for no bytes.
    pub fn finish(mut self) -> Vec<Digest> {
        if let Some(last) = self.blocks.last() {
            append(self.engine, &mut self.hashes, &[last]);
        }
        let (full, rest) = self.hashes.as_flattened().as_chunks();
        append(self.engine, &mut self.spans, full);
        if !rest.is_empty() {
            append(self.engine, &mut self.spans, &[zero_padded(rest)]);
        }
        self.spans
    }
}

fn append(engine: Engine, hashes: &mut Vec<Digest>, blocks: &[Block]) {
    let before = hashes.len();
    hashes.resize(before + blocks.len(), [0; 32]);
    if let Some(out) = hashes.get_mut(before..) {
        engine.hash_blocks(blocks, out);
    }
}

/// Makes the fs-verity digest of a file from the hashes of one inner level of its tree.
#[derive(Debug, Clone)]
pub struct SpanMerger {
    size: u64,
    level: u32,
    count: u64,
    tree: Tree,
}

impl SpanMerger {
    /// For a file of `size` bytes, from the hashes of its spans.
    pub const fn new(engine: Engine, size: u64) -> Self {
        Self::from_level(engine, size, 1)
    }

    /// For a file of `size` bytes, from the hashes of `level`, at least 1: each covers
    /// `BLOCK_SIZE * 128^level` bytes.
    pub const fn from_level(engine: Engine, size: u64, level: u32) -> Self {
        Self { size, level, count: 0, tree: Tree::new(engine) }
    }

    /// Keeps the hashes of one level, this or a higher one, for [`SpanMerger::finish_with_level`].
    #[must_use]
    pub const fn keeping(mut self, level: u32) -> Self {
        self.tree.kept_level = match level.checked_sub(self.level) {
            Some(level) => Some(level as usize),
            None => None,
        };
        self
    }

    /// Takes the next hashes, in the order of the file.
    pub fn push(&mut self, hashes: &[Digest]) {
        self.count += hashes.len() as u64;
        self.tree.add_hashes(hashes);
    }

    /// The fs-verity digest, equal to what [`crate::FsVerityHasher`] gives for the same bytes.
    ///
    /// `None` if the hashes are not as many as the file's size needs, or if the tree of a file of
    /// that size has no such level: that of one block has none above its leaf.
    pub fn finish(self) -> Option<Digest> {
        Some(self.finish_with_level()?.0)
    }

    /// The same, and the hashes of the level that is kept.
    pub fn finish_with_level(self) -> Option<(Digest, Vec<Digest>)> {
        let below = covered(self.level.checked_sub(1)?)?;
        let needed = self.size.div_ceil(covered(self.level)?);
        if self.size <= below || self.count != needed {
            return None;
        }
        let engine = self.tree.engine();
        let (root, kept) = self.tree.root();
        Some((descriptor_digest(engine, self.size, &root), kept))
    }
}

/// Bytes of a file under one hash of a level.
fn covered(level: u32) -> Option<u64> {
    (HASHES as u64).checked_pow(level)?.checked_mul(BLOCK_SIZE as u64)
}
