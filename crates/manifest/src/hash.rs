//! One pass over one file: SHA-256 and fs-verity digest together.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::mpsc;
use std::thread;

use rustix::fs::{FileType, Stat, fstat};
use sealwright_hash::{Engine, FsVerityHasher, Sha256 as Stream};

use crate::cache::{self, CachedDigests, FileState};
use crate::chunks::{ChunkSize, Chunks};
use crate::digest::Sha256;
use crate::error::ManifestError;
use crate::hashing::{Hashing, Progress};
use crate::model::Entry;
use crate::open::{open_beneath, open_root, require_regular, unreadable};
use crate::source::Source;

/// The most bytes that [`read_verified`] takes into memory: 4 GiB.
pub const MAX_WHOLE_FILE: u64 = 4 << 30;

/// Bytes for the buffers of all threads together, whatever the model's size.
const MEMORY: usize = 32 << 20;
/// Buffers between the thread that reads a file and the one that hashes it.
const RING: usize = 4;
/// Files of fewer bytes are not worth a thread that reads.
const LARGE: u64 = 8 << 20;

/// Bytes of one buffer when `threads` files are hashed at once: whole groups of blocks, so that all
/// lanes are used, and small enough to stay in a core's second cache.
pub(crate) fn buffer_size(threads: usize) -> usize {
    const GROUP: usize = 64 << 10;
    let share = MEMORY / (threads.max(1) * RING);
    share.clamp(GROUP, 4 * GROUP) / GROUP * GROUP
}

/// How one file is hashed.
pub(crate) struct FileJob<'a> {
    pub(crate) hashing: &'a Hashing<'a>,
    pub(crate) chunk_size: ChunkSize,
    pub(crate) buffer_size: usize,
    /// There are cores that would have nothing to do: another thread copies a large file out of the
    /// page cache meanwhile.
    pub(crate) beside: bool,
}

/// Hashes one file, unless a cache knows it.
pub(crate) fn hash_file(
    fd: OwnedFd,
    name: &str,
    job: &FileJob<'_>,
) -> Result<Entry, ManifestError> {
    let source = Source::new(fd, name)?;
    let known = Known::of(&source, job.hashing, job.chunk_size);
    if let Some(CachedDigests { fsverity, sha256: Some(sha256), chunks }) = known.digests {
        source.require_unchanged()?;
        (job.hashing.progress)(Progress::Cached(source.size()));
        return Ok(Entry { name: name.to_owned(), size: source.size(), sha256, fsverity, chunks });
    }
    let entry = read_file(&source, name, job)?;
    if let (Some(cache), Some(state)) = (job.hashing.cache, known.keep) {
        let Entry { sha256, fsverity, ref chunks, .. } = entry;
        let chunks = chunks.clone();
        cache.keep(&state, CachedDigests { sha256: Some(sha256), fsverity, chunks });
    }
    Ok(entry)
}

/// What a cache says about a file that was just opened.
pub(crate) struct Known {
    /// Its digests.
    pub(crate) digests: Option<CachedDigests>,
    /// Under what they may be kept once they are computed.
    pub(crate) keep: Option<FileState>,
}

impl Known {
    pub(crate) fn of(source: &Source, hashing: &Hashing<'_>, chunk_size: ChunkSize) -> Self {
        let nothing = Self { digests: None, keep: None };
        let Some(cache) = hashing.cache else { return nothing };
        let Some(state) = source.state() else { return nothing };
        // Before the times are believed, and before anything is read.
        if !source.is_quiet() {
            return nothing;
        }
        let digests = cache.find(&state).and_then(|found| found.in_chunks(chunk_size, &state));
        let wanted = digests.is_none() && cache::is_settled(&state, cache.now());
        Self { digests, keep: wanted.then_some(state) }
    }
}

/// The SHA-256 of a file is one sequence, and the blocks of its tree fill what that leaves idle of
/// a core. So one core is enough for one file.
fn read_file(source: &Source, name: &str, job: &FileJob<'_>) -> Result<Entry, ManifestError> {
    let engine = Engine::best();
    let mut plain = Stream::new(engine);
    let mut tree = FsVerityHasher::new(engine).keeping(job.chunk_size.level());
    let mut size = 0;
    let mut take = |piece: &[u8]| {
        tree.update_with_stream(&mut plain, piece);
        size += piece.len() as u64;
        job.hashing.hashed(piece.len());
        // Whoever writes as fast as we read would keep us here for ever.
        if size > source.size() { Err(source.changed()) } else { Ok(()) }
    };
    let buffer_size = job.buffer_size;
    if job.beside && source.size() > LARGE {
        read_beside(source, buffer_size, &mut take)?;
    } else {
        // One byte more than there is: the first read of a small file finds its end.
        let bytes = usize::try_from(source.size() + 1).unwrap_or(buffer_size).min(buffer_size);
        read_here(source, bytes, &mut take)?;
    }
    source.require_unchanged()?;
    if size != source.size() {
        return Err(source.changed());
    }
    let (fsverity, kept) = tree.finish_with_level();
    Ok(Entry {
        name: name.to_owned(),
        size,
        sha256: Sha256::from_bytes(plain.finish()),
        fsverity: Sha256::from_bytes(fsverity),
        chunks: Chunks::kept(job.chunk_size, kept, size),
    })
}

fn read_here(
    source: &Source,
    buffer_size: usize,
    take: &mut dyn FnMut(&[u8]) -> Result<(), ManifestError>,
) -> Result<(), ManifestError> {
    let mut buffer = vec![0; buffer_size];
    let mut offset = 0;
    loop {
        source.read_ahead_of(offset);
        let piece = source.read_at(&mut buffer, offset)?;
        take(piece)?;
        if piece.len() < buffer_size || piece.is_empty() {
            return Ok(());
        }
        offset += piece.len() as u64;
    }
}

/// Reads on another thread, some buffers ahead.
fn read_beside(
    source: &Source,
    buffer_size: usize,
    take: &mut dyn FnMut(&[u8]) -> Result<(), ManifestError>,
) -> Result<(), ManifestError> {
    let (empty, to_fill) = mpsc::sync_channel::<Vec<u8>>(RING);
    let (filled, to_take) = mpsc::sync_channel(RING);
    let read = move || {
        let mut offset = 0;
        for mut buffer in to_fill {
            source.read_ahead_of(offset);
            let count = source.read_at(&mut buffer, offset).map(<[u8]>::len);
            let is_last = !matches!(count, Ok(count) if count == buffer.len());
            offset += buffer.len() as u64;
            if filled.send(count.map(|count| (buffer, count))).is_err() || is_last {
                return;
            }
        }
    };
    // Each side ends when the other has dropped its ends of the channels; ours go with the closure,
    // before the scope waits for the reader.
    thread::scope(move |scope| {
        scope.spawn(read);
        for _ in 0..RING {
            let _ = empty.send(vec![0; buffer_size]);
        }
        for piece in to_take {
            let (buffer, count) = piece?;
            take(buffer.get(..count).unwrap_or_default())?;
            let _ = empty.send(buffer);
        }
        Ok(())
    })
}

/// Reads a file of the model into memory and gives the bytes only if they are the recorded ones.
///
/// What is returned is what was hashed: there is no second look at the disk, and so no time between
/// check and use. `model` is the directory (or the one file) that `entry` belongs to.
///
/// # Errors
/// [`ManifestError::Mismatch`] when size or fs-verity digest differ, [`ManifestError::TooLarge`]
/// above [`MAX_WHOLE_FILE`], and what opening a file can give.
pub fn read_verified(model: &Path, entry: &Entry) -> Result<Vec<u8>, ManifestError> {
    if entry.size > MAX_WHOLE_FILE {
        let name = entry.name.clone();
        return Err(ManifestError::TooLarge { name, size: entry.size, limit: MAX_WHOLE_FILE });
    }
    let path = Path::new(&entry.name);
    let root = open_root(model)?;
    let is_directory = FileType::from_raw_mode(stat(&root, model)?.st_mode).is_dir();
    let fd = if is_directory { open_beneath(&root, &entry.name)? } else { root };
    require_regular(FileType::from_raw_mode(stat(&fd, path)?.st_mode), path)?;
    let mut bytes = Vec::new();
    // One byte more than recorded is enough to know that the file has grown.
    File::from(fd)
        .take(entry.size + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| ManifestError::Unreadable { path: path.to_owned(), source })?;
    let mut tree = crate::FsVerityHasher::new();
    tree.update(&bytes);
    if bytes.len() as u64 != entry.size || tree.finish() != entry.fsverity {
        return Err(ManifestError::Mismatch { name: entry.name.clone() });
    }
    Ok(bytes)
}

fn stat(fd: &OwnedFd, path: &Path) -> Result<Stat, ManifestError> {
    fstat(fd).map_err(|errno| unreadable(path, errno))
}
