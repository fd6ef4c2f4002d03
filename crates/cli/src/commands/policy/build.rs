use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use sealwright_attest::Signer;
use sealwright_policy::{BundleOptions, Policy, PolicyBundle};

use crate::error::CliError;
use crate::files::{self, Access};
use crate::keyref::{self, PassphraseArgs};
use crate::output::{self, GOOD, Ui};

/// Put a policy with its tests into an OPA bundle.
///
/// Nothing is written unless the policy can be loaded, the lint finds no error, and its tests pass, of
/// which there must be one. The same DIR gives the same bytes, but for a signature.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The policy: a directory with `.rego` files and data.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Where to write the bundle.
    #[arg(long, short, value_name = "FILE", default_value = "policy.tar.gz")]
    output: PathBuf,
    /// Name of the policy; that of DIR otherwise. Revisions count up under one name.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Revision of the policy: larger than that of every bundle before.
    #[arg(long, value_name = "N", default_value_t = 1)]
    revision: u64,
    /// Key for OPA's own signature in the bundle: `file:PATH` or a path.
    #[arg(long, value_name = "REF")]
    key: Option<String>,
    /// Scope of OPA's own signature.
    #[arg(long, value_name = "SCOPE", requires = "key", default_value = "")]
    scope: String,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    files::check_writable(&args.output)?;
    let name = name(args)?;
    let policy = Policy::load(&args.directory)?;
    let passed = policy.check_tests()?;
    let signer = args.key.as_deref();
    let signer = signer.map(|key| keyref::open_signer(key, &args.passphrase, ui)).transpose()?;
    let signer: Option<&dyn Signer> = signer.as_deref().map(|signer| signer as &dyn Signer);
    let signer = signer.map(|signer| (signer, args.scope.as_str()));
    let options = BundleOptions { name: &name, revision: args.revision, signer };
    let bytes = PolicyBundle::build(&policy, &options)?;
    files::write(&args.output, &bytes, Access::Public)?;
    let bundle = PolicyBundle::read(&bytes).map_err(sealwright_policy::PolicyError::from)?;
    let value = json!({
        "ok": true,
        "bundle": output::path(&args.output),
        "bundle_sha256": bundle.sha256(),
        "policy_digest": policy.digest(),
        "name": name,
        "revision": args.revision,
        "tests_passed": passed,
        "signed": bundle.is_signed(),
    });
    let rows = [
        ("policy", format!("{name}, revision {}", args.revision)),
        ("policy digest", policy.digest().to_owned()),
        ("bundle digest", bundle.sha256().to_string()),
        ("tests", format!("{passed} passed")),
        ("bundle", args.output.display().to_string()),
    ];
    ui.result(&value, &format!("{GOOD}built{GOOD:#}\n{}", output::fields(&rows)));
    Ok(ExitCode::SUCCESS)
}

fn name(args: &Args) -> Result<String, CliError> {
    if let Some(name) = &args.name {
        return Ok(name.clone());
    }
    let whole = args.directory.canonicalize();
    let whole = whole.map_err(|error| files::read_error(&args.directory, "directory", &error))?;
    let name = whole.file_name().and_then(|name| name.to_str()).map(str::to_ascii_lowercase);
    name.ok_or_else(|| CliError::input("the directory has no name").hint("give --name NAME"))
}
