//! Bundles, trusted roots, role bindings, predicates, predictions, gates and keys that are missing,
//! truncated, oversized, duplicate-keyed, wrongly typed, or no files at all.

use std::fs::File;

use serde_json::{Value, json};

use crate::home::{Home, text};
use crate::team::Team;

/// An input: the command that reads `FILE`, a good file, and exit codes.
struct Input {
    command: &'static str,
    good: &'static str,
    /// The format is JSON, so that a name can be there twice.
    json: bool,
    /// One byte more than the limit.
    too_large: u64,
}

const INPUTS: [Input; 10] = [
    Input {
        command: "verify model --bundle FILE --key keys/trainer.pub",
        good: "model.sig",
        json: true,
        too_large: (64 << 20) + 1,
    },
    Input {
        command: "verify model --bundle model.sig --key FILE",
        good: "keys/trainer.pub",
        json: false,
        too_large: (1 << 20) + 1,
    },
    Input {
        command: "verify model --bundle model.sig --key keys/trainer.pub --trusted-root FILE",
        good: "data/trusted_root.json",
        json: true,
        too_large: (4 << 20) + 1,
    },
    Input {
        command: "roles sign FILE --key keys/owner.key --output OUT",
        good: "roles.json",
        json: true,
        too_large: (4 << 20) + 1,
    },
    Input {
        command: "roles show FILE --owner-key keys/owner.pub",
        good: "roles.sigstore.json",
        json: true,
        too_large: (64 << 20) + 1,
    },
    Input {
        command: "attest model --type slsaprovenance1 --predicate FILE --key keys/trainer.key \
                  --output OUT",
        good: "provenance.json",
        json: true,
        too_large: (16 << 20) + 1,
    },
    Input {
        command: "evaluate model --predictions FILE --gates gates.toml --key keys/evaluator.key \
                  --output OUT",
        good: "predictions.csv",
        json: false,
        too_large: (256 << 20) + 1,
    },
    Input {
        command: "evaluate model --predictions predictions.csv --gates FILE \
                  --key keys/evaluator.key --output OUT",
        good: "gates.toml",
        json: false,
        too_large: (1 << 20) + 1,
    },
    Input {
        command: "sign model --key FILE --output OUT",
        good: "keys/trainer.key",
        json: false,
        too_large: (1 << 20) + 1,
    },
    Input {
        command: "sign model --key keys/trainer.key --service http://localhost:1 \
                  --service-ca FILE --output OUT",
        good: "",
        json: false,
        too_large: (1 << 20) + 1,
    },
];

/// A directory in which every input has a good file.
fn home() -> Home {
    let Team { home, service } = Team::new();
    home.must(&format!(
        "sign model --key keys/trainer.key --service {} --trusted-root data/trusted_root.json",
        service.url()
    ));
    service.stop();
    let provenance = json!({
        "buildDefinition": {"buildType": "https://example.com/train", "externalParameters": {}},
        "runDetails": {"builder": {"id": "https://ci.example/runner"}},
    });
    home.write("provenance.json", provenance.to_string());
    home
}

/// The command refuses this file, in words and as JSON, and leaves nothing.
#[track_caller]
fn refuses(home: &Home, command: &str, file: &str, code: i32, said: &str) {
    let line = command.replace("FILE", file).replace("OUT", "out");
    home.run(&line).failed(code, said);
    home.run(&format!("--json {line}")).failed_json(code, said);
    assert!(!home.path("out").exists(), "{line}");
    let hidden = home.list("").into_iter().find(|name| name.starts_with('.'));
    assert_eq!(hidden, None, "{line}");
}

#[test]
fn files_that_are_none() {
    let home = home();
    home.tool("mkfifo", &["fifo"]);
    let socket = std::os::unix::net::UnixListener::bind(home.path("socket")).unwrap();
    std::os::unix::fs::symlink("loop", home.path("loop")).unwrap();
    for Input { command, .. } in INPUTS {
        for (file, code, said) in [
            ("missing", 2, "missing does not exist"),
            ("missing/file", 2, "missing/file does not exist"),
            ("keys", 2, "keys is a directory"),
            ("fifo", 2, "fifo is a FIFO"),
            ("socket", 2, "socket is a socket"),
            ("/dev/zero", 2, "/dev/zero is a device"),
            ("/proc/self/mem", 3, "/proc/self/mem cannot be read"),
            ("loop", 3, "loop cannot be read"),
        ] {
            refuses(&home, command, file, code, said);
        }
    }
    drop(socket);
}

#[test]
fn files_of_nothing_and_files_of_noise() {
    let home = home();
    home.write("empty", "");
    home.write("noise", [0xff, 0x00, 0xfe, b'\n'].repeat(100));
    home.write("spaces", " \n ".repeat(100));
    home.write("html", "<!DOCTYPE html><title>404</title>");
    for Input { command, .. } in INPUTS {
        for file in ["empty", "noise", "spaces", "html"] {
            refuses(&home, command, file, 2, "");
        }
    }
}

#[test]
fn files_that_are_too_large_are_not_read_to_their_end() {
    let home = home();
    for Input { command, too_large, .. } in INPUTS {
        // Sparse: costs nothing to make. One just over the limit, one that would fill the memory.
        for size in [too_large, 1 << 40] {
            File::create(home.path("huge")).unwrap().set_len(size).unwrap();
            refuses(&home, command, "huge", 2, "huge is larger than");
        }
    }
}

#[test]
fn files_that_were_cut_off() {
    let home = home();
    for Input { command, good, .. } in INPUTS.into_iter().filter(|input| !input.good.is_empty()) {
        let whole = home.read(good);
        // A table or a list of gates that ends early can be a good one: cut in a row, in a line.
        let last = |byte: u8| whole.iter().rposition(|b| *b == byte).unwrap();
        let cuts = match good {
            "predictions.csv" => vec![last(b',')],
            "gates.toml" => vec![last(b'=') + 1],
            _ => vec![1, whole.len() / 3, whole.len() / 2, whole.len() - 3],
        };
        for cut in cuts {
            home.write("cut", &whole[..cut]);
            refuses(&home, command, "cut", 2, "cut");
        }
    }
}

#[test]
fn files_that_say_something_twice() {
    let home = home();
    for Input { command, good, json, .. } in INPUTS {
        if !json {
            continue;
        }
        let whole = String::from_utf8(home.read(good)).unwrap();
        let value: Value = serde_json::from_str(&whole).unwrap();
        let first = value.as_object().unwrap().keys().next().unwrap().clone();
        let twice = whole.replacen('{', &format!("{{\"{first}\": null,"), 1);
        home.write("twice", twice);
        refuses(&home, command, "twice", 2, &first);
        // Also deep inside, and with an escape that spells the same name.
        let deep = whole.replacen('{', r#"{"x": {"a": 1, "\u0061": 2},"#, 1);
        home.write("twice", deep);
        refuses(&home, command, "twice", 2, "twice");
    }
    let table = String::from_utf8(home.read("predictions.csv")).unwrap();
    let row = table.lines().nth(1).unwrap();
    home.write("twice", format!("{table}{row}\n"));
    refuses(&home, INPUTS[6].command, "twice", 2, "was already used");
    let gates = String::from_utf8(home.read("gates.toml")).unwrap();
    home.write("twice", gates.replacen("slice =", "slice = \"sex\"\nslice =", 1));
    refuses(&home, INPUTS[7].command, "twice", 2, "twice");
}

#[test]
fn files_with_things_of_the_wrong_type() {
    let home = home();
    for Input { command, good, json, .. } in INPUTS {
        if !json {
            continue;
        }
        let value = home.read_json(good);
        let required = match good {
            "roles.json" => &["principals"][..],
            "provenance.json" => &["buildDefinition", "runDetails"],
            "data/trusted_root.json" => &["mediaType", "tlogs"],
            _ => &["mediaType", "verificationMaterial", "dsseEnvelope"],
        };
        for member in required {
            for wrong in [json!(null), json!(1), json!("x"), json!([[]]), json!({"x": 1})] {
                let mut bad = value.clone();
                bad[*member] = wrong;
                home.write("wrong", bad.to_string());
                refuses(&home, command, "wrong", 2, "");
            }
            let mut bad = value.clone();
            bad.as_object_mut().unwrap().remove(*member);
            home.write("wrong", bad.to_string());
            refuses(&home, command, "wrong", 2, "");
        }
        for whole in ["null", "[]", "1", "\"x\"", "{}"] {
            home.write("wrong", whole);
            refuses(&home, command, "wrong", 2, "");
        }
        home.write("wrong", "[".repeat(100_000));
        refuses(&home, command, "wrong", 2, "wrong");
    }
}

#[test]
fn bundles_with_too_much_or_too_little_in_them() {
    let home = home();
    let good = home.read_json("model.sig");
    let signature = good["dsseEnvelope"]["signatures"][0].clone();
    for (pointer, value) in [
        ("/dsseEnvelope/signatures", json!([])),
        ("/dsseEnvelope/signatures", json!([signature, signature])),
        ("/dsseEnvelope/signatures/0/sig", json!("")),
        ("/dsseEnvelope/signatures/0/sig", json!("not base64!")),
        ("/dsseEnvelope/payload", json!("not base64!")),
        ("/mediaType", json!("application/vnd.dev.sigstore.bundle.v9+json")),
        ("/verificationMaterial/publicKey", json!(null)),
        ("/verificationMaterial/tlogEntries/0/logIndex", json!(-1)),
        ("/verificationMaterial/tlogEntries/0/inclusionProof/hashes", json!(7)),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}: {good}")) = value;
        home.write("bad.sig", bad.to_string());
        let ran = home.run("verify model --bundle bad.sig --key keys/trainer.pub");
        // Either it is no bundle, or its signature is none.
        assert!(matches!(ran.code, Some(1 | 2)), "{pointer}: {ran:#?}");
        ran.failed(ran.code.unwrap(), "bad.sig: ");
    }
    let mut bad = good.clone();
    bad["dsseEnvelope"]["extra"] = json!(1);
    home.write("bad.sig", bad.to_string());
    home.run("verify model --bundle bad.sig --key keys/trainer.pub").failed(2, "extra");
}

#[test]
fn tables_and_gates_say_which_line() {
    let home = home();
    let evaluate = "evaluate model --predictions p.csv --gates g.toml";
    let gates = "[[gate]]\nmetric = \"accuracy\"\nslice = \"overall\"\ncomparator = \">=\"\n\
                 threshold = 0.5\n";
    home.write("g.toml", gates);
    for (table, said) in [
        ("id,label,prediction\n", "p.csv: the predictions table has no rows"),
        ("id,label\n1,1\n", "p.csv: line 1: the predictions table has no column \"prediction\""),
        ("id,label,prediction\n1,1,1\n2,1\n", "p.csv: line 3: 2 fields, but the header has 3"),
        ("id,label,prediction\n1,1,1\n2,yes,1\n", "p.csv: line 3: label is \"yes\""),
        ("id,label,label,prediction\n1,1,1,1\n", "\"label\" twice"),
    ] {
        home.write("p.csv", table);
        home.run(evaluate).failed(2, said);
    }
    home.write("p.csv", "id,label,prediction\n1,1,1\n2,0,0\n");
    home.must(evaluate);
    for (change, said) in [
        (("accuracy", "acuracy"), "g.toml: "),
        (("0.5", "5"), "g.toml: the threshold of accuracy[overall] is 5"),
        (("0.5", "\"0.5\""), "g.toml: "),
        ((">=", "<="), "g.toml: accuracy[overall] must be gated with >="),
        (("threshold", "treshold"), "g.toml: "),
        (("\"overall\"", "\"race\""), "race"),
        (("[[gate]]", "[[gates]]"), "g.toml: "),
    ] {
        home.write("g.toml", gates.replace(change.0, change.1));
        home.run(evaluate).failed(2, said);
    }
    home.write("g.toml", "");
    home.run(evaluate).failed(2, "g.toml: the gates file has no gate");
}

#[test]
fn a_signed_thing_that_is_no_model_signature_is_said_to_be_something_else() {
    let home = home();
    // A role binding is a fine bundle, and says nothing about a model.
    let ran = home.run("--json verify model --bundle roles.sigstore.json --key keys/owner.pub");
    assert_eq!(ran.code, Some(1));
    let differences = ran.json()["differences"].clone();
    let said = "the bundle is no signature over files but a \
                https://sealwright.dev/predicate/role-binding/v0.1 statement";
    assert_eq!(text(&differences[0]), said);
    home.run("roles show model.sig --owner-key keys/trainer.pub")
        .failed(2, "is not a role binding");
}
