//! Signed certificate timestamps embedded in a certificate (RFC 6962 §3.2, §3.3).

use der::asn1::{ObjectIdentifier, OctetStringRef};
use der::{Decode as _, Encode as _};

use sealwright_attest::Timestamp;

use crate::artifact::DigestAlgorithm;
use crate::certificate::Certificate;
use crate::error::CertificateProblem;
use crate::key::Algorithm;
use crate::trust::{Log, Trust};

const SCT_LIST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.11129.2.4.2");

/// TLS `HashAlgorithm` and `SignatureAlgorithm` (RFC 5246 §7.4.1.4.1).
const SHA256: u8 = 4;
const RSA: u8 = 1;
const ECDSA: u8 = 3;

pub(crate) struct Sct<'a> {
    pub(crate) log_id: &'a [u8],
    /// Milliseconds since 1970.
    pub(crate) time: u64,
    extensions: &'a [u8],
    hash: u8,
    algorithm: u8,
    signature: &'a [u8],
}

/// The trusted logs that promised to log the certificate, and how many promises it carries.
///
/// A promise of an unknown log counts for nothing; one in the name of a trusted log must hold.
/// `issuer_spki` is that of the certificate's issuer, out of a verified path.
pub(crate) fn verify<'t>(
    certificate: &Certificate,
    issuer_spki: &[u8],
    trust: &'t Trust,
) -> Result<(Vec<&'t Log>, usize), CertificateProblem> {
    let list = match certificate.extension(SCT_LIST) {
        Some(value) => OctetStringRef::from_der(value).ok().and_then(|list| parse(list.as_bytes())),
        None => Some(Vec::new()),
    };
    let list = list.ok_or(CertificateProblem::MalformedSct)?;
    let entry = precertificate(certificate, issuer_spki)?;
    let mut logs = Vec::new();
    for sct in &list {
        if let Some(log) = trust.certificate_log(sct.log_id) {
            if !sct.holds(log, &entry) {
                return Err(CertificateProblem::Sct);
            }
            logs.push(log);
        }
    }
    Ok((logs, list.len()))
}

impl Sct<'_> {
    fn holds(&self, log: &Log, entry: &[u8]) -> bool {
        let in_time =
            Timestamp::from_unix(self.time / 1000).is_ok_and(|time| log.validity.contains(time));
        let Some(key) = &log.key else { return false };
        let algorithm_fits = match key.algorithm() {
            Algorithm::Rsa => self.algorithm == RSA,
            Algorithm::P256 | Algorithm::P384 | Algorithm::P521 => self.algorithm == ECDSA,
            Algorithm::Ed25519 => false,
        };
        // RFC 6962 §2.1.4 knows SHA-256 only.
        if !in_time || !algorithm_fits || self.hash != SHA256 {
            return false;
        }
        let Ok(extensions_length) = u16::try_from(self.extensions.len()) else { return false };
        // `digitally-signed`: version v1, certificate_timestamp, time, entry, extensions.
        let mut signed = vec![0, 0];
        signed.extend(self.time.to_be_bytes());
        signed.extend(entry);
        signed.extend(extensions_length.to_be_bytes());
        signed.extend(self.extensions);
        let hash = DigestAlgorithm::Sha256;
        key.verifies_digest(hash, &hash.hash(&signed), self.signature)
    }
}

/// `precert_entry` with its type: the certificate as it was before the promises were put in.
fn precertificate(
    certificate: &Certificate,
    issuer_spki: &[u8],
) -> Result<Vec<u8>, CertificateProblem> {
    let mut tbs = certificate.tbs().clone();
    if let Some(extensions) = &mut tbs.extensions {
        extensions.retain(|extension| extension.extn_id != SCT_LIST);
    }
    let tbs = tbs.to_der().map_err(|_| CertificateProblem::Malformed)?;
    let length = u32::try_from(tbs.len()).map_err(|_| CertificateProblem::Malformed)?;
    let [0, length @ ..] = length.to_be_bytes() else { return Err(CertificateProblem::Malformed) };
    let issuer = DigestAlgorithm::Sha256.hash(issuer_spki);
    Ok([&[0, 1], issuer.as_slice(), length.as_slice(), &tbs].concat())
}

/// `SignedCertificateTimestampList`, whole.
pub(crate) fn parse(list: &[u8]) -> Option<Vec<Sct<'_>>> {
    let mut list = Reader(list);
    let mut items = Reader(list.vector()?);
    let mut scts = Vec::new();
    while !items.0.is_empty() {
        let mut item = Reader(items.vector()?);
        let [0] = item.take(1)? else { return None };
        scts.push(Sct {
            log_id: item.take(32)?,
            time: u64::from_be_bytes(item.take(8)?.try_into().ok()?),
            extensions: item.vector()?,
            hash: *item.take(1)?.first()?,
            algorithm: *item.take(1)?.first()?,
            signature: item.vector()?,
        });
        if !item.0.is_empty() {
            return None;
        }
    }
    list.0.is_empty().then_some(scts)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// `opaque <0..2^16-1>`.
    fn vector(&mut self) -> Option<&'a [u8]> {
        let length = u16::from_be_bytes(self.take(2)?.try_into().ok()?);
        self.take(length.into())
    }
}
