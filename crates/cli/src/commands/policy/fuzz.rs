use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use sealwright_policy::{Change, FuzzOptions, FuzzReport, Turned, fuzz};

use super::sources::RegoArgs;
use super::{default_query, read_input};
use crate::error::CliError;
use crate::output::{BAD, DIM, GOOD, Ui, plain};

/// Change an input field by field, and list what is allowed and should not be.
///
/// Every field goes missing and becomes null, empty, negative, huge, of another type, nearly the
/// same text, a list with entries twice. Of an allowed input it lists the changes of fields the
/// policy reads that change nothing, then changes the denied ones once more; a denied input must
/// stay denied. Exit code 1 when a deny turned into an allow.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The policy: a directory with `.rego` files and data, or an OPA bundle.
    #[arg(value_name = "DIR|FILE")]
    directory: PathBuf,
    /// What it is asked (JSON), allowed or denied.
    #[arg(long, short, value_name = "FILE")]
    input: PathBuf,
    /// The rule that decides; data.sealwright.main.decision otherwise.
    #[arg(long, short, value_name = "RULE")]
    query: Option<String>,
    /// Where the "no" of a denied input is (JSON pointer): what happens there may turn it into a
    /// yes.
    #[arg(long, value_name = "POINTER")]
    except: Vec<String>,
    /// How many inputs to evaluate at most.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    limit: usize,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let input = read_input(&args.input)?;
    let suite = RegoArgs::default().load(std::slice::from_ref(&args.directory))?;
    let query = args.query.clone().map_or_else(|| default_query(&suite), Ok)?;
    let options = FuzzOptions { query, limit: args.limit, except: args.except.clone() };
    let report = fuzz(&suite, &input, &options);
    let turned = report.turned.len();
    let mut value = json!(report);
    value["ok"] = json!(turned == 0);
    value["query"] = json!(options.query);
    ui.result(&value, &told(&report));
    Ok(ExitCode::from(u8::from(turned > 0)))
}

fn told(report: &FuzzReport) -> String {
    let mut text = match report.allows {
        true => "the input is allowed\n".to_owned(),
        false => format!("the input is denied: {}\n", plain(&reasons(&report.codes))),
    };
    if !report.still_allowed.is_empty() {
        text += "still allowed, although the policy reads the field:\n";
    }
    for changes in report.still_allowed.chunk_by(|a, b| a.pointer == b.pointer) {
        let kinds: Vec<&str> = changes.iter().map(|change| change.kind).collect();
        let place = changes.first().map(place).unwrap_or_default();
        text += &format!("  {GOOD}{place}{GOOD:#}: {}\n", kinds.join(", "));
    }
    for turned in &report.turned {
        text += &turn(turned);
    }
    if report.left_out > 0 {
        text += &format!("{} more were not tried; see --limit\n", report.left_out);
    }
    if report.refused_before > 0 {
        let count = report.refused_before;
        text +=
            &format!("{count} were left out: no decision is asked with fields of other types\n");
    }
    let turned = report.turned.len();
    let (evaluated, still) = (report.evaluated, report.still_allowed.len());
    text + &format!(
        "{evaluated} inputs evaluated, {still} changes still allowed, \
         {turned} denies turned into an allow"
    )
}

fn turn(turned: &Turned) -> String {
    let from = turned.denied_by.as_ref().map(|first| format!("{}, then ", shown(first)));
    format!(
        "{BAD}ALLOWED{BAD:#}  {}{}  {DIM}was {}{DIM:#}\n",
        from.unwrap_or_default(),
        shown(&turned.allowed_by),
        plain(&reasons(&turned.codes))
    )
}

fn shown(change: &Change) -> String {
    format!("{} {}", place(change), change.kind)
}

fn place(change: &Change) -> String {
    match change.pointer.as_str() {
        "" => "the whole input".to_owned(),
        pointer => plain(pointer),
    }
}

fn reasons(codes: &[String]) -> String {
    if codes.is_empty() { "denied without a code".to_owned() } else { codes.join(", ") }
}
