//! What the certificate authority is asked with: certificate requests, public keys.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sealwright_authority::{ProvenKey, SubjectKey};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let key = SubjectKey::from_pem(text);
    if let Ok(proven) = ProvenKey::by_request(text) {
        // One text is not both.
        assert!(key.is_err());
        let _ = proven.key();
    }
});
