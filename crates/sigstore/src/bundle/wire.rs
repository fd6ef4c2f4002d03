//! The JSON of a bundle, field by field.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

use sealwright_attest::from_value;

use super::{Content, Entry, MAX_ITEMS, Material, Proof, SigstoreBundle, Version};
use crate::artifact::DigestAlgorithm;
use crate::error::BundleError;

pub(super) fn read(json: Value) -> Result<SigstoreBundle, BundleError> {
    let wire: Bundle = from_value(json.clone())
        .map_err(|error| BundleError::Shape { message: error.to_string() })?;
    let version = version(&wire.media_type)
        .ok_or(BundleError::MediaType { found: wire.media_type.clone() })?;
    let content = match (wire.message_signature, wire.dsse_envelope) {
        (Some(message), None) => message.check()?,
        (None, Some(envelope)) => envelope.check()?,
        (message, envelope) => {
            let count = usize::from(message.is_some()) + usize::from(envelope.is_some());
            return Err(BundleError::NotOne { what: "content", count });
        }
    };
    let (material, entries, timestamps) = wire.verification_material.check(version)?;
    Ok(SigstoreBundle { version, material, content, entries, timestamps, json })
}

/// `…bundle+json;version=0.Y` and `…bundle.v0.Y[.Z]+json`, for 0.1 to 0.3.
fn version(media_type: &str) -> Option<Version> {
    let rest = media_type.strip_prefix("application/vnd.dev.sigstore.bundle")?;
    let minor = match rest.strip_prefix("+json;version=0.") {
        Some(minor) => minor,
        None => {
            let numbers = rest.strip_prefix(".v0.")?.strip_suffix("+json")?;
            let (minor, patch) = numbers.split_once('.').unwrap_or((numbers, "0"));
            let canonical = !patch.is_empty()
                && patch.bytes().all(|byte| byte.is_ascii_digit())
                && (patch == "0" || !patch.starts_with('0'));
            canonical.then_some(minor)?
        }
    };
    match minor {
        "1" => Some(Version::V0_1),
        "2" => Some(Version::V0_2),
        "3" => Some(Version::V0_3),
        _ => None,
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Bundle {
    media_type: String,
    verification_material: VerificationMaterial,
    message_signature: Option<MessageSignature>,
    dsse_envelope: Option<Envelope>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct VerificationMaterial {
    public_key: Option<PublicKeyIdentifier>,
    x509_certificate_chain: Option<Chain>,
    certificate: Option<Certificate>,
    tlog_entries: Option<Vec<LogEntry>>,
    timestamp_verification_data: Option<TimestampData>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PublicKeyIdentifier {
    hint: Option<String>,
    // Written by model-signing 0.3.1 to 1.0.1 beside no hint; says nothing that can be trusted.
    #[serde(rename = "rawBytes")]
    _raw_bytes: Option<String>,
    #[serde(rename = "keyDetails")]
    _key_details: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Chain {
    certificates: Vec<Certificate>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Certificate {
    #[serde(deserialize_with = "bytes")]
    raw_bytes: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TimestampData {
    rfc3161_timestamps: Option<Vec<Rfc3161Timestamp>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rfc3161Timestamp {
    #[serde(deserialize_with = "bytes")]
    signed_timestamp: Vec<u8>,
}

// proto3 JSON leaves out what is zero, so an absent number is one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LogEntry {
    #[serde(default, deserialize_with = "number")]
    log_index: u64,
    log_id: LogId,
    kind_version: KindVersion,
    #[serde(default, deserialize_with = "number")]
    integrated_time: u64,
    inclusion_promise: Option<InclusionPromise>,
    inclusion_proof: Option<InclusionProof>,
    #[serde(deserialize_with = "bytes")]
    canonicalized_body: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LogId {
    #[serde(deserialize_with = "bytes")]
    key_id: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KindVersion {
    kind: String,
    version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct InclusionPromise {
    #[serde(deserialize_with = "bytes")]
    signed_entry_timestamp: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct InclusionProof {
    #[serde(default, deserialize_with = "number")]
    log_index: u64,
    #[serde(default, deserialize_with = "bytes")]
    root_hash: Vec<u8>,
    #[serde(default, deserialize_with = "number")]
    tree_size: u64,
    hashes: Option<Vec<String>>,
    checkpoint: Option<Checkpoint>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Checkpoint {
    envelope: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MessageSignature {
    message_digest: Option<MessageDigest>,
    #[serde(deserialize_with = "bytes")]
    signature: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MessageDigest {
    algorithm: String,
    #[serde(deserialize_with = "bytes")]
    digest: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Envelope {
    #[serde(deserialize_with = "bytes")]
    payload: Vec<u8>,
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    #[serde(deserialize_with = "bytes")]
    sig: Vec<u8>,
    #[serde(rename = "keyid")]
    _keyid: Option<String>,
}

impl MessageSignature {
    fn check(self) -> Result<Content, BundleError> {
        let digest = self.message_digest.map(MessageDigest::check).transpose()?;
        Ok(Content::Message { signature: self.signature, digest })
    }
}

impl MessageDigest {
    fn check(self) -> Result<(DigestAlgorithm, Vec<u8>), BundleError> {
        DigestAlgorithm::from_proto_name(&self.algorithm)
            .filter(|algorithm| algorithm.digest_length() == self.digest.len())
            .map(|algorithm| (algorithm, self.digest))
            .ok_or_else(|| shape("messageDigest is not a SHA-2 digest"))
    }
}

impl Envelope {
    fn check(self) -> Result<Content, BundleError> {
        let count = self.signatures.len();
        let [signature] = <[Signature; 1]>::try_from(self.signatures)
            .map_err(|_| BundleError::NotOne { what: "signature", count })?;
        let Self { payload, payload_type, .. } = self;
        Ok(Content::Envelope { payload, payload_type, signature: signature.sig })
    }
}

type CheckedMaterial = (Material, Vec<Entry>, Vec<Vec<u8>>);

impl VerificationMaterial {
    fn check(self, version: Version) -> Result<CheckedMaterial, BundleError> {
        let entries = self.tlog_entries.unwrap_or_default().into_iter().map(LogEntry::check);
        let entries: Vec<_> = entries.collect::<Result<_, _>>()?;
        let differ = |a: &Entry, b: &Entry| a.log_id != b.log_id || a.index != b.index;
        check_items("log entries", &entries, differ)?;
        let timestamps = self.timestamp_verification_data.and_then(|data| data.rfc3161_timestamps);
        let timestamps: Vec<_> =
            timestamps.unwrap_or_default().into_iter().map(|item| item.signed_timestamp).collect();
        check_items("timestamps", &timestamps, |a, b| a != b)?;
        if version == Version::V0_3 && self.x509_certificate_chain.is_some() {
            return Err(BundleError::Chain);
        }
        let material = material(self.public_key, self.x509_certificate_chain, self.certificate)?;
        Ok((material, entries, timestamps))
    }
}

/// The one material of three.
fn material(
    key: Option<PublicKeyIdentifier>,
    chain: Option<Chain>,
    certificate: Option<Certificate>,
) -> Result<Material, BundleError> {
    match (key, chain, certificate) {
        (Some(key), None, None) => Ok(Material::ManagedKey { hint: key.hint.unwrap_or_default() }),
        (None, Some(chain), None) => {
            let mut certificates = chain.certificates.into_iter().map(|item| item.raw_bytes);
            let none = BundleError::NotOne { what: "leaf certificate", count: 0 };
            let leaf = certificates.next().ok_or(none)?;
            let intermediates: Vec<_> = certificates.collect();
            check_items("certificates", &intermediates, |a, b| a != b)?;
            Ok(Material::Certificates { leaf, intermediates })
        }
        (None, None, Some(Certificate { raw_bytes: leaf })) => {
            Ok(Material::Certificates { leaf, intermediates: Vec::new() })
        }
        (key, chain, certificate) => {
            let present = [key.is_some(), chain.is_some(), certificate.is_some()];
            let count = present.into_iter().filter(|&is| is).count();
            Err(BundleError::NotOne { what: "verification material", count })
        }
    }
}

impl LogEntry {
    fn check(self) -> Result<Entry, BundleError> {
        Ok(Entry {
            index: self.log_index,
            log_id: self.log_id.key_id,
            kind: self.kind_version.kind,
            version: self.kind_version.version,
            integrated_time: self.integrated_time,
            promise: self.inclusion_promise.map(|promise| promise.signed_entry_timestamp),
            proof: self.inclusion_proof.map(InclusionProof::check).transpose()?,
            body: self.canonicalized_body,
        })
    }
}

impl InclusionProof {
    fn check(self) -> Result<Proof, BundleError> {
        let hashes = self.hashes.unwrap_or_default();
        let decode = |hash: String| STANDARD.decode(hash).map_err(|_| shape("hashes: not base64"));
        Ok(Proof {
            index: self.log_index,
            root: self.root_hash,
            size: self.tree_size,
            hashes: hashes.into_iter().map(decode).collect::<Result<_, _>>()?,
            checkpoint: self.checkpoint.map(|note| note.envelope).unwrap_or_default(),
        })
    }
}

/// At most [`MAX_ITEMS`], and no two of them one.
fn check_items<T>(
    what: &'static str,
    items: &[T],
    differ: impl Fn(&T, &T) -> bool,
) -> Result<(), BundleError> {
    let earlier = |at: usize| items.get(..at).unwrap_or_default();
    let unique =
        || items.iter().enumerate().all(|(at, item)| earlier(at).iter().all(|e| differ(e, item)));
    if items.len() > MAX_ITEMS || !unique() {
        return Err(BundleError::Repeated { what });
    }
    Ok(())
}

fn shape(message: &str) -> BundleError {
    BundleError::Shape { message: message.to_owned() }
}

fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(text).map_err(|_| de::Error::custom("expected standard base64 with padding"))
}

/// proto3 JSON writes 64-bit integers as strings; a reader takes numbers too. None is negative.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = match Value::deserialize(deserializer)? {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok().filter(|number: &u64| number.to_string() == text),
        _ => None,
    };
    // int64 on the wire.
    number
        .filter(|&number| i64::try_from(number).is_ok())
        .ok_or_else(|| de::Error::custom("expected a non-negative 64-bit integer"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types() {
        for (media_type, expected) in [
            ("application/vnd.dev.sigstore.bundle+json;version=0.1", Some(Version::V0_1)),
            ("application/vnd.dev.sigstore.bundle+json;version=0.3", Some(Version::V0_3)),
            ("application/vnd.dev.sigstore.bundle.v0.3+json", Some(Version::V0_3)),
            ("application/vnd.dev.sigstore.bundle.v0.3.2+json", Some(Version::V0_3)),
            ("application/vnd.dev.sigstore.bundle.v0.2+json", Some(Version::V0_2)),
            ("application/vnd.dev.sigstore.bundle.v0.4+json", None),
            ("application/vnd.dev.sigstore.bundle.v0.3.+json", None),
            ("application/vnd.dev.sigstore.bundle.v0.3.01+json", None),
            ("application/vnd.dev.sigstore.bundle+json;version=99.9", None),
            ("application/json", None),
        ] {
            assert_eq!(version(media_type), expected, "{media_type}");
        }
    }
}
