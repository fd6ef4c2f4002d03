//! Proof that whoever asks for a certificate holds the private key.

use der::asn1::{AnyRef, BitStringRef};
use der::{Decode as _, Encode as _, Sequence, Tag, TagNumber, Tagged as _};
use x509_cert::spki::AlgorithmIdentifierOwned;

use crate::identity::VerifiedIdentity;
use crate::key::{SubjectKey, SubjectKeyError};
use crate::pem;

/// Longest certificate request, PEM. One for RSA-4096 is below 2 KiB.
pub const MAX_CERTIFICATE_REQUEST_SIZE: usize = 16 << 10;

/// A public key whose private half made a signature for this purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenKey(SubjectKey);

/// Why possession of a key is not proven.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Not PEM of a PKCS #10 request.
    #[error("malformed certificate signing request")]
    MalformedRequest,
    /// The key is none that is certified.
    #[error(transparent)]
    Key(#[from] SubjectKeyError),
    /// The signature does not verify, or is by an algorithm with SHA-1 or of another kind of key.
    #[error("the signature supplied in the request could not be verified")]
    Signature,
}

/// PKCS #10 (RFC 2986 §4.2), of which only the key counts: who it is for, the token says.
#[derive(Sequence)]
struct CertificationRequest<'a> {
    info: AnyRef<'a>,
    algorithm: AlgorithmIdentifierOwned,
    signature: BitStringRef<'a>,
}

impl ProvenKey {
    /// The key of a PKCS #10 request, PEM, by the request's own signature.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn by_request(pem: &str) -> Result<Self, ProofError> {
        let malformed = ProofError::MalformedRequest;
        if pem.len() > MAX_CERTIFICATE_REQUEST_SIZE {
            return Err(malformed);
        }
        let labels = ["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"];
        let der = pem::decode(pem, &labels).ok_or(malformed.clone())?;
        let request = CertificationRequest::from_der(&der).map_err(|_| malformed.clone())?;
        let spki = request_key(request.info).map_err(|_| malformed.clone())?;
        let signed = request.info.to_der().map_err(|_| malformed.clone())?;
        let signature = request.signature.as_bytes().ok_or(malformed)?;
        let key = SubjectKey::from_spki(&spki)?;
        if !key.verifies_as(&request.algorithm, &signed, signature) {
            return Err(ProofError::Signature);
        }
        Ok(Self(key))
    }

    /// A key by its signature over one of the identity's
    /// [challenges](VerifiedIdentity::challenges), made with the key's default hash.
    ///
    /// # Errors
    /// [`ProofError::Signature`].
    pub fn by_challenge(
        key: SubjectKey,
        identity: &VerifiedIdentity,
        signature: &[u8],
    ) -> Result<Self, ProofError> {
        let mut challenges = identity.challenges();
        if !challenges.any(|challenge| key.verifies(challenge.as_bytes(), signature)) {
            return Err(ProofError::Signature);
        }
        Ok(Self(key))
    }

    /// The key.
    pub fn key(&self) -> &SubjectKey {
        &self.0
    }
}

/// `CertificationRequestInfo`: version, subject, key, attributes. Subject and attributes are not
/// even read: some clients put names there that are not well-formed.
fn request_key(info: AnyRef<'_>) -> der::Result<Vec<u8>> {
    const ATTRIBUTES: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber::N0 };
    info.sequence(|reader| {
        let version = u8::decode(reader)?;
        let _subject = AnyRef::decode(reader)?;
        let key = AnyRef::decode(reader)?;
        let attributes = AnyRef::decode(reader)?;
        if version != 0 || attributes.tag() != ATTRIBUTES {
            return Err(Tag::Sequence.value_error());
        }
        key.to_der()
    })
}
