//! `sealwright policy build | digest | sign | verify`, and deciding by a bundle that owners approved.

use std::path::PathBuf;

use serde_json::json;

use crate::home::{Home, text};
use crate::team::Team;

const MAIN: &str = "package sealwright.main\n\nimport rego.v1\n\ndefault decision := \
    {\"allow\": false, \"violations\": [{\"code\": \"NO\", \"control\": \"c\", \"msg\": \"no\"}], \"evidence\": []}\n\n\
    decision := {\"allow\": true, \"violations\": [], \"evidence\": []} if {\n\
    \tinput.request.environment in data.limits.environments\n}\n";

const TESTS: &str = "package sealwright.main_test\n\nimport data.sealwright.main\nimport rego.v1\n\n\
    test_prod if main.decision.allow with input.request.environment as \"production\"\n\n\
    test_other if not main.decision.allow with input.request.environment as \"x\"\n";

/// A directory `loans` with a policy of ours, data in a folder, and two tests.
fn write_policy(home: &Home) {
    home.write("loans/main.rego", MAIN);
    home.write("loans/main_test.rego", TESTS);
    home.write("loans/limits/data.json", r#"{"environments": ["production"]}"#);
    home.write("loans/README.md", "read me");
}

fn starter() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../policies/starter")
}

#[test]
fn a_policy_is_built_into_a_bundle() {
    let home = Home::with_keys();
    write_policy(&home);
    let built = home.json("policy build loans --revision 3");
    assert_eq!((&built["name"], &built["tests_passed"]), (&json!("loans"), &json!(2)));
    let first = home.read("policy.tar.gz");
    home.must("policy build loans --revision 3");
    assert_eq!(home.read("policy.tar.gz"), first);
    home.must("policy build loans --revision 4 -o other.tar.gz");
    assert_ne!(home.read("other.tar.gz"), first);

    // The same rules have one digest, wherever they are.
    let digest = home.must("policy digest loans").stdout;
    assert_eq!(home.must("policy digest policy.tar.gz").stdout, digest);
    assert_eq!(home.must("policy digest other.tar.gz").stdout, digest);
    assert_eq!(text(&built["policy_digest"]), digest.trim_end());
    let value = home.json("policy digest policy.tar.gz");
    assert_eq!(value["revision"], "3");
    let sum = String::from_utf8(home.tool("sha256sum", &["policy.tar.gz"])).unwrap();
    assert!(sum.starts_with(text(&value["bundle_sha256"])));

    // Every tool takes a bundle where it takes a directory.
    assert_eq!(home.must("policy test policy.tar.gz").stdout, "2 passed, 0 failed\n");
    assert!(home.must("policy lint policy.tar.gz").stdout.ends_with("0 errors, 0 warnings\n"));
    home.write("input.json", r#"{"request": {"environment": "production"}}"#);
    let asked = home.json("policy eval --bundle policy.tar.gz --input input.json");
    assert_eq!(asked["allow"], true);

    // GNU tar reads it, too.
    let listed = String::from_utf8(home.tool("tar", &["-tzf", "policy.tar.gz"])).unwrap();
    assert_eq!(listed, ".manifest\nlimits/data.json\nmain.rego\nmain_test.rego\n");
}

#[test]
fn nothing_is_written_of_a_policy_that_is_not_sound() {
    let home = Home::new();
    write_policy(&home);
    let refused = |code, said: &str| {
        home.run("policy build loans").failed(code, said);
        home.run("--json policy build loans").failed_json(code, said);
        assert!(!home.path("policy.tar.gz").exists());
    };
    home.write("loans/bad_test.rego", "package bad_test\n\nimport rego.v1\n\ntest_bad if false\n");
    refused(1, "POLICY_UNTESTED: the policy's own test data.bad_test.test_bad fails");
    home.remove("loans/bad_test.rego");
    home.remove("loans/main_test.rego");
    refused(1, "POLICY_UNTESTED: the policy has no tests of its own");
    home.write("loans/main_test.rego", TESTS);
    home.write("loans/more.rego", "package more\n\nimport rego.v1\n\nallow if input.a >= 1\n");
    refused(2, "more.rego:5");
    home.write("loans/more.rego", "package more\n\nimport rego.v1\n\nx := time.now_ns()\n");
    refused(2, "time.now_ns");
    home.remove("loans/more.rego");
    home.write("loans/rules.json", "{}");
    refused(2, "rules.json would not be part of the policy");
    home.remove("loans/rules.json");
    home.run("policy build loans --name Loans").failed(2, "\"Loans\" is not a name for a policy");
    home.run("policy build loans -o none/p.tar.gz").failed(2, "cannot write none/p.tar.gz");
    home.must("policy build loans");
}

#[test]
fn opas_own_signature_is_made_and_checked() {
    let home = Home::with_keys();
    write_policy(&home);
    home.must("policy build loans --key keys/owner.key");
    let value = home.json("policy verify policy.tar.gz --key keys/owner.pub");
    assert_eq!(value["bundle_signature"], "verified");
    assert_eq!(value["policy_approval"], json!(null));
    let wrong = "policy verify policy.tar.gz --key keys/stranger.pub";
    home.run(wrong).failed(1, "signature is not valid under this key");
    home.run("policy verify policy.tar.gz --key keys/owner.pub --scope write")
        .failed(1, "signed for the scope \"\"");
    home.must("policy build loans -o plain.tar.gz");
    home.run("policy verify plain.tar.gz --key keys/owner.pub").failed(1, "is not signed");
    home.run("policy verify plain.tar.gz").failed(2, "--key");
    // A file changed after signing.
    home.tool("tar", &["-xzf", "policy.tar.gz", "--one-top-level=changed"]);
    home.write("changed/limits/data.json", r#"{"environments": ["production", "x"]}"#);
    home.tool("tar", &["-czf", "changed.tar.gz", "-C", "changed", "."]);
    home.run("policy verify changed.tar.gz --key keys/owner.pub")
        .failed(1, "limits/data.json is not the file that was signed");
}

#[test]
fn bundles_that_are_none_are_refused() {
    let home = Home::new();
    write_policy(&home);
    home.tool("ln", &["-s", "/etc/passwd", "loans/more.rego"]);
    home.tool("tar", &["-czf", "link.tar.gz", "-C", "loans", "."]);
    home.write("zeros.tar.gz", [0; 100]);
    for (file, said) in
        [("link.tar.gz", "\"./more.rego\" is a symbolic link"), ("zeros.tar.gz", "not a gzip file")]
    {
        home.run(&format!("policy digest {file}")).failed(2, said);
        home.run(&format!("policy test {file}")).failed(2, said);
        home.run(&format!("policy diff {file} starter --replay {file}")).failed(2, said);
    }
}

const OWNERS: &str = "--owner-key keys/owner.pub --owner-key keys/stranger.pub";

/// A team whose roles two owners signed, and its bundle with revision 1.
fn two_owners() -> Team {
    let team = Team::new();
    team.must("owner", &format!("roles sign roles.json -o roles.jsonl {OWNERS}"));
    team.must("stranger", &format!("roles sign --add roles.jsonl {OWNERS}"));
    build(&team, 1);
    team
}

fn build(team: &Team, revision: u32) {
    let (directory, output) = (starter(), format!("p{revision}.tar.gz"));
    let revision = revision.to_string();
    let words = ["policy", "build"].map(AsRef::as_ref).into_iter().chain([directory.as_os_str()]);
    let more = ["--revision", &revision, "--name", "loans", "--output", &output];
    team.home.run_words(words.chain(more.map(AsRef::as_ref))).succeeded();
}

fn approve(team: &Team, revision: u32) {
    let (bundle, approval) = (format!("p{revision}.tar.gz"), format!("p{revision}.jsonl"));
    team.must("owner", &format!("policy sign {bundle} -o {approval}"));
    team.must("stranger", &format!("policy sign {bundle} --add {approval}"));
}

fn verify_line(team: &Team, revision: u32) -> String {
    format!(
        "verify model --policy p{revision}.tar.gz --policy-approval p{revision}.jsonl \
         --roles roles.jsonl {OWNERS} {}",
        team.service_args()
    )
}

#[test]
fn two_owners_put_a_policy_into_force() {
    let team = two_owners();
    let home = &team.home;
    let signed = team.must("owner", "policy sign p1.tar.gz -o p1.jsonl");
    assert_eq!(signed["signatures"], 1);
    assert_eq!(signed["predicate"]["name"], "loans");
    let line = format!("policy verify p1.tar.gz --approval p1.jsonl {OWNERS}");
    home.run(&line).failed(1, "signed by 1 of the owners, and 2 must sign");
    home.run(&verify_line(&team, 1)).failed(1, "signed by 1 of the owners");
    home.run("policy sign p1.tar.gz --add p1.jsonl --key keys/owner.key")
        .failed(2, "this key has signed already");
    team.must("stranger", "policy sign p1.tar.gz --add p1.jsonl");
    let value = home.json(&format!("{line} --trusted-root data/trusted_root.json"));
    assert_eq!(value["policy_approval"]["revision"], 1);
    assert_eq!(value["logged"], true);

    team.approve_fully("model");
    let verdict = home.json(&verify_line(&team, 1));
    assert_eq!(verdict["verdict"]["allow"], true);
    let said = &verdict["verdict"]["policy_approval"];
    assert_eq!(said["signers"].as_array().unwrap().len(), 2);
    assert_eq!(said["statement"], signed["statement"]);
    let text = home.must(&verify_line(&team, 1)).stdout;
    assert!(text.contains("approved") && text.contains("loans, revision 1"), "{text}");
    // A directory is the caller's own choice, and the answer says so.
    let own = home.json(&team.policy_line("model"));
    assert_eq!(own["verdict"]["policy_approval"], json!(null));
    // The bundle of another revision is not the one that was approved.
    build(&team, 2);
    home.run(&format!("policy verify p2.tar.gz --approval p1.jsonl {OWNERS}"))
        .failed(1, "POLICY_OTHER_BUNDLE");
    home.run("policy sign p2.tar.gz --add p1.jsonl --key keys/head.key")
        .failed(1, "the approval is for another bundle");

    // With a newer one in the log, the older one decides nothing.
    approve(&team, 2);
    home.run(&verify_line(&team, 1)).failed(1, "POLICY_SUPERSEDED: Revision 2 of the policy loans");
    assert_eq!(home.json(&verify_line(&team, 2))["verdict"]["allow"], true);
}

#[test]
fn what_is_signed_is_shown_first_and_compared() {
    let home = Home::with_keys();
    write_policy(&home);
    home.must("policy build loans -o old.tar.gz");
    home.write("loans/limits/data.json", r#"{"environments": ["production", "staging"]}"#);
    home.write("loans/main.rego", format!("{MAIN}\nextra := 1\n"));
    home.must("policy build loans --revision 2 -o new.tar.gz");
    let ran = home.must("policy sign new.tar.gz --key keys/owner.key --previous old.tar.gz");
    for line in [
        "policy         loans, revision 2",
        "files          ~ limits/data.json",
        "files          ~ main.rego",
        "rules          + data.sealwright.main.extra",
        "data           /limits/environments: [\"production\"] → [\"production\",\"staging\"]",
    ] {
        assert!(ran.stderr.contains(line), "{line}: {ran:#?}");
    }
    let value = home.json("policy sign new.tar.gz --key keys/owner.key --previous old.tar.gz");
    assert_eq!(value["changes"]["rules"][0]["name"], "data.sealwright.main.extra");
    assert_eq!(
        value["predicate"]["previous"]["sha256"],
        home.json("policy digest old.tar.gz")["bundle_sha256"]
    );
    // Back is no way forward.
    home.run("policy sign old.tar.gz --key keys/owner.key --previous new.tar.gz")
        .failed(2, "revision 1 does not come after revision 2");
    home.run("policy sign old.tar.gz --key keys/owner.key --expires 2020-01-01T00:00:00Z")
        .failed(2, "the policy would end at 2020-01-01T00:00:00Z, before now");
}

#[test]
fn the_webhook_decides_by_what_the_owners_approved() {
    let team = two_owners();
    approve(&team, 1);
    team.approve_fully("model");
    let line = |more: &str| {
        format!(
            "admission --roles roles.jsonl {OWNERS} --decisions decisions.jsonl --tls-dir tls {} {more}",
            team.service_args()
        )
    };
    let home = &team.home;
    home.run(&line("--policy p1.tar.gz"))
        .failed(2, "the policy p1.tar.gz needs the owners' approval");
    build(&team, 2);
    home.run(&line("--policy p2.tar.gz --policy-approval p1.jsonl"))
        .failed(1, "the policy p2.tar.gz does not come into force");
    let webhook =
        crate::server::Server::start(home, &line("--policy p1.tar.gz --policy-approval p1.jsonl"));
    let digest = team.model_digest("model");
    let ask = |webhook: &crate::server::Server| crate::admission::ask_for(&team, webhook, &digest);
    let (allowed, message) = ask(&webhook);
    assert!(allowed, "{message}");
    let records = String::from_utf8(home.read("decisions.jsonl")).unwrap();
    let record: serde_json::Value = serde_json::from_str(records.lines().last().unwrap()).unwrap();
    assert_eq!(record["policyApproval"]["revision"], 1);
    approve(&team, 2);
    let (allowed, message) = ask(&webhook);
    assert!(!allowed && message.contains("\nPOLICY_SUPERSEDED: "), "{message}");
    webhook.stop();
    let webhook =
        crate::server::Server::start(home, &line("--policy p2.tar.gz --policy-approval p2.jsonl"));
    let (allowed, message) = ask(&webhook);
    assert!(allowed, "{message}");
    webhook.stop();
    // Without approval only if it is said to be insecure.
    let webhook = crate::server::Server::start(
        home,
        &line("--policy p1.tar.gz --insecure-unapproved-policy"),
    );
    assert!(webhook.said().contains("the policy was approved by nobody"));
    assert!(ask(&webhook).0);
}
