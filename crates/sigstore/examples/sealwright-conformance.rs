//! A client for the test suite of Sigstore clients (sigstore-conformance, `docs/cli_protocol.md`).
//!
//! ```text
//! sealwright-conformance verify-bundle [--staging] --bundle FILE
//!     (--certificate-identity ID --certificate-oidc-issuer URL | --key FILE)
//!     [--trusted-root FILE] FILE_OR_DIGEST
//! ```
//!
//! Exit 0: verified. Exit 1: refused, or could not be verified. Exit 2: not a command of the protocol
//! that is implemented. The trusted roots of the two public instances are those of the test data.

use std::fs::{self, File};
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use sealwright_attest::Timestamp;
use sealwright_sigstore::{
    Artifact, DigestAlgorithm, IdentityPolicy, ManagedKey, Matcher, Signer, SigstoreBundle,
    Thresholds, Trust, VerifiedSigstore, verify_artifact,
};

const PUBLIC_GOOD: &[u8] = include_bytes!("../tests/data/trust/public-good.trusted_root.json");
const STAGING: &[u8] = include_bytes!("../tests/data/trust/staging.trusted_root.json");

type Failure = Box<dyn std::error::Error>;

#[derive(Default)]
struct VerifyBundle {
    staging: bool,
    bundle: String,
    certificate_identity: Option<String>,
    certificate_oidc_issuer: Option<String>,
    key: Option<String>,
    trusted_root: Option<String>,
    artifact: String,
}

#[expect(clippy::print_stderr, reason = "a program of its own")]
fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("verify-bundle") => {}
        Some("sign-bundle") => {
            eprintln!("sign-bundle: keyless signing is not supported yet");
            return ExitCode::from(2);
        }
        other => {
            eprintln!("unknown command {other:?}");
            return ExitCode::from(2);
        }
    }
    let command = match VerifyBundle::parse(arguments) {
        Ok(command) => command,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    match command.run() {
        Ok(verified) => {
            let second = if verified.confirmed() { "confirmed" } else { "not judged" };
            eprintln!("verified, {second} by the second verifier: {:?}", verified.times());
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("refused: {failure}");
            ExitCode::FAILURE
        }
    }
}

impl VerifyBundle {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut command = Self::default();
        let mut bundle = None;
        let mut artifact = None;
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--staging" => command.staging = true,
                "--bundle" => bundle = Some(value()?),
                "--certificate-identity" => command.certificate_identity = Some(value()?),
                "--certificate-oidc-issuer" => command.certificate_oidc_issuer = Some(value()?),
                "--key" => command.key = Some(value()?),
                "--trusted-root" => command.trusted_root = Some(value()?),
                option if option.starts_with("--") => return Err(format!("unknown {option}")),
                _ if artifact.is_none() => artifact = Some(argument),
                _ => return Err(format!("one artifact, please, not also {argument}")),
            }
        }
        command.bundle = bundle.ok_or("--bundle is missing")?;
        command.artifact = artifact.ok_or("the artifact is missing")?;
        Ok(command)
    }

    fn run(&self) -> Result<VerifiedSigstore, Failure> {
        let trusted_root = match &self.trusted_root {
            Some(file) => fs::read(file)?,
            None => (if self.staging { STAGING } else { PUBLIC_GOOD }).to_vec(),
        };
        let trust = Trust::parse(&trusted_root)?;
        let bundle = SigstoreBundle::parse(&fs::read(&self.bundle)?)?;
        let artifact = self.artifact(&bundle)?;
        let identity;
        let key;
        let signer = match (&self.key, &self.certificate_identity, &self.certificate_oidc_issuer) {
            (Some(file), None, None) => {
                key = ManagedKey::from_pem(&fs::read_to_string(file)?)?;
                Signer::Key(&key)
            }
            (None, Some(subject), Some(issuer)) => {
                identity = IdentityPolicy::new(Matcher::exact(subject), Matcher::exact(issuer));
                Signer::Identity(&identity)
            }
            _ => return Err("either --key, or identity and issuer".into()),
        };
        let thresholds = Thresholds::of(&trust);
        let now = Timestamp::from_unix(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
        verify_artifact(&bundle, &artifact, &trust, signer, &thresholds, now)
            .map_err(|error| format!("{}: {error}", error.code()).into())
    }

    /// A digest if it looks like one and is not a file, as the protocol says.
    fn artifact(&self, bundle: &SigstoreBundle) -> Result<Artifact<'static>, Failure> {
        let digest = self.artifact.strip_prefix("sha256:").and_then(|text| hex::decode(text).ok());
        let digest = digest.filter(|_| !Path::new(&self.artifact).exists());
        let named =
            digest.and_then(|digest| Artifact::from_digest(DigestAlgorithm::Sha256, &digest));
        match named {
            Some(artifact) => Ok(artifact),
            None => {
                let file = File::open(&self.artifact)?;
                Ok(Artifact::read(file, &bundle.digest_algorithms())?)
            }
        }
    }
}
