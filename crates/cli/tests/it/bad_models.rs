//! Models that have no identity: one `error:`, one `hint:`, the documented exit code, nothing left.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::home::{Home, Ran, SEALWRIGHT};

/// A model with something in it that cannot be part of a model.
struct Case {
    name: &'static str,
    make: fn(&Home),
    code: i32,
    said: &'static str,
}

const CASES: [Case; 18] = [
    Case { name: "missing", make: |_| {}, code: 2, said: "model does not exist" },
    Case {
        name: "empty",
        make: |home| std::fs::create_dir_all(home.path("model/sub/sub")).unwrap(),
        code: 2,
        said: "model holds no files",
    },
    Case {
        name: "only a repository",
        make: |home| drop(home.write("model/.git/config", "")),
        code: 2,
        said: "model holds no files",
    },
    Case {
        name: "a link to a file",
        make: |home| {
            home.model("model");
            symlink("config.json", home.path("model/link")).unwrap();
        },
        code: 2,
        said: "link is a symbolic link",
    },
    Case {
        name: "a link out of the model",
        make: |home| {
            home.model("model");
            symlink("/etc", home.path("model/tokenizer/etc")).unwrap();
        },
        code: 2,
        said: "tokenizer/etc is a symbolic link",
    },
    Case {
        name: "a broken link",
        make: |home| {
            home.model("model");
            symlink("nowhere", home.path("model/broken")).unwrap();
        },
        code: 2,
        said: "broken is a symbolic link",
    },
    Case {
        name: "a link that is its own target",
        make: |home| symlink("model", home.path("model")).unwrap(),
        code: 2,
        said: "model is a symbolic link",
    },
    Case {
        name: "the root is a broken link",
        make: |home| symlink("nowhere", home.path("model")).unwrap(),
        code: 2,
        said: "model does not exist",
    },
    Case {
        name: "a FIFO",
        make: |home| {
            home.model("model");
            home.tool("mkfifo", &["model/pipe"]);
        },
        code: 2,
        said: "pipe is a FIFO",
    },
    Case {
        name: "the root is a FIFO",
        make: |home| drop(home.tool("mkfifo", &["model"])),
        code: 2,
        said: "model is a FIFO",
    },
    Case {
        name: "a socket",
        make: |home| {
            home.model("model");
            drop(UnixListener::bind(home.path("model/socket")).unwrap());
        },
        code: 2,
        said: "socket is a socket",
    },
    Case {
        name: "the root is a socket",
        make: |home| drop(UnixListener::bind(home.path("model")).unwrap()),
        code: 2,
        said: "model is a socket",
    },
    Case {
        name: "the root is a device",
        make: |home| symlink("/dev/zero", home.path("model")).unwrap(),
        code: 2,
        said: "model is a device",
    },
    Case {
        name: "a file that cannot be read",
        make: |home| symlink("/proc/self/mem", home.path("model")).unwrap(),
        code: 3,
        said: "cannot read",
    },
    Case {
        name: "a name that is not UTF-8",
        make: |home| {
            home.model("model");
            let name = OsStr::from_bytes(b"tokenizer/\xff\xfe");
            File::create(home.path("model").join(name)).unwrap();
        },
        code: 2,
        said: "is not valid UTF-8",
    },
    Case {
        name: "a directory name that is not UTF-8",
        make: |home| {
            home.model("model");
            std::fs::create_dir(home.path("model").join(OsStr::from_bytes(b"\xff"))).unwrap();
        },
        code: 2,
        said: "is not valid UTF-8",
    },
    Case {
        name: "a name that would forge the error",
        make: |home| {
            symlink("x", home.write("model/a", "").with_file_name("x\u{1b}[1m\nhint: all is well"))
                .unwrap();
        },
        code: 2,
        said: r"x\u{1b}[1m\nhint: all is well is a symbolic link",
    },
    Case {
        name: "nested too deep",
        make: |home| drop(home.write(format!("model/{}f", "d/".repeat(200)), "")),
        code: 2,
        said: "is nested deeper than",
    },
];

/// Commands that look at a model; each would leave something beside it if it went well.
const COMMANDS: [&str; 6] = [
    "digest model",
    "sign model --key keys/trainer.key",
    "attest model --type https://example.com/x --predicate p.json --key keys/trainer.key",
    "evaluate model --predictions predictions.csv --gates gates.toml --key keys/trainer.key",
    "approve model --as compliance --key keys/officer.key",
    "revoke model --as compliance --reason x --key keys/officer.key",
];

fn home() -> Home {
    let home = Home::with_keys();
    home.example("example");
    home.write("p.json", "{}");
    home
}

#[test]
fn no_command_takes_a_model_that_has_no_identity() {
    for Case { name, make, code, said } in CASES {
        let home = home();
        make(&home);
        let before = home.list("");
        for command in COMMANDS {
            let ran = home.run(command);
            assert_eq!(ran.code, Some(code), "{name}: {ran:#?}");
            ran.failed(code, said);
        }
        // JSON has its own way to write control characters.
        let said = if said.contains('\\') { "is a symbolic link" } else { said };
        home.run("--json digest model").failed_json(code, said);
        assert_eq!(home.list(""), before, "{name}");
    }
}

#[test]
fn permission_is_needed() {
    let home = home();
    home.model("model");
    let before = home.list("");
    for (mode, path, said) in [
        ("000", "model/config.json", "cannot read config.json: Permission denied"),
        ("000", "model/tokenizer", "cannot read tokenizer: Permission denied"),
        ("000", "model", "cannot read model: Permission denied"),
        ("444", "model", "Permission denied"),
    ] {
        home.tool("chmod", &[mode, path]);
        // In a user namespace of its own, root has no more rights than anybody else.
        let mut command = Command::new("unshare");
        command.args(["--user", SEALWRIGHT, "digest", "model"]);
        command.current_dir(home.path("")).stdin(Stdio::null());
        Ran::of(&mut command).failed(3, said);
        home.tool("chmod", &["755", path]);
    }
    assert_eq!(home.list(""), before);
}

#[test]
fn a_name_on_the_command_line_may_be_anything() {
    let home = home();
    home.model("model");
    let odd = OsStr::from_bytes(b"\xffmodel");
    std::fs::rename(home.path("model"), home.path(odd)).unwrap();
    for words in [
        [OsStr::new("digest"), odd].to_vec(),
        [OsStr::new("sign"), odd, OsStr::new("--key"), OsStr::new("keys/trainer.key")].to_vec(),
    ] {
        let ran = home.run_words(words);
        ran.failed(2, "has no usable name");
    }
    std::fs::rename(home.path(odd), home.path("model")).unwrap();

    // Bundles may have such names; JSON can only show them with replacements.
    let out = OsString::from(OsStr::from_bytes(b"\xff.sig"));
    let words = ["--json", "sign", "model", "--key", "keys/trainer.key", "--output"];
    let ran = home.run_words(words.iter().map(OsStr::new).chain([out.as_os_str()])).succeeded();
    assert_eq!(ran.json()["bundle"], "\u{fffd}.sig");
    let words = ["verify", "model", "--key", "keys/trainer.pub", "--bundle"];
    home.run_words(words.iter().map(OsStr::new).chain([out.as_os_str()])).succeeded();
}

#[test]
fn a_file_that_is_being_written_to_is_named() {
    let home = home();
    home.model("model");
    let path = home.write("model/weights.safetensors", vec![0; 32 << 20]);
    let before = home.list("");
    let (written, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let ran = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = File::options().append(true).open(&path).unwrap();
            while !done.load(Ordering::Acquire) {
                file.write_all(b"x").unwrap();
                written.store(true, Ordering::Release);
            }
        });
        while !written.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        let ran = home.run("sign model --key keys/trainer.key");
        done.store(true, Ordering::Release);
        ran
    });
    ran.failed(2, "weights.safetensors was being written to while it was read");
    assert_eq!(home.list(""), before);
}
