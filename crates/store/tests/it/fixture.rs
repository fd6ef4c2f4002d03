//! A small log with predictable entries.

use std::fs;
use std::path::Path;

use sealwright_store::{Filter, NewEntry, StatementRecord, Step, Store, StoreError};
use sealwright_tlog::LogKey;

pub(crate) const ORIGIN: &str = "localhost";

/// When the log starts, in seconds since 1970.
pub(crate) const START: u64 = 1_760_000_000;

/// Every moment at which an append can be cut short.
pub(crate) const STEPS: [Step; 6] = [
    Step::Signed,
    Step::Committed,
    Step::TilePublished,
    Step::TilesPublished,
    Step::CheckpointReplaced,
    Step::CheckpointPublished,
];

/// Copies a store's directory: as a backup would, or as its disk would be after the power went.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for item in fs::read_dir(from).unwrap() {
        let path = item.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

pub(crate) fn key() -> LogKey {
    LogKey::from_seed(ORIGIN, &[42; 32]).unwrap()
}

pub(crate) fn open(dir: &Path, now: u64) -> Result<Store, StoreError> {
    Store::open(dir, ORIGIN, &key(), now)
}

/// The last time the log signed.
pub(crate) fn signed_at(store: &Store) -> u64 {
    store.checkpoint().cosigned_at().unwrap()
}

/// The body every test expects at this index.
pub(crate) fn body(index: u64) -> Vec<u8> {
    format!(r#"{{"entry":{index}}}"#).into_bytes()
}

/// A subject that the entries `index`, `index + 7`, `index + 14`, ... are about.
pub(crate) fn shared_subject(index: u64) -> String {
    hex::encode([u8::try_from(index % 7).unwrap() + 1; 32])
}

/// A subject that only this entry is about.
pub(crate) fn own_subject(index: u64) -> String {
    format!("{index:064x}")
}

pub(crate) fn predicate_type(index: u64) -> &'static str {
    if index.is_multiple_of(2) {
        "https://sealwright.dev/predicate/approval/v0.1"
    } else {
        "https://example.com/other"
    }
}

pub(crate) fn entry(index: u64) -> NewEntry {
    NewEntry {
        body: body(index),
        statement: Some(StatementRecord {
            envelope_sha256: hex::encode(sealwright_tlog::leaf_hash(&body(index)).0),
            predicate_type: predicate_type(index).to_owned(),
            subjects: vec![own_subject(index), shared_subject(index)],
            signers: vec![format!("signer {}", index % 3)],
            project: if index.is_multiple_of(5) { "five" } else { "" }.to_owned(),
            retention: if index.is_multiple_of(4) { "short" } else { "" }.to_owned(),
            bundle: format!(r#"{{"bundle":{index}}}"#).into_bytes(),
            public_key_pem: format!("key {index}"),
        }),
    }
}

/// Indexes of all statements about a subject.
pub(crate) fn about(store: &Store, subject: &str) -> Vec<u64> {
    let filter = Filter { subject: Some(subject.to_owned()), ..Filter::default() };
    store.find(&filter, u32::MAX).unwrap()
}

/// The next `count` entries of the log.
pub(crate) fn batch(store: &Store, count: u64) -> Vec<NewEntry> {
    (store.size()..store.size() + count).map(entry).collect()
}

/// Appends the next `count` entries one second after the last checkpoint.
pub(crate) fn grow(store: &mut Store, count: u64) -> Result<(), StoreError> {
    let (first, now) = (store.size(), signed_at(store) + 1);
    let appended = store.append(&batch(store, count), now)?;
    let indexes: Vec<u64> = appended.iter().map(|a| a.index).collect();
    assert_eq!(indexes, (first..first + count).collect::<Vec<_>>());
    assert!(appended.iter().all(|a| !a.duplicate));
    Ok(())
}
