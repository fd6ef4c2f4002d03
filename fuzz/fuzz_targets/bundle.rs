//! Bundles as `attest` reads them: what is written is what was read, and the other reader of
//! bundles agrees.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sealwright_attest::{Bundle, MEDIA_TYPE, VerificationMaterial};
use sealwright_sigstore::SigstoreBundle;

fuzz_target!(|data: &[u8]| {
    let Ok(bundle) = Bundle::parse(data) else { return };
    let written = bundle.to_json();
    assert!(written.contains(MEDIA_TYPE));
    let again = Bundle::parse(written.as_bytes()).expect("what is written is read");
    assert_eq!(again, bundle);
    assert_eq!(again.to_json(), written);
    assert_eq!(again.envelope().digest(), bundle.envelope().digest());

    // Where both read it, both see the same.
    let Ok(other) = SigstoreBundle::parse(data) else { return };
    match bundle.material() {
        VerificationMaterial::PublicKey { hint } => {
            assert_eq!(other.key_hint(), Some(hint.as_str()))
        }
        VerificationMaterial::Certificates(chain) => {
            assert_eq!(other.certificate(), chain.first().map(Vec::as_slice));
        }
    }
    if let Some(payload) = other.unverified_payload() {
        assert_eq!(payload, bundle.envelope().payload);
    }
});
