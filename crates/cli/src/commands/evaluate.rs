use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use sealwright_evaluate::{
    EvaluateError, Evaluation, MAX_GATES_BYTES, MAX_TABLE_BYTES, Measurement,
};

use crate::commands::attest::{self, MadeStatement, StatementArgs};
use crate::error::CliError;
use crate::files;
use crate::keyref::SigningKeyArgs;
use crate::model::ModelArgs;
use crate::output::{self, BAD, DIM, GOOD, Ui};
use crate::service::{ServiceArgs, TrustArgs};

/// Compute accuracy and fairness from a predictions table, hold them against gates, and attest.
///
/// The table is CSV with the columns id, label, prediction, optionally score, and one column for
/// each group. Gates are a TOML file of `[[gate]]` with metric, slice, comparator, threshold. With
/// --key the numbers become a signed test-result statement, passed or not. Exit code 1 when a gate
/// fails.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Predictions on held-out data (CSV).
    #[arg(long, value_name = "FILE")]
    predictions: PathBuf,
    /// Thresholds (TOML).
    #[arg(long, value_name = "FILE")]
    gates: PathBuf,
    /// Key to sign the result with: `file:PATH` or a path. Without it nothing is attested.
    #[arg(long, value_name = "REF")]
    key: Option<String>,
    #[command(flatten)]
    passphrase: crate::keyref::PassphraseArgs,
    /// Where to write the bundle; beside the model otherwise.
    #[arg(long, short, value_name = "FILE", requires = "key")]
    output: Option<PathBuf>,
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    trust: TrustArgs,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let predictions = files::read(&args.predictions, "predictions", MAX_TABLE_BYTES)?;
    let gates = files::read(&args.gates, "gates", MAX_GATES_BYTES)?;
    let evaluation = sealwright_evaluate::evaluate(&predictions, &gates).map_err(|error| {
        let file = match &error {
            EvaluateError::Table(_) => &args.predictions,
            EvaluateError::Gates(_) => &args.gates,
        };
        CliError::input(format!("{}: {error}", file.display()))
            .hint("correct the predictions table or the gates; nothing was attested")
    })?;
    let made =
        args.key.as_ref().map(|key| attest_result(args, key, &evaluation, ui)).transpose()?;
    let metrics: Vec<_> = evaluation.measurements().iter().map(measurement_value).collect();
    let mut value = json!({"ok": evaluation.passed(), "metrics": metrics});
    let mut text = table(&evaluation);
    if let Some(made) = &made {
        value["model_digest"] = json!(made.model_digest);
        value["attestation"] = made.made.to_value();
        let mut rows = vec![("model digest", made.model_digest.clone())];
        rows.push(("statement", made.made.digest.clone()));
        rows.extend(made.made.rows());
        text += &format!("\n{}", output::fields(&rows));
    }
    ui.result(&value, &text);
    Ok(ExitCode::from(u8::from(!evaluation.passed())))
}

fn attest_result(
    args: &Args,
    key: &str,
    evaluation: &Evaluation,
    ui: &Ui,
) -> Result<MadeStatement, CliError> {
    let out = StatementArgs {
        key: SigningKeyArgs { key: key.to_owned(), passphrase: args.passphrase.clone() },
        output: args.output.clone(),
        service: args.service.clone(),
        trust: args.trust.clone(),
    };
    attest::prepare(&args.model, &out, sealwright_evaluate::PREDICATE_TYPE, None, ui)?
        .sign(evaluation.predicate())
}

fn measurement_value(measurement: &Measurement) -> serde_json::Value {
    json!({
        "metric": measurement.metric.name(),
        "slice": measurement.slice,
        "value": measurement.value,
        "ci95": measurement.ci95,
        "comparator": measurement.comparator.to_string(),
        "threshold": measurement.threshold,
        "passed": measurement.passed,
    })
}

fn table(evaluation: &Evaluation) -> String {
    let verdict = match evaluation.passed() {
        true => format!("{GOOD}passed{GOOD:#}"),
        false => format!("{BAD}failed{BAD:#}"),
    };
    let mut text = format!("{verdict}\n");
    for m in evaluation.measurements() {
        let mark =
            if m.passed { format!("{GOOD}ok{GOOD:#}  ") } else { format!("{BAD}FAIL{BAD:#}") };
        let value = m.value.map_or("undefined".to_owned(), |value| format!("{value:.4}"));
        let interval = m
            .ci95
            .map_or_else(String::new, |[low, high]| format!("{DIM}  [{low:.4}, {high:.4}]{DIM:#}"));
        text += &format!(
            "{mark}  {:<42} {value:>9}  {} {}{interval}\n",
            m.name(),
            m.comparator,
            m.threshold
        );
        if let Some(reason) = m.reason.as_ref().filter(|_| !m.passed) {
            text += &format!("      {reason}\n");
        }
    }
    text
}
