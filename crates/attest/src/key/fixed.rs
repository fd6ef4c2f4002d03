//! ECDSA signatures as two numbers of fixed length, as JSON web signatures have them.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, UnparsedPublicKey,
    VerificationAlgorithm,
};
use spki::der::asn1::UintRef;
use spki::der::{Decode as _, Reader as _, SliceReader};

use super::{Curve, PublicKey};

impl Curve {
    /// What a JSON web signature with a key on this curve names its algorithm (RFC 7518 §3.4).
    #[must_use]
    pub fn jws_algorithm(self) -> &'static str {
        match self {
            Self::P256 => "ES256",
            Self::P384 => "ES384",
            Self::P521 => "ES512",
        }
    }

    /// Bytes of one coordinate.
    fn coordinate_length(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }
}

impl PublicKey {
    /// Whether `signature` (`r || s`, RFC 7518 §3.4) is this key's over `message`, with the hash that
    /// belongs to the key's curve.
    #[must_use]
    pub fn verifies_fixed(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &dyn VerificationAlgorithm = match self.curve {
            Curve::P256 => &ECDSA_P256_SHA256_FIXED,
            Curve::P384 => &ECDSA_P384_SHA384_FIXED,
            Curve::P521 => &ECDSA_P521_SHA512_FIXED,
        };
        UnparsedPublicKey::new(algorithm, &self.point).verify(message, signature).is_ok()
    }
}

/// The form `r || s` of an ASN.1 DER ECDSA-Sig-Value by a key on `curve`; none if it is not one.
#[must_use]
pub fn fixed_signature(curve: Curve, signature: &[u8]) -> Option<Vec<u8>> {
    let length = curve.coordinate_length();
    let read = |signature| -> spki::der::Result<(Vec<u8>, Vec<u8>)> {
        SliceReader::new(signature)?.sequence(|reader| {
            let (r, s) = (UintRef::decode(reader)?, UintRef::decode(reader)?);
            Ok((r.as_bytes().to_vec(), s.as_bytes().to_vec()))
        })
    };
    let (r, s) = read(signature).ok()?;
    let mut fixed = Vec::with_capacity(2 * length);
    for number in [r, s] {
        let zeros = length.checked_sub(number.len())?;
        fixed.resize(fixed.len() + zeros, 0);
        fixed.extend(number);
    }
    Some(fixed)
}

#[cfg(test)]
mod tests {
    use crate::{KeyFile, Signer as _};

    use super::*;

    #[test]
    fn both_forms_of_a_signature_verify() {
        for curve in [Curve::P256, Curve::P384, Curve::P521] {
            let key = KeyFile::generate(curve).unwrap();
            // Numbers with leading zeros come up once in 128 signatures.
            for round in 0..200_u32 {
                let message = round.to_be_bytes();
                let signature = key.sign(&message).unwrap();
                let fixed = fixed_signature(curve, &signature).unwrap();
                assert!(key.public_key().verifies_fixed(&message, &fixed));
                assert!(!key.public_key().verifies_fixed(b"other", &fixed));
                assert!(!key.public_key().verifies_fixed(&message, &signature));
            }
            assert_eq!(fixed_signature(curve, b"\x30\x00"), None);
            assert_eq!(fixed_signature(curve, b""), None);
        }
        let long = KeyFile::generate(Curve::P384).unwrap().sign(b"x").unwrap();
        assert_eq!(fixed_signature(Curve::P256, &long), None);
    }
}
