//! An open file that must stay as it is while it is read.

use std::io::{self, IoSliceMut};
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{Advice, FileType, Stat, fadvise, fstat};
use rustix::io::{Errno, ReadWriteFlags, pread, preadv2};

use crate::cache::{self, FileState};
use crate::error::ManifestError;
use crate::open::{require_regular, unreadable};

/// A regular file, and what its inode said when it was opened.
///
/// All reads are positional, so several threads can share one.
pub(crate) struct Source {
    fd: OwnedFd,
    path: PathBuf,
    before: Stat,
    size: u64,
}

impl Source {
    /// Takes a file that was just opened; `name` is for errors.
    pub(crate) fn new(fd: OwnedFd, name: &str) -> Result<Self, ManifestError> {
        let path = PathBuf::from(name);
        let before = fstat(&fd).map_err(|errno| unreadable(&path, errno))?;
        require_regular(FileType::from_raw_mode(before.st_mode), &path)?;
        let size = u64::try_from(before.st_size).unwrap_or(0);
        Ok(Self { fd, path, before, size })
    }

    /// What a cache may know the file by.
    pub(crate) fn state(&self) -> Option<FileState> {
        cache::state(&self.fd, &self.before)
    }

    /// Whether nobody can be writing to it at this moment.
    pub(crate) fn is_quiet(&self) -> bool {
        cache::is_quiet(&self.fd)
    }

    /// Bytes in the file when it was opened.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Fills `buffer` from `offset` on, and gives less only at the end of the file.
    pub(crate) fn read_at<'b>(
        &self,
        buffer: &'b mut [u8],
        offset: u64,
    ) -> Result<&'b [u8], ManifestError> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match pread(&self.fd, rest, offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(Errno::INTR) => {}
                Err(errno) => {
                    let source = io::Error::from(errno);
                    return Err(ManifestError::Unreadable { path: self.path.clone(), source });
                }
            }
        }
        Ok(buffer.get(..filled).unwrap_or_default())
    }

    /// Keeps the kernel reading from the disk, some steps ahead of a thread that reads at `offset`,
    /// whatever its own settings are.
    pub(crate) fn read_ahead_of(&self, offset: u64) {
        const STEP: NonZero<u64> = NonZero::new(4 << 20).unwrap();
        if offset.is_multiple_of(STEP.get()) {
            self.read_ahead(offset + 2 * STEP.get(), STEP);
        }
    }

    /// Has the kernel read a part of the file from the disk while we do something else.
    pub(crate) fn read_ahead(&self, offset: u64, length: NonZero<u64>) {
        if offset >= self.size {
            return;
        }
        // Looking up pages that are in the cache costs time; their first byte tells.
        let first = &mut [0];
        let slices = &mut [IoSliceMut::new(first)];
        if preadv2(&self.fd, slices, offset, ReadWriteFlags::NOWAIT) == Err(Errno::AGAIN) {
            let _ = fadvise(&self.fd, offset, Some(length), Advice::WillNeed);
        }
    }

    /// Fails if the file is not the one that was opened: other size, other time, or more bytes.
    pub(crate) fn require_unchanged(&self) -> Result<(), ManifestError> {
        let after = fstat(&self.fd).map_err(|errno| unreadable(&self.path, errno))?;
        let is_at_end = || Ok(self.read_at(&mut [0], self.size)?.is_empty());
        if is_changed(&self.before, &after) || !is_at_end()? {
            return Err(self.changed());
        }
        Ok(())
    }

    /// The error for bytes that are not as many as the inode said.
    pub(crate) fn changed(&self) -> ManifestError {
        ManifestError::ChangedWhileReading { path: self.path.clone() }
    }
}

pub(crate) fn is_changed(before: &Stat, after: &Stat) -> bool {
    before.st_size != after.st_size
        || (before.st_mtime, before.st_mtime_nsec) != (after.st_mtime, after.st_mtime_nsec)
        || (before.st_ctime, before.st_ctime_nsec) != (after.st_ctime, after.st_ctime_nsec)
}
