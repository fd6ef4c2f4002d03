//! OPA's conformance cases: read, asked, compared.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use sealwright_policy::Failure;
use sealwright_policy::conformance::{Given, Question, Unanswered, answers, objections};

/// One case, as `v1/test/cases` of OPA has it.
#[derive(Deserialize)]
pub(crate) struct Case {
    /// Its name; there are several of one name.
    pub(crate) note: String,
    query: String,
    #[serde(default)]
    modules: Vec<String>,
    data: Option<Value>,
    input: Option<Value>,
    input_term: Option<String>,
    want_result: Option<Vec<Value>>,
    want_error_code: Option<String>,
    want_error: Option<String>,
    #[serde(default)]
    sort_bindings: bool,
    #[serde(default)]
    ignore_generated_vars: bool,
    #[serde(default)]
    strict_error: bool,
    /// The directory it is in.
    #[serde(skip)]
    pub(crate) group: String,
}

#[derive(Deserialize)]
struct Cases {
    #[serde(default)]
    cases: Vec<Case>,
}

/// What became of a case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// The answer that is wanted, or an error where one is.
    Same,
    /// A builtin failed; where OPA goes on as if it were undefined, this is an error.
    Strict,
    /// A function that the engine does not have.
    NoBuiltin(String),
    /// The modules do not load.
    Unread(String),
    /// An error where OPA answers.
    Fails(String),
    /// An answer where OPA has an error.
    Answers(String),
    /// Another answer.
    Differs(String),
}

impl Outcome {
    /// One word for it.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Strict => "strict",
            Self::NoBuiltin(_) => "no-builtin",
            Self::Unread(_) => "unread",
            Self::Fails(_) => "fails",
            Self::Answers(_) => "answers",
            Self::Differs(_) => "differs",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.word())?;
        match self {
            Self::Same | Self::Strict => Ok(()),
            Self::NoBuiltin(text)
            | Self::Unread(text)
            | Self::Fails(text)
            | Self::Answers(text)
            | Self::Differs(text) => write!(formatter, ": {text}"),
        }
    }
}

/// A case with its outcome, and why its modules could not be part of a policy.
pub(crate) struct Done {
    pub(crate) note: String,
    pub(crate) group: String,
    pub(crate) outcome: Outcome,
    pub(crate) refused: Vec<String>,
}

/// Runs all cases in `directory`, by group and name.
pub(crate) fn run(directory: &Path) -> Result<Vec<Done>, String> {
    let mut done = Vec::new();
    for group in entries(directory)? {
        for file in entries(&group)? {
            let failed = |error: &dyn fmt::Display| format!("{}: {error}", file.display());
            let text = fs::read_to_string(&file).map_err(|error| failed(&error))?;
            let read: Cases = yaml_serde::from_str(&text).map_err(|error| failed(&error))?;
            for mut case in read.cases {
                case.group = name(&group);
                done.push(case.done());
            }
        }
    }
    number(&mut done);
    Ok(done)
}

/// Names what is there twice `x (2)`, so that every case has a name.
fn number(done: &mut [Done]) {
    let mut seen = BTreeMap::<String, usize>::new();
    for case in done {
        let count = seen.entry(case.note.clone()).or_default();
        *count += 1;
        if *count > 1 {
            case.note = format!("{} ({count})", case.note);
        }
    }
}

fn entries(directory: &Path) -> Result<Vec<std::path::PathBuf>, String> {
    let failed = |error| format!("{}: {error}", directory.display());
    let entries = fs::read_dir(directory).map_err(failed)?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(failed)?.path());
    }
    paths.sort();
    Ok(paths)
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

impl Case {
    fn done(self) -> Done {
        let modules: Vec<(String, &str)> = self
            .modules
            .iter()
            .enumerate()
            .map(|(index, text)| (format!("test-{index}.rego"), text.as_str()))
            .collect();
        let modules: Vec<(&str, &str)> =
            modules.iter().map(|(name, text)| (name.as_str(), *text)).collect();
        let nothing = Value::Object(Map::new());
        let question = Question {
            modules: &modules,
            data: self.data.as_ref().unwrap_or(&nothing),
            input: match (&self.input_term, &self.input) {
                (Some(term), _) => Given::Term(term),
                (None, Some(input)) => Given::Json(input),
                (None, None) => Given::Nothing,
            },
            query: &self.query,
        };
        let outcome = self.outcome(&question);
        let Ok(objections) = objections(&question) else {
            let refused = vec![String::from("not read")];
            return Done { note: self.note, group: self.group, outcome, refused };
        };
        let outcome = match (outcome, objections.missing.first()) {
            (outcome @ Outcome::Same, _) | (outcome, None) => outcome,
            (_, Some(builtin)) => Outcome::NoBuiltin(builtin.clone()),
        };
        let refused = objections.refused.into_iter().collect();
        Done { note: self.note, group: self.group, outcome, refused }
    }

    fn outcome(&self, question: &Question<'_>) -> Outcome {
        let strict = self.compared(answers(question, false));
        // What is to be seen with a lenient engine only is not what decisions are made with.
        match strict {
            Outcome::Fails(_) if !self.strict_error => {
                match self.compared(answers(question, true)) {
                    Outcome::Same => Outcome::Strict,
                    _ => strict,
                }
            }
            _ => strict,
        }
    }

    fn compared(&self, answered: Result<Vec<Map<String, Value>>, Unanswered>) -> Outcome {
        let wants_error = self.want_error.is_some() || self.want_error_code.is_some();
        match answered {
            Err(Unanswered::Load(error)) => match missing(&error.to_string()) {
                Some(builtin) => Outcome::NoBuiltin(builtin),
                None => Outcome::Unread(one_line(&error.to_string())),
            },
            Err(Unanswered::Failed(Failure::Undefined)) => Outcome::Fails("undefined".to_owned()),
            Err(Unanswered::Failed(failure)) => match missing(&failure.to_string()) {
                Some(builtin) => Outcome::NoBuiltin(builtin),
                None if wants_error => Outcome::Same,
                None => Outcome::Fails(one_line(&failure.to_string())),
            },
            Ok(rows) if wants_error => Outcome::Answers(shown(&self.rows(rows))),
            Ok(rows) => {
                let rows = self.rows(rows);
                let wanted = self.want_result.iter().flatten().cloned();
                let wanted = self.rows(wanted.filter_map(|row| row.as_object().cloned()).collect());
                if rows == wanted {
                    Outcome::Same
                } else {
                    Outcome::Differs(format!("{} not {}", shown(&rows), shown(&wanted)))
                }
            }
        }
    }

    /// As OPA's own runner compares them.
    fn rows(&self, rows: Vec<Map<String, Value>>) -> Vec<Value> {
        set(rows.into_iter().map(|mut row| {
            if self.ignore_generated_vars {
                row.retain(|name, _| !name.starts_with("__localq"));
            }
            for value in row.values_mut() {
                *value = canonical(value);
                if let (true, Value::Array(items)) = (self.sort_bindings, value) {
                    items.sort_by_key(ToString::to_string);
                }
            }
            Value::Object(row)
        }))
    }
}

/// Rows are a set.
fn set(rows: impl Iterator<Item = Value>) -> Vec<Value> {
    let mut rows: Vec<Value> = rows.collect();
    rows.sort_by_key(ToString::to_string);
    rows.dedup();
    rows
}

/// The same number in the same form: 1 and 1.0 are one number in Rego.
fn canonical(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(canonical).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), canonical(value))).collect()
        }
        Value::Number(number) if number.is_f64() => match number.as_f64() {
            #[expect(clippy::cast_possible_truncation, reason = "it is whole and small")]
            Some(float) if float.fract() == 0.0 && float.abs() < 9e15 => Value::from(float as i64),
            _ => value.clone(),
        },
        _ => value.clone(),
    }
}

/// The function that an error says is missing.
fn missing(error: &str) -> Option<String> {
    let (_, rest) = error.split_once("could not find function ")?;
    let name: String = rest.chars().take_while(|c| !c.is_whitespace()).collect();
    Some(name)
}

/// The engine's picture of a place, without the place.
fn one_line(error: &str) -> String {
    let said = error.lines().find_map(|line| line.trim().strip_prefix("error: "));
    let said = said.unwrap_or(error);
    shortened(&said.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn shown(rows: &[Value]) -> String {
    match rows {
        [] => "undefined".to_owned(),
        [Value::Object(fields)] if fields.len() == 1 => {
            shortened(&fields.values().map(ToString::to_string).collect::<String>())
        }
        rows => shortened(&Value::from(rows.to_vec()).to_string()),
    }
}

fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(120).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
