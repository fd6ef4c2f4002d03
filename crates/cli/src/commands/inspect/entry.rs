//! Entries of transparency logs, as bundles carry them.

use serde_json::{Value, json};

use sealwright_attest::{MAX_BUNDLE_SIZE, Timestamp, parse_strict};

use super::note;
use super::place::{Place, base64};
use super::report::Section;

/// One `TransparencyLogEntry`.
pub(super) fn explain(entry: &Place<'_>, at: usize, count: usize) -> Section {
    let mut section = Section::item("log_entries", "Log entry", at, count);
    // proto3 JSON leaves out what is zero.
    let index = entry.number("logIndex").unwrap_or(0);
    section.row("log_index", "log index", index.to_string(), json!(index));
    let id = entry.get("logId").and_then(|id| id.bytes("keyId")).map(hex::encode);
    section.maybe("log_id", "log id", id.as_deref());
    let kind = entry.get("kindVersion");
    let part = |name| kind.as_ref().and_then(|kind| kind.text(name)).unwrap_or_default();
    let (kind, version) = (part("kind"), part("version"));
    let is_v2 = version == "0.0.2" && ["hashedrekord", "dsse"].contains(&kind);
    let rekor = if is_v2 { 2 } else { 1 };
    section.row(
        "kind",
        "kind",
        format!("{kind} {version} (Rekor v{rekor})"),
        json!({"kind": kind, "version": version, "rekor": rekor}),
    );
    explain_body(&mut section, entry, kind, version);
    explain_time(&mut section, entry, is_v2);
    explain_proof(&mut section, entry);
    section
}

/// What the log has of the signature.
fn explain_body(section: &mut Section, entry: &Place<'_>, kind: &str, version: &str) {
    let Some(bytes) = entry.bytes("canonicalizedBody") else { return };
    let problem = |text: &str| {
        if let Some(body) = entry.get("canonicalizedBody") {
            body.note(text);
        }
    };
    let body = match parse_strict(&bytes, MAX_BUNDLE_SIZE) {
        Ok(body) => body,
        Err(error) => return problem(&format!("is malformed: {error}")),
    };
    let own = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    if (own("kind"), own("apiVersion")) != (kind, version) {
        problem(&format!("is of kind {:?} {:?}", own("kind"), own("apiVersion")));
    }
    let digest = digest(&body);
    let text = match &digest {
        Some((what, algorithm, digest)) => format!("{algorithm} of the {what}: {digest}"),
        None => format!("{} bytes", bytes.len()),
    };
    let value = digest.map(
        |(what, algorithm, digest)| json!({"of": what, "algorithm": algorithm, "digest": digest}),
    );
    section.row("logged", "logged", text, json!(value));
}

/// What kind of thing the body names by digest, with algorithm and digest.
fn digest(body: &Value) -> Option<(&'static str, String, String)> {
    let v1 = [
        ("/spec/data/hash", "artifact"),
        ("/spec/payloadHash", "payload"),
        ("/spec/content/payloadHash", "payload"),
    ];
    let text = |hash: &Value, name: &str| Some(hash.get(name)?.as_str()?.to_owned());
    let found = v1.into_iter().find_map(|(pointer, what)| {
        let hash = body.pointer(pointer)?;
        Some((what, text(hash, "algorithm")?, text(hash, "value")?))
    });
    found.or_else(|| {
        let data = body.pointer("/spec/hashedRekordV002/data")?;
        let algorithm = match text(data, "algorithm")?.as_str() {
            "SHA2_256" => "sha256".to_owned(),
            "SHA2_384" => "sha384".to_owned(),
            "SHA2_512" => "sha512".to_owned(),
            other => other.to_owned(),
        };
        let digest = base64(data.get("digest")?.as_str()?)?;
        Some(("signed bytes", algorithm, hex::encode(digest)))
    })
}

fn explain_time(section: &mut Section, entry: &Place<'_>, is_v2: bool) {
    let seconds = entry.number("integratedTime").unwrap_or(0);
    let promise = entry.get("inclusionPromise").and_then(|p| p.bytes("signedEntryTimestamp"));
    let time = Timestamp::from_unix(seconds).ok().filter(|_| seconds > 0);
    let text = match (time, &promise) {
        (Some(time), Some(_)) => format!("{time}, promised by the log (SET)"),
        (Some(time), None) => format!("{time}, which nothing in the entry vouches for"),
        (None, _) if seconds > 0 => format!("impossible: {seconds} seconds after 1970"),
        (None, _) if is_v2 => "none of its own, as in every log of Rekor v2".to_owned(),
        (None, _) => "none".to_owned(),
    };
    section.row("integrated_time", "time", text, json!(time));
    section.hidden("promise", json!(promise.is_some()));
}

fn explain_proof(section: &mut Section, entry: &Place<'_>) {
    let Some(proof) = entry.get("inclusionProof") else {
        section.row("proof", "proof", "none", Value::Null);
        return;
    };
    let index = proof.number("logIndex").unwrap_or(0);
    let size = proof.number("treeSize").unwrap_or(0);
    let hashes = proof.items("hashes").len();
    proof.bytes("rootHash");
    let hashes = crate::output::count(hashes, "hash").replace("hashs", "hashes");
    section.row(
        "proof",
        "proof",
        format!("{hashes}, leaf {index} in a tree of {size}"),
        json!({"index": index, "tree_size": size}),
    );
    let Some(checkpoint) = proof.get("checkpoint") else { return };
    let Some(text) = checkpoint.text("envelope") else { return };
    note::describe_in_entry(section, text, |problem| checkpoint.note(problem));
}
