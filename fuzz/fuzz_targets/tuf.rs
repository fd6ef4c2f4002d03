//! TUF metadata: what is written is what was read, and nobody but its signers is believed.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use sealwright_attest::Timestamp as Time;
use sealwright_tuf::{Document, Metadata, Root, Snapshot, Targets, Timestamp, Trust};

fuzz_target!(|data: &[u8]| {
    survives::<Root>(data);
    survives::<Targets>(data);
    survives::<Snapshot>(data);
    survives::<Timestamp>(data);
    // Nobody here has a key of the public instance: what its root believes, it signed.
    let genuine = public_good();
    if let Ok(next) = genuine.advance(data) {
        panic!("a forged root: {next:?}");
    }
    assert_eq!(genuine.seen(Some(data), Some(data)), Default::default());
    let now = Time::from_unix(0).unwrap();
    assert!(genuine.timestamp(data, &Default::default(), now).is_err());
    if let Ok(trust) = Trust::begin(data) {
        assert!(trust.root().consistent_snapshot);
        assert!(trust.advance(data).is_err(), "a root that follows itself");
    }
});

fn survives<T: Metadata>(data: &[u8]) {
    let Ok(document) = Document::<T>::parse(data) else { return };
    let written = document.to_json();
    // Indenting can make it larger than what is read.
    if let Ok(again) = Document::<T>::parse(&written) {
        assert_eq!(again.payload(), document.payload());
        assert_eq!(again.to_json(), written);
    }
    let content = document.unverified();
    assert!(content.version() > 0);
    // Our own form of the content says the same.
    if let Ok(ours) = Document::new(content) {
        assert_eq!(ours.unverified().version(), content.version());
        assert_eq!(ours.unverified().expires(), content.expires());
    }
}

fn public_good() -> &'static Trust {
    static ROOT: OnceLock<Trust> = OnceLock::new();
    ROOT.get_or_init(|| {
        let bytes = sealwright_fuzz::read("crates/tuf/tests/data/public-good.root.json");
        Trust::begin(&bytes).unwrap()
    })
}
