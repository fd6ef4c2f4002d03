//! `sealwright serve` as a process: what stops it, and what it survives.

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use base64::Engine as _;
use rustix::process::Signal;
use sealwright_attest::{Curve, KeyFile, Signer as _, TrustedRoot, check_signature};
use sealwright_manifest::Sha256;
use sealwright_server::client::ClientError;
use sealwright_store::Store;
use sealwright_tlog::LogKey;

use crate::home::{Home, Ran};
use crate::isolated::{isolated, mount_memory};
use crate::killed::{check_log, note, subject};
use crate::server::Server;

const SERVE: &str = "serve --init --data data --listen 127.0.0.1:0";

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn it_says_when_it_is_ready_and_ends_when_asked() {
    let home = Home::new();
    for signal in [Signal::TERM, Signal::INT] {
        let service = Server::serve(&home, "data");
        assert!(service.url().starts_with("http://127.0.0.1:"));
        assert_eq!(service.ready["origin"], "localhost");
        assert_eq!(service.ready["trusted_root"], "data/trusted_root.json");
        service.signal(signal);
        let (status, rest) = service.wait();
        assert!(status.success(), "{status}");
        assert_eq!(rest, "");
    }
    assert_eq!(home.mode("data"), 0o700);
    assert_eq!(home.mode("data/log-key.pem"), 0o600);
    // The keys are spoken of once, when they are made.
    let said = std::fs::read_to_string(home.path("serve.stderr")).unwrap();
    assert_eq!(said.matches("the service's keys in data are not encrypted").count(), 1, "{said}");
}

#[test]
fn sigterm_ends_it_in_the_middle_of_a_burst_and_nothing_is_lost() {
    let home = Home::new();
    let service = Server::serve(&home, "data");
    let client = service.client();
    let key = KeyFile::generate(Curve::P256).unwrap();
    let enough = AtomicBool::new(false);
    let acknowledged = std::thread::scope(|scope| {
        let submitter = scope.spawn(|| {
            let mut done = 0_usize;
            while client.submit(&note(&key, done), key.public_key()).is_ok() {
                done += 1;
                enough.store(done >= 20, Ordering::Release);
            }
            done
        });
        while !enough.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        service.stop();
        submitter.join().unwrap()
    });
    let service = Server::serve(&home, "data");
    let size = check_log(&service).size;
    assert!(size >= acknowledged as u64, "{size} of {acknowledged}");
}

#[test]
fn under_load_whoever_was_answered_is_in_the_log_when_it_stops() {
    let home = Home::new();
    let service = Server::serve(&home, "data");
    let key = KeyFile::generate(Curve::P256).unwrap();
    let enough = AtomicUsize::new(0);
    let acknowledged: Vec<usize> = std::thread::scope(|scope| {
        let submitters: Vec<_> = (0..8)
            .map(|thread| {
                let (client, key, enough) = (service.client(), &key, &enough);
                scope.spawn(move || {
                    let mut done = Vec::new();
                    for number in (thread * 100_000).. {
                        match client.submit(&note(key, number), key.public_key()) {
                            Ok(_) => done.push(number),
                            // Told so, or not even let in.
                            Err(ClientError::Refused { status, .. }) => {
                                assert_eq!(status, 503);
                                break;
                            }
                            Err(ClientError::Unreachable { .. }) => break,
                            Err(other) => panic!("{other:?}"),
                        }
                        enough.fetch_add(1, Ordering::AcqRel);
                    }
                    done
                })
            })
            .collect();
        while enough.load(Ordering::Acquire) < 100 {
            std::thread::yield_now();
        }
        service.stop();
        submitters.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(acknowledged.len() >= 100);
    let service = Server::serve(&home, "data");
    let size = check_log(&service).size;
    assert!(size >= acknowledged.len() as u64, "{size} of {}", acknowledged.len());
    let client = service.client();
    for number in acknowledged {
        assert_eq!(client.statements_about(&subject(number)).unwrap().len(), 1, "{number}");
    }
}

#[test]
fn log_lines_are_for_people_or_for_programs() {
    let home = Home::new();
    let token = "x".repeat(40);
    let hash = Sha256::of(token.as_bytes());
    home.write("writers.toml", format!("[[writer]]\nname = \"ci\"\ntoken_sha256 = \"{hash}\"\n"));
    let mut words = vec!["serve", "--init", "--data", "data", "--listen", "127.0.0.1:0"];
    words.extend(["--writers", "writers.toml", "--log-format", "json"]);
    let log = std::fs::File::create(home.path("log")).unwrap();
    let mut child = home
        .command(words)
        .stdout(Stdio::piped())
        .stderr(log.try_clone().unwrap())
        .spawn()
        .unwrap();
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    let url = loop {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
        assert!(!line.is_empty(), "{:?}", std::fs::read_to_string(home.path("log")));
        if let Some((_, url)) = line.split_once("http://") {
            break format!("http://{}", url.trim());
        }
    };
    let client = sealwright_server::client::ServiceClient::new(&url, None).unwrap();
    let key = KeyFile::generate(Curve::P256).unwrap();
    client.with_token(token).submit(&note(&key, 1), key.public_key()).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let said = String::from_utf8(home.read("log")).unwrap();
    let line = said.lines().find(|line| line.contains("a statement is submitted")).unwrap();
    let value: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(value["fields"]["writer"], "ci");
    assert_eq!(value["span"]["route"], "/api/v1/bundles");
    assert_eq!(value["span"]["trace"].as_str().unwrap().len(), 32);
}

#[test]
fn a_port_in_use_is_named() {
    let home = Home::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let line = format!("serve --init --data data --listen {address}");
    home.run(&line).failed(3, &format!("{address} is in use"));
    home.run(&format!("--json {line}")).failed_json(3, "is in use");
    assert!(!home.path("data").exists());
}

#[test]
fn a_data_directory_has_one_service() {
    let home = Home::new();
    let service = Server::serve(&home, "data");
    home.run(SERVE).failed(3, "data is in use by another service");
    service.kill();
    Server::serve(&home, "data").stop();
}

#[test]
fn what_is_not_usable_is_named() {
    let home = Home::new();
    home.write("file", "");
    home.run("serve --init --data file --listen 127.0.0.1:0").failed(2, "file is not a directory");
    home.run("serve --init --data file/below --listen 127.0.0.1:0").failed(2, "is not a directory");
    home.run("serve --init --data d --listen 0.0.0.0:0").failed(2, "reachable from other machines");
    home.run(&format!("{SERVE} --origin http://log.example")).failed(2, "not a bare host name");
    home.run(&format!("{SERVE} --tls-cert a.pem --tls-key b.pem")).failed(2, "a.pem");
    home.run(&format!("{SERVE} --log sealwright==loud")).failed(2, "--log");
    assert!(!home.path("data").exists());

    Server::serve(&home, "data").stop();
    home.run(&format!("{SERVE} --origin log.example")).failed(3, "data holds another log");
    let key = home.read("data/log-key.pem");
    home.remove("data/log-key.pem");
    home.run(SERVE).failed(3, "the log has no key");
    home.write("data/log-key.pem", "not a key");
    home.run(SERVE).failed(3, "is not an Ed25519 private key");
    home.write("data/log-key.pem", key);
    home.write("data/trusted_root.json", "{}");
    home.run(SERVE).failed(3, "is not the trusted root of this log");
    home.remove("data/trusted_root.json");
    Server::serve(&home, "data").stop();
    home.write("data/log.db", "this is not a database ".repeat(50));
    home.run(SERVE).failed(3, "is damaged");
}

#[test]
fn a_read_only_data_directory_is_named() {
    isolated("service::a_read_only_data_directory_is_named", || {
        let home = Home::new();
        let disk = mount_memory(&home.path("data"), 4096);
        Server::serve(&home, "data").stop();
        let before = home.list("data");
        disk.remount("ro");
        home.run(SERVE).failed(3, "cannot write to data");
        home.run("serve --init --data data/new --listen 127.0.0.1:0")
            .failed(3, "cannot write to data/new");
        assert_eq!(home.list("data"), before);
        disk.remount("rw");
        Server::serve(&home, "data").stop();
    });
}

#[test]
fn a_directory_without_permission_is_named() {
    let home = Home::new();
    std::fs::create_dir(home.path("data")).unwrap();
    home.tool("chmod", &["a-w", "data"]);
    // In a namespace without a user of its own, root has no more rights than anybody else.
    let mut command = std::process::Command::new("unshare");
    command.arg("--user").arg(crate::home::SEALWRIGHT).args(SERVE.split(' '));
    Ran::of(command.current_dir(home.path("")).stdin(Stdio::null()))
        .failed(3, "cannot write to data");
}

#[test]
fn a_full_disk_takes_nothing_and_loses_nothing() {
    isolated("service::a_full_disk_takes_nothing_and_loses_nothing", || {
        let home = Home::new();
        let disk = mount_memory(&home.path("data"), 16);
        home.run(SERVE).failed(3, "no space is left in data");

        disk.remount("size=1m");
        let service = Server::serve(&home, "data");
        let client = service.client();
        let key = KeyFile::generate(Curve::P256).unwrap();
        let mut acknowledged = 0;
        let refused = loop {
            match client.submit(&note(&key, acknowledged), key.public_key()) {
                Ok(_) => acknowledged += 1,
                Err(refused) => break refused,
            }
            assert!(acknowledged < 10_000, "it never got full");
        };
        assert!(
            matches!(&refused, ClientError::Refused { status: 503, reason, .. }
                if reason == "STORE_FULL"),
            "{refused:?}: {}",
            service.said()
        );
        assert!(acknowledged > 10, "{acknowledged}");
        // People are told so.
        let keys = Home::with_keys();
        keys.model("model");
        let line = format!("sign model --key keys/trainer.key --service {}", service.url());
        keys.run(&line).failed(3, "the store is full; nothing was added (STORE_FULL)");
        assert_eq!(keys.list(""), ["keys", "model"]);
        // What was acknowledged is there, in a log that is whole, while the disk is full…
        let root = TrustedRoot::parse(&home.read("data/trusted_root.json")).unwrap();
        let all_found = |service: &Server| {
            for number in 0..acknowledged {
                let found = service.client().statements_about(&subject(number)).unwrap();
                let [bundle] = &found[..] else { panic!("{number}: {found:?}") };
                let signed = check_signature(bundle, key.public_key()).unwrap();
                signed.check_log(bundle, &root).unwrap();
            }
        };
        all_found(&service);
        // …and when there is space again, it goes on.
        disk.remount("size=8m");
        client.submit(&note(&key, acknowledged), key.public_key()).unwrap();
        assert!(check_log(&service).size > acknowledged as u64);
        service.kill();
        let service = Server::serve(&home, "data");
        all_found(&service);
        check_log(&service);
    });
}

#[test]
fn the_clock_must_not_be_before_the_last_checkpoint() {
    let home = Home::new();
    Server::serve(&home, "data").stop();
    let before = home.read("data/checkpoint");
    let pem = String::from_utf8(home.read("data/log-key.pem")).unwrap();
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = base64::engine::general_purpose::STANDARD.decode(base64).unwrap();
    let key = LogKey::from_pkcs8_der("localhost", &der).unwrap();
    let sign_at = |time: u64| {
        let mut store = Store::open(&home.path("data"), "localhost", &key, time).unwrap();
        store.refresh_checkpoint(time, 0).unwrap();
    };
    // As a service did whose clock was a day ahead.
    sign_at(now() + 86_400);
    assert_ne!(home.read("data/checkpoint"), before);
    let ahead = home.read("data/checkpoint");
    home.run(SERVE).failed(3, "the clock says");
    home.run(&format!("--json {SERVE}")).failed_json(3, "which is before");
    assert_eq!(home.read("data/checkpoint"), ahead);
}
