//! Reading the answers of policies that are not ours as yes or no.

use serde_json::Value;

/// Rules that list reasons against: Conftest, Gatekeeper, and our own.
const REASONS: [&str; 3] = ["deny", "violation", "violations"];

/// Whether `value`, the answer to `query`, is a yes; none if it is no decision.
///
/// - A boolean is one: `data.signature.allow` (cosign), `data.sigstore.isCompliant`
///   (policy-controller).
/// - An object with `allow` is a yes if that is exactly `true` and it has no violations.
/// - What `deny`, `violation` or `violations` lists are reasons against: only an empty list is a
///   yes.
#[must_use]
pub fn is_yes(query: &str, value: &Value) -> Option<bool> {
    let is_empty = |value: &Value| match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    };
    match value {
        Value::Bool(yes) => Some(*yes),
        Value::Object(fields) if fields.contains_key("allow") => {
            let objections = fields.get("violations").is_some_and(|listed| !is_empty(listed));
            Some(fields.get("allow") == Some(&Value::Bool(true)) && !objections)
        }
        Value::Array(_) | Value::Object(_) => {
            let last = query.rsplit('.').next().unwrap_or_default();
            REASONS.contains(&last).then(|| is_empty(value))
        }
        _ => None,
    }
}

/// The codes of the violations in an answer, sorted.
pub(crate) fn codes(value: &Value) -> Vec<String> {
    let listed = value.get("violations").unwrap_or(value).as_array();
    let mut codes: Vec<String> = listed
        .into_iter()
        .flatten()
        .filter_map(|violation| violation.get("code")?.as_str())
        .map(str::to_owned)
        .collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn conventions_of_others_are_understood() {
        assert_eq!(is_yes("data.signature.allow", &json!(true)), Some(true));
        assert_eq!(is_yes("data.main.deny", &json!([])), Some(true));
        assert_eq!(is_yes("data.main.deny", &json!(["no"])), Some(false));
        assert_eq!(is_yes("data.x.violation", &json!([{"msg": "no"}])), Some(false));
        assert_eq!(is_yes("data.x.names", &json!([])), None);
        assert_eq!(is_yes("data.x.count", &json!(1)), None);
    }

    #[test]
    fn an_allow_with_violations_is_a_no() {
        let query = "data.sealwright.main.decision";
        assert_eq!(is_yes(query, &json!({"allow": true, "violations": []})), Some(true));
        assert_eq!(is_yes(query, &json!({"allow": true, "violations": [1]})), Some(false));
        assert_eq!(is_yes(query, &json!({"allow": true, "violations": "x"})), Some(false));
        assert_eq!(is_yes(query, &json!({"allow": "true"})), Some(false));
    }
}
