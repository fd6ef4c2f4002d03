//! The attestation service, seen from outside. Blocking.
//!
//! A client believes nothing: bundles and checkpoints come back unverified, and whoever uses them
//! verifies them against a trusted root of their own.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use ureq::Agent;
use ureq::http::{Response, StatusCode, Uri};
use ureq::tls::{Certificate, ClientCert, PrivateKey, TlsConfig};

use sealwright_attest::{MAX_BUNDLE_SIZE, from_value, parse_strict};
use sealwright_tlog::note::MAX_NOTE_LEN;
use sealwright_tlog::{ConsistencyProof, Hash};

use crate::tls;

mod statements;

pub use statements::{
    ErasedStatement, Found, Gaps, ListedSigner, ListedStatement, StatementPage, StatementQuery,
};

/// Most bytes of an answer, and of all the pages of one.
const MAX_ANSWER: usize = MAX_BUNDLE_SIZE;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const TOTAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Less than a service keeps idle connections, so that it is never the one to close them.
const MAX_IDLE: Duration = Duration::from_secs(5);

/// A connection to one attestation service.
#[derive(Clone)]
pub struct ServiceClient {
    agent: Agent,
    /// Without a slash at the end.
    base: String,
    /// Shown when submitting and when asking for statements.
    token: Option<String>,
    /// Where statements are submitted to.
    project: Option<String>,
}

/// Why the service did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL is not that of a service.
    #[error("{url:?} is not the URL of a service: {problem}")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The certificates are not PEM.
    #[error("the CA file holds no PEM certificate")]
    Ca,
    /// Certificate or key of the client are not PEM, or the key is encrypted.
    #[error("the client's certificate and its unencrypted private key are not PEM")]
    Certificate,
    /// No answer came, or it broke off: no such host, nobody listens, not trusted, too slow.
    #[error("cannot reach {url}: {source}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// What happened.
        source: Box<ureq::Error>,
    },
    /// The service answered with an error.
    #[error("the service refused: {message} ({reason})")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The service's stable code, such as `SIGNATURE_INVALID`; `HTTP_<status>` if it gave none.
        reason: String,
        /// The service's message for people.
        message: String,
    },
    /// The answer is larger than anything we would use.
    #[error("the service answered with more than {limit} bytes")]
    TooLarge {
        /// Most bytes.
        limit: usize,
    },
    /// The answer is not what was asked for.
    #[error("the service answered with something else: {problem}")]
    Malformed {
        /// What does not fit.
        problem: String,
    },
    /// The bundle that came back does not hold what was sent.
    #[error("the service answered with another bundle than it was given")]
    OtherBundle,
}

/// That the log begins with its first `old_size` entries unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consistency {
    /// The proof, up to the size of `checkpoint`; unverified.
    pub proof: ConsistencyProof,
    /// The log's checkpoint, a signed note; unverified.
    pub checkpoint: Vec<u8>,
}

impl ServiceClient {
    /// A client of the service at `url`, such as `http://localhost:3003`.
    ///
    /// `ca_pem` are the certificate authorities to trust; https needs them, since no others are.
    /// Redirects are not followed. A loopback address is never reached through a proxy.
    ///
    /// # Errors
    /// [`ClientError::Url`], [`ClientError::Ca`].
    pub fn new(url: &str, ca_pem: Option<&[u8]>) -> Result<Self, ClientError> {
        Self::with_certificate(url, ca_pem, None)
    }

    /// The same, showing a certificate (PEM chain, and its private key) to a service that asks for one.
    ///
    /// # Errors
    /// [`ClientError::Url`], [`ClientError::Ca`], [`ClientError::Certificate`].
    pub fn with_certificate(
        url: &str,
        ca_pem: Option<&[u8]>,
        certificate: Option<(&[u8], &[u8])>,
    ) -> Result<Self, ClientError> {
        let base = base(url, ca_pem.is_some())
            .map_err(|problem| ClientError::Url { url: url.to_owned(), problem })?;
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(TOTAL_TIMEOUT))
            .max_idle_age(MAX_IDLE)
            .user_agent(concat!("sealwright/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls_config(ca_pem, certificate)?);
        if base.is_loopback {
            config = config.proxy(None);
        }
        let agent = config.build().new_agent();
        Ok(Self { agent, base: base.url, token: None, project: None })
    }

    /// The same, as the writer or reader with this token.
    #[must_use]
    pub fn with_token(self, token: String) -> Self {
        Self { token: Some(token), ..self }
    }

    /// The same, submitting to this project.
    #[must_use]
    pub fn with_project(self, project: String) -> Self {
        Self { project: Some(project), ..self }
    }

    /// The log's checkpoint, a signed note whose log-signed time is at most ten seconds old by the
    /// service's clock.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn checkpoint(&self) -> Result<Vec<u8>, ClientError> {
        let url = format!("{}/api/v2/checkpoint", self.base);
        self.answer(&url, self.agent.get(&url).call(), MAX_NOTE_LEN)
    }

    /// The checkpoint of a log whose tiles are below the URL (C2SP tlog-tiles); unverified.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn log_checkpoint(&self) -> Result<Vec<u8>, ClientError> {
        self.log_file("checkpoint", MAX_NOTE_LEN)
    }

    /// A tile of such a log, of at most `limit` bytes; unverified.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn log_file(&self, path: &str, limit: usize) -> Result<Vec<u8>, ClientError> {
        let url = format!("{}/{path}", self.base);
        self.answer(&url, self.agent.get(&url).call(), limit)
    }

    /// Posts a text, such as a witness takes it; gives status and body of any answer.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`], [`ClientError::TooLarge`].
    pub fn post_text(
        &self,
        path: &str,
        body: &str,
        limit: usize,
    ) -> Result<(u16, Vec<u8>), ClientError> {
        let url = format!("{}/{path}", self.base);
        let request = self.agent.post(&url).content_type("text/plain; charset=utf-8");
        let (status, body) = read(&url, request.send(body), limit)?;
        Ok((status.as_u16(), body))
    }

    /// Proof that the log has only grown since it had `old_size` entries.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn consistency(&self, old_size: u64) -> Result<Consistency, ClientError> {
        let url = format!("{}/api/v1/consistency", self.base);
        let request = self.agent.get(&url).query("old", old_size.to_string());
        let answer = self.answer(&url, request.call(), MAX_ANSWER)?;
        let wire: WireConsistency = from_json(&answer)?;
        let hashes: Option<Vec<Hash>> =
            wire.hashes.iter().map(|hash| Hash::from_base64(hash)).collect();
        match hashes {
            Some(hashes) if wire.old_size == old_size => Ok(Consistency {
                proof: ConsistencyProof { old_size, new_size: wire.new_size, hashes },
                checkpoint: wire.checkpoint.into_bytes(),
            }),
            _ => Err(malformed("not a consistency proof from the size asked for")),
        }
    }

    /// The body of a good answer.
    fn answer(
        &self,
        url: &str,
        response: Result<Response<ureq::Body>, ureq::Error>,
        limit: usize,
    ) -> Result<Vec<u8>, ClientError> {
        match read(url, response, limit)? {
            (StatusCode::OK | StatusCode::CREATED, body) => Ok(body),
            (status, body) => Err(refused(status, &body)),
        }
    }
}

impl fmt::Debug for ServiceClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServiceClient({})", self.base)
    }
}

/// Status and body of an answer, whatever it is.
fn read(
    url: &str,
    response: Result<Response<ureq::Body>, ureq::Error>,
    limit: usize,
) -> Result<(StatusCode, Vec<u8>), ClientError> {
    let failed = |error| match error {
        ureq::Error::BodyExceedsLimit(_) => ClientError::TooLarge { limit },
        source => ClientError::Unreachable { url: url.to_owned(), source: Box::new(source) },
    };
    let mut response = response.map_err(failed)?;
    let limit_bytes = u64::try_from(limit).unwrap_or(u64::MAX);
    let body =
        response.body_mut().with_config().limit(limit_bytes).read_to_vec().map_err(failed)?;
    Ok((response.status(), body))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireConsistency {
    old_size: u64,
    new_size: u64,
    hashes: Vec<String>,
    checkpoint: String,
}

#[derive(Deserialize)]
struct WireError {
    message: String,
    #[serde(default)]
    details: Vec<WireErrorInfo>,
}

#[derive(Deserialize)]
struct WireErrorInfo {
    #[serde(default)]
    reason: String,
}

struct Base {
    url: String,
    is_loopback: bool,
}

/// The URL without a slash at its end, if it is one of a service.
fn base(url: &str, has_ca: bool) -> Result<Base, &'static str> {
    let uri: Uri = url.parse().map_err(|_| "it does not parse")?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") if has_ca => {}
        Some("https") => return Err("https needs the certificate of its CA"),
        _ => return Err("it must begin with http:// or https://"),
    }
    let host = uri.host().filter(|host| !host.is_empty()).ok_or("it has no host")?;
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("it must not have a user name in it");
    }
    if uri.query().is_some() {
        return Err("it must not have a query");
    }
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let is_loopback = match address {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    };
    Ok(Base { url: url.trim_end_matches('/').to_owned(), is_loopback })
}

pub(crate) fn tls_config(
    ca_pem: Option<&[u8]>,
    certificate: Option<(&[u8], &[u8])>,
) -> Result<TlsConfig, ClientError> {
    let roots = ca_pem.map(|pem| tls::certificates(pem).ok_or(ClientError::Ca)).transpose()?;
    let shown = certificate.map(|(chain, key)| {
        let chain = tls::certificates(chain).ok_or(ClientError::Certificate)?;
        let chain: Vec<_> = chain.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
        let key = PrivateKey::from_pem(key).map_err(|_| ClientError::Certificate)?;
        Ok(ClientCert::new_with_certs(&chain, key))
    });
    Ok(tls::client(&roots.unwrap_or_default(), shown.transpose()?))
}

fn refused(status: StatusCode, body: &[u8]) -> ClientError {
    // A proxy in between has other bodies.
    let error: Option<WireError> = from_json(body).ok();
    let (message, reason) = match error {
        Some(WireError { message, mut details }) => (message, details.pop().map(|i| i.reason)),
        None => (status.canonical_reason().unwrap_or("no message").to_owned(), None),
    };
    let reason = reason.unwrap_or_else(|| format!("HTTP_{}", status.as_u16()));
    ClientError::Refused { status: status.as_u16(), reason, message }
}

fn from_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ClientError> {
    let value = parse_strict(body, MAX_ANSWER).map_err(malformed)?;
    from_value(value).map_err(malformed)
}

fn malformed(problem: impl fmt::Display) -> ClientError {
    ClientError::Malformed { problem: problem.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_services() {
        for (url, has_ca, loopback) in [
            ("http://localhost:3003", false, Some(true)),
            ("http://LOCALHOST", false, Some(true)),
            ("http://127.0.0.1:1/", false, Some(true)),
            ("http://[::1]:1", false, Some(true)),
            ("http://log.example/below", false, Some(false)),
            ("http://localhost.evil.example", false, Some(false)),
            ("https://log.example", true, Some(false)),
            ("https://log.example", false, None),
            ("localhost:3003", false, None),
            ("ftp://log.example", false, None),
            ("http://", false, None),
            ("http://me@log.example", false, None),
            ("http://log.example?x=1", false, None),
            ("", false, None),
        ] {
            assert_eq!(base(url, has_ca).ok().map(|base| base.is_loopback), loopback, "{url}");
        }
        assert_eq!(base("http://log.example/", false).ok().unwrap().url, "http://log.example");
        assert!(matches!(
            ServiceClient::new("https://log.example", Some(b"none")),
            Err(ClientError::Ca)
        ));
    }

    #[test]
    fn errors_of_others_are_shown_too() {
        let error = refused(StatusCode::BAD_GATEWAY, b"<html>");
        assert_eq!(error.to_string(), "the service refused: Bad Gateway (HTTP_502)");
    }
}
