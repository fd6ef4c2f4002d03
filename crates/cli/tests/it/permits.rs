//! `sealwright serve --permits`, `admission --permit-key` and `sealwright permit`.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::admission::{allows, ask_for, denies, start};
use crate::home::{Home, Ran, text};
use crate::server::Server;
use crate::team::Team;

const FILE: &str = "key = \"keys/stranger.key\"\nroles = \"roles.sigstore.json\"\n\
    owner_keys = [\"keys/owner.pub\"]\nenvironments = [\"production\"]\n";

/// A team whose service makes permits with the stranger's key.
fn team(life: &str) -> Team {
    let team = Team::new();
    team.home.write("permits.toml", format!("{FILE}life = \"{life}\"\n"));
    let Team { home, service } = team;
    service.stop();
    let service = Server::start(&home, "serve --data data --permits permits.toml");
    Team { home, service }
}

fn permit(team: &Team, line: &str) -> Ran {
    let common = team.service_args();
    team.home.run(&format!("--json permit {line} --permit-key keys/stranger.pub {common}"))
}

/// Asks until it is so.
fn wait_for(team: &Team, line: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let value = permit(team, line).json();
        if holds(&value) {
            return value;
        }
        assert!(Instant::now() < until, "{value:#}: {}", team.service.said());
        std::thread::yield_now();
    }
}

#[test]
fn no_permit_no_pod() {
    let team = team("4h");
    let digest = team.model_digest("model");
    let webhook = start(&team, "--permit-key keys/stranger.pub");
    assert_eq!(permit(&team, "show model").code, Some(1));
    team.approve_fully("model");
    let shown = wait_for(&team, "show model", |value| value["ok"] == true);
    let permit_ = &shown["permits"][0];
    assert_eq!(
        (&permit_["environment"], &permit_["in_force"]),
        (&"production".into(), &true.into())
    );
    assert_eq!(permit_["models"][0], digest.as_str());
    allows(&ask_for(&team, &webhook, &digest));
    webhook.stop();
    assert_eq!(permit(&team, &format!("show sha256:{digest}")).code, Some(0));
    assert_eq!(permit(&team, "show model --environment staging").code, Some(1));
    assert_eq!(permit(&team, "show model --policy starter").code, Some(0));
    let other = team.home.run("policy init other --profile clinic");
    assert_eq!(other.code, Some(0), "{other:#?}");
    let other = permit(&team, "show model --policy other");
    assert_eq!((other.code, &other.json()["permits"][0]["in_force"]), (Some(1), &false.into()));
    let list = permit(&team, "list").succeeded().json();
    assert_eq!(list["permits"].as_array().unwrap().len(), 1);
    let said = team
        .home
        .must(&format!("permit list --permit-key keys/stranger.pub {}", team.service_args()));
    assert!(said.stdout.contains("  in force for production until "), "{said:#?}");

    // By another key, or for another environment, there is none.
    let webhook = start(&team, "--permit-key keys/lead.pub");
    denies(&ask_for(&team, &webhook, &digest), &["PERMIT_MISSING"]);
    webhook.stop();
    // The revocation preview names it.
    let preview = team.must("security", "revoke model --as security --reason unsafe --dry-run");
    assert_eq!(preview["stops"]["permits"][0]["environment"], "production", "{preview:#}");

    // A service that starts again makes no second one while the first is young.
    let Team { home, service } = team;
    service.stop();
    let service = Server::start(&home, "serve --data data --permits permits.toml");
    let team = Team { home, service };
    home_model(&team.home, "other");
    team.approve_fully("other");
    wait_for(&team, "show other", |value| value["ok"] == true);
    let again = permit(&team, "show model").json();
    assert_eq!(again["permits"].as_array().unwrap().len(), 1, "{again:#}");

    // Nobody's key makes permits.
    let Team { home, service } = team;
    service.stop();
    home.write("permits.toml", FILE.replace("stranger.key", "lead.key"));
    let ran = home.run("serve --data data --listen 127.0.0.1:0 --permits permits.toml");
    ran.failed(2, "for permits alone");
}

/// Another model that passes the same gates.
fn home_model(home: &Home, name: &str) {
    home.example(name);
    home.write(format!("{name}/note.txt"), "another");
}

#[test]
fn permits_are_renewed_until_the_model_is_revoked() {
    let team = team("4s");
    team.approve_fully("model");
    let renewed = |value: &Value| value["permits"].as_array().unwrap().len() >= 3;
    wait_for(&team, "show model", renewed);
    team.must("security", "revoke model --as security --reason unsafe");
    let ended = wait_for(&team, "show model", |value| value["ok"] == false);
    assert!(renewed(&ended));
    // What was made last was made before the revocation was logged, or it would be in force.
    assert!(ended["permits"].as_array().unwrap().iter().all(|permit| permit["in_force"] == false));
}

#[test]
fn a_file_that_cannot_be_used_says_why() {
    let home = Home::with_keys();
    home.write_roles();
    home.must("roles sign roles.json --key keys/owner.key");
    let refused = |file: &str, said: &str| {
        home.write("permits.toml", file);
        let ran = home.run("serve --init --data data --listen 127.0.0.1:0 --permits permits.toml");
        ran.failed(2, said);
    };
    refused("", "missing field");
    refused(&FILE.replace("production", "Production"), "DNS labels");
    refused(&FILE.replace("[\"production\"]", "[]"), "DNS labels");
    refused(&format!("{FILE}life = \"90d\"\n"), "not a duration");
    refused(&format!("{FILE}lives = 9\n"), "unknown field");
    refused(&FILE.replace("stranger.key", "stranger.pub"), "private key");
    refused(&FILE.replace("owner.pub", "lead.pub"), "role binding");
    let ran = home.run("serve --init --data data --listen 127.0.0.1:0 --permits nowhere.toml");
    assert_eq!(ran.code, Some(3), "{ran:#?}");
    assert!(text(&Value::from(ran.stderr)).contains("nowhere.toml"));
}
