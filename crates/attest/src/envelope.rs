//! DSSE v1: the envelope and what its signature covers.

use sealwright_manifest::Sha256;

/// The payload type of in-toto statements; the only one that we sign or accept.
pub const IN_TOTO_PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// A DSSE envelope with exactly one signature.
///
/// `payload` holds the bytes that were signed; they are never written anew from what was parsed out
/// of them, since JSON has many spellings and the signature covers one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The signed bytes.
    pub payload: Vec<u8>,
    /// Their media type, also covered by the signature.
    pub payload_type: String,
    /// ASN.1 DER ECDSA-Sig-Value.
    pub signature: Vec<u8>,
    /// An unauthenticated hint at the key; may be empty.
    pub keyid: String,
}

impl Envelope {
    /// The bytes that the signature covers.
    pub fn pae(&self) -> Vec<u8> {
        pae(&self.payload_type, &self.payload)
    }

    /// The name by which other statements refer to this one: SHA-256 of [`Envelope::pae`].
    ///
    /// Signature and JSON spelling are left out on purpose. An ECDSA signature can be altered into
    /// another valid one by anybody, so a revocation that named the envelope's full bytes could be
    /// dodged by changing them.
    pub fn digest(&self) -> Sha256 {
        Sha256::of(&self.pae())
    }
}

/// Pre-authentication encoding (DSSE v1 "Signature Definition"): `"DSSEv1" SP LEN(type) SP type SP
/// LEN(body) SP body`, lengths in ASCII decimal.
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut encoded =
        format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    encoded.extend_from_slice(payload);
    encoded
}

#[cfg(test)]
mod tests {
    /// The example in the DSSE specification.
    #[test]
    fn specification_example() {
        let encoded = super::pae("http://example.com/HelloWorld", b"hello world");
        assert_eq!(encoded, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }
}
