use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Once;

use serde_json::Value;

use sealwright_attest::parse_strict;
use sealwright_policy::{ENGINE_THREAD, PolicyError, Suite};

use crate::error::CliError;
use crate::files;
use crate::output::{Ui, plain};

pub(crate) mod approval;
mod build;
mod decisions;
mod diff;
mod digest;
mod eval;
mod explain;
mod fuzz;
mod init;
mod lint;
mod references;
mod sarif;
mod serve;
mod sign;
mod sources;
mod test;
mod verify;

/// Begin, test, check, ask, compare, build, sign and serve policies in Rego.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Init(init::Args),
    Test(test::Args),
    Eval(eval::Args),
    Lint(lint::Args),
    Fuzz(fuzz::Args),
    Explain(explain::Args),
    Diff(diff::Args),
    Digest(digest::Args),
    Build(build::Args),
    Sign(Box<sign::Args>),
    Verify(verify::Args),
    Serve(Box<serve::Args>),
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    quiet_panics();
    match &args.command {
        Command::Init(args) => init::run(args, ui),
        Command::Test(args) => test::run(args, ui),
        Command::Eval(args) => eval::run(args, ui),
        Command::Lint(args) => lint::run(args, ui),
        Command::Fuzz(args) => fuzz::run(args, ui),
        Command::Explain(args) => explain::run(args, ui),
        Command::Diff(args) => diff::run(args, ui),
        Command::Digest(args) => digest::run(args, ui),
        Command::Build(args) => build::run(args, ui),
        Command::Sign(args) => sign::run(args, ui),
        Command::Verify(args) => verify::run(args, ui),
        Command::Serve(args) => serve::run(args, ui),
    }
}

/// A panic of the engine is an answer here, a deny with a code, and no fault of the program: one
/// line for the first of them, and no backtrace.
fn quiet_panics() {
    static TOLD: Once = Once::new();
    let others = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().name() != Some(ENGINE_THREAD) {
            return others(info);
        }
        let reason = info.payload_as_str().unwrap_or("for no given reason");
        TOLD.call_once(|| {
            let _ = writeln!(std::io::stderr(), "note: the engine gave up: {}", plain(reason));
        });
    }));
}

/// The rule that decisions are made by.
const PACKAGE: &str = "data.sealwright.main";
const RULE: &str = "decision";
const DECISION: &str = "data.sealwright.main.decision";

/// The largest input, in bytes.
const MAX_INPUT_BYTES: usize = 16 << 20;

/// Reads what a policy is asked.
fn read_input(path: &Path) -> Result<Value, CliError> {
    let bytes = files::read(path, "input", MAX_INPUT_BYTES)?;
    parse_strict(&bytes, MAX_INPUT_BYTES).map_err(|error| {
        CliError::input(format!("input {}: {error}", path.display()))
            .hint("the input is one JSON document; see docs/policy.md for its shape")
    })
}

/// What to ask if nothing else is said: our own entry point, or that of cosign or
/// policy-controller; or else the one rule that lists reasons against, as Gatekeeper and Conftest have
/// it.
fn default_query(suite: &Suite) -> Result<String, CliError> {
    let known = [(PACKAGE, RULE), ("data.signature", "allow"), ("data.sigstore", "isCompliant")]
        .into_iter()
        .find(|(package, rule)| suite.declares(package, rule))
        .map(|(package, rule)| format!("{package}.{rule}"));
    if let Some(query) = known {
        return Ok(query);
    }
    let packages: BTreeSet<Vec<String>> = suite.packages().into_iter().collect();
    let packages = packages.iter().map(|package| format!("data.{}", package.join(".")));
    // Next to a rule that says yes, one that finds nothing against it is no yes.
    let listing = packages.flat_map(|package| {
        ["allow", "deny", "violation"]
            .into_iter()
            .filter(|rule| suite.declares(&package, rule))
            .map(|rule| format!("{package}.{rule}"))
            .collect::<Vec<_>>()
    });
    match &listing.collect::<Vec<_>>()[..] {
        [query] if !query.ends_with(".allow") => Ok(query.clone()),
        [] | [_] => Err(CliError::input(format!("there is no rule {DECISION}"))
            .hint("name the rule: --query data.PACKAGE.RULE")),
        several => {
            let several = several.join(", ");
            Err(CliError::input(format!("there is no rule {DECISION}; is it {several}?"))
                .hint("name the rule: --query data.PACKAGE.RULE"))
        }
    }
}

/// Rego that cannot be used at all.
fn unusable(error: &PolicyError) -> CliError {
    let hint = match error {
        PolicyError::Rego { .. } => {
            "mend the Rego; rules of before Rego v1 (no `if`) need --v0-compatible"
        }
        PolicyError::DataShadowsRule { .. } => "rename the rule, or take the value out of the data",
        PolicyError::Recursion { .. } => "break the circle: Rego has no recursion",
        _ => "see docs/policy.md",
    };
    CliError::input(CliError::chain(error)).hint(hint)
}
