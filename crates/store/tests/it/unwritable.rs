//! Disks that refuse writes: a distinct error, nothing changed, and all well once they relent.

use rustix::io::Errno;
use sealwright_store::{Step, StoreError, WriteFault};

use crate::check_log::check_log;
use crate::fixture::{START, batch, grow, open, signed_at};

fn fault<T: std::fmt::Debug>(result: Result<T, StoreError>) -> WriteFault {
    match result {
        Err(StoreError::Unwritable { fault, .. }) => fault,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_full_database_takes_nothing_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), START).unwrap();
    grow(&mut store, 20).unwrap();
    let before = store.checkpoint().clone();
    // No page more than there are.
    store.set_pragma("max_page_count", 1);
    let now = signed_at(&store) + 1;
    for _ in 0..2 {
        assert_eq!(fault(store.append(&batch(&store, 500), now)), WriteFault::Full);
        assert_eq!(store.checkpoint(), &before);
        check_log(&store, dir.path());
    }
    store.set_pragma("max_page_count", 1_000_000);
    grow(&mut store, 500).unwrap();
    check_log(&store, dir.path());
}

#[test]
fn a_read_only_database_takes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), START).unwrap();
    grow(&mut store, 3).unwrap();
    store.set_pragma("query_only", 1);
    let now = signed_at(&store) + 100;
    assert_eq!(fault(store.append(&batch(&store, 1), now)), WriteFault::ReadOnly);
    assert_eq!(fault(store.refresh_checkpoint(now, 0)), WriteFault::ReadOnly);
    check_log(&store, dir.path());
    store.set_pragma("query_only", 0);
    grow(&mut store, 1).unwrap();
    check_log(&store, dir.path());
}

#[test]
fn a_disk_that_refuses_files_leaves_publishing_owed() {
    for (errno, expected) in [
        (Errno::NOSPC, WriteFault::Full),
        (Errno::ROFS, WriteFault::ReadOnly),
        (Errno::IO, WriteFault::Device),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path(), START).unwrap();
        grow(&mut store, 3).unwrap();
        store.interrupt_with(move |step| match step {
            Step::TilePublished => Err(errno.into()),
            _ => Ok(()),
        });
        let now = signed_at(&store) + 1;
        assert_eq!(fault(store.append(&batch(&store, 2), now)), expected);
        assert_eq!(store.size(), 3);
        store.interrupt_with(|_| Ok(()));
        let appended = store.append(&batch(&store, 2), now).unwrap();
        assert!(appended.iter().all(|a| a.duplicate));
        check_log(&store, dir.path());
    }
}

#[test]
fn a_device_without_space_is_recognised() {
    // Whatever is written to /dev/full fails with ENOSPC.
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), START).unwrap();
    grow(&mut store, 3).unwrap();
    let temporary = dir.path().join("tmp/next");
    std::os::unix::fs::symlink("/dev/full", &temporary).unwrap();
    let now = signed_at(&store) + 1;
    assert_eq!(fault(store.append(&batch(&store, 2), now)), WriteFault::Full);
    assert_eq!(store.size(), 3);
    std::fs::remove_file(&temporary).unwrap();
    store.append(&[], now).unwrap();
    assert_eq!(store.size(), 5);
    check_log(&store, dir.path());
}
