use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use sealwright_policy::{Finding, PolicyError, Severity};

use super::sarif;
use super::sources::RegoArgs;
use super::{DECISION, PACKAGE, RULE};
use crate::error::CliError;
use crate::output::{self, BAD, DIM, GOOD, STRONG, Ui, plain};
use crate::policy::load;

/// Find what may be wrong in a policy although it parses.
///
/// Errors are what a policy is refused for when it is to decide; warnings only may be wrong. Exit
/// code 1 when there are errors.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The policy: a directory with `.rego` files and data, or an OPA bundle.
    #[arg(value_name = "DIR|FILE")]
    directory: PathBuf,
    /// Take warnings for errors.
    #[arg(long)]
    strict: bool,
    /// Print SARIF 2.1.0, for code scanning services.
    #[arg(long, conflicts_with = "json")]
    sarif: bool,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let suite = RegoArgs::default().load(std::slice::from_ref(&args.directory))?;
    let mut findings = suite.lint();
    let first = findings.first().map(|finding| finding.file.clone());
    let place = first.unwrap_or_else(|| args.directory.display().to_string());
    if suite.tests().is_empty() {
        findings.push(Finding {
            file: place.clone(),
            line: 1,
            column: 1,
            code: "tests-missing",
            severity: Severity::Warning,
            message: "there are no tests".to_owned(),
            help: "write rules test_… in files whose names end in _test.rego".to_owned(),
        });
    }
    if suite.declares(PACKAGE, RULE) {
        findings.extend(not_loadable(args));
    }
    if args.strict {
        for finding in &mut findings {
            finding.severity = Severity::Error;
        }
    }
    let errors = findings.iter().filter(|f| f.severity == Severity::Error).count();
    if args.sarif {
        ui.line(&sarif::report(&findings).to_string());
    } else {
        let warnings = findings.len() - errors;
        let value = json!({
            "ok": errors == 0,
            "errors": errors,
            "warnings": warnings,
            "findings": findings,
        });
        let mut text: String = findings.iter().map(told).collect();
        let (errors, warnings) =
            (output::count(errors, "error"), output::count(warnings, "warning"));
        text += &format!("{errors}, {warnings}");
        ui.result(&value, &text);
    }
    Ok(ExitCode::from(u8::from(errors > 0)))
}

/// Rego that says it is a policy of ours, and could not be used as one for another reason than
/// the findings.
fn not_loadable(args: &Args) -> Option<Finding> {
    let error = load(&args.directory).err()?;
    let is_found = matches!(
        error,
        PolicyError::Unsafe { .. }
            | PolicyError::UnreplayableBuiltin { .. }
            | PolicyError::UnknownFunction { .. }
            | PolicyError::ComputedCall { .. }
    );
    (!is_found).then(|| Finding {
        file: args.directory.display().to_string(),
        line: 1,
        column: 1,
        code: "not-loadable",
        severity: Severity::Warning,
        message: format!(
            "it has {DECISION} and cannot be loaded as a policy: {}",
            CliError::chain(&error)
        ),
        help: "a policy has .rego files, and documents called data.json".to_owned(),
    })
}

fn told(finding: &Finding) -> String {
    let severity = match finding.severity {
        Severity::Error => format!("{BAD}error{BAD:#}"),
        Severity::Warning => format!("{STRONG}warning{STRONG:#}"),
    };
    let place = format!("{}:{}:{}", plain(&finding.file), finding.line, finding.column);
    format!(
        "{place}: {severity}: {}  {DIM}{}{DIM:#}\n    {GOOD}help:{GOOD:#} {}\n",
        plain(&finding.message),
        finding.code,
        plain(&finding.help)
    )
}
