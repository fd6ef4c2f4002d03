//! What modules have to say in other words, so that this engine understands them as OPA does.

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{Expr, Module, Ref, Rule, RuleHead};

use crate::error::PolicyError;
use crate::scan::{self, Declared, Scope};
use crate::tree::{self, Node, components};

/// Stands between the name of a test and its number, where a name occurs again.
pub(super) const DUPLICATE: &str = "__again_";

/// A text to insert into a module: its index, the place in bytes, the text.
pub(super) type Edit = (usize, usize, String);

/// The modules after `edits`. Lines stay what they are.
pub(super) fn edited(modules: &[(String, String)], mut edits: Vec<Edit>) -> Vec<(String, String)> {
    let mut modules = modules.to_vec();
    edits.sort_unstable();
    edits.dedup();
    for (index, place, inserted) in edits.into_iter().rev() {
        if let Some((_, text)) =
            modules.get_mut(index).filter(|(_, text)| text.is_char_boundary(place))
        {
            text.insert_str(place, &inserted);
        }
    }
    modules
}

/// Rules that are tests, with the first component of their names.
pub(super) fn test_rules(module: &Ref<Module>) -> Vec<(&Ref<Rule>, String)> {
    let is_test = |name: &String| name.starts_with("test_") || name.starts_with("todo_test_");
    module
        .policy
        .iter()
        .filter(|rule| matches!(rule.as_ref(), Rule::Spec { .. }))
        .filter_map(|rule| Some((rule, scan::rule_name(rule).filter(is_test)?)))
        .collect()
}

/// Tells tests of one name apart. One rule with two bodies is true if either is: a failing test
/// would hide behind another of its name.
pub(super) fn unique_tests(modules: &[Ref<Module>]) -> Vec<Edit> {
    let mut seen = BTreeMap::<String, usize>::new();
    let mut edits = Vec::new();
    for (index, module) in modules.iter().enumerate() {
        let package = components(&module.package.refr).unwrap_or_default();
        for (rule, name) in test_rules(module) {
            let parts = package.iter().map(String::as_str).chain([name.as_str()]);
            let count = seen.entry(tree::reference(parts)).or_default();
            if let (true, Some(end)) = (*count > 0, end_of_plain_name(rule)) {
                edits.push((index, end, format!("{DUPLICATE}{count:02}")));
            }
            *count += 1;
        }
    }
    edits
}

fn end_of_plain_name(rule: &Rule) -> Option<usize> {
    match rule {
        Rule::Spec { head: RuleHead::Compr { refr, .. }, .. } => match refr.as_ref() {
            Expr::Var { span, .. } => usize::try_from(span.end).ok(),
            _ => None,
        },
        _ => None,
    }
}

/// Calls functions that some `with` replaces by their full names. Called by the short name that is
/// enough in its own package, a function is not replaced by this engine: a test would pass, or
/// fail, on the real one.
pub(super) fn replaced_functions(modules: &[Ref<Module>]) -> Result<Vec<Edit>, PolicyError> {
    let declared = Declared::of(modules)?;
    let mut replaced = BTreeSet::new();
    for module in modules {
        let scope = Scope::of(module)?;
        for node in module.policy.iter().flat_map(|rule| tree::nodes(rule)) {
            let Node::Statement(statement) = node else { continue };
            replaced.extend(statement.with_mods.iter().filter_map(|with| {
                components(&with.refr).and_then(|parts| scope.resolve(&parts, &declared))
            }));
        }
    }
    let mut edits = Vec::new();
    for (index, module) in modules.iter().enumerate() {
        let scope = Scope::of(module)?;
        let package = components(&module.package.refr).unwrap_or_default();
        let prefix = format!("{}.", tree::reference(package.iter().map(String::as_str)));
        for node in module.policy.iter().flat_map(|rule| tree::nodes(rule)) {
            let Node::Expr(Expr::Call { fcn, .. }) = node else { continue };
            let Expr::Var { span, .. } = fcn.as_ref() else { continue };
            let is_replaced = scope
                .resolve(&[span.text().to_owned()], &declared)
                .is_some_and(|function| replaced.contains(&function));
            if let (true, Ok(start)) = (is_replaced, usize::try_from(span.start)) {
                edits.push((index, start, prefix.clone()));
            }
        }
    }
    Ok(edits)
}

/// Gives functions that are stated without a value or a body, `f("x", _)`, the value that they
/// have: to this engine they are undefined. Only old Rego comes here; in a policy the engine does
/// not accept them.
pub(super) fn facts(modules: &[Ref<Module>]) -> Vec<Edit> {
    let mut edits = Vec::new();
    for (index, module) in modules.iter().enumerate() {
        for rule in module.policy.iter().filter(|rule| tree::is_function_fact(rule)) {
            let span = rule.span();
            let place = usize::try_from(span.start).unwrap_or(usize::MAX);
            let written = span.text().trim_end();
            // What the parser calls the rule may end elsewhere than its head does.
            if written.ends_with(')') {
                edits.push((index, place.saturating_add(written.len()), String::from(" := true")));
            }
        }
    }
    edits
}
