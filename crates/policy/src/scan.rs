//! What a policy may not contain, found in its syntax tree.
//!
//! The tree and not the text, so that a comment or a string that mentions
//! `http.send` changes nothing, and `http["send"]` is still a call of it.
//!
//! The engine looks a function up only when the call is evaluated, and it does not
//! notice a function that calls itself until the stack is gone; both are refused
//! here, when the policy is loaded.

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{Expr, Module, Ref, Rule, RuleHead, Span};

use crate::builtins;
use crate::error::PolicyError;
use crate::tree::{self, Node, Walk, components, root};

/// Checks all modules of one engine together.
pub(crate) fn check(modules: &[Ref<Module>], max_rules: usize) -> Result<(), PolicyError> {
    if modules.iter().map(|module| module.policy.len()).sum::<usize>() > max_rules {
        return Err(PolicyError::TooManyRules { limit: max_rules });
    }
    let declared = Declared::of(modules)?;
    let mut calls = BTreeMap::<String, BTreeSet<String>>::new();
    for module in modules {
        let scope = Scope::of(module)?;
        for rule in &module.policy {
            let called = check_rule(rule, &scope, &declared)?;
            if let Some(head) = function_head(rule) {
                let function = format!("{}.{}", scope.package, path_of(head)?);
                calls.entry(function).or_default().extend(called);
            }
        }
    }
    check_recursion(&calls)
}

/// Refuses functions that reach themselves, and nothing else: for Rego that is not a policy.
pub(crate) fn check_recursion_alone(modules: &[Ref<Module>]) -> Result<(), PolicyError> {
    let declared = Declared::of(modules)?;
    let mut calls = BTreeMap::<String, BTreeSet<String>>::new();
    for module in modules {
        let scope = Scope::of(module)?;
        for rule in &module.policy {
            let Some(head) = function_head(rule) else { continue };
            let function = format!("{}.{}", scope.package, path_of(head)?);
            let called = calls_of(rule).into_iter().filter_map(|fcn| {
                components(fcn).and_then(|parts| scope.resolve(&parts, &declared))
            });
            calls.entry(function).or_default().extend(called);
        }
    }
    check_recursion(&calls)
}

/// Whatever the rule calls, or puts in the place of a function.
fn calls_of(rule: &Rule) -> Vec<&Expr> {
    let mut called = Vec::new();
    for node in tree::nodes(rule) {
        match node {
            Node::Expr(Expr::Call { fcn, .. }) => called.push(fcn.as_ref()),
            Node::Expr(_) => {}
            Node::Statement(statement) => {
                called.extend(statement.with_mods.iter().map(|with| with.r#as.as_ref()));
            }
        }
    }
    called
}

/// True if some module declares the rule `name` (one component) in `package`
/// (dotted, with its leading `data`).
pub(crate) fn declares(modules: &[Ref<Module>], package: &str, name: &str) -> bool {
    modules.iter().any(|module| {
        Scope::of(module).is_ok_and(|scope| scope.package == package)
            && module.policy.iter().any(|rule| rule_name(rule).is_some_and(|found| found == name))
    })
}

/// Dotted names of the rules of one module whose name starts with `prefix`, in the
/// order of the file.
pub(crate) fn rules_with_prefix(module: &Module, prefix: &str) -> Vec<String> {
    let Ok(scope) = Scope::of(module) else { return Vec::new() };
    let mut names = Vec::new();
    for rule in &module.policy {
        let Some(name) = rule_name(rule).filter(|name| name.starts_with(prefix)) else { continue };
        let path = format!("{}.{name}", scope.package);
        if !names.contains(&path) {
            names.push(path);
        }
    }
    names
}

/// What makes tests prove less than they seem to: names with why.
pub(crate) fn unsound_tests(
    deciding: &[Ref<Module>],
    testing: &[Ref<Module>],
) -> Result<Vec<(String, &'static str)>, PolicyError> {
    let decides = packages(deciding)?;
    let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
    for module in testing {
        let package = components(&module.package.refr).unwrap_or_default();
        for rule in &module.policy {
            let Some(name) = rule_name(rule) else { continue };
            let path = format!("data.{}.{name}", package.join("."));
            if !name.starts_with("test_") {
                if decides.contains(&package) {
                    found.push((
                        path,
                        "it adds to a package that decides, where it is not later on",
                    ));
                }
            } else if matches!(rule.as_ref(), Rule::Default { .. }) {
                found.push((path, "it is true unless something says otherwise"));
            } else if !seen.insert(path.clone()) {
                found.push((path, "there is another of its name, and one of them may fail unseen"));
            }
        }
    }
    Ok(found)
}

/// The packages of `modules` as component lists, without the leading `data`.
pub(crate) fn packages(modules: &[Ref<Module>]) -> Result<BTreeSet<Vec<String>>, PolicyError> {
    modules
        .iter()
        .map(|module| {
            let parts = components(&module.package.refr);
            parts.ok_or_else(|| computed(module.package.refr.span()))
        })
        .collect()
}

/// Every function the modules declare, by its full dotted path.
pub(crate) struct Declared(BTreeSet<String>);

impl Declared {
    pub(crate) fn of(modules: &[Ref<Module>]) -> Result<Self, PolicyError> {
        let mut functions = BTreeSet::new();
        for module in modules {
            let package = Scope::of(module)?.package;
            for head in module.policy.iter().filter_map(function_head) {
                functions.insert(format!("{package}.{}", path_of(head)?));
            }
        }
        Ok(Self(functions))
    }
}

/// What names mean inside one module.
pub(crate) struct Scope {
    /// `data.` and the package, dotted.
    pub(crate) package: String,
    /// Import alias to dotted path.
    pub(crate) imports: BTreeMap<String, String>,
}

impl Scope {
    pub(crate) fn of(module: &Module) -> Result<Self, PolicyError> {
        let mut imports = BTreeMap::new();
        for import in &module.imports {
            let parts = components(&import.refr).ok_or_else(|| computed(&import.span))?;
            let alias = match (&import.r#as, parts.last()) {
                (Some(alias), _) => alias.text().to_owned(),
                (None, Some(last)) => last.clone(),
                (None, None) => continue,
            };
            imports.insert(alias, parts.join("."));
        }
        Ok(Self { package: format!("data.{}", path_of(&module.package.refr)?), imports })
    }

    /// The declared function that `parts` calls, if it is one.
    pub(crate) fn resolve(&self, parts: &[String], declared: &Declared) -> Option<String> {
        let (root, rest) = parts.split_first()?;
        let joined = |base: &str| {
            let mut path = base.to_owned();
            for part in rest {
                path.push('.');
                path.push_str(part);
            }
            path
        };
        let local = joined(&format!("{}.{root}", self.package));
        let imported = self.imports.get(root).map(|target| joined(target));
        let absolute = (root == "data").then(|| joined(root));
        [imported, Some(local), absolute]
            .into_iter()
            .flatten()
            .find(|path| declared.0.contains(path))
    }
}

/// Checks one rule and gives the functions of this policy that it calls.
fn check_rule(
    rule: &Rule,
    scope: &Scope,
    declared: &Declared,
) -> Result<BTreeSet<String>, PolicyError> {
    let mut walk = Walk::new();
    walk.rule(rule);
    let mut called = BTreeSet::new();
    loop {
        if let Some(expr) = walk.exprs.pop() {
            if let Expr::Call { span, fcn, .. } = expr {
                let parts = components(fcn).ok_or_else(|| computed(span))?;
                called.extend(check_call(&parts, span, scope, declared)?);
            }
            walk.children(expr);
        } else if let Some(query) = walk.queries.pop() {
            for statement in &query.stmts {
                walk.literal(&statement.literal);
                for with in &statement.with_mods {
                    // `with f as time.now_ns` makes every call of `f` one of the builtin.
                    called.extend(check_with(&with.refr, scope, declared)?);
                    called.extend(check_with(&with.r#as, scope, declared)?);
                    walk.exprs.push(&with.r#as);
                }
            }
        } else {
            return Ok(called);
        }
    }
}

fn check_call(
    parts: &[String],
    span: &Span,
    scope: &Scope,
    declared: &Declared,
) -> Result<Option<String>, PolicyError> {
    let path = parts.join(".");
    let (name, line) = (span.source.get_path().clone(), span.line);
    // First, whatever the policy itself declares under such a name.
    if builtins::is_unreplayable(&path) {
        return Err(PolicyError::UnreplayableBuiltin { name, line, builtin: path });
    }
    match scope.resolve(parts, declared) {
        Some(function) => Ok(Some(function)),
        None if builtins::is_allowed(&path) => Ok(None),
        None => Err(PolicyError::UnknownFunction { name, line, function: path }),
    }
}

/// A reference on either side of `with` names a document, a value or a function.
fn check_with(
    expr: &Expr,
    scope: &Scope,
    declared: &Declared,
) -> Result<Option<String>, PolicyError> {
    let Some(parts) = components(expr) else { return Ok(None) };
    let path = parts.join(".");
    if builtins::exists(&path) || builtins::is_unreplayable(&path) {
        return check_call(&parts, expr.span(), scope, declared);
    }
    Ok(scope.resolve(&parts, declared))
}

fn check_recursion(calls: &BTreeMap<String, BTreeSet<String>>) -> Result<(), PolicyError> {
    // Peel off functions that call nothing that is left; what remains is on a circle
    // or leads into one.
    let mut left: BTreeMap<&str, BTreeSet<&str>> = calls
        .iter()
        .map(|(name, called)| (name.as_str(), called.iter().map(String::as_str).collect()))
        .collect();
    loop {
        let done: Vec<&str> = left
            .iter()
            .filter(|(_, called)| called.iter().all(|name| !left.contains_key(name)))
            .map(|(name, _)| *name)
            .collect();
        if done.is_empty() {
            break;
        }
        for name in done {
            left.remove(name);
        }
    }
    match left.keys().next() {
        None => Ok(()),
        Some(function) => Err(PolicyError::Recursion { function: (*function).to_owned() }),
    }
}

fn path_of(expr: &Expr) -> Result<String, PolicyError> {
    components(expr).map(|parts| parts.join(".")).ok_or_else(|| computed(expr.span()))
}

fn computed(span: &Span) -> PolicyError {
    PolicyError::ComputedCall { name: span.source.get_path().clone(), line: span.line }
}

pub(crate) fn function_head(rule: &Ref<Rule>) -> Option<&Expr> {
    match rule.as_ref() {
        Rule::Spec { head: RuleHead::Func { refr, .. }, .. } => Some(refr),
        Rule::Default { refr, args, .. } if !args.is_empty() => Some(refr),
        _ => None,
    }
}

/// The first component of the name of a rule that is not a function.
pub(crate) fn rule_name(rule: &Ref<Rule>) -> Option<String> {
    let refr = match rule.as_ref() {
        Rule::Spec { head: RuleHead::Compr { refr, .. } | RuleHead::Set { refr, .. }, .. } => refr,
        Rule::Default { refr, args, .. } if args.is_empty() => refr,
        _ => return None,
    };
    root(refr).map(|span| span.text().to_owned())
}

/// Some rule of the module that is not part of another one, by its full path.
pub(crate) fn any_rule(module: &Ref<Module>) -> Option<String> {
    let package = components(&module.package.refr)?;
    let name = module.policy.iter().find_map(|rule| match tree::name_of(rule) {
        Expr::Var { span, .. } if function_head(rule).is_none() => Some(span.text()),
        _ => None,
    })?;
    Some(tree::reference(package.iter().map(String::as_str).chain([name])))
}

/// Functions that are called and are neither in the modules nor in the engine.
pub(crate) fn missing(modules: &[Ref<Module>]) -> Result<BTreeSet<String>, PolicyError> {
    let declared = Declared::of(modules)?;
    let mut missing = BTreeSet::new();
    for module in modules {
        let scope = Scope::of(module)?;
        for node in module.policy.iter().flat_map(|rule| tree::nodes(rule)) {
            let Node::Expr(Expr::Call { fcn, .. }) = node else { continue };
            let Some(parts) = components(fcn) else { continue };
            let path = parts.join(".");
            if scope.resolve(&parts, &declared).is_none() && !builtins::exists(&path) {
                missing.insert(path);
            }
        }
    }
    Ok(missing)
}
