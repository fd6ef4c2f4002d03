//! `sealwright sign`: where the bundle goes, and what it covers.

use std::os::unix::fs::symlink;

use sealwright_attest::Bundle;
use serde_json::{Value, json};

use crate::home::{Home, Ran, text};

/// The in-toto statement in a bundle file.
pub(crate) fn statement(home: &Home, bundle: &str) -> Value {
    let bundle = Bundle::parse(&home.read(bundle)).unwrap();
    serde_json::from_slice(&bundle.envelope().payload).unwrap()
}

fn home() -> Home {
    let home = Home::with_keys();
    home.model("model");
    home
}

#[test]
fn the_bundle_is_model_sig_beside_the_model() {
    let home = home();
    let value = home.json("sign model --key file:keys/trainer.key");
    assert_eq!(home.list(""), ["keys", "model", "model.sig"]);
    assert_eq!(home.list("model"), ["config.json", "tokenizer", "weights.safetensors"]);
    let digest = home.json("digest model");
    assert_eq!(value["model_digest"], digest["model_digest"]);
    assert_eq!(value["oms_root"], digest["oms_root"]);
    assert_eq!(value["log"], json!(null));

    let statement = statement(&home, "model.sig");
    assert_eq!(statement["predicateType"], "https://model_signing/signature/v1.0");
    assert_eq!(
        statement["subject"],
        json!([{"name": "model", "digest": {"sha256": digest["oms_root"]}}])
    );
    let resources = statement["predicate"]["resources"].as_array().unwrap();
    let names: Vec<&str> = resources.iter().map(|r| text(&r["name"])).collect();
    assert_eq!(names, ["config.json", "tokenizer/vocab.txt", "weights.safetensors"]);
    for (resource, file) in resources.iter().zip(digest["manifest"]["files"].as_array().unwrap()) {
        assert_eq!(resource["digest"], file["sha256"]);
        assert_eq!(resource["fsverity"], file["fsverity"]);
        assert_eq!(resource["size"], file["size"]);
    }
}

#[test]
fn one_model_has_one_payload() {
    let home = home();
    for (line, bundle) in [
        ("sign model --key keys/trainer.key", "model.sig"),
        ("sign ./model/ --key keys/trainer.key -o b.sig", "b.sig"),
        ("sign model --key keys/trainer.key -o model/c.sig", "model/c.sig"),
    ] {
        home.must(line);
        home.must(&format!(
            "verify model --ignore-path c.sig --bundle {bundle} --key keys/trainer.pub"
        ));
    }
    assert_eq!(statement(&home, "model.sig"), statement(&home, "b.sig"));
    assert_eq!(
        statement(&home, "model/c.sig")["predicate"]["serialization"]["ignore_paths"],
        json!([".git", ".gitattributes", ".github", ".gitignore", "c.sig"])
    );
}

#[test]
fn the_working_directory_may_be_anywhere() {
    let home = home();
    let inside =
        |words: &[&str]| Ran::of(home.command(words).current_dir(home.path("model"))).succeeded();
    inside(&["sign", ".", "--key", "../keys/trainer.key"]);
    assert_eq!(home.list(""), ["keys", "model", "model.sig"]);
    assert_eq!(text(&statement(&home, "model.sig")["subject"][0]["name"]), "model");
    inside(&["verify", ".", "--bundle", "../model.sig", "--key", "../keys/trainer.pub"]);

    inside(&["sign", ".", "--key", "../keys/trainer.key", "--output", "model.sig"]);
    inside(&["verify", ".", "--bundle", "model.sig", "--key", "../keys/trainer.pub"]);
    inside(&["verify", "../model", "--bundle", "./model.sig", "--key", "../keys/trainer.pub"]);
    home.must("verify model --bundle model/model.sig --key keys/trainer.pub");

    inside(&["sign", "tokenizer", "--key", "../keys/trainer.key", "--output", "../t.sig"]);
    home.must("verify model/tokenizer --bundle t.sig --key keys/trainer.pub");
}

#[test]
fn a_bundle_in_the_model_is_no_part_of_it() {
    let home = home();
    let ran = home.must("sign model --key keys/trainer.key --output model/model.sig");
    assert!(ran.stderr.starts_with("note: ") && ran.stderr.contains("--ignore-path model.sig"));
    // It may be replaced, and then signs the same model.
    let again = home.json("sign model --key keys/trainer.key --output model/model.sig");
    assert!(ran.stdout.contains(text(&again["model_digest"])));
    let digest = home.json("digest model --ignore-path model.sig");
    assert_eq!(digest["model_digest"], again["model_digest"]);
    home.must("verify model --bundle model/model.sig --key keys/trainer.pub");
    // Anything else in the model may not.
    for victim in ["config.json", "weights.safetensors", "tokenizer/vocab.txt"] {
        let before = home.read(format!("model/{victim}"));
        let ran = home.run(&format!("sign model --key keys/trainer.key --output model/{victim}"));
        ran.failed(2, "a file of the model");
        assert_eq!(home.read(format!("model/{victim}")), before);
    }
    home.write("one.gguf", "weights");
    home.run("sign one.gguf --key keys/trainer.key -o one.gguf").failed(2, "a file of the model");
    assert_eq!(home.read("one.gguf"), b"weights");
}

#[test]
fn a_statement_is_not_written_into_the_model_it_is_about() {
    let home = home();
    home.write("predicate.json", "{}");
    let line = "attest model --type https://example.com/x --predicate predicate.json \
                --key keys/trainer.key --output model/x.json";
    home.run(line).failed(2, "would change the model");
    assert_eq!(home.list("model"), ["config.json", "tokenizer", "weights.safetensors"]);
    home.must(&format!("{line} --ignore-path x.json"));
}

#[test]
fn paths_left_out_are_recorded_and_left_out_again() {
    let home = home();
    home.write("model/logs/train.txt", "loss 0.3");
    let signed = home.json("sign model --key keys/trainer.key --ignore-path ./logs/");
    let digest = home.json("digest model --ignore-path logs");
    assert_eq!(signed["model_digest"], digest["model_digest"]);
    home.write("model/logs/train.txt", "loss 0.1");
    home.must("verify model --bundle model.sig --key keys/trainer.pub");
}

#[test]
fn every_kind_of_key_signs() {
    let home = home();
    for curve in ["P-256", "P-384", "P-521"] {
        let generate = ["genpkey", "-algorithm", "EC", "-pkeyopt"];
        let group = format!("ec_paramgen_curve:{curve}");
        home.tool("openssl", &[&generate[..], &[&group, "-out", "plain.key"]].concat());
        home.tool("openssl", &["pkey", "-in", "plain.key", "-pubout", "-out", "k.pub"]);
        home.tool("openssl", &["ec", "-in", "plain.key", "-out", "sec1.key"]);
        for key in ["plain.key", "sec1.key"] {
            home.must(&format!("sign model --key {key}"));
            home.must("verify model --bundle model.sig --key k.pub");
        }
    }
    home.tool("openssl", &["genpkey", "-algorithm", "ED25519", "-out", "ed25519.key"]);
    home.tool("openssl", &["genpkey", "-algorithm", "RSA", "-out", "rsa.key"]);
    for key in ["ed25519.key", "rsa.key"] {
        home.run(&format!("sign model --key {key}")).failed(2, "key");
    }
    home.run("sign model --key keys/trainer.pub").failed(2, "not a private key");
}

#[test]
fn a_linked_output_stays_a_link() {
    let home = home();
    home.write("store/bundle", "old");
    symlink("store/bundle", home.path("model.sig")).unwrap();
    home.must("sign model --key keys/trainer.key");
    assert!(home.path("model.sig").is_symlink());
    assert_eq!(home.list("store"), ["bundle"]);
    home.must("verify model --bundle store/bundle --key keys/trainer.pub");
}

#[test]
fn a_bundle_can_go_to_standard_output() {
    let home = home();
    let ran = home.must("--json sign model --key keys/trainer.key --output /dev/stderr");
    home.write("model.sig", &ran.stderr);
    home.must("verify model --bundle model.sig --key keys/trainer.pub");
}

#[test]
fn a_file_can_be_signed_as_the_reference_wants_it() {
    let home = home();
    home.write("loan.gguf", "weights");
    home.must("sign loan.gguf --key keys/trainer.key");
    let names = |bundle| statement(&home, bundle)["predicate"]["resources"][0]["name"].clone();
    assert_eq!(names("model.sig"), "loan.gguf");
    let value = home.json("sign loan.gguf --key keys/trainer.key --compat model-signing -o c.sig");
    assert_eq!(names("c.sig"), ".");
    assert_eq!(value["model_digest"], home.json("digest loan.gguf")["model_digest"]);
    assert_eq!(statement(&home, "c.sig")["subject"], statement(&home, "model.sig")["subject"]);
    let verify = "verify loan.gguf --bundle c.sig --key keys/trainer.pub";
    assert_eq!(home.json(verify)["model_digest"], value["model_digest"]);
    // The signature still covers the name, as part of the model digest.
    std::fs::copy(home.path("loan.gguf"), home.path("other.gguf")).unwrap();
    assert_eq!(home.run(&verify.replace("loan", "other")).code, Some(1));
    home.must("sign loan.gguf --key keys/lead.key --add");
    home.must("sign loan.gguf --key keys/officer.key --add --compat model-signing");
    home.must(
        "verify loan.gguf --bundle model.sig --require 3 --key keys/trainer.pub \
         --key keys/lead.pub --key keys/officer.pub",
    );
    home.write("loan.gguf", "Weights");
    let ran = home.run(&format!("--json {verify}"));
    assert_eq!((ran.code, &ran.json()["differences"]), (Some(1), &json!(["changed: loan.gguf"])));
    // For a directory there is nothing to do.
    home.must("sign model --key keys/trainer.key -o a.sig");
    home.must("sign model --key keys/trainer.key --compat model-signing -o b.sig");
    assert_eq!(statement(&home, "a.sig"), statement(&home, "b.sig"));
    home.run("sign model --key keys/trainer.key --compat cosign").failed(2, "model-signing");
}

#[test]
fn what_git_keeps_is_signed_if_asked_for() {
    let home = home();
    let verify = "verify model --bundle model.sig --key keys/trainer.pub";
    let sign = "sign model --key keys/trainer.key --no-ignore-git-paths";
    // Nothing of git's is there, and nothing may come.
    home.must(sign);
    let predicate = statement(&home, "model.sig")["predicate"].clone();
    assert_eq!(predicate["serialization"]["ignore_paths"], json!([]));
    let verify_all = &format!("{verify} --no-ignore-git-paths");
    home.must(verify);
    home.must(verify_all);
    home.write("model/.github/evil.py", "import os");
    let differences = |line: &str| {
        let ran = home.run(&format!("--json {line}"));
        (ran.code, ran.json()["differences"].clone())
    };
    assert_eq!(differences(verify_all), (Some(1), json!(["added: .github/evil.py"])));
    std::fs::remove_dir_all(home.path("model/.github")).unwrap();
    home.write("model/.gitignore", "*.tmp");
    home.write("model/sub/.gitignore", "*.tmp");
    let value = home.json(sign);
    assert_eq!(value["model_digest"], home.json(verify_all)["model_digest"]);
    let hint = "missing: .gitignore: give --no-ignore-git-paths to look at git's files too";
    assert_eq!(differences(verify), (Some(1), json!([hint])));
    home.json("sign model --key keys/lead.key --no-ignore-git-paths --add");
    home.run("sign model --key keys/officer.key --add").failed(1, "missing: .gitignore");
    home.write("model/.gitignore", "*.tpm");
    assert_eq!(differences(verify_all), (Some(1), json!(["changed: .gitignore"])));
    home.remove("model/.gitignore");
    assert_eq!(differences(verify_all), (Some(1), json!(["missing: .gitignore"])));
    assert_eq!(differences(verify), (Some(1), json!(["missing: .gitignore"])));
}
