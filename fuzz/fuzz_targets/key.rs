//! Keys: PEM and DER, public and private.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sealwright_attest::{KeyError, KeyFile, PublicKey, Signer as _};
use sealwright_sigstore::ManagedKey;
use sealwright_sigstore::details::KeyDetails;

fuzz_target!(|data: &[u8]| {
    if let Ok(key) = PublicKey::from_spki(data) {
        public(&key);
    }
    if ManagedKey::from_spki(data).is_ok() {
        assert!(KeyDetails::from_spki(data).is_some());
    }
    let _ = KeyDetails::from_trusted_root(data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(key) = PublicKey::from_pem(text) {
        public(&key);
        // The other reader takes no text before the block.
        if text.trim_ascii_start().starts_with("-----BEGIN PUBLIC KEY-----") {
            ManagedKey::from_pem(text).expect("the other reader takes what this one takes");
        }
    }
    let _ = ManagedKey::from_pem(text);
    private(text);
});

fn public(key: &PublicKey) {
    assert_eq!(PublicKey::from_pem(&key.pem()).as_ref(), Ok(key));
    assert_eq!(PublicKey::from_spki(&key.spki()).as_ref(), Ok(key));
    assert_eq!(PublicKey::from_pem(&key.pem().replace('\n', "\r\n")).as_ref(), Ok(key));
    assert_eq!(key.id().len(), 64);
    ManagedKey::from_spki(&key.spki()).expect("the other reader takes what this one takes");
    let details = KeyDetails::from_spki(&key.spki()).expect("a key has details");
    assert_eq!(details.kind, format!("ECDSA {}", key.curve()));
    assert!(!key.verifies(b"message", b"signature"));
}

/// Without a passphrase: how long an encrypted key takes is said by the key itself.
fn private(text: &str) {
    match KeyFile::from_pem(text, None) {
        Ok(key) => {
            let signature = key.sign(b"message").expect("a key that is read can sign");
            assert!(key.public_key().verifies(b"message", &signature));
            assert!(!key.public_key().verifies(b"another", &signature));
        }
        Err(KeyError::PassphraseRequired) => assert!(KeyFile::is_encrypted(text)),
        Err(_) => {}
    }
}
