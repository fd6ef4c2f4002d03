//! What Rekor's write API takes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sealwright_attest::parse_strict;
use sealwright_sigstore::{EntryRequest, MAX_ENTRY_REQUEST};

fuzz_target!(|data: &[u8]| {
    let Ok(request) = EntryRequest::parse(data) else { return };
    // What is logged is an entry, and the same for the same request.
    let body = parse_strict(request.body(), MAX_ENTRY_REQUEST).expect("an entry is JSON");
    assert_eq!(body["kind"], "hashedrekord");
    assert_eq!(body["apiVersion"], "0.0.2");
    assert_eq!(EntryRequest::parse(data).as_ref(), Ok(&request));
});
