//! Certificates to sign with.

use x509_cert::Certificate;

use crate::bundle::{Bundle, VerificationMaterial};
use crate::time::Timestamp;
use crate::x509::{
    CertificateError, CertifiedKey, MAX_PATH, PathProblem, certified, check_extensions,
    check_issuer, check_usage, check_validity, is_self_issued, path, read_pem,
};

/// A certificate to sign with, and those that lead from it towards a root.
///
/// What a verifier will ask of the certificates themselves is checked when they are read: the leaf is
/// for signing, with a key that signs models, and each was issued by the next. Whether the last one
/// leads to a root, only the verifier can say.
#[derive(Debug, Clone)]
pub struct SigningCertificate {
    /// Leaf first, each issued by the next; without the root, unless the leaf is one.
    links: Vec<Link>,
    leaf: CertifiedKey,
    left_out: Option<String>,
}

/// A certificate and its DER.
type Link = (Certificate, Vec<u8>);

impl SigningCertificate {
    /// Reads PEM texts: `leaf` with the certificate to sign with, which more may follow, and `chain`
    /// with those above it. The order of all but the first does not matter, and repeated ones count
    /// once.
    ///
    /// # Errors
    /// [`CertificateError`], but for validity, which is [`SigningCertificate::check_validity`]'s.
    pub fn from_pem<'a>(
        leaf: &str,
        chain: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, CertificateError> {
        let mut rest = read_pem(leaf)?.into_iter();
        let first = rest.next().ok_or(CertificateError::NotPem)?;
        check_usage(&first.0)?;
        check_extensions(&first.0)?;
        let leaf = certified(&first.0)?;
        let mut offered: Vec<Link> = rest.collect();
        for text in chain {
            offered.extend(read_pem(text)?);
        }
        let mut links = in_order(first, offered)?;
        // Roots must not be in a bundle (Sigstore bundle format): the verifier has them, or has not.
        let left_out = match links.last() {
            Some((top, _)) if links.len() > 1 && is_self_issued(top) => {
                let subject = top.tbs_certificate.subject.to_string();
                links.pop();
                Some(subject)
            }
            _ => None,
        };
        if links.len() > MAX_PATH {
            return Err(path(PathProblem::TooComplex));
        }
        Ok(Self { links, leaf, left_out })
    }

    /// The leaf's key and names.
    pub fn certified(&self) -> &CertifiedKey {
        &self.leaf
    }

    /// How many certificates go into a bundle, the leaf among them.
    pub fn count(&self) -> usize {
        self.links.len()
    }

    /// The subject of a root that was given and does not go into bundles.
    pub fn left_out(&self) -> Option<&str> {
        self.left_out.as_deref()
    }

    /// Whether every certificate is valid at `at`.
    ///
    /// # Errors
    /// [`CertificateError::Validity`] for the first that is not.
    pub fn check_validity(&self, at: Timestamp) -> Result<(), CertificateError> {
        self.links.iter().try_for_each(|(certificate, _)| check_validity(certificate, at))
    }

    /// `bundle` with these certificates for its verification material (OMS v1.0 §8.2, always as a
    /// chain): its readers no longer need to have the key.
    ///
    /// # Errors
    /// [`CertificateError::OtherKey`] when the signature is not the leaf's.
    pub fn attach(&self, bundle: Bundle) -> Result<Bundle, CertificateError> {
        let envelope = bundle.envelope();
        if !self.leaf.key.verifies(&envelope.pae(), &envelope.signature) {
            return Err(CertificateError::OtherKey { subject: self.leaf.subject.clone() });
        }
        let chain = self.links.iter().map(|(_, der)| der.clone()).collect();
        Ok(bundle.with_material(VerificationMaterial::Certificates(chain)))
    }
}

/// The way up from `leaf` through all of `offered`.
fn in_order(leaf: Link, mut offered: Vec<Link>) -> Result<Vec<Link>, CertificateError> {
    let mut links = vec![leaf];
    while let Some((child, _)) = links.last() {
        offered.retain(|(_, der)| links.iter().all(|(_, link)| link != der));
        if is_self_issued(child) {
            break;
        }
        let Some(next) = take_issuer(child, links.len(), &mut offered)? else { break };
        links.push(next);
    }
    match offered.first() {
        None => Ok(links),
        Some((stray, _)) => {
            Err(CertificateError::NoLink { subject: stray.tbs_certificate.subject.to_string() })
        }
    }
}

/// Takes the certificate that issued `child` out of `offered`. Where only the name is an issuer's,
/// the error says what else it is not.
fn take_issuer(
    child: &Certificate,
    below: usize,
    offered: &mut Vec<Link>,
) -> Result<Option<Link>, CertificateError> {
    let mut outcome = Ok(None);
    for (index, (issuer, _)) in offered.iter().enumerate() {
        if issuer.tbs_certificate.subject != child.tbs_certificate.issuer {
            continue;
        }
        match check_issuer(issuer, child, below) {
            Ok(()) => return Ok(Some(offered.remove(index))),
            Err(error) => outcome = Err(error),
        }
    }
    outcome
}
