//! Repositories that lie: each of the attacks of the specification (§1.5.2) is refused by its name.

use sealwright_tuf::{MetaFile, Refused, RoleName, UpdateError};

use crate::repository::{DAY, NOW, Repository, honest, keys};

#[track_caller]
fn refused(outcome: Result<sealwright_tuf::Update, UpdateError<String>>) -> Refused {
    match outcome.unwrap_err() {
        UpdateError::Refused(refused) => refused,
        other => panic!("{other}"),
    }
}

#[test]
fn arbitrary_content() {
    let (mut repository, online, mut client) = honest();
    let thief = keys(1).remove(0);
    repository.publish(2, b"bad", &thief);
    assert!(matches!(
        refused(client.update(&repository)),
        Refused::Signatures { role: RoleName::Timestamp, valid: 0, threshold: 1, root: 1 }
    ));
    repository.publish(2, b"two", &online);
    let update = client.update(&repository).unwrap();
    assert!(matches!(
        update.targets.check_target("trusted_root.json", b"bad"),
        Err(Refused::TargetContent { .. })
    ));
    assert!(matches!(update.targets.check_target("x", b""), Err(Refused::NoTarget { .. })));
}

#[test]
fn rollback() {
    let (mut repository, online, mut client) = honest();
    let old = repository.clone();
    repository.publish(2, b"two", &online);
    client.update(&repository).unwrap();
    let is_rolled_back = |refused: Refused, wanted: &str| match refused {
        Refused::RolledBack { what, seen: 2, found: 1 } => assert_eq!(what, wanted),
        other => panic!("{other}"),
    };
    is_rolled_back(refused(client.update(&old)), "timestamp");
    // A new timestamp over an old snapshot; a new snapshot over old targets.
    let (old_snapshot, old_targets) = (&old.0["1.snapshot.json"], &old.0["1.targets.json"]);
    let mut double = repository.clone();
    double.timestamp(3, MetaFile::of(1, old_snapshot), &online);
    is_rolled_back(refused(client.update(&double)), "snapshot");
    double.snapshot(3, MetaFile::of(1, old_targets), &online);
    is_rolled_back(refused(client.update(&double)), "targets.json");
    client.update(&repository).unwrap();
}

#[test]
fn freeze() {
    let (repository, _, mut client) = honest();
    let mut expired = |now: u64| match refused(client.update_at(&repository, now)) {
        Refused::Expired { role, .. } => role,
        other => panic!("{other}"),
    };
    // The expiry itself is too late.
    assert_eq!(expired(NOW + 7 * DAY), RoleName::Timestamp);
    assert_eq!(expired(NOW + 365 * DAY), RoleName::Root);
    client.update_at(&repository, NOW + 7 * DAY - 1).unwrap();
}

#[test]
fn endless_data() {
    let (repository, _, mut client) = honest();
    for name in ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"] {
        // It gives more than it is asked for, as much as anybody reads.
        let outcome = client.update_by(NOW, &mut |asked, limit| {
            if asked == name {
                return Ok(Some(vec![b' '; limit + 1]));
            }
            Ok(repository.0.get(asked).cloned())
        });
        assert!(matches!(outcome, Err(UpdateError::TooLarge { .. })), "{name}");
    }
}

#[test]
fn mix_and_match() {
    let (mut repository, online, mut client) = honest();
    let first = repository.clone();
    repository.publish(2, b"two", &online);
    // A longer one is not even read to its end; signatures are not all of one length.
    let mut mixed = |name: &str, content: &[u8]| {
        let mut double = repository.clone();
        double.0.insert(name.to_owned(), content.to_vec());
        match client.update(&double).unwrap_err() {
            UpdateError::Refused(Refused::Mixed { .. }) | UpdateError::TooLarge { .. } => {}
            other => panic!("{other}"),
        }
    };
    mixed("2.snapshot.json", &first.0["1.snapshot.json"]);
    mixed("2.targets.json", &first.0["1.targets.json"]);
    // Validly signed, of the right version, and yet another file.
    let mut other = Repository::default();
    other.publish(2, b"other", &online);
    mixed("2.targets.json", &other.0["2.targets.json"]);
}

#[test]
fn what_is_missing_or_of_another_role() {
    let (repository, _, mut client) = honest();
    for name in ["timestamp.json", "1.snapshot.json", "1.targets.json"] {
        let mut double = repository.clone();
        double.0.remove(name);
        let outcome = client.update(&double);
        assert!(matches!(outcome, Err(UpdateError::Missing { .. })), "{name}");
    }
    let mut double = repository.clone();
    let swapped = double.0["1.snapshot.json"].clone();
    double.0.insert("timestamp.json".to_owned(), swapped);
    assert!(matches!(refused(client.update(&double)), Refused::Format { .. }));
}
