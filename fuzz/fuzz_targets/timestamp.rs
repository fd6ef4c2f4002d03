//! RFC 3161 timestamps: in the place of a genuine one, only genuine times come out.

#![no_main]

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use sealwright_fuzz::{Case, assert_genuine, cases};
use sealwright_sigstore::details::{CertificateDetails, TimestampDetails};
use serde_json::Value;

const PLACE: &str = "/verificationMaterial/timestampVerificationData/rfc3161Timestamps";

fuzz_target!(|data: &[u8]| {
    let details = TimestampDetails::parse(data);
    for certificate in details.iter().flat_map(|details| &details.certificates) {
        let _ = CertificateDetails::parse(certificate);
    }
    for case in stamped() {
        let mut json = case.json.clone();
        *json.pointer_mut(PLACE).unwrap() =
            serde_json::json!([{"signedTimestamp": STANDARD.encode(data)}]);
        match case.verify(json.to_string().as_bytes()) {
            Ok(verified) => {
                assert_genuine(&verified);
                let at = details.as_ref().expect("a verified timestamp can be read").time;
                assert!(verified.times().iter().all(|time| time.at == at));
            }
            // What cannot be read cannot be good enough for anything.
            Err(error) if details.is_none() => assert_eq!(error.code(), "timestamp-invalid"),
            Err(_) => {}
        }
    }
});

/// Two cases whose only time is that of a timestamp.
fn stamped() -> &'static [&'static Case] {
    static STAMPED: OnceLock<Vec<&Case>> = OnceLock::new();
    STAMPED.get_or_init(|| {
        let has_stamps = |case: &&Case| {
            let list = case.json.pointer(PLACE).and_then(Value::as_array);
            list.is_some_and(|list| !list.is_empty()) && case.name.starts_with("rekor2")
        };
        let cases: Vec<&Case> = cases().iter().filter(has_stamps).take(2).collect();
        assert_eq!(cases.len(), 2);
        cases
    })
}
