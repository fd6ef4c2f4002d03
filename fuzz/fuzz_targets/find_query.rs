//! `GET /api/v1/bundles?…`: what is asked of the store.

#![no_main]

use std::sync::{Mutex, OnceLock};

use libfuzzer_sys::fuzz_target;
use sealwright_server::service::fuzzing::filter;
use sealwright_store::{NewEntry, Store};
use sealwright_tlog::LogKey;

const START: u64 = 1_790_000_000;

/// A log with some entries, that nothing is written to any more.
fn store() -> &'static Mutex<Store> {
    static STORE: OnceLock<Mutex<Store>> = OnceLock::new();
    STORE.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap().keep();
        let key = LogKey::generate("fuzz.example").unwrap();
        let mut store = Store::open(&directory, "fuzz.example", &key, START).unwrap();
        for number in 0..3 {
            let entry = NewEntry { body: vec![number], statement: None };
            store.append(&[entry], START + u64::from(number) * 60).unwrap();
        }
        Mutex::new(store)
    })
}

fuzz_target!(|data: &[u8]| {
    let Ok(query) = std::str::from_utf8(data) else { return };
    let store = store().lock().unwrap();
    let Some(filter) = filter(query, &store) else { return };
    if let Some(subject) = &filter.subject {
        assert!(subject.len() >= 64 && subject.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
    assert!(filter.until.is_none_or(|until| until <= store.size()));
    // None of the entries is a statement.
    assert!(store.find(&filter, 10).unwrap().is_empty());
});
