//! One command, one file: its arguments (which are its help), one `run`, its helpers below.

pub(crate) mod admission;
pub(crate) mod approve;
pub(crate) mod attest;
pub(crate) mod completions;
pub(crate) mod demo;
pub(crate) mod digest;
pub(crate) mod doctor;
pub(crate) mod evaluate;
pub(crate) mod find;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod key;
pub(crate) mod log;
pub(crate) mod man;
pub(crate) mod permit;
pub(crate) mod policy;
pub(crate) mod revoke;
pub(crate) mod roles;
pub(crate) mod serve;
pub(crate) mod sign;
pub(crate) mod trust;
pub(crate) mod verify;

use std::process::ExitCode;

use crate::args::Command;
use crate::error::CliError;
use crate::output::Ui;

/// Runs one command.
pub(crate) fn run(command: Command, ui: &Ui) -> Result<ExitCode, CliError> {
    match command {
        Command::Digest(args) => digest::run(&args, ui),
        Command::Sign(args) => sign::run(&args, ui),
        Command::Verify(args) => verify::run(&args, ui),
        Command::Inspect(args) => inspect::run(&args, ui),
        Command::Attest(args) => attest::run(&args, ui),
        Command::Doctor(args) => doctor::run(&args, ui),
        Command::Find(args) => find::run(&args, ui),
        Command::Import(args) => import::run(&args, ui),
        Command::Evaluate(args) => evaluate::run(&args, ui),
        Command::Approve(args) => approve::run(&args, ui),
        Command::Reject(args) => approve::run_reject(&args, ui),
        Command::Revoke(args) => revoke::run(&args, ui),
        Command::Permit(args) => permit::run(&args, ui),
        Command::Key(args) => key::run(&args, ui),
        Command::Roles(args) => roles::run(&args, ui),
        Command::Serve(args) => serve::run(&args, ui),
        Command::Trust(args) => trust::run(&args, ui),
        Command::Log(args) => log::run(&args, ui),
        Command::Policy(args) => policy::run(&args, ui),
        Command::Admission(args) => admission::run(&args, ui),
        Command::Demo(args) => demo::run(&args, ui),
        Command::Completions(args) => completions::run(&args, ui),
        Command::Man(args) => man::run(&args, ui),
    }
}
