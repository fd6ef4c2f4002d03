//! Peers that are built with Go: `cosign` signs and verifies with a private instance, Tessera's
//! `fsck` reads its whole log, and `opa` decides by the same policies.
//!
//! Part of the tests with the feature `go-peers` only; `./test peers` builds the peers and names them
//! in the environment.

mod conformance;
mod opa;

use std::process::Output;

use sealwright_attest::TrustedRoot;
use serde_json::json;

use crate::home::Home;
use crate::instance::Client;
use crate::stock::{IDENTITY, Instance, client, python};

const STRANGER: &str = "other@loans.example";

fn cosign(home: &Home, words: &[&str]) -> Output {
    client(home, "SEALWRIGHT_TEST_COSIGN", words)
}

/// `cosign` with its trust in a file: what it makes and what it says of what others made.
fn verify(instance: &Instance, verb: &str, bundle: &str, identity: &str, more: &[&str]) -> Output {
    let words = [
        verb,
        "--bundle",
        bundle,
        "--trusted-root",
        "trust/trusted_root.json",
        "--use-signed-timestamps",
        "--certificate-identity",
        identity,
        "--certificate-oidc-issuer",
        &instance.issuer.url,
    ];
    cosign(&instance.home, &[&words[..], more].concat())
}

/// What `cosign` needs to know to sign keyless with the token in the file `token`, and where to leave
/// the bundle.
fn keyless<'a>(verb: &'a str, bundle: &'a str) -> Vec<&'a str> {
    vec![
        verb,
        "--yes",
        "--identity-token",
        "token",
        "--signing-config",
        "trust/signing_config.json",
        "--trusted-root",
        "trust/trusted_root.json",
        "--bundle",
        bundle,
    ]
}

#[test]
fn cosign_signs_and_verifies_blobs() {
    let instance = Instance::start();
    instance.home.write("artifact", "content");
    instance.home.write("token", instance.issuer.token(IDENTITY));
    // Go leaves out zeros, and so the index of a log's first entry, which Python does not take: the
    // first one is somebody else's.
    for bundle in ["first.json", "c.json"] {
        let mut words = keyless("sign-blob", bundle);
        words.push("artifact");
        let signed = cosign(&instance.home, &words);
        assert!(signed.status.success(), "{signed:?}");
    }

    let by_cosign = |who: &str| verify(&instance, "verify-blob", "c.json", who, &["artifact"]);
    let verified = by_cosign(IDENTITY);
    assert!(verified.status.success(), "{verified:?}");
    assert!(!by_cosign(STRANGER).status.success());
    instance.verify("artifact", "c.json", IDENTITY).succeeded();
    assert_eq!(instance.verify("artifact", "c.json", STRANGER).code, Some(1));
    let who = ["--cert-identity", IDENTITY, "--cert-oidc-issuer", &instance.issuer.url];
    let what = ["verify", "identity", "--bundle", "c.json"];
    let elsewhere = python(&instance, &[&what[..], &who, &["artifact"]].concat());
    assert!(elsewhere.status.success(), "{elsewhere:?}");

    instance.home.write("artifact", "other content");
    assert!(!by_cosign(IDENTITY).status.success());
    assert_eq!(instance.verify("artifact", "c.json", IDENTITY).code, Some(1));
}

#[test]
fn cosign_attests_and_verifies_blobs() {
    let instance = Instance::start();
    instance.home.write("artifact", "content");
    instance.home.write("other", "other content");
    instance.home.write("predicate.json", json!({"accuracy": "0.93"}).to_string());
    let kind = "https://loans.example/predicate/v1";
    instance.home.write("token", instance.issuer.token(IDENTITY));
    let mut words = keyless("attest-blob", "a.json");
    words.extend(["--predicate", "predicate.json", "--type", kind, "artifact"]);
    let attested = cosign(&instance.home, &words);
    assert!(attested.status.success(), "{attested:?}");

    let by_cosign = |who: &str, artifact: &str| {
        verify(&instance, "verify-blob-attestation", "a.json", who, &["--type", kind, artifact])
    };
    let verified = by_cosign(IDENTITY, "artifact");
    assert!(verified.status.success(), "{verified:?}");
    assert!(!by_cosign(STRANGER, "artifact").status.success());
    assert!(!by_cosign(IDENTITY, "other").status.success());
    instance.verify("artifact", "a.json", IDENTITY).succeeded();
    assert_eq!(instance.verify("other", "a.json", IDENTITY).code, Some(1));
}

/// `cosign` with nothing but the first root of the instance's TUF repository, before and after another one
/// followed.
#[test]
fn cosign_bootstraps_from_the_first_root() {
    let instance = Instance::start();
    let home = &instance.home;
    home.write("artifact", "content");
    home.write("token", instance.issuer.token(IDENTITY));
    let first = home.path("data/tuf/repository/1.root.json");
    std::fs::copy(first, home.path("root.json")).unwrap();
    let mirror = format!("{}/tuf", instance.service.url());
    let run = |words: &[&str]| {
        let mut command =
            std::process::Command::new(std::env::var("SEALWRIGHT_TEST_COSIGN").unwrap());
        command.args(words).current_dir(home.path("")).env("TUF_ROOT", home.path("cosign"));
        let output = command.env("HOME", home.path("")).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    #[track_caller]
    fn succeeds((success, said): (bool, String)) {
        assert!(success, "{said}");
    }
    let initialize = ["initialize", "--mirror", &mirror, "--root", "root.json"];
    let sign = |bundle: &str| {
        run(&["sign-blob", "--yes", "--identity-token", "token", "--bundle", bundle, "artifact"])
    };
    let verify = |bundle: &str| {
        let issuer = ["--certificate-oidc-issuer", &instance.issuer.url];
        let who = ["verify-blob", "--bundle", bundle, "--certificate-identity", IDENTITY];
        run(&[&who[..], &issuer, &["--use-signed-timestamps", "artifact"]].concat())
    };
    succeeds(run(&initialize));
    succeeds(sign("one.json"));
    succeeds(verify("one.json"));
    home.must("serve tuf rotate --data data --new-online-key --out next.json");
    for number in [2, 3] {
        home.must(&format!("serve tuf sign --key data/offline/tuf-root-{number}.pem next.json"));
    }
    home.must("serve tuf publish --data data next.json");
    home.must("serve renew --data data --root-key data/offline/root-key.pem");
    std::fs::remove_dir_all(home.path("cosign")).unwrap();
    succeeds(run(&initialize));
    succeeds(verify("one.json"));
    succeeds(sign("two.json"));
    succeeds(verify("two.json"));
}

/// What others made with the instance: sigstore-python, and our own signature with a key.
#[test]
fn cosign_verifies_what_others_signed() {
    let instance = Instance::start();
    let home = &instance.home;
    home.write("artifact", "content");
    let token = instance.issuer.token(IDENTITY);
    let signed =
        python(&instance, &["sign", "--identity-token", &token, "--bundle", "p.json", "artifact"]);
    assert!(signed.status.success(), "{signed:?}");
    let verified = verify(&instance, "verify-blob", "p.json", IDENTITY, &["artifact"]);
    assert!(verified.status.success(), "{verified:?}");

    home.model("model");
    home.write("passphrase", "a long passphrase\n");
    home.must("key generate --output owner --passphrase-file passphrase");
    home.must(&format!(
        "sign model --key owner.key --passphrase-file passphrase --service {}",
        instance.service.url()
    ));
    let digest = oms_root(home, "model.sig");
    let by_cosign = |digest: &str| {
        let words = [
            "verify-blob-attestation",
            "--bundle",
            "model.sig",
            "--trusted-root",
            "trust/trusted_root.json",
            "--key",
            "owner.pub",
            "--type",
            "https://model_signing/signature/v1.0",
            "--digest",
            digest,
            "--digestAlg",
            "sha256",
        ];
        cosign(home, &words)
    };
    let verified = by_cosign(&digest);
    assert!(verified.status.success(), "{verified:?}");
    assert!(!by_cosign(&"0".repeat(64)).status.success());
}

/// The service as a registry: `cosign` finds what is said about a model, as if it were an image, among
/// the referrers of its digest.
#[test]
fn cosign_finds_and_verifies_what_is_said_about_a_model() {
    let instance = Instance::start();
    let home = &instance.home;
    home.model("model");
    home.write("passphrase", "a long passphrase\n");
    home.write("note.json", r#"{"text": "fit"}"#);
    for name in ["owner", "stranger"] {
        home.must(&format!("key generate --output {name} --passphrase-file passphrase"));
    }
    let kind = "https://loans.example/note/v1";
    let made = home.json(&format!(
        "attest model --type {kind} --predicate note.json --key owner.key \
         --passphrase-file passphrase --service {} --output note.bundle",
        instance.service.url()
    ));
    let registry = instance.service.url().replace("http://", "");
    let by_cosign = |key: &str, kind: &str, digest: &str| {
        let image = format!("{registry}/any/name@sha256:{digest}");
        let words = ["verify-attestation", "--key", key, "--type", kind, "--allow-http-registry"];
        let trust = ["--trusted-root", "trust/trusted_root.json", &image];
        cosign(home, &[&words[..], &trust].concat())
    };
    let digest = made["model_digest"].as_str().unwrap();
    let verified = by_cosign("owner.pub", kind, digest);
    assert!(verified.status.success(), "{verified:?}");
    assert!(!by_cosign("stranger.pub", kind, digest).status.success());
    assert!(!by_cosign("owner.pub", "https://loans.example/other/v1", digest).status.success());
    assert!(!by_cosign("owner.pub", kind, &"0".repeat(64)).status.success());
}

/// The digest that the signature of a model is about.
fn oms_root(home: &Home, bundle: &str) -> String {
    use base64::Engine as _;
    let payload = home.read_json(bundle)["dsseEnvelope"]["payload"].clone();
    let payload =
        base64::engine::general_purpose::STANDARD.decode(payload.as_str().unwrap()).unwrap();
    let statement: serde_json::Value = serde_json::from_slice(&payload).unwrap();
    statement["subject"][0]["digest"]["sha256"].as_str().unwrap().to_owned()
}

/// Every tile and entry bundle, hashed anew by somebody else's code and held against the checkpoint.
#[test]
fn tessera_checks_the_whole_log() {
    let instance = Instance::start();
    let home = &instance.home;
    // More than a tile has, so that there are full ones, partial ones and two levels.
    let client_of_rekor = Client::new(instance.service.url());
    for index in 0..300 {
        let request = client_of_rekor.entry_request(format!("message {index}").as_bytes());
        assert_eq!(client_of_rekor.log(&request).0, 201);
    }
    let root = TrustedRoot::parse(&home.read("trust/trusted_root.json")).unwrap();
    home.write("log.vkey", root.logs()[0].key.to_string());
    let fsck = |url: &str| {
        let words = ["--ui=false", "--public_key", "log.vkey", "--storage_url", url];
        client(home, "SEALWRIGHT_TEST_FSCK", &words)
    };
    for place in ["", "/api/v2"] {
        let checked = fsck(&format!("{}{place}/", instance.service.url()));
        assert!(checked.status.success(), "{checked:?}");
    }
}
