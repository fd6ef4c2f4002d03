//! Bundles that we make: statements signed with keys of every curve, in a log of ours whose
//! checkpoint a witness cosigned.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use sealwright_attest::{
    Curve, HASHEDREKORD_KIND, HASHEDREKORD_VERSION, InclusionEvidence, KeyFile, LogEntry,
    Signer as _, Timestamp, TransparencyLog, TrustedRoot, hashedrekord_body, sign,
};
use sealwright_sigstore::{
    Artifact, ManagedKey, Signer, SignerIdentity, SigstoreBundle, SigstoreError, Thresholds, Trust,
    VerifiedSigstore, WitnessPolicy, verify_artifact, verify_statement,
};
use sealwright_tlog::cosignature::CosignerKey;
use sealwright_tlog::{Checkpoint, LogKey, NoteSignature, SignedNote, leaf_hash};

use crate::data::now;

const MODEL: &[u8] = b"weights";
const LOGGED_AT: u64 = 1_780_000_000;

struct World {
    bundle: Vec<u8>,
    key: ManagedKey,
    trust: Trust,
    witness: CosignerKey,
}

fn world(curve: Curve) -> World {
    let key = KeyFile::generate(curve).unwrap();
    let log = LogKey::generate("log.example").unwrap();
    let digest = hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, MODEL));
    let statement = serde_json::json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "model", "digest": {"sha256": digest}}],
        "predicateType": "https://example.com/evaluated/v1",
        "predicate": {},
    });
    let bundle = sign(statement.to_string().into_bytes(), &key, "").unwrap();
    let body = hashedrekord_body(bundle.envelope(), key.public_key());
    let checkpoint = Checkpoint {
        origin: "log.example".into(),
        size: 1,
        root: leaf_hash(&body),
        extensions: vec![],
    };
    let (note, witness) = cosigned(&log.sign_checkpoint(&checkpoint, LOGGED_AT).unwrap());
    let bundle = bundle.with_log_entry(LogEntry {
        log_index: 0,
        log_id: log.verifier().log_id().to_vec(),
        kind: HASHEDREKORD_KIND.into(),
        version: HASHEDREKORD_VERSION.into(),
        integrated_time: 0,
        inclusion_promise: None,
        inclusion: Some(InclusionEvidence {
            log_index: 0,
            root_hash: checkpoint.root.as_bytes().to_vec(),
            tree_size: 1,
            hashes: vec![],
            checkpoint: note.to_string(),
        }),
        canonicalized_body: body,
    });
    let trusted_root = TrustedRoot::of_log(TransparencyLog {
        base_url: "https://log.example".into(),
        key: log.verifier().clone(),
        valid_from: Timestamp::from_unix(LOGGED_AT - 1).unwrap(),
        valid_until: None,
    });
    World {
        bundle: bundle.to_json().into_bytes(),
        key: ManagedKey::from_pem(&key.public_key().pem()).unwrap(),
        trust: Trust::parse(trusted_root.to_json().as_bytes()).unwrap(),
        witness,
    }
}

/// The note with the cosignature of a witness (C2SP tlog-cosignature) under it.
fn cosigned(note: &SignedNote) -> (SignedNote, CosignerKey) {
    let pair = Ed25519KeyPair::generate().unwrap();
    let key = pair.public_key().as_ref().try_into().unwrap();
    let witness = CosignerKey::new("witness.example", &key).unwrap();
    let message = format!("cosignature/v1\ntime {LOGGED_AT}\n{}", note.text());
    let signature = pair.sign(message.as_bytes());
    let blob = [LOGGED_AT.to_be_bytes().as_slice(), signature.as_ref()].concat();
    let line = NoteSignature::new(witness.name(), witness.key_id(), blob).unwrap();
    let lines = [note.signatures(), &[line]].concat();
    (SignedNote::new(note.text().to_owned(), lines).unwrap(), witness)
}

impl World {
    fn verify(&self, witnesses: WitnessPolicy) -> Result<VerifiedSigstore, SigstoreError> {
        let bundle = SigstoreBundle::parse(&self.bundle)?;
        let thresholds = Thresholds { witnesses, ..Thresholds::of(&self.trust) };
        let artifact = Artifact::from_bytes(MODEL);
        let signer = Signer::Key(&self.key);
        verify_artifact(&bundle, &artifact, &self.trust, signer, &thresholds, now())
    }
}

#[test]
fn every_curve_verifies_and_the_second_verifier_knows_two() {
    for (curve, known) in [(Curve::P256, true), (Curve::P384, false), (Curve::P521, false)] {
        let verified = world(curve).verify(WitnessPolicy::default()).unwrap();
        assert!(matches!(verified.signer(), SignerIdentity::Key { .. }));
        assert_eq!(verified.confirmed(), known, "{curve}");
        assert!(verified.times().is_empty());
        assert_eq!(verified.logs().len(), 1);
    }
}

#[test]
fn witnesses_are_required_by_number() {
    let world = world(Curve::P256);
    let policy = |keys: &[&CosignerKey], quorum| WitnessPolicy {
        keys: keys.iter().map(|&key| key.clone()).collect(),
        quorum,
    };
    let stranger = CosignerKey::new("stranger.example", &[7; 32]).unwrap();
    let verified = world.verify(policy(&[&world.witness, &stranger], 1)).unwrap();
    assert_eq!(verified.logs()[0].witnesses, [world.witness.to_string()]);
    for (keys, quorum) in
        [(vec![&world.witness, &world.witness], 2), (vec![&stranger], 1), (vec![], 1)]
    {
        let error = world.verify(policy(&keys, quorum)).unwrap_err();
        assert_eq!(error.code(), "too-few-cosignatures", "{error}");
    }
    // A cosignature in the name of a believed witness must hold.
    let text = String::from_utf8(world.bundle.clone()).unwrap();
    let at = text.find("witness.example ").unwrap() + "witness.example ".len() + 20;
    let other = if &text[at..=at] == "A" { "B" } else { "A" };
    let forged =
        World { bundle: [&text[..at], other, &text[at + 1..]].concat().into_bytes(), ..world };
    let error = forged.verify(policy(&[&forged.witness], 1)).unwrap_err();
    assert_eq!(error.code(), "cosignature-invalid");
    assert!(forged.verify(WitnessPolicy::default()).is_ok());
}

#[test]
fn a_statement_alone_and_a_key_alone() {
    let world = world(Curve::P256);
    let bundle = SigstoreBundle::parse(&world.bundle).unwrap();
    let thresholds = Thresholds::of(&world.trust);
    let signer = Signer::Key(&world.key);
    let verified = verify_statement(&bundle, &world.trust, signer, &thresholds, now()).unwrap();
    assert_eq!(verified.payload(), bundle.unverified_payload());
    assert_eq!(verified.artifact(), None);
    assert!(verified.confirmed());

    let nobody = Trust::nobody();
    let thresholds = Thresholds::of(&nobody);
    let verified = verify_statement(&bundle, &nobody, signer, &thresholds, now()).unwrap();
    assert!(verified.logs().is_empty() && verified.times().is_empty());

    let other = KeyFile::generate(Curve::P256).unwrap();
    let other = ManagedKey::from_pem(&other.public_key().pem()).unwrap();
    let error = verify_statement(&bundle, &nobody, Signer::Key(&other), &thresholds, now());
    assert_eq!(error.unwrap_err().code(), "signature-invalid");
}

#[test]
fn an_artifact_that_no_subject_names_is_refused() {
    let world = world(Curve::P521);
    let bundle = SigstoreBundle::parse(&world.bundle).unwrap();
    let error = verify_artifact(
        &bundle,
        &Artifact::from_bytes(b"other weights"),
        &world.trust,
        Signer::Key(&world.key),
        &Thresholds::of(&world.trust),
        now(),
    );
    assert_eq!(error.unwrap_err().code(), "artifact-mismatch");
}
