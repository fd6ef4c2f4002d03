//! Statements about a model: made, signed, carried, checked.
//!
//! Every fact is an in-toto [`Statement`] in a DSSE [`Envelope`] in a Sigstore [`Bundle`]. What is
//! parsed and what is checked are different types, and the way from one to the next is the only way:
//!
//! ```text
//! Bundle --check_signature(key)--> Signed --verify(roles, trusted root)--> Verified
//! ```
//!
//! * [`Bundle`]: well-formed, not trusted.
//! * [`Signed`]: the signature is valid under a key the *caller* named, the statement is
//!   well-formed, and its predicate obeys its schema. Says nothing of who or when.
//! * [`Verified`]: also, the signer is a [`Principal`] of a signed role binding, and a log of the
//!   trusted root has proven inclusion and signed a time. Only this type reaches policy.
//!
//! The crate reads no clock, opens no file and touches no network: time, bytes and trust
//! are arguments.

mod bundle;
mod encoding;
mod envelope;
mod json;
mod key;
mod legacy_pem;
mod oms;
mod owners;
pub mod predicate;
mod rekor;
mod roles;
mod signer;
mod statement;
mod time;
mod trust;
mod verify;
mod x509;

pub use bundle::{
    Bundle, BundleError, InclusionEvidence, LogEntry, MAX_BUNDLE_SIZE, MEDIA_TYPE,
    VerificationMaterial,
};
pub use envelope::{Envelope, IN_TOTO_PAYLOAD_TYPE, pae};
pub use json::{JsonError, from_value, parse_strict};
pub use key::{Curve, KeyError, PublicKey, fixed_signature, signature_r};
pub use oms::{
    OMS_DIGESTS_TYPE, OMS_PREDICATE_TYPE, OmsError, OmsForm, OmsHashing, OmsPredicate,
    oms_statement, oms_statement_as,
};
pub use owners::{MAX_OWNERS, OwnerSigned, Owners, OwnersError};
pub use rekor::{
    HASHEDREKORD_KIND, HASHEDREKORD_VERSION, certified_hashedrekord_body, hashedrekord_body,
};
pub use roles::{
    CertificateAuthority, CertificateIdentity, CertificateVerifier, EndReason, EndedKey,
    OidcIdentity, Principal, RoleBinding, RoleBindingError, RoleChange, RoleGrant, RoleTable,
};
pub use signer::{KeyFile, SharedSigner, SignError, Signer, sign};
pub use statement::{STATEMENT_TYPE, Statement, StatementError, Subject, model_subjects};
pub use time::{InvalidTime, Timestamp};
pub use trust::{TransparencyLog, TrustError, TrustedRoot};
pub use verify::{
    ExpectedIdentity, LogProblem, LogProof, Signed, SignerIdentity, Verified, VerifyError,
    check_certificate, check_log_entries, check_readable, check_signature, verify, verify_no,
};
pub use x509::{CertificateError, CertificateTrust, CertifiedKey, PathProblem, SigningCertificate};
