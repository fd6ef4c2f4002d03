//! The documents of a policy: read strictly, and put under the path of their folders, as OPA does.

use sealwright_attest::parse_strict;
use serde_json::{Map, Number, Value};

use super::{DATA, base, is_yaml_data};
use crate::error::PolicyError;

/// YAML 1.1, which OPA reads, takes these for booleans; YAML 1.2 does not.
const OLD_BOOLEANS: [&str; 8] = ["y", "yes", "n", "no", "on", "off", "true", "false"];
const MAX_DEPTH: usize = 100;

/// All documents among `files` in one.
pub(crate) fn merged_data<'a>(
    files: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> Result<Value, PolicyError> {
    let mut data = Value::Object(Map::new());
    for (path, bytes) in files {
        let name = base(path);
        let value = if name == DATA {
            parse_strict(bytes, bytes.len())
                .map_err(|source| PolicyError::Data { name: path.to_owned(), source })?
        } else if is_yaml_data(name) {
            yaml(bytes).map_err(|message| PolicyError::Yaml { name: path.to_owned(), message })?
        } else {
            continue;
        };
        let mut folders: Vec<&str> = path.split('/').collect();
        folders.pop();
        if folders.is_empty() && !value.is_object() {
            return Err(PolicyError::DataNotObject { name: path.to_owned() });
        }
        let inside =
            |value, folder: &&str| Value::Object(Map::from_iter([((*folder).to_owned(), value)]));
        let value = folders.iter().rev().fold(value, inside);
        merge(&mut data, value, &mut Vec::new())
            .map_err(|place| PolicyError::DataConflict { name: path.to_owned(), place })?;
    }
    Ok(data)
}

/// Joins objects; the place if there are two values in one.
fn merge(into: &mut Value, from: Value, place: &mut Vec<String>) -> Result<(), String> {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                match into.get_mut(&name) {
                    Some(there) => {
                        place.push(name);
                        merge(there, value, place)?;
                        place.pop();
                    }
                    None => {
                        into.insert(name, value);
                    }
                }
            }
            Ok(())
        }
        _ => Err(place.join(".")),
    }
}

/// One document of YAML as JSON; what is wrong if it is not one that every reader takes for the same.
pub(crate) fn yaml(bytes: &[u8]) -> Result<Value, String> {
    let value: yaml_serde::Value =
        yaml_serde::from_slice(bytes).map_err(|error| error.to_string())?;
    json_of(value, MAX_DEPTH)
}

fn json_of(value: yaml_serde::Value, depth_left: usize) -> Result<Value, String> {
    use yaml_serde::Value as Yaml;
    let below = depth_left.checked_sub(1).ok_or("it is nested too deeply")?;
    Ok(match value {
        Yaml::Null => Value::Null,
        Yaml::Bool(value) => Value::Bool(value),
        Yaml::Number(number) => number_of(&number)?,
        Yaml::String(text) if is_ambiguous(&text) => {
            return Err(format!(
                "{text:?} is text to some readers of YAML and not to others: write true, false or a \
                 plain number, or use data.json"
            ));
        }
        Yaml::String(text) => Value::String(text),
        Yaml::Sequence(items) => {
            let items = items.into_iter().map(|item| json_of(item, below));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        Yaml::Mapping(members) => {
            let mut object = Map::new();
            for (name, value) in members {
                let Yaml::String(name) = name else {
                    return Err(String::from("a name is not a text"));
                };
                if is_ambiguous(&name) || name == "<<" {
                    return Err(format!("{name:?} is not a name that every reader takes for one"));
                }
                object.insert(name, json_of(value, below)?);
            }
            Value::Object(object)
        }
        Yaml::Tagged(_) => return Err(String::from("it has tags")),
    })
}

fn number_of(number: &yaml_serde::Number) -> Result<Value, String> {
    let integer = number.as_u64().map(Number::from).or_else(|| number.as_i64().map(Number::from));
    let number = integer.or_else(|| number.as_f64().and_then(Number::from_f64));
    number.map(Value::Number).ok_or_else(|| String::from("a number is not finite"))
}

/// Whether YAML 1.1 takes this for something else than text: a boolean, or a number with `_`, in base 2,
/// 8 (a leading zero) or 60.
fn is_ambiguous(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    if OLD_BOOLEANS.contains(&lower.as_str()) {
        return true;
    }
    let digits = lower.strip_prefix(['-', '+']).unwrap_or(&lower);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return false;
    }
    let plain = digits.replace('_', "");
    let all =
        |text: &str, allowed: &str| !text.is_empty() && text.chars().all(|c| allowed.contains(c));
    (digits.contains('_') && (plain.parse::<f64>().is_ok() || plain.starts_with("0x")))
        || plain.strip_prefix("0b").is_some_and(|rest| all(rest, "01"))
        || plain.strip_prefix('0').is_some_and(|rest| all(rest, "01234567"))
        || plain.contains(':') && all(&plain, "0123456789:.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_is_read_as_everybody_reads_it() {
        let value = yaml(b"a: 1\nb: [true, null, -2, 0.5, text, '1.0', 2026-01-01]\n").unwrap();
        assert_eq!(
            value,
            serde_json::json!({"a": 1, "b": [true, null, -2, 0.5, "text", "1.0", "2026-01-01"]})
        );
        for bad in [
            "a: yes",
            "a: Off",
            "a: 0777",
            "a: 1_000",
            "a: 12:30",
            "on: 1",
            "1: 2",
            "a: .nan",
            "a: !x 1",
            "a: 1\na: 2",
            "<<: {a: 1}",
            "[",
            "a: *b",
            "a: 1\n---\nb: 2",
        ] {
            assert!(yaml(bad.as_bytes()).is_err(), "{bad}: {:?}", yaml(bad.as_bytes()));
        }
        let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n\
            c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n\
            e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n\
            g: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\nh: [*g,*g,*g,*g,*g,*g,*g,*g,*g]\n";
        assert!(yaml(bomb.as_bytes()).is_err());
        assert!(yaml("[".repeat(5000).as_bytes()).is_err());
    }

    #[test]
    fn documents_are_under_their_folders_and_do_not_meet() {
        let files: [(&str, &[u8]); 4] = [
            ("data.json", b"{\"a\": {\"x\": 1}}"),
            ("a/data.yaml", b"z: 2"),
            ("b/c/data.json", b"[3]"),
            ("b/c/notes.txt", b"?"),
        ];
        assert_eq!(
            merged_data(files).unwrap(),
            serde_json::json!({"a": {"x": 1, "z": 2}, "b": {"c": [3]}})
        );
        let twice: [(&str, &[u8]); 2] =
            [("data.json", b"{\"a\": {\"x\": 1}}"), ("a/data.json", b"{\"x\": 1}")];
        let error = merged_data(twice).unwrap_err();
        assert!(matches!(error, PolicyError::DataConflict { place, .. } if place == "a.x"));
        assert!(merged_data([("data.yml", b"[1]".as_slice())]).is_err());
    }
}
