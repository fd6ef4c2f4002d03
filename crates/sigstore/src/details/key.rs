//! What kind of public key it is.

use std::fmt;

use der::asn1::UintRef;
use der::{Decode as _, Sequence};
use x509_cert::spki::SubjectPublicKeyInfoRef;

use crate::artifact::DigestAlgorithm;

/// A public key as a certificate, a trusted root or a file has it; not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyDetails {
    /// Such as `ECDSA P-256`, `RSA 2048` or `Ed25519`; an object identifier where there is no name.
    pub kind: String,
    /// SHA-256 of the DER SubjectPublicKeyInfo, which Rekor v1 and certificate logs call their id.
    pub spki_sha256: Vec<u8>,
}

#[derive(Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    exponent: UintRef<'a>,
}

impl KeyDetails {
    /// Reads a DER SubjectPublicKeyInfo of any algorithm; `None` if it is not one.
    pub fn from_spki(der: &[u8]) -> Option<Self> {
        let info = SubjectPublicKeyInfoRef::from_der(der).ok()?;
        let curve = info.algorithm.parameters_oid().map(|oid| oid.to_string()).unwrap_or_default();
        let key = info.subject_public_key.raw_bytes();
        let kind = match (info.algorithm.oid.to_string().as_str(), curve.as_str()) {
            ("1.2.840.10045.2.1", "1.2.840.10045.3.1.7") => "ECDSA P-256".to_owned(),
            ("1.2.840.10045.2.1", "1.3.132.0.34") => "ECDSA P-384".to_owned(),
            ("1.2.840.10045.2.1", "1.3.132.0.35") => "ECDSA P-521".to_owned(),
            ("1.2.840.10045.2.1", "1.3.132.0.10") => "ECDSA secp256k1".to_owned(),
            ("1.2.840.10045.2.1", curve) => format!("ECDSA on curve {curve}"),
            ("1.2.840.113549.1.1.1", _) => rsa(key),
            ("1.3.101.112", _) => "Ed25519".to_owned(),
            ("1.3.101.113", _) => "Ed448".to_owned(),
            ("2.16.840.1.101.3.4.3.17", _) => "ML-DSA-44".to_owned(),
            ("2.16.840.1.101.3.4.3.18", _) => "ML-DSA-65".to_owned(),
            ("2.16.840.1.101.3.4.3.19", _) => "ML-DSA-87".to_owned(),
            (oid, _) => format!("algorithm {oid}"),
        };
        Some(Self { kind, spki_sha256: DigestAlgorithm::Sha256.hash(der) })
    }

    /// As [`KeyDetails::from_spki`], and also the bare PKCS #1 form that some trusted roots have.
    pub fn from_trusted_root(der: &[u8]) -> Option<Self> {
        Self::from_spki(der).or_else(|| {
            RsaPublicKey::from_der(der)
                .ok()
                .map(|_| Self { kind: rsa(der), spki_sha256: DigestAlgorithm::Sha256.hash(der) })
        })
    }
}

impl fmt::Display for KeyDetails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)
    }
}

fn rsa(key: &[u8]) -> String {
    match RsaPublicKey::from_der(key) {
        Ok(RsaPublicKey { modulus, exponent }) if !exponent.as_bytes().is_empty() => {
            let zeros = modulus.as_bytes().first().map_or(0, |byte| byte.leading_zeros());
            let bits = (modulus.as_bytes().len() * 8).saturating_sub(zeros as usize);
            format!("RSA {bits}")
        }
        _ => "RSA, malformed".to_owned(),
    }
}
