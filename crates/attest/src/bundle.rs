//! The Sigstore bundle: reading strictly, writing version 0.3.
//!
//! Field names and forms are `sigstore_bundle.proto`'s proto3 JSON. Structures from outside are
//! read into the private `wire` types first, which refuse unknown fields, and then into the public
//! ones, in which illegal combinations cannot be said.

use serde_json::Value;

use crate::encoding::{decode, encode};
use crate::envelope::Envelope;
use crate::json::{JsonError, from_value, parse_strict};

mod lines;

/// The media type that is written; the older spellings of 0.1 to 0.3 are read as well.
pub const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

const READABLE_MEDIA_TYPES: [&str; 4] = [
    MEDIA_TYPE,
    "application/vnd.dev.sigstore.bundle+json;version=0.1",
    "application/vnd.dev.sigstore.bundle+json;version=0.2",
    "application/vnd.dev.sigstore.bundle+json;version=0.3",
];

/// The largest bundle that is read: 64 MiB, an OMS manifest of some 200,000 files.
pub const MAX_BUNDLE_SIZE: usize = 64 << 20;

/// Most log entries or timestamps in one bundle, as in other clients.
const MAX_ENTRIES: usize = 32;

/// Longest `keyid`, in bytes. No signature covers it: whoever submits somebody's statement first could
/// make it as large as a bundle can be.
const MAX_KEYID: usize = 1024;

/// Largest RFC 3161 timestamp, in bytes, for the same reason.
const MAX_TIMESTAMP: usize = 64 << 10;

/// A well-formed bundle. Nothing in it has been verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    envelope: Envelope,
    material: VerificationMaterial,
    log_entries: Vec<LogEntry>,
    /// DER TimeStampResp (RFC 3161); carried along, not interpreted here.
    timestamps: Vec<Vec<u8>>,
}

/// How the signer's key can be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VerificationMaterial {
    /// The verifier already has the key; the hint helps to choose which.
    PublicKey {
        /// For keys of ours: [`crate::PublicKey::id`].
        hint: String,
    },
    /// DER certificates, leaf first.
    Certificates(Vec<Vec<u8>>),
}

/// One `TransparencyLogEntry`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Index in the log.
    pub log_index: u64,
    /// The log's key id.
    pub log_id: Vec<u8>,
    /// Entry kind, such as `hashedrekord`.
    pub kind: String,
    /// Version of the kind, such as `0.0.2`.
    pub version: String,
    /// Unix seconds; 0 for Rekor v2, and then without meaning.
    pub integrated_time: u64,
    /// Rekor v1's signed entry timestamp.
    pub inclusion_promise: Option<Vec<u8>>,
    /// Proof of inclusion; absent in some 0.1 bundles.
    pub inclusion: Option<InclusionEvidence>,
    /// The entry's bytes as the log hashed them.
    pub canonicalized_body: Vec<u8>,
}

/// `InclusionProof` of protobuf-specs: unverified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InclusionEvidence {
    /// Index of the leaf in the tree.
    pub log_index: u64,
    /// Root hash that the prover claims.
    pub root_hash: Vec<u8>,
    /// Leaves in the tree.
    pub tree_size: u64,
    /// Sibling hashes from the leaf up.
    pub hashes: Vec<Vec<u8>>,
    /// The signed checkpoint.
    pub checkpoint: String,
}

impl LogEntry {
    /// The entry as it is in a bundle: proto3 JSON without unpopulated fields.
    pub fn to_value(&self) -> Value {
        // String keys and finite numbers only, so this cannot fail.
        serde_json::to_value(wire::LogEntry::from(self)).unwrap_or_default()
    }

    /// The entry as Rekor v2 answers with it: proto3 JSON with unpopulated fields written out.
    pub fn to_rekor_json(&self) -> String {
        let mut value = self.to_value();
        value["inclusionPromise"] = match &self.inclusion_promise {
            Some(bytes) => serde_json::json!({"signedEntryTimestamp": encode(bytes)}),
            None => Value::Null,
        };
        value.to_string()
    }
}

/// Why bytes are not a bundle that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// Not JSON, too large, or a name twice.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A field is missing, unknown, or of the wrong type.
    #[error("not a Sigstore bundle: {message}")]
    Shape {
        /// Names the field.
        message: String,
    },
    /// A media type that is not one of the bundle versions 0.1 to 0.3.
    #[error("unsupported bundle media type {found:?}")]
    MediaType {
        /// What the bundle says.
        found: String,
    },
    /// None, or more than one, of things of which there must be exactly one.
    #[error("a bundle must have exactly one {what}, this one has {count}")]
    NotOne {
        /// `signature`, `verification material`, `content`.
        what: &'static str,
        /// How many there are.
        count: usize,
    },
    /// More than 32 log entries or timestamps, or one entry twice.
    #[error("too many or repeated {what}")]
    Repeated {
        /// `log entries` or `timestamps`.
        what: &'static str,
    },
    /// A signature over plain bytes; models and statements are in DSSE envelopes.
    #[error("the bundle signs a message digest and holds no statement")]
    NoStatement,
}

impl Bundle {
    /// A bundle without log entries.
    pub fn new(envelope: Envelope, material: VerificationMaterial) -> Self {
        Self { envelope, material, log_entries: Vec::new(), timestamps: Vec::new() }
    }

    /// Parses a bundle.
    ///
    /// # Errors
    /// [`BundleError`]. Unknown fields are refused at every level that the standard defines.
    pub fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        Self::from_value(parse_strict(bytes, MAX_BUNDLE_SIZE)?)
    }

    /// The same, from JSON that [`parse_strict`] has already read.
    ///
    /// # Errors
    /// [`BundleError`].
    pub fn from_value(value: Value) -> Result<Self, BundleError> {
        let shape = |error: serde_json::Error| BundleError::Shape { message: error.to_string() };
        let wire: wire::Bundle = from_value(value).map_err(shape)?;
        if !READABLE_MEDIA_TYPES.contains(&wire.media_type.as_str()) {
            return Err(BundleError::MediaType { found: wire.media_type });
        }
        let envelope = match (wire.dsse_envelope, wire.message_signature) {
            (Some(envelope), None) => envelope.check()?,
            (None, Some(_)) => return Err(BundleError::NoStatement),
            (None, None) => return Err(BundleError::NotOne { what: "content", count: 0 }),
            (Some(_), Some(_)) => return Err(BundleError::NotOne { what: "content", count: 2 }),
        };
        let timestamps = wire.verification_material.timestamps()?;
        let log_entries = wire.verification_material.log_entries()?;
        let material = wire.verification_material.check()?;
        Ok(Self { envelope, material, log_entries, timestamps })
    }

    /// The envelope.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// How to find the key.
    pub fn material(&self) -> &VerificationMaterial {
        &self.material
    }

    /// The entries that say which log holds the bundle; unverified.
    pub fn log_entries(&self) -> &[LogEntry] {
        &self.log_entries
    }

    /// This bundle with `entry` as its only log entry.
    #[must_use]
    pub fn with_log_entry(self, entry: LogEntry) -> Self {
        Self { log_entries: vec![entry], ..self }
    }

    /// This bundle with these log entries in place of whatever entries it had.
    #[must_use]
    pub fn with_log_entries(self, log_entries: Vec<LogEntry>) -> Self {
        Self { log_entries, ..self }
    }

    /// This bundle as one that was signed with a key, at which `hint` points.
    #[must_use]
    pub fn with_key_hint(self, hint: String) -> Self {
        self.with_material(VerificationMaterial::PublicKey { hint })
    }

    /// This bundle with another way to find the key: for [`crate::SigningCertificate`].
    pub(crate) fn with_material(self, material: VerificationMaterial) -> Self {
        Self { material, ..self }
    }

    /// The bundle as compact JSON, always in the same member order.
    pub fn to_json(&self) -> String {
        // The wire types have string keys and finite numbers only, so this cannot fail.
        serde_json::to_string(&wire::Bundle::from(self)).unwrap_or_default()
    }

    /// The bundle as a JSON value.
    pub fn to_value(&self) -> Value {
        serde_json::to_value(wire::Bundle::from(self)).unwrap_or_default()
    }
}

mod wire {
    use serde::{Deserialize, Serialize};
    use serde_json::Value;

    use super::{BundleError, MAX_ENTRIES, MAX_KEYID, MAX_TIMESTAMP, MEDIA_TYPE, decode, encode};
    use crate::encoding::{base64_bytes, proto_u64};

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    pub(super) struct Bundle {
        pub(super) media_type: String,
        pub(super) verification_material: Material,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub(super) dsse_envelope: Option<Envelope>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub(super) message_signature: Option<Value>,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    pub(super) struct Material {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        public_key: Option<PublicKeyIdentifier>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        x509_certificate_chain: Option<CertificateChain>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        certificate: Option<Certificate>,
        #[serde(default)]
        tlog_entries: Option<Vec<LogEntry>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timestamp_verification_data: Option<TimestampData>,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct PublicKeyIdentifier {
        #[serde(default)]
        hint: Option<String>,
        // Written by model-signing 0.3.1 to 1.0.1 beside no hint; says nothing that can be trusted.
        #[serde(default, rename = "rawBytes", skip_serializing)]
        _raw_bytes: Option<String>,
        #[serde(default, rename = "keyDetails", skip_serializing)]
        _key_details: Option<String>,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct CertificateChain {
        certificates: Vec<Certificate>,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Certificate {
        #[serde(with = "base64_bytes")]
        raw_bytes: Vec<u8>,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct TimestampData {
        #[serde(default)]
        rfc3161_timestamps: Option<Vec<Rfc3161Timestamp>>,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Rfc3161Timestamp {
        #[serde(with = "base64_bytes")]
        signed_timestamp: Vec<u8>,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    pub(super) struct LogEntry {
        #[serde(with = "proto_u64")]
        log_index: u64,
        log_id: LogId,
        kind_version: KindVersion,
        #[serde(default, with = "proto_u64")]
        integrated_time: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        inclusion_promise: Option<InclusionPromise>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        inclusion_proof: Option<InclusionProof>,
        #[serde(with = "base64_bytes")]
        canonicalized_body: Vec<u8>,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct LogId {
        #[serde(with = "base64_bytes")]
        key_id: Vec<u8>,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct KindVersion {
        kind: String,
        version: String,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct InclusionPromise {
        #[serde(with = "base64_bytes")]
        signed_entry_timestamp: Vec<u8>,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct InclusionProof {
        // proto3 JSON leaves out a zero.
        #[serde(default, with = "proto_u64")]
        log_index: u64,
        #[serde(with = "base64_bytes")]
        root_hash: Vec<u8>,
        #[serde(with = "proto_u64")]
        tree_size: u64,
        #[serde(default)]
        hashes: Vec<String>,
        checkpoint: Checkpoint,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Checkpoint {
        envelope: String,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    pub(super) struct Envelope {
        #[serde(with = "base64_bytes")]
        payload: Vec<u8>,
        payload_type: String,
        signatures: Vec<Signature>,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Signature {
        #[serde(with = "base64_bytes")]
        sig: Vec<u8>,
        #[serde(default)]
        keyid: Option<String>,
    }

    impl Envelope {
        pub(super) fn check(self) -> Result<super::Envelope, BundleError> {
            let count = self.signatures.len();
            let [signature] = <[Signature; 1]>::try_from(self.signatures)
                .map_err(|_| BundleError::NotOne { what: "signature", count })?;
            let keyid = signature.keyid.unwrap_or_default();
            if keyid.len() > MAX_KEYID {
                let message = format!("keyid has more than {MAX_KEYID} bytes");
                return Err(BundleError::Shape { message });
            }
            Ok(super::Envelope {
                payload: self.payload,
                payload_type: self.payload_type,
                signature: signature.sig,
                keyid,
            })
        }
    }

    impl Material {
        pub(super) fn check(self) -> Result<super::VerificationMaterial, BundleError> {
            let chain = self.x509_certificate_chain.map(|chain| chain.certificates);
            let certificates = chain.or(self.certificate.map(|leaf| vec![leaf]));
            match (self.public_key, certificates) {
                (Some(key), None) => Ok(super::VerificationMaterial::PublicKey {
                    hint: key.hint.unwrap_or_default(),
                }),
                (None, Some(list)) if !list.is_empty() => {
                    Ok(super::VerificationMaterial::Certificates(
                        list.into_iter().map(|certificate| certificate.raw_bytes).collect(),
                    ))
                }
                (key, certificates) => Err(BundleError::NotOne {
                    what: "verification material",
                    count: usize::from(key.is_some())
                        + usize::from(certificates.is_some_and(|list| !list.is_empty())),
                }),
            }
        }

        pub(super) fn timestamps(&self) -> Result<Vec<Vec<u8>>, BundleError> {
            let data = self.timestamp_verification_data.as_ref();
            let list = data.and_then(|data| data.rfc3161_timestamps.as_deref()).unwrap_or_default();
            let timestamps: Vec<_> = list.iter().map(|t| t.signed_timestamp.clone()).collect();
            if timestamps.len() > MAX_ENTRIES || has_twins(&timestamps) {
                return Err(BundleError::Repeated { what: "timestamps" });
            }
            if timestamps.iter().any(|timestamp| timestamp.len() > MAX_TIMESTAMP) {
                let message = format!("a timestamp has more than {MAX_TIMESTAMP} bytes");
                return Err(BundleError::Shape { message });
            }
            Ok(timestamps)
        }

        pub(super) fn log_entries(&self) -> Result<Vec<super::LogEntry>, BundleError> {
            let list = self.tlog_entries.as_deref().unwrap_or_default();
            let places: Vec<_> =
                list.iter().map(|entry| (&entry.log_id.key_id, entry.log_index)).collect();
            if list.len() > MAX_ENTRIES || has_twins(&places) {
                return Err(BundleError::Repeated { what: "log entries" });
            }
            list.iter().map(LogEntry::check).collect()
        }
    }

    fn has_twins<T: PartialEq>(list: &[T]) -> bool {
        list.iter().enumerate().any(|(index, item)| list.iter().skip(index + 1).any(|x| x == item))
    }

    impl LogEntry {
        fn check(&self) -> Result<super::LogEntry, BundleError> {
            Ok(super::LogEntry {
                log_index: self.log_index,
                log_id: self.log_id.key_id.clone(),
                kind: self.kind_version.kind.clone(),
                version: self.kind_version.version.clone(),
                integrated_time: self.integrated_time,
                inclusion_promise: self
                    .inclusion_promise
                    .as_ref()
                    .map(|promise| promise.signed_entry_timestamp.clone()),
                inclusion: self.inclusion_proof.as_ref().map(InclusionProof::check).transpose()?,
                canonicalized_body: self.canonicalized_body.clone(),
            })
        }
    }

    impl InclusionProof {
        fn check(&self) -> Result<super::InclusionEvidence, BundleError> {
            let hashes = self.hashes.iter().map(|hash| decode(hash)).collect::<Result<_, _>>();
            Ok(super::InclusionEvidence {
                log_index: self.log_index,
                root_hash: self.root_hash.clone(),
                tree_size: self.tree_size,
                hashes: hashes.map_err(|_| BundleError::Shape {
                    message: "inclusionProof.hashes: expected standard base64".to_owned(),
                })?,
                checkpoint: self.checkpoint.envelope.clone(),
            })
        }
    }

    impl From<&super::Bundle> for Bundle {
        fn from(bundle: &super::Bundle) -> Self {
            let envelope = &bundle.envelope;
            Self {
                media_type: MEDIA_TYPE.to_owned(),
                verification_material: Material::from(bundle),
                dsse_envelope: Some(Envelope {
                    payload: envelope.payload.clone(),
                    payload_type: envelope.payload_type.clone(),
                    signatures: vec![Signature {
                        sig: envelope.signature.clone(),
                        keyid: Some(envelope.keyid.clone()),
                    }],
                }),
                message_signature: None,
            }
        }
    }

    impl From<&super::Bundle> for Material {
        fn from(bundle: &super::Bundle) -> Self {
            let mut public_key = None;
            let mut x509_certificate_chain = None;
            match &bundle.material {
                super::VerificationMaterial::PublicKey { hint } => {
                    let hint = Some(hint.clone());
                    public_key =
                        Some(PublicKeyIdentifier { hint, _raw_bytes: None, _key_details: None });
                }
                super::VerificationMaterial::Certificates(list) => {
                    let certificates =
                        list.iter().map(|bytes| Certificate { raw_bytes: bytes.clone() }).collect();
                    x509_certificate_chain = Some(CertificateChain { certificates });
                }
            }
            let timestamps: Vec<_> = bundle
                .timestamps
                .iter()
                .map(|bytes| Rfc3161Timestamp { signed_timestamp: bytes.clone() })
                .collect();
            Self {
                public_key,
                x509_certificate_chain,
                certificate: None,
                tlog_entries: Some(bundle.log_entries.iter().map(LogEntry::from).collect()),
                timestamp_verification_data: (!timestamps.is_empty())
                    .then_some(TimestampData { rfc3161_timestamps: Some(timestamps) }),
            }
        }
    }

    impl From<&super::LogEntry> for LogEntry {
        fn from(entry: &super::LogEntry) -> Self {
            Self {
                log_index: entry.log_index,
                log_id: LogId { key_id: entry.log_id.clone() },
                kind_version: KindVersion {
                    kind: entry.kind.clone(),
                    version: entry.version.clone(),
                },
                integrated_time: entry.integrated_time,
                inclusion_promise: entry
                    .inclusion_promise
                    .clone()
                    .map(|bytes| InclusionPromise { signed_entry_timestamp: bytes }),
                inclusion_proof: entry.inclusion.as_ref().map(|inclusion| InclusionProof {
                    log_index: inclusion.log_index,
                    root_hash: inclusion.root_hash.clone(),
                    tree_size: inclusion.tree_size,
                    hashes: inclusion.hashes.iter().map(|hash| encode(hash)).collect(),
                    checkpoint: Checkpoint { envelope: inclusion.checkpoint.clone() },
                }),
                canonicalized_body: entry.canonicalized_body.clone(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle() -> Value {
        serde_json::json!({
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": {"publicKey": {"hint": "h"}, "tlogEntries": []},
            "dsseEnvelope": {"payload": "e30=", "payloadType": "application/vnd.in-toto+json",
                "signatures": [{"sig": "AA==", "keyid": ""}]}
        })
    }

    fn changed(change: impl FnOnce(&mut Value)) -> Result<Bundle, BundleError> {
        let mut value = bundle();
        change(&mut value);
        Bundle::parse(value.to_string().as_bytes())
    }

    #[test]
    fn what_is_written_is_read() {
        let parsed = changed(|_| {}).unwrap();
        assert_eq!(Bundle::parse(parsed.to_json().as_bytes()), Ok(parsed.clone()));
        assert_eq!(parsed.to_value(), bundle());
    }

    #[test]
    fn wrong_shapes_are_refused() {
        let refused = [
            changed(|b| b["extra"] = 1.into()),
            changed(|b| b["mediaType"] = "application/json".into()),
            changed(|b| b["dsseEnvelope"]["signatures"] = Value::Array(vec![])),
            changed(|b| {
                let twin = b["dsseEnvelope"]["signatures"][0].clone();
                b["dsseEnvelope"]["signatures"].as_array_mut().unwrap().push(twin);
            }),
            changed(|b| {
                b["dsseEnvelope"]["signatures"][0]["keyid"] = "k".repeat(MAX_KEYID + 1).into();
            }),
            changed(|b| {
                let stamp = crate::encoding::encode(&vec![0; MAX_TIMESTAMP + 1]);
                b["verificationMaterial"]["timestampVerificationData"] =
                    serde_json::json!({"rfc3161Timestamps": [{"signedTimestamp": stamp}]});
            }),
            changed(|b| b["dsseEnvelope"]["payload"] = "e30".into()),
            changed(|b| b["dsseEnvelope"]["payload"] = 7.into()),
            changed(|b| b["verificationMaterial"]["publicKey"] = Value::Null),
            changed(|b| {
                b["verificationMaterial"]["certificate"] = serde_json::json!({"rawBytes": "AA=="})
            }),
            changed(|b| drop(b.as_object_mut().unwrap().remove("dsseEnvelope"))),
            changed(|b| b["messageSignature"] = serde_json::json!({})),
            changed(|b| b["verificationMaterial"]["tlogEntries"] = serde_json::json!([{}])),
        ];
        for (index, result) in refused.iter().enumerate() {
            assert!(result.is_err(), "case {index}: {result:?}");
        }
        assert!(Bundle::parse(&bundle().to_string().as_bytes()[..100]).is_err());
    }
}
