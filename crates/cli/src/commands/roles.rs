use std::process::ExitCode;

use crate::error::CliError;
use crate::output::Ui;

mod add;
mod diff;
mod draft;
mod end;
mod latest;
mod lost;
mod publish;
mod rotate;
mod show;
mod sign;
mod table;

/// Bind people and pipelines to roles, as the owners.
///
/// A draft is a JSON file; `add`, `end`, `rotate` and `lost` change it. The owners sign it, one with
/// `sign`, the next with `sign --add`; once published, it is in force for all who ask the service.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: RolesCommand,
}

#[derive(Debug, clap::Subcommand)]
enum RolesCommand {
    Sign(Box<sign::Args>),
    Show(show::Args),
    Diff(diff::Args),
    Publish(Box<publish::Args>),
    Add(add::Args),
    End(end::Args),
    Rotate(rotate::Args),
    Lost(lost::Args),
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    match &args.command {
        RolesCommand::Sign(args) => sign::run(args, ui),
        RolesCommand::Show(args) => show::run(args, ui),
        RolesCommand::Diff(args) => diff::run(args, ui),
        RolesCommand::Publish(args) => publish::run(args, ui),
        RolesCommand::Add(args) => add::run(args, ui),
        RolesCommand::End(args) => end::run(args, ui),
        RolesCommand::Rotate(args) => rotate::run(args, ui),
        RolesCommand::Lost(args) => lost::run(args, ui),
    }
}
