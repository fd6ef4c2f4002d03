//! Bundles from the field, with `expectations.json` saying what must come out.

use std::collections::BTreeMap;

use sealwright_sigstore::{Artifact, DigestAlgorithm, IdentityPolicy, Matcher};
use serde::Deserialize;

use crate::data::{Case, directories, exactly, path, read, text};

#[derive(Deserialize)]
struct Expectation {
    id: String,
    bundle: String,
    trusted_root: String,
    identity: Option<String>,
    issuer: Option<String>,
    key: Option<String>,
    expect: String,
    artifact: Option<String>,
    artifact_digests: BTreeMap<String, String>,
}

#[test]
fn every_bundle_comes_out_as_expected() {
    let root = path("realworld");
    let list: Vec<Expectation> =
        serde_json::from_slice(&read(&root.join("expectations.json"))).unwrap();
    let ids: Vec<_> = list.iter().map(|expectation| expectation.id.as_str()).collect();
    for name in directories(&root) {
        assert!(ids.contains(&name.as_str()), "{name} is not in expectations.json");
    }
    let wrong: Vec<_> = list.iter().flat_map(Expectation::check).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

impl Expectation {
    fn check(&self) -> Vec<String> {
        let root = path("realworld");
        let identity = match (&self.identity, &self.issuer) {
            (Some(subject), Some(issuer)) => exactly(subject, issuer),
            (Some(subject), None) => IdentityPolicy::without_issuer(Matcher::exact(subject)),
            (None, _) => exactly("nobody", "nowhere"),
        };
        let case = Case {
            bundle: read(&root.join(&self.bundle)),
            trusted_root: read(&root.join(&self.trusted_root)),
            identity,
            key: self.key.as_ref().map(|file| text(&root.join(file))),
        };
        let bytes = self.artifact.as_ref().map(|file| read(&root.join(file)));
        let mut artifacts: Vec<_> = bytes.iter().map(|bytes| Artifact::from_bytes(bytes)).collect();
        artifacts.push(self.by_digests());
        let results = artifacts.iter().map(|artifact| case.verify(artifact));
        results
            .filter_map(|result| match (result, self.expect.as_str()) {
                (Ok(_), "pass") | (Err(_), "fail") => None,
                // The list names no SHA-384.
                (Err(error), "pass") if error.starts_with("artifact-insufficient") => None,
                (Ok(_), _) => Some(format!("{}: accepted", self.id)),
                (Err(error), _) => Some(format!("{}: {error}", self.id)),
            })
            .collect()
    }

    fn by_digests(&self) -> Artifact<'static> {
        let digests = self.artifact_digests.iter().map(|(name, value)| {
            let algorithm = DigestAlgorithm::ALL.into_iter().find(|a| a.to_string() == *name);
            (algorithm.unwrap(), hex::decode(value).unwrap())
        });
        let mut digests = digests.collect::<Vec<_>>().into_iter();
        let (algorithm, digest) = digests.next().unwrap();
        digests.fold(Artifact::from_digest(algorithm, &digest).unwrap(), |artifact, (a, digest)| {
            artifact.with_digest(a, &digest).unwrap()
        })
    }
}
