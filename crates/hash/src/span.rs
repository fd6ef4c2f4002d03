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

/// Makes the fs-verity digest of a file of more than one block from the hashes of its spans.
#[derive(Debug, Clone)]
pub struct SpanMerger {
    size: u64,
    spans: u64,
    tree: Tree,
}

impl SpanMerger {
    /// For a file of `size` bytes.
    pub const fn new(engine: Engine, size: u64) -> Self {
        Self { size, spans: 0, tree: Tree::new(engine) }
    }

    /// Takes the hashes of the next spans, in the order of the file.
    pub fn push(&mut self, spans: &[Digest]) {
        self.spans += spans.len() as u64;
        self.tree.add_hashes(spans);
    }

    /// The fs-verity digest, equal to what [`crate::FsVerityHasher`] gives for the same bytes.
    ///
    /// `None` if the spans are not as many as the file's size needs, or if the file has at most one
    /// block: the tree of such a file has no second level.
    pub fn finish(self) -> Option<Digest> {
        let needed = self.size.div_ceil(SPAN_SIZE as u64);
        let engine = self.tree.engine();
        (self.size > BLOCK_SIZE as u64 && self.spans == needed)
            .then(|| descriptor_digest(engine, self.size, &self.tree.root()))
    }
}
