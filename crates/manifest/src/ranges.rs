//! Digests of whole files or ranges of them, on all cores; SHA-256 of two at once on each.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use blake2::{Blake2b512, Digest as _};
use sealwright_hash::{Engine, Sha256};

use crate::error::ManifestError;
use crate::hash::buffer_size;
use crate::hashing::Hashing;
use crate::pool::{self, OpenFiles, Results};
use crate::resources::HashAlgorithm;
use crate::source::Source;

/// Streams that one core hashes side by side.
const LANES: usize = 2;

/// A range of a file, which is named by its index.
pub(crate) struct FileRange {
    pub(crate) file: usize,
    pub(crate) bytes: Range<u64>,
}

/// What to hash, and how.
pub(crate) struct Ranges<'a> {
    pub(crate) algorithm: HashAlgorithm,
    /// Opens a file by its index.
    pub(crate) open: &'a (dyn Fn(usize) -> Result<Arc<Source>, ManifestError> + Sync),
    /// Bytes of each file when it was listed.
    pub(crate) sizes: &'a [u64],
    /// In the order of files.
    pub(crate) ranges: &'a [FileRange],
    /// Is told the bytes of each piece.
    pub(crate) hashing: &'a Hashing<'a>,
}

/// The digests of all ranges, in their order.
pub(crate) fn hash_ranges(ranges: &Ranges<'_>) -> Result<Vec<Vec<u8>>, ManifestError> {
    // Large files first: one that comes last would keep one core busy and the others idle.
    let mut order: Vec<usize> = (0..ranges.ranges.len()).collect();
    order.sort_by_key(|&index| {
        let size = ranges.ranges.get(index).and_then(|range| ranges.sizes.get(range.file));
        std::cmp::Reverse(size)
    });
    let threads = pool::cores().min(order.len());
    let (next, files, results) = (AtomicUsize::new(0), OpenFiles::new(), Results::new());
    let job = Job { ranges, order: &order, threads, next, files, results };
    pool::on_threads(threads, || job.work());
    job.results.finish()
}

struct Job<'a> {
    ranges: &'a Ranges<'a>,
    order: &'a [usize],
    threads: usize,
    next: AtomicUsize,
    files: OpenFiles<OpenFile>,
    results: Results<Vec<u8>>,
}

struct OpenFile {
    source: Arc<Source>,
    /// Ranges of it that are not done.
    left: AtomicUsize,
}

/// A range that is being hashed.
struct Lane {
    index: usize,
    file: Arc<OpenFile>,
    rest: Range<u64>,
    hasher: Hasher,
}

impl Job<'_> {
    fn work(&self) {
        let buffer_size = buffer_size(self.threads * LANES);
        let mut buffers: [Vec<u8>; LANES] = std::array::from_fn(|_| vec![0; buffer_size]);
        let mut lanes: [Option<Lane>; LANES] = std::array::from_fn(|_| None);
        loop {
            for (number, lane) in lanes.iter_mut().enumerate() {
                if lane.is_none() && (number == 0 || self.may_pair()) {
                    *lane = self.take();
                }
            }
            if lanes.iter().all(Option::is_none) {
                return;
            }
            let [first, second] = &mut lanes;
            let [buffer, other_buffer] = &mut buffers;
            let (piece, other_piece) = (self.read(first, buffer), self.read(second, other_buffer));
            match (first.as_mut(), second.as_mut()) {
                (Some(a), Some(b)) => {
                    Hasher::update_pair(&mut a.hasher, piece, &mut b.hasher, other_piece)
                }
                (Some(a), None) => a.hasher.update(piece),
                (None, Some(b)) => b.hasher.update(other_piece),
                (None, None) => {}
            }
            for lane in &mut lanes {
                if let Some(done) = lane.take_if(|lane| lane.rest.is_empty()) {
                    self.finish(done);
                }
            }
        }
    }

    /// A second stream is for a core that has one already, once every core has one.
    fn may_pair(&self) -> bool {
        self.ranges.algorithm == HashAlgorithm::Sha256
            && self.next.load(Ordering::Relaxed) >= self.threads
    }

    /// The next range whose file can be opened.
    fn take(&self) -> Option<Lane> {
        loop {
            let index = *self.order.get(self.next.fetch_add(1, Ordering::Relaxed))?;
            let FileRange { file: number, bytes } = self.ranges.ranges.get(index)?;
            if !self.results.wants(index) {
                continue;
            }
            match self.files.get(*number, || self.open(*number)) {
                Ok(Some(file)) => {
                    let hasher = Hasher::new(self.ranges.algorithm);
                    return Some(Lane { index, file, rest: bytes.clone(), hasher });
                }
                Ok(None) => {}
                Err(error) => self.results.put(index, Err(error)),
            }
        }
    }

    fn open(&self, number: usize) -> Result<OpenFile, ManifestError> {
        let source = (self.ranges.open)(number)?;
        if self.ranges.sizes.get(number) != Some(&source.size()) {
            return Err(source.changed());
        }
        let ranges = self.ranges.ranges;
        let first = ranges.partition_point(|range| range.file < number);
        let end = ranges.partition_point(|range| range.file <= number);
        Ok(OpenFile { source, left: AtomicUsize::new(end - first) })
    }

    /// The next piece of a lane; an error ends the lane.
    fn read<'b>(&self, lane: &mut Option<Lane>, buffer: &'b mut [u8]) -> &'b [u8] {
        let Some(Lane { index, file, rest, .. }) = lane else { return &[] };
        let missing = usize::try_from(rest.end - rest.start).unwrap_or(usize::MAX);
        let wanted = missing.min(buffer.len());
        file.source.read_ahead_of(rest.start);
        let piece = file.source.read_at(buffer.get_mut(..wanted).unwrap_or_default(), rest.start);
        let piece = piece.and_then(|piece| {
            if piece.len() == wanted { Ok(piece) } else { Err(file.source.changed()) }
        });
        match piece {
            Ok(piece) => {
                rest.start += piece.len() as u64;
                self.ranges.hashing.hashed(piece.len());
                piece
            }
            Err(error) => {
                self.results.put(*index, Err(error));
                *lane = None;
                &[]
            }
        }
    }

    fn finish(&self, lane: Lane) {
        let mut result = Ok(lane.hasher.finish());
        if lane.file.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            if let Some(range) = self.ranges.ranges.get(lane.index) {
                self.files.close(range.file);
            }
            result = lane.file.source.require_unchanged().and(result);
        }
        self.results.put(lane.index, result);
    }
}

enum Hasher {
    Sha256(Box<Sha256>),
    Blake2b(Box<Blake2b512>),
    Blake3(Box<blake3::Hasher>),
}

impl Hasher {
    fn new(algorithm: HashAlgorithm) -> Self {
        match algorithm {
            HashAlgorithm::Sha256 => Self::Sha256(Box::new(Sha256::new(Engine::best()))),
            HashAlgorithm::Blake2b => Self::Blake2b(Box::new(Blake2b512::new())),
            HashAlgorithm::Blake3 => Self::Blake3(Box::new(blake3::Hasher::new())),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Blake2b(hasher) => hasher.update(bytes),
            Self::Blake3(hasher) => drop(hasher.update(bytes)),
        }
    }

    fn update_pair(a: &mut Self, a_bytes: &[u8], b: &mut Self, b_bytes: &[u8]) {
        match (a, b) {
            (Self::Sha256(a), Self::Sha256(b)) => Sha256::update_pair(a, a_bytes, b, b_bytes),
            (a, b) => {
                a.update(a_bytes);
                b.update(b_bytes);
            }
        }
    }

    fn finish(self) -> Vec<u8> {
        match self {
            Self::Sha256(hasher) => hasher.finish().to_vec(),
            Self::Blake2b(hasher) => hasher.finalize().to_vec(),
            Self::Blake3(hasher) => hasher.finalize().as_bytes().to_vec(),
        }
    }
}
