//! Databases and buckets that fail, come back, and forget.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use sealwright_store::{Store, StoreError};
use sealwright_tlog::Tile;

use super::front_end::{named, open};
use super::proxy::{Fault, Proxy};
use super::stage::{Stage, eventually};
use crate::fixture::{START, grow, key, signed_at};

#[test]
fn nothing_acknowledged_is_lost_when_postgresql_is_killed() {
    let mut stage = Stage::new();
    let place = stage.place();
    drop(stage.open());
    let acknowledged = Mutex::new(HashMap::new());
    let is_over = AtomicBool::new(false);
    let count = AtomicU32::new(0);
    thread::scope(|scope| {
        for who in 0..2 {
            let (place, acknowledged, is_over, count) = (&place, &acknowledged, &is_over, &count);
            scope.spawn(move || {
                let mut store = open(place, START).unwrap();
                let mut n = 0;
                while !is_over.load(Ordering::Relaxed) {
                    let body = named(&format!("{who} {n}"));
                    // Without an answer it is sent again, as clients do.
                    if let Ok(appended) = store.append(std::slice::from_ref(&body), START + 100) {
                        acknowledged.lock().unwrap().insert(appended[0].index, body.body);
                        count.fetch_add(1, Ordering::Relaxed);
                        n += 1;
                    }
                }
            });
        }
        for _ in 0..4 {
            let before = count.load(Ordering::Relaxed);
            eventually("entries are appended", || count.load(Ordering::Relaxed) > before + 10);
            stage.kill_server();
            stage.restart_server();
        }
        let before = count.load(Ordering::Relaxed);
        eventually("entries are appended again", || count.load(Ordering::Relaxed) > before + 5);
        is_over.store(true, Ordering::Relaxed);
    });
    let mut store = stage.open();
    store.refresh_checkpoint(START + 200, 0).unwrap();
    for (index, body) in acknowledged.into_inner().unwrap() {
        assert_eq!(store.entry(index).unwrap().unwrap().body, body);
    }
    let report = store.check().unwrap();
    assert!(report.is_sound(), "{report:?}");
}

/// Lets the first `times` requests of a kind fail.
fn first(
    times: u32,
    method: &'static str,
    end: &'static str,
    fault: Fault,
) -> (Arc<AtomicU32>, impl FnMut(&str, &str) -> Fault + Send + 'static) {
    let seen = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&seen);
    let decide = move |what: &str, path: &str| {
        if what == method && path.contains(end) && count.fetch_add(1, Ordering::Relaxed) < times {
            fault.clone()
        } else {
            Fault::None
        }
    };
    (seen, decide)
}

#[test]
fn a_bucket_that_fails_now_and_then_only_takes_longer() {
    let stage = Stage::new();
    let proxy = Proxy::start();
    let mut store = open(&stage.place_in("postgres", proxy.address), START).unwrap();
    grow(&mut store, 3).unwrap();
    for (method, end) in [("PUT", "/tile/"), ("PUT", "/checkpoint"), ("GET", "/checkpoint")] {
        for fault in [Fault::Broken, Fault::Refused, Fault::AnswerLost] {
            let name = format!("{method} {end} {fault:?}");
            let (seen, decide) = first(2, method, end, fault);
            proxy.decide(decide);
            let now = signed_at(&store) + 1;
            // An answer that was lost twice may have been a success that is not known as one.
            let appended = store.append(&[named(&name)], now);
            assert!(seen.load(Ordering::Relaxed) >= 1, "{name}");
            proxy.decide(|_, _| Fault::None);
            let again = store.append(&[named(&name)], now).unwrap();
            if let Ok(appended) = appended {
                assert_eq!(appended[0].index, again[0].index, "{name}");
            }
            assert_eq!(&stage.published(), store.checkpoint(), "{name}");
        }
    }
    assert!(store.check().unwrap().is_sound());
}

#[test]
fn a_bucket_that_is_away_leaves_publishing_owed_and_reading_as_it_was() {
    let stage = Stage::new();
    let proxy = Proxy::start();
    let mut store = open(&stage.place_in("postgres", proxy.address), START).unwrap();
    let mut other = stage.open();
    grow(&mut store, 3).unwrap();
    let before = store.checkpoint().clone();
    proxy.decide(|method, _| if method == "PUT" { Fault::Refused } else { Fault::None });
    let now = signed_at(&store) + 1;
    let failed = store.append(&[named("later")], now);
    assert!(matches!(failed, Err(StoreError::Unreachable { .. })), "{failed:?}");
    // It is in the database, and nobody is shown it.
    other.follow().unwrap();
    assert_eq!((store.checkpoint(), other.checkpoint()), (&before, &before));
    assert_eq!(stage.published(), before);
    // Whoever comes first publishes it.
    let appended = other.append(&[named("later")], now).unwrap();
    assert!(appended[0].duplicate);
    store.follow().unwrap();
    assert_eq!(store.size(), 4);
    proxy.decide(|_, _| Fault::None);
    grow_named(&mut store, "at last");
    assert_eq!(&stage.published(), store.checkpoint());
    assert!(store.check().unwrap().is_sound());
}

/// Whoever reads something else meanwhile has the store: a tile is asked for without it.
#[test]
fn a_bucket_that_is_slow_is_not_waited_for_by_readers() {
    let stage = Stage::new();
    let proxy = Proxy::start();
    let mut store = open(&stage.place_in("postgres", proxy.address), START).unwrap();
    grow(&mut store, 300).unwrap();
    let reader = store.tile_reader().unwrap();
    let published = Tile::parse("tile/entries/000").unwrap();
    let partial = Tile::parse("tile/entries/001.p/44").unwrap();
    let longer = Tile::parse("tile/entries/001.p/45").unwrap();
    assert_eq!((store.has_tile(&published), store.has_tile(&longer)), (true, false));
    let content = stage.object(&published.path());
    assert_eq!(reader.read(&published), content);
    assert_eq!(reader.read(&partial), store.tile(&partial).unwrap());
    for fault in [Fault::Silence, Fault::Refused, Fault::Broken] {
        let shown = format!("{fault:?}");
        proxy.decide(move |_, _| fault.clone());
        let begun = std::time::Instant::now();
        assert_eq!(reader.read(&published), None, "{shown}");
        assert!(begun.elapsed().as_secs() < 8, "{shown}: {:?}", begun.elapsed());
        // Without the bucket.
        assert_eq!(store.tile(&published).unwrap(), content);
    }
}

fn grow_named(store: &mut Store, name: &str) {
    let now = signed_at(store) + 1;
    assert!(!store.append(&[named(name)], now).unwrap()[0].duplicate);
}

#[test]
fn a_stale_checkpoint_is_neither_believed_nor_built_upon() {
    let stage = Stage::new();
    let proxy = Proxy::start();
    let mut store = open(&stage.place_in("postgres", proxy.address), START).unwrap();
    grow_named(&mut store, "first");
    grow_named(&mut store, "second");
    let stale = proxy.last_checkpoint();
    grow_named(&mut store, "third");
    let before = stage.published();
    proxy.decide(move |method, path| match (method, path.ends_with("/checkpoint")) {
        ("GET", true) => Fault::Answer(stale.clone()),
        _ => Fault::None,
    });
    let now = signed_at(&store) + 1;
    // What it would replace is not there any more.
    let refused = store.append(&[named("fourth")], now);
    assert!(matches!(refused, Err(StoreError::LeaseLost)), "{refused:?}");
    assert_eq!(stage.published(), before);
    proxy.decide(|_, _| Fault::None);
    grow_named(&mut store, "fourth");
    assert_eq!(&stage.published(), store.checkpoint());
    assert!(store.check().unwrap().is_sound());
}

#[test]
fn a_service_that_ignores_conditions_is_refused() {
    let stage = Stage::new();
    let proxy = Proxy::start();
    proxy.decide(|_, _| Fault::Unconditional);
    let refused = open(&stage.place_in("postgres", proxy.address), START);
    assert!(matches!(refused, Err(StoreError::Place { what: "the bucket", .. })), "{refused:?}");
}

#[test]
fn a_database_that_has_forgotten_is_refused_before_anything_is_signed() {
    let stage = Stage::new();
    let mut running = stage.open();
    grow(&mut running, 3).unwrap();
    // The replica that is promoted later has got no further than this.
    let mut admin = stage.admin("template1");
    stage.disconnect("postgres");
    admin.batch_execute("CREATE DATABASE replica TEMPLATE postgres").unwrap();
    grow(&mut running, 2).unwrap();
    let (published, seen) = (stage.published(), running.checkpoint().clone());
    stage.disconnect("postgres");
    admin.batch_execute("ALTER DATABASE postgres RENAME TO lost").unwrap();
    admin.batch_execute("ALTER DATABASE replica RENAME TO postgres").unwrap();

    let now = signed_at(&running) + 10;
    let is_refused = |result: Result<(), StoreError>| {
        assert!(matches!(result, Err(StoreError::RolledBack { .. })), "{result:?}");
    };
    is_refused(running.append(&[named("a second history")], now).map(|_| ()));
    is_refused(running.refresh_checkpoint(now, 0).map(|_| ()));
    is_refused(running.follow());
    is_refused(open(&stage.place(), now).map(|_| ()));
    is_refused(Store::open_shared_as_it_is(&stage.place(), &key(), now).map(|_| ()));
    assert_eq!(stage.published(), published);
    let mut replica = stage.admin("postgres");
    let row = replica.query_one("SELECT count(*) FROM sealwright.entries", &[]).unwrap();
    assert_eq!(row.get::<_, i64>(0), 3, "nothing was signed on top of it");
    drop(replica);

    // One without any log at all is no better.
    let mut admin = stage.admin("template1");
    stage.disconnect("postgres");
    admin.batch_execute("ALTER DATABASE postgres RENAME TO replica").unwrap();
    admin.batch_execute("CREATE DATABASE postgres TEMPLATE template0").unwrap();
    is_refused(open(&stage.place(), now).map(|_| ()));

    // The one that knows everything goes on.
    stage.disconnect("postgres");
    admin.batch_execute("DROP DATABASE postgres").unwrap();
    admin.batch_execute("ALTER DATABASE lost RENAME TO postgres").unwrap();
    running.follow().unwrap();
    assert_eq!(running.checkpoint(), &seen);
    grow(&mut running, 1).unwrap();
    assert!(running.check().unwrap().is_sound());
}
