//! Several front ends at once: everything that any of them has acknowledged is there, for all of them.

use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use sealwright_store::postgres::{Client, NoTls};
use sealwright_store::{Payload, Problem, Step, Store, StoreError};
use sealwright_tlog::Tile;
use sealwright_tlog::tile::tiles_for_growth;

use super::front_end::{named, open};
use super::stage::{Stage, eventually};
use crate::check_log::check_answers;
use crate::fixture::{START, STEPS, entry, grow, key, own_subject, signed_at};

/// Everything in the bucket is what the store says, and nothing contradicts anything.
fn check(stage: &Stage, store: &mut Store) {
    store.follow().unwrap();
    assert_eq!(&stage.published(), store.checkpoint());
    for tile in tiles_for_growth(0, store.size()) {
        assert_eq!(stage.object(&tile.path()), store.tile(&tile).unwrap(), "{tile}");
    }
    let report = store.check().unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(report.entries, store.size());
}

#[test]
fn a_shared_log_answers_as_any_other() {
    let stage = Stage::new();
    let (mut one, mut other) = (stage.open(), stage.open());
    for (count, first) in [(1, true), (5, false), (250, true), (7, false)] {
        let (writer, reader) = if first { (&mut one, &mut other) } else { (&mut other, &mut one) };
        writer.follow().unwrap();
        grow(writer, count).unwrap();
        reader.follow().unwrap();
        assert_eq!(reader.checkpoint(), writer.checkpoint());
        check_answers(reader);
    }
    check(&stage, &mut one);
    // Duplicates, over front ends.
    let appended = other.append(&[entry(3), entry(263), entry(3)], signed_at(&one)).unwrap();
    let found: Vec<_> = appended.iter().map(|a| (a.index, a.duplicate)).collect();
    assert_eq!(found, [(3, true), (263, false), (3, true)]);
    // One that is erased is so for all.
    assert_eq!(one.erase(4, START + 50).unwrap(), Some(START + 50));
    let erased = other.statement(4).unwrap().unwrap();
    assert_eq!(erased.payload, Payload::Erased { at: START + 50 });
    assert_eq!(crate::fixture::about(&other, &own_subject(4)), [4]);
    drop((one, other));
    check(&stage, &mut stage.open());
}

#[test]
fn clocks_of_front_ends_may_differ_a_little() {
    let stage = Stage::new();
    let (mut one, mut other) = (stage.open(), stage.open());
    one.append(&[entry(0)], START + 100).unwrap();
    let refused = other.append(&[entry(1)], START + 97);
    assert!(matches!(refused, Err(StoreError::ClockBehind { .. })), "{refused:?}");
    other.tolerate_steps_back(5);
    other.append(&[entry(1)], START + 97).unwrap();
    assert_eq!(signed_at(&other), START + 100);
    assert!(other.append(&[entry(2)], START + 94).is_err());
    check(&stage, &mut one);
}

#[test]
fn front_ends_append_at_once_and_nothing_is_lost_or_reordered() {
    const FRONT_ENDS: u64 = 4;
    const BATCHES: u64 = 12;
    let stage = Stage::new();
    drop(stage.open());
    let acknowledged = Mutex::new(HashMap::new());
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..FRONT_ENDS)
            .map(|who| {
                let (stage, acknowledged) = (&stage, &acknowledged);
                scope.spawn(move || {
                    let (mut writer, mut reader) = (stage.open(), stage.open());
                    for batch in 0..BATCHES {
                        // Every other batch has an entry that others append too.
                        let mut entries: Vec<_> =
                            (0..=batch % 7).map(|n| named(&format!("{who} {batch} {n}"))).collect();
                        entries.push(named(&format!("of all {}", batch / 2)));
                        let appended = writer.append(&entries, START + 100).unwrap();
                        // Whoever asks any other front end sees it.
                        reader.follow().unwrap();
                        for (appended, entry) in appended.iter().zip(entries) {
                            let logged = reader.entry(appended.index).unwrap().unwrap();
                            assert_eq!(logged.body, entry.body);
                            acknowledged.lock().unwrap().insert(appended.index, entry.body);
                        }
                    }
                })
            })
            .collect();
        let watcher = scope.spawn(|| {
            let mut store = stage.open();
            let mut last = stage.published();
            while !is_over.load(Ordering::Relaxed) {
                let next = stage.published();
                let (old, new) = (last.checkpoint(), next.checkpoint());
                assert!(old.size <= new.size && last.cosigned_at() <= next.cosigned_at());
                // The bucket may be ahead of what readers are told, and never behind.
                store.follow().unwrap();
                if store.size() >= new.size {
                    let proof = store.consistency(old.size).unwrap();
                    proof.verify(&old.root, &store.checkpoint().checkpoint().root).unwrap();
                    last = next;
                }
            }
        });
        for writer in writers {
            writer.join().unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
        watcher.join().unwrap();
    });
    let acknowledged = acknowledged.into_inner().unwrap();
    let mut store = stage.open();
    let size = store.size();
    assert_eq!(acknowledged.len(), usize::try_from(size).unwrap());
    assert!(acknowledged.keys().all(|index| *index < size));
    check(&stage, &mut store);
}

const STEP: &str = "SEALWRIGHT_TEST_DIE_AT";
const DATABASE: &str = "SEALWRIGHT_TEST_DATABASE";
const BUCKET: &str = "SEALWRIGHT_TEST_BUCKET";
const ENDPOINT: &str = "SEALWRIGHT_TEST_ENDPOINT";

/// Not a test by itself: the test below starts it in a process of its own, which dies.
#[test]
fn dying_process() {
    let Ok(step) = std::env::var(STEP) else { return };
    let variable = |name| std::env::var(name).unwrap();
    let place = sealwright_store::Place {
        database: variable(DATABASE),
        bucket: variable(BUCKET),
        endpoint: Some(variable(ENDPOINT)),
        insecure_plain: false,
    };
    let mut store = open(&place, START).unwrap();
    store.interrupt_with(move |at| {
        if format!("{at:?}") == step {
            std::process::abort();
        }
        Ok(())
    });
    let now = signed_at(&store) + 1;
    let _ = store.append(&[named(&format!("dies at {}", variable(STEP)))], now);
    unreachable!("it should have died");
}

#[test]
fn a_front_end_that_dies_anywhere_leaves_a_log_that_others_go_on_with() {
    let stage = Stage::new();
    let mut other = stage.open();
    for step in STEPS {
        let place = stage.place();
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "shared::append::dying_process"])
            .env(STEP, format!("{step:?}"))
            .env(DATABASE, &place.database)
            .env(BUCKET, &place.bucket)
            .env(ENDPOINT, place.endpoint.as_ref().unwrap())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(!status.success());
        // The other one has seen nothing of it yet, and finishes it first.
        other.follow().unwrap();
        let now = signed_at(&other) + 10;
        let again = named(&format!("dies at {step:?}"));
        let appended = other.append(&[again, named(&format!("after {step:?}"))], now).unwrap();
        assert_eq!(appended[0].duplicate, step != Step::Signed, "{step:?}");
        assert_eq!(appended[1].index, appended[0].index + 1);
        check(&stage, &mut other);
    }
}

#[test]
fn one_who_was_taken_over_from_cannot_publish() {
    let stage = Stage::new();
    let mut late = stage.open();
    grow(&mut late, 3).unwrap();
    let place = stage.place();
    for step in [Step::TilePublished, Step::TilesPublished, Step::CheckpointReplaced] {
        let now = signed_at(&late) + 1;
        let other_place = place.clone();
        let admin = Mutex::new(stage.admin("template1"));
        // While one holds the lease and is about to publish, its connection breaks, and another one
        // takes over and gets further.
        let mut has_happened = false;
        late.interrupt_with(move |at| {
            if at == step && !has_happened {
                has_happened = true;
                let sql = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
                           WHERE datname = 'postgres'";
                admin.lock().unwrap().query(sql, &[]).unwrap();
                let mut other = open(&other_place, START + 50).unwrap();
                other.append(&[named(&format!("other at {step:?}"))], now + 1).unwrap();
            }
            Ok(())
        });
        let refused = late.append(&[named(&format!("late at {step:?}"))], now);
        assert!(matches!(refused, Err(StoreError::LeaseLost)), "{step:?}: {refused:?}");
        late.interrupt_with(|_| Ok(()));
        // Nothing went back.
        let mut other = open(&place, START + 50).unwrap();
        assert_eq!(&stage.published(), other.checkpoint());
        let now = signed_at(&other) + 1;
        let again = [named(&format!("late at {step:?}")), named(&format!("other at {step:?}"))];
        let appended = late.append(&again, now).unwrap();
        assert!(appended.iter().all(|a| a.duplicate), "{appended:?}");
        assert_eq!(appended[0].index + 1, appended[1].index);
        check(&stage, &mut other);
        late.follow().unwrap();
    }
}

#[test]
fn the_clock_is_read_when_nobody_else_may_append() {
    let stage = Stage::new();
    let mut store = stage.open();
    let admin = Mutex::new(stage.admin("template1"));
    let clock = || {
        let sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted";
        let row = admin.lock().unwrap().query_one(sql, &[]).unwrap();
        assert_eq!(row.get::<_, i64>(0), 1);
        START + 100
    };
    store.append_by(&[entry(0)], &clock).unwrap();
    assert_eq!(signed_at(&store), START + 100);
    store.refresh_checkpoint_by(&clock, 0).unwrap();
}

#[test]
fn a_checkpoint_replaces_the_one_that_was_read_and_no_other() {
    let stage = Stage::new();
    let mut store = stage.open();
    grow(&mut store, 3).unwrap();
    let now = signed_at(&store) + 1;
    let admin = || stage.admin("postgres");
    let replace = |note: &[u8]| {
        admin().execute("UPDATE sealwright.log SET checkpoint = $1", &[&note]).unwrap();
    };
    let old = store.checkpoint().note().to_vec();
    // Somebody has got past the lock, between what is read and what is signed.
    let clock = || {
        replace(b"another");
        now
    };
    let refused = store.append_by(&[entry(3)], &clock);
    assert!(matches!(refused, Err(StoreError::LeaseLost)), "{refused:?}");
    let read = || admin().query_one("SELECT checkpoint, published FROM sealwright.log", &[]);
    assert_eq!(read().unwrap().get::<_, &[u8]>(0), b"another");
    replace(&old);
    check(&stage, &mut store);

    // Or between what is committed and what is said to be published.
    let url = stage.url("postgres");
    store.interrupt_with(move |at| {
        if at == Step::CheckpointReplaced {
            let mut admin = Client::connect(&url, NoTls).unwrap();
            let sql = "UPDATE sealwright.log SET checkpoint = 'another'";
            admin.execute(sql, &[]).unwrap();
        }
        Ok(())
    });
    let refused = store.append(&[entry(3)], now);
    assert!(matches!(refused, Err(StoreError::LeaseLost)), "{refused:?}");
    assert_eq!(read().unwrap().get::<_, &[u8]>(1), old);
}

#[test]
fn a_tile_that_is_missing_in_the_bucket_is_found_and_made_of_the_database() {
    let stage = Stage::new();
    let mut store = stage.open();
    grow(&mut store, 300).unwrap();
    let tile = Tile::parse("tile/entries/000").unwrap();
    let content = stage.object("tile/entries/000");
    stage.delete_object("tile/entries/000");
    assert_eq!(store.tile(&tile).unwrap(), content);
    assert_eq!(store.check().unwrap().problems, [Problem::Tile { path: tile.path() }]);
}

#[test]
fn a_log_is_started_only_when_told() {
    let stage = Stage::new();
    let refused = Store::open_shared(&stage.place(), &key(), false, START);
    assert!(matches!(refused, Err(StoreError::NoLog)), "{refused:?}");
    assert!(stage.object("checkpoint").is_none());
    let as_it_is = Store::open_shared_as_it_is(&stage.place(), &key(), START);
    assert!(as_it_is.is_err());
    drop(stage.open());
    eventually("the lease is free", || {
        Store::open_shared(&stage.place(), &key(), false, START).is_ok()
    });
    Store::open_shared_as_it_is(&stage.place(), &key(), START).unwrap();
}
