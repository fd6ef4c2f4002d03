//! `POST /api/v1/bundles`: what is submitted to be logged.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use sealwright_attest::{Timestamp, parse_strict};
use sealwright_fuzz::read;
use sealwright_server::service::fuzzing::Uploads;
use sealwright_sigstore::SigstoreBundle;
use serde_json::{Value, json};

const LIMIT: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    static UPLOADS: OnceLock<Uploads> = OnceLock::new();
    let uploads = UPLOADS.get_or_init(|| {
        let root = read("crates/sigstore/tests/data/trust/public-good.trusted_root.json");
        Uploads::of(std::str::from_utf8(&root).unwrap()).unwrap()
    });
    let now = Timestamp::parse("2026-12-01T00:00:00Z").unwrap();
    let Some(logged) = uploads.submission(data, now) else { return };
    let body = parse_strict(&logged.body, LIMIT).expect("an entry is JSON");
    assert_eq!(body["kind"], "hashedrekord");
    assert!(
        logged.subjects.iter().all(|subject| {
            subject.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        })
    );
    SigstoreBundle::parse(&logged.bundle).expect("what is kept is a bundle");
    // What is kept can be submitted, and gives the same entry.
    let request: Value = serde_json::from_slice(data).unwrap();
    let mut bundle: Value = serde_json::from_slice(&logged.bundle).unwrap();
    // Entries of logs that nobody here knows are not kept. Where nothing else stands beside the signature, the
    // second verifier takes no bundle until it has this instance's own entry; here it gets those back.
    let (kept, sent) =
        (&mut bundle["verificationMaterial"], &request["bundle"]["verificationMaterial"]);
    let is_empty = |value: &Value| value.as_array().is_none_or(Vec::is_empty);
    let has_times = !is_empty(&kept["timestampVerificationData"]["rfc3161Timestamps"]);
    if is_empty(&kept["tlogEntries"]) && !has_times && !is_empty(&sent["tlogEntries"]) {
        kept["tlogEntries"] = sent["tlogEntries"].clone();
    }
    let mut again = json!({ "bundle": bundle });
    if let Some(key) = request.get("publicKey").filter(|key| !key.is_null()) {
        again["publicKey"] = key.clone();
    }
    let again = uploads.submission(again.to_string().as_bytes(), now).expect("it is logged again");
    assert_eq!(again.body, logged.body);
    assert_eq!(again.bundle, logged.bundle);
});
