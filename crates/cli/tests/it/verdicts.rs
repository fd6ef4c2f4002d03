//! Verdicts in the log, and decisions that are explained and replayed from the decisions file.

use std::time::{Duration, Instant};

use serde_json::Value;

use sealwright_attest::predicate::VERIFICATION_SUMMARY;
use sealwright_server::client::StatementQuery;

use crate::admission::{allows, ask_for, denies, start};
use crate::home::text;
use crate::team::Team;

/// The payloads of the verdicts in the log, once there are so many.
pub(crate) fn verdicts(team: &Team, count: usize) -> Vec<Value> {
    use base64::Engine as _;
    let until = Instant::now() + Duration::from_secs(60);
    let query = StatementQuery {
        predicate_type: Some(VERIFICATION_SUMMARY.to_owned()),
        ..StatementQuery::default()
    };
    loop {
        let mut found = Vec::new();
        let client = team.service.client();
        client
            .find_json(&query, |bundle| {
                let payload = text(&bundle["dsseEnvelope"]["payload"]);
                let payload = base64::engine::general_purpose::STANDARD.decode(payload).unwrap();
                found.push(serde_json::from_slice(&payload).unwrap());
                Ok(())
            })
            .unwrap();
        if found.len() >= count {
            return found;
        }
        assert!(Instant::now() < until, "{found:#?}");
        std::thread::yield_now();
    }
}

fn records(team: &Team) -> Vec<Value> {
    let lines = String::from_utf8(team.home.read("decisions.jsonl")).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn decisions_are_logged_explained_and_replayed() {
    let team = Team::new();
    team.approve_fully("model");
    let webhook = start(&team, "--sign-key keys/stranger.key");
    let digest = team.model_digest("model");
    allows(&ask_for(&team, &webhook, &digest));
    let verdict = verdicts(&team, 1).remove(0);
    assert_eq!(verdict["predicate"]["verificationResult"], "PASSED");
    assert_eq!(verdict["subject"][0]["digest"]["sha256"], digest.as_str());
    // What was decided is no evidence for what is decided next.
    allows(&ask_for(&team, &webhook, &digest));
    verdicts(&team, 2);
    let listed =
        team.home.json(&format!("find --model model --except-type vsa {}", service(&team)));
    let types: Vec<&Value> =
        listed["statements"].as_array().unwrap().iter().map(|s| &s["predicateType"]).collect();
    assert_eq!(types.len(), 4, "{types:?}");
    team.must("officer", "reject model --as compliance");
    denies(&ask_for(&team, &webhook, &digest), &["REJECTED"]);
    assert_eq!(verdicts(&team, 3)[2]["predicate"]["verificationResult"], "FAILED");
    let metrics = get(&team, &webhook, "/metrics");
    assert!(metrics.contains("sealwright_admission_allowed_total 2\n"), "{metrics}");
    assert!(metrics.contains("sealwright_admission_verdicts_logged "), "{metrics}");
    webhook.stop();

    let records = records(&team);
    let home = &team.home;
    let explain = |id: &str, policy: &str| {
        home.run(&format!("policy explain {id} --decisions decisions.jsonl --policy {policy}"))
    };
    let allowed = explain(text(&records[0]["id"]), "starter").succeeded();
    assert!(allowed.stdout.starts_with("allowed\n"), "{allowed:#?}");
    let refused = explain(text(&records[2]["id"]), "starter").succeeded();
    assert!(refused.stdout.contains("\nREJECTED  "), "{refused:#?}");
    explain("0123", "starter").failed(2, "has no decision \"0123\"");

    let diff = |more: &str| home.run(&format!("--json policy diff starter starter {more}"));
    let value = diff("--decisions decisions.jsonl --replay 90").succeeded().json();
    assert_eq!((&value["decisions"], &value["earlier"]), (&3.into(), &0.into()));
    let value = diff("--decisions decisions.jsonl").succeeded().json();
    assert_eq!(value["decisions"], 3);
    // The file by itself, as any other file of records.
    let value = diff("--replay decisions.jsonl").succeeded().json();
    assert_eq!(value["decisions"], 3);
    home.run("policy diff starter starter --replay 90").failed(2, "is a number of days");
    home.run("policy diff starter starter --decisions decisions.jsonl --replay 0")
        .failed(2, "a number of days is from 1 to 36600");
    home.run("policy diff starter starter").failed(2, "--replay");

    // Long ago; torn; changed.
    let lines = String::from_utf8(home.read("decisions.jsonl")).unwrap();
    let mut lines: Vec<String> = lines.lines().map(str::to_owned).collect();
    let time = format!("\"time\":\"{}\"", text(&records[0]["time"]));
    lines[0] = lines[0].replacen(&time, "\"time\":\"2020-01-01T00:00:00Z\"", 1);
    lines.push("{\"id\":\"torn".to_owned());
    home.write("decisions.jsonl", lines.join("\n") + "\n");
    let value = diff("--decisions decisions.jsonl --replay 90").succeeded().json();
    let counts = [&value["decisions"], &value["earlier"], &value["without_input"]];
    assert_eq!(counts, [&Value::from(2), &1.into(), &1.into()]);
    lines[1] = lines[1].replace("\"APPROVED\"", "\"REJECTED\"");
    home.write("decisions.jsonl", lines.join("\n"));
    let changed = explain(text(&records[1]["id"]), "starter");
    changed.failed(1, "the policy input is not the one that was decided on");
}

fn service(team: &Team) -> String {
    format!("--service {}", team.service.url())
}

fn get(team: &Team, webhook: &crate::server::Server, path: &str) -> String {
    let ca = team.home.read(text(&webhook.ready["ca"]));
    let tls = ureq::tls::TlsConfig::builder()
        .unversioned_rustls_crypto_provider(sealwright_server::tls::provider())
        .root_certs(ureq::tls::RootCerts::from(vec![
            ureq::tls::Certificate::from_pem(&ca).unwrap(),
        ]))
        .build();
    let agent = ureq::Agent::config_builder().tls_config(tls).proxy(None).build().new_agent();
    let url = webhook.url().replace("/validate", path);
    agent.get(url).call().unwrap().body_mut().read_to_string().unwrap()
}

#[test]
fn what_the_service_did_not_get_it_gets_when_it_is_back() {
    let mut team = Team::new();
    team.approve_fully("model");
    let webhook = start(&team, "--sign-key keys/stranger.key");
    let digest = team.model_digest("model");
    allows(&ask_for(&team, &webhook, &digest));
    verdicts(&team, 1);
    // Nothing can be decided without the service; the denial is a verdict, too.
    team.service.kill();
    team.service = crate::server::Server::serve(&team.home, "data");
    denies(&ask_for(&team, &webhook, &digest), &["SERVICE_UNREACHABLE"]);
    webhook.kill();
    let webhook = start(&team, "--sign-key keys/stranger.key");
    let all = verdicts(&team, 2);
    assert_eq!(all.len(), 2);
    let violations = &all[1]["predicate"]["https://sealwright.dev/vsa/v0.1/violations"];
    assert_eq!(violations[0]["code"], "SERVICE_UNREACHABLE");
    webhook.stop();
}

#[test]
fn a_verdict_of_the_command_line_is_signed_and_logged() {
    let team = Team::new();
    let home = &team.home;
    let line = team.policy_line("model --sign-key keys/stranger.key");
    let refused = home.run(&format!("--json {line}"));
    assert_eq!(refused.code, Some(1), "{refused:#?}");
    assert_eq!(refused.json()["verdict"]["signed"]["log"]["verified"], true);
    team.approve_fully("model");
    let allowed = home.json(&line);
    assert_eq!(allowed["verdict"]["signed"]["log"]["verified"], true);
    let logged = verdicts(&team, 2);
    assert_eq!(logged[0]["predicate"]["verificationResult"], "FAILED");
    assert_eq!(logged[1]["predicate"], allowed["verdict"]["verification_summary"]);
    assert!(home.must(&line).stdout.contains("verdict"));
    // Unsigned ones stay as they were.
    let plain = home.json(&team.policy_line("model"));
    assert_eq!(plain["verdict"]["signed"], Value::Null);
    let offline = line.replace(&format!("--service {}", team.service.url()), "");
    let offline = format!("{offline} --checkpoint none --attestation none");
    home.run(&offline).failed(2, "none");
}

/// Whatever is revoked, the next pod is told.
#[test]
fn a_revocation_takes_effect_at_the_next_decision() {
    let early = "2020-01-01T00:00:00Z";
    for target in ["model", "signer", "statement"] {
        let team = Team::new();
        team.sign("model");
        team.evaluate("model");
        team.approve("lead", "lead-data-scientist", "model");
        let approval = team.approve("officer", "compliance", "model");
        let webhook = start(&team, "--sign-key keys/stranger.key");
        let digest = team.model_digest("model");
        allows(&ask_for(&team, &webhook, &digest));
        verdicts(&team, 1);
        let (more, code) = match target {
            "model" => (String::new(), "MODEL_REVOKED"),
            "signer" => {
                let who = "officer@loans.example";
                (format!("--signer {who} --effective {early}"), "APPROVAL_MISSING")
            }
            _ => (format!("--statement {}", text(&approval["statement"])), "APPROVAL_MISSING"),
        };
        let line = format!(
            "revoke model --as security --reason unsafe {more} --roles roles.sigstore.json \
             --owner-key keys/owner.pub"
        );
        let preview = team.must("security", &format!("{line} --dry-run"));
        assert_eq!(preview["dry_run"], true);
        let stops = &preview["stops"];
        assert_eq!(stops["verdicts"][0]["model_digest"], digest.as_str(), "{target}: {stops:#}");
        assert_eq!(stops["verdicts"][0]["namespace"], "lending", "{target}: {stops:#}");
        assert_eq!(stops["models"].as_array().unwrap().len(), 1);
        allows(&ask_for(&team, &webhook, &digest));
        let made = team.must("security", &line);
        assert_eq!(made["stops"]["verdicts"].as_array().unwrap().len(), 1, "{made:#}");
        denies(&ask_for(&team, &webhook, &digest), &[code]);
        webhook.stop();
    }
}
