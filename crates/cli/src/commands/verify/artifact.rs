//! `verify --artifact`: any file, by a Sigstore bundle over its bytes or over a statement about it.

use std::path::Path;

use serde_json::{Value, json};

use sealwright_sigstore::{
    Artifact, ArtifactProblem, ManagedKey, Signer, SigstoreBundle, SigstoreError, Thresholds,
    Trust, VerifiedSigstore, verify_artifact,
};

use crate::clock;
use crate::commands::verify::Args;
use crate::commands::verify::signer::{Keyless, Trusted};
use crate::error::CliError;
use crate::files;
use crate::output::{GOOD, Ui, fields, plain};

/// The most bytes that are held in memory, for signatures that need all of them at once.
const MAX_WHOLE: usize = 1 << 30;

/// Verifies the file MODEL and gives the result in JSON and in text.
pub(super) fn run(args: &Args, path: &Path, ui: &Ui) -> Result<(Value, String), CliError> {
    let trusted = args.signer.open(&args.trust, ui)?;
    let bytes = files::read(path, "bundle", sealwright_attest::MAX_BUNDLE_SIZE)?;
    let bundle = SigstoreBundle::parse(&bytes).map_err(|error| {
        CliError::input(format!("{}: {error}", path.display())).hint("expected a Sigstore bundle")
    })?;
    let verified =
        verify(args, &trusted, &bundle).map_err(|error| error.about(args.model.path.display()))?;
    let who = super::signer::signer_names(&verified);
    let value = json!({
        "ok": true,
        "artifact": args.model.path,
        "signer": {"identity": who.0, "issuer": who.1},
        "signed_before": verified.signed_before(),
        "confirmed_by_second_verifier": verified.confirmed(),
    });
    let time =
        verified.signed_before().map_or("not proven".to_owned(), |t| format!("or before {t}"));
    let rows = [
        ("artifact", args.model.path.display().to_string()),
        ("signed by", plain(&who.0).to_string()),
        ("signed at", time),
    ];
    Ok((value, format!("{GOOD}verified{GOOD:#}\n{}", fields(&rows))))
}

fn verify(
    args: &Args,
    trusted: &Trusted,
    bundle: &SigstoreBundle,
) -> Result<VerifiedSigstore, CliError> {
    let key;
    let nobody;
    let (trust, signer, thresholds, now) = match trusted {
        Trusted::Keyless(Keyless { trust, identities, thresholds, now, .. }) => {
            let [identity] = &identities[..] else { return Err(not_one("--identity")) };
            (trust.as_ref(), Signer::Identity(identity), thresholds.clone(), *now)
        }
        Trusted::Own { keys, certificates: None } => {
            let [public] = &keys.keys[..] else { return Err(not_one("--key")) };
            key = ManagedKey::from_spki(&public.spki())?;
            nobody = Trust::nobody();
            (&nobody, Signer::Key(&key), Thresholds::of(&nobody), clock::now()?)
        }
        Trusted::Own { .. } => {
            return Err(CliError::input("--artifact takes --key or a keyless identity")
                .hint("give --key PUB, or --trusted-root FILE with --identity and --issuer"));
        }
    };
    let file = files::open(&args.model.path, "artifact")?;
    let artifact = Artifact::read(file, &bundle.digest_algorithms())
        .map_err(|error| files::read_error(&args.model.path, "artifact", &error))?;
    match verify_artifact(bundle, &artifact, trust, signer, &thresholds, now) {
        // A signature over the bytes themselves and not over their digest (Ed25519).
        Err(SigstoreError::Artifact(ArtifactProblem::BytesNeeded)) => {
            let bytes = files::read(&args.model.path, "artifact", MAX_WHOLE)?;
            let artifact = Artifact::from_bytes(&bytes);
            Ok(verify_artifact(bundle, &artifact, trust, signer, &thresholds, now)?)
        }
        other => Ok(other?),
    }
}

fn not_one(option: &str) -> CliError {
    CliError::input(format!("--artifact takes one {option}"))
        .hint("verify the bundles of several signers one by one")
}
