//! Whatever arrives is answered, and nothing is let in by accident.

use std::sync::LazyLock;

use proptest::prelude::*;
use sealwright_server::admission::MODEL_ANNOTATION;
use serde_json::{Value, json};

use super::{Scene, captured};

static SCENE: LazyLock<Scene> = LazyLock::new(Scene::approved);

/// All places in a document, as JSON pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    let mut inside = |key: &str, value| {
        places(value, &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), found);
    };
    match value {
        Value::Object(members) => members.iter().for_each(|(key, value)| inside(key, value)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, value)| inside(&i.to_string(), value));
        }
        _ => {}
    }
}

fn junk() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(null)),
        Just(json!({})),
        Just(json!([])),
        Just(json!(true)),
        any::<i64>().prop_map(|n| json!(n)),
        any::<String>().prop_map(|text| json!(text)),
        prop::sample::select(vec!["DELETE", "UPDATE", "CREATE", "status", "Pod", "v1", ""])
            .prop_map(|text| json!(text)),
    ]
}

/// What an allowed request must look like, told independently of how the webhook finds out.
fn may_pass(review: &Value) -> bool {
    let request = &review["request"];
    let pods = request["resource"] == json!({"group": "", "version": "v1", "resource": "pods"});
    let approved = &SCENE.pod()["request"]["object"]["metadata"]["annotations"][MODEL_ANNOTATION];
    let names_it = request["object"]["metadata"]["annotations"][MODEL_ANNOTATION] == *approved;
    let runs = request["object"]["spec"]["containers"].as_array().is_some_and(|c| !c.is_empty());
    pods && (request["operation"] == "DELETE" || (names_it && runs))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn random_bytes_are_denied(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(!SCENE.ask_bytes(&bytes).allowed);
    }

    #[test]
    fn a_review_with_broken_bytes_is_denied(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = captured("pod-create-generateName").to_string().into_bytes();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        prop_assert!(!SCENE.ask_bytes(&bytes).allowed);
    }

    #[test]
    fn a_review_with_junk_in_it_passes_only_for_what_it_is(
        changes in prop::collection::vec((any::<prop::sample::Index>(), junk()), 1..4),
    ) {
        let mut review = SCENE.pod();
        for (at, junk) in changes {
            let mut found = Vec::new();
            places(&review, "", &mut found);
            *review.pointer_mut(&found[at.index(found.len())]).unwrap() = junk;
        }
        let answer = SCENE.ask(&review);
        prop_assert!(!answer.allowed || may_pass(&review), "{answer:?} to {review}");
    }
}
