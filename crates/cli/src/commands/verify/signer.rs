//! Whom to trust for a signature: exactly one choice.

use std::fmt;
use std::path::PathBuf;

use serde_json::{Value, json};

use sealwright_attest::{
    Bundle, CertificateTrust, CertifiedKey, ExpectedIdentity, PublicKey, Signed, Timestamp,
    VerifyError, check_certificate, check_signature,
};

use crate::clock;
use crate::error::CliError;
use crate::files;
use crate::keyref::{self, PassphraseArgs};
use crate::output::Ui;

/// Whom to trust.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SignerArgs {
    /// Trust this public key: `file:PATH` or a path.
    #[arg(long, value_name = "PUB", requires = "bundle", conflicts_with = "cert_roots")]
    key: Option<String>,
    /// Trust certificates that lead to a root in this PEM file; may be repeated. Certificates in it
    /// that are not self-signed help to find the way and are no roots.
    #[arg(long = "cert-root", value_name = "PEM", requires = "bundle")]
    cert_roots: Vec<PathBuf>,
    /// Whose certificate: its subject alternative name, such as an e-mail address or URI.
    #[arg(long, value_name = "SAN", requires = "cert_roots")]
    identity: Option<String>,
    /// Accept anybody's certificate under the given roots.
    #[arg(long, requires = "cert_roots", conflicts_with = "identity")]
    insecure_any_identity: bool,
    /// Time at which certificates must be valid; now otherwise.
    #[arg(long, value_name = "RFC3339", value_parser = Timestamp::parse, requires = "cert_roots")]
    at: Option<Timestamp>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// A choice with its files read.
pub(super) enum Trusted {
    Key(PublicKey),
    Certificates { trust: CertificateTrust, identity: ExpectedIdentity, at: Timestamp },
}

/// Who signed, as far as the choice can tell.
pub(super) enum Signer {
    Key(PublicKey),
    Certificate { certified: CertifiedKey, at: Timestamp, any_identity: bool },
}

impl SignerArgs {
    pub(super) fn open(&self, ui: &Ui) -> Result<Trusted, CliError> {
        match (&self.key, self.cert_roots.is_empty()) {
            (Some(key), _) => Ok(Trusted::Key(keyref::open_public(key, &self.passphrase, ui)?)),
            (None, false) => self.open_certificates(),
            (None, true) => Err(CliError::input("a signature proves nothing without a signer")
                .hint("give --key PUB, or --cert-root PEM with --identity SAN")),
        }
    }

    fn open_certificates(&self) -> Result<Trusted, CliError> {
        let identity = match (&self.identity, self.insecure_any_identity) {
            (Some(identity), _) => ExpectedIdentity::Exactly(identity.clone()),
            (None, true) => ExpectedIdentity::InsecureAny,
            (None, false) => {
                return Err(CliError::input("whose certificate should it be?")
                    .hint("give --identity SAN, or --insecure-any-identity"));
            }
        };
        let texts = self.cert_roots.iter().map(|path| files::read_text(path, "root certificate"));
        let texts = texts.collect::<Result<Vec<_>, _>>()?;
        // Only intermediates is not unusable: nothing that leads to them is trusted.
        let trust = CertificateTrust::from_pem(texts.iter().map(String::as_str))
            .map_err(|error| CliError::input(format!("--cert-root: {error}")))?;
        let at = self.at.map_or_else(clock::now, Ok)?;
        Ok(Trusted::Certificates { trust, identity, at })
    }
}

impl Trusted {
    pub(super) fn check(&self, bundle: &Bundle) -> Result<(Signed, Signer), VerifyError> {
        match self {
            Trusted::Key(key) => Ok((check_signature(bundle, key)?, Signer::Key(key.clone()))),
            Trusted::Certificates { trust, identity, at } => {
                let (signed, certified) = check_certificate(bundle, trust, identity, *at)?;
                let any_identity = *identity == ExpectedIdentity::InsecureAny;
                Ok((signed, Signer::Certificate { certified, at: *at, any_identity }))
            }
        }
    }
}

impl Signer {
    pub(super) fn to_value(&self) -> Value {
        match self {
            Signer::Key(key) => json!({"key_id": key.id()}),
            Signer::Certificate { certified, at, any_identity } => json!({
                "key_id": certified.key.id(),
                "subject": certified.subject,
                "identities": certified.identities,
                "certificate_checked_at": at,
                "insecure_any_identity": any_identity,
            }),
        }
    }
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Signer::Key(key) => write!(f, "key {}", key.id()),
            Signer::Certificate { certified, at, any_identity } => {
                let names = match certified.identities.is_empty() {
                    true => certified.subject.clone(),
                    false => certified.identities.join(", "),
                };
                let any = if *any_identity { "; insecure: anybody's would do" } else { "" };
                write!(f, "{} (certificate valid at {at}{any})", crate::output::plain(&names))
            }
        }
    }
}
