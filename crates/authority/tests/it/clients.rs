//! Requests as Sigstore's clients make them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sealwright_attest::{Curve, KeyFile, Signer as _};
use sealwright_authority::{IssuerKind, ProofError, ProvenKey, SubjectKey, TimestampRequest};
use serde_json::json;

use crate::instance::{Instance, now};
use crate::tokens::Issuer;

/// sigstore-python 4.5: `TimestampRequestBuilder().data(b"data").nonce(nonce=True)` of
/// rfc3161-client 1.0.9. It hashes with SHA-512.
const PYTHON_TIMESTAMP_REQUEST: &str = "MGMCAQEwUTANBglghkgBZQMEAgMFAARAd8fOml2GuzhtRDu5Y5D6oSBj\
    MVhpnIhEwwsTqwv5J2C35EFq6jl9uRtKwOXdVrjvfksGYWKrH9wIgxnObe/IdgIIJCneCoXhlZUBAf8=";

/// sigstore-python 4.5: no subject, and an extension.
const PYTHON_CERTIFICATE_REQUEST: &str = "-----BEGIN CERTIFICATE REQUEST-----
MIHaMIGBAgEAMAAwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATxIBAVQrPe3U8S
4qKGnKp+mDNQQ4hHN7Ls9WPV08XKuZk+iQQWl3I9gnJnXc0lGE0Lu1AxdWgcuHbP
661Tb+mAoB8wHQYJKoZIhvcNAQkOMRAwDjAMBgNVHRMBAf8EAjAAMAoGCCqGSM49
BAMCA0gAMEUCIFt7QJBQTQzsl96f3OGo45t7fQHNSnSbjliG7M1Zguj+AiEA9dFq
CjWHammQ2KqoblcFONSfeL8J5bqKnhRQlTPzLkE=
-----END CERTIFICATE REQUEST-----
";

/// Before 4.5: the identity as an e-mail address, an IA5String that need not be ASCII.
const OLDER_PYTHON_CERTIFICATE_REQUEST: &str = "-----BEGIN CERTIFICATE REQUEST-----
MIIBCTCBrwIBADAuMSwwKgYJKoZIhvcNAQkBFh1yZXBvOm8vcjplbnZpcm9ubWVu
dDpwcsO8ZnVuZzBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABPEgEBVCs97dTxLi
ooacqn6YM1BDiEc3suz1Y9XTxcq5mT6JBBaXcj2CcmddzSUYTQu7UDF1aBy4ds/r
rVNv6YCgHzAdBgkqhkiG9w0BCQ4xEDAOMAwGA1UdEwEB/wQCMAAwCgYIKoZIzj0E
AwIDSQAwRgIhAN9vOjoUKCDj0yV0MtKLs1W8VXuslbiPCQeYKk67WRPWAiEA4KtA
ScK67+n5TxkeIAQ/psxt8dRVlmmO3+3BIYVU59g=
-----END CERTIFICATE REQUEST-----
";

#[test]
fn sigstore_python() {
    let request = STANDARD.decode(PYTHON_TIMESTAMP_REQUEST).unwrap();
    let request = TimestampRequest::from_der(&request).unwrap();
    assert!(request.wants_certificate());
    assert_eq!(request.digest(), Curve::P521.hash(b"data"));
    Instance::new(Curve::P384).tsa.respond(&request, now()).unwrap();

    let newer = ProvenKey::by_request(PYTHON_CERTIFICATE_REQUEST).unwrap();
    let older = ProvenKey::by_request(OLDER_PYTHON_CERTIFICATE_REQUEST).unwrap();
    assert_eq!(newer.key(), older.key());
}

/// `@sigstore/sign` asks for stamps with two members, and signs the e-mail address of whatever
/// token has one.
#[test]
fn sigstore_js() {
    let digest = STANDARD.encode(Curve::P256.hash(b"data"));
    let request = json!({"artifactHash": digest, "hashAlgorithm": "sha256"}).to_string();
    let request = TimestampRequest::from_json(request.as_bytes()).unwrap();
    assert!(!request.wants_certificate());

    let key = KeyFile::generate(Curve::P256).unwrap();
    let subject_key = SubjectKey::from_pem(&key.public_key().pem()).unwrap();
    let kind = IssuerKind::UserName { subject_domain: "example.com".into() };
    let identity = Issuer::new().identity(kind, &json!({"sub": "ada"}));
    let prove = |challenge: &str| {
        let signature = key.sign(challenge.as_bytes()).unwrap();
        ProvenKey::by_challenge(subject_key.clone(), &identity, &signature)
    };
    prove("ada").unwrap();
    prove("ada@example.com").unwrap();
    assert_eq!(prove("ada!example.com"), Err(ProofError::Signature));
}
