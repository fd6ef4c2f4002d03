//! Public keys: ECDSA on P-256, P-384, P-521 (OMS v1.0 §8.1).

mod fixed;

pub use fixed::fixed_signature;

use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use pkcs8::LineEnding;
use spki::der::asn1::{AnyRef, BitStringRef, UintRef};
use spki::der::{Decode as _, Document, Encode as _, Reader as _, SliceReader};
use spki::{AlgorithmIdentifierRef, ObjectIdentifier, SubjectPublicKeyInfoRef};

use sealwright_manifest::Sha256;

const ID_EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const PEM_LABEL: &str = "PUBLIC KEY";

/// A curve, and with it the one hash that ECDSA uses on it (OMS v1.0 §8.1; no negotiation).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Curve {
    /// NIST P-256 with SHA-256.
    P256,
    /// NIST P-384 with SHA-384.
    P384,
    /// NIST P-521 with SHA-512.
    P521,
}

/// What names a curve on the wire, and what verifies on it.
struct CurveFacts {
    oid: ObjectIdentifier,
    /// Length of an uncompressed point: 1 + 2 × field bytes.
    point_length: usize,
    key_details: &'static str,
    hash_name: &'static str,
    hash: &'static digest::Algorithm,
    verification: &'static dyn VerificationAlgorithm,
}

impl Curve {
    const ALL: [Curve; 3] = [Curve::P256, Curve::P384, Curve::P521];

    fn facts(self) -> CurveFacts {
        match self {
            Curve::P256 => CurveFacts {
                oid: ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"),
                point_length: 65,
                key_details: "PKIX_ECDSA_P256_SHA_256",
                hash_name: "SHA2_256",
                hash: &digest::SHA256,
                verification: &signature::ECDSA_P256_SHA256_ASN1,
            },
            Curve::P384 => CurveFacts {
                oid: ObjectIdentifier::new_unwrap("1.3.132.0.34"),
                point_length: 97,
                key_details: "PKIX_ECDSA_P384_SHA_384",
                hash_name: "SHA2_384",
                hash: &digest::SHA384,
                verification: &signature::ECDSA_P384_SHA384_ASN1,
            },
            Curve::P521 => CurveFacts {
                oid: ObjectIdentifier::new_unwrap("1.3.132.0.35"),
                point_length: 133,
                key_details: "PKIX_ECDSA_P521_SHA_512",
                hash_name: "SHA2_512",
                hash: &digest::SHA512,
                verification: &signature::ECDSA_P521_SHA512_ASN1,
            },
        }
    }

    /// The `PublicKeyDetails` name in Sigstore's protobuf-specs.
    pub fn key_details(self) -> &'static str {
        self.facts().key_details
    }

    /// The `HashAlgorithm` name in Sigstore's protobuf-specs.
    pub fn hash_name(self) -> &'static str {
        self.facts().hash_name
    }

    /// `data` hashed with the curve's hash.
    pub fn hash(self, data: &[u8]) -> Vec<u8> {
        digest::digest(self.facts().hash, data).as_ref().to_vec()
    }
}

impl fmt::Display for Curve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Curve::P256 => "P-256",
            Curve::P384 => "P-384",
            Curve::P521 => "P-521",
        })
    }
}

/// Why bytes are not a key we can use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not PEM, or not one block of it.
    #[error("not a PEM file with one block")]
    NotPem,
    /// PEM of something else.
    #[error("PEM block {found:?} is not {wanted}")]
    WrongLabel {
        /// The block's label.
        found: String,
        /// What would be right.
        wanted: &'static str,
    },
    /// The DER inside does not parse, or is not a point of its curve.
    #[error("malformed key")]
    Malformed,
    /// Not ECDSA on P-256, P-384 or P-521.
    #[error("unsupported key algorithm: only ECDSA on P-256, P-384 and P-521 can sign models")]
    UnsupportedAlgorithm,
    /// The private key is encrypted, and no passphrase was given.
    #[error("the private key is encrypted and no passphrase was given")]
    PassphraseRequired,
    /// The private key is encrypted in a way that is not supported.
    #[error("the private key is encrypted with {found}")]
    UnsupportedEncryption {
        /// The cipher's name.
        found: String,
    },
    /// Decryption failed.
    #[error("wrong passphrase, or the encrypted key is damaged")]
    WrongPassphrase,
}

/// An ECDSA public key.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PublicKey {
    curve: Curve,
    /// SEC 1 uncompressed point.
    point: Vec<u8>,
}

impl PublicKey {
    /// Parses the PEM text of a SubjectPublicKeyInfo (RFC 7468 §13); CRLF line ends are accepted.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let text = text.trim_ascii().replace("\r\n", "\n") + "\n";
        let (label, document) = Document::from_pem(&text).map_err(|_| KeyError::NotPem)?;
        if label != PEM_LABEL {
            return Err(KeyError::WrongLabel { found: label.to_owned(), wanted: PEM_LABEL });
        }
        Self::from_spki(document.as_bytes())
    }

    /// Parses the keys in a PEM text, one block after the other; at least one.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_pem_all(text: &str) -> Result<Vec<Self>, KeyError> {
        const BEGIN: &str = "-----BEGIN ";
        let starts: Vec<_> = text.match_indices(BEGIN).map(|(place, _)| place).collect();
        if starts.len() < 2 {
            return Ok(vec![Self::from_pem(text)?]);
        }
        let ends = starts.iter().skip(1).copied().chain([text.len()]);
        let blocks = starts.iter().zip(ends).filter_map(|(start, end)| text.get(*start..end));
        blocks.map(Self::from_pem).collect()
    }

    /// Parses a DER SubjectPublicKeyInfo (RFC 5480) with a named curve and an uncompressed point.
    ///
    /// # Errors
    /// [`KeyError::Malformed`], [`KeyError::UnsupportedAlgorithm`].
    pub fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        let info = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| KeyError::Malformed)?;
        let (algorithm, parameters) =
            info.algorithm.oids().map_err(|_| KeyError::UnsupportedAlgorithm)?;
        let curve = Curve::ALL
            .into_iter()
            .find(|curve| algorithm == ID_EC_PUBLIC_KEY && parameters == Some(curve.facts().oid))
            .ok_or(KeyError::UnsupportedAlgorithm)?;
        let point = info.subject_public_key.as_bytes().ok_or(KeyError::Malformed)?;
        Self::from_point(curve, point)
    }

    /// A key from a SEC 1 uncompressed point.
    ///
    /// # Errors
    /// [`KeyError::Malformed`] when the bytes are not a point of that curve.
    pub fn from_point(curve: Curve, point: &[u8]) -> Result<Self, KeyError> {
        let facts = curve.facts();
        if point.len() != facts.point_length || point.first() != Some(&4) {
            return Err(KeyError::Malformed);
        }
        signature::ParsedPublicKey::new(facts.verification, point)
            .map_err(|_| KeyError::Malformed)?;
        Ok(Self { curve, point: point.to_vec() })
    }

    /// The key's curve.
    pub fn curve(&self) -> Curve {
        self.curve
    }

    /// DER SubjectPublicKeyInfo.
    pub fn spki(&self) -> Vec<u8> {
        let encode = || -> spki::der::Result<Vec<u8>> {
            let oid = self.curve.facts().oid;
            SubjectPublicKeyInfoRef {
                algorithm: AlgorithmIdentifierRef {
                    oid: ID_EC_PUBLIC_KEY,
                    parameters: Some(AnyRef::from(&oid)),
                },
                subject_public_key: BitStringRef::from_bytes(&self.point)?,
            }
            .to_der()
        };
        // Encoding constants and at most 133 bytes cannot fail; an empty key matches nothing.
        encode().unwrap_or_default()
    }

    /// PEM as OpenSSL writes it: 64 characters a line, LF, a newline at the end.
    pub fn pem(&self) -> String {
        Document::try_from(self.spki())
            .and_then(|document| document.to_pem(PEM_LABEL, LineEnding::LF))
            .unwrap_or_default()
    }

    /// SHA-256 of [`PublicKey::pem`] in hexadecimal: what `sha256sum key.pub` prints, and what OMS
    /// bundles carry as `publicKey.hint`.
    pub fn id(&self) -> String {
        Sha256::of(self.pem().as_bytes()).to_string()
    }

    /// Whether `signature` is this key's over `message` with SHA-256, whatever the curve: what
    /// model-signing 0.2 did.
    pub(crate) fn verifies_with_sha256(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &dyn VerificationAlgorithm = match self.curve {
            Curve::P256 => &signature::ECDSA_P256_SHA256_ASN1,
            Curve::P384 => &signature::ECDSA_P384_SHA256_ASN1,
            Curve::P521 => &signature::ECDSA_P521_SHA256_ASN1,
        };
        UnparsedPublicKey::new(algorithm, &self.point).verify(message, signature).is_ok()
    }

    /// Whether `signature` (ASN.1 DER ECDSA-Sig-Value) is this key's over `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(self.curve.facts().verification, &self.point)
            .verify(message, signature)
            .is_ok()
    }
}

/// The `r` of an ASN.1 DER ECDSA-Sig-Value, big-endian without leading zeros.
///
/// A signature (r, s) can be turned by anybody into (r, n - s), which is valid too. With the key and
/// the message `r` names the pair of them, and so one act of signing.
pub fn signature_r(signature: &[u8]) -> Option<Vec<u8>> {
    let read = |signature| -> spki::der::Result<Vec<u8>> {
        SliceReader::new(signature)?.sequence(|reader| {
            let (r, _s) = (UintRef::decode(reader)?, UintRef::decode(reader)?);
            Ok(r.as_bytes().to_vec())
        })
    };
    read(signature).ok()
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({}, {})", self.curve, self.id())
    }
}
