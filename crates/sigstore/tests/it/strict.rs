//! Shapes that serde would read and no other reader of these formats does: an array of the members
//! of an object, in the order of the struct.

use sealwright_sigstore::{SigstoreBundle, Trust};
use serde_json::Value;

use crate::data::{path, public_good, read};

#[test]
fn an_array_is_no_object_in_a_bundle() {
    let refused = |name: &str| {
        let file = path("bundle-verify").join(name).join("bundle.sigstore.json");
        no_object_can_be_an_array(&read(&file), |bytes| SigstoreBundle::parse(bytes).is_ok())
    };
    let v1 = refused("happy-path-v0.3-new-mediaType");
    let v2 = refused("rekor2-checkpoint-cosigned");
    let keyed = refused("managed-key-happy-path");
    assert!(v1 > 10 && v2 > 10 && keyed > 5, "{v1} {v2} {keyed}");
}

#[test]
fn an_array_is_no_object_in_a_trusted_root() {
    let count = no_object_can_be_an_array(&public_good(), |bytes| Trust::parse(bytes).is_ok());
    assert!(count > 20, "{count}");
}

/// Puts an array of its members in the place of each object, in every order and with a null for a
/// member that may be left out; gives the number of objects.
fn no_object_can_be_an_array(document: &[u8], accepts: impl Fn(&[u8]) -> bool) -> usize {
    assert!(accepts(document));
    let json: Value = serde_json::from_slice(document).unwrap();
    let mut places = Vec::new();
    objects(&json, "", &mut places);
    // Nobody reads an authority's name; members that are not known may have any form.
    places.retain(|place| !place.ends_with("/subject"));
    for place in &places {
        let members = json.pointer(place).unwrap().as_object().unwrap().values().cloned();
        let mut members: Vec<Value> = members.collect();
        while members.len() <= 4 {
            for order in orders(&members) {
                let mut changed = json.clone();
                *changed.pointer_mut(place).unwrap() = Value::Array(order);
                assert!(!accepts(changed.to_string().as_bytes()), "{place}: {changed}");
            }
            members.push(Value::Null);
        }
    }
    places.len()
}

/// JSON pointers to all objects.
fn objects(value: &Value, place: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            found.push(place.to_owned());
            members.iter().for_each(|(name, value)| {
                objects(value, &format!("{place}/{name}"), found);
            });
        }
        Value::Array(items) => items.iter().enumerate().for_each(|(at, item)| {
            objects(item, &format!("{place}/{at}"), found);
        }),
        _ => {}
    }
}

fn orders(items: &[Value]) -> Vec<Vec<Value>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for at in 0..items.len() {
        let mut rest = items.to_vec();
        let first = rest.remove(at);
        all.extend(orders(&rest).into_iter().map(|mut order| {
            order.insert(0, first.clone());
            order
        }));
    }
    all
}
