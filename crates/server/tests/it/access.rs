//! Who may come in: certificates that change, writers and readers by every way, limits.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    PublicKeyData as _, SanType,
};
use sealwright_attest::{Bundle, KeyFile, Signer as _};
use sealwright_manifest::Sha256;
use sealwright_server::client::{ClientError, ServiceClient};
use sealwright_server::service::{Config, Running, StartError, TlsFiles, start};
use sealwright_server::tls;
use serde_json::{Value, json};

use crate::service::{
    check_log, client, config, get, key, note, post_json, send, serve, subject, submission,
};

const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

fn make_tls(dir: &Path) -> PathBuf {
    std::fs::create_dir_all(dir).unwrap();
    tls::create(dir, &NAMES.map(str::to_owned), 1_750_000_000).unwrap();
    dir.join(tls::CA_FILE)
}

fn tls_files(dir: &Path, client_ca: Option<PathBuf>) -> Option<TlsFiles> {
    let path = |name| dir.join(name);
    let (certificate, key) = (path(tls::CERTIFICATE_FILE), path(tls::KEY_FILE));
    Some(TlsFiles { certificate, key, client_ca })
}

/// What a test waits for comes within a few seconds.
fn eventually(what: &str, is_there: impl Fn() -> bool) {
    let started = std::time::Instant::now();
    while !is_there() {
        assert!(started.elapsed().as_secs() < 60, "{what}");
        std::thread::yield_now();
    }
}

fn reason(outcome: Result<Bundle, ClientError>) -> String {
    match outcome {
        Ok(_) => "OK".to_owned(),
        Err(ClientError::Refused { reason, .. }) => reason,
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn a_new_certificate_is_served_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (tls_dir, next) = (dir.path().join("tls"), dir.path().join("next"));
    let (old_ca, new_ca) = (make_tls(&tls_dir), make_tls(&next));
    let service = start(&Config { tls: tls_files(&tls_dir, None), ..config(dir.path()) }).unwrap();
    let reaches = |ca: &Path| {
        let ca = std::fs::read(ca).unwrap();
        ServiceClient::new(&service.url(), Some(&ca)).unwrap().checkpoint().is_ok()
    };
    let old_ca_kept = dir.path().join("old-ca.pem");
    std::fs::copy(&old_ca, &old_ca_kept).unwrap();
    assert!(reaches(&old_ca_kept));
    assert!(!reaches(&new_ca));
    for name in [tls::CERTIFICATE_FILE, tls::KEY_FILE] {
        std::fs::rename(next.join(name), tls_dir.join(name)).unwrap();
    }
    eventually("the new certificate", || reaches(&new_ca));
    assert!(!reaches(&old_ca_kept));
}

/// An authority for clients, and certificates that it issues.
struct ClientCa {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl ClientCa {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Chain and key in PEM, and the SHA-256 of the public key.
    fn issue(&self, name: SanType) -> (String, String, String) {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = vec![name];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let spki = Sha256::of(&key.subject_public_key_info()).to_string();
        (certificate.pem(), key.serialize_pem(), spki)
    }
}

#[test]
fn writers_are_known_by_their_certificates() {
    let dir = tempfile::tempdir().unwrap();
    let ca = make_tls(&dir.path().join("tls"));
    let (clients, strangers) = (ClientCa::new(), ClientCa::new());
    let client_ca = dir.path().join("clients.pem");
    std::fs::write(&client_ca, &clients.pem).unwrap();
    let uri = |text: &str| SanType::URI(text.try_into().unwrap());
    let dns = |text: &str| SanType::DnsName(text.try_into().unwrap());
    let by_name = clients.issue(uri("spiffe://example.org/ci"));
    let by_key = clients.issue(dns("other.example"));
    let unknown = clients.issue(dns("spiffe.example"));
    // The same text as another kind of name is another name.
    let other_kind = clients.issue(SanType::Rfc822Name("ci@example.org".try_into().unwrap()));
    let forged = strangers.issue(uri("spiffe://example.org/ci"));
    let writers = dir.path().join("writers.toml");
    std::fs::write(
        &writers,
        format!(
            "[[writer]]\nname = \"ci\"\ncertificate = {{ san = \"uri:spiffe://example.org/ci\" }}\n\
             [[writer]]\nname = \"cd\"\ncertificate = {{ spki_sha256 = \"{}\" }}\n\
             [[writer]]\nname = \"x\"\ncertificate = {{ san = \"dns:ci@example.org\" }}\n",
            by_key.2
        ),
    )
    .unwrap();
    let with_writers = Config { writers: Some(writers), ..config(dir.path()) };
    assert!(matches!(start(&with_writers).err(), Some(StartError::Writers { .. })));
    let tls = tls_files(&dir.path().join("tls"), Some(client_ca));
    let service = start(&Config { tls, ..with_writers }).unwrap();
    let ca = std::fs::read(ca).unwrap();
    let signer = key();
    let submit = |shown: Option<&(String, String, String)>, text: &str| {
        let shown = shown.map(|(chain, key, _)| (chain.as_bytes(), key.as_bytes()));
        let client = ServiceClient::with_certificate(&service.url(), Some(&ca), shown).unwrap();
        client.submit(&note(&signer, "model", text), signer.public_key())
    };
    assert_eq!(reason(submit(Some(&by_name), "a")), "OK");
    assert_eq!(reason(submit(Some(&by_key), "b")), "OK");
    assert_eq!(reason(submit(Some(&unknown), "c")), "WRITER");
    assert_eq!(reason(submit(Some(&other_kind), "c")), "WRITER");
    assert_eq!(reason(submit(None, "c")), "WRITER");
    assert!(matches!(submit(Some(&forged), "c"), Err(ClientError::Unreachable { .. })));
    // Whoever shows nothing may read.
    let anybody = ServiceClient::new(&service.url(), Some(&ca)).unwrap();
    let found = anybody.statements_about(&subject("model").to_string()).unwrap();
    assert_eq!(found.len(), 2);
}

/// An issuer of ID tokens whose keys are in a file.
struct TokenIssuer(KeyFile);

impl TokenIssuer {
    fn jwks(&self) -> Value {
        let spki = self.0.public_key().spki();
        let (x, y) = spki[spki.len() - 64..].split_at(32);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "1", "x": x, "y": y}]})
    }

    fn token(&self, change: &Value) -> String {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let mut claims = json!({
            "iss": "https://id.example", "aud": "sealwright", "sub": "repo:acme/credit",
            "ref": "refs/heads/main", "iat": now.as_secs(), "exp": now.as_secs() + 300,
        });
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({"alg": "ES256", "kid": "1"})), part(&claims));
        let der = self.0.sign(signed.as_bytes()).unwrap();
        let r_len = usize::from(der[3]);
        let fixed = |number: &[u8]| {
            let number = &number[number.len().saturating_sub(32)..];
            [vec![0; 32 - number.len()], number.to_vec()].concat()
        };
        let raw = [fixed(&der[4..4 + r_len]), fixed(&der[6 + r_len..])].concat();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(raw))
    }
}

#[test]
fn writers_are_known_by_their_id_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let (issuer, forger) = (TokenIssuer(key()), TokenIssuer(key()));
    std::fs::write(dir.path().join("jwks.json"), issuer.jwks().to_string()).unwrap();
    let writers = dir.path().join("writers.toml");
    std::fs::write(
        &writers,
        r#"
        [[writer]]
        name = "credit on main"
        oidc = { issuer = "https://id.example", audience = "sealwright", subject = "repo:acme/credit", claims = { ref = "refs/heads/main" }, jwks_file = "jwks.json" }
        [[writer]]
        name = "ada"
        oidc = { issuer = "https://id.example", audience = "sealwright", claims = { email = "ada@example.com" }, jwks_file = "jwks.json" }
        "#,
    )
    .unwrap();
    let service = start(&Config { writers: Some(writers), ..config(dir.path()) }).unwrap();
    let signer = key();
    let submit = |token: String| {
        let client = client(&service).with_token(token);
        reason(client.submit(&note(&signer, "model", "x"), signer.public_key()))
    };
    let mail = |address: &str, verified: Value| json!({"sub": "5", "email": address, "email_verified": verified});
    for (change, outcome) in [
        (json!({}), "OK"),
        (json!({"sub": "repo:acme/credit2"}), "WRITER"),
        (json!({"sub": "xrepo:acme/credit"}), "WRITER"),
        (json!({"ref": "refs/heads/other"}), "WRITER"),
        (json!({"ref": ["refs/heads/main"]}), "WRITER"),
        (json!({"aud": "sigstore"}), "WRITER"),
        (json!({"iss": "https://id.example/"}), "WRITER"),
        (json!({"exp": 1}), "WRITER"),
        (mail("ada@example.com", true.into()), "OK"),
        (mail("ada@example.com", "true".into()), "WRITER"),
        (mail("ada@example.com", Value::Null), "WRITER"),
        (mail("Ada@example.com", true.into()), "WRITER"),
    ] {
        assert_eq!(submit(issuer.token(&change)), outcome, "{change}");
    }
    assert_eq!(submit(forger.token(&json!({}))), "WRITER");
    assert_eq!(submit("a.b.c".to_owned()), "WRITER");
}

fn token(of: &str) -> String {
    of.repeat(32)
}

fn party(kind: &str, name: &str, projects: &str) -> String {
    let hash = Sha256::of(token(name).as_bytes());
    format!("[[{kind}]]\nname = \"{name}\"\ntoken_sha256 = \"{hash}\"\nprojects = {projects}\n")
}

fn with_file(dir: &Path, text: &str) -> (PathBuf, Running) {
    let path = dir.join("file.toml");
    std::fs::write(&path, text).unwrap();
    let service = start(&Config { writers: Some(path.clone()), ..config(dir) }).unwrap();
    (path, service)
}

#[test]
fn projects_are_kept_apart() {
    let dir = tempfile::tempdir().unwrap();
    let file = [
        party("writer", "a", "[\"credit\", \"\"]"),
        party("writer", "b", "[\"fraud\"]"),
        party("reader", "c", "[\"credit\"]"),
        party("reader", "d", "[\"*\"]"),
        "[[reader]]\nname = \"all\"\nanybody = true\n".to_owned(),
    ];
    let (_, service) = with_file(dir.path(), &file.concat());
    let signer = key();
    let first = note(&signer, "model", "first");
    let submit_to = |who: &str, project: &str, bundle: &Bundle| {
        let client = client(&service).with_token(token(who)).with_project(project.to_owned());
        reason(client.submit(bundle, signer.public_key()))
    };
    let submit = |who: &str, project: &str, text: &str| {
        submit_to(who, project, &note(&signer, "model", text))
    };
    assert_eq!(submit_to("a", "credit", &first), "OK");
    assert_eq!(submit_to("a", "credit", &first), "OK");
    assert_eq!(submit("a", "", "2"), "OK");
    assert_eq!(submit("b", "fraud", "3"), "OK");
    assert_eq!(submit("a", "fraud", "4"), "PROJECT");
    assert_eq!(submit("b", "credit", "4"), "PROJECT");
    assert_eq!(submit("b", "", "4"), "PROJECT");
    assert_eq!(submit("b", "no-such-project", "4"), "PROJECT");
    assert_eq!(submit("b", "No Project", "4"), "QUERY");
    assert_eq!(submit("c", "credit", "4"), "WRITER");
    assert_eq!(submit_to("b", "fraud", &first), "OTHER_PROJECT");
    let sees = |who: Option<&str>| {
        let mut client = client(&service);
        if let Some(who) = who {
            client = client.with_token(token(who));
        }
        let found = client.statements_about(&subject("model").to_string()).unwrap();
        found.iter().map(|bundle| bundle.log_entries()[0].log_index).collect::<Vec<_>>()
    };
    assert_eq!(sees(None), [1]);
    assert_eq!(sees(Some("c")), [0, 1]);
    assert_eq!(sees(Some("d")), [0, 1, 2]);
    // Writers are readers only if the file says so.
    assert_eq!(sees(Some("b")), [1]);
    let answer = |authorization: &str| {
        let request = format!(
            "GET /api/v1/bundles HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{authorization}\r\n"
        );
        send(service.local_addr(), request.as_bytes())
    };
    // What nobody knows is nobody's.
    for shown in [format!("Bearer {}", token("e")), "Basic YTpi".to_owned(), String::new()] {
        let refused = answer(&format!("Authorization: {shown}\r\n"));
        assert_eq!((refused.status, refused.reason().as_str()), (401, "READER"), "{shown}");
    }
    for (who, complete) in [("b", false), ("c", false), ("d", true)] {
        let answer = answer(&format!("Authorization: Bearer {}\r\n", token(who))).json();
        assert_eq!(answer["complete"], complete, "{who}");
    }
    assert_eq!(answer("").json()["complete"], false);
    // As an artifact, too, what may not be read looks as what never was.
    let pull = |who: Option<&str>, path: &str| {
        let shown = who.map(|who| format!("Authorization: Bearer {}\r\n", token(who)));
        let request = format!(
            "GET /v2/m/{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{}\r\n",
            shown.unwrap_or_default()
        );
        send(service.local_addr(), request.as_bytes())
    };
    let index = pull(Some("c"), &format!("referrers/sha256:{}", subject("model"))).json();
    let manifest = index["manifests"][0]["digest"].as_str().unwrap().to_owned();
    let found = pull(Some("c"), &format!("manifests/{manifest}"));
    let blob = found.json()["layers"][0]["digest"].as_str().unwrap().to_owned();
    assert_eq!(pull(Some("c"), &format!("blobs/{blob}")).status, 200);
    let never = format!("sha256:{}", "0".repeat(64));
    for (kind, digest, code) in
        [("manifests", manifest, "MANIFEST_UNKNOWN"), ("blobs", blob, "BLOB_UNKNOWN")]
    {
        let hidden = pull(None, &format!("{kind}/{digest}"));
        assert_eq!((hidden.status, &hidden.json()["errors"][0]["code"]), (404, &json!(code)));
        assert_eq!(hidden.body, pull(None, &format!("{kind}/{never}")).body);
    }
    let asked = |project: &str| {
        let path = format!("/api/v1/bundles?subject={}&project={project}", subject("model"));
        let answer = get(&service, &path);
        (answer.status, answer.body)
    };
    assert_eq!(asked("credit"), asked("no-such-project"));
    assert_eq!(check_log(&service).size, 3);
}

#[test]
fn writers_change_without_a_restart_and_a_broken_file_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (path, service) = with_file(dir.path(), &party("writer", "a", "[\"\"]"));
    let signer = key();
    let may_write = |who: &str| {
        let client = client(&service).with_token(token(who));
        reason(client.submit(&note(&signer, "model", "x"), signer.public_key())) == "OK"
    };
    assert!(may_write("a") && !may_write("b"));
    std::fs::write(&path, party("writer", "b", "[\"\"]")).unwrap();
    eventually("the new writer", || may_write("b"));
    assert!(!may_write("a"));
    // The one that is read next shows that the broken one before it was passed over.
    std::fs::write(&path, "[[writer]]").unwrap();
    assert!(may_write("b"));
    std::fs::write(&path, party("writer", "c", "[\"\"]")).unwrap();
    eventually("the writer after that", || may_write("c"));
}

#[test]
fn limits_hold_and_say_when_to_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let limits = dir.path().join("limits.toml");
    let text = "writes = { per_second = 0.01, burst = 3 }\nproject = { entries_per_day = 1 }\n";
    std::fs::write(&limits, text).unwrap();
    let service = start(&Config {
        limits: Some(limits),
        trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()],
        ..config(dir.path())
    })
    .unwrap();
    let signer = key();
    let body = submission(&note(&signer, "model", "x"), signer.public_key()).to_string();
    let other = submission(&note(&signer, "model", "y"), signer.public_key()).to_string();
    let post = |from: &str, body: &str| {
        let head = format!(
            "POST /api/v1/bundles HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             X-Forwarded-For: {from}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        send(service.local_addr(), head.as_bytes())
    };
    assert_eq!(post("192.0.2.1", &body).status, 201);
    // A statement that is there already is no entry of today.
    assert_eq!(post("192.0.2.1, 127.0.0.9", &body).status, 429);
    let quota = post("203.0.113.1", &other);
    assert_eq!((quota.status, quota.reason().as_str()), (429, "QUOTA"));
    assert!(quota.head.contains("\r\nretry-after: "), "{}", quota.head);
    let limited = post("1.1.1.1, 192.0.2.1", &body);
    assert_eq!(limited.reason(), "QUOTA");
    let limited = post("192.0.2.1", &body);
    assert_eq!((limited.status, limited.reason().as_str()), (429, "RATE_LIMITED"));
    assert_eq!(limited.json()["code"], 8);
    // Reading goes on, and so do others.
    assert_eq!(get(&service, "/api/v2/checkpoint").status, 200);
    assert_eq!(post("192.0.2.2", &other).reason(), "QUOTA");
}

#[test]
fn without_files_everybody_may_do_everything() {
    let dir = tempfile::tempdir().unwrap();
    let service = serve(dir.path());
    let signer = key();
    let bundle = note(&signer, "model", "x");
    let to_project = client(&service).with_project("credit".to_owned());
    to_project.submit(&bundle, signer.public_key()).unwrap();
    assert_eq!(post_json(&service, &submission(&bundle, signer.public_key())).status, 409);
    let found = client(&service).statements_about(&subject("model").to_string()).unwrap();
    assert_eq!(found.len(), 1);
}
