//! Sigstore bundles of any kind, verified offline.
//!
//! ```text
//! SigstoreBundle --verify_artifact(Artifact, Trust, Signer, Thresholds, now)--> VerifiedSigstore
//! SigstoreBundle --verify_statement(      Trust, Signer, Thresholds, now)-----> VerifiedSigstore
//! ```
//!
//! * [`SigstoreBundle`]: well-formed, versions 0.1 to 0.3, not trusted.
//! * [`Trust`]: a `trusted_root.json`: logs, certificate and timestamp authorities.
//! * [`VerifiedSigstore`]: who signed, when by whose clock, in which logs. Only the two functions
//!   make one.
//!
//! Everything that is in a bundle is verified here, step by step as the modules say. Then the
//! official verifier (`sigstore-verify`) is asked as well, for every bundle whose algorithms it
//! knows, and must agree; [`VerifiedSigstore::confirmed`] says whether it did. What it does not know
//! or cannot say is the reason for our own pass: P-521, SHA-384 and SHA-512 entries, patterns of
//! identities, operators, witnesses.
//!
//! The crate opens no file and touches no network, and time is an argument; the official
//! verifier, however, reads the clock to refuse log times in the future.

mod artifact;
mod bundle;
mod certificate;
pub mod details;
mod entry;
mod error;
mod identity;
mod key;
mod log;
mod pem;
mod principal;
mod rekor;
mod sct;
mod second;
mod statement;
mod timestamp;
mod trust;
mod verify;

pub use artifact::{Artifact, DigestAlgorithm};
pub use bundle::{MAX_BUNDLE_SIZE, SigstoreBundle};
pub use error::{
    ArtifactProblem, BundleError, CertificateProblem, Evidence, LogProblem, SigstoreError,
    StatementProblem, TimestampProblem, TrustError,
};
pub use identity::{IdentityPolicy, InvalidPattern, Matcher};
pub use key::ManagedKey;
pub use principal::trusted_root;
pub use rekor::{EntryRequest, EntryRequestError, MAX_ENTRY_REQUEST};
pub use trust::Trust;
pub use verify::{
    LoggedIn, Signer, SignerIdentity, Thresholds, TimeSource, VerifiedSigstore, VerifiedTime,
    WitnessPolicy, verify_artifact, verify_statement,
};
