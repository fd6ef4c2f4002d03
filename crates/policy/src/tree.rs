//! Walking a syntax tree of the engine.

use regorus::unstable::{
    Expr, Literal, LiteralStmt, Module, Query, Ref, Rule, RuleBody, RuleHead, Span,
};

/// What a walk comes by, in no promised order.
pub(crate) enum Node<'a> {
    /// An expression.
    Expr(&'a Expr),
    /// A statement of a query.
    Statement(&'a LiteralStmt),
}

/// Every expression and statement of a rule.
pub(crate) fn nodes(rule: &Rule) -> Vec<Node<'_>> {
    let mut walk = Walk::new();
    walk.rule(rule);
    let mut nodes = Vec::new();
    loop {
        if let Some(expr) = walk.exprs.pop() {
            nodes.push(Node::Expr(expr));
            walk.children(expr);
        } else if let Some(query) = walk.queries.pop() {
            for statement in &query.stmts {
                nodes.push(Node::Statement(statement));
                walk.literal(&statement.literal);
                walk.exprs.extend(statement.with_mods.iter().map(|with| with.r#as.as_ref()));
            }
        } else {
            return nodes;
        }
    }
}

/// The expression of the name of a rule.
pub(crate) fn name_of(rule: &Rule) -> &Expr {
    match rule {
        Rule::Spec {
            head:
                RuleHead::Compr { refr, .. } | RuleHead::Set { refr, .. } | RuleHead::Func { refr, .. },
            ..
        }
        | Rule::Default { refr, .. } => refr,
    }
}

/// True for a function that is stated and has neither a value nor a body: `f("x")`.
pub(crate) fn is_function_fact(rule: &Rule) -> bool {
    matches!(
        rule,
        Rule::Spec { head: RuleHead::Func { assign: None, .. }, bodies, .. } if bodies.is_empty()
    )
}

/// The first component of a reference: its variable.
pub(crate) fn root(expr: &Expr) -> Option<&Span> {
    let mut next = expr;
    loop {
        match next {
            Expr::Var { span, .. } => return Some(span),
            Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } => next = refr,
            _ => return None,
        }
    }
}

/// Where an expression starts: the span of a reference is that of its last part.
pub(crate) fn start(expr: &Expr) -> &Span {
    root(expr).unwrap_or_else(|| expr.span())
}

/// The name of the file a module came from.
pub(crate) fn file_of(module: &Module) -> &str {
    module.package.span.source.get_path()
}

/// A path as Rego writes it: `data.a["b-c"].d`.
pub(crate) fn reference<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut path = String::from("data");
    for part in parts {
        let mut bytes = part.bytes();
        let starts = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        if starts && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            path.push('.');
            path.push_str(part);
        } else {
            path.push_str(&format!("[{}]", serde_json::Value::from(part)));
        }
    }
    path
}

/// Pending nodes. An explicit stack: a chain of references may be as long as a file.
pub(crate) struct Walk<'a> {
    pub(crate) exprs: Vec<&'a Expr>,
    pub(crate) queries: Vec<&'a Query>,
}

impl<'a> Walk<'a> {
    /// Nothing to visit yet.
    pub(crate) fn new() -> Self {
        Self { exprs: Vec::new(), queries: Vec::new() }
    }

    pub(crate) fn rule(&mut self, rule: &'a Rule) {
        match rule {
            Rule::Spec { head, bodies, .. } => {
                self.head(head);
                bodies.iter().for_each(|body| self.body(body));
            }
            Rule::Default { refr, args, value, .. } => {
                self.exprs.push(refr);
                self.exprs.extend(args.iter().map(AsRef::as_ref));
                self.exprs.push(value);
            }
        }
    }

    fn head(&mut self, head: &'a RuleHead) {
        let (refr, args, assign): (_, &'a [Ref<Expr>], _) = match head {
            RuleHead::Compr { refr, assign, .. } => (refr, &[], assign.as_ref()),
            RuleHead::Func { refr, args, assign, .. } => (refr, args, assign.as_ref()),
            RuleHead::Set { refr, key, .. } => {
                self.exprs.extend(key.iter().map(AsRef::as_ref));
                (refr, &[], None)
            }
        };
        self.exprs.push(refr);
        self.exprs.extend(args.iter().map(AsRef::as_ref));
        self.exprs.extend(assign.map(|assign| assign.value.as_ref()));
    }

    fn body(&mut self, body: &'a RuleBody) {
        self.exprs.extend(body.assign.iter().map(|assign| assign.value.as_ref()));
        self.queries.push(&body.query);
    }

    pub(crate) fn literal(&mut self, literal: &'a Literal) {
        match literal {
            Literal::SomeVars { .. } => {}
            Literal::SomeIn { key, value, collection, .. } => {
                self.exprs.extend(key.iter().map(AsRef::as_ref));
                self.exprs.extend([value.as_ref(), collection.as_ref()]);
            }
            Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => self.exprs.push(expr),
            Literal::Every { domain, query, .. } => {
                self.exprs.push(domain);
                self.queries.push(query);
            }
        }
    }

    pub(crate) fn children(&mut self, expr: &'a Expr) {
        match expr {
            Expr::String { .. }
            | Expr::RawString { .. }
            | Expr::Number { .. }
            | Expr::Bool { .. }
            | Expr::Null { .. }
            | Expr::Var { .. } => {}
            Expr::Array { items, .. } | Expr::Set { items, .. } => {
                self.exprs.extend(items.iter().map(AsRef::as_ref));
            }
            Expr::Object { fields, .. } => {
                for (_, key, value) in fields {
                    self.exprs.extend([key.as_ref(), value.as_ref()]);
                }
            }
            Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
                self.exprs.push(term);
                self.queries.push(query);
            }
            Expr::ObjectCompr { key, value, query, .. } => {
                self.exprs.extend([key.as_ref(), value.as_ref()]);
                self.queries.push(query);
            }
            Expr::Call { fcn, params, .. } => {
                self.exprs.push(fcn);
                self.exprs.extend(params.iter().map(AsRef::as_ref));
            }
            Expr::UnaryExpr { expr, .. } => self.exprs.push(expr),
            Expr::RefDot { refr, .. } => self.exprs.push(refr),
            Expr::RefBrack { refr, index, .. } => {
                self.exprs.extend([refr.as_ref(), index.as_ref()]);
            }
            Expr::BinExpr { lhs, rhs, .. }
            | Expr::BoolExpr { lhs, rhs, .. }
            | Expr::ArithExpr { lhs, rhs, .. }
            | Expr::AssignExpr { lhs, rhs, .. } => {
                self.exprs.extend([lhs.as_ref(), rhs.as_ref()]);
            }
            Expr::Membership { key, value, collection, .. } => {
                self.exprs.extend(key.iter().map(AsRef::as_ref));
                self.exprs.extend([value.as_ref(), collection.as_ref()]);
            }
        }
    }
}

/// The components of a reference that is made of names and string keys only.
pub(crate) fn components(expr: &Expr) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    let mut next = expr;
    loop {
        match next {
            Expr::Var { span, .. } => {
                parts.push(span.text().to_owned());
                parts.reverse();
                return Some(parts);
            }
            Expr::RefDot { refr, field, .. } => {
                parts.push(field.0.text().to_owned());
                next = refr;
            }
            Expr::RefBrack { refr, index, .. } => match index.as_ref() {
                Expr::String { value, .. } | Expr::RawString { value, .. } => {
                    parts.push(value.as_string().ok()?.to_string());
                    next = refr;
                }
                _ => return None,
            },
            _ => return None,
        }
    }
}
