//! What one policy has that another has not: files, rules, data.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use crate::error::PolicyError;
use crate::policy::Policy;
use crate::scan;
use crate::tree::{components, reference};
use crate::{engine, tree};

/// Where two policies differ; all lists are sorted.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PolicyChanges {
    /// Files, tests included, by their bytes.
    pub files: Vec<Changed>,
    /// Rules that decide, by their full names, such as `data.sealwright.main.decision`.
    pub rules: Vec<Changed>,
    /// Places in the data, as JSON pointers.
    pub data: Vec<ChangedData>,
}

/// Something that is in one, in the other, or different.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Changed {
    /// What it is called.
    pub name: String,
    /// How it changed.
    pub change: ChangeKind,
}

/// How something changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// It is only in the new one.
    Added,
    /// It is only in the old one.
    Removed,
    /// It is in both, and not the same.
    Changed,
}

/// A value in the data that is another one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChangedData {
    /// A JSON pointer.
    pub place: String,
    /// What was there; none if nothing was.
    pub before: Option<Value>,
    /// What is there.
    pub after: Option<Value>,
}

impl PolicyChanges {
    /// Compares two policies.
    ///
    /// # Errors
    /// [`PolicyError`] if a file cannot be read again; those of a loaded policy can.
    pub fn between(old: &Policy, new: &Policy) -> Result<Self, PolicyError> {
        let files = |policy: &Policy| -> BTreeMap<String, Vec<u8>> {
            policy.files().all().map(|(path, bytes)| (path.to_owned(), bytes.to_vec())).collect()
        };
        let mut data = Vec::new();
        compare_data(Some(old.data()), Some(new.data()), &mut String::new(), &mut data);
        Ok(Self {
            files: compare(&files(old), &files(new)),
            rules: compare(&rules(old)?, &rules(new)?),
            data,
        })
    }

    /// True if they are the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.rules.is_empty() && self.data.is_empty()
    }
}

fn compare<T: PartialEq>(old: &BTreeMap<String, T>, new: &BTreeMap<String, T>) -> Vec<Changed> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let changed = |name: &String| {
        let change = match (old.get(name), new.get(name)) {
            (None, _) => ChangeKind::Added,
            (_, None) => ChangeKind::Removed,
            (before, after) if before != after => ChangeKind::Changed,
            _ => return None,
        };
        Some(Changed { name: name.clone(), change })
    };
    names.into_iter().filter_map(changed).collect()
}

/// The text of each rule that decides; several rules of one name are one.
fn rules(policy: &Policy) -> Result<BTreeMap<String, BTreeSet<String>>, PolicyError> {
    let modules = policy.files().modules()?;
    let mut engine = engine::build(&modules, &Value::Object(serde_json::Map::new()))?;
    let mut rules: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for module in engine.get_modules() {
        let package = components(&module.package.refr).unwrap_or_default();
        for rule in &module.policy {
            let name = scan::rule_name(rule).unwrap_or_else(|| tree::file_of(module).to_owned());
            let parts = package.iter().map(String::as_str).chain([name.as_str()]);
            let text = rule.span().text().to_owned();
            rules.entry(reference(parts)).or_default().insert(text);
        }
    }
    Ok(rules)
}

fn compare_data(
    old: Option<&Value>,
    new: Option<&Value>,
    place: &mut String,
    found: &mut Vec<ChangedData>,
) {
    if old == new {
        return;
    }
    let (Some(Value::Object(before)), Some(Value::Object(after))) = (old, new) else {
        let (before, after) = (old.cloned(), new.cloned());
        return found.push(ChangedData { place: place.clone(), before, after });
    };
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        let length = place.len();
        place.push('/');
        place.push_str(&name.replace('~', "~0").replace('/', "~1"));
        compare_data(before.get(name), after.get(name), place, found);
        place.truncate(length);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(rule: &str, data: &str) -> Policy {
        let main = format!(
            "package sealwright.main\n\nimport rego.v1\n\n\
             decision := {{\"allow\": false, \"violations\": set(), \"evidence\": set()}}\n\n{rule}\n"
        );
        Policy::from_files([("main.rego", main.into_bytes()), ("data.json", data.into())]).unwrap()
    }

    #[test]
    fn every_difference_is_named_once() {
        let old = policy("a := 1\n\nb := 2", "{\"x\": {\"one\": 1, \"two\": [1]}}");
        let new = policy("a := 3\n\nc := 2", "{\"x\": {\"one\": 1, \"two\": [2], \"a/b\": null}}");
        let changes = PolicyChanges::between(&old, &new).unwrap();
        assert_eq!(
            serde_json::to_value(&changes).unwrap(),
            json!({
                "files": [
                    {"name": "data.json", "change": "changed"},
                    {"name": "main.rego", "change": "changed"},
                ],
                "rules": [
                    {"name": "data.sealwright.main.a", "change": "changed"},
                    {"name": "data.sealwright.main.b", "change": "removed"},
                    {"name": "data.sealwright.main.c", "change": "added"},
                ],
                "data": [
                    {"place": "/x/a~1b", "before": null, "after": null},
                    {"place": "/x/two", "before": [1], "after": [2]},
                ],
            })
        );
        assert!(PolicyChanges::between(&old, &old).unwrap().is_empty());
    }
}
