//! What a certificate says.

use std::net::IpAddr;

use der::asn1::{ObjectIdentifier, OctetStringRef, Utf8StringRef};
use der::{Decode as _, Encode as _};
use x509_cert::Certificate;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName,
};

use sealwright_attest::Timestamp;

use super::{KeyDetails, colons};
use crate::artifact::DigestAlgorithm;
use crate::sct;

/// The arc of Fulcio's extensions.
const FULCIO: &str = "1.3.6.1.4.1.57264.1.";
const SCT_LIST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.11129.2.4.2");

/// Fulcio's extensions by the last number of their identifier (fulcio `docs/oid-info.md`).
const FULCIO_NAMES: [(u32, &str); 16] = [
    (9, "build signer URI"),
    (10, "build signer digest"),
    (11, "runner environment"),
    (12, "source repository URI"),
    (13, "source repository digest"),
    (14, "source repository ref"),
    (15, "source repository id"),
    (16, "source owner URI"),
    (17, "source owner id"),
    (18, "build config URI"),
    (19, "build config digest"),
    (20, "build trigger"),
    (21, "run URI"),
    (22, "source visibility"),
    (23, "deployment environment"),
    (24, "token subject"),
];

/// What the first versions had of these.
const OLD_FULCIO_NAMES: [(u32, &str); 5] = [
    (2, "workflow trigger"),
    (3, "workflow digest"),
    (4, "workflow name"),
    (5, "repository"),
    (6, "ref"),
];

/// A certificate as it is written; not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateDetails {
    /// Distinguished name (RFC 4514); empty in keyless certificates.
    pub subject: String,
    /// Distinguished name of the issuer.
    pub issuer: String,
    /// Whether both are one, as in a root.
    pub is_self_issued: bool,
    /// Hexadecimal, with `:` between the bytes.
    pub serial: String,
    /// First second.
    pub not_before: Timestamp,
    /// Last second.
    pub not_after: Timestamp,
    /// Its key.
    pub key: KeyDetails,
    /// Subject alternative names: what kind, and the name.
    pub names: Vec<(&'static str, String)>,
    /// The OIDC issuer that Fulcio recorded.
    pub oidc_issuer: Option<String>,
    /// Fulcio's other extensions: what it is, and the value. The old ones only if there are no others.
    pub fulcio: Vec<(&'static str, String)>,
    /// Whether it may issue certificates.
    pub is_authority: bool,
    /// Most authorities below it.
    pub path_length: Option<u8>,
    /// Key usages, such as `digitalSignature`.
    pub usages: Vec<&'static str>,
    /// Extended key usages, such as `codeSigning`.
    pub purposes: Vec<String>,
    /// Promises of certificate logs.
    pub scts: Vec<SctDetails>,
    /// SHA-256 of the whole.
    pub sha256: Vec<u8>,
    /// What could not be read.
    pub problems: Vec<&'static str>,
}

/// A signed certificate timestamp (RFC 6962 §3.2) as it is written; not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SctDetails {
    /// SHA-256 of the log's key.
    pub log_id: Vec<u8>,
    /// When the log promised to log the certificate.
    pub time: Option<Timestamp>,
}

impl CertificateDetails {
    /// Reads a DER certificate; `None` if it is not one. What is wrong with single extensions is in
    /// `problems`.
    pub fn parse(der: &[u8]) -> Option<Self> {
        let certificate = Certificate::from_der(der).ok()?;
        let tbs = &certificate.tbs_certificate;
        let seconds = |time: x509_cert::time::Time| {
            Timestamp::from_unix(time.to_unix_duration().as_secs()).ok()
        };
        let mut problems = Vec::new();
        let constraints = read::<BasicConstraints>(&certificate, &mut problems);
        let usages = read::<KeyUsage>(&certificate, &mut problems);
        let purposes = read::<ExtendedKeyUsage>(&certificate, &mut problems);
        let names = read::<SubjectAltName>(&certificate, &mut problems);
        Some(Self {
            subject: tbs.subject.to_string(),
            issuer: tbs.issuer.to_string(),
            is_self_issued: !tbs.subject.0.is_empty() && tbs.subject == tbs.issuer,
            serial: colons(tbs.serial_number.as_bytes()),
            not_before: seconds(tbs.validity.not_before)?,
            not_after: seconds(tbs.validity.not_after)?,
            key: KeyDetails::from_spki(&tbs.subject_public_key_info.to_der().ok()?)?,
            names: names.map(|names| names.0.iter().map(name).collect()).unwrap_or_default(),
            oidc_issuer: fulcio(&certificate, 8).or_else(|| fulcio(&certificate, 1)),
            fulcio: claims(&certificate),
            is_authority: constraints.as_ref().is_some_and(|constraints| constraints.ca),
            path_length: constraints.and_then(|constraints| constraints.path_len_constraint),
            usages: usages
                .map(|usage| usage.0.into_iter().map(usage_name).collect())
                .unwrap_or_default(),
            purposes: purposes
                .map(|list| list.0.iter().map(purpose_name).collect())
                .unwrap_or_default(),
            scts: scts(&certificate, &mut problems),
            sha256: DigestAlgorithm::Sha256.hash(der),
            problems,
        })
    }
}

trait Named {
    const NAME: &'static str;
}

impl Named for BasicConstraints {
    const NAME: &'static str = "malformed or repeated basic constraints";
}

impl Named for KeyUsage {
    const NAME: &'static str = "malformed or repeated key usage";
}

impl Named for ExtendedKeyUsage {
    const NAME: &'static str = "malformed or repeated extended key usage";
}

impl Named for SubjectAltName {
    const NAME: &'static str = "malformed or repeated subject alternative names";
}

/// An extension that may be there once; what is malformed is noted.
fn read<'a, T>(certificate: &'a Certificate, problems: &mut Vec<&'static str>) -> Option<T>
where
    T: der::Decode<'a> + der::oid::AssociatedOid + Named,
{
    match certificate.tbs_certificate.get::<T>() {
        Ok(found) => found.map(|(_, value)| value),
        Err(_) => {
            problems.push(T::NAME);
            None
        }
    }
}

fn name(name: &GeneralName) -> (&'static str, String) {
    match name {
        GeneralName::Rfc822Name(text) => ("e-mail", text.to_string()),
        GeneralName::DnsName(text) => ("DNS", text.to_string()),
        GeneralName::UniformResourceIdentifier(text) => ("URI", text.to_string()),
        GeneralName::DirectoryName(name) => ("directory", name.to_string()),
        GeneralName::RegisteredId(oid) => ("registered id", oid.to_string()),
        GeneralName::IpAddress(bytes) => ("IP", ip(bytes.as_bytes())),
        GeneralName::OtherName(other) => match other.value.decode_as::<Utf8StringRef<'_>>() {
            Ok(text) if other.type_id.to_string() == format!("{FULCIO}7") => {
                ("user name", text.to_string())
            }
            Ok(text) => ("other", format!("{}: {text}", other.type_id)),
            Err(_) => ("other", other.type_id.to_string()),
        },
        _ => ("other", "of an unknown kind".to_owned()),
    }
}

fn ip(bytes: &[u8]) -> String {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .map_or_else(|_| colons(bytes), |address| address.to_string())
}

fn claims(certificate: &Certificate) -> Vec<(&'static str, String)> {
    let read = |names: &[(u32, &'static str)]| -> Vec<_> {
        let read =
            |(number, name): &(u32, &'static str)| Some((*name, fulcio(certificate, *number)?));
        names.iter().filter_map(read).collect()
    };
    let new = read(&FULCIO_NAMES);
    if new.is_empty() { read(&OLD_FULCIO_NAMES) } else { new }
}

/// The text of one of Fulcio's extensions: up to .6 the bytes themselves, from .8 on a UTF8String.
fn fulcio(certificate: &Certificate, number: u32) -> Option<String> {
    let oid = format!("{FULCIO}{number}");
    let mut extensions = certificate.tbs_certificate.extensions.iter().flatten();
    let value = extensions.find(|extension| extension.extn_id.to_string() == oid)?;
    let value = value.extn_value.as_bytes();
    let wrapped = || Utf8StringRef::from_der(value).ok().map(|text| text.to_string());
    let bare = || Some(String::from_utf8_lossy(value).into_owned());
    if number < 8 { bare() } else { wrapped().or_else(bare) }
}

fn usage_name(usage: KeyUsages) -> &'static str {
    match usage {
        KeyUsages::DigitalSignature => "digitalSignature",
        KeyUsages::NonRepudiation => "nonRepudiation",
        KeyUsages::KeyEncipherment => "keyEncipherment",
        KeyUsages::DataEncipherment => "dataEncipherment",
        KeyUsages::KeyAgreement => "keyAgreement",
        KeyUsages::KeyCertSign => "keyCertSign",
        KeyUsages::CRLSign => "cRLSign",
        KeyUsages::EncipherOnly => "encipherOnly",
        KeyUsages::DecipherOnly => "decipherOnly",
    }
}

fn purpose_name(oid: &ObjectIdentifier) -> String {
    match oid.to_string().as_str() {
        "1.3.6.1.5.5.7.3.1" => "serverAuth".to_owned(),
        "1.3.6.1.5.5.7.3.2" => "clientAuth".to_owned(),
        "1.3.6.1.5.5.7.3.3" => "codeSigning".to_owned(),
        "1.3.6.1.5.5.7.3.4" => "emailProtection".to_owned(),
        "1.3.6.1.5.5.7.3.8" => "timeStamping".to_owned(),
        "1.3.6.1.5.5.7.3.9" => "OCSPSigning".to_owned(),
        "2.5.29.37.0" => "any".to_owned(),
        other => other.to_owned(),
    }
}

fn scts(certificate: &Certificate, problems: &mut Vec<&'static str>) -> Vec<SctDetails> {
    let mut extensions = certificate.tbs_certificate.extensions.iter().flatten();
    let Some(list) = extensions.find(|extension| extension.extn_id == SCT_LIST) else {
        return Vec::new();
    };
    let list = OctetStringRef::from_der(list.extn_value.as_bytes()).ok();
    let parsed = list.and_then(|list| sct::parse(list.as_bytes()));
    if parsed.is_none() {
        problems.push("malformed signed certificate timestamps");
    }
    let details = |sct: sct::Sct<'_>| SctDetails {
        log_id: sct.log_id.to_vec(),
        time: Timestamp::from_unix(sct.time / 1000).ok(),
    };
    parsed.unwrap_or_default().into_iter().map(details).collect()
}
