//! Places where nothing can be written: known before anything is signed, and nothing half-written.

use std::io::Read as _;
use std::process::Stdio;

use crate::home::{Home, Ran, SEALWRIGHT};
use crate::isolated::{isolated, mount_memory};
use crate::team::Team;

/// Commands that write a file, each with everything that it needs.
const COMMANDS: [&str; 8] = [
    "sign model --key keys/trainer.key --output OUT",
    "attest model --type https://example.com/x --predicate p.json --key keys/trainer.key \
     --output OUT",
    "evaluate model --predictions predictions.csv --gates gates.toml --key keys/evaluator.key \
     --output OUT",
    "approve model --as compliance --key keys/officer.key --output OUT",
    "revoke model --as compliance --reason x --key keys/officer.key --output OUT",
    "roles sign roles.json --key keys/owner.key --output OUT",
    "key public keys/owner.pub --output OUT",
    "key generate --passphrase-file p.json --output OUT",
];

fn home() -> Home {
    let home = Home::with_keys();
    home.example("model");
    home.write_roles();
    home.write("p.json", "{}");
    home
}

#[test]
fn the_directory_must_be_there() {
    let home = home();
    home.write("file", "");
    let before = home.list("");
    for command in COMMANDS {
        for output in ["missing/out", "file/out"] {
            let line = command.replace("OUT", output);
            home.run(&line).failed(2, "");
            home.run(&format!("--json {line}")).failed_json(2, "");
        }
        if !command.starts_with("key generate") {
            home.run(&command.replace("OUT", "keys")).failed(2, "cannot write keys");
            home.run(&command.replace("OUT", "new/")).failed(2, "cannot write new/");
        }
        assert_eq!(home.list(""), before, "{command}");
    }
    home.run("man missing").failed(2, "cannot write missing/sealwright.1");
    home.run("man file").failed(2, "cannot write file/sealwright.1");
}

#[test]
fn a_full_disk_leaves_nothing() {
    isolated("bad_output::a_full_disk_leaves_nothing", || {
        let home = home();
        let disk = mount_memory(&home.path("disk"), 64);
        // A new file can be made on it, and nothing written into that.
        home.write("disk/filler", vec![0; 64 << 10]);
        for command in COMMANDS {
            home.run(&command.replace("OUT", "disk/out")).failed(3, "No space left on device");
            assert_eq!(home.list("disk"), ["filler"], "{command}");
        }
        home.run("man disk").failed(3, "No space left on device");
        assert_eq!(home.list("disk"), ["filler"]);
        // What was there before is still there, whole.
        home.remove("disk/filler");
        home.must("sign model --key keys/trainer.key --output disk/model.sig");
        let signed = home.read("disk/model.sig");
        let _ = std::fs::write(home.path("disk/filler"), vec![0; 64 << 10]);
        home.run("sign model --key keys/owner.key --output disk/model.sig")
            .failed(3, "No space left on device");
        assert_eq!(home.read("disk/model.sig"), signed);
        assert_eq!(home.list("disk"), ["filler", "model.sig"]);

        disk.remount("ro");
        for command in COMMANDS {
            home.run(&command.replace("OUT", "disk/out")).failed(3, "Read-only file system");
        }
    });
}

#[test]
fn a_device_is_written_to_and_not_replaced() {
    let home = home();
    for device in ["/dev/full", "/dev/null"] {
        let kind = || std::fs::metadata(device).unwrap().file_type();
        let before = kind();
        // A private key is only ever written to a file of its own.
        for command in COMMANDS.into_iter().filter(|line| !line.starts_with("key generate")) {
            let ran = home.run(&command.replace("OUT", device));
            match device {
                "/dev/full" => drop(ran.failed(3, "cannot write /dev/full: No space left")),
                _ => drop(ran.succeeded()),
            }
            assert_eq!(kind(), before, "{command}");
        }
    }
}

#[test]
fn a_directory_without_permission_is_named() {
    let home = home();
    std::fs::create_dir(home.path("locked")).unwrap();
    home.tool("chmod", &["a-w", "locked"]);
    for command in COMMANDS {
        // In a user namespace of its own, root has no more rights than anybody else.
        let mut unprivileged = std::process::Command::new("unshare");
        unprivileged.args(["--user", SEALWRIGHT]);
        unprivileged.args(command.replace("OUT", "locked/out").split_whitespace());
        unprivileged.current_dir(home.path("")).stdin(Stdio::null());
        Ran::of(&mut unprivileged).failed(3, "Permission denied");
        assert_eq!(home.list("locked"), [""; 0]);
    }
}

#[test]
fn a_broken_link_is_not_written_through() {
    let home = home();
    std::os::unix::fs::symlink("nowhere", home.path("link")).unwrap();
    for command in COMMANDS.into_iter().filter(|line| !line.starts_with("key generate")) {
        home.run(&command.replace("OUT", "link")).failed(2, "it is a broken link");
        assert!(!home.path("nowhere").exists());
    }
}

#[test]
fn nothing_is_logged_that_cannot_be_written() {
    let team = Team::new();
    let service = team.service_args();
    let before = crate::killed::check_log(&team.service).size;
    for output in ["missing/out", "keys", "/dev/../etc/"] {
        team.home
            .run(&format!("sign model --key keys/trainer.key {service} --output {output}"))
            .failed(2, "cannot write");
    }
    assert_eq!(crate::killed::check_log(&team.service).size, before);
}

#[test]
fn a_full_standard_output_is_a_failure() {
    let home = home();
    home.must("sign model --key keys/trainer.key");
    for line in [
        "digest model",
        "--json digest model",
        "verify model --bundle model.sig --key keys/trainer.pub",
        "key public keys/trainer.pub",
        "completions bash",
        "--help",
    ] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let mut command = home.command(line.split(' '));
        let ran = command.stdout(full).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8(ran.stderr).unwrap();
        if line == "--help" {
            continue;
        }
        assert_eq!(ran.status.code(), Some(3), "{line}: {said}");
        assert!(said.starts_with("error: cannot write to standard output"), "{line}: {said}");
        assert!(said.contains("\nhint: "), "{line}: {said}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let home = home();
    for line in ["digest --files model", "--json digest model", "completions zsh", "--help", "demo"]
    {
        let mut command = home.command(line.split(' '));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Gone before anything is written, as `| true` does.
        drop(child.stdout.take());
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{line}: {said}");
        assert_eq!(said, "", "{line}");
    }
    // And in a real pipe.
    for line in ["digest --json model", "completions bash"] {
        let pipe = format!("set -o pipefail; {SEALWRIGHT} {line} | head -1");
        assert!(!home.tool("bash", &["-c", &pipe]).is_empty());
    }
}
