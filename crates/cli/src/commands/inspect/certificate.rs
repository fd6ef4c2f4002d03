//! Certificates and keys: PEM, DER, and as sections of other documents.

use serde_json::{Value, json};

use sealwright_attest::PublicKey;
use sealwright_sigstore::details::{CertificateDetails, KeyDetails, PemBlock, pem_blocks};

use super::place::Problems;
use super::report::{Report, Section};
use super::statement::period;

/// A PEM text with at least one block.
pub(super) fn explain_pem(text: &str) -> Option<Report> {
    let blocks = pem_blocks(text);
    let first = blocks.first()?;
    let problems = Problems::default();
    let (kind, title) = match first.label.as_str() {
        "CERTIFICATE" if blocks.len() == 1 => ("certificate", "certificate (PEM)"),
        "CERTIFICATE" => ("certificate", "certificates (PEM)"),
        "PUBLIC KEY" => ("public-key", "public key (PEM)"),
        label if label.ends_with("PRIVATE KEY") => ("private-key", "private key (PEM)"),
        _ => ("pem", "PEM"),
    };
    let mut sections = Vec::new();
    for (at, block) in blocks.iter().enumerate() {
        sections.push(explain_block(block, at, blocks.len(), &problems));
    }
    Some(Report::new(kind, title, sections).with(problems))
}

/// A DER certificate or SubjectPublicKeyInfo.
pub(super) fn explain_der(der: &[u8]) -> Option<Report> {
    let problems = Problems::default();
    if CertificateDetails::parse(der).is_some() {
        let section = explain(der, "certificates", "Certificate", 0, 1, &problems);
        return Some(Report::new("certificate", "certificate (DER)", vec![section]).with(problems));
    }
    let details = KeyDetails::from_spki(der)?;
    Some(Report::new("public-key", "public key (DER)", vec![key(der, &details, 0, 1)]))
}

fn explain_block(block: &PemBlock, at: usize, count: usize, problems: &Problems) -> Section {
    let PemBlock { label, content } = block;
    let Some(content) = content else {
        problems.note(format!("PEM block {} ({label}) is not base64", at + 1));
        return Section::item("blocks", "PEM block", at, count);
    };
    match label.as_str() {
        "CERTIFICATE" => explain(content, "certificates", "Certificate", at, count, problems),
        "PUBLIC KEY" => match KeyDetails::from_spki(content) {
            Some(details) => key(content, &details, at, count),
            None => {
                problems.note(format!("PEM block {} is not a public key", at + 1));
                Section::item("keys", "Public key", at, count)
            }
        },
        label if label.ends_with("PRIVATE KEY") => private_key(label, at, count),
        label => {
            let mut section = Section::item("blocks", "PEM block", at, count);
            section.text("label", "label", label);
            section.row(
                "size",
                "size",
                crate::output::size(content.len() as u64),
                json!(content.len()),
            );
            section
        }
    }
}

fn key(der: &[u8], details: &KeyDetails, at: usize, count: usize) -> Section {
    let mut section = Section::item("keys", "Public key", at, count);
    section.text("algorithm", "key", details.kind.as_str());
    if let Ok(key) = PublicKey::from_spki(der) {
        section.text("key_id", "key id", key.id());
        section.row("signs_models", "use", "can sign models", json!(true));
    } else {
        let text = "cannot sign models: that takes ECDSA on P-256, P-384 or P-521";
        section.row("signs_models", "use", text, json!(false));
    }
    section.text("spki_sha256", "DER SHA-256", hex::encode(&details.spki_sha256));
    section
}

fn private_key(label: &str, at: usize, count: usize) -> Section {
    let mut section = Section::item("keys", "Private key", at, count);
    let is_encrypted = label.starts_with("ENCRYPTED");
    let form = match label {
        "ENCRYPTED PRIVATE KEY" => "PKCS#8, encrypted with a passphrase",
        "PRIVATE KEY" => "PKCS#8, not encrypted: whoever can read the file can sign",
        "EC PRIVATE KEY" => "SEC 1, not encrypted: whoever can read the file can sign",
        _ => label,
    };
    section.text("form", "form", form);
    section.hidden("encrypted", json!(is_encrypted));
    section.row(
        "shown",
        "key",
        "not shown; `sealwright key public FILE` gives its id",
        json!(false),
    );
    section
}

/// One certificate of a list; malformed ones are noted.
pub(super) fn explain(
    der: &[u8],
    name: &'static str,
    title: &str,
    at: usize,
    count: usize,
    problems: &Problems,
) -> Section {
    let mut section = Section::item(name, title, at, count);
    let what = if count == 1 {
        title.to_lowercase()
    } else {
        format!("{} {}", title.to_lowercase(), at + 1)
    };
    let Some(details) = CertificateDetails::parse(der) else {
        problems.note(format!("{what} is not a DER X.509 certificate"));
        section.row(
            "size",
            "size",
            format!("{} bytes, not a certificate", der.len()),
            json!(der.len()),
        );
        return section;
    };
    for problem in &details.problems {
        problems.note(format!("{what}: {problem}"));
    }
    describe(&mut section, &details);
    section
}

/// In one line, for chains.
pub(super) fn line(der: &[u8]) -> String {
    match CertificateDetails::parse(der) {
        Some(details) => {
            format!("{}, {}, until {}", subject(&details), details.key, details.not_after)
        }
        None => format!("{} bytes that are not a certificate", der.len()),
    }
}

fn subject(details: &CertificateDetails) -> &str {
    if details.subject.is_empty() { "no subject" } else { &details.subject }
}

fn describe(section: &mut Section, details: &CertificateDetails) {
    section.row("subject", "subject", subject(details), json!(details.subject));
    let names = details.names.iter().map(|(kind, name)| format!("{kind} {name}")).collect();
    let values: Vec<Value> =
        details.names.iter().map(|(kind, name)| json!({"kind": kind, "name": name})).collect();
    section.lines("names", "names", names, json!(values));
    section.maybe("oidc_issuer", "OIDC issuer", details.oidc_issuer.as_deref());
    let issuer = match details.is_self_issued {
        true => "itself".to_owned(),
        false => details.issuer.clone(),
    };
    section.row("issuer", "issued by", issuer, json!(details.issuer));
    section.row(
        "validity",
        "valid",
        period(details.not_before, details.not_after),
        json!({"not_before": details.not_before, "not_after": details.not_after}),
    );
    section.text("key", "key", details.key.kind.as_str());
    let uses: Vec<&str> =
        details.usages.iter().copied().chain(details.purposes.iter().map(String::as_str)).collect();
    let uses = if uses.is_empty() { "not said".to_owned() } else { uses.join(", ") };
    section.row(
        "usage",
        "for",
        uses,
        json!({"key_usage": details.usages, "extended_key_usage": details.purposes}),
    );
    if details.is_authority {
        let limit = match details.path_length {
            Some(0) => ", but no authorities".to_owned(),
            Some(limit) => format!(", at most {limit} authorities below it"),
            None => String::new(),
        };
        section.row("authority", "authority", format!("issues certificates{limit}"), json!(true));
    } else {
        section.hidden("authority", json!(false));
    }
    let fulcio = details.fulcio.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let values: Vec<Value> =
        details.fulcio.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    section.lines("fulcio", "Fulcio says", fulcio, json!(values));
    describe_scts(section, details);
    section.text("serial", "serial", details.serial.as_str());
    section.text("sha256", "SHA-256", hex::encode(&details.sha256));
}

fn describe_scts(section: &mut Section, details: &CertificateDetails) {
    let time = |sct: &sealwright_sigstore::details::SctDetails| {
        sct.time.map_or_else(|| "an impossible time".to_owned(), |time| time.to_string())
    };
    let lines = details.scts.iter().map(|sct| {
        let id = hex::encode(sct.log_id.get(..4).unwrap_or_default());
        format!("promised at {} by certificate log {id}…", time(sct))
    });
    let values: Vec<Value> = details
        .scts
        .iter()
        .map(|sct| json!({"log_id": hex::encode(&sct.log_id), "time": sct.time}))
        .collect();
    section.lines("scts", "logged", lines.collect(), json!(values));
}
