//! `--certificate`: the OMS certificate method, for `sign` and `attest`.

use std::path::PathBuf;

use serde_json::{Value, json};

use sealwright_attest::{CertificateError, PublicKey, SigningCertificate, Timestamp};

use crate::clock;
use crate::error::CliError;
use crate::files;
use crate::output::{self, STRONG, Ui, plain};

/// The certificate to sign with.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::commands) struct CertificateArgs {
    /// Sign with this certificate for the key, in PEM; others in the file, after it, are those that
    /// lead to its root. Verify with --cert-root and --identity.
    #[arg(long, value_name = "PEM")]
    certificate: Option<PathBuf>,
    /// Certificates between --certificate and its root, in PEM, in any order; may be repeated. The
    /// root itself is for verifiers to have, and does not go into the bundle.
    #[arg(long = "certificate-chain", value_name = "PEM", requires = "certificate")]
    chain: Vec<PathBuf>,
}

/// A certificate that may sign with the key, and when that was looked at.
pub(in crate::commands) struct Certificate {
    pub(in crate::commands) signing: SigningCertificate,
    at: Timestamp,
}

impl CertificateArgs {
    /// Reads the certificates, if any are given.
    pub(in crate::commands) fn read(&self) -> Result<Option<SigningCertificate>, CliError> {
        let Some(leaf) = &self.certificate else { return Ok(None) };
        let texts = self.chain.iter().map(|path| files::read_text(path, "certificate chain"));
        let texts = texts.collect::<Result<Vec<_>, _>>()?;
        let text = files::read_text(leaf, "certificate")?;
        SigningCertificate::from_pem(&text, texts.iter().map(String::as_str))
            .map(Some)
            .map_err(|error| unusable(&error))
    }
}

impl Certificate {
    /// `signing` for a signature by `key`, now.
    pub(in crate::commands) fn of(
        signing: SigningCertificate,
        key: &PublicKey,
    ) -> Result<Self, CliError> {
        let certified = signing.certified();
        if certified.key != *key {
            let subject = certified.subject.clone();
            return Err(unusable(&CertificateError::OtherKey { subject }));
        }
        Ok(Self { at: clock::now()?, signing })
    }

    /// The names that it vouches for, or at least its subject.
    pub(in crate::commands) fn names(&self) -> String {
        let certified = self.signing.certified();
        match certified.identities.is_empty() {
            true => certified.subject.clone(),
            false => certified.identities.join(", "),
        }
    }

    /// For people, after the label.
    pub(in crate::commands) fn to_row(&self) -> String {
        let count = output::count(self.signing.count(), "certificate");
        format!("{} ({count})", plain(&self.names()))
    }

    /// For `--json`.
    pub(in crate::commands) fn to_value(&self) -> Value {
        let certified = self.signing.certified();
        json!({
            "subject": certified.subject,
            "identities": certified.identities,
            "certificates": self.signing.count(),
            "root_left_out": self.signing.left_out(),
            "valid_now": self.signing.check_validity(self.at).is_ok(),
        })
    }

    /// Says what whoever signs may not expect.
    pub(in crate::commands) fn say_notes(&self, ui: &Ui) {
        let note = |text: String| ui.note(&format!("{STRONG}note:{STRONG:#} {text}"));
        if let Some(root) = self.signing.left_out() {
            note(format!("the root {} is not put into the bundle: verifiers have it", plain(root)));
        }
        if let Err(error) = self.signing.check_validity(self.at) {
            let error = plain(&error.to_string());
            note(format!("{error}: verifiers refuse the signature, unless they give --at"));
        }
        if self.signing.certified().identities.is_empty() {
            note(
                "the certificate has no subject alternative name: no --identity will match it"
                    .to_owned(),
            );
        }
    }
}

/// A certificate that a signature with it would be refused for.
fn unusable(error: &CertificateError) -> CliError {
    let hint = match error {
        CertificateError::OtherKey { .. } => {
            "give the certificate of the --key; in a file with several it must come first"
        }
        CertificateError::NoLink { .. } => {
            "leave it out, or give the certificate that is missing between it and the others"
        }
        CertificateError::NotPem | CertificateError::Malformed => {
            "give certificates in PEM (-----BEGIN CERTIFICATE-----)"
        }
        CertificateError::Key => "make one with `sealwright key generate`, and have it certified",
        CertificateError::Usage { .. } => {
            "ask the authority for one with digitalSignature and codeSigning"
        }
        _ => "every certificate must be an authority's, and have signed the one below it",
    };
    CliError::input(error.to_string()).hint(hint)
}
