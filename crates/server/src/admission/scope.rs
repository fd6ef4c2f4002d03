//! Which requests are judged, and which need no judging because nothing starts to run.
//!
//! | request | answer |
//! | --- | --- |
//! | `pods` CREATE | judged |
//! | `pods`, `pods/ephemeralcontainers` UPDATE | judged if `spec` changes |
//! | `pods/status`, `pods/resize` UPDATE | as above; cannot change what runs |
//! | `pods/binding`, `pods/eviction` CREATE | allowed, a binding without a model only |
//! | any of them DELETE | allowed |
//! | everything else | denied: the webhook is registered for more than it understands |
//!
//! A pod keeps the model that it was admitted with: whatever changes the model annotation of a pod
//! that exists is denied, also through a subresource. The pod would go on running its old model
//! under the name of another one.

use serde_json::Value;

use super::code;
use super::pod::{self, MODEL_ANNOTATION, ModelReference, NotAPod, Pod};
use super::review::{Operation, Review};
use crate::evidence::Denial;
use crate::text;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Nothing starts to run that did not run before.
    NothingRuns(NothingRuns),
    /// A pod without a model annotation would run.
    Unnamed,
    /// A pod with this model would run.
    Model(ModelReference),
}

/// Why nothing starts to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum NothingRuns {
    /// Something is deleted or evicted.
    Deleted,
    /// What runs and its model stay as they are.
    Unchanged,
    /// A pod that was judged when it was created gets its node.
    Bound,
}

/// Finds out what the request would make run. Dry runs are the same as others here.
pub(crate) fn scope(review: &Review) -> Result<Scope, Denial> {
    let Some(subresource) = review.resource.of_pods() else { return Err(unsupported(review)) };
    match (review.operation, subresource) {
        // Refusing to delete would keep a revoked model running.
        (Operation::Delete, _) => Ok(Scope::NothingRuns(NothingRuns::Deleted)),
        (Operation::Create, "eviction") => Ok(Scope::NothingRuns(NothingRuns::Deleted)),
        (Operation::Create, "binding") => binding(review),
        (Operation::Create, "") => model_of(&read(review.object.as_ref(), "object")?),
        (Operation::Update, "" | "ephemeralcontainers" | "status" | "resize") => {
            update(review, subresource)
        }
        _ => Err(unsupported(review)),
    }
}

/// Most updates of a pod change no code and no model: finalizers, labels, the kubelet's status.
/// Judging them would let an expired approval block the clean-up of the pods that it let in, so
/// those are allowed; but only when both pods are there to be compared. A `deletionTimestamp`
/// makes no difference: a pod that is being deleted still runs what it is changed to.
fn update(review: &Review, subresource: &str) -> Result<Scope, Denial> {
    let new = read(review.object.as_ref(), "object")?;
    let old = read(review.old_object.as_ref(), "oldObject")?;
    if new.model() != old.model() {
        return Err(model_changed());
    }
    let runs_the_same = match subresource {
        "resize" => new.spec_without_sizes() == old.spec_without_sizes(),
        _ => new.spec() == old.spec(),
    };
    if runs_the_same { Ok(Scope::NothingRuns(NothingRuns::Unchanged)) } else { model_of(&new) }
}

/// The API server copies the annotations of a Binding into the pod, and tells no webhook that the
/// pod was changed.
fn binding(review: &Review) -> Result<Scope, Denial> {
    let metadata = review.object.as_ref().and_then(|object| object.get("metadata"));
    let Some(metadata) = metadata.and_then(Value::as_object) else {
        return Err(Denial::new(
            code::OBJECT_MALFORMED,
            "The binding is missing or has no metadata.",
        ));
    };
    if pod::model_annotation(metadata).is_some() {
        return Err(model_changed());
    }
    Ok(Scope::NothingRuns(NothingRuns::Bound))
}

fn model_of(pod: &Pod<'_>) -> Result<Scope, Denial> {
    let Some(annotation) = pod.model() else { return Ok(Scope::Unnamed) };
    // The API server lets only strings through.
    let text = annotation.as_str().unwrap_or_default();
    ModelReference::parse(text).map(Scope::Model).map_err(|error| {
        Denial::new(code::MODEL_REFERENCE, format!("Annotation {MODEL_ANNOTATION}: {error}."))
    })
}

fn read<'a>(object: Option<&'a Value>, field: &str) -> Result<Pod<'a>, Denial> {
    Pod::read(object).map_err(|fault: NotAPod| {
        Denial::new(code::OBJECT_MALFORMED, format!("The request's {field} {fault}."))
    })
}

fn model_changed() -> Denial {
    Denial::new(
        code::MODEL_CHANGED,
        format!(
            "Annotation {MODEL_ANNOTATION} of a pod cannot be added, changed or removed; delete \
             the pod and create one with the other model."
        ),
    )
}

fn unsupported(review: &Review) -> Denial {
    let what = text::line(&format!("{:?} of {}", review.operation, review.resource), 200);
    Denial::new(
        code::UNSUPPORTED_RESOURCE,
        format!(
            "{what} is not judged here. Register this webhook for CREATE and UPDATE of pods and \
             pods/ephemeralcontainers only; workloads are judged when their pods are created."
        ),
    )
}
