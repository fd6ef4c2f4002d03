//! Certificates: their profile as OpenSSL reads it, the keys that are certified, and proofs of
//! possession.

use std::sync::Arc;

use proptest::prelude::*;
use sealwright_attest::{Curve, KeyFile, Signer as _, Timestamp};
use sealwright_authority::{
    AuthorityError, AuthorityName, CERTIFICATE_LIFETIME_S, CertificateAuthority, IssueError,
    IssueRequest, IssuerKind, ProofError, ProvenKey, SubjectKey, SubjectKeyError, ValidityPeriod,
    VerifiedIdentity, certificate_pem, certificates_from_pem, intermediate_certificate,
    root_certificate,
};
use serde_json::json;

use crate::builds::{github, github_claims};
use crate::instance::{Instance, name, now, period};
use crate::openssl::OpenSsl;
use crate::tokens::Issuer;

const KEYS: [(&str, &[&str]); 6] = [
    ("p256", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]),
    ("p384", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"]),
    ("p521", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"]),
    ("rsa2048", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]),
    ("rsa3072", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"]),
    ("ed25519", &["-algorithm", "ED25519"]),
];

impl OpenSsl {
    /// A private key in a file of that name.
    fn generate(&self, name: &str, options: &[&str]) {
        self.run(&[&["genpkey", "-out", name], options].concat());
    }

    /// A request by it.
    fn request(&self, key: &str, options: &[&str]) -> String {
        let subject = ["req", "-new", "-key", key, "-subj", "/emailAddress=eve@example.com"];
        self.run(&[&subject[..], options].concat())
    }

    fn public_key(&self, key: &str) -> String {
        self.run(&["pkey", "-in", key, "-pubout"])
    }
}

fn ada(issuer: &Issuer) -> VerifiedIdentity {
    issuer.identity(IssuerKind::email(), &json!({}))
}

fn request<'a>(identity: &'a VerifiedIdentity, key: &'a ProvenKey) -> IssueRequest<'a> {
    IssueRequest { identity, key, now: now(), lifetime_s: CERTIFICATE_LIFETIME_S }
}

#[test]
fn openssl_accepts_certificates_of_every_kind_of_key() {
    let openssl = OpenSsl::new();
    let identity = ada(&Issuer::new());
    for curve in [Curve::P256, Curve::P384] {
        let instance = Instance::new(curve);
        for (name, options) in KEYS {
            openssl.generate(name, options);
            let key = ProvenKey::by_request(&openssl.request(name, &[])).unwrap();
            let issued = instance.ca.issue(&request(&identity, &key)).unwrap();
            let [leaf, ca, root] = &issued.chain_pem()[..] else { panic!("three certificates") };
            openssl.file("leaf.pem", leaf);
            openssl.file("ca.pem", ca);
            openssl.file("root.pem", root);
            let at = now().unix();
            let verify = |at: u64| {
                let at = at.to_string();
                let options = ["-CAfile", "root.pem", "-untrusted", "ca.pem", "-attime", &at];
                let verify = ["verify", "-x509_strict", "-purpose", "any"];
                let output = openssl.try_run(&[&verify[..], &options, &["leaf.pem"]].concat());
                String::from_utf8(output.stderr).unwrap()
            };
            // To OpenSSL the last second of a certificate is outside.
            assert_eq!((verify(at), verify(at + 599)), (String::new(), String::new()));
            assert!(verify(at - 1).contains("certificate is not yet valid"));
            assert!(verify(at + 601).contains("certificate has expired"));
            let key_of_leaf = openssl.run(&["x509", "-in", "leaf.pem", "-noout", "-pubkey"]);
            assert_eq!(key_of_leaf, openssl.public_key(name));
        }
    }
}

#[test]
fn a_certificate_says_what_fulcio_says() {
    let (instance, issuer) = (Instance::new(Curve::P384), Issuer::new());
    let openssl = OpenSsl::new();
    openssl.generate("key", KEYS[0].1);
    let key = ProvenKey::by_request(&openssl.request("key", &[])).unwrap();
    let text = |identity: &VerifiedIdentity| {
        let issued = instance.ca.issue(&request(identity, &key)).unwrap();
        openssl.pem("leaf.pem", &issued.certificate);
        // That it is DER, and to the last byte.
        openssl.run(&["asn1parse", "-in", "leaf.pem"]);
        openssl.run(&["x509", "-in", "leaf.pem", "-noout", "-text", "-nameopt", "RFC2253"])
    };
    let has = |text: &str, lines: &[&str]| {
        for line in lines {
            assert!(text.contains(line), "{line:?} is not in {text}");
        }
    };
    let email = text(&ada(&issuer));
    has(
        &email,
        &[
            "Version: 3 (0x2)",
            "Signature Algorithm: ecdsa-with-SHA384",
            "Issuer: CN=ca,O=Example Ltd.\n",
            "Not Before: Nov  2 12:00:00 2026 GMT",
            "Not After : Nov  2 12:10:00 2026 GMT",
            "Subject: \n",
            "X509v3 Key Usage: critical\n                Digital Signature\n",
            "X509v3 Extended Key Usage: \n                Code Signing\n",
            "X509v3 Subject Key Identifier: \n",
            "X509v3 Authority Key Identifier: \n",
            "X509v3 Subject Alternative Name: critical\n                email:ada@example.com\n",
            "1.3.6.1.4.1.57264.1.1: \n                https://id.example.com/realm\n",
            "1.3.6.1.4.1.57264.1.8: \n                ..https://id.example.com/realm\n",
            "1.3.6.1.4.1.57264.1.24: \n                ..5b2c\n",
            "CT Precertificate SCTs: \n                Signed Certificate Timestamp:",
            "Timestamp : Nov  2 12:00:00.000 2026 GMT",
            "Signature : ecdsa-with-SHA256",
        ],
    );
    assert!(!email.contains("Basic Constraints") && !email.contains("57264.1.9"), "{email}");
    let user = IssuerKind::UserName { subject_domain: "example.com".into() };
    let user = text(&issuer.identity(user, &json!({"sub": "ada"})));
    has(&user, &["othername: 1.3.6.1.4.1.57264.1.7:", "ada!example.com"]);
    let workflow = text(&issuer.identity(github(), &github_claims()));
    has(
        &workflow,
        &[
            "URI:https://github.com/octo-org/octo-automation/.github/workflows/oidc.yml@refs",
            "1.3.6.1.4.1.57264.1.2: \n                push\n",
            "1.3.6.1.4.1.57264.1.6: \n                refs/heads/main\n",
            "1.3.6.1.4.1.57264.1.15: \n                ..74\n",
            "1.3.6.1.4.1.57264.1.20: \n                ..push\n",
        ],
    );
    assert!(!workflow.contains("57264.1.23"), "no environment: {workflow}");
}

#[test]
fn the_authorities_certificates_are_as_specified() {
    let instance = Instance::new(Curve::P384);
    let openssl = OpenSsl::new();
    let text = |der: &[u8]| {
        openssl.pem("certificate.pem", der);
        openssl.run(&["x509", "-in", "certificate.pem", "-noout", "-text"])
    };
    let authority = "X509v3 Key Usage: critical\n                Certificate Sign, CRL Sign\n";
    let root = text(&instance.root);
    assert!(root.contains(authority) && root.contains("critical\n                CA:TRUE\n"));
    assert!(!root.contains("Extended Key Usage"), "{root}");
    let ca = text(instance.ca.chain().next().unwrap());
    assert!(ca.contains(authority) && ca.contains("CA:TRUE, pathlen:0\n"), "{ca}");
    assert!(ca.contains("X509v3 Extended Key Usage: \n                Code Signing\n"), "{ca}");
    let tsa = text(instance.tsa.chain().next().unwrap());
    assert!(
        tsa.contains("X509v3 Key Usage: critical\n                Digital Signature\n"),
        "{tsa}"
    );
    assert!(
        tsa.contains("X509v3 Extended Key Usage: critical\n                Time Stamping\n")
            && !tsa.contains("Basic Constraints"),
        "{tsa}"
    );
    let pem: String = instance.tsa.chain().map(certificate_pem).collect();
    let der: Vec<_> = instance.tsa.chain().map(<[u8]>::to_vec).collect();
    assert_eq!(certificates_from_pem(&pem), Some(der));
    assert_eq!(certificates_from_pem(&pem[1..]), None);
}

#[test]
fn years_from_2050_on_have_four_digits() {
    let key = KeyFile::generate(Curve::P256).unwrap();
    let from = Timestamp::parse("2049-12-31T23:59:59Z").unwrap();
    let until = from.plus_seconds(1);
    let root = root_certificate(&key, &name("root"), ValidityPeriod { from, until }).unwrap();
    let has = |text: &[u8]| root.windows(text.len()).any(|part| part == text);
    assert!(has(b"\x17\x0d491231235959Z\x18\x0f20500101000000Z"));
}

#[test]
fn nothing_is_issued_beyond_the_authority() {
    let instance = Instance::new(Curve::P256);
    let identity = ada(&Issuer::new());
    let openssl = OpenSsl::new();
    openssl.generate("key", KEYS[0].1);
    let key = ProvenKey::by_request(&openssl.request("key", &[])).unwrap();
    let issue = |now, lifetime_s| {
        instance.ca.issue(&IssueRequest { now, lifetime_s, ..request(&identity, &key) }).map(|_| ())
    };
    let end = period(3).until;
    let before_end = Timestamp::from_unix(end.unix() - 600).unwrap();
    assert_eq!(issue(before_end, 600), Ok(()));
    assert_eq!(issue(before_end, 601), Err(IssueError::Validity));
    assert_eq!(
        issue(end.plus_seconds(1), 600),
        Err(IssueError::NotValidNow { at: end.plus_seconds(1) })
    );
    assert_eq!(issue(now(), 0), Err(IssueError::Validity));
    assert_eq!(issue(now(), 86_401), Err(IssueError::Validity));

    let key = KeyFile::generate(Curve::P256).unwrap();
    let make = |name: &str, validity| {
        let name = AuthorityName { organization: "Example".into(), common_name: name.into() };
        root_certificate(&key, &name, validity)
    };
    for bad in ["", "a\nb", &"x".repeat(65)] {
        assert_eq!(make(bad, period(1)), Err(IssueError::Name { text: bad.into() }));
    }
    let backwards = ValidityPeriod { from: period(1).until, until: period(1).from };
    assert_eq!(make("root", backwards), Err(IssueError::Validity));
    let root = make("root", period(1)).unwrap();
    let outliving = intermediate_certificate(&root, &key, key.public_key(), &name("ca"), period(2));
    assert_eq!(outliving, Err(IssueError::Validity));
    let other = KeyFile::generate(Curve::P256).unwrap();
    let stolen = intermediate_certificate(&root, &other, key.public_key(), &name("ca"), period(1));
    assert_eq!(stolen, Err(IssueError::Issuer(AuthorityError::OtherKey)));
}

#[test]
fn an_authority_needs_certificates_and_a_log_key_that_fit() {
    let generate = |curve| Arc::new(KeyFile::generate(curve).unwrap());
    let (root_key, key, log) =
        (generate(Curve::P256), generate(Curve::P384), generate(Curve::P256));
    let root = root_certificate(root_key.as_ref(), &name("root"), period(10)).unwrap();
    let under = |issuer: &[u8], issuer_key: &KeyFile, key: &KeyFile| {
        intermediate_certificate(issuer, issuer_key, key.public_key(), &name("ca"), period(3))
    };
    let ca = under(&root, &root_key, &key).unwrap();
    let new = |key: &Arc<KeyFile>, chain: &[&Vec<u8>], log: &Arc<KeyFile>| {
        let chain: Vec<_> = chain.iter().map(|der| der.to_vec()).collect();
        CertificateAuthority::new(key.clone(), &chain, log.clone()).map(|_| ())
    };
    new(&key, &[&ca, &root], &log).unwrap();
    // A root may issue itself.
    new(&root_key, &[&root], &log).unwrap();
    assert_eq!(new(&key, &[&ca, &root], &key), Err(AuthorityError::LogKey));
    assert_eq!(new(&log, &[&ca, &root], &log), Err(AuthorityError::OtherKey));
    assert_eq!(new(&key, &[&ca], &log), Err(AuthorityError::Path));
    // An intermediate is no root, and has nothing under it but leaves.
    assert!(matches!(under(&ca, &key, &log), Err(IssueError::Issuer(AuthorityError::Path))));
    let tsa = Instance::new(Curve::P256).tsa;
    let chain: Vec<_> = tsa.chain().map(<[u8]>::to_vec).collect();
    assert_eq!(new(&key, &chain.iter().collect::<Vec<_>>(), &log), Err(AuthorityError::OtherKey));
}

#[test]
fn possession_is_proven_by_a_signature_over_a_claim() {
    let openssl = OpenSsl::new();
    let issuer = Issuer::new();
    let (ada, grace) = (
        ada(&issuer),
        issuer.identity(IssuerKind::email(), &json!({"email": "grace@example.com", "sub": "7"})),
    );
    for ((name, options), sign) in KEYS.into_iter().zip([
        &["-rawin", "-digest", "sha256"][..],
        &["-rawin", "-digest", "sha384"],
        &["-rawin", "-digest", "sha512"],
        &["-rawin", "-digest", "sha256"],
        &["-rawin", "-digest", "sha256"],
        &["-rawin"],
    ]) {
        openssl.generate(name, options);
        let key = SubjectKey::from_pem(&openssl.public_key(name)).unwrap();
        let by = |challenge: &str, identity| {
            openssl.file("challenge", challenge);
            let command = ["pkeyutl", "-sign", "-inkey", name, "-in", "challenge", "-out", "proof"];
            openssl.run(&[&command[..], sign].concat());
            ProvenKey::by_challenge(key.clone(), identity, &openssl.read("proof"))
        };
        assert_eq!(by("ada@example.com", &ada).unwrap().key(), &key);
        // The subject of the token does as well.
        assert!(by("5b2c", &ada).is_ok());
        assert_eq!(by("ada@example.com", &grace), Err(ProofError::Signature));
        assert_eq!(by("ada@example.com ", &ada), Err(ProofError::Signature));
    }
}

#[test]
fn requests_must_be_signed_by_their_own_key_with_a_good_hash() {
    let openssl = OpenSsl::new();
    for (name, options) in [KEYS[0], KEYS[3]] {
        openssl.generate(name, options);
        for (hash, accepted) in [
            ("-sha256", true),
            ("-sha384", true),
            ("-sha512", true),
            ("-sha1", false),
            ("-sha224", false),
        ] {
            let result = ProvenKey::by_request(&openssl.request(name, &[hash]));
            assert_eq!(result.is_ok(), accepted, "{name} {hash}");
            if !accepted {
                assert_eq!(result, Err(ProofError::Signature));
            }
        }
    }
    let pss = ["-sigopt", "rsa_padding_mode:pss"];
    assert_eq!(
        ProvenKey::by_request(&openssl.request(KEYS[3].0, &pss)),
        Err(ProofError::Signature)
    );
    let request = openssl.request(KEYS[0].0, &[]);
    assert!(ProvenKey::by_request(&request.replace('\n', "\r\n")).is_ok());
    assert!(
        ProvenKey::by_request(
            &request.replace("BEGIN CERT", "BEGIN NEW CERT").replace("END CERT", "END NEW CERT")
        )
        .is_ok()
    );
    let key = openssl.public_key(KEYS[0].0);
    for bad in ["", "hello", &key, &request.repeat(2), &"x".repeat(20_000)] {
        assert_eq!(ProvenKey::by_request(bad), Err(ProofError::MalformedRequest));
    }
    // The same request with another key's name on it.
    let der = openssl_der(&openssl, &request);
    for index in 0..der.len() {
        let mut altered = der.clone();
        altered[index] ^= 1;
        openssl.file("altered.der", &altered);
        let pem = pem(&altered);
        assert!(ProvenKey::by_request(&pem).is_err(), "byte {index}");
    }
}

fn openssl_der(openssl: &OpenSsl, request: &str) -> Vec<u8> {
    openssl.file("request.pem", request);
    openssl.run(&["req", "-in", "request.pem", "-outform", "DER", "-out", "request.der"]);
    openssl.read("request.der")
}

fn pem(der: &[u8]) -> String {
    certificate_pem(der).replace("CERTIFICATE", "CERTIFICATE REQUEST")
}

#[test]
fn keys_that_are_not_real_are_not_certified() {
    let openssl = OpenSsl::new();
    let spki = |name: &str, options: &[&str]| {
        openssl.generate(name, options);
        openssl.run(&["pkey", "-in", name, "-pubout", "-outform", "DER", "-out", "spki"]);
        openssl.read("spki")
    };
    let of = |der: &[u8]| SubjectKey::from_spki(der).map(|_| ()).unwrap_err();
    let rsa = |bits: &str, exponent: &str| {
        let bits = format!("rsa_keygen_bits:{bits}");
        let exponent = format!("rsa_keygen_pubexp:{exponent}");
        spki("key", &["-algorithm", "RSA", "-pkeyopt", &bits, "-pkeyopt", &exponent])
    };
    assert_eq!(of(&rsa("1024", "65537")), SubjectKeyError::RsaSize { bits: 1024 });
    assert_eq!(of(&rsa("2047", "65537")), SubjectKeyError::RsaSize { bits: 2047 });
    assert_eq!(of(&rsa("2052", "65537")), SubjectKeyError::RsaSize { bits: 2052 });
    assert_eq!(of(&rsa("2048", "3")), SubjectKeyError::RsaExponent);
    // An even modulus: the last byte before the exponent, 02 03 01 00 01.
    let mut even = rsa("2048", "65537");
    let last = even.len() - 6;
    even[last] &= 0xfe;
    assert_eq!(of(&even), SubjectKeyError::Weak);

    let ec = |curve: &str, encoding: &str| {
        let curve = format!("ec_paramgen_curve:{curve}");
        let encoding = format!("ec_param_enc:{encoding}");
        spki("key", &["-algorithm", "EC", "-pkeyopt", &curve, "-pkeyopt", &encoding])
    };
    let good = ec("P-256", "named_curve");
    SubjectKey::from_spki(&good).unwrap();
    assert_eq!(of(&ec("secp256k1", "named_curve")), SubjectKeyError::Unsupported);
    assert_eq!(of(&ec("P-224", "named_curve")), SubjectKeyError::Unsupported);
    assert_eq!(of(&ec("P-256", "explicit")), SubjectKeyError::Unsupported);
    let mut off_curve = good.clone();
    *off_curve.last_mut().unwrap() ^= 1;
    assert_eq!(of(&off_curve), SubjectKeyError::Malformed);
    assert_eq!(of(&[&good[..], &[0]].concat()), SubjectKeyError::Malformed);
    assert_eq!(of(&good[..good.len() - 1]), SubjectKeyError::Malformed);

    let mut ed25519 = spki("key", &["-algorithm", "ED25519"]);
    SubjectKey::from_spki(&ed25519).unwrap();
    let start = ed25519.len() - 32;
    ed25519[start..].fill(0);
    assert_eq!(of(&ed25519), SubjectKeyError::Weak);
    assert_eq!(of(&spki("key", &["-algorithm", "ED448"])), SubjectKeyError::Unsupported);
    assert_eq!(of(&spki("key", &["-algorithm", "X25519"])), SubjectKeyError::Unsupported);
}

proptest! {
    #[test]
    fn noise_is_no_key_and_no_request(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(SubjectKey::from_spki(&bytes).is_err());
        prop_assert!(ProvenKey::by_request(&pem(&bytes)).is_err());
        prop_assert!(SubjectKey::from_pem(&String::from_utf8_lossy(&bytes)).is_err());
    }
}
