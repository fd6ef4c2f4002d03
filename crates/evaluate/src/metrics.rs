//! What a metric is, and its value on a table. Definitions are those of scikit-learn (overall) and
//! fairlearn (between groups; method `between_groups`, aggregation `worst_case`).

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::table::Table;

/// A metric that a gate can name. All have values from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Share of rows whose prediction is the label.
    Accuracy,
    /// Mean of the true positive and the true negative rate: 0.5 for a model that gives everyone
    /// the same answer, however lopsided the labels are.
    BalancedAccuracy,
    /// True positive rate, or recall: positives that are found, of all positives.
    Sensitivity,
    /// True negative rate: negatives that are left alone, of all negatives.
    Specificity,
    /// Chance that a random positive has a higher score than a random negative, ties counting half.
    RocAuc,
    /// Largest less smallest selection rate of a group.
    DemographicParityDifference,
    /// Smallest over largest selection rate of a group: the four-fifths rule of 29 CFR 1607.4(D).
    DemographicParityRatio,
    /// Largest less smallest true positive rate of a group.
    EqualOpportunityDifference,
    /// The larger of the differences in true positive rate and in false positive rate.
    EqualizedOddsDifference,
}

impl Metric {
    /// Whether the metric compares groups, and so needs a column instead of all rows.
    pub fn compares_groups(self) -> bool {
        !self.rates().is_empty()
    }

    /// Whether a good model has a high value rather than a low one.
    pub fn higher_is_better(self) -> bool {
        !matches!(
            self,
            Self::DemographicParityDifference
                | Self::EqualOpportunityDifference
                | Self::EqualizedOddsDifference
        )
    }

    /// Name in gates files and predicates.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::BalancedAccuracy => "balanced_accuracy",
            Self::Sensitivity => "sensitivity",
            Self::Specificity => "specificity",
            Self::RocAuc => "roc_auc",
            Self::DemographicParityDifference => "demographic_parity_difference",
            Self::DemographicParityRatio => "demographic_parity_ratio",
            Self::EqualOpportunityDifference => "equal_opportunity_difference",
            Self::EqualizedOddsDifference => "equalized_odds_difference",
        }
    }

    /// Value over all rows; for a metric that compares groups, undefined.
    pub fn overall(self, table: &Table) -> Value {
        let all = table.confusion();
        let number = match self {
            Self::Accuracy => all.correct().value(),
            Self::BalancedAccuracy => all
                .true_positive()
                .value()
                .zip(all.false_positive().value())
                .map(|(tpr, fpr)| f64::midpoint(tpr, 1.0 - fpr)),
            Self::Sensitivity => all.true_positive().value(),
            Self::Specificity => all.true_negative().value(),
            Self::RocAuc => table.scores().and_then(|scores| roc_auc(table.labels(), scores)),
            _ => None,
        };
        let defect = number.is_none().then_some(Defect::Undefined);
        let sample_size = match self {
            Self::Sensitivity => all.true_positive().count,
            Self::Specificity => all.true_negative().count,
            _ => all.rows(),
        };
        Value { number, sample_size, defect }
    }

    /// Value between the groups of a column, none of whose rates may be taken over fewer than
    /// `min_group_size` rows; for a metric that does not compare groups, undefined.
    pub fn between(self, groups: &BTreeMap<&str, Confusion>, min_group_size: u64) -> Value {
        let rates = self.rates();
        let spread: fn(f64, f64) -> Option<f64> = match self {
            // 0/0, nobody selected in any group, is no ratio.
            Self::DemographicParityRatio => |low, high| (high > 0.0).then(|| low / high),
            _ => |low, high| Some(high - low),
        };
        let number = rates
            .iter()
            .map(|rate| {
                let (low, high) = range(groups.values().map(rate))?;
                spread(low, high)
            })
            .collect::<Option<Vec<f64>>>()
            .and_then(|all| all.into_iter().reduce(f64::max));
        let counts = |group: &Confusion| rates.iter().map(|rate| rate(group).count).sum::<u64>();
        let sample_size = groups.values().map(counts).sum();
        let defect = if number.is_none() {
            Some(Defect::Undefined)
        } else {
            defect(groups, rates, min_group_size)
        };
        Value { number, sample_size, defect }
    }

    /// What is compared between groups; nothing for a metric that does not.
    pub(crate) fn rates(self) -> &'static [fn(&Confusion) -> Rate] {
        match self {
            Self::DemographicParityDifference | Self::DemographicParityRatio => {
                &[Confusion::selected]
            }
            Self::EqualOpportunityDifference => &[Confusion::true_positive],
            Self::EqualizedOddsDifference => &[Confusion::true_positive, Confusion::false_positive],
            _ => &[],
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A metric on a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// The number, from 0 to 1; `None` if it is not defined.
    pub number: Option<f64>,
    /// Rows that the number was computed from: for a rate among the positives only those, and for
    /// equalized odds every row once.
    pub sample_size: u64,
    /// Why the number, even if there is one, must not pass a gate.
    pub defect: Option<Defect>,
}

/// Why a value is no evidence, whatever the number is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// A division by zero: a rate over no rows, a ratio of rates that are all 0, or one class only.
    #[error("the metric is not defined on these rows")]
    Undefined,
    /// With one group there is nothing to compare; the difference is 0 and the ratio 1.
    #[error("all rows are of the group {group:?}: there is nothing to compare")]
    SingleGroup {
        /// The only group.
        group: String,
    },
    /// Too few rows for the rate to mean anything.
    #[error("the group {group:?} has {count} rows that count, fewer than {minimum}")]
    SmallGroup {
        /// The group.
        group: String,
        /// Rows that one of the metric's rates is taken over in it.
        count: u64,
        /// The least that the gates ask for.
        minimum: u64,
    },
    /// A model that selects nobody treats all groups alike, and is of no use to any.
    #[error("nobody is selected in any group")]
    NobodySelected,
}

/// Label against prediction, as counts of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Confusion {
    /// Label 1, prediction 1.
    pub true_positives: u64,
    /// Label 0, prediction 1.
    pub false_positives: u64,
    /// Label 0, prediction 0.
    pub true_negatives: u64,
    /// Label 1, prediction 0.
    pub false_negatives: u64,
}

impl Confusion {
    /// Counts one row.
    pub fn add(&mut self, label: bool, prediction: bool) {
        let cell = match (label, prediction) {
            (true, true) => &mut self.true_positives,
            (false, true) => &mut self.false_positives,
            (false, false) => &mut self.true_negatives,
            (true, false) => &mut self.false_negatives,
        };
        *cell += 1;
    }

    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.true_positives + self.false_positives + self.true_negatives + self.false_negatives
    }

    /// Rows whose prediction is the label, of all.
    pub fn correct(&self) -> Rate {
        Rate { hits: self.true_positives + self.true_negatives, count: self.rows() }
    }

    /// Selection rate: predictions of 1, of all.
    pub fn selected(&self) -> Rate {
        Rate { hits: self.true_positives + self.false_positives, count: self.rows() }
    }

    /// Recall: predictions of 1, of labels of 1.
    pub fn true_positive(&self) -> Rate {
        Rate { hits: self.true_positives, count: self.true_positives + self.false_negatives }
    }

    /// Predictions of 0, of labels of 0.
    pub fn true_negative(&self) -> Rate {
        Rate { hits: self.true_negatives, count: self.false_positives + self.true_negatives }
    }

    /// Fall-out: predictions of 1, of labels of 0.
    pub fn false_positive(&self) -> Rate {
        Rate { hits: self.false_positives, count: self.false_positives + self.true_negatives }
    }
}

/// A share of rows, kept as counts so that "of none" is not lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Rows that have the property.
    pub hits: u64,
    /// Rows that could have it.
    pub count: u64,
}

impl Rate {
    /// Share from 0 to 1; `None` of no rows (where fairlearn says 0).
    pub fn value(self) -> Option<f64> {
        (self.count > 0).then(|| self.hits as f64 / self.count as f64)
    }
}

/// Area under the ROC curve, ties in score counting half; `None` if the labels are of one class or
/// not as many as the scores.
pub fn roc_auc(labels: &[bool], scores: &[f64]) -> Option<f64> {
    if labels.len() != scores.len() {
        return None;
    }
    let mut rows: Vec<(f64, bool)> = scores.iter().copied().zip(labels.iter().copied()).collect();
    rows.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    // Twice the Mann-Whitney U, so that a tie is a whole number. Below 2 * MAX_ROWS^2: fits.
    let (mut twice_wins, mut positives, mut negatives) = (0_u64, 0_u64, 0_u64);
    for tied in rows.chunk_by(|a, b| a.0 == b.0) {
        let tied_positives = tied.iter().filter(|row| row.1).count() as u64;
        let tied_negatives = tied.len() as u64 - tied_positives;
        twice_wins += tied_positives * (2 * negatives + tied_negatives);
        positives += tied_positives;
        negatives += tied_negatives;
    }
    let pairs = positives * negatives;
    (pairs > 0).then(|| twice_wins as f64 / (2 * pairs) as f64)
}

/// Smallest and largest of the rates; `None` if there are none or one is not defined.
fn range(rates: impl Iterator<Item = Rate>) -> Option<(f64, f64)> {
    let values = rates.map(Rate::value).collect::<Option<Vec<f64>>>()?;
    let low = values.iter().copied().reduce(f64::min)?;
    let high = values.iter().copied().reduce(f64::max)?;
    Some((low, high))
}

fn defect(
    groups: &BTreeMap<&str, Confusion>,
    rates: &[fn(&Confusion) -> Rate],
    minimum: u64,
) -> Option<Defect> {
    if let (Some((group, _)), 1) = (groups.first_key_value(), groups.len()) {
        return Some(Defect::SingleGroup { group: (*group).to_owned() });
    }
    for (group, confusion) in groups {
        for rate in rates {
            let count = rate(confusion).count;
            if count < minimum {
                return Some(Defect::SmallGroup { group: (*group).to_owned(), count, minimum });
            }
        }
    }
    let nobody = groups.values().all(|group| group.selected().hits == 0);
    nobody.then_some(Defect::NobodySelected)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// `selected` of `rows`, all of them rightly so.
    pub(crate) fn group(selected: u64, rows: u64) -> Confusion {
        Confusion {
            true_positives: selected,
            true_negatives: rows - selected,
            ..Confusion::default()
        }
    }

    #[test]
    fn names_are_the_serialized_ones() {
        for metric in [
            Metric::Accuracy,
            Metric::BalancedAccuracy,
            Metric::Sensitivity,
            Metric::Specificity,
            Metric::RocAuc,
            Metric::DemographicParityDifference,
            Metric::DemographicParityRatio,
            Metric::EqualOpportunityDifference,
            Metric::EqualizedOddsDifference,
        ] {
            assert_eq!(serde_json::to_value(metric).unwrap(), metric.name());
        }
    }

    #[test]
    fn auc_counts_ties_half() {
        assert_eq!(roc_auc(&[true, false], &[0.9, 0.1]), Some(1.0));
        assert_eq!(roc_auc(&[true, false], &[0.1, 0.9]), Some(0.0));
        assert_eq!(roc_auc(&[true, false], &[0.5, 0.5]), Some(0.5));
        assert_eq!(roc_auc(&[true, true], &[0.5, 0.5]), None);
        assert_eq!(roc_auc(&[], &[]), None);
        assert_eq!(roc_auc(&[true], &[]), None);
    }

    #[test]
    fn four_fifths() {
        let groups = BTreeMap::from([("a", group(50, 100)), ("b", group(40, 100))]);
        let ratio = Metric::DemographicParityRatio.between(&groups, 30);
        assert_eq!(ratio, Value { number: Some(0.8), sample_size: 200, defect: None });
    }

    #[test]
    fn a_small_group_is_counted_where_its_rate_is() {
        // 100 rows of each, but only 5 of b are positive: enough for one metric, not for the other.
        let groups = BTreeMap::from([("a", group(50, 100)), ("b", group(5, 100))]);
        assert_eq!(Metric::DemographicParityDifference.between(&groups, 30).defect, None);
        assert_eq!(
            Metric::EqualOpportunityDifference.between(&groups, 30).defect,
            Some(Defect::SmallGroup { group: "b".into(), count: 5, minimum: 30 })
        );
    }

    #[test]
    fn no_groups_and_misplaced_metrics_are_undefined() {
        let none = Metric::DemographicParityDifference.between(&BTreeMap::new(), 1);
        assert_eq!(none, Value { number: None, sample_size: 0, defect: Some(Defect::Undefined) });
        let groups = BTreeMap::from([("a", group(1, 2)), ("b", group(1, 2))]);
        assert_eq!(Metric::Accuracy.between(&groups, 1).number, None);
    }
}
