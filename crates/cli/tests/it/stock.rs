//! Stock Sigstore clients sign and verify with a private instance, and do not notice.
//!
//! `./test` installs them and names them in the environment.

use std::process::Output;

use serde_json::json;

use crate::home::Home;
use crate::oidc::Issuer;
use crate::server::Server;

pub(crate) const IDENTITY: &str = "trainer@loans.example";

/// An instance that takes the tokens of an issuer, and its trust files in `trust`.
pub(crate) struct Instance {
    pub(crate) home: Home,
    pub(crate) issuer: Issuer,
    pub(crate) service: Server,
}

impl Instance {
    pub(crate) fn start() -> Self {
        Self::start_in(Home::new(), "")
    }

    /// With more options for `serve`.
    pub(crate) fn start_in(home: Home, options: &str) -> Self {
        let issuer = Issuer::start();
        let entry = format!("[[issuer]]\nurl = {:?}\nkind = \"email\"\n", issuer.url);
        home.write("issuers.toml", entry);
        let line = format!("serve --init --data data --issuers issuers.toml {options}");
        let service = Server::start(&home, &line);
        home.must(&format!("serve trust --data data --out trust --oidc-url {}", issuer.url));
        Self { home, issuer, service }
    }

    pub(crate) fn verify(&self, artifact: &str, bundle: &str, identity: &str) -> crate::home::Ran {
        self.home.run(&format!(
            "verify {artifact} --artifact --bundle {bundle} --trusted-root trust/trusted_root.json \
             --identity {identity} --issuer {}",
            self.issuer.url
        ))
    }
}

/// A program that `./test` installs.
pub(crate) fn client(home: &Home, variable: &str, words: &[&str]) -> Output {
    let program = std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} does not name a Sigstore client: run the tests with ./test")
    });
    home.tool_output(&program, words)
}

pub(crate) fn python(instance: &Instance, words: &[&str]) -> Output {
    let trust = ["--trust-config", "trust/trust_config.json"];
    let words = [&trust[..], words].concat();
    client(&instance.home, "SEALWRIGHT_TEST_SIGSTORE_PYTHON", &words)
}

#[test]
fn sigstore_python_signs_and_verifies() {
    let instance = Instance::start();
    instance.home.write("artifact", "content");
    let token = instance.issuer.token(IDENTITY);
    let signed =
        python(&instance, &["sign", "--identity-token", &token, "--bundle", "b.json", "artifact"]);
    assert!(signed.status.success(), "{signed:?}");
    let verify = |identity: &str| {
        let who = ["--cert-identity", identity, "--cert-oidc-issuer", &instance.issuer.url];
        let what = ["verify", "identity", "--bundle", "b.json"];
        python(&instance, &[&what[..], &who, &["artifact"]].concat())
    };
    let verified = verify(IDENTITY);
    assert!(verified.status.success(), "{verified:?}");
    assert!(!verify("other@loans.example").status.success());
    instance.verify("artifact", "b.json", IDENTITY).succeeded();
    assert_eq!(instance.verify("artifact", "b.json", "other@loans.example").code, Some(1));
    instance.home.write("artifact", "other content");
    assert!(!verify(IDENTITY).status.success());
    assert_eq!(instance.verify("artifact", "b.json", IDENTITY).code, Some(1));
}

/// Encrypted keys outside of the data directory sign for the authorities.
#[test]
fn authorities_sign_with_keys_that_are_kept_elsewhere() {
    let home = Home::new();
    home.write("secret", "correct horse battery staple\n");
    for (name, algorithm) in [("ca", "p384"), ("ct", "p256"), ("tsa", "p256"), ("next", "p256")] {
        home.must(&format!(
            "key generate --algorithm {algorithm} --output {name} --passphrase-file secret"
        ));
    }
    let secret = "--passphrase-file secret";
    home.run(&format!("serve init --data bad --ct-key ca.key {secret}"))
        .failed(2, "key of the certificate log is not on P-256");
    home.run("serve init --data bad --ca-key awskms:///alias/ca")
        .failed(2, "awskms://… are not supported yet");
    let keys = "--ca-key file:ca.key --ct-key ct.key --tsa-key tsa.key --passphrase-file secret";
    let instance = Instance::start_in(home, keys);
    let home = &instance.home;
    assert_eq!(home.list("data/authority"), ["ca.pem", "root.pem", "tsa.pem"]);
    home.write("artifact", "content");
    let signs = |bundle: &str| {
        let token = instance.issuer.token(IDENTITY);
        let signed = python(
            &instance,
            &["sign", "--identity-token", &token, "--bundle", bundle, "artifact"],
        );
        assert!(signed.status.success(), "{signed:?}");
        instance.verify("artifact", bundle, IDENTITY).succeeded();
    };
    signs("before.json");

    // A key is not replaced by a file because somebody forgot to name it.
    let renew = "serve renew --data data --root-key data/offline/root-key.pem";
    home.run(renew).failed(3, "the private key data/authority/ca-key.pem is not there");
    home.run(&format!("{renew} --only certificates --ca-key next.key --ct-key ct.key {secret}"))
        .failed(3, "the private key data/authority/tsa-key.pem is not there");
    assert!(!home.path("data/authority-2").exists());
    home.must(&format!("{renew} {keys}"));
    assert_eq!(home.list("data/authority-2"), ["ca.pem", "root.pem", "tsa.pem"]);
    home.must("serve trust --data data --out trust");
    signs("after.json");
    instance.verify("artifact", "before.json", IDENTITY).succeeded();
    let Instance { home, service, .. } = instance;
    service.stop();
    home.run("serve --data data --listen 127.0.0.1:0")
        .failed(3, "the private key data/authority-2/ca-key.pem is not there");
    home.run(&format!(
        "serve --data data --listen 127.0.0.1:0 {}",
        keys.replace("ca.key", "next.key")
    ))
    .failed(2, "data/authority-2/ca.pem is not a certificate of the key that was given");
}

#[test]
fn sigstore_python_attests() {
    let instance = Instance::start();
    instance.home.write("artifact", "content");
    let predicate = json!({
        "buildDefinition": {
            "buildType": "https://loans.example/training/v1",
            "externalParameters": {},
            "internalParameters": {},
            "resolvedDependencies": [],
        },
        "runDetails": {
            "builder": {"id": "https://loans.example/ci", "builderDependencies": [], "version": {}},
            "metadata": {"invocationId": "1"},
            "byproducts": [],
        },
    });
    instance.home.write("predicate.json", predicate.to_string());
    let token = instance.issuer.token(IDENTITY);
    let attested = python(
        &instance,
        &[
            "attest",
            "--identity-token",
            &token,
            "--bundle",
            "a.json",
            "--predicate",
            "predicate.json",
            "--predicate-type",
            "https://slsa.dev/provenance/v1",
            "artifact",
        ],
    );
    assert!(attested.status.success(), "{attested:?}");
    let who = ["--cert-identity", IDENTITY, "--cert-oidc-issuer", &instance.issuer.url];
    let what = ["verify", "identity", "--bundle", "a.json"];
    let verified = python(&instance, &[&what[..], &who, &["artifact"]].concat());
    assert!(verified.status.success(), "{verified:?}");
    instance.verify("artifact", "a.json", IDENTITY).succeeded();
}

/// Sigstore's JavaScript client, through a small script of ours.
pub(crate) fn javascript(instance: &Instance, words: &[&str]) -> Output {
    let named = |variable: &str| {
        std::env::var(variable)
            .unwrap_or_else(|_| panic!("{variable} is not set: run the tests with ./test"))
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clients/sigstore-js/client.cjs");
    let mut command = std::process::Command::new(named("SEALWRIGHT_TEST_NODE"));
    command.arg(script).args(words).current_dir(instance.home.path(""));
    command.env("NODE_PATH", named("SEALWRIGHT_TEST_SIGSTORE_JS"));
    command.env("ID_TOKEN", instance.issuer.token(IDENTITY)).output().unwrap()
}

#[test]
fn sigstore_js_signs_attests_and_verifies() {
    const TRUST: &str = "trust/trust_config.json";
    let instance = Instance::start();
    instance.home.write("artifact", "content");
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "artifact", "digest": {
            "sha256": sealwright_manifest::Sha256::of(b"content"),
        }}],
        "predicateType": "https://loans.example/predicate/v1",
        "predicate": {},
    });
    instance.home.write("statement", statement.to_string());
    let issuer = &instance.issuer.url;
    // JavaScript leaves out zeros, and so the index of a log's first entry, which Python does not
    // take: that one is somebody else's.
    let first = javascript(&instance, &["sign", TRUST, "artifact", "first.json"]);
    assert!(first.status.success(), "{first:?}");
    for (command, signed) in [("sign", "artifact"), ("attest", "statement")] {
        let made = javascript(&instance, &[command, TRUST, signed, "js.json"]);
        assert!(made.status.success(), "{command}: {made:?}");
        let verify = |identity: &str| {
            javascript(&instance, &["verify", TRUST, signed, "js.json", identity, issuer])
        };
        let verified = verify(IDENTITY);
        assert!(verified.status.success(), "{command}: {verified:?}");
        assert!(!verify("other@loans.example").status.success(), "{command}");
        instance.verify("artifact", "js.json", IDENTITY).succeeded();
        let who = ["--cert-identity", IDENTITY, "--cert-oidc-issuer", issuer];
        let what = ["verify", "identity", "--bundle", "js.json"];
        let elsewhere = python(&instance, &[&what[..], &who, &["artifact"]].concat());
        assert!(elsewhere.status.success(), "{command}: {elsewhere:?}");
    }
}

/// Models, keyless, by the tools that are made for them.
#[test]
fn model_signing_signs_keyless() {
    let instance = Instance::start();
    instance.home.model("model");
    let issuer = &instance.issuer.url;
    for (variable, dash) in
        [("SEALWRIGHT_TEST_MODEL_SIGNING", "_"), ("SEALWRIGHT_TEST_RH_MODEL_SIGNING", "-")]
    {
        let token = instance.issuer.token(IDENTITY);
        let option = |name: &str| format!("--{}", name.replace('_', dash));
        let trust = [option("trust_config"), "trust/trust_config.json".to_owned()];
        let run = |words: &[&str]| {
            let trust = trust.iter().map(String::as_str);
            client(
                &instance.home,
                variable,
                &words.iter().copied().chain(trust).collect::<Vec<_>>(),
            )
        };
        let signed = run(&[
            "sign",
            "sigstore",
            "model",
            "--signature",
            "m.sig",
            &option("identity_token"),
            &token,
        ]);
        assert!(signed.status.success(), "{variable}: {signed:?}");
        let verify = |identity: &str| {
            run(&[
                "verify",
                "sigstore",
                "model",
                "--signature",
                "m.sig",
                "--identity",
                identity,
                &option("identity_provider"),
                issuer,
            ])
        };
        let verified = verify(IDENTITY);
        assert!(verified.status.success(), "{variable}: {verified:?}");
        assert!(!verify("other@loans.example").status.success(), "{variable}");
        let ours = |identity: &str| {
            instance.home.run(&format!(
                "verify model --bundle m.sig --trusted-root trust/trusted_root.json \
                 --identity {identity} --issuer {issuer}"
            ))
        };
        ours(IDENTITY).succeeded();
        assert_eq!(ours("other@loans.example").code, Some(1));
    }
}

/// Whom a certificate is given.
#[test]
fn tokens_that_are_not_right_get_no_certificate() {
    let instance = Instance::start();
    instance.home.write("artifact", "content");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({
        "iss": instance.issuer.url, "aud": "sigstore", "sub": "1", "email": IDENTITY,
        "email_verified": true, "iat": now, "nbf": now, "exp": now + 600,
    });
    let url = format!("{}/api/v2/signingCert", instance.service.url());
    let ask = |token: &str| {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut answer = agent
            .post(&url)
            .header("content-type", "application/json")
            .header("authorization", &format!("Bearer {token}"))
            .send(r#"{"certificateSigningRequest": "bm90aGluZw=="}"#)
            .unwrap();
        let body: serde_json::Value =
            serde_json::from_slice(&answer.body_mut().read_to_vec().unwrap()).unwrap();
        (answer.status().as_u16(), body["details"][0]["reason"].clone())
    };
    // With a good token only the request is wrong.
    assert_eq!(ask(&instance.issuer.sign(&claims)), (400, json!("PROOF_OF_POSSESSION")));
    for (name, value) in [
        ("aud", json!("another")),
        ("exp", json!(now - 600)),
        ("nbf", json!(now + 600)),
        ("email_verified", json!(false)),
        ("email", json!("")),
    ] {
        let mut claims = claims.clone();
        claims[name] = value;
        assert_eq!(ask(&instance.issuer.sign(&claims)), (401, json!("TOKEN")), "{name}");
    }
    let mut stranger = claims.clone();
    stranger["iss"] = json!("https://accounts.example");
    assert_eq!(ask(&instance.issuer.sign(&stranger)), (401, json!("ISSUER")));
    // The same name, and another key.
    let impostor = Issuer::start();
    assert_eq!(ask(&impostor.sign(&claims)), (401, json!("TOKEN")));
    assert_eq!(ask("nonsense"), (401, json!("TOKEN")));
}

/// What a stock client signed is submitted, found by who signed it, and given back so that the stock
/// client verifies it; also if it has neither time nor entry yet.
#[test]
fn what_sigstore_python_signed_is_kept_and_given_back() {
    let instance = Instance::start();
    let home = &instance.home;
    home.write("artifact", "content");
    let predicate = json!({"buildDefinition": {"buildType": "https://loans.example/training/v1",
        "externalParameters": {}, "internalParameters": {}, "resolvedDependencies": []},
        "runDetails": {"builder": {"id": "https://loans.example/ci", "builderDependencies": [],
        "version": {}}, "metadata": {"invocationId": "1"}, "byproducts": []}});
    home.write("predicate.json", predicate.to_string());
    let token = instance.issuer.token(IDENTITY);
    let attest = [
        "attest",
        "--identity-token",
        &token,
        "--bundle",
        "a.json",
        "--predicate",
        "predicate.json",
        "--predicate-type",
        "https://slsa.dev/provenance/v1",
        "artifact",
    ];
    let attested = python(&instance, &attest);
    assert!(attested.status.success(), "{attested:?}");
    let token = instance.issuer.token(IDENTITY);
    let sign = ["sign", "--identity-token", &token, "--bundle", "s.json", "artifact"];
    let signed = python(&instance, &sign);
    assert!(signed.status.success(), "{signed:?}");

    let client = instance.service.client();
    let submit = |bundle: &serde_json::Value| client.submit_json(bundle, None);
    let attestation = home.read_json("a.json");
    // Its entry is there already, and is its own.
    let answer = submit(&attestation).unwrap();
    assert_eq!(answer["verificationMaterial"]["tlogEntries"][0]["logIndex"], "0");
    assert_eq!(submit(&home.read_json("s.json")).unwrap()["mediaType"], attestation["mediaType"]);

    let mut bare = attestation.clone();
    bare["verificationMaterial"]["tlogEntries"] = json!([]);
    bare["verificationMaterial"].as_object_mut().unwrap().remove("timestampVerificationData");
    let stamped = submit(&bare).unwrap();
    let stamps = &stamped["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"];
    assert_eq!(stamps.as_array().unwrap().len(), 1);
    home.write("bare.json", stamped.to_string());

    let list = home.json(&format!(
        "find --identity {IDENTITY} --issuer {} --out saved --service {}",
        instance.issuer.url,
        instance.service.url()
    ));
    assert_eq!(list["statements"].as_array().unwrap().len(), 2);
    assert_eq!(list["statements"][1]["predicateType"], "");
    let who = ["--cert-identity", IDENTITY, "--cert-oidc-issuer", &instance.issuer.url];
    for bundle in ["saved/entry-0.sigstore.json", "saved/entry-1.sigstore.json", "bare.json"] {
        instance.verify("artifact", bundle, IDENTITY).succeeded();
        let what = ["verify", "identity", "--bundle", bundle];
        let verified = python(&instance, &[&what[..], &who, &["artifact"]].concat());
        assert!(verified.status.success(), "{bundle}: {verified:?}");
    }
    // A signed file among them is no statement and does not stand in the way.
    let artifact = sealwright_manifest::Sha256::of(b"content").to_string();
    assert_eq!(client.statements_about(&artifact).unwrap().len(), 1);

    // What was changed, and what others certified, is refused with the step that failed.
    let mut changed = attestation.clone();
    changed["dsseEnvelope"]["signatures"][0]["sig"] = json!("MEUCIQ==");
    let refused = submit(&changed).unwrap_err().to_string();
    assert!(refused.contains("(NOT_VERIFIED)"), "{refused}");
    let other = Server::start(home, "serve --init --data other --origin other.example");
    let refused = other.client().submit_json(&attestation, None).unwrap_err().to_string();
    assert!(refused.contains("certificate"), "{refused}");
    drop(other);
    let trusting = Server::start(
        home,
        "serve --data other --origin other.example \
                                        --trust trust/trusted_root.json",
    );
    let logged = trusting.client().submit_json(&attestation, None).unwrap();
    assert_eq!(logged["verificationMaterial"]["tlogEntries"].as_array().unwrap().len(), 1);
    let index = &logged["verificationMaterial"]["tlogEntries"][0]["logIndex"];
    let index: u64 = index.as_str().unwrap().parse().unwrap();
    let original: serde_json::Value =
        serde_json::from_slice(&trusting.client().original_bundle(index).unwrap()).unwrap();
    assert_eq!(
        original["verificationMaterial"]["tlogEntries"],
        attestation["verificationMaterial"]["tlogEntries"]
    );
}
