//! The changes that are tried.

use serde_json::{Value, json};

/// Letters, and others that look the same.
const LOOK_ALIKES: [(char, char); 10] = [
    ('a', 'а'),
    ('c', 'с'),
    ('e', 'е'),
    ('i', 'і'),
    ('o', 'о'),
    ('p', 'р'),
    ('s', 'ѕ'),
    ('x', 'х'),
    ('A', 'А'),
    ('E', 'Е'),
];

/// How long a long text is, in bytes.
const LONG: usize = 8192;

/// One value of a document in another form.
#[derive(Clone, Debug, PartialEq)]
pub struct Mutation {
    /// JSON pointer (RFC 6901) of the value.
    pub pointer: String,
    /// What becomes of it, such as `missing`.
    pub kind: &'static str,
    /// What it becomes; none if it goes.
    value: Option<Value>,
}

impl Mutation {
    /// The document after the change; as it is if it has nothing at the pointer.
    #[must_use]
    pub fn apply(&self, document: &Value) -> Value {
        let mut changed = document.clone();
        match &self.value {
            Some(value) => {
                if let Some(place) = changed.pointer_mut(&self.pointer) {
                    *place = value.clone();
                }
            }
            None => remove(&mut changed, &self.pointer),
        }
        changed
    }
}

/// Every value of `document`, in the order it is written, in every other form.
#[must_use]
pub fn mutations(document: &Value) -> Vec<Mutation> {
    let mut all = Vec::new();
    visit(document, "", &mut all);
    all
}

fn visit(value: &Value, pointer: &str, all: &mut Vec<Mutation>) {
    let mut add = |kind, value| all.push(Mutation { pointer: pointer.to_owned(), kind, value });
    if !pointer.is_empty() {
        add("missing", None);
    }
    for (kind, other) in forms(value) {
        if other != *value {
            add(kind, Some(other));
        }
    }
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                visit(item, &format!("{pointer}/{index}"), all);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                let name = name.replace('~', "~0").replace('/', "~1");
                visit(field, &format!("{pointer}/{name}"), all);
            }
        }
        _ => {}
    }
}

/// Values of every type, and what is near to `value` and yet another.
fn forms(value: &Value) -> Vec<(&'static str, Value)> {
    let mut forms = vec![
        ("null", Value::Null),
        ("true", json!(true)),
        ("false", json!(false)),
        ("zero", json!(0)),
        ("negative", json!(-1)),
        ("huge", json!(1e308)),
        ("beyond exact", json!(9_007_199_254_740_993_u64)),
        ("empty text", json!("")),
        ("NaN as text", json!("NaN")),
        ("Infinity as text", json!("Infinity")),
        ("empty list", json!([])),
        ("empty object", json!({})),
        ("in a list", json!([value])),
    ];
    match value {
        Value::String(text) => forms.extend(texts(text)),
        Value::Number(number) => {
            forms.push(("number as text", json!(number.to_string())));
            let negated = number.as_f64().map(|number| json!(-number));
            forms.extend(negated.map(|value| ("negated", value)));
        }
        Value::Bool(flag) => forms.push(("as text", json!(flag.to_string()))),
        Value::Array(items) if !items.is_empty() => {
            let twice: Vec<&Value> = items.iter().flat_map(|item| [item, item]).collect();
            forms.push(("entries twice", json!(twice)));
            forms.push(("reversed", items.iter().rev().cloned().collect()));
            let odd: Vec<Value> = items.iter().cloned().chain([Value::Null]).collect();
            forms.push(("null added", json!(odd)));
        }
        _ => {}
    }
    forms
}

fn texts(text: &str) -> Vec<(&'static str, Value)> {
    let mut texts = vec![
        ("space after", json!(format!("{text} "))),
        ("space before", json!(format!(" {text}"))),
        ("line break after", json!(format!("{text}\n"))),
        ("zero-width space", json!(format!("{text}\u{200b}"))),
        ("upper case", json!(text.to_uppercase())),
        ("lower case", json!(text.to_lowercase())),
        ("long", json!(text.repeat(LONG / text.len().max(1) + 1))),
    ];
    let other = LOOK_ALIKES.iter().find(|(letter, _)| text.contains(*letter));
    if let Some((letter, alike)) = other {
        texts.push(("look-alike", json!(text.replacen(*letter, &alike.to_string(), 1))));
    }
    texts
}

fn remove(document: &mut Value, pointer: &str) {
    let Some((parent, name)) = pointer.rsplit_once('/') else { return };
    match document.pointer_mut(parent) {
        Some(Value::Object(fields)) => {
            fields.remove(&name.replace("~1", "/").replace("~0", "~"));
        }
        Some(Value::Array(items)) => {
            if let Some(index) = name.parse().ok().filter(|index: &usize| *index < items.len()) {
                items.remove(index);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_goes_and_changes() {
        let document = json!({"a": [1, {"b/c": "x"}], "d": true});
        let all = mutations(&document);
        for pointer in ["/a", "/a/0", "/a/1", "/a/1/b~1c", "/d"] {
            let missing = all.iter().find(|m| m.pointer == pointer && m.kind == "missing").unwrap();
            assert_ne!(missing.apply(&document), document, "{pointer}");
        }
        assert!(all.iter().all(|mutation| mutation.apply(&document) != document));
        let look_alike = all.iter().find(|m| m.kind == "look-alike").unwrap();
        assert_eq!(look_alike.apply(&document)["a"][1]["b/c"], "х");
        let twice = all.iter().find(|m| m.kind == "entries twice").unwrap();
        assert_eq!(twice.apply(&document)["a"].as_array().unwrap().len(), 4);
        assert_eq!(all, mutations(&document));
    }
}
