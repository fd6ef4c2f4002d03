//! From a bundle to a fact, and every way in which it must not get there.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod owners;
mod people;

use std::fs;

use serde_json::{Value, json};

use sealwright_attest::{
    Bundle, Curve, HASHEDREKORD_KIND, HASHEDREKORD_VERSION, InclusionEvidence, KeyFile, LogEntry,
    OMS_PREDICATE_TYPE, OmsPredicate, Owners, OwnersError, PublicKey, RoleBinding,
    RoleBindingError, Signer, Statement, Subject, Timestamp, TransparencyLog, TrustedRoot,
    VerificationMaterial, VerifyError, check_signature, hashedrekord_body, model_subjects,
    oms_statement, predicate, sign, verify,
};
use sealwright_manifest::{Difference, Hashing, Manifest, Sha256, WalkOptions, digest_model};
use sealwright_tlog::{
    Checkpoint, Hash, InclusionProof, LogKey, leaf_hash, stored_hashes_for_leaf, tree_hash,
};

const LOGGED_AT: u64 = 1_790_000_000;

/// An owner, one principal, and a log in memory.
struct World {
    owner: KeyFile,
    officer: KeyFile,
    log_key: LogKey,
    hashes: Vec<Hash>,
    size: u64,
}

impl World {
    fn new() -> Self {
        let key = || KeyFile::generate(Curve::P256).unwrap();
        let log_key = LogKey::from_seed("log.example", &[7; 32]).unwrap();
        let mut world = Self { owner: key(), officer: key(), log_key, hashes: Vec::new(), size: 0 };
        world.append(b"an entry of somebody else");
        world
    }

    fn roles(&self) -> RoleBinding {
        let binding = roles_predicate(&self.officer.public_key().pem(), "2000-01-01T00:00:00Z");
        let statement = RoleBinding::statement(binding).unwrap();
        let bundle = sign(statement.to_payload(), &self.owner, "").unwrap();
        RoleBinding::verify(&[bundle], &owner(&self.owner), None).unwrap()
    }

    fn root(&self) -> TrustedRoot {
        TrustedRoot::of_log(TransparencyLog {
            base_url: "https://log.example".into(),
            key: self.log_key.verifier().clone(),
            valid_from: Timestamp::from_unix(1_780_000_000).unwrap(),
            valid_until: None,
        })
    }

    fn append(&mut self, body: &[u8]) -> u64 {
        let leaf = leaf_hash(body);
        let new = stored_hashes_for_leaf(self.size, leaf, &self.hashes).unwrap();
        self.hashes.extend(new);
        self.size += 1;
        self.size - 1
    }

    /// Logs a bundle as the service does.
    fn log(&mut self, bundle: Bundle, key: &PublicKey, time: u64) -> Bundle {
        let body = hashedrekord_body(bundle.envelope(), key);
        self.log_body(bundle, body, time)
    }

    fn log_body(&mut self, bundle: Bundle, body: Vec<u8>, time: u64) -> Bundle {
        let index = self.append(&body);
        let root = tree_hash(self.size, &self.hashes).unwrap();
        let checkpoint =
            Checkpoint { origin: "log.example".into(), size: self.size, root, extensions: vec![] };
        let note = self.log_key.sign_checkpoint(&checkpoint, time).unwrap();
        let proof = InclusionProof::prove(index, self.size, &self.hashes).unwrap();
        bundle.with_log_entry(LogEntry {
            log_index: index,
            log_id: self.log_key.verifier().log_id().to_vec(),
            kind: HASHEDREKORD_KIND.into(),
            version: HASHEDREKORD_VERSION.into(),
            integrated_time: 0,
            inclusion_promise: None,
            inclusion: Some(InclusionEvidence {
                log_index: index,
                root_hash: root.as_bytes().to_vec(),
                tree_size: self.size,
                hashes: proof.hashes.iter().map(|hash| hash.as_bytes().to_vec()).collect(),
                checkpoint: note.to_string(),
            }),
            canonicalized_body: body,
        })
    }

    fn approval(&mut self) -> Bundle {
        let statement = approval_statement();
        let bundle = sign(statement.to_payload(), &self.officer, "").unwrap();
        let key = self.officer.public_key().clone();
        self.log(bundle, &key, LOGGED_AT)
    }

    fn verify(&self, bundle: &Bundle) -> Result<sealwright_attest::Verified, VerifyError> {
        verify(bundle, &self.roles(), &self.root())
    }
}

fn owner(key: &KeyFile) -> Owners {
    Owners::new(vec![key.public_key().clone()], 1).unwrap()
}

fn roles_predicate(pem: &str, from: &str) -> Value {
    json!({"principals": [{
        "name": "compliance-officer@loans.example",
        "publicKeys": [pem],
        "roles": [
            {"role": "compliance", "validFrom": from, "validUntil": "2090-01-01T00:00:00Z"},
            {"role": "security", "validFrom": from, "validUntil": "2001-01-01T00:00:00Z"}
        ]
    }]})
}

fn approval_statement() -> Statement {
    Statement {
        subject: vec![Subject::sha256("model", &Sha256::of(b"model"))],
        predicate_type: predicate::APPROVAL.into(),
        predicate: json!({
            "decision": "APPROVED", "role": "compliance", "environment": "production",
            "meaning": "fit", "expiresOn": "2099-01-01T00:00:00Z"
        }),
    }
}

#[test]
fn a_logged_statement_of_a_principal_is_a_fact() {
    let mut world = World::new();
    let bundle = world.approval();
    // Through its JSON form, as it travels.
    let bundle = Bundle::parse(bundle.to_json().as_bytes()).unwrap();
    let fact = world.verify(&bundle).unwrap();
    assert_eq!(fact.signer().principal(), "compliance-officer@loans.example");
    assert_eq!(fact.signer().roles(), ["compliance"], "the other role had ended");
    assert_eq!(fact.logged().time().unix(), LOGGED_AT);
    assert_eq!(fact.logged().index(), 1);
    assert!(fact.is_about(&Sha256::of(b"model")));
    assert!(!fact.is_about(&Sha256::of(b"other")));
}

/// Changes the JSON form of a good bundle and gives the code of the refusal.
fn refused(change: impl FnOnce(&mut Value)) -> &'static str {
    let mut world = World::new();
    let mut value = world.approval().to_value();
    change(&mut value);
    match Bundle::from_value(value) {
        Ok(bundle) => world.verify(&bundle).map(|_| "ACCEPTED").unwrap_or_else(|e| e.code()),
        Err(_) => "NOT_A_BUNDLE",
    }
}

fn entry(bundle: &mut Value) -> &mut Value {
    &mut bundle["verificationMaterial"]["tlogEntries"][0]
}

type Change = fn(&mut Value);

#[test]
fn nothing_of_a_bundle_can_be_changed() {
    assert_eq!(refused(|_| {}), "ACCEPTED");
    let cases: [(&str, &str, Change); 12] = [
        ("payload", "SIGNATURE_INVALID", |b| b["dsseEnvelope"]["payload"] = "e30=".into()),
        ("payload type", "PAYLOAD_TYPE", |b| b["dsseEnvelope"]["payloadType"] = "x".into()),
        ("signature", "SIGNATURE_INVALID", |b| {
            b["dsseEnvelope"]["signatures"][0]["sig"] = "AAAA".into();
        }),
        ("hint", "UNKNOWN_SIGNER", |b| {
            b["verificationMaterial"]["publicKey"]["hint"] = "00".into();
        }),
        ("no hint", "UNKNOWN_SIGNER", |b| {
            b["verificationMaterial"]["publicKey"] = json!({});
        }),
        ("no entry", "NOT_LOGGED", |b| b["verificationMaterial"]["tlogEntries"] = json!([])),
        ("other log", "NOT_LOGGED", |b| entry(b)["logId"]["keyId"] = "AAAA".into()),
        ("index", "LOG_ENTRY_INVALID", |b| entry(b)["logIndex"] = "0".into()),
        ("body", "LOG_ENTRY_INVALID", |b| entry(b)["canonicalizedBody"] = "e30=".into()),
        ("proof", "LOG_ENTRY_INVALID", |b| entry(b)["inclusionProof"]["hashes"] = json!([])),
        ("no proof", "LOG_ENTRY_INVALID", |b| {
            entry(b).as_object_mut().unwrap().remove("inclusionProof");
        }),
        ("kind", "LOG_ENTRY_INVALID", |b| entry(b)["kindVersion"]["version"] = "0.0.1".into()),
    ];
    for (what, code, change) in cases {
        assert_eq!(refused(change), code, "{what}");
    }
}

#[test]
fn a_checkpoint_counts_only_with_the_logs_own_signature_and_time() {
    let checkpoint = |change: fn(&str) -> String| {
        refused(move |b| {
            let envelope = &mut entry(b)["inclusionProof"]["checkpoint"]["envelope"];
            *envelope = change(envelope.as_str().unwrap()).into();
        })
    };
    assert_eq!(checkpoint(ToString::to_string), "ACCEPTED");
    let without = |note: &str, index: usize| -> String {
        let lines = note.lines().enumerate().filter(|(i, _)| *i != index);
        lines.map(|(_, line)| format!("{line}\n")).collect()
    };
    // Lines: origin, size, root, empty, log signature, cosignature.
    assert_eq!(checkpoint(|note| note.replace("log.example", "evil.example")), "LOG_ENTRY_INVALID");
    assert_eq!(
        refused(move |b| {
            let envelope = &mut entry(b)["inclusionProof"]["checkpoint"]["envelope"];
            *envelope = without(envelope.as_str().unwrap(), 4).into();
        }),
        "LOG_ENTRY_INVALID"
    );
    assert_eq!(
        refused(move |b| {
            let envelope = &mut entry(b)["inclusionProof"]["checkpoint"]["envelope"];
            *envelope = without(envelope.as_str().unwrap(), 5).into();
        }),
        "LOG_ENTRY_INVALID"
    );
    assert_eq!(checkpoint(|_| String::new()), "LOG_ENTRY_INVALID");
}

/// CVE-2022-36056 and its kind: a valid entry of another signature by the same key.
#[test]
fn the_entry_must_be_this_signatures() {
    let mut world = World::new();
    let one = world.approval();
    let other = world.approval();
    let mut mixed = one.to_value();
    *entry(&mut mixed) = other.to_value()["verificationMaterial"]["tlogEntries"][0].clone();
    let error = world.verify(&Bundle::from_value(mixed).unwrap()).unwrap_err();
    assert_eq!(error.code(), "LOG_ENTRY_INVALID");
}

/// (r, n - s) on P-256: the other signature that anybody can make of one.
fn twin(signature: &[u8]) -> Vec<u8> {
    let order = hex::decode("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
    let (head, s) = signature.split_at(4 + usize::from(signature[3]) + 2);
    let mut twin = vec![0; 33 - s.len()];
    twin.extend(s);
    let mut borrow = 0;
    for (place, n) in order.unwrap().iter().enumerate().rev() {
        let difference = i16::from(*n) - i16::from(twin[place + 1]) - borrow;
        borrow = i16::from(difference < 0);
        twin[place + 1] = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    while twin[0] == 0 && twin[1] < 0x80 {
        twin.remove(0);
    }
    let mut both = [&head[2..head.len() - 1], &[u8::try_from(twin.len()).unwrap()]].concat();
    both.extend(twin);
    [&[0x30, u8::try_from(both.len()).unwrap()], both.as_slice()].concat()
}

#[test]
fn twin_signatures_are_one_act_of_signing() {
    let mut world = World::new();
    let key = world.officer.public_key().clone();
    let first = world.approval();
    let mut envelope = first.envelope().clone();
    envelope.signature = twin(&envelope.signature);
    assert_ne!(envelope.signature, first.envelope().signature);
    let again = Bundle::new(envelope, first.material().clone());
    let again = world.log(again, &key, LOGGED_AT + 1);
    let anew = world.approval();
    let [first, again, anew] = [first, again, anew].map(|bundle| world.verify(&bundle).unwrap());
    assert_ne!(first.logged().index(), again.logged().index());
    assert_eq!(first.signing(), again.signing());
    // The same bytes, signed once more by the one who has the key.
    assert_eq!(first.digest(), anew.digest());
    assert_ne!(first.signing(), anew.signing());
}

#[test]
fn time_outside_of_the_log_keys_validity_does_not_count() {
    let mut world = World::new();
    let bundle = sign(approval_statement().to_payload(), &world.officer, "").unwrap();
    let key = world.officer.public_key().clone();
    let early = world.log(bundle, &key, 1_700_000_000);
    assert_eq!(world.verify(&early).unwrap_err().code(), "LOG_ENTRY_INVALID");
}

#[test]
fn known_predicates_obey_their_schema_even_when_signed() {
    let mut world = World::new();
    let mut statement = approval_statement();
    statement.predicate["decision"] = "MAYBE".into();
    let bundle = sign(statement.to_payload(), &world.officer, "").unwrap();
    let key = world.officer.public_key().clone();
    let bundle = world.log(bundle, &key, LOGGED_AT);
    assert_eq!(world.verify(&bundle).unwrap_err().code(), "PREDICATE_SCHEMA");
}

#[test]
fn an_unknown_predicate_type_is_met_calmly() {
    let mut world = World::new();
    let mut statement = approval_statement();
    statement.predicate_type = "https://example.com/something/v7".into();
    let bundle = sign(statement.to_payload(), &world.officer, "").unwrap();
    let key = world.officer.public_key().clone();
    let bundle = world.log(bundle, &key, LOGGED_AT);
    assert_eq!(world.verify(&bundle).unwrap().statement(), &statement);
}

#[test]
fn a_role_binding_is_the_owners_and_unambiguous() {
    let world = World::new();
    let pem = world.officer.public_key().pem();
    let good = roles_predicate(&pem, "2000-01-01T00:00:00Z");
    let statement = RoleBinding::statement(good.clone()).unwrap();
    let forged = sign(statement.to_payload(), &world.officer, "").unwrap();
    let result = RoleBinding::verify(&[forged], &owner(&world.owner), None);
    assert!(
        matches!(result, Err(RoleBindingError::Owners(OwnersError::NotOwner { .. }))),
        "{result:?}"
    );

    let approval = sign(approval_statement().to_payload(), &world.owner, "").unwrap();
    let result = RoleBinding::verify(&[approval], &owner(&world.owner), None);
    assert!(matches!(result, Err(RoleBindingError::Type { .. })), "{result:?}");

    let mut twice = good.clone();
    let twin = twice["principals"][0].clone();
    twice["principals"].as_array_mut().unwrap().push(twin);
    let result = RoleBinding::statement(twice.clone());
    assert!(matches!(result, Err(RoleBindingError::Shared { what: "the name", .. })));
    twice["principals"][1]["name"] = "somebody else".into();
    let result = RoleBinding::statement(twice);
    assert!(matches!(result, Err(RoleBindingError::Shared { what: "a key", .. })));

    let mut extra = good;
    extra["principals"][0]["admin"] = true.into();
    assert!(matches!(RoleBinding::statement(extra), Err(RoleBindingError::Shape { .. })));
}

fn toy_model() -> (tempfile::TempDir, Manifest) {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("config.json"), "{}").unwrap();
    fs::write(directory.path().join("weights.bin"), [1, 2, 3]).unwrap();
    let manifest =
        digest_model(directory.path(), &WalkOptions::default(), &Hashing::default()).unwrap();
    (directory, manifest)
}

#[test]
fn an_oms_signature_covers_the_model_digest() {
    let (directory, manifest) = toy_model();
    let key = KeyFile::generate(Curve::P384).unwrap();
    let payload = oms_statement("toy", &manifest, &[]).to_payload();
    assert_eq!(payload, oms_statement("toy", &manifest, &[]).to_payload(), "reproducible");
    let bundle = sign(payload, &key, "").unwrap();
    let signed = check_signature(&bundle, key.public_key()).unwrap();
    let oms = signed.oms().unwrap();
    assert_eq!(oms.model_digest(), Some(manifest.model_digest()));
    assert_eq!(signed.subject_digests()[0], manifest.model_digest().to_string());
    assert_eq!(oms.compare(&manifest, None), []);

    fs::write(directory.path().join("weights.bin"), [1, 2, 2]).unwrap();
    let changed = digest_model(directory.path(), &oms.walk_options(), &Hashing::default()).unwrap();
    assert_eq!(oms.compare(&changed, None), [Difference::Changed("weights.bin".into())]);
    assert_eq!(oms.compare_identity(&manifest.identity()), []);
    assert_eq!(
        oms.compare_identity(&changed.identity()),
        [Difference::Changed("weights.bin".into())]
    );
}

#[test]
fn chunks_are_signed_and_forged_ones_are_not_believed() {
    let (directory, _) = toy_model();
    let weights = directory.path().join("weights.bin");
    fs::write(&weights, vec![7; 3 << 20]).unwrap();
    let digest = |options: &WalkOptions| {
        digest_model(directory.path(), options, &Hashing::default()).unwrap()
    };
    let manifest = digest(&WalkOptions::default());
    let key = KeyFile::generate(Curve::P256).unwrap();
    let statement = oms_statement("toy", &manifest, &[]);
    let signed = |statement: &Statement| {
        let bundle = sign(statement.to_payload(), &key, "").unwrap();
        check_signature(&bundle, key.public_key()).unwrap().oms().unwrap().clone()
    };
    let oms = signed(&statement);
    assert_eq!(oms.manifest(), Some(&manifest));
    let mut bytes = fs::read(&weights).unwrap();
    bytes[1 << 20] = 8;
    fs::write(&weights, bytes).unwrap();
    let changed = digest(&WalkOptions::default());
    let told = |oms: &OmsPredicate| -> Vec<String> {
        oms.compare_identity(&changed.identity()).iter().map(ToString::to_string).collect()
    };
    assert_eq!(told(&oms), ["changed: weights.bin: chunk 3 of 6 differs"]);
    let by_plain_digest: Vec<_> =
        oms.compare(&changed, None).iter().map(ToString::to_string).collect();
    assert_eq!(by_plain_digest, ["changed: weights.bin"]);

    let forged = |change: fn(&mut Value)| {
        let mut statement = statement.clone();
        change(&mut statement.predicate["resources"][1]["chunks"]);
        let oms = signed(&statement);
        assert_eq!(oms.model_digest(), Some(manifest.model_digest()));
        assert_eq!(told(&oms), ["changed: weights.bin"]);
    };
    forged(|chunks| chunks["fsverity"][2] = Sha256::of(b"").to_string().into());
    forged(|chunks| drop(chunks["fsverity"].as_array_mut().unwrap().pop()));
    forged(|chunks| chunks["size"] = (64 << 20).into());
    forged(|chunks| chunks["size"] = 1000.into());
    forged(|chunks| *chunks = Value::Null);
    forged(|chunks| *chunks = "everything".into());
}

#[test]
fn an_unsound_oms_predicate_is_refused_even_when_signed() {
    let (_directory, manifest) = toy_model();
    let key = KeyFile::generate(Curve::P256).unwrap();
    let good = oms_statement("toy", &manifest, &[]);
    let cases: [fn(&mut Statement); 11] = [
        |s| s.subject[0] = Subject::sha256("toy", &Sha256::of(b"other")),
        |s| s.subject.push(Subject::sha256("second", &Sha256::of(b"other"))),
        |s| s.predicate["resources"][0]["name"] = "../config.json".into(),
        |s| s.predicate["resources"][1]["name"] = "config.json".into(),
        |s| s.predicate["resources"] = json!([]),
        |s| s.predicate["resources"][0]["digest"] = "AB".into(),
        |s| drop(s.predicate["resources"][0].as_object_mut().unwrap().remove("fsverity")),
        |s| s.predicate["serialization"]["method"] = "shards".into(),
        |s| s.predicate["serialization"]["hash_type"] = "md5".into(),
        |s| s.predicate["serialization"]["salt"] = "x".into(),
        |s| s.predicate["serialization"]["ignore_paths"] = json!(["."]),
    ];
    for (index, change) in cases.iter().enumerate() {
        let mut statement = good.clone();
        change(&mut statement);
        assert_eq!(statement.predicate_type, OMS_PREDICATE_TYPE);
        let bundle = sign(statement.to_payload(), &key, "").unwrap();
        let error = check_signature(&bundle, key.public_key()).unwrap_err();
        assert_eq!(error.code(), "OMS_MALFORMED", "case {index}: {error}");
    }
}

#[test]
fn a_model_has_two_subjects_and_the_digest_comes_first() {
    let (_directory, manifest) = toy_model();
    let subjects = model_subjects("toy", &manifest);
    assert_eq!(subjects[0].digest["sha256"], manifest.model_digest().to_string());
    assert_eq!(subjects[1].digest["sha256"], manifest.oms_root().to_string());
}

#[test]
fn another_key_is_not_the_signer() {
    let key = KeyFile::generate(Curve::P256).unwrap();
    let other = KeyFile::generate(Curve::P256).unwrap();
    let bundle = sign(approval_statement().to_payload(), &key, "").unwrap();
    let error = check_signature(&bundle, other.public_key()).unwrap_err();
    assert_eq!(error.code(), "OTHER_KEY");
    // Without the hint the signature decides.
    let unhinted = Bundle::new(
        bundle.envelope().clone(),
        VerificationMaterial::PublicKey { hint: String::new() },
    );
    assert!(check_signature(&unhinted, key.public_key()).is_ok());
    let error = check_signature(&unhinted, other.public_key()).unwrap_err();
    assert_eq!(error.code(), "SIGNATURE_INVALID");
}

/// A good bundle with some bytes replaced: what most damaged files look like.
fn mutants() -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
    use proptest::prelude::*;
    let good = World::new().approval().to_json().into_bytes();
    let edits = prop::collection::vec((0..good.len(), any::<u8>()), 1..4);
    (edits, 0..=good.len()).prop_map(move |(edits, length)| {
        let mut bytes = good.clone();
        for (place, byte) in edits {
            bytes[place] = byte;
        }
        bytes.truncate(if length % 3 == 0 { length } else { bytes.len() });
        bytes
    })
}

proptest::proptest! {
    /// Parsers of outside bytes give an error or a value, never a panic; and what parses is written
    /// so that it parses to the same.
    #[test]
    fn parsers_are_panic_free_on_anything(bytes in proptest::collection::vec(0u8.., 0..200)) {
        let _ = Bundle::parse(&bytes);
        let _ = Statement::parse(&bytes);
        let _ = TrustedRoot::parse(&bytes);
        let text = String::from_utf8_lossy(&bytes);
        let _ = PublicKey::from_pem(&text);
        let _ = PublicKey::from_spki(&bytes);
        let _ = KeyFile::from_pem(&text, Some(b"x"));
    }

    #[test]
    fn damaged_bundles_never_panic_and_read_back(bytes in mutants()) {
        if let Ok(bundle) = Bundle::parse(&bytes) {
            let again = Bundle::parse(bundle.to_json().as_bytes());
            proptest::prop_assert_eq!(again.as_ref(), Ok(&bundle));
            let world = World::new();
            // Another world's keys: nothing of it can be a fact here.
            proptest::prop_assert!(world.verify(&bundle).is_err());
        }
    }
}
