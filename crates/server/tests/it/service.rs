//! The attestation service over real sockets.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Barrier;

use sealwright_attest::{
    Bundle, Curve, KeyFile, Owners, PublicKey, RoleBinding, Signer as _, Statement, Subject,
    TrustedRoot, VerificationMaterial, Verified, check_signature, sign, verify,
};
use sealwright_manifest::Sha256;
use sealwright_server::client::{ClientError, ServiceClient};
use sealwright_server::service::{Config, Running, StartError, TlsFiles, start};
use sealwright_server::tls;
use sealwright_tlog::tile::{FULL_WIDTH, parse_entry_bundle};
use sealwright_tlog::{
    Checkpoint, Tile, leaf_hash, stored_hashes_for_leaf, tree_hash, verify_checkpoint,
};
use serde_json::{Value, json};

const PREDICATE: &str = "https://example.com/note/v1";

pub(crate) fn config(dir: &Path) -> Config {
    Config { listen: "127.0.0.1:0".parse().unwrap(), ..Config::new(dir.join("data")) }
}

pub(crate) fn serve(dir: &Path) -> Running {
    start(&config(dir)).unwrap()
}

pub(crate) fn client(service: &Running) -> ServiceClient {
    ServiceClient::new(&service.url(), None).unwrap()
}

pub(crate) fn key() -> KeyFile {
    KeyFile::generate(Curve::P256).unwrap()
}

pub(crate) fn subject(of: &str) -> Sha256 {
    Sha256::of(of.as_bytes())
}

pub(crate) fn note(key: &KeyFile, about: &str, text: &str) -> Bundle {
    let statement = Statement {
        subject: vec![Subject::sha256("model", &subject(about))],
        predicate_type: PREDICATE.to_owned(),
        predicate: json!({"text": text}),
    };
    sign(statement.to_payload(), key, "").unwrap()
}

pub(crate) fn submission(bundle: &Bundle, key: &PublicKey) -> Value {
    json!({"bundle": bundle.to_value(), "publicKey": key.pem()})
}

/// What a verifier does who knows the signer and has the service's trusted root.
fn verified(bundle: &Bundle, signer: &KeyFile, trusted_root: &str) -> Verified {
    let owner = key();
    let predicate = json!({"principals": [{
        "name": "trainer@loans.example",
        "publicKeys": [signer.public_key().pem()],
        "roles": [],
    }]});
    let binding = RoleBinding::statement(predicate).unwrap();
    let owners = Owners::new(vec![owner.public_key().clone()], 1).unwrap();
    let binding = sign(binding.to_payload(), &owner, "").unwrap();
    let roles = RoleBinding::verify(&[binding], &owners, None).unwrap();
    verify(bundle, &roles, &TrustedRoot::parse(trusted_root.as_bytes()).unwrap()).unwrap()
}

/// An answer as it came over the socket.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn reason(&self) -> String {
        self.json()["details"][0]["reason"].as_str().unwrap_or_default().to_owned()
    }
}

pub(crate) fn send(to: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.write_all(request).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_ascii_lowercase(), body: bytes[end + 4..].to_vec() }
}

pub(crate) fn get(service: &Running, path: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    send(service.local_addr(), request.as_bytes())
}

fn post(service: &Running, content_type: &str, body: &[u8]) -> Answer {
    let head = format!(
        "POST /api/v1/bundles HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    send(service.local_addr(), &[head.as_bytes(), body].concat())
}

pub(crate) fn post_json(service: &Running, body: &Value) -> Answer {
    post(service, "application/json", body.to_string().as_bytes())
}

/// Everything a monitor can check: the tree rebuilt from the entry bundles has the checkpoint's
/// root, and every hash tile is that of the tree.
pub(crate) fn check_log(service: &Running) -> Checkpoint {
    let root = TrustedRoot::parse(service.trusted_root_json().as_bytes()).unwrap();
    let signed = get(service, "/api/v2/checkpoint");
    let checkpoint = verify_checkpoint(&signed.body, &root.logs()[0].key).unwrap();
    let checkpoint = checkpoint.checkpoint().clone();
    let fetch = |tile: Tile| {
        let answer = get(service, &format!("/api/v2/{tile}"));
        assert_eq!(answer.status, 200, "{tile}");
        answer.body
    };
    let mut hashes = Vec::new();
    for index in 0..checkpoint.size.div_ceil(256) {
        let width = u16::try_from((checkpoint.size - index * 256).min(256)).unwrap();
        let bundle = fetch(Tile::entries(index, width).unwrap());
        let mut leaves: Vec<u8> = Vec::new();
        for (place, body) in parse_entry_bundle(&bundle, width).unwrap().into_iter().enumerate() {
            let leaf = leaf_hash(body);
            leaves.extend(leaf.as_bytes());
            let index = index * 256 + place as u64;
            let new = stored_hashes_for_leaf(index, leaf, &hashes).unwrap();
            hashes.extend(new);
        }
        assert_eq!(fetch(Tile::hashes(0, index, width).unwrap()), leaves);
    }
    assert_eq!(tree_hash(checkpoint.size, &hashes).unwrap(), checkpoint.root);
    let full = u16::try_from(checkpoint.size / 256).unwrap();
    if let Some(tile) = Tile::hashes(1, 0, full) {
        assert_eq!(Some(fetch(tile)), tile.hash_data(&hashes).map(Result::unwrap));
    }
    checkpoint
}

#[test]
fn what_is_submitted_can_be_verified_and_found() {
    let dir = tempfile::tempdir().unwrap();
    let service = serve(dir.path());
    let client = client(&service);
    let signer = key();
    let first = note(&signer, "model", "first");
    let second = note(&signer, "model", "second");
    let other = note(&signer, "another model", "third");
    let mut completed = Vec::new();
    for (index, bundle) in [&first, &second, &other].into_iter().enumerate() {
        let answer = client.submit(bundle, signer.public_key()).unwrap();
        let fact = verified(&answer, &signer, service.trusted_root_json());
        assert_eq!(fact.logged().index(), index as u64);
        assert_eq!(fact.logged().origin(), "localhost");
        completed.push(answer);
    }
    let about = |name: &str| client.statements_about(&subject(name).to_string()).unwrap();
    assert_eq!(about("model"), completed[..2]);
    assert_eq!(about("another model"), completed[2..]);
    assert!(about("no model").is_empty());
    assert_eq!(client.statements_of_type(PREDICATE).unwrap(), completed);
    assert_eq!(client.statements_of_type("none").unwrap(), []);
    assert_eq!(check_log(&service).size, 3);
}

#[test]
fn large_answers_come_in_pages() {
    let dir = tempfile::tempdir().unwrap();
    let service = serve(dir.path());
    let client = client(&service);
    let signer = key();
    // Two of these fill a page.
    let submit = |letter: &str| {
        let bundle = note(&signer, "model", &letter.repeat(3 << 20));
        client.submit(&bundle, signer.public_key()).unwrap()
    };
    let completed = ["a", "b", "c"].map(submit);
    let path = format!("/api/v1/bundles?subject={}", subject("model"));
    let first = get(&service, &path).json();
    assert_eq!((first["bundles"].as_array().unwrap().len(), &first["next"]), (2, &json!(2)));
    let last = get(&service, &format!("{path}&from=2")).json();
    assert_eq!((&last["bundles"][0], last.get("next")), (&completed[2].to_value(), None));
    let found = client.statements_about(&subject("model").to_string()).unwrap();
    assert!(found == completed, "all of them, in order");
}

#[test]
fn the_same_signature_is_logged_once() {
    let dir = tempfile::tempdir().unwrap();
    let service = serve(dir.path());
    let client = client(&service);
    let signer = key();
    let bundle = note(&signer, "model", "once");
    let first = client.submit(&bundle, signer.public_key()).unwrap();
    client.submit(&note(&signer, "model", "between"), signer.public_key()).unwrap();
    // Complete already, or with something else in place of the entry: it makes no difference.
    assert_eq!(client.submit(&first, signer.public_key()).unwrap(), first);
    let again = post_json(&service, &submission(&bundle, signer.public_key()));
    assert_eq!(again.status, 200);
    assert_eq!(Bundle::parse(&again.body).unwrap(), first);
    assert_eq!(check_log(&service).size, 2);
}

#[test]
fn a_copy_without_hint_does_not_stand_in_the_way() {
    let dir = tempfile::tempdir().unwrap();
    let service = serve(dir.path());
    let client = client(&service);
    let signer = key();
    let bundle = note(&signer, "model", "mine");
    let material = VerificationMaterial::PublicKey { hint: String::new() };
    let stripped = Bundle::new(bundle.envelope().clone(), material);
    client.submit(&stripped, signer.public_key()).unwrap();
    let found = client.statements_about(&subject("model").to_string()).unwrap();
    verified(&found[0], &signer, service.trusted_root_json());
}

#[test]
fn a_burst_from_many_sides_is_logged_completely() {
    const THREADS: usize = 8;
    const EACH: usize = 40;
    let dir = tempfile::tempdir().unwrap();
    let service = serve(dir.path());
    let signer = key();
    let barrier = Barrier::new(THREADS);
    let mut indexes: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (service, signer, barrier) = (&service, &signer, &barrier);
                scope.spawn(move || {
                    let client = client(service);
                    barrier.wait();
                    let submit = |n| {
                        let bundle = note(signer, "model", &format!("{thread} {n}"));
                        let completed = client.submit(&bundle, signer.public_key()).unwrap();
                        let root = service.trusted_root_json().as_bytes();
                        let root = TrustedRoot::parse(root).unwrap();
                        let signed = check_signature(&completed, signer.public_key()).unwrap();
                        signed.check_log(&completed, &root).unwrap().index()
                    };
                    (0..EACH).map(submit).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    indexes.sort_unstable();
    let size = (THREADS * EACH) as u64;
    assert_eq!(indexes, (0..size).collect::<Vec<_>>());
    assert_eq!(check_log(&service).size, size);
    assert_eq!(client(&service).statements_of_type(PREDICATE).unwrap().len(), THREADS * EACH);
    // A partial tile that was never published, cut from the full one.
    let cut = get(&service, "/api/v2/tile/entries/000.p/7");
    assert_eq!(parse_entry_bundle(&cut.body, 7).unwrap().len(), 7);
    let full = get(&service, "/api/v2/tile/0/000").body;
    assert_eq!(full.len(), usize::from(FULL_WIDTH) * 32);
    assert_eq!(get(&service, "/api/v2/tile/0/000.p/255").body, full[..255 * 32]);
}

#[test]
fn a_restart_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    let service = serve(dir.path());
    assert!(service.initialised().log_key_created);
    let trusted_root = service.trusted_root_json().to_owned();
    let mode = std::fs::metadata(service.log_key_path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let on_disk = || std::fs::read_to_string(dir.path().join("data/trusted_root.json")).unwrap();
    assert_eq!(on_disk(), trusted_root);
    let signer = key();
    let completed =
        client(&service).submit(&note(&signer, "model", "kept"), signer.public_key()).unwrap();
    let old = check_log(&service);
    service.stop();

    let service = serve(dir.path());
    assert!(!service.initialised().log_key_created);
    assert_eq!(service.trusted_root_json(), trusted_root);
    let again = client(&service);
    assert_eq!(again.statements_about(&subject("model").to_string()).unwrap(), [completed]);
    again.submit(&note(&signer, "model", "more"), signer.public_key()).unwrap();
    let answer = again.consistency(old.size).unwrap();
    let root = TrustedRoot::parse(trusted_root.as_bytes()).unwrap();
    let new = verify_checkpoint(&answer.checkpoint, &root.logs()[0].key).unwrap();
    assert_eq!(new.checkpoint().size, 2);
    answer.proof.verify(&old.root, &new.checkpoint().root).unwrap();
    service.stop();

    // The trusted root can be made again: its key counts from the first entry on.
    std::fs::remove_file(dir.path().join("data/trusted_root.json")).unwrap();
    let service = serve(dir.path());
    let found = client(&service).statements_of_type(PREDICATE).unwrap();
    for bundle in &found {
        verified(bundle, &signer, &on_disk());
    }
    assert_eq!(found.len(), 2);
}

#[test]
fn malformed_submissions_are_the_clients_fault() {
    let dir = tempfile::tempdir().unwrap();
    let service = serve(dir.path());
    let signer = key();
    let good = submission(&note(&signer, "model", "x"), signer.public_key());
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut body = good.clone();
        change(&mut body);
        body.to_string()
    };
    let text = good.to_string();
    let envelope = |body: &mut Value, member: &str, value: Value| {
        body["bundle"]["dsseEnvelope"][member] = value;
    };
    let malformed_subject = Statement {
        subject: vec![Subject {
            name: String::new(),
            digest: [("sha256".to_owned(), "AB".repeat(32))].into(),
            annotations: serde_json::Map::new(),
        }],
        predicate_type: PREDICATE.to_owned(),
        predicate: json!({}),
    };
    let malformed_subject = sign(malformed_subject.to_payload(), &signer, "").unwrap();
    let not_a_statement = sign(b"{}".to_vec(), &signer, "").unwrap();
    let approval = Statement {
        subject: vec![Subject::sha256("model", &subject("model"))],
        predicate_type: sealwright_attest::predicate::APPROVAL.to_owned(),
        predicate: json!({"decision": "maybe"}),
    };
    let approval = sign(approval.to_payload(), &signer, "").unwrap();
    for (body, reason) in [
        (String::new(), "JSON_MALFORMED"),
        (text[..text.len() - 1].to_owned(), "JSON_MALFORMED"),
        (text.replacen('{', r#"{"publicKey":"x","#, 1), "JSON_MALFORMED"),
        ("[".repeat(100_000), "JSON_MALFORMED"),
        ("[]".to_owned(), "REQUEST_SHAPE"),
        ("null".to_owned(), "REQUEST_SHAPE"),
        (changed(&|b| b["extra"] = 1.into()), "REQUEST_SHAPE"),
        (changed(&|b| b["publicKey"] = 1.into()), "REQUEST_SHAPE"),
        (changed(&|b| b["publicKey"] = "none".into()), "KEY_MALFORMED"),
        (changed(&|b| b["bundle"] = Value::Null), "BUNDLE_MALFORMED"),
        (changed(&|b| b["bundle"]["extra"] = 1.into()), "BUNDLE_MALFORMED"),
        (changed(&|b| envelope(b, "signatures", json!([]))), "BUNDLE_MALFORMED"),
        (changed(&|b| envelope(b, "payload", "e30=".into())), "SIGNATURE_INVALID"),
        (changed(&|b| envelope(b, "payloadType", "text/plain".into())), "PAYLOAD_TYPE"),
        (changed(&|b| b["publicKey"] = key().public_key().pem().into()), "OTHER_KEY"),
        (submission(&malformed_subject, signer.public_key()).to_string(), "DIGEST"),
        (submission(&not_a_statement, signer.public_key()).to_string(), "STATEMENT_MALFORMED"),
        (submission(&approval, signer.public_key()).to_string(), "PREDICATE_SCHEMA"),
    ] {
        let answer = post(&service, "application/json", body.as_bytes());
        let excerpt: String = body.chars().take(200).collect();
        assert_eq!((answer.status, answer.reason().as_str()), (400, reason), "{excerpt}");
        assert_eq!(answer.json()["code"], 3, "{excerpt}");
    }
    assert_eq!(post(&service, "text/plain", text.as_bytes()).status, 415);
    assert_eq!(check_log(&service).size, 0);
    // After all that, a good one.
    let charset = "application/json; charset=utf-8";
    assert_eq!(post(&service, charset, text.as_bytes()).status, 201);
}

#[test]
fn large_bodies_and_headers_are_refused_unread() {
    let dir = tempfile::tempdir().unwrap();
    let service = serve(dir.path());
    let head = "POST /api/v1/bundles HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                Content-Type: application/json\r\n";
    let announced = format!("{head}Content-Length: {}\r\n\r\n", (16 << 20) + 1);
    let answer = send(service.local_addr(), announced.as_bytes());
    assert_eq!((answer.status, answer.reason().as_str()), (413, "TOO_LARGE"));
    let unannounced = format!("{head}Transfer-Encoding: chunked\r\n\r\n1000001\r\n");
    let body = [unannounced.into_bytes(), vec![b' '; (16 << 20) + 1]].concat();
    let answer = send(service.local_addr(), &body);
    assert_eq!((answer.status, answer.reason().as_str()), (413, "TOO_LARGE"));
    let fields = format!("{head}{}\r\n", "X-Field: 1\r\n".repeat(200));
    assert_eq!(send(service.local_addr(), fields.as_bytes()).status, 431);
}

#[test]
fn errors_of_reading_are_precise_too() {
    let dir = tempfile::tempdir().unwrap();
    let service = serve(dir.path());
    let hex = subject("x").to_string();
    for (path, status, code) in [
        ("/", 404, 5),
        ("/api/v1/nothing", 404, 5),
        ("/api/v1/bundles?limit=0", 400, 3),
        ("/api/v1/statements?limit=1001", 400, 3),
        ("/api/v1/statements?since=yesterday", 400, 3),
        ("/api/v1/bundles/0", 404, 5),
        ("/api/v1/bundles/x/original", 404, 5),
        ("/api/v1/bundles?subject=", 400, 3),
        ("/api/v1/bundles?subject=ab", 400, 3),
        (&format!("/api/v1/bundles?subject={}", hex.to_uppercase()), 400, 3),
        (&format!("/api/v1/bundles?subject={hex}&subject={hex}"), 400, 3),
        (&format!("/api/v1/bundles?subject={hex}&signer=x&identity=y"), 400, 3),
        (&format!("/api/v1/bundles?subject={hex}&other=x"), 400, 3),
        ("/api/v1/consistency", 400, 3),
        ("/api/v1/consistency?old=-1", 400, 3),
        ("/api/v1/consistency?old=1", 400, 11),
        ("/api/v1/consistency?old=18446744073709551615", 400, 11),
        ("/api/v2/tile/0/000", 404, 5),
        ("/api/v2/tile/0/000.p/1", 404, 5),
        ("/api/v2/tile/0/%30%30%30", 404, 5),
        ("/api/v2/tile/0/../../../log-key.pem", 404, 5),
        ("/api/v2/tile/entries/x999/x999/x999/x999/999", 404, 5),
        ("/api/v2/tile/63/x999/x999/x999/x999/999", 404, 5),
    ] {
        let answer = get(&service, path);
        assert_eq!((answer.status, answer.json()["code"].as_u64()), (status, Some(code)), "{path}");
        assert!(answer.json()["message"].is_string());
    }
    let delete = b"DELETE /api/v1/bundles HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = send(service.local_addr(), delete);
    assert_eq!((answer.status, answer.json()["code"].as_u64()), (405, Some(12)));
    assert!(answer.head.contains("\r\nallow: get,head,post"), "{}", answer.head);
}

#[test]
fn reads_say_how_long_they_keep() {
    let dir = tempfile::tempdir().unwrap();
    let service = serve(dir.path());
    let signer = key();
    client(&service).submit(&note(&signer, "model", "x"), signer.public_key()).unwrap();
    let checkpoint = get(&service, "/api/v2/checkpoint");
    assert!(checkpoint.head.contains("content-type: text/plain; charset=utf-8"));
    assert!(checkpoint.head.contains("cache-control: no-cache"));
    assert_eq!(client(&service).checkpoint().unwrap(), checkpoint.body);
    let tile = get(&service, "/api/v2/tile/0/000.p/1");
    assert!(tile.head.contains("content-type: application/octet-stream"));
    assert!(tile.head.contains("immutable"));
    let oci = format!("/v2/models/referrers/sha256:{}", subject("model"));
    for path in
        ["/api/v1/bundles", "/api/v1/bundles/0", "/api/v1/bundles/7", "/api/v1/statements", &oci]
    {
        let head = get(&service, path).head;
        assert!(head.contains("\r\ncache-control: private, no-store"), "{path}: {head}");
        assert!(head.contains("\r\nvary: authorization"), "{path}: {head}");
        assert_eq!(head.matches("cache-control").count(), 1, "{path}: {head}");
    }
    assert_eq!(get(&service, "/healthz").json(), json!({"status": "SERVING"}));
    let root = get(&service, "/api/v1/trusted-root");
    assert_eq!(root.body, service.trusted_root_json().as_bytes());
}

#[test]
fn what_prevents_a_start_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let service = serve(dir.path());
    let config = config(dir.path());
    let other_dir = dir.path().join("other");
    let refused = |config: &Config| match start(config) {
        Ok(_) => panic!("{config:?} starts"),
        Err(error) => {
            assert!(!error.hint().is_empty());
            error
        }
    };

    let taken = Config { listen: service.local_addr(), ..Config::new(&other_dir) };
    assert!(matches!(refused(&taken), StartError::PortInUse { .. }));
    assert!(!other_dir.exists());
    let exposed = Config { listen: "0.0.0.0:0".parse().unwrap(), ..Config::new(&other_dir) };
    assert!(matches!(refused(&exposed), StartError::Exposed { .. }));
    let origin = Config { origin: "http://log.example".into(), ..config.clone() };
    assert!(matches!(refused(&origin), StartError::Origin { .. }));
    assert!(matches!(refused(&config), StartError::Locked { .. }));
    service.stop();

    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let on_file = Config { data_dir: file, ..config.clone() };
    assert!(matches!(refused(&on_file), StartError::NotADirectory { .. }));
    let renamed = Config { origin: "log.example".into(), ..config.clone() };
    assert!(matches!(refused(&renamed), StartError::OtherLog { .. }));

    let in_data = |name: &str| config.data_dir.join(name);
    let key_pem = std::fs::read(in_data("log-key.pem")).unwrap();
    std::fs::remove_file(in_data("log-key.pem")).unwrap();
    assert!(matches!(refused(&config), StartError::LogKeyMissing { .. }));
    std::fs::write(in_data("log-key.pem"), &key_pem[..40]).unwrap();
    assert!(matches!(refused(&config), StartError::LogKey { .. }));
    std::fs::write(in_data("log-key.pem"), key_pem).unwrap();
    let root = std::fs::read(in_data("trusted_root.json")).unwrap();
    std::fs::write(in_data("trusted_root.json"), "{}").unwrap();
    assert!(matches!(refused(&config), StartError::TrustedRoot { .. }));
    std::fs::write(in_data("trusted_root.json"), root).unwrap();
    std::fs::write(in_data("log.db"), "not a database, and longer than its header".repeat(9))
        .unwrap();
    assert!(matches!(refused(&config), StartError::Corrupt { .. }));
}

#[test]
fn plain_http_for_others_must_be_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        listen: "0.0.0.0:0".parse().unwrap(),
        insecure_plain_http: true,
        ..config(dir.path())
    };
    assert_eq!(get(&start(&config).unwrap(), "/healthz").status, 200);
}

#[test]
fn tls_with_a_certificate_of_our_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    tls::create(dir.path(), &names, 1_750_000_000).unwrap();
    let service = start(&Config {
        tls: Some(TlsFiles {
            certificate: path(tls::CERTIFICATE_FILE),
            key: path(tls::KEY_FILE),
            client_ca: None,
        }),
        ..config(dir.path())
    })
    .unwrap();
    // Says nothing, and holds nobody up.
    let silent = TcpStream::connect(service.local_addr()).unwrap();

    let ca = std::fs::read(path(tls::CA_FILE)).unwrap();
    let signer = key();
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("https://{host}:{}", service.local_addr().port());
        let client = ServiceClient::new(&url, Some(&ca)).unwrap();
        let bundle = note(&signer, "model", host);
        let completed = client.submit(&bundle, signer.public_key()).unwrap();
        verified(&completed, &signer, service.trusted_root_json());
    }
    assert!(service.trusted_root_json().contains("https://localhost"));

    let elsewhere = tempfile::tempdir().unwrap();
    tls::create(elsewhere.path(), &names, 1_750_000_000).unwrap();
    let other_ca = std::fs::read(elsewhere.path().join(tls::CA_FILE)).unwrap();
    let stranger = ServiceClient::new(&service.url(), Some(&other_ca)).unwrap();
    assert!(matches!(stranger.checkpoint(), Err(ClientError::Unreachable { .. })));
    let plain = format!("http://{}", service.local_addr());
    assert!(ServiceClient::new(&plain, None).unwrap().checkpoint().is_err());
    drop(silent);
}

#[test]
fn the_client_says_what_went_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let service = serve(dir.path());
    let there = client(&service);
    let signer = key();
    let bundle = note(&signer, "model", "x");
    match there.submit(&bundle, key().public_key()) {
        Err(ClientError::Refused { status: 400, reason, .. }) => assert_eq!(reason, "OTHER_KEY"),
        other => panic!("{other:?}"),
    }
    match there.statements_about("xyz") {
        Err(ClientError::Refused { status: 400, reason, .. }) => assert_eq!(reason, "DIGEST"),
        other => panic!("{other:?}"),
    }
    service.stop();
    assert!(matches!(
        there.submit(&bundle, signer.public_key()),
        Err(ClientError::Unreachable { .. })
    ));
}

#[test]
fn stopping_answers_what_is_under_way() {
    let dir = tempfile::tempdir().unwrap();
    let service = serve(dir.path());
    let signer = key();
    let body = submission(&note(&signer, "model", "late"), signer.public_key()).to_string();
    let mut stream = TcpStream::connect(service.local_addr()).unwrap();
    let head = format!(
        "POST /api/v1/bundles HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    // "100 Continue" comes when the handler reads the body: the request is under way.
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");

    let address = service.local_addr();
    let stopping = std::thread::spawn(move || service.stop());
    // The listener is gone; the request is not.
    while TcpStream::connect(address).is_ok() {
        std::thread::yield_now();
    }
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
    stopping.join().unwrap();
    assert_eq!(check_log(&serve(dir.path())).size, 1);
}

#[test]
fn a_signal_stops_the_service() {
    use rustix::process::{Signal, getpid, kill_process};
    let dir = tempfile::tempdir().unwrap();
    for signal in [Signal::TERM, Signal::INT] {
        let service = serve(dir.path());
        let address = service.local_addr();
        let signals = service.catch_signals().unwrap();
        kill_process(getpid(), signal).unwrap();
        service.run_until(signals).unwrap();
        assert!(TcpStream::connect(address).is_err());
    }
}
