//! The whole way: people submit to a real attestation service, a pod asks the webhook.

use std::sync::Arc;

use sealwright_attest::Signer as _;
use sealwright_server::admission::{Admission, Config};
use sealwright_server::client::ServiceClient;
use sealwright_server::service;

use super::http::{Server, now};
use super::{Scene, write};
use crate::world::{approvable, approval, sign_with};

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
