//! The fs-verity digest of a file, as the Linux kernel computes it.
//!
//! Kernel documentation `Documentation/filesystems/fsverity.rst`, "Merkle tree" and "fs-verity
//! descriptor": SHA-256, 4096-byte blocks, no salt. Equal to `fsverity digest FILE`.

use sealwright_hash::Engine;

use crate::digest::Sha256;

pub use sealwright_hash::BLOCK_SIZE;

/// Computes the fs-verity digest from a file's bytes, given in pieces of any size.
///
/// Holds less than one block of data and at most 64 KiB per tree level, whatever the file's size.
#[derive(Debug, Clone)]
pub struct FsVerityHasher(sealwright_hash::FsVerityHasher);

impl Default for FsVerityHasher {
    fn default() -> Self {
        Self::new()
    }
}

impl FsVerityHasher {
    /// A hasher that has seen no bytes.
    pub fn new() -> Self {
        Self(sealwright_hash::FsVerityHasher::new(Engine::best()))
    }

    /// Takes the next bytes of the file.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest: SHA-256 of the fs-verity descriptor of all bytes given so far.
    pub fn finish(self) -> Sha256 {
        Sha256::from_bytes(self.0.finish())
    }
}
