//! The client against services that err or lie.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;

use sealwright_attest::{Bundle, Curve, KeyFile, Signer as _, Statement, Subject, sign};
use sealwright_manifest::Sha256;
use sealwright_server::client::{ClientError, ServiceClient};
use serde_json::json;

/// A client of a service that answers one request after the other with these.
fn answering(answers: Vec<String>) -> ServiceClient {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for answer in answers {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let mut body_length = 0;
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    body_length = value.trim().parse().unwrap();
                }
                if line == "\r\n" {
                    break;
                }
            }
            std::io::copy(&mut reader.by_ref().take(body_length), &mut std::io::sink()).unwrap();
            // The client may have had enough before the end.
            let _ = reader.into_inner().write_all(answer.as_bytes());
        }
    });
    ServiceClient::new(&url, None).unwrap()
}

fn ok(body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
}

fn once(answer: String) -> ServiceClient {
    answering(vec![answer])
}

fn bundle(key: &KeyFile, text: &str) -> Bundle {
    let statement = Statement {
        subject: vec![Subject::sha256("model", &Sha256::of(b"model"))],
        predicate_type: "https://example.com/note/v1".to_owned(),
        predicate: json!({"text": text}),
    };
    sign(statement.to_payload(), key, "").unwrap()
}

#[test]
fn another_bundle_than_was_sent_is_refused() {
    let key = KeyFile::generate(Curve::P256).unwrap();
    let (mine, other) = (bundle(&key, "mine"), bundle(&key, "other"));
    for answer in [&mine, &other] {
        let result = once(ok(&answer.to_json())).submit(&mine, key.public_key());
        // The right one has no log entry: nothing was completed.
        assert!(matches!(result, Err(ClientError::OtherBundle)), "{result:?}");
    }
}

#[test]
fn what_cannot_be_read_is_an_error_and_not_left_out() {
    let key = KeyFile::generate(Curve::P256).unwrap();
    let good = bundle(&key, "good").to_json();
    let find = |answer: &str| once(ok(answer)).statements_about("x");
    assert_eq!(find(&format!(r#"{{"bundles":[{good}]}}"#)).unwrap().len(), 1);
    for answer in [
        "",
        "[]",
        "{}",
        r#"{"bundles":null}"#,
        r#"{"bundles":[],"bundles":[]}"#,
        r#"{"bundles":[],"next":"1"}"#,
        r#"{"bundles":[],"next":0}"#,
        r#"{"bundles":[],"next":1}"#,
        &format!(r#"{{"bundles":[{good},{{}}]}}"#),
    ] {
        assert!(matches!(find(answer), Err(ClientError::Malformed { .. })), "{answer}");
    }
    let message = r#"{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial":{"publicKey":{"hint":""}},
        "messageSignature":{"signature":""}}"#;
    // A signed file says nothing about it.
    assert_eq!(find(&format!(r#"{{"bundles":[{message},{good}]}}"#)).unwrap().len(), 1);
    let proof = r#"{"oldSize":2,"newSize":3,"hashes":[],"checkpoint":""}"#;
    assert!(matches!(once(ok(proof)).consistency(1), Err(ClientError::Malformed { .. })));
    assert_eq!(once(ok(proof)).consistency(2).unwrap().proof.new_size, 3);
}

#[test]
fn pages_are_followed_forwards_only() {
    let key = KeyFile::generate(Curve::P256).unwrap();
    let page = |text: &str, next: u64| {
        ok(&format!(r#"{{"bundles":[{}],"next":{next}}}"#, bundle(&key, text).to_json()))
    };
    let last = ok(r#"{"bundles":[]}"#);
    let found = answering(vec![page("a", 5), page("b", 9), last]).statements_about("x").unwrap();
    assert_eq!(found.len(), 2);
    let circle = answering(vec![page("a", 5), page("b", 5)]).statements_about("x");
    assert!(matches!(circle, Err(ClientError::Malformed { .. })));
}

#[test]
fn no_answer_is_taken_without_end() {
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat((1 << 20) + 1));
    let result = once(endless).checkpoint();
    assert!(matches!(result, Err(ClientError::TooLarge { limit: 1_048_576 })), "{result:?}");
}

#[test]
fn redirects_and_broken_answers_are_not_answers() {
    let elsewhere = "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/\r\n\
                     Content-Length: 0\r\n\r\n";
    assert!(matches!(
        once(elsewhere.to_owned()).checkpoint(),
        Err(ClientError::Refused { status: 307, .. })
    ));
    for broken in ["", "SSH-2.0-OpenSSH\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"] {
        let result = once(broken.to_owned()).checkpoint();
        assert!(matches!(result, Err(ClientError::Unreachable { .. })), "{broken}: {result:?}");
    }
}
