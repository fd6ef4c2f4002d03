//! Canonical JSON as OLPC defined it and securesystemslib writes it: what TUF's signatures cover.
//!
//! Not RFC 8785: only `"` and `\` are escaped, names are in code point order, numbers are integers.

use serde_json::Value;

/// A document has no canonical form: there is a number in it that is no integer of 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a number is not an integer, and has no canonical form")]
pub struct NotCanonical;

/// The canonical form of a document.
///
/// # Errors
/// [`NotCanonical`].
pub fn canonical_json(value: &Value) -> Result<Vec<u8>, NotCanonical> {
    let mut text = String::new();
    write(value, &mut text)?;
    Ok(text.into_bytes())
}

fn write(value: &Value, text: &mut String) -> Result<(), NotCanonical> {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) if number.is_f64() => return Err(NotCanonical),
        Value::Number(number) => text.push_str(&number.to_string()),
        Value::String(value) => write_text(value, text),
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write(item, text)?;
            }
            text.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            // Bytes of UTF-8 are in code point order.
            members.sort_unstable_by(|a, b| a.0.cmp(b.0));
            text.push('{');
            for (index, (name, value)) in members.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_text(name, text);
                text.push(':');
                write(value, text)?;
            }
            text.push('}');
        }
    }
    Ok(())
}

fn write_text(value: &str, text: &mut String) {
    text.push('"');
    for c in value.chars() {
        if matches!(c, '"' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn as_securesystemslib_writes_it() {
        let canonical = |value: Value| String::from_utf8(canonical_json(&value).unwrap()).unwrap();
        assert_eq!(
            canonical(json!({"y": 2, "x": [3, -1, true, null]})),
            r#"{"x":[3,-1,true,null],"y":2}"#
        );
        assert_eq!(canonical(json!("a\"b\\c\nd\té")), "\"a\\\"b\\\\c\nd\té\"");
        assert_eq!(
            canonical(json!({"A": [], "a": {}, "é": 1, "Z": 18_446_744_073_709_551_615_u64})),
            r#"{"A":[],"Z":18446744073709551615,"a":{},"é":1}"#
        );
        assert_eq!(canonical_json(&json!([1.0])), Err(NotCanonical));
    }
}
