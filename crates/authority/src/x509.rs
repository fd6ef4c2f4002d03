//! Certificates (RFC 5280): put together, signed, read, and held against each other.

use std::time::Duration;

use aws_lc_rs::rand;
use der::asn1::{BitString, GeneralizedTime, ObjectIdentifier, OctetString, UtcTime};
use der::{Decode as _, Encode as _};
use x509_cert::certificate::{TbsCertificate, Version};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages,
    SubjectKeyIdentifier,
};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::SubjectPublicKeyInfoOwned;
use x509_cert::time::{Time, Validity};

use sealwright_attest::{SignError, Signer, Timestamp};

use crate::error::{AuthorityError, IssueError};
use crate::key::SubjectKey;
use crate::oid;

/// 2050-01-01T00:00:00Z, from where certificates write the year with four digits (RFC 5280
/// §4.1.2.5).
const YEAR_2050: u64 = 2_524_608_000;

/// Everything of a certificate but who issues it.
pub(crate) struct Body<'a> {
    pub(crate) subject: Name,
    pub(crate) key: &'a SubjectKey,
    pub(crate) from: Timestamp,
    pub(crate) until: Timestamp,
    pub(crate) extensions: Vec<Extension>,
}

impl Body<'_> {
    /// The part that is signed, with a fresh random serial number.
    pub(crate) fn to_tbs(
        &self,
        issuer: &Name,
        signer: &dyn Signer,
    ) -> Result<TbsCertificate, IssueError> {
        Ok(TbsCertificate {
            version: Version::V3,
            serial_number: SerialNumber::new(&random_serial()?)?,
            signature: oid::ecdsa(signer.public_key().curve()),
            issuer: issuer.clone(),
            validity: Validity { not_before: time(self.from)?, not_after: time(self.until)? },
            subject: self.subject.clone(),
            subject_public_key_info: SubjectPublicKeyInfoOwned::from_der(self.key.spki())?,
            issuer_unique_id: None,
            subject_unique_id: None,
            extensions: Some(self.extensions.clone()),
        })
    }
}

/// The certificate, DER. The signature is verified before it leaves.
pub(crate) fn sign(tbs: TbsCertificate, signer: &dyn Signer) -> Result<Vec<u8>, IssueError> {
    let signature = sign_checked(signer, &tbs.to_der()?)?;
    let certificate = x509_cert::Certificate {
        signature_algorithm: tbs.signature.clone(),
        tbs_certificate: tbs,
        signature: BitString::from_bytes(&signature)?,
    };
    Ok(certificate.to_der()?)
}

/// A signature by `signer` that is known to verify under its public key.
pub(crate) fn sign_checked(signer: &dyn Signer, message: &[u8]) -> Result<Vec<u8>, SignError> {
    let signature = signer.sign(message)?;
    if !signer.public_key().verifies(message, &signature) {
        return Err(SignError::SelfCheck);
    }
    Ok(signature)
}

/// A positive integer of exactly 20 octets, 158 bits of which are random (RFC 5280 §4.1.2.2).
pub(crate) fn random_serial() -> Result<[u8; 20], IssueError> {
    let mut serial = [0; 20];
    rand::fill(&mut serial).map_err(|_| IssueError::Randomness)?;
    if let Some(first) = serial.first_mut() {
        *first = (*first & 0x7f) | 0x40;
    }
    Ok(serial)
}

/// UTCTime until 2049, GeneralizedTime from then on (RFC 5280 §4.1.2.5, RFC 5652 §11.3).
pub(crate) fn time(at: Timestamp) -> der::Result<Time> {
    let since_1970 = Duration::from_secs(at.unix());
    if at.unix() < YEAR_2050 {
        return Ok(Time::UtcTime(UtcTime::from_unix_duration(since_1970)?));
    }
    Ok(Time::GeneralTime(GeneralizedTime::from_unix_duration(since_1970)?))
}

pub(crate) fn extension(
    oid: ObjectIdentifier,
    critical: bool,
    value: Vec<u8>,
) -> der::Result<Extension> {
    Ok(Extension { extn_id: oid, critical, extn_value: OctetString::new(value)? })
}

/// An extension whose type has its own identifier.
pub(crate) fn typed<T: der::Encode + der::oid::AssociatedOid>(
    critical: bool,
    value: &T,
) -> der::Result<Extension> {
    extension(T::OID, critical, value.to_der()?)
}

pub(crate) fn subject_key_identifier(key: &SubjectKey) -> der::Result<Extension> {
    typed(false, &SubjectKeyIdentifier(OctetString::new(key.identifier())?))
}

/// A certificate of an authority's own chain: read, and the same bytes when written again.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) der: Vec<u8>,
    pub(crate) parsed: x509_cert::Certificate,
    pub(crate) key: SubjectKey,
}

impl Link {
    pub(crate) fn parse(der: &[u8]) -> Result<Self, AuthorityError> {
        let malformed = |_| AuthorityError::Malformed;
        let parsed = x509_cert::Certificate::from_der(der).map_err(malformed)?;
        if parsed.to_der().map_err(malformed)? != der {
            return Err(AuthorityError::Malformed);
        }
        let spki = parsed.tbs_certificate.subject_public_key_info.to_der().map_err(malformed)?;
        let key = SubjectKey::from_spki(&spki).map_err(|_| AuthorityError::Malformed)?;
        Ok(Self { der: der.to_vec(), parsed, key })
    }

    pub(crate) fn tbs(&self) -> &TbsCertificate {
        &self.parsed.tbs_certificate
    }

    /// The authority key identifier that its children carry (RFC 5280 §4.2.1.1).
    pub(crate) fn authority_key_identifier(&self) -> Result<Extension, IssueError> {
        let identifier = match self.tbs().get::<SubjectKeyIdentifier>()? {
            Some((_, SubjectKeyIdentifier(identifier))) => identifier,
            None => OctetString::new(self.key.identifier())?,
        };
        let identifier =
            AuthorityKeyIdentifier { key_identifier: Some(identifier), ..Default::default() };
        Ok(typed(false, &identifier)?)
    }

    pub(crate) fn is_valid_at(&self, at: Timestamp) -> bool {
        let (from, until) = self.validity();
        from <= at.unix() && at.unix() <= until
    }

    /// Both ends, inclusive, in Unix seconds.
    pub(crate) fn validity(&self) -> (u64, u64) {
        let validity = &self.tbs().validity;
        let seconds = |time: Time| time.to_unix_duration().as_secs();
        (seconds(validity.not_before), seconds(validity.not_after))
    }

    /// Whether it may issue certificates: CA, keyCertSign, and `below` certificates under it
    /// allowed, the leaf not counted.
    pub(crate) fn check_issues(&self, below: usize) -> Result<(), AuthorityError> {
        let malformed = |_| AuthorityError::Malformed;
        let constraints = self.tbs().get::<BasicConstraints>().map_err(malformed)?;
        let constraints = constraints.map(|(_, constraints)| constraints);
        let usage = self.tbs().get::<KeyUsage>().map_err(malformed)?;
        let signs = usage.is_some_and(|(_, usage)| usage.0.contains(KeyUsages::KeyCertSign));
        if !signs || !constraints.as_ref().is_some_and(|constraints| constraints.ca) {
            return Err(AuthorityError::Profile {
                what: "an issuer is not a certificate authority",
            });
        }
        let limit = constraints.and_then(|constraints| constraints.path_len_constraint);
        if limit.is_some_and(|limit| below > usize::from(limit)) {
            return Err(AuthorityError::Profile {
                what: "the path is longer than an issuer allows",
            });
        }
        Ok(())
    }

    /// Its extended key usage, and whether that is critical.
    pub(crate) fn purposes(&self) -> Result<Option<(bool, Vec<ObjectIdentifier>)>, AuthorityError> {
        let purposes = self.tbs().get::<ExtendedKeyUsage>();
        let purposes = purposes.map_err(|_| AuthorityError::Malformed)?;
        Ok(purposes.map(|(critical, purposes)| (critical, purposes.0)))
    }

    fn is_issued_by(&self, issuer: &Link) -> bool {
        let Ok(signed) = self.tbs().to_der() else { return false };
        self.tbs().issuer == issuer.tbs().subject
            && self.parsed.signature_algorithm == self.tbs().signature
            && self.parsed.signature.as_bytes().is_some_and(|signature| {
                issuer.key.verifies_as(&self.tbs().signature, &signed, signature)
            })
    }
}

/// Reads a chain that begins with the certificate of `signer` and ends with a self-signed root,
/// each certificate issued by the next.
pub(crate) fn parse_chain(
    chain: &[Vec<u8>],
    signer: &dyn Signer,
) -> Result<Vec<Link>, AuthorityError> {
    let links = chain.iter().map(|der| Link::parse(der)).collect::<Result<Vec<_>, _>>()?;
    let (Some(first), Some(root)) = (links.first(), links.last()) else {
        return Err(AuthorityError::Profile { what: "there are no certificates" });
    };
    if first.key.spki() != signer.public_key().spki() {
        return Err(AuthorityError::OtherKey);
    }
    let issuers = links.iter().skip(1).chain([root]);
    if links.iter().zip(issuers).any(|(child, issuer)| !child.is_issued_by(issuer)) {
        return Err(AuthorityError::Path);
    }
    for (index, link) in links.iter().enumerate().skip(1) {
        link.check_issues(index.saturating_sub(1))?;
    }
    Ok(links)
}
