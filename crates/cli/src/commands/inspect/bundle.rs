//! Sigstore bundles and DSSE envelopes.

use serde_json::{Value, json};

use sealwright_attest::{Bundle, IN_TOTO_PAYLOAD_TYPE, pae};
use sealwright_manifest::Sha256;
use sealwright_sigstore::SigstoreBundle;
use sealwright_sigstore::details::{CertificateDetails, TimestampDetails};

use super::place::{Place, Problems};
use super::report::{Report, Section};
use super::{certificate, entry, statement, timestamp};
use crate::output;

const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle";

/// A bundle, whole or not.
pub(super) fn explain(value: &Value, bytes: &[u8], problems: &Problems) -> Report {
    let bundle = Place::root(value, problems);
    let version = version(bundle.text("mediaType").unwrap_or_default());
    let form = form(bytes, problems);
    let mut signature = Section::new("signature", "Signature");
    signature.maybe("media_type", "media type", bundle.text("mediaType"));
    let material = bundle.get("verificationMaterial");
    let chain = material.as_ref().map(chain).unwrap_or_default();
    if let Some(material) = &material {
        explain_signer(&mut signature, material, &chain);
    }
    let mut inner = Vec::new();
    let mut over = None;
    if let Some(message) = bundle.get("messageSignature") {
        over = explain_message(&mut signature, &message);
    }
    if let Some(envelope) = bundle.get("dsseEnvelope") {
        let (signed, sections) = explain_payload(&mut signature, &envelope);
        (over, inner) = (signed, sections);
    }
    if let Some(remark) = form {
        signature.text("remark", "remark", remark);
    }
    let mut sections = vec![signature];
    sections.extend(inner);
    for (at, der) in chain.iter().enumerate() {
        let (count, title) = (chain.len(), "Certificate");
        sections.push(certificate::explain(der, "certificates", title, at, count, problems));
    }
    if let Some(material) = &material {
        let entries = material.items("tlogEntries");
        let count = entries.len();
        sections.extend(entries.iter().enumerate().map(|(at, e)| entry::explain(e, at, count)));
        sections.extend(explain_timestamps(material, over.as_deref()));
    }
    Report::new("sigstore-bundle", format!("Sigstore bundle {version}"), sections)
}

/// An envelope without a bundle around it.
pub(super) fn explain_envelope(value: &Value, problems: &Problems) -> Report {
    let mut signature = Section::new("signature", "Signature");
    let envelope = Place::root(value, problems);
    let (_, inner) = explain_payload(&mut signature, &envelope);
    let sections = std::iter::once(signature).chain(inner).collect();
    Report::new("dsse-envelope", "DSSE envelope", sections)
}

/// Whether a reader of bundles takes it: Sigstore's, or that of model signatures. What neither takes is
/// a problem; what only one takes, a remark.
fn form(bytes: &[u8], problems: &Problems) -> Option<String> {
    match (SigstoreBundle::parse(bytes), Bundle::parse(bytes)) {
        (Ok(_), _) => None,
        (Err(error), Ok(_)) => {
            Some(format!("for model signatures only; as a Sigstore bundle: {error}"))
        }
        (Err(error), Err(_)) => {
            problems.note(error.to_string());
            None
        }
    }
}

fn version(media_type: &str) -> String {
    let rest = media_type.strip_prefix(MEDIA_TYPE).unwrap_or_default();
    let number = rest
        .strip_prefix("+json;version=")
        .or_else(|| rest.strip_prefix(".v").and_then(|rest| rest.strip_suffix("+json")));
    number.map_or_else(|| "of an unknown version".to_owned(), str::to_owned)
}

/// DER, leaf first.
fn chain(material: &Place<'_>) -> Vec<Vec<u8>> {
    let single = material.get("certificate").and_then(|item| item.bytes("rawBytes"));
    let list = material.get("x509CertificateChain").map(|chain| chain.items("certificates"));
    let list = list.unwrap_or_default();
    single.into_iter().chain(list.iter().filter_map(|item| item.bytes("rawBytes"))).collect()
}

fn explain_signer(section: &mut Section, material: &Place<'_>, chain: &[Vec<u8>]) {
    if let Some(key) = material.get("publicKey") {
        let hint = key.text("hint").unwrap_or_default();
        match hint {
            "" => section.row("method", "signed with", "a key, unnamed", json!("key")),
            _ => {
                section.row("method", "signed with", "a key", json!("key"));
                section.text("key_hint", "key hint", hint);
            }
        }
    }
    let Some(leaf) = chain.first() else { return };
    let leaf = CertificateDetails::parse(leaf);
    let is_keyless =
        leaf.as_ref().is_some_and(|leaf| leaf.oidc_issuer.is_some() || !leaf.fulcio.is_empty());
    let (method, text) = match is_keyless {
        true => ("keyless", "a keyless certificate, see below"),
        false => ("certificate", "a certificate, see below"),
    };
    section.row("method", "signed with", text, json!(method));
}

/// A signature over the artifact itself.
fn explain_message(section: &mut Section, message: &Place<'_>) -> Option<Vec<u8>> {
    section.row("content", "over", "an artifact, which is not in the bundle", json!("message"));
    if let Some(digest) = message.get("messageDigest") {
        let algorithm = digest.text("algorithm").unwrap_or("no algorithm");
        let bytes = digest.bytes("digest").map(hex::encode).unwrap_or_default();
        section.lines(
            "digest",
            "its digest",
            vec![algorithm.to_owned(), bytes.clone()],
            json!({"algorithm": algorithm, "digest": bytes}),
        );
    }
    message.bytes("signature")
}

/// A DSSE envelope: the signature, and what is said of its payload.
fn explain_payload(section: &mut Section, envelope: &Place<'_>) -> (Option<Vec<u8>>, Vec<Section>) {
    let payload_type = envelope.text("payloadType").unwrap_or_default();
    let payload = envelope.bytes("payload");
    section.row("content", "over", "a DSSE envelope", json!("dsse"));
    section.text("payload_type", "payload", payload_type);
    if let Some(payload) = &payload {
        let size = payload.len();
        section.row("payload_size", "size", output::size(size as u64), json!(size));
        let digest = Sha256::of(&pae(payload_type, payload)).to_string();
        section.text("statement", "statement", digest);
    }
    let signatures = envelope.items("signatures");
    if signatures.len() != 1 {
        let text = format!("{} signatures instead of one", signatures.len());
        section.row("signatures", "signatures", text, json!(signatures.len()));
    }
    let keyids: Vec<&str> = signatures
        .iter()
        .filter_map(|signature| signature.text("keyid"))
        .filter(|keyid| !keyid.is_empty())
        .collect();
    let lines = keyids.iter().map(|&keyid| keyid.to_owned()).collect();
    section.lines("keyids", "keyid", lines, json!(keyids));
    let over: Vec<_> = signatures.iter().map(|signature| signature.bytes("sig")).collect();
    let over = over.into_iter().flatten().next();
    let inner = match (payload, payload_type) {
        (Some(payload), IN_TOTO_PAYLOAD_TYPE) => {
            statement::explain_payload(&payload, envelope.problems())
        }
        _ => Vec::new(),
    };
    (over, inner)
}

fn explain_timestamps(material: &Place<'_>, signature: Option<&[u8]>) -> Vec<Section> {
    let Some(data) = material.get("timestampVerificationData") else { return Vec::new() };
    let items = data.items("rfc3161Timestamps");
    let explain = |(at, item): (usize, &Place<'_>)| {
        let mut section = Section::item("timestamps", "Timestamp", at, items.len());
        if let Some(der) = item.bytes("signedTimestamp") {
            match TimestampDetails::parse(&der) {
                Some(details) => timestamp::describe(&mut section, &details, signature),
                None => item.note("is not a granted RFC 3161 timestamp"),
            }
        }
        section
    };
    items.iter().enumerate().map(explain).collect()
}
