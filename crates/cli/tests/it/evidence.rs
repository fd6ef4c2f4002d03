//! Statements about a model: `attest`, `evaluate`, `approve`, `revoke`, `roles`.

use sealwright_attest::{Timestamp, TrustedRoot, check_signature};
use serde_json::{Value, json};

use crate::home::{Home, text};
use crate::sign::statement;
use crate::team::Team;

fn home() -> Home {
    let home = Home::with_keys();
    home.example("model");
    home
}

fn attest(predicate_type: &str) -> String {
    format!("attest model --type {predicate_type} --predicate p.json --key keys/trainer.key")
}

#[test]
fn any_type_of_statement_can_be_made() {
    let home = home();
    let predicate = json!({"any": ["thing", 1.5, null], "é": {"nested": true}});
    home.write("p.json", predicate.to_string());
    let value = home.json(&attest("https://example.com/anything/v7"));
    let bundle = "model.statement.sigstore.json";
    assert_eq!(text(&value["bundle"]), format!("./{bundle}"));
    let statement = statement(&home, bundle);
    assert_eq!(statement["predicate"], predicate);
    assert_eq!(statement["predicateType"], "https://example.com/anything/v7");
    let digest = home.json("digest model");
    assert_eq!(
        statement["subject"],
        json!([
            {"name": "model", "digest": {"sha256": digest["model_digest"]}},
            {"name": "oms-root", "digest": {"sha256": digest["oms_root"]}},
        ])
    );
    let verify = format!("verify model --bundle {bundle} --key keys/trainer.pub");
    home.must(&format!("{verify} --type https://example.com/anything/v7"));
}

#[test]
fn known_types_have_short_names_and_schemas() {
    let home = home();
    let provenance = json!({
        "buildDefinition": {
            "buildType": "https://example.com/train/v1",
            "externalParameters": {"epochs": 10},
        },
        "runDetails": {"builder": {"id": "https://ci.example/runner"}},
    });
    home.write("p.json", provenance.to_string());
    let value = home.json(&attest("slsaprovenance1"));
    assert_eq!(value["predicate_type"], "https://slsa.dev/provenance/v1");
    assert_eq!(text(&value["bundle"]), "./model.slsaprovenance1.sigstore.json");
    home.must(&attest("https://slsa.dev/provenance/v1"));

    let before = home.list("");
    home.run(&attest("provenance")).failed(2, "\"provenance\" is not a predicate type");
    for (predicate, said) in [
        ("{}", "buildDefinition"),
        (r#"{"buildDefinition": 1, "runDetails": {}}"#, "at /buildDefinition"),
    ] {
        home.write("p.json", predicate);
        home.run(&attest("slsaprovenance1")).failed(2, said);
        home.run(&attest("https://slsa.dev/provenance/v1")).failed(2, said);
        home.run(&format!("--json {}", attest("slsaprovenance1"))).failed_json(2, said);
    }
    assert_eq!(home.list(""), before);
}

#[test]
fn an_approval_made_by_hand_obeys_the_same_schema() {
    let home = home();
    let good = json!({
        "decision": "APPROVED", "role": "compliance", "environment": "production",
        "meaning": "Fit for use.", "expiresOn": "2099-01-01T00:00:00Z",
    });
    home.write("p.json", good.to_string());
    home.must(&attest("approval"));
    for (member, value, said) in [
        ("expiresOn", json!("tomorrow"), "at /expiresOn"),
        ("decision", json!("approved"), "at /decision"),
        ("environment", json!("Prod!"), "at /environment"),
        ("role", json!(["compliance"]), "at /role"),
        ("approver", json!("me"), "approver"),
    ] {
        let mut bad = good.clone();
        bad[member] = value;
        home.write("p.json", bad.to_string());
        home.run(&attest("approval")).failed(2, said);
    }
}

#[test]
fn an_evaluation_says_its_numbers() {
    let home = home();
    let line = "evaluate model --predictions predictions.csv --gates gates.toml";
    let value = home.json(line);
    assert_eq!(value["ok"], true);
    assert_eq!(value["attestation"], json!(null));
    let metrics = value["metrics"].as_array().unwrap();
    assert_eq!(metrics.len(), 8);
    assert!(metrics.iter().all(|metric| metric["passed"] == true));
    assert_eq!(metrics[0]["metric"], "accuracy");
    let accuracy = metrics[0]["value"].as_f64().unwrap();
    assert!((0.88..0.89).contains(&accuracy), "{accuracy}");
    let ran = home.must(line);
    assert!(ran.stdout.starts_with("passed\nok    accuracy[overall] "), "{}", ran.stdout);
    assert_eq!(home.list(""), ["gates.toml", "keys", "model", "predictions.csv"]);

    let value = home.json(&format!("{line} --key keys/evaluator.key"));
    assert_eq!(text(&value["attestation"]["bundle"]), "./model.test-result.sigstore.json");
    let statement = statement(&home, "model.test-result.sigstore.json");
    assert_eq!(statement["predicateType"], "https://in-toto.io/attestation/test-result/v0.1");
    assert_eq!(statement["predicate"]["result"], "PASSED");
    assert_eq!(statement["subject"][0]["digest"]["sha256"], value["model_digest"]);
    for (attested, shown) in
        statement["predicate"]["sealwright_metrics"].as_array().unwrap().iter().zip(metrics)
    {
        assert_eq!(attested["value"], shown["value"]);
    }
    // The inputs are named by their digests.
    let gates = String::from_utf8(home.tool("sha256sum", &["gates.toml"])).unwrap();
    let named = &statement["predicate"]["configuration"][0]["digest"]["sha256"];
    assert_eq!(text(named), &gates[..64]);
}

#[test]
fn a_failed_gate_is_attested_all_the_same() {
    let home = home();
    let gates = String::from_utf8(home.read("gates.toml")).unwrap();
    home.write("gates.toml", gates.replace("threshold = 0.876", "threshold = 0.99"));
    let line = "evaluate model --predictions predictions.csv --gates gates.toml";
    let signed = home.run(&format!("--json {line} --key keys/evaluator.key"));
    assert_eq!(signed.code, Some(1), "{signed:#?}");
    assert_eq!(signed.json()["ok"], false);
    assert_eq!(signed.json()["metrics"][0]["passed"], false);
    let statement = statement(&home, "model.test-result.sigstore.json");
    assert_eq!(statement["predicate"]["result"], "FAILED");
    assert_eq!(statement["predicate"]["failedTests"], json!(["accuracy[overall]"]));
    let ran = home.run(line);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.starts_with("failed\nFAIL  accuracy[overall] "), "{}", ran.stdout);
}

#[test]
fn an_approval_shows_what_is_signed_before_it_is() {
    let home = home();
    let words = [
        "approve",
        "model",
        "--as",
        "compliance",
        "--key",
        "keys/officer.key",
        "--environment",
        "staging",
        "--meaning",
        "Fit for a trial.",
        "--condition",
        "Only in May.",
        "--comment",
        "See the minutes.",
        "--printed-name",
        "Compliance Officer",
        "--expires",
        "2099-06-01T00:00:00Z",
        "--evidence",
        &"ab".repeat(32),
    ];
    let ran = home.run_words(words).succeeded();
    let digest = text(&home.json("digest model")["model_digest"]).to_owned();
    let seen = "ab".repeat(32);
    assert_eq!(
        ran.stderr,
        format!(
            "You sign:\n\
             decision      APPROVED\n\
             model         model\n\
             model digest  {digest}\n\
             as            compliance\n\
             for           staging\n\
             until         2099-06-01T00:00:00Z\n\
             meaning       Fit for a trial.\n\
             condition     Only in May.\n\
             name          Compliance Officer\n\
             comment       See the minutes.\n\
             cited  not looked at\n       {seen}\n\
             no statements about this model are known\n"
        )
    );
    let statement = statement(&home, "model.approval.compliance.sigstore.json");
    assert_eq!(
        statement["predicate"],
        json!({
            "decision": "APPROVED", "role": "compliance", "environment": "staging",
            "meaning": "Fit for a trial.", "expiresOn": "2099-06-01T00:00:00Z",
            "conditions": ["Only in May."], "comment": "See the minutes.",
            "printedName": "Compliance Officer",
            "evidence": [{"digest": {"sha256": "ab".repeat(32)}}],
        })
    );
}

#[test]
fn an_approval_expires_in_ninety_days_unless_said_otherwise() {
    let home = home();
    home.must("approve model --as compliance --key keys/officer.key");
    let statement = statement(&home, "model.approval.compliance.sigstore.json");
    let expires = text(&statement["predicate"]["expiresOn"]);
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = Timestamp::from_unix(since.as_secs()).unwrap();
    let expires = Timestamp::parse(expires).unwrap();
    let days = 24 * 60 * 60;
    assert!(expires <= now.plus_seconds(90 * days) && expires > now.plus_seconds(89 * days));

    let line = "approve model --as compliance --key keys/officer.key";
    home.run(&format!("{line} --expires 2020-01-01T00:00:00Z")).failed(2, "before now");
    home.run(&format!("{line} --expires tomorrow")).failed(2, "RFC 3339");
    home.run(&format!("{line} --environment Prod!")).failed(2, "at /environment");
    home.run(&format!("{line} --evidence abc")).failed(2, "at /evidence/0/digest/sha256");
}

#[test]
fn a_rejection_says_so() {
    let home = home();
    home.must("approve model --as compliance --reject --key keys/officer.key");
    let statement = statement(&home, "model.approval.compliance.sigstore.json");
    assert_eq!(statement["predicate"]["decision"], "REJECTED");
    assert!(text(&statement["predicate"]["meaning"]).contains("reject"));
}

#[test]
fn a_revocation_has_one_target() {
    let home = home();
    let digest = home.json("digest model")["model_digest"].clone();
    let revoke = |more: &str| {
        let line = format!("revoke model --as security --reason x --key keys/security.key {more}");
        home.json(&line);
        statement(&home, "model.revocation.security.sigstore.json")["predicate"].clone()
    };
    assert_eq!(revoke("")["target"], json!({"model_sha256": digest}));
    let statement = "cd".repeat(32);
    assert_eq!(
        revoke(&format!("--statement {statement}"))["target"],
        json!({"envelope_sha256": statement})
    );
    let predicate = revoke("--signer trainer@loans.example --effective 2026-01-01T00:00:00Z");
    assert_eq!(predicate["target"], json!({"signer": "trainer@loans.example"}));
    assert_eq!(predicate["effective"], "2026-01-01T00:00:00Z");
    home.run(&format!(
        "revoke model --as security --reason x --key keys/security.key --signer a --statement {statement}"
    ))
    .failed(2, "cannot be used with");
    home.run("revoke model --as security --reason x --key keys/security.key --statement zz")
        .failed(2, "is not a SHA-256");
}

#[test]
fn the_owner_binds_roles() {
    let home = home();
    home.write_roles();
    let value = home.json("roles sign roles.json --key keys/owner.key");
    assert_eq!(text(&value["bundle"]), "roles.sigstore.json");
    assert_eq!(value["principals"].as_array().unwrap().len(), 7);
    let show = "roles show roles.sigstore.json --owner-key keys/owner.pub";
    let shown = home.json(show);
    assert_eq!(shown["principals"], value["principals"]);
    assert_eq!(shown["statement"], value["statement"]);
    let officer = home.json("key public keys/officer.pub")["key_id"].clone();
    let found = shown["principals"].as_array().unwrap();
    let found = found.iter().find(|p| p["name"] == "officer@loans.example").unwrap();
    assert_eq!(found["key_ids"], json!([officer]));
    assert_eq!(found["roles"][0]["role"], "compliance");
    assert!(home.must(show).stdout.contains(
        "officer@loans.example\n  compliance  2020-01-01T00:00:00Z to 2099-01-01T00:00:00Z\n"
    ));

    home.run(&show.replace("owner.pub", "trainer.pub")).failed(1, "is signed by key");
    // What the owner signed about something else binds nobody.
    home.write("p.json", "{}");
    home.must(
        "attest model --type https://x.example/y --predicate p.json --key keys/owner.key -o x",
    );
    home.run("roles show x --owner-key keys/owner.pub").failed(2, "is not a role binding");
}

#[test]
fn a_role_binding_that_would_not_verify_is_not_signed() {
    let home = home();
    home.write_roles();
    let good = home.read_json("roles.json");
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut roles = good.clone();
        change(&mut roles);
        roles.to_string()
    };
    let before = home.list("");
    for (roles, said) in [
        (changed(&|r| r["principals"][1]["name"] = r["principals"][0]["name"].clone()), "the name"),
        (
            changed(&|r| {
                r["principals"][1]["publicKeys"] = r["principals"][0]["publicKeys"].clone()
            }),
            "a key of",
        ),
        (
            changed(&|r| r["principals"][0]["publicKeys"] = json!(["keys/none.pub"])),
            "does not exist",
        ),
        (changed(&|r| r["principals"][0]["publicKeys"] = json!(["keys/owner.key"])), "PEM block"),
        (changed(&|r| r["principals"][0]["publicKeys"] = json!("keys/owner.pub")), "role binding:"),
        (changed(&|r| r["principals"][0]["roles"][0]["validFrom"] = json!("now")), "RFC 3339"),
        (changed(&|r| r["principals"][0]["admin"] = json!(true)), "unknown field `admin`"),
        (changed(&|r| r["owner"] = json!("me")), "unknown field `owner`"),
        ("[]".to_owned(), "role binding:"),
        ("{}".to_owned(), "missing field `principals`"),
        (r#"{"principals": [], "principals": []}"#.to_owned(), "principals"),
        ("{".to_owned(), "roles.json:"),
    ] {
        home.write("roles.json", &roles);
        home.run("roles sign roles.json --key keys/owner.key").failed(2, said);
        assert_eq!(home.list(""), before, "{roles}");
    }
}

#[test]
fn statements_are_logged_and_found_again() {
    let team = Team::new();
    let home = &team.home;
    let signed = team.must("trainer", "sign model");
    let evaluated = team.evaluate("model");
    let approved = team.approve("officer", "compliance", "model");
    let revoked = team.must("security", "revoke model --as security --reason mistake");
    let root = TrustedRoot::parse(&home.read("data/trusted_root.json")).unwrap();
    let digest = team.model_digest("model");
    let found = team.service.client().statements_about(&digest).unwrap();

    let made = [&signed, &evaluated["attestation"], &approved, &revoked];
    assert_eq!(found.len(), made.len());
    // The role binding is entry 0.
    for ((index, made), bundle) in (1_u64..).zip(made).zip(&found) {
        assert_eq!(made["log"]["index"], index);
        assert_eq!(made["log"]["verified"], true);
        let who = ["trainer", "evaluator", "officer", "security"];
        let who = who[usize::try_from(index).unwrap() - 1];
        let pem = String::from_utf8(home.read(format!("keys/{who}.pub"))).unwrap();
        let key = sealwright_attest::PublicKey::from_pem(&pem).unwrap();
        let checked = check_signature(bundle, &key).unwrap();
        assert_eq!(text(&made["statement"]), checked.digest().to_string());
        let proof = checked.check_log(bundle, &root).unwrap();
        assert_eq!(proof.index(), index);
        assert_eq!(text(&made["log"]["log_signed_time"]), proof.time().to_string());
        // What is on disk is what the service has.
        let written = home.read_json(text(&made["bundle"]));
        assert_eq!(written, bundle.to_value());
    }
}

#[test]
fn without_a_trusted_root_nobody_claims_that_the_entry_holds() {
    let team = Team::new();
    let home = &team.home;
    let service = format!("--service {}", team.service.url());
    let line = format!("sign model --key keys/trainer.key {service}");
    assert_eq!(home.json(&line)["log"], json!({"index": 1, "verified": false}));
    // Signed once more, it is another signature and another entry.
    assert!(home.must(&line).stdout.contains("entry 2, not verified (give --trusted-root)"));
    assert!(
        home.must("sign model --key keys/trainer.key").stdout.contains("logged        no (give")
    );

    // With the trusted root of another log, nothing is written.
    let other = crate::server::Server::serve(home, "other");
    home.remove("model.sig");
    let before = home.list("");
    home.run(&format!("{line} --trusted-root other/trusted_root.json"))
        .failed(1, "no entry of a trusted log");
    assert_eq!(home.list(""), before);
    other.stop();
}

#[test]
fn a_service_that_cannot_be_reached_leaves_no_bundle() {
    let home = home();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let before = home.list("");
    let line = "sign model --key keys/trainer.key --service";
    let gone = format!("{line} http://127.0.0.1:{port}");
    home.run(&gone).failed(3, "cannot reach http://127.0.0.1");
    home.run(&format!("--json {gone}")).failed_json(3, "cannot reach");
    home.run(&format!("{line} localhost:3003")).failed(2, "must begin with http://");
    home.run(&format!("{line} https://log.example")).failed(2, "needs the certificate of its CA");
    home.run(&format!("{line} https://localhost:1 --service-ca keys/owner.pub"))
        .failed(2, "holds no PEM certificate");
    home.run(&format!("{line} https://localhost:1 --service-ca none.pem"))
        .failed(2, "does not exist");
    assert_eq!(home.list(""), before);
}
