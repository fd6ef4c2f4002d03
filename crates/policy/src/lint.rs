//! What may be wrong in a policy although it parses.
//!
//! An error is refused when a policy is loaded. A warning only may be wrong: without types, the
//! syntax tree does not tell what a value is or which way a rule decides.

use std::collections::BTreeMap;
use std::fmt;

use regorus::unstable::{Module, Ref, Span};
use serde::Serialize;

use crate::tree;

mod calls;
mod flow;
mod negation;
mod rules;

/// One place that looks wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// Stable and for programs, such as `threshold-unchecked`.
    pub code: &'static str,
    /// Whether the policy is refused for it.
    pub severity: Severity,
    /// What is wrong with it, in one sentence.
    pub message: String,
    /// How to mend it, in one sentence.
    pub help: String,
}

/// How sure a [`Finding`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A policy with it is refused.
    Error,
    /// It may be right.
    Warning,
}

impl Finding {
    pub(crate) fn at(span: &Span, code: &'static str, message: String, help: &str) -> Self {
        Self {
            file: span.source.get_path().clone(),
            line: span.line,
            column: span.col,
            code,
            severity: Severity::Error,
            message,
            help: help.to_owned(),
        }
    }

    pub(crate) fn warning(self) -> Self {
        Self { severity: Severity::Warning, ..self }
    }

    /// The modules could not be looked at.
    pub(crate) fn unreadable() -> Self {
        Self {
            file: String::new(),
            line: 1,
            column: 1,
            code: "lint-failed",
            severity: Severity::Error,
            message: String::from("the modules are nested too deeply to be looked at"),
            help: String::from("nest less"),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, code, message, .. } = self;
        write!(formatter, "{file}:{line}:{column}: {code}: {message}")
    }
}

/// Everything that looks wrong, sorted by place.
pub(crate) fn findings(modules: &[Ref<Module>]) -> Vec<Finding> {
    let mut found = Vec::new();
    calls::check(modules, &mut found);
    for module in modules {
        flow::check(module, &mut found);
        negation::check(module, &mut found);
    }
    rules::check(modules, &mut found);
    // Tests decide nothing.
    for finding in &mut found {
        if is_test_file(&finding.file) {
            finding.severity = Severity::Warning;
        }
    }
    sorted(found)
}

/// The errors for which a policy is refused that the loader does not find by itself.
pub(crate) fn errors(modules: &[Ref<Module>]) -> Vec<Finding> {
    let mut found = Vec::new();
    for module in modules.iter().filter(|module| !is_test_file(tree::file_of(module))) {
        flow::check(module, &mut found);
        negation::check(module, &mut found);
        rules::check_defaults(module, &mut found);
    }
    found.retain(|finding| finding.severity == Severity::Error);
    sorted(found)
}

pub(crate) fn is_test_file(name: &str) -> bool {
    name.ends_with("_test.rego")
}

/// One finding for each place and code.
fn sorted(found: Vec<Finding>) -> Vec<Finding> {
    let mut places = BTreeMap::new();
    for finding in found {
        let place = (finding.file.clone(), finding.line, finding.column, finding.code);
        places.entry(place).or_insert(finding);
    }
    places.into_values().collect()
}
