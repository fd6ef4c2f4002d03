//! Principals by what authorities certify: an OIDC login, or a certificate of a plain authority.

use std::fmt;

use serde_json::{Value, json};

use sealwright_manifest::Sha256;

use crate::bundle::Bundle;
use crate::time::Timestamp;
use crate::x509::{CertificateError, CertificateTrust, single_certificate};

/// Whom a certificate is for, compared exactly; there are no patterns.
#[derive(Debug, Clone)]
pub enum CertificateIdentity {
    /// Somebody for whom an OIDC issuer vouched to an authority of the trusted root (keyless).
    Issued {
        /// Subject alternative name: an e-mail address, a URI or a user name.
        subject: String,
        /// URL of the OIDC issuer.
        issuer: String,
    },
    /// The holder of a certificate under this authority.
    Certified {
        /// One of the subject alternative names.
        subject: String,
        /// The authority, whatever else is trusted.
        authority: CertificateAuthority,
    },
}

/// A root certificate that the owners named for one identity.
#[derive(Debug, Clone)]
pub struct CertificateAuthority {
    trust: CertificateTrust,
    digest: Sha256,
}

/// What a keyless certificate proves of its holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OidcIdentity {
    /// Subject alternative name.
    pub subject: String,
    /// URL of the OIDC issuer.
    pub issuer: String,
}

/// Verifies keyless certificates: chain, certificate log, signed times, as the Sigstore client
/// specification asks. `sealwright-sigstore` has the one implementation; this room does not know how.
pub trait CertificateVerifier: fmt::Debug + Send + Sync {
    /// Whom the certificate in `bundle` is for, if it is of an authority of the trusted root and was valid
    /// at each time that the bundle proves, none of which is after `latest`.
    ///
    /// # Errors
    /// One sentence.
    fn identity(&self, bundle: &Bundle, latest: Timestamp) -> Result<OidcIdentity, String>;
}

impl CertificateIdentity {
    /// Names the identity as [`crate::PublicKey::id`] names a key: SHA-256 of its RFC 8785 form, 64
    /// hexadecimal digits. The same for everything that its holder signs, with however many keys.
    pub fn id(&self) -> String {
        // Strings only: canonicalisation cannot fail.
        let canonical = serde_json_canonicalizer::to_vec(&self.to_value()).unwrap_or_default();
        Sha256::of(&canonical).to_string()
    }

    /// The subject alternative name.
    pub fn subject(&self) -> &str {
        match self {
            Self::Issued { subject, .. } | Self::Certified { subject, .. } => subject,
        }
    }

    /// The OIDC issuer, if it takes one.
    pub fn issuer(&self) -> Option<&str> {
        match self {
            Self::Issued { issuer, .. } => Some(issuer),
            Self::Certified { .. } => None,
        }
    }

    /// The identity in JSON; an authority by its certificate's SHA-256.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Issued { subject, issuer } => json!({"subject": subject, "issuer": issuer}),
            Self::Certified { subject, authority } => {
                json!({"subject": subject, "caSha256": authority.digest})
            }
        }
    }
}

impl fmt::Display for CertificateIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Issued { subject, issuer } => write!(f, "{subject} by {issuer}"),
            Self::Certified { subject, authority } => {
                write!(f, "{subject} by CA {}", authority.digest)
            }
        }
    }
}

impl CertificateAuthority {
    /// Reads one self-signed certificate in PEM.
    ///
    /// # Errors
    /// [`CertificateError::NotPem`], [`CertificateError::NoAnchor`].
    pub fn from_pem(pem: &str) -> Result<Self, CertificateError> {
        let der = single_certificate(pem)?;
        Ok(Self { trust: CertificateTrust::from_pem([pem])?, digest: Sha256::of(&der) })
    }

    /// SHA-256 of the certificate (DER).
    pub fn digest(&self) -> Sha256 {
        self.digest
    }

    /// The certificate as a root to trust.
    pub fn trust(&self) -> &CertificateTrust {
        &self.trust
    }
}
