//! What accompanies the hashing of a model: progress, a cache of digests, the size of chunks.

use std::fmt;

use crate::cache::DigestCache;
use crate::chunks::ChunkSize;

/// How a model is hashed. Nothing here changes a digest.
#[derive(Clone, Copy)]
pub struct Hashing<'a> {
    /// Is told how far it is, from several threads.
    pub progress: &'a (dyn Fn(Progress) + Sync),
    /// Digests of files that were hashed before.
    pub cache: Option<&'a dyn DigestCache>,
    /// The size of the chunks of large files; [`ChunkSize::of_model`] if nothing is said.
    pub chunk_size: Option<ChunkSize>,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Comes first: what there is to do.
    Listed {
        /// Regular files.
        files: usize,
        /// Bytes of all of them.
        bytes: u64,
    },
    /// That many more bytes were read and hashed.
    Hashed(u64),
    /// That many more bytes did not have to be read.
    Cached(u64),
}

impl Default for Hashing<'_> {
    /// No cache, and nobody is told anything.
    fn default() -> Self {
        Self { progress: &|_| {}, cache: None, chunk_size: None }
    }
}

impl fmt::Debug for Hashing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hashing").field("chunk_size", &self.chunk_size).finish_non_exhaustive()
    }
}

impl Hashing<'_> {
    pub(crate) fn begin(&self, sizes: &[u64]) {
        let bytes = sizes.iter().fold(0, |sum: u64, size| sum.saturating_add(*size));
        (self.progress)(Progress::Listed { files: sizes.len(), bytes });
    }

    pub(crate) fn hashed(&self, bytes: usize) {
        (self.progress)(Progress::Hashed(bytes as u64));
    }

    /// The size of chunks for a model with files of these sizes.
    pub(crate) fn chunk_size(&self, sizes: &[u64]) -> ChunkSize {
        self.chunk_size.unwrap_or_else(|| ChunkSize::of_model(sizes))
    }
}
