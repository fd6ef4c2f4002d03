//! Errors for people, and exit codes for scripts: the one table.

use std::process::ExitCode;

use serde_json::json;

use sealwright_attest::{
    BundleError, CertificateError, RoleBindingError, SignError, TrustError, VerifyError,
};
use sealwright_manifest::ManifestError;

use crate::output::{BAD, STRONG, Ui, plain};

/// What went wrong, what to do about it, and whose turn it is.
#[derive(Debug)]
pub(crate) struct CliError {
    kind: Kind,
    message: String,
    hint: Option<String>,
}

/// Decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Verification or policy refused.
    Failed = 1,
    /// The command line or an input file is unusable.
    Input = 2,
    /// Files, network or service failed.
    Environment = 3,
}

impl CliError {
    /// Verification or policy refused: exit code 1.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { kind: Kind::Failed, message: message.into(), hint: None }
    }

    /// Unusable input: exit code 2.
    pub(crate) fn input(message: impl Into<String>) -> Self {
        Self { kind: Kind::Input, message: message.into(), hint: None }
    }

    /// The environment failed: exit code 3.
    pub(crate) fn environment(message: impl Into<String>) -> Self {
        Self { kind: Kind::Environment, message: message.into(), hint: None }
    }

    /// The error with its causes, unless it names them itself.
    pub(crate) fn chain(error: &dyn std::error::Error) -> String {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let more = error.to_string();
            if !text.contains(&more) {
                text = format!("{text}: {more}");
            }
            cause = error.source();
        }
        text
    }

    /// Adds what to do next.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Puts `context` before the message: `model.sig: not a bundle`.
    pub(crate) fn about(self, context: impl std::fmt::Display) -> Self {
        Self { message: format!("{context}: {}", self.message), ..self }
    }

    /// What went wrong.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Says it, and gives the exit code.
    pub(crate) fn report(&self, ui: &Ui) -> ExitCode {
        if ui.is_json() {
            ui.result(&json!({"ok": false, "error": self.to_value()}), "");
        }
        self.report_to_stderr(ui)
    }

    /// The error in a command's JSON object.
    pub(crate) fn to_value(&self) -> serde_json::Value {
        json!({"message": self.message, "hint": self.hint, "exit_code": self.kind as u8})
    }

    /// The same without JSON, for a command that has already printed its object.
    pub(crate) fn report_to_stderr(&self, ui: &Ui) -> ExitCode {
        ui.note(&format!("{BAD}error:{BAD:#} {}", plain(&self.message)));
        if let Some(hint) = &self.hint {
            ui.note(&format!("{STRONG}hint:{STRONG:#} {}", plain(hint)));
        }
        ExitCode::from(self.kind as u8)
    }
}

impl From<ManifestError> for CliError {
    fn from(error: ManifestError) -> Self {
        let message = error.to_string();
        match error {
            ManifestError::NotFound { .. } => Self::input(message).hint("check the path of MODEL"),
            ManifestError::Unreadable { .. } => {
                Self::environment(message).hint("every file of a model must be readable")
            }
            ManifestError::Empty { .. } => {
                Self::input(message).hint("MODEL must be a directory with files, or one file")
            }
            ManifestError::Name { .. } => {
                Self::input(message).hint("rename the file, or leave it out with --ignore-path")
            }
            ManifestError::Symlink { .. } => Self::input(message).hint(
                "replace the link by the file it points to (`cp -rL`), \
                 or leave it out with --ignore-path",
            ),
            ManifestError::SpecialFile { .. } => Self::input(message).hint(
                "a model has regular files only: remove it, or leave it out with --ignore-path",
            ),
            ManifestError::ChangedWhileReading { .. } => Self::input(message)
                .hint("wait until the model is written completely, then try again"),
            ManifestError::TooDeep { .. } | ManifestError::TooManyFiles { .. } => {
                Self::input(message).hint("check that MODEL is the right directory")
            }
            ManifestError::Mismatch { .. } => {
                Self::failed(message).hint("the file was changed after it was signed")
            }
            ManifestError::TooLarge { .. } | ManifestError::Order { .. } => {
                Self::input(message).hint("check that MODEL is the right directory")
            }
        }
    }
}

impl From<BundleError> for CliError {
    fn from(error: BundleError) -> Self {
        let hint = match error {
            BundleError::Json(_) => "the file is damaged or is not a bundle; fetch it again",
            BundleError::NoStatement => "sign models with `sealwright sign`",
            _ => "expected a Sigstore bundle as `sealwright sign` or `attest` write it",
        };
        Self::input(error.to_string()).hint(hint)
    }
}

impl From<VerifyError> for CliError {
    fn from(error: VerifyError) -> Self {
        let hint = match &error {
            VerifyError::OtherKey { .. } => "verify with the public key of whoever signed",
            VerifyError::UnknownSigner { .. } => "the owner must bind the signer's key to a role",
            VerifyError::KeyEnded { .. } => "sign it again with a key that counts",
            VerifyError::AmbiguousSigner { .. } => "the owners must bind it to one principal only",
            VerifyError::Keyless { .. } => {
                "check --trusted-root: it must name the authority of the certificate"
            }
            VerifyError::Signature => "the bundle was altered, or signed by another key",
            VerifyError::NotLogged => "sign with --service URL so that the statement is logged",
            VerifyError::NotKeySigned => "trust its root: --cert-root PEM with --identity SAN",
            VerifyError::NotCertificateSigned => "trust the signer's key: --key PUB",
            VerifyError::Certificate(_) => {
                "check --cert-root, and --at if the certificate has expired since"
            }
            VerifyError::Identity { .. } => "check who should have signed: --identity SAN",
            _ => "the signer must make the statement again",
        };
        Self::failed(error.to_string()).hint(hint)
    }
}

impl From<CertificateError> for CliError {
    fn from(error: CertificateError) -> Self {
        VerifyError::from(error).into()
    }
}

impl From<RoleBindingError> for CliError {
    fn from(error: RoleBindingError) -> Self {
        let message = error.to_string();
        match error {
            RoleBindingError::Owners(error) => Self { message, ..Self::from(error) },
            RoleBindingError::Type { .. } => {
                Self::input(message).hint("make one with `sealwright roles sign`")
            }
            _ => Self::input(message)
                .hint("see `sealwright roles sign --help` for the form of a role binding"),
        }
    }
}

impl From<TrustError> for CliError {
    fn from(error: TrustError) -> Self {
        Self::input(error.to_string()).hint(
            "use the trusted_root.json that `sealwright serve` writes into its data directory",
        )
    }
}

impl From<SignError> for CliError {
    fn from(error: SignError) -> Self {
        Self::environment(Self::chain(&error)).hint("the system gave no randomness; try again")
    }
}
