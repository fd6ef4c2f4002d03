//! The identity of a model without its plain digests: all cores, also for one huge file.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use sealwright_hash::{Digest, Engine, FsVerityHasher, SPAN_SIZE, SpanHasher, SpanMerger};

use crate::cache::{CachedDigests, FileState};
use crate::chunks::{ChunkSize, Chunks};
use crate::digest::Sha256;
use crate::error::ManifestError;
use crate::hash::{Known, buffer_size};
use crate::hashing::{Hashing, Progress};
use crate::identity::{FileIdentity, Identity};
use crate::open::open_beneath;
use crate::pool::{self, OpenFiles, Results, lock};
use crate::source::Source;
use crate::walk::{Listing, WalkOptions, list_model};

/// What one thread hashes of a file at a time. Whole spans, so that parts can be merged.
const PART: NonZero<u64> = NonZero::new(8 * SPAN_SIZE as u64).unwrap();

/// Walks the model at `path` and hashes only the trees of its files, using all cores.
///
/// The same model digest as [`crate::digest_model`] gives, in about half the time for many files
/// and in a fraction of it for one huge file, whose plain SHA-256 would be one long sequence.
///
/// # Errors
/// As for [`crate::digest_model`].
pub fn identify_model(
    path: &Path,
    options: &WalkOptions,
    hashing: &Hashing<'_>,
) -> Result<Identity, ManifestError> {
    let (names, sizes, files) = match list_model(path, options)? {
        Listing::File { fd, name } => {
            let source = Source::new(fd, &name)?;
            (vec![name], vec![source.size()], Files::One(Arc::new(source)))
        }
        Listing::Directory { root, names, sizes } => (names, sizes, Files::Below(root)),
    };
    hashing.begin(&sizes);
    let job = Job::new(&names, &sizes, &files, hashing);
    let threads = pool::cores().min(usize::try_from(job.units).unwrap_or(usize::MAX));
    let buffer_size = buffer_size(threads);
    pool::on_threads(threads, || job.work(&mut vec![0; buffer_size]));
    Identity::new(job.results.finish()?)
}

/// Where the files are.
enum Files {
    One(Arc<Source>),
    Below(OwnedFd),
}

/// The parts of all files are one long row of units, and each thread takes the next one.
struct Job<'a> {
    names: &'a [String],
    sizes: &'a [u64],
    files: &'a Files,
    hashing: &'a Hashing<'a>,
    chunk_size: ChunkSize,
    /// The first unit of each file, and how many there are in all.
    first_unit: Vec<u64>,
    units: u64,
    next: AtomicU64,
    /// Files of several parts that are being hashed; `None` for one that a cache knows.
    open: OpenFiles<Option<Open>>,
    results: Results<FileIdentity>,
}

/// A file that several threads hash.
struct Open {
    source: Arc<Source>,
    merge: Mutex<Merge>,
    keep: Option<FileState>,
}

/// Takes the parts in whatever order they are done, and merges them in the order of the file.
struct Merge {
    merger: Option<SpanMerger>,
    next: u64,
    waiting: BTreeMap<u64, Vec<Digest>>,
}

impl<'a> Job<'a> {
    fn new(
        names: &'a [String],
        sizes: &'a [u64],
        files: &'a Files,
        hashing: &'a Hashing<'a>,
    ) -> Self {
        let mut units = 0;
        let mut first_unit = Vec::with_capacity(sizes.len());
        for &size in sizes {
            first_unit.push(units);
            units += parts(size);
        }
        let (next, open, results) = (AtomicU64::new(0), OpenFiles::new(), Results::new());
        let chunk_size = hashing.chunk_size(sizes);
        Self { names, sizes, files, hashing, chunk_size, first_unit, units, next, open, results }
    }

    fn work(&self, buffer: &mut [u8]) {
        loop {
            let unit = self.next.fetch_add(1, Ordering::Relaxed);
            if unit >= self.units {
                return;
            }
            let index = self.first_unit.partition_point(|&first| first <= unit).saturating_sub(1);
            let (Some(name), Some(&size), Some(first)) =
                (self.names.get(index), self.sizes.get(index), self.first_unit.get(index))
            else {
                return;
            };
            if !self.results.wants(index) {
                continue;
            }
            let whole = (parts(size) == 1).then(|| self.hash_whole(name, size, buffer));
            let result = match whole {
                Some(result) => result.map(Some),
                None => self.hash_part(index, name, size, unit - first, buffer),
            };
            if let Some(result) = result.transpose() {
                self.results.put(index, result);
            }
        }
    }

    fn hash_whole(
        &self,
        name: &str,
        size: u64,
        buffer: &mut [u8],
    ) -> Result<FileIdentity, ManifestError> {
        let source = self.open(name, size)?;
        let known = Known::of(&source, self.hashing, self.chunk_size);
        if let Some(digests) = known.digests {
            return self.cached(&source, name, digests);
        }
        let mut tree = FsVerityHasher::new(Engine::best()).keeping(self.chunk_size.level());
        self.read(&source, 0..size, buffer, |piece| tree.update(piece))?;
        source.require_unchanged()?;
        Ok(self.identity(name, size, tree.finish_with_level(), known.keep.as_ref()))
    }

    /// Hashes one part of a file. Whoever brings the last one gets the file's identity.
    fn hash_part(
        &self,
        index: usize,
        name: &str,
        size: u64,
        part: u64,
        buffer: &mut [u8],
    ) -> Result<Option<FileIdentity>, ManifestError> {
        // Whoever opens a file that a cache knows has its identity, and all others nothing to do.
        let mut cached = None;
        let open = || {
            let source = self.open(name, size)?;
            let known = Known::of(&source, self.hashing, self.chunk_size);
            if let Some(digests) = known.digests {
                cached = Some(self.cached(&source, name, digests)?);
                return Ok(None);
            }
            let merger = SpanMerger::new(Engine::best(), size).keeping(self.chunk_size.level());
            let merge = Merge { merger: Some(merger), next: 0, waiting: BTreeMap::new() };
            Ok(Some(Open { source, merge: Mutex::new(merge), keep: known.keep }))
        };
        let Some(open) = self.open.get(index, open)? else { return Ok(None) };
        let Some(Open { source, merge, keep }) = open.as_ref() else { return Ok(cached) };

        let ahead = part + 2 * pool::cores() as u64;
        source.read_ahead(ahead * PART.get(), PART);
        let mut spans = SpanHasher::new(Engine::best());
        let range = part * PART.get()..size.min((part + 1) * PART.get());
        self.read(source, range, buffer, |piece| spans.update(piece))?;

        let Some(merger) = lock(merge).add(part, spans.finish(), parts(size)) else {
            return Ok(None);
        };
        self.open.close(index);
        source.require_unchanged()?;
        let hashes = merger.finish_with_level().ok_or_else(|| source.changed())?;
        Ok(Some(self.identity(name, size, hashes, keep.as_ref())))
    }

    /// The identity that a cache knows.
    fn cached(
        &self,
        source: &Source,
        name: &str,
        digests: CachedDigests,
    ) -> Result<FileIdentity, ManifestError> {
        source.require_unchanged()?;
        (self.hashing.progress)(Progress::Cached(source.size()));
        let CachedDigests { fsverity, chunks, .. } = digests;
        Ok(FileIdentity { name: name.to_owned(), size: source.size(), fsverity, chunks })
    }

    /// The identity that was computed, which a cache may keep from now on.
    fn identity(
        &self,
        name: &str,
        size: u64,
        (fsverity, kept): (Digest, Vec<Digest>),
        keep: Option<&FileState>,
    ) -> FileIdentity {
        let fsverity = Sha256::from_bytes(fsverity);
        let chunks = Chunks::kept(self.chunk_size, kept, size);
        if let (Some(cache), Some(state)) = (self.hashing.cache, keep) {
            cache.keep(state, CachedDigests { fsverity, sha256: None, chunks: chunks.clone() });
        }
        FileIdentity { name: name.to_owned(), size, fsverity, chunks }
    }

    /// Opens a file that had `size` bytes when it was listed.
    fn open(&self, name: &str, size: u64) -> Result<Arc<Source>, ManifestError> {
        let source = match self.files {
            Files::One(source) => Arc::clone(source),
            Files::Below(root) => Arc::new(Source::new(open_beneath(root, name)?, name)?),
        };
        if source.size() == size { Ok(source) } else { Err(source.changed()) }
    }

    /// Reads a range, all of which must be there.
    fn read(
        &self,
        source: &Source,
        range: Range<u64>,
        buffer: &mut [u8],
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), ManifestError> {
        let mut offset = range.start;
        while offset < range.end {
            let missing = usize::try_from(range.end - offset).unwrap_or(usize::MAX);
            let wanted = missing.min(buffer.len());
            let piece = source.read_at(buffer.get_mut(..wanted).unwrap_or_default(), offset)?;
            if piece.len() < wanted {
                return Err(source.changed());
            }
            take(piece);
            offset += piece.len() as u64;
            self.hashing.hashed(piece.len());
        }
        Ok(())
    }
}

impl Merge {
    /// Takes a part's spans; gives the merger once it has all `parts`.
    fn add(&mut self, part: u64, spans: Vec<Digest>, parts: u64) -> Option<SpanMerger> {
        self.waiting.insert(part, spans);
        while let Some(spans) = self.waiting.remove(&self.next) {
            self.merger.as_mut()?.push(&spans);
            self.next += 1;
        }
        if self.next == parts { self.merger.take() } else { None }
    }
}

/// Units of a file of `size` bytes. An empty one has one too.
fn parts(size: u64) -> u64 {
    size.div_ceil(PART.get()).max(1)
}
