//! How OPA hashes the files of a bundle for its signature.
//!
//! Structured documents (`data.json`, `data.yaml`, `.manifest`) are hashed in a form without blanks and
//! with sorted names, in which a number keeps the digits it was written with; all other files as they are
//! (OPA, `v1/bundle/hash.go`).

use std::collections::BTreeMap;

use sealwright_attest::parse_strict;
use serde_json::Value;
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use super::{MANIFEST, SignatureError};
use crate::files;

/// The hash that signatures of ours use.
pub(super) const ALGORITHM: &str = "SHA-256";

/// The digest of a file in lower-case hex, with a hash as OPA names it.
pub(super) fn digest(
    path: &str,
    content: &[u8],
    algorithm: &str,
) -> Result<String, SignatureError> {
    let canonical = canonical(path, content)?;
    let bytes = canonical.as_deref().map_or(content, str::as_bytes);
    match algorithm {
        ALGORITHM => Ok(hex::encode(Sha256::digest(bytes))),
        "SHA-384" => Ok(hex::encode(Sha384::digest(bytes))),
        "SHA-512" => Ok(hex::encode(Sha512::digest(bytes))),
        other => Err(SignatureError::Hash { algorithm: other.to_owned() }),
    }
}

/// The text that is hashed instead of a structured document; none for other files.
fn canonical(path: &str, content: &[u8]) -> Result<Option<String>, SignatureError> {
    let unreadable = |message: String| SignatureError::Document { path: path.to_owned(), message };
    let base = path.rsplit('/').next().unwrap_or(path);
    if base == MANIFEST || base == files::DATA {
        parse_strict(content, content.len()).map_err(|error| unreadable(error.to_string()))?;
        let text = std::str::from_utf8(content).map_err(|error| unreadable(error.to_string()))?;
        let mut scanner = Scanner { rest: text };
        let value = scanner.value().ok_or_else(|| unreadable(String::from("it is not JSON")))?;
        return Ok(Some(value));
    }
    if !files::is_yaml_data(base) {
        return Ok(None);
    }
    let value = files::yaml(content).map_err(unreadable)?;
    Ok(Some(of_value(&value)))
}

/// Copies JSON that is known to be valid into its canonical form.
struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    fn value(&mut self) -> Option<String> {
        self.skip_blanks();
        match self.rest.as_bytes().first()? {
            b'{' => {
                let mut members = BTreeMap::new();
                self.list('}', |scanner| {
                    let name = scanner.string()?;
                    scanner.skip_blanks();
                    scanner.take(':')?;
                    members.insert(name, scanner.value()?);
                    Some(())
                })?;
                Some(object(members.iter().map(|(name, value)| (name.as_str(), value.clone()))))
            }
            b'[' => {
                let mut items = Vec::new();
                self.list(']', |scanner| {
                    items.push(scanner.value()?);
                    Some(())
                })?;
                Some(format!("[{}]", items.join(",")))
            }
            b'"' => Some(string(&self.string()?)),
            _ => {
                let ends = |c: char| matches!(c, ',' | ']' | '}') || c.is_ascii_whitespace();
                let length = self.rest.find(ends).unwrap_or(self.rest.len());
                Some(self.advance(length)?.to_owned())
            }
        }
    }

    fn list(&mut self, end: char, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.advance(1)?;
        self.skip_blanks();
        if self.take(end).is_some() {
            return Some(());
        }
        loop {
            self.skip_blanks();
            item(self)?;
            self.skip_blanks();
            if self.take(',').is_none() {
                return self.take(end);
            }
        }
    }

    fn string(&mut self) -> Option<String> {
        let mut escaped = false;
        let inner = self.rest.strip_prefix('"')?;
        let length = inner.char_indices().find_map(|(at, c)| match (escaped, c) {
            (false, '"') => Some(at),
            (false, '\\') => {
                escaped = true;
                None
            }
            _ => {
                escaped = false;
                None
            }
        })?;
        let literal = self.advance(length.checked_add(2)?)?;
        serde_json::from_str(literal).ok()
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn take(&mut self, wanted: char) -> Option<()> {
        self.rest = self.rest.strip_prefix(wanted)?;
        Some(())
    }

    fn advance(&mut self, length: usize) -> Option<&'a str> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }
}

/// What came out of YAML: OPA turns that into JSON first, with numbers as Go writes them, which is as
/// RFC 8785 does.
fn of_value(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let members: BTreeMap<&str, String> =
                members.iter().map(|(name, value)| (name.as_str(), of_value(value))).collect();
            object(members.into_iter())
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(of_value).collect::<Vec<_>>().join(","))
        }
        Value::String(text) => string(text),
        Value::Number(number) if number.is_f64() => {
            serde_json_canonicalizer::to_string(number).unwrap_or_default()
        }
        scalar => scalar.to_string(),
    }
}

fn object<'a>(members: impl Iterator<Item = (&'a str, String)>) -> String {
    let members: Vec<String> =
        members.map(|(name, value)| format!("{}:{value}", string(name))).collect();
    format!("{{{}}}", members.join(","))
}

/// A string as Go's `encoding/json` writes it without `EscapeHTML`.
fn string(text: &str) -> String {
    Value::from(text).to_string().replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str, text: &str) -> String {
        canonical(path, text.as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn structured_documents_lose_blanks_and_order_and_keep_their_numbers() {
        let text =
            "{ \"b\" : [1.50, 1e3, -0, {}, []],\n\"a\": \"x\\u00e9\\/<\\u2028\\\"\", \"A\":null}";
        assert_eq!(
            of("data.json", text),
            "{\"A\":null,\"a\":\"xé/<\\u2028\\\"\",\"b\":[1.50,1e3,-0,{},[]]}"
        );
        assert_eq!(of("x/.manifest", "{\"revision\": \"\"}"), "{\"revision\":\"\"}");
        assert_eq!(of("data.json", " true "), "true");
    }

    #[test]
    fn yaml_becomes_json_first() {
        assert_eq!(
            of("x/data.yaml", "b: 1.0\na: [0.5, 1.0e+30, text]\n"),
            "{\"a\":[0.5,1e+30,\"text\"],\"b\":1}"
        );
    }

    #[test]
    fn other_files_are_hashed_as_they_are() {
        assert_eq!(canonical("x.rego", b"package x\n").unwrap(), None);
        assert_eq!(
            digest("x.rego", b"abc", ALGORITHM).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert!(digest("x.rego", b"abc", "MD5").is_err());
    }
}
