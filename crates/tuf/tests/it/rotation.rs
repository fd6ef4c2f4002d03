//! Roots that follow one another.

use sealwright_tuf::{Document, Refused, RoleName, Root, Trust};

use crate::repository::{Client, NOW, Repository, honest, id, keys, root, signed};

#[test]
fn a_client_follows_from_the_first_root_to_the_last() {
    let (old, new) = (keys(3), keys(3));
    let online = keys(2);
    let mut repository = Repository::default();
    let first = repository.put(&root(1, &old, 2, &online[0]), &[&old[0], &old[1]]);
    // The new set, signed by enough of both.
    let both = [&old[1], &old[2], &new[0], &new[2]];
    repository.put(&root(2, &new, 2, &online[0]), &both);
    repository.put(&root(3, &new, 3, &online[1]), &[&new[0], &new[1], &new[2]]);
    repository.publish(1, b"content", &online[1]);
    let mut client = Client::new(&first);
    client.update(&repository).unwrap();
    assert_eq!(client.trust.root().version, 3);
    assert!(client.trust.root().role(RoleName::Root).unwrap().key_ids.contains(&id(&new[1])));
}

#[test]
fn both_thresholds_must_be_reached() {
    let (old, new) = (keys(3), keys(3));
    let online = keys(1).remove(0);
    let first = signed(&root(1, &old, 2, &online), &[&old[0], &old[1]]);
    let trust = Trust::begin(&first).unwrap();
    let next = root(2, &new, 2, &online);
    let refused = |signers: &[&_]| match trust.advance(&signed(&next, signers)).unwrap_err() {
        Refused::Signatures { valid, threshold: 2, root, .. } => (valid, root),
        other => panic!("{other}"),
    };
    assert_eq!(refused(&[&new[0], &new[1]]), (0, 1));
    assert_eq!(refused(&[&old[0], &new[0], &new[1]]), (1, 1));
    assert_eq!(refused(&[&old[0], &old[1], &new[1]]), (1, 2));
    trust.advance(&signed(&next, &[&old[0], &old[2], &new[0], &new[1]])).unwrap();
    // A root that did not sign itself is none to begin with.
    assert!(matches!(Trust::begin(&signed(&next, &[&new[0]])), Err(Refused::Signatures { .. })));
}

#[test]
fn one_key_under_two_names_counts_once() {
    let (offline, online) = (keys(1), keys(1).remove(0));
    let mut twice = root(1, &offline, 2, &online);
    let key = twice.keys[&id(&offline[0])].clone();
    twice.keys.insert("another".to_owned(), key);
    twice.roles.get_mut(&RoleName::Root).unwrap().key_ids.insert("another".to_owned());
    let bytes = String::from_utf8(signed(&twice, &[&offline[0]])).unwrap();
    let mut document: serde_json::Value = serde_json::from_str(&bytes).unwrap();
    let mut again = document["signatures"][0].clone();
    again["keyid"] = "another".into();
    document["signatures"].as_array_mut().unwrap().push(again);
    let document = Document::<Root>::parse(document.to_string().as_bytes()).unwrap();
    assert_eq!(document.unverified().count_signatures(&document), 1);
    assert!(matches!(Trust::begin(&document.to_json()), Err(Refused::Signatures { valid: 1, .. })));
}

#[test]
fn roots_come_one_after_the_other() {
    let (offline, online) = (keys(1), keys(1).remove(0));
    let all = [&offline[0]];
    let trust = Trust::begin(&signed(&root(1, &offline, 1, &online), &all)).unwrap();
    for version in [1, 3] {
        let refused = trust.advance(&signed(&root(version, &offline, 1, &online), &all));
        assert_eq!(refused.unwrap_err(), Refused::RootVersion { expected: 2, found: version });
    }
    let mut loose = root(2, &offline, 1, &online);
    loose.consistent_snapshot = false;
    assert_eq!(trust.advance(&signed(&loose, &all)).unwrap_err(), Refused::NotConsistent);
}

/// An old root leads to a new one, however long ago it expired; the last one must be current.
#[test]
fn only_the_last_root_must_be_current() {
    let (offline, online) = (keys(1), keys(1).remove(0));
    let mut repository = Repository::default();
    let mut first = root(1, &offline, 1, &online);
    first.expires = crate::repository::time(NOW - 1);
    let bytes = repository.put(&first, &[&offline[0]]);
    repository.publish(1, b"content", &online);
    let refused = Client::new(&bytes).update(&repository).unwrap_err();
    assert!(refused.to_string().starts_with("root: version 1 expired at "), "{refused}");
    repository.put(&root(2, &offline, 1, &online), &[&offline[0]]);
    Client::new(&bytes).update(&repository).unwrap();
}

/// Whoever stole the online key and counted up its versions is forgotten with the key.
#[test]
fn a_new_online_key_begins_anew() {
    let (offline, online) = (keys(2), keys(2));
    let signers = [&offline[0], &offline[1]];
    let mut repository = Repository::default();
    let bytes = repository.put(&root(1, &offline, 2, &online[0]), &signers);
    repository.publish(9_000_000, b"bad", &online[0]);
    let mut client = Client::new(&bytes);
    client.update(&repository).unwrap();
    repository.publish(2, b"good", &online[0]);
    assert!(client.update(&repository).is_err());
    repository.put(&root(2, &offline, 2, &online[1]), &signers);
    repository.publish(2, b"good", &online[1]);
    let update = client.update(&repository).unwrap();
    update.targets.check_target("trusted_root.json", b"good").unwrap();
}

/// Roots that were followed stay followed, whatever comes after them.
#[test]
fn what_is_refused_later_takes_no_root_back() {
    let (mut repository, _, mut client) = honest();
    repository.0.insert("2.root.json".to_owned(), b"{}".to_vec());
    client.update(&repository).unwrap_err();
    assert_eq!(client.trust.root().version, 1);
    let (offline, online) = (keys(1), keys(1).remove(0));
    let all = [&offline[0]];
    let first = signed(&root(1, &offline, 1, &online), &all);
    let mut repository = Repository::default();
    repository.put(&root(2, &offline, 1, &online), &all);
    repository.0.insert("3.root.json".to_owned(), b"{}".to_vec());
    let mut client = Client::new(&first);
    client.update(&repository).unwrap_err();
    assert_eq!(client.trust.root().version, 2);
}
