//! Which bundle comes into force.

use sealwright_attest::{
    Bundle, Curve, KeyFile, Owners, OwnersError, Signer as _, Timestamp, sign,
};
use sealwright_manifest::Sha256;
use sealwright_policy::{
    ActivationError, ApprovedPolicy, BundleOptions, PassedTests, Policy, PolicyApproval,
    PolicyBundle, PolicyPredicate, Superseded,
};

use crate::support::STARTER;

struct Scene {
    keys: [KeyFile; 3],
    owners: Owners,
    bundle: Vec<u8>,
    predicate: PolicyPredicate,
}

fn now() -> Timestamp {
    Timestamp::parse("2026-11-24T12:00:00Z").unwrap()
}

fn build(policy: &Policy, revision: u64) -> Vec<u8> {
    let options = BundleOptions { name: "loans", revision, signer: None };
    PolicyBundle::build(policy, &options).unwrap()
}

impl Scene {
    fn new() -> Self {
        let keys = [(); 3].map(|()| KeyFile::generate(Curve::P256).unwrap());
        let public = keys.iter().take(2).map(|key| key.public_key().clone()).collect();
        let predicate = PolicyPredicate {
            name: "loans".to_owned(),
            revision: 3,
            policy_sha256: STARTER.digest().to_owned(),
            tests: PassedTests { passed: 1 },
            meaning: "decides from now on".to_owned(),
            expires_on: None,
            previous: None,
        };
        let owners = Owners::new(public, 2).unwrap();
        Self { keys, owners, bundle: build(&STARTER, 3), predicate }
    }

    fn signed_by(
        &self,
        owners: &[usize],
        subject: &[u8],
        predicate: &PolicyPredicate,
    ) -> Vec<Bundle> {
        let payload = predicate.to_statement(&Sha256::of(subject)).to_payload();
        let signed = |owner: &usize| {
            let key = &self.keys[*owner];
            sign(payload.clone(), key, &key.public_key().id()).unwrap()
        };
        owners.iter().map(signed).collect()
    }

    fn activate(&self, approval: &[Bundle]) -> Result<ApprovedPolicy, ActivationError> {
        ApprovedPolicy::activate(&self.bundle, approval, &self.owners, None, now())
    }

    fn approval(&self, revision: u64, subject: &[u8]) -> PolicyApproval {
        let predicate = PolicyPredicate { revision, ..self.predicate.clone() };
        let signed = self.owners.verify(&self.signed_by(&[0, 1], subject, &predicate), None);
        PolicyApproval::of(&signed.unwrap()).unwrap()
    }
}

#[test]
fn two_owners_put_a_policy_into_force() {
    let scene = Scene::new();
    let approval = scene.signed_by(&[0, 1], &scene.bundle, &scene.predicate);
    let active = scene.activate(&approval).unwrap();
    assert_eq!(active.digest(), STARTER.digest());
    let value = active.approval().to_value();
    assert_eq!(value["revision"], 3);
    assert_eq!(value["bundle"], Sha256::of(&scene.bundle).to_string());
    assert_eq!(value["signers"].as_array().unwrap().len(), 2);
}

#[test]
fn one_owner_or_a_stranger_does_not() {
    let scene = Scene::new();
    let signed = |who: &[usize]| scene.signed_by(who, &scene.bundle, &scene.predicate);
    for who in [&[][..], &[0], &[1], &[0, 0], &[0, 2], &[2, 2]] {
        let error = scene.activate(&signed(who)).unwrap_err();
        assert!(matches!(error, ActivationError::Owners(_)), "{who:?}: {error:?}");
        assert_eq!(error.code(), "POLICY_UNAPPROVED");
    }
    // Two owners, and not over the same words.
    let other = PolicyPredicate { meaning: "other".to_owned(), ..scene.predicate.clone() };
    let mixed = [signed(&[0]), scene.signed_by(&[1], &scene.bundle, &other)].concat();
    assert!(matches!(
        scene.activate(&mixed),
        Err(ActivationError::Owners(OwnersError::OtherStatement { .. }))
    ));
}

#[test]
fn only_the_bundle_that_was_approved_is_put_into_force() {
    let scene = Scene::new();
    let other = scene.signed_by(&[0, 1], b"other", &scene.predicate);
    let error = scene.activate(&other).unwrap_err();
    assert!(matches!(error, ActivationError::OtherBundle { .. }), "{error:?}");
    type Change = fn(&mut PolicyPredicate);
    let changes: [(&str, Change); 3] = [
        ("name", |predicate| predicate.name = "other".to_owned()),
        ("revision", |predicate| predicate.revision = 4),
        ("policy digest", |predicate| predicate.policy_sha256 = "0".repeat(64)),
    ];
    for (field, change) in changes {
        let mut predicate = scene.predicate.clone();
        change(&mut predicate);
        let error = scene.activate(&scene.signed_by(&[0, 1], &scene.bundle, &predicate));
        let error = error.unwrap_err();
        assert!(
            matches!(error, ActivationError::Mismatch { what, .. } if what == field),
            "{error:?}"
        );
    }
}

#[test]
fn what_has_expired_is_not_in_force() {
    let scene = Scene::new();
    for (expires, is_good) in [
        ("2026-11-24T12:00:01Z", true),
        ("2026-11-24T12:00:00Z", false),
        ("2026-01-01T00:00:00Z", false),
    ] {
        let expires_on = Some(Timestamp::parse(expires).unwrap());
        let predicate = PolicyPredicate { expires_on, ..scene.predicate.clone() };
        let active = scene.activate(&scene.signed_by(&[0, 1], &scene.bundle, &predicate));
        assert_eq!(active.is_ok(), is_good, "{expires}: {active:?}");
    }
}

#[test]
fn a_policy_must_pass_its_own_tests_and_have_some() {
    let main = "package sealwright.main\n\nimport rego.v1\n\n\
        decision := {\"allow\": false, \"violations\": set(), \"evidence\": set()}\n";
    for (tests, code) in [
        (None, "POLICY_UNTESTED"),
        (Some("test_x if false"), "POLICY_UNTESTED"),
        (Some("test_x if 1 / 0 == 1"), "POLICY_UNTESTED"),
        (Some("test_x if {"), "POLICY_UNUSABLE"),
        (Some("test_x if true"), ""),
    ] {
        let mut files = vec![("main.rego".to_owned(), main.to_owned())];
        files.extend(tests.map(|test| {
            let text = format!("package sealwright.main_test\n\nimport rego.v1\n\n{test}\n");
            ("main_test.rego".to_owned(), text)
        }));
        let policy = Policy::from_files(files).unwrap();
        let mut scene = Scene::new();
        let options = BundleOptions { name: "loans", revision: 3, signer: None };
        // Such a bundle cannot be made here if its tests are no Rego.
        let Ok(bundle) = PolicyBundle::build(&policy, &options) else {
            assert_eq!(code, "POLICY_UNUSABLE");
            continue;
        };
        scene.bundle = bundle;
        scene.predicate.policy_sha256 = policy.digest().to_owned();
        let approval = scene.signed_by(&[0, 1], &scene.bundle, &scene.predicate);
        let active = scene.activate(&approval);
        assert_eq!(active.as_ref().err().map_or("", |error| error.code()), code, "{active:?}");
    }
}

#[test]
fn a_newer_revision_ends_an_older_one() {
    let scene = Scene::new();
    let mine = scene.approval(3, &scene.bundle);
    assert_eq!(mine.check_against(&mine), Ok(()));
    assert_eq!(mine.check_against(&scene.approval(2, b"older")), Ok(()));
    assert!(matches!(
        mine.check_against(&scene.approval(4, b"newer")),
        Err(Superseded::Newer { newest: 4, found: 3, .. })
    ));
    assert!(matches!(
        mine.check_against(&scene.approval(3, b"other")),
        Err(Superseded::Conflict { revision: 3, .. })
    ));
}

#[test]
fn other_statements_are_no_approvals() {
    let scene = Scene::new();
    let mut statement = scene.predicate.to_statement(&Sha256::of(&scene.bundle));
    let signed = |statement: &sealwright_attest::Statement| {
        let bundle =
            |key: &KeyFile| sign(statement.to_payload(), key, &key.public_key().id()).unwrap();
        scene.activate(&[bundle(&scene.keys[0]), bundle(&scene.keys[1])])
    };
    assert!(signed(&statement).is_ok());
    let twice = statement.subject[0].clone();
    statement.subject.push(twice);
    assert!(matches!(signed(&statement), Err(ActivationError::Statement { .. })));
    statement.subject.pop();
    statement.predicate["more"] = 1.into();
    assert!(signed(&statement).is_err());
    statement.predicate.as_object_mut().unwrap().remove("more");
    statement.predicate["tests"]["passed"] = 0.into();
    assert!(signed(&statement).is_err());
    statement.predicate_type = "https://example.com/other".to_owned();
    assert!(matches!(signed(&statement), Err(ActivationError::Statement { .. })));
}
