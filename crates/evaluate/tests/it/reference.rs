//! Against the numbers of scikit-learn and fairlearn; see `tests/data/gates/README.md`.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use sealwright_evaluate::{Defect, Metric, Table, Value};
use serde_json::Value as Json;

const METRICS: [Metric; 7] = [
    Metric::Accuracy,
    Metric::BalancedAccuracy,
    Metric::RocAuc,
    Metric::DemographicParityDifference,
    Metric::DemographicParityRatio,
    Metric::EqualOpportunityDifference,
    Metric::EqualizedOddsDifference,
];

fn read(name: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/gates");
    fs::read_to_string(folder.join(name)).unwrap()
}

fn expected(name: &str) -> Json {
    let all: Json = serde_json::from_str(&read("expected.json")).unwrap();
    all["tables"][name]["expected"].clone()
}

fn table(name: &str) -> Table {
    Table::parse(read(&format!("{name}.csv")).as_bytes(), &BTreeSet::from(["group"])).unwrap()
}

fn value(table: &Table, metric: Metric) -> Value {
    if metric.compares_groups() {
        metric.between(&table.confusion_by_group("group").unwrap(), 30)
    } else {
        metric.overall(table)
    }
}

fn assert_close(found: Option<f64>, reference: &Json, what: &str) {
    let (found, reference) = (found.unwrap(), reference.as_f64().unwrap());
    assert!((found - reference).abs() <= 1e-12, "{what}: {found}, expected {reference}");
}

/// Everything in `expected.json` that we compute, except the metrics named, which we call
/// undefined.
fn check(name: &str, table: &Table, undefined: &[Metric]) {
    let expected = expected(name);
    assert_eq!(table.len() as u64, expected["n"].as_u64().unwrap());
    let all = table.confusion();
    let cells = [all.true_negatives, all.false_positives, all.false_negatives, all.true_positives];
    let reference = expected["confusion_matrix_tn_fp_fn_tp"].as_array().unwrap();
    assert!(cells.iter().zip(reference).all(|(cell, r)| *cell as f64 == r.as_f64().unwrap()));
    for metric in METRICS {
        let value = value(table, metric);
        if undefined.contains(&metric) {
            assert_eq!(value.number, None, "{name} {metric}");
            assert_eq!(value.defect, Some(Defect::Undefined), "{name} {metric}");
        } else {
            assert_close(value.number, &expected[metric.name()], &format!("{name} {metric}"));
        }
    }
    if all.true_positive().count > 0 {
        assert_close(Metric::Sensitivity.overall(table).number, &expected["recall"], name);
    }
    if all.true_negative().count > 0 {
        let specificity =
            all.true_negatives as f64 / (all.true_negatives + all.false_positives) as f64;
        assert_eq!(Metric::Specificity.overall(table).number, Some(specificity));
    }
    let by_group = table.confusion_by_group("group").unwrap();
    assert_eq!(by_group.len(), expected["by_group"].as_object().unwrap().len());
    for (group, confusion) in by_group {
        let reference = &expected["by_group"][group];
        assert_eq!(confusion.rows() as f64, reference["count"].as_f64().unwrap());
        assert_close(confusion.selected().value(), &reference["selection_rate"], group);
        assert_close(confusion.correct().value(), &reference["accuracy"], group);
        if confusion.true_positive().count > 0 {
            assert_close(confusion.true_positive().value(), &reference["tpr"], group);
        }
        if confusion.false_positive().count > 0 {
            assert_close(confusion.false_positive().value(), &reference["fpr"], group);
        }
    }
}

#[test]
fn ordinary_tables() {
    for name in ["fair_two_groups", "biased_four_fifths_fail", "score_ties"] {
        let table = table(name);
        check(name, &table, &[]);
        assert!(METRICS.iter().all(|metric| value(&table, *metric).defect.is_none()), "{name}");
    }
}

#[test]
fn eight_intersectional_groups() {
    // The last two columns, group and sex, become one.
    let text: String = read("intersectional.csv")
        .lines()
        .map(|line| {
            let (rest, sex) = line.rsplit_once(',').unwrap();
            if sex == "sex" { format!("{rest}\n") } else { format!("{rest}|{sex}\n") }
        })
        .collect();
    let table = Table::parse(text.as_bytes(), &BTreeSet::from(["group"])).unwrap();
    check("intersectional", &table, &[]);
}

#[test]
fn a_group_that_is_never_selected() {
    let table = table("group_zero_selection");
    check("group_zero_selection", &table, &[]);
    assert_eq!(value(&table, Metric::DemographicParityRatio).number, Some(0.0));
}

#[test]
fn nobody_selected_is_not_fair() {
    let table = table("nobody_selected");
    check("nobody_selected", &table, &[Metric::DemographicParityRatio]);
    assert_eq!(expected("nobody_selected")["demographic_parity_ratio"], "NaN");
    for metric in [
        Metric::DemographicParityDifference,
        Metric::EqualOpportunityDifference,
        Metric::EqualizedOddsDifference,
    ] {
        let value = value(&table, metric);
        assert_eq!((value.number, value.defect), (Some(0.0), Some(Defect::NobodySelected)));
    }
}

#[test]
fn a_group_without_positives_has_no_true_positive_rate() {
    check(
        "group_without_positives",
        &table("group_without_positives"),
        &[Metric::EqualOpportunityDifference, Metric::EqualizedOddsDifference],
    );
}

#[test]
fn one_class_of_labels_has_no_curve() {
    // scikit-learn takes the mean over the one class that there is; fairlearn gives a false
    // positive rate of 0. We do neither.
    check(
        "one_class_labels",
        &table("one_class_labels"),
        &[Metric::RocAuc, Metric::BalancedAccuracy, Metric::EqualizedOddsDifference],
    );
    assert_eq!(expected("one_class_labels")["roc_auc"], "NaN");
}

#[test]
fn a_single_group_is_no_evidence() {
    let table = table("single_group");
    check("single_group", &table, &[]);
    let ratio = value(&table, Metric::DemographicParityRatio);
    assert_eq!(ratio.number, Some(1.0));
    assert_eq!(ratio.defect, Some(Defect::SingleGroup { group: "A".into() }));
}

#[test]
fn a_group_of_two_is_no_evidence() {
    let table = table("tiny_group");
    check("tiny_group", &table, &[]);
    assert_eq!(
        value(&table, Metric::DemographicParityDifference).defect,
        Some(Defect::SmallGroup { group: "B".into(), count: 2, minimum: 30 })
    );
}
