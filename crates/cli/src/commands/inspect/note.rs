//! Signed notes, checkpoints, and the keys that sign them.

use serde_json::{Value, json};

use sealwright_attest::Timestamp;
use sealwright_tlog::cosignature::CosignerKey;
use sealwright_tlog::{Checkpoint, NoteSignature, SignedNote, VerifierKey};

use super::place::Problems;
use super::report::{Report, Section};

/// A signed note, or a verifier key in a line of its own.
pub(super) fn explain(text: &str) -> Option<Report> {
    if let Some(report) = explain_key(text.trim_ascii()) {
        return Some(report);
    }
    if !text.contains("\n\n— ") {
        return None;
    }
    let problems = Problems::default();
    let report = match SignedNote::parse(text.as_bytes()) {
        Ok(note) => match Checkpoint::parse(note.text()) {
            Ok(checkpoint) => {
                let mut section = Section::new("checkpoint", "Checkpoint");
                describe(&mut section, &note, &checkpoint);
                Report::new("checkpoint", "checkpoint of a log", vec![section])
            }
            Err(error) => {
                let mut section = Section::new("note", "Signed note");
                let lines: Vec<String> = note.text().lines().map(str::to_owned).collect();
                section.lines("text", "text", lines, json!(note.text()));
                section.row("checkpoint", "checkpoint", format!("no: {error}"), Value::Null);
                describe_signatures(&mut section, &note);
                Report::new("signed-note", "signed note", vec![section])
            }
        },
        Err(error) => {
            problems.note(error.to_string());
            Report::new("signed-note", "signed note", Vec::new())
        }
    };
    Some(report.with(problems))
}

/// What a checkpoint in a log entry says, in rows of the entry.
pub(super) fn describe_in_entry(section: &mut Section, text: &str, problem: impl Fn(&str)) {
    let note = match SignedNote::parse(text.as_bytes()) {
        Ok(note) => note,
        Err(error) => return problem(&format!("is malformed: {error}")),
    };
    match Checkpoint::parse(note.text()) {
        Ok(checkpoint) => describe(section, &note, &checkpoint),
        Err(error) => problem(&format!("is malformed: {error}")),
    }
}

fn describe(section: &mut Section, note: &SignedNote, checkpoint: &Checkpoint) {
    section.text("origin", "origin", checkpoint.origin.as_str());
    section.row("tree_size", "tree size", checkpoint.size.to_string(), json!(checkpoint.size));
    section.text("root", "root", checkpoint.root.to_base64());
    let extensions = checkpoint.extensions.clone();
    section.lines("extensions", "more lines", extensions.clone(), json!(extensions));
    describe_signatures(section, note);
}

fn describe_signatures(section: &mut Section, note: &SignedNote) {
    let lines = note.signatures().iter().map(|line| {
        let id = hex::encode(line.key_id());
        match time(line) {
            Some(time) => format!("{} (key {id}), with the time {time}", line.name()),
            None => format!("{} (key {id})", line.name()),
        }
    });
    let values: Vec<Value> = note
        .signatures()
        .iter()
        .map(|line| {
            json!({"name": line.name(), "key_id": hex::encode(line.key_id()), "time": time(line)})
        })
        .collect();
    section.lines("signatures", "signed by", lines.collect(), json!(values));
}

/// Of a cosignature (C2SP tlog-cosignature): eight bytes of time before 64 of signature. Nothing but
/// the length says that it is one.
fn time(line: &NoteSignature) -> Option<Timestamp> {
    let (time, rest) = line.signature().split_first_chunk::<8>()?;
    let time = Timestamp::from_unix(u64::from_be_bytes(*time)).ok()?;
    (rest.len() == 64).then_some(time)
}

fn explain_key(text: &str) -> Option<Report> {
    let (name, id, kind) = match (VerifierKey::parse(text), CosignerKey::parse(text)) {
        (Ok(key), _) => (key.name().to_owned(), key.key_id(), "Ed25519, signs checkpoints"),
        (_, Ok(key)) => {
            (key.name().to_owned(), key.key_id(), "Ed25519, cosigns checkpoints with a time")
        }
        _ => return None,
    };
    let mut section = Section::new("key", "Key");
    section.text("name", "name", name);
    section.text("key_id", "key id", hex::encode(id));
    section.text("algorithm", "key", kind);
    Some(Report::new("note-key", "verifier key of signed notes", vec![section]))
}
