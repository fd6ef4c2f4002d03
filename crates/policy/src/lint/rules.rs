//! Rules that are missing, never used, or say yes by themselves.

use std::collections::BTreeSet;

use regorus::unstable::{Expr, Module, Ref, Rule, RuleHead};

use super::{Finding, is_test_file};
use crate::scan;
use crate::tree::{self, Node, components};

/// Names of rules that callers read as a yes.
const YES: [&str; 6] = ["allow", "allowed", "authorized", "isCompliant", "is_compliant", "permit"];

/// Entry points of others: cosign, policy-controller, Conftest, Gatekeeper, OPA's examples.
const ENTRY_POINTS: [&str; 6] = ["decision", "allow", "isCompliant", "deny", "violation", "main"];

pub(super) fn check(modules: &[Ref<Module>], found: &mut Vec<Finding>) {
    for module in modules {
        check_defaults(module, found);
        check_replacements(module, found);
        check_heads(module, found);
        check_version(module, found);
        check_tests(module, found);
    }
    check_entry_point(modules, found);
    check_unused(modules, found);
}

/// A policy that allows unless it says otherwise.
pub(super) fn check_defaults(module: &Module, found: &mut Vec<Finding>) {
    for rule in &module.policy {
        let Some(name) = tree::root(tree::name_of(rule)) else { continue };
        let (value, by_default) = match rule.as_ref() {
            Rule::Default { value, .. } => (Some(value), true),
            Rule::Spec { head: RuleHead::Compr { assign, .. }, bodies, .. }
                if bodies.is_empty() =>
            {
                (assign.as_ref().map(|assign| &assign.value), false)
            }
            Rule::Spec { .. } => (None, false),
        };
        if !value.is_some_and(|value| says_yes(name.text(), value)) {
            continue;
        }
        let name_text = name.text();
        found.push(if by_default {
            let message = format!("{name_text} is true unless a rule says otherwise");
            let help =
                format!("write `default {name_text} := false`, and rules that say when it is true");
            Finding::at(name, "default-allow", message, &help)
        } else {
            let message = format!("{name_text} is always true");
            Finding::at(name, "always-allow", message, "give it a body that says when").warning()
        });
    }
}

/// Members of sets that may be undefined: with one of them, this engine forgets those it has found, or fails.
fn check_heads(module: &Module, found: &mut Vec<Finding>) {
    for rule in &module.policy {
        let Rule::Spec { head: RuleHead::Set { key: Some(key), .. }, .. } = rule.as_ref() else {
            continue;
        };
        if !matches!(key.as_ref(), Expr::RefDot { .. } | Expr::RefBrack { .. } | Expr::Call { .. })
        {
            continue;
        }
        let Some(name) = tree::root(tree::name_of(rule)) else { continue };
        let message = format!(
            "{} contains what may be undefined: the engine then forgets the other members",
            name.text()
        );
        let help = "bind it to a variable in the body, and put the variable behind `contains`";
        found.push(Finding::at(name, "head-undefined", message, help).warning());
    }
}

/// Functions that a rule replaces by others while it decides.
fn check_replacements(module: &Ref<Module>, found: &mut Vec<Finding>) {
    if is_test_file(tree::file_of(module)) {
        return;
    }
    for node in module.policy.iter().flat_map(|rule| tree::nodes(rule)) {
        let Node::Statement(statement) = node else { continue };
        for with in &statement.with_mods {
            let Some(root) = tree::root(&with.refr).filter(|root| root.text() != "input") else {
                continue;
            };
            let message = format!(
                "a rule that decides replaces {}: that is for tests, and this engine does not \
                 replace a function where it is called by its short name",
                components(&with.refr).unwrap_or_default().join(".")
            );
            let help = "pass what differs as an argument";
            found.push(Finding::at(root, "with-in-rule", message, help).warning());
        }
    }
}

fn says_yes(name: &str, value: &Expr) -> bool {
    let is_true = |expr: &Expr| matches!(expr, Expr::Bool { span, .. } if span.text() == "true");
    match value {
        Expr::Object { fields, .. } => fields.iter().any(|(_, key, value)| {
            matches!(key.as_ref(), Expr::String { value: key, .. }
                if key.as_string().is_ok_and(|key| YES.contains(&key.as_ref())))
                && is_true(value)
        }),
        value => YES.contains(&name) && is_true(value),
    }
}

/// OPA before 1.0 reads a module without the import as another language.
fn check_version(module: &Module, found: &mut Vec<Finding>) {
    let imports = |wanted: &[&str]| {
        module.imports.iter().any(|import| components(&import.refr).is_some_and(|p| p == wanted))
    };
    if !imports(&["rego", "v1"]) {
        let message = String::from(
            "`import rego.v1` is missing: older releases of OPA read this module differently",
        );
        let help = "add `import rego.v1` below the package";
        found.push(Finding::at(&module.package.span, "import-missing", message, help).warning());
    }
}

/// Tests that are not run with the policy.
fn check_tests(module: &Ref<Module>, found: &mut Vec<Finding>) {
    let is_test_file = is_test_file(tree::file_of(module));
    for rule in &module.policy {
        let Some(name) = scan::rule_name(rule) else { continue };
        let span = tree::name_of(rule).span();
        if name.starts_with("todo_test_") {
            let message = format!("{name} is not run");
            let help = "finish the test, and call it test_…";
            found.push(Finding::at(span, "test-skipped", message, help).warning());
        } else if name.starts_with("test_") && !is_test_file {
            let message = format!(
                "{name} is not in a file whose name ends in _test.rego: it is part of what decides, \
                 and is not run when the policy is tested before use"
            );
            let help = "move it to a file whose name ends in _test.rego";
            found.push(Finding::at(span, "test-misplaced", message, help).warning());
        }
    }
}

fn check_entry_point(modules: &[Ref<Module>], found: &mut Vec<Finding>) {
    let deciding = || modules.iter().filter(|module| !is_test_file(tree::file_of(module)));
    let declares = |names: &[&str]| {
        deciding().any(|module| {
            module.policy.iter().any(|rule| {
                scan::rule_name(rule).is_some_and(|name| names.contains(&name.as_str()))
            })
        })
    };
    let Some(first) = deciding().next() else { return };
    let is_policy = scan::declares(modules, "data.sealwright.main", "decision");
    let is_ours = deciding().any(|module| {
        components(&module.package.refr)
            .is_some_and(|parts| parts.first().is_some_and(|p| p == "sealwright"))
    });
    if is_policy || (!is_ours && declares(&ENTRY_POINTS)) {
        return;
    }
    let message =
        String::from("there is no rule data.sealwright.main.decision, which callers read");
    let help = "add it: an object with allow, violations and evidence; see docs/policy.md";
    found.push(Finding::at(&first.package.span, "entry-point-missing", message, help));
}

/// Rules of test files that no test uses: a test that was renamed, or forgot its `test_`.
fn check_unused(modules: &[Ref<Module>], found: &mut Vec<Finding>) {
    let mut mentioned = BTreeSet::new();
    for rule in modules.iter().flat_map(|module| &module.policy) {
        for node in tree::nodes(rule) {
            match node {
                Node::Expr(expr @ Expr::Var { span, .. })
                    if !std::ptr::eq(expr, tree::name_of(rule)) =>
                {
                    mentioned.insert(span.text().to_owned());
                }
                Node::Expr(Expr::RefDot { field, .. }) => {
                    mentioned.insert(field.0.text().to_owned());
                }
                Node::Expr(Expr::RefBrack { index, .. }) => {
                    if let Expr::String { value, .. } = index.as_ref() {
                        mentioned.extend(value.as_string().ok().map(ToString::to_string));
                    }
                }
                Node::Expr(_) | Node::Statement(_) => {}
            }
        }
    }
    for module in modules.iter().filter(|module| is_test_file(tree::file_of(module))) {
        for rule in &module.policy {
            let Some(span) = tree::root(tree::name_of(rule)) else { continue };
            let name = span.text();
            let is_test = name.starts_with("test_") || name.starts_with("todo_test_");
            if !is_test && !mentioned.contains(name) {
                let message = format!("no test uses {name}, and it is no test itself");
                let help = "call it test_… if it is a test, or take it out";
                found.push(Finding::at(span, "test-unused", message, help).warning());
            }
        }
    }
}
