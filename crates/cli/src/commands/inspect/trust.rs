//! Trusted roots.

use serde_json::{Value, json};

use sealwright_sigstore::Trust;
use sealwright_sigstore::details::KeyDetails;

use super::certificate;
use super::place::{Place, Problems};
use super::report::{Report, Section};

pub(super) fn explain(value: &Value, bytes: &[u8], problems: &Problems) -> Report {
    if let Err(error) = Trust::parse(bytes) {
        problems.note(error.to_string());
    }
    let root = Place::root(value, problems);
    let mut sections = Vec::new();
    for (name, key, title) in
        [("tlogs", "logs", "Transparency log"), ("ctlogs", "certificate_logs", "Certificate log")]
    {
        let logs = root.items(name);
        let count = logs.len();
        sections.extend(logs.iter().enumerate().map(|(at, log)| {
            let mut section = Section::item(key, title, at, count);
            describe_log(&mut section, log);
            section
        }));
    }
    for (name, key, title) in [
        ("certificateAuthorities", "certificate_authorities", "Certificate authority"),
        ("timestampAuthorities", "timestamp_authorities", "Timestamp authority"),
    ] {
        let authorities = root.items(name);
        let count = authorities.len();
        sections.extend(authorities.iter().enumerate().map(|(at, authority)| {
            let mut section = Section::item(key, title, at, count);
            describe_authority(&mut section, authority);
            section
        }));
    }
    Report::new("trusted-root", "trusted root", sections)
}

fn describe_log(section: &mut Section, log: &Place<'_>) {
    section.maybe("url", "URL", log.text("baseUrl"));
    section.maybe("operator", "operator", log.text("operator"));
    for (name, key, label) in
        [("logId", "log_id", "log id"), ("checkpointKeyId", "checkpoint_key_id", "signs as")]
    {
        let id = log.get(name).and_then(|id| id.bytes("keyId")).map(hex::encode);
        section.maybe(key, label, id.as_deref());
    }
    let Some(key) = log.get("publicKey") else { return };
    if let Some(der) = key.bytes("rawBytes") {
        match KeyDetails::from_trusted_root(&der) {
            Some(details) => section.text("key", "key", details.kind),
            None => key.note("is not a public key"),
        }
    }
    describe_validity(section, &key);
}

fn describe_authority(section: &mut Section, authority: &Place<'_>) {
    section.maybe("url", "URL", authority.text("uri"));
    section.maybe("operator", "operator", authority.text("operator"));
    describe_validity(section, authority);
    let chain = authority.get("certChain").map(|chain| chain.items("certificates"));
    let chain: Vec<Vec<u8>> =
        chain.unwrap_or_default().iter().filter_map(|item| item.bytes("rawBytes")).collect();
    let lines: Vec<String> = chain.iter().map(|der| certificate::line(der)).collect();
    section.lines("certificates", "certificates", lines.clone(), json!(lines));
}

fn describe_validity(section: &mut Section, place: &Place<'_>) {
    let Some(validity) = place.get("validFor") else { return };
    let (start, end) = (validity.time("start"), validity.time("end"));
    let text = match (start, end) {
        (Some(start), Some(end)) => format!("{start} to {end}"),
        (Some(start), None) => format!("from {start} on"),
        (None, Some(end)) => format!("until {end}"),
        (None, None) => "always".to_owned(),
    };
    section.row("valid_for", "trusted", text, json!({"start": start, "end": end}));
}
