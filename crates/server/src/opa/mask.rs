//! What is left out of the decision log: the rules `data.system.log.mask` and `drop`, as OPA has them.

use serde_json::{Map, Value};

/// Asked with the event as input: what to leave out of it.
pub(super) const MASK: &str = "data.system.log.mask";
/// Asked with the event as input: true if it is not to be logged at all.
pub(super) const DROP: &str = "data.system.log.drop";

/// The parts of an event that can be masked.
const PARTS: [&str; 2] = ["input", "result"];

/// Applies the rules: pointers to erase, or objects with `op` (`remove`, `upsert`), `path` and `value`.
/// What was done is said in `erased` and `masked`. Rules that cannot be read erase everything.
pub(super) fn apply(rules: &Value, event: &mut Value) {
    let Some(rules) = rules.as_array() else { return erase_all(event) };
    let (mut erased, mut masked) = (Vec::new(), Vec::new());
    for rule in rules {
        let Some(rule) = Rule::read(rule) else { return erase_all(event) };
        let Some(event) = event.as_object_mut() else { return };
        let is_done = match &rule.upsert {
            None => remove(event, &rule.parts),
            Some(value) => upsert(event, &rule.parts, value),
        };
        if is_done {
            let list = if rule.upsert.is_none() { &mut erased } else { &mut masked };
            list.push(Value::from(rule.path));
        }
    }
    for (name, list) in [("erased", erased), ("masked", masked)] {
        if !list.is_empty() {
            event[name] = Value::Array(list);
        }
    }
}

/// Takes away everything that may be somebody's secret.
pub(super) fn erase_all(event: &mut Value) {
    let Some(fields) = event.as_object_mut() else { return };
    fields.remove("masked");
    let erased = PARTS.iter().filter(|part| fields.remove(**part).is_some());
    let erased: Vec<Value> = erased.map(|part| Value::from(format!("/{part}"))).collect();
    fields.insert("erased".to_owned(), Value::Array(erased));
}

struct Rule {
    path: String,
    parts: Vec<String>,
    upsert: Option<Value>,
}

impl Rule {
    fn read(rule: &Value) -> Option<Self> {
        let (path, upsert) = match rule {
            Value::String(path) => (path, None),
            Value::Object(fields) => {
                let path = fields.get("path")?;
                let upsert = match fields.get("op")?.as_str()? {
                    "remove" => None,
                    "upsert" => Some(fields.get("value").cloned().unwrap_or_default()),
                    _ => return None,
                };
                let Value::String(path) = path else { return None };
                (path, upsert)
            }
            _ => return None,
        };
        let parts: Vec<String> = path.strip_prefix('/')?.split('/').map(str::to_owned).collect();
        // OPA has a third part, for builtins that are not here.
        let is_known = parts
            .first()
            .is_some_and(|part| PARTS.contains(&part.as_str()) || part == "nd_builtin_cache");
        is_known.then(|| Self { path: path.clone(), parts, upsert })
    }
}

fn remove(event: &mut Map<String, Value>, parts: &[String]) -> bool {
    let Some((last, above)) = parts.split_last() else { return false };
    let Some((first, above)) = above.split_first() else { return event.remove(last).is_some() };
    let Some(start) = event.get_mut(first) else { return false };
    let parent = above.iter().try_fold(start, |value, part| child(value, part));
    match parent {
        Some(Value::Object(fields)) => fields.remove(last).is_some(),
        Some(Value::Array(items)) => match last.parse::<usize>() {
            Ok(index) if index < items.len() => {
                items.remove(index);
                true
            }
            _ => false,
        },
        _ => false,
    }
}

fn upsert(event: &mut Map<String, Value>, parts: &[String], value: &Value) -> bool {
    let Some((first, below)) = parts.split_first() else { return false };
    let Some(mut place) = event.get_mut(first) else { return false };
    for (index, part) in below.iter().enumerate() {
        let is_last = index + 1 == below.len();
        let inner = match place {
            Value::Object(fields) => {
                let empty = || Value::Object(Map::new());
                fields.entry(part.clone()).or_insert_with(empty)
            }
            Value::Array(items) => {
                match part.parse::<usize>().ok().and_then(|index| items.get_mut(index)) {
                    Some(item) => item,
                    None => return false,
                }
            }
            _ => return false,
        };
        if !(is_last || inner.is_object() || inner.is_array()) {
            return false;
        }
        place = inner;
    }
    *place = value.clone();
    true
}

fn child<'a>(value: &'a mut Value, part: &str) -> Option<&'a mut Value> {
    match value {
        Value::Object(fields) => fields.get_mut(part),
        Value::Array(items) => items.get_mut(part.parse::<usize>().ok()?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn masked(rules: &Value) -> Value {
        let mut event = json!({
            "decision_id": "1",
            "input": {"password": "x", "people": [{"name": "a"}, {"name": "b"}]},
            "result": true,
        });
        apply(rules, &mut event);
        event
    }

    #[test]
    fn what_is_named_is_erased_or_replaced() {
        let event = masked(&json!([
            "/input/password", "/input/absent/x", "/input/people/0",
            {"op": "upsert", "path": "/input/people/0/name", "value": "**"},
            {"op": "upsert", "path": "/input/more/deep", "value": 1},
            {"op": "remove", "path": "/result"},
        ]));
        assert_eq!(
            event,
            json!({
                "decision_id": "1",
                "input": {"people": [{"name": "**"}], "more": {"deep": 1}},
                "erased": ["/input/password", "/input/people/0", "/result"],
                "masked": ["/input/people/0/name", "/input/more/deep"],
            })
        );
        assert_eq!(masked(&json!(["/input"]))["input"], Value::Null);
        assert_eq!(masked(&json!([]))["result"], json!(true));
    }

    #[test]
    fn rules_that_cannot_be_read_erase_everything() {
        for rules in [
            json!({}),
            json!([1]),
            json!(["input"]),
            json!(["/labels"]),
            json!([{"path": "/input"}]),
            json!([{"op": "add", "path": "/input"}]),
            json!([{"op": "remove"}]),
            json!(["/"]),
            json!([{"op": "upsert", "path": "/input", "value": 1}, "x"]),
        ] {
            let event = masked(&rules);
            assert_eq!(
                event,
                json!({"decision_id": "1", "erased": ["/input", "/result"]}),
                "{rules}"
            );
        }
    }
}
