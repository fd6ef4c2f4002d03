//! `sealwright verify --policy`: each missing piece of evidence has its code, and in the end it is
//! allowed.

use serde_json::json;

use crate::home::text;
use crate::server::Server;
use crate::team::{Team, codes};

#[track_caller]
fn denies(team: &Team, model: &str, expected: &[&str]) {
    let (allow, codes) = team.decide(model);
    assert!(!allow && codes == expected, "{codes:?} instead of {expected:?}");
}

#[track_caller]
fn allows(team: &Team, model: &str) {
    assert_eq!(team.decide(model), (true, Vec::new()));
}

#[test]
fn each_step_removes_its_reason() {
    let team = Team::new();
    denies(&team, "model", &["APPROVAL_MISSING", "GATE_MISSING", "SIGNATURE_MISSING"]);
    team.sign("model");
    denies(&team, "model", &["APPROVAL_MISSING", "GATE_MISSING"]);
    team.evaluate("model");
    denies(&team, "model", &["APPROVAL_MISSING"]);
    team.approve("lead", "lead-data-scientist", "model");
    let ran = team.home.run(&team.policy_line("model"));
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.starts_with("refused for production\nAPPROVAL_MISSING  "), "{ran:#?}");
    assert!(ran.stdout.contains("role compliance"), "{ran:#?}");
    assert!(!ran.stdout.contains("role lead-data-scientist"), "{ran:#?}");
    assert_eq!(ran.stderr, "");
    team.approve("officer", "compliance", "model");
    allows(&team, "model");

    let ran = team.home.must(&team.policy_line("model"));
    assert!(ran.stdout.starts_with("allowed\nmodel digest  "), "{ran:#?}");
    let value = team.home.json(&team.policy_line("model"));
    let summary = &value["verdict"]["verification_summary"];
    assert_eq!(summary["verificationResult"], "PASSED");
    assert_eq!(summary["verifiedLevels"], json!(["SEALWRIGHT_TWO_ROLE_APPROVED"]));
    // What was asked can be asked again.
    team.home.write("verdict.json", value.to_string());
    let line = "policy diff starter starter --replay verdict.json";
    let same = "1 decision: 0 now refused, 0 now allowed, 0 for other reasons\n";
    assert_eq!(team.home.must(line).stdout, same);
    let value = team.home.json("policy explain verdict.json --policy starter");
    assert_eq!((&value["allow"], &value["same_policy"]), (&json!(true), &json!(true)));
    let statements = value["statements"].as_array().unwrap();
    assert!(statements.len() >= 4 && statements.iter().all(|s| s["counts"] == true), "{value}");

    // Only for the environment that was approved, and only for this model.
    let (allow, codes) = team.decide("model --environment staging");
    assert_eq!((allow, codes), (false, vec!["APPROVAL_MISSING".to_owned()]));
    team.home.write("model/config.json", "{}");
    denies(&team, "model", &["APPROVAL_MISSING", "GATE_MISSING", "SIGNATURE_MISSING"]);
}

#[test]
fn the_files_and_the_policy_can_be_verified_at_once() {
    let team = Team::new();
    team.approve_fully("model");
    let line = "model --bundle model.sig --key keys/trainer.pub";
    let value = team.home.json(&team.policy_line(line));
    assert_eq!(value["ok"], true);
    assert_eq!(value["differences"], json!([]));
    assert_eq!(value["verdict"]["allow"], true);
    // A changed file ends it before policy is asked.
    team.home.write("model/config.json", "{}");
    let ran = team.home.run(&format!("--json {}", team.policy_line(line)));
    assert_eq!(ran.code, Some(1));
    let change = "changed: config.json: 2 bytes, 2635 were signed";
    assert_eq!(ran.json()["differences"], json!([change]));
    assert_eq!(ran.json()["verdict"], json!(null));
}

#[test]
fn a_failed_gate_counts_until_it_is_revoked() {
    let team = Team::new();
    team.approve_fully("model");
    let gates = String::from_utf8(team.home.read("gates.toml")).unwrap();
    team.home.write("strict.toml", gates.replace("threshold = 0.876", "threshold = 0.99"));
    let line = "evaluate model --predictions predictions.csv --gates strict.toml";
    let failed = team.run_as("evaluator", line);
    assert_eq!(failed.code, Some(1), "{failed:#?}");
    denies(&team, "model", &["GATE_FAILED"]);
    let statement = text(&failed.json()["attestation"]["statement"]).to_owned();
    let revoke = format!("revoke model --as security --reason wrong-file --statement {statement}");
    team.must("security", &revoke);
    allows(&team, "model");
}

#[test]
fn one_person_is_not_two() {
    let team = Team::new();
    team.sign("model");
    team.evaluate("model");
    team.approve("head", "lead-data-scientist", "model");
    team.approve("head", "compliance", "model");
    denies(&team, "model", &["SAME_PERSON"]);
    team.approve("officer", "compliance", "model");
    allows(&team, "model");
}

#[test]
fn nobody_approves_what_they_signed() {
    let team = Team::new();
    team.must("handyman", "sign model");
    team.evaluate("model");
    team.approve("handyman", "lead-data-scientist", "model");
    team.approve("officer", "compliance", "model");
    denies(&team, "model", &["SELF_APPROVAL"]);
    team.approve("lead", "lead-data-scientist", "model");
    allows(&team, "model");
}

#[test]
fn a_role_that_is_only_claimed_counts_for_nothing() {
    let team = Team::new();
    team.must("stranger", "sign model");
    denies(&team, "model", &["APPROVAL_MISSING", "GATE_MISSING", "SIGNATURE_MISSING"]);
    team.sign("model");
    team.evaluate("model");
    team.approve("lead", "lead-data-scientist", "model");
    // Bound to another role, bound to none.
    team.approve("lead", "compliance", "model");
    team.approve("stranger", "compliance", "model");
    denies(&team, "model", &["APPROVAL_MISSING"]);
    // The right person, in the wrong capacity.
    team.approve("officer", "lead-data-scientist", "model");
    denies(&team, "model", &["APPROVAL_MISSING"]);
}

#[test]
fn a_rejection_vetoes_until_it_is_taken_back() {
    let team = Team::new();
    team.approve_fully("model");
    let rejection = team.must("officer", "approve model --as compliance --reject");
    let rejection = text(&rejection["statement"]).to_owned();
    denies(&team, "model", &["REJECTED"]);
    // Nobody else can take it back, nor an approval that says nothing of it.
    let reconsider = format!("approve model --as compliance --evidence {rejection}");
    team.must("head", &reconsider);
    team.approve("officer", "compliance", "model");
    denies(&team, "model", &["REJECTED"]);
    team.must("officer", &reconsider);
    allows(&team, "model");
}

#[test]
fn a_revoked_model_is_not_used() {
    let team = Team::new();
    team.approve_fully("model");
    // Whoever has no such role revokes nothing, nor does a revocation that is yet to come.
    team.must("stranger", "revoke model --as security --reason x");
    team.must("trainer", "revoke model --as security --reason x");
    team.must("security", "revoke model --as security --reason x --effective 2090-01-01T00:00:00Z");
    allows(&team, "model");
    team.must("security", "revoke model --as security --reason unsafe");
    denies(&team, "model", &["MODEL_REVOKED"]);
}

#[test]
fn a_revoked_approval_or_signer_no_longer_counts() {
    let team = Team::new();
    team.approve_fully("model");
    let approval = team.home.json(&format!(
        "approve model --as compliance --comment again --key keys/officer.key {}",
        team.service_args()
    ));
    let old = team.service.client().statements_about(&team.model_digest("model")).unwrap();
    assert_eq!(old.len(), 5);
    let statement = text(&approval["statement"]);
    team.must(
        "lead",
        &format!("revoke model --as lead-data-scientist --reason x --statement {statement}"),
    );
    // The first approval still stands.
    allows(&team, "model");
    team.must("lead", "revoke model --as lead-data-scientist --reason x --signer officer@loans.example --effective 2020-01-01T00:00:00Z");
    denies(&team, "model", &["APPROVAL_MISSING"]);
}

#[test]
fn files_alone_are_enough() {
    let team = Team::new();
    team.approve_fully("model");
    let home = &team.home;
    let checkpoint = team.service.client().checkpoint().unwrap();
    home.write("checkpoint", &checkpoint);
    std::fs::copy(home.path("data/trusted_root.json"), home.path("root.json")).unwrap();
    let Team { home, service } = team;
    service.stop();

    let offline = |bundles: &[&str]| {
        let bundles: String =
            bundles.iter().map(|bundle| format!(" --attestation {bundle}")).collect();
        home.run(&format!(
            "--json verify model --policy starter --trusted-root root.json --checkpoint checkpoint \
             --roles roles.sigstore.json --owner-key keys/owner.pub {bundles}"
        ))
    };
    let signature = "model.sig";
    let result = "model.test-result.sigstore.json";
    let lead = "model.approval.lead-data-scientist.sigstore.json";
    let officer = "model.approval.compliance.sigstore.json";
    assert_eq!(codes(&offline(&[signature, result, lead, officer])), (true, Vec::new()));
    for (bundles, missing) in [
        (&[result, lead, officer][..], "SIGNATURE_MISSING"),
        (&[signature, lead, officer], "GATE_MISSING"),
        (&[signature, result, lead], "APPROVAL_MISSING"),
        (&[signature, result, officer, officer], "APPROVAL_MISSING"),
    ] {
        assert_eq!(codes(&offline(bundles)), (false, vec![missing.to_owned()]));
    }
    // A checkpoint that is older than the evidence hides something.
    let service = Server::serve(&home, "other");
    home.write("checkpoint", service.client().checkpoint().unwrap());
    offline(&[signature]).failed_json(1, "LOG_CHECKPOINT_INVALID");
    home.write("checkpoint", b"not a note");
    offline(&[signature]).failed_json(1, "LOG_CHECKPOINT_INVALID");
    home.remove("checkpoint");
    offline(&[signature]).failed_json(2, "checkpoint checkpoint does not exist");
}

#[test]
fn an_old_checkpoint_does_not_hide_what_came_later() {
    let team = Team::new();
    team.home.write("checkpoint", team.service.client().checkpoint().unwrap());
    team.approve_fully("model");
    let line = "verify model --policy starter --trusted-root data/trusted_root.json \
                --roles roles.sigstore.json --owner-key keys/owner.pub \
                --checkpoint checkpoint --attestation model.sig";
    team.home.run(line).failed(1, "LOG_ROLLED_BACK");
}

#[test]
fn what_cannot_be_decided_is_refused() {
    let team = Team::new();
    team.approve_fully("model");
    let (home, line) = (&team.home, team.policy_line("model"));
    let without = |option: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = words.iter().position(|word| *word == option).unwrap();
        home.run_words([&words[..at], &words[at + 2..]].concat())
    };
    without("--trusted-root").failed(2, "needs --trusted-root FILE");
    without("--roles").failed(2, "needs --roles FILE");
    without("--owner-key").failed(2, "needs --owner-key FILE");
    without("--service").failed(2, "needs evidence");
    home.run(&line.replace("owner.pub", "trainer.pub")).failed(1, "is signed by key");
    home.run(&line.replace("starter", "missing")).failed(2, "policy: cannot read missing");
    home.write("empty/README.md", "");
    home.run(&line.replace("starter", "empty")).failed(2, "policy:");
    home.write("broken/main.rego", "package sealwright.main\nallow :=");
    home.run(&line.replace("starter", "broken")).failed(2, "main.rego is not valid Rego");
    // A policy that has nothing to say says no.
    home.write("none/main.rego", "package sealwright.main\nimport rego.v1\n");
    home.run(&line.replace("starter", "none")).failed(2, "no rule data.sealwright.main.decision");
    let undecided = "decision := {\"allow\": true, \"violations\": []} if input.nonsense";
    home.write("mute/main.rego", format!("package sealwright.main\nimport rego.v1\n{undecided}\n"));
    let (allow, found) = codes(&home.run(&format!("--json {}", line.replace("starter", "mute"))));
    assert!(!allow && found == ["POLICY_UNDEFINED"], "{found:?}");

    let Team { home, service } = team;
    service.kill();
    home.run(&line).failed(3, "SERVICE_UNREACHABLE");
    home.run(&format!("--json {line}")).failed_json(3, "SERVICE_UNREACHABLE");
}

/// What a signature leaves out is not what policy is asked about.
#[test]
fn a_signature_over_a_part_does_not_stand_for_the_whole() {
    let team = Team::new();
    team.approve_fully("model");
    team.home.write("model/evil.py", "import os");
    team.must("stranger", "sign model --ignore-path evil.py --output part.sig");
    let line = "model --bundle part.sig --key keys/stranger.pub";
    team.home.must(&format!("verify {line}"));
    let refused = team.home.run(&team.policy_line(line));
    refused.failed(1, "the signature leaves out files of the model");
    let asked = team.policy_line(&format!("{line} --ignore-path evil.py"));
    team.home.must(&asked);
}
