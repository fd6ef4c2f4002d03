//! Digests of files that have not changed since they were hashed.
//!
//! A digest is kept under everything that the file system says of a file: where it is, its size, and
//! the times of its last modification and change. The time of change (`ctime`) cannot be set by
//! anybody; the kernel sets it before bytes are written. That alone would not be enough, so a digest
//! is kept only if, before the first byte was read,
//!
//! * nobody had the file open for writing or mapped for shared writing ([`sealwright_lease`]): a write
//!   that was under way could go on without another time, and stores into a mapped page get a time
//!   only when the page is first touched;
//! * the time of change was [`MARGIN_S`] seconds old, so that no later change can have the same, even
//!   where times are whole seconds;
//!
//! and the same times are there after the last byte. It is found only if, again, nobody has the file
//! open for writing, and the file system has not been mounted anew since. Only local file systems that
//! are known to keep times so are trusted.
//!
//! This is for what happens to files in the ordinary course of things, with or without their owner's
//! knowledge. It is no defence against an owner who sets out to deceive the cache: whoever can pin a page
//! of the file (by a read from a file system of their own into a mapping, say) can have it filled later
//! without a time. Nor against root. That is why nothing that verifies asks a cache.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{AtFlags, Stat, StatxFlags, fstatfs, statx};

use crate::chunks::{ChunkSize, Chunks};
use crate::digest::Sha256;

/// Files of fewer bytes are hashed in less time than it takes to look them up.
pub(crate) const SMALLEST: u64 = 1 << 20;

/// Seconds between the last change of a file and the moment from which its digest may be kept.
const MARGIN_S: i64 = 2;

/// `statfs(2)`: ext2 to ext4, Btrfs. Not tmpfs, where a store into a page that was read before leaves
/// no time; not those that can exchange parts of files.
const TRUSTED_FILE_SYSTEMS: [u32; 2] = [0xef53, 0x9123_683e];

/// `statx(2)`: the mount's number that is never used again. Linux 6.8; without it nothing is cached.
const MNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// Everything by which a file is known to be the one that was hashed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FileState {
    /// `stx_mnt_id` with `STATX_MNT_ID_UNIQUE`: another medium in the place of one has another.
    pub mount: u64,
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
    let mount = statx(fd, "", AtFlags::EMPTY_PATH, MNT_ID_UNIQUE).ok()?;
    if !StatxFlags::from_bits_retain(mount.stx_mask).contains(MNT_ID_UNIQUE) {
        return None;
    }
    TRUSTED_FILE_SYSTEMS.contains(&kind).then_some(FileState {
        mount: mount.stx_mnt_id,
        device: stat.st_dev,
        inode: stat.st_ino,
        size,
        modified: (stat.st_mtime, stat.st_mtime_nsec),
        changed: (stat.st_ctime, stat.st_ctime_nsec),
    })
}

/// Whether the digest of what is read from now on may be kept, if the state is the same afterwards.
pub(crate) fn is_settled(state: &FileState, now: i64) -> bool {
    state.changed.0.checked_add(MARGIN_S).is_some_and(|time| time < now)
}

/// Whether nobody can be writing to the file at this moment.
pub(crate) fn is_quiet(fd: &OwnedFd) -> bool {
    matches!(sealwright_lease::is_open_for_writing(fd.as_fd()), Ok(false))
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
