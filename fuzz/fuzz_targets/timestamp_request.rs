//! What the timestamp authority is asked: `TimeStampReq` in DER, and the JSON form of it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sealwright_authority::TimestampRequest;

fuzz_target!(|data: &[u8]| {
    if let Ok(request) = TimestampRequest::from_der(data) {
        assert!(matches!(request.digest().len(), 32 | 48 | 64));
        assert!(TimestampRequest::from_json(data).is_err());
    }
    if let Ok(request) = TimestampRequest::from_json(data) {
        assert!(matches!(request.digest().len(), 32 | 48 | 64));
    }
});
