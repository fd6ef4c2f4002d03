//! A table held against gates, and the predicate that says how it went.

use serde::Serialize;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use crate::gates::{Comparator, Gate, Gates, GatesError};
use crate::interval::{Interval, IntervalMethod};
use crate::metrics::{Defect, Metric, Value};
use crate::table::{Table, TableError};

/// Predicate type of [`Evaluation::predicate`].
pub const PREDICATE_TYPE: &str = "https://in-toto.io/attestation/test-result/v0.1";

/// Name of the gates file in the predicate's `configuration`.
pub const GATES_NAME: &str = "gates.toml";

/// Name of the predictions table in the predicate's `configuration`.
pub const PREDICTIONS_NAME: &str = "predictions.csv";

/// The predicate's extension field: in-toto's test result has names of tests, but no numbers.
pub const METRICS_FIELD: &str = "sealwright_metrics";

/// Why there is no evaluation. A gate that fails is not an error.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EvaluateError {
    /// The predictions table was refused.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The gates file was refused.
    #[error(transparent)]
    Gates(#[from] GatesError),
}

/// How a predictions table fared against gates.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    measurements: Vec<Measurement>,
    gates_sha256: String,
    predictions_sha256: String,
}

/// One gate's outcome; in the predicate an entry of [`METRICS_FIELD`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measurement {
    /// What was measured.
    pub metric: Metric,
    /// On all rows ("overall"), or between the groups of this column.
    pub slice: String,
    /// The value, from 0 to 1; `null` if it is not defined, and then the gate has failed.
    pub value: Option<f64>,
    /// Both ends of the 95 % confidence interval of the value, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ci95: Option<[f64; 2]>,
    /// How the interval was computed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ci95_method: Option<IntervalMethod>,
    /// Rows that the value was computed from.
    pub sample_size: u64,
    /// Which side of the threshold passes.
    pub comparator: Comparator,
    /// The threshold of the gate.
    pub threshold: f64,
    /// Whether the value is on the passing side and nothing speaks against it.
    pub passed: bool,
    /// What speaks against a value, wherever it lies; a sentence for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Computes, on a predictions table (CSV; see [`Table::parse`]), each metric that a gates file
/// (TOML; see [`Gates::parse`]) asks for, and holds it against its threshold.
///
/// # Errors
/// If either input is refused, or a column that a gate needs is absent.
pub fn evaluate(predictions: &[u8], gates: &[u8]) -> Result<Evaluation, EvaluateError> {
    let parsed = Gates::parse(gates)?;
    let table = Table::parse(predictions, &parsed.group_columns())?;
    let measurements = parsed
        .gates()
        .iter()
        .map(|gate| {
            let (value, interval) = measure(gate, &table, parsed.min_group_size())?;
            Ok(Measurement::new(gate, value, interval))
        })
        .collect::<Result<_, TableError>>()?;
    Ok(Evaluation {
        measurements,
        gates_sha256: hex::encode(Sha256::digest(gates)),
        predictions_sha256: hex::encode(Sha256::digest(predictions)),
    })
}

impl Evaluation {
    /// Whether every gate passed.
    pub fn passed(&self) -> bool {
        self.measurements.iter().all(|measurement| measurement.passed)
    }

    /// One measurement per gate, in the order of the gates file.
    pub fn measurements(&self) -> &[Measurement] {
        &self.measurements
    }

    /// The predicate of type [`PREDICATE_TYPE`]: `result`, `configuration` (gates file and
    /// predictions table by digest), the names of the tests that passed and failed, and the numbers
    /// in [`METRICS_FIELD`]. Nothing is ever only warned of.
    pub fn predicate(&self) -> Json {
        json!({
            "result": if self.passed() { "PASSED" } else { "FAILED" },
            "configuration": [
                { "name": GATES_NAME, "digest": { "sha256": self.gates_sha256 } },
                { "name": PREDICTIONS_NAME, "digest": { "sha256": self.predictions_sha256 } },
            ],
            "passedTests": self.names(true),
            "warnedTests": [],
            "failedTests": self.names(false),
            METRICS_FIELD: self.measurements,
        })
    }

    fn names(&self, passed: bool) -> Vec<String> {
        let measurements = self.measurements.iter().filter(|m| m.passed == passed);
        measurements.map(Measurement::name).collect()
    }
}

impl Measurement {
    /// Name of the gate, such as `accuracy[overall]`.
    pub fn name(&self) -> String {
        format!("{}[{}]", self.metric, self.slice)
    }

    fn new(gate: &Gate, value: Value, interval: Option<Interval>) -> Self {
        let Value { number, sample_size, defect } = value;
        let holds = number.is_some_and(|number| gate.comparator.holds(number, gate.threshold));
        Self {
            metric: gate.metric,
            slice: gate.slice.clone(),
            value: number,
            ci95: interval.map(|interval| [interval.low, interval.high]),
            ci95_method: interval.map(|interval| interval.method),
            sample_size,
            comparator: gate.comparator,
            threshold: gate.threshold,
            passed: holds && defect.is_none(),
            reason: defect.as_ref().map(Defect::to_string),
        }
    }
}

fn measure(
    gate: &Gate,
    table: &Table,
    min_group_size: u32,
) -> Result<(Value, Option<Interval>), TableError> {
    let missing = |column: &str| TableError::MissingColumn { column: column.to_owned() };
    if gate.metric.compares_groups() {
        let groups = table.confusion_by_group(&gate.slice).ok_or_else(|| missing(&gate.slice))?;
        let value = gate.metric.between(&groups, u64::from(min_group_size));
        return Ok((value, gate.metric.interval_between(&groups)));
    }
    if gate.metric == Metric::RocAuc && table.scores().is_none() {
        return Err(missing("score"));
    }
    Ok((gate.metric.overall(table), gate.metric.interval_overall(table)))
}
