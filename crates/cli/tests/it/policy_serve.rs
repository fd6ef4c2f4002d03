//! `sealwright policy serve`: what answers programs that ask an OPA.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::home::{Home, text};
use crate::server::Server;

const POLICY: &str = "package p\n\nimport rego.v1\n\ndefault allow := false\n\n\
    allow if {\n\tis_number(input.score)\n\tinput.score >= data.limits.least\n\tinput.role == \"lead\"\n}\n\n\
    list := [1, [2, 3]]\n\n\
    seen := input\n";

/// An error, and no answer in time.
const HARD: &str = "package hard\n\nimport rego.v1\n\nfails := 1 / input.zero\n\nslow := count([1 |\n\
    \tsome a in numbers.range(1, 3000)\n\tsome b in numbers.range(1, 3000)\n\ta == b\n])\n";

const TESTS: &str = "package p_test\n\nimport data.p\nimport rego.v1\n\n\
    test_low if not p.allow with input as {\"score\": 1, \"role\": \"lead\"}\n";

fn home() -> Home {
    let home = Home::with_keys();
    home.write("p/p.rego", POLICY);
    home.write("p/p_test.rego", TESTS);
    home.write("p/limits/data.json", r#"{"least": 2}"#);
    home.write("p/my-list/data.json", r#"[{"a": 1}]"#);
    home
}

fn serve(home: &Home, more: &str) -> Server {
    Server::start(home, &format!("policy serve {more}"))
}

struct Answer {
    status: u16,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

fn call(
    server: &Server,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .timeout_global(Some(Duration::from_secs(60)))
        .build()
        .new_agent();
    let mut request =
        ureq::http::Request::builder().method(method).uri(format!("{}{path}", server.url()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut answer = agent.run(request.body(body).unwrap()).unwrap();
    let status = answer.status().as_u16();
    Answer { status, body: answer.body_mut().read_to_string().unwrap() }
}

fn post(server: &Server, path: &str, body: &Value) -> Answer {
    call(server, "POST", path, &[], body.to_string().as_bytes())
}

#[test]
fn a_client_that_was_made_for_opa_is_answered() {
    let home = home();
    let server = serve(&home, "--bundle p");
    let python = std::env::var("SEALWRIGHT_TEST_OPA_CLIENT_PYTHON")
        .expect("SEALWRIGHT_TEST_OPA_CLIENT_PYTHON is not set: run the tests with ./test");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clients/opa/ask.py");
    let port = server.url().rsplit(':').next().unwrap();
    let output = Command::new(python).args([script, port]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["connection"], true);
    assert_eq!(told["health"], true);
    assert_eq!(told["policies"], json!(["p/p.rego", "p/p_test.rego"]));
    assert_eq!(told["allowed"]["result"], true);
    assert_eq!(told["denied"]["result"], false);
    assert!(told["denied"]["metrics"]["timer_rego_query_eval_ns"].is_u64());
    assert_eq!(told["undefined"].get("result"), None);
    assert_eq!(told["undefined"]["decision_id"].as_str().unwrap().len(), 36);
    assert_eq!(told["data"]["result"], 2);
    assert_ne!(told["changed"], true);
}

#[test]
fn answers_have_opas_form() {
    let home = home();
    let server = serve(&home, "--bundle p");
    let ask = |path: &str, input: Value| post(&server, path, &json!({"input": input}));
    let good = json!({"score": 2, "role": "lead"});
    let answer = ask("/v1/data/p/allow", good.clone());
    assert_eq!((answer.status, &answer.json()["result"]), (200, &json!(true)));
    assert_eq!(answer.body.lines().count(), 1);
    assert!(ask("/v1/data/p/allow?pretty", good.clone()).body.lines().count() > 1);
    let answer = ask("/v1/data/p/allow?provenance=true", good.clone()).json();
    assert_eq!(answer["provenance"]["bundles"], json!({"p": {"revision": ""}}));
    // Places in arrays, names that are no names of Rego, base documents, everything.
    assert_eq!(ask("/v1/data/p/list/1/0", json!({})).json()["result"], 2);
    assert_eq!(ask("/v1/data/p/list/7", json!({})).json().get("result"), None);
    assert_eq!(ask("/v1/data/my-list/0/a", json!({})).json().get("result"), None);
    assert_eq!(ask("/v1/data/my%2Dlist/0", json!({})).json()["result"], json!({"a": 1}));
    assert_eq!(ask("/v1/data/limits", json!({})).json()["result"], json!({"least": 2}));
    // With no input, what refers to it is undefined.
    let answer = call(&server, "POST", "/v1/data/p/seen", &[], b"").json();
    assert_eq!(answer.get("result"), None);
    assert_eq!(answer["warning"]["code"], "api_usage_warning");
    assert_eq!(ask("/v1/data/p/seen", json!(null)).json()["result"], json!(null));
    // GET has the input in the query.
    let path = "/v1/data/p/allow?input=%7B%22score%22%3A2%2C%22role%22%3A%22lead%22%7D";
    assert_eq!(call(&server, "GET", path, &[], b"").json()["result"], true);
    // The older API: the body is the input, the answer the value.
    let old = post(&server, "/v0/data/p/allow", &good);
    assert_eq!((old.status, old.body.as_str()), (200, "true\n"));
    let old = post(&server, "/v0/data/p/absent", &good);
    assert_eq!((old.status, &old.json()["code"]), (404, &json!("undefined_document")));
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(json!({"input": good}).to_string().as_bytes()).unwrap();
    let packed = gzip.finish().unwrap();
    let header = [("content-encoding", "gzip")];
    assert_eq!(call(&server, "POST", "/v1/data/p/allow", &header, &packed).json()["result"], true);
    let health = call(&server, "GET", "/health?bundles=true", &[], b"");
    assert_eq!((health.status, health.json()), (200, json!({})));
    let metrics = call(&server, "GET", "/metrics", &[], b"").body;
    assert!(metrics.contains("sealwright_opa_decisions_total "), "{metrics}");
    server.stop();
}

#[test]
fn what_cannot_be_answered_is_an_error_in_opas_form() {
    let home = home();
    home.write("p/hard.rego", HARD);
    let server = serve(&home, "--bundle p");
    let code = |method: &str, path: &str, body: &[u8]| {
        let answer = call(&server, method, path, &[], body);
        let value = answer.json();
        assert!(value["message"].is_string(), "{value}");
        (answer.status, text(&value["code"]).to_owned())
    };
    let is = |status: u16, name: &str| (status, name.to_owned());
    for body in ["{", "[]", "1", "{\"input\": 1, \"input\": 2}", "{\"input\": }"] {
        let answer = code("POST", "/v1/data/p/allow", body.as_bytes());
        assert_eq!(answer, is(400, "invalid_parameter"), "{body}");
    }
    for path in ["/v1/data/p/%22", "/v1/data/p/%ff", "/v1/data/p/1/x"] {
        assert_eq!(code("POST", path, b"{}"), is(400, "invalid_parameter"), "{path}");
    }
    assert_eq!(code("GET", "/v1/data/p?input=x", b""), is(400, "invalid_parameter"));
    assert_eq!(
        code("POST", "/v1/data/hard/fails", b"{\"input\": {\"zero\": 0}}"),
        is(500, "internal_error")
    );
    assert_eq!(code("POST", "/v1/data/hard/slow", b"{\"input\": {}}"), is(500, "internal_error"));
    for (method, path) in [
        ("PUT", "/v1/data/limits"),
        ("PATCH", "/v1/data/limits"),
        ("DELETE", "/v1/data/limits"),
        ("PUT", "/v1/policies/p"),
        ("DELETE", "/v1/policies/p"),
        ("PUT", "/v0/data/x"),
    ] {
        assert_eq!(code(method, path, b"{}"), is(405, "invalid_operation"), "{method} {path}");
    }
    assert_eq!(code("POST", "/v1/query", b"{}"), is(404, "resource_not_found"));
    let gzip = [("content-encoding", "gzip")];
    let mut bomb = GzEncoder::new(Vec::new(), Compression::fast());
    bomb.write_all(&vec![b' '; 20 << 20]).unwrap();
    for body in [b"{}".to_vec(), bomb.finish().unwrap()] {
        assert_eq!(call(&server, "POST", "/v1/data/p/allow", &gzip, &body).status, 400);
    }
    let yaml = [("content-type", "application/x-yaml")];
    assert_eq!(call(&server, "POST", "/v1/data/p/allow", &yaml, b"input: 1").status, 400);
    // It still answers.
    assert_eq!(call(&server, "GET", "/health", &[], b"").status, 200);
}

/// A collector of decision logs: refuses the first batch, takes the others, and passes them on.
fn collector() -> (String, mpsc::Receiver<(String, Vec<Value>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/collect", listener.local_addr().unwrap());
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                if line.trim().is_empty() {
                    break;
                }
                let lower = line.to_ascii_lowercase();
                if let Some(value) = lower.strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                head += &lower;
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let status = if number == 0 { "503 Busy" } else { "200 OK" };
            let answer =
                format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.get_mut().write_all(answer.as_bytes()).unwrap();
            let mut text = String::new();
            GzDecoder::new(body.as_slice()).read_to_string(&mut text).unwrap();
            if number > 0 && sender.send((head, serde_json::from_str(&text).unwrap())).is_err() {
                break;
            }
        }
    });
    (url, receiver)
}

#[test]
fn decisions_are_logged_in_opas_form() {
    let home = home();
    home.write("p/hard.rego", HARD);
    home.write(
        "p/mask.rego",
        "package system.log\n\nimport rego.v1\n\nmask contains \"/input/password\"\n\n\
         mask contains {\"op\": \"upsert\", \"path\": \"/input/name\", \"value\": \"**\"} if input.input.name\n\n\
         drop if input.path == \"limits\"\n",
    );
    home.write("token", "secret\n");
    let (url, events) = collector();
    let server = serve(
        &home,
        &format!(
            "--bundle p --decision-log log.jsonl --decision-log-url {url} \
             --decision-log-token-file token"
        ),
    );
    let input = json!({"score": 2, "role": "lead", "password": "x", "name": "n"});
    let answer = post(&server, "/v1/data/p/allow", &json!({"input": input})).json();
    assert_eq!(answer["result"], true);
    post(&server, "/v1/data/limits", &json!({"input": {}}));
    post(&server, "/v1/data/hard/fails", &json!({"input": {"zero": 0}}));
    let log = String::from_utf8(home.read("log.jsonl")).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{log}");
    let event = &lines[0];
    assert_eq!(event["decision_id"], answer["decision_id"]);
    assert_eq!(event["path"], "p/allow");
    assert_eq!(event["input"], json!({"score": 2, "role": "lead", "name": "**"}));
    assert_eq!(event["result"], true);
    assert_eq!(event["erased"], json!(["/input/password"]));
    assert_eq!(event["masked"], json!(["/input/name"]));
    assert_eq!(event["bundles"], json!({"p": {"revision": ""}}));
    assert!(text(&event["requested_by"]).starts_with("127.0.0.1:"));
    assert!(text(&event["timestamp"]).ends_with('Z'));
    assert!(event["labels"]["id"].is_string() && event["metrics"].is_object());
    assert_eq!(lines[1]["error"]["code"], "internal_error");
    // The same events, after the collector had refused them once.
    let mut sent = Vec::new();
    while sent.len() < 2 {
        let (head, batch) = events.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(head.starts_with("post /collect/logs http/1.1"), "{head}");
        assert!(head.contains("authorization: bearer secret"), "{head}");
        assert!(head.contains("content-encoding: gzip"), "{head}");
        sent.extend(batch);
    }
    assert_eq!(sent, lines);
    server.stop();
}

#[test]
fn a_decision_that_cannot_be_logged_is_not_given() {
    let home = home();
    let ran = home.run("policy serve --bundle p --decision-log /dev/full --listen 127.0.0.1:0");
    ran.failed(3, "cannot append to the decision log");
    home.run("policy serve --bundle p --decision-log-url http://logs.example")
        .failed(2, "http://logs.example is no collector to send decisions to");
    home.run("policy serve --bundle p --listen 0.0.0.0:0")
        .failed(2, "plain http for other machines");
    home.run("policy serve --bundle absent").failed(2, "absent");
    home.run("policy serve --bundle p --key keys/owner.pub").failed(1, "p is not a bundle");
}

#[test]
fn a_bundle_is_served_if_it_is_signed_as_it_should_be() {
    let home = home();
    home.write(
        "p/main.rego",
        "package sealwright.main\n\nimport rego.v1\n\n\
         decision := {\"allow\": false, \"violations\": [], \"evidence\": []}\n",
    );
    home.must("policy build p --key keys/owner.key --revision 9");
    home.run("policy serve --bundle policy.tar.gz --key keys/stranger.pub")
        .failed(1, "signature is not valid under this key");
    let server = serve(&home, "--bundle policy.tar.gz --key keys/owner.pub");
    assert_eq!(server.ready["bundles"], json!({"policy.tar.gz": "9"}));
    let answer =
        post(&server, "/v1/data/p/allow?provenance", &json!({"input": {"score": 1}})).json();
    assert_eq!(answer["result"], false);
    assert_eq!(answer["provenance"]["bundles"]["policy.tar.gz"]["revision"], "9");
    // Owners' approval.
    home.must("policy sign policy.tar.gz --key keys/owner.key");
    let line = "--bundle policy.tar.gz --approval policy.sigstore.jsonl";
    home.run(&format!("policy serve {line} --owner-key keys/stranger.pub"))
        .failed(1, "not an owner's");
    serve(&home, &format!("{line} --owner-key keys/owner.pub")).stop();
}
