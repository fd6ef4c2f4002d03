//! The keys of a log: Ed25519 with a name (C2SP signed-note, signature type `0x01`).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::cosignature::CosignerKey;
use crate::note::{NoteSignature, SignedNote, is_key_name};

/// What comes before the 32 key bytes in an Ed25519 `SubjectPublicKeyInfo` (RFC 8410 §4).
const SPKI_PREFIX: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The public half of a log's key, and the log's origin.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey(NamedKey);

/// A log's signing key. The key's name is the log's origin.
#[derive(Clone)]
pub struct LogKey {
    pair: Arc<Ed25519KeyPair>,
    verifier: VerifierKey,
    cosigner: CosignerKey,
}

/// Why something is not a usable key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A key name may not be empty nor have white space, control characters or `+` in it.
    #[error("not a key name: {name:?}")]
    BadName {
        /// The name.
        name: String,
    },
    /// Not `name+hex(key id)+base64(type || key)`.
    #[error("not a verifier key")]
    MalformedVerifierKey,
    /// The key id does not belong to this name and key.
    #[error("the verifier key's id is wrong for its name and key")]
    KeyIdMismatch,
    /// A kind of key this program does not handle here.
    #[error("the key has type {found:#04x}, not {expected:#04x}")]
    WrongType {
        /// The type wanted.
        expected: u8,
        /// The type byte of the key.
        found: u8,
    },
    /// Not an Ed25519 public key.
    #[error("not an Ed25519 public key")]
    BadPublicKey,
    /// Not an Ed25519 private key.
    #[error("not an Ed25519 private key")]
    BadPrivateKey,
    /// The system's random source failed.
    #[error("cannot generate a key")]
    CannotGenerate,
}

impl VerifierKey {
    const TYPE: u8 = 0x01;

    /// A key from its name and its 32 raw bytes.
    pub fn new(name: &str, public_key: &[u8; 32]) -> Result<Self, KeyError> {
        NamedKey::new(Self::TYPE, name, public_key).map(Self)
    }

    /// A key from its name and its `SubjectPublicKeyInfo` in DER, as trusted roots carry it.
    pub fn from_spki_der(name: &str, der: &[u8]) -> Result<Self, KeyError> {
        let raw = der.strip_prefix(&SPKI_PREFIX).and_then(|raw| raw.try_into().ok());
        Self::new(name, raw.ok_or(KeyError::BadPublicKey)?)
    }

    /// Parses a vkey, `name+hex(key id)+base64(0x01 || key)`.
    pub fn parse(vkey: &str) -> Result<Self, KeyError> {
        NamedKey::parse(Self::TYPE, vkey).map(Self)
    }

    /// The key's name, which is the log's origin.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The 32 raw bytes.
    pub fn public_key(&self) -> &[u8; 32] {
        &self.0.public_key
    }

    /// The key as `SubjectPublicKeyInfo` in DER.
    pub fn to_spki_der(&self) -> Vec<u8> {
        [SPKI_PREFIX.as_slice(), self.public_key()].concat()
    }

    /// The full hash of name and key. Rekor v2 uses it as the log's id (`logId.keyId`).
    pub fn log_id(&self) -> [u8; 32] {
        self.0.hash
    }

    /// The first four bytes of [`Self::log_id`], as in signature lines.
    pub fn key_id(&self) -> [u8; 4] {
        self.0.key_id()
    }

    /// The same key in its other capacity: signing a checkpoint together with a time.
    pub fn cosigner(&self) -> Result<CosignerKey, KeyError> {
        CosignerKey::new(self.name(), self.public_key())
    }

    /// Whether `signature` is this key's over `message`.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.0.verifies(message, signature)
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifierKey({self})")
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(vkey: &str) -> Result<Self, KeyError> {
        Self::parse(vkey)
    }
}

impl LogKey {
    /// A new key from the system's random source.
    pub fn generate(origin: &str) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| KeyError::CannotGenerate)?;
        Self::from_pair(origin, pair)
    }

    /// The key with this private seed (RFC 8032 §5.1.5).
    pub fn from_seed(origin: &str, seed: &[u8; 32]) -> Result<Self, KeyError> {
        let pair =
            Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| KeyError::BadPrivateKey)?;
        Self::from_pair(origin, pair)
    }

    /// The key in a PKCS#8 document in DER, with or without its public half.
    pub fn from_pkcs8_der(origin: &str, der: &[u8]) -> Result<Self, KeyError> {
        let pair =
            Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|_| KeyError::BadPrivateKey)?;
        Self::from_pair(origin, pair)
    }

    /// The private key as PKCS#8 (RFC 5958 version 1) in DER, which OpenSSL reads too.
    pub fn to_pkcs8_der(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let document = self.pair.to_pkcs8v1().map_err(|_| KeyError::BadPrivateKey)?;
        Ok(Zeroizing::new(document.as_ref().to_vec()))
    }

    /// The log's origin.
    pub fn origin(&self) -> &str {
        self.verifier.name()
    }

    /// The public half.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Signs a checkpoint twice: plainly, for every verifier of this log, and together with the
    /// time (seconds since 1970) as a `cosignature/v1`, for those who want the log-signed time.
    pub fn sign_checkpoint(
        &self,
        checkpoint: &Checkpoint,
        unix_time: u64,
    ) -> Result<SignedNote, CheckpointError> {
        if checkpoint.origin != self.origin() {
            return Err(CheckpointError::OriginMismatch {
                expected: self.origin().to_owned(),
                found: checkpoint.origin.clone(),
            });
        }
        let text = checkpoint.to_text()?;
        let signatures = vec![
            self.line(self.verifier.key_id(), self.sign(text.as_bytes()))?,
            self.cosign(&text, unix_time)?,
        ];
        Ok(SignedNote::new(text, signatures)?)
    }

    /// The same key in its other capacity.
    pub(crate) fn cosigner(&self) -> &CosignerKey {
        &self.cosigner
    }

    /// The line that signs a checkpoint's text together with the time.
    pub(crate) fn cosign(
        &self,
        text: &str,
        unix_time: u64,
    ) -> Result<NoteSignature, CheckpointError> {
        let message = CosignerKey::message(unix_time, text);
        let blob = CosignerKey::blob(unix_time, &self.sign(message.as_bytes()))?;
        Ok(self.line(self.cosigner.key_id(), blob)?)
    }

    fn from_pair(origin: &str, pair: Ed25519KeyPair) -> Result<Self, KeyError> {
        let public_key =
            pair.public_key().as_ref().try_into().map_err(|_| KeyError::BadPublicKey)?;
        let verifier = VerifierKey::new(origin, public_key)?;
        let cosigner = verifier.cosigner()?;
        Ok(Self { pair: Arc::new(pair), verifier, cosigner })
    }

    fn line(&self, key_id: [u8; 4], signature: Vec<u8>) -> Result<NoteSignature, KeyError> {
        NoteSignature::new(self.origin(), key_id, signature)
            .ok_or_else(|| KeyError::BadName { name: self.origin().to_owned() })
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}

impl fmt::Debug for LogKey {
    // Never the private half.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogKey({})", self.verifier)
    }
}

/// What vkeys of all Ed25519 kinds have in common.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct NamedKey {
    kind: u8,
    pub(crate) name: String,
    public_key: [u8; 32],
    hash: [u8; 32],
}

impl NamedKey {
    pub(crate) fn new(kind: u8, name: &str, public_key: &[u8; 32]) -> Result<Self, KeyError> {
        if !is_key_name(name) {
            return Err(KeyError::BadName { name: name.to_owned() });
        }
        let hash = Sha256::new()
            .chain_update(name)
            .chain_update([b'\n', kind])
            .chain_update(public_key)
            .finalize()
            .into();
        Ok(Self { kind, name: name.to_owned(), public_key: *public_key, hash })
    }

    pub(crate) fn parse(kind: u8, vkey: &str) -> Result<Self, KeyError> {
        // Base64 may have a '+' of its own, names and hex have none.
        let mut parts = vkey.splitn(3, '+');
        let (Some(name), Some(_), Some(blob)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(KeyError::MalformedVerifierKey);
        };
        let blob = STANDARD.decode(blob).map_err(|_| KeyError::MalformedVerifierKey)?;
        let (&found, public_key) = blob.split_first().ok_or(KeyError::MalformedVerifierKey)?;
        if found != kind {
            return Err(KeyError::WrongType { expected: kind, found });
        }
        let public_key = public_key.try_into().map_err(|_| KeyError::BadPublicKey)?;
        let key = Self::new(kind, name, public_key)?;
        if key.to_string() == vkey { Ok(key) } else { Err(KeyError::KeyIdMismatch) }
    }

    pub(crate) fn public_key(&self) -> &[u8; 32] {
        &self.public_key
    }

    pub(crate) fn key_id(&self) -> [u8; 4] {
        let [a, b, c, d, ..] = self.hash;
        [a, b, c, d]
    }

    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.public_key).verify(message, signature).is_ok()
    }
}

impl fmt::Display for NamedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blob = [[self.kind].as_slice(), &self.public_key].concat();
        let id = u32::from_be_bytes(self.key_id());
        write!(f, "{}+{id:08x}+{}", self.name, STANDARD.encode(blob))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VKEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";

    #[test]
    fn the_example_of_the_specification() {
        let key = VerifierKey::parse(VKEY).unwrap();
        assert_eq!(key.name(), "example.com/foo");
        assert_eq!(key.key_id(), [0x53, 0x0d, 0x90, 0x3a]);
        assert_eq!(key.log_id()[..4], key.key_id());
        assert_eq!(key.to_string(), VKEY);
        let again = VerifierKey::from_spki_der("example.com/foo", &key.to_spki_der()).unwrap();
        assert_eq!(again, key);

        let note = SignedNote::parse(
            "This is an example message.\n\n\
             — example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
                .as_bytes(),
        )
        .unwrap();
        let line = note.signatures_by(key.name(), key.key_id()).next().unwrap();
        assert!(key.verifies(note.text().as_bytes(), line.signature()));
        assert!(!key.verifies(b"This is an example message.", line.signature()));
    }

    #[test]
    fn signs_as_go_does() {
        // The key and the note of the documentation of golang.org/x/mod/sumdb/note.
        let blob = STANDARD.decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz").unwrap();
        let key = LogKey::from_seed("PeterNeumann", blob[1..].try_into().unwrap()).unwrap();
        assert_eq!(
            key.verifier().to_string(),
            "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
        );
        let text = "If you think cryptography is the answer to your problem,\n\
                    then you don't know what your problem is.\n";
        let signature = key.sign(text.as_bytes());
        assert_eq!(
            NoteSignature::new("PeterNeumann", key.verifier().key_id(), signature)
                .unwrap()
                .to_string(),
            "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
        );
    }

    #[test]
    fn malformed_verifier_keys_are_refused() {
        for (vkey, error) in [
            ("", KeyError::MalformedVerifierKey),
            ("a+b", KeyError::MalformedVerifierKey),
            ("a+00000000+", KeyError::MalformedVerifierKey),
            (&VKEY.replace("530d903a", "530d903b"), KeyError::KeyIdMismatch),
            (&VKEY.replace("530d903a", "530D903A"), KeyError::KeyIdMismatch),
            (&VKEY.replace("foo", "bar"), KeyError::KeyIdMismatch),
            (&VKEY.replace("+Ae", "+Be"), KeyError::WrongType { expected: 1, found: 5 }),
            ("a+00000000+AQ==", KeyError::BadPublicKey),
        ] {
            assert_eq!(VerifierKey::parse(vkey), Err(error), "{vkey}");
        }
        for name in ["", "a b", "a+b", "a\nb", "a\u{2003}b", "a\u{7f}"] {
            assert_eq!(
                VerifierKey::new(name, &[0; 32]),
                Err(KeyError::BadName { name: name.to_owned() })
            );
        }
    }

    #[test]
    fn a_private_key_survives_pkcs8() {
        let key = LogKey::generate("localhost").unwrap();
        let der = key.to_pkcs8_der().unwrap();
        let again = LogKey::from_pkcs8_der("localhost", &der).unwrap();
        assert_eq!(again.verifier(), key.verifier());
        assert!(LogKey::from_pkcs8_der("localhost", &der[1..]).is_err());
        assert!(!format!("{key:?}").contains("pair"));
    }
}
