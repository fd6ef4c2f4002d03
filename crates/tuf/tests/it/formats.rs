//! Metadata of other implementations, and what is no metadata.

use proptest::prelude::*;
use sealwright_attest::{Curve, KeyFile, Signer as _};
use sealwright_tuf::{
    Document, Key, RoleName, Root, Snapshot, Targets, Timestamp, Trust, canonical_json,
    is_target_name,
};
use serde_json::{Value, json};

use crate::repository::{honest, keys, root, signed};

const PUBLIC_GOOD: &[u8] = include_bytes!("../data/public-good.root.json");
const STAGING: &[u8] = include_bytes!("../data/staging.root.json");

#[test]
fn the_public_roots_are_roots() {
    for bytes in [PUBLIC_GOOD, STAGING] {
        let trust = Trust::begin(bytes).unwrap();
        assert!(trust.root().role(RoleName::Root).unwrap().threshold >= 2);
        let document = Document::<Root>::parse(bytes).unwrap();
        // What is written means what was read, foreign members and all.
        let again = Document::<Root>::parse(&document.to_json()).unwrap();
        assert_eq!(again.payload(), document.payload());
        Trust::begin(&again.to_json()).unwrap();
        let changed = String::from_utf8(bytes.to_vec()).unwrap().replace("x-tuf-on-ci-", "x-");
        assert!(Trust::begin(changed.as_bytes()).is_err());
    }
}

/// The name that another implementation gave a key is the one that we give it.
#[test]
fn keys_have_the_names_that_others_give_them() {
    let roots = [PUBLIC_GOOD, STAGING].map(|bytes| Document::<Root>::parse(bytes).unwrap());
    for (id, key) in roots.iter().flat_map(|root| &root.unverified().keys) {
        assert_eq!(*id, key.id());
    }
}

#[test]
fn keys_that_stock_clients_cannot_use_are_not_taken() {
    let key = |curve| KeyFile::generate(curve).unwrap();
    assert!(Key::of(key(Curve::P384).public_key()).is_ok());
    assert!(Key::of(key(Curve::P521).public_key()).is_err());
}

#[test]
fn what_is_no_metadata() {
    let (offline, online) = (keys(1), keys(1).remove(0));
    let good: Value =
        serde_json::from_slice(&signed(&root(1, &offline, 1, &online), &[&offline[0]])).unwrap();
    let changes: [(&str, Value); 16] = [
        ("/signed/_type", json!("targets")),
        ("/signed/spec_version", json!("2.0.0")),
        ("/signed/version", json!(0)),
        ("/signed/version", json!(1.0)),
        ("/signed/version", json!(9_007_199_254_740_992_u64)),
        ("/signed/expires", json!("2026-01-31T12:00:00+00:00")),
        ("/signed/expires", json!("2026-01-31")),
        ("/signed/consistent_snapshot", json!(1)),
        ("/signed/keys", json!([])),
        ("/signed/keys", json!({})),
        ("/signed/roles/root/threshold", json!(0)),
        ("/signed/roles/root/keyids", json!("x")),
        ("/signed/roles/timestamp", Value::Null),
        ("/signatures", json!({})),
        ("/signatures/0/sig", json!("xy")),
        ("/signatures/0/keyid", json!(1)),
    ];
    for (place, value) in changes {
        let mut changed = good.clone();
        *changed.pointer_mut(place).unwrap() = value;
        assert!(Document::<Root>::parse(changed.to_string().as_bytes()).is_err(), "{place}");
    }
    let mut twice = good.clone();
    let signature = twice["signatures"][0].clone();
    twice["signatures"].as_array_mut().unwrap().push(signature);
    assert!(Document::<Root>::parse(twice.to_string().as_bytes()).is_err());
    let ids = &good["signed"]["roles"]["root"]["keyids"];
    let mut twice = good.clone();
    twice["signed"]["roles"]["root"]["keyids"] = json!([ids[0], ids[0]]);
    assert!(Document::<Root>::parse(twice.to_string().as_bytes()).is_err());
    assert!(Document::<Root>::parse(good.to_string().as_bytes()).is_ok());
    let long = format!("{good}{}", " ".repeat(512_000));
    assert!(Document::<Root>::parse(long.as_bytes()).is_err());
}

#[test]
fn names_of_files() {
    for name in ["trusted_root.json", "signing_config.v0.2.json", "a-b"] {
        assert!(is_target_name(name), "{name}");
    }
    for name in ["", ".", "..", ".hidden", "a/b", "a b", "ä", "a%2fb", "a\0"] {
        assert!(!is_target_name(name), "{name}");
    }
}

proptest! {
    /// Whatever was changed in metadata: it is refused, or it is what was signed.
    #[test]
    fn a_changed_byte_changes_nothing_that_is_believed(at in 0_usize..10_000, byte: u8) {
        let (repository, _, client) = honest();
        let mut bytes = repository.0["timestamp.json"].clone();
        let original = Document::<Timestamp>::parse(&bytes).unwrap();
        let at = at % bytes.len();
        bytes[at] = byte;
        let seen = client.trust.seen(Some(&bytes), None);
        if seen != sealwright_tuf::Seen::default() {
            let changed = Document::<Timestamp>::parse(&bytes).unwrap();
            prop_assert_eq!(changed.payload(), original.payload());
        }
    }

    #[test]
    fn nothing_panics(bytes: Vec<u8>, text in "\\PC{0,200}") {
        for bytes in [&bytes[..], text.as_bytes()] {
            let _ = Document::<Root>::parse(bytes);
            let _ = Document::<Targets>::parse(bytes);
            let _ = Document::<Snapshot>::parse(bytes);
            let _ = Document::<Timestamp>::parse(bytes);
        }
    }

    /// Canonical JSON of what needs no escapes is JSON, and the same document.
    #[test]
    fn canonical_is_json_for_plain_texts(names in proptest::collection::btree_map("[a-zA-Zé]{0,8}", any::<i64>(), 0..8)) {
        let value = json!(names);
        let canonical = canonical_json(&value).unwrap();
        prop_assert_eq!(serde_json::from_slice::<Value>(&canonical).unwrap(), value);
    }
}
