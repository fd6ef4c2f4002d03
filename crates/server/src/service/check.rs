//! The whole instance held against itself: the store against its checkpoint, and the statements
//! against their entries.

use std::path::Path;

use sealwright_store::{CheckReport, Filter, Payload, Place, Store, StoreError};

use super::StartError;
use super::data;
use super::facts::Facts;
use super::trust::has_keys;

/// What [`check`] looked at, and what does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceReport {
    /// The log: entries, hashes, checkpoints, tiles.
    pub store: CheckReport,
    /// Statements that were parsed, whose signatures were verified, and whose entries were rebuilt.
    pub statements: u64,
    /// Entries of which only the hash is known: those that came through Rekor's API. A statement that
    /// was deleted leaves one.
    pub bare: u64,
    /// What does not fit, in words.
    pub problems: Vec<String>,
}

/// Checks everything in a data directory, which nothing else may use meanwhile, or in the log that is
/// `shared`, which others may.
///
/// # Errors
/// [`StartError`], also for a store that contradicts itself so that it cannot be opened.
pub fn check(data_dir: &Path, shared: Option<&Place>) -> Result<InstanceReport, StartError> {
    if !has_keys(data_dir) {
        return Err(StartError::NotInitialised { dir: data_dir.to_owned() });
    }
    let (store, _) = data::open_stopped(data_dir, shared)?;
    let unreadable = |error| StartError::store(data_dir, error);
    let report = store.check().map_err(unreadable)?;
    let mut problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
    let (mut statements, mut bare) = (0, 0);
    for index in 0..store.size() {
        match check_statement(&store, index).map_err(unreadable)? {
            Known::Hash => bare += 1,
            Known::Erased => {}
            Known::Logged => statements += 1,
            Known::Problem(problem) => problems.push(format!("statement {index} {problem}")),
        }
    }
    Ok(InstanceReport { store: report, statements, bare, problems })
}

/// What is known of an entry's statement.
enum Known {
    /// The hash alone.
    Hash,
    /// That it was erased. Nothing is left to be held against the entry; the store counts it.
    Erased,
    /// All of it, which is what was logged.
    Logged,
    /// What does not fit.
    Problem(&'static str),
}

fn check_statement(store: &Store, index: u64) -> Result<Known, StoreError> {
    let (Some(stored), Some(entry)) = (store.statement(index)?, store.entry(index)?) else {
        return Ok(Known::Hash);
    };
    let Payload::Kept { bundle, public_key_pem } = &stored.payload else {
        return Ok(Known::Erased);
    };
    let check = || {
        let (facts, body) = Facts::of_stored(bundle, public_key_pem)
            .map_err(|_| "does not parse, or has no valid signature")?;
        let is_findable = |subject: &String| {
            let subject = Some(subject.clone());
            let filter = Filter { subject, from: Some(index), ..Filter::default() };
            store.find(&filter, 1).is_ok_and(|found| found == [index])
        };
        if !facts.subjects.iter().all(is_findable) {
            return Err("cannot be found by all of its subjects");
        }
        let is_listed =
            facts.digest == stored.envelope_sha256 && facts.predicate_type == stored.predicate_type;
        match body == entry.body && is_listed {
            true => Ok(()),
            false => Err("is not the one that was logged"),
        }
    };
    Ok(check().map_or_else(Known::Problem, |()| Known::Logged))
}
