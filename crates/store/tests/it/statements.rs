//! Finding statements by what is known of them, and erasing them.

use std::path::Path;

use proptest::prelude::*;
use rusqlite::Connection;
use sealwright_store::{Filter, NewEntry, Payload, Problem, StatementRecord, Store, StoreError};

use crate::check_log::check_published;
use crate::fixture::{START, about, batch, entry, grow, open, own_subject, signed_at};

const SIZE: u64 = 60;

fn log(dir: &Path) -> Store {
    let mut store = open(dir, START).unwrap();
    grow(&mut store, SIZE).unwrap();
    store
}

fn lets_through(filter: &Filter, index: u64, record: &StatementRecord) -> bool {
    let is = |wanted: &Option<String>, value: &String| wanted.as_ref().is_none_or(|it| it == value);
    let has = |wanted: &Option<String>, values: &[String]| {
        wanted.as_ref().is_none_or(|it| values.contains(it))
    };
    has(&filter.subject, &record.subjects)
        && has(&filter.signer, &record.signers)
        && is(&filter.predicate_type, &record.predicate_type)
        && filter.except_type.as_ref().is_none_or(|it| *it != record.predicate_type)
        && is(&filter.project, &record.project)
        && filter.envelope_sha256.as_ref().is_none_or(|d| record.envelope_sha256 == *d)
        && filter.from.is_none_or(|from| index >= from)
        && filter.until.is_none_or(|until| index < until)
}

/// Takes what a filter asks for from the statement of some entry.
fn filter() -> impl Strategy<Value = (Filter, u32)> {
    let bits = prop::collection::vec(any::<bool>(), 6);
    let index = || prop::option::of(0..SIZE + 9);
    (0..SIZE, bits, index(), index(), 0..20_u32).prop_map(|(of, bits, from, until, limit)| {
        let record = entry(of).statement.unwrap();
        let other = entry((of + 1) % SIZE).statement.unwrap();
        let take = |bit: usize, value: &String| bits[bit].then(|| value.clone());
        let filter = Filter {
            subject: take(0, &record.subjects[1]),
            predicate_type: take(1, &record.predicate_type),
            except_type: take(4, &other.predicate_type),
            signer: take(2, &record.signers[0]),
            project: take(3, &record.project),
            envelope_sha256: take(5, &record.envelope_sha256),
            from,
            until,
        };
        (filter, limit)
    })
}

#[test]
fn a_filter_finds_what_it_lets_through_in_log_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = log(dir.path());
    proptest!(|((filter, limit) in filter())| {
        let expected: Vec<u64> = (0..SIZE)
            .filter(|index| lets_through(&filter, *index, &entry(*index).statement.unwrap()))
            .take(usize::try_from(limit).unwrap())
            .collect();
        prop_assert_eq!(store.find(&filter, limit).unwrap(), expected);
    });
}

#[test]
fn time_leads_to_the_first_entry_logged_then() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), START).unwrap();
    assert_eq!(store.index_at(0).unwrap(), 0);
    for (new, time) in [(2, 10), (3, 20), (1, 20), (4, 30)] {
        let entries = batch(&store, new);
        store.append(&entries, START + time).unwrap();
    }
    store.refresh_checkpoint(START + 100, 0).unwrap();
    for (time, index) in [
        (0, 0),
        (START, 0),
        (START + 10, 0),
        (START + 11, 2),
        (START + 20, 2),
        (START + 21, 6),
        (START + 30, 6),
        (START + 31, 10),
        (u64::MAX, 10),
    ] {
        assert_eq!(store.index_at(time).unwrap(), index, "{time}");
    }
}

#[test]
fn what_is_erased_is_gone_and_proven_nevertheless() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = log(dir.path());
    let secret = b"only ever in this bundle, and long enough for pages of its own ".repeat(400);
    let mut record = entry(SIZE).statement.unwrap();
    record.bundle = secret.clone();
    let new = NewEntry { statement: Some(record), ..entry(SIZE) };
    let now = signed_at(&store) + 1;
    store.append(std::slice::from_ref(&new), now).unwrap();
    assert!(is_anywhere(dir.path(), &secret[..64]));

    assert_eq!(store.erase(SIZE, now + 5).unwrap(), Some(now + 5));
    assert!(!is_anywhere(dir.path(), &secret[..64]));
    // Again, and by somebody who submits it once more.
    assert_eq!(store.erase(SIZE, now + 9).unwrap(), Some(now + 5));
    assert!(store.append(&[new], now + 9).unwrap()[0].duplicate);
    let left = store.statement(SIZE).unwrap().unwrap();
    assert_eq!(left.payload, Payload::Erased { at: now + 5 });
    assert!(!is_anywhere(dir.path(), &secret[..64]));
    assert_eq!(about(&store, &own_subject(SIZE)), [SIZE]);
    store.entry(SIZE).unwrap().unwrap();
    check_published(dir.path());
    assert_eq!(store.erase(SIZE + 1, now).unwrap(), None);

    drop(store);
    let store = open(dir.path(), now + 9).unwrap();
    let report = store.check().unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(report.erased, 1);
}

#[test]
fn an_entry_without_statement_has_nothing_to_erase() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), START).unwrap();
    store.append(&[NewEntry { statement: None, ..entry(0) }], START).unwrap();
    assert_eq!(store.erase(0, START).unwrap(), None);
}

#[test]
fn remains_of_what_was_erased_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = log(dir.path());
    store.erase(7, START + 9).unwrap();
    drop(store);
    let db = Connection::open(dir.path().join("log.db")).unwrap();
    db.execute("UPDATE statements SET bundle = x'00' WHERE idx = 7", []).unwrap();
    db.close().unwrap();
    let report = open(dir.path(), START + 9).unwrap().check().unwrap();
    assert_eq!(report.problems, [Problem::Erased { index: 7 }]);
}

#[test]
fn an_erasure_that_a_reader_holds_up_is_not_called_done() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = log(dir.path());
    store.set_pragma("busy_timeout", 0);
    let reader = Connection::open(dir.path().join("log.db")).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    let _: u64 = reader.query_row("SELECT count(*) FROM entries", [], |row| row.get(0)).unwrap();
    assert!(matches!(store.erase(7, START + 9), Err(StoreError::EraseBusy)));
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(store.erase(7, START + 10).unwrap(), Some(START + 9));
}

#[test]
fn what_is_due_is_found_by_its_class() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = log(dir.path());
    assert_eq!(store.find_to_erase("short", 17, 9).unwrap(), [0, 4, 8, 12, 16]);
    store.erase(4, START + 9).unwrap();
    assert_eq!(store.find_to_erase("short", 17, 2).unwrap(), [0, 8]);
    assert!(store.find_to_erase("long", u64::MAX, 9).unwrap().is_empty());
}

fn is_anywhere(dir: &Path, text: &[u8]) -> bool {
    let mut files = std::fs::read_dir(dir).unwrap().map(|item| item.unwrap().path());
    files.any(|path| {
        path.is_file()
            && std::fs::read(path).unwrap().windows(text.len()).any(|window| window == text)
    })
}
