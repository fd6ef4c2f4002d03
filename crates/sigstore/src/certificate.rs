//! X.509 (RFC 5280): Fulcio's profile of signing certificates, and paths to a trusted authority.

use std::time::Duration;

use der::asn1::{ObjectIdentifier, Utf8StringRef};
use der::{Decode as _, Encode as _};
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage as KeyPurpose, anchor_from_trusted_cert};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName};

use sealwright_attest::Timestamp;

use crate::error::CertificateProblem;
use crate::key::Key;
use crate::trust::{Authority, Trust};

/// What a path of certificates must be for (RFC 5280 §4.2.1.12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    CodeSigning,
    TimeStamping,
}

/// Fulcio's extensions: issuer as raw bytes, issuer as a UTF8String, and the name of other users.
const ISSUER_V1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.1");
const ISSUER_V2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.8");
const OTHER_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.7");

impl Purpose {
    pub(crate) fn oid(self) -> ObjectIdentifier {
        ObjectIdentifier::new_unwrap(match self {
            Self::CodeSigning => "1.3.6.1.5.5.7.3.3",
            Self::TimeStamping => "1.3.6.1.5.5.7.3.8",
        })
    }

    /// The same as the content of its DER encoding, which path checks want. Authorities may leave the
    /// purpose out (RFC 5280 §4.2.1.12), as GitHub's do; that the leaf has it is checked elsewhere.
    fn in_path(self) -> KeyPurpose {
        KeyPurpose::required_if_present(match self {
            Self::CodeSigning => &[0x2b, 6, 1, 5, 5, 7, 3, 3],
            Self::TimeStamping => &[0x2b, 6, 1, 5, 5, 7, 3, 8],
        })
    }
}

/// A parsed certificate with a key that can be used; not trusted.
pub(crate) struct Certificate {
    der: Vec<u8>,
    parsed: x509_cert::Certificate,
    key: Key,
}

impl Certificate {
    pub(crate) fn parse(der: &[u8]) -> Result<Self, CertificateProblem> {
        let parsed =
            x509_cert::Certificate::from_der(der).map_err(|_| CertificateProblem::Malformed)?;
        let spki = parsed.tbs_certificate.subject_public_key_info.to_der();
        let key = spki.ok().and_then(|spki| Key::from_spki(&spki));
        let key = key.ok_or(CertificateProblem::Profile { what: "unsupported key algorithm" })?;
        Ok(Self { der: der.to_vec(), parsed, key })
    }

    pub(crate) fn is_well_formed(der: &[u8]) -> bool {
        x509_cert::Certificate::from_der(der).is_ok()
            && anchor_from_trusted_cert(&CertificateDer::from(der)).is_ok()
    }

    /// Whether issuer and subject are one name, as in a root.
    pub(crate) fn is_self_issued(der: &[u8]) -> bool {
        x509_cert::Certificate::from_der(der).is_ok_and(|certificate| {
            let tbs = &certificate.tbs_certificate;
            !tbs.subject.0.is_empty() && tbs.subject == tbs.issuer
        })
    }

    pub(crate) fn der(&self) -> &[u8] {
        &self.der
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    pub(crate) fn tbs(&self) -> &x509_cert::TbsCertificate {
        &self.parsed.tbs_certificate
    }

    /// The value of an extension; `None` if it is not there exactly once.
    pub(crate) fn extension(&self, oid: ObjectIdentifier) -> Option<&[u8]> {
        let mut found = self.tbs().extensions.iter().flatten().filter(|e| e.extn_id == oid);
        let first = found.next()?;
        found.next().is_none().then(|| first.extn_value.as_bytes())
    }

    /// Checks that the certificate is one for signing: `digitalSignature` and `codeSigning`.
    pub(crate) fn check_profile(&self) -> Result<(), CertificateProblem> {
        let broken = |what| CertificateProblem::Profile { what };
        let usage = self
            .tbs()
            .get::<KeyUsage>()
            .map_err(|_| CertificateProblem::Malformed)?
            .is_some_and(|(_, usage)| usage.0.contains(KeyUsages::DigitalSignature));
        if !usage {
            return Err(broken("it lacks the key usage digitalSignature"));
        }
        let purpose = self
            .tbs()
            .get::<ExtendedKeyUsage>()
            .map_err(|_| CertificateProblem::Malformed)?
            .is_some_and(|(_, purposes)| purposes.0.contains(&Purpose::CodeSigning.oid()));
        if !purpose {
            return Err(broken("it lacks the extended key usage codeSigning"));
        }
        Ok(())
    }

    /// The one name of the signer: an e-mail address, a URI, or Fulcio's name of other users.
    pub(crate) fn subject(&self) -> Result<String, CertificateProblem> {
        let names = self
            .tbs()
            .get::<SubjectAltName>()
            .map_err(|_| CertificateProblem::Malformed)?
            .map(|(_, names)| names.0)
            .unwrap_or_default();
        let [name] = names.as_slice() else {
            let what = "it does not have exactly one subject alternative name";
            return Err(CertificateProblem::Profile { what });
        };
        match name {
            GeneralName::Rfc822Name(email) => Ok(email.to_string()),
            GeneralName::UniformResourceIdentifier(uri) => Ok(uri.to_string()),
            GeneralName::OtherName(other) if other.type_id == OTHER_NAME => other
                .value
                .decode_as::<Utf8StringRef<'_>>()
                .map(|name| name.to_string())
                .map_err(|_| CertificateProblem::Malformed),
            _ => {
                let what = "its subject alternative name is no e-mail address, URI or user name";
                Err(CertificateProblem::Profile { what })
            }
        }
    }

    /// The OIDC issuer that Fulcio recorded; the old extension counts only without the new one.
    pub(crate) fn issuer(&self) -> Result<Option<String>, CertificateProblem> {
        let present = |oid| self.tbs().extensions.iter().flatten().any(|e| e.extn_id == oid);
        let read = |oid| self.extension(oid).ok_or(CertificateProblem::Malformed);
        if present(ISSUER_V2) {
            let text = Utf8StringRef::from_der(read(ISSUER_V2)?);
            return text
                .map(|text| Some(text.to_string()))
                .map_err(|_| CertificateProblem::Malformed);
        }
        if present(ISSUER_V1) {
            let text = String::from_utf8(read(ISSUER_V1)?.to_vec());
            return text.map(Some).map_err(|_| CertificateProblem::Malformed);
        }
        Ok(None)
    }

    /// Finds an authority that vouches for the certificate at `at`: every certificate of the path
    /// valid then, `codeSigning` throughout, and the authority itself believed then.
    ///
    /// `hints` are intermediates from the bundle, which nothing trusts. The answer is the issuer's
    /// SubjectPublicKeyInfo, out of the verified path.
    pub(crate) fn check_path(
        &self,
        hints: &[Vec<u8>],
        trust: &Trust,
        at: Timestamp,
    ) -> Result<Vec<u8>, CertificateProblem> {
        let trusted = |der: &Vec<u8>| {
            trust.certificate_authorities.iter().any(|authority| authority.chain.contains(der))
        };
        if hints.iter().any(|hint| Self::is_self_issued(hint) && !trusted(hint)) {
            return Err(CertificateProblem::UntrustedRoot);
        }
        let mut message = "the trusted root has no certificate authority for that time".to_owned();
        for authority in &trust.certificate_authorities {
            if !authority.validity.contains(at) {
                continue;
            }
            match check_path(&self.der, hints, authority, Purpose::CodeSigning, at) {
                Ok(issuer) => return Ok(issuer),
                Err(error) => message = error,
            }
        }
        Err(CertificateProblem::Path { at, message })
    }
}

/// A path (RFC 5280 §6) from `leaf` to the root of `authority`, at `at` and for `purpose`; gives the
/// SubjectPublicKeyInfo of the issuer.
pub(crate) fn check_path(
    leaf: &[u8],
    hints: &[Vec<u8>],
    authority: &Authority,
    purpose: Purpose,
    at: Timestamp,
) -> Result<Vec<u8>, String> {
    let message = |error: webpki::Error| error.to_string();
    let (root, intermediates) = authority.chain.split_last().ok_or("no certificates")?;
    // A path check takes its anchor as given and so does not look at its dates.
    if !is_valid_at(root, at) {
        return Err("the root certificate was not valid".to_owned());
    }
    let root = CertificateDer::from(root.as_slice());
    let anchors = [anchor_from_trusted_cert(&root).map_err(message)?];
    let intermediates: Vec<_> =
        intermediates.iter().chain(hints).map(|der| CertificateDer::from(der.as_slice())).collect();
    let leaf = CertificateDer::from(leaf);
    let leaf = EndEntityCert::try_from(&leaf).map_err(message)?;
    let path = leaf
        .verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &anchors,
            &intermediates,
            UnixTime::since_unix_epoch(Duration::from_secs(at.unix())),
            purpose.in_path(),
            None,
            None,
        )
        .map_err(message)?;
    Ok(path.issuer_spki().to_vec())
}

fn is_valid_at(der: &[u8], at: Timestamp) -> bool {
    x509_cert::Certificate::from_der(der).is_ok_and(|certificate| {
        let validity = certificate.tbs_certificate.validity;
        let at = Duration::from_secs(at.unix());
        validity.not_before.to_unix_duration() <= at && at <= validity.not_after.to_unix_duration()
    })
}
