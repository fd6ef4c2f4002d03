//! Writes that a power failure tore: what was acknowledged is there, or the log does not start.

use std::fs::{self, File};

use sealwright_store::StoreError;

use crate::check_log::check_log;
use crate::fixture::{START, copy, grow, open};

#[test]
fn a_torn_write_ahead_log_never_loses_what_was_acknowledged_in_silence() {
    let dir = tempfile::tempdir().unwrap();
    let (log, torn) = (dir.path().join("log"), dir.path().join("torn"));
    let mut store = open(&log, START).unwrap();
    for count in [1, 3, 20] {
        grow(&mut store, count).unwrap();
    }
    let length = fs::metadata(log.join("log.db-wal")).unwrap().len();
    let (mut whole, mut refused) = (0, 0);
    for part in 0..=24 {
        copy(&log, &torn);
        let wal = File::options().write(true).open(torn.join("log.db-wal")).unwrap();
        wal.set_len(length * part / 24).unwrap();
        // It does not survive the power's going either.
        fs::remove_file(torn.join("log.db-shm")).unwrap();
        match open(&torn, START + 100) {
            Ok(store) => {
                assert_eq!(store.size(), 24, "{part}");
                check_log(&store, &torn);
                whole += 1;
            }
            Err(StoreError::RolledBack { published_size: 24, .. }) => refused += 1,
            Err(error) => panic!("{part}: {error}"),
        }
        fs::remove_dir_all(&torn).unwrap();
    }
    assert!(whole >= 1 && refused >= 1, "{whole} whole, {refused} refused");
}

#[test]
fn a_file_that_was_being_written_is_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), START).unwrap();
    grow(&mut store, 10).unwrap();
    drop(store);
    fs::write(dir.path().join("tmp/next"), b"half of a ti").unwrap();
    let mut store = open(dir.path(), START + 100).unwrap();
    grow(&mut store, 3).unwrap();
    check_log(&store, dir.path());
}

#[test]
fn a_torn_tile_is_not_built_upon() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), START).unwrap();
    grow(&mut store, 10).unwrap();
    drop(store);
    // Publishing it was owed when the power went.
    fs::remove_file(dir.path().join("checkpoint")).unwrap();
    File::options()
        .write(true)
        .open(dir.path().join("tile/0/000.p/10"))
        .unwrap()
        .set_len(7)
        .unwrap();
    let refused = open(dir.path(), START + 100);
    assert!(matches!(refused, Err(StoreError::ImmutableDiffers { .. })), "{refused:?}");
}
