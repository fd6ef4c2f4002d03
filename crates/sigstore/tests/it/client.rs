//! The client for sigstore-conformance, as that suite calls it.

use std::path::{Path, PathBuf};
use std::process::Command;

use sealwright_sigstore::DigestAlgorithm;

use crate::conformance::{IDENTITY, ISSUER};
use crate::data::{path, read};

fn client(arguments: &[&str]) -> Option<i32> {
    let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/clients");
    let client = client.join("sigstore-conformance");
    let output = Command::new(client).args(arguments).current_dir(cases()).output().unwrap();
    output.status.code()
}

fn cases() -> PathBuf {
    path("bundle-verify")
}

#[test]
fn it_speaks_the_protocol() {
    let identity = ["--certificate-identity", IDENTITY, "--certificate-oidc-issuer", ISSUER];
    let digest = DigestAlgorithm::Sha256.hash(&read(&cases().join("a.txt")));
    let digest = format!("sha256:{}", hex::encode(digest));
    let verify = |before: &[&str], artifact: &str| {
        client(&[&["verify-bundle"], before, &[artifact]].concat())
    };

    let good = ["--bundle", "happy-path-v0.3-new-mediaType/bundle.sigstore.json"];
    let good = [good.as_slice(), &identity].concat();
    assert_eq!(verify(&good, "a.txt"), Some(0));
    assert_eq!(verify(&good, &digest), Some(0));
    assert_eq!(verify(&[&["--staging"], good.as_slice()].concat(), "a.txt"), Some(1));

    let rooted = [
        "--bundle",
        "rekor2-checkpoint-cosigned/bundle.sigstore.json",
        identity[0],
        identity[1],
        identity[2],
        identity[3],
        "--trusted-root",
        "rekor2-checkpoint-cosigned/trusted_root.json",
    ];
    assert_eq!(verify(&rooted, "a.txt"), Some(0));

    let keyed = [
        "--bundle",
        "managed-key-happy-path/bundle.sigstore.json",
        "--key",
        "managed-key-happy-path/key.pub",
    ];
    assert_eq!(verify(&keyed, "a.txt"), Some(0));
    assert_eq!(verify(&keyed, "README.md"), Some(1));

    assert_eq!(client(&["sign-bundle", "--bundle", "x", "a.txt"]), Some(2));
    assert_eq!(client(&[]), Some(2));
}
