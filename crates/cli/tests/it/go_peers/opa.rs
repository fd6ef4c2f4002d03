//! The shipped policies under the real `opa`: the same tests pass, the same inputs get the same
//! answers.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize as _;
use serde_json::{Value, json};

use sealwright_policy::{DecisionInput, Failure, Suite, SuiteOptions, mutations};

use crate::home::{Home, text};

const DECISION: &str = "data.sealwright.main.decision";
const FIXTURE: &str = "data.sealwright.fixtures_test.base";

/// Where tests of a policy find the input that is shipped with it.
const TEST_INPUT: &str = "sealwright_test.input";

/// How many inputs with one change are decided by each policy, and how many with two.
const SINGLES: usize = 3000;
const PAIRS: usize = 600;

/// `opa` in `home`, which must succeed; gives its standard output.
fn opa(home: &Home, words: &[&str]) -> Value {
    let program = std::env::var("SEALWRIGHT_TEST_OPA")
        .expect("SEALWRIGHT_TEST_OPA is not set: run these tests with ./test peers");
    let output = Command::new(program).args(words).current_dir(home.path("")).output().unwrap();
    // A failed test is no failed run: what it says is compared.
    assert!(!output.stdout.is_empty(), "{words:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Every policy that is shipped: directories with rules and their data.
fn policies() -> Vec<PathBuf> {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies").canonicalize().unwrap();
    let mut found: Vec<PathBuf> = fs::read_dir(all)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("data.json").is_file())
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
        // What our runner finds by itself.
        let input = policy.join("input.json");
        let input = input.is_file().then(|| format!("{TEST_INPUT}:{}", input.display()));
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
        let asked = ["test", "--format", "json", policy].into_iter().chain(input.as_deref());
        let theirs = outcomes(&opa(&home, &asked.collect::<Vec<_>>()));
        let ours = outcomes(&home.run(&format!("--json policy test {policy}")).json()["tests"]);
        assert_eq!(ours, theirs, "{policy}");
        assert!(ours.len() > 10 && ours.values().all(|passed| *passed), "{policy}: {ours:?}");
    }
}

#[test]
fn opa_decides_the_same() {
    let home = Home::new();
    let mut compared = 0;
    for policy in policies() {
        let data = fs::read(policy.join("data.json")).unwrap_or_else(|_| b"{}".to_vec());
        let data: Value = serde_json::from_slice(&data).unwrap();
        let suite = Suite::new(&modules(&policy), &data, SuiteOptions::default()).unwrap();
        let base = match fs::read(policy.join("input.json")) {
            Ok(input) => serde_json::from_slice(&input).unwrap(),
            Err(_) => sound(suite.query(FIXTURE, &json!({})).unwrap()),
        };
        let base = with_revocations(base, &data);
        let decided = Decided::of(&home, &policy, &suite, &base);
        let first = &decided.answers[0];
        assert!(first.ours_allows(), "{}: {}", policy.display(), first.ours);
        let denied = decided.answers.iter().filter(|answer| !answer.ours_allows()).count();
        assert!(denied > decided.answers.len() / 10 && denied < decided.answers.len(), "{denied}");
        let differing: Vec<String> = decided.answers.iter().filter_map(Answer::fault).collect();
        assert!(
            differing.is_empty(),
            "{}: {} of {} differ\n{}",
            policy.display(),
            differing.len(),
            decided.answers.len(),
            differing[..differing.len().min(10)].join("\n")
        );
        compared += decided.answers.len();
    }
    assert!(compared > 2000, "{compared}");
}

/// What both engines said to many inputs.
struct Decided {
    answers: Vec<Answer>,
}

struct Answer {
    changes: Changes,
    /// Whether a decision can be asked with the input: other inputs do not reach the rules.
    is_typed: bool,
    ours: Value,
    theirs: Value,
}

impl Decided {
    fn of(home: &Home, policy: &Path, suite: &Suite, base: &Value) -> Self {
        let (changes, inputs): (Vec<Changes>, Vec<Value>) = inputs(base).into_iter().unzip();
        let ours = suite.query_all(DECISION, &inputs).into_iter().zip(&inputs);
        let ours = ours.map(|(answer, input)| told(in_time(suite, input, answer)));
        let theirs = decided_by_opa(home, policy, &inputs);
        let is_typed = inputs.iter().map(|input| {
            DecisionInput::deserialize(input).is_ok_and(|input| input.fault().is_none())
        });
        let answers = changes.into_iter().zip(is_typed).zip(ours.zip(theirs));
        let answer =
            |((changes, is_typed), (ours, theirs))| Answer { changes, is_typed, ours, theirs };
        Self { answers: answers.map(answer).collect() }
    }
}

impl Answer {
    fn ours_allows(&self) -> bool {
        self.ours["allow"] == true
    }

    /// What is wrong: another decision, but for the spelling of its messages. Where no decision can be
    /// asked, our rules may fail where OPA's go on, but not allow what they refuse there.
    fn fault(&self) -> Option<String> {
        let is_same = match self.is_typed {
            true => spelled(&self.ours) == spelled(&self.theirs),
            false => !self.ours_allows() || self.theirs["allow"] == true,
        };
        let told =
            || format!("{:?}\n  ours   {}\n  theirs {}", self.changes, self.ours, self.theirs);
        (!is_same).then(told)
    }
}

/// A decision with messages in one spelling, where the engines have two; `docs/policy.md` has the table.
fn spelled(decision: &Value) -> Value {
    let mut decision = decision.clone();
    let violations = decision.get_mut("violations").and_then(Value::as_array_mut);
    let Some(violations) = violations else { return decision };
    for violation in violations.iter_mut() {
        let message = text(&violation["msg"]).replace("\\u200b", "\u{200b}");
        let is_of_number = |c: char| c.is_ascii_digit() || ".e+-".contains(c);
        let mut words = Vec::new();
        let mut rest = message.as_str();
        while let Some(first) = rest.chars().next() {
            let kind = is_of_number(first);
            let end = rest.find(|c| is_of_number(c) != kind).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            let number = word.parse::<f64>().ok().filter(|_| kind);
            words.push(number.map_or_else(|| word.to_owned(), |number| number.to_string()));
            rest = after;
        }
        violation["msg"] = words.concat().into();
    }
    // They are sorted by what they were before.
    violations.sort_by_key(ToString::to_string);
    decision
}

/// The input with two revocations that are in force and concern something else, of which the rules have
/// to find out.
fn with_revocations(mut base: Value, data: &Value) -> Value {
    for (digit, target) in [
        ('a', json!({"signer": "somebody@elsewhere.example"})),
        ('b', json!({"envelope_sha256": "c".repeat(64)})),
    ] {
        let mut revocation = base["attestations"][0].clone();
        revocation["envelope_sha256"] = String::from(digit).repeat(64).into();
        revocation["predicate_type"] = "https://sealwright.dev/predicate/revocation/v0.1".into();
        revocation["signer"]["roles"] = data["sealwright"]["config"]["revocation"]["roles"].clone();
        revocation["predicate"] =
            json!({"target": target, "reason": "left", "effective": revocation["time"]});
        base["revocations"].as_array_mut().unwrap().push(revocation);
    }
    base
}

/// Fixtures have short names for statements.
fn sound(mut base: Value) -> Value {
    for statement in base["attestations"].as_array_mut().unwrap() {
        let name = text(&statement["envelope_sha256"]);
        statement["envelope_sha256"] = format!("{name:0>64}").into();
    }
    base
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

/// The answer, and if there was none in time, since the machine is busy, the one that there is then.
fn in_time(
    suite: &Suite,
    input: &Value,
    mut answer: Result<Value, Failure>,
) -> Result<Value, Failure> {
    for _ in 0..100 {
        if answer != Err(Failure::Timeout) {
            return answer;
        }
        answer = suite.query(DECISION, input);
    }
    panic!("never in time: {input}");
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
    // `opa exec` reads bundles, and no links in them.
    let bundle = format!("{name}-bundle");
    for (path, text) in modules(policy) {
        home.write(Path::new(&bundle).join(Path::new(&path).file_name().unwrap()), text);
    }
    home.write(format!("{bundle}/data.json"), fs::read(policy.join("data.json")).unwrap());
    for (number, input) in inputs.iter().enumerate() {
        home.write(format!("{name}/{number:06}.json"), input.to_string());
    }
    let asked = ["exec", "--bundle", &bundle, "--decision", "sealwright/main/decision"];
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
