//! Hashes of one inner level of a file's tree: where in a file a difference is, without the file that
//! was signed.

use std::fmt;
use std::ops::RangeInclusive;

use sealwright_hash::{BLOCK_SIZE, Digest, Engine, SpanMerger};

use crate::digest::Sha256;

/// How many chunks a model may have, all its files together.
const MAX_CHUNKS: u64 = 4096;
/// A hash of a level covers this many hashes of the level below.
const FANOUT: u64 = 128;
/// 1 TiB.
const TOP_LEVEL: u32 = 4;

/// Bytes of a file under one hash of an inner level of its fs-verity tree: 512 KiB, 64 MiB, 8 GiB or
/// 1 TiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChunkSize {
    level: u32,
}

impl ChunkSize {
    /// The smallest in which a model with files of these sizes has at most 4,096 chunks, so that what
    /// a signature says of them stays small: 274 KB.
    pub fn of_model(sizes: &[u64]) -> Self {
        let total = |size: Self| sizes.iter().map(|&file| size.count(file)).sum::<u64>();
        let levels = (1..TOP_LEVEL).map(|level| Self { level });
        let fitting = levels.into_iter().find(|&size| total(size) <= MAX_CHUNKS);
        fitting.unwrap_or(Self { level: TOP_LEVEL })
    }

    /// The size of that many bytes, if it is one.
    pub fn from_bytes(bytes: u64) -> Option<Self> {
        (1..=TOP_LEVEL).map(|level| Self { level }).find(|size| size.bytes() == bytes)
    }

    /// Bytes of a chunk; the last one of a file may be shorter.
    pub fn bytes(self) -> u64 {
        BLOCK_SIZE as u64 * FANOUT.pow(self.level)
    }

    /// Chunks of a file of `file` bytes; none if it is no larger than one.
    pub fn count(self, file: u64) -> u64 {
        if file <= self.bytes() { 0 } else { file.div_ceil(self.bytes()) }
    }

    /// The level of the tree, above the hashes of its blocks.
    pub(crate) fn level(self) -> u32 {
        self.level
    }
}

/// The hashes of all chunks of a file, at least two, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunks {
    size: ChunkSize,
    hashes: Vec<Digest>,
}

impl Chunks {
    /// `None` unless `hashes` are as many as a file of `file_size` bytes has chunks, and their tree
    /// has the root that `fsverity` names: then they are the file's.
    pub fn new(
        size: ChunkSize,
        hashes: Vec<Digest>,
        file_size: u64,
        fsverity: &Sha256,
    ) -> Option<Self> {
        if size.count(file_size) != hashes.len() as u64 {
            return None;
        }
        let mut merger = SpanMerger::from_level(Engine::best(), file_size, size.level);
        merger.push(&hashes);
        (merger.finish()? == *fsverity.as_bytes()).then_some(Self { size, hashes })
    }

    /// What a hasher kept of a file of `file_size` bytes.
    pub(crate) fn kept(size: ChunkSize, hashes: Vec<Digest>, file_size: u64) -> Option<Self> {
        (size.count(file_size) > 0).then_some(Self { size, hashes })
    }

    /// The same file in chunks of another size, which must not be smaller.
    pub(crate) fn coarser(&self, size: ChunkSize, file_size: u64) -> Option<Self> {
        if size == self.size {
            return Some(self.clone());
        }
        let mut merger =
            SpanMerger::from_level(Engine::best(), file_size, self.size.level).keeping(size.level);
        merger.push(&self.hashes);
        let hashes = merger.finish_with_level()?.1;
        (self.size < size && hashes.len() as u64 == size.count(file_size))
            .then_some(Self { size, hashes })
    }

    /// Bytes of a chunk.
    pub fn size(&self) -> ChunkSize {
        self.size
    }

    /// The hashes, at least two.
    pub fn hashes(&self) -> &[Digest] {
        &self.hashes
    }

    /// Which chunks of two files of one size differ; nothing if that cannot be told.
    pub(crate) fn differing(&self, other: &Self) -> Option<DifferentChunks> {
        if (self.size, self.hashes.len()) != (other.size, other.hashes.len()) {
            return None;
        }
        let mut runs: Vec<RangeInclusive<usize>> = Vec::new();
        let pairs = self.hashes.iter().zip(&other.hashes).enumerate();
        for number in pairs.filter(|(_, (a, b))| a != b).map(|(index, _)| index + 1) {
            match runs.last_mut() {
                Some(run) if run.end() + 1 == number => *run = *run.start()..=number,
                _ => runs.push(number..=number),
            }
        }
        let of = self.hashes.len();
        (!runs.is_empty()).then_some(DifferentChunks { runs, of, size: self.size })
    }
}

/// Which chunks of a file are not the recorded ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DifferentChunks {
    /// Their numbers, from 1 on, ascending.
    pub runs: Vec<RangeInclusive<usize>>,
    /// How many chunks the file has.
    pub of: usize,
    /// Bytes of a chunk.
    pub size: ChunkSize,
}

impl fmt::Display for DifferentChunks {
    /// `chunk 17 of 4096 differs`, `chunks 3, 5-7 and 9 more runs of 4096 differ`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 8;
        let Self { runs, of, .. } = self;
        if let [run] = runs.as_slice()
            && run.start() == run.end()
        {
            return write!(f, "chunk {} of {of} differs", run.start());
        }
        f.write_str("chunks ")?;
        for (index, run) in runs.iter().take(SHOWN).enumerate() {
            f.write_str(if index == 0 { "" } else { ", " })?;
            match run.start() == run.end() {
                true => write!(f, "{}", run.start())?,
                false => write!(f, "{}-{}", run.start(), run.end())?,
            }
        }
        if runs.len() > SHOWN {
            write!(f, ", …")?;
        }
        write!(f, " of {of} differ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_size_with_few_chunks_is_chosen() {
        const MIB: u64 = 1 << 20;
        let of = |sizes: &[u64]| ChunkSize::of_model(sizes).bytes();
        assert_eq!(of(&[]), MIB / 2);
        assert_eq!(of(&[2048 * MIB]), MIB / 2);
        assert_eq!(of(&[2048 * MIB + 1]), 64 * MIB);
        assert_eq!(of(&vec![MIB / 2; 100_000]), MIB / 2);
        assert_eq!(of(&[u64::MAX / 2, 5]), 1 << 40);
    }

    #[test]
    fn runs_are_told_in_few_words() {
        let chunks = |hashes: &[u8]| Chunks {
            size: ChunkSize { level: 1 },
            hashes: hashes.iter().map(|&byte| [byte; 32]).collect(),
        };
        let told = |a: &[u8], b: &[u8]| chunks(a).differing(&chunks(b)).map(|d| d.to_string());
        assert_eq!(told(&[1, 2, 3], &[1, 9, 3]).unwrap(), "chunk 2 of 3 differs");
        assert_eq!(told(&[1, 2, 3, 4], &[9, 9, 3, 9]).unwrap(), "chunks 1-2, 4 of 4 differ");
        assert_eq!(told(&[1, 2], &[1, 2]), None);
        assert_eq!(told(&[1, 2], &[1, 2, 3]), None);
        let (zeros, every_second) = ([0; 40], [[0, 1]; 20]);
        let told = told(&zeros, every_second.as_flattened()).unwrap();
        assert_eq!(told, "chunks 2, 4, 6, 8, 10, 12, 14, 16, … of 40 differ");
    }
}
