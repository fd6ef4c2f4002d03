//! OPA's REST API over Rego of any kind: programs that ask an OPA can ask this instead.
//!
//! The data API answers (`GET` and `POST /v1/data/…`, `POST /v0/data/…`), and so do `/health`, the list
//! of policies and `/metrics`. Nothing can be changed through it: rules and data are those it was started
//! with. Every decision can be written to a file and sent to a collector in OPA's form (`logs`), with
//! what is not to be seen there left out (`mask`).
//!
//! It says what rules say. What decides about models is [`crate::admission`], and takes no unverified
//! input.

mod logs;
mod mask;
mod routes;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use sealwright_policy::{Failure, Suite};
use serde_json::{Map, Value, json};

pub use logs::{Collector, DecisionLogs, LogsError};
pub use routes::{MAX_BODY_SIZE, router};

/// What answers: rules, where they are from, and where decisions are written.
pub struct Opa {
    suite: Suite,
    /// Name and revision of every bundle.
    bundles: BTreeMap<String, String>,
    /// Name and text of every module, for whoever wants to see them.
    modules: Vec<(String, String)>,
    instance: String,
    masks: bool,
    drops: bool,
    logs: DecisionLogs,
    decisions: AtomicU64,
}

/// An answer, as it is given and as it is logged.
pub(crate) struct Answered {
    pub(crate) id: String,
    /// None if it is undefined.
    pub(crate) result: Result<Option<Value>, String>,
    pub(crate) evaluation_ns: u64,
}

/// A question.
pub(crate) struct Asked<'a> {
    /// The path below `data`, as it stands in the URL.
    pub(crate) path: &'a str,
    pub(crate) input: Option<&'a Value>,
    pub(crate) requested_by: String,
}

/// Why a question has no answer.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// The path is not one to a document.
    Path(String),
    /// The system fails; the text is for the log.
    Internal(&'static str),
}

impl Opa {
    /// Rules to ask; `bundles` are names and revisions, `modules` names and texts to show.
    ///
    /// # Errors
    /// When the system gives no randomness for the name of this instance.
    pub fn new(
        suite: Suite,
        modules: Vec<(String, String)>,
        bundles: BTreeMap<String, String>,
        logs: DecisionLogs,
    ) -> std::io::Result<Self> {
        let instance = uuid().ok_or_else(|| std::io::Error::other("no randomness"))?;
        let masks = suite.declares("data.system.log", "mask");
        let drops = suite.declares("data.system.log", "drop");
        let decisions = AtomicU64::new(0);
        Ok(Self { suite, bundles, modules, instance, masks, drops, logs, decisions })
    }

    /// Sends what is still to be sent to the collector, for a few seconds at most.
    pub fn finish(&self) {
        self.logs.finish();
    }

    /// Answers and logs; blocks. An answer that cannot be logged is none.
    pub(crate) fn answer(&self, asked: &Asked<'_>) -> Result<Answered, NoAnswer> {
        let id = uuid().ok_or(NoAnswer::Internal("no randomness"))?;
        let started = std::time::Instant::now();
        let result = self.evaluate(asked)?;
        let evaluation_ns = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let answered = Answered { id, result, evaluation_ns };
        self.decisions.fetch_add(1, Ordering::Relaxed);
        if self.logs.is_wanted() {
            self.log(asked, &answered)?;
        }
        Ok(answered)
    }

    fn evaluate(&self, asked: &Asked<'_>) -> Result<Result<Option<Value>, String>, NoAnswer> {
        let path = DataPath::parse(asked.path).map_err(NoAnswer::Path)?;
        Ok(match self.suite.query_with(&path.reference, asked.input) {
            Ok(value) => Ok(path.below.iter().try_fold(value, |value, part| match value {
                Value::Array(mut items) if *part < items.len() => Some(items.swap_remove(*part)),
                _ => None,
            })),
            Err(Failure::Undefined) => Ok(None),
            Err(failure) => Err(failure.to_string()),
        })
    }

    fn log(&self, asked: &Asked<'_>, answered: &Answered) -> Result<(), NoAnswer> {
        let mut event = self.event(asked, answered);
        if self.drops && self.suite.query_with(mask::DROP, Some(&event)) == Ok(Value::Bool(true)) {
            return Ok(());
        }
        if self.masks {
            match self.suite.query_with(mask::MASK, Some(&event)) {
                Ok(rules) => mask::apply(&rules, &mut event),
                Err(Failure::Undefined) => {}
                // What should have been left out is not known, so everything is.
                Err(_) => mask::erase_all(&mut event),
            }
        }
        self.logs.write(&event).map_err(|error| {
            tracing::error!(%error, "cannot write the decision log");
            NoAnswer::Internal("the decision could not be logged")
        })
    }

    /// An event of OPA's decision log (`EventV1`).
    fn event(&self, asked: &Asked<'_>, answered: &Answered) -> Value {
        let bundles: Map<String, Value> = self
            .bundles
            .iter()
            .map(|(name, revision)| (name.clone(), json!({"revision": revision})))
            .collect();
        let mut event = json!({
            "labels": {"id": self.instance, "version": env!("CARGO_PKG_VERSION"), "app": "sealwright"},
            "decision_id": answered.id,
            "bundles": bundles,
            "path": asked.path.trim_matches('/'),
            "requested_by": asked.requested_by,
            "timestamp": logs::timestamp(),
            "metrics": {"timer_rego_query_eval_ns": answered.evaluation_ns},
        });
        if let Some(input) = asked.input {
            event["input"] = input.clone();
        }
        match &answered.result {
            Ok(Some(result)) => event["result"] = result.clone(),
            Ok(None) => {}
            Err(message) => {
                event["error"] = json!({"code": "internal_error", "message": message});
            }
        }
        event
    }

    /// OpenMetrics text.
    fn metrics(&self) -> String {
        let decisions = self.decisions.load(Ordering::Relaxed);
        let (sent, dropped) = self.logs.counts();
        let mut text = String::new();
        for (name, help, value) in [
            ("sealwright_opa_decisions", "Questions answered", decisions),
            ("sealwright_opa_decision_logs_sent", "Events that the collector took", sent),
            ("sealwright_opa_decision_logs_dropped", "Events that were given up", dropped),
        ] {
            text +=
                &format!("# HELP {name} {help}.\n# TYPE {name} counter\n{name}_total {value}\n");
        }
        text + "# EOF\n"
    }
}

impl std::fmt::Debug for Opa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opa").field("bundles", &self.bundles).finish_non_exhaustive()
    }
}

/// A path of the data API: a reference, and places in the arrays below it.
#[derive(Debug, PartialEq, Eq)]
struct DataPath {
    reference: String,
    below: Vec<usize>,
}

impl DataPath {
    /// As OPA reads it: parts are separated by `/` and percent-encoded, empty ones do not count, and a
    /// number is a place in an array.
    fn parse(path: &str) -> Result<Self, String> {
        const KEYWORDS: [&str; 16] = [
            "as", "contains", "data", "default", "else", "every", "false", "if", "import", "in",
            "input", "not", "null", "package", "some", "true",
        ];
        let mut parsed = Self { reference: "data".to_owned(), below: Vec::new() };
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let part = percent_decoded(part).ok_or_else(|| format!("invalid ref term '{part}'"))?;
            if let Ok(index) = part.parse() {
                parsed.below.push(index);
                continue;
            }
            if !parsed.below.is_empty()
                || part.contains(['"', '\\'])
                || part.contains(char::is_control)
            {
                return Err(format!("invalid ref term '{part}'"));
            }
            let is_name = !part.starts_with(|c: char| c.is_ascii_digit())
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
                && !KEYWORDS.contains(&part.as_str())
                && part != "with";
            parsed.reference += &if is_name { format!(".{part}") } else { format!("[\"{part}\"]") };
        }
        Ok(parsed)
    }
}

fn percent_decoded(part: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        bytes.extend(hex::decode(digits).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

/// A random UUID (RFC 9562, version 4).
fn uuid() -> Option<String> {
    let mut bytes = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = hex::encode(bytes);
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| digits.get(part).unwrap_or(""));
    Some(parts.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_references() {
        for (path, reference, below) in [
            ("", "data", vec![]),
            ("/a/b_1/", "data.a.b_1", vec![]),
            ("a/if/b-c/%C3%A9", "data.a[\"if\"][\"b-c\"][\"é\"]", vec![]),
            ("a/with", "data.a[\"with\"]", vec![]),
            ("a/2/0", "data.a", vec![2, 0]),
        ] {
            let expected = DataPath { reference: reference.to_owned(), below };
            assert_eq!(DataPath::parse(path), Ok(expected), "{path}");
        }
        for bad in ["a\"b", "%22", "%5c", "%0a", "%ff", "%g1", "%1", "a/1/b"] {
            assert!(DataPath::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_are_random_uuids() {
        let (one, two) = (uuid().unwrap(), uuid().unwrap());
        assert_ne!(one, two);
        assert_eq!((one.len(), &one[14..15]), (36, "4"));
    }
}
