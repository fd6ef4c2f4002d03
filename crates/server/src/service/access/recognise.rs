//! How somebody is recognised: by a token, by an ID token, by a certificate.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::http::{HeaderMap, header, request};
use serde::Deserialize;

use sealwright_attest::Timestamp;
use sealwright_authority::{
    IssuerConfig, IssuerKind, Jwks, TokenError, VerifiedClaims, unverified_issuer,
    unverified_key_id, verify_claims,
};
use sealwright_manifest::Sha256;
use sealwright_sigstore::details::CertificateDetails;

use crate::http::Peer;
use crate::reload::FilesRead;
use crate::service::issuer_keys::IssuerKeys;
use crate::service::issuers::{CLOCK_SKEW_S, IdentityError};

/// Shorter tokens could be guessed from their hashes.
const MIN_TOKEN: usize = 32;
const MAX_TOKEN: usize = 1024;

/// What a request shows of whoever sends it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Credentials {
    /// `Authorization: Bearer …`: a token that is known here, or an ID token.
    bearer: Option<String>,
    /// Of the connection, and of an authority that is trusted for that.
    certificate: Option<Arc<CertificateDetails>>,
    /// Whether anything is shown, be it of use or not.
    pub(super) is_any: bool,
}

impl Credentials {
    pub(crate) fn of(request: &request::Parts) -> Self {
        let peer = request.extensions.get::<Peer>();
        let certificate = peer.and_then(|peer| peer.certificate.clone());
        Self {
            bearer: bearer(&request.headers),
            is_any: certificate.is_some() || request.headers.contains_key(header::AUTHORIZATION),
            certificate,
        }
    }
}

/// The one bearer token; none if there are two, of which others might see the other.
fn bearer(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

/// One way to recognise somebody.
pub(super) enum Way {
    Token(Sha256),
    Oidc(Box<Oidc>),
    Name(&'static str, String),
    Key(Sha256),
    Anybody,
}

/// What an ID token must say, letter by letter.
pub(super) struct Oidc {
    config: IssuerConfig,
    pinned: Option<Arc<Jwks>>,
    claims: BTreeMap<String, String>,
}

/// The same as the file has it.
pub(super) enum WayEntry {
    Token(String),
    Oidc(OidcEntry),
    Certificate(CertificateEntry),
    Anybody,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OidcEntry {
    /// `iss` of the tokens.
    issuer: String,
    /// `aud` of the tokens. Not the one that certificates are issued for, or whoever is shown such a
    /// token could submit with it.
    audience: String,
    /// `sub` of the tokens.
    subject: Option<String>,
    /// Other claims, all of which must be texts and equal.
    #[serde(default)]
    claims: BTreeMap<String, String>,
    /// The issuer's keys (JWK set); nothing is fetched then.
    jwks_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CertificateEntry {
    /// A subject alternative name with its kind: `dns:…`, `uri:…`, `email:…`, `ip:…`.
    san: Option<String>,
    /// SHA-256 of the DER SubjectPublicKeyInfo, 64 lower-case hexadecimal digits.
    spki_sha256: Option<String>,
}

impl WayEntry {
    pub(super) fn check(self, dir: &Path, files: &mut FilesRead) -> Result<Way, String> {
        let digest = |name: &str, text: &str| {
            Sha256::parse(text).map_err(|error| format!("{name}: {error}"))
        };
        match self {
            Self::Token(hash) => Ok(Way::Token(digest("token_sha256", &hash)?)),
            Self::Oidc(entry) => entry.check(dir, files).map(|oidc| Way::Oidc(Box::new(oidc))),
            Self::Certificate(CertificateEntry { san: Some(name), spki_sha256: None }) => {
                let (kind, name) = alternative_name(&name)
                    .ok_or("san begins with dns:, uri:, email: or ip:, and a name follows")?;
                Ok(Way::Name(kind, name))
            }
            Self::Certificate(CertificateEntry { san: None, spki_sha256: Some(hash) }) => {
                Ok(Way::Key(digest("spki_sha256", &hash)?))
            }
            Self::Certificate(_) => Err("certificate has one of san and spki_sha256".to_owned()),
            Self::Anybody => Ok(Way::Anybody),
        }
    }
}

impl OidcEntry {
    fn check(self, dir: &Path, files: &mut FilesRead) -> Result<Oidc, String> {
        let Self { issuer, audience, subject, mut claims, jwks_file } = self;
        if issuer.contains('*') {
            return Err("oidc: an issuer is named exactly".to_owned());
        }
        // Of the kinds the one that asks for nothing more; what is asked for is in `claims`.
        let config = IssuerConfig::new(&issuer, &audience, IssuerKind::Kubernetes)
            .map_err(|error| format!("oidc: {error}"))?;
        for name in ["iss", "aud", "exp", "iat", "nbf", "sub"] {
            if claims.contains_key(name) {
                return Err(format!("oidc: {name:?} has no place in claims"));
            }
        }
        claims.extend(subject.map(|subject| ("sub".to_owned(), subject)));
        if claims.is_empty() {
            return Err("oidc: without subject or claims everybody would fit".to_owned());
        }
        if let Some(name) = claims.iter().find(|(_, value)| value.is_empty()).map(|(name, _)| name)
        {
            return Err(format!("oidc: {name:?} is empty"));
        }
        let pinned = jwks_file.map(|name| {
            let path = dir.join(name);
            let shown = path.display();
            let bytes = files.read(&path).map_err(|error| format!("{shown}: {error}"))?;
            Jwks::parse(&bytes).map(Arc::new).map_err(|error| format!("{shown}: {error}"))
        });
        Ok(Oidc { config, pinned: pinned.transpose()?, claims })
    }
}

/// Kind, as certificates' details have it, and name in the form in which they have it.
fn alternative_name(text: &str) -> Option<(&'static str, String)> {
    let (kind, name) = text.split_once(':')?;
    let kind = match kind {
        "dns" => "DNS",
        "uri" => "URI",
        "email" => "e-mail",
        "ip" => return Some(("IP", name.parse::<IpAddr>().ok()?.to_string())),
        _ => return None,
    };
    (!name.is_empty()).then(|| (kind, name.to_owned()))
}

impl Way {
    /// Whether this is who shows that. `None` if it takes keys that have to be fetched first.
    pub(super) fn fits(
        &self,
        shown: &Credentials,
        keys: &IssuerKeys,
        now: u64,
        may_fetch: bool,
    ) -> Result<Option<bool>, IdentityError> {
        // Resumed TLS sessions are not asked for the certificate again, which may have ended meanwhile.
        let certificate = shown.certificate.as_deref().filter(|certificate| {
            (certificate.not_before.unix()..=certificate.not_after.unix()).contains(&now)
        });
        Ok(Some(match self {
            Self::Anybody => true,
            Self::Token(hash) => shown.bearer.as_ref().is_some_and(|token| {
                // Hashes are compared, of which nobody can choose one that is nearly right.
                (MIN_TOKEN..=MAX_TOKEN).contains(&token.len())
                    && Sha256::of(token.as_bytes()) == *hash
            }),
            Self::Name(kind, name) => certificate.is_some_and(|certificate| {
                certificate.names.iter().any(|(k, n)| k == kind && n == name)
            }),
            Self::Key(hash) => certificate
                .is_some_and(|certificate| certificate.key.spki_sha256 == hash.as_bytes()),
            Self::Oidc(oidc) => match &shown.bearer {
                Some(token) => return oidc.fits(token, keys, now, may_fetch),
                None => false,
            },
        }))
    }
}

impl Oidc {
    /// A token that does not verify is nobody's, and is not told why: it may be a token of another kind.
    fn fits(
        &self,
        token: &str,
        keys: &IssuerKeys,
        now: u64,
        may_fetch: bool,
    ) -> Result<Option<bool>, IdentityError> {
        let Ok(iss) = unverified_issuer(token) else { return Ok(Some(false)) };
        if !self.config.matches(&iss) {
            return Ok(Some(false));
        }
        let Ok(kid) = unverified_key_id(token) else { return Ok(Some(false)) };
        let keys = match &self.pinned {
            Some(keys) => Arc::clone(keys),
            None => match keys.of(&iss, kid.as_deref(), now, may_fetch)? {
                Some(keys) => keys,
                None => return Ok(None),
            },
        };
        let Ok(time) = Timestamp::from_unix(now) else { return Ok(Some(false)) };
        match verify_claims(token, &self.config, &keys, time, CLOCK_SKEW_S) {
            Ok(said) => Ok(Some(self.is_meant(&said))),
            Err(error) => {
                say_why_not(&error);
                Ok(Some(false))
            }
        }
    }

    fn is_meant(&self, said: &VerifiedClaims) -> bool {
        // An address that nobody verified is whatever somebody typed.
        let is_verified = !self.claims.contains_key("email") || said.is_true("email_verified");
        is_verified
            && self.claims.iter().all(|(name, value)| said.text(name) == Some(value.as_str()))
    }
}

fn say_why_not(error: &TokenError) {
    tracing::debug!(%error, "an ID token does not verify");
}
