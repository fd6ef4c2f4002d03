//! The certificates of a new instance: its root, its intermediate, its timestamp authority.
//!
//! One root may serve both the certificate authority and the timestamp authority: it is bound to no
//! purpose, and what it issues is. Two roots are just as good.

use der::asn1::{Any, ObjectIdentifier, SetOfVec, Utf8StringRef};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages};
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};

use sealwright_attest::{PublicKey, Signer, Timestamp};

use crate::error::{AuthorityError, IssueError};
use crate::key::SubjectKey;
use crate::oid;
use crate::x509::{self, Body, Link};

/// The name of an authority, as Fulcio's certificate specification asks: both parts, 1 to 64
/// characters each (RFC 5280 appendix A.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityName {
    /// `O`: who runs it.
    pub organization: String,
    /// `CN`: what it is.
    pub common_name: String,
}

/// When a certificate is valid: both ends are inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValidityPeriod {
    /// First second.
    pub from: Timestamp,
    /// Last second.
    pub until: Timestamp,
}

/// A self-signed root, DER: a certificate authority without limit of purpose or path.
///
/// # Errors
/// [`IssueError`].
pub fn root_certificate(
    signer: &dyn Signer,
    name: &AuthorityName,
    validity: ValidityPeriod,
) -> Result<Vec<u8>, IssueError> {
    let key = SubjectKey::from_spki(&signer.public_key().spki())?;
    let subject = name.to_x509()?;
    let mut extensions = authority_extensions(None)?;
    extensions.push(x509::subject_key_identifier(&key)?);
    let body = validity.body(subject.clone(), &key, extensions)?;
    x509::sign(body.to_tbs(&subject, signer)?, signer)
}

/// An intermediate for [`CertificateAuthority`](crate::CertificateAuthority), DER: path length 0,
/// code signing only.
///
/// # Errors
/// [`IssueError`]; [`IssueError::Validity`] if it would outlive the root.
pub fn intermediate_certificate(
    root: &[u8],
    root_signer: &dyn Signer,
    key: &PublicKey,
    name: &AuthorityName,
    validity: ValidityPeriod,
) -> Result<Vec<u8>, IssueError> {
    let mut extensions = authority_extensions(Some(0))?;
    extensions.push(purpose(oid::CODE_SIGNING, false)?);
    issue(root, root_signer, key, name, validity, extensions)
}

/// A leaf for [`TimestampAuthority`](crate::TimestampAuthority), DER: time stamping only, and that
/// critical (RFC 3161 §2.3).
///
/// # Errors
/// As [`intermediate_certificate`].
pub fn timestamp_certificate(
    root: &[u8],
    root_signer: &dyn Signer,
    key: &PublicKey,
    name: &AuthorityName,
    validity: ValidityPeriod,
) -> Result<Vec<u8>, IssueError> {
    let extensions = vec![
        x509::typed(true, &KeyUsage(KeyUsages::DigitalSignature.into()))?,
        purpose(oid::TIME_STAMPING, true)?,
    ];
    issue(root, root_signer, key, name, validity, extensions)
}

fn issue(
    root: &[u8],
    root_signer: &dyn Signer,
    key: &PublicKey,
    name: &AuthorityName,
    validity: ValidityPeriod,
    mut extensions: Vec<Extension>,
) -> Result<Vec<u8>, IssueError> {
    let root = x509::parse_chain(&[root.to_vec()], root_signer)?;
    let root: &Link = root.first().ok_or(AuthorityError::Malformed)?;
    root.check_issues(0)?;
    let (from, until) = root.validity();
    if validity.from.unix() < from || until < validity.until.unix() {
        return Err(IssueError::Validity);
    }
    let key = SubjectKey::from_spki(&key.spki())?;
    extensions.push(x509::subject_key_identifier(&key)?);
    extensions.push(root.authority_key_identifier()?);
    let body = validity.body(name.to_x509()?, &key, extensions)?;
    x509::sign(body.to_tbs(&root.tbs().subject, root_signer)?, root_signer)
}

fn authority_extensions(path_length: Option<u8>) -> Result<Vec<Extension>, IssueError> {
    let constraints = BasicConstraints { ca: true, path_len_constraint: path_length };
    let usage = KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign);
    Ok(vec![x509::typed(true, &usage)?, x509::typed(true, &constraints)?])
}

pub(crate) fn purpose(oid: ObjectIdentifier, critical: bool) -> Result<Extension, IssueError> {
    Ok(x509::typed(critical, &ExtendedKeyUsage(vec![oid]))?)
}

impl ValidityPeriod {
    fn body<'a>(
        self,
        subject: Name,
        key: &'a SubjectKey,
        extensions: Vec<Extension>,
    ) -> Result<Body<'a>, IssueError> {
        if self.until < self.from {
            return Err(IssueError::Validity);
        }
        Ok(Body { subject, key, from: self.from, until: self.until, extensions })
    }
}

impl AuthorityName {
    fn to_x509(&self) -> Result<Name, IssueError> {
        let parts =
            [(oid::ORGANIZATION, &self.organization), (oid::COMMON_NAME, &self.common_name)];
        let parts = parts.into_iter().map(|(oid, text)| {
            let fits = (1..=64).contains(&text.chars().count());
            if !fits || text.chars().any(char::is_control) {
                return Err(IssueError::Name { text: text.clone() });
            }
            let value = Any::from(Utf8StringRef::new(text)?);
            let part = SetOfVec::try_from(vec![AttributeTypeAndValue { oid, value }])?;
            Ok(RelativeDistinguishedName(part))
        });
        Ok(RdnSequence(parts.collect::<Result<_, IssueError>>()?))
    }
}
