//! `sealwright verify` with a bundle and a key: every byte of the model.

use std::os::unix::fs::symlink;

use serde_json::json;

use crate::home::{Home, Ran, text};
use crate::team::Team;

fn signed() -> Home {
    let home = Home::with_keys();
    home.model("model");
    home.must("sign model --key keys/trainer.key");
    home
}

fn verify(home: &Home) -> Ran {
    home.run("verify model --bundle model.sig --key keys/trainer.pub")
}

/// The model is refused, in words and as data, and this is how it differs.
#[track_caller]
fn refuses(home: &Home, differences: &[&str]) {
    let ran = verify(home);
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    assert!(ran.stdout.starts_with("refused\n"), "{ran:#?}");
    assert_eq!(ran.stderr, "");
    let ran = home.run("--json verify model --bundle model.sig --key keys/trainer.pub");
    assert_eq!(ran.code, Some(1));
    assert_eq!(ran.json()["ok"], false);
    let found = ran.json()["differences"].clone();
    let found: Vec<&str> = found.as_array().unwrap().iter().map(text).collect();
    assert_eq!(found, differences);
    for difference in differences {
        let shown = verify(home).stdout;
        assert!(shown.contains(&format!("{}\n", difference.escape_default())), "{shown}");
    }
}

#[test]
fn says_what_was_verified_by_whom_and_when() {
    let home = signed();
    let ran = verify(&home).succeeded();
    let digest = home.json("digest model");
    let key = home.json("key public keys/trainer.pub");
    let (digest, key) = (text(&digest["model_digest"]), text(&key["key_id"]));
    assert_eq!(
        ran.stdout,
        format!(
            "verified\n\
             model         model\n\
             model digest  {digest}\n\
             checked       every byte of 3 files, 9.8 KiB\n\
             signed by     key {key}\n\
             signed at     not proven (give --trusted-root for the log-signed time)\n"
        )
    );
    let value = home.json("verify model --bundle model.sig --key keys/trainer.key");
    assert_eq!(value["ok"], true);
    assert_eq!(value["model_digest"], digest);
    assert_eq!(value["key_id"], key);
    assert_eq!(value["files"], 3);
    assert_eq!(value["differences"], json!([]));
    assert_eq!(value["log"], json!(null));
}

#[test]
fn names_what_changed() {
    let home = signed();
    let original = home.read("model/weights.safetensors");
    let mut flipped = original.clone();
    *flipped.last_mut().unwrap() ^= 1;
    home.write("model/weights.safetensors", &flipped);
    refuses(&home, &["changed: weights.safetensors"]);

    home.write("model/weights.safetensors", &original[1..]);
    refuses(&home, &["changed: weights.safetensors: 9999 bytes, 10000 were signed"]);
    home.write("model/weights.safetensors", original);
    verify(&home).succeeded();

    home.write("model/tokenizer/extra.py", "import os");
    refuses(&home, &["added: tokenizer/extra.py"]);
    home.write("model/.hidden", "");
    refuses(&home, &["added: .hidden", "added: tokenizer/extra.py"]);
    home.remove("model/.hidden");
    home.remove("model/tokenizer/extra.py");
    verify(&home).succeeded();

    std::fs::rename(home.path("model/config.json"), home.path("model/old.json")).unwrap();
    refuses(&home, &["renamed: config.json -> old.json"]);
    home.remove("model/old.json");
    refuses(&home, &["missing: config.json"]);
    home.write("model/config.json", "{}");
    refuses(&home, &["changed: config.json: 2 bytes, 27 were signed"]);
}

#[test]
fn two_files_that_change_places_are_two_changes() {
    let home = signed();
    let (a, b) = (home.path("model/config.json"), home.path("model/tokenizer/vocab.txt"));
    std::fs::rename(&a, home.path("aside")).unwrap();
    std::fs::rename(&b, &a).unwrap();
    std::fs::rename(home.path("aside"), &b).unwrap();
    refuses(
        &home,
        &[
            "changed: config.json: 16 bytes, 27 were signed",
            "changed: tokenizer/vocab.txt: 27 bytes, 16 were signed",
        ],
    );
}

#[test]
fn what_was_never_signed_is_not_the_model() {
    let home = signed();
    symlink("config.json", home.path("model/link.json")).unwrap();
    refuses(&home, &["link.json is a symbolic link"]);
    home.remove("model/link.json");
    home.tool("mkfifo", &["model/pipe"]);
    refuses(&home, &["pipe is a FIFO, not a regular file"]);
    home.remove("model/pipe");
    for file in ["config.json", "tokenizer/vocab.txt", "weights.safetensors"] {
        home.remove(format!("model/{file}"));
    }
    refuses(
        &home,
        &[
            "model holds no files to identify",
            "missing: config.json",
            "missing: tokenizer/vocab.txt",
            "missing: weights.safetensors",
        ],
    );
    std::fs::remove_dir_all(home.path("model")).unwrap();
    verify(&home).failed(2, "model does not exist");
}

#[test]
fn a_name_cannot_forge_the_answer() {
    let home = signed();
    home.write("model/x\u{1b}[2J\nverified", "");
    refuses(&home, &["added: x\u{1b}[2J\nverified"]);
    assert!(!verify(&home).stdout.contains('\u{1b}'));
    assert!(!verify(&home).stdout.contains("\nverified"));
}

#[test]
fn another_key_did_not_sign() {
    let home = signed();
    let line = "verify model --bundle model.sig --key keys/stranger.pub";
    home.run(line).failed(1, "is signed by key");
    home.run(&format!("--json {line}")).failed_json(1, "is signed by key");
    // A forged hint does not help.
    let mut bundle = home.read_json("model.sig");
    let stranger = home.json("key public keys/stranger.pub");
    bundle["verificationMaterial"]["publicKey"]["hint"] = stranger["key_id"].clone();
    home.write("forged.sig", bundle.to_string());
    let forged = "verify model --bundle forged.sig --key keys/stranger.pub";
    home.run(forged).failed(1, "the signature is not valid");
}

#[test]
fn every_part_of_a_signed_bundle_counts() {
    let home = signed();
    home.model("other");
    home.write("other/config.json", "{}");
    home.must("sign other --key keys/trainer.key --output other.sig");
    let (one, other) = (home.read_json("model.sig"), home.read_json("other.sig"));
    let mut swapped = one.clone();
    swapped["dsseEnvelope"]["payload"] = other["dsseEnvelope"]["payload"].clone();
    let mut of_other = one;
    of_other["dsseEnvelope"]["signatures"] = other["dsseEnvelope"]["signatures"].clone();
    for bundle in [swapped, of_other] {
        home.write("tampered.sig", bundle.to_string());
        let ran = home.run("verify model --bundle tampered.sig --key keys/trainer.pub");
        ran.failed(1, "the signature is not valid");
    }
    let ran = home.run("--json verify model --bundle other.sig --key keys/trainer.pub");
    assert_eq!(ran.code, Some(1));
    let change = "changed: config.json: 27 bytes, 2 were signed";
    assert_eq!(ran.json()["differences"], json!([change]));
}

#[test]
fn a_statement_about_a_model_names_it_and_signs_no_files() {
    let home = signed();
    home.model("other");
    home.write("other/config.json", "{}");
    home.write("p.json", "{}");
    home.must(
        "attest model --type https://example.com/note/v1 --predicate p.json \
         --key keys/trainer.key --output note.json",
    );
    let about = |model: &str, more: &str| {
        let line =
            format!("--json verify {model} --bundle note.json --key keys/trainer.pub {more}");
        home.run(&line)
    };
    let note = "--type https://example.com/note/v1";
    let value = about("model", note).succeeded().json();
    assert_eq!(value["predicate_type"], "https://example.com/note/v1");
    // Only what was asked for: a rejection is a fine statement too.
    for (model, more, said) in [
        ("model", "", "no signature over files but a https://example.com/note/v1 statement"),
        ("model", "--type approval", "the statement is of type https://example.com/note/v1"),
        ("other", note, "about another model"),
    ] {
        let ran = about(model, more);
        assert_eq!(ran.code, Some(1), "{ran:#?}");
        assert!(text(&ran.json()["differences"][0]).contains(said), "{ran:#?}");
    }
}

#[test]
fn the_log_signed_time_is_shown_when_it_can_be_proven() {
    let team = Team::new();
    let signed = team.must("trainer", "sign model");
    assert_eq!(signed["log"]["verified"], true);
    let home = &team.home;
    let line = "verify model --bundle model.sig --key keys/trainer.pub";
    let trusted = format!("{line} --trusted-root data/trusted_root.json");
    let value = home.json(&trusted);
    assert_eq!(value["log"], signed["log"]);
    assert_eq!(value["log"]["origin"], "localhost");
    let time = text(&value["log"]["log_signed_time"]).to_owned();
    let shown = home.must(&trusted).stdout;
    let entry = signed["log"]["index"].clone();
    let expected =
        format!("signed at     or before {time} (log-signed time, entry {entry} of localhost)\n");
    assert!(shown.contains(&expected), "{shown}");

    // A log that the trusted root does not know proves nothing.
    let stranger = crate::server::Server::serve(home, "strange");
    let other = format!("{line} --trusted-root strange/trusted_root.json");
    let ran = home.run(&format!("--json {other}"));
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    assert_eq!(ran.json()["log"]["verified"], false);
    assert!(home.run(&other).stdout.starts_with("refused\n"));
    stranger.stop();

    // Nor does a bundle that was never logged.
    home.must("sign model --key keys/trainer.key --output unlogged.sig");
    let ran = home.run(
        "--json verify model --bundle unlogged.sig --key keys/trainer.pub \
         --trusted-root data/trusted_root.json",
    );
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    assert!(text(&ran.json()["log"]["error"]).contains("log"), "{ran:#?}");
}
