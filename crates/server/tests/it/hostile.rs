//! Clients that mean no good: slow, many, huge, crooked. Others are served meanwhile.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::{Resource, getrlimit, setrlimit};
use sealwright_attest::{Curve, Signer as _};
use sealwright_server::service::{Config, Running, start};
use serde_json::json;

use crate::service::{check_log, client, config, get, key, note, send, serve, submission};

/// What a client who means well may wait for, however busy the machine that tests.
const PATIENCE: Duration = Duration::from_secs(20);

/// Reading and writing work, and not only after somebody else has run into a time limit.
#[track_caller]
fn assert_serves(service: &Running, text: &str) {
    let started = Instant::now();
    let signer = key();
    client(service).submit(&note(&signer, "model", text), signer.public_key()).unwrap();
    assert_eq!(get(service, "/api/v2/checkpoint").status, 200);
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
}

fn connect(service: &Running, start: &str) -> TcpStream {
    let mut stream = TcpStream::connect(service.local_addr()).unwrap();
    stream.write_all(start.as_bytes()).unwrap();
    stream
}

/// Whatever comes until the other side closes.
fn read_all(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    // A connection that is reset has ended too.
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn idle_and_slow_clients_make_room_for_others() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let service = serve(dir.path());
    let head = "POST /api/v1/bundles HTTP/1.1\r\nHost: localhost\r\n";
    let body =
        format!("{head}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
    let starts = ["", "GET /healthz HTT", head, &body, &format!("{body}5\r\n{{")];
    // More than there are places.
    let held: Vec<TcpStream> =
        (0..1300).map(|number| connect(&service, starts[number % starts.len()])).collect();
    for round in 0..3 {
        assert_serves(&service, &format!("round {round}"));
    }
    // The first of them lost their places.
    let mut first = held.into_iter();
    assert_eq!(read_all(first.next().unwrap()), "");
}

#[test]
fn bodies_that_do_not_come_take_nothing_away() {
    let dir = tempfile::tempdir().unwrap();
    let service = serve(dir.path());
    let head = "POST /api/v1/bundles HTTP/1.1\r\nHost: localhost\r\n\
                Content-Type: application/json\r\n";
    let announced = format!("{head}Content-Length: 16777216\r\n\r\n{{");
    let unannounced = format!("{head}Transfer-Encoding: chunked\r\n\r\n1\r\n{{\r\n");
    let held: Vec<TcpStream> = (0..100)
        .map(|number| connect(&service, if number % 2 == 0 { &announced } else { &unannounced }))
        .collect();
    assert_serves(&service, "meanwhile");
    // Each is told so in the end.
    let last = read_all(held.into_iter().next_back().unwrap());
    assert!(last.starts_with("HTTP/1.1 408 ") && last.contains("BODY_SLOW"), "{last}");
}

#[test]
fn what_is_said_twice_is_not_read_in_two_ways() {
    let dir = tempfile::tempdir().unwrap();
    let service = serve(dir.path());
    let hidden = "GET /api/v1/trusted-root HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let post = "POST /api/v1/bundles HTTP/1.1\r\nHost: localhost\r\n\
                Content-Type: application/json\r\n";
    let chunked = format!("Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}");
    for (request, status) in [
        (format!("{post}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}{hidden}"), "400"),
        (format!("{post}Content-Length: 2, 3\r\n\r\n{{}}{hidden}"), "400"),
        (format!("{post}Content-Length: +2\r\n\r\n{{}}{hidden}"), "400"),
        (format!("{post}Content-Length: -1\r\n\r\n{hidden}"), "400"),
        (format!("{post}Content-Length: 4\r\n{chunked}"), "400"),
        (
            format!("{post}{}", chunked.replace("\r\n\r\n0", "\r\nContent-Length: 4\r\n\r\n0")),
            "400",
        ),
        (format!("{post}{}", chunked.replace("chunked", "chunked, identity")), "400"),
        (format!("{post}{}", chunked.replace("chunked", "gzip")), "400"),
        (format!("{post}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{hidden}"), "400"),
        (format!("{post}{}", chunked.replace("\r\n0\r\n", "\r\n0x0\r\n")), "400"),
        (format!("{post} Content-Length: 2\r\n\r\n{{}}{hidden}"), "400"),
        (format!("{post}X-A: a\rb\r\n\r\n{hidden}"), "400"),
        (format!("{post}X-A: a\0b\r\n\r\n{hidden}"), "400"),
    ] {
        let answers = read_all(connect(&service, &request));
        let shown = format!("{request:?}\n{answers}");
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{shown}");
        assert!(answers.starts_with(&format!("HTTP/1.1 {status} ")), "{shown}");
        assert!(!answers.contains("tlogs"), "{shown}");
    }
    // The version with streams in it is not spoken.
    let frames = read_all(connect(&service, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
    assert!(!frames.starts_with("HTTP/1.1 2"), "{frames}");
    assert_serves(&service, "after that");
}

#[test]
fn encodings_and_odd_targets() {
    let dir = tempfile::tempdir().unwrap();
    let service = serve(dir.path());
    for encoding in ["gzip", "br", "zstd", "deflate", "identity, gzip", "GZIP"] {
        for path in ["/api/v1/bundles", "/api/v2/log/entries", "/api/v1/timestamp"] {
            // The beginning of a bomb: it is never looked at.
            let request = format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                 Content-Type: application/json\r\nContent-Encoding: {encoding}\r\n\
                 Content-Length: 10\r\n\r\n0123456789"
            );
            let answer = send(service.local_addr(), request.as_bytes());
            assert_eq!((answer.status, answer.reason().as_str()), (415, "CONTENT_ENCODING"));
        }
    }
    let target = |target: &str| {
        let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        send(service.local_addr(), request.as_bytes()).status
    };
    assert_eq!(target("http://elsewhere.example/healthz"), 200);
    for odd in [
        "/api/v2/tile/0/%00",
        "/api/v2/tile/0/000%00",
        "/api/v2/tile/0/000%2ep/1",
        "/api/v2/tile/0/x001%2f000",
        "/api/v2/tile/0//000",
        "/api/v2//tile/0/000",
        "/api/v2/tile/0/..%2f..%2flog-key.pem",
        "/api/v2/tile/%2e%2e/%2e%2e/log-key.pem",
        "/api/v2/tile/..\\..\\log-key.pem",
        "/tile/../log-key.pem",
        "/log-key.pem",
        "/%2e%2e/log-key.pem",
        "/api/v2/tile/0/000;x=1",
        "/api/v2/tile/0/000/",
        "/api/v2/tile/%ff%fe",
        "*",
        "//",
        "http://",
    ] {
        let status = target(odd);
        assert!(matches!(status, 400 | 404), "{odd}: {status}");
    }
    let connect = send(service.local_addr(), b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!((400..500).contains(&connect.status), "{}", connect.status);
}

/// The same numbers every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % sides as u64).unwrap()
    }

    /// The same with something wrong in it.
    fn change(&mut self, good: &[u8]) -> Vec<u8> {
        const TOKENS: [&[u8]; 14] = [
            b"null",
            b"{}",
            b"[]",
            b"\"\"",
            b"-1",
            b"1e999",
            b"{\"a\":",
            b"[[[[[[[[",
            b"\\u0000",
            b"\\ud800",
            b"true",
            b"\xff",
            b"\0",
            b"18446744073709551616",
        ];
        let mut bytes = good.to_vec();
        for _ in 0..=self.roll(3) {
            let (from, len) = (self.roll(bytes.len() + 1), self.roll(40));
            let to = (from + len).min(bytes.len());
            match self.roll(6) {
                0 => drop(bytes.drain(from..to)),
                1 => {
                    let copy = bytes[from..to].to_vec();
                    let place = self.roll(bytes.len() + 1);
                    bytes.splice(place..place, copy);
                }
                2 => {
                    let token = TOKENS[self.roll(TOKENS.len())];
                    bytes.splice(from..to, token.iter().copied());
                }
                3 => bytes.truncate(from),
                _ if bytes.is_empty() => {}
                4 => bytes[from.min(good.len()).saturating_sub(1) % good.len().max(1)..]
                    .iter_mut()
                    .take(1)
                    .for_each(|byte| *byte ^= 1 << (len % 8)),
                _ => {
                    let place = self.roll(bytes.len());
                    bytes[place] = u8::try_from(self.roll(256)).unwrap();
                }
            }
        }
        bytes
    }
}

#[test]
fn nothing_that_is_sent_makes_the_service_fail() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("jwks.json"), r#"{"keys": []}"#).unwrap();
    let issuers = dir.path().join("issuers.toml");
    let text =
        "[[issuer]]\nurl = \"https://id.example\"\nkind = \"email\"\njwks_file = \"jwks.json\"\n";
    std::fs::write(&issuers, text).unwrap();
    let service =
        start(&Config { init: true, issuers: Some(issuers), ..config(dir.path()) }).unwrap();
    let signer = key();
    let spki = STANDARD.encode(signer.public_key().spki());
    let digest = STANDARD.encode(Curve::P256.hash(b"artifact"));
    let signature = STANDARD.encode(signer.sign(b"artifact").unwrap());
    let verifier =
        json!({"publicKey": {"rawBytes": spki}, "keyDetails": "PKIX_ECDSA_P256_SHA_256"});
    let bundle = note(&signer, "model", "x");
    let token = {
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let claims = json!({"iss": "https://id.example", "aud": "sigstore", "sub": "1"});
        format!("{}.{}.AAAA", part(json!({"alg": "ES256", "kid": "1"})), part(claims))
    };
    let csr = {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        STANDARD.encode(params.serialize_request(&key).unwrap().pem().unwrap())
    };
    // SHA-256 of "artifact", with a nonce.
    let query = [
        &[
            0x30, 0x44, 2, 1, 1, 0x30, 0x31, 0x30, 13, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1,
            5, 0, 4, 32,
        ][..],
        &Curve::P256.hash(b"artifact"),
        &[2, 9, 0, 0xff, 1, 2, 3, 4, 5, 6, 7, 1, 1, 0xff],
    ]
    .concat();
    let json_type = "application/json";
    let requests: [(&str, &str, Vec<u8>); 8] = [
        (
            "/api/v1/bundles",
            json_type,
            submission(&bundle, signer.public_key()).to_string().into_bytes(),
        ),
        (
            "/api/v2/log/entries",
            json_type,
            json!({"hashedRekordRequestV002": {
                "digest": digest,
                "signature": {"content": signature, "verifier": verifier},
            }})
            .to_string()
            .into_bytes(),
        ),
        (
            "/api/v2/log/entries",
            json_type,
            json!({"dsseRequestV002": {
                "envelope": bundle.to_value()["dsseEnvelope"],
                "verifiers": [verifier],
            }})
            .to_string()
            .into_bytes(),
        ),
        (
            "/api/v2/signingCert",
            json_type,
            json!({
                "credentials": {"oidcIdentityToken": token},
                "certificateSigningRequest": csr,
            })
            .to_string()
            .into_bytes(),
        ),
        (
            "/api/v2/signingCert",
            json_type,
            json!({
                "credentials": {"oidcIdentityToken": token},
                "publicKeyRequest": {
                    "publicKey": {"algorithm": "ECDSA", "content": signer.public_key().pem()},
                    "proofOfPossession": signature,
                },
            })
            .to_string()
            .into_bytes(),
        ),
        (
            "/api/v1/timestamp",
            json_type,
            json!({"artifactHash": digest, "hashAlgorithm": "sha256", "certificates": true})
                .to_string()
                .into_bytes(),
        ),
        ("/api/v1/timestamp", "application/timestamp-query", query),
        // The query of a search, in the place of a body.
        ("", "", format!("/api/v1/bundles?subject={}&from=0", "ab".repeat(32)).into_bytes()),
    ];
    let mut dice = Dice(4);
    for (path, content_type, good) in requests {
        for round in 0..150 {
            let sent = if round == 0 { good.clone() } else { dice.change(&good) };
            let request = match path {
                "" => {
                    let target: String = sent
                        .iter()
                        .map(|b| match b {
                            b'!'..=b'~' => char::from(*b).to_string(),
                            other => format!("%{other:02x}"),
                        })
                        .collect();
                    format!("GET /{target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                        .into_bytes()
                }
                path => {
                    let head = format!(
                        "POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
                         Content-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
                        sent.len()
                    );
                    [head.as_bytes(), &sent].concat()
                }
            };
            let answer = send(service.local_addr(), &request);
            let shown = String::from_utf8_lossy(&request);
            assert!(answer.status < 500, "{}: {shown}", answer.status);
            let is_refusal = answer.status >= 400;
            // What is no request line at all is refused without a word.
            let is_explained = !is_refusal
                || (path.is_empty() && answer.status == 400 && answer.body.is_empty())
                || answer.json()["message"].is_string();
            assert!(is_explained, "{}: {shown}", answer.status);
            if round == 0 && !path.is_empty() && path != "/api/v2/signingCert" {
                assert!(!is_refusal, "{}: {shown}", answer.json());
            }
        }
    }
    check_log(&service);
}
