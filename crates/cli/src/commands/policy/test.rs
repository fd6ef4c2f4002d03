use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use regex::Regex;
use serde_json::{Map, Value, json};

use sealwright_policy::{Coverage, Suite, Test, TestRun};

use super::sources::RegoArgs;
use crate::error::CliError;
use crate::output::{BAD, DIM, GOOD, Ui, plain};

/// Run the `test_*` rules of Rego files, as `opa test` does.
///
/// Looks into directories for `.rego` files and `data.json`, `data.yaml`. A test passes if it is
/// defined and exactly true; `todo_test_*` rules are skipped. Exit code 1 when a test fails, 2 when
/// there is none or the Rego cannot be read.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Directories, files and OPA bundles; `a.b:FILE` is data at data.a.b.
    #[arg(value_name = "DIR|FILE", required = true)]
    paths: Vec<PathBuf>,
    /// List every test with its time, and what it prints.
    #[arg(long, short)]
    verbose: bool,
    /// Run only tests whose path (data.PACKAGE.test_NAME) matches.
    #[arg(long, short, value_name = "REGEX")]
    run: Option<Regex>,
    /// Report which lines were evaluated; with --json in OPA's form.
    #[arg(long, short)]
    coverage: bool,
    #[command(flatten)]
    rego: RegoArgs,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let suite = args.rego.load(&args.paths)?;
    let wanted = |test: &&Test| args.run.as_ref().is_none_or(|regex| regex.is_match(&path(test)));
    let tests: Vec<&Test> = suite.tests().iter().filter(wanted).collect();
    let mut tally = Tally::default();
    for test in tests {
        if test.todo {
            tally.skipped += 1;
            tally.rows.push(row(test, None));
            if args.verbose && !ui.is_json() {
                ui.line(&format!("{DIM}skip{DIM:#}  {}", plain(&path(test))));
            }
            continue;
        }
        let began = Instant::now();
        let run = suite.run(test);
        let took = began.elapsed();
        tally.add(test, &run, took);
        if !ui.is_json() && (args.verbose || run.fault.is_some()) {
            ui.line(&told(test, &run, took));
        }
    }
    if tally.passed + tally.failed == 0 {
        return Err(CliError::input("there are no tests to run")
            .hint("tests are rules whose names start with test_; see docs/policy.md"));
    }
    conclude(args, &suite, &tally, ui);
    Ok(ExitCode::from(u8::from(tally.failed > 0)))
}

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
    rows: Vec<Value>,
    covered: Coverage,
}

impl Tally {
    fn add(&mut self, test: &Test, run: &TestRun, took: Duration) {
        match run.fault {
            None => self.passed += 1,
            Some(_) => self.failed += 1,
        }
        self.rows.push(row(test, Some((run, took))));
        self.covered.add(&run.covered);
    }
}

fn path(test: &Test) -> String {
    format!("{}.{}", test.package, test.name)
}

/// One result in OPA's form (`opa test --format json`), and why it failed.
fn row(test: &Test, ran: Option<(&TestRun, Duration)>) -> Value {
    let mut row = json!({
        "location": {"file": test.file, "row": test.line, "col": 1},
        "package": test.package,
        "name": test.name,
    });
    let Some((run, took)) = ran else {
        row["skip"] = json!(true);
        return row;
    };
    row["duration"] = json!(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    if let Some(fault) = &run.fault {
        row["fail"] = json!(true);
        row["reason"] = json!(fault);
    }
    if !run.printed.is_empty() {
        row["output"] = json!(run.printed);
    }
    row
}

fn told(test: &Test, run: &TestRun, took: Duration) -> String {
    let mark = match run.fault {
        None => format!("{GOOD}pass{GOOD:#}"),
        Some(_) => format!("{BAD}FAIL{BAD:#}"),
    };
    let took = took.as_secs_f64() * 1000.0;
    let mut text = format!("{mark}  {}  {DIM}{took:.1} ms{DIM:#}", plain(&path(test)));
    if let Some(fault) = &run.fault {
        text += &format!("\n      {}:{}: {}", plain(&test.file), test.line, plain(fault));
    }
    for line in &run.printed {
        text += &format!("\n      {}", plain(line));
    }
    text
}

fn conclude(args: &Args, suite: &Suite, tally: &Tally, ui: &Ui) {
    let mut value = json!({
        "ok": tally.failed == 0,
        "passed": tally.passed,
        "failed": tally.failed,
        "skipped": tally.skipped,
        "tests": tally.rows,
    });
    let mut text = String::new();
    if args.coverage {
        let report = Report::of(suite, &tally.covered);
        text += &report.told();
        if let Some(fields) = value.as_object_mut() {
            fields.extend(report.fields());
        }
    }
    if tally.skipped > 0 {
        text += &format!("{} skipped\n", tally.skipped);
    }
    text += &format!("{} passed, {} failed", tally.passed, tally.failed);
    ui.result(&value, &text);
}

/// Lines of every file that were evaluated, and that were not.
struct Report {
    files: Vec<(String, BTreeSet<u32>, BTreeSet<u32>)>,
}

impl Report {
    fn of(suite: &Suite, covered: &Coverage) -> Self {
        let coverable = suite.coverable();
        let files = coverable.files().map(|(file, lines)| {
            let covered = covered.lines(file);
            let missed = lines.difference(&covered).copied().collect();
            (file.to_owned(), covered, missed)
        });
        Self { files: files.collect() }
    }

    fn totals(&self) -> (usize, usize) {
        let covered = self.files.iter().map(|(_, covered, _)| covered.len()).sum();
        let missed = self.files.iter().map(|(_, _, missed)| missed.len()).sum();
        (covered, missed)
    }

    fn told(&self) -> String {
        let (covered, missed) = self.totals();
        let percent = percent(covered, missed);
        let all = covered + missed;
        let mut text = format!("coverage {percent:.1} % ({covered} of {all} lines)\n");
        for (file, _, missed) in self.files.iter().filter(|(_, _, missed)| !missed.is_empty()) {
            let lines: Vec<String> = ranges(missed)
                .into_iter()
                .map(|(start, end)| match start == end {
                    true => start.to_string(),
                    false => format!("{start}-{end}"),
                })
                .collect();
            text += &format!("  {}: not evaluated: {}\n", plain(file), lines.join(", "));
        }
        text
    }

    /// `opa test --coverage --format json`.
    fn fields(&self) -> Map<String, Value> {
        let form = |lines: &BTreeSet<u32>| -> Vec<Value> {
            let range = |(start, end)| json!({"start": {"row": start}, "end": {"row": end}});
            ranges(lines).into_iter().map(range).collect()
        };
        let counts = |covered: usize, missed: usize| {
            Map::from_iter([
                ("covered_lines".to_owned(), json!(covered)),
                ("not_covered_lines".to_owned(), json!(missed)),
                ("coverage".to_owned(), json!(percent(covered, missed))),
            ])
        };
        let files = self.files.iter().map(|(file, covered, missed)| {
            let mut fields = counts(covered.len(), missed.len());
            fields.insert("covered".to_owned(), json!(form(covered)));
            fields.insert("not_covered".to_owned(), json!(form(missed)));
            (file.clone(), Value::Object(fields))
        });
        let files: Map<String, Value> = files.collect();
        let (covered, missed) = self.totals();
        let mut fields = counts(covered, missed);
        fields.insert("files".to_owned(), Value::Object(files));
        fields
    }
}

fn ranges(lines: &BTreeSet<u32>) -> Vec<(u32, u32)> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &line in lines {
        match ranges.last_mut() {
            Some((_, end)) if end.checked_add(1) == Some(line) => *end = line,
            _ => ranges.push((line, line)),
        }
    }
    ranges
}

/// Rounded to hundredths, as OPA gives it.
fn percent(covered: usize, missed: usize) -> f64 {
    let all = covered + missed;
    if all == 0 {
        return 0.0;
    }
    let hundredths = (covered * 10_000 + all / 2) / all;
    f64::from(u32::try_from(hundredths).unwrap_or(u32::MAX)) / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_joined_to_ranges() {
        let lines = BTreeSet::from([1, 2, 3, 5, 8, 9]);
        assert_eq!(ranges(&lines), [(1, 3), (5, 5), (8, 9)]);
        assert_eq!(percent(2, 1), 66.67);
        assert_eq!(percent(0, 0), 0.0);
    }
}
