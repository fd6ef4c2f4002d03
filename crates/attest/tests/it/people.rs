//! Who is who at the time at which something was logged: roles that end, keys that are lost, people
//! without keys.

use std::sync::Arc;

use sealwright_attest::{
    CertificateVerifier, OidcIdentity, SigningCertificate, Verified, certified_hashedrekord_body,
    verify_no,
};

use super::*;

fn bound(world: &World, principals: Value) -> Result<RoleBinding, RoleBindingError> {
    let mut predicate = json!({"revision": 1});
    predicate["principals"] = principals;
    let statement = RoleBinding::statement(predicate)?;
    let bundle = sign(statement.to_payload(), &world.owner, "").unwrap();
    RoleBinding::verify(&[bundle], &owner(&world.owner), None)
}

fn time(seconds: u64) -> Timestamp {
    Timestamp::from_unix(seconds).unwrap()
}

fn grant(until: u64) -> Value {
    json!([{"role": "compliance", "validFrom": "2020-01-01T00:00:00Z", "validUntil": time(until)}])
}

fn pem(key: &KeyFile) -> String {
    key.public_key().pem()
}

#[test]
fn a_role_that_ended_a_second_before_is_none() {
    let mut world = World::new();
    let approval = world.approval();
    for (until, roles) in [(LOGGED_AT - 1, vec![]), (LOGGED_AT, vec!["compliance".to_owned()])] {
        let principals = json!([
            {"name": "officer", "publicKeys": [pem(&world.officer)], "roles": grant(until)},
        ]);
        let binding = bound(&world, principals).unwrap();
        let fact = verify(&approval, &binding, &world.root()).unwrap();
        assert_eq!(fact.signer().roles(), roles);
    }
}

#[test]
fn a_lost_key_does_not_count_from_that_second_on() {
    let mut world = World::new();
    let approval = world.approval();
    let id = world.officer.public_key().id();
    let with = |at: u64, reason: &str| {
        let ended = json!([{"keyId": id, "countsBefore": time(at), "reason": reason}]);
        let principals = json!([{
            "name": "officer", "publicKeys": [pem(&world.officer)], "ended": ended,
            "roles": grant(LOGGED_AT),
        }]);
        let binding = bound(&world, principals).unwrap();
        verify(&approval, &binding, &world.root()).map(drop).map_err(|error| error.code())
    };
    assert_eq!(with(LOGGED_AT + 1, "LOST"), Ok(()));
    assert_eq!(with(LOGGED_AT, "LOST"), Err("KEY_LOST"));
    assert_eq!(with(LOGGED_AT - 9, "REPLACED"), Err("KEY_REPLACED"));
}

#[test]
fn one_person_with_two_keys_is_one_person() {
    let mut world = World::new();
    let second = KeyFile::generate(Curve::P256).unwrap();
    let principals = json!([{
        "name": "officer", "publicKeys": [pem(&world.officer), pem(&second)],
        "roles": grant(LOGGED_AT),
    }]);
    let binding = bound(&world, principals).unwrap();
    let bundle = sign(approval_statement().to_payload(), &second, "").unwrap();
    let with_second = world.log(bundle, second.public_key(), LOGGED_AT);
    let with_first = world.approval();
    let [one, two] = [with_first, with_second]
        .map(|bundle| verify(&bundle, &binding, &world.root()).unwrap().signer().clone());
    assert_eq!(one.principal(), two.principal());
    assert_ne!(one.key_id(), two.key_id());
}

#[test]
fn bindings_that_say_two_things_are_refused() {
    let world = World::new();
    let (one, two) = (pem(&world.officer), pem(&world.owner));
    let roles = || grant(LOGGED_AT);
    let issued = json!({"subject": "a@x.example", "issuer": "https://id.example"});
    let same = |list: Value| matches!(bound(&world, list), Err(RoleBindingError::Shared { .. }));
    assert!(same(json!([
        {"name": "a", "publicKeys": [one], "roles": roles()},
        {"name": "b", "publicKeys": [two, one], "roles": roles()},
    ])));
    assert!(same(json!([{"name": "a", "publicKeys": [one, one], "roles": roles()}])));
    assert!(same(json!([
        {"name": "a", "identities": [issued], "roles": roles()},
        {"name": "b", "identities": [issued], "roles": roles()},
    ])));
    let id = world.officer.public_key().id();
    let end = json!({"keyId": id, "countsBefore": "2026-01-01T00:00:00Z", "reason": "LOST"});
    let wrong = [
        json!([{"name": "a", "roles": roles()}]),
        json!([{"name": "a", "publicKeys": [], "roles": roles()}]),
        json!([{"name": "a", "publicKeys": [two], "ended": [end], "roles": roles()}]),
        json!([{"name": "a", "publicKeys": [one], "ended": [end, end], "roles": roles()}]),
        json!([{"name": "a", "identities": [{"subject": "a"}], "roles": roles()}]),
        json!([{"name": "a", "identities": [{"subject": "a", "issuer": "b", "ca": "c"}], "roles": []}]),
        json!([{"name": "a", "identities": [{"subject": "a", "ca": "no PEM"}], "roles": []}]),
        json!([{"name": "a", "identities": [{"issuer": "a"}], "roles": []}]),
    ];
    for principals in wrong {
        assert!(bound(&world, principals.clone()).is_err(), "{principals}");
    }
    for revision in [json!(0), json!(-1), json!(1.5), json!("1"), json!(null), json!(1_u64 << 60)] {
        let principals = json!([{"name": "a", "publicKeys": [one], "roles": roles()}]);
        let predicate = json!({"revision": revision, "principals": principals});
        assert!(RoleBinding::statement(predicate).is_err(), "{revision}");
    }
}

#[test]
fn what_changes_is_said() {
    let world = World::new();
    let table = |principals: Value| bound(&world, principals).unwrap().table().clone();
    let (one, two) = (pem(&world.officer), pem(&world.owner));
    let old = table(json!([
        {"name": "gone", "publicKeys": [two], "roles": []},
        {"name": "stays", "publicKeys": [one], "roles": grant(LOGGED_AT)},
    ]));
    let id = world.officer.public_key().id();
    let new = table(json!([
        {"name": "stays", "publicKeys": [one], "roles": grant(LOGGED_AT + 1), "ended":
            [{"keyId": id, "countsBefore": "2026-01-01T00:00:00Z", "reason": "LOST"}]},
        {"name": "new", "roles": [], "identities":
            [{"subject": "n@x.example", "issuer": "https://id.example"}]},
    ]));
    let lines: Vec<_> = new.changes_since(Some(&old)).iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "- gone".to_owned(),
            format!("! stays: key {id} lost, counts only before 2026-01-01T00:00:00Z"),
            format!(
                "! stays: compliance from 2020-01-01T00:00:00Z to {}, was 2020-01-01T00:00:00Z to {}",
                time(LOGGED_AT + 1),
                time(LOGGED_AT)
            ),
            "+ new".to_owned(),
            "+ new: identity n@x.example by https://id.example".to_owned(),
        ]
    );
    assert_eq!(new.changes_since(Some(&new)), []);
    let back: Vec<_> = old.changes_since(Some(&new)).iter().map(ToString::to_string).collect();
    assert!(back.contains(&"- new".to_owned()), "{back:?}");
    assert!(back.iter().any(|line| line.contains("no longer lost")), "{back:?}");
}

/// Vouches for whoever it is told to, in place of the real verifier of keyless certificates.
#[derive(Debug)]
struct Vouching(Result<(&'static str, &'static str), &'static str>);

impl CertificateVerifier for Vouching {
    fn identity(&self, _: &Bundle, latest: Timestamp) -> Result<OidcIdentity, String> {
        // The log's time, and what clocks may be apart.
        assert_eq!(latest.unix(), LOGGED_AT + 600);
        let proven = |(subject, issuer): (&str, &str)| OidcIdentity {
            subject: subject.to_owned(),
            issuer: issuer.to_owned(),
        };
        self.0.map(proven).map_err(ToOwned::to_owned)
    }
}

/// A root, and leaves for e-mail addresses below it.
struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = params(&[]);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: rcgen::Issuer::new(params, key), pem }
    }

    /// A fresh key, certified for these addresses, and an approval signed with it.
    fn approval(&self, world: &mut World, emails: &[&str]) -> Bundle {
        self.approval_with(world, &KeyFile::generate(Curve::P256).unwrap(), emails)
    }

    fn approval_with(&self, world: &mut World, key: &KeyFile, emails: &[&str]) -> Bundle {
        self.approval_as(world, key, params(emails))
    }

    fn approval_as(
        &self,
        world: &mut World,
        key: &KeyFile,
        mut params: rcgen::CertificateParams,
    ) -> Bundle {
        let pair = rcgen::KeyPair::from_pem(&key.unencrypted_pem().unwrap()).unwrap();
        params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::CodeSigning];
        let leaf = params.signed_by(&pair, &self.issuer).unwrap().pem();
        let certificate = SigningCertificate::from_pem(&leaf, []).unwrap();
        let bundle = sign(approval_statement().to_payload(), key, "").unwrap();
        let bundle = certificate.attach(bundle).unwrap();
        let VerificationMaterial::Certificates(chain) = bundle.material() else { panic!() };
        let key = key.public_key();
        let body = certified_hashedrekord_body(bundle.envelope(), key, &chain[0]);
        world.log_body(bundle, body, LOGGED_AT)
    }
}

fn params(emails: &[&str]) -> rcgen::CertificateParams {
    let mut params = rcgen::CertificateParams::default();
    let san = |email: &&str| rcgen::SanType::Rfc822Name((*email).try_into().unwrap());
    params.subject_alt_names = emails.iter().map(san).collect();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2090, 1, 1);
    params
}

const LEAD: &str = "lead@loans.example";
const ISSUER: &str = "https://login.loans.example";

fn decided(result: Result<Verified, VerifyError>) -> Result<(String, String), &'static str> {
    let fact = result.map_err(|error| error.code())?;
    assert_eq!(fact.signer().roles(), ["compliance"]);
    Ok((fact.signer().principal().to_owned(), fact.signer().key_id().to_owned()))
}

#[test]
fn somebody_without_a_key_is_known_by_a_certified_identity() {
    let mut world = World::new();
    let authority = Authority::new();
    let [one, two] = [(); 2].map(|()| authority.approval(&mut world, &[LEAD]));
    let issued = json!({"subject": LEAD, "issuer": ISSUER});
    let bind = |principals| bound(&world, principals).unwrap();
    let binding = bind(json!([
        {"name": "lead", "identities": [issued], "roles": grant(LOGGED_AT)},
        {"name": "officer", "publicKeys": [pem(&world.officer)], "roles": grant(LOGGED_AT)},
    ]));
    let with = |bundle: &Bundle, binding: &RoleBinding, proven| {
        let root = world.root().with_certificates(Arc::new(Vouching(proven)));
        decided(verify(bundle, binding, &root))
    };
    // Two keys for one signature each are one signer.
    let first = with(&one, &binding, Ok((LEAD, ISSUER))).unwrap();
    assert_eq!(first.0, "lead");
    assert_eq!(with(&two, &binding, Ok((LEAD, ISSUER))).unwrap(), first);
    for (proven, code) in [
        (Ok((LEAD, "https://login.evil.example")), "UNKNOWN_SIGNER"),
        (Ok(("lead@loans.example.evil.example", ISSUER)), "UNKNOWN_SIGNER"),
        (Ok(("Lead@loans.example", ISSUER)), "UNKNOWN_SIGNER"),
        (Err("the chain ends nowhere"), "CERTIFICATE_INVALID"),
    ] {
        assert_eq!(with(&one, &binding, proven), Err(code), "{proven:?}");
    }
    // Without anybody who verifies keyless certificates, and without anybody who has one.
    assert_eq!(decided(verify(&one, &binding, &world.root())), Err("UNKNOWN_SIGNER"));
    assert_eq!(decided(verify(&one, &world.roles(), &world.root())), Err("NOT_KEY_SIGNED"));

    let ended = json!([{"keyId": first.1, "countsBefore": time(LOGGED_AT), "reason": "LOST"}]);
    let lost = bind(json!([
        {"name": "lead", "identities": [issued], "ended": ended, "roles": grant(LOGGED_AT)},
    ]));
    assert_eq!(with(&one, &lost, Ok((LEAD, ISSUER))), Err("KEY_LOST"));
}

#[test]
fn a_plain_authority_certifies_whom_the_owners_say() {
    let mut world = World::new();
    let (authority, other) = (Authority::new(), Authority::new());
    let good = authority.approval(&mut world, &["x@loans.example", LEAD]);
    let both = authority.approval(&mut world, &[LEAD, "head@loans.example"]);
    let foreign = other.approval(&mut world, &[LEAD]);
    let nobody = authority.approval(&mut world, &["x@loans.example"]);
    let officer = KeyFile::from_pem(&world.officer.unencrypted_pem().unwrap(), None).unwrap();
    let two_ways = authority.approval_with(&mut world, &officer, &[LEAD]);
    let certified = |subject: &str| json!([{"subject": subject, "ca": authority.pem}]);
    let binding = bound(&world, json!([
        {"name": "lead", "identities": certified(LEAD), "roles": grant(LOGGED_AT)},
        {"name": "head", "identities": certified("head@loans.example"), "roles": grant(LOGGED_AT)},
        {"name": "officer", "publicKeys": [pem(&world.officer)], "roles": grant(LOGGED_AT)},
    ]))
    .unwrap();
    let with = |bundle: &Bundle| decided(verify(bundle, &binding, &world.root()));
    assert_eq!(with(&good).unwrap().0, "lead");
    assert_eq!(with(&both), Err("AMBIGUOUS_SIGNER"));
    assert_eq!(with(&foreign), Err("CERTIFICATE_INVALID"));
    assert_eq!(with(&nobody), Err("UNKNOWN_SIGNER"));
    // The officer's own key, certified as somebody else's: one person would pass for two.
    assert_eq!(with(&two_ways), Err("AMBIGUOUS_SIGNER"));

    let mut altered = good.to_value();
    altered["dsseEnvelope"]["payload"] = "e30=".into();
    assert_eq!(with(&Bundle::from_value(altered).unwrap()), Err("SIGNATURE_INVALID"));
    assert_eq!(with(&good.with_log_entries(vec![])), Err("NOT_LOGGED"));
}

#[test]
fn a_certificate_does_not_bring_a_lost_key_back() {
    let mut world = World::new();
    let authority = Authority::new();
    let officer = KeyFile::from_pem(&world.officer.unencrypted_pem().unwrap(), None).unwrap();
    let bundle = authority.approval_with(&mut world, &officer, &[LEAD]);
    let id = officer.public_key().id();
    let ends = |ended: Value| {
        let binding = bound(
            &world,
            json!([{
                "name": "officer", "publicKeys": [pem(&officer)], "ended": ended,
                "identities": [
                    {"subject": LEAD, "ca": authority.pem},
                    {"subject": LEAD, "issuer": ISSUER},
                ],
                "roles": grant(LOGGED_AT),
            }]),
        )
        .unwrap();
        let root = world.root().with_certificates(Arc::new(Vouching(Ok((LEAD, ISSUER)))));
        let identities = binding.identities().map(|(_, identity)| identity.id()).collect();
        (decided(verify(&bundle, &binding, &root)), identities)
    };
    let (fine, identities): (_, Vec<String>) = ends(json!([]));
    assert!(fine.is_ok(), "{fine:?}");
    let end = |id: &str, reason: &str| json!({"keyId": id, "countsBefore": time(LOGGED_AT), "reason": reason});
    assert_eq!(ends(json!([end(&id, "LOST")])).0, Err("KEY_LOST"));
    assert_eq!(ends(json!([end(&id, "REPLACED")])).0, Err("KEY_REPLACED"));
    for identity in &identities {
        assert_eq!(ends(json!([end(identity, "LOST")])).0, Err("KEY_LOST"));
        let both = json!([end(&id, "REPLACED"), end(identity, "LOST")]);
        assert_eq!(ends(both).0, Err("KEY_LOST"));
    }
}

#[test]
fn an_authority_of_logins_is_no_plain_one() {
    let mut world = World::new();
    let authority = Authority::new();
    let certified = json!([{"subject": LEAD, "ca": authority.pem}]);
    let binding = bound(
        &world,
        json!([{"name": "lead", "identities": certified, "roles": grant(LOGGED_AT)}]),
    )
    .unwrap();
    for (last, content) in [(1, b"https://id.example".to_vec()), (8, b"\x0c\x01x".to_vec())] {
        let mut params = params(&[LEAD]);
        let oid = [1, 3, 6, 1, 4, 1, 57264, 1, last];
        params.custom_extensions = vec![rcgen::CustomExtension::from_oid_content(&oid, content)];
        let key = KeyFile::generate(Curve::P256).unwrap();
        let bundle = authority.approval_as(&mut world, &key, params);
        assert_eq!(decided(verify(&bundle, &binding, &world.root())), Err("CERTIFICATE_INVALID"));
    }
}

#[test]
fn a_no_by_a_lost_key_is_kept_apart() {
    let mut world = World::new();
    let id = world.officer.public_key().id();
    let mut of = |decision: &str| {
        let mut statement = approval_statement();
        statement.predicate["decision"] = json!(decision);
        let bundle = sign(statement.to_payload(), &world.officer, "").unwrap();
        let key = world.officer.public_key().clone();
        world.log(bundle, &key, LOGGED_AT)
    };
    let (yes, no) = (of("APPROVED"), of("REJECTED"));
    let ended = json!([{"keyId": id, "countsBefore": time(LOGGED_AT), "reason": "LOST"}]);
    let with = |ended: Value| {
        bound(
            &world,
            json!([{
                "name": "officer", "publicKeys": [pem(&world.officer)], "ended": ended,
                "roles": grant(LOGGED_AT),
            }]),
        )
        .unwrap()
    };
    let (lost, held) = (with(ended), with(json!([])));
    assert_eq!(decided(verify(&no, &lost, &world.root())), Err("KEY_LOST"));
    let kept = verify_no(&no, &lost, &world.root()).unwrap();
    assert_eq!(kept.signer().roles(), ["compliance"]);
    assert!(verify_no(&yes, &lost, &world.root()).is_none());
    assert!(verify_no(&no, &held, &world.root()).is_none());
    assert!(verify_no(&no.with_log_entries(vec![]), &lost, &world.root()).is_none());
}

#[test]
fn identities_that_look_the_same_are_two() {
    let world = World::new();
    let with = |subject: &str, issuer: &str| {
        let identities = json!([{"subject": subject, "issuer": issuer}]);
        let principals = json!([{"name": "a", "identities": identities, "roles": []}]);
        bound(&world, principals).unwrap().table().clone()
    };
    let (one, two) = (with("a by b", "c"), with("a", "b by c"));
    assert_eq!(two.changes_since(Some(&one)).len(), 2);
}
