//! Time stamps: asked for and checked by OpenSSL, by requests that must be refused, and by noise.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use sealwright_attest::{Curve, KeyFile, Signer as _, Timestamp};
use sealwright_authority::{
    AuthorityError, IssueError, TimestampAuthority, TimestampError, TimestampRequest,
    intermediate_certificate, rejection, root_certificate, timestamp_certificate,
};
use serde_json::json;

use crate::instance::{Instance, name, now, period};
use crate::openssl::OpenSsl;

#[test]
fn openssl_accepts_stamps_of_every_curve_and_hash() {
    for curve in [Curve::P256, Curve::P384, Curve::P521] {
        let instance = Instance::new(curve);
        let openssl = OpenSsl::new();
        openssl.file("data", b"the signature");
        openssl.pem("root.pem", &instance.root);
        openssl.pem("leaf.pem", instance.tsa.chain().next().unwrap());
        for (hash, certificate) in [("-sha256", true), ("-sha384", false), ("-sha512", true)] {
            let mut query = vec!["ts", "-query", "-data", "data", hash, "-out", "query"];
            query.extend(certificate.then_some("-cert"));
            openssl.run(&query);
            let request = TimestampRequest::from_der(&openssl.read("query")).unwrap();
            assert_eq!(request.wants_certificate(), certificate);
            let response = instance.tsa.respond(&request, now()).unwrap();
            openssl.file("response", &response);
            let at = now().unix().to_string();
            let mut verify = vec!["ts", "-verify", "-queryfile", "query", "-in", "response"];
            verify.extend(["-CAfile", "root.pem", "-attime", &at]);
            if !certificate {
                verify.extend(["-untrusted", "leaf.pem"]);
            }
            openssl.run(&verify);
            let text = openssl.run(&["ts", "-reply", "-in", "response", "-text"]);
            assert!(text.contains("Time stamp: Nov  2 12:00:00 2026 GMT"), "{text}");
            assert!(text.contains("Policy OID: 1.3.6.1.4.1.57264.2"), "{text}");
            assert!(text.contains("Accuracy: 0x01 seconds"), "{text}");

            // The answer to another question is none.
            openssl.file("data", b"another signature");
            openssl.run(&query);
            assert!(!openssl.try_run(&verify).status.success());
            openssl.file("data", b"the signature");
        }
    }
}

#[test]
fn the_answer_has_the_leaf_only_if_it_was_asked_for() {
    let instance = Instance::new(Curve::P384);
    let contains =
        |response: &[u8], der: &[u8]| response.windows(der.len()).any(|part| part == der);
    let leaf = instance.tsa.chain().next().unwrap();
    for wanted in [false, true] {
        let request = json(&json!({"certificates": wanted})).unwrap();
        let response = instance.tsa.respond(&request, now()).unwrap();
        assert_eq!(contains(&response, leaf), wanted);
        assert!(!contains(&response, &instance.root));
    }
}

#[test]
fn the_nonce_comes_back_byte_for_byte() {
    let tsa = Instance::new(Curve::P256).tsa;
    for nonce in [
        &[0_u8][..],
        &[0x80],
        &[0x00, 0x80],
        &[0xff],
        &[0x7f; 32],
        &[0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09],
    ] {
        let request =
            TimestampRequest::from_der(&query(&Query { nonce, ..Query::default() })).unwrap();
        let response = tsa.respond(&request, now()).unwrap();
        let integer = [&[2, u8::try_from(nonce.len()).unwrap()], nonce].concat();
        assert!(response.windows(integer.len()).any(|part| part == integer), "{nonce:?}");
    }
    // Two bytes where one will do are not DER; and there is an end.
    for nonce in [&[0x00, 0x01][..], &[0xff, 0x80], &[0x7f; 33], &[]] {
        assert!(TimestampRequest::from_der(&query(&Query { nonce, ..Query::default() })).is_err());
    }
}

#[test]
fn every_stamp_has_a_serial_number_of_its_own() {
    let tsa = Instance::new(Curve::P256).tsa;
    let request = json(&json!({})).unwrap();
    let stamps: Vec<_> = (0..3).map(|_| tsa.respond(&request, now()).unwrap()).collect();
    assert!(stamps[0] != stamps[1] && stamps[1] != stamps[2]);
}

#[test]
fn json_is_the_same_question() {
    let instance = Instance::new(Curve::P384);
    let openssl = OpenSsl::new();
    openssl.pem("root.pem", &instance.root);
    openssl.file("data", b"data");
    let request = json(&json!({"certificates": true, "nonce": u64::MAX, "tsaPolicyOID": ""}));
    openssl.file("response", instance.tsa.respond(&request.unwrap(), now()).unwrap());
    let at = now().unix().to_string();
    let verify = ["ts", "-verify", "-data", "data", "-in", "response", "-CAfile", "root.pem"];
    openssl.run(&[&verify[..], &["-attime", &at]].concat());
    let text = openssl.run(&["ts", "-reply", "-in", "response", "-text"]);
    assert!(text.contains("Nonce: 0xFFFFFFFFFFFFFFFF"), "{text}");
}

#[test]
fn json_that_is_not_the_form_is_refused() {
    let code = |change| json(&change).map(|_| ()).unwrap_err().code();
    assert_eq!(code(json!({"hashAlgorithm": "sha1"})), "weak_hash");
    assert_eq!(code(json!({"hashAlgorithm": "md5"})), "unknown_hash");
    assert_eq!(code(json!({"hashAlgorithm": "sha512"})), "digest_length");
    assert_eq!(code(json!({"artifactHash": "AAAA"})), "digest_length");
    assert_eq!(code(json!({"artifactHash": "AA-_"})), "malformed");
    assert_eq!(code(json!({"tsaPolicyOID": "1"})), "malformed");
    for nonce in [json!(-1), json!(1.5), json!("7"), json!(1e30)] {
        assert_eq!(code(json!({"nonce": nonce})), "malformed");
    }
    assert_eq!(code(json!({"extensions": []})), "malformed");
    assert_eq!(code(json!({"pad": "x".repeat(1024)})), "too_large");
    let twice = br#"{"hashAlgorithm":"sha256","hashAlgorithm":"sha256","artifactHash":""}"#;
    assert_eq!(TimestampRequest::from_json(twice).unwrap_err().code(), "malformed");
}

#[test]
fn der_that_is_not_acceptable_is_refused() {
    let code = |query: Query<'_>| {
        TimestampRequest::from_der(&self::query(&query)).map(|_| ()).unwrap_err().code()
    };
    let default = Query::default;
    assert_eq!(code(Query { version: 2, ..default() }), "malformed");
    assert_eq!(code(Query { hash: "2b0e03021a", digest: 20, ..default() }), "weak_hash");
    assert_eq!(code(Query { hash: "608648016503040204", digest: 28, ..default() }), "unknown_hash");
    assert_eq!(code(Query { digest: 31, ..default() }), "digest_length");
    assert_eq!(code(Query { parameters: "0400", ..default() }), "unknown_hash");
    assert_eq!(code(Query { extensions: "a000", ..default() }), "extensions");
    let one = "a009300706032a03040400";
    assert_eq!(code(Query { extensions: one, ..default() }), "extensions");
    let der = query(&default());
    assert!(TimestampRequest::from_der(&[&der[..], &[0]].concat()).is_err());
    assert_eq!(TimestampRequest::from_der(&vec![0x30; 5000]).unwrap_err().code(), "too_large");
}

#[test]
fn stamps_are_made_under_one_policy() {
    let tsa = Instance::new(Curve::P256).tsa;
    let under =
        |policy| TimestampRequest::from_der(&query(&Query { policy, ..Query::default() })).unwrap();
    let (ours, other) = (under("06092b0601040183bf3002"), under("06032a0304"));
    tsa.respond(&ours, now()).unwrap();
    let error = tsa.respond(&other, now()).unwrap_err();
    assert_eq!(error, TimestampError::Policy { policy: "1.2.3.4".into() });
    let tsa = tsa.with_policy("1.2.3.4").unwrap();
    tsa.respond(&other, now()).unwrap();
    assert_eq!(tsa.respond(&ours, now()).unwrap_err().code(), "policy");
    assert!(tsa.with_policy("sigstore").is_err());
}

#[test]
fn no_stamp_outside_of_the_certificates_validity() {
    let tsa = Instance::new(Curve::P256).tsa;
    let request = json(&json!({})).unwrap();
    for (at, granted) in [
        (period(3).from, true),
        (period(3).until, true),
        (period(3).until.plus_seconds(1), false),
        (Timestamp::from_unix(0).unwrap(), false),
    ] {
        let result = tsa.respond(&request, at);
        assert_eq!(result.is_ok(), granted, "{at}");
        if let Err(error) = result {
            assert_eq!(error, TimestampError::Authority(IssueError::NotValidNow { at }));
            assert!(!error.is_bad_request());
        }
    }
}

#[test]
fn openssl_reads_rejections() {
    let openssl = OpenSsl::new();
    for (error, words) in [
        (TimestampError::WeakHash, "unrecognized or unsupported algorithm identifier"),
        (TimestampError::Extensions, "the requested extension is not supported by the TSA"),
        (TimestampError::Policy { policy: "1.2".into() }, "requested TSA policy is not supported"),
        (
            TimestampError::Malformed { message: "-".into() },
            "the data submitted has the wrong format",
        ),
        (
            TimestampError::Authority(IssueError::Randomness),
            "the request cannot be handled due to system failure",
        ),
    ] {
        openssl.file("response", rejection(&error));
        let text = openssl.run(&["ts", "-reply", "-in", "response", "-text"]);
        assert!(text.contains("Status: Rejected.") && text.contains(words), "{text}");
        assert!(text.contains(&error.to_string()), "{text}");
    }
}

#[test]
fn an_authority_needs_certificates_that_fit() {
    let (root_key, key) =
        (KeyFile::generate(Curve::P256).unwrap(), KeyFile::generate(Curve::P256).unwrap());
    let root = root_certificate(&root_key, &name("root"), period(10)).unwrap();
    let leaf = timestamp_certificate(&root, &root_key, key.public_key(), &name("tsa"), period(3));
    let leaf = leaf.unwrap();
    let other_root = root_certificate(&key, &name("root"), period(10)).unwrap();
    let intermediate =
        intermediate_certificate(&root, &root_key, key.public_key(), &name("ca"), period(3));
    let key = Arc::new(key);
    let new = |chain: &[&Vec<u8>]| {
        let chain: Vec<_> = chain.iter().map(|der| der.to_vec()).collect();
        TimestampAuthority::new(key.clone(), &chain).map(|_| ())
    };
    new(&[&leaf, &root]).unwrap();
    assert!(matches!(new(&[]), Err(AuthorityError::Profile { .. })));
    assert_eq!(new(&[&leaf]), Err(AuthorityError::Path));
    assert!(matches!(new(&[&other_root]), Err(AuthorityError::Profile { .. })));
    assert_eq!(new(&[&root, &leaf]), Err(AuthorityError::OtherKey));
    assert_eq!(new(&[&leaf, &other_root]), Err(AuthorityError::Path));
    assert!(matches!(new(&[&intermediate.unwrap(), &root]), Err(AuthorityError::Profile { .. })));
    assert_eq!(new(&[&leaf[1..].to_vec(), &root]), Err(AuthorityError::Malformed));
}

proptest! {
    #[test]
    fn noise_is_refused_and_never_more(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = TimestampRequest::from_json(&bytes);
        prop_assert!(TimestampRequest::from_der(&bytes).is_err());
    }

    #[test]
    fn altered_requests_are_answered_or_refused(index in 0_usize..90, byte in any::<u8>()) {
        thread_local!(static TSA: TimestampAuthority = Instance::new(Curve::P256).tsa);
        let mut der = query(&Query { nonce: &[1, 2, 3, 4], ..Query::default() });
        if let Some(place) = der.get_mut(index) {
            *place = byte;
        }
        if let Ok(request) = TimestampRequest::from_der(&der) {
            let _ = TSA.with(|tsa| tsa.respond(&request, now()));
        }
    }
}

/// A request over the SHA-256 of `data`, with some members changed.
fn json(change: &serde_json::Value) -> Result<TimestampRequest, TimestampError> {
    let digest = STANDARD.encode(Curve::P256.hash(b"data"));
    let mut request = json!({"artifactHash": digest, "hashAlgorithm": "sha256"});
    for (name, value) in change.as_object().unwrap() {
        request[name] = value.clone();
    }
    TimestampRequest::from_json(request.to_string().as_bytes())
}

/// A `TimeStampReq` put together by hand, in hexadecimal where a part is whole DER.
struct Query<'a> {
    version: u8,
    hash: &'a str,
    parameters: &'a str,
    digest: usize,
    policy: &'a str,
    nonce: &'a [u8],
    extensions: &'a str,
}

impl Default for Query<'_> {
    fn default() -> Self {
        Self {
            version: 1,
            hash: "608648016503040201",
            parameters: "0500",
            digest: 32,
            policy: "",
            nonce: &[1],
            extensions: "",
        }
    }
}

fn query(query: &Query<'_>) -> Vec<u8> {
    let hex = |text| hex::decode(text).unwrap();
    let tagged = |tag: u8, content: Vec<u8>| {
        [vec![tag, u8::try_from(content.len()).unwrap()], content].concat()
    };
    let algorithm = [tagged(6, hex(query.hash)), hex(query.parameters)].concat();
    let imprint = [tagged(0x30, algorithm), tagged(4, vec![7; query.digest])].concat();
    let parts = [
        vec![2, 1, query.version],
        tagged(0x30, imprint),
        hex(query.policy),
        tagged(2, query.nonce.to_vec()),
        hex(query.extensions),
    ];
    tagged(0x30, parts.concat())
}
