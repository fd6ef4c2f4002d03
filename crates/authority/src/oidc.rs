//! ID tokens (OpenID Connect Core §3.1.3.7, RFC 7519): who somebody is, by the word of an issuer.
//!
//! The caller finds the issuer's [`IssuerConfig`] by [`unverified_issuer`], fetches its key set by
//! OpenID Connect Discovery from that issuer's address alone, and has [`verify_token`] check the
//! rest. Nothing in a token's header names a key but `kid`: `jwk`, `jku`, `x5c` and `x5u` are never
//! looked at.

mod issuer;
mod jwks;
mod mapping;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize as _;
use serde_json::Value;

use sealwright_attest::{Timestamp, parse_strict};

use crate::identity::VerifiedIdentity;
pub use issuer::{IssuerConfig, IssuerConfigError, IssuerKind, MAX_TOKEN_AGE_S};
use jwks::TokenAlgorithm;
pub use jwks::{Jwks, JwksError, MAX_JWKS_SIZE};
use mapping::Claims;

/// Longest token. Those of GitHub Actions are below 3 KiB.
pub const MAX_TOKEN_SIZE: usize = 16 << 10;

/// Longest `sub`. OpenID Connect Core §2 says 255; GitHub's can be longer.
const MAX_SUBJECT: usize = 2048;

/// Why a token is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// More than 16 KiB.
    #[error("the token is longer than {limit} bytes")]
    TooLarge {
        /// Bytes allowed.
        limit: usize,
    },
    /// Not three parts of base64url without padding, not JSON objects, or a name twice in one.
    #[error("malformed token: {what}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
    },
    /// An algorithm that is not taken: none at all, a shared secret, an unknown one.
    #[error("the token is signed by {found:?}, which is not accepted")]
    Algorithm {
        /// What the header says.
        found: String,
    },
    /// The header demands something that is not understood, or the token is of another type.
    #[error("the token's header has {what}")]
    Header {
        /// What is wrong.
        what: &'static str,
    },
    /// The issuer has no such key for the algorithm. Its key set may have changed.
    #[error("the issuer has no key {kid:?} for that algorithm")]
    UnknownKey {
        /// What the header says.
        kid: Option<String>,
    },
    /// The signature does not verify.
    #[error("the token's signature is not valid")]
    Signature,
    /// Of another issuer than the configured one.
    #[error("the token is of the issuer {found:?}")]
    Issuer {
        /// `iss`.
        found: String,
    },
    /// Made for somebody else.
    #[error("the token is not for the audience {wanted:?}")]
    Audience {
        /// What it should be for.
        wanted: String,
    },
    /// `exp` is past.
    #[error("the token expired at {at}")]
    Expired {
        /// `exp`.
        at: Timestamp,
    },
    /// `nbf` or `iat` is to come.
    #[error("the token is not valid before {at}")]
    NotYetValid {
        /// The later of the two.
        at: Timestamp,
    },
    /// Issued too long ago.
    #[error("the token was issued at {at}, too long ago")]
    TooOld {
        /// `iat`.
        at: Timestamp,
    },
    /// A claim is missing or does not fit the kind of issuer.
    #[error("the claim {name:?} {problem}")]
    Claim {
        /// Its name.
        name: String,
        /// What is wrong, as a predicate.
        problem: &'static str,
    },
}

impl TokenError {
    /// A stable name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too_large",
            Self::Malformed { .. } => "malformed",
            Self::Algorithm { .. } => "algorithm",
            Self::Header { .. } => "header",
            Self::UnknownKey { .. } => "unknown_key",
            Self::Signature => "signature",
            Self::Issuer { .. } => "issuer",
            Self::Audience { .. } => "audience",
            Self::Expired { .. } => "expired",
            Self::NotYetValid { .. } => "not_yet_valid",
            Self::TooOld { .. } => "too_old",
            Self::Claim { .. } => "claim",
        }
    }
}

/// The `iss` of a token that nobody has checked: good to choose the configuration and the keys to
/// check it by, and for nothing else.
///
/// # Errors
/// [`TokenError::TooLarge`], [`TokenError::Malformed`], [`TokenError::Claim`].
pub fn unverified_issuer(token: &str) -> Result<String, TokenError> {
    mapping::text(&Parts::parse(token)?.claims, "iss")
}

/// The `kid` of such a token: to know whether the key set at hand is out of date.
///
/// # Errors
/// As [`unverified_issuer`].
pub fn unverified_key_id(token: &str) -> Result<Option<String>, TokenError> {
    Ok(Parts::parse(token)?.key_id()?.map(str::to_owned))
}

/// Verifies an ID token: signature by a key of the issuer, issuer, audience, times, and that its
/// claims make an identity of the issuer's kind.
///
/// Clocks may differ by `skew_s` seconds either way. The token is taken only until
/// [`MAX_TOKEN_AGE_S`] (or what is configured) after its `iat`, whatever its `exp`.
///
/// # Errors
/// [`TokenError`].
pub fn verify_token(
    token: &str,
    config: &IssuerConfig,
    jwks: &Jwks,
    now: Timestamp,
    skew_s: u64,
) -> Result<VerifiedIdentity, TokenError> {
    let VerifiedClaims(claims) = verify_claims(token, config, jwks, now, skew_s)?;
    let (iss, sub) = (mapping::text(&claims, "iss")?, mapping::text(&claims, "sub")?);
    mapping::identity(config.kind(), &claims, &iss, &sub)
}

/// What a verified token says, for those who compare it with what they expect.
#[derive(Debug, Clone)]
pub struct VerifiedClaims(Claims);

impl VerifiedClaims {
    /// A claim that is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// Whether a claim is there and is true.
    pub fn is_true(&self, name: &str) -> bool {
        self.0.get(name) == Some(&Value::Bool(true))
    }
}

/// Verifies an ID token as [`verify_token`] does, whatever the kind of its issuer; gives what it says.
///
/// # Errors
/// [`TokenError`].
pub fn verify_claims(
    token: &str,
    config: &IssuerConfig,
    jwks: &Jwks,
    now: Timestamp,
    skew_s: u64,
) -> Result<VerifiedClaims, TokenError> {
    let parts = Parts::parse(token)?;
    parts.check_signature(jwks)?;
    let claims = parts.claims;
    let iss = mapping::text(&claims, "iss")?;
    if !config.matches(&iss) {
        return Err(TokenError::Issuer { found: iss });
    }
    check_audience(&claims, config.audience())?;
    check_times(&claims, config.max_age_s, now, skew_s)?;
    let sub = match claims.get("sub") {
        Some(Value::String(_)) => mapping::text(&claims, "sub")?,
        _ => return Err(claim("sub", "is missing")),
    };
    if sub.is_empty() || sub.len() > MAX_SUBJECT {
        return Err(claim("sub", "is empty or too long"));
    }
    Ok(VerifiedClaims(claims))
}

fn claim(name: &str, problem: &'static str) -> TokenError {
    TokenError::Claim { name: name.to_owned(), problem }
}

/// A compact JWS (RFC 7515 §7.1), read and not verified.
struct Parts<'a> {
    /// Header and payload, as they are signed.
    signed: &'a str,
    header: Claims,
    claims: Claims,
    signature: Vec<u8>,
}

impl<'a> Parts<'a> {
    fn parse(token: &'a str) -> Result<Self, TokenError> {
        if token.len() > MAX_TOKEN_SIZE {
            return Err(TokenError::TooLarge { limit: MAX_TOKEN_SIZE });
        }
        let malformed = |what| TokenError::Malformed { what };
        let three = malformed("it does not have three parts");
        let (signed, signature) = token.rsplit_once('.').ok_or(three.clone())?;
        let (header, claims) = signed.split_once('.').ok_or(three.clone())?;
        if claims.contains('.') {
            return Err(three);
        }
        let decode = |part: &str| {
            let bytes = URL_SAFE_NO_PAD.decode(part);
            bytes.map_err(|_| malformed("a part is not base64url without padding"))
        };
        let object = |part| match parse_strict(&decode(part)?, MAX_TOKEN_SIZE) {
            Ok(Value::Object(object)) => Ok(object),
            _ => Err(malformed("a part is not a JSON object with every name once")),
        };
        let signature = decode(signature)?;
        Ok(Self { signed, header: object(header)?, claims: object(claims)?, signature })
    }

    fn check_signature(&self, jwks: &Jwks) -> Result<(), TokenError> {
        let alg = self.header_text("alg")?.unwrap_or_default();
        let algorithm = TokenAlgorithm::parse(alg)
            .ok_or_else(|| TokenError::Algorithm { found: alg.chars().take(20).collect() })?;
        // RFC 7515 §4.1.11: what is critical and not understood. Nothing is understood.
        if self.header.contains_key("crit") {
            return Err(TokenError::Header { what: "critical extensions" });
        }
        // RFC 8725 §3.11: an access or log-out token is not an ID token.
        let typ = self.header_text("typ")?;
        if typ.is_some_and(|typ| !typ.eq_ignore_ascii_case("JWT")) {
            return Err(TokenError::Header { what: "another type than JWT" });
        }
        let kid = self.key_id()?;
        match jwks.verifies(kid, algorithm, alg, self.signed.as_bytes(), &self.signature) {
            Some(true) => Ok(()),
            Some(false) => Err(TokenError::Signature),
            None => Err(TokenError::UnknownKey { kid: kid.map(str::to_owned) }),
        }
    }

    fn key_id(&self) -> Result<Option<&str>, TokenError> {
        self.header_text("kid")
    }

    fn header_text(&self, name: &str) -> Result<Option<&str>, TokenError> {
        match self.header.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(TokenError::Header { what: "a member that is not text" }),
        }
    }
}

/// RFC 7519 §4.1.3: one audience, or a list with it.
fn check_audience(claims: &Claims, wanted: &str) -> Result<(), TokenError> {
    let is_meant = match claims.get("aud") {
        Some(Value::String(audience)) => audience == wanted,
        Some(list @ Value::Array(_)) => Vec::<String>::deserialize(list)
            .is_ok_and(|audiences| audiences.iter().any(|audience| audience == wanted)),
        _ => false,
    };
    if is_meant { Ok(()) } else { Err(TokenError::Audience { wanted: wanted.to_owned() }) }
}

fn check_times(
    claims: &Claims,
    max_age_s: u64,
    now: Timestamp,
    skew_s: u64,
) -> Result<(), TokenError> {
    let expires = numeric_date(claims, "exp")?.ok_or_else(|| claim("exp", "is missing"))?;
    let issued = numeric_date(claims, "iat")?.ok_or_else(|| claim("iat", "is missing"))?;
    let valid_from = numeric_date(claims, "nbf")?.map_or(issued, |nbf| nbf.max(issued));
    // RFC 7519 §4.1.4: not on or after.
    if now >= expires.plus_seconds(skew_s) {
        return Err(TokenError::Expired { at: expires });
    }
    if now.plus_seconds(skew_s) < valid_from {
        return Err(TokenError::NotYetValid { at: valid_from });
    }
    if now > issued.plus_seconds(max_age_s).plus_seconds(skew_s) {
        return Err(TokenError::TooOld { at: issued });
    }
    Ok(())
}

/// `NumericDate` (RFC 7519 §2): seconds, of which a fraction is cut off.
fn numeric_date(claims: &Claims, name: &str) -> Result<Option<Timestamp>, TokenError> {
    let wrong = || claim(name, "is not a time");
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = match value {
        Value::Number(number) if number.is_u64() => number.as_u64(),
        Value::Number(number) => {
            number.to_string().split_once('.').and_then(|(whole, fraction)| {
                let is_plain = fraction.bytes().all(|byte| byte.is_ascii_digit());
                whole.parse().ok().filter(|_| is_plain)
            })
        }
        _ => None,
    };
    let seconds = seconds.ok_or_else(wrong)?;
    Timestamp::from_unix(seconds).map(Some).map_err(|_| wrong())
}
