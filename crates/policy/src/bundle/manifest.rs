//! `.manifest`: what a bundle says of itself (OPA, "Bundle File Format").

use sealwright_attest::{from_value, parse_strict};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::BundleError;

const MAX_BYTES: usize = 64 * 1024;
/// How many roots a bundle may claim.
const MAX_ROOTS: usize = 256;

/// The content of `.manifest`. Fields that OPA knows and that are not here would have other rules
/// decide than those that are read, and are refused.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleManifest {
    /// Which one of several bundles this is; for people, unless it is a number.
    #[serde(default)]
    pub revision: String,
    /// What of `data` this bundle is about, as paths with `/`; everything, if it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roots: Option<Vec<String>>,
    /// 1, or 0 for Rego of before OPA 1.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rego_version: Option<u8>,
    /// Whatever else it says; ours have `name`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

impl BundleManifest {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        let wrong = |message: String| BundleError::Manifest { message };
        let value = parse_strict(bytes, MAX_BYTES).map_err(|error| wrong(error.to_string()))?;
        for (field, empty) in
            [("wasm", Value::Array(Vec::new())), ("file_rego_versions", Map::new().into())]
        {
            if value.get(field).is_some_and(|found| *found != empty) {
                return Err(wrong(format!("{field} is not supported")));
            }
        }
        let mut value = value;
        if let Some(fields) = value.as_object_mut() {
            fields.remove("wasm");
            fields.remove("file_rego_versions");
        }
        let manifest: Self = from_value(value).map_err(|error| wrong(error.to_string()))?;
        manifest.check()?;
        Ok(manifest)
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        // Strings, numbers and lists: this cannot fail.
        let mut bytes = serde_json::to_vec(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// The number that `revision` is, if it is one as we write it.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        let number: u64 = self.revision.parse().ok()?;
        (number.to_string() == self.revision).then_some(number)
    }

    /// The policy's name, if it has one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.metadata.get("name")?.as_str()
    }

    /// The roots as component lists; one empty list for everything.
    pub(super) fn root_paths(&self) -> Vec<Vec<&str>> {
        match &self.roots {
            None => vec![Vec::new()],
            Some(roots) => roots.iter().map(|root| components(root)).collect(),
        }
    }

    /// True if `path` is under one of the roots.
    pub(super) fn contains<S: AsRef<str>>(&self, path: &[S]) -> bool {
        let is_under = |root: &Vec<&str>| {
            root.len() <= path.len() && root.iter().zip(path).all(|(a, b)| *a == b.as_ref())
        };
        self.root_paths().iter().any(is_under)
    }

    fn check(&self) -> Result<(), BundleError> {
        let wrong = |message: &str| Err(BundleError::Manifest { message: message.to_owned() });
        if self.rego_version.is_some_and(|version| version > 1) {
            return wrong("rego_version is neither 0 nor 1");
        }
        let roots = self.root_paths();
        if roots.len() > MAX_ROOTS {
            return wrong("there are too many roots");
        }
        for (index, root) in roots.iter().enumerate() {
            let before = roots.iter().take(index);
            if before.into_iter().any(|other| root.starts_with(other) || other.starts_with(root)) {
                return wrong("roots overlap");
            }
        }
        Ok(())
    }
}

fn components(root: &str) -> Vec<&str> {
    root.split('/').filter(|part| !part.is_empty()).collect()
}
