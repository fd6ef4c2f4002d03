//! Trusted roots: the two readers agree on logs, and what is written is what was read.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sealwright_attest::TrustedRoot;
use sealwright_sigstore::{Thresholds, Trust};

fuzz_target!(|data: &[u8]| {
    let keyless = Trust::parse(data);
    if let Ok(trust) = &keyless {
        assert_eq!(Thresholds::of(trust).logs > 0, trust.has_logs());
    }
    let Ok(root) = TrustedRoot::parse(data) else { return };
    let written = root.to_json();
    let again = TrustedRoot::parse(written.as_bytes()).expect("what is written is read");
    assert_eq!(again.to_json(), written);
    for log in root.logs() {
        let found = root.log(&log.key.log_id()).expect("a log is found by its id");
        assert_eq!(found.key.log_id(), log.key.log_id());
        assert_eq!(log.valid_until.is_some_and(|end| end < log.valid_from), false, "{log:?}");
    }
    // Our own form is one that the other reader takes, unless it sees two logs with one id.
    let other = Trust::parse(written.as_bytes());
    match other {
        Ok(other) => assert_eq!(other.has_logs(), !root.logs().is_empty()),
        Err(error) => {
            assert!(
                matches!(error, sealwright_sigstore::TrustError::DuplicateLog { .. }),
                "{error}"
            );
        }
    }
});
