//! The repository over time, and after a crash at every step of every change.

use std::fs;
use std::io;
use std::path::Path;

use sealwright_attest::{KeyFile, Signer as _, Timestamp as Time};
use sealwright_tuf::{
    Document, Key, Refused, RoleName, Trust, Update, UpdateError, follow_roots, update,
};

use super::ceremony::plan_next;
use super::repository::{
    Repository, Wanted, Write, apply, online_key, renew, repository_dir, wanted,
};
use super::*;
use crate::service::{self, Config};
use crate::state::time_now;

const DAY_S: u64 = 24 * 60 * 60;

/// A client, and what it keeps.
#[derive(Clone)]
struct Client {
    trust: Trust,
    kept: Option<(Vec<u8>, Vec<u8>)>,
}

impl Client {
    fn new(data: &Path) -> Self {
        let first = fs::read(repository_dir(data).join("1.root.json")).unwrap();
        Self { trust: Trust::begin(&first).unwrap(), kept: None }
    }

    fn update(&mut self, data: &Path, now: Time) -> Result<Update, UpdateError<io::Error>> {
        let dir = repository_dir(data);
        let mut fetch = |name: &str, _| match fs::read(dir.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            content => content.map(Some),
        };
        let mut roots = Vec::new();
        follow_roots(&self.trust, &mut roots, &mut fetch)?;
        self.trust = roots.pop().unwrap_or(self.trust.clone());
        let kept = self.kept.as_ref().map(|(timestamp, snapshot)| (&timestamp[..], &snapshot[..]));
        let update = update(&self.trust, kept.unzip(), now, &mut fetch)?;
        self.kept = Some((update.timestamp.bytes().to_vec(), update.snapshot.bytes().to_vec()));
        for (name, file) in &update.targets.content().targets {
            let content = fs::read(dir.join(file.path(name))).unwrap();
            update.targets.check_target(name, &content).unwrap();
        }
        Ok(update)
    }
}

fn instance() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let made = service::init(&Config::new(dir.path())).unwrap().tuf.unwrap();
    assert_eq!((made.root_keys.len(), made.waits), (3, false));
    dir
}

fn later(days: u64) -> Time {
    time_now().unwrap().plus_seconds(days * DAY_S)
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    let copied = std::process::Command::new("cp")
        .args(["-a".as_ref(), from.join(".").as_os_str(), to.path().as_os_str()])
        .status();
    assert!(copied.unwrap().success());
    to
}

fn offline_key(data: &Path, number: u32) -> KeyFile {
    let pem = fs::read_to_string(data.join(format!("offline/tuf-root-{number}.pem"))).unwrap();
    KeyFile::from_pem(&pem, None).unwrap()
}

/// The next root, signed by the first two keys.
fn next_root(data: &Path, change: &RootChange) -> Vec<u8> {
    let mut document: sealwright_tuf::Document<sealwright_tuf::Root> =
        sealwright_tuf::Document::parse(&rotate(data, change).unwrap()).unwrap();
    for number in [1, 2] {
        document.sign(&offline_key(data, number)).unwrap();
    }
    document.to_json()
}

/// Carries out only the first steps of a change, for every number of them. A client that has seen the
/// state before finds that one or the next, unless it comes between a root and its timestamp; the next
/// start mends all of it.
fn crash_at_every_step(data: &Path, writes: &[Write], wanted: &Wanted, now: Time) {
    let mut seen = Client::new(data);
    let before = seen.update(data, now).unwrap();
    for steps in 0..=writes.len() {
        let crashed = copy(data);
        let done = &writes[..steps];
        apply(&repository_dir(crashed.path()), done).unwrap();
        let mut client = seen.clone();
        let outcome = client.update(crashed.path(), now);
        let between =
            matches!(done.last(), Some(Write::New { path, .. }) if path.ends_with("root.json"));
        if !between {
            let version = outcome.unwrap().timestamp.content().version;
            let is_done = u64::from(steps == writes.len());
            assert_eq!(version, before.timestamp.content().version + is_done, "step {steps}");
        }
        renew(crashed.path(), wanted, now).unwrap();
        let update = client.update(crashed.path(), now).unwrap();
        for (name, content) in wanted {
            update.targets.check_target(name, content).unwrap();
        }
    }
}

#[test]
fn a_crash_at_any_step_of_a_renewal_is_mended() {
    let data = instance();
    let data = data.path();
    let mut wanted = wanted(data, None).unwrap();
    let plan = |wanted: &Wanted, now| {
        let repository = Repository::open(data).unwrap();
        let signer = online_key(data, repository.trust.root()).unwrap();
        repository.plan(&repository.trust, &signer, wanted, now).unwrap()
    };
    assert!(plan(&wanted, later(0)).is_empty());
    // Half of a life: the timestamp alone, the snapshot, the targets.
    for (days, files) in [(3, 0), (4, 1)] {
        assert_eq!(plan(&wanted, later(days)).len(), files, "after {days} days");
    }
    let now = later(4);
    crash_at_every_step(data, &plan(&wanted, now), &wanted, now);
    wanted.insert("trusted_root.json", b"another".to_vec());
    let writes = plan(&wanted, now);
    assert_eq!(writes.len(), 4);
    crash_at_every_step(data, &writes, &wanted, now);
}

#[test]
fn a_crash_at_any_step_of_a_rotation_is_mended() {
    let data = instance();
    let data = data.path();
    let (wanted, now) = (wanted(data, None).unwrap(), later(0));
    for (change, files) in [
        (RootChange::default(), 1),
        (RootChange { new_online_key: true, ..RootChange::default() }, 4),
    ] {
        let repository = Repository::open(data).unwrap();
        let next = repository.trust.advance(&next_root(data, &change)).unwrap();
        let signer = online_key(data, next.root()).unwrap();
        let writes = plan_next(&repository, &next, &signer, now).unwrap();
        assert_eq!(writes.len(), files);
        crash_at_every_step(data, &writes, &wanted, now);
    }
}

/// A service that is looked after but never asks anybody: clients work for as long as the root does.
#[test]
fn everything_but_the_root_is_renewed_for_ever() {
    let data = instance();
    let wanted = wanted(data.path(), None).unwrap();
    let mut client = Client::new(data.path());
    let mut last = 0;
    for day in 0..364 {
        renew(data.path(), &wanted, later(day)).unwrap();
        // A service that is down for three days harms nobody.
        let down = later(day).plus_seconds(3 * DAY_S - 1).min(later(364));
        let update = client.update(data.path(), down).unwrap();
        let version = update.timestamp.content().version;
        assert!(version >= last);
        last = version;
    }
    assert!((80..=130).contains(&last), "{last} timestamps");
    let repository = repository_dir(data.path());
    assert!(fs::read_dir(repository).unwrap().count() < 60);
    let error = client.update(data.path(), later(366)).unwrap_err();
    assert!(
        matches!(error, UpdateError::Refused(Refused::Expired { role: RoleName::Root, .. })),
        "{error}"
    );
    let status = |days| status(data.path(), later(days)).unwrap();
    assert!(status(300).warnings.iter().all(|warning| !warning.contains("version 1 of root")));
    assert!(status(310).warnings[0].contains("2 of its keys have to sign the next one before"));
    assert!(status(366).problems[0].starts_with("version 1 of root expired at "));
}

#[test]
fn what_is_lost_is_not_made_up() {
    let data = instance();
    let wanted = wanted(data.path(), None).unwrap();
    let repository = repository_dir(data.path());
    let timestamp = fs::read(repository.join("timestamp.json")).unwrap();
    fs::write(repository.join("timestamp.json"), &timestamp[..40]).unwrap();
    let error = renew(data.path(), &wanted, later(0)).unwrap_err();
    assert!(matches!(error, CeremonyError::Damaged { .. }), "{error}");
    fs::remove_file(repository.join("timestamp.json")).unwrap();
    renew(data.path(), &wanted, later(0)).unwrap_err();
    fs::write(repository.join("timestamp.json"), timestamp).unwrap();
    // A snapshot can be signed anew, under a number that was never used.
    fs::write(repository.join("1.snapshot.json"), b"").unwrap();
    renew(data.path(), &wanted, later(0)).unwrap();
    assert_eq!(fs::read(repository.join("1.snapshot.json")).unwrap(), b"");
    assert!(repository.join("2.snapshot.json").exists());
    Client::new(data.path()).update(data.path(), later(0)).unwrap();
}

/// A root as `rotate` writes it, with a foreign key in the place and under the name of another; signed by
/// the first two of the old ones.
fn doctored(data: &Path, name: &str) -> Vec<u8> {
    let bytes = rotate(data, &RootChange::default()).unwrap();
    let mut root: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let foreign = KeyFile::generate(sealwright_attest::Curve::P256).unwrap();
    let key = &mut root["signed"]["keys"][name]["keyval"]["public"];
    assert!(key.is_string());
    *key = foreign.public_key().pem().into();
    let mut document =
        Document::<sealwright_tuf::Root>::parse(root.to_string().as_bytes()).unwrap();
    for number in [1, 2] {
        document.sign(&offline_key(data, number)).unwrap();
    }
    document.to_json()
}

#[test]
fn a_foreign_key_under_an_old_name_is_not_published() {
    let data = instance();
    let data = data.path();
    let before = Client::new(data).update(data, later(0)).unwrap();
    let third = Key::of(offline_key(data, 3).public_key()).unwrap().id();
    let online = Repository::open(data).unwrap();
    let online = super::repository::online_key_id(online.trust.root()).unwrap().to_owned();
    for name in [third, online.clone()] {
        let root = doctored(data, &name);
        let error = publish(data, &root).unwrap_err();
        assert!(
            matches!(&error, CeremonyError::KeyMisnamed { name: found, .. } if *found == name),
            "{error}"
        );
        assert!(!repository_dir(data).join("2.root.json").exists());
        // Nor does anything else take it for the key of that name.
        let document = Document::<sealwright_tuf::Root>::parse(&root).unwrap();
        assert_eq!(online_key(data, document.unverified()).is_ok(), name != online);
    }
    let after = Client::new(data).update(data, later(0)).unwrap();
    assert_eq!(after.timestamp.bytes(), before.timestamp.bytes());
    // A file that has the key's name is not the key.
    let next = next_root(data, &RootChange::default());
    let foreign = KeyFile::generate(sealwright_attest::Curve::P256).unwrap();
    let path = data.join(format!("tuf/online/{online}.pem"));
    fs::write(path, foreign.unencrypted_pem().unwrap().as_bytes()).unwrap();
    let error = publish(data, &next).unwrap_err();
    assert!(matches!(error, CeremonyError::OnlineKey { .. }), "{error}");
}

#[test]
fn roots_that_may_not_follow_are_not_published() {
    let data = instance();
    let data = data.path();
    let unsigned = rotate(data, &RootChange::default()).unwrap();
    let refused = |root: &[u8]| publish(data, root).unwrap_err();
    assert!(matches!(refused(&unsigned), CeremonyError::Refused(Refused::Signatures { .. })));
    let good = next_root(data, &RootChange::default());
    let changed =
        String::from_utf8(good.clone()).unwrap().replace("\"version\": 2", "\"version\": 3");
    assert!(matches!(
        refused(changed.as_bytes()),
        CeremonyError::Refused(Refused::Signatures { .. })
    ));
    // The key of another instance.
    let other = instance();
    let foreign = next_root(other.path(), &RootChange::default());
    assert!(matches!(refused(&foreign), CeremonyError::Refused(Refused::Signatures { .. })));
    let online = data.join("tuf/online");
    let aside = data.join("aside");
    fs::rename(&online, &aside).unwrap();
    assert!(matches!(refused(&good), CeremonyError::OnlineKey { .. }));
    fs::rename(&aside, &online).unwrap();
    assert_eq!(publish(data, &good).unwrap().version, 2);
    assert!(matches!(refused(&good), CeremonyError::Refused(Refused::RootVersion { .. })));

    let change = |change: RootChange| rotate(data, &change).unwrap_err();
    let threshold = RootChange { threshold: Some(4), ..RootChange::default() };
    assert!(matches!(change(threshold), CeremonyError::Threshold { keys: 3, threshold: 4 }));
    let nobody = RootChange { remove: vec!["xyz".to_owned()], ..RootChange::default() };
    assert!(matches!(change(nobody), CeremonyError::KeyName { found: 0, .. }));
    let anybody = RootChange { remove: vec![String::new()], ..RootChange::default() };
    assert!(matches!(change(anybody), CeremonyError::KeyName { found: 3, .. }));
}
