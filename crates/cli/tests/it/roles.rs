//! People: two owners, revisions, keys that are replaced or lost, people without keys.

use serde_json::{Value, json};

use crate::home::{Home, Ran, text};
use crate::stock::{IDENTITY, Instance, javascript};
use crate::team::{Team, codes};

const OWNERS: &str = "--owner-key keys/owner.pub --owner-key keys/head.pub";

/// `verify model --policy starter` by two owners.
fn decide(team: &Team) -> Ran {
    team.home.run(&format!(
        "--json verify model --policy starter --roles given.json {OWNERS} {}",
        team.service_args()
    ))
}

/// Signs a draft as the owner, then as the head.
fn sign_twice(team: &Team, output: &str, more: &str) -> Value {
    let first = format!("roles sign roles.json -o {output} {OWNERS} {more}");
    let owners = team.must("owner", &first)["owners"].clone();
    assert_eq!(owners, json!({"signed": 1, "required": 2, "enough": false}));
    team.must("head", &format!("roles sign --add {output} {OWNERS} {more}"))
}

fn lines(home: &Home, file: &str) -> usize {
    String::from_utf8(home.read(file)).unwrap().lines().count()
}

#[test]
fn two_owners_bind_roles_and_take_one_away_without_a_new_file() {
    let team = Team::new();
    let home = &team.home;
    team.approve_fully("model");
    let mut roles = home.read_json("roles.json");
    roles["revision"] = json!(1);
    home.write("roles.json", roles.to_string());
    let signed = sign_twice(&team, "given.json", "");
    assert_eq!(signed["owners"], json!({"signed": 2, "required": 2, "enough": true}));
    assert_eq!((lines(home, "given.json"), &signed["revision"]), (2, &json!(1)));
    let allowed = decide(&team);
    assert_eq!(codes(&allowed), (true, vec![]));
    let used = allowed.json()["verdict"]["roles"].clone();
    assert_eq!(used["statement"], signed["statement"]);
    assert_eq!((&used["revision"], &used["owners"]), (&json!(1), &json!(2)));

    // The officer's role ended before the approval: all verifiers know when both owners say so.
    let line = "roles end roles.json --principal officer@loans.example --at 2026-01-01T00:00:00Z";
    let ended = home.json(&format!("{line} --role compliance --published given.json"));
    assert_eq!(ended["revision"], 2);
    assert_eq!(ended["changes"][0]["change"], "period-changed");
    assert_eq!(ended["changes"][0]["validUntil"], "2026-01-01T00:00:00Z");
    let first = format!("roles sign roles.json -o next.json --previous given.json {OWNERS}");
    let first = team.must("owner", &first);
    assert_eq!(first["changes"].as_array().unwrap().len(), 1);
    assert_eq!(codes(&decide(&team)), (true, vec![]), "one owner is not enough");
    team.must("head", &format!("roles sign roles.json --add next.json {OWNERS}"));
    let refused = decide(&team);
    assert_eq!(codes(&refused), (false, vec!["APPROVAL_MISSING".to_owned()]));
    assert_eq!(refused.json()["verdict"]["roles"]["revision"], 2);

    let shown = home.json(&format!("roles show next.json {OWNERS}"));
    assert_eq!(shown["signers"].as_array().unwrap().len(), 2);
    let root = "--trusted-root data/trusted_root.json";
    let shown = home.must(&format!("roles show next.json {OWNERS} {root}"));
    assert!(shown.stdout.starts_with("revision   2\nsigned by  2 owners, of whom 2 must\n"));
    let diff = home.json("roles diff given.json next.json");
    assert_eq!((&diff["old"]["verified"], &diff["changes"]), (&json!(false), &first["changes"]));
    let diff = home.must(&format!("roles diff given.json next.json {OWNERS}"));
    assert!(diff.stdout.contains("! officer@loans.example: compliance from "), "{diff:#?}");
    assert!(!diff.stdout.contains("not verified"), "{diff:#?}");
}

#[test]
fn one_owner_is_never_two() {
    let team = Team::new();
    let home = &team.home;
    team.must("owner", &format!("roles sign roles.json -o given.json {OWNERS}"));
    let before = home.read("given.json");
    let again = |who: &str, more: &str| {
        home.run(&format!("roles sign --add given.json --key keys/{who}.key {more}"))
    };
    again("owner", "").failed(1, "has signed already");
    again("owner", OWNERS).failed(1, "has signed already");
    again("trainer", OWNERS).failed(1, "is not an owner's");
    assert_eq!(home.read("given.json"), before);
    let show = format!("roles show given.json {OWNERS}");
    home.run(&show).failed(1, "signed by 1 of the owners, and 2 must sign");
    home.must(&format!("{show} --owners-required 1"));
    decide(&team).failed_json(1, "signed by 1 of the owners, and 2 must sign");
    home.run(&format!("{show} --owners-required 3")).failed(2, "3 of 2 owners cannot");
    home.run("roles show given.json --owner-key keys/owner.pub --owner-key keys/owner.pub")
        .failed(2, "was given for two owners");
    home.run("roles show given.json --owners-required 2").failed(2, "needs the owners' keys");

    // The same line twice, and the signature of somebody who is no owner.
    let line = String::from_utf8(before).unwrap();
    home.write("twice.json", line.repeat(2));
    home.run(&format!("roles show twice.json {OWNERS}")).failed(2, "repeated bundles");
    again("trainer", "-o stranger.json").succeeded();
    home.run(&format!("roles show stranger.json {OWNERS}")).failed(1, "is not an owner's");
    // What the second owner holds in hand is not what the first one signed.
    let roles = home.read_json("roles.json").to_string();
    home.write("roles.json", roles.replacen("2099-01-01", "2098-01-01", 1));
    home.run("roles sign roles.json --add given.json --key keys/head.key")
        .failed(1, "is not what was signed in given.json: ! trainer@loans.example: trainer");
}

#[test]
fn what_both_signed_is_published_later() {
    let team = Team::new();
    let home = &team.home;
    team.approve_fully("model");
    home.must("roles sign roles.json -o given.json --key keys/owner.key");
    let publish = format!("roles publish given.json {OWNERS} {}", team.service_args());
    home.run(&publish).failed(1, "signed by 1 of the owners");
    home.must("roles sign --add given.json --key keys/head.key");
    // In no log, it is nobody's binding, unless somebody insists.
    decide(&team).failed_json(1, "no entry of a trusted log");
    let insist = format!(
        "verify model --policy starter --roles given.json {OWNERS} {} --insecure-unlogged-roles",
        team.service_args()
    );
    let insisted = home.must(&insist);
    assert!(insisted.stdout.contains("insecure: it is in no log"), "{insisted:#?}");
    assert_eq!(home.json(&insist)["verdict"]["roles"]["logged"], false);
    let published = home.json(&publish);
    assert_eq!(published["entries"].as_array().unwrap().len(), 2);
    assert_eq!(codes(&decide(&team)), (true, vec![]));
    // Again: nothing is logged twice.
    assert_eq!(home.json(&publish)["entries"], published["entries"]);
    home.run("roles publish given.json").failed(2, "nowhere to publish");
}

#[test]
fn a_small_team_is_told_that_one_owner_can_do_all() {
    let team = Team::new();
    team.approve_fully("model");
    let ran = team.home.must(&team.policy_line("model"));
    assert!(ran.stdout.contains("signed by one owner, who can change it alone"), "{ran:#?}");
    let shown = team.home.must("roles show roles.sigstore.json --owner-key keys/owner.pub");
    assert!(shown.stdout.contains("1 owner, who can change it alone"), "{shown:#?}");
}

#[test]
fn keys_are_replaced_and_lost_by_commands() {
    let team = Team::new();
    let home = &team.home;
    team.approve_fully("model");
    let officer = "--principal officer@loans.example";
    let rotate = format!("roles rotate roles.json {officer} --old keys/officer.pub");
    home.run(&format!("{rotate} --new keys/lead.pub")).failed(2, "is also another principal's");
    let rotated = home.json(&format!("{rotate} --new keys/stranger.pub"));
    let kinds = |value: &Value| -> Vec<String> {
        let list = value["changes"].as_array().unwrap().iter();
        list.map(|change| text(&change["change"]).to_owned()).collect()
    };
    assert_eq!(kinds(&rotated), ["key-added", "key-ended"]);
    assert_eq!(rotated["changes"][1]["reason"], "REPLACED");
    assert_eq!(rotated["revision"], 1);
    sign_twice(&team, "given.json", "");
    // Both keys count for now.
    assert_eq!(codes(&decide(&team)), (true, vec![]));
    team.approve("stranger", "compliance", "model");

    let id = text(&home.json("key public keys/officer.pub")["key_id"]).to_owned();
    let lost = format!("roles lost roles.json {officer} --key {id} --since");
    let said = home.json(&format!("{lost} 2026-01-02T00:00:00Z --published given.json"));
    assert_eq!((&said["revision"], kinds(&said).len()), (&json!(2), 2));
    assert!(text(&said["remarks"][0]).contains("made again"), "{said}");
    home.run(&format!("{lost} 2026-01-03T00:00:00Z --published given.json"))
        .failed(2, "already counts only");
    sign_twice(&team, "next.json", "");
    // The officer's other key has approved as well.
    assert_eq!(codes(&decide(&team)), (true, vec![]));
    let stranger = format!("roles lost roles.json {officer} --key keys/stranger.pub");
    home.must(&format!("{stranger} --since 2026-01-02T00:00:00Z --published next.json"));
    sign_twice(&team, "last.json", "--previous next.json");
    let refused = decide(&team);
    assert_eq!(codes(&refused), (false, vec!["APPROVAL_MISSING".to_owned()]));
    let rejected = refused.json()["verdict"]["policy_input"]["rejected"].to_string();
    assert!(rejected.contains("KEY_LOST"), "{rejected}");
    // A revision that was signed before is not signed again as another.
    home.run("roles sign roles.json --previous last.json --key keys/owner.key")
        .failed(2, "is not newer than 3");
}

/// Two changes, one after the other, by what the commands say is next.
#[test]
fn the_steps_that_are_named_lead_on() {
    let team = Team::new();
    let home = &team.home;
    team.approve_fully("model");
    let service = team.service_args();
    for (revision, until) in [(1, "2098-01-01T00:00:00Z"), (2, "2097-01-01T00:00:00Z")] {
        let end = "roles end roles.json --principal officer@loans.example --role compliance --at";
        let said = home.json(&format!("{end} {until}"));
        assert_eq!(said["revision"], revision);
        for line in said["next"].as_array().unwrap() {
            let line = text(line).strip_prefix("sealwright ").unwrap();
            let line = line
                .replace("ANOTHER-OWNER.pub", "keys/head.pub")
                .replace("OWNER.pub", "keys/owner.pub")
                .replace("ANOTHER-OWNER", "keys/head.key")
                .replace("OWNER", "keys/owner.key")
                .replace("--service URL", &service);
            home.must(&line);
        }
        home.write("given.json", home.read(format!("roles-{revision}.sigstore.json")));
        let decided = decide(&team);
        assert_eq!(codes(&decided), (true, vec![]));
        assert_eq!(decided.json()["verdict"]["roles"]["revision"], revision);
    }
    // Another binding with a revision that is logged is signed by nobody who asks the service.
    let mut roles = home.read_json("roles.json");
    roles["principals"][0]["roles"] = json!([]);
    home.write("roles.json", roles.to_string());
    home.run(&format!("roles sign roles.json -o other.json --key keys/owner.key {service}"))
        .failed(2, "revision 2 is not newer than 2");
    home.must("roles sign roles.json -o other.json --key keys/owner.key");
    home.must("roles sign --add other.json --key keys/head.key");
    home.run(&format!("roles publish other.json {OWNERS} {service}"))
        .failed(2, "revision 2 is not newer than 2");
    // What cannot be read is not revision 0.
    home.run("roles end roles.json --principal officer@loans.example --published nowhere.json")
        .failed(2, "does not exist");
}

#[test]
fn drafts_grow_from_nothing_and_mistakes_write_nothing() {
    let home = Home::with_keys();
    let who = "--principal officer@loans.example";
    let period = "--from 2026-01-01T00:00:00Z --until 2027-01-01T00:00:00Z";
    let add = format!("roles add draft.json {who} --public-key keys/officer.pub --role compliance");
    let made = home.json(&format!("{add} {period}"));
    assert_eq!((&made["revision"], made["changes"].as_array().unwrap().len()), (&json!(1), 3));
    home.must(&format!(
        "roles add draft.json {who} --identity o@x.example --issuer https://id.example"
    ));
    home.authorities();
    home.must(&format!("roles add draft.json {who} --identity o@y.example --ca pki/root.pem"));
    let before = home.read("draft.json");
    let fails = |line: &str, said: &str| {
        home.run(line).failed(2, said);
        assert_eq!(home.read("draft.json"), before, "{line}");
    };
    fails("roles add draft.json --principal new", "neither a key nor an identity");
    fails(&format!("roles add draft.json {who} --public-key keys/officer.pub"), "a key of");
    fails(&format!("roles add draft.json {who} --identity o@x.example"), "somebody's word");
    fails(&format!("roles add draft.json {who} --identity a --ca keys/officer.pub"), "PEM");
    fails(&format!("roles add draft.json {who} --role x --until tomorrow"), "RFC 3339");
    fails(
        &format!("roles add draft.json {who} --role x --until 2020-01-01T00:00:00Z"),
        "before it",
    );
    fails("roles end draft.json --principal nobody", "no principal \"nobody\"");
    fails(&format!("roles end draft.json {who} --role security"), "does not have security");
    fails(&format!("roles end draft.json {who} --at 2028-01-01T00:00:00Z"), "any role");
    let lost = format!("roles lost draft.json {who} --since 2026-01-01T00:00:00Z");
    fails(&lost, "no key");
    fails(&format!("{lost} --key keys/lead.pub"), "no key or identity");
    fails(&format!("{lost} --identity nobody@x.example"), "no identity");
    let ended = home.json(&format!("{lost} --identity o@x.example"));
    assert_eq!(ended["changes"][0]["change"], "key-ended");
    // One that has not begun by then is gone.
    let ended = home.json(&format!("roles end draft.json {who} --at 2025-01-01T00:00:00Z"));
    assert_eq!(ended["changes"][0]["change"], "role-withdrawn");
    home.must("roles sign draft.json --key keys/owner.key");
    let shown = home.json("roles show roles.sigstore.json --owner-key keys/owner.pub");
    assert_eq!(shown["principals"][0]["identities"].as_array().unwrap().len(), 2);
    let explained = home.must("inspect roles.sigstore.json").stdout;
    for said in ["o@x.example by https://id.example", "o@y.example by an authority", " LOST since "]
    {
        assert!(explained.contains(said), "{said}: {explained}");
    }
}

/// Somebody approves by logging in: no key of their own, a certificate for ten minutes.
#[test]
fn an_approval_without_a_key_counts_by_identity() {
    let instance = Instance::start();
    let Instance { home, issuer, service } = &instance;
    let keys = Home::with_keys();
    for who in ["owner", "head", "trainer", "evaluator", "lead"] {
        for half in ["key", "pub"] {
            let name = format!("keys/{who}.{half}");
            home.write(&name, keys.read(&name));
        }
    }
    home.example("model");
    let common = format!("--service {} --trusted-root data/trusted_root.json", service.url());
    let until = "--from 2020-01-01T00:00:00Z --until 2099-01-01T00:00:00Z";
    for (who, role) in
        [("trainer", "trainer"), ("evaluator", "evaluator"), ("lead", "lead-data-scientist")]
    {
        let key = format!("--principal {who} --public-key keys/{who}.pub");
        home.must(&format!("roles add roles.json {key} --role {role} {until}"));
    }
    // The one who logs in as `trainer@loans.example` is the officer here.
    let officer = format!("--principal officer --identity {IDENTITY} --issuer {}", issuer.url);
    home.must(&format!("roles add roles.json {officer} --role compliance {until}"));
    home.must(&format!("roles sign roles.json -o given.json --key keys/owner.key {common}"));
    home.must(&format!("roles sign --add given.json --key keys/head.key {common}"));

    home.must(&format!("sign model --key keys/trainer.key {common}"));
    let gates = "--predictions predictions.csv --gates gates.toml";
    home.must(&format!("evaluate model {gates} --key keys/evaluator.key {common}"));
    home.must(&format!("approve model --as lead-data-scientist --key keys/lead.key {common}"));
    let decide = || {
        let roles = format!("--roles given.json {OWNERS}");
        let ran = home.run(&format!("--json verify model --policy starter {roles} {common}"));
        assert_eq!(ran.json()["verdict"]["policy_input"]["rejected"], json!([]));
        codes(&ran)
    };
    assert_eq!(decide(), (false, vec!["APPROVAL_MISSING".to_owned()]));

    let digest = text(&home.json("digest model")["model_digest"]).to_owned();
    let approve = |decision: &str, name: &str| {
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "model", "digest": {"sha256": digest}}],
            "predicateType": "https://sealwright.dev/predicate/approval/v0.1",
            "predicate": {
                "decision": decision, "role": "compliance", "environment": "production",
                "meaning": "Fit for use.", "expiresOn": "2099-01-01T00:00:00Z",
            },
        });
        home.write(name, statement.to_string());
        let trust = "trust/trust_config.json";
        let made = javascript(&instance, &["attest", trust, name, "keyless.json"]);
        assert!(made.status.success(), "{made:?}");
        // Stock clients log the entry and keep the statement to themselves.
        service.client().submit_json(&home.read_json("keyless.json"), None)
    };
    approve("APPROVED", "approval").unwrap();
    assert_eq!(decide(), (true, vec![]));
    // With another key for one signature, the same person: a no is a no.
    approve("REJECTED", "rejection").unwrap();
    assert_eq!(decide(), (false, vec!["REJECTED".to_owned()]));
    // One that no verifier could read is not taken as if it had been heard.
    let refused = approve("NO", "misspelt").unwrap_err();
    assert!(refused.to_string().contains("decision"), "{refused}");
}
