//! Calls of what is not there, or may not be called.

use regorus::unstable::{Expr, Module, Ref, Span};

use super::{Finding, is_test_file};
use crate::builtins;
use crate::scan::{Declared, Scope};
use crate::tree::{self, Node, components};

pub(super) fn check(modules: &[Ref<Module>], found: &mut Vec<Finding>) {
    let Ok(declared) = Declared::of(modules) else { return };
    for module in modules {
        let Ok(scope) = Scope::of(module) else { continue };
        for rule in &module.policy {
            for node in tree::nodes(rule) {
                match node {
                    Node::Expr(Expr::Call { fcn, .. }) => {
                        found.extend(check_call(fcn, &scope, &declared));
                    }
                    Node::Expr(_) => {}
                    // `with f as time.now_ns` makes every call of `f` one of the builtin.
                    Node::Statement(statement) => {
                        for with in &statement.with_mods {
                            let replaced = [&with.refr, &with.r#as];
                            found.extend(replaced.into_iter().filter_map(|expr| {
                                let path = components(expr)?.join(".");
                                let known =
                                    builtins::exists(&path) || builtins::is_unreplayable(&path);
                                let is_test = is_test_file(tree::file_of(module));
                                (known && !is_test).then(|| check_call(expr, &scope, &declared))?
                            }));
                        }
                    }
                }
            }
        }
    }
}

fn check_call(fcn: &Expr, scope: &Scope, declared: &Declared) -> Option<Finding> {
    let span = tree::start(fcn);
    let Some(parts) = components(fcn) else {
        let message = String::from("the function of this call is computed");
        return Some(Finding::at(span, "call-computed", message, "call it by its name"));
    };
    let path = parts.join(".");
    if builtins::is_unreplayable(&path) {
        let message = format!(
            "{path} gives another answer another time, so that a decision could not be replayed"
        );
        return Some(Finding::at(span, "builtin-unreplayable", message, instead_of(&path)));
    }
    if scope.resolve(&parts, declared).is_some() || builtins::is_allowed(&path) {
        return None;
    }
    Some(not_callable(span, &path))
}

fn not_callable(span: &Span, path: &str) -> Finding {
    if matches!(path, "print" | "trace") {
        let message = format!("{path} writes somewhere else than into the decision");
        return Finding::at(span, "builtin-refused", message, "take it out when you are done");
    }
    if matches!(path, "strings.count" | "strings.replace_n") {
        let message = format!("{path} gives other answers here than in OPA");
        return Finding::at(
            span,
            "builtin-refused",
            message,
            "count the parts of split(…), or join them anew with concat",
        );
    }
    if builtins::exists(path) {
        let message = format!("{path} can fill the memory, or depends on the host");
        return Finding::at(span, "builtin-refused", message, "do without it");
    }
    let message = format!(
        "there is no function {path}, neither in these modules nor in the engine; \
         the rule fails when it gets there"
    );
    let help = "check the name and the imports; see docs/policy.md for the builtins there are";
    Finding::at(span, "builtin-unknown", message, help)
}

fn instead_of(path: &str) -> &'static str {
    match path {
        _ if path.starts_with("time.") => {
            "take the time from input.evaluation.time, with time.parse_rfc3339_ns"
        }
        "opa.runtime" => "put the setting into data.json",
        _ => "let what it would give be part of the input or of data.json",
    }
}
