//! `sealwright doctor`: the mistakes that people make in trusted roots.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sealwright_manifest::Sha256;
use sealwright_tlog::VerifierKey;
use serde_json::{Value, json};

use crate::home::Home;

/// What is found after a change: places and problems.
fn found(home: &Home, change: impl FnOnce(&mut Value)) -> Vec<(String, String)> {
    let mut root = home.read_json("trust/trusted_root.json");
    change(&mut root);
    home.write("changed.json", root.to_string());
    let ran = home.run("--json doctor changed.json");
    let report = ran.json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let findings = report["findings"].as_array().unwrap().clone();
    assert_eq!(ran.code, Some(i32::from(!findings.is_empty())), "{report}");
    findings.iter().map(|f| (text(&f["place"]), text(&f["problem"]))).collect()
}

#[track_caller]
fn finds(home: &Home, place: &str, problem: &str, change: impl FnOnce(&mut Value)) {
    let found = found(home, change);
    let fits = |(p, q): &(String, String)| p == place && q.contains(problem);
    assert!(found.iter().any(fits), "{place} {problem}: {found:?}");
}

#[test]
fn every_usual_mistake_is_named() {
    let home = Home::new();
    home.must("serve init --data data --origin log.example --listen 127.0.0.1:3003");
    home.must("serve trust --data data --out trust");
    assert_eq!(found(&home, |_| {}), []);
    assert_eq!(home.must("doctor trust/trusted_root.json").stdout, "nothing found\n");

    let key = |root: &Value| {
        STANDARD.decode(root["tlogs"][0]["publicKey"]["rawBytes"].as_str().unwrap()).unwrap()
    };
    let id_of = |root: &Value, name: &str| {
        STANDARD.encode(VerifierKey::from_spki_der(name, &key(root)).unwrap().log_id())
    };
    let id = "tlogs[0].logId.keyId";
    finds(&home, id, "as for Rekor v1", |root| {
        root["tlogs"][0]["logId"]["keyId"] =
            STANDARD.encode(Sha256::of(&key(root)).as_bytes()).into();
    });
    finds(&home, id, "of a log named \"log.example:3003\"", |root| {
        root["tlogs"][0]["logId"]["keyId"] = id_of(root, "log.example:3003").into();
    });
    finds(&home, id, "of a log named \"http://log.example:3003\"", |root| {
        root["tlogs"][0]["logId"]["keyId"] = id_of(root, "http://log.example:3003").into();
    });
    finds(&home, id, "not of this key under the name \"other.example\"", |root| {
        root["tlogs"][0]["baseUrl"] = json!("https://other.example");
    });
    finds(&home, id, "only the four bytes", |root| {
        let whole = STANDARD.decode(id_of(root, "log.example")).unwrap();
        root["tlogs"][0]["logId"]["keyId"] = STANDARD.encode(&whole[..4]).into();
    });
    finds(&home, "tlogs[0].baseUrl", "has no host", |root| {
        root["tlogs"][0]["baseUrl"] = json!("log.example");
    });
    finds(&home, "tlogs[0].publicKey.validFor", "has no start", |root| {
        root["tlogs"][0]["publicKey"]["validFor"] = json!({});
    });
    finds(&home, "tlogs[0].publicKey.validFor", "is to come", |root| {
        root["tlogs"][0]["publicKey"]["validFor"]["start"] = json!("2999-01-01T00:00:00Z");
    });
    finds(&home, "certificateAuthorities[0].validFor", "ends before it starts", |root| {
        root["certificateAuthorities"][0]["validFor"]["end"] = json!("2020-01-01T00:00:00Z");
    });
    finds(&home, "tlogs[0].publicKey.rawBytes", "not a public key", |root| {
        root["tlogs"][0]["publicKey"]["rawBytes"] = json!("bm90IGEga2V5");
    });
    finds(&home, "tlogs[0].publicKey", "keyDetails says", |root| {
        root["tlogs"][0]["publicKey"]["keyDetails"] = json!("PKIX_ECDSA_P256_SHA_256");
    });
    finds(&home, "ctlogs[0].logId.keyId", "not the SHA-256 of the key", |root| {
        root["ctlogs"][0]["logId"]["keyId"] = STANDARD.encode([7; 32]).into();
    });
    finds(&home, "ctlogs", "missing", |root| {
        root.as_object_mut().unwrap().remove("ctlogs");
    });
    finds(&home, "mediaType", "not known to every client", |root| {
        root["mediaType"] = json!("application/vnd.dev.sigstore.trustedroot.v0.1+json");
    });
    finds(&home, "timestampAuthorities[0].certChain", "has one certificate", |root| {
        let chain = &mut root["timestampAuthorities"][0]["certChain"]["certificates"];
        chain.as_array_mut().unwrap().pop();
    });
    finds(&home, "certificateAuthorities[0].certChain", "not issued by the next", |root| {
        let chain = &mut root["certificateAuthorities"][0]["certChain"]["certificates"];
        chain.as_array_mut().unwrap().reverse();
    });
    finds(&home, "certificateAuthorities[0].certChain", "does not end in a root", |root| {
        let chain = &mut root["certificateAuthorities"][0]["certChain"]["certificates"];
        chain.as_array_mut().unwrap().pop();
    });
    let late = home.run("doctor trust/trusted_root.json --at 2999-01-01T00:00:00Z");
    assert_eq!(late.code, Some(1));
    assert!(late.stdout.contains("expired at"), "{late:#?}");
    home.write("other.json", "{}");
    home.run("doctor other.json").failed(2, "other.json is not a trusted root");
}

/// Those of Sigstore's own instances are well.
#[test]
fn roots_of_others_are_well() {
    let data =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../sigstore/tests/data/trust");
    let home = Home::new();
    let root = data.join("public-good.trusted_root.json");
    let ran = home.run_words(["doctor", root.to_str().unwrap(), "--at", "2026-01-01T00:00:00Z"]);
    assert_eq!(ran.stdout, "nothing found\n", "{ran:#?}");
}
