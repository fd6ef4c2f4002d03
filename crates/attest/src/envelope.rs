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

/// What model-signing 0.2 signed instead of the PAE: another prefix, and Python's `repr` of the
/// payload's bytes. Read for its `Digests/v0.1` predicate only.
pub(crate) fn pae_of_model_signing_0_2(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let (type_len, len) = (payload_type.len(), payload.len());
    let repr = python_repr(payload);
    format!("DSSEV1 {type_len} {payload_type} {len} {repr}").into_bytes()
}

/// CPython's `repr(bytes)`: single quotes, unless only single ones are inside.
fn python_repr(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let quote = if bytes.contains(&b'\'') && !bytes.contains(&b'"') { '"' } else { '\'' };
    let mut text = format!("b{quote}");
    for &byte in bytes {
        let character = char::from(byte);
        match byte {
            b'\t' => text.push_str("\\t"),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\\' => text.push_str("\\\\"),
            _ if character == quote => {
                text.push('\\');
                text.push(quote);
            }
            b' '..=b'~' => text.push(character),
            // Writing to a String cannot fail.
            _ => drop(write!(text, "\\x{byte:02x}")),
        }
    }
    text.push(quote);
    text
}

#[cfg(test)]
mod tests {
    /// The example in the DSSE specification.
    #[test]
    fn specification_example() {
        let encoded = super::pae("http://example.com/HelloWorld", b"hello world");
        assert_eq!(encoded, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }

    #[test]
    fn bytes_as_python_shows_them() {
        for (bytes, shown) in [
            (&b"a\n\x00\xff\\"[..], r"b'a\n\x00\xff\\'"),
            (b"it's", "b\"it's\""),
            (b"\"it's\"", r#"b'"it\'s"'"#),
        ] {
            assert_eq!(super::python_repr(bytes), shown);
        }
    }
}
