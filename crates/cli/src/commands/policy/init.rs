use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use sealwright_policy::{Policy, Profile};

use crate::error::CliError;
use crate::files::{self, Access};
use crate::output::{Ui, plain};

/// Write a policy to begin with: rules, their tests, a configuration and an explanation.
///
/// The rules are those of the library; the profile says which of them apply and how strictly. Adapt
/// `data.json` to your roles, builders and thresholds, then test it. Names in it that end in
/// `.example` are nobody's: a model is refused until they are yours.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// For whom.
    #[arg(long, value_enum, default_value_t = ProfileName::Starter)]
    profile: ProfileName,
    /// Where to write it: a new directory, or an empty one.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum ProfileName {
    /// Two roles approve, tests pass, nothing is revoked.
    Starter,
    /// Models that a bank decides with: model risk management.
    Bank,
    /// Models in a diagnostic device.
    Clinic,
}

impl From<ProfileName> for Profile {
    fn from(name: ProfileName) -> Self {
        match name {
            ProfileName::Starter => Self::Starter,
            ProfileName::Bank => Self::Bank,
            ProfileName::Clinic => Self::Clinic,
        }
    }
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let profile = Profile::from(args.profile);
    prepare(&args.directory)?;
    // Without the entry point nothing of it can be used: it comes last.
    let (last, first): (Vec<_>, Vec<_>) =
        profile.files().partition(|(name, _)| *name == "main.rego");
    for (name, bytes) in first.into_iter().chain(last) {
        files::write_new(&args.directory.join(name), bytes, Access::Public)?;
    }
    let policy = Policy::load(&args.directory)?;
    let names: Vec<&str> = profile.files().map(|(name, _)| name).collect();
    let shown = plain(&args.directory.display().to_string());
    let value = json!({
        "ok": true,
        "profile": profile.name(),
        "directory": args.directory,
        "files": names,
        "policy_digest": policy.digest(),
    });
    let text = format!(
        "wrote the profile {} to {shown}: {} files\nadapt {shown}/data.json, as {shown}/README.md \
         says, then run `sealwright policy test {shown}`\n",
        profile.name(),
        names.len()
    );
    ui.result(&value, &text);
    Ok(ExitCode::SUCCESS)
}

/// Makes the directory, or looks whether it is empty.
fn prepare(directory: &Path) -> Result<(), CliError> {
    let failed = |error: io::Error| files::read_error(directory, "directory", &error);
    match fs::create_dir(directory) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if fs::read_dir(directory).map_err(failed)?.next().is_some() {
                return Err(CliError::input(format!("{} is not empty", directory.display()))
                    .hint("name a new directory, or an empty one; nothing is overwritten"));
            }
            Ok(())
        }
        Err(error) => Err(failed(error)),
    }
}
