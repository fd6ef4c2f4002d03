//! Statements as OCI referrers, read by a client that knows nothing of statements.

use std::process::Command;

use serde_json::{Value, json};

use crate::home::{Home, text};
use crate::server::Server;

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// A service with two statements about a model, and the model's digest.
fn service() -> (Home, Server, String) {
    let home = Home::with_keys();
    home.model("model");
    home.write("note.json", r#"{"text": "fit"}"#);
    let service = Server::serve(&home, "data");
    let url = service.url();
    home.must(&format!("sign model --key keys/trainer.key --service {url}"));
    let value = home.json(&format!(
        "attest model --type https://loans.example/note/v1 --predicate note.json --key keys/trainer.key \
         --service {url} --output note.bundle"
    ));
    let digest = text(&value["model_digest"]).to_owned();
    (home, service, digest)
}

#[test]
fn oras_pulls_what_is_known_of_a_model() {
    let (home, service, digest) = service();
    let python = std::env::var("SEALWRIGHT_TEST_ORAS_PYTHON")
        .expect("SEALWRIGHT_TEST_ORAS_PYTHON is not set: run the tests with ./test");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clients/oras/pull.py");
    let registry = service.url().strip_prefix("http://").unwrap();
    let subject = format!("sha256:{digest}");
    let pull = || {
        let mut command = Command::new(&python);
        command.args([script, registry, &subject, "pulled"]);
        let output = command.current_dir(home.path("")).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let lines = String::from_utf8(output.stdout).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    };
    let pulled = pull();
    let annotations = |of: &Value| {
        let all = &of["descriptor"]["annotations"];
        json!([all["dev.sigstore.bundle.content"], all["dev.sigstore.bundle.predicateType"]])
    };
    assert_eq!(
        pulled.iter().map(annotations).collect::<Vec<_>>(),
        [
            json!(["dsse-envelope", "https://model_signing/signature/v1.0"]),
            json!(["dsse-envelope", "https://loans.example/note/v1"]),
        ]
    );
    assert!(pulled.iter().all(|of| of["descriptor"]["artifactType"] == BUNDLE));
    home.must("verify model --bundle pulled/entry-0.sigstore.json --key keys/trainer.pub");
    // The same bytes, whenever they are asked for.
    assert_eq!(pull(), pulled);
}

#[test]
fn what_is_not_there_is_said_in_the_words_of_oci() {
    let (_home, service, digest) = service();
    let agent = ureq::Agent::new_with_config(
        ureq::Agent::config_builder().http_status_as_error(false).build(),
    );
    let get = |path: &str| {
        let mut answer = agent.get(format!("{}{path}", service.url())).call().unwrap();
        let body = answer.body_mut().read_to_string().unwrap();
        let code = serde_json::from_str::<Value>(&body).unwrap_or_default()["errors"][0]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        (answer.status().as_u16(), code, answer)
    };
    let none = "0".repeat(64);
    for (path, status, code) in [
        (format!("/v2/model/manifests/sha256:{none}"), 404, "MANIFEST_UNKNOWN"),
        ("/v2/model/manifests/latest".to_owned(), 404, "MANIFEST_UNKNOWN"),
        (format!("/v2/model/blobs/sha256:{none}"), 404, "BLOB_UNKNOWN"),
        ("/v2/model/blobs/sha256:0".to_owned(), 400, "DIGEST_INVALID"),
        ("/v2/model/referrers/md5:0".to_owned(), 400, "DIGEST_INVALID"),
        (format!("/v2/Model/referrers/sha256:{none}"), 400, "NAME_INVALID"),
        ("/v2/model/tags/list".to_owned(), 404, "NAME_UNKNOWN"),
        ("/v2/model".to_owned(), 404, "NAME_UNKNOWN"),
    ] {
        let (found_status, found_code, _) = get(&path);
        assert_eq!((found_status, found_code.as_str()), (status, code), "{path}");
    }
    let (status, _, answer) = get("/v2/");
    assert_eq!(status, 200);
    assert_eq!(answer.headers()["docker-distribution-api-version"], "registry/2.0");
    let (status, _, answer) = get(&format!("/v2/model/referrers/sha256:{none}"));
    assert_eq!(status, 200);
    assert_eq!(answer.headers()["content-type"], "application/vnd.oci.image.index.v1+json");
    let path = format!("/v2/model/referrers/sha256:{digest}?artifactType=other/type");
    let (status, _, answer) = get(&path);
    assert_eq!(
        (status, &answer.headers()["oci-filters-applied"]),
        (200, &"artifactType".parse().unwrap())
    );

    let url = format!("{}/v2/model/referrers/sha256:{digest}", service.url());
    let index: Value =
        serde_json::from_str(&agent.get(&url).call().unwrap().body_mut().read_to_string().unwrap())
            .unwrap();
    let manifest = text(&index["manifests"][0]["digest"]);
    let url = format!("{}/v2/any/name/manifests/{manifest}", service.url());
    let head = agent.head(&url).call().unwrap();
    assert_eq!(head.status(), 200);
    assert_eq!(head.headers()["docker-content-digest"], manifest);
    let size = head.headers()["content-length"].to_str().unwrap().to_owned();
    assert_eq!(size, index["manifests"][0]["size"].to_string());
    let pushed = agent.put(&url).send("{}").unwrap();
    assert_eq!(
        (pushed.status().as_u16(), &pushed.headers()["allow"]),
        (405, &"GET, HEAD".parse().unwrap())
    );
}
