//! The command line: what can be typed, and nothing of what it does.

use clap::{Parser, Subcommand};

use crate::commands::{
    admission, approve, attest, completions, demo, digest, evaluate, key, man, revoke, roles,
    serve, sign, verify,
};

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
    Attest(attest::Args),
    Evaluate(evaluate::Args),
    Approve(approve::Args),
    Revoke(revoke::Args),
    Key(key::Args),
    Roles(roles::Args),
    Serve(serve::Args),
    Admission(admission::Args),
    Demo(demo::Args),
    Completions(completions::Args),
    Man(man::Args),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
