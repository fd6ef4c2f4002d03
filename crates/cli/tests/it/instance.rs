//! A private instance as Sigstore's clients meet it: its keys, its trust, its log and its time.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sealwright_attest::{Curve, KeyFile, Signer as _, Timestamp};
use sealwright_sigstore::{
    Artifact, ManagedKey, Signer, SigstoreBundle, SigstoreError, Thresholds, Trust,
    VerifiedSigstore, verify_artifact,
};
use serde_json::{Value, json};

use crate::home::Home;
use crate::server::Server;

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_unix(since.as_secs()).unwrap()
}

fn post(url: &str, content_type: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut response = agent.post(url).header("content-type", content_type).send(body).unwrap();
    (response.status().as_u16(), response.body_mut().read_to_vec().unwrap())
}

fn get(url: &str) -> Vec<u8> {
    ureq::get(url).call().unwrap().body_mut().read_to_vec().unwrap()
}

#[test]
fn keys_are_made_only_when_asked_for() {
    let home = Home::new();
    home.run("serve --data data --listen 127.0.0.1:0").failed(2, "data has no keys yet");
    home.run("serve trust --data data --out trust").failed(2, "data has no keys yet");
    assert!(!home.path("data").exists());

    let made = home.must("--json serve init --data data --origin log.example");
    let value = made.json();
    assert_eq!(value["log_key_created"], true);
    assert_eq!(value["root_key"], "data/offline/root-key.pem");
    assert!(made.stderr.contains("move data/offline/root-key.pem to a place offline"), "{made:?}");
    for key in
        ["log-key.pem", "authority/ca-key.pem", "authority/tsa-key.pem", "authority/ct-key.pem"]
    {
        assert_eq!(home.mode(&format!("data/{key}")), 0o600, "{key}");
    }
    let before = home.read("data/trusted_root.json");

    // The second time makes nothing, and the root's key is not missed.
    home.remove("data/offline/root-key.pem");
    let again = home.json("serve init --data data --origin log.example");
    assert_eq!((&again["log_key_created"], &again["root_key"]), (&json!(false), &Value::Null));
    assert_eq!(home.read("data/trusted_root.json"), before);
    home.run("serve init --data data --origin other.example").failed(3, "another log");
}

/// A log that was begun without authorities gets them, and keeps what it has.
#[test]
fn an_older_log_gets_authorities() {
    let home = Home::new();
    home.must("serve init --data data");
    std::fs::remove_dir_all(home.path("data/authority")).unwrap();
    std::fs::remove_dir_all(home.path("data/offline")).unwrap();
    let mut root = home.read_json("data/trusted_root.json");
    for name in ["certificateAuthorities", "timestampAuthorities", "ctlogs"] {
        root[name] = json!([]);
    }
    home.write("data/trusted_root.json", root.to_string());

    let service = Server::start(&home, "serve --data data");
    let (status, body) = post(
        &format!("{}/api/v1/timestamp", service.url()),
        "application/timestamp-query",
        b"anything",
    );
    assert_eq!(status, 404, "{}", String::from_utf8_lossy(&body));
    service.stop();

    home.must("serve init --data data");
    let after = home.read_json("data/trusted_root.json");
    assert_eq!(after["tlogs"], root["tlogs"]);
    assert_eq!(after["timestampAuthorities"].as_array().unwrap().len(), 1);
    Trust::parse(&home.read("data/trusted_root.json")).unwrap();
}

#[test]
fn openssl_verifies_its_timestamps() {
    let home = Home::new();
    let service = Server::serve(&home, "data");
    home.write("artifact", "content");
    let chain = get(&format!("{}/api/v1/timestamp/certchain", service.url()));
    home.write("chain.pem", chain);
    for (digest, certificate) in [("-sha256", true), ("-sha384", false), ("-sha512", true)] {
        let mut query = vec!["ts", "-query", "-data", "artifact", digest, "-out", "query"];
        query.extend(certificate.then_some("-cert"));
        home.tool("openssl", &query);
        let url = format!("{}/api/v1/timestamp", service.url());
        let (status, reply) = post(&url, "application/timestamp-query", &home.read("query"));
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&reply));
        home.write("reply", reply);
        let verify = |query: &[&str]| {
            let trust =
                ["-CAfile", "data/authority/root.pem", "-untrusted", "chain.pem", "-in", "reply"];
            home.tool_output("openssl", &[&["ts", "-verify"], query, &trust].concat())
        };
        let verified = verify(&["-queryfile", "query"]);
        assert!(verified.status.success(), "{digest}: {verified:?}");
        home.write("other", "other");
        assert!(!verify(&["-data", "other"]).status.success());
    }
    let url = format!("{}/api/v1/timestamp", service.url());
    for (content_type, body, expected) in [
        ("application/timestamp-query", "nonsense", 400),
        ("application/json", "{}", 400),
        ("text/plain", "nonsense", 415),
    ] {
        assert_eq!(post(&url, content_type, body.as_bytes()).0, expected, "{content_type}");
    }
    // More than is taken, with and without saying so beforehand.
    // (So little that it is sent before the answer is there.)
    let huge = vec![0; 8 << 10];
    let chunked = home.write("huge", &huge);
    let said = home.tool(
        "curl",
        &[
            "-s",
            "-o",
            "answer",
            "-w",
            "%{http_code}",
            "-H",
            "transfer-encoding: chunked",
            "-H",
            "content-type: application/timestamp-query",
            "--data-binary",
            &format!("@{}", chunked.display()),
            &url,
        ],
    );
    assert_eq!(String::from_utf8(said).unwrap(), "413");
    assert_eq!(post(&url, "application/timestamp-query", &huge).0, 413);
    service.stop();
}

/// What a client needs to sign a message with a key, log the signature and have it stamped.
pub(crate) struct Client {
    key: KeyFile,
    url: String,
}

impl Client {
    pub(crate) fn new(url: &str) -> Self {
        Self { key: KeyFile::generate(Curve::P256).unwrap(), url: url.to_owned() }
    }

    pub(crate) fn entry_request(&self, message: &[u8]) -> Value {
        json!({"hashedRekordRequestV002": {
            "digest": STANDARD.encode(Curve::P256.hash(message)),
            "signature": {
                "content": STANDARD.encode(self.key.sign(message).unwrap()),
                "verifier": {
                    "publicKey": {"rawBytes": STANDARD.encode(self.key.public_key().spki())},
                    "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                },
            },
        }})
    }

    pub(crate) fn log(&self, request: &Value) -> (u16, Value) {
        let url = format!("{}/api/v2/log/entries", self.url);
        let (status, body) = post(&url, "application/json", request.to_string().as_bytes());
        (status, serde_json::from_slice(&body).unwrap())
    }

    /// The form of the request that sigstore-js sends.
    fn stamp(&self, signature: &[u8]) -> Vec<u8> {
        let request = json!({
            "artifactHash": STANDARD.encode(Curve::P256.hash(signature)),
            "hashAlgorithm": "sha256",
        });
        let url = format!("{}/api/v1/timestamp", self.url);
        let (status, reply) = post(&url, "application/json", request.to_string().as_bytes());
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&reply));
        reply
    }
}

#[test]
fn a_signature_is_logged_and_stamped_as_in_any_sigstore() {
    let home = Home::new();
    let service = Server::serve(&home, "data");
    let client = Client::new(service.url());
    let message = b"message";
    let request = client.entry_request(message);
    let (status, entry) = client.log(&request);
    assert_eq!(status, 201, "{entry}");
    assert_eq!(entry["kindVersion"], json!({"kind": "hashedrekord", "version": "0.0.2"}));
    assert_eq!((&entry["integratedTime"], &entry["inclusionPromise"]), (&json!("0"), &Value::Null));
    // Asked again after a lost answer: the first entry, and no error.
    let (status, again) = client.log(&request);
    assert_eq!((status, &again), (201, &entry));

    let content = &request["hashedRekordRequestV002"]["signature"]["content"];
    let signature = STANDARD.decode(content.as_str().unwrap()).unwrap();
    let bundle = json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {
            "publicKey": {"hint": ""},
            "tlogEntries": [entry],
            "timestampVerificationData": {"rfc3161Timestamps": [
                {"signedTimestamp": STANDARD.encode(client.stamp(&signature))},
            ]},
        },
        "messageSignature": {
            "messageDigest": {
                "algorithm": "SHA2_256",
                "digest": STANDARD.encode(Curve::P256.hash(message)),
            },
            "signature": content,
        },
    });
    home.must("serve trust --data data --out trust");
    let trust = Trust::parse(&home.read("trust/trusted_root.json")).unwrap();
    let key = ManagedKey::from_spki(&client.key.public_key().spki()).unwrap();
    let verify = |bundle: &Value, message: &[u8]| -> Result<VerifiedSigstore, SigstoreError> {
        let bundle = SigstoreBundle::parse(bundle.to_string().as_bytes())?;
        let thresholds = Thresholds { logs: 1, times: 1, ..Thresholds::of(&trust) };
        let artifact = Artifact::from_bytes(message);
        verify_artifact(&bundle, &artifact, &trust, Signer::Key(&key), &thresholds, now())
    };
    let verified = verify(&bundle, message).unwrap();
    assert_eq!((verified.logs().len(), verified.times().len()), (1, 1));
    assert!(verify(&bundle, b"other").is_err());
    let mut stranger = bundle.clone();
    stranger["verificationMaterial"]["tlogEntries"][0]["logIndex"] = json!("1");
    assert!(verify(&stranger, message).is_err());

    // The log itself, for readers of tiles, at both places.
    for name in ["tile/0/000.p/1", "tile/entries/000.p/1", "checkpoint"] {
        let at = |prefix: &str| get(&format!("{}{prefix}/{name}", service.url()));
        assert_eq!(at(""), at("/api/v2"), "{name}");
    }
    service.stop();
}

#[test]
fn refusals_say_why_and_leave_no_trace() {
    let home = Home::new();
    let service = Server::serve(&home, "data");
    let client = Client::new(service.url());
    let refused = |change: fn(&mut Value)| {
        let mut request = client.entry_request(b"message");
        change(&mut request);
        let (status, answer) = client.log(&request);
        (status, answer["details"][0]["reason"].clone(), answer["code"].clone())
    };
    assert_eq!(
        refused(|r| r["hashedRekordRequestV002"]["digest"] = STANDARD.encode([7; 32]).into()),
        (400, json!("SIGNATURE_INVALID"), json!(3))
    );
    assert_eq!(refused(|r| r["more"] = json!(1)), (400, json!("REQUEST_SHAPE"), json!(3)));
    assert_eq!(
        refused(|r| {
            r["hashedRekordRequestV002"]["signature"]["verifier"]["keyDetails"] =
                json!("PKIX_ED25519");
        }),
        (400, json!("KEY_DETAILS"), json!(3))
    );
    let checkpoint = get(&format!("{}/checkpoint", service.url()));
    assert!(checkpoint.starts_with(b"localhost\n0\n"));
    service.stop();
}

#[test]
fn a_whole_instance_can_be_checked() {
    let home = Home::with_keys();
    home.model("model");
    let service = Server::serve(&home, "data");
    home.run("serve check --data data").failed(3, "data is in use by another service");
    home.must(&format!(
        "sign model --key keys/trainer.key --service {} --trusted-root data/trusted_root.json",
        service.url()
    ));
    let client = Client::new(service.url());
    assert_eq!(client.log(&client.entry_request(b"message")).0, 201);
    service.stop();

    let report = home.json("serve check --data data");
    assert_eq!((&report["entries"], &report["statements"]), (&json!(2), &json!(1)));
    let said = home.must("serve check --data data").stdout;
    assert!(said.starts_with("sound\nentries      2, hashed anew from their bodies\n"), "{said}");

    let tile = "data/tile/entries/000.p/2";
    let mut content = home.read(tile);
    content[20] ^= 1;
    home.tool("chmod", &["u+w", tile]);
    home.write(tile, content);
    let ran = home.run("--json serve check --data data");
    assert_eq!(ran.code, Some(1));
    let problem = "tile/entries/000.p/2 is not what the entries give";
    assert_eq!(ran.json()["problems"], json!([problem]));
    home.run("serve check --data missing").failed(2, "has no keys yet");

    // What is gone is not made anew, by nobody.
    std::fs::remove_dir_all(home.path("data/tile")).unwrap();
    let ran = home.run("--json serve check --data data");
    assert_eq!(ran.code, Some(1));
    assert!(!home.path("data/tile/entries").exists());
    for file in ["log.db", "checkpoint"] {
        home.remove(format!("data/{file}"));
    }
    let before = home.list("data");
    home.run("serve check --data data").failed(3, "is damaged");
    assert_eq!(home.list("data"), before);
    home.run("serve --init --data data").failed(3, "the log is gone");
}

/// Only writers submit statements, once there are any; reading stays open.
#[test]
fn strangers_submit_nothing_where_writers_are_known() {
    let home = Home::with_keys();
    home.model("model");
    let token = "0123456789abcdef0123456789abcdef";
    home.write("token", format!("{token}\n"));
    home.write("other", "f".repeat(32));
    let hash = sealwright_manifest::Sha256::of(token.as_bytes());
    home.write("writers.toml", format!("[[writer]]\nname = \"ci\"\ntoken_sha256 = \"{hash}\"\n"));
    let service = Server::start(&home, "serve --init --data data --writers writers.toml");
    let sign = format!("sign model --key keys/trainer.key --service {}", service.url());
    home.run(&sign).failed(2, "submitting needs a token or certificate of a writer");
    home.run(&format!("{sign} --service-token-file other")).failed(2, "needs a token");
    assert!(!home.path("model.sig").exists());
    home.must(&format!("{sign} --service-token-file token"));
    let digest = home.json("digest model")["model_digest"].as_str().unwrap().to_owned();
    assert_eq!(service.client().statements_about(&digest).unwrap().len(), 1);
    let said = service.said();
    assert!(said.contains("a statement is submitted") && said.contains("ci"), "{said}");
    service.stop();
    home.run("serve --data data --writers missing.toml").failed(3, "missing.toml");
    home.write("writers.toml", "[[writer]]");
    home.run("serve --data data --writers writers.toml").failed(2, "missing field");
}

/// Submitting names the project; so does the environment.
#[test]
fn statements_are_submitted_to_projects() {
    let home = Home::with_keys();
    home.model("model");
    let token = "0123456789abcdef0123456789abcdef";
    home.write("token", token);
    let hash = sealwright_manifest::Sha256::of(token.as_bytes());
    let entry = |kind: &str| {
        format!("[[{kind}]]\nname = \"ci\"\ntoken_sha256 = \"{hash}\"\nprojects = [\"credit\"]\n")
    };
    home.write("writers.toml", entry("writer") + &entry("reader"));
    let service = Server::start(&home, "serve --init --data data --writers writers.toml");
    let sign = format!(
        "sign model --key keys/trainer.key --service {} --service-token-file token",
        service.url()
    );
    home.run(&sign).failed(2, "may not submit to that project");
    home.run(&format!("{sign} --service-project Credit")).failed(2, "not the name of a project");
    home.must(&format!("{sign} --service-project credit"));
    let digest = home.json("digest model")["model_digest"].as_str().unwrap().to_owned();
    let reader = service.client().with_token(token.to_owned());
    assert_eq!(reader.statements_about(&digest).unwrap().len(), 1);
    assert_eq!(service.client().statements_about(&digest).unwrap().len(), 0);
    // Who does not see all projects cannot take everything away, nor decide.
    let export = format!("find --export all.jsonl --service {}", service.url());
    home.run(&format!("{export} --service-token-file token")).failed(1, "some projects back");
    assert!(!home.path("all.jsonl").exists());
    // Two halves of one thing.
    home.run(&format!("{sign} --service-cert token")).failed(2, "--service-key");
    service.stop();
}

/// A start that was killed while it made the authorities leaves nothing that stands in the way.
#[test]
fn a_start_that_did_not_get_to_its_end_is_forgotten() {
    let home = Home::new();
    home.must("serve init --data data");
    std::fs::rename(home.path("data/authority"), home.path("data/.authority-x")).unwrap();
    home.must("serve init --data data");
    assert!(home.path("data/authority/ca.pem").exists());
    assert!(!home.path("data/.authority-x").exists());
    let long = "a".repeat(61) + ".example";
    home.run(&format!("serve init --data other --origin {long}")).failed(2, "more than 64");
}
