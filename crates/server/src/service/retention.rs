//! How long statements are kept, and how they are erased.
//!
//! What is erased is the bundle: what was said, and the key or the certificate of who said it. The
//! entry, which is hashes and a signature, stays, and with it every proof; so does what the statement
//! is found by. A verifier that misses a statement it needs denies.
//!
//! Revocations, rejections and tests that were not passed are never erased: to miss one would be a yes
//! where a no was said. Neither is the record of what those did who run the service.

use std::fs;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, thread};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use sealwright_attest::predicate::{
    ADMINISTRATION, APPROVAL, POLICY, REVOCATION, ROLE_BINDING, TEST_RESULT,
};
use sealwright_store::{Payload, Place, Store, StoreError};
use sealwright_tlog::VerifierKey;
use serde_json::json;
use tokio::runtime::Handle;

use super::StartError;
use super::audit::{self, Act, Audit};
use super::data;
use super::metrics::Metrics;
use super::sequencer::Sequencer;
use crate::error::ApiError;
use crate::state::{lock, now};

/// Types of statements that stay.
const NEVER: [&str; 4] = [REVOCATION, ROLE_BINDING, POLICY, ADMINISTRATION];

/// Types of statements of which only a yes may be erased, where it is said, and what a yes is.
const ONLY_IF: [(&str, &str, &str); 2] =
    [(APPROVAL, "decision", "APPROVED"), (TEST_RESULT, "result", "PASSED")];

const DAY_S: u64 = 24 * 60 * 60;

/// Statements are looked through for what has had its time this often.
const PERIOD: Duration = Duration::from_secs(60 * 60);

/// Erased in one go, while others wait for the store.
const BATCH: u32 = 50;

/// The classes of an instance, in the order of the file: the first that fits counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Retention(Vec<Class>);

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Class {
    /// Kept with each statement.
    name: String,
    keep: Keep,
    /// Types of predicates; all if there are none.
    #[serde(default)]
    predicate_types: Vec<String>,
    /// Projects; all if there are none.
    #[serde(default)]
    projects: Vec<String>,
}

/// Seconds. Written as an ISO 8601 duration of years, months, weeks and days. A year counts 366 days and
/// a month 31, so that nothing is erased early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct Keep(u64);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    class: Vec<Class>,
}

impl TryFrom<String> for Keep {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| {
            format!(
                "{text:?} is not a duration of years, months, weeks or days, such as P10Y or P90D"
            )
        })
    }
}

impl Keep {
    fn parse(text: &str) -> Option<Self> {
        let mut rest = text.strip_prefix('P')?;
        let mut days = 0_u64;
        let mut units: &[(char, u64)] = &[('Y', 366), ('M', 31), ('W', 7), ('D', 1)];
        while !rest.is_empty() {
            let end = rest.find(|c: char| !c.is_ascii_digit())?;
            let (number, after) = rest.split_at(end);
            let unit = after.chars().next()?;
            let place = units.iter().position(|(known, _)| *known == unit)?;
            let (_, length) = units.get(place)?;
            units = units.get(place + 1..)?;
            days = days.checked_add(number.parse::<u64>().ok()?.checked_mul(*length)?)?;
            rest = after.get(1..)?;
        }
        (days > 0).then_some(Self(days.checked_mul(DAY_S)?))
    }
}

impl Retention {
    /// Reads the file.
    pub(super) fn read(path: &Path) -> Result<Self, StartError> {
        let unusable = |problem: String| StartError::Retention { path: path.to_owned(), problem };
        let text = fs::read_to_string(path).map_err(|error| StartError::file(path, error))?;
        let File { class: classes } = toml::from_str(&text).map_err(|e| unusable(e.to_string()))?;
        for (place, class) in classes.iter().enumerate() {
            let name = &class.name;
            if name.is_empty() {
                return Err(unusable("a class has an empty name".to_owned()));
            }
            if classes.iter().skip(place + 1).any(|other| other.name == *name) {
                return Err(unusable(format!("two classes have the name {name:?}")));
            }
            let never = class.predicate_types.iter().find(|known| NEVER.contains(&known.as_str()));
            if let Some(never) = never {
                return Err(unusable(format!("class {name:?}: {never} is never erased")));
            }
        }
        Ok(Self(classes))
    }

    /// The class of a statement; empty if it is kept for ever.
    pub(super) fn class_of(&self, predicate_type: &str, project: &str, bundle: &[u8]) -> &str {
        let fits = |list: &[String], value: &str| {
            list.is_empty() || list.iter().any(|known| known == value)
        };
        let class = self.0.iter().find(|class| {
            fits(&class.predicate_types, predicate_type) && fits(&class.projects, project)
        });
        let class = class.filter(|_| !stays(predicate_type, bundle));
        class.map_or("", |class| &class.name)
    }

    /// Erases at `now` what has had its time, by the log-signed time, after it was recorded. Gives the
    /// indexes.
    pub(super) fn expire(
        &self,
        store: &Mutex<Store>,
        now: u64,
        record: impl Fn(Act) -> Result<u64, ApiError>,
    ) -> Result<Vec<u64>, ApiError> {
        let mut erased = Vec::new();
        for class in &self.0 {
            let Some(before) = now.checked_sub(class.keep.0) else { continue };
            loop {
                let found = {
                    let store = lock(store)?;
                    let until = store.index_at(before)?;
                    store.find_to_erase(&class.name, until, BATCH)?
                };
                if found.is_empty() {
                    break;
                }
                record(erasure(&found, &format!("retention class {}", class.name)))?;
                let mut store = lock(store)?;
                for index in found {
                    store.erase(index, now)?;
                    erased.push(index);
                }
            }
        }
        Ok(erased)
    }
}

/// Whether a statement is never erased, by its type and what it says.
fn stays(predicate_type: &str, bundle: &[u8]) -> bool {
    if NEVER.contains(&predicate_type) {
        return true;
    }
    let only_if = ONLY_IF.iter().find(|(known, ..)| *known == predicate_type);
    only_if.is_some_and(|(_, field, yes)| {
        let said = predicate_of(bundle).and_then(|predicate| Some(predicate.get(field)? == *yes));
        said != Some(true)
    })
}

fn predicate_of(bundle: &[u8]) -> Option<Value> {
    let bundle: Value = serde_json::from_slice(bundle).ok()?;
    let payload = STANDARD.decode(bundle.pointer("/dsseEnvelope/payload")?.as_str()?).ok()?;
    let mut statement: Value = serde_json::from_slice(&payload).ok()?;
    Some(statement.get_mut("predicate")?.take())
}

/// Looks for what has had its time, until it is told to stop.
pub(super) struct Expiring {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Expiring {
    pub(super) fn start(
        retention: Retention,
        store: Arc<Mutex<Store>>,
        audit: Arc<Audit>,
        runtime: Handle,
    ) -> io::Result<Self> {
        let (stop, stopped) = channel();
        let thread = thread::Builder::new().name("retention".to_owned()).spawn(move || {
            loop {
                let record = |act| runtime.block_on(audit.record(act));
                match retention.expire(&store, now(), record) {
                    Ok(erased) if !erased.is_empty() => {
                        tracing::info!(count = erased.len(), "statements have had their time");
                    }
                    Ok(_) => {}
                    Err(error) => {
                        tracing::error!(error = &error as &dyn std::error::Error, "cannot erase");
                    }
                }
                match stopped.recv_timeout(PERIOD) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        })?;
        Ok(Self { stop, thread })
    }

    pub(super) fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the thread that erases statements panicked");
        }
    }
}

/// A statement that was erased by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erased {
    /// Its index.
    pub index: u64,
    /// When, in seconds since 1970; earlier than now if it was erased before.
    pub at: u64,
}

/// Why statements are not erased.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// The instance cannot be opened.
    #[error(transparent)]
    Start(#[from] StartError),
    /// There is no statement with this index.
    #[error("there is no statement {index}")]
    NoStatement {
        /// The index.
        index: u64,
    },
    /// The act cannot be written into the log, or what it is about cannot be erased.
    #[error("{problem}")]
    Failed {
        /// What failed.
        problem: String,
    },
    /// Administrative acts stay, and whatever is a no.
    #[error("statement {index}, of type {predicate_type}, is never erased")]
    Never {
        /// The index.
        index: u64,
        /// The type.
        predicate_type: String,
    },
}

/// Erases statements of a stopped instance, or in the log that is `shared`, which others may use. All of them can be erased, or none is. That it was done, and
/// why, is in the log before.
///
/// # Errors
/// [`EraseError`].
pub fn erase(
    data_dir: &Path,
    shared: Option<&Place>,
    indexes: &[u64],
    reason: &str,
) -> Result<Vec<Erased>, EraseError> {
    if !super::has_keys(data_dir) {
        return Err(StartError::NotInitialised { dir: data_dir.to_owned() }.into());
    }
    let unreadable = |error: StoreError| EraseError::Start(StartError::store(data_dir, error));
    let (store, log) = data::open_stopped(data_dir, shared)?;
    let mut due = Vec::new();
    for &index in indexes {
        let statement = store.statement(index).map_err(unreadable)?;
        let statement = statement.ok_or(EraseError::NoStatement { index })?;
        let Payload::Kept { bundle, .. } = &statement.payload else { continue };
        if stays(&statement.predicate_type, bundle) {
            return Err(EraseError::Never { index, predicate_type: statement.predicate_type });
        }
        due.push(index);
    }
    let store = Arc::new(Mutex::new(store));
    if !due.is_empty() {
        record_stopped(data_dir, &store, &log, erasure(&due, reason))?;
    }
    let failed = |error: ApiError| EraseError::Failed { problem: error.to_string() };
    let mut store = lock(&store).map_err(failed)?;
    let now = now();
    let erase = |&index: &u64| {
        let at = store.erase(index, now).map_err(unreadable)?;
        Ok(Erased { index, at: at.ok_or(EraseError::NoStatement { index })? })
    };
    indexes.iter().map(erase).collect()
}

/// What goes into the log when statements are erased.
fn erasure(indexes: &[u64], reason: &str) -> Act {
    Act { act: "erase", detail: json!({"entries": indexes, "reason": reason}) }
}

/// Records an act in the log of a stopped instance.
fn record_stopped(
    data_dir: &Path,
    store: &Arc<Mutex<Store>>,
    log: &VerifierKey,
    act: Act,
) -> Result<(), EraseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(StartError::Threads)?;
    let (sequencer, thread) = Sequencer::start(Arc::clone(store), Metrics::new().sequencer)
        .map_err(StartError::Threads)?;
    let recorded = audit::open_key(data_dir)
        .and_then(|key| Audit::new(data_dir, key, log.name(), &log.log_id(), sequencer.clone()))
        .map_err(EraseError::from)
        .and_then(|audit| {
            let recorded = runtime.block_on(audit.record(act));
            recorded.map_err(|error| EraseError::Failed { problem: error.to_string() })
        });
    sequencer.stop();
    let _ = thread.join();
    recorded.map(|_| ())
}

#[cfg(test)]
mod tests {
    use sealwright_store::{NewEntry, StatementRecord};
    use sealwright_tlog::LogKey;

    use super::*;

    fn read(text: &str) -> Result<Retention, StartError> {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("retention.toml");
        fs::write(&path, text).unwrap();
        Retention::read(&path)
    }

    #[test]
    fn durations_are_of_whole_days_and_never_short() {
        for (text, days) in [
            ("P10Y", Some(3660)),
            ("P90D", Some(90)),
            ("P1Y2M3W4D", Some(366 + 62 + 21 + 4)),
            ("P0D", None),
            ("P", None),
            ("10Y", None),
            ("P1", None),
            ("P1D1Y", None),
            ("P1D1D", None),
            ("PT1H", None),
            ("P-1D", None),
            ("P99999999999999999999Y", None),
            ("P9999999999999999Y", None),
        ] {
            assert_eq!(Keep::parse(text).map(|keep| keep.0 / DAY_S), days, "{text}");
        }
    }

    #[test]
    fn the_first_class_that_fits_counts_and_revocations_have_none() {
        let retention = read(
            "[[class]]\nname = \"loans\"\nkeep = \"P10Y\"\nprojects = [\"loans\"]\n\
             [[class]]\nname = \"scans\"\nkeep = \"P90D\"\npredicate_types = [\"https://a/b\"]\n\
             [[class]]\nname = \"rest\"\nkeep = \"P1Y\"\n",
        )
        .unwrap();
        for (predicate_type, project, class) in [
            ("https://a/b", "loans", "loans"),
            ("https://a/b", "", "scans"),
            ("https://a/c", "", "rest"),
            (REVOCATION, "loans", ""),
        ] {
            let found = retention.class_of(predicate_type, project, b"{}");
            assert_eq!(found, class, "{predicate_type}");
        }
        assert_eq!(Retention::default().class_of("https://a/b", "loans", b"{}"), "");
    }

    #[test]
    fn only_a_yes_has_a_class() {
        let retention = read("[[class]]\nname = \"all\"\nkeep = \"P1D\"\n").unwrap();
        let bundle = |predicate: Value| {
            let payload = STANDARD.encode(json!({"predicate": predicate}).to_string());
            json!({"dsseEnvelope": {"payload": payload}}).to_string().into_bytes()
        };
        for (predicate_type, predicate, class) in [
            (APPROVAL, json!({"decision": "APPROVED"}), "all"),
            (APPROVAL, json!({"decision": "REJECTED"}), ""),
            (APPROVAL, json!({}), ""),
            (APPROVAL, json!(["APPROVED"]), ""),
            (TEST_RESULT, json!({"result": "PASSED"}), "all"),
            (TEST_RESULT, json!({"result": "WARNED"}), ""),
            (TEST_RESULT, json!({"result": "FAILED"}), ""),
            ("https://a/b", json!({"decision": "REJECTED"}), "all"),
        ] {
            let found = retention.class_of(predicate_type, "", &bundle(predicate.clone()));
            assert_eq!(found, class, "{predicate_type} {predicate}");
        }
        assert_eq!(retention.class_of(APPROVAL, "", b"nonsense"), "");
        assert_eq!(retention.class_of("", "", b"{\"messageSignature\": {}}"), "all");
    }

    #[test]
    fn what_has_had_its_time_is_recorded_and_erased() {
        let dir = tempfile::tempdir().unwrap();
        let key = LogKey::generate("localhost").unwrap();
        let mut store = Store::open(dir.path(), "localhost", &key, 1_000).unwrap();
        let entry = |n: u8, class: &str| NewEntry {
            body: vec![n],
            statement: Some(StatementRecord {
                envelope_sha256: "0".repeat(64),
                retention: class.to_owned(),
                bundle: b"{}".to_vec(),
                ..StatementRecord::default()
            }),
        };
        store.append(&[entry(0, "day"), entry(1, "")], 1_000).unwrap();
        store.append(&[entry(2, "day")], 2_000).unwrap();
        let store = Mutex::new(store);
        let retention = read("[[class]]\nname = \"day\"\nkeep = \"P1D\"\n").unwrap();
        let acts = Mutex::new(Vec::new());
        let record = |act: Act| {
            acts.lock().unwrap().push(act.detail);
            Ok(0)
        };
        assert!(retention.expire(&store, 1_000 + DAY_S, record).unwrap().is_empty());
        assert_eq!(retention.expire(&store, 1_001 + DAY_S, record).unwrap(), [0]);
        assert!(retention.expire(&store, 1_002 + DAY_S, record).unwrap().is_empty());
        let expected = json!([{"entries": [0], "reason": "retention class day"}]);
        assert_eq!(json!(*acts.lock().unwrap()), expected);
        // Nothing is erased that cannot be recorded.
        let refuse = |_| Err(ApiError::Busy);
        assert!(retention.expire(&store, 9_000 + DAY_S, refuse).is_err());
        let kept = store.lock().unwrap().statement(2).unwrap().unwrap();
        assert!(matches!(kept.payload, Payload::Kept { .. }));
    }

    #[test]
    fn the_file_is_read_strictly() {
        let class = |rest: &str| format!("[[class]]\nname = \"x\"\n{rest}\n");
        for (text, problem) in [
            (String::new(), "class"),
            (class("keep = \"1Y\""), "not a duration"),
            (class("keep = 5"), "keep"),
            (class("keep = \"P1Y\"\nkeeps = 1"), "unknown field"),
            (class("keep = \"P1Y\"").repeat(2), "two classes"),
            (class("keep = \"P1Y\"").replace('x', ""), "empty name"),
            (class(&format!("keep = \"P1Y\"\npredicate_types = [{REVOCATION:?}]")), "never erased"),
        ] {
            let error = read(&text).unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }
}
