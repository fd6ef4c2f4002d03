//! The files under `tests/data`.

use std::fs;
use std::path::{Path, PathBuf};

use sealwright_attest::Timestamp;
use sealwright_sigstore::{
    Artifact, DigestAlgorithm, IdentityPolicy, ManagedKey, Matcher, Signer, SigstoreBundle,
    SigstoreError, Thresholds, Trust, VerifiedSigstore, verify_artifact,
};

pub(crate) fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(relative)
}

pub(crate) fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn text(path: &Path) -> String {
    String::from_utf8(read(path)).unwrap()
}

/// The names of the directories in a directory, in order.
pub(crate) fn directories(of: &Path) -> Vec<String> {
    let entries = fs::read_dir(of).unwrap().map(Result::unwrap);
    let mut names: Vec<_> = entries
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

pub(crate) fn now() -> Timestamp {
    Timestamp::parse("2026-12-01T00:00:00Z").unwrap()
}

pub(crate) fn public_good() -> Vec<u8> {
    read(&path("trust/public-good.trusted_root.json"))
}

pub(crate) fn exactly(subject: &str, issuer: &str) -> IdentityPolicy {
    IdentityPolicy::new(Matcher::exact(subject), Matcher::exact(issuer))
}

/// One case: files, and what is required of them.
pub(crate) struct Case {
    pub(crate) bundle: Vec<u8>,
    pub(crate) trusted_root: Vec<u8>,
    pub(crate) identity: IdentityPolicy,
    /// PEM, instead of the identity.
    pub(crate) key: Option<String>,
}

impl Case {
    pub(crate) fn verify(&self, artifact: &Artifact<'_>) -> Result<VerifiedSigstore, String> {
        let trust = Trust::parse(&self.trusted_root).map_err(|error| error.to_string())?;
        self.verify_under(&trust, &Thresholds::of(&trust), artifact)
            .map_err(|error| format!("{}: {error}", error.code()))
    }

    pub(crate) fn verify_under(
        &self,
        trust: &Trust,
        thresholds: &Thresholds,
        artifact: &Artifact<'_>,
    ) -> Result<VerifiedSigstore, SigstoreError> {
        let bundle = SigstoreBundle::parse(&self.bundle)?;
        let key = self.key.as_deref().map(ManagedKey::from_pem).transpose()?;
        let signer = match &key {
            Some(key) => Signer::Key(key),
            None => Signer::Identity(&self.identity),
        };
        verify_artifact(&bundle, artifact, trust, signer, thresholds, now())
    }
}

/// What remains of an artifact when only its SHA-256 is known.
pub(crate) fn digest_only(bytes: &[u8]) -> Artifact<'static> {
    let sha256 = DigestAlgorithm::Sha256;
    Artifact::from_digest(sha256, &sha256.hash(bytes)).unwrap()
}
