//! Which role binding is in force, and what the owners publish while the webhook runs.

use std::sync::Arc;

use sealwright_attest::{Bundle, Curve, KeyFile, RoleBinding, Signer as _, Statement, Timestamp};
use sealwright_server::admission::{Admission, Config, ConfigError};
use sealwright_server::client::{ErasedStatement, ListedSigner};
use sealwright_server::evidence::SourceError;
use serde_json::{Value, json};

use super::{Answer, Scene, write};
use crate::world::{approval, revocation, sign_with};

/// The scene, with two owners who both must sign, and the officer in revision 1.
struct Owned {
    scene: Scene,
    second: KeyFile,
}

impl Owned {
    fn new() -> Self {
        let mut used: Option<Config> = None;
        let scene = Scene::approved_with(|config| used = Some(config.clone()));
        let mut owned = Self { scene, second: KeyFile::generate(Curve::P256).unwrap() };
        let mut config = used.unwrap();
        config.owner_keys.push(owned.write("second.pem", owned.second.public_key().pem()));
        let given = owned.both(&owned.revision(1, |_| {}));
        config.role_binding = owned.write("roles.json", Bundle::to_json_lines(&given));
        owned.scene.service.state().role_bindings = given;
        owned.scene.admission =
            Arc::new(Admission::load(&config, owned.scene.service.clone()).unwrap());
        owned
    }

    fn write(&self, name: &str, text: String) -> std::path::PathBuf {
        write(&self.scene.dir, name, text)
    }

    /// The roles of the scene, changed.
    fn revision(&self, revision: u64, change: impl FnOnce(&mut Value)) -> Statement {
        let mut predicate = self.scene.people.roles().predicate;
        predicate["revision"] = json!(revision);
        change(&mut predicate);
        RoleBinding::statement(predicate).unwrap()
    }

    fn log(&self, key: &KeyFile, statement: &Statement) -> Bundle {
        let bundle = sign_with(key, statement);
        self.scene.service.state().log.append(bundle, key)
    }

    fn both(&self, statement: &Statement) -> Vec<Bundle> {
        vec![self.log(&self.scene.people.owner, statement), self.log(&self.second, statement)]
    }

    /// Everything that the service shows of the owners from now on, beside what it has shown.
    fn publish(&self, bundles: Vec<Bundle>) {
        self.scene.service.state().role_bindings.extend(bundles);
    }

    fn ask(&self) -> Answer {
        self.scene.ask(&self.scene.pod())
    }

    fn last_revision(&self) -> Value {
        self.scene.records().last().unwrap()["roles"]["revision"].clone()
    }
}

/// The officer's role ended before the approval was logged.
fn without_officer(predicate: &mut Value) {
    predicate["principals"][3]["roles"][0]["validUntil"] = json!("2026-01-01T00:00:00Z");
}

#[test]
fn a_newer_revision_is_in_force_without_a_restart() {
    let owned = Owned::new();
    assert!(owned.ask().allowed);
    let older = owned.scene.service.state().role_bindings.clone();
    let ended = owned.revision(2, without_officer);
    // One owner's word is not enough, and neither is it with a stranger's.
    owned.publish(vec![owned.log(&owned.scene.people.owner, &ended)]);
    assert!(owned.ask().allowed);
    owned.publish(vec![owned.log(&owned.scene.people.stranger, &ended)]);
    assert!(owned.ask().allowed);
    assert_eq!(owned.last_revision(), 1);
    // Not logged, it does not count either.
    owned.publish(vec![sign_with(&owned.second, &ended)]);
    assert!(owned.ask().allowed);
    owned.publish(vec![owned.log(&owned.second, &ended)]);
    assert_eq!(owned.ask().codes, "APPROVAL_MISSING");
    assert_eq!(owned.last_revision(), 2);
    // The service shows the older one only: nothing comes back.
    owned.scene.service.state().role_bindings = older;
    assert_eq!(owned.ask().codes, "APPROVAL_MISSING");
    assert_eq!(owned.last_revision(), 2);
    owned.scene.service.state().role_bindings.clear();
    assert_eq!(owned.ask().codes, "APPROVAL_MISSING");
    // A third revision can give the role back.
    owned.publish(owned.both(&owned.revision(3, |_| {})));
    assert!(owned.ask().allowed);
    let record = owned.scene.records().pop().unwrap();
    assert_eq!(record["inputs"]["roleBinding"], record["roles"]["statement"]);
    assert_eq!((&record["roles"]["owners"], &record["mode"]), (&json!(2), &json!("enforce")));
}

#[test]
fn one_revision_is_one_binding() {
    let owned = Owned::new();
    // The same statement, signed and logged once more, is the same binding.
    owned.publish(owned.both(&owned.revision(1, |_| {})));
    assert!(owned.ask().allowed);
    let other = owned.both(&owned.revision(1, without_officer));
    owned.publish(other);
    let answer = owned.ask();
    assert_eq!(answer.codes, "ROLES_AMBIGUOUS");
    assert!(answer.message.contains("revision 1"), "{answer:#?}");
    owned.publish(owned.both(&owned.revision(2, |_| {})));
    assert!(owned.ask().allowed);
    let other = owned.both(&owned.revision(2, without_officer));
    owned.publish(other);
    assert_eq!(owned.ask().codes, "ROLES_AMBIGUOUS");
    // Hiding one of the two makes it no clearer.
    owned.scene.service.state().role_bindings.truncate(2);
    assert_eq!(owned.ask().codes, "ROLES_AMBIGUOUS");
}

#[test]
fn without_a_revision_the_given_binding_stays() {
    let scene = Scene::approved();
    let mut predicate = scene.people.roles().predicate;
    without_officer(&mut predicate);
    let other = sign_with(&scene.people.owner, &RoleBinding::statement(predicate).unwrap());
    let mut state = scene.service.state();
    let other = state.log.append(other, &scene.people.owner);
    state.role_bindings.push(other);
    drop(state);
    assert!(scene.ask(&scene.pod()).allowed);
}

#[test]
fn what_cannot_be_read_may_take_a_role_away() {
    let owned = Owned::new();
    let unread = |revision: Value, change: fn(&mut Value)| {
        let mut statement = owned.revision(1, |_| {});
        statement.predicate["revision"] = revision;
        change(&mut statement.predicate);
        owned.both(&statement)
    };
    let new_field: fn(&mut Value) = |predicate| predicate["delegates"] = json!([]);
    // Of what is older nothing has to be known.
    owned.publish(unread(json!(0), new_field));
    assert!(owned.ask().allowed);
    // One owner alone stops nothing.
    let bundles = unread(json!(9), new_field);
    owned.publish(bundles[..1].to_vec());
    assert!(owned.ask().allowed);
    owned.publish(bundles);
    assert_eq!(owned.ask().codes, "ROLES_UNREADABLE");
    // Not shown again, it was there all the same; a newer one mends it, whatever else is shown.
    let shown = std::mem::take(&mut owned.scene.service.state().role_bindings);
    assert_eq!(owned.ask().codes, "ROLES_UNREADABLE");
    owned.publish(shown);
    owned.publish(owned.both(&owned.revision(10, |_| {})));
    assert!(owned.ask().allowed);
    // Without a number, what is logged later is newer.
    owned.publish(unread(json!("eleven"), new_field));
    assert_eq!(owned.ask().codes, "ROLES_UNREADABLE");
    owned.publish(owned.both(&owned.revision(11, |_| {})));
    assert!(owned.ask().allowed);
    // What is in no log counts for nothing, readable or not.
    let mut statement = owned.revision(12, |_| {});
    new_field(&mut statement.predicate);
    owned.publish(
        [&owned.scene.people.owner, &owned.second].map(|k| sign_with(k, &statement)).into(),
    );
    assert!(owned.ask().allowed);

    let owned = Owned::new();
    let mut twice = owned.revision(2, |_| {});
    let name = twice.predicate["principals"][0]["name"].clone();
    twice.predicate["principals"][1]["name"] = name;
    owned.publish(owned.both(&twice));
    assert_eq!(owned.ask().codes, "ROLES_UNREADABLE");
}

#[test]
fn an_erased_binding_may_have_been_newer() {
    let owned = Owned::new();
    let erased = |index: u64, key: Option<&KeyFile>| {
        let signer = key.map(|key| ListedSigner {
            key_id: Some(key.public_key().id()),
            ..ListedSigner::default()
        });
        let predicate_type = sealwright_attest::predicate::ROLE_BINDING.to_owned();
        owned.scene.service.state().erased_role_bindings =
            vec![ErasedStatement { index, predicate_type, signer }];
        owned.ask()
    };
    // The bindings of the scene are the entries 0, 5 and 6.
    assert!(erased(5, Some(&owned.second)).allowed);
    assert!(erased(9, Some(&owned.scene.people.stranger)).allowed);
    assert_eq!(erased(7, Some(&owned.second)).codes, "ROLES_ERASED");
    assert_eq!(erased(7, None).codes, "ROLES_ERASED");
}

#[test]
fn a_lost_key_counts_for_what_was_logged_before() {
    let owned = Owned::new();
    let officer = owned.scene.people.officer.public_key().id();
    let lost = |since: Timestamp| {
        move |predicate: &mut Value| {
            predicate["principals"][3]["ended"] =
                json!([{"keyId": officer, "countsBefore": since, "reason": "LOST"}]);
        }
    };
    let now = owned.scene.now;
    owned.publish(owned.both(&owned.revision(2, lost.clone()(now.plus_seconds(1)))));
    assert!(owned.ask().allowed);
    owned.publish(owned.both(&owned.revision(3, lost(now))));
    let answer = owned.ask();
    assert_eq!(answer.codes, "APPROVAL_MISSING");
    assert!(answer.message.contains("ignored: KEY_LOST: "), "{answer:#?}");
}

/// The key of the officer, in a revision of its own, lost since then.
fn lose_officers_key(owned: &Owned, revision: u64) {
    let (id, now) = (owned.scene.people.officer.public_key().id(), owned.scene.now);
    let lost = owned.revision(revision, |predicate| {
        predicate["principals"][3]["ended"] =
            json!([{"keyId": id, "countsBefore": now, "reason": "LOST"}]);
        predicate["principals"][3]["publicKeys"]
            .as_array_mut()
            .unwrap()
            .push(json!(owned.scene.people.stranger.public_key().pem()));
    });
    owned.publish(owned.both(&lost));
}

#[test]
fn a_no_outlives_its_key() {
    let owned = Owned::new();
    let Scene { people, service, model, now, .. } = &owned.scene;
    // What the officer said with the key, said again with another one, and a no.
    service.log(&people.stranger, &approval(model, "compliance", "APPROVED", *now));
    service.log(&people.officer, &approval(model, "compliance", "REJECTED", *now));
    lose_officers_key(&owned, 2);
    let answer = owned.ask();
    assert!(answer.codes.contains("REJECTED"), "{answer:#?}");
    assert!(answer.message.contains("ignored: KEY_LOST: "), "{answer:#?}");
}

/// A revocation can take back a no: by a lost key it is neither heard nor passed over.
#[test]
fn what_a_lost_key_revoked_is_no_yes() {
    let owned = Owned::new();
    let Scene { people, service, model, now, .. } = &owned.scene;
    let rejection = approval(model, "compliance", "REJECTED", *now);
    service.log(&people.stranger, &rejection);
    let digest = sign_with(&people.stranger, &rejection).envelope().digest().to_string();
    let target = |digest: &str| {
        let mut statement = revocation(model, "security", *now);
        statement.predicate["target"] = json!({"envelope_sha256": digest});
        statement
    };
    let taken_back = target(&digest);
    service.log(&people.officer, &taken_back);
    lose_officers_key(&owned, 2);
    let answer = owned.ask();
    assert_eq!(answer.codes, "NO_BY_LOST_KEY", "{answer:#?}");
    // The officer withdraws it with the key that still counts.
    let digest = sign_with(&people.officer, &taken_back).envelope().digest().to_string();
    service.log(&people.stranger, &target(&digest));
    let answer = owned.ask();
    assert!(answer.codes.contains("REJECTED"), "{answer:#?}");
}

/// What somebody without a key said, and was erased, may have been a no.
#[test]
fn an_erased_statement_by_an_identity_takes_its_type_along() {
    let owned = Owned::new();
    let identity = json!({"subject": "o@loans.example", "issuer": "https://id.example"});
    let bound = owned.revision(2, |predicate| {
        predicate["principals"][3]["identities"] = json!([identity]);
    });
    owned.publish(owned.both(&bound));
    assert!(owned.ask().allowed);
    let erased = |names: &[&str], issuer: Option<&str>| {
        let signer = ListedSigner {
            key_id: None,
            identities: names.iter().map(ToString::to_string).collect(),
            issuer: issuer.map(ToOwned::to_owned),
        };
        let predicate_type = sealwright_attest::predicate::APPROVAL.to_owned();
        owned.scene.service.state().erased =
            vec![ErasedStatement { index: 9, predicate_type, signer: Some(signer) }];
        owned.ask().codes
    };
    assert_eq!(erased(&["o@loans.example"], Some("https://id.example")), "APPROVAL_MISSING");
    assert_eq!(erased(&["o@loans.example"], None), "APPROVAL_MISSING");
    assert_eq!(erased(&[], None), "APPROVAL_MISSING");
    assert_eq!(erased(&["o@loans.example"], Some("https://other.example")), "");
    assert_eq!(erased(&["x@loans.example"], Some("https://id.example")), "");
}

#[test]
fn a_service_that_does_not_say_who_is_who_stops_everything() {
    let owned = Owned::new();
    let reason = "gone".to_owned();
    owned.scene.service.state().fault = Some(SourceError::Unreachable { reason });
    assert_eq!(owned.ask().codes, "SERVICE_UNREACHABLE");
}

#[test]
fn an_unlogged_binding_is_taken_only_by_name_and_said() {
    let load = |insecure: bool| {
        let mut used: Option<Config> = None;
        let mut scene = Scene::approved_with(|config| used = Some(config.clone()));
        let mut config = used.unwrap();
        config.insecure_unlogged_roles = insecure;
        config.role_binding =
            write(&scene.dir, "roles.json", scene.people.role_binding().to_json());
        scene.service.state().role_bindings.clear();
        let admission = Admission::load(&config, scene.service.clone());
        admission.map(|admission| {
            scene.admission = Arc::new(admission);
            scene
        })
    };
    let error = load(false).map(drop).unwrap_err();
    assert!(matches!(error, ConfigError::RoleBinding { .. }), "{error}");
    let scene = load(true).unwrap();
    let answer = scene.ask(&scene.pod());
    assert!(answer.allowed);
    assert!(answer.warnings[0].contains("insecure_unlogged_roles"), "{answer:#?}");
    let record = scene.records().pop().unwrap();
    assert_eq!(record["mode"], "insecure_unlogged_roles");
    assert_eq!(record["roles"]["logged"], false);
}
