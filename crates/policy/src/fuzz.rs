//! Changing an input bit by bit, to find what should not be allowed and is.
//!
//! Nothing is random: the same policy and input give the same report.

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{Expr, Module, Ref};
use serde::Serialize;
use serde_json::Value;

use crate::engine::Failure;
use crate::input::DecisionInput;
use crate::judge::{codes, is_yes};
use crate::suite::Suite;
use crate::tree::{self, Node, components};

mod mutation;

pub use mutation::{Mutation, mutations};

/// How many inputs are held in memory and evaluated in one go.
const BATCH: usize = 256;

/// What to change, and how much of it.
#[derive(Clone, Debug)]
pub struct FuzzOptions {
    /// The reference whose value decides.
    pub query: String,
    /// How many evaluations at most.
    pub limit: usize,
    /// JSON pointers of what may turn a deny into an allow when it or something in it changes: the
    /// place of the "no".
    pub except: Vec<String>,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct FuzzReport {
    /// Whether the input as it is is allowed.
    pub allows: bool,
    /// Why not.
    pub codes: Vec<String>,
    /// How many inputs were evaluated.
    pub evaluated: usize,
    /// How many were not, because of the limit.
    pub left_out: usize,
    /// How many were not, because a decision is never asked with such an input: it has fields of
    /// other types.
    pub refused_before: usize,
    /// Changes of an allowed input that change nothing, although the policy reads the field.
    pub still_allowed: Vec<Change>,
    /// Denied inputs that one more change allows.
    pub turned: Vec<Turned>,
}

/// One change of an input.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    /// JSON pointer (RFC 6901).
    pub pointer: String,
    /// What became of the value, such as `missing`.
    pub kind: &'static str,
}

impl Change {
    fn of(mutation: &Mutation) -> Self {
        Self { pointer: mutation.pointer.clone(), kind: mutation.kind }
    }
}

/// A deny that a change turned into an allow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Turned {
    /// The change that made an allowed input a denied one; none if it was denied from the start.
    pub denied_by: Option<Change>,
    /// Why it was denied.
    pub codes: Vec<String>,
    /// The change that allowed it.
    pub allowed_by: Change,
}

/// Changes every field of `input` in every way of [`mutations`]. An input that is denied must stay
/// so. One that is allowed gives denied ones, one for each set of codes, and those must stay so
/// after a second change somewhere else.
#[must_use]
pub fn fuzz(suite: &Suite, input: &Value, options: &FuzzOptions) -> FuzzReport {
    let mut run = Run { suite, options, typed: is_typed(input), report: FuzzReport::default() };
    let Some(first) = run.ask(vec![input.clone()]).pop() else { return run.report };
    run.report.allows = first.is_none();
    if let Some(codes) = first {
        run.report.codes.clone_from(&codes);
        run.second(input, None, &codes);
        return run.report;
    }
    let mut denied = BTreeMap::<Vec<String>, Mutation>::new();
    let read = suite.fields();
    for (mutation, answer) in run.all(input, &mutations(input)) {
        match answer {
            None if is_read(&mutation.pointer, &read) => {
                run.report.still_allowed.push(Change::of(&mutation));
            }
            None => {}
            Some(codes) => {
                denied.entry(codes).or_insert(mutation);
            }
        }
    }
    for (codes, mutation) in denied {
        run.second(input, Some(&mutation), &codes);
    }
    run.report
}

/// The names of fields that modules mention: in references, and in paths for `object.get`.
pub(crate) fn fields(modules: &[Ref<Module>]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for rule in modules.iter().flat_map(|module| &module.policy) {
        for node in tree::nodes(rule) {
            match node {
                Node::Expr(Expr::RefDot { field, .. }) => {
                    names.insert(field.0.text().to_owned());
                }
                Node::Expr(Expr::RefBrack { index, .. }) => names.extend(text_of(index)),
                Node::Expr(Expr::Call { fcn, params, .. })
                    if components(fcn).is_some_and(|parts| parts.join(".") == "object.get") =>
                {
                    for param in params {
                        match param.as_ref() {
                            Expr::Array { items, .. } => {
                                names.extend(items.iter().filter_map(|item| text_of(item)));
                            }
                            other => names.extend(text_of(other)),
                        }
                    }
                }
                Node::Expr(_) | Node::Statement(_) => {}
            }
        }
    }
    names
}

struct Run<'a> {
    suite: &'a Suite,
    options: &'a FuzzOptions,
    /// Whether the input is one that decisions are made with.
    typed: bool,
    report: FuzzReport,
}

impl Run<'_> {
    /// Changes a denied input, which is `input` after `first`.
    fn second(&mut self, input: &Value, first: Option<&Mutation>, codes: &[String]) {
        let base = first.map_or_else(|| input.clone(), |first| first.apply(input));
        let mut wanted = mutations(&base);
        wanted.retain(|second| {
            !self.options.except.iter().any(|place| is_within(&second.pointer, place))
                && !first.is_some_and(|first| undoes(input, first, second))
        });
        for (mutation, answer) in self.all(&base, &wanted) {
            if answer.is_none() {
                let allowed_by = Change::of(&mutation);
                let denied_by = first.map(Change::of);
                self.report.turned.push(Turned { denied_by, codes: codes.to_vec(), allowed_by });
            }
        }
    }

    /// The codes with which each mutant is denied; none for an allow.
    fn all(&mut self, base: &Value, wanted: &[Mutation]) -> Vec<(Mutation, Option<Vec<String>>)> {
        let mut answered = Vec::with_capacity(wanted.len());
        for batch in wanted.chunks(BATCH) {
            let mut inputs = Vec::with_capacity(batch.len());
            let mut asked = Vec::with_capacity(batch.len());
            for mutation in batch {
                let input = mutation.apply(base);
                if self.typed && !is_typed(&input) {
                    self.report.refused_before += 1;
                    continue;
                }
                asked.push(mutation.clone());
                inputs.push(input);
            }
            answered.extend(asked.into_iter().zip(self.ask(inputs)));
        }
        answered
    }

    fn ask(&mut self, mut inputs: Vec<Value>) -> Vec<Option<Vec<String>>> {
        let left = self.options.limit.saturating_sub(self.report.evaluated);
        self.report.left_out += inputs.len().saturating_sub(left);
        inputs.truncate(left);
        self.report.evaluated += inputs.len();
        let query = &self.options.query;
        // What the rules say is looked for, and not how fast: a time-out would pass for a deny.
        let answers = self.suite.query_all_within(query, &inputs, Suite::TEST_LIMIT).into_iter();
        answers.map(|answer| denial(query, answer)).collect()
    }
}

/// Why an answer is a no; none if it is a yes.
fn denial(query: &str, answer: Result<Value, Failure>) -> Option<Vec<String>> {
    match answer {
        Ok(value) if is_yes(query, &value) == Some(true) => None,
        Ok(value) => Some(codes(&value)),
        Err(failure) => Some(vec![failure.code().to_owned()]),
    }
}

/// True if the first change may be taken back by the second, or made again where it belongs: one is
/// inside of the other, or both do the same to two equal values.
fn undoes(input: &Value, first: &Mutation, second: &Mutation) -> bool {
    is_within(&first.pointer, &second.pointer)
        || is_within(&second.pointer, &first.pointer)
        || (first.kind == second.kind
            && input.pointer(&first.pointer).is_some()
            && input.pointer(&first.pointer) == input.pointer(&second.pointer))
}

fn is_within(pointer: &str, place: &str) -> bool {
    pointer.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn is_typed(input: &Value) -> bool {
    serde_json::from_value::<DecisionInput>(input.clone())
        .is_ok_and(|input| input.fault().is_none())
}

/// True if the policy mentions the field a pointer leads to, or the list whose entry it is.
fn is_read(pointer: &str, fields: &BTreeSet<String>) -> bool {
    let mut parts =
        pointer.rsplit('/').filter(|part| !part.bytes().all(|byte| byte.is_ascii_digit()));
    parts.next().is_some_and(|name| fields.contains(&name.replace("~1", "/").replace("~0", "~")))
}

fn text_of(expr: &Expr) -> Option<String> {
    match expr {
        Expr::String { value, .. } | Expr::RawString { value, .. } => {
            value.as_string().ok().map(ToString::to_string)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_compared_by_parts() {
        assert!(is_within("/a/b", "/a") && is_within("/a", "/a") && is_within("/a", ""));
        assert!(!is_within("/ab", "/a") && !is_within("/a", "/a/b"));
        let fields = BTreeSet::from([String::from("roles"), String::from("a/b")]);
        assert!(is_read("/x/roles/0", &fields) && is_read("/a~1b", &fields));
        assert!(!is_read("/roles/x", &fields));
    }
}
