//! The bundle as it is on the wire: strict reading, no trust.
//!
//! Field names and forms are `sigstore_bundle.proto`'s proto3 JSON. The rules for each version are
//! those of the client specification: 0.1 has a promise of inclusion (SET), later ones a proof;
//! 0.3 has one certificate, earlier ones a chain.

use serde_json::Value;

use sealwright_attest::{IN_TOTO_PAYLOAD_TYPE, parse_strict};

use crate::artifact::DigestAlgorithm;
use crate::certificate::Certificate;
use crate::error::BundleError;
use crate::statement::SubjectDigests;

mod wire;

/// The largest bundle that is read, in bytes.
pub const MAX_BUNDLE_SIZE: usize = sealwright_attest::MAX_BUNDLE_SIZE;

/// Most log entries, timestamps or certificates in one bundle, as in other clients.
const MAX_ITEMS: usize = 32;

/// A well-formed bundle of version 0.1, 0.2 or 0.3. Nothing in it has been verified.
#[derive(Debug, Clone)]
pub struct SigstoreBundle {
    pub(crate) version: Version,
    pub(crate) material: Material,
    pub(crate) content: Content,
    pub(crate) entries: Vec<Entry>,
    /// DER TimeStampResp (RFC 3161).
    pub(crate) timestamps: Vec<Vec<u8>>,
    /// What was parsed, for the second verifier.
    pub(crate) json: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    V0_1,
    V0_2,
    V0_3,
}

/// How the signer's key is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Material {
    /// The verifier has it already.
    ManagedKey { hint: String },
    /// DER; leaf, then intermediates as untrusted hints.
    Certificates { leaf: Vec<u8>, intermediates: Vec<Vec<u8>> },
}

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// The artifact itself; the digest is an unauthenticated hint.
    Message { signature: Vec<u8>, digest: Option<(DigestAlgorithm, Vec<u8>)> },
    /// A DSSE envelope with its one signature.
    Envelope { payload: Vec<u8>, payload_type: String, signature: Vec<u8> },
}

/// One `TransparencyLogEntry`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) index: u64,
    pub(crate) log_id: Vec<u8>,
    pub(crate) kind: String,
    pub(crate) version: String,
    /// Unix seconds; means nothing unless a promise covers it.
    pub(crate) integrated_time: u64,
    pub(crate) promise: Option<Vec<u8>>,
    pub(crate) proof: Option<Proof>,
    /// The entry's bytes as the log hashed them.
    pub(crate) body: Vec<u8>,
}

/// One `InclusionProof`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proof {
    pub(crate) index: u64,
    pub(crate) root: Vec<u8>,
    pub(crate) size: u64,
    pub(crate) hashes: Vec<Vec<u8>>,
    pub(crate) checkpoint: String,
}

impl SigstoreBundle {
    /// Parses a bundle.
    ///
    /// # Errors
    /// [`BundleError`]. Unknown fields are refused at every level, and so is every form that the
    /// bundle's version does not have.
    pub fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        Self::from_value(parse_strict(bytes, MAX_BUNDLE_SIZE)?)
    }

    /// The same, from JSON that [`parse_strict`] has already read.
    ///
    /// # Errors
    /// [`BundleError`].
    pub fn from_value(json: Value) -> Result<Self, BundleError> {
        let bundle = wire::read(json)?;
        bundle.check()?;
        Ok(bundle)
    }

    /// The JSON that was parsed.
    pub fn into_value(self) -> Value {
        self.json
    }

    /// The signing certificate (DER), unless the bundle was signed with a managed key.
    pub fn certificate(&self) -> Option<&[u8]> {
        match &self.material {
            Material::Certificates { leaf, .. } => Some(leaf),
            Material::ManagedKey { .. } => None,
        }
    }

    /// The hint at the managed key with which the bundle was signed; unauthenticated.
    pub fn key_hint(&self) -> Option<&str> {
        match &self.material {
            Material::ManagedKey { hint } => Some(hint),
            Material::Certificates { .. } => None,
        }
    }

    /// The payload, if the bundle holds an in-toto statement; unauthenticated.
    pub fn unverified_payload(&self) -> Option<&[u8]> {
        match &self.content {
            Content::Envelope { payload, payload_type, .. }
                if payload_type == IN_TOTO_PAYLOAD_TYPE =>
            {
                Some(payload)
            }
            _ => None,
        }
    }

    /// The digest of the artifact that the bundle names, if it signs an artifact and no statement;
    /// unauthenticated.
    pub fn message_digest(&self) -> Option<(DigestAlgorithm, &[u8])> {
        match &self.content {
            Content::Message { digest, .. } => {
                digest.as_ref().map(|(algorithm, digest)| (*algorithm, digest.as_slice()))
            }
            Content::Envelope { .. } => None,
        }
    }

    /// Whether the bundle signs an artifact itself, and holds no statement about one.
    pub fn signs_message(&self) -> bool {
        matches!(self.content, Content::Message { .. })
    }

    /// How many RFC 3161 timestamps it carries, of whatever authorities.
    pub fn timestamp_count(&self) -> usize {
        self.timestamps.len()
    }

    /// The digests of an artifact that verification may ask for.
    pub fn digest_algorithms(&self) -> Vec<DigestAlgorithm> {
        match &self.content {
            Content::Message { digest, .. } => {
                // What Rekor logs, what the bundle names, what the key's algorithm signs.
                let mut needed = vec![DigestAlgorithm::Sha256];
                needed.extend(digest.iter().map(|(algorithm, _)| *algorithm));
                match self.certificate().and_then(|der| Certificate::parse(der).ok()) {
                    Some(leaf) => needed.extend(leaf.key().default_hash()),
                    None => needed.extend(DigestAlgorithm::ALL),
                }
                needed.sort_unstable();
                needed.dedup();
                needed
            }
            Content::Envelope { payload, .. } => {
                SubjectDigests::parse(payload).map(|s| s.algorithms()).unwrap_or_default()
            }
        }
    }

    /// The bytes that timestamp authorities sign over.
    pub fn signature(&self) -> &[u8] {
        match &self.content {
            Content::Message { signature, .. } | Content::Envelope { signature, .. } => signature,
        }
    }

    fn check(&self) -> Result<(), BundleError> {
        self.entries.iter().try_for_each(|entry| entry.check(self.version))
    }
}

impl Entry {
    /// Whether this is an entry of Rekor v2, which has no time and always a proof.
    pub(crate) fn is_rekor_v2(&self) -> bool {
        self.kind == "hashedrekord" && self.version == "0.0.2"
    }

    fn check(&self, version: Version) -> Result<(), BundleError> {
        if version == Version::V0_1 && self.promise.is_none() {
            return Err(BundleError::NoPromise { index: self.index });
        }
        let proof_needed = version > Version::V0_1 || self.is_rekor_v2();
        match &self.proof {
            None if proof_needed => Err(BundleError::NoProof { index: self.index }),
            Some(proof) if proof.checkpoint.is_empty() => {
                Err(BundleError::NoCheckpoint { index: self.index })
            }
            _ => Ok(()),
        }
    }
}
