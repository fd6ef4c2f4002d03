//! Signed by enough owners, or not at all.

use super::*;

/// Three owners of whom two must sign, and one statement.
struct Trio {
    world: World,
    keys: [KeyFile; 3],
}

impl Trio {
    fn new() -> Self {
        let key = || KeyFile::generate(Curve::P256).unwrap();
        Self { world: World::new(), keys: [key(), key(), key()] }
    }

    fn owners(&self, required: usize) -> Owners {
        let keys = self.keys.iter().map(|key| key.public_key().clone()).collect();
        Owners::new(keys, required).unwrap()
    }

    fn signed(&self, owner: usize) -> Bundle {
        sign(approval_statement().to_payload(), &self.keys[owner], "").unwrap()
    }

    fn logged(&mut self, owner: usize, time: u64) -> Bundle {
        let (bundle, key) = (self.signed(owner), self.keys[owner].public_key().clone());
        self.world.log(bundle, &key, time)
    }
}

#[test]
fn enough_different_owners_over_the_same_bytes() {
    let trio = Trio::new();
    let [one, two, three] = [0, 1, 2].map(|owner| trio.signed(owner));
    let owners = trio.owners(2);
    let both = owners.verify(&[two.clone(), one.clone()], None).unwrap();
    assert_eq!(both.signers(), [trio.keys[1].public_key().id(), trio.keys[0].public_key().id()]);
    assert_eq!(both.statement(), &approval_statement());
    assert_eq!((both.digest(), both.time()), (one.envelope().digest(), None));
    assert!(owners.verify(&[one.clone(), two.clone(), three], None).is_ok());
    assert!(trio.owners(1).verify(std::slice::from_ref(&one), None).is_ok());

    let too_few = |found, required| Err(OwnersError::TooFew { found, required });
    let error =
        |bundles: &[Bundle], required| trio.owners(required).verify(bundles, None).map(drop);
    assert_eq!(error(&[], 1), too_few(0, 1));
    assert_eq!(error(std::slice::from_ref(&one), 2), too_few(1, 2));
    assert_eq!(error(&[one.clone(), two], 3), too_few(2, 3));

    // One owner stays one owner: signing twice, with and without a hint, or as the twin.
    let key_id = trio.keys[0].public_key().id();
    let twice = Err(OwnersError::Twice { number: 2, key_id });
    let mut envelope = one.envelope().clone();
    envelope.signature = twin(&envelope.signature);
    let altered = Bundle::new(envelope, one.material().clone());
    for again in [trio.signed(0), altered, one.clone().with_key_hint(String::new())] {
        assert_eq!(error(&[one.clone(), again], 2), twice);
    }
}

#[test]
fn one_wrong_signature_spoils_all() {
    let trio = Trio::new();
    let (one, two) = (trio.signed(0), trio.signed(1));
    let owners = trio.owners(2);
    let stranger = sign(approval_statement().to_payload(), &trio.world.officer, "").unwrap();
    let nameless = stranger.clone().with_key_hint(String::new());
    for bad in [stranger.clone(), nameless] {
        let error = owners.verify(&[one.clone(), two.clone(), bad], None).unwrap_err();
        assert!(matches!(error, OwnersError::NotOwner { number: 3, .. }), "{error}");
    }
    let claimed = stranger.with_key_hint(trio.keys[2].public_key().id());
    let error = owners.verify(&[one.clone(), two.clone(), claimed], None).unwrap_err();
    let source = VerifyError::Signature;
    assert_eq!(error, OwnersError::Signature { number: 3, source });

    let mut other = approval_statement();
    other.predicate["meaning"] = "another".into();
    let other = sign(other.to_payload(), &trio.keys[1], "").unwrap();
    let spelt = String::from_utf8(approval_statement().to_payload()).unwrap() + "\n";
    let spelt = sign(spelt.into_bytes(), &trio.keys[1], "").unwrap();
    for bad in [other, spelt] {
        let error = owners.verify(&[one.clone(), bad], None).unwrap_err();
        assert_eq!(error, OwnersError::OtherStatement { number: 2 });
    }
    let chain = VerificationMaterial::Certificates(vec![vec![1]]);
    let certified = Bundle::new(two.envelope().clone(), chain);
    let error = owners.verify(&[one, certified], None).unwrap_err();
    let source = VerifyError::NotKeySigned;
    assert_eq!(error, OwnersError::Signature { number: 2, source });
}

#[test]
fn with_a_trusted_root_every_signature_is_logged() {
    let mut trio = Trio::new();
    let (first, second) = (trio.logged(0, LOGGED_AT + 60), trio.logged(1, LOGGED_AT));
    let (root, owners) = (trio.world.root(), trio.owners(2));
    let both = owners.verify(&[first.clone(), second], Some(&root)).unwrap();
    assert_eq!(both.time().map(Timestamp::unix), Some(LOGGED_AT + 60));
    assert_eq!(both.logged().len(), 2);
    let error = owners.verify(&[first, trio.signed(1)], Some(&root)).unwrap_err();
    let source = VerifyError::NotLogged;
    assert_eq!(error, OwnersError::Signature { number: 2, source });
}

#[test]
fn owners_that_make_no_sense() {
    let trio = Trio::new();
    let keys: Vec<_> = trio.keys.iter().map(|key| key.public_key().clone()).collect();
    assert_eq!(Owners::new(vec![], 1), Err(OwnersError::Count { found: 0 }));
    for required in [0, 4] {
        let expected = Err(OwnersError::Required { required, owners: 3 });
        assert_eq!(Owners::new(keys.clone(), required), expected);
    }
    let twice = Owners::new([keys.clone(), keys.clone()].concat(), 2);
    assert_eq!(twice, Err(OwnersError::SharedKey { key_id: keys[0].id() }));

    let text: String = keys.iter().map(PublicKey::pem).collect();
    assert_eq!(PublicKey::from_pem_all(&text).unwrap(), keys);
    assert_eq!(PublicKey::from_pem_all(&keys[0].pem()).unwrap(), keys[..1]);
    assert!(PublicKey::from_pem_all("").is_err());
    assert!(PublicKey::from_pem_all(&text[..text.len() - 40]).is_err());
}
