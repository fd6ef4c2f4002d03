//! Resources as the OpenSSF Model Signing specification names and hashes them (OMS v1.0 §5), for
//! signatures that our own manifest cannot be held against: BLAKE2b, BLAKE3, shards.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use blake2::Blake2b512;
use rustix::fs::{FileType, fstat};
use sha2::{Digest as _, Sha256};

use crate::error::ManifestError;
use crate::open::{open_beneath, open_inside, require_regular, unreadable};
use crate::source::is_changed;
use crate::walk::{Listing, SymlinkPolicy, WalkOptions, list_model};

const BUFFER_SIZE: usize = 256 * 1024;

/// The hash of a resource: OMS v1.0 §5.1 `hash_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashAlgorithm {
    /// `sha256`, 32 bytes.
    Sha256,
    /// `blake2b`: BLAKE2b-512 without a key, 64 bytes.
    Blake2b,
    /// `blake3`, 32 bytes.
    Blake3,
}

impl HashAlgorithm {
    /// The algorithm that `hash_type` names.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "sha256" => Some(Self::Sha256),
            "blake2b" => Some(Self::Blake2b),
            "blake3" => Some(Self::Blake3),
            _ => None,
        }
    }

    /// Its `hash_type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Blake2b => "blake2b",
            Self::Blake3 => "blake3",
        }
    }

    /// Bytes of a digest.
    pub fn digest_length(self) -> usize {
        match self {
            Self::Sha256 | Self::Blake3 => 32,
            Self::Blake2b => 64,
        }
    }
}

/// How files become resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Serialization {
    /// The hash of every resource.
    pub algorithm: HashAlgorithm,
    /// Bytes of a shard, for method `shards`; `None` for method `files`.
    pub shard_size: Option<NonZero<u64>>,
}

/// The resources of a model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    /// Resource name → digest. With shards the name is `PATH:START:END`.
    pub digests: BTreeMap<String, Vec<u8>>,
    /// Files without content, which method `shards` leaves out (OMS v1.0 §6.3.2): nothing is signed
    /// about them, not even that they are there.
    pub unlisted: Vec<String>,
}

/// Walks and hashes the model at `path` as `serialization` says, using all cores. A model that is
/// one file has the resource `single_file`, or its base name.
///
/// `limit` bounds the number of resources: a signature knows how many there are, and a tiny shard
/// size must not make us fill the memory.
///
/// # Errors
/// As for [`crate::digest_model`]; [`ManifestError::TooManyFiles`] above `limit`.
pub fn resource_digests(
    path: &Path,
    options: &WalkOptions,
    serialization: Serialization,
    single_file: Option<&str>,
    limit: usize,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Resources, ManifestError> {
    let job = Job { serialization, limit, made: AtomicU64::new(0), progress };
    let mut resources = Resources { digests: BTreeMap::new(), unlisted: Vec::new() };
    match list_model(path, options)? {
        Listing::File { fd, name } => {
            let name = single_file.unwrap_or(&name);
            resources.add(name, job.hash(fd, name)?);
        }
        Listing::Directory { root, names, .. } => {
            let open = |name: &str| match options.symlinks {
                SymlinkPolicy::Refuse => open_beneath(&root, name),
                SymlinkPolicy::FollowFilesInside => {
                    open_inside(&root, name).map_err(|errno| unreadable(Path::new(name), errno))
                }
            };
            for (index, pieces) in job.hash_all(&names, &open)? {
                if let Some(name) = names.get(index) {
                    resources.add(name, pieces);
                }
            }
        }
    }
    Ok(resources)
}

impl Resources {
    fn add(&mut self, name: &str, pieces: Vec<Piece>) {
        if pieces.is_empty() {
            self.unlisted.push(name.to_owned());
        }
        for Piece { range, digest } in pieces {
            let name = match range {
                None => name.to_owned(),
                Some((start, end)) => format!("{name}:{start}:{end}"),
            };
            self.digests.insert(name, digest);
        }
    }
}

/// A digest of a file, or of a range of it (start inclusive, end exclusive).
struct Piece {
    range: Option<(u64, u64)>,
    digest: Vec<u8>,
}

struct Job<'a> {
    serialization: Serialization,
    limit: usize,
    /// Resources so far, over all threads.
    made: AtomicU64,
    progress: &'a (dyn Fn(u64) + Sync),
}

type Opener<'a> = &'a (dyn Fn(&str) -> Result<OwnedFd, ManifestError> + Sync);

impl Job<'_> {
    /// Hashes all files on all cores; results in the order of names, the first error first.
    fn hash_all(
        &self,
        names: &[String],
        open: Opener<'_>,
    ) -> Result<Vec<(usize, Vec<Piece>)>, ManifestError> {
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
        let next = AtomicUsize::new(0);
        let results = Mutex::new(Vec::new());
        let work = || {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(name) = names.get(index) else { break };
                let result = open(name).and_then(|fd| self.hash(fd, name));
                if result.is_err() {
                    next.fetch_max(names.len(), Ordering::Relaxed);
                }
                let result = result.map(|pieces| (index, pieces));
                results.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
            }
        };
        std::thread::scope(|scope| {
            (0..threads.min(names.len())).for_each(|_| drop(scope.spawn(work)));
        });
        let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        results.sort_by_key(|(index, _)| *index);
        results.into_iter().map(|(_, result)| result).collect()
    }

    fn hash(&self, fd: OwnedFd, name: &str) -> Result<Vec<Piece>, ManifestError> {
        let path = Path::new(name);
        let before = fstat(&fd).map_err(|errno| unreadable(path, errno))?;
        require_regular(FileType::from_raw_mode(before.st_mode), path)?;
        // One byte more than there was tells that the file has grown; one that is appended to as
        // fast as it is read would never end.
        let size = u64::try_from(before.st_size).unwrap_or(0);
        let limit = self.serialization.shard_size.map_or(size + 1, NonZero::get);
        let mut file = File::from(fd);
        let mut pieces = Vec::new();
        let mut offset = 0;
        loop {
            let (length, digest) = self.hash_piece(&mut file, path, limit)?;
            let end = offset + length;
            match self.serialization.shard_size {
                None => pieces.push(Piece { range: None, digest }),
                Some(_) if length == 0 => break,
                Some(_) => pieces.push(Piece { range: Some((offset, end)), digest }),
            }
            offset = end;
            if offset > size {
                break;
            }
            if self.made.fetch_add(1, Ordering::Relaxed) >= self.limit as u64 {
                return Err(ManifestError::TooManyFiles { limit: self.limit });
            }
            if self.serialization.shard_size.is_none() {
                break;
            }
        }
        let after = fstat(&file).map_err(|errno| unreadable(path, errno))?;
        if is_changed(&before, &after) || u64::try_from(after.st_size) != Ok(offset) {
            return Err(ManifestError::ChangedWhileReading { path: path.to_owned() });
        }
        Ok(pieces)
    }

    /// Hashes up to the end of the shard or of the file.
    fn hash_piece(
        &self,
        file: &mut File,
        path: &Path,
        limit: u64,
    ) -> Result<(u64, Vec<u8>), ManifestError> {
        let mut hasher = Hasher::new(self.serialization.algorithm);
        let mut buffer = vec![0; BUFFER_SIZE.min(usize::try_from(limit).unwrap_or(BUFFER_SIZE))];
        let mut piece = file.take(limit);
        let mut length = 0;
        loop {
            let count = read(&mut piece, &mut buffer, path)?;
            let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else { break };
            hasher.update(bytes);
            length += count as u64;
            (self.progress)(count as u64);
        }
        Ok((length, hasher.finish()))
    }
}

fn read(file: &mut impl Read, buffer: &mut [u8], path: &Path) -> Result<usize, ManifestError> {
    loop {
        match file.read(buffer) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => {
                return Err(ManifestError::Unreadable { path: path.to_owned(), source });
            }
            Ok(count) => return Ok(count),
        }
    }
}

enum Hasher {
    Sha256(Sha256),
    Blake2b(Box<Blake2b512>),
    Blake3(Box<blake3::Hasher>),
}

impl Hasher {
    fn new(algorithm: HashAlgorithm) -> Self {
        match algorithm {
            HashAlgorithm::Sha256 => Self::Sha256(Sha256::new()),
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

    fn finish(self) -> Vec<u8> {
        match self {
            Self::Sha256(hasher) => hasher.finalize().to_vec(),
            Self::Blake2b(hasher) => hasher.finalize().to_vec(),
            Self::Blake3(hasher) => hasher.finalize().as_bytes().to_vec(),
        }
    }
}
