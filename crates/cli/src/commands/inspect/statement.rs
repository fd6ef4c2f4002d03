//! In-toto statements.

use serde_json::{Value, json};

use sealwright_attest::{MAX_BUNDLE_SIZE, OmsPredicate, Statement, Timestamp, parse_strict};
use sealwright_manifest::SymlinkPolicy;

use super::place::{Place, Problems};
use super::predicate;
use super::report::{Report, Section};
use crate::output;

/// A statement without an envelope around it.
pub(super) fn explain(value: &Value, bytes: &[u8], problems: &Problems) -> Report {
    let sections = describe(value, bytes, problems);
    Report::new("statement", "in-toto statement without a signature", sections)
}

/// The payload of an envelope.
pub(super) fn explain_payload(payload: &[u8], problems: &Problems) -> Vec<Section> {
    match parse_strict(payload, MAX_BUNDLE_SIZE) {
        Ok(value) => describe(&value, payload, problems),
        Err(error) => {
            problems.note(format!("payload: {error}"));
            Vec::new()
        }
    }
}

fn describe(value: &Value, bytes: &[u8], problems: &Problems) -> Vec<Section> {
    let place = Place::named(value, "payload", problems);
    let kind = place.text("predicateType").unwrap_or_default();
    if OmsPredicate::is_oms_type(kind) {
        return vec![describe_model(&place, bytes)];
    }
    let mut section = Section::new("statement", "Statement");
    section.text("predicate_type", "predicate", kind);
    describe_subjects(&mut section, &place);
    if let Some(predicate) = place.get("predicate") {
        predicate::describe(&mut section, kind, &predicate);
        if let Err(error) = sealwright_attest::predicate::check(kind, predicate.value) {
            predicate
                .note(&format!("does not obey its schema: {} at {}", error.message, error.place));
        }
    }
    // Older versions are let stand: others still write them, and we refuse to verify them.
    if let Some(version) = place.text("_type")
        && version != sealwright_attest::STATEMENT_TYPE
    {
        section.text("type", "version", version);
    }
    vec![section]
}

fn describe_subjects(section: &mut Section, statement: &Place<'_>) {
    let subjects = statement.items("subject");
    let mut lines = Vec::new();
    for subject in &subjects {
        lines.extend(subject.text("name").filter(|name| !name.is_empty()).map(str::to_owned));
        let digests = subject.get("digest").and_then(|digest| digest.value.as_object());
        for (algorithm, digest) in digests.into_iter().flatten() {
            let digest = digest.as_str().unwrap_or("(not a text)");
            lines.push(match algorithm.as_str() {
                "sha256" => digest.to_owned(),
                other => format!("{other} {digest}"),
            });
        }
    }
    let label = if subjects.len() == 1 { "subject" } else { "subjects" };
    let values: Vec<&Value> = subjects.iter().map(|subject| subject.value).collect();
    section.lines("subjects", label, lines, json!(values));
}

/// OpenSSF Model Signing.
fn describe_model(place: &Place<'_>, bytes: &[u8]) -> Section {
    let mut section = Section::new("model", "Model signature (OpenSSF Model Signing)");
    let statement = Statement::parse(bytes).map_err(|error| error.to_string());
    let oms = statement.and_then(|statement| {
        OmsPredicate::from_statement(&statement).map_err(|error| error.to_string())
    });
    match oms {
        Ok(oms) => describe_oms(&mut section, place, &oms),
        Err(error) => {
            place.note(&format!("is not a model signature: {error}"));
            describe_subjects(&mut section, place);
            let listed = place.get("predicate").map(|p| p.items("resources").len());
            if let Some(listed) = listed.filter(|listed| *listed > 0) {
                let text = output::count(listed, "resource");
                section.row("resources", "lists", text, json!(listed));
            }
        }
    }
    section.maybe("predicate_type", "predicate", place.text("predicateType"));
    section
}

fn describe_oms(section: &mut Section, place: &Place<'_>, oms: &OmsPredicate) {
    let manifest = oms.manifest();
    let subjects = place.items("subject");
    // One subject has the root digest; the oldest form has a subject for each file.
    if let [subject] = subjects.as_slice()
        && place.text("predicateType") == Some(sealwright_attest::OMS_PREDICATE_TYPE)
    {
        section.maybe("subject", "model", subject.text("name"));
        let root = subject.get("digest").and_then(|digest| digest.text("sha256"));
        section.maybe("root_digest", "root digest", root);
    }
    match oms.model_digest() {
        Some(digest) => section.text("model_digest", "model digest", digest.to_string()),
        None => section.row(
            "model_digest",
            "model digest",
            "not signed: made by another tool than Sealwright",
            Value::Null,
        ),
    }
    let files = output::count(oms.file_count(), "file");
    let files = match manifest {
        Some(manifest) => format!("{files}, {}", output::size(manifest.total_size())),
        None => files,
    };
    section.row("files", "files", files, json!(oms.file_count()));
    section.hidden("total_size", json!(manifest.map(|manifest| manifest.total_size())));
    let serialization = oms.serialization();
    let hash = serialization.algorithm.name();
    let method = match serialization.shard_size {
        Some(size) => format!("{hash} of shards of {size} bytes; empty files are not listed"),
        None => format!("{hash} of whole files"),
    };
    section.row(
        "method",
        "method",
        method,
        json!({"hash": hash, "shard_size": serialization.shard_size}),
    );
    let options = oms.walk_options();
    let refused = options.symlinks == SymlinkPolicy::Refuse;
    let links = if refused { "refused" } else { "followed, to files inside of the model" };
    section.row("allow_symlinks", "links", links, json!(!refused));
    let ignored = options.ignore_paths;
    let text = if ignored.is_empty() { "nothing recorded".to_owned() } else { ignored.join(", ") };
    section.row("ignore_paths", "ignored", text, json!(ignored));
}

/// `FROM to UNTIL (10 minutes)`.
pub(super) fn period(from: Timestamp, until: Timestamp) -> String {
    let Some(seconds) = until.unix().checked_sub(from.unix()) else {
        return format!("never: {from} is after {until}");
    };
    let (count, unit) = match seconds {
        0..120 => (seconds, "second"),
        120..7200 => (seconds / 60, "minute"),
        7200..172_800 => (seconds / 3600, "hour"),
        172_800..63_072_000 => (seconds / 86_400, "day"),
        _ => (seconds / 31_556_952, "year"),
    };
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    format!("{from} to {until} ({})", output::count(count, unit))
}
