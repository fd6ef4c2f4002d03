//! `check_log` derives every invariant of a log anew. Tests call it after each step.

use std::fs;
use std::path::Path;

use rusqlite::Connection;
use sealwright_store::{Filter, Payload, Store};
use sealwright_tlog::merkle::stored_hash_count;
use sealwright_tlog::tile::{parse_entry_bundle, tiles_for_growth};
use sealwright_tlog::{
    Hash, Tile, TileKind, leaf_hash, stored_hashes_for_leaf, tree_hash, verify_checkpoint,
};

use crate::fixture::{
    about, body, entry, key, own_subject, predicate_type, shared_subject, signed_at,
};

/// Checks files, database and answers against each other and against the entries of the fixture.
pub(crate) fn check_log(store: &Store, dir: &Path) {
    let size = store.size();
    let hashes = hashes_of(size);
    check_checkpoint(store, dir, &hashes);
    check_files(dir, size, &hashes);
    check_database(dir, size, &hashes);
    check_answers(store);
}

/// Checks what a store answers against the entries of the fixture.
pub(crate) fn check_answers(store: &Store) {
    let hashes = hashes_of(store.size());
    check_entries(store, &hashes);
    check_statements(store);
    check_consistency(store, &hashes);
}

/// Checks what a reader of the files sees at this moment, also while a store is open or after it
/// was killed: everything the published checkpoint promises is there.
pub(crate) fn check_published(dir: &Path) {
    let file = fs::read(dir.join("checkpoint")).unwrap();
    let checkpoint = verify_checkpoint(&file, key().verifier()).unwrap();
    let size = checkpoint.checkpoint().size;
    let hashes = hashes_of(size);
    assert_eq!(checkpoint.checkpoint().root, tree_hash(size, &hashes).unwrap());
    for tile in tiles_for_growth(0, size) {
        check_tile(dir, &tile, &hashes);
    }
}

/// What the log must have stored, computed from the bodies alone.
fn hashes_of(size: u64) -> Vec<Hash> {
    let mut hashes = Vec::new();
    for index in 0..size {
        hashes.extend(stored_hashes_for_leaf(index, leaf_hash(&body(index)), &hashes).unwrap());
    }
    hashes
}

fn check_checkpoint(store: &Store, dir: &Path, hashes: &Vec<Hash>) {
    let file = fs::read(dir.join("checkpoint")).unwrap();
    assert_eq!(file, store.checkpoint().note());
    let checkpoint = verify_checkpoint(&file, key().verifier()).unwrap();
    assert_eq!(checkpoint.checkpoint().size, store.size());
    assert_eq!(checkpoint.checkpoint().root, tree_hash(store.size(), hashes).unwrap());
}

/// All tiles of the size are there, and every file under `tile/` is a tile with its content, also
/// the partial ones of earlier sizes.
fn check_files(dir: &Path, size: u64, hashes: &Vec<Hash>) {
    for tile in tiles_for_growth(0, size) {
        check_tile(dir, &tile, hashes);
    }
    let mut files = Vec::new();
    collect_files(&dir.join("tile"), &mut files);
    for path in files {
        let name = path.strip_prefix(dir.to_str().unwrap()).unwrap().trim_start_matches('/');
        let tile = Tile::parse(name).unwrap();
        assert!(tile.min_log_size().unwrap() <= size, "{tile} at size {size}");
        check_tile(dir, &tile, hashes);
    }
}

fn check_tile(dir: &Path, tile: &Tile, hashes: &Vec<Hash>) {
    let content = fs::read(dir.join(tile.path()));
    let content = content.unwrap_or_else(|error| panic!("{tile}: {error}"));
    match tile.kind() {
        TileKind::Hashes { .. } => {
            assert_eq!(content, tile.hash_data(hashes).unwrap().unwrap(), "{tile}");
        }
        TileKind::Entries => {
            let first = tile.index() * 256;
            let bodies: Vec<_> = (first..first + u64::from(tile.width())).map(body).collect();
            assert_eq!(parse_entry_bundle(&content, tile.width()).unwrap(), bodies, "{tile}");
        }
    }
}

fn collect_files(dir: &Path, files: &mut Vec<String>) {
    for item in fs::read_dir(dir).into_iter().flatten() {
        let path = item.unwrap().path();
        if path.is_dir() {
            collect_files(&path, files);
        } else {
            files.push(path.to_str().unwrap().to_owned());
        }
    }
}

/// Each entry has its body and a proof in its first checkpoint, whose time never goes back.
fn check_entries(store: &Store, hashes: &Vec<Hash>) {
    let mut last = (0, 0);
    for index in 0..store.size() {
        let entry = store.entry(index).unwrap().unwrap();
        assert_eq!((entry.index, &entry.body), (index, &body(index)));
        let first = entry.checkpoint.checkpoint();
        assert!(index < first.size && first.size <= store.size());
        assert_eq!(first.root, tree_hash(first.size, hashes).unwrap());
        entry.checkpoint.verify_inclusion(&entry.proof, &leaf_hash(&entry.body)).unwrap();
        let time = entry.checkpoint.cosigned_at().unwrap();
        assert!(last <= (first.size, time) && time <= signed_at(store));
        last = (first.size, time);
    }
    assert!(store.entry(store.size()).unwrap().is_none());
    assert!(store.entry(u64::MAX).unwrap().is_none());
}

fn check_statements(store: &Store) {
    let about = |subject: &str| about(store, subject);
    for index in 0..store.size() {
        assert_eq!(about(&own_subject(index)), [index]);
        let found = store.statement(index).unwrap().unwrap();
        assert_eq!(found.index, index);
        let record = entry(index).statement.unwrap();
        let (bundle, public_key_pem) = (record.bundle, record.public_key_pem);
        assert_eq!(found.payload, Payload::Kept { bundle, public_key_pem });
        assert_eq!(found.predicate_type, predicate_type(index));
    }
    assert!(about(&own_subject(store.size())).is_empty());
    assert!(store.statement(store.size()).unwrap().is_none());
    assert!(store.statement(u64::MAX).unwrap().is_none());
    for first in 0..7 {
        let all: Vec<u64> = (first..store.size()).step_by(7).collect();
        assert_eq!(about(&shared_subject(first)), all);
        let subject = Some(shared_subject(first));
        let filter = Filter { subject, from: Some(first + 1), ..Filter::default() };
        let some = store.find(&filter, 2).unwrap();
        assert_eq!(some, all.into_iter().skip(1).take(2).collect::<Vec<_>>());
    }
    for first in 0..2 {
        let all: Vec<u64> = (first..store.size()).step_by(2).collect();
        let of_type = |from, limit| {
            let predicate_type = Some(predicate_type(first).to_owned());
            let filter = Filter { predicate_type, from: Some(from), ..Filter::default() };
            store.find(&filter, limit)
        };
        assert_eq!(of_type(0, u32::MAX).unwrap(), all);
        assert_eq!(
            of_type(first + 1, 2).unwrap(),
            all.into_iter().skip(1).take(2).collect::<Vec<_>>()
        );
        assert!(of_type(u64::MAX, 1).unwrap().is_empty());
    }
}

/// The database as another program sees it.
fn check_database(dir: &Path, size: u64, hashes: &[Hash]) {
    let db = Connection::open(dir.join("log.db")).unwrap();
    let text = |sql: &str| db.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    let count = |sql: &str| db.query_row(sql, [], |row| row.get::<_, u64>(0)).unwrap();
    assert_eq!(text("PRAGMA integrity_check"), "ok");
    assert_eq!(text("PRAGMA journal_mode"), "wal");
    assert_eq!(count("SELECT count(*) FROM pragma_foreign_key_check"), 0);
    assert_eq!(count("SELECT count(*) FROM entries"), size);
    assert_eq!(count("SELECT count(*) FROM statements"), size);
    assert_eq!(count("SELECT count(*) FROM hashes"), stored_hash_count(size));
    assert_eq!(count("SELECT max(size) FROM checkpoints"), size);
    let mut query = db.prepare("SELECT hash FROM hashes ORDER BY position").unwrap();
    let stored = query.query_map([], |row| row.get(0).map(Hash)).unwrap();
    assert_eq!(stored.collect::<Result<Vec<_>, _>>().unwrap(), hashes);
}

fn check_consistency(store: &Store, hashes: &Vec<Hash>) {
    let root = store.checkpoint().checkpoint().root;
    for old_size in 0..=store.size() {
        let proof = store.consistency(old_size).unwrap();
        proof.verify(&tree_hash(old_size, hashes).unwrap(), &root).unwrap();
    }
}
