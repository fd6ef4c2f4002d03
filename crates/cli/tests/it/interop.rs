//! OpenSSF Model Signing's reference implementation and Red Hat's read what we write, and we read what
//! they write.
//!
//! `./test` installs them and names them in SEALWRIGHT_TEST_MODEL_SIGNING and
//! SEALWRIGHT_TEST_RH_MODEL_SIGNING.

use std::process::Output;

use serde_json::{Value, json};

use crate::home::{Home, text};
use crate::sign::statement;

/// Another implementation. The two have the same commands and spell the options differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tool {
    Reference,
    RedHat,
}

const TOOLS: [Tool; 2] = [Tool::Reference, Tool::RedHat];

impl Tool {
    /// Runs it with these arguments; options as Red Hat's spells them.
    fn run(self, home: &Home, line: &str) -> Output {
        let variable = match self {
            Tool::Reference => "SEALWRIGHT_TEST_MODEL_SIGNING",
            Tool::RedHat => "SEALWRIGHT_TEST_RH_MODEL_SIGNING",
        };
        let program = std::env::var(variable).unwrap_or_else(|_| {
            panic!(
                "{variable} does not name an implementation of OpenSSF Model Signing: run the tests \
                 with ./test, which installs it"
            )
        });
        let spell = |word: &str| match (self, word.strip_prefix("--")) {
            (Tool::Reference, Some("ignore-paths" | "no-ignore-git-paths")) => word.to_owned(),
            (Tool::Reference, Some(option)) => format!("--{}", option.replace('-', "_")),
            _ => word.to_owned(),
        };
        let words: Vec<String> = line.split_whitespace().map(spell).collect();
        home.tool_output(&program, &words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    #[track_caller]
    fn accepts(self, home: &Home, line: &str) {
        let output = self.run(home, line);
        assert!(output.status.success(), "{self:?} {line}: {output:?}");
    }

    #[track_caller]
    fn refuses(self, home: &Home, line: &str) {
        let output = self.run(home, line);
        assert!(!output.status.success(), "{self:?} {line}: {output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        assert!(!said.contains("Usage"), "refused for the wrong reason: {said}");
    }
}

/// A way to sign: how it is verified, by others and by us, and by another signer.
struct Method {
    theirs: &'static str,
    ours: &'static str,
    /// In both lines, what stands for the signer, and what for another.
    signer: (&'static str, &'static str),
}

const KEY: Method = Method {
    theirs: "verify key model --public-key keys/trainer.pub --signature model.sig",
    ours: "verify model --bundle model.sig --key keys/trainer.pub",
    signer: ("trainer", "stranger"),
};

const CERTIFICATE: Method = Method {
    theirs: "verify certificate model --certificate-chain pki/root.pem --signature model.sig",
    ours: "verify model --bundle model.sig --cert-root pki/root.pem --identity trainer@loans.example",
    signer: ("pki/root", "pki/other-root"),
};

fn home() -> Home {
    let home = Home::with_keys();
    home.model("model");
    home
}

/// Trainer's key and certificate, by an intermediate; and a root that knows nothing of them.
fn home_with_certificates(curve: &str) -> Home {
    let home = Home::new();
    home.model("model");
    home.authorities();
    std::fs::rename(home.path("pki/root.pem"), home.path("pki/other-root.pem")).unwrap();
    home.authorities();
    home.leaf("trainer", curve);
    home
}

/// The tools and we refuse the model after each of these, and nobody before.
fn all_refuse_tampering(home: &Home, method: &Method, tools: &[Tool]) {
    let refuse = |change: &dyn Fn(&str) -> String| {
        for tool in tools {
            tool.refuses(home, &change(method.theirs));
        }
        assert_eq!(home.run(&change(method.ours)).code, Some(1));
    };
    let as_it_is = |line: &str| line.to_owned();
    let accept = || {
        tools.iter().for_each(|tool| tool.accepts(home, method.theirs));
        home.must(method.ours);
    };
    accept();
    let weights = home.read("model/weights.safetensors");
    let mut flipped = weights.clone();
    flipped[0] ^= 1;
    home.write("model/weights.safetensors", flipped);
    refuse(&as_it_is);
    home.write("model/weights.safetensors", weights);

    home.write("model/added.py", "x");
    refuse(&as_it_is);
    home.remove("model/added.py");

    std::fs::rename(home.path("model/config.json"), home.path("model/renamed.json")).unwrap();
    refuse(&as_it_is);
    std::fs::rename(home.path("model/renamed.json"), home.path("model/config.json")).unwrap();

    let (signer, other) = method.signer;
    refuse(&|line| line.replacen(signer, other, 1));

    // One character of the signed payload.
    let bundle = home.read_json("model.sig");
    let mut forged = bundle.clone();
    let mut payload = text(&bundle["dsseEnvelope"]["payload"]).to_owned();
    let other = if &payload[40..41] == "B" { "C" } else { "B" };
    payload.replace_range(40..41, other);
    forged["dsseEnvelope"]["payload"] = json!(payload);
    home.write("model.sig", forged.to_string());
    refuse(&as_it_is);
    home.write("model.sig", bundle.to_string());
    accept();
}

#[test]
fn others_verify_what_we_sign() {
    let home = home();
    home.must("sign model --key keys/trainer.key");
    all_refuse_tampering(&home, &KEY, &TOOLS);
    home.must("sign model --key keys/trainer.key --output model/inside.sig");
    for tool in TOOLS {
        tool.accepts(&home, &KEY.theirs.replace("model.sig", "model/inside.sig"));
    }
}

#[test]
fn we_verify_what_others_sign() {
    for tool in TOOLS {
        let home = home();
        tool.accepts(&home, "sign key model --private-key keys/trainer.key --signature model.sig");
        let value = home.json(KEY.ours);
        assert_eq!(value["model_digest"], home.json("digest model")["model_digest"]);
        all_refuse_tampering(&home, &KEY, &[tool]);
    }
}

#[test]
fn all_sign_with_the_same_key() {
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
        Tool::Reference.refuses(
            &home,
            &format!(
                "sign key model --private-key {curve}.key --password secret --signature theirs.sig"
            ),
        );
        for tool in TOOLS {
            tool.accepts(&home, "sign key model --private-key plain.key --signature theirs.sig");
            for bundle in ["model.sig", "theirs.sig"] {
                let line =
                    format!("verify key model --public-key {curve}.pub --signature {bundle}");
                tool.accepts(&home, &line);
                home.must(&format!("verify model --bundle {bundle} --key {curve}.pub"));
            }
        }
    }
}

#[test]
fn others_verify_our_certificates() {
    for curve in ["P-256", "P-384", "P-521"] {
        let home = home_with_certificates(curve);
        home.must(
            "sign model --key pki/trainer.key --certificate pki/trainer.pem \
             --certificate-chain pki/intermediate.pem",
        );
        if curve == "P-256" {
            all_refuse_tampering(&home, &CERTIFICATE, &TOOLS);
        }
        TOOLS.iter().for_each(|tool| tool.accepts(&home, CERTIFICATE.theirs));
    }
}

#[test]
fn we_verify_others_certificates() {
    for tool in TOOLS {
        for curve in ["P-256", "P-384", "P-521"] {
            let home = home_with_certificates(curve);
            tool.accepts(
                &home,
                "sign certificate model --private-key pki/trainer.key --signature model.sig \
                 --signing-certificate pki/trainer.pem --certificate-chain pki/intermediate.pem",
            );
            home.must(CERTIFICATE.ours);
            home.run(&CERTIFICATE.ours.replace("trainer@", "other@")).failed(1, "not for");
            if curve == "P-384" {
                all_refuse_tampering(&home, &CERTIFICATE, &[tool]);
            }
        }
    }
}

#[test]
fn one_file_is_signed_for_others_with_compat() {
    let home = home();
    home.write("loan.gguf", "weights");
    let theirs = KEY.theirs.replace("key model", "key loan.gguf");
    let ours = KEY.ours.replace("verify model", "verify loan.gguf");
    home.must("sign loan.gguf --key keys/trainer.key");
    home.must(&ours);
    // They look for "." and find the name that the specification wants.
    TOOLS.iter().for_each(|tool| tool.refuses(&home, &theirs));
    home.must("sign loan.gguf --key keys/trainer.key --compat model-signing");
    TOOLS.iter().for_each(|tool| tool.accepts(&home, &theirs));
    home.must(&ours);
    home.write("loan.gguf", "Weights");
    TOOLS.iter().for_each(|tool| tool.refuses(&home, &theirs));
    assert_eq!(home.run(&ours).code, Some(1));
    for tool in TOOLS {
        tool.accepts(
            &home,
            "sign key loan.gguf --private-key keys/trainer.key --signature model.sig",
        );
        home.must(&ours);
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
    for tool in TOOLS {
        tool.accepts(&home, KEY.theirs);
    }
    for tool in TOOLS {
        tool.accepts(&home, "sign key model --private-key keys/trainer.key --signature model.sig");
        home.must(KEY.ours);
    }
}

#[test]
fn what_others_leave_out_is_left_out() {
    let home = home();
    home.write("model/logs/x", "1");
    home.write("model/.gitignore", "x");
    for tool in TOOLS {
        home.must("sign model --key keys/trainer.key --ignore-path logs");
        home.write("model/logs/x", "2");
        tool.accepts(&home, &format!("{} --ignore-paths model/logs", KEY.theirs));
        tool.accepts(
            &home,
            "sign key model --private-key keys/trainer.key --signature model.sig \
             --ignore-paths model/logs",
        );
        home.write("model/logs/x", "3");
        home.must(KEY.ours);
    }
}

#[test]
fn git_paths_are_signed_alike() {
    let home = home();
    home.write("model/.gitignore", "x");
    let paths = |home: &Home| -> Value {
        statement(home, "model.sig")["predicate"]["serialization"]["ignore_paths"].clone()
    };
    for tool in TOOLS {
        home.write("model/.gitignore", "x");
        home.must("sign model --key keys/trainer.key --no-ignore-git-paths");
        assert_eq!(paths(&home), json!([]));
        let theirs = format!("{} --no-ignore-git-paths", KEY.theirs);
        let ours = format!("{} --no-ignore-git-paths", KEY.ours);
        tool.accepts(&home, &theirs);
        home.must(&ours);
        tool.accepts(
            &home,
            "sign key model --private-key keys/trainer.key --signature model.sig \
             --no-ignore-git-paths",
        );
        tool.accepts(&home, &theirs);
        home.must(&ours);
        tool.refuses(&home, KEY.theirs);
        assert_eq!(home.run(KEY.ours).code, Some(1));
        home.write("model/.gitignore", "y");
        tool.refuses(&home, &theirs);
        assert_eq!(home.run(&ours).code, Some(1));
    }
}

#[test]
fn each_of_several_signatures_is_one_for_others() {
    let home = home();
    home.must("sign model --key keys/trainer.key");
    home.must("sign model --key keys/lead.key --add");
    Tool::Reference.accepts(&home, KEY.theirs);
    Tool::RedHat
        .accepts(&home, "verify key model --public-key keys/lead.pub --signature model.2.sig");
    // And the first may be theirs.
    home.remove("model.2.sig");
    Tool::Reference
        .accepts(&home, "sign key model --private-key keys/officer.key --signature model.sig");
    home.must("sign model --key keys/lead.key --add");
    home.must(
        "verify model --bundle model.sig --require 2 --key keys/officer.pub --key keys/lead.pub",
    );
}
