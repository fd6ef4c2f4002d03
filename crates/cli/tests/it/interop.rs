//! OpenSSF Model Signing's reference implementation reads what we write, and we read what it writes.
//!
//! `./test` installs it and names it in SEALWRIGHT_TEST_MODEL_SIGNING.

use std::process::Output;

use serde_json::json;

use crate::home::{Home, text};

/// The reference implementation, run with these arguments.
fn reference(home: &Home, line: &str) -> Output {
    let program = std::env::var("SEALWRIGHT_TEST_MODEL_SIGNING").unwrap_or_else(|_| {
        panic!(
            "SEALWRIGHT_TEST_MODEL_SIGNING does not name the reference implementation of OpenSSF \
             Model Signing: run the tests with ./test, which installs it"
        )
    });
    home.tool_output(&program, &line.split_whitespace().collect::<Vec<_>>())
}

#[track_caller]
fn accepts(home: &Home, line: &str) {
    let output = reference(home, line);
    assert!(output.status.success(), "{line}: {output:?}");
}

#[track_caller]
fn refuses(home: &Home, line: &str) {
    let output = reference(home, line);
    assert!(!output.status.success(), "{line}: {output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(!said.contains("Usage"), "refused for the wrong reason: {said}");
}

const THEIRS: &str = "verify key model --public_key keys/trainer.pub --signature model.sig";
const OURS: &str = "verify model --bundle model.sig --key keys/trainer.pub";

fn home() -> Home {
    let home = Home::with_keys();
    home.model("model");
    home
}

/// Both implementations refuse the model after each of these.
fn both_refuse_tampering(home: &Home) {
    let weights = home.read("model/weights.safetensors");
    let mut flipped = weights.clone();
    flipped[0] ^= 1;
    home.write("model/weights.safetensors", flipped);
    refuses(home, THEIRS);
    assert_eq!(home.run(OURS).code, Some(1));
    home.write("model/weights.safetensors", weights);

    home.write("model/added.py", "x");
    refuses(home, THEIRS);
    assert_eq!(home.run(OURS).code, Some(1));
    home.remove("model/added.py");

    std::fs::rename(home.path("model/config.json"), home.path("model/renamed.json")).unwrap();
    refuses(home, THEIRS);
    assert_eq!(home.run(OURS).code, Some(1));
    std::fs::rename(home.path("model/renamed.json"), home.path("model/config.json")).unwrap();

    refuses(home, &THEIRS.replace("trainer", "stranger"));
    assert_eq!(home.run(&OURS.replace("trainer", "stranger")).code, Some(1));

    // One character of the signed payload.
    let bundle = home.read_json("model.sig");
    let mut forged = bundle.clone();
    let mut payload = text(&bundle["dsseEnvelope"]["payload"]).to_owned();
    let other = if &payload[40..41] == "B" { "C" } else { "B" };
    payload.replace_range(40..41, other);
    forged["dsseEnvelope"]["payload"] = json!(payload);
    home.write("model.sig", forged.to_string());
    refuses(home, THEIRS);
    assert_eq!(home.run(OURS).code, Some(1));
    home.write("model.sig", bundle.to_string());

    accepts(home, THEIRS);
    home.must(OURS);
}

#[test]
fn the_reference_verifies_what_we_sign() {
    let home = home();
    home.must("sign model --key keys/trainer.key");
    both_refuse_tampering(&home);
    home.must("sign model --key keys/trainer.key --output model/inside.sig");
    accepts(&home, &THEIRS.replace("model.sig", "model/inside.sig"));
}

#[test]
fn we_verify_what_the_reference_signs() {
    let home = home();
    accepts(&home, "sign key model --private_key keys/trainer.key --signature model.sig");
    let value = home.json(OURS);
    assert_eq!(value["model_digest"], home.json("digest model")["model_digest"]);
    both_refuse_tampering(&home);
}

#[test]
fn both_sign_with_the_same_key() {
    let home = home();
    home.write("pass", "secret\n");
    for curve in ["p256", "p384", "p521"] {
        home.must(&format!(
            "key generate --passphrase-file pass --algorithm {curve} --output {curve}"
        ));
        let decrypt = ["pkey", "-passin", "pass:secret", "-out", "plain.key", "-in"];
        home.tool("openssl", &[&decrypt[..], &[&format!("{curve}.key")]].concat());
        home.must(&format!("sign model --key {curve}.key --passphrase-file pass"));
        // FIXME: the reference (1.1.1) fails with any --password: it passes text where bytes are
        // wanted. When it does not any more, let it sign with the encrypted key itself.
        refuses(
            &home,
            &format!(
                "sign key model --private_key {curve}.key --password secret --signature theirs.sig"
            ),
        );
        accepts(&home, "sign key model --private_key plain.key --signature theirs.sig");
        for bundle in ["model.sig", "theirs.sig"] {
            let line = format!("verify key model --public_key {curve}.pub --signature {bundle}");
            accepts(&home, &line);
            home.must(&format!("verify model --bundle {bundle} --key {curve}.pub"));
        }
    }
}

#[test]
fn names_are_sorted_alike() {
    let home = home();
    // Byte order, path order and UTF-16 order differ on these.
    for name in ["a-b", "a/b", "a.b", "A", "z", "é", "\u{ffff}", "\u{10000}", "a b", "Z/y"] {
        home.write(format!("model/{name}"), name);
    }
    home.must("sign model --key keys/trainer.key");
    accepts(&home, THEIRS);
    accepts(&home, "sign key model --private_key keys/trainer.key --signature model.sig");
    home.must(OURS);
}

#[test]
fn what_the_reference_leaves_out_is_left_out() {
    let home = home();
    home.write("model/logs/x", "1");
    home.write("model/.gitignore", "x");
    home.must("sign model --key keys/trainer.key --ignore-path logs");
    home.write("model/logs/x", "2");
    accepts(&home, &format!("{THEIRS} --ignore-paths model/logs"));
    accepts(
        &home,
        "sign key model --private_key keys/trainer.key --signature model.sig \
         --ignore-paths model/logs",
    );
    home.write("model/logs/x", "3");
    home.must(OURS);
}
