//! Keys and their names.

use std::fmt;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use serde_json::{Value, json};

use sealwright_attest::{Curve, PublicKey};
use sealwright_manifest::Sha256;

use crate::canonical::canonical_json;
use crate::document::FormatError;
use crate::metadata::Members;

/// The name of a key within metadata: usually the SHA-256 of its canonical form, in hexadecimal.
pub type KeyId = String;

/// A key in root metadata.
///
/// What cannot be used here (RSA, unknown schemes, a key that does not fit its scheme) is kept, and has
/// signed nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// As it came: other members than ours are part of what is signed.
    wire: Value,
    verifier: Verifier,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Verifier {
    Ecdsa(PublicKey),
    Ed25519([u8; 32]),
    Unknown,
}

/// A key on a curve that stock clients do not verify with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("TUF clients verify P-256 and P-384 keys, not {curve}")]
pub struct UnusableKey {
    /// The key's curve.
    pub curve: Curve,
}

impl Key {
    /// An ECDSA key as every stock client takes it: keytype `ecdsa`, PEM.
    ///
    /// # Errors
    /// [`UnusableKey`] for P-521, which half of the clients hash wrongly or not at all.
    pub fn of(key: &PublicKey) -> Result<Self, UnusableKey> {
        let scheme = match key.curve() {
            Curve::P256 => "ecdsa-sha2-nistp256",
            Curve::P384 => "ecdsa-sha2-nistp384",
            curve @ Curve::P521 => return Err(UnusableKey { curve }),
        };
        let wire = json!({"keytype": "ecdsa", "scheme": scheme, "keyval": {"public": key.pem()}});
        Ok(Self { wire, verifier: Verifier::Ecdsa(key.clone()) })
    }

    /// The SHA-256 of the key's canonical form (§4.2).
    pub fn id(&self) -> KeyId {
        // What was read has a canonical form, and texts alone always have one.
        Sha256::of(&canonical_json(&self.wire).unwrap_or_default()).to_string()
    }

    /// Whether it is the same key, whatever else is said of it.
    pub fn is_same(&self, other: &Self) -> bool {
        let is_known = self.verifier != Verifier::Unknown;
        self.wire == other.wire || (is_known && self.verifier == other.verifier)
    }

    /// Whether `signature` is this key's over `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.verifier {
            Verifier::Ecdsa(key) => key.verifies(message, signature),
            Verifier::Ed25519(key) => {
                UnparsedPublicKey::new(&ED25519, key).verify(message, signature).is_ok()
            }
            Verifier::Unknown => false,
        }
    }

    /// The key itself, whatever it is called: one key under two names counts once.
    pub(crate) fn material(&self) -> Vec<u8> {
        match &self.verifier {
            Verifier::Ecdsa(key) => key.spki(),
            Verifier::Ed25519(key) => key.to_vec(),
            Verifier::Unknown => Vec::new(),
        }
    }

    pub(crate) fn read(value: Value) -> Result<Self, FormatError> {
        let mut members = Members::of(value.clone(), "a key")?;
        let (keytype, scheme) = (members.text("keytype")?, members.text("scheme")?);
        let public = Members::of(members.take("keyval")?, "keyval")?.text("public")?;
        let ecdsa = |curve: Curve| {
            let key = PublicKey::from_pem(&public).ok().filter(|key| key.curve() == curve);
            key.map(Verifier::Ecdsa)
        };
        let verifier = match (keytype.as_str(), scheme.as_str()) {
            ("ecdsa" | "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256") => ecdsa(Curve::P256),
            ("ecdsa" | "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384") => ecdsa(Curve::P384),
            ("ed25519", "ed25519") => {
                let mut key = [0; 32];
                hex::decode_to_slice(&public, &mut key).ok().map(|()| Verifier::Ed25519(key))
            }
            _ => None,
        };
        Ok(Self { wire: value, verifier: verifier.unwrap_or(Verifier::Unknown) })
    }

    pub(crate) fn to_value(&self) -> Value {
        self.wire.clone()
    }
}

impl fmt::Display for Key {
    /// The scheme, and how the name begins.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.wire["scheme"].as_str().unwrap_or_default();
        let id = self.id();
        write!(f, "{} ({scheme})", id.get(..16).unwrap_or_default())
    }
}
