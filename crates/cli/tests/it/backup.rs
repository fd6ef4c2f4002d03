//! Backups of a running instance, and their way back.

use std::sync::atomic::{AtomicBool, Ordering};

use sealwright_attest::{Curve, KeyFile, Signer as _};
use serde_json::json;

use crate::home::{Home, text};
use crate::killed::{check_log, note};
use crate::server::Server;

fn key() -> KeyFile {
    KeyFile::generate(Curve::P256).unwrap()
}

#[test]
fn a_backup_of_a_running_service_is_whole_and_comes_back() {
    let home = Home::new();
    let service = Server::serve(&home, "data");
    let client = service.client();
    let (key, enough, stop) = (key(), AtomicBool::new(false), AtomicBool::new(false));
    let backup = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut done = 0;
            while !stop.load(Ordering::Acquire) {
                client.submit(&note(&key, done), key.public_key()).unwrap();
                done += 1;
                enough.store(done >= 20, Ordering::Release);
            }
        });
        while !enough.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        let backup = home.must("--json serve backup --data data --out backups/first");
        stop.store(true, Ordering::Release);
        backup
    });
    assert!(backup.stderr.contains("private keys in it, not encrypted"), "{backup:?}");
    let entries = backup.json()["entries"].as_u64().unwrap();
    assert!(entries >= 20);
    assert_eq!(home.list("backups"), ["first"]);
    assert_eq!(home.list("backups/first"), ["data", "manifest.json"]);
    assert_eq!(home.mode("backups/first"), 0o700);
    assert_eq!(home.mode("backups/first/data/log-key.pem"), 0o600);
    assert!(!home.list("backups/first/data").contains(&"offline".to_owned()));
    home.run("serve backup --data data --out backups/first").failed(2, "is there already");
    home.run("serve backup --data none --out backups/second").failed(2, "has no keys yet");
    service.kill();

    home.run("serve restore --from backups/first --data data").failed(2, "data is there already");
    let restored = home.must("--json serve restore --from backups/first --data again");
    assert!(restored.stderr.contains("not compared"), "{restored:?}");
    assert_eq!(restored.json()["entries"], entries);
    home.must("serve check --data again");
    let service = Server::start(&home, "serve --data again");
    client_goes_on(&service, &key);
    // That it was restored is in the log too.
    assert_eq!(check_log(&service).size, entries + 2);
    assert_eq!(home.read("data/trusted_root.json"), home.read("again/trusted_root.json"));
    service.stop();
    // Nothing else is left of either.
    let names = home.list("");
    assert!(names.iter().all(|name| !name.starts_with(".sealwright-")), "{names:?}");
}

fn client_goes_on(service: &Server, key: &KeyFile) {
    service.client().submit(&note(key, 1_000_000), key.public_key()).unwrap();
}

#[test]
fn an_old_backup_is_refused_by_whoever_remembers_more() {
    let home = Home::new();
    let service = Server::serve(&home, "data");
    let (client, key) = (service.client(), key());
    let submit = |number| client.submit(&note(&key, number), key.public_key()).unwrap();
    submit(0);
    home.write("seen", client.checkpoint().unwrap());
    home.must("serve backup --data data --out old");
    submit(1);
    home.write("newest", client.checkpoint().unwrap());
    let restore = |more: &str| home.run(&format!("serve restore --from old --data new {more}"));
    restore("--newest-checkpoint newest").failed(1, "has shown a checkpoint with 2");
    restore(&format!("--newest-checkpoint {}", service.url())).failed(1, "has 1 entries");
    home.write("nonsense", "nonsense");
    restore("--newest-checkpoint nonsense").failed(2, "none that this log signed");
    restore("--newest-checkpoint missing").failed(2, "missing");
    assert!(!home.path("new").exists());
    home.must("serve backup --data data --out current");
    let line = format!(
        "serve restore --from current --data current-data --newest-checkpoint newest \
         --newest-checkpoint seen --newest-checkpoint {}",
        service.url()
    );
    assert_eq!(home.json(&line)["compared_with"], 3);
    service.kill();

    // A log that went on from the old backup is another history.
    restore("--newest-checkpoint seen").succeeded();
    let other = Server::start(&home, "serve --data new");
    other.client().submit(&note(&key, 7), key.public_key()).unwrap();
    home.must("serve backup --data new --out forked");
    home.run("serve restore --from forked --data newer --newest-checkpoint newest")
        .failed(1, "does not begin with the 2 entries");
    other.stop();
}

#[test]
fn a_backup_without_keys_needs_them_to_come_back() {
    let home = Home::new();
    let service = Server::serve(&home, "data");
    client_goes_on(&service, &key());
    let made = home.must("--json serve backup --data data --out backup --without-keys");
    let left_out = made.json()["keys_left_out"].clone();
    assert_eq!(
        left_out,
        json!([
            "audit-key.pem",
            "authority/ca-key.pem",
            "authority/ct-key.pem",
            "authority/tsa-key.pem",
            "log-key.pem",
            format!("tuf/online/{}", home.list("data/tuf/online")[0]),
        ])
    );
    service.stop();
    let nothing_private = home.tool_output("grep", &["-r", "PRIVATE KEY", "backup"]);
    assert_eq!(nothing_private.status.code(), Some(1), "{nothing_private:?}");
    let line = "serve restore --from backup --data new";
    home.run(line).failed(2, "the backup was made without audit-key.pem");
    std::fs::create_dir(home.path("empty")).unwrap();
    home.run(&format!("{line} --keys empty")).failed(2, "without audit-key.pem");
    home.must(&format!("{line} --keys data"));
    assert_eq!(home.mode("new/log-key.pem"), 0o600);
    Server::start(&home, "serve --data new").stop();
}

#[test]
fn a_changed_backup_is_refused() {
    let home = Home::new();
    let service = Server::serve(&home, "data");
    let (client, key) = (service.client(), key());
    for number in 0..3 {
        client.submit(&note(&key, number), key.public_key()).unwrap();
    }
    home.must("serve backup --data data --out backup");
    service.stop();
    let line = "serve restore --from backup --data new";
    let manifest = home.read_json("backup/manifest.json");
    let paths: Vec<String> =
        manifest["files"].as_object().unwrap().keys().map(String::clone).collect();
    for name in ["log.db", "checkpoint", "trusted_root.json", "tile/entries/000.p/3"] {
        assert!(paths.contains(&name.to_owned()), "{name}: {paths:?}");
        let path = format!("backup/data/{name}");
        let whole = home.read(&path);
        let mut changed = whole.clone();
        let place = changed.len() / 2;
        changed[place] ^= 1;
        home.write(&path, &changed);
        home.run(line).failed(1, "is not what was backed up");
        home.remove(&path);
        home.run(line).failed(1, "is not what was backed up");
        home.write(&path, whole);
    }
    // A manifest that was made to fit is found out by the log itself.
    let tile = "backup/data/tile/entries/000.p/3";
    let mut content = home.read(tile);
    content[10] ^= 1;
    home.write(tile, &content);
    let mut fitted = manifest.clone();
    let digest = sealwright_manifest::Sha256::of(&content).to_string();
    fitted["files"]["tile/entries/000.p/3"]["sha256"] = digest.into();
    home.write("backup/manifest.json", fitted.to_string());
    let refused = home.run(line);
    refused.failed(1, "damaged");
    // Nor does a path lead elsewhere.
    let mut outside = manifest.clone();
    outside["files"]["../outside"] = outside["files"]["url"].clone();
    home.write("backup/manifest.json", outside.to_string());
    home.run(line).failed(2, "no path in a data directory");
    assert!(!home.path("new").exists() && !home.path("outside").exists());
    assert_eq!(text(&manifest["origin"]), "localhost");
}
