//! `fuzz`: a rule with a hole is found, one without is not.

use sealwright_policy::{FuzzOptions, FuzzReport, Suite, SuiteOptions, fuzz};
use serde_json::{Value, json};

fn report(rules: &str, input: &Value, except: &[&str]) -> FuzzReport {
    let text = format!("package a\n\nimport rego.v1\n\ndefault allow := false\n\n{rules}\n");
    let suite =
        Suite::new(&[("a.rego".into(), text)], &json!({}), SuiteOptions::default()).unwrap();
    let options = FuzzOptions {
        query: String::from("data.a.allow"),
        limit: 10_000,
        except: except.iter().map(|place| (*place).to_owned()).collect(),
    };
    fuzz(&suite, input, &options)
}

/// Pointers and kinds of the changes that turn a deny into an allow.
fn turned(report: &FuzzReport) -> Vec<(&str, &str)> {
    report
        .turned
        .iter()
        .map(|turned| (turned.allowed_by.pointer.as_str(), turned.allowed_by.kind))
        .collect()
}

#[test]
fn a_threshold_without_a_check_is_found() {
    let loose = "allow if input.gap <= 0.1";
    let strict = "allow if {\n\tis_number(input.gap)\n\tinput.gap >= 0\n\tinput.gap <= 0.1\n}";
    let denied = json!({"gap": 0.5});
    let loose = report(loose, &denied, &[]);
    assert!(!loose.allows);
    assert!(turned(&loose).contains(&("/gap", "null")), "{loose:?}");
    // The number itself is the "no".
    assert_eq!(turned(&report(strict, &denied, &["/gap"])), []);
    assert_eq!(turned(&report(strict, &denied, &[])), [("/gap", "zero")]);
}

#[test]
fn a_missing_field_that_silences_a_reason_is_found() {
    let rules = "allow if count(violations) == 0\n\n\
        violations contains msg if {\n\tinput.approved != true\n\
        \tmsg := sprintf(\"not approved for %v\", [input.environment])\n}";
    let denied = json!({"approved": false, "environment": "prod"});
    let found = report(rules, &denied, &["/approved"]);
    let mut turned_at = turned(&found);
    // This rule allows whatever gives it no reason against: also an input that is no object.
    turned_at.retain(|(pointer, _)| !pointer.is_empty());
    assert_eq!(turned_at, [("/environment", "missing")]);
    // The same from an allowed input, by way of a change that denies it.
    let found = report(rules, &json!({"approved": true, "environment": "prod"}), &[]);
    assert!(found.allows);
    assert!(turned(&found).contains(&("/environment", "missing")), "{found:?}");
    let first = found.turned[0].denied_by.as_ref().unwrap();
    assert_eq!(first.pointer, "/approved");
}

#[test]
fn changes_that_change_nothing_are_listed_if_the_field_is_read() {
    let rules = "allow if {\n\tinput.role in {\"a\", \"A\"}\n}";
    let found = report(rules, &json!({"role": "a", "other": 1}), &[]);
    let still: Vec<(&str, &str)> =
        found.still_allowed.iter().map(|change| (change.pointer.as_str(), change.kind)).collect();
    assert_eq!(still, [("/role", "upper case")]);
    assert_eq!(turned(&found), []);
}

#[test]
fn the_limit_is_kept_and_told() {
    let text = "package a\n\nimport rego.v1\n\ndefault allow := false\n";
    let suite =
        Suite::new(&[("a.rego".into(), text.into())], &json!({}), SuiteOptions::default()).unwrap();
    let options =
        FuzzOptions { query: String::from("data.a.allow"), limit: 10, except: Vec::new() };
    let input = json!({"a": 1, "b": 2});
    let first = fuzz(&suite, &input, &options);
    assert_eq!(first.evaluated, 10);
    assert!(first.left_out > 0);
    assert_eq!(json!(first), json!(fuzz(&suite, &input, &options)));
}
