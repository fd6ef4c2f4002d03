//! A certificate authority for short-lived signing certificates, with the profile of Fulcio.
//!
//! It issues only for a [`VerifiedIdentity`] and a [`ProvenKey`]: what was not checked has another
//! type. Each certificate carries the timestamp of the authority's own certificate log; without one
//! Sigstore's clients refuse it.

mod proof;
mod sct;

use std::sync::Arc;

use x509_cert::ext::pkix::{KeyUsage, KeyUsages};
use x509_cert::name::Name;

use sealwright_attest::{Curve, PublicKey, Signer, Timestamp};

use crate::error::{AuthorityError, IssueError};
use crate::identity::VerifiedIdentity;
use crate::make;
use crate::oid;
use crate::pem::certificate_pem;
use crate::x509::{self, Body, Link};
pub use proof::{MAX_CERTIFICATE_REQUEST_SIZE, ProofError, ProvenKey};

/// How long a certificate is valid, in seconds: Fulcio's ten minutes.
pub const CERTIFICATE_LIFETIME_S: u64 = 600;

/// Longest lifetime that is issued. Nobody revokes such certificates: that they end soon is all
/// there is.
const MAX_LIFETIME_S: u64 = 86_400;

/// Issues certificates with one key.
pub struct CertificateAuthority {
    signer: Arc<dyn Signer + Send + Sync>,
    links: Vec<Link>,
    log: Arc<dyn Signer + Send + Sync>,
}

/// What a certificate is to say.
#[derive(Debug, Clone, Copy)]
pub struct IssueRequest<'a> {
    /// Whom it is for.
    pub identity: &'a VerifiedIdentity,
    /// Whose private half was shown to be held.
    pub key: &'a ProvenKey,
    /// Its first second, and the time of the log's promise.
    pub now: Timestamp,
    /// Seconds after that during which it is valid: [`CERTIFICATE_LIFETIME_S`], a day at most.
    pub lifetime_s: u64,
}

/// A certificate with what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The certificate, DER.
    pub certificate: Vec<u8>,
    /// The authority's certificates, DER, from the issuer to the root.
    pub chain: Vec<Vec<u8>>,
    /// The `SignedCertificateTimestamp` that is in the certificate (RFC 6962 §3.2).
    pub sct: Vec<u8>,
    /// The `MerkleTreeLeaf` (RFC 6962 §3.4) that the log promised to hold: for whoever keeps the
    /// log.
    pub log_leaf: Vec<u8>,
}

impl Issued {
    /// Certificate, issuers and root as PEM: `signedCertificateEmbeddedSct.chain.certificates`.
    pub fn chain_pem(&self) -> Vec<String> {
        let all = std::iter::once(&self.certificate).chain(&self.chain);
        all.map(|der| certificate_pem(der)).collect()
    }
}

impl CertificateAuthority {
    /// An authority that signs with `signer`, whose certificate is the first of `chain` (DER, up to
    /// and including the root), and promises to log with `log`, which is on P-256.
    ///
    /// # Errors
    /// [`AuthorityError`] if the certificates do not fit the key, each other, or their purpose.
    pub fn new(
        signer: Arc<dyn Signer + Send + Sync>,
        chain: &[Vec<u8>],
        log: Arc<dyn Signer + Send + Sync>,
    ) -> Result<Self, AuthorityError> {
        if log.public_key().curve() != Curve::P256 {
            return Err(AuthorityError::LogKey);
        }
        let links = x509::parse_chain(chain, signer.as_ref())?;
        for (index, link) in links.iter().enumerate() {
            link.check_issues(index)?;
            // Verifiers want the purpose all the way down; only a root may leave it open.
            let is_root = index + 1 == links.len();
            let fits = link
                .purposes()?
                .map_or(is_root, |(_, purposes)| purposes.contains(&oid::CODE_SIGNING));
            if !fits {
                return Err(AuthorityError::Profile { what: "an issuer is not for code signing" });
            }
        }
        Ok(Self { signer, links, log })
    }

    /// The certificates, DER, from the issuer of leaves to the root: for the trusted root and for
    /// the trust bundle.
    pub fn chain(&self) -> impl Iterator<Item = &[u8]> {
        self.links.iter().map(|link| link.der.as_slice())
    }

    /// The key of the certificate log, for the trusted root's `ctlogs`.
    pub fn log_key(&self) -> &PublicKey {
        self.log.public_key()
    }

    /// `logId` of the certificate log: SHA-256 of its SubjectPublicKeyInfo (RFC 6962 §3.2).
    pub fn log_id(&self) -> Vec<u8> {
        Curve::P256.hash(&self.log_key().spki())
    }

    /// Issues a certificate. Every signature is verified before it leaves.
    ///
    /// # Errors
    /// [`IssueError`]: [`IssueError::Validity`] if the certificate would live too long or outlive a
    /// certificate of the chain, [`IssueError::NotValidNow`] if one of those is not valid at `now`.
    pub fn issue(&self, request: &IssueRequest<'_>) -> Result<Issued, IssueError> {
        let IssueRequest { identity, key, now, lifetime_s } = *request;
        let until = now.plus_seconds(lifetime_s);
        if self.links.iter().any(|link| !link.is_valid_at(now)) {
            return Err(IssueError::NotValidNow { at: now });
        }
        let outlives = self.links.iter().any(|link| !link.is_valid_at(until));
        if outlives || !(1..=MAX_LIFETIME_S).contains(&lifetime_s) {
            return Err(IssueError::Validity);
        }
        let issuer = self.links.first().ok_or(AuthorityError::Malformed)?;
        let key = key.key();
        let mut extensions = vec![
            x509::typed(true, &KeyUsage(KeyUsages::DigitalSignature.into()))?,
            make::purpose(oid::CODE_SIGNING, false)?,
            x509::subject_key_identifier(key)?,
            issuer.authority_key_identifier()?,
            identity.subject().to_extension()?,
        ];
        extensions.extend(identity.to_extensions()?);
        let body = Body { subject: Name::default(), key, from: now, until, extensions };
        let mut tbs = body.to_tbs(&issuer.tbs().subject, self.signer.as_ref())?;
        let log_leaf = sct::merkle_tree_leaf(&tbs, issuer.key.spki(), now)?;
        let sct = sct::sign(&log_leaf, &self.log_id(), self.log.as_ref(), now)?;
        tbs.extensions.get_or_insert_default().push(sct::list(&sct)?);
        let certificate = x509::sign(tbs, self.signer.as_ref())?;
        let chain = self.chain().map(<[u8]>::to_vec).collect();
        Ok(Issued { certificate, chain, sct, log_leaf })
    }
}

impl std::fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertificateAuthority")
            .field("key", self.signer.public_key())
            .field("log_key", self.log.public_key())
            .finish_non_exhaustive()
    }
}
