//! The whole way: people submit to a real attestation service, a pod asks the webhook.

use std::sync::Arc;

use sealwright_attest::Signer as _;
use sealwright_attest::predicate::REVOCATION;
use sealwright_server::admission::{Admission, Config};
use sealwright_server::client::ServiceClient;
use sealwright_server::evidence::{EvidenceSource, Signers};
use sealwright_server::service;

use super::http::{Server, now};
use super::{Scene, write};
use crate::world::{People, approvable, approval, model, revocation, sign_with};

#[test]
fn from_approvals_to_a_running_pod_and_back() {
    let data = tempfile::tempdir().unwrap();
    let mut config = service::Config::new(data.path().join("log"));
    config.listen = "127.0.0.1:0".parse().unwrap();
    let service = service::start(&config).unwrap();
    let client = ServiceClient::new(&service.url(), None).unwrap();

    // People and model of the scene, but another log and another source of evidence.
    let mut used: Option<Config> = None;
    let mut scene = Scene::at(now(), |config| used = Some(config.clone()));
    write(&scene.dir, "trusted_root.json", service.trusted_root_json());
    let owner = &scene.people.owner;
    let binding = client.submit(&scene.people.role_binding(), owner.public_key()).unwrap();
    write(&scene.dir, "roles.json", binding.to_json());
    scene.admission = Arc::new(Admission::load(&used.unwrap(), Arc::new(client.clone())).unwrap());
    let webhook = Server::start(&scene);
    let pod = scene.pod().to_string().into_bytes();
    let ask = || webhook.post("/validate", "application/json", &pod);

    assert_eq!(webhook.get("/readyz").0, 200);
    assert_eq!(ask().codes, "APPROVAL_MISSING,GATE_MISSING,SIGNATURE_MISSING");
    for (key, statement) in approvable(&scene.people, &scene.model, scene.now) {
        client.submit(&sign_with(key, &statement), key.public_key()).unwrap();
    }
    let answer = ask();
    assert!(answer.allowed, "{answer:#?}");

    let officer = &scene.people.officer;
    let rejection = approval(&scene.model, "compliance", "REJECTED", scene.now);
    client.submit(&sign_with(officer, &rejection), officer.public_key()).unwrap();
    assert_eq!(ask().codes, "REJECTED");

    service.stop();
    assert_eq!(ask().codes, "SERVICE_UNREACHABLE");
    assert_eq!(webhook.get("/readyz").0, 503);
    assert_eq!(scene.records().len(), 4);
}

/// Otherwise they could make the answer larger than anybody reads, and stop every decision.
#[test]
fn strangers_revocations_are_not_asked_for() {
    let data = tempfile::tempdir().unwrap();
    let service = crate::service::serve(data.path());
    let client = ServiceClient::new(&service.url(), None).unwrap();
    let (people, other) = (People::new(), model("other weights"));
    for key in [&people.stranger, &people.lead, &people.stranger, &people.officer] {
        let bundle = sign_with(key, &revocation(&other, "security", now()));
        client.submit(&bundle, key.public_key()).unwrap();
    }
    let keys = [&people.lead, &people.officer, &people.trainer];
    let keys = keys.map(|key| key.public_key().id()).into();
    let signers = Signers { keys, ..Signers::default() };
    let found = client.statements_by(REVOCATION, &signers).unwrap();
    assert_eq!(found.bundles.len(), 2);
    assert!(found.complete && found.erased.is_empty());
}
