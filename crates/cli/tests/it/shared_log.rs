//! Several services over one log, in PostgreSQL and a bucket.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use sealwright_attest::{Curve, KeyFile, Signer as _, TrustedRoot, check_signature};

use crate::home::Home;
use crate::killed::{check_log, note, subject};
use crate::server::Server;
use crate::stage::{Stage, eventually};

/// Where the log is, as arguments.
fn storage(stage: &Stage) -> String {
    let place = stage.place();
    let endpoint = place.endpoint.unwrap();
    format!("--database {} --bucket {} --s3-endpoint {endpoint}", place.database, place.bucket)
}

/// Gives another front end the keys of the first.
fn copy_keys(home: &Home, from: &str, to: &str) {
    std::fs::create_dir(home.path(to)).unwrap();
    for name in ["log-key.pem", "trusted_root.json"] {
        std::fs::copy(home.path(from).join(name), home.path(to).join(name)).unwrap();
    }
    home.tool("cp", &["-r", &format!("{from}/authority"), to]);
}

#[test]
fn services_over_one_log_take_over_from_each_other() {
    let (home, stage) = (Home::new(), Stage::new());
    let storage = storage(&stage);
    home.must(&format!("serve init --data a {storage}"));
    assert!(!home.path("a/log.db").exists());
    copy_keys(&home, "a", "b");
    let start = |data: &str| Server::start(&home, &format!("serve --data {data} {storage}"));
    let (a, b) = (start("a"), start("b"));
    let key = KeyFile::generate(Curve::P256).unwrap();
    let root = TrustedRoot::parse(&home.read("b/trusted_root.json")).unwrap();
    let is_there = |service: &Server, number: usize| {
        let found = service.client().statements_about(&subject(number)).unwrap();
        let [bundle] = &found[..] else { panic!("{number}: {found:?}") };
        let signed = check_signature(bundle, key.public_key()).unwrap();
        signed.check_log(bundle, &root).unwrap();
    };
    // What one has acknowledged, the other gives out.
    for number in 0..6 {
        let (one, other) = if number % 2 == 0 { (&a, &b) } else { (&b, &a) };
        one.client().submit(&note(&key, number), key.public_key()).unwrap();
        is_there(other, number);
    }
    assert_eq!(check_log(&a).size, 6);
    // One is killed in the middle of a burst; the other goes on with all of it.
    let (done, is_enough) = (AtomicUsize::new(6), AtomicBool::new(false));
    let client = a.client();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 6;
            while client.submit(&note(&key, number), key.public_key()).is_ok() {
                number += 1;
                done.store(number, Ordering::Release);
            }
            is_enough.store(true, Ordering::Release);
        });
        eventually("some are acknowledged", || done.load(Ordering::Acquire) > 12);
        a.kill();
        eventually("its client notices", || is_enough.load(Ordering::Acquire));
    });
    let done = done.into_inner();
    for number in 0..done {
        is_there(&b, number);
    }
    b.client().submit(&note(&key, done + 1), key.public_key()).unwrap();
    let a = start("a");
    is_there(&a, done + 1);
    // Also while they run.
    let report = home.json(&format!("serve check --data a {storage}"));
    assert_eq!(report["ok"], true, "{report}");
    a.stop();
    b.stop();
}

/// Two that sign versions of their own would contradict each other.
#[test]
fn one_front_end_keeps_the_tuf_repository() {
    let (home, stage) = (Home::new(), Stage::new());
    let storage = storage(&stage);
    home.must(&format!("serve init --data a {storage}"));
    copy_keys(&home, "a", "b");
    home.tool("cp", &["-r", "a/tuf", "b"]);
    std::fs::remove_file(home.path("b/tuf/repository/1.targets.json")).unwrap();
    let a = Server::start(&home, &format!("serve --data a --tuf-publisher {storage}"));
    let b = Server::start(&home, &format!("serve --data b {storage}"));
    let status = |service: &Server| {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let url = format!("{}/tuf/1.root.json", service.url());
        agent.get(&url).call().unwrap().status().as_u16()
    };
    assert_eq!((status(&a), status(&b)), (200, 404));
    // What it does not keep, it does not mend.
    assert_eq!(
        home.list("b/tuf/repository"),
        ["1.root.json", "1.snapshot.json", "targets", "timestamp.json"]
    );
    a.stop();
    b.stop();
}

#[test]
fn a_log_moves_from_its_directory_and_stays_what_it_was() {
    let (home, stage) = (Home::new(), Stage::new());
    let storage = storage(&stage);
    let service = Server::serve(&home, "data");
    let key = KeyFile::generate(Curve::P256).unwrap();
    for number in 0..3 {
        service.client().submit(&note(&key, number), key.public_key()).unwrap();
    }
    // Not by mistake, and not while it runs.
    home.run(&format!("serve --data data {storage}")).failed(3, "the database holds no log");
    home.run(&format!("serve migrate --data data {storage}")).failed(3, "is in use");
    let before = check_log(&service);
    service.stop();

    let moved = home.json(&format!("serve migrate --data data {storage}"));
    assert_eq!((&moved["ok"], &moved["entries"]), (&true.into(), &3.into()), "{moved}");
    home.run("serve --data data").failed(2, "was moved to s3://");
    let service = Server::start(&home, &format!("serve --data data {storage}"));
    let after = check_log(&service);
    assert_eq!((after.size, after.root), (before.size, before.root));
    let root = TrustedRoot::parse(&home.read("data/trusted_root.json")).unwrap();
    for number in 0..3 {
        let found = service.client().statements_about(&subject(number)).unwrap();
        let signed = check_signature(&found[0], key.public_key()).unwrap();
        signed.check_log(&found[0], &root).unwrap();
    }
    service.client().submit(&note(&key, 3), key.public_key()).unwrap();
    service.stop();
    home.run(&format!("serve migrate --data data {storage}")).failed(2, "was moved to s3://");
}

#[test]
fn a_database_that_dies_is_waited_for() {
    let (home, mut stage) = (Home::new(), Stage::new());
    let service = Server::start(&home, &format!("serve --init --data data {}", storage(&stage)));
    let key = KeyFile::generate(Curve::P256).unwrap();
    let client = service.client();
    client.submit(&note(&key, 0), key.public_key()).unwrap();
    stage.kill_server();
    let error = client.submit(&note(&key, 1), key.public_key()).unwrap_err();
    assert!(error.to_string().contains("the store does not answer"), "{error}");
    client.statements_about(&subject(0)).unwrap_err();
    stage.restart_server();
    client.submit(&note(&key, 1), key.public_key()).unwrap();
    for number in 0..2 {
        assert_eq!(client.statements_about(&subject(number)).unwrap().len(), 1);
    }
    // Who reads the bucket sees the same log.
    let published = String::from_utf8(stage.object("checkpoint").unwrap()).unwrap();
    assert!(published.starts_with("localhost\n2\n"), "{published}");
    check_log(&service);
    service.stop();
}

#[test]
fn what_cannot_be_a_shared_log_is_said() {
    let home = Home::new();
    home.run("serve --database postgres://h/d").failed(2, "--bucket");
    home.run("serve --bucket s3://b --init").failed(2, "no database");
    home.run("serve --database-file missing --bucket s3://b --init")
        .failed(2, "cannot read missing");
    home.run("serve migrate").failed(2, "not said where the log goes");
    for (line, said) in [
        ("--database nonsense --bucket s3://b", "the database's URL cannot be used"),
        ("--database postgres://u@db.example/d?sslmode=disable --bucket s3://b", "without TLS"),
        (
            "--database postgres://u:secret@127.0.0.1:1/d --bucket s3://b",
            "cannot reach the database",
        ),
    ] {
        let ran = home.run(&format!("serve --init --data data {line}"));
        ran.failed(3, said);
        assert!(!ran.stderr.contains("secret"), "{}", ran.stderr);
    }
}
