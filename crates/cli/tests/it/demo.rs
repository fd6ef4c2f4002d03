//! `sealwright demo`: the whole chain, and three attacks that fail.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::home::{Home, Ran, text};

/// Every step, and what it must come to.
const STEPS: [(&str, &str); 20] = [
    ("train", "done"),
    ("keys", "done"),
    ("serve", "done"),
    ("roles", "done"),
    ("admission", "done"),
    ("sign", "done"),
    ("evaluate", "done"),
    ("admit-unapproved", "deny"),
    ("approve-lead", "done"),
    ("approve-compliance", "done"),
    ("admit", "allow"),
    ("run", "allow"),
    ("flipped-bit-verify", "deny"),
    ("flipped-bit-run", "deny"),
    ("hotfix-sign", "done"),
    ("hotfix", "deny"),
    ("next", "done"),
    ("next-approve-lead", "done"),
    ("next-approve-compliance", "done"),
    ("one-person", "deny"),
];

/// Processes that work in a directory or below, also when it was removed.
fn processes_in(directory: &Path) -> usize {
    let directory = directory.canonicalize().unwrap();
    let working = |entry: std::fs::DirEntry| std::fs::read_link(entry.path().join("cwd")).ok();
    let entries = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    entries.filter_map(working).filter(|cwd| cwd.starts_with(&directory)).count()
}

/// The demo, with its temporary directory in this home, in an environment that must not matter.
fn demo(home: &Home, words: &[&str]) -> std::process::Command {
    std::fs::create_dir_all(home.path("tmp")).unwrap();
    let mut command = home.command(["demo"].iter().chain(words));
    command
        .env("TMPDIR", home.path("tmp"))
        .env("SEALWRIGHT_SERVICE", "http://127.0.0.1:1")
        .env("SEALWRIGHT_TRUSTED_ROOT", "none.json")
        .env("SEALWRIGHT_PASSPHRASE_FILE", "none")
        .current_dir("/");
    command
}

#[test]
fn as_data_it_is_one_object() {
    let home = Home::new();
    let ran = Ran::of(&mut demo(&home, &["--json"])).succeeded();
    let value = ran.json();
    assert_eq!(value.as_object().unwrap().len(), 2);
    assert_eq!(value["ok"], true);
    let step = |step: &Value| {
        assert_eq!(step.as_object().unwrap().len(), 4, "{step}");
        assert_eq!(step["expected"], step["outcome"], "{step}");
        assert!(!text(&step["reason"]).is_empty(), "{step}");
        (text(&step["name"]).to_owned(), text(&step["outcome"]).to_owned())
    };
    let steps: Vec<_> = value["steps"].as_array().unwrap().iter().map(step).collect();
    let expected = STEPS.map(|(name, outcome)| (name.to_owned(), outcome.to_owned()));
    assert_eq!(steps, expected);

    let reason = |name: &str| {
        let steps = value["steps"].as_array().unwrap();
        text(&steps.iter().find(|step| step["name"] == name).unwrap()["reason"]).to_owned()
    };
    assert!(reason("admit-unapproved").contains("APPROVAL_MISSING: "));
    assert_eq!(reason("flipped-bit-verify"), "changed: model.safetensors");
    assert!(reason("flipped-bit-run").contains("model.safetensors"));
    for code in ["APPROVAL_MISSING", "GATE_MISSING", "SIGNATURE_MISSING", "UNKNOWN_SIGNER"] {
        assert!(reason("hotfix").contains(&format!("{code}: ")), "{}", reason("hotfix"));
    }
    assert!(reason("one-person").contains("SAME_PERSON: "));

    // Nothing is left of it.
    assert_eq!(ran.stderr, "");
    assert_eq!(home.list("tmp"), [""; 0]);
    assert_eq!(processes_in(&home.path("tmp")), 0);
}

#[test]
fn for_people_it_is_a_story_and_everything_can_be_kept() {
    let home = Home::new();
    let ran = Ran::of(demo(&home, &["--keep", "kept"]).current_dir(home.path(""))).succeeded();
    assert!(!ran.stdout.contains('\x1b'));
    assert_eq!(ran.stdout.matches("\n ALLOWED  ").count(), 2, "{}", ran.stdout);
    assert_eq!(ran.stdout.matches("\n REFUSED  ").count(), 5, "{}", ran.stdout);
    assert!(ran.stdout.contains("\nAs it should be: 2 times allowed, 5 times refused.\n"));
    let kept = home.path("kept").canonicalize().unwrap();
    assert!(ran.stdout.ends_with(&format!("Everything is in {}.\n", kept.display())));
    let width = ran.stdout.lines().map(|line| line.chars().count()).max();
    assert!(width <= Some(100), "{width:?}");
    assert_eq!(processes_in(&kept), 0);
    assert_eq!(home.list("tmp"), [""; 0]);

    // What was kept can be inspected with the commands of the manual.
    home.must("verify kept/model --bundle kept/model.sig --key kept/keys/trainer.pub");
    home.must("roles show kept/roles.sigstore.json --owner-key kept/keys/owner.pub");
    home.must("key public kept/keys/owner.key --passphrase-file kept/keys/passphrase");
    let changed = "verify kept/node/model --bundle kept/model.sig --key kept/keys/trainer.pub";
    assert_eq!(home.run(changed).code, Some(1));
    let decisions = String::from_utf8(home.read("kept/decisions.jsonl")).unwrap();
    assert_eq!(decisions.lines().count(), 4);
    assert_eq!(home.mode("kept/keys/trainer.key"), 0o600);
    crate::server::Server::serve(&home, "kept/service").stop();

    // It does not mix with what is there.
    let again = home.run("demo --keep kept");
    again.failed(2, "kept is not empty");
    home.run("--json demo --keep kept").failed_json(2, "kept is not empty");
    home.write("file", "");
    home.run("demo --keep file").failed(3, "cannot use file");
}

#[test]
fn without_room_to_play_it_says_so() {
    let home = Home::new();
    let words = ["demo"];
    let ran = Ran::of(home.command(words).env("TMPDIR", home.path("missing")));
    ran.failed(3, "cannot make a temporary directory");
}

#[test]
fn killed_it_takes_its_servers_with_it() {
    let home = Home::new();
    let mut child = demo(&home, &[]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let started = stdout.lines().map_while(Result::ok).any(|line| line.contains("/validate"));
    assert!(started);
    child.kill().unwrap();
    child.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while processes_in(&home.path("tmp")) > 0 {
        assert!(Instant::now() < deadline, "servers are left");
        std::thread::yield_now();
    }
}

/// Whoever tries it in a checkout keeps the result in the checkout.
#[test]
fn it_can_be_kept_in_a_git_work_tree() {
    let home = Home::new();
    home.write(".git/HEAD", "ref: refs/heads/main\n");
    let place = home.path("kept");
    let ran = Ran::of(&mut demo(&home, &["--keep", place.to_str().unwrap()])).succeeded();
    assert!(ran.stdout.contains("As it should be"), "{}", ran.stdout);
    assert!(place.join("model.sig").is_file());
}
