//! What a person at a terminal sees, and what a pipe does not.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::home::Home;

/// A terminal: our end, and the program's.
fn terminal() -> (File, OwnedFd) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let theirs = rustix::fs::open(&*name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    (File::from(ours), theirs)
}

/// Everything that is shown on a terminal until the program at its other end has gone.
fn shown(mut terminal: File) -> String {
    let mut bytes = Vec::new();
    // A terminal whose other end is closed gives an error, not an end.
    let _ = terminal.read_to_end(&mut bytes);
    String::from_utf8(bytes).unwrap()
}

/// Starts a command with standard output and standard error on a terminal.
fn start(command: &mut Command) -> (Child, File) {
    let (ours, theirs) = terminal();
    command.stdout(theirs.try_clone().unwrap()).stderr(theirs);
    let child = command.env("TERM", "xterm").spawn().unwrap();
    // The command keeps its copies of the program's end until it is given others.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    (child, ours)
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let home = Home::with_keys();
    home.model("model");
    home.must("sign model --key keys/trainer.key");
    let lines = [
        "sign model --key keys/trainer.key",
        "digest --files model",
        "verify model --bundle model.sig --key keys/trainer.pub",
        "verify model --bundle model.sig --key keys/owner.pub",
        "digest missing",
    ];
    let on_terminal = |line: &str, variables: &[(&str, &str)]| {
        let mut command = home.command(line.split(' '));
        command.env_remove("NO_COLOR").envs(variables.iter().copied());
        let (mut child, ours) = start(&mut command);
        let shown = shown(ours);
        child.wait().unwrap();
        shown
    };
    for line in lines {
        assert!(on_terminal(line, &[]).contains("\x1b["), "{line}");
        let plain = on_terminal(line, &[("NO_COLOR", "1")]);
        // The progress bar moves the cursor; it has no colours.
        assert!(!plain.contains("\x1b[1m") && !plain.contains("\x1b[3"), "{line}: {plain:?}");
        let piped = home.run(line);
        assert!(!(piped.stdout + &piped.stderr).contains('\x1b'), "{line}");
        assert!(!home.run(&format!("--json {line}")).stdout.contains('\x1b'), "{line}");
    }
}

/// On a terminal whoever signs is asked, after what is signed was shown.
#[test]
fn signing_is_asked_for() {
    let home = Home::with_keys();
    home.model("model");
    let made = home.path("model.approval.compliance.sigstore.json");
    for (line, answer, code) in [
        ("approve model --as compliance", "n\n", 1),
        ("approve model --as compliance", "\n", 1),
        ("reject model --as compliance", "no\n", 1),
        ("revoke model --as compliance --reason x", "n\n", 1),
        ("approve model --as compliance", "y\n", 0),
        ("approve model --as compliance --yes", "", 0),
    ] {
        let (mut ours, theirs) = terminal();
        let words = line.split(' ').chain(["--key", "keys/officer.key"]);
        let mut command = home.command(words);
        command.stdin(theirs.try_clone().unwrap());
        command.stdout(theirs.try_clone().unwrap()).stderr(theirs);
        let mut child = command.spawn().unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        ours.write_all(answer.as_bytes()).unwrap();
        let shown = shown(ours);
        assert_eq!(child.wait().unwrap().code(), Some(code), "{line}: {shown}");
        assert!(shown.contains("model digest"), "{shown}");
        assert_eq!(shown.contains("[y/N]"), !answer.is_empty(), "{shown}");
        assert_eq!(shown.contains("nothing was signed"), code == 1, "{shown}");
        assert_eq!(made.exists(), code == 0, "{line}");
    }
}

#[test]
fn a_name_cannot_write_on_the_terminal() {
    let home = Home::with_keys();
    home.model("model");
    home.must("sign model --key keys/trainer.key");
    home.write("model/\u{1b}[2J\u{1b}[1mverified", "");
    for line in ["verify model --bundle model.sig --key keys/trainer.pub", "digest --files model"] {
        let (mut child, ours) = start(&mut home.command(line.split(' ')));
        let shown = shown(ours);
        child.wait().unwrap();
        assert!(!shown.contains("\x1b[2J"), "{line}: {shown:?}");
    }
}

#[test]
fn a_huge_model_shows_its_progress_on_a_terminal_and_can_be_stopped() {
    let home = Home::with_keys();
    home.model("model");
    // Sparse: takes no space, and a long time to hash.
    File::create(home.path("model/huge.bin")).unwrap().set_len(64 << 30).unwrap();
    let before = home.list("");
    for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
        let line = "sign model --key keys/trainer.key";
        let (mut child, mut ours) = start(&mut home.command_with_signals(line.split(' ')));
        let mut seen = String::new();
        while !(seen.contains("hashing") && seen.contains(" of 64.00 GiB, ")) {
            let mut bytes = [0; 4096];
            let count = ours.read(&mut bytes).unwrap();
            seen += &String::from_utf8_lossy(&bytes[..count]);
        }
        kill_process(Pid::from_child(&child), signal).unwrap();
        shown(ours);
        assert!(!child.wait().unwrap().success());
        assert_eq!(home.list(""), before);
        assert_eq!(home.list("model").len(), 4);
    }
    // No bar where nobody looks: a smaller one is hashed to its end.
    File::create(home.path("model/huge.bin")).unwrap().set_len(64 << 20).unwrap();
    assert_eq!(home.must("digest model").stderr, "");
    assert_eq!(home.must("--json digest model").stderr, "");
}
