//! What certificates, keys and timestamps say of themselves, verified or not.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sealwright_sigstore::details::{CertificateDetails, KeyDetails, TimestampDetails, pem_blocks};
use sealwright_sigstore::{DigestAlgorithm, Trust};
use serde_json::Value;

use crate::conformance::{IDENTITY, ISSUER};
use crate::data::{path, read, text};

fn bundle() -> Value {
    let directory = path("bundle-verify/rekor2-checkpoint-cosigned");
    serde_json::from_slice(&read(&directory.join("bundle.sigstore.json"))).unwrap()
}

fn bytes(value: &Value, pointer: &str) -> Vec<u8> {
    STANDARD.decode(value.pointer(pointer).unwrap().as_str().unwrap()).unwrap()
}

#[test]
fn a_keyless_certificate() {
    let der = bytes(&bundle(), "/verificationMaterial/certificate/rawBytes");
    let details = CertificateDetails::parse(&der).unwrap();
    assert_eq!(details.names, [("URI", IDENTITY.to_owned())]);
    assert_eq!(details.oidc_issuer.as_deref(), Some(ISSUER));
    assert_eq!(details.not_before.to_string(), "2025-06-12T12:02:16Z");
    assert_eq!(details.not_after.to_string(), "2025-06-12T12:12:16Z");
    assert_eq!(details.key.to_string(), "ECDSA P-256");
    assert_eq!(
        (details.usages, details.purposes),
        (vec!["digitalSignature"], vec!["codeSigning".to_owned()])
    );
    assert_eq!((details.is_authority, details.is_self_issued), (false, false));
    assert_eq!(details.scts.len(), 1);
    assert_eq!(details.scts[0].time.unwrap(), details.not_before);
    assert!(details.fulcio.contains(&("runner environment", "github-hosted".to_owned())));
    assert_eq!(details.sha256, DigestAlgorithm::Sha256.hash(&der));
    assert_eq!(details.problems, [""; 0]);
}

#[test]
fn a_malformed_extension_is_a_problem_and_no_more() {
    let der = bytes(&bundle(), "/verificationMaterial/certificate/rawBytes");
    // id-ce-subjectAltName, critical, and the tag of its value.
    let names = [0x55, 0x1d, 0x11, 0x01, 0x01, 0xff];
    let at = der.windows(names.len()).position(|window| window == names).unwrap();
    let mut altered = der.clone();
    let sequence = (at + names.len()..).find(|&at| der[at] == 0x30).unwrap();
    altered[sequence] = 0x31;
    let details = CertificateDetails::parse(&altered).unwrap();
    assert_eq!(details.problems, ["malformed or repeated subject alternative names"]);
    assert_eq!(details.oidc_issuer.as_deref(), Some(ISSUER));
    for bad in [&der[1..], &der[..der.len() - 1], b"", b"\x30\x00"] {
        assert_eq!(CertificateDetails::parse(bad), None);
    }
}

#[test]
fn a_timestamp() {
    let bundle = bundle();
    let place =
        "/verificationMaterial/timestampVerificationData/rfc3161Timestamps/0/signedTimestamp";
    let der = bytes(&bundle, place);
    let details = TimestampDetails::parse(&der).unwrap();
    assert_eq!(details.time.to_string(), "2025-06-12T12:02:20Z");
    assert_eq!(details.hash, Some(DigestAlgorithm::Sha256));
    assert_eq!(details.is_over(&bytes(&bundle, "/messageSignature/signature")), Some(true));
    assert_eq!(details.is_over(b"another"), Some(false));
    assert_eq!(details.certificates.len(), 1);
    assert!(CertificateDetails::parse(&details.certificates[0]).is_some());
    for bad in [&der[1..], &der[..der.len() - 1], b"", b"\x30\x00"] {
        assert_eq!(TimestampDetails::parse(bad), None);
    }
}

#[test]
fn keys_of_every_kind() {
    let root = read(&path("trust/public-good.trusted_root.json"));
    assert!(Trust::parse(&root).unwrap().has_logs());
    let root: Value = serde_json::from_slice(&root).unwrap();
    let kind = |number: usize| {
        let der = bytes(&root, &format!("/tlogs/{number}/publicKey/rawBytes"));
        let details = KeyDetails::from_trusted_root(&der).unwrap();
        let id = bytes(&root, &format!("/tlogs/{number}/logId/keyId"));
        (details.kind, details.spki_sha256 == id)
    };
    assert_eq!(kind(0), ("ECDSA P-256".to_owned(), true));
    // The id of a C2SP log is another one.
    assert_eq!(kind(1), ("Ed25519".to_owned(), false));
    for (size, kind) in [(3072, "RSA 3072"), (4096, "RSA 4096")] {
        let name = format!("realworld/alg-PKIX_RSA_PKCS1V15_{size}_SHA256/bundle.sigstore.json");
        let bundle: Value = serde_json::from_slice(&read(&path(&name))).unwrap();
        let der = bytes(&bundle, "/verificationMaterial/certificate/rawBytes");
        assert_eq!(CertificateDetails::parse(&der).unwrap().key.kind, kind);
    }
    let pem = text(&path("bundle-verify/managed-key-happy-path/key.pub"));
    let blocks = pem_blocks(&pem);
    assert_eq!((blocks.len(), blocks[0].label.as_str()), (1, "PUBLIC KEY"));
    let der = blocks[0].content.as_ref().unwrap();
    assert!(KeyDetails::from_spki(der).is_some());
    assert_eq!(KeyDetails::from_spki(&der[1..]), None);
}
