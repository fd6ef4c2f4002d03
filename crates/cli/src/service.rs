//! Making a statement from start to end: sign, log if a service is configured, write the bundle.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use sealwright_attest::{
    Bundle, LogProof, PublicKey, RoleBinding, Signer, SigningCertificate, Statement, TrustedRoot,
    check_signature, sign,
};
use sealwright_manifest::Sha256;
use sealwright_server::client::{ClientError, ServiceClient};
use sealwright_server::evidence::RoleBindings;

use crate::error::CliError;
use crate::files::{self, Access};
use crate::output::{self, DIM};
use crate::owners::{OwnerArgs, read_bundles};

/// The attestation service to log to or to ask.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ServiceArgs {
    /// Attestation service, such as `http://localhost:3003`.
    #[arg(long, value_name = "URL", env = "SEALWRIGHT_SERVICE")]
    pub(crate) service: Option<String>,
    /// PEM certificates to trust for a service with https.
    #[arg(long, value_name = "FILE", env = "SEALWRIGHT_SERVICE_CA")]
    pub(crate) service_ca: Option<PathBuf>,
    /// File with the token that the service wants of those who submit statements, or read them.
    #[arg(long, value_name = "FILE", env = "SEALWRIGHT_SERVICE_TOKEN_FILE")]
    pub(crate) service_token_file: Option<PathBuf>,
    /// PEM certificate chain to show to a service that knows its writers by certificates.
    #[arg(long, value_name = "FILE", env = "SEALWRIGHT_SERVICE_CERT", requires = "service_key")]
    pub(crate) service_cert: Option<PathBuf>,
    /// PEM private key of that certificate, not encrypted.
    #[arg(long, value_name = "FILE", env = "SEALWRIGHT_SERVICE_KEY", requires = "service_cert")]
    pub(crate) service_key: Option<PathBuf>,
    /// Project to submit statements to, where the service keeps projects apart.
    #[arg(long, value_name = "NAME", env = "SEALWRIGHT_SERVICE_PROJECT")]
    pub(crate) service_project: Option<String>,
    /// Allow plain http to a service on another machine: whoever is between can read everything, and
    /// can hold back statements such as a revocation.
    #[arg(long)]
    pub(crate) insecure_http: bool,
}

/// Whom to believe: who may sign as what, and which logs.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct TrustArgs {
    /// `trusted_root.json`: the logs to believe.
    #[arg(long, value_name = "FILE", env = "SEALWRIGHT_TRUSTED_ROOT")]
    pub(crate) trusted_root: Option<PathBuf>,
    /// Role binding made by `sealwright roles sign`.
    #[arg(long, value_name = "FILE", env = "SEALWRIGHT_ROLES")]
    pub(crate) roles: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) owners: OwnerArgs,
    /// Take a role binding that is in no log: nobody can then see who was given a role for a day.
    #[arg(long)]
    pub(crate) insecure_unlogged_roles: bool,
}

impl ServiceArgs {
    /// The client, if a service is configured.
    pub(crate) fn client(&self) -> Result<Option<ServiceClient>, CliError> {
        let Some(url) = &self.service else { return Ok(None) };
        if !self.insecure_http && is_plain_and_remote(url) {
            return Err(CliError::input(format!("{url} is plain http to another machine")).hint(
                "use https with --service-ca FILE, or accept the risk with --insecure-http",
            ));
        }
        let ca = self.service_ca.as_deref();
        let ca = ca.map(|path| files::read(path, "service CA", 1 << 20)).transpose()?;
        let read = |path: &Option<PathBuf>, what| {
            path.as_deref().map(|path| files::read(path, what, 1 << 20)).transpose()
        };
        let certificate = read(&self.service_cert, "client certificate")?;
        let key = read(&self.service_key, "client key")?.map(zeroize::Zeroizing::new);
        let shown = certificate.as_deref().zip(key.as_ref().map(|key| key.as_slice()));
        let mut client = ServiceClient::with_certificate(url, ca.as_deref(), shown)?;
        if let Some(project) = &self.service_project {
            client = client.with_project(project.clone());
        }
        let Some(path) = &self.service_token_file else { return Ok(Some(client)) };
        let token = files::read_text(path, "token file")?.trim().to_owned();
        if token.is_empty() || token.contains(|c: char| !c.is_ascii_graphic()) {
            return Err(CliError::input(format!("{} holds no token", path.display()))
                .hint("a token is one line of letters, digits and signs"));
        }
        Ok(Some(client.with_token(token)))
    }
}

/// Whether what is said to this URL can be read and held back on the way.
pub(crate) fn is_plain_and_remote(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let is_loopback = host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    !is_loopback && host != "localhost"
}

impl TrustArgs {
    /// The trusted root, if one is given.
    pub(crate) fn root(&self) -> Result<Option<TrustedRoot>, CliError> {
        self.trusted_root.as_deref().map(read_trusted_root).transpose()
    }

    /// SHA-256 of the trusted root's file.
    pub(crate) fn root_digest(&self) -> Result<Sha256, CliError> {
        let path = self.trusted_root.as_deref().unwrap_or(Path::new(""));
        Ok(Sha256::of(&files::read(path, "trusted root", 4 << 20)?))
    }

    /// Role binding and trusted root, both of which a policy decision needs.
    pub(crate) fn require(&self) -> Result<(RoleBindings, TrustedRoot), CliError> {
        let missing = |option: &str| {
            CliError::input(format!("a policy decision needs {option}"))
                .hint("give --trusted-root, --roles and --owner-key together")
        };
        let root = self.root()?.ok_or_else(|| missing("--trusted-root FILE"))?;
        let roles = self.roles.as_deref().ok_or_else(|| missing("--roles FILE"))?;
        let owners = self.owners.owners()?.ok_or_else(|| missing("--owner-key FILE"))?;
        let log = (!self.insecure_unlogged_roles).then_some(&root);
        let binding = RoleBinding::verify(&read_bundles(roles)?, &owners, log)
            .map_err(|error| CliError::from(error).about(roles.display()))?;
        Ok((RoleBindings::new(owners, binding), root))
    }
}

/// Reads and parses a bundle file.
pub(crate) fn read_bundle(path: &Path) -> Result<Bundle, CliError> {
    let bytes = files::read(path, "bundle", sealwright_attest::MAX_BUNDLE_SIZE)?;
    Bundle::parse(&bytes).map_err(|error| CliError::from(error).about(path.display()))
}

pub(crate) fn read_trusted_root(path: &Path) -> Result<TrustedRoot, CliError> {
    let bytes = files::read(path, "trusted root", 4 << 20)?;
    sealwright_sigstore::trusted_root(&bytes)
        .map_err(|error| CliError::from(error).about(path.display()))
}

/// A bundle that was made and written.
pub(crate) struct Made {
    pub(crate) path: PathBuf,
    pub(crate) key: PublicKey,
    pub(crate) digest: String,
    /// Where the service logged it; verified if a trusted root was given.
    pub(crate) logged: Logged,
}

/// What is known of the log entry.
pub(crate) enum Logged {
    /// No service was configured.
    No,
    /// The service answered with an entry; without a trusted root nobody can say whether it holds.
    Unverified { index: u64 },
    /// The entry holds under the trusted root.
    Verified(LogProof),
}

/// Signs `statement`, logs it when a service is configured, and writes the bundle to `path`.
///
/// Nothing is written unless everything before succeeded.
pub(crate) fn make(
    statement: &Statement,
    keyid: KeyId<'_>,
    signer: &dyn Signer,
    service: &ServiceArgs,
    root: Option<&TrustedRoot>,
    path: PathBuf,
) -> Result<Made, CliError> {
    let sealed = seal(statement, keyid, signer, service, root)?;
    files::write(&path, &sealed.to_bytes(), Access::Public)?;
    Ok(sealed.at(path))
}

/// A bundle that was made and not yet written.
pub(crate) struct Sealed {
    bundle: Bundle,
    key: PublicKey,
    digest: String,
    logged: Logged,
}

/// Signs `statement`, and logs it when a service is configured.
pub(crate) fn seal(
    statement: &Statement,
    keyid: KeyId<'_>,
    signer: &dyn Signer,
    service: &ServiceArgs,
    root: Option<&TrustedRoot>,
) -> Result<Sealed, CliError> {
    seal_payload(statement.to_payload(), keyid, signer, service, root)
}

/// The same for a statement as somebody else has written it, byte for byte.
pub(crate) fn seal_payload(
    payload: Vec<u8>,
    keyid: KeyId<'_>,
    signer: &dyn Signer,
    service: &ServiceArgs,
    root: Option<&TrustedRoot>,
) -> Result<Sealed, CliError> {
    // A bad service URL or CA should be known before anybody signs anything.
    let client = service.client()?;
    let key = signer.public_key().clone();
    let hint = match keyid {
        KeyId::Empty | KeyId::Certificate(_) => String::new(),
        KeyId::Hint => key.id(),
    };
    let mut bundle = sign(payload, signer, &hint)?;
    let signed = check_signature(&bundle, &key)
        .map_err(|error| CliError::from(error).about("refusing to sign"))?;
    if let KeyId::Certificate(certificate) = keyid {
        bundle = certificate.attach(bundle)?;
    }
    let mut logged = Logged::No;
    if let Some(client) = client {
        bundle = client.submit(&bundle, &key)?;
        logged = match root {
            Some(root) => Logged::Verified(signed.check_log(&bundle, root)?),
            None => {
                let index = bundle.log_entries().first().map_or(0, |entry| entry.log_index);
                Logged::Unverified { index }
            }
        };
    }
    Ok(Sealed { bundle, key, digest: signed.digest().to_string(), logged })
}

impl Sealed {
    /// What was made.
    pub(crate) fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// For `--json`: the statement and its entry, without a file.
    pub(crate) fn to_value(&self) -> Value {
        json!({
            "key_id": self.key.id(),
            "statement": self.digest,
            "log": self.logged.to_value(),
        })
    }

    /// Where it was logged, in a line.
    pub(crate) fn logged_text(&self) -> String {
        self.logged.to_string()
    }

    /// The bundle's file.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        (self.bundle.to_json() + "\n").into_bytes()
    }

    /// The same after it was written to `path`.
    pub(crate) fn at(self, path: PathBuf) -> Made {
        let Self { key, digest, logged, .. } = self;
        Made { path, key, digest, logged }
    }
}

/// How the key can be found: what goes into the DSSE signature's `keyid`, and what beside it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum KeyId<'a> {
    /// Nothing, as in OMS bundles.
    Empty,
    /// Nothing, but a certificate for the key in the bundle.
    Certificate(&'a SigningCertificate),
    /// The key's id, as Sigstore's clients expect for DSSE with managed keys.
    Hint,
}

impl Made {
    /// For `--json`.
    pub(crate) fn to_value(&self) -> Value {
        json!({
            "bundle": output::path(&self.path),
            "key_id": self.key.id(),
            "statement": self.digest,
            "log": self.logged.to_value(),
        })
    }

    /// For people: label and value.
    pub(crate) fn rows(&self) -> Vec<(&'static str, String)> {
        vec![
            ("key", short(&self.key.id())),
            ("logged", self.logged.to_string()),
            ("bundle", self.path.display().to_string()),
        ]
    }
}

impl Logged {
    /// For `--json`.
    pub(crate) fn to_value(&self) -> Value {
        match self {
            Logged::No => Value::Null,
            Logged::Unverified { index } => json!({"index": index, "verified": false}),
            Logged::Verified(proof) => log_value(proof),
        }
    }
}

impl std::fmt::Display for Logged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Logged::No => f.write_str("no (give --service URL to log it)"),
            Logged::Unverified { index } => {
                write!(f, "entry {index}, not verified (give --trusted-root)")
            }
            Logged::Verified(proof) => f.write_str(&log_text(proof)),
        }
    }
}

/// A verified log proof for `--json`.
pub(crate) fn log_value(proof: &LogProof) -> Value {
    json!({
        "origin": proof.origin(),
        "index": proof.index(),
        "log_signed_time": proof.time(),
        "verified": true,
    })
}

/// A verified log proof in a line.
pub(crate) fn log_text(proof: &LogProof) -> String {
    let (index, origin, time) = (proof.index(), proof.origin(), proof.time());
    format!("{time} {DIM}(log-signed time, entry {index} of {origin}){DIM:#}")
}

/// The first digits of a digest, enough to compare by eye.
pub(crate) fn short(digest: &str) -> String {
    let head: String = digest.chars().take(16).collect();
    format!("{head}…")
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        let message = Self::chain(&error);
        match error {
            ClientError::Url { .. } => {
                Self::input(message).hint("for example --service http://localhost:3003")
            }
            ClientError::Ca => {
                Self::input(message).hint("--service-ca FILE holds the service's CA in PEM")
            }
            ClientError::Certificate => Self::input(message)
                .hint("--service-cert is a PEM certificate chain, --service-key its private key"),
            ClientError::Refused { status: 429, .. } => Self::environment(message)
                .hint("wait as long as it says; submitting again later is safe"),
            ClientError::Refused { status: 403, .. } => Self::input(message)
                .hint("choose another --service-project, or ask for the right to submit to it"),
            // Its clock or its disk: the service's own business.
            ClientError::Refused { status: 500.., .. } => Self::environment(message)
                .hint("look at the service's log; submitting again later is safe"),
            ClientError::Refused { status: 401, .. } => Self::input(message)
                .hint("give --service-token-file or --service-cert that the service knows"),
            ClientError::Refused { .. } | ClientError::TooLarge { .. } => {
                Self::input(message).hint("what was submitted was not logged")
            }
            ClientError::Unreachable { .. } => Self::environment(message)
                .hint("check --service URL, and that `sealwright serve` is running there"),
            ClientError::Malformed { .. } | ClientError::OtherBundle => Self::environment(message)
                .hint("check that --service is the URL of a `sealwright serve`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_stays_on_the_machine() {
        for url in
            ["http://localhost:3003", "http://127.0.0.1/x", "http://[::1]:1", "https://a.example"]
        {
            assert!(!is_plain_and_remote(url), "{url}");
        }
        for url in ["http://log.example", "http://localhost.evil.example", "http://192.0.2.1:3003"]
        {
            assert!(is_plain_and_remote(url), "{url}");
        }
    }
}
