//! Signing certificates: OMS v1.0 §8.2 and RFC 5280.
//!
//! The path is walked here and not by a library, because those made for TLS refuse a leaf that is
//! itself an authority, as the reference implementation's own test certificates are.
//!
//! A chain counts if it leads to an anchor that the caller named, every certificate in it (the
//! anchor's included) is valid at the caller's time, and the leaf is for signing. Web PKI roots are
//! never taken: whoever trusts a certificate says whose.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert};
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAltName};

use crate::key::PublicKey;
use crate::time::Timestamp;

mod signing;

pub use signing::SigningCertificate;

/// id-kp-codeSigning.
const CODE_SIGNING: &str = "1.3.6.1.5.5.7.3.3";
/// anyExtendedKeyUsage.
const ANY_USAGE: &str = "2.5.29.37.0";
/// Fulcio's otherName for user names: a UTF8String.
const FULCIO_USER_NAME: &str = "1.3.6.1.4.1.57264.1.7";

/// Fulcio's issuer of a login: plain text, and as a UTF8String.
const FULCIO_ISSUERS: [&str; 2] = ["1.3.6.1.4.1.57264.1.1", "1.3.6.1.4.1.57264.1.8"];

/// Certificates in a path, the anchor left out.
const MAX_PATH: usize = 8;
/// Signatures that are checked for one chain: a chain can be made to branch.
const MAX_CHECKS: u32 = 64;
/// Extensions that are understood or have no say in a path: basic constraints, key usage, extended
/// key usage, subject alternative name, key identifiers, certificate policies.
const KNOWN_EXTENSIONS: [&str; 7] =
    ["2.5.29.19", "2.5.29.15", "2.5.29.37", "2.5.29.17", "2.5.29.14", "2.5.29.35", "2.5.29.32"];

/// Certificates that the caller believes.
#[derive(Debug, Clone)]
pub struct CertificateTrust {
    /// Self-signed: a chain may end here.
    anchors: Vec<Certificate>,
    /// Not self-signed: a chain may lead through here, and never end.
    intermediates: Vec<Certificate>,
}

/// A key that a chain vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertifiedKey {
    /// The leaf's key.
    pub key: PublicKey,
    /// The leaf's subject alternative names: URIs, e-mail addresses, DNS names, Fulcio user names.
    pub identities: Vec<String>,
    /// The leaf's subject, as text (RFC 4514).
    pub subject: String,
}

/// Why a chain does not vouch for its leaf.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The file holds no certificate, or something that is none.
    #[error("not a PEM file with certificates")]
    NotPem,
    /// Every given certificate is an intermediate: a chain cannot end anywhere.
    #[error("none of the given certificates is a root (self-signed)")]
    NoAnchor,
    /// The bundle's certificate does not parse.
    #[error("malformed certificate")]
    Malformed,
    /// The leaf's key is not one that signs models.
    #[error("the certificate's key is not ECDSA on P-256, P-384 or P-521")]
    Key,
    /// The leaf is for something else than signing.
    #[error("the certificate is not for signing code: {problem}")]
    Usage {
        /// What is missing.
        problem: &'static str,
    },
    /// No path of valid certificates leads to an anchor.
    #[error("the certificate does not lead to a given root: {problem}")]
    Path {
        /// Where the best path ends.
        problem: PathProblem,
    },
    /// A certificate of the path is not valid at the time of the check.
    #[error("the certificate of {subject:?} is not valid at {at}")]
    Validity {
        /// Its subject.
        subject: String,
        /// The time of the check.
        at: Timestamp,
    },
    /// A certificate for a login, where one is asked for that an authority gives by its own word.
    #[error(
        "the certificate is for a login at an OIDC issuer: it counts only by that issuer's name"
    )]
    Issued,
    /// A certificate to sign with that is for another key.
    #[error("the certificate of {subject:?} is not for the signing key")]
    OtherKey {
        /// The leaf's subject.
        subject: String,
    },
    /// Certificates to sign with of which one is no link of the chain.
    #[error("the certificate of {subject:?} is no link of the chain above the signing certificate")]
    NoLink {
        /// The subject of the certificate that is left over.
        subject: String,
    },
    /// A critical extension that is not understood.
    #[error("a certificate has the critical extension {oid}, which is not supported")]
    UnknownExtension {
        /// Its object identifier.
        oid: String,
    },
}

/// Why a path of certificates does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathProblem {
    /// Nobody has the issuer's certificate.
    #[error("its issuer is not among the given certificates")]
    NoIssuer,
    /// The issuer's certificate is not that of an authority.
    #[error("its issuer is not a certificate authority")]
    NotAnAuthority,
    /// The issuer may not issue for code signing.
    #[error("its issuer is not for code signing")]
    OtherPurpose,
    /// The issuer's path length constraint.
    #[error("the path is longer than an issuer allows")]
    TooLong,
    /// The issuer's key did not make the signature.
    #[error("a signature in the path is not valid")]
    Signature,
    /// More than eight certificates, or more signatures than anybody needs.
    #[error("the path is too long or has too many branches")]
    TooComplex,
}

impl CertificateTrust {
    /// Reads PEM texts, each with one certificate or more. Self-signed ones become anchors, others
    /// intermediates: trusting only an intermediate trusts nothing.
    ///
    /// # Errors
    /// [`CertificateError::NotPem`], [`CertificateError::NoAnchor`].
    pub fn from_pem<'a>(
        texts: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, CertificateError> {
        let mut trust = Self { anchors: Vec::new(), intermediates: Vec::new() };
        for text in texts {
            for (certificate, _) in read_pem(text)? {
                let is_anchor = is_self_issued(&certificate);
                let list = if is_anchor { &mut trust.anchors } else { &mut trust.intermediates };
                list.push(certificate);
            }
        }
        if trust.anchors.is_empty() { Err(CertificateError::NoAnchor) } else { Ok(trust) }
    }

    /// Checks a chain (DER, leaf first) at a time.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn verify(
        &self,
        chain: &[Vec<u8>],
        at: Timestamp,
    ) -> Result<CertifiedKey, CertificateError> {
        let parse =
            |der: &Vec<u8>| Certificate::from_der(der).map_err(|_| CertificateError::Malformed);
        let chain = chain.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        let (leaf, offered) = chain.split_first().ok_or(CertificateError::Malformed)?;
        check_usage(leaf)?;
        check_validity(leaf, at)?;
        check_extensions(leaf)?;
        // A root may sign by itself.
        if !self.anchors.contains(leaf) {
            let mut budget = MAX_CHECKS;
            self.check_path(&mut vec![leaf.clone()], offered, at, &mut budget)?;
        }
        certified(leaf)
    }

    /// Depth first from `below` (the leaf and what is above it so far) to an anchor.
    fn check_path(
        &self,
        below: &mut Vec<Certificate>,
        offered: &[Certificate],
        at: Timestamp,
        budget: &mut u32,
    ) -> Result<(), CertificateError> {
        let Some(child) = below.last().cloned() else { return Err(CertificateError::Malformed) };
        let mut outcome = Err(path(PathProblem::NoIssuer));
        for issuer in self.anchors.iter().chain(offered).chain(&self.intermediates) {
            if issuer.tbs_certificate.subject != child.tbs_certificate.issuer {
                continue;
            }
            *budget = budget.checked_sub(1).ok_or_else(|| path(PathProblem::TooComplex))?;
            let is_anchor = self.anchors.contains(issuer);
            let is_issuer =
                check_validity(issuer, at).and_then(|()| check_issuer(issuer, &child, below.len()));
            let next = is_issuer.and_then(|()| {
                if is_anchor {
                    return Ok(());
                }
                if below.len() >= MAX_PATH || below.contains(issuer) {
                    return Err(path(PathProblem::TooComplex));
                }
                below.push(issuer.clone());
                let above = self.check_path(below, offered, at, budget);
                below.pop();
                above
            });
            match next {
                Ok(()) => return Ok(()),
                // What an anchor lacks is a better reason than that another way ends nowhere.
                Err(error) if is_anchor || outcome == Err(path(PathProblem::NoIssuer)) => {
                    outcome = Err(error);
                }
                Err(_) => {}
            }
        }
        outcome
    }
}

fn path(problem: PathProblem) -> CertificateError {
    CertificateError::Path { problem }
}

/// The certificates of a PEM text, at least one, each with its DER. Text around them is passed over.
fn read_pem(text: &str) -> Result<Vec<(Certificate, Vec<u8>)>, CertificateError> {
    let read = |der: Result<CertificateDer<'_>, _>| {
        let der = der.map_err(|_| CertificateError::NotPem)?.to_vec();
        Certificate::from_der(&der).map_err(|_| CertificateError::NotPem).map(|read| (read, der))
    };
    let list = CertificateDer::pem_slice_iter(text.as_bytes()).map(read);
    let list = list.collect::<Result<Vec<_>, _>>()?;
    if list.is_empty() { Err(CertificateError::NotPem) } else { Ok(list) }
}

/// The DER of a PEM text with one certificate and no more.
pub(crate) fn single_certificate(text: &str) -> Result<Vec<u8>, CertificateError> {
    match <[(Certificate, Vec<u8>); 1]>::try_from(read_pem(text)?) {
        Ok([(_, der)]) => Ok(der),
        Err(_) => Err(CertificateError::NotPem),
    }
}

/// Subject and issuer are the same: a root, or a leaf that nobody vouches for.
fn is_self_issued(certificate: &Certificate) -> bool {
    certificate.tbs_certificate.issuer == certificate.tbs_certificate.subject
}

/// RFC 5280 §6.1.3 and §6.1.4 for one step, but the time: `issuer` may issue, and did issue `child`.
/// `below` is the number of certificates under it.
fn check_issuer(
    issuer: &Certificate,
    child: &Certificate,
    below: usize,
) -> Result<(), CertificateError> {
    check_extensions(issuer)?;
    let body = &issuer.tbs_certificate;
    let malformed = |_| CertificateError::Malformed;
    let constraints = body.get::<BasicConstraints>().map_err(malformed)?;
    let is_authority = constraints.as_ref().is_some_and(|(_, constraints)| constraints.ca);
    let limit = constraints.and_then(|(_, constraints)| constraints.path_len_constraint);
    let key_usage = body.get::<KeyUsage>().map_err(malformed)?;
    if !is_authority || key_usage.is_some_and(|(_, usage)| !usage.key_cert_sign()) {
        return Err(path(PathProblem::NotAnAuthority));
    }
    // The leaf does not count.
    if limit.is_some_and(|limit| below.saturating_sub(1) > usize::from(limit)) {
        return Err(path(PathProblem::TooLong));
    }
    if extended_usage_allows(issuer)? == Some(false) {
        return Err(path(PathProblem::OtherPurpose));
    }
    if is_signed_by(child, issuer)? { Ok(()) } else { Err(path(PathProblem::Signature)) }
}

/// An extension that is critical and not understood makes a certificate unusable (RFC 5280 §4.2).
/// Name constraints are among those that are not.
fn check_extensions(certificate: &Certificate) -> Result<(), CertificateError> {
    let extensions = certificate.tbs_certificate.extensions.as_deref().unwrap_or_default();
    let is_known = |oid: &str| KNOWN_EXTENSIONS.contains(&oid);
    match extensions.iter().find(|e| e.critical && !is_known(&e.extn_id.to_string())) {
        Some(unknown) => {
            Err(CertificateError::UnknownExtension { oid: unknown.extn_id.to_string() })
        }
        None => Ok(()),
    }
}

/// Whether `issuer`'s key made the signature on `child`. The cryptography is the path library's.
fn is_signed_by(child: &Certificate, issuer: &Certificate) -> Result<bool, CertificateError> {
    let malformed = |_| CertificateError::Malformed;
    if child.signature_algorithm != child.tbs_certificate.signature {
        return Err(CertificateError::Malformed);
    }
    let issuer = CertificateDer::from(issuer.to_der().map_err(malformed)?);
    let issuer = EndEntityCert::try_from(&issuer).map_err(|_| CertificateError::Malformed)?;
    let message = child.tbs_certificate.to_der().map_err(malformed)?;
    let signature = child.signature.as_bytes().ok_or(CertificateError::Malformed)?;
    let algorithm = child.signature_algorithm.to_der().map_err(malformed)?;
    Ok(ALL_VERIFICATION_ALGS
        .iter()
        // The library's identifiers are without the outer SEQUENCE.
        .filter(|known| algorithm.ends_with(known.signature_alg_id().as_ref()))
        .any(|known| issuer.verify_signature(*known, &message, signature).is_ok()))
}

/// What an extended key usage says of code signing; `None` without one.
fn extended_usage_allows(certificate: &Certificate) -> Result<Option<bool>, CertificateError> {
    let extended = certificate.tbs_certificate.get::<ExtendedKeyUsage>();
    let extended = extended.map_err(|_| CertificateError::Malformed)?;
    Ok(extended.map(|(_, ExtendedKeyUsage(list))| {
        list.iter().any(|oid| [CODE_SIGNING, ANY_USAGE].contains(&oid.to_string().as_str()))
    }))
}

/// The leaf: key usage digitalSignature or extended usage codeSigning must be there (as the
/// reference implementation asks), and neither may say otherwise.
fn check_usage(certificate: &Certificate) -> Result<(), CertificateError> {
    let body = &certificate.tbs_certificate;
    let malformed = |_| CertificateError::Malformed;
    let key_usage = body.get::<KeyUsage>().map_err(malformed)?;
    let usage = |problem| Err(CertificateError::Usage { problem });
    let signs = key_usage.map(|(_, usage)| usage.digital_signature());
    let codes = extended_usage_allows(certificate)?;
    match (signs, codes) {
        (Some(false), _) => usage("its key usage has no digitalSignature"),
        (_, Some(false)) => usage("its extended key usage has no codeSigning"),
        (None, None) => usage("it has neither key usage nor extended key usage"),
        _ => Ok(()),
    }
}

fn check_validity(certificate: &Certificate, at: Timestamp) -> Result<(), CertificateError> {
    let validity = &certificate.tbs_certificate.validity;
    let from = validity.not_before.to_unix_duration().as_secs();
    let until = validity.not_after.to_unix_duration().as_secs();
    if (from..=until).contains(&at.unix()) {
        return Ok(());
    }
    let subject = certificate.tbs_certificate.subject.to_string();
    Err(CertificateError::Validity { subject, at })
}

/// What a DER certificate claims, trusted or not.
pub(crate) struct Claims {
    /// As in [`CertifiedKey::identities`].
    pub(crate) names: Vec<String>,
    /// Whether it is for a login at an OIDC issuer.
    pub(crate) is_issued: bool,
    /// That issuer, if it names one and only one.
    pub(crate) issuer: Option<String>,
}

/// Reads what a certificate claims.
pub(crate) fn claims(der: &[u8]) -> Result<Claims, CertificateError> {
    let certificate = Certificate::from_der(der).map_err(|_| CertificateError::Malformed)?;
    let names = certified(&certificate)?.identities;
    let [plain, text] = FULCIO_ISSUERS;
    let extensions = certificate.tbs_certificate.extensions.as_deref().unwrap_or_default();
    let mut issuers = Vec::new();
    for extension in extensions {
        let bytes = extension.extn_value.as_bytes();
        let oid = extension.extn_id.to_string();
        if oid == plain {
            issuers.push(String::from_utf8(bytes.to_vec()).ok());
        } else if oid == text {
            issuers.push(String::from_der(bytes).ok());
        }
    }
    let is_issued = !issuers.is_empty();
    issuers.dedup();
    let issuer = <[Option<String>; 1]>::try_from(issuers).ok().and_then(|[issuer]| issuer);
    Ok(Claims { names, is_issued, issuer })
}

/// The key of a DER certificate, trusted or not.
pub(crate) fn certified_key(der: &[u8]) -> Result<PublicKey, CertificateError> {
    let certificate = Certificate::from_der(der).map_err(|_| CertificateError::Malformed)?;
    Ok(certified(&certificate)?.key)
}

fn certified(certificate: &Certificate) -> Result<CertifiedKey, CertificateError> {
    let body = &certificate.tbs_certificate;
    let spki = body.subject_public_key_info.to_der().map_err(|_| CertificateError::Malformed)?;
    let key = PublicKey::from_spki(&spki).map_err(|_| CertificateError::Key)?;
    let names = body.get::<SubjectAltName>().map_err(|_| CertificateError::Malformed)?;
    let names = names.map(|(_, SubjectAltName(names))| names).unwrap_or_default();
    let identities = names.iter().filter_map(identity).collect();
    Ok(CertifiedKey { key, identities, subject: body.subject.to_string() })
}

fn identity(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::Rfc822Name(text)
        | GeneralName::DnsName(text)
        | GeneralName::UniformResourceIdentifier(text) => Some(text.to_string()),
        GeneralName::OtherName(other) if other.type_id.to_string() == FULCIO_USER_NAME => {
            other.value.decode_as::<String>().ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_without_certificates_is_refused() {
        for text in ["", "\n", "\r\n\n", " ", "x", "-----END CERTIFICATE-----"] {
            let error = CertificateTrust::from_pem([text]).unwrap_err();
            assert_eq!(error, CertificateError::NotPem, "{text:?}");
        }
    }

    #[test]
    fn a_block_shorter_than_its_content_claims_is_refused() {
        // The header of 184 bytes of DER, and none of them.
        let block = "-----BEGIN CERTIFICATE-----\nMIQAujk=\n-----END CERTIFICATE-----\n";
        let error = CertificateTrust::from_pem([block]).unwrap_err();
        assert_eq!(error, CertificateError::NotPem);
    }
}
