//! Several signatures of one model: `sign --add`, `verify --require`, and what counts as one signer.

use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::home::{Home, Ran, SEALWRIGHT, text};
use crate::sign::statement;
use crate::team::Team;

fn home() -> Home {
    let home = Home::with_keys();
    home.model("model");
    home.must("sign model --key keys/trainer.key");
    home
}

/// Signed by three people with keys.
fn signed_by_three() -> Home {
    let home = home();
    home.must("sign model --key keys/lead.key --add");
    home.must("sign model --key keys/officer.key --add");
    home
}

const KEYS: &str = "--key keys/trainer.pub --key keys/lead.pub --key keys/officer.pub";

fn verify(home: &Home, more: &str) -> Ran {
    home.run(&format!("--json verify model {more}"))
}

/// What is said of each bundle: its code, or "valid".
fn said(value: &Value) -> Vec<(&str, &str)> {
    let signatures = value["signatures"].as_array().unwrap().iter();
    let said = signatures.map(|signature| {
        assert_eq!(signature["ok"], signature["code"].is_null(), "{signature}");
        (text(&signature["bundle"]), signature["code"].as_str().unwrap_or("valid"))
    });
    said.collect()
}

#[track_caller]
fn counts(home: &Home, more: &str, code: i32, counted: u64) -> Value {
    let ran = verify(home, more);
    assert_eq!(ran.code, Some(code), "{ran:#?}");
    let value = ran.json();
    assert_eq!(value["ok"], code == 0, "{ran:#?}");
    assert_eq!(value["counted"], counted, "{ran:#?}");
    value
}

#[test]
fn a_signature_is_added_beside_the_first() {
    let home = home();
    let first = home.read("model.sig");
    let value = home.json("sign model --key keys/lead.key --add");
    assert_eq!(value["bundle"], "./model.2.sig");
    assert_eq!(home.json("sign model --key keys/officer.key --add")["bundle"], "./model.3.sig");
    assert_eq!(home.read("model.sig"), first);
    assert_eq!(statement(&home, "model.2.sig"), statement(&home, "model.sig"));
    for (bundle, who) in
        [("model.sig", "trainer"), ("model.2.sig", "lead"), ("model.3.sig", "officer")]
    {
        home.must(&format!("verify model --bundle {bundle} --key keys/{who}.pub"));
    }
    // A gap is filled; what is not a bundle takes a name, and is left alone.
    home.remove("model.2.sig");
    symlink("nowhere", home.path("model.2.sig")).unwrap();
    home.remove("model.3.sig");
    home.write("model.3.sig", "notes");
    assert_eq!(home.json("sign model --key keys/lead.key --add")["bundle"], "./model.4.sig");
    assert_eq!(home.read("model.3.sig"), b"notes");
    assert!(home.path("model.2.sig").is_symlink());

    std::fs::create_dir(home.path("sigs")).unwrap();
    let elsewhere = "sign model --key keys/trainer.key -o sigs/m.sigstore.json";
    home.must(elsewhere);
    let elsewhere = elsewhere.replace("trainer", "lead") + " --add";
    assert_eq!(home.json(&elsewhere)["bundle"], "sigs/m.sigstore.2.json");
}

#[test]
fn only_what_is_signed_already_can_be_signed_again() {
    let home = home();
    let add = "sign model --key keys/lead.key --add";
    let before = home.list("");
    let is_refused = |line: &str, code, said| {
        home.run(line).failed(code, said);
        home.run(&format!("--json {line}")).failed_json(code, said);
        assert_eq!(home.list(""), before, "{line}");
    };
    is_refused("sign model --key keys/lead.key --add -o none.sig", 2, "does not exist");
    is_refused(
        "sign model --key keys/lead.key --add -o keys/lead.pub",
        2,
        "keys/lead.pub: not acceptable JSON",
    );
    is_refused("sign model --key keys/trainer.key --add", 2, "model.sig is signed with this key");

    home.write("model/added.py", "");
    is_refused(add, 1, "model.sig does not sign this model: added: added.py");
    home.remove("model/added.py");
    let config = home.read("model/config.json");
    home.write("model/config.json", "{}");
    is_refused(add, 1, "changed: config.json");
    home.remove("model/config.json");
    is_refused(add, 1, "missing: config.json");
    for number in 0..9 {
        home.write(format!("model/{number}"), [number]);
    }
    is_refused(add, 1, "added: 3; and 5 more");
    for number in 0..9 {
        home.remove(format!("model/{number}"));
    }
    home.write("model/config.json", config);

    // A statement that is no signature over files.
    home.write("p.json", "{}");
    home.must(
        "attest model --type https://x.example/y --predicate p.json --key keys/owner.key -o y",
    );
    home.run(&format!("{add} -o y")).failed(2, "predicate type \"https://x.example/y\"");
    home.must(add);
    home.run(add).failed(2, "model.2.sig is signed with this key already");
}

#[test]
fn what_the_first_leaves_out_is_left_out_knowingly() {
    let home = home();
    home.write("model/logs/x", "1");
    home.must("sign model --key keys/trainer.key --ignore-path logs");
    let ran = home.run("sign model --key keys/lead.key --add");
    ran.failed(1, "added: logs/x");
    assert!(ran.stderr.contains("leaves out what this would: --ignore-path logs\n"), "{ran:#?}");
    home.must("sign model --key keys/lead.key --add --ignore-path logs");
    home.must("verify model --bundle model.2.sig --key keys/lead.pub");
}

#[test]
fn signatures_in_the_model_do_not_change_it() {
    let home = Home::with_keys();
    home.model("model");
    home.must("sign model --key keys/trainer.key -o model/model.sig");
    let add = "sign model --key keys/lead.key --add -o model/model.sig";
    home.run(add).failed(2, "writing model/model.2.sig would change the model");
    let ran = home.run(add);
    assert!(ran.stderr.contains("give that as --output"), "{ran:#?}");
    // As the hint says.
    std::fs::copy(home.path("model/model.sig"), home.path("m.sig")).unwrap();
    home.must("sign model --key keys/lead.key --add -o m.sig --ignore-path model.sig");
    assert_eq!(home.list("model").len(), 4);
    let value = counts(&home, &format!("--bundle m.sig --require 2 {KEYS}"), 0, 2);
    assert_eq!(said(&value), [("m.sig", "valid"), ("m.2.sig", "valid")]);

    // Where the first leaves room for others, they may lie in the model.
    home.remove("model/model.sig");
    std::fs::create_dir(home.path("model/sigs")).unwrap();
    let room = "--ignore-path sigs -o model/sigs/m.sig";
    home.must(&format!("sign model --key keys/trainer.key {room}"));
    for who in ["lead", "officer"] {
        home.must(&format!("sign model --key keys/{who}.key --add {room}"));
    }
    assert_eq!(home.list("model/sigs"), ["m.2.sig", "m.3.sig", "m.sig"]);
    counts(&home, &format!("--bundle model/sigs/m.sig --require 3 {KEYS}"), 0, 3);
}

#[test]
fn many_may_add_at_the_same_time() {
    let home = home();
    let people = ["evaluator", "lead", "officer", "head", "handyman", "security"];
    let start = |who: &str| {
        let key = format!("keys/{who}.key");
        let mut command = Command::new(SEALWRIGHT);
        command.current_dir(home.path(""));
        command.args(["sign", "model", "--add", "--key", &key]);
        command.stdout(Stdio::null()).spawn().unwrap()
    };
    let running: Vec<_> = people.iter().map(|who| start(who)).collect();
    for mut child in running {
        assert!(child.wait().unwrap().success());
    }
    let keys: String = people.iter().map(|who| format!("--key keys/{who}.pub ")).collect();
    let more = format!("--bundle model.sig --require 7 --key keys/trainer.pub {keys}");
    counts(&home, &more, 0, 7);
    assert!(home.path("model.7.sig").exists() && !home.path("model.8.sig").exists());
}

#[test]
fn signers_are_counted() {
    let home = signed_by_three();
    let all = [("model.sig", "valid"), ("model.2.sig", "valid"), ("model.3.sig", "valid")];
    for (bundles, required, code) in [
        ("--bundle model.sig", 1, 0),
        ("--bundle model.sig", 3, 0),
        ("--bundle model.sig", 4, 1),
        ("--bundle model.sig --bundle ./model.2.sig", 3, 0),
    ] {
        let value = counts(&home, &format!("{bundles} --require {required} {KEYS}"), code, 3);
        assert_eq!(value["required"], required);
        let found: Vec<_> =
            said(&value).iter().map(|(b, c)| (b.trim_start_matches("./"), *c)).collect();
        assert_eq!(found, all);
    }
    // Only who is trusted counts.
    let two = "--bundle model.sig --key keys/trainer.pub --key keys/officer.pub --require";
    let value = counts(&home, &format!("{two} 2"), 0, 2);
    assert_eq!(value["signatures"][1]["code"], "OTHER_KEY");
    assert!(text(&value["signatures"][1]["error"]).ends_with("not by any of the given keys"));
    assert_eq!(value["model_digest"], home.json("digest model")["model_digest"]);
    let value = counts(&home, &format!("{two} 3"), 1, 2);
    assert_eq!(value["model_digest"], json!(null));
    // Others are looked for beside the bundle that is given, and only when signers are counted.
    counts(&home, &format!("--bundle model.2.sig --require 1 {KEYS}"), 0, 1);
    home.must(&format!("verify model --bundle model.sig --bundle model.2.sig {KEYS}"));
    let value = counts(&home, &format!("--bundle model.sig --bundle model.2.sig {KEYS}"), 0, 2);
    assert_eq!((&value["required"], said(&value).len()), (&json!(null), 2));
    // One bundle and more than one key is what it always was.
    let value = home.json(&format!("verify model --bundle model.2.sig {KEYS}"));
    assert_eq!(value["key_id"], home.json("key public keys/lead.pub")["key_id"]);
    assert_eq!(value["signatures"], json!(null));
    home.run("verify model --bundle model.sig --key keys/lead.pub --key keys/officer.pub")
        .failed(1, "not by any of the given keys");
    for wrong in ["0", "-1", "x", "70000"] {
        let line =
            format!("verify model --bundle model.sig --key keys/trainer.pub --require {wrong}");
        assert_eq!(home.run(&line).code, Some(2), "{wrong}");
    }
}

#[test]
fn every_given_bundle_must_be_valid_unless_signers_are_counted() {
    let home = signed_by_three();
    let given = "--bundle model.sig --bundle model.2.sig";
    home.write("model.2.sig", "no bundle");
    let value = counts(&home, &format!("{given} {KEYS}"), 1, 1);
    assert_eq!(said(&value), [("model.sig", "valid"), ("model.2.sig", "BUNDLE_UNUSABLE")]);
    assert!(text(&value["signatures"][1]["error"]).contains("not acceptable JSON"), "{value}");
    counts(&home, &format!("{given} --require 2 {KEYS}"), 0, 2);
    home.remove("model.2.sig");
    home.run(&format!("verify model {given} {KEYS}")).failed(2, "model.2.sig");
    home.tool("mkfifo", &["model.2.sig"]);
    counts(&home, &format!("--bundle model.sig --require 2 {KEYS}"), 0, 2);
    // A single one that cannot be used is unusable input, as ever.
    home.run("verify model --bundle model.2.sig --key keys/lead.pub").failed(2, "is a FIFO");
}

#[test]
fn a_model_that_changed_has_no_signers() {
    let home = signed_by_three();
    home.write("model/config.json", "{}");
    let value = counts(&home, &format!("--bundle model.sig --require 1 {KEYS}"), 1, 0);
    for signature in value["signatures"].as_array().unwrap() {
        assert_eq!(signature["code"], "MODEL_DIFFERS");
        assert_eq!(
            signature["differences"],
            json!(["changed: config.json: 2 bytes, 27 were signed"])
        );
    }
    // One who signed the new model does not count for those who did not.
    home.must("sign model --key keys/head.key -o model.4.sig");
    let value =
        counts(&home, &format!("--bundle model.sig --require 2 {KEYS} --key keys/head.pub"), 1, 1);
    assert_eq!(said(&value)[3], ("model.4.sig", "valid"));
}

/// (r, n - s) on P-256: the other signature that anybody can make of one.
fn with_twin_signature(mut bundle: Value) -> Value {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    const N: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let signature = &mut bundle["dsseEnvelope"]["signatures"][0]["sig"];
    let der = STANDARD.decode(text(signature)).unwrap();
    let at_s = 4 + usize::from(der[3]);
    let (head, s) = (&der[2..at_s], &der[at_s + 2..]);
    let order = hex::decode(N).unwrap();
    let s: Vec<u8> = [vec![0; 33 - s.len()], s.to_vec()].concat();
    let mut twin = vec![0_u8; 33];
    let mut borrow = 0;
    for place in (0..32).rev() {
        let difference = i16::from(order[place]) - i16::from(s[place + 1]) - borrow;
        borrow = i16::from(difference < 0);
        twin[place + 1] = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    while twin[0] == 0 && twin[1] < 0x80 {
        twin.remove(0);
    }
    let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap();
    let body = [head, &[2, length(&twin)], &twin].concat();
    *signature = json!(STANDARD.encode([&[0x30, length(&body)], &body[..]].concat()));
    bundle
}

#[test]
fn one_signer_counts_once() {
    let home = home();
    home.authorities();
    let certify = |name: &str, key: &str, identity: &str| {
        home.write(
            format!("pki/{name}.ext"),
            format!("{}subjectAltName=email:{identity}\n", crate::pki::SIGNING),
        );
        home.openssl(&format!("req -new -key {key} -subj /CN={name} -out pki/{name}.csr"));
        home.issue(name, "intermediate", &format!("pki/{name}.ext"), 30);
        let files =
            format!("--certificate pki/{name}.pem --certificate-chain pki/intermediate.pem");
        home.must(&format!("sign model --key {key} {files} -o {name}.sig"));
    };
    certify("a1", "keys/trainer.key", "a@loans.example");
    certify("a2", "keys/lead.key", "a@loans.example");
    certify("b1", "keys/trainer.key", "b@loans.example");
    certify("b3", "keys/officer.key", "b@loans.example");
    home.must("sign model --key keys/trainer.key -o again.sig");
    home.write("twin.sig", with_twin_signature(home.read_json("model.sig")).to_string());
    home.must("verify model --bundle twin.sig --key keys/trainer.pub");

    let both = "--cert-root pki/root.pem --identity a@loans.example --identity b@loans.example \
                --key keys/trainer.pub --key keys/head.pub";
    home.must("sign model --key keys/head.key -o head.sig");
    for (bundles, counted) in [
        (&["model", "model"][..], 1),
        (&["model", "again"], 1),
        (&["model", "twin"], 1),
        // A key and its certificate.
        (&["model", "a1"], 1),
        (&["head", "a1"], 2),
        // Two keys of one person; two people with one key.
        (&["a1", "a2"], 1),
        (&["a1", "b1"], 1),
        (&["a1", "b3"], 2),
        (&["model", "a1", "head", "b3"], 3),
        (&["model", "again", "twin", "a1", "a2", "b1", "b3"], 1),
    ] {
        let given: String = bundles.iter().map(|name| format!("--bundle {name}.sig ")).collect();
        let value = counts(&home, &format!("{given} {both}"), 0, counted);
        assert!(said(&value).iter().all(|(_, code)| *code == "valid"), "{value}");
        counts(&home, &format!("{given} {both} --require {counted}"), 0, counted);
        counts(&home, &format!("{given} {both} --require {}", counted + 1), 1, counted);
    }
    // Whoever has signed with the key does not sign again with a certificate for it.
    home.run("sign model --add --key keys/trainer.key --certificate pki/a1.pem")
        .failed(2, "model.sig is signed with this key already");
    // An identity is for certificates.
    let key = "verify model --bundle model.sig --key keys/trainer.pub";
    home.run(&format!("{key} --identity a@loans.example")).failed(2, "there is no --cert-root");
    home.run(&format!("{key} --cert-root pki/root.pem")).failed(2, "without a signer");
    // A bundle is held against what it is signed with.
    let certificates = "--cert-root pki/root.pem --identity b@loans.example";
    let value = counts(&home, &format!("--bundle a1.sig --bundle model.sig {certificates}"), 1, 0);
    assert_eq!(
        said(&value),
        [("a1.sig", "OTHER_IDENTITY"), ("model.sig", "NOT_CERTIFICATE_SIGNED")]
    );
    let value = counts(&home, "--bundle a1.sig --bundle model.sig --key keys/trainer.pub", 1, 1);
    assert_eq!(said(&value)[0], ("a1.sig", "NOT_KEY_SIGNED"));
}

#[test]
fn people_read_who_signed() {
    let home = signed_by_three();
    home.write("model.2.sig", "no bundle");
    let line = "verify model --bundle model.sig --require 2";
    let ran = home.run(&format!("{line} {KEYS}")).succeeded();
    let digest = text(&home.json("digest model")["model_digest"]).to_owned();
    let id = |who: &str| {
        text(&home.json(&format!("key public keys/{who}.pub"))["key_id"])[..16].to_owned()
    };
    let unproven = "not proven (give --trusted-root for the log-signed time)";
    assert_eq!(
        ran.stdout,
        format!(
            "verified: 2 valid signatures by 2 signers, 2 required\n\
             model         model\n\
             model digest  {digest}\n\
             checked       every byte of 3 files, 9.8 KiB\n\
             signature     model.sig: valid\n\
             \x20 signed by   key {}…\n\
             \x20 signed at   {unproven}\n\
             signature     model.2.sig: refused\n\
             \x20             not acceptable JSON: expected ident at line 1 column 2\n\
             signature     model.3.sig: valid\n\
             \x20 signed by   key {}…\n\
             \x20 signed at   {unproven}\n",
            id("trainer"),
            id("officer"),
        )
    );
    let ran = home.run(&format!("{line} --key keys/officer.pub --key keys/head.pub"));
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.starts_with("refused: 1 valid signature by 1 signer, 2 required\n"));
    let both = "verify model --bundle model.sig --bundle model.3.sig";
    let ran = home.run(&format!("{both} {KEYS}")).succeeded();
    assert!(ran.stdout.starts_with("verified: 2 of 2 signatures valid, by 2 signers\n"));
    let widest = ran.stdout.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(80), "{}", ran.stdout);
}

#[test]
fn attestations_beside_a_model_break_nothing() {
    let team = Team::new();
    let home = &team.home;
    team.must("trainer", "sign model");
    team.must("lead", "sign model --add");
    let before = home.list("");
    team.evaluate("model");
    team.approve("officer", "compliance", "model");
    home.write("p.json", "{}");
    team.must("head", "attest model --type https://x.example/y --predicate p.json");
    assert!(home.list("").len() >= before.len() + 3);
    home.must("verify model --bundle model.sig --key keys/trainer.pub");
    let more =
        format!("--bundle model.sig --require 2 {KEYS} --trusted-root data/trusted_root.json");
    let value = counts(home, &more, 0, 2);
    assert_eq!(value["signatures"][0]["log"]["verified"], true);
    // A statement is no signature over the model, wherever it lies.
    let note = home.list("").into_iter().find(|name| name.contains("approval")).unwrap();
    std::fs::copy(home.path(note), home.path("model.3.sig")).unwrap();
    let value = counts(home, &format!("--bundle model.sig --require 3 {KEYS}"), 1, 2);
    assert_eq!(said(&value)[2], ("model.3.sig", "MODEL_DIFFERS"));
}

/// Two signatures are by two signers of one thing only if they cover the same files.
#[test]
fn signatures_over_different_files_do_not_add_up() {
    let home = Home::with_keys();
    home.write("model/a", "1");
    home.write("model/b", "2");
    let sign = |key: &str, options: &str| {
        home.must(&format!("sign model --key keys/{key}.key --output {key}.sig {options}"));
    };
    let verify = |bundles: &str, options: &str| {
        home.run(&format!(
            "--json verify model {bundles} --key keys/trainer.pub --key keys/lead.pub {options}"
        ))
    };
    let both = "--bundle trainer.sig --bundle lead.sig";
    sign("trainer", "--ignore-path b");
    sign("lead", "--ignore-path a");
    for options in ["--require 2", "", "--require 2 --ignore-unsigned-files"] {
        let ran = verify(both, options);
        assert_eq!((ran.code, ran.json()["counted"].as_u64()), (Some(1), Some(1)), "{options}");
        assert_eq!(ran.json()["signatures"][1]["code"], "OTHER_FILES");
    }
    assert_eq!(verify(both, "--require 1").code, Some(0));

    // Somebody adds a file to what another has signed, and signs all of it.
    sign("lead", "");
    for bundles in [both, "--bundle lead.sig --bundle trainer.sig"] {
        assert_eq!(verify(bundles, "--require 2").code, Some(1), "{bundles}");
    }
    sign("trainer", "");
    assert_eq!(verify(both, "--require 2").code, Some(0));
    // What is asked for by name has to be there.
    let ran = verify("--bundle trainer.sig --bundle missing.sig", "--require 1");
    assert_eq!(ran.code, Some(2));
    home.run(
        "verify model --bundle trainer.sig --key keys/trainer.pub --type approval --require 2",
    )
    .failed(2, "--require");
}
