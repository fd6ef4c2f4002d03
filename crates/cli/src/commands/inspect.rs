use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};

use sealwright_attest::{MAX_BUNDLE_SIZE, parse_strict};

use crate::error::CliError;
use crate::files;
use crate::output::{self, STRONG, Ui};

mod bundle;
mod certificate;
mod decision;
mod entry;
mod note;
mod place;
mod predicate;
mod report;
mod statement;
mod timestamp;
mod trust;

use place::Problems;
use report::Report;

/// Explain a file in words: a bundle, a statement, a certificate, a log's checkpoint.
///
/// Knows Sigstore bundles of every version, OpenSSF model signatures and other in-toto statements
/// inside them or alone, DSSE envelopes, trusted roots, signed notes and checkpoints, certificates
/// and public keys (PEM or DER), RFC 3161 timestamps, decisions and verdicts; and JSON Lines of
/// these. Nothing is verified: what is shown is what the file says of itself, which anybody could
/// have written. To verify, use `sealwright verify`. Exit code 2 if the file is of no known kind,
/// or a part of it is malformed; the rest is explained all the same.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// File to explain.
    file: PathBuf,
}

/// What stands above every explanation.
const NOTICE: &str = "not verified: nothing here has been checked against a key";

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let bytes = files::read(&args.file, "file", MAX_BUNDLE_SIZE)?;
    let reports = explain(&bytes).map_err(|error| error.about(args.file.display()))?;
    let name = output::plain(&args.file.display().to_string());
    let size = output::size(bytes.len() as u64);
    let malformed: usize = reports.iter().map(|(_, report)| report.problems.len()).sum();
    let mut value = json!({
        "ok": malformed == 0,
        "verified": false,
        "notice": NOTICE,
        "file": output::path(&args.file),
        "size": bytes.len(),
    });
    let mut text = String::new();
    match reports.as_slice() {
        [(None, report)] => {
            text += &format!("{STRONG}{name}: {}, {size}{STRONG:#}\n{NOTICE}\n", report.title());
            text += &report.to_text();
            report.add_to(&mut value);
        }
        reports => {
            let lines = output::count(reports.len(), "document");
            text += &format!("{STRONG}{name}: JSON Lines, {lines}, {size}{STRONG:#}\n{NOTICE}\n");
            value["kind"] = json!("json-lines");
            let mut list = Vec::new();
            for (line, report) in reports {
                let line = line.unwrap_or_default();
                let title = report.title();
                text += &format!("\n{STRONG}line {line}: {title}{STRONG:#}\n{}", report.to_text());
                let mut item = json!({"line": line});
                report.add_to(&mut item);
                list.push(item);
            }
            value["lines"] = Value::Array(list);
        }
    }
    ui.result(&value, &text);
    if malformed == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let parts = match malformed {
        1 => "a part of it is malformed".to_owned(),
        count => format!("{count} parts of it are malformed"),
    };
    let error = CliError::input(format!("{}: {parts}", args.file.display()))
        .hint("see Problems above; a strict verifier will not accept it as it is");
    Ok(error.report_to_stderr(ui))
}

/// What the bytes are: one report, or one for each line with its number.
fn explain(bytes: &[u8]) -> Result<Vec<(Option<usize>, Report)>, CliError> {
    if bytes.trim_ascii_start().first() == Some(&b'{') {
        return explain_json(bytes);
    }
    let text = std::str::from_utf8(bytes).ok();
    let report = match text {
        Some(text) => certificate::explain_pem(text).or_else(|| note::explain(text)),
        None => timestamp::explain(bytes).or_else(|| certificate::explain_der(bytes)),
    };
    report.map(|report| vec![(None, report)]).ok_or_else(|| unknown("it is of no known kind"))
}

fn explain_json(bytes: &[u8]) -> Result<Vec<(Option<usize>, Report)>, CliError> {
    let whole = match parse_strict(bytes, MAX_BUNDLE_SIZE) {
        Ok(value) => return Ok(vec![(None, explain_value(&value, bytes)?)]),
        Err(error) => error,
    };
    let is_object = |(_, line): &(usize, &[u8])| line.trim_ascii().first() == Some(&b'{');
    let lines = bytes.split(|&byte| byte == b'\n').enumerate();
    let lines: Vec<_> = lines.filter(|(_, line)| !line.trim_ascii().is_empty()).collect();
    if lines.len() < 2 || !lines.iter().all(is_object) {
        return Err(CliError::input(whole.to_string()).hint(
            "the file is damaged, or not one of the formats in `sealwright inspect --help`",
        ));
    }
    let explain_line = |(at, line): (usize, &[u8])| {
        let report = match parse_strict(line, MAX_BUNDLE_SIZE) {
            Ok(value) => explain_value(&value, line)
                .unwrap_or_else(|_| Report::unreadable("something else", "it is of no known kind")),
            Err(error) => Report::unreadable("not JSON", &error.to_string()),
        };
        (Some(at + 1), report)
    };
    Ok(lines.into_iter().map(explain_line).collect())
}

/// Tells the formats apart by the members that only they have.
fn explain_value(value: &Value, bytes: &[u8]) -> Result<Report, CliError> {
    let problems = Problems::default();
    let has = |name: &str| value.get(name).is_some();
    let media_type = value.get("mediaType").and_then(Value::as_str).unwrap_or_default();
    let report = if media_type.starts_with("application/vnd.dev.sigstore.trustedroot") {
        trust::explain(value, bytes, &problems)
    } else if has("verificationMaterial") {
        bundle::explain(value, bytes, &problems)
    } else if has("payload") && has("payloadType") {
        bundle::explain_envelope(value, &problems)
    } else if has("_type") && has("predicateType") {
        statement::explain(value, bytes, &problems)
    } else if has("allowed") && has("basis") && has("violations") {
        decision::explain_record(value, &problems)
    } else if has("verdict") {
        decision::explain_verdict(value, &problems)
    } else if media_type.is_empty() {
        return Err(unknown("it is JSON of no known kind"));
    } else {
        return Err(unknown(&format!("media type {media_type:?} is of no known kind")));
    };
    Ok(report.with(problems))
}

fn unknown(what: &str) -> CliError {
    CliError::input(what).hint("`sealwright inspect --help` says what can be explained")
}
