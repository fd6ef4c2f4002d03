//! The cases of sigstore-conformance: every directory is one, and one whose name ends in `_fail`
//! must not verify.

use std::path::Path;

use sealwright_sigstore::Artifact;

use crate::data::{Case, digest_only, directories, exactly, path, public_good, read, text};

pub(crate) const IDENTITY: &str = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main";
pub(crate) const ISSUER: &str = "https://token.actions.githubusercontent.com";

#[test]
fn every_directory_comes_out_as_it_is_named() {
    let root = path("bundle-verify");
    let names = directories(&root);
    assert!(names.len() >= 45, "{}", names.len());
    let wrong: Vec<_> = names.iter().flat_map(|name| check(&root, name)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What is wrong with a case, with its artifact given as bytes and as a digest.
fn check(root: &Path, name: &str) -> Vec<String> {
    let directory = root.join(name);
    let optional = |file: &str| {
        let file = directory.join(file);
        file.exists().then(|| text(&file))
    };
    let own = directory.join("artifact");
    let artifact = read(&if own.exists() { own } else { root.join("a.txt") });
    let subject = optional("identity").unwrap_or_else(|| IDENTITY.to_owned());
    let issuer = optional("issuer").unwrap_or_else(|| ISSUER.to_owned());
    let case = Case {
        bundle: read(&directory.join("bundle.sigstore.json")),
        trusted_root: optional("trusted_root.json").map_or_else(public_good, String::into_bytes),
        identity: exactly(subject.trim(), issuer.trim()),
        key: optional("key.pub"),
    };
    let must_fail = name.ends_with("_fail");
    [Artifact::from_bytes(&artifact), digest_only(&artifact)]
        .iter()
        .filter_map(|artifact| match (case.verify(artifact), must_fail) {
            (Ok(_), true) => Some(format!("{name}: accepted")),
            (Err(error), false) => Some(format!("{name}: {error}")),
            _ => None,
        })
        .collect()
}
