//! Public keys of signers, logs and authorities, and what verifies under them.

use aws_lc_rs::digest::Digest;
use aws_lc_rs::signature::{self as lc, UnparsedPublicKey, VerificationAlgorithm};
use der::asn1::ObjectIdentifier;
use der::{Decode as _, Encode as _, Sequence};
use x509_cert::spki::SubjectPublicKeyInfoRef;

use crate::artifact::DigestAlgorithm;
use crate::error::SigstoreError;
use crate::pem;

const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// The public key of a signer without a certificate, named by the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagedKey(Key);

impl ManagedKey {
    /// Parses the PEM text of a SubjectPublicKeyInfo: ECDSA on P-256, P-384, P-521, RSA from 2048
    /// bits, Ed25519.
    ///
    /// # Errors
    /// [`SigstoreError::KeyAlgorithm`] for everything else.
    pub fn from_pem(text: &str) -> Result<Self, SigstoreError> {
        let (label, der) = pem::decode(text).ok_or(SigstoreError::KeyAlgorithm)?;
        if label != "PUBLIC KEY" {
            return Err(SigstoreError::KeyAlgorithm);
        }
        Self::from_spki(&der)
    }

    /// Parses a DER SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// As [`ManagedKey::from_pem`].
    pub fn from_spki(der: &[u8]) -> Result<Self, SigstoreError> {
        Key::from_spki(der).map(Self).ok_or(SigstoreError::KeyAlgorithm)
    }

    pub(crate) fn key(&self) -> &Key {
        &self.0
    }
}

/// A key with the one algorithm that it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    algorithm: Algorithm,
    /// Content of `subjectPublicKey`.
    point: Vec<u8>,
    spki: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    P256,
    P384,
    P521,
    /// PKCS #1 v1.5, 2048 to 8192 bits.
    Rsa,
    Ed25519,
}

#[derive(Sequence)]
struct RsaPublicKey<'a> {
    modulus: der::asn1::UintRef<'a>,
    exponent: der::asn1::UintRef<'a>,
}

impl Key {
    pub(crate) fn from_spki(der: &[u8]) -> Option<Self> {
        let info = SubjectPublicKeyInfoRef::from_der(der).ok()?;
        let point = info.subject_public_key.as_bytes()?;
        let curve = || info.algorithm.parameters_oid().ok();
        let algorithm = match info.algorithm.oid {
            EC if curve() == Some(P256) && is_point(point, 65) => Algorithm::P256,
            EC if curve() == Some(P384) && is_point(point, 97) => Algorithm::P384,
            EC if curve() == Some(P521) && is_point(point, 133) => Algorithm::P521,
            RSA if is_rsa(point) => Algorithm::Rsa,
            ED25519 if info.algorithm.parameters.is_none() && point.len() == 32 => {
                Algorithm::Ed25519
            }
            _ => return None,
        };
        Some(Self { algorithm, point: point.to_vec(), spki: info.to_der().ok()? })
    }

    /// Also the bare PKCS #1 form (`PKCS1_RSA_PKCS1V5`) that some trusted roots have.
    pub(crate) fn from_trusted_root(der: &[u8]) -> Option<Self> {
        Self::from_spki(der).or_else(|| {
            is_rsa(der).then(|| Self {
                algorithm: Algorithm::Rsa,
                point: der.to_vec(),
                spki: der.to_vec(),
            })
        })
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// DER SubjectPublicKeyInfo.
    pub(crate) fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// Bits of an RSA modulus.
    pub(crate) fn rsa_bits(&self) -> Option<usize> {
        let key = RsaPublicKey::from_der(&self.point).ok()?;
        let modulus = key.modulus.as_bytes();
        let first = modulus.first()?;
        Some(modulus.len() * 8 - usize::try_from(first.leading_zeros()).ok()?)
    }

    /// The hash that goes with the key where nothing else is said (sigstore's algorithm registry);
    /// `None` if the algorithm signs messages themselves.
    pub(crate) fn default_hash(&self) -> Option<DigestAlgorithm> {
        match self.algorithm {
            Algorithm::P256 | Algorithm::Rsa => Some(DigestAlgorithm::Sha256),
            Algorithm::P384 => Some(DigestAlgorithm::Sha384),
            Algorithm::P521 => Some(DigestAlgorithm::Sha512),
            Algorithm::Ed25519 => None,
        }
    }

    /// Whether `signature` is this key's over `message`, by its default hash.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self.default_hash() {
            Some(hash) => self.verifies_digest(hash, &hash.hash(message), signature),
            None => self.verifies_message(message, signature),
        }
    }

    /// The same, for an algorithm without a hash of its own.
    pub(crate) fn verifies_message(&self, message: &[u8], signature: &[u8]) -> bool {
        self.algorithm == Algorithm::Ed25519
            && UnparsedPublicKey::new(&lc::ED25519, &self.point).verify(message, signature).is_ok()
    }

    /// Whether `signature` is this key's over a message with this digest.
    pub(crate) fn verifies_digest(
        &self,
        hash: DigestAlgorithm,
        digest: &[u8],
        signature: &[u8],
    ) -> bool {
        let Some(verification) = self.verification(hash) else { return false };
        let Ok(digest) = Digest::import_less_safe(digest, hash.implementation()) else {
            return false;
        };
        UnparsedPublicKey::new(verification, &self.point).verify_digest(&digest, signature).is_ok()
    }

    fn verification(&self, hash: DigestAlgorithm) -> Option<&'static dyn VerificationAlgorithm> {
        use DigestAlgorithm::{Sha256, Sha384, Sha512};
        Some(match (self.algorithm, hash) {
            (Algorithm::P256, Sha256) => &lc::ECDSA_P256_SHA256_ASN1,
            (Algorithm::P256, Sha384) => &lc::ECDSA_P256_SHA384_ASN1,
            (Algorithm::P256, Sha512) => &lc::ECDSA_P256_SHA512_ASN1,
            (Algorithm::P384, Sha256) => &lc::ECDSA_P384_SHA256_ASN1,
            (Algorithm::P384, Sha384) => &lc::ECDSA_P384_SHA384_ASN1,
            (Algorithm::P384, Sha512) => &lc::ECDSA_P384_SHA512_ASN1,
            (Algorithm::P521, Sha256) => &lc::ECDSA_P521_SHA256_ASN1,
            (Algorithm::P521, Sha384) => &lc::ECDSA_P521_SHA384_ASN1,
            (Algorithm::P521, Sha512) => &lc::ECDSA_P521_SHA512_ASN1,
            (Algorithm::Rsa, Sha256) => &lc::RSA_PKCS1_2048_8192_SHA256,
            (Algorithm::Rsa, Sha384) => &lc::RSA_PKCS1_2048_8192_SHA384,
            (Algorithm::Rsa, Sha512) => &lc::RSA_PKCS1_2048_8192_SHA512,
            (Algorithm::Ed25519, _) => return None,
        })
    }
}

/// An uncompressed SEC 1 point; whether it is on the curve is checked when a signature is.
fn is_point(bytes: &[u8], length: usize) -> bool {
    bytes.len() == length && bytes.first() == Some(&4)
}

/// A PKCS #1 key, complete; its size is checked when a signature is.
fn is_rsa(der: &[u8]) -> bool {
    RsaPublicKey::from_der(der)
        .is_ok_and(|key| key.modulus.as_bytes().len() >= 256 && !key.exponent.as_bytes().is_empty())
}
