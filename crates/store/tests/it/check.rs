//! The check of a whole store: silent on a sound one, and finds each thing that was changed.

use std::fs;

use rusqlite::Connection;
use sealwright_store::{CheckReport, Problem};

use crate::fixture::{START, grow, open};

fn sound() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), START).unwrap();
    for count in [1, 2, 300] {
        grow(&mut store, count).unwrap();
    }
    dir
}

fn check(dir: &tempfile::TempDir) -> CheckReport {
    open(dir.path(), START + 1000).unwrap().check().unwrap()
}

fn change(dir: &tempfile::TempDir, statement: &str) {
    let db = Connection::open(dir.path().join("log.db")).unwrap();
    assert_eq!(db.execute(statement, []).unwrap(), 1, "{statement}");
}

#[test]
fn a_sound_store_has_no_problems() {
    let report = check(&sound());
    assert!(report.is_sound(), "{report:?}");
    // The checkpoints of sizes 0, 1, 3 and 303; two full tiles, two partial ones, and one above.
    assert_eq!((report.entries, report.checkpoints, report.tiles), (303, 4, 5));
}

#[test]
fn an_empty_store_is_sound() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), START).unwrap());
    assert!(check(&dir).is_sound());
}

#[test]
fn a_changed_entry_is_found_and_named() {
    let dir = sound();
    change(&dir, "UPDATE entries SET body = CAST('forged' AS BLOB) WHERE idx = 17");
    let report = check(&dir);
    assert!(report.problems.contains(&Problem::Entry { index: 17 }), "{report:?}");
    assert!(report.problems.contains(&Problem::Tile { path: "tile/entries/000".to_owned() }));
}

#[test]
fn a_changed_tile_is_found_and_named() {
    for path in ["tile/0/000", "tile/entries/001.p/47"] {
        let dir = sound();
        let file = dir.path().join(path);
        let mut content = fs::read(&file).unwrap();
        content[40] ^= 1;
        fs::write(&file, content).unwrap();
        assert_eq!(check(&dir).problems, [Problem::Tile { path: path.to_owned() }]);
    }
}

#[test]
fn a_changed_checkpoint_is_found_and_named() {
    let dir = sound();
    let other = "(SELECT note FROM checkpoints WHERE size = 1)";
    change(&dir, &format!("UPDATE checkpoints SET note = {other} WHERE size = 3"));
    assert_eq!(check(&dir).problems, [Problem::Checkpoint { size: 3 }]);
}

#[test]
fn a_changed_hash_is_found_and_named() {
    let dir = sound();
    change(&dir, "UPDATE hashes SET hash = zeroblob(32) WHERE position = 0");
    // The tree above does not lead to the checkpoint any more, or at least one thing differs.
    match open(dir.path(), START + 1000) {
        Ok(store) => {
            let report = store.check().unwrap();
            assert!(report.problems.contains(&Problem::Hash { position: 0 }), "{report:?}");
        }
        Err(error) => panic!("a leaf is not on the way to the root: {error}"),
    }
}
