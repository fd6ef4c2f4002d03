//! Strict JSON: what it takes, `serde_json` takes too and reads in the same way; no name is there
//! twice; and what it refuses of that has a reason.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sealwright_attest::{from_value, parse_strict};
use serde_json::Value;

const LIMIT: usize = 1 << 16;

fuzz_target!(|data: &[u8]| {
    let lenient = serde_json::from_slice::<Value>(data);
    match parse_strict(data, LIMIT) {
        Ok(value) => {
            assert!(data.len() <= LIMIT);
            assert_eq!(lenient.ok().as_ref(), Some(&value));
            // As many names as there are members: none was lost to a twin.
            assert_eq!(colons(data), members(&value));
            let text = value.to_string();
            assert_eq!(parse_strict(text.as_bytes(), text.len()).as_ref(), Ok(&value));
            assert_eq!(from_value::<Value>(value.clone()).ok(), Some(value));
        }
        Err(_) => {
            if let Ok(value) = lenient {
                let is_deep = depth(&value) > 100;
                let is_long = data.len() > LIMIT;
                assert!(is_deep || is_long || colons(data) != members(&value), "{value}");
            }
        }
    }
});

/// Colons outside of strings: one for each member as it is written.
fn colons(data: &[u8]) -> usize {
    let (mut count, mut in_text, mut escaped) = (0, false, false);
    for &byte in data {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b':' if !in_text => count += 1,
            _ => {}
        }
    }
    count
}

fn members(value: &Value) -> usize {
    match value {
        Value::Object(members) => {
            members.len() + members.values().map(self::members).sum::<usize>()
        }
        Value::Array(items) => items.iter().map(members).sum(),
        _ => 0,
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}
