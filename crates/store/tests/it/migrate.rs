//! A database of an older version comes up to this one.

use std::path::Path;

use rusqlite::Connection;
use sealwright_store::{Filter, StoreError};

use crate::check_log::check_log;
use crate::fixture::{START, grow, open};

/// Takes from a database what version 1 did not have.
const BACK_TO_1: &str = "
    DROP TABLE signers;
    DROP INDEX checkpoints_by_time;
    DROP INDEX statements_by_project;
    DROP INDEX statements_by_project_and_type;
    DROP INDEX statements_to_erase;
    ALTER TABLE checkpoints DROP COLUMN signed_at;
    ALTER TABLE statements DROP COLUMN project;
    ALTER TABLE statements DROP COLUMN retention;
    ALTER TABLE statements DROP COLUMN erased_at;
    PRAGMA user_version = 1;
";

fn version_1(dir: &Path) {
    let mut store = open(dir, START).unwrap();
    for count in [1, 5, 20] {
        grow(&mut store, count).unwrap();
    }
    drop(store);
    let db = Connection::open(dir.join("log.db")).unwrap();
    db.execute_batch(BACK_TO_1).unwrap();
    db.close().unwrap();
}

#[test]
fn version_1_comes_up_with_the_times_of_its_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    version_1(dir.path());
    let mut store = open(dir.path(), START + 10).unwrap();
    check_log(&store, dir.path());
    assert!(store.check().unwrap().is_sound());
    assert_eq!(store.index_at(START + 2).unwrap(), 1);
    assert_eq!(store.index_at(START + 3).unwrap(), 6);
    let project = Some(String::new());
    assert_eq!(store.find(&Filter { project, ..Filter::default() }, 99).unwrap().len(), 26);
    grow(&mut store, 3).unwrap();
    check_log(&store, dir.path());
    drop(store);
    check_log(&open(dir.path(), START + 20).unwrap(), dir.path());
}

#[test]
fn what_cannot_come_up_stays_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    version_1(dir.path());
    let db = Connection::open(dir.path().join("log.db")).unwrap();
    db.execute("UPDATE checkpoints SET note = x'00' WHERE size = 6", []).unwrap();
    assert!(matches!(open(dir.path(), START + 10), Err(StoreError::Checkpoint(_))));
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 1);
    db.prepare("SELECT signed_at FROM checkpoints").unwrap_err();
}
