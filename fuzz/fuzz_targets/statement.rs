//! DSSE payloads: in-toto statements, OMS predicates, and the schemas of all others.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sealwright_attest::{OmsPredicate, Statement, oms_statement, predicate};
use sealwright_manifest::Manifest;

fuzz_target!(|data: &[u8]| {
    let Ok(statement) = Statement::parse(data) else { return };
    let again = Statement::parse(&statement.to_payload()).expect("what is written is read");
    assert_eq!(again, statement);
    assert_eq!(again.to_payload(), statement.to_payload());

    let _ = predicate::check(&statement.predicate_type, &statement.predicate);
    for (_, uri) in predicate::known_types() {
        let _ = predicate::check(uri, &statement.predicate);
    }

    let Ok(oms) = OmsPredicate::from_statement(&statement) else { return };
    assert!(oms.file_count() > 0);
    let _ = (oms.hashing(), oms.walk_options());
    let Some(manifest) = oms.manifest() else { return };
    // The signature covers the manifest: it has one digest, compares equal, and another does not.
    assert_eq!(oms.model_digest(), Some(manifest.model_digest()));
    assert_eq!(oms.compare(manifest, None), []);
    let _ = manifest.total_size();
    let mut entries = manifest.entries().to_vec();
    entries[0].sha256 = sealwright_manifest::Sha256::of(b"another");
    if entries[0].sha256 != manifest.entries()[0].sha256 {
        assert_ne!(oms.compare(&Manifest::new(entries).unwrap(), None), []);
    }
    // Written by us, it is read again, and still has the same identity.
    let ours = oms_statement("model", manifest, &[]);
    let ours = OmsPredicate::from_statement(&ours).expect("what is written is read");
    assert_eq!(ours.model_digest(), oms.model_digest());
    assert_eq!(ours.file_count(), oms.file_count());
});
