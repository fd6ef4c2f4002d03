//! Which instructions hash, chosen once.

use std::sync::OnceLock;
use std::time::Instant;

use crate::{Block, Chunk, Digest, State, portable};

#[cfg(target_arch = "aarch64")]
use crate::aarch64::Sha2;
#[cfg(target_arch = "x86_64")]
use crate::x86::{Avx2, Avx512, ShaNi};

/// Bytes in an fs-verity block.
pub const BLOCK_SIZE: usize = 4096;

/// How streams are hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamKernel {
    /// The `sha2` crate, one stream at a time.
    Portable,
    /// x86-64 SHA extensions, two streams interleaved.
    ShaNi,
    /// AArch64 SHA-2 extension, two streams interleaved.
    Sha2,
}

/// How blocks of 4096 bytes are hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlockKernel {
    /// The `sha2` crate, one block at a time.
    Portable,
    /// x86-64 SHA extensions, two blocks interleaved.
    ShaNi,
    /// AVX2, eight blocks side by side.
    Avx2,
    /// AVX-512 (F, BW), sixteen blocks side by side.
    Avx512,
    /// AArch64 SHA-2 extension, two blocks interleaved.
    Sha2,
}

/// The kernels that hash. A value names only what this processor has.
#[derive(Debug, Clone, Copy)]
pub struct Engine {
    streams: Streams,
    blocks: Blocks,
}

#[derive(Debug, Clone, Copy)]
enum Streams {
    Portable,
    #[cfg(target_arch = "x86_64")]
    ShaNi(ShaNi),
    #[cfg(target_arch = "aarch64")]
    Sha2(Sha2),
}

#[derive(Debug, Clone, Copy)]
enum Blocks {
    Portable,
    #[cfg(target_arch = "x86_64")]
    ShaNi(ShaNi),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "aarch64")]
    Sha2(Sha2),
}

/// Fastest first.
const STREAMS: [StreamKernel; 3] =
    [StreamKernel::ShaNi, StreamKernel::Sha2, StreamKernel::Portable];

/// Fastest first on a Zen 4: per core, of data in its cache, SHA-NI hashes 3.6 GB/s (1.8 GB/s of a
/// single stream), 16 lanes of AVX-512 3.5, eight lanes of AVX2 1.9, plain code 0.4. A SHA-NI
/// stream woven into AVX-512 code gains next to nothing, since they wait for the same units.
const BLOCKS: [BlockKernel; 5] = [
    BlockKernel::ShaNi,
    BlockKernel::Avx512,
    BlockKernel::Sha2,
    BlockKernel::Avx2,
    BlockKernel::Portable,
];

impl Engine {
    /// The fastest kernels of this processor.
    ///
    /// The choice between AVX-512 and the SHA extensions differs from one generation to the next,
    /// so where there are both, they are measured once, which takes a fraction of a millisecond.
    pub fn best() -> Self {
        static BEST: OnceLock<Engine> = OnceLock::new();
        *BEST.get_or_init(|| {
            let first = Self::all().into_iter().next().unwrap_or(Self::portable());
            match Self::with(first.stream_kernel(), BlockKernel::Avx512) {
                Some(other) if first.block_kernel() != BlockKernel::Avx512 => first.race(other),
                _ => first,
            }
        })
    }

    /// The one that hashes blocks faster now. Both give the same digests.
    fn race(self, other: Self) -> Self {
        static BLOCKS: [Block; 32] = [[0; BLOCK_SIZE]; 32];
        let mut out = [[0; 32]; BLOCKS.len()];
        let mut time = |engine: Self| {
            let start = Instant::now();
            engine.hash_blocks(&BLOCKS, &mut out);
            start.elapsed()
        };
        // In turns, and the best of several: whatever disturbs one run disturbs neither engine.
        let times: [_; 4] = std::array::from_fn(|_| [time(self), time(other)]);
        let best = |which: usize| times.iter().map(|pair| pair[which]).min();
        if best(1) < best(0) { other } else { self }
    }

    /// The kernels that run everywhere.
    pub const fn portable() -> Self {
        Self { streams: Streams::Portable, blocks: Blocks::Portable }
    }

    /// The engine of these two kernels, if the processor has both.
    pub fn with(streams: StreamKernel, blocks: BlockKernel) -> Option<Self> {
        Some(Self { streams: Streams::detect(streams)?, blocks: Blocks::detect(blocks)? })
    }

    /// Every combination that this processor has, the fastest first; for tests and measurements.
    pub fn all() -> Vec<Self> {
        let pairs = STREAMS.iter().flat_map(|&s| BLOCKS.iter().map(move |&b| (s, b)));
        pairs.filter_map(|(streams, blocks)| Self::with(streams, blocks)).collect()
    }

    /// How streams are hashed.
    pub fn stream_kernel(&self) -> StreamKernel {
        match self.streams {
            Streams::Portable => StreamKernel::Portable,
            #[cfg(target_arch = "x86_64")]
            Streams::ShaNi(_) => StreamKernel::ShaNi,
            #[cfg(target_arch = "aarch64")]
            Streams::Sha2(_) => StreamKernel::Sha2,
        }
    }

    /// How blocks are hashed.
    pub fn block_kernel(&self) -> BlockKernel {
        match self.blocks {
            Blocks::Portable => BlockKernel::Portable,
            #[cfg(target_arch = "x86_64")]
            Blocks::ShaNi(_) => BlockKernel::ShaNi,
            #[cfg(target_arch = "x86_64")]
            Blocks::Avx2(_) => BlockKernel::Avx2,
            #[cfg(target_arch = "x86_64")]
            Blocks::Avx512(_) => BlockKernel::Avx512,
            #[cfg(target_arch = "aarch64")]
            Blocks::Sha2(_) => BlockKernel::Sha2,
        }
    }

    /// Writes the SHA-256 of each block to the place of the same index in `out`.
    ///
    /// If the lengths differ, what the shorter one has no partner for is left alone.
    pub fn hash_blocks(&self, blocks: &[Block], out: &mut [Digest]) {
        let count = blocks.len().min(out.len());
        let (blocks, out) = (&blocks[..count], &mut out[..count]);
        match self.blocks {
            Blocks::Portable => hash_each(blocks, out),
            #[cfg(target_arch = "x86_64")]
            Blocks::ShaNi(ni) => ni.hash_blocks(blocks, out),
            #[cfg(target_arch = "x86_64")]
            Blocks::Avx2(avx) => {
                let done = avx.hash_blocks(blocks, out);
                self.hash_few(&blocks[done..], &mut out[done..]);
            }
            #[cfg(target_arch = "x86_64")]
            Blocks::Avx512(avx) => {
                let done = avx.hash_blocks(blocks, out);
                self.hash_few(&blocks[done..], &mut out[done..]);
            }
            #[cfg(target_arch = "aarch64")]
            Blocks::Sha2(sha) => sha.hash_blocks(blocks, out),
        }
    }

    /// Hashes fewer blocks than there are lanes.
    #[cfg(target_arch = "x86_64")]
    fn hash_few(&self, blocks: &[Block], out: &mut [Digest]) {
        match self.streams {
            Streams::ShaNi(ni) => ni.hash_blocks(blocks, out),
            Streams::Portable => hash_each(blocks, out),
        }
    }

    /// Advances one stream by whole chunks.
    pub(crate) fn compress(&self, state: &mut State, chunks: &[Chunk]) {
        match self.streams {
            Streams::Portable => portable::compress(state, chunks),
            #[cfg(target_arch = "x86_64")]
            Streams::ShaNi(ni) => ni.compress(state, chunks),
            #[cfg(target_arch = "aarch64")]
            Streams::Sha2(sha) => sha.compress(state, chunks),
        }
    }

    /// Advances two streams by whole chunks each, side by side as far as both have some.
    pub(crate) fn compress_pair(&self, a: (&mut State, &[Chunk]), b: (&mut State, &[Chunk])) {
        let ((a_state, a), (b_state, b)) = (a, b);
        let common = a.len().min(b.len());
        let ((a, a_rest), (b, b_rest)) = (a.split_at(common), b.split_at(common));
        match self.streams {
            Streams::Portable => {
                portable::compress(a_state, a);
                portable::compress(b_state, b);
            }
            #[cfg(target_arch = "x86_64")]
            Streams::ShaNi(ni) => ni.compress_pair((a_state, a), (b_state, b)),
            #[cfg(target_arch = "aarch64")]
            Streams::Sha2(sha) => sha.compress_pair((a_state, a), (b_state, b)),
        }
        self.compress(a_state, a_rest);
        self.compress(b_state, b_rest);
    }

    /// Advances a stream by whole blocks and writes each block's own hash to `out`, which has as
    /// many places.
    pub(crate) fn compress_with_blocks(
        &self,
        state: &mut State,
        blocks: &[Block],
        out: &mut [Digest],
    ) {
        match self.streams {
            // One unit for both: what matters is only that the bytes are still in the cache.
            Streams::Portable => {
                for (blocks, out) in blocks.chunks(16).zip(out.chunks_mut(16)) {
                    self.compress(state, blocks.as_flattened().as_chunks().0);
                    self.hash_blocks(blocks, out);
                }
            }
            #[cfg(target_arch = "x86_64")]
            Streams::ShaNi(ni) => ni.compress_with_blocks(state, blocks, out),
            #[cfg(target_arch = "aarch64")]
            Streams::Sha2(sha) => sha.compress_with_blocks(state, blocks, out),
        }
    }
}

impl Streams {
    fn detect(kernel: StreamKernel) -> Option<Self> {
        match kernel {
            StreamKernel::Portable => Some(Streams::Portable),
            #[cfg(target_arch = "x86_64")]
            StreamKernel::ShaNi => ShaNi::detect().map(Streams::ShaNi),
            #[cfg(target_arch = "aarch64")]
            StreamKernel::Sha2 => Sha2::detect().map(Streams::Sha2),
            _ => None,
        }
    }
}

impl Blocks {
    fn detect(kernel: BlockKernel) -> Option<Self> {
        match kernel {
            BlockKernel::Portable => Some(Blocks::Portable),
            #[cfg(target_arch = "x86_64")]
            BlockKernel::ShaNi => ShaNi::detect().map(Blocks::ShaNi),
            #[cfg(target_arch = "x86_64")]
            BlockKernel::Avx2 => Avx2::detect().map(Blocks::Avx2),
            #[cfg(target_arch = "x86_64")]
            BlockKernel::Avx512 => Avx512::detect().map(Blocks::Avx512),
            #[cfg(target_arch = "aarch64")]
            BlockKernel::Sha2 => Sha2::detect().map(Blocks::Sha2),
            _ => None,
        }
    }
}

fn hash_each(blocks: &[Block], out: &mut [Digest]) {
    for (block, out) in blocks.iter().zip(out) {
        *out = portable::hash_block(block);
    }
}
