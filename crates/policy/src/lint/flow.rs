//! Comparisons and negations of values that may be anything, or nothing.
//!
//! Rego orders values of all types: `null <= 0.1` and `"0" >= 0.9` are true. And engines disagree
//! about `not f(input.x)` when `input.x` is undefined: here it is true, in OPA undefined.

use std::collections::BTreeMap;

use regorus::unstable::{AssignOp, BoolOp, Expr, Literal, Module, Query, Rule, RuleHead, Span};

use super::Finding;
use crate::tree::{self, Walk, components};

/// Functions that are defined, and true, only for values of one type.
const TYPE_CHECKS: [&str; 2] = ["is_number", "is_string"];

pub(super) fn check(module: &Module, found: &mut Vec<Finding>) {
    let imports = module.imports.iter().filter_map(|import| match &import.r#as {
        Some(alias) => Some(alias.text().to_owned()),
        None => components(&import.refr)?.pop(),
    });
    let mut known = Known::default();
    known.origins.extend(imports.map(|name| (name, Origin::Own)));
    known.origins.insert(String::from("data"), Origin::Own);
    known.origins.insert(String::from("input"), Origin::Input);
    for rule in &module.policy {
        let Rule::Spec { head, bodies, .. } = rule.as_ref() else { continue };
        let mut in_heads = known.clone();
        for body in bodies {
            let inside = look_into(&body.query, &known, found);
            body.assign.iter().for_each(|assign| look_at(&assign.value, &inside, found));
            in_heads = inside;
        }
        match head {
            RuleHead::Compr { assign, .. } | RuleHead::Func { assign, .. } => {
                assign.iter().for_each(|assign| look_at(&assign.value, &in_heads, found));
            }
            RuleHead::Set { key, .. } => {
                key.iter().for_each(|key| look_at(key, &in_heads, found));
            }
        }
    }
}

/// Where a value comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// From the input: it may be anything, or missing.
    Input,
    /// From the policy's own data or rules.
    Own,
    /// An argument, or the answer of a rule.
    Unknown,
}

/// What the statements of a query, and of those around it, say about values.
#[derive(Clone, Default)]
struct Known {
    origins: BTreeMap<String, Origin>,
    /// The reference a variable stands for.
    stands_for: BTreeMap<String, String>,
    /// References, as text, whose type is checked.
    checked: Vec<String>,
}

impl Known {
    fn origin(&self, expr: &Expr) -> Origin {
        let root = tree::root(expr).map(Span::text);
        root.and_then(|name| self.origins.get(name)).copied().unwrap_or(Origin::Unknown)
    }

    fn is_checked(&self, expr: &Expr) -> bool {
        let text = written(expr);
        let stands_for = self.stands_for.get(&text);
        self.checked.iter().any(|checked| *checked == text || Some(checked) == stands_for)
    }

    /// Takes in one statement. The engine may evaluate statements in another order than they are
    /// written in, so that a check counts wherever it is.
    fn learn(&mut self, literal: &Literal) {
        match literal {
            Literal::SomeIn { key, value, collection, .. } => {
                let origin = self.origin(collection);
                let names = key.iter().map(AsRef::as_ref).chain([value.as_ref()]);
                for name in names.filter_map(plain_variable) {
                    self.origins.insert(name.to_owned(), origin);
                }
            }
            Literal::Every { .. } | Literal::SomeVars { .. } | Literal::NotExpr { .. } => {}
            Literal::Expr { expr, .. } => self.learn_from(expr),
        }
    }

    fn learn_from(&mut self, expr: &Expr) {
        match expr {
            Expr::AssignExpr { op: AssignOp::ColEq | AssignOp::Eq, lhs, rhs, .. } => {
                let Some(name) = plain_variable(lhs) else { return };
                let origin = if is_reference(rhs) { self.origin(rhs) } else { Origin::Unknown };
                self.origins.insert(name.to_owned(), origin);
                if is_reference(rhs) {
                    self.stands_for.insert(name.to_owned(), written(rhs));
                }
            }
            Expr::Call { fcn, params, .. } => {
                let name = components(fcn).unwrap_or_default().join(".");
                if TYPE_CHECKS.contains(&name.as_str()) {
                    self.checked.extend(params.iter().map(|param| written(param)));
                }
            }
            Expr::BoolExpr { op: BoolOp::Eq, lhs, rhs, .. } => {
                for side in [lhs, rhs] {
                    let Expr::Call { fcn, params, .. } = side.as_ref() else { continue };
                    if components(fcn).is_some_and(|parts| parts == ["type_name"]) {
                        self.checked.extend(params.iter().map(|param| written(param)));
                    }
                }
            }
            _ => {}
        }
    }
}

/// Looks into a query, and says what is known inside of it.
fn look_into(query: &Query, outside: &Known, found: &mut Vec<Finding>) -> Known {
    let mut known = outside.clone();
    for statement in &query.stmts {
        known.learn(&statement.literal);
    }
    for statement in &query.stmts {
        match &statement.literal {
            Literal::SomeVars { .. } => {}
            Literal::SomeIn { collection, .. } => look_at(collection, &known, found),
            Literal::Expr { expr, .. } => look_at(expr, &known, found),
            Literal::NotExpr { expr, .. } => {
                negation(expr, &known, found);
                look_at(expr, &known, found);
            }
            Literal::Every { key, value, domain, query, .. } => {
                look_at(domain, &known, found);
                let mut each = known.clone();
                let origin = known.origin(domain);
                for name in key.iter().chain([value]) {
                    each.origins.insert(name.text().to_owned(), origin);
                }
                look_into(query, &each, found);
            }
        }
    }
    known
}

/// Looks at an expression and what is in it.
fn look_at(expr: &Expr, known: &Known, found: &mut Vec<Finding>) {
    let mut walk = Walk::new();
    walk.exprs.push(expr);
    while let Some(expr) = walk.exprs.pop() {
        match expr {
            Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
                let inside = look_into(query, known, found);
                look_at(term, &inside, found);
            }
            Expr::ObjectCompr { key, value, query, .. } => {
                let inside = look_into(query, known, found);
                look_at(key, &inside, found);
                look_at(value, &inside, found);
            }
            Expr::BoolExpr { op, lhs, rhs, .. } if is_order(op) => {
                threshold([lhs, rhs], known, found);
                walk.exprs.extend([lhs.as_ref(), rhs.as_ref()]);
            }
            _ => walk.children(expr),
        }
    }
}

fn threshold(sides: [&Expr; 2], known: &Known, found: &mut Vec<Finding>) {
    for side in sides {
        let is_variable = plain_variable(side).is_some();
        let is_loose = is_reference(side)
            && !known.is_checked(side)
            && match known.origin(side) {
                Origin::Input => true,
                Origin::Own => false,
                // A variable alone may hold anything; so may an argument.
                Origin::Unknown => !is_variable,
            };
        if !is_loose {
            continue;
        }
        let text = written(side);
        let message = format!(
            "{text} is compared without a check of its type: Rego orders all types, \
             null <= 0.1 and \"0\" >= 0.9 are true"
        );
        let help = format!("add is_number({text}) beside the comparison");
        let finding = Finding::at(tree::start(side), "threshold-unchecked", message, &help);
        let is_input = known.origin(side) == Origin::Input;
        found.push(if is_input { finding } else { finding.warning() });
        return;
    }
}

/// A call under `not` whose argument may be undefined.
fn negation(expr: &Expr, known: &Known, found: &mut Vec<Finding>) {
    let mut walk = Walk::new();
    walk.exprs.push(expr);
    while let Some(expr) = walk.exprs.pop() {
        let Expr::Call { fcn, params, .. } = expr else {
            walk.children(expr);
            continue;
        };
        walk.exprs.extend(params.iter().map(AsRef::as_ref));
        let name = components(fcn).unwrap_or_default().join(".");
        // Defined for whatever may be missing inside of its first argument.
        let total = name == "object.get"
            && params.first().is_some_and(|first| plain_variable(first).is_some());
        let undefined = params.iter().filter(|param| {
            is_reference(param)
                && plain_variable(param).is_none()
                && known.origin(param) != Origin::Own
        });
        let Some(argument) = undefined.max_by_key(|param| known.origin(param) == Origin::Input)
        else {
            continue;
        };
        if total {
            continue;
        }
        let text = written(argument);
        let message =
            format!("if {text} is missing, `not {name}(…)` is true here and undefined in OPA");
        let help = format!(
            "write the rule positively, or give {text} to a variable in a statement before it"
        );
        let finding = Finding::at(tree::start(fcn), "negated-call", message, &help);
        let is_input = known.origin(argument) == Origin::Input;
        found.push(if is_input { finding } else { finding.warning() });
    }
}

fn is_order(op: &BoolOp) -> bool {
    matches!(op, BoolOp::Lt | BoolOp::Le | BoolOp::Ge | BoolOp::Gt)
}

fn is_reference(expr: &Expr) -> bool {
    matches!(expr, Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. })
        && tree::root(expr).is_some()
}

fn plain_variable(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Var { span, .. } => Some(span.text()),
        _ => None,
    }
}

/// An expression as it is written, without white space.
fn written(expr: &Expr) -> String {
    reference_text(expr).chars().filter(|c| !c.is_whitespace()).collect()
}

/// The span of a reference may be that of its last part.
fn reference_text(expr: &Expr) -> String {
    match expr {
        Expr::RefDot { refr, field, .. } => format!("{}.{}", reference_text(refr), field.0.text()),
        Expr::RefBrack { refr, index, .. } => {
            let index = match index.as_ref() {
                Expr::String { value, .. } | Expr::RawString { value, .. } => value.to_string(),
                other => reference_text(other),
            };
            format!("{}[{index}]", reference_text(refr))
        }
        _ => expr.span().text().to_owned(),
    }
}
