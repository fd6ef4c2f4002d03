//! The trusted root: which logs a verifier believes.
//!
//! Sigstore's `trusted_root.json`. Only the transparency logs are read here; other members are let
//! stand unread, since ignoring an authority can only make a verifier refuse more. The certificate
//! authorities are read by `sealwright-sigstore`, whose verifier is carried along.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use sealwright_tlog::VerifierKey;

use crate::encoding::{decode, encode};
use crate::json::{JsonError, from_value, parse_strict};
use crate::roles::CertificateVerifier;
use crate::time::Timestamp;

/// The media type that every stock client reads.
const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.trustedroot+json;version=0.1";
const MEDIA_TYPES: [&str; 3] = [
    MEDIA_TYPE,
    "application/vnd.dev.sigstore.trustedroot.v0.1+json",
    "application/vnd.dev.sigstore.trustedroot.v0.2+json",
];
const MAX_SIZE: usize = 4 << 20;

/// A checked trusted root.
#[derive(Debug, Clone)]
pub struct TrustedRoot {
    logs: Vec<TransparencyLog>,
    certificates: Option<Arc<dyn CertificateVerifier>>,
}

/// One log with an Ed25519 checkpoint key.
#[derive(Debug, Clone)]
pub struct TransparencyLog {
    /// Where the log is served; the host name in it is the log's origin.
    pub base_url: String,
    /// The checkpoint key, named by the origin.
    pub key: VerifierKey,
    /// First second at which the key counts.
    pub valid_from: Timestamp,
    /// Last second at which the key counts.
    pub valid_until: Option<Timestamp>,
}

/// Why a file is not a trusted root.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// Not JSON, too large, or a name twice.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A field is missing or of the wrong type.
    #[error("not a trusted root: {message}")]
    Shape {
        /// Names the field.
        message: String,
    },
    /// `mediaType` is another one.
    #[error("media type {found:?} is not that of a trusted root")]
    MediaType {
        /// What the file says.
        found: String,
    },
    /// A log's `logId` is not the one that belongs to its key and origin.
    #[error("log {base_url}: logId does not belong to this key and origin {origin:?}")]
    LogId {
        /// The log.
        base_url: String,
        /// The origin that its URL gives.
        origin: String,
    },
    /// The key's interval ends before it begins.
    #[error("log {base_url}: its validity ends before it begins")]
    Validity {
        /// The log.
        base_url: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    media_type: String,
    tlogs: Vec<WireLog>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireLog {
    base_url: String,
    public_key: WireKey,
    log_id: WireLogId,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireKey {
    raw_bytes: String,
    key_details: String,
    valid_for: WireValidity,
}

#[derive(Deserialize)]
struct WireValidity {
    start: Timestamp,
    end: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireLogId {
    key_id: String,
}

impl TrustedRoot {
    /// A trusted root with one log.
    pub fn of_log(log: TransparencyLog) -> Self {
        Self { logs: vec![log], certificates: None }
    }

    /// Parses `trusted_root.json`.
    ///
    /// Logs with keys other than Ed25519 are passed over: their entries will not verify.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, TrustError> {
        let wire: Wire =
            from_value(parse_strict(bytes, MAX_SIZE)?).map_err(|error| shape(error.to_string()))?;
        if !MEDIA_TYPES.contains(&wire.media_type.as_str()) {
            return Err(TrustError::MediaType { found: wire.media_type });
        }
        let ed25519 = |log: &WireLog| log.public_key.key_details == "PKIX_ED25519";
        let logs = wire.tlogs.into_iter().filter(ed25519).map(TransparencyLog::check);
        Ok(Self { logs: logs.collect::<Result<_, _>>()?, certificates: None })
    }

    /// This root, with its certificate authorities as `verifier` knows them. Without it, no keyless
    /// signature counts.
    #[must_use]
    pub fn with_certificates(self, verifier: Arc<dyn CertificateVerifier>) -> Self {
        Self { certificates: Some(verifier), ..self }
    }

    /// Who verifies keyless certificates.
    pub fn certificates(&self) -> Option<&dyn CertificateVerifier> {
        self.certificates.as_deref()
    }

    /// The logs.
    pub fn logs(&self) -> &[TransparencyLog] {
        &self.logs
    }

    /// The log whose key id is `log_id`.
    pub fn log(&self, log_id: &[u8]) -> Option<&TransparencyLog> {
        self.logs.iter().find(|log| log.key.log_id() == log_id)
    }

    /// The file that stock clients read, pretty-printed.
    pub fn to_json(&self) -> String {
        let value = json!({
            "mediaType": MEDIA_TYPE,
            "tlogs": self.logs.iter().map(TransparencyLog::to_value).collect::<Vec<_>>(),
            "certificateAuthorities": [],
            "ctlogs": [],
            "timestampAuthorities": [],
        });
        serde_json::to_string_pretty(&value).unwrap_or_default() + "\n"
    }
}

impl TransparencyLog {
    /// Whether the key counts at `time`; both ends of the interval are inside.
    pub fn is_valid_at(&self, time: Timestamp) -> bool {
        self.valid_from <= time && self.valid_until.is_none_or(|end| time <= end)
    }

    fn check(wire: WireLog) -> Result<Self, TrustError> {
        let WireLog { base_url, public_key, log_id } = wire;
        let in_log = |message: &str| shape(format!("log {base_url}: {message}"));
        let origin = host_name(&base_url).ok_or_else(|| in_log("baseUrl has no host name"))?;
        let der = decode(&public_key.raw_bytes).map_err(|_| in_log("rawBytes is not base64"))?;
        let key = VerifierKey::from_spki_der(origin, &der)
            .map_err(|_| in_log("rawBytes is not an Ed25519 key"))?;
        let id = decode(&log_id.key_id).map_err(|_| in_log("keyId is not base64"))?;
        if id != key.log_id() {
            let origin = origin.to_owned();
            return Err(TrustError::LogId { base_url, origin });
        }
        let WireValidity { start, end } = public_key.valid_for;
        if end.is_some_and(|end| end < start) {
            return Err(TrustError::Validity { base_url });
        }
        Ok(Self { key, valid_from: start, valid_until: end, base_url })
    }

    fn to_value(&self) -> Value {
        let mut valid_for = json!({"start": self.valid_from});
        if let Some(end) = self.valid_until {
            valid_for["end"] = json!(end);
        }
        json!({
            "baseUrl": self.base_url,
            "hashAlgorithm": "SHA2_256",
            "publicKey": {
                "rawBytes": encode(&self.key.to_spki_der()),
                "keyDetails": "PKIX_ED25519",
                "validFor": valid_for,
            },
            "logId": {"keyId": encode(&self.key.log_id())},
        })
    }
}

fn shape(message: impl Into<String>) -> TrustError {
    TrustError::Shape { message: message.into() }
}

/// The bare host name of a URL, which stock verifiers take for the log's origin.
fn host_name(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host.strip_prefix('[') {
        Some(v6) => v6.split_once(']')?.0,
        None => host.split(':').next()?,
    };
    (!host.is_empty()).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> TrustedRoot {
        let key = VerifierKey::new(
            "log.example",
            &[
                // The C2SP signed-note example key.
                0xe9, 0x32, 0x47, 0x8a, 0xe6, 0xe7, 0xa8, 0x47, 0x0a, 0x46, 0x16, 0x4c, 0x90, 0x91,
                0x1e, 0x19, 0x09, 0xb5, 0x79, 0xf0, 0x87, 0x62, 0x76, 0x92, 0xda, 0x28, 0x03, 0x58,
                0x72, 0xb9, 0xca, 0xdd,
            ],
        )
        .unwrap();
        TrustedRoot::of_log(TransparencyLog {
            base_url: "http://log.example:3000".into(),
            key,
            valid_from: Timestamp::from_unix(1_700_000_000).unwrap(),
            valid_until: None,
        })
    }

    #[test]
    fn what_is_written_is_read() {
        let text = root().to_json();
        let parsed = TrustedRoot::parse(text.as_bytes()).unwrap();
        assert_eq!(parsed.to_json(), text);
        assert!(parsed.log(&root().logs()[0].key.log_id()).is_some());
        assert!(parsed.log(&[0; 32]).is_none());
    }

    #[test]
    fn a_log_under_another_host_name_is_another_log() {
        let moved = root().to_json().replace("log.example", "evil.example");
        assert!(matches!(TrustedRoot::parse(moved.as_bytes()), Err(TrustError::LogId { .. })));
        let endless = root().to_json().replace("start", "begin");
        assert!(matches!(TrustedRoot::parse(endless.as_bytes()), Err(TrustError::Shape { .. })));
    }

    #[test]
    fn an_interval_that_ends_before_it_begins_is_refused() {
        let mut log = root().logs()[0].clone();
        log.valid_until = Some(log.valid_from);
        let of = |log: &TransparencyLog| TrustedRoot::of_log(log.clone()).to_json();
        assert!(TrustedRoot::parse(of(&log).as_bytes()).is_ok());
        log.valid_until = Timestamp::from_unix(log.valid_from.unix() - 1).ok();
        let error = TrustedRoot::parse(of(&log).as_bytes()).unwrap_err();
        assert!(matches!(error, TrustError::Validity { .. }), "{error}");
    }

    #[test]
    fn host_names() {
        for (url, host) in [
            ("https://log.example/x", Some("log.example")),
            ("http://localhost:3003", Some("localhost")),
            ("https://user@[::1]:8/x", Some("::1")),
            ("log.example", None),
            ("https://", None),
        ] {
            assert_eq!(host_name(url), host, "{url}");
        }
    }
}
