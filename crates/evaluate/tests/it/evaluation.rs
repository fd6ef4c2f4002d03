//! From two files to a predicate.

use sealwright_evaluate::{EvaluateError, Evaluation, GatesError, TableError, evaluate};
use serde_json::json;

const PREDICTIONS: &str = "\
id,label,score,prediction,sex
1,1,0.9,1,female
2,0,0.2,0,female
3,1,0.4,0,female
4,1,0.8,1,male
5,0,0.6,1,male
6,0,0.1,0,male
";

const GATES: &str = r#"
min_group_size = 3

[[gate]]
metric = "accuracy"
slice = "overall"
comparator = ">="
threshold = 0.6

[[gate]]
metric = "demographic_parity_difference"
slice = "sex"
comparator = "<="
threshold = 0.2
"#;

fn evaluation(predictions: &str, gates: &str) -> Evaluation {
    evaluate(predictions.as_bytes(), gates.as_bytes()).unwrap()
}

#[test]
fn a_predicate_names_its_inputs_tests_and_numbers() {
    let evaluation = evaluation(PREDICTIONS, GATES);
    assert!(!evaluation.passed());
    let mut predicate = evaluation.predicate();
    // The last bits of these are not the point: they are those of statsmodels 0.15.0.
    for (row, wanted) in [(0, [0.299_993_315, 0.903_228_589]), (1, [0.0, 0.717_775_112])] {
        let ci95 = predicate["sealwright_metrics"][row].as_object_mut().unwrap().remove("ci95");
        let ends: [f64; 2] = serde_json::from_value(ci95.unwrap()).unwrap();
        assert!(ends.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-8), "{ends:?}");
    }
    // The digests are those of sha256sum.
    assert_eq!(
        predicate,
        json!({
            "result": "FAILED",
            "configuration": [
                { "name": "gates.toml", "digest": { "sha256": "a19b6ae110ca50d05d05232c57795bcf43b893df8f9cf393ce55d48e7f1f490c" } },
                { "name": "predictions.csv", "digest": { "sha256": "d363b9a909e6cb2204c86c8d119663bf176718a86001f74e2a13ae806a410f7a" } },
            ],
            "passedTests": ["accuracy[overall]"],
            "warnedTests": [],
            "failedTests": ["demographic_parity_difference[sex]"],
            "sealwright_metrics": [
                {
                    "metric": "accuracy", "slice": "overall", "value": 2.0 / 3.0, "sampleSize": 6,
                    "ci95Method": "wilson", "comparator": ">=", "threshold": 0.6, "passed": true,
                },
                {
                    "metric": "demographic_parity_difference", "slice": "sex",
                    "value": 2.0 / 3.0 - 1.0 / 3.0, "sampleSize": 6,
                    "ci95Method": "newcombe-worst-pair",
                    "comparator": "<=", "threshold": 0.2, "passed": false,
                },
            ],
        })
    );
}

#[test]
fn all_gates_passed_is_passed() {
    let evaluation = evaluation(PREDICTIONS, &GATES.replace("0.2", "0.4"));
    assert!(evaluation.passed());
    assert_eq!(evaluation.predicate()["result"], "PASSED");
    assert_eq!(evaluation.predicate()["failedTests"], json!([]));
}

#[test]
fn the_threshold_itself_passes() {
    let half = PREDICTIONS.replace("3,1,0.4,0", "3,1,0.4,1");
    let gates = GATES.replace("threshold = 0.2", "threshold = 0");
    assert!(evaluation(&half, &gates).passed());
}

#[test]
fn a_small_group_fails_by_default_and_says_why() {
    let evaluation =
        evaluation(PREDICTIONS, &GATES.replace("min_group_size = 3", "").replace("0.2", "1"));
    let failed = &evaluation.measurements()[1];
    assert!(!failed.passed);
    assert!(failed.value.is_some());
    let reason = r#"the group "female" has 3 rows that count, fewer than 30"#;
    assert_eq!(failed.reason.as_deref(), Some(reason));
    assert_eq!(evaluation.predicate()["sealwright_metrics"][1]["reason"], reason);
}

#[test]
fn an_undefined_metric_is_null_and_fails() {
    let nobody = PREDICTIONS.replace(",1,female", ",0,female").replace(",1,male", ",0,male");
    let gates = GATES
        .replace("demographic_parity_difference", "demographic_parity_ratio")
        .replace("<=", ">=")
        .replace("threshold = 0.2", "threshold = 0");
    let evaluation = evaluation(&nobody, &gates);
    assert!(!evaluation.passed());
    let metric = &evaluation.predicate()["sealwright_metrics"][1];
    assert_eq!((&metric["value"], &metric["passed"]), (&json!(null), &json!(false)));
}

#[test]
fn a_column_that_a_gate_needs_must_be_there() {
    let missing = |column: &str| {
        Err(EvaluateError::Table(TableError::MissingColumn { column: column.into() }))
    };
    let by_race = GATES.replace("\"sex\"", "\"race\"");
    assert_eq!(evaluate(PREDICTIONS.as_bytes(), by_race.as_bytes()), missing("race"));
    let auc = GATES.replace("accuracy", "roc_auc");
    let unscored = PREDICTIONS.replace("score", "note");
    assert_eq!(evaluate(unscored.as_bytes(), auc.as_bytes()), missing("score"));
}

#[test]
fn either_file_can_be_refused() {
    let bad_table = PREDICTIONS.replace("0.9", "NaN");
    assert_eq!(
        evaluate(bad_table.as_bytes(), GATES.as_bytes()).unwrap_err().to_string(),
        "line 2: score is \"NaN\", expected a number from 0 to 1"
    );
    assert_eq!(evaluate(PREDICTIONS.as_bytes(), b""), Err(EvaluateError::Gates(GatesError::Empty)));
}
