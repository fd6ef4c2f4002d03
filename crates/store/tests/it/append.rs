//! Appending: batches, duplicates, refusals.

use std::path::Path;

use sealwright_store::{NewEntry, Payload, Store, StoreError};
use sealwright_tlog::Tile;

use crate::check_log::check_log;
use crate::fixture::{
    START, about, body, entry, grow, open, own_subject, shared_subject, signed_at,
};

fn store(dir: &Path) -> Store {
    open(dir, START).unwrap()
}

/// Index and whether it is a duplicate.
fn append(store: &mut Store, entries: &[NewEntry]) -> Vec<(u64, bool)> {
    let now = signed_at(store) + 1;
    let appended = store.append(entries, now).unwrap();
    appended.iter().map(|a| (a.index, a.duplicate)).collect()
}

#[test]
fn a_log_grows_batch_by_batch_over_several_tiles() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = store(dir.path());
    check_log(&store, dir.path());
    for count in [1, 1, 5, 248, 1, 1, 60, 200] {
        grow(&mut store, count).unwrap();
        check_log(&store, dir.path());
    }
    assert_eq!(store.size(), 517);
    for (path, present) in [
        ("tile/0/000", true),
        ("tile/0/001", true),
        ("tile/0/002.p/5", true),
        ("tile/1/000.p/2", true),
        ("tile/entries/000.p/255", true),
        ("tile/entries/002.p/5", true),
        ("tile/0/002", false),
        ("tile/0/002.p/4", false),
        ("tile/1/000.p/3", false),
    ] {
        let content = store.tile(&Tile::parse(path).unwrap()).unwrap();
        assert_eq!(content.is_some(), present, "{path}");
    }
}

#[test]
fn one_batch_is_one_checkpoint_and_keeps_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = store(dir.path());
    store.append(&[entry(0), entry(1)], START + 10).unwrap();
    store.append(&[entry(2)], START + 20).unwrap();
    store.refresh_checkpoint(START + 500, 60).unwrap();
    let logged = |index| {
        let entry = store.entry(index).unwrap().unwrap();
        (entry.checkpoint.checkpoint().size, entry.checkpoint.cosigned_at().unwrap() - START)
    };
    assert_eq!([logged(0), logged(1), logged(2)], [(2, 10), (2, 10), (3, 20)]);
    assert_eq!(signed_at(&store), START + 500);
}

#[test]
fn an_entry_that_is_there_is_found_not_added() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = store(dir.path());
    assert_eq!(append(&mut store, &[entry(0), entry(1)]), [(0, false), (1, false)]);
    let before = store.checkpoint().clone();
    assert_eq!(append(&mut store, &[entry(1), entry(0)]), [(1, true), (0, true)]);
    assert_eq!(append(&mut store, &[]), []);
    assert_eq!(store.checkpoint(), &before);
    // New and old ones mixed, and the same one twice in a batch.
    assert_eq!(
        append(&mut store, &[entry(2), entry(0), entry(2), entry(3)]),
        [(2, false), (0, true), (2, true), (3, false)]
    );
    check_log(&store, dir.path());
    // The same body with another statement is still the same entry; the first statement stays.
    let mut other = entry(9);
    other.body = body(3);
    assert_eq!(append(&mut store, &[other]), [(3, true)]);
    check_log(&store, dir.path());
}

#[test]
fn refused_batches_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = store(dir.path());
    let now = START + 1;
    let mut long = entry(1);
    long.body = vec![b' '; 65_536];
    assert!(matches!(
        store.append(&[entry(0), long], now),
        Err(StoreError::EntryTooLong { position: 1, len: 65_536 })
    ));
    for digest in ["", "abc", &"A".repeat(64), &"g".repeat(64), &format!("{}\n", "a".repeat(63))] {
        let mut bad = entry(0);
        bad.statement.as_mut().unwrap().subjects.push(digest.to_owned());
        assert!(matches!(
            store.append(&[bad], now),
            Err(StoreError::MalformedDigest { position: 0, .. })
        ));
        let mut bad = entry(0);
        bad.statement.as_mut().unwrap().envelope_sha256 = digest.to_owned();
        assert!(store.append(&[bad], now).is_err());
    }
    assert_eq!(store.size(), 0);
    check_log(&store, dir.path());

    let mut longest = entry(0);
    longest.body = vec![b' '; 65_535];
    store.append(&[longest], now).unwrap();
    assert_eq!(store.entry(0).unwrap().unwrap().body.len(), 65_535);
}

#[test]
fn a_subject_named_twice_is_found_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = store(dir.path());
    let mut twice = entry(0);
    twice.statement.as_mut().unwrap().subjects.push(own_subject(0));
    append(&mut store, &[twice]);
    assert_eq!(about(&store, &own_subject(0)).len(), 1);
    assert_eq!(about(&store, &shared_subject(0)).len(), 1);
    check_log(&store, dir.path());
}

#[test]
fn time_never_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = store(dir.path());
    store.append(&[entry(0)], START + 100).unwrap();
    // The same second is fine.
    store.append(&[entry(1)], START + 100).unwrap();
    for now in [0, START, START + 99] {
        let refused = |result: Result<(), StoreError>| {
            assert!(
                matches!(
                    result,
                    Err(StoreError::ClockBehind { now: n, last_signed })
                        if n == now && last_signed == START + 100
                ),
                "{result:?}"
            );
        };
        refused(store.append(&[entry(2)], now).map(|_| ()));
        refused(store.refresh_checkpoint(now, 0).map(|_| ()));
    }
    assert_eq!(store.size(), 2);
    // A time that no checkpoint can carry.
    assert!(matches!(store.append(&[entry(2)], u64::MAX), Err(StoreError::Checkpoint(_))));
    check_log(&store, dir.path());
    drop(store);
    assert!(matches!(
        open(dir.path(), START + 99),
        Err(StoreError::ClockBehind { now, last_signed })
            if now == START + 99 && last_signed == START + 100
    ));
    check_log(&open(dir.path(), START + 100).unwrap(), dir.path());
}

#[test]
fn an_old_checkpoint_is_signed_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = store(dir.path());
    grow(&mut store, 3).unwrap();
    let first = store.checkpoint().clone();
    assert_eq!(store.refresh_checkpoint(START + 61, 60).unwrap(), &first);
    let second = store.refresh_checkpoint(START + 62, 60).unwrap().clone();
    assert_eq!(second.checkpoint(), first.checkpoint());
    assert_eq!(second.cosigned_at(), Some(START + 62));
    check_log(&store, dir.path());
    // It was durable before it was returned, so a restart cannot go back behind it.
    drop(store);
    assert!(matches!(open(dir.path(), START + 61), Err(StoreError::ClockBehind { .. })));
    let store = open(dir.path(), START + 62).unwrap();
    assert_eq!(store.checkpoint(), &second);
}

#[test]
fn a_statement_may_come_after_its_entry() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = store(dir.path());
    let whole = entry(0);
    let bare = NewEntry { statement: None, ..whole.clone() };
    assert_eq!(append(&mut store, std::slice::from_ref(&bare)), [(0, false)]);
    assert_eq!(store.statement(0).unwrap(), None);
    assert!(about(&store, &own_subject(0)).is_empty());

    let head = store.checkpoint().clone();
    for again in [whole.clone(), bare, whole.clone()] {
        assert_eq!(append(&mut store, &[again]), [(0, true)]);
        assert_eq!(store.checkpoint(), &head, "the log has not changed");
    }
    drop(store);
    let store = open(dir.path(), START + 100).unwrap();
    let kept = whole.statement.unwrap();
    let (bundle, public_key_pem) = (kept.bundle, kept.public_key_pem);
    let payload = store.statement(0).unwrap().unwrap().payload;
    assert_eq!(payload, Payload::Kept { bundle, public_key_pem });
    assert_eq!(about(&store, &own_subject(0)), [0]);
    check_log(&store, dir.path());
}

#[test]
fn a_statement_is_added_once_also_to_an_entry_that_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = store(dir.path());
    let bare = |index| NewEntry { statement: None, ..entry(index) };
    let mut added = |entries: &[NewEntry]| {
        let now = signed_at(&store) + 1;
        let appended = store.append(entries, now).unwrap();
        appended.iter().map(|a| (a.duplicate, a.statement_added)).collect::<Vec<_>>()
    };
    assert_eq!(added(&[bare(0), entry(1)]), [(false, false), (false, true)]);
    let again = [bare(0), entry(0), entry(0), entry(1)];
    let expected = [(true, false), (true, true), (true, false), (true, false)];
    assert_eq!(added(&again), expected);
    assert_eq!(added(&[entry(0)]), [(true, false)]);
}
