//! An issuer of tokens with one key of each kind.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use der::asn1::UintRef;
use der::{Decode as _, Sequence};
use serde_json::{Value, json};

use sealwright_authority::{IssuerConfig, IssuerKind, Jwks, VerifiedIdentity, verify_token};

use crate::instance::now;

pub(crate) const ISSUER: &str = "https://id.example.com/realm";
pub(crate) const AUDIENCE: &str = "sigstore";

pub(crate) struct Issuer {
    rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
}

#[derive(Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    exponent: UintRef<'a>,
}

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Issuer {
    pub(crate) fn new() -> Self {
        Self {
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
            p256: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            p384: EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap(),
            ed25519: Ed25519KeyPair::generate().unwrap(),
        }
    }

    /// PKCS #1.
    pub(crate) fn rsa_public_key(&self) -> Vec<u8> {
        self.rsa.public_key().as_ref().to_vec()
    }

    pub(crate) fn jwks(&self) -> Value {
        let rsa = self.rsa_public_key();
        let rsa = RsaPublicKey::from_der(&rsa).unwrap();
        let (n, e) = (encode(rsa.modulus.as_bytes()), encode(rsa.exponent.as_bytes()));
        let ec = |kid: &str, crv: &str, point: &[u8]| {
            let (x, y) = point[1..].split_at((point.len() - 1) / 2);
            json!({"kty": "EC", "crv": crv, "kid": kid, "x": encode(x), "y": encode(y)})
        };
        let ed25519 = encode(self.ed25519.public_key());
        json!({"keys": [
            {"kty": "RSA", "kid": "rsa", "use": "sig", "n": n, "e": e},
            ec("p256", "P-256", self.p256.public_key().as_ref()),
            ec("p384", "P-384", self.p384.public_key().as_ref()),
            {"kty": "OKP", "crv": "Ed25519", "kid": "ed25519", "x": ed25519},
            {"kty": "oct", "kid": "secret", "k": encode("secret")},
        ]})
    }

    pub(crate) fn keys(&self) -> Jwks {
        Jwks::parse(self.jwks().to_string().as_bytes()).unwrap()
    }

    /// A token by the key that `kid` names.
    pub(crate) fn sign(&self, header: &Value, claims: &str) -> String {
        let message = format!("{}.{}", encode(header.to_string()), encode(claims));
        let signature = self.signature(header, message.as_bytes());
        format!("{message}.{}", encode(signature))
    }

    fn signature(&self, header: &Value, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let rsa = |padding| {
            let mut signature = vec![0; self.rsa.public_modulus_len()];
            self.rsa.sign(padding, &random, message, &mut signature).unwrap();
            signature
        };
        match header["alg"].as_str() {
            Some("RS256") => rsa(&RSA_PKCS1_SHA256),
            Some("RS384") => rsa(&RSA_PKCS1_SHA384),
            Some("RS512") => rsa(&RSA_PKCS1_SHA512),
            Some("ES384") => self.p384.sign(&random, message).unwrap().as_ref().to_vec(),
            Some("EdDSA") => self.ed25519.sign(message).as_ref().to_vec(),
            _ => self.p256.sign(&random, message).unwrap().as_ref().to_vec(),
        }
    }

    /// A good token of an e-mail issuer, with some claims changed; `null` takes one away.
    pub(crate) fn token(&self, change: &Value) -> String {
        self.sign(&json!({"alg": "ES256", "kid": "p256"}), &claims(change).to_string())
    }

    pub(crate) fn identity(&self, kind: IssuerKind, change: &Value) -> VerifiedIdentity {
        let config = IssuerConfig::new(ISSUER, AUDIENCE, kind).unwrap();
        verify_token(&self.token(change), &config, &self.keys(), now(), 60).unwrap()
    }
}

pub(crate) fn claims(change: &Value) -> Value {
    let mut claims = json!({
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "5b2c",
        "email": "ada@example.com",
        "email_verified": true,
        "iat": now().unix(),
        "exp": now().unix() + 300,
    });
    for (name, value) in change.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}
