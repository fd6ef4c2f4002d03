//! The gates file: which metrics a model must reach, and on which slices.
//!
//! ```toml
//! min_group_size = 30
//!
//! [[gate]]
//! metric = "accuracy"
//! slice = "overall"
//! comparator = ">="
//! threshold = 0.85
//!
//! [[gate]]
//! metric = "demographic_parity_difference"
//! slice = "race"
//! comparator = "<="
//! threshold = 0.2
//! ```

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::metrics::Metric;
use crate::table::RESERVED;

/// Largest gates file that is read, in bytes.
pub const MAX_GATES_BYTES: usize = 1 << 20;

/// The slice that is all rows.
pub const OVERALL: &str = "overall";

/// Least rows that a rate of a group is taken over, if the gates file does not say.
pub const DEFAULT_MIN_GROUP_SIZE: u32 = 30;

/// Why a gates file was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GatesError {
    /// The file is larger than [`MAX_GATES_BYTES`].
    #[error("the gates file has {bytes} bytes, more than {MAX_GATES_BYTES}")]
    TooLarge {
        /// Size of the file.
        bytes: usize,
    },
    /// Not UTF-8, which TOML is.
    #[error("the gates file is not UTF-8")]
    NotUtf8,
    /// Not TOML, a key that is unknown or absent, or a value of the wrong type.
    #[error("the gates file: {message}")]
    Toml {
        /// What the parser says, with line and column.
        message: String,
    },
    /// There is no gate: whatever the predictions are, they would pass.
    #[error("the gates file has no gate")]
    Empty,
    /// Two gates on one metric and slice: they have one name and could contradict each other.
    #[error("there are two gates on {metric}[{slice}]")]
    Duplicate {
        /// Metric of both.
        metric: Metric,
        /// Slice of both.
        slice: String,
    },
    /// A threshold outside the metric's range from 0 to 1, NaN or infinite.
    #[error("the threshold of {metric}[{slice}] is {threshold}, expected a number from 0 to 1")]
    Threshold {
        /// Metric of the gate.
        metric: Metric,
        /// Slice of the gate.
        slice: String,
        /// The threshold.
        threshold: f64,
    },
    /// A gate that a worse model passes sooner, such as accuracy at most 0.9.
    #[error("{metric}[{slice}] must be gated with {expected}")]
    Direction {
        /// Metric of the gate.
        metric: Metric,
        /// Slice of the gate.
        slice: String,
        /// The comparator that makes sense.
        expected: Comparator,
    },
    /// A metric over all rows on a group column, or one that compares groups on "overall" or on a
    /// column that does not hold groups.
    #[error("{metric} has no value on the slice {slice:?}")]
    Slice {
        /// Metric of the gate.
        metric: Metric,
        /// Slice of the gate.
        slice: String,
    },
}

/// A gates file that makes sense: at least one gate, each different from the others.
#[derive(Debug, Clone, PartialEq)]
pub struct Gates {
    gates: Vec<Gate>,
    min_group_size: u32,
}

/// One metric on one slice, and the threshold that it is held against.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// What is measured.
    pub metric: Metric,
    /// [`OVERALL`], or the column whose groups are compared.
    pub slice: String,
    /// Which side of the threshold passes.
    pub comparator: Comparator,
    /// The threshold, from 0 to 1; the value itself passes.
    pub threshold: f64,
}

/// Which side of a threshold passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Comparator {
    /// The threshold or more.
    #[serde(rename = ">=")]
    AtLeast,
    /// The threshold or less.
    #[serde(rename = "<=")]
    AtMost,
}

impl Gates {
    /// Reads a gates file.
    ///
    /// # Errors
    /// Any [`GatesError`]; unknown keys are refused, since a misspelt one would switch a gate off.
    pub fn parse(bytes: &[u8]) -> Result<Self, GatesError> {
        if bytes.len() > MAX_GATES_BYTES {
            return Err(GatesError::TooLarge { bytes: bytes.len() });
        }
        let text = str::from_utf8(bytes).map_err(|_| GatesError::NotUtf8)?;
        let file: GatesFile = toml::from_str(text)
            .map_err(|error| GatesError::Toml { message: error.to_string().trim().to_owned() })?;
        if file.gate.is_empty() {
            return Err(GatesError::Empty);
        }
        let mut seen = HashSet::new();
        for gate in &file.gate {
            gate.check()?;
            if !seen.insert((gate.metric, gate.slice.as_str())) {
                let slice = gate.slice.clone();
                return Err(GatesError::Duplicate { metric: gate.metric, slice });
            }
        }
        let min_group_size = file.min_group_size.map_or(DEFAULT_MIN_GROUP_SIZE, NonZeroU32::get);
        Ok(Self { gates: file.gate, min_group_size })
    }

    /// The gates, in the order of the file.
    pub fn gates(&self) -> &[Gate] {
        &self.gates
    }

    /// Least rows that a rate of a group is taken over; with fewer, the gate fails.
    pub fn min_group_size(&self) -> u32 {
        self.min_group_size
    }

    /// The columns whose groups are compared.
    pub fn group_columns(&self) -> BTreeSet<&str> {
        let gates = self.gates.iter().filter(|gate| gate.metric.compares_groups());
        gates.map(|gate| gate.slice.as_str()).collect()
    }
}

impl Gate {
    /// Name of the gate in `passedTests` and `failedTests`, such as `accuracy[overall]`.
    pub fn name(&self) -> String {
        format!("{}[{}]", self.metric, self.slice)
    }

    fn check(&self) -> Result<(), GatesError> {
        let (metric, slice, threshold) = (self.metric, self.slice.clone(), self.threshold);
        let of_groups = slice != OVERALL && !slice.is_empty() && !RESERVED.contains(&&*slice);
        if metric.compares_groups() && !of_groups || !metric.compares_groups() && slice != OVERALL {
            return Err(GatesError::Slice { metric, slice });
        }
        // NaN is in no range.
        if !(0.0..=1.0).contains(&threshold) {
            return Err(GatesError::Threshold { metric, slice, threshold });
        }
        let expected =
            if metric.higher_is_better() { Comparator::AtLeast } else { Comparator::AtMost };
        if self.comparator != expected {
            return Err(GatesError::Direction { metric, slice, expected });
        }
        Ok(())
    }
}

impl Comparator {
    /// Whether a value is on the passing side; NaN never is.
    pub fn holds(self, value: f64, threshold: f64) -> bool {
        match self {
            Self::AtLeast => value >= threshold,
            Self::AtMost => value <= threshold,
        }
    }
}

impl fmt::Display for Comparator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AtLeast => ">=",
            Self::AtMost => "<=",
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GatesFile {
    min_group_size: Option<NonZeroU32>,
    #[serde(default)]
    gate: Vec<Gate>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(metric: &str, slice: &str, comparator: &str, threshold: &str) -> String {
        format!(
            "[[gate]]\nmetric = \"{metric}\"\nslice = \"{slice}\"\n\
             comparator = \"{comparator}\"\nthreshold = {threshold}\n"
        )
    }

    fn parse(text: &str) -> Result<Gates, GatesError> {
        Gates::parse(text.as_bytes())
    }

    #[test]
    fn reads_gates_in_order() {
        let gates = parse(
            &[
                gate("accuracy", "overall", ">=", "0.85"),
                gate("demographic_parity_difference", "race", "<=", "0.2"),
                gate("demographic_parity_ratio", "race", ">=", "1"),
            ]
            .concat(),
        )
        .unwrap();
        assert_eq!(gates.min_group_size(), DEFAULT_MIN_GROUP_SIZE);
        assert_eq!(gates.group_columns(), BTreeSet::from(["race"]));
        let names: Vec<_> = gates.gates().iter().map(Gate::name).collect();
        assert_eq!(
            names,
            [
                "accuracy[overall]",
                "demographic_parity_difference[race]",
                "demographic_parity_ratio[race]"
            ]
        );
    }

    #[test]
    fn refuses_what_would_pass_in_silence() {
        assert_eq!(parse(""), Err(GatesError::Empty));
        assert_eq!(parse("gate = []"), Err(GatesError::Empty));
        let accuracy = gate("accuracy", "overall", ">=", "0.85");
        for text in [
            format!("min_grup_size = 3\n{accuracy}"),
            format!("min_group_size = 0\n{accuracy}"),
            format!("min_group_size = -1\n{accuracy}"),
            format!("{accuracy}enabled = false\n"),
            accuracy.replace("accuracy", "acuracy"),
            accuracy.replace(">=", ">"),
            accuracy.replace("0.85", "\"0.85\""),
            accuracy.replace("threshold", "# threshold"),
        ] {
            assert!(matches!(parse(&text), Err(GatesError::Toml { .. })), "{text}");
        }
    }

    #[test]
    fn refuses_thresholds_out_of_range() {
        for threshold in ["nan", "inf", "-inf", "1.01", "-0.01", "85"] {
            let refused = parse(&gate("accuracy", "overall", ">=", threshold));
            assert!(matches!(refused, Err(GatesError::Threshold { .. })), "{threshold}");
        }
    }

    #[test]
    fn refuses_gates_that_a_worse_model_passes_sooner() {
        let refused = parse(&gate("accuracy", "overall", "<=", "0.9"));
        assert!(matches!(refused, Err(GatesError::Direction { .. })));
        let refused = parse(&gate("equalized_odds_difference", "sex", ">=", "0.1"));
        assert!(matches!(refused, Err(GatesError::Direction { .. })));
    }

    #[test]
    fn refuses_slices_that_the_metric_does_not_have() {
        for (metric, slice) in [
            ("accuracy", "race"),
            ("demographic_parity_ratio", "overall"),
            ("demographic_parity_ratio", "label"),
            ("demographic_parity_ratio", ""),
        ] {
            let refused = parse(&gate(metric, slice, ">=", "0.8"));
            assert!(matches!(refused, Err(GatesError::Slice { .. })), "{metric} {slice}");
        }
    }

    #[test]
    fn refuses_two_gates_of_one_name() {
        let twice = gate("accuracy", "overall", ">=", "0.9").repeat(2);
        assert!(matches!(parse(&twice), Err(GatesError::Duplicate { .. })));
    }
}
