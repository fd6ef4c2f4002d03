//! Errors of the authorities themselves. Those of requests are beside their parsers.

use sealwright_attest::{SignError, Timestamp};

/// Why a key and certificates do not make an authority. Nothing of a request can cause these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// A certificate is not DER, or its key is of no supported kind.
    #[error("a certificate of the chain cannot be read")]
    Malformed,
    /// The first certificate is for another key than the signer's.
    #[error("the first certificate of the chain is for another key")]
    OtherKey,
    /// A certificate is not issued by the next, or the last is not self-signed.
    #[error("the chain does not lead from each certificate to its issuer and end in a root")]
    Path,
    /// A certificate is not made for this.
    #[error("the chain does not fit its purpose: {what}")]
    Profile {
        /// What is wrong.
        what: &'static str,
    },
    /// The key of a certificate log must be on P-256 (RFC 6962 §2.1.4).
    #[error("the certificate log's key is not on P-256")]
    LogKey,
    /// Not a dotted object identifier.
    #[error("{text:?} is not an object identifier")]
    Policy {
        /// What was given.
        text: String,
    },
}

/// Why nothing was issued although the request was in order. The service's fault, or its clock's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// A name that no certificate should carry.
    #[error("a name must have 1 to 64 characters, and no control characters: {text:?}")]
    Name {
        /// The name.
        text: String,
    },
    /// The end is before the start, or the certificate would outlive its issuer.
    #[error("the validity is empty, too long, or not within the issuer's")]
    Validity,
    /// A certificate of the authority's chain is not valid at the time given.
    #[error("the authority's own certificates are not valid at {at}")]
    NotValidNow {
        /// The time given.
        at: Timestamp,
    },
    /// The issuer's certificate or key is not what it should be.
    #[error(transparent)]
    Issuer(#[from] AuthorityError),
    /// A key was given that cannot be certified.
    #[error(transparent)]
    Key(#[from] crate::SubjectKeyError),
    /// The authority's key could not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The operating system gives no randomness.
    #[error("no randomness")]
    Randomness,
    /// A value has no DER encoding. Lengths are checked before, so this is a fault in this program.
    #[error("cannot be encoded")]
    Encoding,
}

impl From<der::Error> for IssueError {
    fn from(_: der::Error) -> Self {
        Self::Encoding
    }
}
