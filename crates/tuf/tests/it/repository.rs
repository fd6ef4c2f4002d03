//! A repository in memory, and a client of it.

use std::collections::BTreeMap;

use sealwright_attest::{Curve, KeyFile, Signer as _, Timestamp as Time};
use sealwright_tuf::{
    Document, Key, MetaFile, Metadata, RoleKeys, RoleName, Root, Snapshot, TargetFile, Targets,
    Timestamp, Trust, Update, UpdateError, follow_roots, update,
};

pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const DAY: u64 = 24 * 60 * 60;

pub(crate) fn time(seconds: u64) -> Time {
    Time::from_unix(seconds).unwrap()
}

pub(crate) fn keys(count: usize) -> Vec<KeyFile> {
    (0..count).map(|_| KeyFile::generate(Curve::P256).unwrap()).collect()
}

pub(crate) fn id(key: &KeyFile) -> String {
    Key::of(key.public_key()).unwrap().id()
}

/// A root with these keys.
pub(crate) fn root(version: u64, offline: &[KeyFile], threshold: u32, online: &KeyFile) -> Root {
    let role = |keys: &[&KeyFile], threshold| RoleKeys {
        key_ids: keys.iter().map(|key| id(key)).collect(),
        threshold,
    };
    let all = offline.iter().chain([online]);
    let online_roles = [RoleName::Targets, RoleName::Snapshot, RoleName::Timestamp];
    let mut roles: BTreeMap<_, _> =
        online_roles.into_iter().map(|name| (name, role(&[online], 1))).collect();
    roles.insert(RoleName::Root, role(&offline.iter().collect::<Vec<_>>(), threshold));
    Root {
        version,
        expires: time(NOW + 365 * DAY),
        consistent_snapshot: true,
        keys: all.map(|key| (id(key), Key::of(key.public_key()).unwrap())).collect(),
        roles,
    }
}

pub(crate) fn signed<T: Metadata>(content: &T, signers: &[&KeyFile]) -> Vec<u8> {
    let mut document = Document::new(content).unwrap();
    for signer in signers {
        document.sign(*signer).unwrap();
    }
    document.to_json()
}

/// Files by name.
#[derive(Clone, Default)]
pub(crate) struct Repository(pub(crate) BTreeMap<String, Vec<u8>>);

impl Repository {
    pub(crate) fn put<T: Metadata>(&mut self, content: &T, signers: &[&KeyFile]) -> Vec<u8> {
        let bytes = signed(content, signers);
        self.0.insert(T::ROLE.file_name(content.version()), bytes.clone());
        bytes
    }

    /// A whole state of all roles but the root, each of this version.
    pub(crate) fn publish(&mut self, version: u64, content: &[u8], online: &KeyFile) {
        let target = TargetFile::of(content);
        self.0.insert(target.path("trusted_root.json"), content.to_vec());
        let targets = Targets {
            version,
            expires: time(NOW + 90 * DAY),
            targets: [("trusted_root.json".to_owned(), target)].into(),
        };
        let bytes = self.put(&targets, &[online]);
        self.snapshot(version, MetaFile::of(version, &bytes), online);
    }

    pub(crate) fn snapshot(&mut self, version: u64, targets: MetaFile, online: &KeyFile) {
        let expires = time(NOW + 30 * DAY);
        let snapshot = Snapshot { version, expires, targets, others: BTreeMap::new() };
        let bytes = self.put(&snapshot, &[online]);
        self.timestamp(version, MetaFile::of(version, &bytes), online);
    }

    pub(crate) fn timestamp(&mut self, version: u64, snapshot: MetaFile, online: &KeyFile) {
        self.put(&Timestamp { version, expires: time(NOW + 7 * DAY), snapshot }, &[online]);
    }
}

/// A client, and what it keeps.
pub(crate) struct Client {
    pub(crate) trust: Trust,
    kept: Option<(Vec<u8>, Vec<u8>)>,
}

impl Client {
    pub(crate) fn new(root: &[u8]) -> Self {
        Self { trust: Trust::begin(root).unwrap(), kept: None }
    }

    pub(crate) fn update(&mut self, from: &Repository) -> Result<Update, UpdateError<String>> {
        self.update_at(from, NOW)
    }

    pub(crate) fn update_at(
        &mut self,
        from: &Repository,
        now: u64,
    ) -> Result<Update, UpdateError<String>> {
        self.update_by(now, &mut |name, _| Ok(from.0.get(name).cloned()))
    }

    pub(crate) fn update_by(
        &mut self,
        now: u64,
        fetch: &mut sealwright_tuf::Fetch<'_, String>,
    ) -> Result<Update, UpdateError<String>> {
        let mut roots = Vec::new();
        let outcome = follow_roots(&self.trust, &mut roots, fetch);
        self.trust = roots.pop().unwrap_or_else(|| self.trust.clone());
        outcome?;
        let kept = self.kept.as_ref().map(|(timestamp, snapshot)| (&timestamp[..], &snapshot[..]));
        let update = update(&self.trust, kept.unzip(), time(now), fetch)?;
        self.kept = Some((update.timestamp.bytes().to_vec(), update.snapshot.bytes().to_vec()));
        Ok(update)
    }
}

/// An honest repository of version 1, its online key, and a client that has seen it.
pub(crate) fn honest() -> (Repository, KeyFile, Client) {
    let (offline, online) = (keys(3), keys(1).remove(0));
    let mut repository = Repository::default();
    let first = root(1, &offline, 2, &online);
    let bytes = repository.put(&first, &[&offline[0], &offline[2]]);
    repository.publish(1, b"one", &online);
    let mut client = Client::new(&bytes);
    let seen = client.update(&repository).unwrap();
    seen.targets.check_target("trusted_root.json", b"one").unwrap();
    (repository, online, client)
}
