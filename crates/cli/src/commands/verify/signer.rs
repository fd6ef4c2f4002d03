//! Whom to trust for a signature: exactly one choice.

use std::fmt;
use std::path::PathBuf;

use serde_json::{Value, json};

use sealwright_attest::{
    Bundle, CertificateTrust, CertifiedKey, ExpectedIdentity, IN_TOTO_PAYLOAD_TYPE, LogProof,
    OmsPredicate, PublicKey, Signed, Statement, Timestamp, TrustedRoot, VerifyError,
    check_certificate, check_signature, pae, predicate,
};
use sealwright_manifest::Sha256;
use sealwright_sigstore::{
    IdentityPolicy, Matcher, SignerIdentity, SigstoreBundle, SigstoreError, Thresholds, Trust,
    VerifiedSigstore,
};

use crate::clock;
use crate::error::CliError;
use crate::files;
use crate::keyref::{self, PassphraseArgs};
use crate::output::{self, Ui};
use crate::service::TrustArgs;

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
    /// Trust the keyless certificate of this identity under --trusted-root (or any certificate of it
    /// under --cert-root): its subject alternative name, such as an e-mail address or URI.
    #[arg(long, value_name = "SAN", requires = "bundle", conflicts_with = "key")]
    identity: Option<String>,
    /// OIDC issuer that vouched for a keyless identity.
    #[arg(long, value_name = "URL", requires = "identity", conflicts_with_all = ["cert_roots", "key"])]
    issuer: Option<String>,
    /// Accept anybody's certificate.
    #[arg(long, requires = "bundle", conflicts_with_all = ["identity", "key"])]
    insecure_any_identity: bool,
    /// Time at which certificates must be valid; now otherwise.
    #[arg(long, value_name = "RFC3339", value_parser = Timestamp::parse, requires = "bundle")]
    at: Option<Timestamp>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// A choice with its files read.
pub(super) enum Trusted {
    Key { key: PublicKey, root: Option<TrustedRoot> },
    Certificates { trust: CertificateTrust, identity: ExpectedIdentity, at: Timestamp },
    Keyless { trust: Box<Trust>, identity: IdentityPolicy, any_identity: bool, now: Timestamp },
}

/// A valid signature and what it covers.
pub(super) struct Checked {
    pub(super) statement: Statement,
    pub(super) oms: Option<OmsPredicate>,
    /// Names the statement: SHA-256 of its PAE.
    pub(super) digest: Sha256,
    pub(super) signer: Signer,
}

/// Who signed, as far as the choice can tell, and when.
pub(super) enum Signer {
    Key { key: PublicKey, log: Option<Result<LogProof, VerifyError>> },
    Certificate { certified: CertifiedKey, at: Timestamp, any_identity: bool },
    Keyless { verified: VerifiedSigstore, any_identity: bool },
}

impl SignerArgs {
    pub(super) fn open(&self, trust: &TrustArgs, ui: &Ui) -> Result<Trusted, CliError> {
        if let Some(key) = &self.key {
            let key = keyref::open_public(key, &self.passphrase, ui)?;
            return Ok(Trusted::Key { key, root: trust.root()? });
        }
        if self.identity.is_none() && !self.insecure_any_identity {
            return Err(CliError::input("a signature proves nothing without a signer").hint(
                "give --key PUB, or --cert-root PEM with --identity SAN, or --trusted-root FILE \
                 with --identity SAN and --issuer URL",
            ));
        }
        if self.cert_roots.is_empty() { self.open_keyless(trust) } else { self.open_certificates() }
    }

    fn open_certificates(&self) -> Result<Trusted, CliError> {
        let identity = match &self.identity {
            Some(identity) => ExpectedIdentity::Exactly(identity.clone()),
            None => ExpectedIdentity::InsecureAny,
        };
        let texts = self.cert_roots.iter().map(|path| files::read_text(path, "root certificate"));
        let texts = texts.collect::<Result<Vec<_>, _>>()?;
        let trust =
            CertificateTrust::from_pem(texts.iter().map(String::as_str)).map_err(|error| {
                CliError::input(format!("--cert-root: {error}"))
                    .hint("give the root certificate, in PEM; intermediates may stand beside it")
            })?;
        let at = self.at.map_or_else(clock::now, Ok)?;
        Ok(Trusted::Certificates { trust, identity, at })
    }

    fn open_keyless(&self, trust: &TrustArgs) -> Result<Trusted, CliError> {
        let missing = |what: &str| {
            CliError::input(format!("a keyless identity needs {what}"))
                .hint("give --trusted-root FILE, --identity SAN and --issuer URL together")
        };
        let path = trust.trusted_root.as_ref().ok_or_else(|| missing("--trusted-root FILE"))?;
        let root = files::read(path, "trusted root", 4 << 20)?;
        let trust = Trust::parse(&root)
            .map_err(|error| CliError::input(format!("{}: {error}", path.display())))?;
        let identity = match (&self.identity, &self.issuer) {
            (Some(identity), Some(issuer)) => {
                IdentityPolicy::new(Matcher::exact(identity), Matcher::exact(issuer))
            }
            (Some(_), None) => return Err(missing("--issuer URL")),
            (None, _) => IdentityPolicy::insecure_any_identity(),
        };
        let now = self.at.map_or_else(clock::now, Ok)?;
        let any_identity = self.identity.is_none();
        Ok(Trusted::Keyless { trust: Box::new(trust), identity, any_identity, now })
    }
}

impl Trusted {
    /// Checks the signature of a bundle over a statement.
    pub(super) fn check(&self, bytes: &[u8]) -> Result<Checked, CliError> {
        match self {
            Trusted::Key { key, root } => {
                let bundle = Bundle::parse(bytes)?;
                let signed = check_signature(&bundle, key)?;
                let log = root.as_ref().map(|root| signed.check_log(&bundle, root));
                Ok(Checked::of(&signed, Signer::Key { key: key.clone(), log }))
            }
            Trusted::Certificates { trust, identity, at } => {
                let bundle = Bundle::parse(bytes)?;
                let (signed, certified) = check_certificate(&bundle, trust, identity, *at)?;
                let any_identity = *identity == ExpectedIdentity::InsecureAny;
                let signer = Signer::Certificate { certified, at: *at, any_identity };
                Ok(Checked::of(&signed, signer))
            }
            Trusted::Keyless { trust, identity, any_identity, now } => {
                let bundle = SigstoreBundle::parse(bytes).map_err(|error| {
                    CliError::input(error.to_string()).hint("expected a Sigstore bundle")
                })?;
                let signer = sealwright_sigstore::Signer::Identity(identity);
                let thresholds = Thresholds::of(trust);
                let verified = sealwright_sigstore::verify_statement(
                    &bundle,
                    trust,
                    signer,
                    &thresholds,
                    *now,
                )?;
                Checked::keyless(verified, *any_identity)
            }
        }
    }
}

impl Checked {
    fn of(signed: &Signed, signer: Signer) -> Self {
        let (statement, oms) = (signed.statement().clone(), signed.oms().cloned());
        Self { statement, oms, digest: signed.digest(), signer }
    }

    fn keyless(verified: VerifiedSigstore, any_identity: bool) -> Result<Self, CliError> {
        let payload = verified.payload().unwrap_or_default();
        let statement = Statement::parse(payload).map_err(VerifyError::from)?;
        predicate::check(&statement.predicate_type, &statement.predicate)
            .map_err(VerifyError::from)?;
        let oms = OmsPredicate::is_oms_type(&statement.predicate_type)
            .then(|| OmsPredicate::from_statement(&statement))
            .transpose()
            .map_err(VerifyError::from)?;
        let digest = Sha256::of(&pae(IN_TOTO_PAYLOAD_TYPE, payload));
        Ok(Self { statement, oms, digest, signer: Signer::Keyless { verified, any_identity } })
    }
}

impl Signer {
    /// Whether what is claimed of a log holds; a claim that does not makes the whole suspect.
    pub(super) fn is_sound(&self) -> bool {
        !matches!(self, Signer::Key { log: Some(Err(_)), .. })
    }

    pub(super) fn add_to(&self, value: &mut Value) {
        match self {
            Signer::Key { key, log } => {
                value["key_id"] = json!(key.id());
                value["signer"] = json!({"key_id": key.id()});
                value["log"] = match log {
                    None => Value::Null,
                    Some(Ok(proof)) => crate::service::log_value(proof),
                    Some(Err(error)) => json!({"verified": false, "error": error.to_string()}),
                };
            }
            Signer::Certificate { certified, at, any_identity } => {
                value["key_id"] = json!(certified.key.id());
                value["signer"] = json!({
                    "subject": certified.subject,
                    "identities": certified.identities,
                    "certificate_checked_at": at,
                    "insecure_any_identity": any_identity,
                });
            }
            Signer::Keyless { verified, any_identity } => {
                let (identity, issuer) = signer_names(verified);
                let logs =
                    verified.logs().iter().map(|log| json!({"url": log.log, "index": log.index}));
                value["signer"] = json!({
                    "identity": identity,
                    "issuer": issuer,
                    "insecure_any_identity": any_identity,
                });
                value["signed_before"] = json!(verified.signed_before());
                value["logs"] = logs.collect();
            }
        }
    }

    /// When it was signed, for people.
    pub(super) fn time_text(&self) -> String {
        match self {
            Signer::Key { log: None, .. } => {
                "not proven (give --trusted-root for the log-signed time)".to_owned()
            }
            Signer::Key { log: Some(Ok(proof)), .. } => {
                format!("or before {}", crate::service::log_text(proof))
            }
            Signer::Key { log: Some(Err(error)), .. } => {
                format!("{}{error}{:#}", output::BAD, output::BAD)
            }
            Signer::Certificate { .. } => "not proven".to_owned(),
            Signer::Keyless { verified, .. } => match verified.signed_before() {
                Some(time) => format!("or before {time}"),
                None => "not proven".to_owned(),
            },
        }
    }
}

/// Identity and issuer.
pub(super) fn signer_names(verified: &VerifiedSigstore) -> (String, Option<String>) {
    match verified.signer() {
        SignerIdentity::Certificate { subject, issuer, .. } => (subject.clone(), issuer.clone()),
        SignerIdentity::Key { .. } => ("the given key".to_owned(), None),
    }
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let any = |any_identity: &bool| match any_identity {
            true => "; insecure: anybody's would do",
            false => "",
        };
        match self {
            Signer::Key { key, .. } => write!(f, "key {}", key.id()),
            Signer::Certificate { certified, at, any_identity } => {
                let names = match certified.identities.is_empty() {
                    true => certified.subject.clone(),
                    false => certified.identities.join(", "),
                };
                let any = any(any_identity);
                write!(f, "{} (certificate valid at {at}{any})", output::plain(&names))
            }
            Signer::Keyless { verified, any_identity } => {
                let (identity, issuer) = signer_names(verified);
                let issuer = issuer.unwrap_or_else(|| "an unnamed issuer".to_owned());
                let (identity, issuer) = (output::plain(&identity), output::plain(&issuer));
                write!(f, "{identity} (by {issuer}{})", any(any_identity))
            }
        }
    }
}

impl From<SigstoreError> for CliError {
    fn from(error: SigstoreError) -> Self {
        let hint = "check --trusted-root, --identity and --issuer, and that the bundle is whole";
        Self::failed(format!("{error} ({})", error.code())).hint(hint)
    }
}
