//! Policy bundles: whatever is read has plain paths, is bounded, and is signed by nobody here.

#![no_main]

use std::io::Write as _;
use std::sync::OnceLock;

use flate2::Compression;
use flate2::write::GzEncoder;
use libfuzzer_sys::fuzz_target;
use sealwright_attest::{Curve, KeyFile, Signer as _};
use sealwright_policy::PolicyBundle;

fuzz_target!(|data: &[u8]| {
    holds(data);
    // Behind gzip's checksum, where changes of a seed do not get by themselves.
    let mut gzip = GzEncoder::new(Vec::new(), Compression::none());
    gzip.write_all(data).unwrap();
    holds(&gzip.finish().unwrap());
});

fn holds(bytes: &[u8]) {
    let Ok(bundle) = PolicyBundle::read(bytes) else { return };
    let mut seen = std::collections::BTreeSet::new();
    for (path, content) in bundle.files() {
        assert!(!path.starts_with('/') && !path.contains(".."), "{path}");
        assert!(path.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b)), "{path}");
        assert!(content.len() <= 4 << 20);
        assert!(seen.insert(path.to_ascii_lowercase()), "{path}");
    }
    assert!(bundle.verify_signature(key().public_key(), "").is_err());
    let _ = bundle.sources();
}

fn key() -> &'static KeyFile {
    static KEY: OnceLock<KeyFile> = OnceLock::new();
    KEY.get_or_init(|| KeyFile::generate(Curve::P256).unwrap())
}
