//! The shipped policies under the real `opa`: the same tests pass, the same inputs get the same
//! answers.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use sealwright_policy::{Failure, Suite, SuiteOptions, mutations};

use crate::home::{Home, text};

const DECISION: &str = "data.sealwright.main.decision";

/// How many inputs with one change are decided by each policy, and how many with two.
const SINGLES: usize = 3000;
const PAIRS: usize = 600;

/// Changes after which the two engines may answer differently, with the reason; docs/policy.md has
/// the same table. A pointer is that of the change, or of what it is in.
const DIFFERENCES: [(&str, &str, &str); 0] = [];

/// `opa` in `home`, which must succeed; gives its standard output.
fn opa(home: &Home, words: &[&str]) -> Value {
    let program = std::env::var("SEALWRIGHT_TEST_OPA")
        .expect("SEALWRIGHT_TEST_OPA is not set: run these tests with ./test peers");
    let output = Command::new(program).args(words).current_dir(home.path("")).output().unwrap();
    // A failed test is no failed run: what it says is compared.
    assert!(!output.stdout.is_empty(), "{words:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Every directory of rules that is shipped.
fn policies() -> Vec<PathBuf> {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies").canonicalize().unwrap();
    let mut found: Vec<PathBuf> = fs::read_dir(all)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir() && !modules(path).is_empty())
        .collect();
    found.sort();
    assert!(!found.is_empty());
    found
}

fn modules(directory: &Path) -> Vec<(String, String)> {
    let mut modules: Vec<(String, String)> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rego"))
        .map(|path| (path.display().to_string(), fs::read_to_string(&path).unwrap()))
        .collect();
    modules.sort();
    modules
}

#[test]
fn opa_runs_the_same_tests_with_the_same_results() {
    let home = Home::new();
    for policy in policies() {
        let policy = policy.to_str().unwrap();
        let outcomes = |tests: &Value| -> BTreeMap<String, bool> {
            let tests = tests.as_array().unwrap().iter();
            tests
                .map(|test| {
                    let name = format!("{}.{}", text(&test["package"]), text(&test["name"]));
                    (name, test["fail"].is_null() && test["error"].is_null())
                })
                .collect()
        };
        let theirs = outcomes(&opa(&home, &["test", "--format", "json", policy]));
        let ours = outcomes(&home.run(&format!("--json policy test {policy}")).json()["tests"]);
        assert_eq!(ours, theirs, "{policy}");
        assert!(ours.len() > 10 && ours.values().all(|passed| *passed), "{policy}: {ours:?}");
    }
}

#[test]
fn opa_decides_the_same() {
    let home = Home::new();
    let mut decided = 0;
    for policy in policies() {
        let data = fs::read(policy.join("data.json")).unwrap_or_else(|_| b"{}".to_vec());
        let data = serde_json::from_slice(&data).unwrap();
        let suite = Suite::new(&modules(&policy), &data, SuiteOptions::default()).unwrap();
        if !suite.declares("data.sealwright.main", "decision") {
            continue;
        }
        let base = match fs::read(policy.join("input.json")) {
            Ok(input) => serde_json::from_slice(&input).unwrap(),
            Err(_) => suite.query("data.sealwright.fixtures_test.base", &json!({})).unwrap(),
        };
        let inputs = inputs(&base);
        let values: Vec<Value> = inputs.iter().map(|(_, input)| input.clone()).collect();
        let ours: Vec<Value> = suite.query_all(DECISION, &values).into_iter().map(told).collect();
        let theirs = decided_by_opa(&home, &policy, &values);
        assert_eq!(ours[0]["allow"], true, "{}: {}", policy.display(), ours[0]);
        let denied = ours.iter().filter(|answer| answer["allow"] == false).count();
        assert!(denied > inputs.len() / 4 && denied < inputs.len(), "{denied}");
        let mut differing = Vec::new();
        for (((changes, _), ours), theirs) in inputs.iter().zip(&ours).zip(&theirs) {
            let is_explained = changes.iter().any(|change| {
                DIFFERENCES.iter().any(|(pointer, kind, _)| {
                    change.0.starts_with(pointer) && (*kind == change.1 || kind.is_empty())
                })
            });
            if ours != theirs && !is_explained {
                differing.push(format!("{changes:?}\n  ours   {ours}\n  theirs {theirs}"));
            }
        }
        assert!(
            differing.is_empty(),
            "{}: {} of {} differ\n{}",
            policy.display(),
            differing.len(),
            inputs.len(),
            differing.join("\n")
        );
        decided += inputs.len();
    }
    assert!(decided > 2000, "{decided}");
}

/// Pointer and kind of each change.
type Changes = Vec<(String, &'static str)>;

/// The input as it is, after every change or so many of them all over it, and after pairs of changes.
fn inputs(base: &Value) -> Vec<(Changes, Value)> {
    let mut inputs = vec![(Vec::new(), base.clone())];
    let first = mutations(base);
    let change = |mutation: &sealwright_policy::Mutation| (mutation.pointer.clone(), mutation.kind);
    let step = first.len().div_ceil(SINGLES);
    let some = first.iter().step_by(step);
    inputs.extend(some.map(|mutation| (vec![change(mutation)], mutation.apply(base))));
    for number in 0..PAIRS {
        let one = &first[number * 7919 % first.len()];
        let changed = one.apply(base);
        let second = mutations(&changed);
        let two = &second[number * 104_729 % second.len()];
        inputs.push((vec![change(one), change(two)], two.apply(&changed)));
    }
    inputs
}

fn told(answer: Result<Value, Failure>) -> Value {
    match answer {
        Ok(decision) => decision,
        Err(Failure::Undefined) => json!("undefined"),
        Err(_) => json!("error"),
    }
}

fn decided_by_opa(home: &Home, policy: &Path, inputs: &[Value]) -> Vec<Value> {
    let name = policy.file_name().unwrap().to_str().unwrap();
    for (number, input) in inputs.iter().enumerate() {
        home.write(format!("{name}/{number:06}.json"), input.to_string());
    }
    let asked =
        ["exec", "--bundle", policy.to_str().unwrap(), "--decision", "sealwright/main/decision"];
    let answered = opa(home, &[&asked[..], &[name]].concat());
    let answers: BTreeMap<&str, Value> = answered["result"]
        .as_array()
        .unwrap()
        .iter()
        .map(|answer| {
            let told = match (answer.get("result"), answer["error"]["code"].as_str()) {
                (Some(decision), _) => decision.clone(),
                (None, Some("opa_undefined_error")) => json!("undefined"),
                (None, _) => json!("error"),
            };
            (text(&answer["path"]), told)
        })
        .collect();
    assert_eq!(answers.len(), inputs.len());
    answers.into_values().collect()
}
