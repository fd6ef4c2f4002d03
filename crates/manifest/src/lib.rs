//! One digest for a model of any size.
//!
//! A model is a directory of regular files, or one file. This crate walks it, hashes every byte
//! once, and gives a [`Manifest`]: names, sizes, SHA-256 and fs-verity digests. The **model
//! digest** ([`Manifest::model_digest`]) is the identity that every statement, policy and admission
//! decision speaks of; the **OMS root** ([`Manifest::oms_root`]) is what the OpenSSF Model Signing
//! specification signs.
//!
//! The crate reads files and nothing else: it knows no keys, no network, no clock.

mod cache;
mod chunks;
mod compare;
mod digest;
mod error;
mod fsverity;
mod hash;
mod hashing;
mod identity;
mod model;
mod name;
mod open;
mod pool;
mod ranges;
mod resources;
mod source;
mod tree;
mod walk;

pub use cache::{CachedDigests, DigestCache, FileState};
pub use chunks::{ChunkSize, Chunks, DifferentChunks};
pub use compare::{Difference, differences};
pub use digest::{InvalidDigest, Sha256};
pub use error::ManifestError;
pub use fsverity::{BLOCK_SIZE, FsVerityHasher};
pub use hash::{MAX_WHOLE_FILE, read_verified};
pub use hashing::{Hashing, Progress};
pub use identity::{CANONICAL_VERSION, FileIdentity, Identity};
pub use model::{Entry, Manifest};
pub use name::{InvalidName, check_name};
pub use resources::{HashAlgorithm, Resources, Serialization, resource_digests};
pub use tree::identify_model;
pub use walk::{GIT_PATHS, MAX_DEPTH, MAX_FILES, SymlinkPolicy, WalkOptions, digest_model};
