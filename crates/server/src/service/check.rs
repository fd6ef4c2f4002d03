//! The whole instance held against itself: the store against its checkpoint, and the statements
//! against their entries.

use std::path::Path;

use sealwright_attest::{Bundle, PublicKey, TrustedRoot, check_signature, hashedrekord_body};
use sealwright_store::{CheckReport, Filter, Payload, Store, StoreError};

use super::data::{self, TRUSTED_ROOT_FILE};
use super::trust::has_keys;
use super::{Config, StartError};
use crate::state::now;

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

/// Checks everything in a data directory. Nothing else may use it meanwhile.
///
/// # Errors
/// [`StartError`], also for a store that contradicts itself so that it cannot be opened.
pub fn check(data_dir: &Path) -> Result<InstanceReport, StartError> {
    if !has_keys(data_dir) {
        return Err(StartError::NotInitialised { dir: data_dir.to_owned() });
    }
    let path = data_dir.join(TRUSTED_ROOT_FILE);
    let bad = || StartError::TrustedRoot { path: path.clone() };
    let text = std::fs::read(&path).map_err(|error| StartError::file(&path, error))?;
    let root = TrustedRoot::parse(&text).map_err(|_| bad())?;
    let origin = root.logs().first().ok_or_else(bad)?.key.name().to_owned();
    let config = Config { origin, ..Config::new(data_dir) };
    let store = data::open_as_it_is(&config, now())?;
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
        let bundle = Bundle::parse(bundle).map_err(|_| "does not parse")?;
        let key = PublicKey::from_pem(public_key_pem).map_err(|_| "has no usable key")?;
        let signed = check_signature(&bundle, &key).map_err(|_| "has no valid signature")?;
        let is_logged = hashedrekord_body(bundle.envelope(), &key) == entry.body;
        let subjects = signed.subject_digests();
        let is_findable = |subject: &String| {
            let subject = Some(subject.clone());
            let filter = Filter { subject, from: Some(index), ..Filter::default() };
            store.find(&filter, 1).is_ok_and(|found| found == [index])
        };
        if !subjects.iter().all(is_findable) {
            return Err("cannot be found by all of its subjects");
        }
        let is_listed = signed.digest().to_string() == stored.envelope_sha256
            && signed.statement().predicate_type == stored.predicate_type;
        match is_logged && is_listed {
            true => Ok(()),
            false => Err("is not the one that was logged"),
        }
    };
    Ok(check().map_or_else(Known::Problem, |()| Known::Logged))
}
