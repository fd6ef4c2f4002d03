//! Making signatures.

use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _,
};
use pkcs8::{EncryptedPrivateKeyInfoRef, LineEnding, PrivateKeyInfoRef, SecretDocument};
use spki::der::Decode as _;
use zeroize::Zeroizing;

use crate::bundle::{Bundle, VerificationMaterial};
use crate::envelope::{Envelope, IN_TOTO_PAYLOAD_TYPE, pae};
use crate::key::{Curve, KeyError, PublicKey};
use crate::legacy_pem;

/// Something that can sign with one key. The key may be in a file, in an HSM or in a KMS.
pub trait Signer {
    /// The key; the same for the signer's whole life.
    fn public_key(&self) -> &PublicKey;

    /// A signature over `message` (not over a digest of it), as ASN.1 DER ECDSA-Sig-Value, made
    /// with the hash that belongs to the key's curve.
    ///
    /// # Errors
    /// [`SignError`]; never a signature by another key.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;
}

/// A signer that several threads use.
pub type SharedSigner = Arc<dyn Signer + Send + Sync>;

/// Why there is no signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The key's keeper refused or failed.
    #[error("the key could not sign")]
    Failed,
    /// What came back does not verify under the signer's own public key.
    #[error("the signature does not verify under the key that should have made it")]
    SelfCheck,
}

/// Signs in-toto statement bytes (or any payload of that type) into a bundle.
///
/// The signature is verified before it leaves. `keyid` goes into the DSSE signature. OMS bundles leave
/// it empty (OMS v1.0 §2.2), and so should others: cosign takes only a key's fingerprint there.
///
/// # Errors
/// [`SignError`].
pub fn sign(payload: Vec<u8>, signer: &dyn Signer, keyid: &str) -> Result<Bundle, SignError> {
    let message = pae(IN_TOTO_PAYLOAD_TYPE, &payload);
    let signature = signer.sign(&message)?;
    let key = signer.public_key();
    if !key.verifies(&message, &signature) {
        return Err(SignError::SelfCheck);
    }
    let payload_type = IN_TOTO_PAYLOAD_TYPE.to_owned();
    let envelope = Envelope { payload, payload_type, signature, keyid: keyid.to_owned() };
    Ok(Bundle::new(envelope, VerificationMaterial::PublicKey { hint: key.id() }))
}

/// A private key held in memory, from a PEM file.
pub struct KeyFile {
    pair: EcdsaKeyPair,
    public_key: PublicKey,
}

impl std::fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyFile").field("public_key", &self.public_key).finish_non_exhaustive()
    }
}

const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";
const PLAIN: &str = "PRIVATE KEY";
const SEC1: &str = "EC PRIVATE KEY";

impl KeyFile {
    /// Whether the PEM text holds an encrypted key, so that a passphrase must be asked for.
    pub fn is_encrypted(pem: &str) -> bool {
        pem.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || legacy_pem::is_encrypted(pem)
    }

    /// Reads a private key: encrypted PKCS#8 (RFC 5958, PBES2), PKCS#8, or SEC 1 (RFC 5915), this one
    /// also as OpenSSL used to encrypt it (AES).
    ///
    /// # Errors
    /// [`KeyError`]; [`KeyError::WrongPassphrase`] when decryption fails.
    pub fn from_pem(pem: &str, passphrase: Option<&[u8]>) -> Result<Self, KeyError> {
        let pem = Zeroizing::new(pem.trim_ascii().replace("\r\n", "\n") + "\n");
        if legacy_pem::is_encrypted(&pem) {
            let passphrase = passphrase.ok_or(KeyError::PassphraseRequired)?;
            let der = legacy_pem::decrypt(&pem, passphrase)?;
            // Whatever a wrong passphrase leaves may look padded by chance.
            return Self::from_der(&der, false).map_err(|_| KeyError::WrongPassphrase);
        }
        let (label, document) = SecretDocument::from_pem(&pem).map_err(|_| KeyError::NotPem)?;
        match label {
            ENCRYPTED => {
                let passphrase = passphrase.ok_or(KeyError::PassphraseRequired)?;
                let encrypted = EncryptedPrivateKeyInfoRef::from_der(document.as_bytes())
                    .map_err(|_| KeyError::Malformed)?;
                let plain = encrypted.decrypt(passphrase).map_err(|_| KeyError::WrongPassphrase)?;
                Self::from_der(plain.as_bytes(), true)
            }
            PLAIN => Self::from_der(document.as_bytes(), true),
            SEC1 => Self::from_der(document.as_bytes(), false),
            other => Err(KeyError::WrongLabel {
                found: other.to_owned(),
                wanted: "a private key (PKCS#8, encrypted PKCS#8 or SEC 1)",
            }),
        }
    }

    /// A fresh key on `curve`.
    ///
    /// # Errors
    /// [`SignError::Failed`] when the operating system gives no randomness.
    pub fn generate(curve: Curve) -> Result<Self, SignError> {
        let pair = EcdsaKeyPair::generate(algorithm(curve)).map_err(|_| SignError::Failed)?;
        Self::from_pair(pair, curve).map_err(|_| SignError::Failed)
    }

    /// The key as encrypted PKCS#8 PEM: PBES2 with scrypt and AES-256-CBC, as OpenSSL reads it.
    ///
    /// # Errors
    /// [`SignError::Failed`] when the key cannot be encoded or there is no randomness.
    pub fn encrypted_pem(&self, passphrase: &[u8]) -> Result<Zeroizing<String>, SignError> {
        let document = self.pair.to_pkcs8v1().map_err(|_| SignError::Failed)?;
        PrivateKeyInfoRef::try_from(document.as_ref())
            .map_err(|_| SignError::Failed)?
            .encrypt(passphrase)
            .and_then(|encrypted| Ok(encrypted.to_pem(ENCRYPTED, LineEnding::LF)?))
            .map_err(|_| SignError::Failed)
    }

    /// The key as PKCS#8 PEM that is not encrypted: for a service that must start by itself. Whoever
    /// writes it down says so, and guards the file.
    ///
    /// # Errors
    /// [`SignError::Failed`] when the key cannot be encoded.
    pub fn unencrypted_pem(&self) -> Result<Zeroizing<String>, SignError> {
        let document = self.pair.to_pkcs8v1().map_err(|_| SignError::Failed)?;
        SecretDocument::try_from(document.as_ref())
            .and_then(|document| document.to_pem(PLAIN, LineEnding::LF))
            .map_err(|_| SignError::Failed)
    }

    fn from_der(der: &[u8], is_pkcs8: bool) -> Result<Self, KeyError> {
        for curve in [Curve::P256, Curve::P384, Curve::P521] {
            let pair = if is_pkcs8 {
                EcdsaKeyPair::from_pkcs8(algorithm(curve), der)
            } else {
                EcdsaKeyPair::from_private_key_der(algorithm(curve), der)
            };
            if let Ok(pair) = pair {
                return Self::from_pair(pair, curve);
            }
        }
        // Well-formed PKCS#8 of another algorithm deserves its own message.
        match PrivateKeyInfoRef::try_from(der) {
            Ok(_) => Err(KeyError::UnsupportedAlgorithm),
            Err(_) => Err(KeyError::Malformed),
        }
    }

    fn from_pair(pair: EcdsaKeyPair, curve: Curve) -> Result<Self, KeyError> {
        let public_key = PublicKey::from_point(curve, pair.public_key().as_ref())?;
        Ok(Self { pair, public_key })
    }
}

impl Signer for KeyFile {
    fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let signature =
            self.pair.sign(&SystemRandom::new(), message).map_err(|_| SignError::Failed)?;
        Ok(signature.as_ref().to_vec())
    }
}

fn algorithm(curve: Curve) -> &'static EcdsaSigningAlgorithm {
    match curve {
        Curve::P256 => &ECDSA_P256_SHA256_ASN1_SIGNING,
        Curve::P384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
        Curve::P521 => &ECDSA_P521_SHA512_ASN1_SIGNING,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_curve_signs_and_survives_encryption() {
        for curve in [Curve::P256, Curve::P384, Curve::P521] {
            let key = KeyFile::generate(curve).unwrap();
            let pem = key.encrypted_pem(b"correct horse").unwrap();
            assert!(KeyFile::is_encrypted(&pem));
            let again = KeyFile::from_pem(&pem, Some(b"correct horse")).unwrap();
            assert_eq!(again.public_key(), key.public_key());
            let signature = again.sign(b"message").unwrap();
            assert!(key.public_key().verifies(b"message", &signature));
            assert!(!key.public_key().verifies(b"massage", &signature));
            let public = PublicKey::from_pem(&key.public_key().pem()).unwrap();
            assert_eq!(&public, key.public_key());
            assert_eq!(
                KeyFile::from_pem(&pem, Some(b"wrong")).unwrap_err(),
                KeyError::WrongPassphrase
            );
            assert_eq!(KeyFile::from_pem(&pem, None).unwrap_err(), KeyError::PassphraseRequired);
        }
    }

    #[test]
    fn other_files_are_named_for_what_they_are() {
        let key = KeyFile::generate(Curve::P256).unwrap();
        let wrong = KeyFile::from_pem(&key.public_key().pem(), None).unwrap_err();
        assert!(matches!(wrong, KeyError::WrongLabel { .. }), "{wrong}");
        assert_eq!(KeyFile::from_pem("hello", None).unwrap_err(), KeyError::NotPem);
        let ed25519 = "-----BEGIN PRIVATE KEY-----\n\
            MC4CAQAwBQYDK2VwBCIEIC5rUSxAFsqmpvkY4FKFEqaCwNQHrmNkCCXXlEX9xSqR\n\
            -----END PRIVATE KEY-----\n";
        assert_eq!(KeyFile::from_pem(ed25519, None).unwrap_err(), KeyError::UnsupportedAlgorithm);
    }
}
