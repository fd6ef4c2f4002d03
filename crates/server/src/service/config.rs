//! The service's configuration.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;

use sealwright_store::Place;

use super::authority_keys::AuthorityKeys;
use super::client_address::{ForwardedHeader, Network};
use super::tuf::RootKeys;

/// How the attestation service runs. Every field but the directory has a default that lets one try
/// it; unknown fields are refused when it is read from a file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the log's state and its key are. Created with mode 0700 if it is not there. One
    /// service at a time may use it.
    pub data_dir: PathBuf,

    /// Where the log is, if several front ends share it: database and bucket. Each front end has a data
    /// directory of its own then, with the same keys. Without it the log is in the data directory.
    #[serde(skip)]
    pub shared: Option<Place>,

    /// Whether this front end of a shared log keeps the TUF repository and gives it out. One of them
    /// does: versions that two have signed would contradict each other. A log of its own has its
    /// repository whatever this says.
    #[serde(default)]
    pub tuf_publisher: bool,

    /// Address and port to listen on; 127.0.0.1:3003 by default. Port 0 lets the system choose.
    /// An address that other machines reach needs [`Config::tls`].
    #[serde(default = "Config::default_listen")]
    pub listen: SocketAddr,

    /// Name of the log, `localhost` by default: the bare host name under which clients know the
    /// service, without scheme, port or path. Signed into every checkpoint, so a log keeps its
    /// name for ever.
    #[serde(default = "Config::default_origin")]
    pub origin: String,

    /// Certificate and key. Without them the service speaks plain HTTP.
    #[serde(default)]
    pub tls: Option<TlsFiles>,

    /// Makes keys and certificates of the authorities on the first start. Without it an instance that
    /// has none is only a log.
    #[serde(default)]
    pub init: bool,

    /// Private keys of the authorities that are kept elsewhere than in the data directory.
    #[serde(skip)]
    pub authority_keys: AuthorityKeys,

    /// Who signs the root of the TUF repository that `init` makes.
    #[serde(default)]
    pub tuf: RootKeys,

    /// TOML file with the issuers of ID tokens for which the certificate authority issues. Without it,
    /// nobody gets a certificate.
    #[serde(default)]
    pub issuers: Option<PathBuf>,

    /// TOML file with the witnesses that are asked to cosign each checkpoint, and their quorum.
    #[serde(default)]
    pub witnesses: Option<PathBuf>,

    /// TOML file with the writers who may submit statements, and the readers to whom they are given.
    /// Without it, everybody may submit; without readers in it, everybody may read.
    #[serde(default)]
    pub writers: Option<PathBuf>,

    /// More trusted roots (`trusted_root.json`) against which bundles with certificates are verified
    /// when they are submitted, beside the instance's own.
    #[serde(default)]
    pub trust: Vec<PathBuf>,

    /// PEM files with the authorities of other certificates to sign with (OMS v1.0 §8.2), beside the
    /// instance's own.
    #[serde(default)]
    pub trust_root_ca: Vec<PathBuf>,

    /// TOML file with the classes that say how long which statements are kept. Without it, all are kept
    /// for ever.
    #[serde(default)]
    pub retention: Option<PathBuf>,

    /// TOML file that says for which models and environments deploy permits are made, and with which
    /// key. Without it, none are made.
    #[serde(default)]
    pub permits: Option<PathBuf>,

    /// TOML file with limits: requests a second by client address and by writer, entries a day by
    /// writer and by project.
    #[serde(default)]
    pub limits: Option<PathBuf>,

    /// Proxies that are believed about for whom they ask.
    #[serde(default)]
    pub trusted_proxies: Vec<Network>,

    /// The header in which they say so.
    #[serde(default)]
    pub forwarded_header: ForwardedHeader,

    /// Address and port for those who watch the service: `/metrics`, `/healthz` and `/readyz`, in plain
    /// HTTP. Without it there are no metrics.
    #[serde(default)]
    pub metrics: Option<SocketAddr>,

    /// Base URL of a collector to which a span of each request is sent (OTLP over HTTP). Without it none is
    /// sent.
    #[serde(default)]
    pub otlp_endpoint: Option<String>,

    /// Allows plain HTTP on an address that other machines reach. Statements are signed and proofs
    /// can be checked, so nothing can be forged on the way; but whoever is between can read them
    /// all and can hold some back, a revocation for instance. For a TLS proxy on the same trusted
    /// network.
    #[serde(default)]
    pub insecure_plain_http: bool,
}

/// Where certificate and key are.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// PEM certificate chain, the server's own first.
    pub certificate: PathBuf,
    /// PEM private key, not encrypted.
    pub key: PathBuf,
    /// PEM certificates of the authorities for certificates that clients may show. Without it none is
    /// asked for.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
}

impl Config {
    /// The defaults, with the log in `data_dir`.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            shared: None,
            tuf_publisher: false,
            listen: Self::default_listen(),
            origin: Self::default_origin(),
            tls: None,
            init: false,
            authority_keys: AuthorityKeys::default(),
            tuf: RootKeys::default(),
            issuers: None,
            witnesses: None,
            writers: None,
            trust: Vec::new(),
            trust_root_ca: Vec::new(),
            retention: None,
            permits: None,
            limits: None,
            trusted_proxies: Vec::new(),
            forwarded_header: ForwardedHeader::default(),
            metrics: None,
            otlp_endpoint: None,
            insecure_plain_http: false,
        }
    }

    /// Whether the TUF repository is kept and given out here.
    pub(crate) fn keeps_tuf(&self) -> bool {
        self.shared.is_none() || self.tuf_publisher
    }

    fn default_listen() -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 3003).into()
    }

    fn default_origin() -> String {
        "localhost".to_owned()
    }

    /// Whether traffic could leave the machine unprotected without anybody having allowed it.
    pub(crate) fn is_exposed(&self) -> bool {
        let loopback = self.listen.ip().to_canonical().is_loopback();
        !loopback && self.tls.is_none() && !self.insecure_plain_http
    }

    /// Whether the origin is a bare host name.
    pub(crate) fn has_host_name(&self) -> bool {
        let is_label = |label: &str| {
            !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        self.origin.len() <= 253 && self.origin.split('.').all(is_label)
    }

    /// The log's URL in the trusted root. Verifiers take the origin from it.
    pub(crate) fn base_url(&self) -> String {
        let scheme = self.scheme();
        match self.listen.port() {
            // Chosen by the system, and another one the next time.
            0 => format!("{scheme}://{}", self.origin),
            port => format!("{scheme}://{}:{port}", self.origin),
        }
    }

    /// The URL by which clients know the service, on this port.
    pub(crate) fn url_at(&self, port: u16) -> String {
        format!("{}://{}:{port}", self.scheme(), self.origin)
    }

    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_listen_without_tls() {
        let exposed = |listen: &str| {
            Config { listen: listen.parse().unwrap(), ..Config::new("x") }.is_exposed()
        };
        for listen in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(!exposed(listen), "{listen}");
        }
        for listen in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "[::ffff:192.0.2.1]:1"] {
            assert!(exposed(listen), "{listen}");
        }
    }

    #[test]
    fn unknown_fields_are_refused() {
        let parse = |text| serde_json::from_str::<Config>(text);
        assert_eq!(parse(r#"{"data_dir": "x"}"#).unwrap(), Config::new("x"));
        assert!(parse(r#"{"data_dir": "x", "listn": "127.0.0.1:1"}"#).is_err());
        assert!(parse("{}").is_err());
    }

    #[test]
    fn an_origin_is_a_host_name() {
        let good =
            |origin: &str| Config { origin: origin.to_owned(), ..Config::new("x") }.has_host_name();
        for origin in ["localhost", "log.example", "log-1.example"] {
            assert!(good(origin), "{origin}");
        }
        for origin in ["", ".", "a..b", "a b", "a:1", "http://a", "a/b", "a+b", "a - 1"] {
            assert!(!good(origin), "{origin}");
        }
    }
}
