//! Statements in the service: with certificates, found, kept for a time, erased, brought elsewhere.

use sealwright_attest::{Bundle, predicate};
use serde_json::{Value, json};

use crate::home::{Home, text};
use crate::server::Server;
use crate::team::Team;

const NOTE: &str = "https://loans.example/note/v1";

/// Signs with `pki/trainer.key` and its certificate.
const CERTIFIED: &str = "--key pki/trainer.key --certificate pki/trainer.pem \
                         --certificate-chain pki/intermediate.pem";
const VERIFY: &str = "--cert-root pki/root.pem --identity trainer@loans.example";

fn certified_home() -> Home {
    let home = Home::new();
    home.model("model");
    home.authorities();
    home.leaf("trainer", "P-384");
    home.write("note.json", r#"{"text": "fit"}"#);
    home
}

/// Keys, a model, a service with these options.
fn started(options: &str) -> (Home, Server) {
    let home = Home::with_keys();
    home.model("model");
    let service = Server::start(&home, &format!("serve --init --data data {options}"));
    (home, service)
}

fn note(home: &Home, service: &Server, who: &str, text: &str) -> Value {
    home.write("note.json", json!({"text": text}).to_string());
    home.json(&format!(
        "attest model --type {NOTE} --predicate note.json --key keys/{who}.key --output {text}.json \
         --service {}",
        service.url()
    ))
}

/// Indexes of what `find` lists.
fn found(home: &Home, service: &Server, options: &str) -> Vec<u64> {
    let value = home.json(&format!("find {options} --service {}", service.url()));
    value["statements"].as_array().unwrap().iter().map(|s| s["index"].as_u64().unwrap()).collect()
}

#[test]
fn signatures_with_certificates_are_logged_and_verify_offline() {
    let home = certified_home();
    let service = Server::start(&home, "serve --init --data data --trust-root-ca pki/root.pem");
    let log = format!("--service {} --trusted-root data/trusted_root.json", service.url());
    let signed = home.json(&format!("sign model {CERTIFIED} {log}"));
    assert_eq!(signed["log"]["verified"], true);
    home.must(&format!("verify model --bundle model.sig {VERIFY}"));
    let attested = home.json(&format!(
        "attest model --type {NOTE} --predicate note.json --output note.bundle {CERTIFIED} {log}"
    ));
    assert_eq!(
        (&attested["log"]["index"], &attested["log"]["verified"]),
        (&json!(1), &json!(true))
    );
    home.must(&format!("verify model --bundle note.bundle --type {NOTE} {VERIFY}"));

    // Found by the certificate's name, and what comes back is what was given.
    assert_eq!(found(&home, &service, "--identity trainer@loans.example"), [0, 1]);
    assert_eq!(found(&home, &service, "--identity other@loans.example"), [0; 0]);
    home.must(&format!("find --type {NOTE} --out saved --service {}", service.url()));
    assert_eq!(home.list("saved"), ["entry-1.sigstore.json"]);
    home.must(&format!("verify model --bundle saved/entry-1.sigstore.json --type {NOTE} {VERIFY}"));

    // Whoever decides by keys is not held up by it.
    let digest = text(&signed["model_digest"]);
    assert_eq!(service.client().statements_about(digest).unwrap().len(), 2);
    service.stop();
    let checked = home.json("serve check --data data");
    assert_eq!((&checked["ok"], &checked["statements"]), (&json!(true), &json!(2)));
}

#[test]
fn certificates_of_nobody_known_are_refused_with_the_reason() {
    let home = certified_home();
    let service = Server::serve(&home, "data");
    let sign = format!("sign model {CERTIFIED} --service {}", service.url());
    home.run(&sign).failed(2, "does not lead to a given root");
    assert!(!home.path("model.sig").exists());
    // The bundle is right, and the service would have to be told of its authority.
    home.must(&format!("sign model {CERTIFIED}"));
    let mut bundle = home.read_json("model.sig");
    let submit =
        |bundle: &Value| service.client().submit_json(bundle, None).unwrap_err().to_string();
    assert!(submit(&bundle).contains("(CERTIFICATE_INVALID)"), "{}", submit(&bundle));
    bundle["verificationMaterial"] = json!({"publicKey": {"hint": ""}});
    assert!(submit(&bundle).contains("missing field `publicKey`"), "{}", submit(&bundle));
    assert_eq!(found(&home, &service, ""), [0; 0]);
}

#[test]
fn everything_that_is_asked_for_applies() {
    let (home, service) = started("");
    home.must(&format!("sign model --key keys/trainer.key --service {}", service.url()));
    note(&home, &service, "trainer", "one");
    let before = home.json(&format!("find --service {}", service.url()));
    let last = text(&before["statements"][1]["loggedAt"]).to_owned();
    let note = note(&home, &service, "lead", "two");
    let (model, key) = (text(&note["model_digest"]), text(&note["key_id"]));
    for (options, indexes) in [
        (String::new(), vec![0, 1, 2]),
        ("--model model".to_owned(), vec![0, 1, 2]),
        (format!("--subject {model}"), vec![0, 1, 2]),
        (format!("--subject sha256:{model} --type {NOTE}"), vec![1, 2]),
        (format!("--signer {key}"), vec![2]),
        (format!("--signer sha256:{key} --type approval"), vec![]),
        ("--since 2020-01-01T00:00:00Z --until 2020-01-02T00:00:00Z".to_owned(), vec![]),
        ("--since 2020-01-01T00:00:00Z --until 2099-01-01T00:00:00Z".to_owned(), vec![0, 1, 2]),
        ("--project none".to_owned(), vec![]),
        ("--issuer https://issuer.example".to_owned(), vec![]),
        ("--limit 2".to_owned(), vec![0, 1]),
        ("--from 2".to_owned(), vec![2]),
    ] {
        assert_eq!(found(&home, &service, &options), indexes, "{options}");
    }
    // By the log-signed time; entries of one second are not told apart.
    let since = found(&home, &service, &format!("--since {last}"));
    assert!(since.ends_with(&[1, 2]), "{since:?}");
    let page = home.json(&format!("find --limit 2 --service {}", service.url()));
    assert_eq!(page["next"], 2);
    let text = home.must(&format!("find --service {}", service.url())).stdout;
    assert!(text.contains("loans.example/note/v1") && text.contains("key "), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    home.run(&format!("find --since yesterday --service {}", service.url()))
        .failed(2, "is not a time");
    home.run(&format!("find --subject abc --service {}", service.url())).failed(2, "not a SHA-256");
    home.run("find").failed(2, "where to find is not said");
}

#[test]
fn what_is_erased_leaves_its_proof() {
    let (home, service) = started("");
    note(&home, &service, "trainer", "secret");
    note(&home, &service, "trainer", "other");
    let url = service.url().to_owned();
    let entry = ureq::get(format!("{url}/tile/entries/000.p/2"))
        .call()
        .unwrap()
        .body_mut()
        .read_to_vec()
        .unwrap();
    home.run("serve erase 0 --reason wish --data data").failed(3, "in use by another service");
    service.stop();
    home.run("serve erase 0 7 --reason wish --data data").failed(2, "no statement 7");
    let erased = home.json("serve erase 0 --reason wish --data data");
    assert_eq!(erased["erased"][0]["index"], 0);
    for file in home.list("data").iter().filter(|name| name.starts_with("log.db")) {
        let content = home.read(format!("data/{file}"));
        let needle = b"c2VjcmV0";
        assert!(!content.windows(needle.len()).any(|w| w == needle), "{file}");
    }
    home.must("serve check --data data");

    let service = Server::serve(&home, "data");
    let list = home.json(&format!("find --service {}", service.url()));
    let [first, second, act] = &list["statements"].as_array().unwrap()[..] else {
        panic!("{list}")
    };
    assert_eq!(act["predicateType"], predicate::ADMINISTRATION);
    assert!(first["erasedAt"].is_string() && second["erasedAt"].is_null(), "{list}");
    assert!(first["signer"]["keyId"].is_string(), "{list}");
    let shown = home.must(&format!("find --service {} --out saved", service.url()));
    assert!(shown.stdout.contains("erased"), "{shown:#?}");
    assert_eq!(home.list("saved"), ["entry-1.sigstore.json", "entry-2.sigstore.json"]);
    let gone = service.client().bundle(0).unwrap_err().to_string();
    assert!(gone.contains("(ERASED)"), "{gone}");
    let again = ureq::get(format!("{}/tile/entries/000.p/2", service.url()))
        .call()
        .unwrap()
        .body_mut()
        .read_to_vec()
        .unwrap();
    assert_eq!(again, entry);
    // It does not come back.
    let bundle = Bundle::parse(&home.read("secret.json")).unwrap();
    let value = bundle.with_log_entries(Vec::new()).to_value();
    let pem = String::from_utf8(home.read("keys/trainer.pub")).unwrap();
    let key = sealwright_attest::PublicKey::from_pem(&pem).unwrap();
    service.client().submit_json(&value, Some(&key)).unwrap();
    assert!(service.client().bundle(0).is_err());
}

#[test]
fn an_erased_approval_is_a_denial_and_a_revocation_is_never_erased() {
    let team = Team::new();
    team.approve_fully("model");
    assert!(team.decide("model").0);
    let approvals = found(&team.home, &team.service, "--type approval");
    team.must("security", "revoke model --reason test --as security");
    let revocation = found(&team.home, &team.service, "--type revocation");
    let Team { home, service } = team;
    service.stop();
    let refused = format!("serve erase {} --reason wish --data data", revocation[0]);
    home.run(&refused).failed(1, "is never erased");
    home.must(&format!("serve erase {} --reason wish --data data", approvals[0]));
    home.must("serve check --data data");
    let team = Team { service: Server::serve(&home, "data"), home };
    let (allow, codes) = team.decide("model");
    assert!(!allow && codes.contains(&"APPROVAL_MISSING".to_owned()), "{codes:?}");
}

#[test]
fn classes_say_how_long_statements_are_kept() {
    let home = Home::with_keys();
    home.model("model");
    let class = |keep: &str| {
        let entry = format!("[[class]]\nname = \"notes\"\nkeep = {keep:?}\n");
        home.write("retention.toml", entry + &format!("predicate_types = [{NOTE:?}]\n"));
    };
    class("P10Y");
    let service = Server::start(&home, "serve --init --data data --retention retention.toml");
    note(&home, &service, "trainer", "one");
    home.must(&format!("sign model --key keys/trainer.key --service {}", service.url()));
    let list = home.json(&format!("find --service {}", service.url()));
    let classes: Vec<_> =
        list["statements"].as_array().unwrap().iter().map(|s| &s["retention"]).collect();
    assert_eq!(classes, ["notes", ""]);
    service.stop();
    class("10 years");
    home.run("serve --data data --retention retention.toml").failed(2, "not a duration");
    let revocations = predicate::REVOCATION;
    home.write(
        "retention.toml",
        format!("[[class]]\nname = \"x\"\nkeep = \"P1D\"\npredicate_types = [{revocations:?}]\n"),
    );
    home.run("serve --data data --retention retention.toml").failed(2, "never erased");
}

#[test]
fn statements_move_to_another_instance_with_the_proof_of_the_old_log() {
    let (home, old) = started("");
    home.must(&format!("sign model --key keys/trainer.key --service {}", old.url()));
    note(&home, &old, "lead", "two");
    let exported = home.json(&format!("find --export all.jsonl --service {}", old.url()));
    assert_eq!(exported["statements"], 2);
    let old_entries = home.json(&format!("find --service {}", old.url()));
    old.stop();

    let new = Server::start(
        &home,
        "serve --init --data new --origin new.example --trust data/trusted_root.json",
    );
    note(&home, &new, "security", "first");
    let import = format!(
        "import all.jsonl --from-trusted-root data/trusted_root.json --service {}",
        new.url()
    );
    for _ in 0..2 {
        let value = home.json(&import);
        let list = value["imported"].as_array().unwrap();
        let places: Vec<_> = list.iter().map(|d| (&d["old_index"], &d["index"])).collect();
        assert_eq!(places, [(&json!(0), &json!(1)), (&json!(1), &json!(2))]);
        assert!(list.iter().all(|done| done["old_entry_kept"] == true), "{value}");
        let time = &old_entries["statements"][0]["loggedAt"];
        assert_eq!(&list[0]["old_log_signed_time"], time);
    }
    assert_eq!(found(&home, &new, ""), [0, 1, 2]);
    // Verifiers of the new log see when it was logged there; those who trust the old one, when before.
    home.write("now.sig", new.client().bundle(1).unwrap());
    home.write("then.sig", new.client().original_bundle(1).unwrap());
    let verify = |bundle: &str, root: &str| {
        home.run(&format!(
            "--json verify model --bundle {bundle} --key keys/trainer.pub \
             --trusted-root {root}/trusted_root.json"
        ))
    };
    assert_eq!(verify("now.sig", "new").succeeded().json()["log"]["origin"], "new.example");
    assert_eq!(verify("then.sig", "data").succeeded().json()["log"]["origin"], "localhost");
    assert_eq!(verify("now.sig", "data").code, Some(1));

    // A line that was changed is refused, and the rest is not held up.
    let lines = String::from_utf8(home.read("all.jsonl")).unwrap();
    let (first, second) = lines.split_once('\n').unwrap();
    let mut forged: Value = serde_json::from_str(first).unwrap();
    forged["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["rootHash"] =
        json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    home.write("all.jsonl", format!("{forged}\n{second}"));
    let ran = home.run(&format!("--json {import}"));
    assert_eq!(ran.code, Some(1));
    let value = ran.json();
    assert_eq!(
        (&value["refused"][0]["line"], value["imported"].as_array().unwrap().len()),
        (&json!(1), 1)
    );
    home.run(&import.replace("data/trusted_root", "new/trusted_root")).code.unwrap();
    new.stop();
    home.must("serve check --data new");
}
