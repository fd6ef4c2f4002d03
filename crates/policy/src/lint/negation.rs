//! `not` before what newer Rego reads as a body and this engine as a value.

use regorus::unstable::{Expr, Literal, Module};

use super::Finding;
use crate::tree::{self, Node};

/// With `import future.keywords.not`, OPA reads `not { … }` as "not all of this". Here it is the
/// negation of a set or an object, which is never true: a rule against something would be silent.
pub(super) fn check(module: &Module, found: &mut Vec<Finding>) {
    for node in module.policy.iter().flat_map(|rule| tree::nodes(rule)) {
        let Node::Statement(statement) = node else { continue };
        let Literal::NotExpr { span, expr } = &statement.literal else { continue };
        let is_braced = matches!(
            expr.as_ref(),
            Expr::Set { .. }
                | Expr::SetCompr { .. }
                | Expr::Object { .. }
                | Expr::ObjectCompr { .. }
        );
        if is_braced {
            let message = String::from(
                "`not { … }` is never true: to this engine the braces make a set or an object, and \
                 no body",
            );
            let help = "put the body into a rule of its own, and write `not` before its name";
            found.push(Finding::at(span, "negated-body", message, help));
        }
    }
}
