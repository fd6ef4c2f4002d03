//! Whom to trust for a signature: keys, certificates of some people, or keyless identities.

use std::fmt;
use std::path::PathBuf;

use serde_json::{Value, json};

use sealwright_attest::{
    Bundle, BundleError, CertificateTrust, CertifiedKey, ExpectedIdentity, IN_TOTO_PAYLOAD_TYPE,
    LogProof, OmsPredicate, PublicKey, Signed, Statement, Timestamp, TrustedRoot,
    VerificationMaterial, VerifyError, check_certificate, check_signature, pae, predicate,
};
use sealwright_manifest::Sha256;
use sealwright_sigstore::{
    IdentityPolicy, SignerIdentity, SigstoreBundle, SigstoreError, Thresholds, Trust,
    VerifiedSigstore,
};

use crate::clock;
use crate::commands::verify::keyless::KeylessArgs;
use crate::error::CliError;
use crate::files;
use crate::keyref::{self, PassphraseArgs};
use crate::output::{self, Ui};
use crate::service::TrustArgs;

/// Whom to trust.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SignerArgs {
    /// Trust this public key: `file:PATH` or a path; may be repeated.
    #[arg(long = "key", value_name = "PUB", requires = "bundles")]
    keys: Vec<String>,
    /// Trust certificates that lead to a root in this PEM file; may be repeated. Certificates in it
    /// that are not self-signed help to find the way and are no roots.
    #[arg(long = "cert-root", value_name = "PEM", requires = "bundles")]
    cert_roots: Vec<PathBuf>,
    /// Trust the keyless certificate of this identity under --trusted-root (or any certificate of it
    /// under --cert-root): its subject alternative name, such as an e-mail address or URI. May be
    /// repeated.
    #[arg(long = "identity", value_name = "SAN", requires = "bundles")]
    identities: Vec<String>,
    /// OIDC issuer that vouched for the keyless identities.
    #[arg(long, value_name = "URL", conflicts_with_all = ["cert_roots", "keys"])]
    issuer: Option<String>,
    #[command(flatten)]
    pub(super) keyless: KeylessArgs,
    /// Accept anybody's certificate.
    #[arg(long, requires = "bundles", conflicts_with_all = ["identities", "identity_patterns", "keys"])]
    insecure_any_identity: bool,
    /// Time at which certificates must be valid; now otherwise.
    #[arg(long, value_name = "RFC3339", value_parser = Timestamp::parse, requires = "bundles")]
    at: Option<Timestamp>,
    #[command(flatten)]
    pub(super) passphrase: PassphraseArgs,
}

/// Whom to trust, with all files read.
pub(super) enum Trusted {
    /// Keys, and certificates beside them: a bundle says which of the two it is signed with.
    Own { keys: Keys, certificates: Option<Certificates> },
    /// Keyless certificates.
    Keyless(Keyless),
}

/// Keys, and the logs that can say when they signed.
pub(super) struct Keys {
    pub(super) keys: Vec<PublicKey>,
    root: Option<TrustedRoot>,
}

/// Certificates of these people at a time.
pub(super) struct Certificates {
    trust: CertificateTrust,
    identity: ExpectedIdentity,
    at: Timestamp,
}

/// Keyless certificates of these people.
pub(super) struct Keyless {
    pub(super) trust: Box<Trust>,
    /// At least one.
    pub(super) identities: Vec<IdentityPolicy>,
    any_identity: bool,
    pub(super) thresholds: Thresholds,
    pub(super) now: Timestamp,
}

/// Why a bundle is no signature by somebody trusted.
pub(super) enum Refusal {
    /// It is no bundle at all, or cannot be read.
    Unusable(CliError),
    /// It is one, and does not count; the code is stable.
    Refused { code: &'static str, error: CliError },
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
    Key {
        key: PublicKey,
        log: Option<Result<LogProof, VerifyError>>,
    },
    /// With those of the certificate's names that were asked for; all of them if anybody's would do.
    Certificate {
        certified: CertifiedKey,
        names: Vec<String>,
        at: Timestamp,
        any_identity: bool,
    },
    Keyless {
        verified: VerifiedSigstore,
        any_identity: bool,
    },
}

impl SignerArgs {
    /// Refuses witnesses if neither a keyless signature nor `has_policy` makes somebody ask for them.
    pub(super) fn check_witnesses(&self, has_policy: bool) -> Result<(), CliError> {
        let is_keyless =
            self.keys.is_empty() && self.cert_roots.is_empty() && self.names_somebody();
        self.keyless.check_witnesses(has_policy || is_keyless)
    }

    pub(super) fn open(&self, trust: &TrustArgs, ui: &Ui) -> Result<Trusted, CliError> {
        let keys = self.keys.iter().map(|key| keyref::open_public(key, &self.passphrase, ui));
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        let names_somebody = self.names_somebody();
        match (keys.is_empty(), self.cert_roots.is_empty()) {
            (true, _) | (false, false) if !names_somebody => Err(CliError::input(
                "a signature proves nothing without a signer",
            )
            .hint(
                "give --key PUB, or --cert-root PEM with --identity SAN, or --trusted-root FILE \
                     with --identity SAN and --issuer URL",
            )),
            (false, true) if names_somebody => {
                let message = "--identity is about certificates, and there is no --cert-root";
                Err(CliError::input(message).hint("give --cert-root PEM, or --key without it"))
            }
            (true, true) => self.open_keyless(trust).map(Trusted::Keyless),
            (no_keys, no_certificates) => {
                let root = if no_keys { None } else { trust.root()? };
                let certificates = (!no_certificates).then(|| self.open_certificates());
                let certificates = certificates.transpose()?;
                Ok(Trusted::Own { keys: Keys { keys, root }, certificates })
            }
        }
    }

    fn names_somebody(&self) -> bool {
        !self.identities.is_empty() || self.keyless.names_somebody() || self.insecure_any_identity
    }

    fn open_certificates(&self) -> Result<Certificates, CliError> {
        let identity = match self.insecure_any_identity {
            false => ExpectedIdentity::OneOf(self.identities.clone()),
            true => ExpectedIdentity::InsecureAny,
        };
        let texts = self.cert_roots.iter().map(|path| files::read_text(path, "root certificate"));
        let texts = texts.collect::<Result<Vec<_>, _>>()?;
        let trust =
            CertificateTrust::from_pem(texts.iter().map(String::as_str)).map_err(|error| {
                CliError::input(format!("--cert-root: {error}"))
                    .hint("give the root certificate, in PEM; intermediates may stand beside it")
            })?;
        let at = self.at.map_or_else(clock::now, Ok)?;
        Ok(Certificates { trust, identity, at })
    }

    fn open_keyless(&self, trust: &TrustArgs) -> Result<Keyless, CliError> {
        let missing = |what: &str| {
            CliError::input(format!("a keyless identity needs {what}"))
                .hint("give --trusted-root FILE, --identity SAN and --issuer URL together")
        };
        let path = trust.trusted_root.as_ref().ok_or_else(|| missing("--trusted-root FILE"))?;
        let root = files::read(path, "trusted root", 4 << 20)?;
        let trust = Trust::parse(&root)
            .map_err(|error| CliError::input(format!("{}: {error}", path.display())))?;
        let identities = match self.insecure_any_identity {
            true => vec![IdentityPolicy::insecure_any_identity()],
            false => {
                let issuer = self.keyless.issuer(self.issuer.as_deref())?;
                let issuer = issuer.ok_or_else(|| missing("--issuer URL"))?;
                let names = self.keyless.identities(&self.identities)?;
                names.map(|name| IdentityPolicy::new(name, issuer.clone())).collect()
            }
        };
        let thresholds = self.keyless.thresholds(&trust)?;
        let now = self.at.map_or_else(clock::now, Ok)?;
        let any_identity = self.insecure_any_identity;
        Ok(Keyless { trust: Box::new(trust), identities, any_identity, thresholds, now })
    }
}

impl Trusted {
    /// Checks the signature of a bundle over a statement.
    pub(super) fn check(&self, bytes: &[u8]) -> Result<Checked, Refusal> {
        let (keys, certificates) = match self {
            Trusted::Keyless(keyless) => return keyless.check(bytes),
            Trusted::Own { keys, certificates } => (keys, certificates),
        };
        let bundle = Bundle::parse(bytes)?;
        let has_certificate = matches!(bundle.material(), VerificationMaterial::Certificates(_));
        match certificates {
            Some(certificates) if has_certificate || keys.keys.is_empty() => {
                certificates.check(&bundle)
            }
            _ => keys.check(&bundle),
        }
    }
}

impl Keys {
    fn check(&self, bundle: &Bundle) -> Result<Checked, Refusal> {
        let mut outcome = None;
        for key in &self.keys {
            match check_signature(bundle, key) {
                Ok(signed) => {
                    let log = self.root.as_ref().map(|root| signed.check_log(bundle, root));
                    return Ok(Checked::of(&signed, Signer::Key { key: key.clone(), log }));
                }
                // One of many may be meant, and none is nearer than another.
                Err(VerifyError::OtherKey { found, .. }) if self.keys.len() > 1 => {
                    let wanted = "any of the given keys".to_owned();
                    outcome = outcome.or(Some(VerifyError::OtherKey { found, wanted }));
                }
                Err(error @ (VerifyError::OtherKey { .. } | VerifyError::Signature)) => {
                    outcome = Some(error);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(outcome.unwrap_or(VerifyError::NotCertificateSigned).into())
    }
}

impl Certificates {
    fn check(&self, bundle: &Bundle) -> Result<Checked, Refusal> {
        let (signed, certified) = check_certificate(bundle, &self.trust, &self.identity, self.at)?;
        let mut names = certified.identities.clone();
        if let ExpectedIdentity::OneOf(expected) = &self.identity {
            names.retain(|name| expected.contains(name));
        }
        let any_identity = self.identity == ExpectedIdentity::InsecureAny;
        let signer = Signer::Certificate { certified, names, at: self.at, any_identity };
        Ok(Checked::of(&signed, signer))
    }
}

impl Keyless {
    fn check(&self, bytes: &[u8]) -> Result<Checked, Refusal> {
        let bundle = SigstoreBundle::parse(bytes).map_err(|error| {
            let error = CliError::input(error.to_string()).hint("expected a Sigstore bundle");
            Refusal::Unusable(error)
        })?;
        let verified = self.any_of(|identity| {
            let signer = sealwright_sigstore::Signer::Identity(identity);
            sealwright_sigstore::verify_statement(
                &bundle,
                &self.trust,
                signer,
                &self.thresholds,
                self.now,
            )
        })?;
        Checked::keyless(verified, self.any_identity)
    }

    /// The first identity with which `verify` succeeds; the first error if it does with none.
    fn any_of<T>(
        &self,
        verify: impl Fn(&IdentityPolicy) -> Result<T, SigstoreError>,
    ) -> Result<T, SigstoreError> {
        let Some((first, others)) = self.identities.split_first() else {
            return verify(&IdentityPolicy::insecure_any_identity());
        };
        verify(first).or_else(|error| others.iter().find_map(|i| verify(i).ok()).ok_or(error))
    }
}

impl Refusal {
    /// A stable name for scripts.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Refusal::Unusable(_) => "BUNDLE_UNUSABLE",
            Refusal::Refused { code, .. } => code,
        }
    }

    pub(super) fn error(&self) -> &CliError {
        match self {
            Refusal::Unusable(error) | Refusal::Refused { error, .. } => error,
        }
    }
}

impl From<BundleError> for Refusal {
    fn from(error: BundleError) -> Self {
        Self::Unusable(error.into())
    }
}

impl From<VerifyError> for Refusal {
    fn from(error: VerifyError) -> Self {
        Self::Refused { code: error.code(), error: error.into() }
    }
}

impl From<SigstoreError> for Refusal {
    fn from(error: SigstoreError) -> Self {
        Self::Refused { code: error.code(), error: error.into() }
    }
}

impl From<Refusal> for CliError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unusable(error) | Refusal::Refused { error, .. } => error,
        }
    }
}

impl Checked {
    fn of(signed: &Signed, signer: Signer) -> Self {
        let (statement, oms) = (signed.statement().clone(), signed.oms().cloned());
        Self { statement, oms, digest: signed.digest(), signer }
    }

    fn keyless(verified: VerifiedSigstore, any_identity: bool) -> Result<Self, Refusal> {
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
    /// What is wrong with what is claimed of a log; a claim that does not hold makes the whole
    /// suspect.
    pub(super) fn log_problem(&self) -> Option<&VerifyError> {
        match self {
            Signer::Key { log: Some(Err(error)), .. } => Some(error),
            _ => None,
        }
    }

    /// What tells signers apart. Signatures that have any of it in common may be by one person, and
    /// count as one: a key and its certificate, somebody's two certificates, one key in two hands.
    pub(super) fn marks(&self) -> Vec<String> {
        let key_mark = |key: &PublicKey| format!("key {}", key.id());
        let name_mark = |name: &String| format!("name {name}");
        match self {
            Signer::Key { key, .. } => vec![key_mark(key)],
            Signer::Certificate { certified, names, .. } => {
                let names =
                    if names.is_empty() { std::slice::from_ref(&certified.subject) } else { names };
                names.iter().map(name_mark).chain([key_mark(&certified.key)]).collect()
            }
            // The key lives for minutes: who it was is all there is.
            Signer::Keyless { verified, .. } => vec![name_mark(&signer_names(verified).0)],
        }
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
            Signer::Certificate { certified, at, any_identity, .. } => {
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

    /// Who signed, where a whole key id has no room.
    pub(super) fn in_short(&self) -> String {
        match self {
            Signer::Key { key, .. } => format!("key {}", crate::service::short(&key.id())),
            other => other.to_string(),
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
            Signer::Certificate { certified, at, any_identity, .. } => {
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
