//! Accuracy and fairness from a predictions table, held against gates.
//!
//! [`evaluate`] takes the bytes of a predictions table (CSV) and of a gates file (TOML), computes
//! each metric a gate asks for, and gives an [`Evaluation`], whose [`Evaluation::predicate`] is an
//! in-toto test result. Nothing here opens a file, reads a clock or signs: the caller brings bytes
//! and takes a predicate away.
//!
//! Numbers are those of scikit-learn and fairlearn, to the last bits. Where those libraries put a
//! number on what is not defined (a rate over no rows) or say nothing of what proves nothing (one
//! group, a group of two, a model that selects nobody), the gate fails and says why: see
//! [`Defect`]. Each number comes with its 95 % confidence interval: see [`Interval`].

mod evaluation;
mod gates;
mod interval;
mod metrics;
mod table;

pub use evaluation::{
    EvaluateError, Evaluation, GATES_NAME, METRICS_FIELD, Measurement, PREDICATE_TYPE,
    PREDICTIONS_NAME, evaluate,
};
pub use gates::{
    Comparator, DEFAULT_MIN_GROUP_SIZE, Gate, Gates, GatesError, MAX_GATES_BYTES, OVERALL,
};
pub use interval::{Interval, IntervalMethod, MAX_GROUPS};
pub use metrics::{Confusion, Defect, Metric, Rate, Value, roc_auc};
pub use table::{Groups, MAX_ROWS, MAX_TABLE_BYTES, Table, TableError};
