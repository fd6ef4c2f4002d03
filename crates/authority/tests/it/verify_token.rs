//! Tokens that are taken, and every way in which one must not be.

use std::collections::BTreeMap;

use aws_lc_rs::hmac;
use proptest::prelude::*;
use sealwright_attest::Timestamp;
use sealwright_authority::{
    Claim, IssuerConfig, IssuerConfigError, IssuerKind, Jwks, Subject, TokenError,
    VerifiedIdentity, unverified_issuer, unverified_key_id, verify_token,
};
use serde_json::json;

use crate::instance::now;
use crate::tokens::{AUDIENCE, ISSUER, Issuer, claims, encode};

fn verify(token: &str, issuer: &Issuer) -> Result<VerifiedIdentity, TokenError> {
    verify_at(token, issuer, now())
}

fn verify_at(token: &str, issuer: &Issuer, now: Timestamp) -> Result<VerifiedIdentity, TokenError> {
    let config = IssuerConfig::new(ISSUER, AUDIENCE, IssuerKind::email()).unwrap();
    verify_token(token, &config, &issuer.keys(), now, 60)
}

#[test]
fn every_algorithm_of_the_list_is_taken() {
    let issuer = Issuer::new();
    for (alg, kid) in [
        ("RS256", "rsa"),
        ("RS384", "rsa"),
        ("RS512", "rsa"),
        ("ES256", "p256"),
        ("ES384", "p384"),
        ("EdDSA", "ed25519"),
    ] {
        let claims = claims(&json!({})).to_string();
        let token = issuer.sign(&json!({"alg": alg, "kid": kid, "typ": "JWT"}), &claims);
        let identity = verify(&token, &issuer).unwrap();
        assert_eq!(identity.subject(), &Subject::Email("ada@example.com".into()));
        assert_eq!((identity.issuer(), identity.challenge()), (ISSUER, "ada@example.com"));
        assert_eq!(identity.claims(), &BTreeMap::from([(Claim::TokenSubject, "5b2c".into())]));
        assert_eq!(unverified_issuer(&token).unwrap(), ISSUER);
        assert_eq!(unverified_key_id(&token).unwrap().as_deref(), Some(kid));
        // By another key than the one that the header names.
        for other in ["rsa", "p256", "p384", "ed25519"].into_iter().filter(|other| *other != kid) {
            let header = json!({"alg": alg, "kid": other});
            assert_eq!(
                verify(&issuer.sign(&header, &claims), &issuer).unwrap_err().code(),
                "unknown_key"
            );
        }
    }
}

#[test]
fn no_signature_and_shared_secrets_are_not_taken() {
    let issuer = Issuer::new();
    let claims = claims(&json!({})).to_string();
    for alg in ["none", "None", "NONE", "", "HS256", "PS256", "ES512", "ES256K", "es256", "RS1"] {
        let token = issuer.sign(&json!({"alg": alg, "kid": "p256"}), &claims);
        let error = verify(&token, &issuer).unwrap_err();
        assert_eq!(error, TokenError::Algorithm { found: alg.into() });
    }
    let bare = format!("{}.{}.", encode(r#"{"alg":"none"}"#), encode(&claims));
    assert_eq!(verify(&bare, &issuer).unwrap_err().code(), "algorithm");
    // The public key as if it were a secret; and the secret that is in the set.
    for (secret, kid) in [(issuer.rsa_public_key(), "rsa"), (b"secret".to_vec(), "secret")] {
        let message = [json!({"alg": "HS256", "kid": kid}).to_string(), claims.clone()];
        let message = message.map(encode).join(".");
        let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), message.as_bytes());
        let token = format!("{message}.{}", encode(mac));
        assert_eq!(verify(&token, &issuer).unwrap_err().code(), "algorithm");
    }
}

#[test]
fn only_keys_of_the_issuer_count() {
    let (issuer, stranger) = (Issuer::new(), Issuer::new());
    let claims = claims(&json!({})).to_string();
    let forged = stranger.sign(&json!({"alg": "ES256", "kid": "p256"}), &claims);
    assert_eq!(verify(&forged, &issuer), Err(TokenError::Signature));
    let jwk = &stranger.jwks()["keys"][1];
    let brought = stranger.sign(&json!({"alg": "ES256", "jwk": jwk, "jku": ISSUER}), &claims);
    assert_eq!(verify(&brought, &issuer), Err(TokenError::UnknownKey { kid: None }));
    let unknown = issuer.sign(&json!({"alg": "ES256", "kid": "p257"}), &claims);
    assert_eq!(verify(&unknown, &issuer), Err(TokenError::UnknownKey { kid: Some("p257".into()) }));
    let number = issuer.sign(&json!({"alg": "ES256", "kid": 1}), &claims);
    assert_eq!(verify(&number, &issuer).unwrap_err().code(), "header");

    // A key is for what it says; a set with one key alone needs no name.
    let config = IssuerConfig::new(ISSUER, AUDIENCE, IssuerKind::email()).unwrap();
    let unnamed = issuer.sign(&json!({"alg": "ES256"}), &claims);
    for (change, code) in [
        (json!({}), None),
        (json!({"use": "sig", "alg": "ES256", "key_ops": ["verify"]}), None),
        (json!({"use": "enc"}), Some("unknown_key")),
        (json!({"alg": "ES384"}), Some("unknown_key")),
        (json!({"key_ops": ["deriveKey"]}), Some("unknown_key")),
        (json!({"crv": "P-384"}), Some("unknown_key")),
        (json!({"x": encode([1; 32])}), Some("unknown_key")),
    ] {
        let mut key = issuer.jwks()["keys"][1].clone();
        for (name, value) in change.as_object().unwrap() {
            key[name] = value.clone();
        }
        let jwks = Jwks::parse(json!({"keys": [key]}).to_string().as_bytes()).unwrap();
        let result = verify_token(&unnamed, &config, &jwks, now(), 60);
        assert_eq!(result.err().map(|error| error.code()), code, "{change}");
    }
}

#[test]
fn headers_that_demand_more_are_refused() {
    let issuer = Issuer::new();
    for (name, value) in [
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("typ", json!("at+jwt")),
        ("typ", json!("logout+jwt")),
        ("typ", json!(["JWT"])),
    ] {
        let mut header = json!({"alg": "ES256", "kid": "p256"});
        header[name] = value;
        let token = issuer.sign(&header, &claims(&json!({})).to_string());
        assert_eq!(verify(&token, &issuer).unwrap_err().code(), "header", "{header}");
    }
}

#[test]
fn claims_that_do_not_fit_are_refused() {
    let issuer = Issuer::new();
    let at = now().unix();
    for (change, code) in [
        (json!({"iss": "https://id.example.com/realm/"}), "issuer"),
        (json!({"iss": "https://id.example.com/realm.evil.example"}), "issuer"),
        (json!({"iss": "https://evil.example/https://id.example.com/realm"}), "issuer"),
        (json!({"iss": "HTTPS://id.example.com/realm"}), "issuer"),
        (json!({"iss": null}), "claim"),
        (json!({"aud": "sigstore.evil.example"}), "audience"),
        (json!({"aud": ["a", "b"]}), "audience"),
        (json!({"aud": [AUDIENCE, 1]}), "audience"),
        (json!({"aud": {AUDIENCE: true}}), "audience"),
        (json!({"aud": null}), "audience"),
        (json!({"exp": at - 60}), "expired"),
        (json!({"exp": null}), "claim"),
        (json!({"exp": (at + 300).to_string()}), "claim"),
        (json!({"exp": -1}), "claim"),
        (json!({"exp": 1e300}), "claim"),
        (json!({"nbf": at + 61}), "not_yet_valid"),
        (json!({"nbf": true}), "claim"),
        (json!({"iat": at + 61}), "not_yet_valid"),
        (json!({"iat": null}), "claim"),
        (json!({"iat": at - 86_461}), "too_old"),
        (json!({"sub": null}), "claim"),
        (json!({"sub": ""}), "claim"),
        (json!({"sub": 7}), "claim"),
        (json!({"sub": "a\u{0}b"}), "claim"),
        (json!({"email_verified": false}), "claim"),
        (json!({"email_verified": "false"}), "claim"),
        (json!({"email_verified": 1}), "claim"),
        (json!({"email_verified": null}), "claim"),
        (json!({"email": null}), "claim"),
        (json!({"email": "ada"}), "claim"),
        (json!({"email": "ada@evil.example@example.com"}), "claim"),
        (json!({"email": "Ada <ada@example.com>"}), "claim"),
        (json!({"email": "ada@example.com\n"}), "claim"),
        (json!({"email": "ad\u{0430}@example.com"}), "claim"),
        (json!({"pad": "x".repeat(16 << 10)}), "too_large"),
    ] {
        let error = verify(&issuer.token(&change), &issuer).unwrap_err();
        assert_eq!(error.code(), code, "{change}: {error}");
    }
    for change in [
        json!({"aud": ["a", AUDIENCE]}),
        json!({"exp": at - 59}),
        json!({"exp": at as f64 + 0.5}),
        json!({"nbf": at + 60}),
        json!({"iat": at + 60}),
        json!({"iat": at - 86_460}),
        json!({"email_verified": "true"}),
    ] {
        assert!(verify(&issuer.token(&change), &issuer).is_ok(), "{change}");
    }
}

#[test]
fn a_claim_twice_is_none() {
    let issuer = Issuer::new();
    let claims = claims(&json!({})).to_string();
    let twice = claims.replacen('{', r#"{"email":"eve@example.com","#, 1);
    let token = issuer.sign(&json!({"alg": "ES256", "kid": "p256"}), &twice);
    assert_eq!(verify(&token, &issuer).unwrap_err().code(), "malformed");
}

#[test]
fn a_token_has_one_spelling() {
    let issuer = Issuer::new();
    let token = issuer.token(&json!({}));
    let parts: Vec<_> = token.split('.').collect();
    for bad in [
        format!("{token}="),
        format!("{token}."),
        format!(".{token}"),
        format!(" {token}"),
        format!("{token}\n"),
        parts[..2].join("."),
        parts.concat(),
        format!("{}.{}.{}", parts[0], parts[1], parts[2].replacen(['-', '_', 'A'], "+", 1)),
        format!("{}.{}.{}", encode("[]"), parts[1], parts[2]),
        String::new(),
    ] {
        assert_eq!(verify(&bad, &issuer).unwrap_err().code(), "malformed", "{bad}");
    }
}

#[test]
fn time_goes_by() {
    let issuer = Issuer::new();
    let token = issuer.token(&json!({}));
    let at = |seconds: u64| Timestamp::from_unix(now().unix() - 1000 + seconds).unwrap();
    for (time, code) in [
        (at(939), Some("not_yet_valid")),
        (at(940), None),
        (at(1359), None),
        (at(1360), Some("expired")),
    ] {
        let result = verify_at(&token, &issuer, time);
        assert_eq!(result.err().map(|error| error.code()), code, "{time}");
    }
}

#[test]
fn the_age_of_tokens_can_be_limited_further() {
    let issuer = Issuer::new();
    let config =
        IssuerConfig::new(ISSUER, AUDIENCE, IssuerKind::email()).unwrap().with_max_age(600);
    for (age, taken) in [(660, true), (661, false)] {
        let token = issuer.token(&json!({"iat": now().unix() - age}));
        let result = verify_token(&token, &config, &issuer.keys(), now(), 60);
        assert_eq!(result.is_ok(), taken, "{age}");
    }
}

#[test]
fn patterns_of_issuers_are_anchored_and_do_not_cross_dots_and_slashes() {
    let pattern = "https://oidc.eks.*.amazonaws.com/id/*";
    let config = IssuerConfig::new(pattern, AUDIENCE, IssuerKind::Kubernetes).unwrap();
    assert!(config.is_pattern());
    assert!(config.matches("https://oidc.eks.eu-west-1.amazonaws.com/id/B02C93B6A2D30341AD"));
    for other in [
        pattern,
        "https://oidc.eks.eu-west-1.amazonaws.com/id/",
        "https://oidc.eks.eu-west-1.amazonaws.com/id/A/B",
        "https://oidc.eks.eu-west-1.amazonaws.com/id/A\n",
        "https://oidc.eks.a.b.amazonaws.com/id/A",
        "https://oidcXeks.a.amazonaws.com/id/A",
        "https://evil.example/?https://oidc.eks.a.amazonaws.com/id/A",
        "https://oidc.eks.a.amazonaws.com/id/A?x=y",
        "https://oidc.eks.\u{e9}.amazonaws.com/id/A",
    ] {
        assert!(!config.matches(other), "{other}");
    }
}

#[test]
fn configurations_that_trust_too_much_are_refused() {
    let new = |issuer, kind| IssuerConfig::new(issuer, AUDIENCE, kind).map(|_| ());
    for issuer in [
        "http://id.example.com",
        "http://localhost.evil.example",
        "http://localhost:80@evil.example",
        "id.example.com",
        "https://",
        "https:///x",
        "https://id.example.com/a b",
    ] {
        let error = new(issuer, IssuerKind::email()).unwrap_err();
        assert_eq!(error, IssuerConfigError::Url { issuer: issuer.into() });
    }
    new("http://localhost:8080/realm", IssuerKind::email()).unwrap();
    new("http://127.0.0.1", IssuerKind::email()).unwrap();
    let audience = IssuerConfig::new(ISSUER, "", IssuerKind::email()).unwrap_err();
    assert_eq!(audience, IssuerConfigError::Audience);
    let spiffe = |domain: &str| IssuerKind::Spiffe { trust_domain: domain.into() };
    assert_eq!(new("https://*.example.com", spiffe("x")), Err(IssuerConfigError::Pattern));
    let text = String::from;
    for kind in [
        spiffe(""),
        spiffe("Example.org"),
        spiffe("example.org/x"),
        IssuerKind::Uri { subject_domain: text("example.com") },
        IssuerKind::Uri { subject_domain: text("https://example.com/") },
        IssuerKind::Uri { subject_domain: text("https://user@example.com") },
        IssuerKind::UserName { subject_domain: text("https://example.com") },
        IssuerKind::UserName { subject_domain: text("") },
        IssuerKind::GitHub { url: text("https://github.com/") },
        IssuerKind::GitLab { url: text("http://gitlab.com") },
    ] {
        assert!(
            matches!(new(ISSUER, kind.clone()), Err(IssuerConfigError::Domain { .. })),
            "{kind:?}"
        );
    }
}

#[test]
fn federated_issuers_are_named_in_the_certificate() {
    let issuer = Issuer::new();
    let kind = IssuerKind::Email {
        issuer_claim: vec!["federated_claims".into(), "connector_id".into()],
        insecure_skip_email_verified: true,
    };
    let change = json!({
        "federated_claims": {"connector_id": "https://login.example.net"},
        "email_verified": null,
    });
    assert_eq!(issuer.identity(kind.clone(), &change).issuer(), "https://login.example.net");
    let config = IssuerConfig::new(ISSUER, AUDIENCE, kind).unwrap();
    for change in [json!({}), json!({"federated_claims": {"connector_id": ""}})] {
        let error = verify_token(&issuer.token(&change), &config, &issuer.keys(), now(), 60);
        assert_eq!(error.unwrap_err().code(), "claim");
    }
}

/// For each kind: `sub`, other claims, and the name in the certificate, or `None`.
#[test]
fn each_kind_has_its_names() {
    let issuer = Issuer::new();
    let text = String::from;
    let uri = || IssuerKind::Uri { subject_domain: text("https://example.com") };
    let user = || IssuerKind::UserName { subject_domain: text("example.com") };
    let spiffe = || IssuerKind::Spiffe { trust_domain: text("example.org") };
    let account = |namespace: &str, name: &str| {
        let account = json!({"name": name, "uid": "1"});
        json!({"kubernetes.io": {"namespace": namespace, "serviceaccount": account}})
    };
    let none = json!({});
    let is_uri = |uri: &str| Some(Subject::Uri(uri.to_owned()));
    for (kind, sub, change, expected) in [
        (uri(), "https://example.com/users/1", none.clone(), is_uri("https://example.com/users/1")),
        (uri(), "https://example.com", none.clone(), is_uri("https://example.com")),
        (uri(), "https://example.com.evil.example/users/1", none.clone(), None),
        (uri(), "https://example.com@evil.example/", none.clone(), None),
        (uri(), "https://example.com\\@evil.example/", none.clone(), None),
        (uri(), "https://example.com:8443/", none.clone(), None),
        (uri(), "http://example.com/users/1", none.clone(), None),
        (uri(), "https://example.com/users/ 1", none.clone(), None),
        (uri(), "ada@example.com", none.clone(), None),
        (user(), "ada", none.clone(), Some(Subject::UserName(text("ada!example.com")))),
        (user(), "ada!evil.example", none.clone(), None),
        (user(), "ada@example.com", none.clone(), None),
        (spiffe(), "spiffe://example.org/ns/a", none.clone(), is_uri("spiffe://example.org/ns/a")),
        (spiffe(), "spiffe://example.org", none.clone(), None),
        (spiffe(), "spiffe://example.org/", none.clone(), None),
        (spiffe(), "spiffe://example.org/a/../b", none.clone(), None),
        (spiffe(), "spiffe://example.org.evil.example/a", none.clone(), None),
        (spiffe(), "spiffe://evil.example/example.org", none.clone(), None),
        (spiffe(), "spiffe://a@example.org/a", none.clone(), None),
        (
            IssuerKind::Kubernetes,
            "system:serviceaccount:ml:trainer",
            account("ml", "trainer"),
            is_uri("https://kubernetes.io/namespaces/ml/serviceaccounts/trainer"),
        ),
        (IssuerKind::Kubernetes, "system:serviceaccount:ml:trainer", account("ml", "admin"), None),
        (IssuerKind::Kubernetes, "system:serviceaccount:a/b:c", account("a/b", "c"), None),
        (IssuerKind::Kubernetes, "system:serviceaccount:ml:trainer", none.clone(), None),
    ] {
        let config = IssuerConfig::new(ISSUER, AUDIENCE, kind).unwrap();
        let mut change = change;
        change["sub"] = json!(sub);
        let result = verify_token(&issuer.token(&change), &config, &issuer.keys(), now(), 60);
        if let Err(error) = &result {
            assert_eq!(error.code(), "claim", "{sub}");
        }
        if let Ok(identity) = &result {
            assert_eq!(identity.challenge(), sub);
            assert_eq!(config.kind().challenge_claim(), "sub");
        }
        assert_eq!(result.ok().map(|identity| identity.subject().clone()), expected, "{sub}");
    }
}

#[test]
fn key_sets_that_are_none_are_refused() {
    for bad in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#] {
        assert!(Jwks::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    let rsa = json!({"kty": "RSA", "kid": "y", "n": "", "e": ""});
    let strange = json!({"keys": [{"kty": "EC"}, {"kty": "new", "kid": "x"}, 7, rsa]});
    let jwks = Jwks::parse(strange.to_string().as_bytes()).unwrap();
    assert!(!jwks.has("x"));
    // No modulus, no signature.
    let config = IssuerConfig::new(ISSUER, AUDIENCE, IssuerKind::email()).unwrap();
    let header = json!({"alg": "RS256", "kid": "y"});
    let token = Issuer::new().sign(&header, &claims(&json!({})).to_string());
    assert_eq!(verify_token(&token, &config, &jwks, now(), 60), Err(TokenError::Signature));
}

thread_local!(static SOMEBODY: Issuer = Issuer::new());

proptest! {
    #[test]
    fn noise_is_refused(
        token in "[ -~]{0,60}",
        jwks in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        SOMEBODY.with(|issuer| assert!(verify(&token, issuer).is_err()));
        let _ = Jwks::parse(&jwks);
    }

    /// Any one character changed; a token has no slack, not even in the last bits of its base64.
    #[test]
    fn altered_tokens_are_refused(
        index in any::<prop::sample::Index>(),
        to in "[-_A-Za-z0-9.=+/ ]",
    ) {
        SOMEBODY.with(|issuer| {
            let token = issuer.token(&json!({}));
            let mut characters: Vec<char> = token.chars().collect();
            let place = index.index(characters.len());
            characters[place] = to.chars().next().unwrap();
            let altered: String = characters.into_iter().collect();
            assert_eq!(verify(&altered, issuer).is_ok(), altered == token, "{altered}");
        });
    }
}
