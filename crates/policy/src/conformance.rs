//! The engine as it decides, asked anything: what holds it against OPA's conformance cases.
//!
//! A decision is one rule of a [`crate::Policy`]. The cases are queries over any Rego, and are
//! evaluated here by an engine that is built, prepared and fenced in the same way.

use std::collections::BTreeSet;
use std::time::Duration;

use regorus::unstable::{Module, Ref};
use regorus::{Engine, Value};
use serde_json::Map;

use crate::engine::{self, Failure, Fault, fenced};
use crate::error::PolicyError;
use crate::lint;
use crate::policy::Policy;
use crate::scan;

/// The time one query may take. It is the answers that are compared, on machines of any speed.
const LIMIT: Duration = Duration::from_secs(20);

/// A query, and all that its answer depends on.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// File names and texts of the modules.
    pub modules: &'a [(&'a str, &'a str)],
    /// What is under `data`.
    pub data: &'a serde_json::Value,
    /// What is under `input`.
    pub input: Given<'a>,
    /// The query, such as `data.p.allow = x`.
    pub query: &'a str,
}

/// The input of a [`Question`].
#[derive(Clone, Copy, Debug)]
pub enum Given<'a> {
    /// None: `input` is undefined.
    Nothing,
    /// JSON.
    Json(&'a serde_json::Value),
    /// A term of Rego, which may be more than JSON: a set, or what it takes out of the data.
    Term(&'a str),
}

/// Why a [`Question`] has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// The modules or the data do not load.
    #[error(transparent)]
    Load(#[from] PolicyError),
    /// The evaluation failed.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// All answers: for each, the values of the query's variables. Builtins that fail are errors, as in
/// decisions, unless `lenient`.
///
/// # Errors
///
/// [`Unanswered`] if something failed. No answers at all are none.
pub fn answers(
    question: &Question<'_>,
    lenient: bool,
) -> Result<Vec<Map<String, serde_json::Value>>, Unanswered> {
    let mut engine = engine::build(question.modules, question.data)?;
    if lenient {
        engine.set_strict_builtin_errors(false);
    }
    let modules = engine.get_modules().clone();
    scan::check_recursion_alone(&modules)?;
    if let Some(rule) = modules.iter().find_map(scan::any_rule) {
        engine::prepare(&mut engine, &rule)?;
    }
    let ran = fenced(|| ask(&engine, question));
    Ok(match ran {
        Ok(answers) => answers?,
        Err(Fault::Panic) => return Err(Failure::Panic.into()),
        Err(fault @ Fault::NoThread) => {
            return Err(Failure::Error(fault.text().to_owned()).into());
        }
    })
}

/// Functions that are called and are neither in the modules nor in the engine, and why the modules
/// would not be loaded as a part of a policy, in a few words each.
#[derive(Clone, Debug, Default)]
pub struct Objections {
    /// Names of functions.
    pub missing: BTreeSet<String>,
    /// Names of functions that a policy may not call, and codes of the lint.
    pub refused: BTreeSet<String>,
}

/// What there is to say against the modules and the query of a question before it is asked.
///
/// # Errors
///
/// [`PolicyError`] if the modules cannot be read.
pub fn objections(question: &Question<'_>) -> Result<Objections, PolicyError> {
    let nothing = serde_json::Value::Object(Map::new());
    let asking =
        format!("package conformance_query\n\nimport rego.v1\n\nrow if {{ {} }}", question.query);
    let mut modules = question.modules.to_vec();
    modules.push(("query.rego", &asking));
    // Not every query can stand in a rule.
    let mut engine =
        engine::build(&modules, &nothing).or_else(|_| engine::build(question.modules, &nothing))?;
    let parsed = engine.get_modules().clone();
    let mut refused: BTreeSet<String> = fenced(|| lint::errors(&parsed))
        .unwrap_or_else(|_| vec![lint::Finding::unreadable()])
        .into_iter()
        .map(|finding| finding.code.to_owned())
        .collect();
    refused.extend(self::refused(&parsed));
    Ok(Objections { missing: scan::missing(&parsed)?, refused })
}

fn refused(modules: &[Ref<Module>]) -> Option<String> {
    match scan::check(modules, Policy::MAX_RULES) {
        Ok(()) => None,
        Err(
            PolicyError::UnreplayableBuiltin { builtin: name, .. }
            | PolicyError::UnknownFunction { function: name, .. },
        ) => Some(name),
        Err(error) => Some(error.to_string()),
    }
}

fn ask(
    engine: &Engine,
    question: &Question<'_>,
) -> Result<Vec<Map<String, serde_json::Value>>, Failure> {
    let mut engine = engine.clone();
    engine.set_execution_timer_config(engine::timer(LIMIT));
    match question.input {
        Given::Nothing => {}
        Given::Json(input) => engine.set_input(Value::from(input.clone())),
        Given::Term(term) => {
            let found = engine.eval_query(term.to_owned(), false).map_err(engine::failure)?;
            let rows = found.result.into_iter().flat_map(|row| row.expressions);
            let input = rows.last().ok_or(Failure::Undefined)?.value;
            engine.set_input(input);
        }
    }
    let found = engine.eval_query(question.query.to_owned(), false).map_err(engine::failure)?;
    let rows = found.result.into_iter().map(|row| {
        let json = row.bindings.to_json_str().map_err(engine::failure)?;
        serde_json::from_str(&json).map_err(|error| Failure::Error(error.to_string()))
    });
    rows.collect()
}
