//! Recorded decisions: lines of the admission webhook's decisions file, and what `verify` prints.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use serde_json::Value;

use sealwright_attest::{Timestamp, parse_strict};
use sealwright_manifest::Sha256;
use sealwright_policy::DecisionInput;
use sealwright_server::admission::input_file;

use super::MAX_INPUT_BYTES;
use crate::error::CliError;
use crate::files;

/// The longest line of a decisions file.
const MAX_LINE: usize = 16 << 20;

/// A decisions file, read line by line: it may be larger than the memory.
pub(super) struct Decisions {
    path: PathBuf,
    reader: BufReader<File>,
    number: usize,
    /// Lines that are no record: what a crash left.
    pub(super) torn: usize,
}

/// A line of it.
pub(super) struct Record {
    /// `FILE:LINE`.
    pub(super) place: String,
    pub(super) value: Value,
    decisions: PathBuf,
}

impl Decisions {
    pub(super) fn open(path: &Path) -> Result<Self, CliError> {
        let reader = BufReader::new(files::open(path, "decisions file")?);
        Ok(Self { path: path.to_owned(), reader, number: 0, torn: 0 })
    }

    /// The next line; an empty one for a line that is too long to be a record of ours.
    fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let (mut line, mut is_too_long) = (Vec::new(), false);
        loop {
            let limit = MAX_LINE as u64;
            let read = self.reader.by_ref().take(limit).read_until(b'\n', &mut line)?;
            if read < MAX_LINE || line.last() == Some(&b'\n') {
                let is_end = line.is_empty() && !is_too_long;
                // Its end may look like a record.
                return Ok((!is_end).then(|| if is_too_long { Vec::new() } else { line }));
            }
            is_too_long = true;
            line.clear();
        }
    }
}

impl Iterator for Decisions {
    type Item = Result<Record, CliError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let line = match self.next_line() {
                Ok(line) => line?,
                Err(error) => {
                    return Some(Err(files::read_error(&self.path, "decisions file", &error)));
                }
            };
            self.number += 1;
            match parse_strict(&line, MAX_LINE) {
                Ok(value) => {
                    let place = format!("{}:{}", self.path.display(), self.number);
                    return Some(Ok(Record { place, value, decisions: self.path.clone() }));
                }
                // Its decision was never answered.
                Err(_) => self.torn += 1,
            }
        }
    }
}

impl Record {
    /// When it was decided.
    pub(super) fn time(&self) -> Option<Timestamp> {
        Timestamp::parse(self.value.get("time")?.as_str()?).ok()
    }

    pub(super) fn is(&self, id: &str) -> bool {
        self.value.get("id").is_some_and(|known| known == id)
    }

    /// What policy was asked; none if it was not asked.
    pub(super) fn input(&self) -> Result<Option<DecisionInput>, CliError> {
        input_of(&self.place, &self.value, Some(&self.decisions))
    }
}

/// The input of a decision in what was recorded of it, if it is there. Large ones are in files beside
/// `decisions`, the file that the record is of.
pub(super) fn input_of(
    place: &str,
    value: &Value,
    decisions: Option<&Path>,
) -> Result<Option<DecisionInput>, CliError> {
    let is_input = |value: &&Value| value.get("kind").is_some_and(|k| k == "ModelDecisionInput");
    let candidates = ["", "/policy_input", "/verdict/policy_input", "/policyInput"];
    let found = candidates.iter().filter_map(|at| value.pointer(at)).find(is_input).cloned();
    let digest = value.pointer("/inputs/policyInput").and_then(Value::as_str);
    let digest = digest.and_then(|text| Sha256::parse(text).ok());
    let found = match (found, digest, decisions) {
        (Some(found), _, _) => found,
        (None, Some(digest), Some(decisions)) => kept_beside(place, decisions, &digest)?,
        _ => return Ok(None),
    };
    let input: DecisionInput = serde_json::from_value(found).map_err(|error| {
        CliError::input(format!("{place}: not a ModelDecisionInput: {error}"))
            .hint("it was changed, or is of another version")
    })?;
    let changed = |what: &str| {
        Err(CliError::failed(format!(
            "{place}: the policy input is not the one that was decided on: {what}"
        ))
        .hint("the record was changed; the signed verdict in the log says what was decided"))
    };
    let is_record = value.get("policyInput").is_some();
    match digest {
        Some(digest) if input.digest() != digest => changed("its digest is another"),
        None if is_record => changed("the record does not name its digest"),
        _ if is_record && value.get("id").is_none_or(|id| *id != *input.evaluation.id) => {
            changed("it is of another decision")
        }
        _ => Ok(Some(input)),
    }
}

fn kept_beside(place: &str, decisions: &Path, digest: &Sha256) -> Result<Value, CliError> {
    let path = input_file(decisions, digest);
    let bytes =
        files::read(&path, "policy input", MAX_INPUT_BYTES).map_err(|error| error.about(place))?;
    parse_strict(&bytes, MAX_INPUT_BYTES).map_err(|error| {
        CliError::input(format!("{}: {error}", path.display()))
            .hint("it was changed, or is of another version")
    })
}
