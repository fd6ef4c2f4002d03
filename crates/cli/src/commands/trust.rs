use std::process::ExitCode;

use crate::error::CliError;
use crate::output::Ui;

mod fetch;

/// Learn whom to trust from an instance, and learn it anew when it changes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Fetch(fetch::Args),
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    match &args.command {
        Command::Fetch(args) => fetch::run(args, ui),
    }
}
