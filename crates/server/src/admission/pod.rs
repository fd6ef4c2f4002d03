//! What a pod says about itself, as far as admission listens: its model, and its `spec`.
//!
//! Names, labels, owner references and every other annotation are written by whoever makes the
//! pod and decide nothing. The model reference decides nothing by itself either: it only says
//! which digest the evidence must be about.

use std::fmt;

use sealwright_manifest::Sha256;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::text;

/// The annotation by which a pod names its model: `NAME@sha256:DIGEST`.
pub const MODEL_ANNOTATION: &str = "sealwright.dev/model";

/// A pod's model: a name for people, and the model digest that everything is matched by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelReference {
    name: String,
    #[serde(rename = "sha256")]
    digest: Sha256,
}

/// The annotation's value is not `NAME@sha256:DIGEST`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found:?} is not a model reference; write NAME@sha256:DIGEST, where NAME has 1 to 253 of \
     A-Z a-z 0-9 . _ / - and DIGEST is the 64 lower-case hexadecimal digits that \
     `sealwright digest MODEL` prints"
)]
pub struct InvalidModelReference {
    /// The beginning of what stands there.
    pub found: String,
}

impl ModelReference {
    /// Parses `NAME@sha256:DIGEST`: nothing may stand around it, and a digest has one spelling.
    ///
    /// # Errors
    /// [`InvalidModelReference`].
    pub fn parse(text: &str) -> Result<Self, InvalidModelReference> {
        let parts = text.split_once("@sha256:").filter(|(name, _)| is_model_name(name));
        let parsed = parts.and_then(|(name, digest)| {
            let digest = Sha256::parse(digest).ok()?;
            Some(Self { name: name.to_owned(), digest })
        });
        parsed.ok_or_else(|| InvalidModelReference { found: text::line(text, 100) })
    }

    /// The name; informative.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The model digest.
    pub fn digest(&self) -> &Sha256 {
        &self.digest
    }
}

impl fmt::Display for ModelReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@sha256:{}", self.name, self.digest)
    }
}

fn is_model_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'/' | b'-');
    (1..=253).contains(&name.len()) && name.bytes().all(allowed)
}

/// A value that is a pod in form: `v1` `Pod` with metadata and a spec that has containers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pod<'a> {
    metadata: &'a Map<String, Value>,
    spec: &'a Map<String, Value>,
}

/// Why a value is not a pod; completes "the object …".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAPod {
    #[error("is missing")]
    Missing,
    #[error("is not a v1 Pod")]
    Kind,
    #[error("has no metadata, or annotations that are not an object")]
    Metadata,
    #[error("has no spec with containers")]
    Spec,
}

impl<'a> Pod<'a> {
    pub(crate) fn read(object: Option<&'a Value>) -> Result<Self, NotAPod> {
        let object = object.filter(|object| !object.is_null()).ok_or(NotAPod::Missing)?;
        let text = |name| object.get(name).and_then(Value::as_str);
        if (text("apiVersion"), text("kind")) != (Some("v1"), Some("Pod")) {
            return Err(NotAPod::Kind);
        }
        let metadata = object.get("metadata").and_then(Value::as_object);
        let metadata = metadata.filter(|m| has_annotations_in_form(m)).ok_or(NotAPod::Metadata)?;
        let spec = object.get("spec").and_then(Value::as_object);
        // An object that lost its content on the way must not pass for one without a fault.
        let has_containers = |spec: &&Map<String, Value>| {
            spec.get("containers").and_then(Value::as_array).is_some_and(|list| !list.is_empty())
        };
        Ok(Self { metadata, spec: spec.filter(has_containers).ok_or(NotAPod::Spec)? })
    }

    /// The model annotation, of whatever type; an explicit null is none.
    pub(crate) fn model(&self) -> Option<&'a Value> {
        model_annotation(self.metadata)
    }

    /// The spec, for comparison: two equal ones run the same.
    pub(crate) fn spec(&self) -> &'a Map<String, Value> {
        self.spec
    }

    /// The spec without CPU, memory and how to resize them, which say how much and not what runs.
    pub(crate) fn spec_without_sizes(&self) -> Map<String, Value> {
        let mut spec = self.spec.clone();
        spec.remove("resources");
        for list in ["containers", "initContainers"] {
            let containers = spec.get_mut(list).and_then(Value::as_array_mut);
            for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
                container.remove("resources");
                container.remove("resizePolicy");
            }
        }
        spec
    }
}

/// The model annotation in the metadata of any object.
pub(crate) fn model_annotation(metadata: &Map<String, Value>) -> Option<&Value> {
    metadata.get("annotations")?.get(MODEL_ANNOTATION).filter(|value| !value.is_null())
}

fn has_annotations_in_form(metadata: &Map<String, Value>) -> bool {
    metadata.get("annotations").is_none_or(|list| list.is_object() || list.is_null())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_reference_has_one_spelling() {
        let digest = "ab".repeat(32);
        for name in ["m", "loans/loan-approval", "A.b_c-9", &"n".repeat(253)] {
            let text = format!("{name}@sha256:{digest}");
            assert_eq!(ModelReference::parse(&text).unwrap().to_string(), text);
        }
        let good = format!("m@sha256:{digest}");
        for bad in [
            "",
            "m",
            "m:v1",
            &digest,
            &format!("sha256:{digest}"),
            &format!("@sha256:{digest}"),
            &format!(" {good}"),
            &format!("{good} "),
            &format!("{good}\n"),
            &format!("{good}@sha256:{digest}"),
            &format!("m:v1@sha256:{digest}"),
            &format!("m\u{202e}@sha256:{digest}"),
            &format!("é@sha256:{digest}"),
            &format!("{}@sha256:{digest}", "n".repeat(254)),
            &good.to_uppercase(),
            &good.replace("sha256", "sha512"),
            &good.replace("ab", "aB"),
            &good[..good.len() - 1],
            &format!("{good}0"),
        ] {
            assert!(ModelReference::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_pod_must_look_like_one() {
        let pod = serde_json::json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"annotations": null},
            "spec": {"containers": [{"name": "c"}]},
        });
        assert!(Pod::read(Some(&pod)).unwrap().model().is_none());
        assert_eq!(Pod::read(None).unwrap_err(), NotAPod::Missing);
        assert_eq!(Pod::read(Some(&Value::Null)).unwrap_err(), NotAPod::Missing);
        for (pointer, value, error) in [
            ("/kind", "Pot".into(), NotAPod::Kind),
            ("/apiVersion", "v2".into(), NotAPod::Kind),
            ("/metadata", Value::Null, NotAPod::Metadata),
            ("/metadata/annotations", Value::Array(vec![]), NotAPod::Metadata),
            ("/spec", Value::Object(Map::new()), NotAPod::Spec),
            ("/spec/containers", Value::Array(vec![]), NotAPod::Spec),
        ] {
            let mut bad = pod.clone();
            *bad.pointer_mut(pointer).unwrap() = value;
            assert_eq!(Pod::read(Some(&bad)).unwrap_err(), error, "{pointer}");
        }
    }
}
