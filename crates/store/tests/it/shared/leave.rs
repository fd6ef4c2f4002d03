//! A log moves from its directory to database and bucket, and is the same log there.

use std::fs;

use sealwright_store::{NewEntry, Payload, Store, StoreError};

use super::front_end::open;
use super::stage::Stage;
use crate::check_log::check_answers;
use crate::fixture::{self, START, entry, grow, key, signed_at};

/// A log in a directory, with what a log can have.
fn log(size: u64) -> (tempfile::TempDir, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = fixture::open(dir.path(), START).unwrap();
    grow(&mut store, 1).unwrap();
    grow(&mut store, size - 1).unwrap();
    let note = store.checkpoint().note().to_vec();
    (dir, note)
}

fn go(dir: &tempfile::TempDir, stage: &Stage) -> Result<sealwright_store::Moved, StoreError> {
    Store::move_to(dir.path(), &key(), &stage.place(), &mut |_, _| {})
}

#[test]
fn a_log_moves_whole_and_the_old_one_does_not_start_again() {
    let stage = Stage::new();
    let (dir, note) = log(600);
    let mut steps = Vec::new();
    let moved = Store::move_to(dir.path(), &key(), &stage.place(), &mut |done, all| {
        steps.push((done, all))
    })
    .unwrap();
    assert_eq!((moved.entries, moved.statements, moved.checkpoints), (600, 600, 3));
    assert_eq!(steps, [(0, 600), (256, 600), (512, 600), (600, 600)]);
    assert_eq!(stage.published().note(), note);

    let mut store = open(&stage.place(), START + 100).unwrap();
    assert_eq!(store.checkpoint().note(), note);
    check_answers(&store);
    assert!(store.check().unwrap().is_sound());
    let refused = fixture::open(dir.path(), START + 100);
    assert!(matches!(refused, Err(StoreError::Moved { to }) if to == stage.place().bucket));
    // Again, before it went on: nothing changes.
    assert_eq!(go(&dir, &stage).unwrap(), moved);
    grow(&mut store, 3).unwrap();
    check_answers(&store);
    assert!(matches!(go(&dir, &stage), Err(StoreError::Moved { .. })));
    assert_eq!(&stage.published(), store.checkpoint());
}

#[test]
fn entries_without_statements_and_erased_ones_move_as_they_are() {
    let stage = Stage::new();
    let (dir, _) = log(4);
    let mut store = fixture::open(dir.path(), START + 10).unwrap();
    let now = signed_at(&store) + 1;
    store.append(&[NewEntry { statement: None, ..entry(4) }], now).unwrap();
    store.erase(2, now).unwrap();
    drop(store);
    assert_eq!(go(&dir, &stage).unwrap().statements, 4);
    let store = open(&stage.place(), START + 100).unwrap();
    assert_eq!(store.statement(4).unwrap(), None);
    assert_eq!(store.statement(2).unwrap().unwrap().payload, Payload::Erased { at: now });
    let report = store.check().unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(report.erased, 1);
}

#[test]
fn a_move_that_was_cut_off_goes_on() {
    // Before the commit: the directory is marked, and nothing is there.
    let stage = Stage::new();
    let (dir, note) = log(10);
    fs::write(dir.path().join("moved-to"), format!("{}\n", stage.place().bucket)).unwrap();
    assert!(matches!(fixture::open(dir.path(), START + 100), Err(StoreError::Moved { .. })));
    go(&dir, &stage).unwrap();
    assert_eq!(stage.published().note(), note);

    // After it: all is there, and nothing is published.
    stage.delete_object("checkpoint");
    stage.admin("postgres").execute("UPDATE sealwright.log SET published = NULL", &[]).unwrap();
    go(&dir, &stage).unwrap();
    assert_eq!(stage.published().note(), note);
    stage.delete_object("checkpoint");
    // A front end can do that as well.
    let mut store = open(&stage.place(), START + 100).unwrap();
    assert_eq!(stage.published().note(), note);
    grow(&mut store, 1).unwrap();
    check_answers(&store);
}

#[test]
fn a_database_that_was_put_back_to_the_time_of_the_move_is_refused() {
    let stage = Stage::new();
    let (dir, _) = log(10);
    go(&dir, &stage).unwrap();
    let mut admin = stage.admin("template1");
    admin.batch_execute("CREATE DATABASE backup TEMPLATE postgres").unwrap();
    grow(&mut open(&stage.place(), START + 100).unwrap(), 3).unwrap();
    let published = stage.published();
    stage.disconnect("postgres");
    admin.batch_execute("DROP DATABASE postgres").unwrap();
    admin.batch_execute("ALTER DATABASE backup RENAME TO postgres").unwrap();
    let refused = go(&dir, &stage);
    assert!(matches!(refused, Err(StoreError::RolledBack { .. })), "{refused:?}");
    assert_eq!(stage.published(), published);

    // Neither is a checkpoint replaced that this log never signed.
    stage.put_object("checkpoint", b"something else");
    go(&dir, &stage).unwrap_err();
    assert_eq!(stage.object("checkpoint").unwrap(), b"something else");
}

#[test]
fn a_place_that_holds_a_log_is_refused() {
    let stage = Stage::new();
    let (dir, _) = log(10);
    grow(&mut stage.open(), 2).unwrap();
    let refused = go(&dir, &stage);
    assert!(matches!(refused, Err(StoreError::NotEmpty { what: "the database" })), "{refused:?}");
    stage.admin("postgres").batch_execute("DROP SCHEMA sealwright CASCADE").unwrap();
    let refused = go(&dir, &stage);
    assert!(matches!(refused, Err(StoreError::NotEmpty { what: "the bucket" })), "{refused:?}");
    // The old one goes on.
    grow(&mut fixture::open(dir.path(), START + 100).unwrap(), 1).unwrap();
}

#[test]
fn a_copy_that_is_not_of_the_tree_is_not_kept() {
    let stage = Stage::new();
    let (dir, _) = log(300);
    let db = rusqlite::Connection::open(dir.path().join("log.db")).unwrap();
    db.execute("UPDATE entries SET body = x'00' WHERE idx = 7", []).unwrap();
    db.close().unwrap();
    assert!(matches!(go(&dir, &stage), Err(StoreError::Corrupt { .. })));
    assert!(stage.object("checkpoint").is_none());
    let mut admin = stage.admin("postgres");
    let row = admin.query_one("SELECT count(*) FROM sealwright.log", &[]).unwrap();
    assert_eq!(row.get::<_, i64>(0), 0);
    assert!(!dir.path().join("moved-to").exists());
}
