//! The entry of a bundle that was signed elsewhere and is to be logged here.

use sealwright_attest::pae;

use super::{EntryRequest, EntryRequestError, Verifier, defaults};
use crate::bundle::{Content, Material, SigstoreBundle};
use crate::certificate::Certificate;
use crate::key::ManagedKey;

impl EntryRequest {
    /// The entry for a bundle's signature, with its certificate as the verifier, or `key` if it has
    /// none: over the hash of the envelope's PAE, or over the message digest that the bundle names.
    ///
    /// The signature is verified; who signed, and when, is not asked.
    ///
    /// # Errors
    /// [`EntryRequestError`].
    pub fn of_bundle(
        bundle: &SigstoreBundle,
        key: Option<&ManagedKey>,
    ) -> Result<Self, EntryRequestError> {
        let verifier = match (&bundle.material, key) {
            (Material::Certificates { leaf, .. }, None) => Verifier::of_certificate(leaf)?,
            (Material::ManagedKey { .. }, Some(key)) => Verifier::of_key(key)?,
            _ => return Err(refused("verificationMaterial")),
        };
        match &bundle.content {
            Content::Envelope { payload, payload_type, signature } => {
                verifier.entry(&verifier.hash.hash(&pae(payload_type, payload)), signature)
            }
            Content::Message { signature, digest } => {
                let (_, digest) = digest.as_ref().ok_or(EntryRequestError::DigestLength {
                    found: 0,
                    expected: verifier.hash.digest_length(),
                })?;
                verifier.entry(digest, signature)
            }
        }
    }

    /// The entry for a signature over `message`, with a DER certificate as the verifier.
    ///
    /// # Errors
    /// [`EntryRequestError`].
    pub fn of_message(
        certificate: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<Self, EntryRequestError> {
        let verifier = Verifier::of_certificate(certificate)?;
        verifier.entry(&verifier.hash.hash(message), signature)
    }
}

impl Verifier {
    fn of_certificate(der: &[u8]) -> Result<Self, EntryRequestError> {
        let certificate = Certificate::parse(der).map_err(|_| refused("certificate"))?;
        let key = certificate.key().clone();
        let (hash, key_details) = defaults(&key).ok_or_else(|| refused("certificate"))?;
        Ok(Self { key, hash, key_details, form: ("x509Certificate", der.to_vec()) })
    }

    fn of_key(key: &ManagedKey) -> Result<Self, EntryRequestError> {
        let key = key.key().clone();
        let (hash, key_details) = defaults(&key).ok_or_else(|| refused("publicKey"))?;
        let form = ("publicKey", key.spki().to_vec());
        Ok(Self { key, hash, key_details, form })
    }
}

fn refused(field: &str) -> EntryRequestError {
    EntryRequestError::Key { field: field.to_owned() }
}
