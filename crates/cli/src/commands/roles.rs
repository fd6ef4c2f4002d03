use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use sealwright_attest::{Owners, RoleBinding, parse_strict};

use crate::error::CliError;
use crate::files;
use crate::keyref::{self, SigningKeyArgs};
use crate::output::{self, GOOD, Ui};
use crate::owners::{OwnerArgs, read_bundles};
use crate::service::{KeyId, ServiceArgs, TrustArgs, make};

/// Bind people and pipelines to roles, as the owner.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: RolesCommand,
}

#[derive(Debug, clap::Subcommand)]
enum RolesCommand {
    Sign(Box<SignArgs>),
    Show(ShowArgs),
}

/// Sign a role binding with the owner's key.
///
/// FILE is JSON: {"principals": [{"name", "publicKeys": [PEM …], "roles": [{"role", "validFrom",
/// "validUntil"}]}]}. A text in `publicKeys` that is not PEM is the path of a PEM file, relative to
/// FILE.
#[derive(Debug, clap::Args)]
struct SignArgs {
    /// JSON file with the principals.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    key: SigningKeyArgs,
    /// Where to write the bundle.
    #[arg(long, short, value_name = "FILE", default_value = "roles.sigstore.json")]
    output: PathBuf,
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    trust: TrustArgs,
}

/// Show a role binding, after checking that the owner signed it.
#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// Role binding.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    owners: OwnerArgs,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    match &args.command {
        RolesCommand::Sign(args) => sign(args, ui),
        RolesCommand::Show(args) => show(args, ui),
    }
}

fn sign(args: &SignArgs, ui: &Ui) -> Result<ExitCode, CliError> {
    let root = args.trust.root()?;
    let bytes = files::read(&args.file, "role binding", 4 << 20)?;
    let mut predicate = parse_strict(&bytes, 4 << 20).map_err(|error| {
        CliError::input(format!("{}: {error}", args.file.display()))
            .hint("a role binding is one JSON object; see `sealwright roles sign --help`")
    })?;
    files::check_writable(&args.output)?;
    inline_keys(&mut predicate, &files::parent(&args.file))?;
    let statement = RoleBinding::statement(predicate)?;
    let signer = args.key.open(ui)?;
    let output = args.output.clone();
    let made =
        make(&statement, KeyId::Hint, signer.as_ref(), &args.service, root.as_ref(), output)?;
    let signer = Owners::new(vec![made.key.clone()], 1)?;
    let binding = RoleBinding::verify(&[made.bundle.clone()], &signer, None)?;
    let mut value = made.to_value();
    value["ok"] = json!(true);
    value["principals"] = principals_value(&binding);
    let mut rows = vec![("principals", binding.principals().len().to_string())];
    rows.extend(made.rows());
    ui.result(&value, &format!("{GOOD}roles bound{GOOD:#}\n{}", output::fields(&rows)));
    Ok(ExitCode::SUCCESS)
}

fn show(args: &ShowArgs, ui: &Ui) -> Result<ExitCode, CliError> {
    let owners = args.owners.require()?;
    let binding = RoleBinding::verify(&read_bundles(&args.file)?, &owners, None)
        .map_err(|error| CliError::from(error).about(args.file.display()))?;
    let value = json!({
        "ok": true,
        "statement": binding.digest(),
        "principals": principals_value(&binding),
    });
    let mut text = String::new();
    for principal in binding.principals() {
        text += &format!("{}\n", principal.name);
        for grant in &principal.roles {
            text += &format!("  {}  {} to {}\n", grant.role, grant.valid_from, grant.valid_until);
        }
    }
    ui.result(&value, &text);
    Ok(ExitCode::SUCCESS)
}

fn principals_value(binding: &RoleBinding) -> serde_json::Value {
    let principal = |principal: &sealwright_attest::Principal| {
        json!({
            "name": principal.name,
            "key_ids": principal.keys.iter().map(|key| key.id()).collect::<Vec<_>>(),
            "roles": principal.roles,
        })
    };
    binding.principals().iter().map(principal).collect()
}

/// Replaces paths in `publicKeys` by the PEM text of the files.
fn inline_keys(
    predicate: &mut serde_json::Value,
    directory: &std::path::Path,
) -> Result<(), CliError> {
    let principals = predicate.get_mut("principals").and_then(|list| list.as_array_mut());
    for principal in principals.into_iter().flatten() {
        let keys = principal.get_mut("publicKeys").and_then(|list| list.as_array_mut());
        for key in keys.into_iter().flatten() {
            if let Some(path) = key.as_str().filter(|text| !text.contains("-----BEGIN")) {
                *key = json!(keyref::read_public(&directory.join(path))?.pem());
            }
        }
    }
    Ok(())
}
