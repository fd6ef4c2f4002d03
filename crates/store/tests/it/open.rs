//! Opening: what is refused, and what is put right.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rusqlite::Connection;
use sealwright_store::{Corruption, Problem, Store, StoreError};
use sealwright_tlog::LogKey;

use crate::check_log::check_log;
use crate::fixture::{ORIGIN, START, copy, grow, key, open, signed_at};

#[test]
fn a_new_log_is_empty_and_signed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("some/where");
    let store = open(&path, START).unwrap();
    assert_eq!((store.origin(), store.size(), signed_at(&store)), (ORIGIN, 0, START));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    check_log(&store, &path);
}

#[test]
fn a_log_comes_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), START).unwrap();
    grow(&mut store, 300).unwrap();
    let checkpoint = store.checkpoint().clone();
    drop(store);
    let mut store = open(dir.path(), START + 1).unwrap();
    assert_eq!(store.checkpoint(), &checkpoint);
    check_log(&store, dir.path());
    grow(&mut store, 3).unwrap();
    check_log(&store, dir.path());
}

#[test]
fn a_second_opener_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), START).unwrap();
    assert!(
        matches!(open(dir.path(), START), Err(StoreError::Locked { dir: d }) if d == dir.path())
    );
    drop(store);
    open(dir.path(), START).unwrap();
}

#[test]
fn another_key_or_origin_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), START).unwrap());
    let other_key = LogKey::from_seed(ORIGIN, &[43; 32]).unwrap();
    let error = Store::open(dir.path(), ORIGIN, &other_key, START).unwrap_err();
    assert!(
        matches!(&error, StoreError::WrongKey { stored, given }
            if *stored == key().verifier().to_string()
                && *given == other_key.verifier().to_string()),
        "{error}"
    );
    let other_origin = LogKey::from_seed("elsewhere", &[42; 32]).unwrap();
    assert!(matches!(
        Store::open(dir.path(), "elsewhere", &other_origin, START),
        Err(StoreError::WrongOrigin { stored, given }) if stored == ORIGIN && given == "elsewhere"
    ));
    // Origin and key must agree before anything else.
    assert!(matches!(
        Store::open(dir.path(), "elsewhere", &key(), START),
        Err(StoreError::WrongOrigin { .. })
    ));
    check_log(&open(dir.path(), START).unwrap(), dir.path());
}

/// Makes a log of ten entries, changes it through `change`, and opens it again.
fn reopened(change: impl FnOnce(&Connection, &std::path::Path)) -> Result<Store, StoreError> {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), START).unwrap();
    grow(&mut store, 10).unwrap();
    drop(store);
    let db = Connection::open(dir.path().join("log.db")).unwrap();
    db.pragma_update(None, "foreign_keys", "OFF").unwrap();
    change(&db, dir.path());
    db.close().unwrap();
    let store = open(dir.path(), START + 10)?;
    check_log(&store, dir.path());
    Ok(store)
}

/// Whoever serves does not count; whoever looks does, and so does the check.
#[test]
fn an_entry_that_is_missing_in_the_middle_is_found_by_the_check() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), START).unwrap();
    grow(&mut store, 10).unwrap();
    drop(store);
    let db = Connection::open(dir.path().join("log.db")).unwrap();
    db.pragma_update(None, "foreign_keys", "OFF").unwrap();
    db.execute_batch("DELETE FROM entries WHERE idx = 3").unwrap();
    db.close().unwrap();
    let store = open(dir.path(), START + 10).unwrap();
    assert!(matches!(store.entry(3), Err(StoreError::Corrupt { what: Corruption::MissingRow })));
    let report = store.check().unwrap();
    assert!(report.problems.contains(&Problem::Entry { index: 3 }), "{report:?}");
    drop(store);
    assert!(matches!(
        Store::open_as_it_is(dir.path(), ORIGIN, &key(), START + 10),
        Err(StoreError::Corrupt { what: Corruption::EntryCount })
    ));
}

#[test]
fn a_database_that_contradicts_its_checkpoint_is_refused() {
    let sql = |sql: &'static str| reopened(move |db, _| db.execute_batch(sql).unwrap());
    let corrupt = |result, expected| {
        assert!(matches!(result, Err(StoreError::Corrupt { what }) if what == expected));
    };
    corrupt(sql("DELETE FROM entries WHERE idx = 9"), Corruption::EntryCount);
    corrupt(
        sql("INSERT INTO entries (idx, leaf, body) VALUES (10, zeroblob(32), x'00')"),
        Corruption::EntryCount,
    );
    // The root of ten leaves is made of the subtrees of eight and of two.
    corrupt(sql("UPDATE hashes SET hash = zeroblob(32) WHERE position = 14"), Corruption::Root);
    corrupt(sql("DELETE FROM hashes WHERE position = 14"), Corruption::MissingRow);
    assert!(matches!(
        sql("UPDATE log SET checkpoint = (SELECT note FROM checkpoints WHERE size = 0)"),
        Err(StoreError::Corrupt { what: Corruption::EntryCount })
    ));
    assert!(matches!(sql("UPDATE log SET checkpoint = x'00'"), Err(StoreError::Checkpoint(_))));
    assert!(matches!(
        sql("PRAGMA user_version = 3"),
        Err(StoreError::SchemaVersion { found: 3, supported: 2 })
    ));
}

#[test]
fn an_altered_body_is_not_handed_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), START).unwrap();
    grow(&mut store, 10).unwrap();
    let db = Connection::open(dir.path().join("log.db")).unwrap();
    db.execute("UPDATE entries SET body = x'00' WHERE idx = 4", []).unwrap();
    assert!(matches!(store.entry(4), Err(StoreError::Corrupt { what: Corruption::EntryProof })));
    store.entry(5).unwrap().unwrap();
}

#[test]
fn missing_files_are_written_again() {
    for path in ["checkpoint", "tile", "tile/0", "tile/entries/000.p/10", "tile/0/000.p/10", "tmp"]
    {
        reopened(|_, dir| {
            let path = dir.join(path);
            if path.is_dir() {
                fs::remove_dir_all(path).unwrap();
            } else {
                fs::remove_file(path).unwrap();
            }
        })
        .unwrap();
    }
    reopened(|_, dir| {
        fs::remove_file(dir.join("checkpoint")).unwrap();
        fs::remove_dir_all(dir.join("tile")).unwrap();
    })
    .unwrap();
}

#[test]
fn an_immutable_file_with_other_content_is_reported() {
    let result = reopened(|_, dir| {
        fs::remove_file(dir.join("checkpoint")).unwrap();
        fs::write(dir.join("tile/0/000.p/10"), "other").unwrap();
    });
    assert!(
        matches!(&result, Err(StoreError::ImmutableDiffers { path }) if path == "tile/0/000.p/10"),
        "{result:?}"
    );
}

#[test]
fn a_foreign_checkpoint_file_is_refused() {
    for note in ["", "localhost\n", "other\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n"] {
        let result = reopened(|_, dir| fs::write(dir.join("checkpoint"), note).unwrap());
        assert!(matches!(result, Err(StoreError::Checkpoint(_))), "{result:?}");
    }
}

#[test]
fn a_database_restored_from_an_old_copy_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (log, backup) = (dir.path().join("log"), dir.path().join("backup"));
    let mut store = open(&log, START).unwrap();
    grow(&mut store, 3).unwrap();
    drop(store);
    copy(&log, &backup);

    // Only a newer time was signed since.
    let mut store = open(&log, START + 50).unwrap();
    store.refresh_checkpoint(START + 50, 0).unwrap();
    drop(store);
    let now = START + 1000;
    fs::copy(backup.join("log.db"), log.join("log.db")).unwrap();
    assert!(matches!(
        open(&log, now),
        Err(StoreError::RolledBack { published_size: 3, stored_size: 3, .. })
    ));

    // Entries were added since.
    fs::remove_dir_all(&log).unwrap();
    copy(&backup, &log);
    let mut store = open(&log, START + 50).unwrap();
    grow(&mut store, 1).unwrap();
    drop(store);
    fs::copy(backup.join("log.db"), log.join("log.db")).unwrap();
    assert!(matches!(
        open(&log, now),
        Err(StoreError::RolledBack { published_size: 4, stored_size: 3, .. })
    ));

    // The database is gone altogether.
    fs::remove_file(log.join("log.db")).unwrap();
    assert!(matches!(
        open(&log, now),
        Err(StoreError::RolledBack { published_size: 4, stored_size: 0, .. })
    ));

    // All of the copy is a log again, as old as it is.
    fs::remove_dir_all(&log).unwrap();
    copy(&backup, &log);
    check_log(&open(&log, now).unwrap(), &log);
}
