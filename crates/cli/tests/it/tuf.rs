//! The TUF repository: its ceremonies, and stock clients that bootstrap from it.
//!
//! `./test` installs the clients and names them in the environment.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::home::{Home, text};
use crate::oidc::Issuer;
use crate::server::Server;

const IDENTITY: &str = "trainer@loans.example";

fn status_of(url: &str) -> u16 {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).build().into();
    agent.get(url).call().unwrap().status().as_u16()
}

fn get(url: &str) -> Vec<u8> {
    ureq::get(url).call().unwrap().body_mut().read_to_vec().unwrap()
}

/// A key pair `name.key`, `name.pub` in the home.
fn new_key(home: &Home, name: &str) {
    home.tool(
        "openssl",
        &[
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-out",
            &format!("{name}.key"),
        ],
    );
    home.tool(
        "openssl",
        &["pkey", "-in", &format!("{name}.key"), "-pubout", "-out", &format!("{name}.pub")],
    );
}

#[test]
fn a_root_is_made_changed_and_published() {
    let home = Home::new();
    let made = home.must("--json serve init --data data");
    let tuf = &made.json()["tuf"];
    assert_eq!(tuf["root"], "data/tuf/repository/1.root.json");
    let keys: Vec<_> = tuf["root_keys"].as_array().unwrap().iter().map(text).collect();
    assert_eq!(keys, [1, 2, 3].map(|n| format!("data/offline/tuf-root-{n}.pem")));
    assert!(made.stderr.contains("offline, each to a different place and person"), "{made:#?}");
    for key in &keys {
        assert_eq!(home.mode(key), 0o600);
    }
    let online = home.list("data/tuf/online");
    assert_eq!(home.mode(&format!("data/tuf/online/{}", online[0])), 0o600);
    home.run("serve tuf init --data data").failed(2, "has a TUF repository already");

    let status = home.json("serve tuf status --data data");
    assert_eq!((&status["threshold"], status["roles"].as_array().unwrap().len()), (&json!(2), 4));
    assert!(text(&status["warnings"][0]).contains("lie beside the service"), "{status}");
    std::fs::rename(home.path("data/offline"), home.path("safe")).unwrap();
    assert_eq!(home.json("serve tuf status --data data")["warnings"], json!([]));
    let late = home.run("--json serve tuf status --data data --at 2199-01-01T00:00:00Z");
    assert_eq!(late.code, Some(1));
    assert!(text(&late.json()["problems"][0]).starts_with("version 1 of root expired at "));

    let service = Server::start(&home, "serve --data data");
    let root = |version: u32| format!("{}/tuf/{version}.root.json", service.url());
    assert_eq!(get(&root(1)), home.read("data/tuf/repository/1.root.json"));
    assert_eq!(status_of(&root(2)), 404);
    for path in ["root.json", "../log-key.pem", "..%2flog-key.pem", "targets/trusted_root.json"] {
        assert_eq!(status_of(&format!("{}/tuf/{path}", service.url())), 404, "{path}");
    }

    // One key goes, another comes, and the service gets a new one.
    new_key(&home, "new");
    let first = text(&status["root_keys"][0]).get(..8).unwrap();
    home.must(&format!(
        "serve tuf rotate --data data --add new.pub --remove {first} --new-online-key --out next.json"
    ));
    home.run("serve tuf publish --data data next.json").failed(2, "0 of the 2 signatures");
    let previous = "--previous data/tuf/repository/1.root.json";
    let shown = home.must(&format!("serve tuf sign --key new.key {previous} next.json"));
    for line in ["version    2", "threshold  2 of 3 keys", ", new", "no more", "timestamp  "] {
        assert!(shown.stderr.contains(line), "{line}: {shown:#?}");
    }
    assert!(shown.stdout.contains("0 of 2 needed"), "{shown:#?}");
    home.run("serve tuf publish --data data next.json").failed(2, "0 of the 2 signatures");
    new_key(&home, "stranger");
    home.run("serve tuf sign --key stranger.key next.json").failed(2, "none of this root's keys");
    // A foreign key under the name of an old one.
    let mut doctored: Value = serde_json::from_slice(&home.read("next.json")).unwrap();
    let second = text(&status["root_keys"][1]);
    doctored["signed"]["keys"][second]["keyval"]["public"] =
        String::from_utf8(home.read("stranger.pub")).unwrap().into();
    home.write("doctored.json", doctored.to_string());
    for previous in [previous, ""] {
        let line = format!("serve tuf sign --key safe/tuf-root-1.pem {previous} doctored.json");
        home.run(&line).failed(2, "goes by the name");
    }
    let mut signed = 0;
    for number in [1, 2, 3] {
        let line = format!("serve tuf sign --key safe/tuf-root-{number}.pem {previous} next.json");
        signed = home.json(&line)["previous_signatures"].as_u64().unwrap();
    }
    assert_eq!(signed, 3);
    // Each of the old keys may sign, also the one that goes.
    assert_eq!(home.json("serve tuf publish --data data next.json")["version"], 2);
    assert_eq!(get(&root(2)), home.read("next.json"));
    let after = home.json("serve tuf status --data data");
    assert_eq!(after["problems"], json!([]));
    assert_ne!(after["online_key"], status["online_key"]);
    assert_eq!(home.list("data/tuf/online"), [format!("{}.pem", text(&after["online_key"]))]);
    home.run("serve tuf publish --data data next.json")
        .failed(2, "version 2 where 3 has to follow");
    service.stop();
}

#[test]
fn people_bring_their_own_keys() {
    let home = Home::new();
    for name in ["a", "b"] {
        new_key(&home, name);
    }
    home.run("serve init --data other --tuf-root-keys 2 --tuf-threshold 3")
        .failed(2, "3 signatures by 2 keys");
    let made = home.must(
        "--json serve init --data data --tuf-root-key a.pub --tuf-root-key b.pub --tuf-threshold 2",
    );
    assert_eq!(made.json()["tuf"]["waits_for_signatures"], true);
    assert!(made.stderr.contains("clients find no root before"), "{made:#?}");
    assert_eq!(home.list("data/offline"), ["root-key.pem"]);
    let service = Server::start(&home, "serve --data data");
    let url = format!("{}/tuf/1.root.json", service.url());
    assert_eq!(status_of(&url), 404);
    home.run("serve tuf rotate --data data").failed(2, "still waits for signatures");
    std::fs::copy(home.path("data/tuf/1.root.json"), home.path("root.json")).unwrap();
    home.must("serve tuf sign --key a.key root.json");
    home.run("serve tuf publish --data data root.json").failed(2, "1 of the 2 signatures");
    home.must("serve tuf sign --key file:b.key root.json");
    home.must("serve tuf publish --data data root.json");
    assert_eq!(get(&url), home.read("root.json"));
    service.stop();
}

/// An instance of before gets a repository while it runs.
#[test]
fn an_older_instance_gets_a_repository() {
    let home = Home::new();
    home.must("serve init --data data");
    std::fs::remove_dir_all(home.path("data/tuf")).unwrap();
    std::fs::remove_dir_all(home.path("data/offline")).unwrap();
    home.run("serve tuf status --data data").failed(2, "has no TUF repository");
    let service = Server::start(&home, "serve --data data");
    let url = format!("{}/tuf/timestamp.json", service.url());
    assert_eq!(status_of(&url), 404);
    // Keys of a root that may be in use are not written over; what an attempt left that was killed before
    // its end is no obstacle.
    home.write("data/offline/tuf-root-2.pem", "");
    home.run("serve tuf init --data data").failed(2, "tuf-root-2.pem is there already");
    assert_eq!(home.list("data/offline"), ["tuf-root-2.pem"]);
    std::fs::create_dir(home.path("data/.tuf-killed")).unwrap();
    home.must("serve tuf init --data data");
    assert_eq!(status_of(&url), 200);
    assert!(!home.path("data/.tuf-killed").exists());
    service.stop();
}

/// An instance with an issuer, and clients that have nothing but its first root.
struct World {
    home: Home,
    issuer: Issuer,
    service: Server,
}

impl World {
    fn start() -> Self {
        let (home, issuer) = (Home::new(), Issuer::start());
        let entry = format!("[[issuer]]\nurl = {:?}\nkind = \"email\"\n", issuer.url);
        home.write("issuers.toml", entry);
        let service = Server::start(&home, "serve --init --data data --issuers issuers.toml");
        std::fs::copy(home.path("data/tuf/repository/1.root.json"), home.path("root.json"))
            .unwrap();
        home.write("artifact", "content");
        Self { home, issuer, service }
    }

    fn instance(&self) -> String {
        format!("{}/tuf", self.service.url())
    }

    /// sigstore-python, which keeps its state below `user`.
    fn python(&self, user: &str, words: &[&str]) -> Output {
        let mut command = Command::new(named("SEALWRIGHT_TEST_SIGSTORE_PYTHON"));
        command.args(["--instance", &self.instance()]).args(words);
        command.current_dir(self.home.path("")).env("XDG_DATA_HOME", self.home.path(user));
        command.env("XDG_CACHE_HOME", self.home.path(user)).output().unwrap()
    }

    #[track_caller]
    fn trusts(&self, user: &str) {
        let trusted = self.python(user, &["trust-instance", "root.json"]);
        assert!(trusted.status.success(), "{trusted:?}");
    }

    #[track_caller]
    fn signs(&self, user: &str, bundle: &str) {
        let token = self.issuer.token(IDENTITY);
        let words = ["sign", "--identity-token", &token, "--bundle", bundle, "artifact"];
        let signed = self.python(user, &words);
        assert!(signed.status.success(), "{signed:?}");
    }

    /// Both verifiers: sigstore-python by what TUF gives it, and ours by the trusted root.
    #[track_caller]
    fn verifies(&self, user: &str, bundle: &str) {
        let who = ["--cert-identity", IDENTITY, "--cert-oidc-issuer", &self.issuer.url];
        let words = ["verify", "identity", "--bundle", bundle];
        let verified = self.python(user, &[&words[..], &who, &["artifact"]].concat());
        assert!(verified.status.success(), "{verified:?}");
        self.home.must(&format!(
            "verify artifact --artifact --bundle {bundle} --trusted-root data/trusted_root.json \
             --identity {IDENTITY} --issuer {}",
            self.issuer.url
        ));
    }

    /// What Sigstore's JavaScript client gets, beginning with the first root.
    #[track_caller]
    fn javascript(&self, cache: &str) -> Value {
        let script =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clients/sigstore-js/tuf.cjs");
        let mut command = Command::new(named("SEALWRIGHT_TEST_NODE"));
        command
            .args([script, "root.json", &self.instance(), cache])
            .current_dir(self.home.path(""));
        command.env("NODE_PATH", named("SEALWRIGHT_TEST_SIGSTORE_JS"));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn named(variable: &str) -> PathBuf {
    let value = std::env::var(variable);
    value.unwrap_or_else(|_| panic!("{variable} is not set: run the tests with ./test")).into()
}

#[test]
fn stock_clients_bootstrap_and_follow_a_rotation() {
    let world = World::start();
    let home = &world.home;
    assert!(!world.python("nobody", &["trust-instance", "artifact"]).status.success());
    world.trusts("old");
    world.signs("old", "one.json");
    world.verifies("old", "one.json");
    let got = world.javascript("js");
    assert_eq!(got["trusted_root"], home.read_json("data/trusted_root.json"));
    let config = &got["signing_config"];
    assert_eq!(config["mediaType"], "application/vnd.dev.sigstore.signingconfig.v0.2+json");
    assert_eq!(config["oidcUrls"][0]["url"], world.issuer.url.as_str());

    // A whole new set of people, and a new key for the service.
    for name in ["a", "b", "c"] {
        new_key(home, name);
    }
    let status = home.json("serve tuf status --data data");
    let old: Vec<_> = status["root_keys"].as_array().unwrap().iter().map(text).collect();
    let remove: String = old.iter().map(|id| format!(" --remove {id}")).collect();
    home.must(&format!(
        "serve tuf rotate --data data --add a.pub --add b.pub --add c.pub{remove} --new-online-key \
         --out next.json"
    ));
    let keys = ["data/offline/tuf-root-1.pem", "data/offline/tuf-root-3.pem", "a.key", "c.key"];
    for key in keys {
        home.must(&format!("serve tuf sign --key {key} --previous root.json next.json"));
    }
    home.must("serve tuf publish --data data next.json");
    // Clients that have seen the first root, and such that begin with it now.
    world.verifies("old", "one.json");
    world.trusts("new");
    world.signs("new", "two.json");
    world.verifies("old", "two.json");
    assert_eq!(world.javascript("js"), got);
    assert_eq!(world.javascript("other"), got);
    world.service.stop();
}

#[test]
fn bundles_of_before_and_after_a_renewal_verify() {
    let world = World::start();
    let home = &world.home;
    world.trusts("user");
    world.signs("user", "before.json");
    let authority = || get(&format!("{}/api/v2/trustBundle", world.service.url()));
    let first = authority();
    let began = home.read_json("data/trusted_root.json");
    new_key(home, "stranger");
    home.run("serve renew --data data --root-key stranger.key")
        .failed(2, "not that of the authorities");
    home.run("serve renew --data data").failed(2, "--root-key <REF>");
    assert_eq!(home.read_json("data/trusted_root.json"), began);
    let made = home.json("serve renew --data data --root-key data/offline/root-key.pem");
    assert_eq!(made["authority"], "data/authority-2");
    // The service goes over by itself.
    while authority() == first {
        std::thread::yield_now();
    }
    assert!(!home.path("data/authority/ca-key.pem").exists());
    assert_eq!(home.mode("data/authority-2/ca-key.pem"), 0o600);
    world.signs("user", "after.json");
    for bundle in ["before.json", "after.json"] {
        world.verifies("user", bundle);
    }
    let root = home.read_json("data/trusted_root.json");
    for (list, window) in [
        ("certificateAuthorities", "/validFor"),
        ("timestampAuthorities", "/validFor"),
        ("ctlogs", "/publicKey/validFor"),
    ] {
        let entries = root[list].as_array().unwrap();
        let windows: Vec<_> = entries.iter().map(|entry| entry.pointer(window).unwrap()).collect();
        assert_eq!(windows.len(), 2, "{list}");
        assert_eq!(windows[0]["end"], made["old_until"], "{list}");
        assert!(windows[1]["end"].is_null(), "{list}");
        assert!(text(&windows[0]["start"]) <= text(&windows[1]["start"]), "{list}");
    }
    home.must("doctor data/trusted_root.json");
    assert_eq!(world.javascript("js")["trusted_root"], root);

    // Only one of them, and under a new root; each time nothing of before is lost.
    home.must("serve renew --data data --root-key data/offline/root-key.pem --only timestamps");
    let made = home.json("serve renew --data data --new-root");
    assert_eq!(made["root_key"], "data/offline/root-key-4.pem");
    let second = authority();
    while authority() == second {
        std::thread::yield_now();
    }
    world.signs("user", "last.json");
    for bundle in ["before.json", "after.json", "last.json"] {
        world.verifies("user", bundle);
    }
    let root = home.read_json("data/trusted_root.json");
    let count = |list: &str| root[list].as_array().unwrap().len();
    assert_eq!(
        (count("certificateAuthorities"), count("timestampAuthorities"), count("ctlogs")),
        (3, 4, 3)
    );
    // What is on disk is what the next start goes on with.
    world.service.stop();
    let service = Server::start(home, "serve --data data");
    assert_eq!(home.read_json("data/trusted_root.json"), root);
    service.stop();
}

/// A start after a renewal that was killed between its steps makes up for the rest.
#[test]
fn a_renewal_that_was_cut_short_is_finished() {
    let home = Home::new();
    home.must("serve init --data data");
    let before = home.read("data/trusted_root.json");
    let key = home.read("data/authority/ca-key.pem");
    home.must("serve renew --data data --root-key data/offline/root-key.pem");
    home.write("data/trusted_root.json", &before);
    home.write("data/authority/ca-key.pem", &key);
    std::fs::create_dir(home.path("data/.renewing-killed")).unwrap();
    let service = Server::start(&home, "serve --data data");
    let root = home.read_json("data/trusted_root.json");
    assert_eq!(root["certificateAuthorities"].as_array().unwrap().len(), 2);
    service.stop();
    assert!(!home.path("data/authority/ca-key.pem").exists());
    home.write("data/authority/ca-key.pem", &key);
    home.must("serve renew --data data --root-key data/offline/root-key.pem");
    assert!(!home.path("data/.renewing-killed").exists());
    for (dir, is_there) in [("authority", false), ("authority-2", false), ("authority-3", true)] {
        assert_eq!(home.path(format!("data/{dir}/ca-key.pem")).exists(), is_there, "{dir}");
    }
}

/// Files by path, over HTTP: whatever a test wants a client to see.
#[derive(Clone, Default)]
pub(crate) struct Double(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

impl Double {
    /// Listens until the test process ends; gives its URL.
    pub(crate) fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let files = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                files.answer(stream.unwrap());
            }
        });
        url
    }

    /// What a repository on disk has now.
    pub(crate) fn copy(&self, home: &Home) {
        let mut files = self.0.lock().unwrap();
        files.clear();
        for dir in ["", "targets/"] {
            for name in home.list(&format!("data/tuf/repository/{dir}")) {
                if name != "targets" {
                    let content = home.read(format!("data/tuf/repository/{dir}{name}"));
                    files.insert(format!("/{dir}{name}"), content);
                }
            }
        }
    }

    pub(crate) fn get(&self, name: &str) -> Vec<u8> {
        self.0.lock().unwrap()[name].clone()
    }

    pub(crate) fn put(&self, name: &str, content: impl Into<Vec<u8>>) {
        self.0.lock().unwrap().insert(name.to_owned(), content.into());
    }

    fn answer(&self, mut stream: TcpStream) {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
        let request = lines.next().unwrap_or_default();
        lines.find(String::is_empty);
        let path = request.split(' ').nth(1).unwrap_or_default();
        let found = self.0.lock().unwrap().get(path).cloned();
        let (status, body) = match found {
            Some(body) => ("200 OK", body),
            None => ("404 Not Found", Vec::new()),
        };
        let length = body.len();
        let _ = write!(
            stream,
            "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
        );
        let _ = stream.write_all(&body);
    }
}

/// The reference implementation refuses what our own client refuses.
#[test]
fn python_tuf_refuses_what_a_repository_must_not_do() {
    let home = Home::new();
    home.must("serve init --data data");
    let double = Double::default();
    let url = double.start();
    let python = named("SEALWRIGHT_TEST_SIGSTORE_PYTHON").with_file_name("python");
    let update = || {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clients/tuf/updater.py");
        let root = home.path("data/tuf/repository/1.root.json");
        let mut command = Command::new(&python);
        command.arg(script).arg(root).args([&url, "state", "trusted_root.json"]);
        let output = command.current_dir(home.path("")).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    double.copy(&home);
    let old = double.get("/timestamp.json");
    let old_snapshot = double.get("/1.snapshot.json");
    assert_eq!(update(), (true, String::new()));
    home.must("serve renew --data data --root-key data/offline/root-key.pem");
    double.copy(&home);
    assert_eq!(update(), (true, String::new()));

    let refused = |name: &str, content: Vec<u8>, error: &str| {
        double.copy(&home);
        double.put(name, content);
        let (success, said) = update();
        assert!(!success && said.starts_with(error), "{name}: {said}");
    };
    refused("/timestamp.json", old, "BadVersionNumberError");
    let forged = String::from_utf8(double.get("/2.snapshot.json")).unwrap();
    refused("/timestamp.json", forged.into_bytes(), "RepositoryError");
    refused("/timestamp.json", vec![b' '; 1 << 20], "DownloadLengthMismatchError");
    // The next renewal, of which the client has seen nothing yet.
    home.must("serve renew --data data --root-key data/offline/root-key.pem");
    refused("/3.snapshot.json", old_snapshot, "");
    double.copy(&home);
    assert_eq!(update(), (true, String::new()));
}

/// Our own client: what a repository must not do is refused, and nothing is taken over.
#[test]
fn our_client_fetches_and_is_not_fooled() {
    let home = Home::new();
    home.must("serve init --data data");
    let double = Double::default();
    let fetch = format!("trust fetch {} --out trust", double.start());
    double.copy(&home);
    home.run(&fetch).failed(2, "there is no root to begin with");
    home.write("bad.json", "{}");
    home.run(&format!("{fetch} --root bad.json")).failed(2, "bad.json: root: not TUF metadata");
    let first = home.json(&format!("{fetch} --root data/tuf/repository/1.root.json"));
    assert_eq!((&first["root_version"], &first["timestamp_version"]), (&json!(1), &json!(1)));
    let old = [double.get("/timestamp.json"), double.get("/1.snapshot.json")];
    home.must("serve renew --data data --root-key data/offline/root-key.pem");
    double.copy(&home);
    home.must(&fetch);
    let trusted = home.read("trust/trusted_root.json");
    assert_eq!(trusted, home.read("data/trusted_root.json"));
    for name in ["signing_config.json", "trust_config.json"] {
        home.read_json(format!("trust/{name}"));
    }

    let refused = |name: &str, content: &[u8], said: &str| {
        double.copy(&home);
        double.put(name, content);
        home.run(&fetch).failed(1, said);
        home.run(&format!("--json {fetch}")).failed_json(1, said);
        assert_eq!(home.read("trust/trusted_root.json"), trusted);
    };
    refused("/timestamp.json", &old[0], "timestamp: version 1, after version 2 was seen");
    refused("/timestamp.json", &vec![b' '; 1 << 20], "bytes");
    refused("/2.snapshot.json", b"{}", "snapshot: not the file that is meant");
    refused("/2.root.json", &home.read("data/tuf/repository/1.root.json"), "version 1 where 2");
    let forged = String::from_utf8(double.get("/timestamp.json")).unwrap();
    let forged = forged.replace("\"version\": 2", "\"version\": 3");
    refused("/timestamp.json", forged.as_bytes(), "0 of the 1 signatures");
    let name = home.list("data/tuf/repository/targets").into_iter();
    for name in name.filter(|name| name.ends_with("trusted_root.json")) {
        double.put(&format!("/targets/{name}"), "{}");
    }
    home.run(&fetch).failed(1, "");
    // The next state with a snapshot of the last one.
    home.must("serve renew --data data --root-key data/offline/root-key.pem");
    // It may be longer than is said, and is not read to its end then.
    refused("/3.snapshot.json", &old[1], "");
    double.copy(&home);
    home.must(&fetch);
    assert_eq!(home.read("trust/trusted_root.json"), home.read("data/trusted_root.json"));

    // The online key was stolen, and is taken away; whoever has seen that is not led back.
    let before = (double.get("/timestamp.json"), home.read("trust/trusted_root.json"));
    home.must("serve tuf rotate --data data --new-online-key --out next.json");
    for number in [1, 2] {
        home.must(&format!("serve tuf sign --key data/offline/tuf-root-{number}.pem next.json"));
    }
    home.must("serve tuf publish --data data next.json");
    double.copy(&home);
    assert_eq!(home.json(&fetch)["root_version"], 2);
    double.put("/timestamp.json", before.0);
    home.run(&fetch).failed(1, "timestamp: 0 of the 1 signatures that version 2 of the root");
    assert_eq!(home.read("trust/trusted_root.json"), before.1);
    home.must("doctor next.json");
    let late = home.run("doctor next.json --at 2199-01-01T00:00:00Z");
    assert_eq!(late.code, Some(1));
    assert!(late.stdout.contains("version 2 of the root expires at"), "{late:#?}");
}
