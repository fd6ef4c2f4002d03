//! The published example: its held-out predictions pass its gates, and would not by chance.

use std::fs;
use std::path::PathBuf;

use sealwright_evaluate::{Evaluation, Measurement, evaluate};

fn read(name: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples/loan-approval");
    fs::read_to_string(folder.join(name)).unwrap()
}

fn evaluation(predictions: &str) -> Evaluation {
    evaluate(predictions.as_bytes(), read("gates.toml").as_bytes()).unwrap()
}

/// The example's predictions with the `prediction` of each row replaced by what `decide` makes of
/// its label and race.
fn decided(decide: impl Fn(&str, &str) -> bool) -> String {
    let mut lines = vec!["id,label,score,prediction,race,sex".to_owned()];
    for line in read("predictions.csv").lines().skip(1) {
        let [id, label, score, _, race, sex] = line.split(',').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let prediction = u8::from(decide(label, race));
        lines.push(format!("{id},{label},{score},{prediction},{race},{sex}"));
    }
    lines.join("\n")
}

fn failed(evaluation: &Evaluation) -> Vec<String> {
    evaluation.measurements().iter().filter(|m| !m.passed).map(Measurement::name).collect()
}

#[test]
fn the_trained_model_passes() {
    let evaluation = evaluation(&read("predictions.csv"));
    assert_eq!(failed(&evaluation), Vec::<String>::new());
    // The numbers of the model card, computed there by train.py.
    let value = |name: &str| {
        let found = evaluation.measurements().iter().find(|m| m.name() == name).unwrap();
        format!("{:.4}", found.value.unwrap())
    };
    let card = read("model/README.md");
    for (name, label) in [
        ("accuracy[overall]", "Accuracy"),
        ("balanced_accuracy[overall]", "Balanced accuracy"),
        ("roc_auc[overall]", "ROC AUC"),
        ("demographic_parity_difference[race]", "Demographic parity difference, race"),
        ("demographic_parity_ratio[race]", "Demographic parity ratio, race"),
        ("equal_opportunity_difference[race]", "Equal opportunity difference, race"),
        ("demographic_parity_difference[sex]", "Demographic parity difference, sex"),
        ("equal_opportunity_difference[sex]", "Equal opportunity difference, sex"),
    ] {
        let row = format!("| {label} | {} |", value(name));
        assert!(card.contains(&row), "the model card has no {row:?}");
    }
}

#[test]
fn approving_everybody_does_not_pass() {
    assert_eq!(
        failed(&evaluation(&decided(|_, _| true))),
        ["accuracy[overall]", "balanced_accuracy[overall]"]
    );
}

#[test]
fn the_lenders_own_decisions_do_not_pass() {
    assert_eq!(
        failed(&evaluation(&decided(|label, _| label == "1"))),
        ["demographic_parity_ratio[race]", "demographic_parity_difference[race]"]
    );
}

#[test]
fn refusing_one_race_does_not_pass() {
    let evaluation = evaluation(&decided(|label, race| label == "1" && race != "hispanic"));
    assert!(failed(&evaluation).contains(&"equal_opportunity_difference[race]".to_owned()));
}
