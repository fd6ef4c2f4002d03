//! What those do who run the service is in its log.

use std::path::Path;

use sealwright_attest::{
    Bundle, PublicKey, Signer as _, Statement, TrustedRoot, check_signature, predicate,
};
use sealwright_server::service::{
    Config, RestoreOptions, Running, audit_public_key, backup, restore, start,
};
use serde_json::{Value, json};

use crate::service::{check_log, client, config, key, note};

/// The acts in the log, in order, each verified as anybody can.
fn acts(service: &Running, dir: &Path) -> Vec<Value> {
    let key = PublicKey::from_pem(&audit_public_key(&dir.join("data")).unwrap()).unwrap();
    let root = TrustedRoot::parse(service.trusted_root_json().as_bytes()).unwrap();
    let found = client(service).statements_of_type(predicate::ADMINISTRATION).unwrap();
    let verified = |bundle: &Bundle| {
        let signed = check_signature(bundle, &key).unwrap();
        signed.check_log(bundle, &root).unwrap();
        let Statement { predicate, subject, .. } = signed.statement().clone();
        assert_eq!(subject[0].name, "localhost");
        predicate
    };
    found.iter().map(verified).collect()
}

fn limits(dir: &Path, burst: u32) -> std::path::PathBuf {
    let path = dir.join("limits.toml");
    std::fs::write(&path, format!("writes = {{ per_second = 1.0, burst = {burst} }}")).unwrap();
    path
}

#[test]
fn another_configuration_is_in_the_log_before_it_counts() {
    let dir = tempfile::tempdir().unwrap();
    let plain = config(dir.path());
    for _ in 0..2 {
        // The first configuration is no change, nor is the same once more.
        let service = start(&plain).unwrap();
        assert_eq!(acts(&service, dir.path()), Vec::<Value>::new());
        assert_eq!(check_log(&service).size, 0);
        service.stop();
    }
    let limited = Config { limits: Some(limits(dir.path(), 1000)), ..plain.clone() };
    let service = start(&limited).unwrap();
    let found = acts(&service, dir.path());
    let [act] = &found[..] else { panic!("{found:?}") };
    assert_eq!(act["act"], "configuration");
    assert_eq!(act["detail"]["before"]["limits"], Value::Null);
    let digest = act["detail"]["now"]["limits"].clone();
    assert_eq!(digest.as_str().unwrap().len(), 64);

    limits(dir.path(), 2000);
    let started = std::time::Instant::now();
    let found = loop {
        let found = acts(&service, dir.path());
        if found.len() > 1 {
            break found;
        }
        assert!(started.elapsed().as_secs() < 60);
        std::thread::yield_now();
    };
    assert_eq!(
        (&found[1]["act"], &found[1]["detail"]["file"]),
        (&json!("reload"), &json!("limits"))
    );
    assert_ne!(found[1]["detail"]["sha256"], digest);
    service.stop();
    // What was read again is what the next start finds.
    let service = start(&limited).unwrap();
    assert_eq!(acts(&service, dir.path()).len(), 2);
    service.stop();
    let service = start(&plain).unwrap();
    assert_eq!(acts(&service, dir.path()).len(), 3);
}

#[test]
fn a_restore_is_in_the_log_once_it_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let service = start(&config(dir.path())).unwrap();
    let signer = key();
    client(&service).submit(&note(&signer, "model", "x"), signer.public_key()).unwrap();
    let copy = dir.path().join("backup");
    backup(&dir.path().join("data"), &copy, true).unwrap();
    service.stop();
    let data = dir.path().join("data");
    std::fs::remove_dir_all(&data).unwrap();
    let options = RestoreOptions { from: &copy, data_dir: &data, keys: None, newest: &[] };
    let restored = restore(&options).unwrap();
    assert_eq!(restored.report.store.entries, 1);
    for _ in 0..2 {
        let service = start(&config(dir.path())).unwrap();
        let found = acts(&service, dir.path());
        let [act] = &found[..] else { panic!("{found:?}") };
        assert_eq!(act["act"], "restore");
        assert_eq!(act["detail"]["before"]["restored"]["entries"], 1);
        assert_eq!(check_log(&service).size, 2);
        service.stop();
    }
    assert!(
        !std::fs::read_to_string(data.join("configuration.json")).unwrap().contains("restored")
    );
}
