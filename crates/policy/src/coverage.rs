//! Which lines of Rego were evaluated.

use std::collections::{BTreeMap, BTreeSet};

use regorus::Engine;
use regorus::unstable::{Expr, Literal, Module, Query, Ref, Rule, RuleHead};

use crate::tree;

/// Lines, from 1, by file. A line counts as evaluated if anything that starts in it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage(BTreeMap<String, BTreeSet<u32>>);

impl Coverage {
    /// The lines `engine` has evaluated since coverage was switched on.
    pub(crate) fn of(engine: &Engine) -> Self {
        let Ok(report) = engine.get_coverage_report() else { return Self::default() };
        Self(report.files.into_iter().map(|file| (file.path, file.covered)).collect())
    }

    /// Adds the lines of `other`.
    pub fn add(&mut self, other: &Self) {
        for (file, lines) in &other.0 {
            self.0.entry(file.clone()).or_default().extend(lines);
        }
    }

    /// Files, in order, and their lines.
    pub fn files(&self) -> impl Iterator<Item = (&str, &BTreeSet<u32>)> {
        self.0.iter().map(|(file, lines)| (file.as_str(), lines))
    }

    /// The lines of one file; none if it is not known.
    #[must_use]
    pub fn lines(&self, file: &str) -> BTreeSet<u32> {
        self.0.get(file).cloned().unwrap_or_default()
    }

    /// The last line between `first` and `last` of `file`.
    pub(crate) fn last(&self, file: &str, first: u32, last: u32) -> Option<u32> {
        self.0.get(file)?.range(first..=last.max(first)).next_back().copied()
    }
}

/// The lines of rules that can be evaluated: what the engine's own report looks at, which leaves
/// out modules that were never entered.
pub(crate) fn coverable(modules: &[Ref<Module>]) -> Coverage {
    let mut coverage = Coverage::default();
    for module in modules {
        let mut lines = BTreeSet::new();
        module.policy.iter().for_each(|rule| lines_of_rule(rule, &mut lines));
        coverage.0.insert(tree::file_of(module).to_owned(), lines);
    }
    coverage
}

fn lines_of_rule(rule: &Rule, lines: &mut BTreeSet<u32>) {
    match rule {
        Rule::Spec { head, bodies, .. } => {
            match head {
                RuleHead::Compr { assign, .. } | RuleHead::Func { assign, .. } => {
                    assign.iter().for_each(|assign| lines_of_expr(&assign.value, lines));
                }
                RuleHead::Set { key, .. } => key.iter().for_each(|key| lines_of_expr(key, lines)),
            }
            bodies.iter().for_each(|body| lines_of_query(&body.query, lines));
        }
        Rule::Default { value, .. } => lines_of_expr(value, lines),
    }
}

fn lines_of_query(query: &Query, lines: &mut BTreeSet<u32>) {
    for statement in &query.stmts {
        match &statement.literal {
            Literal::SomeVars { .. } => {}
            Literal::SomeIn { value, collection, .. } => {
                lines_of_expr(value, lines);
                lines_of_expr(collection, lines);
            }
            Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => {
                lines_of_expr(expr, lines);
            }
            Literal::Every { domain, query, .. } => {
                lines_of_expr(domain, lines);
                lines_of_query(query, lines);
            }
        }
    }
}

fn lines_of_expr(expr: &Expr, lines: &mut BTreeSet<u32>) {
    let mut walk = tree::Walk::new();
    walk.exprs.push(expr);
    while let Some(expr) = walk.exprs.pop() {
        match expr {
            Expr::ArrayCompr { query, .. }
            | Expr::SetCompr { query, .. }
            | Expr::ObjectCompr { query, .. } => lines_of_query(query, lines),
            _ => {
                lines.insert(expr.span().line);
                walk.children(expr);
            }
        }
    }
}
