//! The command line: what can be typed, and nothing of what it does.

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use crate::commands::{
    admission, approve, attest, completions, demo, digest, doctor, evaluate, find, import, inspect,
    key, log, man, permit, policy, revoke, roles, serve, sign, trust, verify,
};
use crate::error::CliError;
use crate::output::Ui;

/// Prove that the model you run is the model you approved.
///
/// Exit codes: 0 accepted or done, 1 verification or policy refused, 2 unusable input, 3 the
/// environment failed (files, network, service).
#[derive(Debug, Parser)]
#[command(name = "sealwright", version, propagate_version = true, max_term_width = 100)]
pub(crate) struct Cli {
    /// Print one JSON object on standard output instead of text.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// One variant, one file in `commands/`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Digest(digest::Args),
    Sign(sign::Args),
    Verify(verify::Args),
    Inspect(inspect::Args),
    Attest(attest::Args),
    Evaluate(evaluate::Args),
    Approve(approve::Args),
    Reject(approve::RejectArgs),
    Revoke(revoke::Args),
    Permit(permit::Args),
    Key(key::Args),
    Roles(roles::Args),
    Serve(Box<serve::Args>),
    Trust(trust::Args),
    Log(log::Args),
    Find(find::Args),
    Import(import::Args),
    Doctor(doctor::Args),
    Policy(policy::Args),
    Admission(admission::Args),
    Demo(demo::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// Prints help and version as asked, and says what is wrong with a command line in the form of
/// every other error.
pub(crate) fn report(error: &clap::Error) -> ExitCode {
    let ui = Ui::new(std::env::args_os().any(|arg| arg == "--json"));
    let is_help = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    let is_missing = is_help || error.kind() == ErrorKind::MissingSubcommand;
    if !error.use_stderr() || (is_help && !ui.is_json()) {
        // A closed pipe has seen enough.
        let _ = error.print();
        return ExitCode::from(u8::from(is_help) * 2);
    }
    let error = if is_missing {
        CliError::input("a command is missing").hint("see `sealwright --help`")
    } else {
        usage_error(&error.render().to_string())
    };
    ui.finish(error.report(&ui))
}

/// clap's paragraphs in two lines: what is wrong; its tip, or the usage.
fn usage_error(rendered: &str) -> CliError {
    let (mut message, mut tips, mut usage) = (Vec::new(), Vec::new(), None);
    for line in rendered.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(tip) = line.strip_prefix("tip: ") {
            tips.push(tip);
        } else if let Some(line) = line.strip_prefix("Usage: ") {
            usage = Some(line);
        } else if !line.starts_with("For more information") && usage.is_none() {
            message.push(line.strip_prefix("error: ").unwrap_or(line));
        }
    }
    let hint = match (tips.is_empty(), usage) {
        (false, _) => tips.join("; "),
        (true, Some(usage)) => format!("usage: {usage}"),
        (true, None) => "try --help".to_owned(),
    };
    CliError::input(message.join(" ")).hint(hint)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
