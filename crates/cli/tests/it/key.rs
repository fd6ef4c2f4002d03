//! `sealwright key`: key pairs that other programs can read, in places where keys may be.

use crate::home::{Home, Ran, text};
use crate::isolated::{isolated, mount_memory};

const PASSPHRASE: &str = "correct horse";

fn home() -> Home {
    let home = Home::new();
    home.write("pass", format!("{PASSPHRASE}\n"));
    home
}

fn generate(home: &Home, line: &str) -> Ran {
    home.run(&format!("key generate --passphrase-file pass {line}"))
}

#[test]
fn openssl_reads_the_keys() {
    let home = home();
    for (algorithm, curve) in [
        ("", "P-256"),
        ("--algorithm p256", "P-256"),
        ("--algorithm p384", "P-384"),
        ("--algorithm p521", "P-521"),
    ] {
        let name = format!("keys/k{}", algorithm.replace(' ', "-"));
        std::fs::create_dir_all(home.path("keys")).unwrap();
        let value =
            home.json(&format!("key generate --passphrase-file pass {algorithm} --output {name}"));
        let (private, public) = (format!("{name}.key"), format!("{name}.pub"));
        assert_eq!(text(&value["key"]), private);
        assert_eq!(text(&value["public_key"]), public);

        let pem = String::from_utf8(home.read(&private)).unwrap();
        assert!(pem.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"), "{pem}");
        assert_eq!(home.mode(&private), 0o600);
        let pass = format!("pass:{PASSPHRASE}");
        let openssl = ["pkey", "-in", &private, "-passin", &pass];
        let known = home.tool("openssl", &[&openssl[..], &["-pubout"]].concat());
        assert_eq!(known, home.read(&public));
        let shown = home.tool("openssl", &[&openssl[..], &["-noout", "-text"]].concat());
        assert!(String::from_utf8(shown).unwrap().contains(&format!("NIST CURVE: {curve}")));
        let wrong = ["pkey", "-in", &private, "-passin", "pass:wrong", "-noout"];
        assert!(!home.tool_output("openssl", &wrong).status.success());

        // The key's id is the SHA-256 of the file, as in OMS bundles.
        let id = String::from_utf8(home.tool("sha256sum", &[&public])).unwrap();
        assert_eq!(text(&value["key_id"]), &id[..64]);
    }
}

#[test]
fn the_public_half_is_shown_whatever_the_reference() {
    let home = home();
    generate(&home, "--output k").succeeded();
    let public = String::from_utf8(home.read("k.pub")).unwrap();
    let absolute = home.path("k.key");
    for reference in
        ["k.key", "file:k.key", "k.pub", "file:k.pub", &format!("file://{}", absolute.display())]
    {
        let ran = home.must(&format!("key public {reference} --passphrase-file pass"));
        assert_eq!(ran.stdout, public, "{reference}");
        assert_eq!(ran.stderr, "");
    }
    let value = home.json("key public k.pub");
    assert_eq!(text(&value["public_key"]), public);
    assert_eq!(home.must("key public k.pub --output out.pem").stdout, "");
    assert_eq!(home.read("out.pem"), public.as_bytes());
}

#[test]
fn keys_of_openssl_are_understood() {
    let home = home();
    home.tool("openssl", &["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "sec1"]);
    home.tool("openssl", &["pkcs8", "-topk8", "-nocrypt", "-in", "sec1", "-out", "plain"]);
    let encrypt = ["pkcs8", "-topk8", "-in", "sec1", "-passout", "pass:correct horse"];
    home.tool("openssl", &[&encrypt[..], &["-out", "pbkdf2"]].concat());
    home.tool("openssl", &[&encrypt[..], &["-scrypt", "-out", "scrypt"]].concat());
    let public = home.tool("openssl", &["pkey", "-in", "sec1", "-pubout"]);
    for key in ["sec1", "plain", "pbkdf2", "scrypt"] {
        let ran = home.must(&format!("key public {key} --passphrase-file pass"));
        assert_eq!(ran.stdout.as_bytes(), public, "{key}");
    }
}

#[test]
fn a_passphrase_file_may_come_from_anywhere() {
    let home = home();
    home.write("windows", format!("{PASSPHRASE}\r\nsecond line\r\n"));
    home.write("bare", PASSPHRASE);
    generate(&home, "--output k").succeeded();
    for file in ["pass", "windows", "bare"] {
        home.must(&format!("key public k.key --passphrase-file {file}"));
        let mut command = home.command(["key", "public", "k.key"]);
        Ran::of(command.env("SEALWRIGHT_PASSPHRASE_FILE", file)).succeeded();
    }
    // As `--passphrase-file <(pass show sealwright)` in a shell.
    let line = format!(
        "{} key public k.key --passphrase-file <(echo '{PASSPHRASE}')",
        crate::home::SEALWRIGHT
    );
    assert_eq!(home.tool("bash", &["-c", &line]), home.read("k.pub"));
}

#[test]
fn no_private_key_is_written_where_it_would_be_published() {
    let home = home();
    home.tool("git", &["init", "--quiet", "work"]);
    std::fs::create_dir_all(home.path("work/deep/below")).unwrap();
    home.write("linked/.git", "gitdir: elsewhere");
    home.model("model");
    home.write("pytorch/config.json", "{}");
    home.write("pytorch/pytorch_model.bin", "x");
    for (place, what) in [
        ("work", "a git work tree"),
        ("work/deep/below", "a git work tree"),
        ("linked", "a git work tree"),
        ("model", "a model directory"),
        ("model/tokenizer", "a model directory"),
        ("pytorch", "a model directory"),
    ] {
        let before = home.list(place);
        let ran = generate(&home, &format!("--output {place}/k"));
        ran.failed(2, &format!("refusing to write a private key into {what}"));
        generate(&home, &format!("--json --output {place}/k")).failed_json(2, what);
        assert_eq!(home.list(place), before, "{place}");
    }
    // Not by a link either, nor from inside.
    std::os::unix::fs::symlink(home.path("work/deep"), home.path("innocent")).unwrap();
    generate(&home, "--output innocent/k").failed(2, "a git work tree");
    let words = ["key", "generate", "--passphrase-file", "../pass"];
    let ran = Ran::of(home.command(words).current_dir(home.path("model")));
    ran.failed(2, "a model directory");
}

#[test]
fn a_model_at_home_does_not_make_all_of_home_a_model() {
    let home = home();
    home.write("user/model.gguf", "x");
    std::fs::create_dir_all(home.path("user/keys")).unwrap();
    let at_home = |output: &str| {
        let words = ["key", "generate", "--passphrase-file", "pass", "--output", output];
        Ran::of(home.command(words).env("HOME", home.path("user")))
    };
    at_home("user/keys/k").succeeded();
    at_home("user/k").failed(2, "a model directory");
}

#[test]
fn a_key_is_never_overwritten() {
    let home = home();
    home.write("a.key", "precious");
    home.write("b.pub", "precious");
    std::os::unix::fs::symlink("nowhere", home.path("c.key")).unwrap();
    let before = home.list("");
    for name in ["a", "b", "c"] {
        generate(&home, &format!("--output {name}")).failed(2, "already exists");
        assert_eq!(home.list(""), before);
    }
    assert_eq!(home.read("a.key"), b"precious");
    assert_eq!(home.read("b.pub"), b"precious");
}

#[test]
fn nothing_is_left_of_a_key_that_could_not_be_made() {
    let home = home();
    home.write("empty", "");
    home.write("newline", "\n");
    home.write("not-text", [0xff, 0xfe]);
    std::fs::create_dir(home.path("keys")).unwrap();
    let run = |line: &str| home.run(&format!("key generate {line}"));
    let before = home.list("");
    run("--output keys/k").failed(2, "there is no terminal");
    run("--output keys/k --passphrase-file missing").failed(2, "missing does not exist");
    run("--output keys/k --passphrase-file empty").failed(2, "the passphrase is empty");
    run("--output keys/k --passphrase-file newline").failed(2, "the passphrase is empty");
    run("--output keys/k --passphrase-file not-text").failed(2, "is not UTF-8 text");
    run("--output keys/k --passphrase-file keys").failed(2, "is a directory");
    run("--output missing/k --passphrase-file pass").failed(2, "does not exist");
    run("--output keys --passphrase-file pass").failed(2, "is a directory");
    run("--output keys/ --passphrase-file pass").failed(2, "is a directory");
    run("--output keys/k --algorithm rsa --passphrase-file pass").failed(2, "rsa");
    assert_eq!(home.list(""), before);
    assert_eq!(home.list("keys"), [""; 0]);
}

#[test]
fn half_a_key_pair_is_not_left_on_a_full_disk() {
    isolated("key::half_a_key_pair_is_not_left_on_a_full_disk", || {
        let home = home();
        // Room for one page: the private key fits, the public one does not.
        let _disk = mount_memory(&home.path("keys"), 4);
        generate(&home, "--output keys/k").failed(3, "No space left on device");
        assert_eq!(home.list("keys"), [""; 0]);
    });
}

#[test]
fn a_wrong_passphrase_opens_nothing() {
    let home = home();
    home.model("model");
    home.write("wrong", "incorrect horse\n");
    generate(&home, "--output k").succeeded();
    let before = home.list("");
    for line in ["key public k.key", "sign model --key k.key"] {
        home.run(&format!("{line} --passphrase-file wrong")).failed(2, "wrong passphrase");
        let ran = home.run(&format!("--json {line} --passphrase-file wrong"));
        ran.failed_json(2, "wrong passphrase");
        home.run(line).failed(2, "the key needs a passphrase, and there is no terminal");
    }
    assert_eq!(home.list(""), before);
}

#[test]
fn references_to_other_keepers_are_not_taken_for_files() {
    let home = home();
    home.model("model");
    for (reference, said) in [
        ("pkcs11:token=x", "pkcs11:… are not supported yet"),
        ("awskms:///alias/x", "awskms://… are not supported yet"),
        ("https://keys.example/k", "is not a key reference"),
        ("file:", "is not a key reference"),
        ("file:~/k.key", "does not exist"),
    ] {
        home.run(&format!("sign model --key {reference}")).failed(2, said);
    }
    let ran = home.run("key public file:~/k.key");
    assert!(ran.stderr.contains("hint: the shell expands ~ only at the start of a word"));
}

/// Keys as OpenSSL writes and wrote them.
#[test]
fn keys_encrypted_in_the_old_way_sign_too() {
    let home = Home::new();
    home.model("model");
    home.write("pass", "secret\n");
    home.write("wrong", "other\n");
    for (curve, cipher) in
        [("prime256v1", "-aes256"), ("secp384r1", "-aes128"), ("secp521r1", "-aes192")]
    {
        home.tool("openssl", &["ecparam", "-name", curve, "-genkey", "-noout", "-out", "plain"]);
        let encrypt = ["ec", "-in", "plain", cipher, "-passout", "pass:secret", "-out", "old.key"];
        home.tool("openssl", &encrypt);
        assert!(home.read("old.key").starts_with(b"-----BEGIN EC PRIVATE KEY-----\nProc-Type"));
        home.tool("openssl", &["ec", "-in", "plain", "-pubout", "-out", "old.pub"]);
        home.must("sign model --key old.key --passphrase-file pass");
        home.must("verify model --bundle model.sig --key old.pub");
        home.run("sign model --key old.key --passphrase-file wrong").failed(2, "wrong passphrase");
    }
    home.run("sign model --key old.key").failed(2, "needs a passphrase");
    let des = ["ec", "-in", "plain", "-des3", "-passout", "pass:secret", "-out", "des.key"];
    home.tool("openssl", &des);
    home.run("sign model --key des.key --passphrase-file pass").failed(2, "DES-EDE3-CBC");
}
