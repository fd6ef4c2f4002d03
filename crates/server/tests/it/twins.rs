//! Statements with the other form of an ECDSA signature, which anybody can make.

use sealwright_attest::Signer as _;
use sealwright_server::service;

use crate::service::{check_log, client, config, key, note, post_json, serve, submission};
use crate::world::with_twin_signature;

#[test]
fn a_statement_is_logged_once_whatever_the_form_of_its_signature() {
    let dir = tempfile::tempdir().unwrap();
    let service = serve(dir.path());
    let (signer, other) = (key(), key());
    let bundle = note(&signer, "model", "x");
    let twin = submission(&with_twin_signature(&bundle), signer.public_key());
    client(&service).submit(&bundle, signer.public_key()).unwrap();
    let refused = post_json(&service, &twin);
    assert_eq!((refused.status, refused.reason().as_str()), (409, "TWIN"));
    // The same again, another act of signing, and the same by somebody else are what they were.
    assert_eq!(post_json(&service, &submission(&bundle, signer.public_key())).status, 200);
    let again = note(&signer, "model", "x");
    assert_eq!(post_json(&service, &submission(&again, signer.public_key())).status, 201);
    let others = note(&other, "model", "x");
    assert_eq!(post_json(&service, &submission(&others, other.public_key())).status, 201);
    assert_eq!(check_log(&service).size, 3);
    service.stop();

    // It does not come back when it was erased.
    service::erase(&config(dir.path()).data_dir, None, &[0], "wish").unwrap();
    let service = serve(dir.path());
    let refused = post_json(&service, &twin);
    assert_eq!((refused.status, refused.reason().as_str()), (410, "ERASED"));
    assert_eq!(
        client(&service).statements_of_type("https://example.com/note/v1").unwrap().len(),
        2
    );
}
