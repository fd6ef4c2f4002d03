//! The log entry of a bundle: Rekor v2 `hashedrekord` 0.0.2 over the hash of the PAE.
//!
//! Rekor 2.3 logs attestations in this kind. The body is rebuilt from the bundle by whoever
//! verifies, byte for byte, so there is one way to write it: RFC 8785 JSON.

use crate::encoding::encode;
use crate::envelope::Envelope;
use crate::key::PublicKey;

/// `kindVersion.kind` of the entries that are written and verified.
pub const HASHEDREKORD_KIND: &str = "hashedrekord";
/// `kindVersion.version` of the entries that are written and verified.
pub const HASHEDREKORD_VERSION: &str = "0.0.2";

/// The canonical entry body for `envelope`, signed by `key`: what the log hashes as its leaf.
pub fn hashedrekord_body(envelope: &Envelope, key: &PublicKey) -> Vec<u8> {
    body(envelope, key, "publicKey", &key.spki())
}

/// The same with a DER certificate for `key` as the verifier.
pub fn certified_hashedrekord_body(
    envelope: &Envelope,
    key: &PublicKey,
    certificate: &[u8],
) -> Vec<u8> {
    body(envelope, key, "x509Certificate", certificate)
}

fn body(envelope: &Envelope, key: &PublicKey, form: &str, verifier: &[u8]) -> Vec<u8> {
    let body = serde_json::json!({
        "apiVersion": HASHEDREKORD_VERSION,
        "kind": HASHEDREKORD_KIND,
        "spec": {"hashedRekordV002": {
            "data": {
                "algorithm": key.curve().hash_name(),
                "digest": encode(&key.curve().hash(&envelope.pae())),
            },
            "signature": {
                "content": encode(&envelope.signature),
                "verifier": {
                    "keyDetails": key.curve().key_details(),
                    form: {"rawBytes": encode(verifier)},
                },
            },
        }},
    });
    // Strings only: canonicalisation cannot fail, and an empty body matches no entry.
    serde_json_canonicalizer::to_vec(&body).unwrap_or_default()
}
