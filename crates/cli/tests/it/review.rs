//! `approve` and `reject`: what is signed is shown before it is signed.

use serde_json::json;

use crate::home::{Ran, text};
use crate::team::Team;

const TRUST: &str = "--roles roles.sigstore.json --owner-key keys/owner.pub";

fn entries(team: &Team) -> usize {
    let listed = team.home.json(&format!("find --service {}", team.service.url()));
    listed["statements"].as_array().unwrap().len()
}

#[test]
fn what_would_be_signed_can_be_looked_at_first() {
    let team = Team::new();
    team.sign("model");
    let result = team.evaluate("model");
    let before = entries(&team);
    let line = format!(
        "approve model --as compliance --all-evidence --policy starter {TRUST} --dry-run \
         --condition namespace=lending"
    );
    let value = team.must("officer", &line);
    assert_eq!(entries(&team), before);
    assert_eq!((&value["dry_run"], &value["warnings"]), (&json!(true), &json!([])));
    let statement = &value["statement_to_sign"];
    assert_eq!(statement["predicateType"], "https://sealwright.dev/predicate/approval/v0.1");
    assert_eq!(statement["subject"][0]["digest"]["sha256"], text(&value["model_digest"]));
    let predicate = &statement["predicate"];
    assert_eq!(predicate["decision"], "APPROVED");
    assert_eq!(predicate["conditions"], json!(["namespace=lending"]));
    let policy = text(&predicate["policy"]["digest"]["sha256"]);
    let uri = format!("https://sealwright.dev/policy/sha256/{policy}");
    assert_eq!(predicate["policy"]["uri"], uri.as_str());
    let cited = predicate["evidence"].as_array().unwrap();
    assert_eq!(cited.len(), 2);
    let tested = text(&result["attestation"]["statement"]);
    assert!(cited.contains(&json!({"name": "test-result", "digest": {"sha256": tested}})));
    let shown = value["evidence"].as_array().unwrap();
    let test = shown.iter().find(|seen| seen["digest"] == tested).unwrap();
    assert_eq!((&test["verified"], &test["cited"]), (&json!(true), &json!(true)));
    assert_eq!(
        (&test["signer"], &test["roles"]),
        (&json!("evaluator@loans.example"), &json!(["evaluator"]))
    );
    assert_eq!(test["says"][0], "PASSED");
    assert!(text(&test["says"][1]).contains(" on "), "{test}");

    // For people, in lines that a terminal has room for.
    let ran = team.home.must(&format!("{line} --key keys/officer.key {}", team.service_args()));
    for said in [
        "You sign:",
        "model digest",
        "namespace=lending",
        "by evaluator@loans.example",
        "dry run: nothing was signed",
    ] {
        assert!(ran.stdout.contains(said), "{said}: {ran:#?}");
    }
    assert!(ran.stdout.lines().all(|line| line.chars().count() <= 80), "{ran:#?}");

    // The same, signed.
    let signed = team.must("officer", &line.replace("--dry-run", "--yes"));
    assert_eq!(signed["evidence"].as_array().unwrap().len(), 2);
    assert_eq!(entries(&team), before + 1);
    team.approve("lead", "lead-data-scientist", "model");
    assert_eq!(team.decide("model"), (true, vec![]));
}

#[test]
fn what_is_cited_must_be_known() {
    let team = Team::new();
    let nobody = "ab".repeat(32);
    let line = format!("approve model --as compliance --evidence {nobody}");
    team.run_as("officer", &line).failed_json(2, "the service knows no such statement");
    // Without a service nobody can be asked.
    team.home.must(&format!("{line} --key keys/officer.key"));
    // A bundle in a file is as good.
    let home = &team.home;
    home.must("sign model --key keys/trainer.key --output model.sig");
    let shown = home.json(
        "approve model --as compliance --attestation model.sig --all-evidence --dry-run \
         --key keys/officer.key",
    );
    assert_eq!(shown["evidence"][0]["verified"], false);
    assert_eq!(shown["evidence"][0]["cited"], true);
    let digest = text(&shown["evidence"][0]["digest"]);
    let line = format!("approve model --as compliance --evidence {digest} --attestation model.sig");
    team.must("officer", &line);
}

/// The words of a dry run that warn.
fn warnings(ran: &Ran) -> Vec<String> {
    let value = ran.json();
    value["warnings"].as_array().unwrap().iter().map(|w| text(w).to_owned()).collect()
}

#[test]
fn whoever_should_not_approve_is_told_before() {
    let team = Team::new();
    let dry = |who: &str, role: &str, more: &str| {
        team.run_as(who, &format!("approve model --as {role} --dry-run {more}")).succeeded()
    };
    assert!(warnings(&dry("lead", "lead-data-scientist", TRUST)).is_empty());
    let other = warnings(&dry("lead", "compliance", TRUST));
    assert!(other[0].contains("does not give your key the role compliance"), "{other:?}");
    team.must("handyman", "sign model");
    for trust in [TRUST, ""] {
        let own = warnings(&dry("handyman", "lead-data-scientist", trust));
        assert!(own[0].contains("you signed this model yourself"), "{own:?}");
    }
    team.approve("head", "compliance", "model");
    let twice = warnings(&dry("head", "lead-data-scientist", TRUST));
    assert!(twice[0].contains("approved this model already, as compliance"), "{twice:?}");
    team.must("stranger", "sign model");
    let doubt = warnings(&dry("lead", "lead-data-scientist", TRUST));
    assert!(doubt[0].contains("1 statement below could not be verified"), "{doubt:?}");
}

#[test]
fn rejecting_is_a_command_of_its_own() {
    let team = Team::new();
    team.approve_fully("model");
    let value = team.must("officer", "reject model --as compliance --dry-run");
    let predicate = &value["statement_to_sign"]["predicate"];
    assert_eq!(predicate["decision"], "REJECTED");
    assert!(text(&predicate["meaning"]).contains("reject this model"));
    assert_eq!(team.decide("model"), (true, vec![]));
    let made = team.must("officer", "reject model --as compliance");
    assert_eq!(team.decide("model"), (false, vec!["REJECTED".to_owned()]));
    let named = format!("approve model --as compliance --evidence {}", text(&made["statement"]));
    team.must("officer", &named);
    assert_eq!(team.decide("model"), (true, vec![]));
}

#[test]
fn a_revocation_says_what_it_will_stop() {
    let team = Team::new();
    team.approve_fully("model");
    let line = team.policy_line("model --sign-key keys/stranger.key");
    team.home.must(&line);
    let before = entries(&team);
    let revoke = |more: &str| {
        team.home.must(&format!(
            "revoke model --as security --reason unsafe --key keys/security.key --dry-run {TRUST} \
             {} {more}",
            team.service_args()
        ))
    };
    let model = revoke("");
    assert!(model.stdout.contains("  running   "), "{model:#?}");
    assert!(model.stdout.contains("dry run: nothing was signed"), "{model:#?}");
    assert!(model.stdout.lines().all(|line| line.chars().count() <= 80), "{model:#?}");
    // What a signer said before still counts, which is said.
    let signer = revoke("--signer officer@loans.example --effective 2098-01-01T00:00:00Z");
    assert!(signer.stdout.contains("nothing that was allowed"), "{signer:#?}");
    assert!(
        signer.stdout.contains("not stopped: 1 statement from before 2098-01-01T00:00:00Z"),
        "{signer:#?}"
    );
    let signer = revoke("--signer officer@loans.example --effective 2020-01-01T00:00:00Z");
    assert!(signer.stdout.contains("which 1 model rest on"), "{signer:#?}");
    let nobody = revoke("--signer nobody@loans.example");
    assert!(nobody.stdout.contains("no principal"), "{nobody:#?}");
    let other = revoke(&format!("--statement {}", "ab".repeat(32)));
    assert!(other.stdout.contains("nothing that was allowed"), "{other:#?}");
    assert_eq!(entries(&team), before);
    team.run_as("security", "revoke model --as security --reason x --statement abc")
        .failed_json(2, "is not a SHA-256");
    let warned =
        team.must("stranger", &format!("revoke model --as security --reason x --dry-run {TRUST}"));
    assert!(text(&warned["warnings"][0]).contains("this will stop nothing"));
    let dead = team.home.run(
        "revoke model --as security --reason x --key keys/security.key --dry-run \
         --service http://127.0.0.1:9",
    );
    assert_eq!(dead.code, Some(3), "{dead:#?}");
}
