//! `sealwright log monitor` before logs that are honest, and logs that are not.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sealwright_attest::{Curve, KeyFile, Signer as _};
use sealwright_tlog::{LogKey, Tile, TileKind};
use serde_json::{Value, json};

use crate::bad_log::{BadLog, ORIGIN, Reply, Tree};
use crate::home::{Home, Ran, text};
use crate::killed;
use crate::server::Server;

const ALL: usize = usize::MAX;

/// Looks once at the log, with JSON.
fn look(home: &Home, log: &BadLog, more: &str) -> Ran {
    let key = Tree::new(0, ALL, "").key;
    let (url, key) = (log.url(), key.verifier().clone());
    home.run(&format!("--json log monitor --once --state state --url {url} --log {key} {more}"))
}

/// A log of 300 entries that was looked at.
fn seen(home: &Home) -> (Tree, BadLog) {
    let tree = Tree::new(300, ALL, "");
    let log = BadLog::start(tree.clone());
    let first = look(home, &log, "").succeeded().json();
    assert_eq!((&first["size"], &first["old_size"]), (&json!(300), &json!(0)));
    (tree, log)
}

/// Looking again gives this alarm; the state stays, both checkpoints are kept, and the monitor goes
/// on when the log has come to its senses.
#[track_caller]
fn alarmed(home: &Home, tree: &Tree, log: &BadLog, kind: &str, said: &str) -> Value {
    let before = home.read("state/checkpoint");
    let ran = look(home, log, "");
    ran.failed_json(1, said);
    assert!(ran.stderr.contains(&format!("error: LOG MISBEHAVES ({kind})")), "{ran:#?}");
    let value = ran.json();
    assert_eq!(
        (&value["alarm"], &value["fork"]),
        (&json!(kind), &json!(kind == "fork")),
        "{value}"
    );
    assert_eq!(value["seen_before"]["size"], 300);
    assert_eq!(home.read("state/checkpoint"), before);
    let seen = text(&value["evidence"][0]);
    assert!(seen.ends_with(".seen-before"), "{seen}");
    assert_eq!(home.read(seen), before);
    log.show(tree);
    look(home, log, "").succeeded();
    value
}

/// What it shows now is evidence too, byte for byte.
#[track_caller]
fn shown_is_kept(home: &Home, value: &Value, note: &[u8]) {
    assert_eq!(home.read(text(&value["evidence"][1])), note);
}

#[test]
fn an_honest_log_grows() {
    let home = Home::new();
    let log = BadLog::start(Tree::new(0, ALL, ""));
    let mut old = 0;
    for size in [0, 1, 1, 255, 256, 257, 600, 70_000] {
        let tree = Tree::new(size, ALL, "");
        log.show(&tree);
        let value = look(&home, &log, "").succeeded().json();
        assert_eq!((&value["ok"], &value["origin"]), (&json!(true), &json!(ORIGIN)));
        assert_eq!((&value["size"], &value["old_size"]), (&json!(size), &json!(old)));
        assert_eq!(value["new_entries"], size - old);
        assert_eq!(home.read("state/checkpoint"), tree.checkpoint(size as u64));
        // Only new entries are read again, apart from those in the same bundle.
        let bundles = log.asked().iter().filter(|path| path.starts_with("tile/entries/")).count();
        assert_eq!(bundles, if old == size { 0 } else { size.div_ceil(256) - old / 256 });
        old = size;
    }
    assert_eq!(home.list("state"), ["checkpoint"]);
}

#[test]
fn a_fork_is_caught() {
    let home = Home::new();
    let (tree, log) = seen(&home);
    // Another tree of the same size; a larger one that does not extend what was seen.
    for (fork, said) in [
        (Tree::new(300, 120, "forged"), "two different trees of 300 entries"),
        (Tree::new(301, 120, "forged"), "does not extend the one of 300 entries"),
        (Tree::new(301, 299, "forged"), "does not extend the one of 300 entries"),
        (Tree::new(900, 0, "forged"), "does not extend the one of 300 entries"),
    ] {
        log.show(&fork);
        let value = alarmed(&home, &tree, &log, "fork", said);
        let size = value["shown_now"]["size"].as_u64().unwrap();
        shown_is_kept(&home, &value, &fork.checkpoint(size));
    }
    // A fork cannot be hidden behind the tiles of the honest tree either.
    let (longer, fork) = (Tree::new(400, ALL, ""), Tree::new(400, 120, "forged"));
    log.show(&longer);
    log.change(|shown| shown.checkpoint = Reply::Bytes(fork.checkpoint(400)));
    alarmed(&home, &tree, &log, "tiles", "do not lead to the root that it signed");
}

#[test]
fn a_rewind_is_caught() {
    let home = Home::new();
    let (tree, log) = seen(&home);
    for size in [0, 1, 256, 299] {
        log.show(&Tree::new(size, ALL, ""));
        let said = format!("went back from 300 to {size} entries");
        let value = alarmed(&home, &tree, &log, "rewind", &said);
        shown_is_kept(&home, &value, &tree.checkpoint(size as u64));
    }
}

#[test]
fn omitted_and_altered_entries_are_caught() {
    let home = Home::new();
    let (tree, log) = seen(&home);
    let longer = Tree::new(600, ALL, "");
    let last = Tile::entries(2, 88).unwrap();
    let full = Tile::entries(1, 256).unwrap();
    let bundle = |tile: &Tile| longer.tile(tile).unwrap();
    let forged = |tile: &Tile| Tree::new(600, 590, "forged").tile(tile).unwrap();
    // The last entry is left out: 87 entries where 88 were signed.
    let short = longer.tile(&Tile::entries(2, 87).unwrap()).unwrap();
    let mut one_byte = bundle(&full);
    *one_byte.last_mut().unwrap() ^= 1;
    for (tile, content, said) in [
        (&last, Reply::Bytes(forged(&last)), "omitted or altered"),
        (&last, Reply::Bytes(short), "ends within entry"),
        (&full, Reply::Bytes(one_byte), "omitted or altered"),
        (&full, Reply::Bytes([bundle(&full), vec![0, 0]].concat()), "bytes follow the last entry"),
        (&full, Reply::Bytes(bundle(&full)[..100].to_vec()), "ends within entry"),
        (&full, Reply::Bytes(Vec::new()), "ends within entry"),
        (&full, Reply::Status(404), "does not serve"),
        (&full, Reply::Endless, "longer than"),
    ] {
        log.show(&longer);
        log.change(|shown| drop(shown.instead.insert(tile.path(), content)));
        let value = alarmed(&home, &tree, &log, "entries", said);
        shown_is_kept(&home, &value, &longer.checkpoint(600));
    }
}

#[test]
fn hash_tiles_that_do_not_fit_are_caught() {
    let home = Home::new();
    let (tree, log) = seen(&home);
    let longer = Tree::new(600, ALL, "");
    let fork = Tree::new(600, 120, "forged");
    let edge = Tile::hashes(0, 2, 88).unwrap();
    let above = Tile::hashes(1, 0, 2).unwrap();
    assert_eq!(above.kind(), TileKind::Hashes { level: 1 });
    for (tile, content, said) in [
        (&above, Reply::Bytes(fork.tile(&above).unwrap()), "do not lead to the root"),
        (&edge, Reply::Bytes(vec![7; 88 * 32]), "do not lead to the root"),
        (&edge, Reply::Bytes(vec![7; 87 * 32]), "not 88 hashes"),
        (&edge, Reply::Bytes(vec![7; 88 * 32 - 1]), "not 88 hashes"),
        (&edge, Reply::Bytes(vec![7; 88 * 32 + 1]), "longer than 2816 bytes"),
        (&edge, Reply::Endless, "longer than 2816 bytes"),
        (&edge, Reply::Status(404), "does not serve"),
    ] {
        log.show(&longer);
        log.change(|shown| drop(shown.instead.insert(tile.path(), content)));
        alarmed(&home, &tree, &log, "tiles", said);
    }
}

#[test]
fn what_is_not_signed_by_the_log_is_refused() {
    let home = Home::new();
    let (tree, log) = seen(&home);
    let mut other = tree.clone();
    other.key = LogKey::from_seed(ORIGIN, &[1; 32]).unwrap();
    let mut stranger = tree.clone();
    stranger.key = LogKey::from_seed("other.example", &[42; 32]).unwrap();
    let mut altered = tree.checkpoint(300);
    let at = altered.iter().rposition(|b| *b == b'A').unwrap();
    altered[at] = b'B';
    for (reply, said) in [
        (Reply::Bytes(other.checkpoint(300)), "not signed by the key"),
        (Reply::Bytes(stranger.checkpoint(300)), "other.example"),
        (Reply::Bytes(altered), "refused"),
        (Reply::Bytes(b"<html>".to_vec()), "not a signed note"),
        (Reply::Bytes(Vec::new()), "not a signed note"),
        (Reply::Endless, "longer than"),
    ] {
        log.change(|shown| shown.checkpoint = reply);
        let value = alarmed(&home, &tree, &log, "checkpoint", said);
        assert_eq!(value["shown_now"], Value::Null);
    }
}

#[test]
fn a_log_that_cannot_be_reached_is_no_alarm() {
    let home = Home::new();
    let (tree, log) = seen(&home);
    let before = home.read("state/checkpoint");
    let longer = Tree::new(600, ALL, "");
    for (path, reply) in [
        ("checkpoint", Reply::Status(404)),
        ("checkpoint", Reply::Status(503)),
        ("checkpoint", Reply::CutShort),
        ("tile/0/002.p/88", Reply::Status(503)),
        ("tile/entries/001", Reply::Status(502)),
        ("tile/entries/001", Reply::CutShort),
    ] {
        log.show(&longer);
        log.change(|shown| drop(shown.instead.insert(path.to_owned(), reply)));
        assert_eq!(look(&home, &log, "").failed_json(3, "").json()["alarm"], Value::Null);
    }
    assert_eq!(home.read("state/checkpoint"), before);
    assert_eq!(home.list("state"), ["checkpoint"]);
    log.show(&tree);
    look(&home, &log, "").succeeded();
    let key = tree.key.verifier();
    let line = format!("log monitor --once --state s --url http://127.0.0.1:1 --log {key}");
    home.run(&line).failed(3, "cannot reach");
}

/// Once the full tile is there, a log may drop the partial ones.
#[test]
fn a_partial_tile_may_have_become_full() {
    let home = Home::new();
    let (tree, log) = seen(&home);
    let now = Tree::new(600, ALL, "");
    log.show(&now);
    log.change(|shown| {
        shown.checkpoint = Reply::Bytes(now.checkpoint(500));
        for path in ["tile/0/001.p/244", "tile/entries/001.p/244", "tile/1/000.p/1"] {
            shown.instead.insert(path.to_owned(), Reply::Status(404));
        }
    });
    // Level 1 has no full tile yet, so that partial one has to be there.
    alarmed(&home, &tree, &log, "tiles", "does not serve");
    log.show(&now);
    log.change(|shown| {
        shown.checkpoint = Reply::Bytes(now.checkpoint(500));
        for path in ["tile/0/001.p/244", "tile/entries/001.p/244"] {
            shown.instead.insert(path.to_owned(), Reply::Status(404));
        }
    });
    assert_eq!(look(&home, &log, "").succeeded().json()["size"], 500);
}

#[test]
fn the_state_is_of_one_log_and_since_begins_later() {
    let home = Home::new();
    let tree = Tree::new(300, ALL, "");
    let log = BadLog::start(tree.clone());
    home.write("then", tree.checkpoint(290));
    let value = look(&home, &log, "--since then").succeeded().json();
    assert_eq!((&value["old_size"], &value["new_entries"]), (&json!(290), &json!(10)));
    home.write("state/checkpoint", Tree::new(300, 0, "x").checkpoint(300));
    look(&home, &log, "").failed_json(1, "two different trees");
    let mut other = tree.clone();
    other.key = LogKey::from_seed(ORIGIN, &[1; 32]).unwrap();
    home.write("state/checkpoint", other.checkpoint(300));
    look(&home, &log, "").failed_json(2, "not signed by the key");
    home.remove("state/checkpoint");
    home.write("then", Tree::new(290, 7, "x").checkpoint(290));
    look(&home, &log, "--since then").failed_json(1, "does not extend");
}

/// An entry as Rekor v2 writes it, by a certificate's key or a bare one.
fn entry(digest: &[u8], verifier: &Value) -> Vec<u8> {
    let entry = json!({
        "apiVersion": "0.0.2",
        "kind": "hashedrekord",
        "spec": {"hashedRekordV002": {
            "data": {"algorithm": "SHA2_256", "digest": STANDARD.encode(digest)},
            "signature": {"content": "AAAA", "verifier": verifier},
        }},
    });
    entry.to_string().into_bytes()
}

#[test]
fn entries_of_interest_are_told() {
    let home = Home::new();
    home.authorities();
    home.leaf("maria", "P-256");
    home.openssl("x509 -in pki/maria.pem -outform DER -out maria.der");
    let key = KeyFile::generate(Curve::P256).unwrap();
    let certificate = json!({"keyDetails": "PKIX_ECDSA_P256_SHA_256",
        "x509Certificate": {"rawBytes": STANDARD.encode(home.read("maria.der"))}});
    let bare = json!({"keyDetails": "PKIX_ECDSA_P256_SHA_256",
        "publicKey": {"rawBytes": STANDARD.encode(key.public_key().spki())}});
    let broken = json!({"x509Certificate": {"rawBytes": "AAAA"}});

    let mut tree = Tree::new(0, ALL, "");
    tree.push(entry(&[1; 32], &bare));
    tree.push(entry(&[2; 32], &certificate));
    tree.push(entry(&[3; 32], &broken));
    tree.push(b"not JSON".to_vec());
    let log = BadLog::start(tree.clone());
    let wanted = format!(
        "--identity maria@loans.example --identity paul@loans.example --key-id {} --digest {}",
        key.public_key().id(),
        "02".repeat(32)
    );
    let value = look(&home, &log, &wanted).succeeded().json();
    assert_eq!(value["unreadable"], json!([2, 3]));
    let findings = value["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 2, "{value}");
    assert_eq!(findings[0]["index"], 0);
    assert_eq!(findings[0]["concerns"], json!([format!("key {}", key.public_key().id())]));
    assert_eq!(findings[1]["identities"], json!(["maria@loans.example"]));
    assert_eq!(
        findings[1]["concerns"],
        json!(["identity maria@loans.example", format!("digest {}", "02".repeat(32))])
    );
    // What was told is not told again; what is new is.
    assert_eq!(look(&home, &log, &wanted).succeeded().json()["findings"], json!([]));
    tree.push(entry(&[4; 32], &certificate));
    log.show(&tree);
    let value = look(&home, &log, &wanted).succeeded().json();
    assert_eq!((&value["findings"][0]["index"], &value["new_entries"]), (&json!(4), &json!(1)));
    for wrong in ["--key-id x", "--digest 12", "--model x"] {
        look(&home, &log, wrong).failed_json(2, "");
    }
}

#[test]
fn our_own_service_is_watched() {
    let home = Home::new();
    let service = Server::serve(&home, "data");
    let key = KeyFile::generate(Curve::P256).unwrap();
    for number in 0..3 {
        service.client().submit(&killed::note(&key, number), key.public_key()).unwrap();
    }
    let line = format!(
        "log monitor --once --state state --url {}/ --trusted-root data/trusted_root.json \
         --model {} --key-id {}",
        service.url(),
        killed::subject(1),
        key.public_key().id()
    );
    let value = home.json(&line);
    assert_eq!((&value["size"], &value["unreadable"]), (&json!(3), &json!([])));
    let concerns = |at: usize| value["findings"][at]["concerns"].as_array().unwrap().len();
    assert_eq!([concerns(0), concerns(1), concerns(2)], [1, 2, 1], "{value}");
    service.client().submit(&killed::note(&key, 3), key.public_key()).unwrap();
    let said = home.must(&line).stdout;
    assert!(said.contains("4 entries, 1 new, 1 of interest") && said.contains("entry 3"), "{said}");
    // The same log under the prefix that Rekor's clients know.
    let rekor = format!(
        "log monitor --once --state other --url {}/api/v2 --trusted-root data/trusted_root.json",
        service.url()
    );
    assert_eq!(home.json(&rekor)["size"], 4);
    // A second service with the first one's key has another history.
    service.stop();
    home.write("forked/log-key.pem", home.read("data/log-key.pem"));
    let forked = Server::serve(&home, "forked");
    for number in 10..20 {
        forked.client().submit(&killed::note(&key, number), key.public_key()).unwrap();
    }
    let url = forked.url();
    let line = format!(
        "log monitor --once --state state --url {url} --trusted-root data/trusted_root.json"
    );
    home.run(&line).failed(1, "LOG MISBEHAVES (fork)");
    forked.stop();
}

/// Without `--once` it looks again and again, passes over outages, and ends at an alarm.
#[test]
fn a_monitor_runs_until_the_log_misbehaves() {
    use std::io::{BufRead as _, BufReader};
    use std::process::Stdio;

    let home = Home::new();
    let tree = Tree::new(5, ALL, "");
    let log = BadLog::start(tree.clone());
    let (url, key) = (log.url(), tree.key.verifier().clone());
    let line = format!("--json log monitor --interval 1 --state state --url {url} --log {key}");
    let mut child = home
        .command(line.split_whitespace())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!((next()["size"].clone(), next()["new_entries"].clone()), (json!(5), json!(0)));
    log.change(|shown| {
        shown.checkpoint = Reply::Status(503);
        shown.asked.clear();
    });
    while log.asked().is_empty() {
        std::thread::yield_now();
    }
    log.show(&Tree::new(9, ALL, ""));
    let mut value = next();
    while value["new_entries"] == 0 {
        value = next();
    }
    assert_eq!(value["new_entries"], 4);
    log.show(&Tree::new(10, 2, "forged"));
    let mut value = next();
    while value["ok"] == true {
        value = next();
    }
    assert_eq!((&value["alarm"], &value["fork"]), (&json!("fork"), &json!(true)));
    assert_eq!(child.wait().unwrap().code(), Some(1));
}
