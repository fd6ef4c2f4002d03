//! Whether anybody has a file open for writing.
//!
//! Linux grants a read lease (`F_SETLEASE`, `F_RDLCK`; fcntl(2), "Leases") on a file only while
//! nobody has it open for writing, and a shared writable mapping counts as open. It is taken and given
//! back at once: what matters is the answer. One call of fcntl(2) that no safe wrapper offers is why
//! this is a crate of its own with `unsafe` in it.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// include/uapi/asm-generic/fcntl.h; the libc crate does not have it.
const F_SETSIG: libc::c_int = 10;

/// Whether anybody has the file open for writing, or mapped for shared writing, at this moment.
/// `file` must be open for reading only.
///
/// # Errors
/// `EACCES` for a file of another user (unless we have `CAP_LEASE`), `EINVAL` on file systems without
/// leases, and what fcntl(2) says else: then nothing is known.
pub fn is_open_for_writing(file: BorrowedFd<'_>) -> io::Result<bool> {
    // Whoever opens the file in the moment of the lease makes the kernel send us a signal. By default
    // it is SIGIO, which kills; SIGURG is ignored.
    fcntl(file, F_SETSIG, libc::SIGURG)?;
    match fcntl(file, libc::F_SETLEASE, libc::F_RDLCK) {
        Ok(()) => fcntl(file, libc::F_SETLEASE, libc::F_UNLCK).map(|()| false),
        Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Ok(true),
        Err(error) => Err(error),
    }
}

#[expect(unsafe_code, reason = "fcntl(2) with an integer argument: no memory is passed")]
fn fcntl(file: BorrowedFd<'_>, command: libc::c_int, argument: libc::c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as it is borrowed, and neither command takes a
    // pointer.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, argument) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn writers_are_seen_and_readers_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "content").unwrap();
        let (ours, theirs) = (File::open(&path).unwrap(), File::open(&path).unwrap());
        assert!(!is_open_for_writing(ours.as_fd()).unwrap());
        drop(theirs);

        let writer = OpenOptions::new().append(true).open(&path).unwrap();
        assert!(is_open_for_writing(ours.as_fd()).unwrap());
        drop(writer);
        assert!(!is_open_for_writing(ours.as_fd()).unwrap());
    }

    #[test]
    #[expect(unsafe_code, reason = "mappings are made by unsafe calls")]
    fn a_mapping_outlives_its_descriptor() {
        use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "content").unwrap();
        let ours = File::open(&path).unwrap();
        let writer = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: nothing uses the mapped bytes.
        let mapped = unsafe {
            mmap(std::ptr::null_mut(), 4096, protection, MapFlags::SHARED, &writer, 0).unwrap()
        };
        drop(writer);
        assert!(is_open_for_writing(ours.as_fd()).unwrap());
        // SAFETY: the mapping that was made above, and nobody else knows of it.
        unsafe { munmap(mapped, 4096).unwrap() };
        assert!(!is_open_for_writing(ours.as_fd()).unwrap());
    }
}
