//! Crashes at every dangerous moment, in-process: the call ends there with an error.

use std::io;
use std::sync::{Arc, Mutex};

use sealwright_store::{Step, Store, StoreError};

use crate::check_log::{check_log, check_published};
use crate::fixture::{START, STEPS, about, batch, entry, grow, open, own_subject, signed_at};

/// Fails at the `n`-th time (from 0) the store comes to `step`, once.
fn fail_at(store: &mut Store, step: Step, n: u32) -> Arc<Mutex<Vec<Step>>> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let mut left = Some(n);
    store.interrupt_with(move |at| {
        log.lock().unwrap().push(at);
        if at != step {
            return Ok(());
        }
        match left {
            Some(0) => {
                left = None;
                Err(io::Error::other("stopped by the test"))
            }
            Some(n) => {
                left = Some(n - 1);
                Ok(())
            }
            None => Ok(()),
        }
    });
    seen
}

/// A log that is about to grow over the edge of a tile: five tiles to write.
fn store_at_254(dir: &std::path::Path) -> Store {
    let mut store = open(dir, START).unwrap();
    grow(&mut store, 254).unwrap();
    store
}

#[test]
fn the_steps_come_in_the_order_of_durability() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = store_at_254(dir.path());
    let seen = fail_at(&mut store, Step::TilePublished, 99);
    grow(&mut store, 5).unwrap();
    let mut expected = vec![Step::Signed, Step::Committed];
    expected.extend([Step::TilePublished; 5]);
    expected.extend([Step::TilesPublished, Step::CheckpointReplaced, Step::CheckpointPublished]);
    assert_eq!(*seen.lock().unwrap(), expected);
}

fn stops() -> impl Iterator<Item = (Step, u32)> {
    STEPS.into_iter().flat_map(|step| {
        let times = if step == Step::TilePublished { 5 } else { 1 };
        (0..times).map(move |n| (step, n))
    })
}

#[test]
fn after_a_crash_the_next_open_finishes() {
    for (step, n) in stops() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = store_at_254(dir.path());
        let now = signed_at(&store) + 1;
        fail_at(&mut store, step, n);
        let new = batch(&store, 5);
        assert!(matches!(store.append(&new, now), Err(StoreError::File { .. })));
        check_published(dir.path());
        drop(store);

        let mut store = open(dir.path(), now).unwrap();
        let committed = step != Step::Signed;
        assert_eq!(store.size(), if committed { 259 } else { 254 }, "{step:?} {n}");
        check_log(&store, dir.path());
        // The caller, who got no answer, tries again.
        let appended = store.append(&new, now).unwrap();
        assert!(appended.iter().map(|a| a.index).eq(254..259));
        assert!(appended.iter().all(|a| a.duplicate == committed));
        check_log(&store, dir.path());
    }
}

#[test]
fn after_a_failure_the_next_call_finishes_first() {
    for (step, n) in stops() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = store_at_254(dir.path());
        let now = signed_at(&store) + 1;
        fail_at(&mut store, step, n);
        let before = store.checkpoint().clone();
        assert!(store.append(&[entry(254), entry(255), entry(256)], now).is_err());
        check_published(dir.path());
        if step != Step::CheckpointPublished {
            // What is not published is not shown, wherever it was left.
            assert_eq!(store.checkpoint(), &before);
            assert_eq!(store.size(), 254);
            assert!(store.entry(254).unwrap().is_none());
            assert!(about(&store, &own_subject(254)).is_empty());
        }
        let appended =
            store.append(&[entry(254), entry(255), entry(256), entry(257)], now).unwrap();
        assert!(appended.iter().map(|a| a.index).eq(254..258));
        assert_eq!(appended[0].duplicate, step != Step::Signed);
        assert!(!appended[3].duplicate);
        check_log(&store, dir.path());
        drop(store);
        check_log(&open(dir.path(), now).unwrap(), dir.path());
    }
}

#[test]
fn a_crash_while_signing_again_loses_no_time() {
    for step in STEPS {
        if step == Step::TilePublished {
            continue; // No tile is written then.
        }
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path(), START).unwrap();
        grow(&mut store, 3).unwrap();
        fail_at(&mut store, step, 0);
        assert!(store.refresh_checkpoint(START + 100, 60).is_err());
        drop(store);
        let committed = step != Step::Signed;
        // Once committed, the time counts, even if nobody saw the checkpoint.
        assert_eq!(open(dir.path(), START + 99).is_err(), committed, "{step:?}");
        let store = open(dir.path(), START + 100).unwrap();
        assert_eq!(signed_at(&store), if committed { START + 100 } else { START + 1 });
        check_log(&store, dir.path());
    }
}

#[test]
fn publishing_that_fails_again_and_again_is_still_owed() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = store_at_254(dir.path());
    let now = signed_at(&store) + 1;
    store.interrupt_with(|step| match step {
        Step::TilePublished => Err(io::Error::other("stopped by the test")),
        _ => Ok(()),
    });
    for _ in 0..3 {
        assert!(store.append(&[entry(254)], now).is_err());
        assert!(store.append(&[], now).is_err());
        assert!(store.refresh_checkpoint(now, 0).is_err());
        assert_eq!(store.size(), 254);
    }
    store.interrupt_with(|_| Ok(()));
    store.refresh_checkpoint(now, 60).unwrap();
    assert_eq!(store.size(), 255);
    check_log(&store, dir.path());
}
