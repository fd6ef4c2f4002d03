//! What holds for any input.

use proptest::collection::vec;
use proptest::prelude::*;
use sealwright_evaluate::{Metric, Table, evaluate};

const GATES: &str = r#"
min_group_size = 1
gate = [
    { metric = "accuracy", slice = "overall", comparator = ">=", threshold = 0 },
    { metric = "balanced_accuracy", slice = "overall", comparator = ">=", threshold = 0 },
    { metric = "roc_auc", slice = "overall", comparator = ">=", threshold = 0 },
    { metric = "demographic_parity_difference", slice = "g", comparator = "<=", threshold = 1 },
    { metric = "demographic_parity_ratio", slice = "g", comparator = ">=", threshold = 0 },
    { metric = "equal_opportunity_difference", slice = "g", comparator = "<=", threshold = 1 },
    { metric = "equalized_odds_difference", slice = "g", comparator = "<=", threshold = 1 },
]
"#;

type Row = (bool, bool, f64, u8);

fn csv(rows: &[Row]) -> String {
    let rows = rows.iter().enumerate().map(|(id, (label, prediction, score, group))| {
        format!("{id},{},{},{score},g{group}\n", u8::from(*label), u8::from(*prediction))
    });
    std::iter::once("id,label,prediction,score,g\n".to_owned()).chain(rows).collect()
}

fn row() -> impl Strategy<Value = Row> {
    // One decimal, so that ties are common.
    let score = (0_u8..=10).prop_map(|tenth| f64::from(tenth) / 10.0);
    (any::<bool>(), any::<bool>(), score, 0_u8..3)
}

/// Area under the curve by its definition: over all pairs.
fn auc_by_pairs(rows: &[Row]) -> Option<f64> {
    let scores = |label| rows.iter().filter(move |row| row.0 == label).map(|row| row.2);
    let (mut wins, mut pairs) = (0.0, 0.0);
    for positive in scores(true) {
        for negative in scores(false) {
            pairs += 1.0;
            wins += if positive > negative { 1.0 } else { 0.0 };
            wins += if positive == negative { 0.5 } else { 0.0 };
        }
    }
    (pairs > 0.0).then(|| wins / pairs)
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_not_panic(table in vec(any::<u8>(), 0..200), gates in vec(any::<u8>(), 0..200)) {
        let _ = evaluate(&table, GATES.as_bytes());
        let _ = evaluate(&table, &gates);
        let headed = [b"id,label,prediction,score,g\n1,1,1,1,a\n".as_slice(), &table].concat();
        let _ = evaluate(&headed, GATES.as_bytes());
    }

    #[test]
    fn a_gate_passes_only_with_a_number_in_range(rows in vec(row(), 1..60)) {
        let evaluation = evaluate(csv(&rows).as_bytes(), GATES.as_bytes()).unwrap();
        for measurement in evaluation.measurements() {
            match measurement.value {
                Some(value) => prop_assert!((0.0..=1.0).contains(&value)),
                None => prop_assert!(!measurement.passed),
            }
            prop_assert_eq!(measurement.passed, measurement.reason.is_none());
        }
    }

    #[test]
    fn the_order_of_rows_does_not_matter(rows in vec(row(), 1..60)) {
        let reversed: Vec<Row> = rows.iter().rev().copied().collect();
        let measured = |rows: &[Row]| {
            evaluate(csv(rows).as_bytes(), GATES.as_bytes()).unwrap().measurements().to_vec()
        };
        prop_assert_eq!(measured(&rows), measured(&reversed));
    }

    #[test]
    fn auc_is_the_share_of_ordered_pairs(rows in vec(row(), 1..60)) {
        let table = Table::parse(csv(&rows).as_bytes(), &std::collections::BTreeSet::new()).unwrap();
        match (Metric::RocAuc.overall(&table).number, auc_by_pairs(&rows)) {
            (Some(auc), Some(by_pairs)) => prop_assert!((auc - by_pairs).abs() < 1e-12),
            (auc, by_pairs) => prop_assert_eq!(auc, by_pairs),
        }
    }
}
