//! Signing certificates: OMS v1.0 §8.2 and RFC 5280.
//!
//! A chain counts if it leads to an anchor that the caller named, every certificate in it (the
//! anchor's included) is valid at the caller's time, and the leaf is for signing. Web PKI roots are
//! never taken: whoever trusts a certificate says whose.

use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{
    ALL_VERIFICATION_ALGS, EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter,
    RequiredEkuNotFoundContext, anchor_from_trusted_cert,
};
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{ExtendedKeyUsage, KeyUsage, SubjectAltName};

use crate::key::PublicKey;
use crate::time::Timestamp;

/// id-kp-codeSigning.
const CODE_SIGNING: &str = "1.3.6.1.5.5.7.3.3";
/// The same in DER, without tag and length.
const CODE_SIGNING_DER: [u8; 8] = [0x2b, 6, 1, 5, 5, 7, 3, 3];
/// anyExtendedKeyUsage.
const ANY_USAGE: &str = "2.5.29.37.0";
/// Fulcio's otherName for user names: a UTF8String.
const FULCIO_USER_NAME: &str = "1.3.6.1.4.1.57264.1.7";

/// Certificates that the caller believes.
#[derive(Debug, Clone)]
pub struct CertificateTrust {
    /// Self-signed: a chain may end here.
    anchors: Vec<Vec<u8>>,
    /// Not self-signed: a chain may lead through here, and never end.
    intermediates: Vec<Vec<u8>>,
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
    #[error("the certificate does not lead to a given root: {reason}")]
    Path {
        /// What the path validation says.
        reason: String,
    },
    /// The anchor at the end of the path is not valid at the time of the check.
    #[error("the root certificate is not valid at {at}")]
    AnchorValidity {
        /// The time of the check.
        at: Timestamp,
    },
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
            let list = Certificate::load_pem_chain(text.as_bytes())
                .map_err(|_| CertificateError::NotPem)?;
            if list.is_empty() {
                return Err(CertificateError::NotPem);
            }
            for certificate in list {
                let der = certificate.to_der().map_err(|_| CertificateError::NotPem)?;
                let body = &certificate.tbs_certificate;
                if body.issuer == body.subject {
                    trust.anchors.push(der);
                } else {
                    trust.intermediates.push(der);
                }
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
        let (leaf, rest) = chain.split_first().ok_or(CertificateError::Malformed)?;
        let certificate = Certificate::from_der(leaf).map_err(|_| CertificateError::Malformed)?;
        check_usage(&certificate)?;
        // A root may sign by itself; path validation proper knows only leaves below one.
        if self.anchors.contains(leaf) {
            check_validity(&certificate, at)?;
        } else {
            self.check_path(leaf, rest, at)?;
        }
        certified(&certificate)
    }

    fn check_path(
        &self,
        leaf: &[u8],
        rest: &[Vec<u8>],
        at: Timestamp,
    ) -> Result<(), CertificateError> {
        let path = |error: webpki::Error| CertificateError::Path { reason: error.to_string() };
        let leaf = CertificateDer::from(leaf);
        let end = EndEntityCert::try_from(&leaf).map_err(path)?;
        let roots: Vec<CertificateDer<'_>> =
            self.anchors.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
        let intermediates: Vec<CertificateDer<'_>> = rest
            .iter()
            .chain(&self.intermediates)
            .map(|der| CertificateDer::from(der.as_slice()))
            .collect();
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(at.unix()));
        // One root at a time: the library does not look at a root's own validity, so a path counts
        // only if its root is valid too.
        let mut outcome = Err(CertificateError::NoAnchor);
        for root in &roots {
            let anchor = [anchor_from_trusted_cert(root).map_err(path)?];
            let found = end
                .verify_for_usage(
                    ALL_VERIFICATION_ALGS,
                    &anchor,
                    &intermediates,
                    time,
                    CodeSigning,
                    None,
                    None,
                )
                .map_err(path)
                .and_then(|_| {
                    let root = Certificate::from_der(root);
                    check_validity(&root.map_err(|_| CertificateError::Malformed)?, at)
                });
            match found {
                Ok(()) => return Ok(()),
                Err(error) => outcome = Err(error),
            }
        }
        outcome
    }
}

/// An extended key usage, where there is one, must allow code signing.
struct CodeSigning;

impl ExtendedKeyUsageValidator for CodeSigning {
    fn validate(&self, usages: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        let mut present = Vec::new();
        for usage in usages {
            let oid = usage?.to_decoded_oid();
            let text: Vec<String> = oid.iter().map(ToString::to_string).collect();
            if [CODE_SIGNING, ANY_USAGE].contains(&text.join(".").as_str()) {
                return Ok(());
            }
            present.push(oid);
        }
        if present.is_empty() {
            return Ok(());
        }
        let required = webpki::KeyUsage::required_if_present(&CODE_SIGNING_DER);
        let context = RequiredEkuNotFoundContext { required, present };
        Err(webpki::Error::RequiredEkuNotFoundContext(context))
    }
}

/// The leaf: key usage digitalSignature or extended usage codeSigning must be there (as the
/// reference implementation asks), and neither may say otherwise.
fn check_usage(certificate: &Certificate) -> Result<(), CertificateError> {
    let body = &certificate.tbs_certificate;
    let malformed = |_| CertificateError::Malformed;
    let key_usage = body.get::<KeyUsage>().map_err(malformed)?;
    let extended = body.get::<ExtendedKeyUsage>().map_err(malformed)?;
    let usage = |problem| Err(CertificateError::Usage { problem });
    let signs = key_usage.map(|(_, usage)| usage.digital_signature());
    let codes = extended.map(|(_, ExtendedKeyUsage(list))| {
        list.iter().any(|oid| [CODE_SIGNING, ANY_USAGE].contains(&oid.to_string().as_str()))
    });
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
    Err(CertificateError::AnchorValidity { at })
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
