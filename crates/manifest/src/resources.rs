//! Resources as the OpenSSF Model Signing specification names and hashes them (OMS v1.0 §5), for
//! signatures that our own manifest cannot be held against: BLAKE2b, BLAKE3, shards.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use crate::error::ManifestError;
use crate::hashing::Hashing;
use crate::open::{open_beneath, open_inside, unreadable};
use crate::ranges::{FileRange, Ranges, hash_ranges};
use crate::source::Source;
use crate::walk::{Listing, SymlinkPolicy, WalkOptions, list_model};

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
/// size must not make us fill the memory. A cache is not asked.
///
/// # Errors
/// As for [`crate::digest_model`]; [`ManifestError::TooManyFiles`] above `limit`.
pub fn resource_digests(
    path: &Path,
    options: &WalkOptions,
    serialization: Serialization,
    single_file: Option<&str>,
    limit: usize,
    hashing: &Hashing<'_>,
) -> Result<Resources, ManifestError> {
    let (names, sizes, files) = match list_model(path, options)? {
        Listing::File { fd, name } => {
            let name = single_file.map_or(name, str::to_owned);
            let source = Source::new(fd, &name)?;
            (vec![name], vec![source.size()], Files::One(Arc::new(source)))
        }
        Listing::Directory { root, names, sizes } => (names, sizes, Files::Below(root)),
    };
    hashing.begin(&sizes);
    let ranges = plan(&sizes, serialization.shard_size, limit)?;
    let open = |index: usize| {
        let name = names.get(index).map_or("", String::as_str);
        files.open(name, options.symlinks)
    };
    let algorithm = serialization.algorithm;
    let job = Ranges { algorithm, open: &open, sizes: &sizes, ranges: &ranges, hashing };
    let mut resources = Resources::default();
    for (FileRange { file, bytes }, digest) in ranges.iter().zip(hash_ranges(&job)?) {
        let name = names.get(*file).map_or("", String::as_str);
        let name = match serialization.shard_size {
            None => name.to_owned(),
            Some(_) => format!("{name}:{}:{}", bytes.start, bytes.end),
        };
        resources.digests.insert(name, digest);
    }
    if serialization.shard_size.is_some() {
        let empty = names.iter().zip(&sizes).filter(|(_, size)| **size == 0);
        resources.unlisted = empty.map(|(name, _)| name.clone()).collect();
    }
    Ok(resources)
}

/// The ranges that are resources: whole files, or shards, of which an empty file has none.
fn plan(
    sizes: &[u64],
    shard_size: Option<NonZero<u64>>,
    limit: usize,
) -> Result<Vec<FileRange>, ManifestError> {
    let shards = |size: u64| shard_size.map_or(1, |shard| size.div_ceil(shard.get()));
    let total = sizes.iter().fold(0_u64, |total, size| total.saturating_add(shards(*size)));
    if total > limit as u64 {
        return Err(ManifestError::TooManyFiles { limit });
    }
    let mut ranges = Vec::new();
    for (file, &size) in sizes.iter().enumerate() {
        let shard = shard_size.map_or(size, NonZero::get);
        ranges.extend((0..shards(size)).map(|index| {
            let start = index * shard;
            FileRange { file, bytes: start..start.saturating_add(shard).min(size) }
        }));
    }
    Ok(ranges)
}

/// Where the files are.
enum Files {
    One(Arc<Source>),
    Below(OwnedFd),
}

impl Files {
    fn open(&self, name: &str, symlinks: SymlinkPolicy) -> Result<Arc<Source>, ManifestError> {
        let fd = match self {
            Files::One(source) => return Ok(Arc::clone(source)),
            Files::Below(root) => match symlinks {
                SymlinkPolicy::Refuse => open_beneath(root, name)?,
                SymlinkPolicy::FollowFilesInside => {
                    open_inside(root, name).map_err(|errno| unreadable(Path::new(name), errno))?
                }
            },
        };
        Ok(Arc::new(Source::new(fd, name)?))
    }
}
