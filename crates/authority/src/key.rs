//! Public keys of those who ask for a certificate, and proof that they hold the private half.

use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{self as lc, ParsedPublicKey, VerificationAlgorithm};
use der::asn1::UintRef;
use der::{Decode as _, Encode as _, Sequence};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoRef};

use sealwright_attest::{Curve, PublicKey};

use crate::oid;
use crate::pem;
use crate::weak;

/// A public key that may be certified: ECDSA on P-256, P-384 or P-521, RSA of 2048 to 4096 bits
/// with exponent 65537, or Ed25519. The key is real: its point is on the curve, its modulus is no
/// known weak one.
#[derive(Clone, PartialEq, Eq)]
pub struct SubjectKey {
    algorithm: Algorithm,
    /// Content of `subjectPublicKey`.
    point: Vec<u8>,
    spki: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Ecdsa(Curve),
    Rsa { bits: usize },
    Ed25519,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// Why a public key is not certified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubjectKeyError {
    /// Not PEM of a SubjectPublicKeyInfo, not DER, or not a point of its curve.
    #[error("malformed public key")]
    Malformed,
    /// Another algorithm, curve or encoding of parameters.
    #[error("unsupported key: only ECDSA on P-256, P-384 and P-521, RSA and Ed25519 are certified")]
    Unsupported,
    /// An RSA modulus that is too short, too long, or not of whole bytes.
    #[error("an RSA key of {bits} bits: only 2048 to 4096, in steps of 8, are certified")]
    RsaSize {
        /// The modulus's length.
        bits: usize,
    },
    /// An RSA exponent other than 65537.
    #[error("an RSA key with an exponent other than 65537 is not certified")]
    RsaExponent,
    /// A key that can be broken or that fits any signature: an RSA modulus with a small factor or
    /// of the ROCA kind, an Ed25519 point of small order.
    #[error("a weak key")]
    Weak,
}

#[derive(Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    exponent: UintRef<'a>,
}

impl SubjectKey {
    /// Parses the PEM text of a SubjectPublicKeyInfo (RFC 7468 §13).
    ///
    /// # Errors
    /// [`SubjectKeyError`].
    pub fn from_pem(text: &str) -> Result<Self, SubjectKeyError> {
        let der = pem::decode(text, &["PUBLIC KEY"]).ok_or(SubjectKeyError::Malformed)?;
        Self::from_spki(&der)
    }

    /// Parses a DER SubjectPublicKeyInfo (RFC 5480, RFC 3279 §2.3.1, RFC 8410).
    ///
    /// # Errors
    /// [`SubjectKeyError`].
    pub fn from_spki(der: &[u8]) -> Result<Self, SubjectKeyError> {
        let malformed = SubjectKeyError::Malformed;
        let info = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| malformed.clone())?;
        if info.to_der().ok().as_deref() != Some(der) {
            return Err(malformed);
        }
        let point = info.subject_public_key.as_bytes().ok_or(malformed)?;
        let algorithm = match info.algorithm.oid {
            oid::EC_PUBLIC_KEY => ecdsa(der)?,
            oid::RSA_ENCRYPTION if info.algorithm.parameters.is_some_and(|p| p.is_null()) => {
                rsa(point)?
            }
            oid::ED25519 if info.algorithm.parameters.is_none() => ed25519(point)?,
            _ => return Err(SubjectKeyError::Unsupported),
        };
        Ok(Self { algorithm, point: point.to_vec(), spki: der.to_vec() })
    }

    /// DER SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// Whether `signature` is this key's over `message` by the algorithm that goes with the key
    /// where nothing else is said (Sigstore's algorithm registry): ECDSA with the curve's hash, RSA
    /// PKCS #1 v1.5 with SHA-256, Ed25519.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let hash = match self.algorithm {
            Algorithm::Ecdsa(Curve::P256) | Algorithm::Rsa { .. } => Hash::Sha256,
            Algorithm::Ecdsa(Curve::P384) => Hash::Sha384,
            Algorithm::Ecdsa(Curve::P521) | Algorithm::Ed25519 => Hash::Sha512,
        };
        self.verifies_with(hash, message, signature)
    }

    /// The same by the algorithm that a certificate or request names (RFC 5758 §3.2, RFC 4055 §5,
    /// RFC 8410 §3); false for an algorithm that is not this key's, and for SHA-1.
    pub(crate) fn verifies_as(
        &self,
        named: &AlgorithmIdentifierOwned,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        let bare = named.parameters.is_none();
        let hash = match (self.algorithm, named.oid) {
            (Algorithm::Ecdsa(_), oid::ECDSA_SHA256) if bare => Hash::Sha256,
            (Algorithm::Ecdsa(_), oid::ECDSA_SHA384) if bare => Hash::Sha384,
            (Algorithm::Ecdsa(_), oid::ECDSA_SHA512) if bare => Hash::Sha512,
            (Algorithm::Rsa { .. }, oid::RSA_SHA256) => Hash::Sha256,
            (Algorithm::Rsa { .. }, oid::RSA_SHA384) => Hash::Sha384,
            (Algorithm::Rsa { .. }, oid::RSA_SHA512) => Hash::Sha512,
            (Algorithm::Ed25519, oid::ED25519) if bare => Hash::Sha512,
            _ => return false,
        };
        self.verifies_with(hash, message, signature)
    }

    fn verifies_with(&self, hash: Hash, message: &[u8], signature: &[u8]) -> bool {
        use Hash::{Sha256, Sha384, Sha512};
        let algorithm: &dyn VerificationAlgorithm = match (self.algorithm, hash) {
            (Algorithm::Ecdsa(Curve::P256), Sha256) => &lc::ECDSA_P256_SHA256_ASN1,
            (Algorithm::Ecdsa(Curve::P256), Sha384) => &lc::ECDSA_P256_SHA384_ASN1,
            (Algorithm::Ecdsa(Curve::P256), Sha512) => &lc::ECDSA_P256_SHA512_ASN1,
            (Algorithm::Ecdsa(Curve::P384), Sha256) => &lc::ECDSA_P384_SHA256_ASN1,
            (Algorithm::Ecdsa(Curve::P384), Sha384) => &lc::ECDSA_P384_SHA384_ASN1,
            (Algorithm::Ecdsa(Curve::P384), Sha512) => &lc::ECDSA_P384_SHA512_ASN1,
            (Algorithm::Ecdsa(Curve::P521), Sha256) => &lc::ECDSA_P521_SHA256_ASN1,
            (Algorithm::Ecdsa(Curve::P521), Sha384) => &lc::ECDSA_P521_SHA384_ASN1,
            (Algorithm::Ecdsa(Curve::P521), Sha512) => &lc::ECDSA_P521_SHA512_ASN1,
            (Algorithm::Rsa { .. }, Sha256) => &lc::RSA_PKCS1_2048_8192_SHA256,
            (Algorithm::Rsa { .. }, Sha384) => &lc::RSA_PKCS1_2048_8192_SHA384,
            (Algorithm::Rsa { .. }, Sha512) => &lc::RSA_PKCS1_2048_8192_SHA512,
            (Algorithm::Ed25519, _) => &lc::ED25519,
        };
        lc::UnparsedPublicKey::new(algorithm, &self.point).verify(message, signature).is_ok()
    }

    /// The leftmost 160 bits of the SHA-256 of the key: RFC 7093 §2, method 1.
    pub(crate) fn identifier(&self) -> Vec<u8> {
        key_identifier(&self.point)
    }
}

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.algorithm {
            Algorithm::Ecdsa(curve) => write!(f, "SubjectKey(ECDSA {curve})"),
            Algorithm::Rsa { bits } => write!(f, "SubjectKey(RSA {bits})"),
            Algorithm::Ed25519 => write!(f, "SubjectKey(Ed25519)"),
        }
    }
}

fn key_identifier(point: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, point).as_ref().iter().copied().take(20).collect()
}

fn ecdsa(spki: &[u8]) -> Result<Algorithm, SubjectKeyError> {
    let key = PublicKey::from_spki(spki).map_err(|error| match error {
        sealwright_attest::KeyError::UnsupportedAlgorithm => SubjectKeyError::Unsupported,
        _ => SubjectKeyError::Malformed,
    })?;
    Ok(Algorithm::Ecdsa(key.curve()))
}

fn rsa(point: &[u8]) -> Result<Algorithm, SubjectKeyError> {
    let key = RsaPublicKey::from_der(point).map_err(|_| SubjectKeyError::Malformed)?;
    let modulus = key.modulus.as_bytes();
    let leading = modulus.first().map_or(8, |byte| byte.leading_zeros() as usize);
    let bits = (modulus.len() * 8).saturating_sub(leading);
    if !(2048..=4096).contains(&bits) || bits % 8 != 0 {
        return Err(SubjectKeyError::RsaSize { bits });
    }
    if key.exponent.as_bytes() != [1, 0, 1] {
        return Err(SubjectKeyError::RsaExponent);
    }
    if weak::is_weak_modulus(modulus) {
        return Err(SubjectKeyError::Weak);
    }
    ParsedPublicKey::new(&lc::RSA_PKCS1_2048_8192_SHA256, point)
        .map_err(|_| SubjectKeyError::Malformed)?;
    Ok(Algorithm::Rsa { bits })
}

fn ed25519(point: &[u8]) -> Result<Algorithm, SubjectKeyError> {
    let point: &[u8; 32] = point.try_into().map_err(|_| SubjectKeyError::Malformed)?;
    if weak::is_small_order(point) {
        return Err(SubjectKeyError::Weak);
    }
    ParsedPublicKey::new(&lc::ED25519, point).map_err(|_| SubjectKeyError::Malformed)?;
    Ok(Algorithm::Ed25519)
}
