//! Why a bundle was refused: exact for code that branches, worded for people.

use sealwright_attest::{JsonError, Timestamp};

use crate::artifact::DigestAlgorithm;

/// Why bytes are not a Sigstore bundle of a version that can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// Not JSON, too large, or a name twice.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A field is missing, unknown, or of the wrong type.
    #[error("not a Sigstore bundle: {message}")]
    Shape {
        /// Names the field.
        message: String,
    },
    /// A media type that is not one of the bundle versions 0.1 to 0.3.
    #[error("unsupported bundle media type {found:?}")]
    MediaType {
        /// What the bundle says.
        found: String,
    },
    /// None, or more than one, of things of which there must be exactly one.
    #[error("a bundle must have exactly one {what}, this one has {count}")]
    NotOne {
        /// `signature`, `verification material` or `content`.
        what: &'static str,
        /// How many there are.
        count: usize,
    },
    /// More than 32 log entries or timestamps, or one of them twice.
    #[error("too many or repeated {what}")]
    Repeated {
        /// `log entries`, `timestamps` or `certificates`.
        what: &'static str,
    },
    /// A version 0.3 bundle carries one certificate and no chain; the older ones a chain.
    #[error("a certificate chain has no place in a bundle of version 0.3")]
    Chain,
    /// A version 0.1 entry without the log's promise of inclusion.
    #[error("log entry {index} lacks the inclusion promise that its bundle version asks for")]
    NoPromise {
        /// `logIndex` of the entry.
        index: u64,
    },
    /// A later entry without a proof of inclusion.
    #[error("log entry {index} lacks the inclusion proof that its bundle version asks for")]
    NoProof {
        /// `logIndex` of the entry.
        index: u64,
    },
    /// A proof of inclusion without the signed checkpoint it leads to.
    #[error("the inclusion proof of log entry {index} has no checkpoint")]
    NoCheckpoint {
        /// `logIndex` of the entry.
        index: u64,
    },
}

/// Why bytes are not a trusted root that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// Not JSON, too large, or a name twice.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A field is missing or of the wrong type.
    #[error("not a trusted root: {message}")]
    Shape {
        /// Names the field.
        message: String,
    },
    /// `mediaType` is another one.
    #[error("media type {found:?} is not that of a trusted root")]
    MediaType {
        /// What the file says.
        found: String,
    },
    /// A log's key or key id is not base64, or too short.
    #[error("log {url}: its public key cannot be read")]
    Key {
        /// The log's `baseUrl`.
        url: String,
    },
    /// A validity interval that ends before it begins.
    #[error("{name}: its validity ends before it begins")]
    Validity {
        /// URL of the log or authority.
        name: String,
    },
    /// An authority without certificates, or with one that cannot be read.
    #[error("authority {name}: its certificate chain cannot be used")]
    Certificates {
        /// URL of the authority.
        name: String,
    },
    /// Two logs of one kind under one key id.
    #[error("log {url}: another log has the same key id")]
    DuplicateLog {
        /// The second log's `baseUrl`.
        url: String,
    },
}

/// Why a bundle was not accepted. [`SigstoreError::code`] is stable; messages are not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SigstoreError {
    /// Not a bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A managed-key bundle where a certificate was expected, or the other way round.
    #[error("the bundle was signed with a {found}, and a {wanted} is required")]
    Material {
        /// `key` or `certificate`.
        found: &'static str,
        /// The other one.
        wanted: &'static str,
    },
    /// The signing certificate.
    #[error("signing certificate: {0}")]
    Certificate(#[from] CertificateProblem),
    /// The certificate is somebody else's.
    #[error(
        "signed by {subject:?} (issuer {}), who is not the required identity",
        issuer.as_deref().unwrap_or("none")
    )]
    Identity {
        /// Subject alternative name of the certificate.
        subject: String,
        /// OIDC issuer that the certificate names.
        issuer: Option<String>,
    },
    /// An entry of a trusted log.
    #[error("log entry {index}: {problem}")]
    LogEntry {
        /// `logIndex` of the entry.
        index: u64,
        /// What is wrong.
        problem: LogProblem,
    },
    /// An RFC 3161 timestamp by a trusted authority.
    #[error("timestamp {number}: {problem}")]
    Timestamp {
        /// Counted from 0 in the bundle's order.
        number: usize,
        /// What is wrong.
        problem: TimestampProblem,
    },
    /// Fewer than required.
    #[error("{found} verified {what} of different operators, {needed} required")]
    TooFew {
        /// What there is too little of.
        what: Evidence,
        /// How many operators.
        found: usize,
        /// How many are required.
        needed: usize,
    },
    /// The signature is not this key's over this artifact or statement.
    #[error("the signature does not verify")]
    Signature,
    /// A key for which there is no verification.
    #[error("unsupported key algorithm")]
    KeyAlgorithm,
    /// The artifact is not the signed one.
    #[error("artifact: {0}")]
    Artifact(#[from] ArtifactProblem),
    /// The envelope does not hold an in-toto statement.
    #[error("statement: {0}")]
    Statement(#[from] StatementProblem),
    /// Every check here passed, but the independent implementation that is asked as well refused.
    #[error("refused by the second verifier: {message}")]
    SecondVerifier {
        /// Its message.
        message: String,
    },
}

/// What thresholds count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// Entries in transparency logs.
    LogEntries,
    /// Signed times, by timestamp authorities or logs.
    Times,
    /// Signed certificate timestamps.
    Scts,
    /// Witness cosignatures on the checkpoint of an entry.
    Cosignatures,
}

/// What can be wrong with the signing certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateProblem {
    /// Not a certificate.
    #[error("malformed")]
    Malformed,
    /// The certificate lacks digitalSignature or codeSigning, is a CA, or does not have exactly one
    /// identity.
    #[error("{what}")]
    Profile {
        /// The rule that it breaks.
        what: &'static str,
    },
    /// No authority of the trusted root vouches for it at the time of signing.
    #[error("not valid under any trusted authority at {at}: {message}")]
    Path {
        /// A verified time of the signature.
        at: Timestamp,
        /// Why the most likely authority does not.
        message: String,
    },
    /// The bundle brings a root of its own. A root must come from the trusted root; one that is there
    /// too, as in the first npm bundles, does no harm.
    #[error("the bundle contains a root certificate that is not trusted")]
    UntrustedRoot,
    /// The extension with the signed certificate timestamps cannot be read.
    #[error("malformed signed certificate timestamps")]
    MalformedSct,
    /// A signed certificate timestamp in the name of a trusted log does not verify.
    #[error("the signed certificate timestamp of a trusted log does not verify")]
    Sct,
}

/// What can be wrong with a log entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogProblem {
    /// A kind of entry that cannot be checked, or that does not fit the bundle's content.
    #[error("entry kind {kind} {version} cannot vouch for this bundle")]
    Kind {
        /// Such as `hashedrekord`.
        kind: String,
        /// Such as `0.0.1`.
        version: String,
    },
    /// The entry's body cannot be read.
    #[error("malformed body")]
    Body,
    /// The entry is about another signature (the class of CVE-2022-36056).
    #[error("its {what} is not the bundle's")]
    Mismatch {
        /// `signature`, `verifier`, `digest` or `payload`.
        what: &'static str,
    },
    /// The inclusion promise (signed entry timestamp) does not verify.
    #[error("the inclusion promise does not verify")]
    Promise,
    /// The checkpoint cannot be read.
    #[error("malformed checkpoint")]
    Checkpoint,
    /// The checkpoint is not signed by the key of the entry's log.
    #[error("the checkpoint is not signed by the entry's log")]
    CheckpointSignature,
    /// The Merkle path does not lead to the signed root.
    #[error("the inclusion proof does not lead to the checkpoint")]
    Proof,
    /// The time at which the entry was logged is outside of the key's validity.
    #[error("the log's key was not valid when the entry was made")]
    Validity,
    /// A time later than now.
    #[error("its time {at} is in the future")]
    Future {
        /// The signed time.
        at: Timestamp,
    },
    /// A cosignature in the name of a required witness does not verify.
    #[error("a witness's cosignature does not verify")]
    Cosignature,
}

/// What can be wrong with an RFC 3161 timestamp.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimestampProblem {
    /// Not a granted timestamp response with one signer.
    #[error("malformed or not granted")]
    Malformed,
    /// It is over other bytes than this bundle's signature.
    #[error("it is not over this bundle's signature")]
    Imprint,
    /// The CMS signature does not verify.
    #[error("the authority's signature does not verify")]
    Signature,
    /// The authority's certificates were not valid then.
    #[error("the authority's certificates were not valid at {at}")]
    Path {
        /// The signed time.
        at: Timestamp,
    },
    /// The time is outside of the interval in which the trusted root trusts the authority.
    #[error("{at} is outside of the authority's validity")]
    Validity {
        /// The signed time.
        at: Timestamp,
    },
    /// A time later than now.
    #[error("{at} is in the future")]
    Future {
        /// The signed time.
        at: Timestamp,
    },
}

/// Why an artifact does not go with a bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArtifactProblem {
    /// Another digest than the signed one.
    #[error("it is not what was signed")]
    Mismatch,
    /// The digest that was signed was not given.
    #[error("its {algorithm} digest is needed")]
    DigestNeeded {
        /// The algorithm.
        algorithm: DigestAlgorithm,
    },
    /// The algorithm signs whole messages and not digests.
    #[error("its bytes are needed, a digest is not enough for this signature algorithm")]
    BytesNeeded,
}

/// Why an envelope is not an attestation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementProblem {
    /// The bundle signs a plain artifact.
    #[error("the bundle holds no statement")]
    None,
    /// Another payload type than in-toto's.
    #[error("payload type {found:?} is not an in-toto statement's")]
    PayloadType {
        /// What the envelope says.
        found: String,
    },
    /// The payload is not a statement v0.1 or v1 with subjects.
    #[error("malformed in-toto statement")]
    Malformed,
}

impl SigstoreError {
    /// A name of the kind of failure for programs; it does not change between versions.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Bundle(_) => "bundle-malformed",
            Self::Material { .. } => "wrong-material",
            Self::Certificate(CertificateProblem::Malformed) => "certificate-malformed",
            Self::Certificate(CertificateProblem::Profile { .. }) => "certificate-profile",
            Self::Certificate(
                CertificateProblem::Path { .. } | CertificateProblem::UntrustedRoot,
            ) => "certificate-untrusted",
            Self::Certificate(CertificateProblem::MalformedSct | CertificateProblem::Sct) => {
                "sct-invalid"
            }
            Self::Identity { .. } => "identity-mismatch",
            Self::LogEntry { problem, .. } => problem.code(),
            Self::Timestamp { .. } => "timestamp-invalid",
            Self::TooFew { what: Evidence::LogEntries, .. } => "too-few-log-entries",
            Self::TooFew { what: Evidence::Times, .. } => "too-few-times",
            Self::TooFew { what: Evidence::Scts, .. } => "too-few-scts",
            Self::TooFew { what: Evidence::Cosignatures, .. } => "too-few-cosignatures",
            Self::Signature => "signature-invalid",
            Self::KeyAlgorithm => "key-unsupported",
            Self::Artifact(ArtifactProblem::Mismatch) => "artifact-mismatch",
            Self::Artifact(_) => "artifact-insufficient",
            Self::Statement(_) => "statement-invalid",
            Self::SecondVerifier { .. } => "second-verifier",
        }
    }
}

impl LogProblem {
    fn code(&self) -> &'static str {
        match self {
            Self::Kind { .. } => "log-entry-unsupported",
            Self::Body => "log-entry-malformed",
            Self::Mismatch { .. } => "log-entry-mismatch",
            Self::Promise => "log-promise-invalid",
            Self::Checkpoint | Self::CheckpointSignature => "log-checkpoint-invalid",
            Self::Proof => "log-proof-invalid",
            Self::Validity | Self::Future { .. } => "log-time-invalid",
            Self::Cosignature => "cosignature-invalid",
        }
    }
}

impl std::fmt::Display for Evidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::LogEntries => "log entries",
            Self::Times => "signed times",
            Self::Scts => "signed certificate timestamps",
            Self::Cosignatures => "cosignatures",
        })
    }
}
