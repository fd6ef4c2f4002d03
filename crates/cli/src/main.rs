//! `sealwright`: prove that the model you run is the model you approved.

mod args;
mod cache;
mod clock;
mod commands;
mod daemon;
mod error;
mod evidence;
mod files;
mod gaps;
mod impact;
mod keyref;
mod model;
mod output;
mod owners;
mod policy;
mod service;
mod siblings;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let cli = match args::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return args::report(&error),
    };
    let ui = output::Ui::new(cli.json);
    let code = match commands::run(cli.command, &ui) {
        Ok(code) => code,
        Err(error) => error.report(&ui),
    };
    ui.finish(code)
}
