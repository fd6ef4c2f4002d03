//! `sealwright admission` as a process, called over HTTPS as kube-apiserver calls it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::home::{Home, text};
use crate::server::Server;
use crate::team::Team;

const WEBHOOK: &str = "--roles roles.sigstore.json --owner-key keys/owner.pub \
                       --trusted-root data/trusted_root.json --decisions decisions.jsonl \
                       --tls-dir tls";

pub(crate) fn start(team: &Team, more: &str) -> Server {
    Server::start(
        &team.home,
        &format!("admission --service {} {WEBHOOK} {more}", team.service.url()),
    )
}

/// HTTP status and body of a POST to the webhook.
pub(crate) fn post(home: &Home, webhook: &Server, body: &[u8]) -> (u16, Vec<u8>) {
    let ca = home.read(text(&webhook.ready["ca"]));
    let tls = ureq::tls::TlsConfig::builder()
        .unversioned_rustls_crypto_provider(sealwright_server::tls::provider())
        .root_certs(ureq::tls::RootCerts::from(vec![
            ureq::tls::Certificate::from_pem(&ca).unwrap(),
        ]))
        .build();
    let agent = ureq::Agent::config_builder()
        .tls_config(tls)
        .proxy(None)
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(20)))
        .build()
        .new_agent();
    let mut answer = agent.post(webhook.url()).send(body).unwrap();
    (answer.status().as_u16(), answer.body_mut().read_to_vec().unwrap())
}

/// Whether a request is allowed, and the message. Whatever is sent, the answer is a review.
fn ask(home: &Home, webhook: &Server, body: &[u8]) -> (bool, String) {
    let (status, answer) = post(home, webhook, body);
    assert_eq!(status, 200);
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(answer["kind"], "AdmissionReview");
    let response = &answer["response"];
    let message = response["status"]["message"].as_str().unwrap_or_default().to_owned();
    (response["allowed"].as_bool().unwrap(), message)
}

/// What kube-apiserver sends when a pod with this model is created.
pub(crate) fn pod(model: Option<&str>) -> Value {
    let annotations = model.map_or(json!({}), |model| json!({"sealwright.dev/model": model}));
    json!({
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "requestKind": {"group": "", "version": "v1", "kind": "Pod"},
            "requestResource": {"group": "", "version": "v1", "resource": "pods"},
            "name": "scorer",
            "namespace": "lending",
            "operation": "CREATE",
            "userInfo": {"username": "deployer", "groups": []},
            "object": {
                "kind": "Pod",
                "apiVersion": "v1",
                "metadata": {
                    "name": "scorer", "namespace": "lending", "annotations": annotations,
                },
                "spec": {"containers": [{"name": "scorer", "image": "registry.example/scorer:1"}]},
            },
            "oldObject": null,
            "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        },
    })
}

pub(crate) fn ask_for(team: &Team, webhook: &Server, digest: &str) -> (bool, String) {
    let review = pod(Some(&format!("loan-approval@sha256:{digest}")));
    ask(&team.home, webhook, review.to_string().as_bytes())
}

#[track_caller]
pub(crate) fn allows((allowed, message): &(bool, String)) {
    assert!(*allowed && message.contains("is allowed"), "{message}");
}

#[track_caller]
pub(crate) fn denies(answer: &(bool, String), codes: &[&str]) {
    let (allowed, message) = answer;
    assert!(!allowed, "{message}");
    for code in codes {
        assert!(message.contains(&format!("\n{code}: ")), "{code} is not in: {message}");
    }
    let lines = message.lines().skip(1).filter(|line| !line.starts_with("ignored: "));
    for line in lines {
        let code = line.split(':').next().unwrap();
        assert!(codes.contains(&code), "{code} is in: {message}");
    }
}

#[test]
fn a_model_is_let_in_when_everything_is_there() {
    let team = Team::new();
    let webhook = start(&team, "");
    let digest = team.model_digest("model");
    let ask = || ask_for(&team, &webhook, &digest);
    denies(&ask(), &["APPROVAL_MISSING", "GATE_MISSING", "SIGNATURE_MISSING"]);
    team.sign("model");
    team.evaluate("model");
    denies(&ask(), &["APPROVAL_MISSING"]);
    team.approve("head", "lead-data-scientist", "model");
    team.approve("head", "compliance", "model");
    denies(&ask(), &["SAME_PERSON"]);
    team.approve("officer", "compliance", "model");
    allows(&ask());
    team.must("officer", "approve model --as compliance --reject");
    denies(&ask(), &["REJECTED"]);
    team.must("security", "revoke model --as security --reason unsafe");
    denies(&ask(), &["REJECTED", "MODEL_REVOKED"]);
    webhook.stop();
}

#[test]
fn what_was_signed_by_strangers_is_named_and_ignored() {
    let team = Team::new();
    team.must("stranger", "sign model");
    let webhook = start(&team, "");
    let answer = ask_for(&team, &webhook, &team.model_digest("model"));
    denies(&answer, &["APPROVAL_MISSING", "GATE_MISSING", "SIGNATURE_MISSING"]);
    assert!(answer.1.contains("\nignored: UNKNOWN_SIGNER: "), "{}", answer.1);
}

#[test]
fn malformed_input_is_denied_with_a_reason_and_never_a_500() {
    let team = Team::new();
    let webhook = start(&team, "");
    let home = &team.home;
    let digest = "ab".repeat(32);
    let good = pod(Some(&format!("loan-approval@sha256:{digest}"))).to_string();
    for (body, code) in [
        (String::new(), "REVIEW_MALFORMED"),
        ("{}".to_owned(), "REVIEW_VERSION"),
        ("[".repeat(100_000), "REVIEW_MALFORMED"),
        (good[..good.len() / 2].to_owned(), "REVIEW_MALFORMED"),
        (good.replacen('{', r#"{"kind":"AdmissionReview","#, 1), "REVIEW_MALFORMED"),
        (good.replace("admission.k8s.io/v1", "admission.k8s.io/v1beta1"), "REVIEW_VERSION"),
        (pod(None).to_string(), "MODEL_UNNAMED"),
        (pod(Some(&digest)).to_string(), "MODEL_REFERENCE"),
        (pod(Some(&format!("x@sha256:{}", digest.to_uppercase()))).to_string(), "MODEL_REFERENCE"),
        (good.replace("\"containers\"", "\"containres\""), "OBJECT_MALFORMED"),
        (good.replace("\"resource\":\"pods\"", "\"resource\":\"secrets\""), "UNSUPPORTED_RESOURCE"),
    ] {
        denies(&ask(home, &webhook, body.as_bytes()), &[code]);
    }
    denies(&ask(home, &webhook, &[0xff; 100]), &["REVIEW_MALFORMED"]);
    denies(&ask(home, &webhook, &vec![b' '; 9 << 20]), &["REVIEW_MALFORMED"]);
    assert!(!webhook.said().contains("panicked"), "{}", webhook.said());
}

#[test]
fn without_the_service_nothing_is_let_in() {
    let team = Team::new();
    team.approve_fully("model");
    let webhook = start(&team, "");
    let digest = team.model_digest("model");
    allows(&ask_for(&team, &webhook, &digest));
    let Team { home, service } = team;
    service.kill();
    let review = pod(Some(&format!("loan-approval@sha256:{digest}"))).to_string();
    denies(&ask(&home, &webhook, review.as_bytes()), &["SERVICE_UNREACHABLE"]);
    // It starts without the service, too: which may come later.
    webhook.stop();
    let webhook =
        Server::start(&home, &format!("admission --service http://127.0.0.1:1 {WEBHOOK}"));
    denies(&ask(&home, &webhook, review.as_bytes()), &["SERVICE_UNREACHABLE"]);
}

#[test]
fn every_decision_is_on_record() {
    let team = Team::new();
    team.approve_fully("model");
    let webhook = start(&team, "--cluster blue --environment production");
    let digest = team.model_digest("model");
    let mut expected = Vec::new();
    for (body, allowed) in [
        (pod(Some(&format!("loan-approval@sha256:{digest}"))).to_string(), true),
        (pod(Some(&format!("other@sha256:{}", "00".repeat(32)))).to_string(), false),
        (pod(None).to_string(), false),
        ("{".to_owned(), false),
    ] {
        assert_eq!(ask(&team.home, &webhook, body.as_bytes()).0, allowed, "{body}");
        expected.push(allowed);
    }
    webhook.kill();
    let read = || -> Vec<Value> {
        let lines = String::from_utf8(team.home.read("decisions.jsonl")).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let records = read();
    let allowed: Vec<_> = records.iter().map(|record| record["allowed"].as_bool()).collect();
    assert_eq!(allowed, expected.into_iter().map(Some).collect::<Vec<_>>());
    assert_eq!(text(&records[0]["model"]["sha256"]), digest);
    assert_eq!(team.home.mode("decisions.jsonl"), 0o600);
    // Another process goes on in the same file.
    let webhook = start(&team, "");
    ask(&team.home, &webhook, b"");
    webhook.stop();
    assert_eq!(read().len(), 5);
}

#[test]
fn a_certificate_is_made_once_and_kept() {
    let team = Team::new();
    let files = ["tls/ca.pem", "tls/tls.crt", "tls/tls.key"];
    let content = || files.map(|file| team.home.read(file));
    let webhook = start(&team, "");
    let made = content();
    assert_eq!(team.home.mode("tls/tls.key"), 0o600);
    assert_eq!(team.home.list("tls"), ["ca.pem", "tls.crt", "tls.key"]);
    assert!(ask(&team.home, &webhook, b"").1.contains("REVIEW_MALFORMED"));
    webhook.stop();
    let webhook = start(&team, "");
    assert_eq!(content(), made);
    assert!(ask(&team.home, &webhook, b"").1.contains("REVIEW_MALFORMED"));
    webhook.stop();
    let verify = ["verify", "-CAfile", "tls/ca.pem", "tls/tls.crt"];
    team.home.tool("openssl", &verify);

    // One's own are used instead.
    let webhook = start(&team, "").ready["ca"].clone();
    assert_eq!(webhook, "tls/ca.pem");
    let line = format!(
        "admission --service {} {} --tls-cert tls/tls.crt --tls-key tls/tls.key",
        team.service.url(),
        WEBHOOK.replace("--tls-dir tls", ""),
    );
    assert_eq!(Server::start(&team.home, &line).ready["ca"], json!(null));
    let run = |line: String| team.home.run(&format!("{line} --listen 127.0.0.1:0"));
    run(line.replace("tls/tls.key", "keys/owner.pub")).failed(2, "no unencrypted PEM private key");
    run(line.replace("tls/tls.crt", "missing")).failed(2, "missing");
    run(line.replace("tls/tls.key", "keys/owner.key")).failed(2, "cannot be used together");
}

#[test]
fn unnamed_pods_pass_only_when_that_is_asked_for_and_it_is_said() {
    let team = Team::new();
    let webhook = start(&team, "--insecure-allow-unnamed");
    assert!(webhook.said().starts_with("insecure: "), "{}", webhook.said());
    let (status, body) = post(&team.home, &webhook, pod(None).to_string().as_bytes());
    let answer: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &answer["response"]["allowed"]), (200, &json!(true)));
    assert!(text(&answer["response"]["warnings"][0]).contains("insecure_allow_unnamed"));
    let record = String::from_utf8(team.home.read("decisions.jsonl")).unwrap();
    assert!(record.contains("insecure_allow_unnamed"), "{record}");
}

#[test]
fn what_prevents_a_start_is_named() {
    let team = Team::new();
    let home = &team.home;
    let line = format!("admission --service {} {WEBHOOK} --listen 127.0.0.1:0", team.service.url());
    let swap = |from: &str, to: &str| {
        assert!(line.contains(from), "{from}");
        home.run(&line.replace(from, to))
    };
    swap(&format!("--service {}", team.service.url()), "").failed(2, "needs --service URL");
    swap("--roles roles.sigstore.json", "").failed(2, "needs --roles FILE");
    swap("roles.sigstore.json", "missing").failed(2, "cannot read missing");
    swap("roles.sigstore.json", "roles.json").failed(2, "roles.json is not a role binding");
    swap("keys/owner.pub", "keys/trainer.pub").failed(2, "is not a role binding of the owner");
    swap("keys/owner.pub", "keys/owner.key").failed(2, "is not an owner's public key");
    swap("data/trusted_root.json", "roles.json").failed(2, "is not a trusted root");
    swap("decisions.jsonl", "missing/decisions.jsonl").failed(3, "cannot append");
    swap("decisions.jsonl", "/dev/full").failed(3, "not a regular file");
    swap("--tls-dir tls", "--tls-dir roles.json").failed(3, "roles.json");
    swap("--listen", "--environment Prod! --listen").failed(2, "not a DNS label");
    swap("--listen", "--deadline-ms 1 --listen").failed(2, "deadline_ms 1");
    swap("--listen", "--policy missing --listen").failed(2, "missing");
    home.tool("mkfifo", &["fifo"]);
    swap("roles.sigstore.json", "fifo").failed(2, "fifo");
    swap("data/trusted_root.json", "fifo").failed(2, "fifo");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    swap("127.0.0.1:0", &address).failed(3, &format!("cannot listen on {address}"));
}
