//! Who, and how much evidence: what the caller requires beyond the standard.

use sealwright_sigstore::{
    Artifact, Evidence, IdentityPolicy, ManagedKey, Matcher, Signer, SignerIdentity,
    SigstoreBundle, SigstoreError, Thresholds, TimeSource, Trust, VerifiedSigstore,
    verify_artifact, verify_statement,
};
use serde_json::{Value, json};

use crate::conformance::{IDENTITY as SUBJECT, ISSUER};
use crate::data::{Case, exactly, now, path, read};

/// A bundle with one timestamp and one Rekor v2 entry, under its own trusted root.
fn timestamped(identity: IdentityPolicy) -> Case {
    let directory = path("bundle-verify/rekor2-timestamp-with-embedded-cert");
    Case {
        bundle: read(&directory.join("bundle.sigstore.json")),
        trusted_root: read(&directory.join("trusted_root.json")),
        identity,
        key: None,
    }
}

fn artifact() -> Vec<u8> {
    read(&path("bundle-verify/a.txt"))
}

fn verify(case: &Case, edit: impl Fn(&mut Thresholds)) -> Result<VerifiedSigstore, SigstoreError> {
    let trust = Trust::parse(&case.trusted_root).unwrap();
    let mut thresholds = Thresholds::of(&trust);
    edit(&mut thresholds);
    case.verify_under(&trust, &thresholds, &Artifact::from_bytes(&artifact()))
}

#[test]
fn what_is_verified_is_told() {
    let verified = verify(&timestamped(exactly(SUBJECT, ISSUER)), |_| ()).unwrap();
    let SignerIdentity::Certificate { subject, issuer, .. } = verified.signer() else {
        panic!("{:?}", verified.signer());
    };
    assert_eq!((subject.as_str(), issuer.as_deref()), (SUBJECT, Some(ISSUER)));
    let [time] = verified.times() else { panic!("{:?}", verified.times()) };
    assert!(
        matches!(&time.source, TimeSource::TimestampAuthority(url) if url.contains("sigstage"))
    );
    assert_eq!(verified.signed_before(), Some(time.at));
    let [log] = verified.logs() else { panic!("{:?}", verified.logs()) };
    assert!(log.log.starts_with("https://log2025-alpha1.rekor"), "{log:?}");
    assert!(log.tree_size.is_some_and(|size| size > log.index));
    assert_eq!(verified.payload(), None);
    assert!(verified.artifact().is_some());
    assert!(verified.confirmed());
}

#[test]
fn identities_by_pattern() {
    let workflow = Matcher::pattern(r"https://github\.com/sigstore-conformance/.*@refs/heads/main");
    let prefix = Matcher::pattern(r"https://github\.com/sigstore-conformance/");
    let issuer = || Matcher::exact(ISSUER);
    let good = IdentityPolicy::new(workflow.unwrap(), issuer());
    assert!(verify(&timestamped(good), |_| ()).is_ok());
    for bad in [
        IdentityPolicy::new(prefix.unwrap(), issuer()),
        IdentityPolicy::new(Matcher::exact(SUBJECT), Matcher::exact("https://accounts.google.com")),
        IdentityPolicy::without_issuer(Matcher::exact(SUBJECT)),
    ] {
        let error = verify(&timestamped(bad), |_| ()).unwrap_err();
        assert_eq!(error.code(), "identity-mismatch", "{error}");
    }
    assert!(verify(&timestamped(IdentityPolicy::insecure_any_identity()), |_| ()).is_ok());
}

#[test]
fn thresholds_count_operators() {
    let case = timestamped(exactly(SUBJECT, ISSUER));
    for (what, edit) in [
        (Evidence::LogEntries, (|thresholds| thresholds.logs = 2) as fn(&mut Thresholds)),
        (Evidence::Times, |thresholds| thresholds.times = 2),
        (Evidence::Scts, |thresholds| thresholds.scts = 2),
        (Evidence::Cosignatures, |thresholds| thresholds.witnesses.quorum = 1),
    ] {
        match verify(&case, edit).unwrap_err() {
            SigstoreError::TooFew { what: found, .. } => assert_eq!(found, what),
            error => panic!("{error}"),
        }
    }
}

/// Two clocks, the log's and an authority's, are one if nobody says that they are two people's.
#[test]
fn two_times_of_one_operator_count_once() {
    let directory = path("realworld/cosign-oci-kubewarden-controller-1.34.0");
    let mut case = timestamped(IdentityPolicy::insecure_any_identity());
    case.bundle = read(&directory.join("bundle.sigstore.json"));
    case.trusted_root = read(&path("trust/public-good.trusted_root.json"));
    let verify = |case: &Case, times| {
        let trust = Trust::parse(&case.trusted_root).unwrap();
        let thresholds = Thresholds { times, ..Thresholds::of(&trust) };
        let bundle = SigstoreBundle::parse(&case.bundle).unwrap();
        let signer = Signer::Identity(&case.identity);
        verify_statement(&bundle, &trust, signer, &thresholds, now())
    };
    let verified = verify(&case, 1).unwrap();
    assert!(verified.confirmed());
    assert!(verified.payload().is_some_and(|payload| payload.starts_with(b"{")));
    assert_eq!(verified.times().len(), 2);
    assert_eq!(verify(&case, 2).unwrap_err().code(), "too-few-times");
    let mut root: Value = serde_json::from_slice(&case.trusted_root).unwrap();
    root["timestampAuthorities"][0]["operator"] = "clock.example".into();
    case.trusted_root = root.to_string().into_bytes();
    assert!(verify(&case, 2).is_ok());
    assert_eq!(verify(&case, 3).unwrap_err().code(), "too-few-times");
}

#[test]
fn evidence_of_strangers_is_no_fault_and_no_evidence() {
    let case = timestamped(exactly(SUBJECT, ISSUER));
    let mut root: Value = serde_json::from_slice(&case.trusted_root).unwrap();
    root["timestampAuthorities"] = json!([]);
    let alone = Case { trusted_root: root.to_string().into_bytes(), ..case };
    let error = verify(&alone, |_| ()).unwrap_err();
    assert_eq!(error.code(), "too-few-times");
    let case = timestamped(exactly(SUBJECT, ISSUER));
    let mut without_logs: Value = serde_json::from_slice(&case.trusted_root).unwrap();
    without_logs["tlogs"] = json!([]);
    let without_logs = Case { trusted_root: without_logs.to_string().into_bytes(), ..case };
    let verified = verify(&without_logs, |_| ()).unwrap();
    assert!(verified.logs().is_empty());
    assert!(!verified.confirmed());
    let error = verify(&without_logs, |thresholds| thresholds.logs = 1).unwrap_err();
    assert_eq!(error.code(), "too-few-log-entries");
}

#[test]
fn times_of_the_future_are_refused() {
    let case = timestamped(exactly(SUBJECT, ISSUER));
    let trust = Trust::parse(&case.trusted_root).unwrap();
    let bundle = SigstoreBundle::parse(&case.bundle).unwrap();
    let bytes = artifact();
    let at = |time: &str| {
        verify_artifact(
            &bundle,
            &Artifact::from_bytes(&bytes),
            &trust,
            Signer::Identity(&case.identity),
            &Thresholds::of(&trust),
            sealwright_attest::Timestamp::parse(time).unwrap(),
        )
    };
    assert!(at("2025-08-07T00:00:00Z").is_ok());
    assert_eq!(at("2025-08-01T00:00:00Z").unwrap_err().code(), "timestamp-invalid");
}

#[test]
fn material_of_the_other_kind_is_refused() {
    let case = timestamped(exactly(SUBJECT, ISSUER));
    let key = read(&path("bundle-verify/managed-key-happy-path/key.pub"));
    let key = ManagedKey::from_pem(std::str::from_utf8(&key).unwrap()).unwrap();
    let trust = Trust::parse(&case.trusted_root).unwrap();
    let bundle = SigstoreBundle::parse(&case.bundle).unwrap();
    let bytes = artifact();
    let result = verify_artifact(
        &bundle,
        &Artifact::from_bytes(&bytes),
        &trust,
        Signer::Key(&key),
        &Thresholds::of(&trust),
        now(),
    );
    assert_eq!(result.unwrap_err().code(), "wrong-material");
    // A signature over plain bytes is not a statement.
    let identity = exactly(SUBJECT, ISSUER);
    let signer = Signer::Identity(&identity);
    let result = verify_statement(&bundle, &trust, signer, &Thresholds::of(&trust), now());
    assert_eq!(result.unwrap_err().code(), "statement-invalid");
}
