use std::process::ExitCode;

use clap::CommandFactory as _;

use crate::args::Cli;
use crate::error::CliError;
use crate::output::Ui;

/// Print shell completions.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Shell.
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "sealwright", &mut script);
    ui.raw(&script);
    Ok(ExitCode::SUCCESS)
}
