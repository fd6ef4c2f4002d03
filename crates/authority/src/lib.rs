//! A private Sigstore's authorities, as functions over values.
//!
//! * [`TimestampAuthority`]: RFC 3161 time stamps.
//! * [`root_certificate`] and its siblings: the certificates of a new instance.
//!
//! The crate opens no file, reads no clock and touches no network: time, keys and bytes are
//! arguments. Randomness (serial numbers, signatures) is the operating system's.

mod error;
mod key;
mod make;
mod oid;
mod pem;
mod tsa;
mod weak;
mod x509;

pub use error::{AuthorityError, IssueError};
pub use key::{SubjectKey, SubjectKeyError};
pub use make::{
    AuthorityName, ValidityPeriod, intermediate_certificate, root_certificate,
    timestamp_certificate,
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
pub fn certificate_valid_from(der: &[u8]) -> Result<sealwright_attest::Timestamp, AuthorityError> {
    let (from, _) = x509::Link::parse(der)?.validity();
    sealwright_attest::Timestamp::from_unix(from).map_err(|_| AuthorityError::Malformed)
}
