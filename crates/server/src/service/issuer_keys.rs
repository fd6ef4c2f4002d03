//! The keys of issuers of ID tokens: fetched by OpenID Connect Discovery from the issuer's own address
//! and nowhere else, and kept for a while.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ureq::Agent;

use sealwright_attest::parse_strict;
use sealwright_authority::{Jwks, MAX_JWKS_SIZE};

use super::StartError;
use super::issuers::IdentityError;
use crate::reload::FilesRead;
use crate::tls;

/// Keys are fetched anew after this many seconds.
const KEYS_FRESH_S: u64 = 300;
/// A token with an unknown key has them fetched anew, but no sooner than this after the last time.
const KEYS_RETRY_S: u64 = 30;
/// Issuers that fit patterns and whose keys are remembered.
const MAX_KEY_SETS: usize = 100;
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_DISCOVERY: u64 = 64 << 10;

/// Key sets of issuers that are trusted already.
#[derive(Debug)]
pub(crate) struct IssuerKeys {
    agent: Agent,
    /// Key sets by `iss`.
    fetched: Mutex<BTreeMap<String, Fetched>>,
}

#[derive(Debug, Clone)]
struct Fetched {
    /// The last ones that could be had; none if there never were any.
    keys: Option<Arc<Jwks>>,
    /// The last time that they were asked for.
    at: u64,
}

impl IssuerKeys {
    /// None fetched yet. `ca_file` (PEM) has the authorities by which issuers' TLS certificates are
    /// checked; the system's otherwise.
    pub(super) fn new(ca_file: Option<&Path>, files: &mut FilesRead) -> Result<Self, StartError> {
        Ok(Self { agent: agent(ca_file, files)?, fetched: Mutex::default() })
    }

    /// The keys of `iss`, for a token that names the key `kid`, at `now` (seconds since 1970). `None`
    /// if they have to be fetched, unless `may_fetch`: then it blocks until they are there.
    pub(super) fn of(
        &self,
        iss: &str,
        kid: Option<&str>,
        now: u64,
        may_fetch: bool,
    ) -> Result<Option<Arc<Jwks>>, IdentityError> {
        match self.known(iss, kid, now)? {
            Some(keys) => Ok(Some(keys)),
            None if may_fetch => self.fetch_and_keep(iss, now).map(Some),
            None => Ok(None),
        }
    }

    /// Keys that need not be fetched. An issuer that did not answer is not asked again for a while: one
    /// that is down, or never was, must not keep everybody waiting.
    fn known(
        &self,
        iss: &str,
        kid: Option<&str>,
        now: u64,
    ) -> Result<Option<Arc<Jwks>>, IdentityError> {
        let known = self.fetched.lock().unwrap_or_else(PoisonError::into_inner).get(iss).cloned();
        let Some(Fetched { keys, at }) = known else { return Ok(None) };
        let age = now.saturating_sub(at);
        match keys {
            Some(keys) => {
                let has_key = kid.is_none_or(|kid| keys.has(kid));
                let is_fresh = age < KEYS_RETRY_S || (age < KEYS_FRESH_S && has_key);
                Ok(is_fresh.then_some(keys))
            }
            None if age < KEYS_RETRY_S => Err(IdentityError::Keys {
                issuer: iss.to_owned(),
                problem: "it did not answer a moment ago".to_owned(),
            }),
            None => Ok(None),
        }
    }

    /// Fetches an issuer's keys; those of before count on for a while if that fails.
    fn fetch_and_keep(&self, iss: &str, now: u64) -> Result<Arc<Jwks>, IdentityError> {
        let outcome = self.fetch(iss).map(Arc::new);
        let mut fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        if fetched.len() >= MAX_KEY_SETS && !fetched.contains_key(iss) {
            fetched.clear();
        }
        let entry = fetched.entry(iss.to_owned()).or_insert(Fetched { keys: None, at: now });
        entry.at = now;
        match outcome {
            Ok(keys) => {
                entry.keys = Some(Arc::clone(&keys));
                Ok(keys)
            }
            Err(error) => {
                tracing::warn!(%error, "an issuer's keys cannot be fetched");
                entry.keys.clone().ok_or(error)
            }
        }
    }

    /// OpenID Connect Discovery 1.0 §4: `iss` is one that is trusted, so its address is.
    fn fetch(&self, iss: &str) -> Result<Jwks, IdentityError> {
        let failed = |problem: String| IdentityError::Keys { issuer: iss.to_owned(), problem };
        let get = |url: &str, limit: u64| -> Result<Vec<u8>, IdentityError> {
            let answer = self.agent.get(url).call();
            let mut answer = answer.map_err(|error| failed(format!("{url}: {error}")))?;
            let body = answer.body_mut().with_config().limit(limit).read_to_vec();
            body.map_err(|error| failed(format!("{url}: {error}")))
        };
        let url = format!("{}/.well-known/openid-configuration", iss.trim_end_matches('/'));
        let limit = usize::try_from(MAX_DISCOVERY).unwrap_or(usize::MAX);
        let discovered = parse_strict(&get(&url, MAX_DISCOVERY)?, limit);
        let discovered = discovered.map_err(|error| failed(format!("{url}: {error}")))?;
        if discovered["issuer"] != iss {
            return Err(failed(format!("{url} speaks for another issuer")));
        }
        let keys_url = discovered["jwks_uri"].as_str().unwrap_or_default();
        // Only an issuer that is itself on this machine may do without TLS.
        if !keys_url.starts_with("https://") && !is_beside(keys_url, iss) {
            return Err(failed(format!("{url} has no jwks_uri with https")));
        }
        Jwks::parse(&get(keys_url, MAX_JWKS_SIZE as u64)?)
            .map_err(|error| failed(format!("{keys_url}: {error}")))
    }
}

/// Whether a URL has scheme, host and port of the issuer.
fn is_beside(url: &str, iss: &str) -> bool {
    let place = |url: &str| -> Option<String> {
        let (scheme, rest) = url.split_once("://")?;
        Some(format!("{scheme}://{}", rest.split(['/', '?', '#']).next()?))
    };
    place(url).is_some() && place(url) == place(iss)
}

/// Debian's bundle of the authorities that the system trusts.
fn agent(ca_file: Option<&Path>, files: &mut FilesRead) -> Result<Agent, StartError> {
    let pem = match ca_file {
        Some(path) => files.read(path).map_err(|error| StartError::file(path, error))?,
        // Without it no issuer with https can be reached, which the first token will tell.
        None => std::fs::read(tls::SYSTEM_CA_FILE).unwrap_or_default(),
    };
    let roots = tls::certificates(&pem).unwrap_or_default();
    if let (Some(path), true) = (ca_file, roots.is_empty()) {
        let problem = "holds no certificates".to_owned();
        return Err(StartError::Issuers { path: path.to_owned(), problem });
    }
    Ok(Agent::config_builder()
        .timeout_global(Some(FETCH_TIMEOUT))
        // A redirect would lead away from the address that is trusted.
        .max_redirects(0)
        .user_agent(concat!("sealwright/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls::client(&roots, None))
        .build()
        .new_agent())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_from_the_issuer_itself() {
        assert!(is_beside("http://127.0.0.1:8080/keys", "http://127.0.0.1:8080"));
        assert!(!is_beside("http://127.0.0.1:8081/keys", "http://127.0.0.1:8080"));
        assert!(!is_beside("http://127.0.0.1:8080@evil.example/", "http://127.0.0.1:8080"));
        assert!(!is_beside("", ""));
    }
}
