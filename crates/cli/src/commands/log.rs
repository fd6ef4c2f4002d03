use std::process::ExitCode;

use crate::error::CliError;
use crate::output::Ui;

mod monitor;
mod witness;

/// Watch transparency logs: cosign what only grows, and look at what they hold.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Witness(witness::Args),
    Monitor(monitor::Args),
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    match &args.command {
        Command::Witness(args) => witness::run(args, ui),
        Command::Monitor(args) => monitor::run(args, ui),
    }
}
