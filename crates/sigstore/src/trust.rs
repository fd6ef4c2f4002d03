//! The trusted root: whose logs, certificates and clocks a verifier believes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use sealwright_attest::{Timestamp, from_value, parse_strict};

use crate::certificate::Certificate;
use crate::error::TrustError;
use crate::key::Key;
use crate::second::SecondVerifier;

const MAX_SIZE: usize = 4 << 20;

const MEDIA_TYPES: [&str; 3] = [
    "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
    "application/vnd.dev.sigstore.trustedroot.v0.1+json",
    "application/vnd.dev.sigstore.trustedroot.v0.2+json",
];

/// Sigstore's `trusted_root.json`, checked: transparency logs, certificate authorities, certificate
/// transparency logs and timestamp authorities, each with the interval in which it is believed.
pub struct Trust {
    logs: Vec<Log>,
    certificate_logs: Vec<Log>,
    pub(crate) certificate_authorities: Vec<Authority>,
    pub(crate) timestamp_authorities: Vec<Authority>,
    pub(crate) second: SecondVerifier,
}

/// A transparency log, or a certificate transparency log.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    pub(crate) url: String,
    pub(crate) operator: Option<String>,
    /// `None` if its algorithm is not supported: the log is known, but nothing of it verifies.
    pub(crate) key: Option<Key>,
    /// `logId`, and `checkpointKeyId` where there is one.
    pub(crate) ids: Vec<Vec<u8>>,
    pub(crate) validity: Validity,
}

/// A chain of certificates that is believed for one purpose.
#[derive(Debug, Clone)]
pub(crate) struct Authority {
    pub(crate) url: String,
    pub(crate) operator: Option<String>,
    /// DER, from the issuer of leaves (or, for timestamps, the leaf) up to the root; not empty.
    pub(crate) chain: Vec<Vec<u8>>,
    pub(crate) validity: Validity,
}

/// A closed interval: both ends are inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Validity {
    start: Option<Timestamp>,
    end: Option<Timestamp>,
}

impl Trust {
    /// Parses `trusted_root.json`.
    ///
    /// Unknown members are let stand: to miss an authority can only make a verifier refuse more.
    ///
    /// # Errors
    /// [`TrustError`]. A log without the start of its validity makes the whole file unusable, and so
    /// does a certificate that cannot be read; a key of an algorithm that is not supported does not.
    pub fn parse(bytes: &[u8]) -> Result<Self, TrustError> {
        let json = parse_strict(bytes, MAX_SIZE)?;
        let wire: WireRoot = from_value(json.clone())
            .map_err(|error| TrustError::Shape { message: error.to_string() })?;
        if !MEDIA_TYPES.contains(&wire.media_type.as_str()) {
            return Err(TrustError::MediaType { found: wire.media_type });
        }
        Ok(Self {
            logs: check_logs(wire.tlogs)?,
            certificate_logs: check_logs(wire.ctlogs)?,
            certificate_authorities: check_all(wire.certificate_authorities, WireAuthority::check)?,
            timestamp_authorities: check_all(wire.timestamp_authorities, WireAuthority::check)?,
            second: SecondVerifier::new(&json),
        })
    }

    /// Trust in nobody: enough for a managed key whose signatures are in no log.
    pub fn nobody() -> Self {
        Self {
            logs: Vec::new(),
            certificate_logs: Vec::new(),
            certificate_authorities: Vec::new(),
            timestamp_authorities: Vec::new(),
            second: SecondVerifier::new(&serde_json::json!({"mediaType": MEDIA_TYPES[0]})),
        }
    }

    /// Whether entries of transparency logs can be verified at all.
    pub fn has_logs(&self) -> bool {
        !self.logs.is_empty()
    }

    /// Whether signed certificate timestamps can be verified at all.
    pub fn has_certificate_logs(&self) -> bool {
        !self.certificate_logs.is_empty()
    }

    /// Whether entries of the log with this key id can be verified.
    pub fn knows_log(&self, id: &[u8]) -> bool {
        self.log(id).is_some()
    }

    pub(crate) fn log(&self, id: &[u8]) -> Option<&Log> {
        find_log(&self.logs, id)
    }

    pub(crate) fn certificate_log(&self, id: &[u8]) -> Option<&Log> {
        find_log(&self.certificate_logs, id)
    }
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trust")
            .field("logs", &self.logs)
            .field("certificate_logs", &self.certificate_logs)
            .field("certificate_authorities", &self.certificate_authorities)
            .field("timestamp_authorities", &self.timestamp_authorities)
            .finish_non_exhaustive()
    }
}

impl Validity {
    pub(crate) fn contains(&self, time: Timestamp) -> bool {
        self.start.is_none_or(|start| start <= time) && self.end.is_none_or(|end| time <= end)
    }

    pub(crate) fn has_begun(&self, now: Timestamp) -> bool {
        self.start.is_none_or(|start| start <= now)
    }
}

fn find_log<'a>(logs: &'a [Log], id: &[u8]) -> Option<&'a Log> {
    logs.iter().find(|log| log.ids.iter().any(|known| known == id))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireRoot {
    media_type: String,
    tlogs: Option<Vec<WireLog>>,
    certificate_authorities: Option<Vec<WireAuthority>>,
    ctlogs: Option<Vec<WireLog>>,
    timestamp_authorities: Option<Vec<WireAuthority>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireLog {
    #[serde(default)]
    base_url: String,
    hash_algorithm: String,
    public_key: WireKey,
    log_id: WireKeyId,
    checkpoint_key_id: Option<WireKeyId>,
    operator: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireKey {
    raw_bytes: String,
    valid_for: WireStarted,
}

/// Of a log: the start is required.
#[derive(Deserialize)]
struct WireStarted {
    start: Timestamp,
    end: Option<Timestamp>,
}

#[derive(Deserialize)]
struct WireValidity {
    start: Option<Timestamp>,
    end: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireKeyId {
    key_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireAuthority {
    #[serde(default)]
    uri: String,
    cert_chain: WireChain,
    valid_for: Option<WireValidity>,
    operator: Option<String>,
}

#[derive(Deserialize)]
struct WireChain {
    certificates: Vec<WireCertificate>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireCertificate {
    raw_bytes: String,
}

fn check_all<W, T>(
    items: Option<Vec<W>>,
    check: impl Fn(W) -> Result<T, TrustError>,
) -> Result<Vec<T>, TrustError> {
    items.unwrap_or_default().into_iter().map(check).collect()
}

fn check_logs(logs: Option<Vec<WireLog>>) -> Result<Vec<Log>, TrustError> {
    let mut checked: Vec<Log> = Vec::new();
    for log in check_all(logs, WireLog::check)? {
        if log.ids.iter().any(|id| find_log(&checked, id).is_some()) {
            return Err(TrustError::DuplicateLog { url: log.url });
        }
        checked.push(log);
    }
    Ok(checked)
}

impl WireLog {
    fn check(self) -> Result<Log, TrustError> {
        let Self { base_url: url, public_key, log_id, checkpoint_key_id, operator, .. } = self;
        if self.hash_algorithm != "SHA2_256" {
            let message = format!("log {url}: hashAlgorithm is not SHA2_256");
            return Err(TrustError::Shape { message });
        }
        let unusable = || TrustError::Key { url: url.clone() };
        let key = STANDARD.decode(public_key.raw_bytes).map_err(|_| unusable())?;
        let key = Key::from_trusted_root(&key);
        let ids = [Some(log_id), checkpoint_key_id].into_iter().flatten();
        let ids: Result<Vec<Vec<u8>>, _> = ids.map(|id| STANDARD.decode(id.key_id)).collect();
        let ids = ids.ok().filter(|ids| ids.iter().all(|id| id.len() >= 4));
        let ids = ids.ok_or_else(unusable)?;
        let WireStarted { start, end } = public_key.valid_for;
        let validity = check_validity(&url, Some(start), end)?;
        Ok(Log { url, operator, key, ids, validity })
    }
}

impl WireAuthority {
    fn check(self) -> Result<Authority, TrustError> {
        let Self { uri: url, cert_chain, valid_for, operator } = self;
        let unusable = || TrustError::Certificates { name: url.clone() };
        let decode = |certificate: WireCertificate| {
            let der = STANDARD.decode(certificate.raw_bytes).ok()?;
            Certificate::is_well_formed(&der).then_some(der)
        };
        let chain: Option<Vec<_>> = cert_chain.certificates.into_iter().map(decode).collect();
        let chain = chain.filter(|chain| !chain.is_empty()).ok_or_else(unusable)?;
        let (start, end) = valid_for.map(|window| (window.start, window.end)).unwrap_or_default();
        let validity = check_validity(&url, start, end)?;
        Ok(Authority { url, operator, chain, validity })
    }
}

fn check_validity(
    name: &str,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
) -> Result<Validity, TrustError> {
    if start.zip(end).is_some_and(|(start, end)| end < start) {
        return Err(TrustError::Validity { name: name.to_owned() });
    }
    Ok(Validity { start, end })
}
