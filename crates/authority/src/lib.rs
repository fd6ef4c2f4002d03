//! A private Sigstore's authorities, as functions over values.
//!
//! ```text
//! ID token ─verify_token──────────────► VerifiedIdentity ┐
//! request ──ProvenKey::by_request─────► ProvenKey ───────┴ CertificateAuthority::issue ─► Issued
//! request ──TimestampRequest::from_der► TimestampRequest ─ TimestampAuthority::respond ─► DER
//! ```
//!
//! * [`verify_token`]: who somebody is, by an issuer's ID token.
//! * [`CertificateAuthority`]: Fulcio's certificates, each with the timestamp of a certificate log.
//! * [`TimestampAuthority`]: RFC 3161 time stamps.
//! * [`root_certificate`] and its siblings: the certificates of a new instance.
//!
//! The crate opens no file, reads no clock and touches no network: time, keys and bytes are
//! arguments. Randomness (serial numbers, signatures) is the operating system's.

mod ca;
mod error;
mod identity;
mod key;
mod make;
mod oid;
mod oidc;
mod pem;
mod tsa;
mod weak;
mod x509;

use sealwright_attest::Timestamp;

pub use ca::{
    CERTIFICATE_LIFETIME_S, CertificateAuthority, IssueRequest, Issued,
    MAX_CERTIFICATE_REQUEST_SIZE, ProofError, ProvenKey,
};
pub use error::{AuthorityError, IssueError};
pub use identity::{Claim, Subject, VerifiedIdentity};
pub use key::{SubjectKey, SubjectKeyError};
pub use make::{
    AuthorityName, ValidityPeriod, intermediate_certificate, root_certificate,
    timestamp_certificate,
};
pub use oidc::{
    IssuerConfig, IssuerConfigError, IssuerKind, Jwks, JwksError, MAX_JWKS_SIZE, MAX_TOKEN_AGE_S,
    MAX_TOKEN_SIZE, TokenError, VerifiedClaims, unverified_issuer, unverified_key_id,
    verify_claims, verify_token,
};
pub use pem::{certificate_pem, certificates_from_pem};
pub use tsa::{
    MAX_DER_REQUEST_SIZE, MAX_JSON_REQUEST_SIZE, SIGSTORE_TIMESTAMP_POLICY, TimestampAuthority,
    TimestampError, TimestampRequest, rejection,
};

/// From when a certificate (DER) is valid.
///
/// # Errors
/// [`AuthorityError::Malformed`].
pub fn certificate_valid_from(der: &[u8]) -> Result<Timestamp, AuthorityError> {
    let (from, _) = x509::Link::parse(der)?.validity();
    Timestamp::from_unix(from).map_err(|_| AuthorityError::Malformed)
}

/// The last second at which a certificate (DER) is valid.
///
/// # Errors
/// [`AuthorityError::Malformed`].
pub fn certificate_valid_until(der: &[u8]) -> Result<Timestamp, AuthorityError> {
    let (_, until) = x509::Link::parse(der)?.validity();
    Timestamp::from_unix(until).map_err(|_| AuthorityError::Malformed)
}
