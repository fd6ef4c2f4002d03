//! The second opinion: Sigstore's official Rust verifier.
//!
//! Two implementations that share little but the cryptographic provider must both accept. A fault
//! that lets something through has to be in both to matter. The official one is asked after our own
//! pass, so it can only refuse more, and never sees what is malformed.
//!
//! It cannot judge every bundle: it has no P-521, no log entries over SHA-384 or SHA-512, no bundle
//! with evidence of an authority that the trusted root does not know, and takes one digest of an
//! artifact at a time. Such a bundle stands on our own pass alone, and says so
//! ([`crate::VerifiedSigstore::confirmed`]).

use serde_json::Value;
use sigstore_verify::trust_root::TrustedRoot;
use sigstore_verify::types::{self, DerPublicKey};
use sigstore_verify::{
    Error, Policy, PublicKeyVerificationPolicy, VerificationPolicy, VerificationResult, Verifier,
};

use crate::artifact::DigestAlgorithm;
use crate::bundle::{SigstoreBundle, Version};
use crate::error::SigstoreError;
use crate::key::ManagedKey;

/// The official verifier over one trusted root; `None` if it cannot use that root.
pub(crate) struct SecondVerifier(Option<Box<Verifier>>);

/// What it is asked.
pub(crate) struct Question<'a> {
    pub(crate) bundle: &'a SigstoreBundle,
    pub(crate) artifact: Form<'a>,
    /// Instead of a certificate.
    pub(crate) key: Option<&'a ManagedKey>,
    /// Whether entries in logs are required at all.
    pub(crate) logs: bool,
    /// Whether signed certificate timestamps are required at all.
    pub(crate) scts: bool,
}

/// The one form of an artifact that it takes.
#[derive(Clone, Copy)]
pub(crate) enum Form<'a> {
    Bytes(&'a [u8]),
    Digest(DigestAlgorithm, &'a [u8]),
}

impl SecondVerifier {
    /// `root` is the JSON of a trusted root.
    pub(crate) fn new(root: &Value) -> Self {
        let verifier = TrustedRoot::from_json(&root.to_string())
            .ok()
            .and_then(|root| Verifier::new(&root).ok());
        Self(verifier.map(Box::new))
    }

    /// Whether it accepts; `Ok(false)` if it cannot judge.
    ///
    /// # Errors
    /// [`SigstoreError::SecondVerifier`] if it refuses.
    pub(crate) fn confirms(&self, question: &Question<'_>) -> Result<bool, SigstoreError> {
        let Some(verifier) = &self.0 else { return Ok(false) };
        match ask(verifier, question) {
            Ok(_) => Ok(true),
            Err(Error::UnsupportedArtifact(_) | Error::UnsupportedBundle(_)) => Ok(false),
            Err(error) => Err(SigstoreError::SecondVerifier { message: error.to_string() }),
        }
    }
}

fn ask(verifier: &Verifier, question: &Question<'_>) -> Result<VerificationResult, Error> {
    let bundle = translate(question.bundle)?;
    let artifact = match question.artifact {
        Form::Bytes(bytes) => types::Artifact::Blob(bytes),
        Form::Digest(algorithm, digest) => types::Artifact::Digest(types::ArtifactDigest::new(
            translate_algorithm(algorithm),
            digest,
        )?),
    };
    let policy: Box<dyn Policy> = match question.key {
        Some(key) => {
            let key = DerPublicKey::new(key.key().spki().to_vec());
            let policy = PublicKeyVerificationPolicy::new(key);
            Box::new(if question.logs { policy } else { policy.skip_tlog_unsafe() })
        }
        None => {
            // Who may sign was judged by our own policy, which has patterns.
            let policy = VerificationPolicy::any_identity();
            let policy = if question.logs { policy } else { policy.skip_tlog_unsafe() };
            Box::new(if question.scts { policy } else { policy.skip_sct() })
        }
    };
    verifier.verify(artifact, &bundle, policy.as_ref())
}

/// The same JSON, with the spelling of the media type that it knows.
fn translate(bundle: &SigstoreBundle) -> Result<types::Bundle, Error> {
    let media_type = match bundle.version {
        Version::V0_1 => types::MediaType::Bundle0_1,
        Version::V0_2 => types::MediaType::Bundle0_2,
        Version::V0_3 => types::MediaType::Bundle0_3,
    };
    let mut json = bundle.json.clone();
    if let Some(value) = json.get_mut("mediaType") {
        *value = media_type.as_str().into();
    }
    types::Bundle::from_json(&json.to_string()).map_err(Error::from)
}

fn translate_algorithm(algorithm: DigestAlgorithm) -> types::HashAlgorithm {
    match algorithm {
        DigestAlgorithm::Sha256 => types::HashAlgorithm::Sha2256,
        DigestAlgorithm::Sha384 => types::HashAlgorithm::Sha2384,
        DigestAlgorithm::Sha512 => types::HashAlgorithm::Sha2512,
    }
}
