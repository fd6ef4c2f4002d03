//! Keys of an issuer of tokens (RFC 7517), and signatures by them (RFC 7515, RFC 7518, RFC 8037).

use aws_lc_rs::signature::{
    self as lc, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

use sealwright_attest::{Curve, PublicKey, parse_strict};

/// Longest key set. Those of the large providers are below 20 KiB.
pub const MAX_JWKS_SIZE: usize = 256 << 10;

/// An algorithm by which a token may be signed. There is no `none`, no shared secret, no SHA-1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenAlgorithm {
    /// RSA PKCS #1 v1.5 with SHA-256.
    Rs256,
    /// RSA PKCS #1 v1.5 with SHA-384.
    Rs384,
    /// RSA PKCS #1 v1.5 with SHA-512.
    Rs512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

impl TokenAlgorithm {
    /// By its name in a token's header.
    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "EdDSA" => Self::EdDsa,
            _ => return None,
        })
    }
}

/// Why bytes are not a key set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    /// Not JSON, too long, or a name twice in one object.
    #[error(transparent)]
    Json(#[from] sealwright_attest::JsonError),
    /// Not an object with a list `keys`.
    #[error("not a JWK set: {message}")]
    Shape {
        /// The parser's message.
        message: String,
    },
}

/// The signing keys of an issuer, as it publishes them at `jwks_uri`.
#[derive(Debug, Clone)]
pub struct Jwks(Vec<Jwk>);

#[derive(Debug, Clone)]
struct Jwk {
    kid: Option<String>,
    /// The only algorithm that the key is for, if it says.
    algorithm: Option<String>,
    key: Key,
}

#[derive(Debug, Clone)]
enum Key {
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
    /// SEC 1 uncompressed point.
    Ec(Curve, Vec<u8>),
    Ed25519(Vec<u8>),
}

#[derive(Deserialize)]
struct WireSet {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct WireKey {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Jwks {
    /// Parses a JWK set (RFC 7517 §5). Keys that are not for signatures, of other kinds, or
    /// malformed are left out, as §5 says: a set with a new kind of key must not lock everybody
    /// out.
    ///
    /// # Errors
    /// [`JwksError`].
    pub fn parse(json: &[u8]) -> Result<Self, JwksError> {
        let value = parse_strict(json, MAX_JWKS_SIZE)?;
        let set = WireSet::deserialize(value)
            .map_err(|error| JwksError::Shape { message: error.to_string() })?;
        Ok(Self(set.keys.into_iter().filter_map(Jwk::read).collect()))
    }

    /// Whether there is a key of that name: if not, the set may be out of date.
    pub fn has(&self, kid: &str) -> bool {
        self.0.iter().any(|key| key.kid.as_deref() == Some(kid))
    }

    /// Whether `signature` is by the key `kid` over `message`; `None` if there is no such key for
    /// the algorithm. Without a name the set must have one key alone.
    pub(super) fn verifies(
        &self,
        kid: Option<&str>,
        algorithm: TokenAlgorithm,
        name: &str,
        message: &[u8],
        signature: &[u8],
    ) -> Option<bool> {
        let named = |key: &&Jwk| match kid {
            Some(kid) => key.kid.as_deref() == Some(kid),
            None => self.0.len() == 1,
        };
        let fits = |key: &&Jwk| key.algorithm.as_deref().is_none_or(|only| only == name);
        let results = self
            .0
            .iter()
            .filter(named)
            .filter(fits)
            .filter_map(|key| key.key.verifies(algorithm, message, signature));
        // Two keys of one name happen while keys are changed.
        results.reduce(|one, other| one || other)
    }
}

impl Jwk {
    fn read(value: Value) -> Option<Self> {
        let wire: WireKey = sealwright_attest::from_value(value).ok()?;
        let for_signatures = wire.usage.as_deref().is_none_or(|usage| usage == "sig")
            && wire.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if !for_signatures {
            return None;
        }
        let key = Key::read(&wire)?;
        Some(Self { kid: wire.kid, algorithm: wire.alg, key })
    }
}

impl Key {
    fn read(wire: &WireKey) -> Option<Self> {
        let bytes =
            |member: &Option<String>| URL_SAFE_NO_PAD.decode(member.as_deref()?.as_bytes()).ok();
        match (wire.kty.as_str(), wire.crv.as_deref()) {
            ("RSA", _) => {
                let (n, e) = (bytes(&wire.n)?, bytes(&wire.e)?);
                Some(Self::Rsa(RsaPublicKeyComponents { n, e }))
            }
            ("EC", Some(crv @ ("P-256" | "P-384"))) => {
                let curve = if crv == "P-256" { Curve::P256 } else { Curve::P384 };
                let (x, y) = (bytes(&wire.x)?, bytes(&wire.y)?);
                let point = [&[4], x.as_slice(), &y].concat();
                (x.len() == y.len() && PublicKey::from_point(curve, &point).is_ok())
                    .then_some(Self::Ec(curve, point))
            }
            ("OKP", Some("Ed25519")) => bytes(&wire.x).filter(|x| x.len() == 32).map(Self::Ed25519),
            _ => None,
        }
    }

    /// `None` if the algorithm is not one of this key.
    fn verifies(
        &self,
        algorithm: TokenAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Option<bool> {
        use TokenAlgorithm::{EdDsa, Es256, Es384, Rs256, Rs384, Rs512};
        let rsa = |components: &RsaPublicKeyComponents<Vec<u8>>, parameters: &RsaParameters| {
            components.verify(parameters, message, signature).is_ok()
        };
        let plain = |algorithm: &'static dyn VerificationAlgorithm, point: &[u8]| {
            UnparsedPublicKey::new(algorithm, point).verify(message, signature).is_ok()
        };
        Some(match (self, algorithm) {
            (Self::Rsa(key), Rs256) => rsa(key, &lc::RSA_PKCS1_2048_8192_SHA256),
            (Self::Rsa(key), Rs384) => rsa(key, &lc::RSA_PKCS1_2048_8192_SHA384),
            (Self::Rsa(key), Rs512) => rsa(key, &lc::RSA_PKCS1_2048_8192_SHA512),
            (Self::Ec(Curve::P256, point), Es256) => plain(&lc::ECDSA_P256_SHA256_FIXED, point),
            (Self::Ec(Curve::P384, point), Es384) => plain(&lc::ECDSA_P384_SHA384_FIXED, point),
            (Self::Ed25519(point), EdDsa) => plain(&lc::ED25519, point),
            _ => return None,
        })
    }
}
