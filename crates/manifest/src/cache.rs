//! Digests of files that have not changed since they were hashed.
//!
//! A digest is kept under everything that the file system says of a file: where it is, its size, and
//! the times of its last modification and change. The time of change (`ctime`) cannot be set by
//! anybody; the kernel sets it before any byte is written. That alone would not be enough, so a digest
//! is kept only if, before the first byte was read,
//!
//! * nobody had the file open for writing or mapped for shared writing ([`sealwright_lease`]): a write
//!   that was under way could go on without another time, and stores into a mapped page get a time
//!   only when the page is first touched;
//! * the time of change was [`MARGIN_S`] seconds old, so that no later change can have the same, even
//!   where times are whole seconds;
//!
//! and the same times are there after the last byte. Whatever is written later has a later time, and
//! nothing is found under it. Only local file systems whose kernel code is known to keep these rules
//! are trusted. What remains: whoever can set the machine's clock back or write to the disk itself
//! (root), and whoever can write to the cache.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{Stat, fstatfs};

use crate::chunks::{ChunkSize, Chunks};
use crate::digest::Sha256;

/// Files of fewer bytes are hashed in less time than it takes to look them up.
pub(crate) const SMALLEST: u64 = 1 << 20;

/// Seconds between the last change of a file and the moment from which its digest may be kept.
const MARGIN_S: i64 = 2;

/// `statfs(2)`: ext2 to ext4, XFS, Btrfs, F2FS, tmpfs.
const TRUSTED_FILE_SYSTEMS: [u32; 5] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0x0102_1994];

/// Everything by which a file is known to be the one that was hashed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FileState {
    /// `st_dev`.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// `st_mtim`: seconds and nanoseconds.
    pub modified: (i64, u64),
    /// `st_ctim`: seconds and nanoseconds.
    pub changed: (i64, u64),
}

/// What is known of a file's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedDigests {
    /// fs-verity digest.
    pub fsverity: Sha256,
    /// Plain SHA-256, if it was ever computed.
    pub sha256: Option<Sha256>,
    /// Hashes of chunks, for a large file.
    pub chunks: Option<Chunks>,
}

/// Where digests are kept between runs.
pub trait DigestCache: Sync {
    /// What was kept for a file in exactly this state.
    fn find(&self, state: &FileState) -> Option<CachedDigests>;

    /// Keeps the digests of a file in this state.
    fn keep(&self, state: &FileState, digests: CachedDigests);

    /// Seconds since 1970, by the clock that the file systems take their times from. The library
    /// itself reads no clock.
    fn now(&self) -> i64;
}

/// The state of a file that a cache may know; `None` where it must not be asked.
pub(crate) fn state(fd: &OwnedFd, stat: &Stat) -> Option<FileState> {
    let size = u64::try_from(stat.st_size).ok().filter(|size| *size >= SMALLEST)?;
    let kind = u32::try_from(fstatfs(fd).ok()?.f_type).ok()?;
    TRUSTED_FILE_SYSTEMS.contains(&kind).then_some(FileState {
        device: stat.st_dev,
        inode: stat.st_ino,
        size,
        modified: (stat.st_mtime, stat.st_mtime_nsec),
        changed: (stat.st_ctime, stat.st_ctime_nsec),
    })
}

/// Whether the digest of what is read from now on may be kept, if the state is the same afterwards.
pub(crate) fn may_keep(fd: &OwnedFd, state: &FileState, now: i64) -> bool {
    let is_settled = state.changed.0.checked_add(MARGIN_S).is_some_and(|time| time < now);
    is_settled && matches!(sealwright_lease::is_open_for_writing(fd.as_fd()), Ok(false))
}

impl CachedDigests {
    /// With the chunks of that size, if the file has any: `None` if they were not kept.
    pub(crate) fn in_chunks(mut self, size: ChunkSize, state: &FileState) -> Option<Self> {
        self.chunks = match size.count(state.size) {
            0 => None,
            _ => Some(self.chunks?.coarser(size, state.size)?),
        };
        Some(self)
    }
}
