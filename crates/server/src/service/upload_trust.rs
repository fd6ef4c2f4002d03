//! Whom an instance believes when bundles are submitted to it.

use std::fs;
use std::path::{Path, PathBuf};

use sealwright_attest::{CertificateTrust, TrustedRoot};
use sealwright_authority::certificate_pem;
use sealwright_sigstore::Trust;

use super::StartError;
use super::authorities::Authorities;

/// Largest file of trusted roots or certificates.
const MAX_FILE: u64 = 4 << 20;

/// The trusted roots by which bundles with certificates are verified when they are submitted.
#[derive(Default)]
pub(crate) struct UploadTrust {
    /// The instance's own first.
    roots: Vec<Trust>,
    /// The instance's own log.
    own_log: Option<TrustedRoot>,
    /// The logs of the others.
    other_logs: Vec<TrustedRoot>,
    /// For certificates that are not of Fulcio's kind.
    certificates: Option<CertificateTrust>,
}

impl UploadTrust {
    /// The instance's own trusted root (JSON) and certificate authority, and what the operator named:
    /// more trusted roots, and PEM files with certificates of authorities.
    pub(super) fn read(
        own: &str,
        authorities: Option<&Authorities>,
        roots: &[PathBuf],
        certificates: &[PathBuf],
    ) -> Result<Self, StartError> {
        let bad = |path: &Path, problem: String| StartError::UploadTrust {
            path: path.to_owned(),
            problem,
        };
        let own_path = Path::new(super::data::TRUSTED_ROOT_FILE);
        let own_log = TrustedRoot::parse(own.as_bytes()).ok();
        let own = Trust::parse(own.as_bytes()).map_err(|e| bad(own_path, e.to_string()))?;
        let mut trust = Self { roots: vec![own], own_log, ..Self::default() };
        for path in roots {
            let bytes = read(path)?;
            let root = Trust::parse(&bytes).map_err(|error| bad(path, error.to_string()))?;
            trust.roots.push(root);
            // Logs whose names do not fit their keys: what Rekor v1 has is no reason to refuse.
            trust.other_logs.extend(TrustedRoot::parse(&bytes).ok());
        }
        let mut texts = Vec::new();
        for path in certificates {
            let bytes = read(path)?;
            let text = String::from_utf8(bytes)
                .map_err(|_| bad(path, "not a PEM file with certificates".to_owned()))?;
            CertificateTrust::from_pem([text.as_str()])
                .map_err(|error| bad(path, error.to_string()))?;
            texts.push(text);
        }
        texts.extend(authorities.map(|own| own.ca.chain().map(certificate_pem).collect()));
        if !texts.is_empty() {
            let own_path = Path::new("authority/ca.pem");
            let certificates = CertificateTrust::from_pem(texts.iter().map(String::as_str))
                .map_err(|error| bad(own_path, error.to_string()))?;
            trust.certificates = Some(certificates);
        }
        Ok(trust)
    }

    /// The trusted roots, the instance's own first.
    pub(super) fn roots(&self) -> &[Trust] {
        &self.roots
    }

    /// Whether this is the instance's own log, whose entry is put into every bundle anew.
    pub(super) fn is_own_log(&self, id: &[u8]) -> bool {
        self.own_log.as_ref().is_some_and(|root| root.log(id).is_some())
    }

    /// The logs of other instances.
    pub(super) fn other_logs(&self) -> &[TrustedRoot] {
        &self.other_logs
    }

    /// The authorities for certificates that are not of Fulcio's kind.
    pub(super) fn certificates(&self) -> Option<&CertificateTrust> {
        self.certificates.as_ref()
    }

    /// Whether there are any.
    pub(super) fn has_certificates(&self) -> bool {
        self.certificates.is_some()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, StartError> {
    let failed = |error| StartError::file(path, error);
    let size = fs::metadata(path).map_err(failed)?.len();
    if size > MAX_FILE {
        let problem = format!("larger than {MAX_FILE} bytes");
        return Err(StartError::UploadTrust { path: path.to_owned(), problem });
    }
    fs::read(path).map_err(failed)
}
