//! A whole keyless bundle: certificate, log entry and time stamp by a private instance, verified by
//! this repository's verifier and by Sigstore's own.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sealwright_attest::{Curve, KeyFile, Signer as _, Timestamp};
use sealwright_authority::{
    CERTIFICATE_LIFETIME_S, IssueRequest, IssuerKind, ProvenKey, SubjectKey, TimestampRequest,
};
use sealwright_sigstore::{
    Artifact, IdentityPolicy, Matcher, Signer, SigstoreBundle, Thresholds, Trust, VerifiedSigstore,
    verify_artifact,
};
use sealwright_tlog::{Checkpoint, LogKey, leaf_hash};
use serde_json::{Value, json};

use crate::instance::{Instance, now};
use crate::tokens::{ISSUER, Issuer};

const MESSAGE: &[u8] = b"a model";

fn base64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

/// A bundle, and the trusted root under which it is good.
struct Case {
    bundle: Value,
    root: Value,
}

/// What happens when, in seconds after the certificate was issued.
struct Times {
    stamped: u64,
}

impl Case {
    fn new(instance: &Instance, times: &Times) -> Self {
        let log = LogKey::generate("log.example.com").unwrap();
        let root = trusted_root(instance, &log);
        let identity = Issuer::new().identity(IssuerKind::email(), &json!({}));
        let key = KeyFile::generate(Curve::P256).unwrap();
        let subject_key = SubjectKey::from_spki(&key.public_key().spki()).unwrap();
        let proof = key.sign(identity.challenge().as_bytes()).unwrap();
        let proven = ProvenKey::by_challenge(subject_key, &identity, &proof).unwrap();
        let request = IssueRequest {
            identity: &identity,
            key: &proven,
            now: now(),
            lifetime_s: CERTIFICATE_LIFETIME_S,
        };
        let certificate = instance.ca.issue(&request).unwrap().certificate;
        let signature = key.sign(MESSAGE).unwrap();
        let stamp = stamp(instance, &signature, now().plus_seconds(times.stamped));
        let digest = Curve::P256.hash(MESSAGE);
        let bundle = json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "certificate": {"rawBytes": base64(&certificate)},
                "tlogEntries": [entry(&log, &certificate, &signature)],
                "timestampVerificationData": {
                    "rfc3161Timestamps": [{"signedTimestamp": base64(stamp)}],
                },
            },
            "messageSignature": {
                "messageDigest": {"algorithm": "SHA2_256", "digest": base64(digest)},
                "signature": base64(&signature),
            },
        });
        Self { bundle, root }
    }

    fn verify(&self) -> Result<VerifiedSigstore, String> {
        let trust = Trust::parse(self.root.to_string().as_bytes()).unwrap();
        let bundle = SigstoreBundle::parse(self.bundle.to_string().as_bytes()).unwrap();
        let policy = IdentityPolicy::new(Matcher::exact("ada@example.com"), Matcher::exact(ISSUER));
        let signer = Signer::Identity(&policy);
        let artifact = Artifact::from_bytes(MESSAGE);
        let now = now().plus_seconds(86_400);
        verify_artifact(&bundle, &artifact, &trust, signer, &Thresholds::of(&trust), now)
            .map_err(|error| error.to_string())
    }
}

fn stamp(instance: &Instance, signature: &[u8], at: Timestamp) -> Vec<u8> {
    let request = json!({
        "artifactHash": base64(Curve::P256.hash(signature)),
        "hashAlgorithm": "sha256",
    });
    let request = TimestampRequest::from_json(request.to_string().as_bytes()).unwrap();
    instance.tsa.respond(&request, at).unwrap()
}

/// The entry of a log with no other.
fn entry(log: &LogKey, certificate: &[u8], signature: &[u8]) -> Value {
    let body = json!({
        "apiVersion": "0.0.2",
        "kind": "hashedrekord",
        "spec": {"hashedRekordV002": {
            "data": {"algorithm": "SHA2_256", "digest": base64(Curve::P256.hash(MESSAGE))},
            "signature": {
                "content": base64(signature),
                "verifier": {
                    "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                    "x509Certificate": {"rawBytes": base64(certificate)},
                },
            },
        }},
    });
    let body = serde_json_canonicalizer::to_vec(&body).unwrap();
    let root = leaf_hash(&body);
    let checkpoint =
        Checkpoint { origin: log.origin().into(), size: 1, root, extensions: Vec::new() };
    let checkpoint = log.sign_checkpoint(&checkpoint, now().unix()).unwrap();
    json!({
        "logIndex": "0",
        "logId": {"keyId": base64(log.verifier().log_id())},
        "kindVersion": {"kind": "hashedrekord", "version": "0.0.2"},
        "integratedTime": "0",
        "inclusionProof": {
            "logIndex": "0",
            "rootHash": root.to_base64(),
            "treeSize": "1",
            "hashes": [],
            "checkpoint": {"envelope": checkpoint.to_string()},
        },
        "canonicalizedBody": base64(body),
    })
}

fn trusted_root(instance: &Instance, log: &LogKey) -> Value {
    let chain = |certificates: Vec<&[u8]>| {
        let certificates = certificates.into_iter().map(|der| json!({"rawBytes": base64(der)}));
        json!({"certificates": certificates.collect::<Vec<_>>()})
    };
    let start = json!({"start": "2026-01-01T00:00:00Z"});
    let authority = |uri: &str, certificates| {
        let subject = json!({"organization": "Example Ltd.", "commonName": "an authority"});
        json!({"subject": subject, "uri": uri, "certChain": chain(certificates), "validFor": start})
    };
    let log_of = |url: &str, details: &str, spki: &[u8], id: &[u8]| {
        json!({
            "baseUrl": url,
            "hashAlgorithm": "SHA2_256",
            "publicKey": {"rawBytes": base64(spki), "keyDetails": details, "validFor": start},
            "logId": {"keyId": base64(id)},
        })
    };
    let (key, id) = (log.verifier().to_spki_der(), log.verifier().log_id());
    let Instance { ca, tsa, .. } = instance;
    let certificate_log = log_of(
        "https://ct.example.com",
        "PKIX_ECDSA_P256_SHA_256",
        &ca.log_key().spki(),
        &ca.log_id(),
    );
    json!({
        "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
        "tlogs": [log_of("https://log.example.com", "PKIX_ED25519", &key, &id)],
        "certificateAuthorities": [authority("https://ca.example.com", ca.chain().collect())],
        "ctlogs": [certificate_log],
        "timestampAuthorities": [authority("https://tsa.example.com", tsa.chain().collect())],
    })
}

#[test]
fn both_verifiers_accept_a_bundle_of_a_private_instance() {
    for curve in [Curve::P256, Curve::P384] {
        let instance = Instance::new(curve);
        for stamped in [0, 1, CERTIFICATE_LIFETIME_S] {
            let case = Case::new(&instance, &Times { stamped });
            let verified = case.verify().unwrap();
            assert!(verified.confirmed());
            assert_eq!(verified.signed_before(), Some(now().plus_seconds(stamped)));
            assert_eq!(verified.logs().len(), 1);
        }
    }
}

#[test]
fn a_time_outside_of_the_certificate_is_refused() {
    let instance = Instance::new(Curve::P384);
    let case = Case::new(&instance, &Times { stamped: CERTIFICATE_LIFETIME_S + 1 });
    let error = case.verify().unwrap_err();
    assert!(error.contains("not valid under any trusted authority"), "{error}");
    // A stamp of the future, and one over something else.
    let mut case = Case::new(&instance, &Times { stamped: 10 });
    let good = case.bundle.clone();
    for (over, at) in [(&b"another signature"[..], now()), (b"", now().plus_seconds(90_000))] {
        let signature = good["messageSignature"]["signature"].as_str().unwrap();
        let signature = STANDARD.decode(signature).unwrap();
        let over = if over.is_empty() { &signature[..] } else { over };
        let stamps = &mut case.bundle["verificationMaterial"]["timestampVerificationData"];
        stamps["rfc3161Timestamps"][0]["signedTimestamp"] =
            json!(base64(stamp(&instance, over, at)));
        assert!(case.verify().is_err());
    }
}

#[test]
fn other_authorities_are_refused() {
    let (instance, other) = (Instance::new(Curve::P384), Instance::new(Curve::P384));
    let good = Case::new(&instance, &Times { stamped: 10 });
    let foreign = trusted_root(&other, &LogKey::generate("log.example.com").unwrap());
    for part in ["certificateAuthorities", "ctlogs", "timestampAuthorities", "tlogs"] {
        let mut root = good.root.clone();
        root[part] = foreign[part].clone();
        let case = Case { bundle: good.bundle.clone(), root };
        case.verify().expect_err(part);
    }
    // The log's name with another key in it: now the promise is broken.
    let mut root = good.root.clone();
    root["ctlogs"][0]["publicKey"] = foreign["ctlogs"][0]["publicKey"].clone();
    let error = Case { bundle: good.bundle.clone(), root }.verify().unwrap_err();
    assert!(error.contains("signed certificate timestamp"), "{error}");
}

/// Every byte of the certificate is signed by the authority, and every extension by the log.
#[test]
fn an_altered_certificate_is_refused() {
    let instance = Instance::new(Curve::P256);
    let case = Case::new(&instance, &Times { stamped: 10 });
    let certificate = &case.bundle["verificationMaterial"]["certificate"]["rawBytes"];
    let certificate = STANDARD.decode(certificate.as_str().unwrap()).unwrap();
    for what in [&b"5b2c"[..], b"ada@example.com", ISSUER.as_bytes(), b"261102121000Z"] {
        let place = certificate.windows(what.len()).position(|part| part == what).unwrap();
        let mut altered = certificate.clone();
        altered[place] ^= 1;
        let mut bundle = case.bundle.clone();
        bundle["verificationMaterial"]["certificate"]["rawBytes"] = json!(base64(&altered));
        let altered = Case { bundle, root: case.root.clone() };
        assert!(altered.verify().is_err(), "{what:?}");
    }
}
