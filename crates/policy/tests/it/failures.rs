//! Policies that fail, and what becomes of it: always a deny, always with a code.

use sealwright_policy::{Outcome, Policy, PolicyError, code};
use serde_json::{Value, json};

use crate::support::{STARTER, changed, decide_with, passing};

type Change = fn(&mut Value);

/// A policy of one file, `package sealwright.main` with `body`.
fn policy(body: &str) -> Policy {
    let text = format!("package sealwright.main\n\nimport rego.v1\n\n{body}\n");
    Policy::from_files([("main.rego", text)]).unwrap()
}

fn outcome(body: &str) -> Outcome {
    decide_with(&policy(body), &passing()).unwrap()
}

/// The policy denies with exactly this code.
#[track_caller]
fn denies_with(code: &str, body: &str) {
    let outcome = outcome(body);
    assert!(!outcome.allow, "{body}");
    assert_eq!(outcome.violations.len(), 1, "{outcome:?}");
    assert_eq!(outcome.violations[0].code, code, "{outcome:?}");
    assert!(!outcome.violations[0].message.is_empty());
    assert!(outcome.evidence.is_empty());
}

const ALLOW: &str = r#""allow": true, "violations": set(), "evidence": set()"#;

#[test]
fn a_plain_allow_is_an_allow() {
    let outcome = outcome(&format!("decision := {{{ALLOW}}}"));
    assert!(outcome.allow);
    assert!(outcome.violations.is_empty());
}

#[test]
fn an_engine_error_denies() {
    let decision = format!("decision := {{{ALLOW}}}");
    denies_with(
        code::POLICY_ERROR,
        &format!("{decision} if to_number(input.request.environment) > 0"),
    );
    denies_with(
        code::POLICY_ERROR,
        &format!("{decision} if {{\n\tx := input.request.environment\n\tnot to_number(x)\n}}"),
    );
    // Two values for one rule.
    denies_with(
        code::POLICY_ERROR,
        &format!("{decision} if input.kind\ndecision := {{}} if input.kind"),
    );
    // An error inside of a function, of which another definition has a value.
    denies_with(
        code::POLICY_ERROR,
        &format!("{decision} if f(input.kind)\nf(x) if to_number(x)\nf(x) if x != \"\""),
    );
}

#[test]
fn rules_that_depend_on_each_other_deny() {
    denies_with(code::POLICY_ERROR, &format!("decision := {{{ALLOW}}} if a\na if b\nb if a"));
    denies_with(
        code::POLICY_ERROR,
        &format!("decision := {{{ALLOW}}} if a\na if f(1)\nf(x) if {{\n\tx == 1\n\ta\n}}"),
    );
}

#[test]
fn no_decision_for_this_input_denies() {
    denies_with(code::POLICY_UNDEFINED, &format!("decision := {{{ALLOW}}} if input.no_such_field"));
    denies_with(
        code::POLICY_UNDEFINED,
        r#"decision := {"allow": input.no_such_field, "violations": set(), "evidence": set()}"#,
    );
}

#[test]
fn a_runaway_denies() {
    let loops = "some a in s\n\tsome b in s\n\tsome c in s\n\tsome d in s\n\ta + b + c + d == 4000";
    let numbers: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    let body =
        format!("s := [{}]\ndecision := {{{ALLOW}}} if {{\n\t{loops}\n}}", numbers.join(", "));
    let started = std::time::Instant::now();
    denies_with(code::POLICY_TIMEOUT, &body);
    assert!(started.elapsed() < std::time::Duration::from_secs(5));
    // Inside of a function the engine forgets the kind of its errors.
    let in_function = body
        .replace("decision :=", "f(s) if {\n\tLOOPS\n}\ndecision :=")
        .replace(&format!("if {{\n\t{loops}"), "if {\n\tf(s)")
        .replace("LOOPS", loops);
    denies_with(code::POLICY_TIMEOUT, &in_function);
}

#[test]
fn a_panic_of_the_engine_denies() {
    let body = r#"decision := {"allow": strings.count(input.kind, "") > 0, "violations": set(), "evidence": set()}"#;
    let policy = policy(body);
    for _ in 0..2 {
        let outcome = decide_with(&policy, &passing()).unwrap();
        assert_eq!(outcome.violations[0].code, code::POLICY_PANIC);
    }
    // Other policies of the process are untouched.
    assert!(decide_with(&STARTER, &passing()).unwrap().allow);
}

#[test]
fn a_policy_that_fills_the_memory_denies() {
    let doubled: String =
        (1..60).map(|n| format!("a{n} := concat(\"\", [a{}, a{}])\n", n - 1, n - 1)).collect();
    denies_with(
        code::POLICY_TIMEOUT,
        &format!("a0 := input.kind\n{doubled}decision := {{{ALLOW}}} if count(a59) > 0"),
    );
    // Every three of two hundred.
    let threes = "[concat(\"\", [a, b, c]) | some a in s; some b in s; some c in s]";
    let numbers: Vec<String> = (0..200).map(|n| format!("\"{n}\"")).collect();
    let body =
        format!("s := [{}]\ndecision := {{{ALLOW}}} if count({threes}) > 0", numbers.join(",\n"));
    denies_with(code::POLICY_TIMEOUT, &body);
    // What makes texts as long as two of them multiplied is refused before it is asked anything.
    for call in
        ["replace(x, \"x\", x)", "regex.replace(x, \"x\", x)", "numbers.range(1, 1000000000)"]
    {
        let text = format!(
            "package sealwright.main\n\nimport rego.v1\n\nx := \"x\"\n\ndecision := {{{ALLOW}}} if {call}\n"
        );
        let error = Policy::from_files([("main.rego", text)]).unwrap_err();
        assert!(matches!(error, PolicyError::UnknownFunction { .. }), "{call}: {error:?}");
    }
}

#[test]
fn one_step_that_takes_all_the_time_denies() {
    // Written to a width, within one call of a builtin.
    let body =
        format!("x := sprintf(\"%150000000d\", [1])\ndecision := {{{ALLOW}}} if count(x) > 0");
    denies_with(code::POLICY_TIMEOUT, &body);
}

#[test]
fn a_policy_that_says_megabytes_is_cut_short_or_denied() {
    // A line of Rego has at most 1024 columns.
    let mut rules = format!("a0 := \"{}\"\n", "x".repeat(1000));
    (1..12).for_each(|n| {
        rules.push_str(&format!("a{n} := concat(\"\", [a{}, a{}])\n", n - 1, n - 1));
    });
    rules.push_str("text := a11\n");
    let body = format!(
        "{rules}decision := {{\"allow\": false, \"evidence\": [], \"violations\": [{{\"code\": \"A\", \"control\": text, \"msg\": text}}]}}"
    );
    let said = outcome(&body);
    assert!(!said.allow);
    assert_eq!(said.violations[0].message.chars().count(), 1001);
    assert_eq!(said.violations[0].control.chars().count(), 1001);
    // In the code, in the evidence, or beside them there is no place for it.
    for decision in [
        r#"{"allow": false, "evidence": [], "violations": [{"code": text, "control": "c", "msg": "m"}]}"#,
        r#"{"allow": true, "evidence": [text], "violations": []}"#,
        r#"{"allow": true, "evidence": [], "violations": [], "notes": text}"#,
        "text",
    ] {
        let body = format!("{rules}decision := {decision}");
        let said = outcome(&body);
        assert!(!said.allow, "{decision}");
        assert_eq!(said.violations[0].code, code::POLICY_ERROR, "{decision}");
        assert!(said.violations[0].message.chars().count() <= 1001, "{decision}");
    }
    let text =
        "package sealwright.main\n\nimport rego.v1\n\ndecision := {\"allow\": print(\"x\")}\n";
    assert!(Policy::from_files([("main.rego", text)]).is_err());
}

#[test]
fn an_ill_formed_decision_denies() {
    for decision in [
        "true",
        "null",
        "[]",
        "{}",
        r#"{"allow": true}"#,
        r#"{"allow": true, "violations": set()}"#,
        r#"{"allow": "true", "violations": set(), "evidence": set()}"#,
        r#"{"allow": 1, "violations": set(), "evidence": set()}"#,
        r#"{"allow": null, "violations": set(), "evidence": set()}"#,
        r#"{"allow": true, "violations": {}, "evidence": set()}"#,
        r#"{"allow": true, "violations": null, "evidence": set()}"#,
        r#"{"allow": true, "violations": set(), "evidence": [1]}"#,
        r#"{"allow": true, "violations": set(), "evidence": ["of nothing"]}"#,
        r#"{"allow": true, "violations": set(), "evidence": set(), "violation": ["x"]}"#,
        r#"{"allow": true, "violations": [{"code": "X", "control": "c", "msg": "m"}], "evidence": []}"#,
        r#"{"allow": false, "violations": [{"code": "x", "control": "c", "msg": "m"}], "evidence": []}"#,
        r#"{"allow": false, "violations": [{"code": "POLICY_PANIC", "control": "c", "msg": "m"}], "evidence": []}"#,
        r#"{"allow": false, "violations": [{"code": "X", "control": "c"}], "evidence": []}"#,
        r#"{"allow": false, "violations": [{"code": "X", "control": "c", "msg": 1}], "evidence": []}"#,
        r#"{"allow": false, "violations": ["X"], "evidence": []}"#,
    ] {
        denies_with(code::POLICY_ERROR, &format!("decision := {decision}"));
    }
}

#[test]
fn a_deny_without_a_reason_says_so() {
    denies_with(
        code::POLICY_NO_REASON,
        r#"decision := {"allow": false, "violations": set(), "evidence": set()}"#,
    );
}

#[test]
fn violations_are_sorted_and_differ() {
    let outcome = outcome(
        r#"decision := {"allow": false, "evidence": [], "violations": [
            {"code": "B", "control": "c", "msg": "x"},
            {"code": "A", "control": "c", "msg": "y"},
            {"code": "B", "control": "c", "msg": "x"},
            {"code": "A", "control": "b", "msg": "z"},
        ]}"#,
    );
    let found: Vec<_> = outcome.violations.iter().map(|v| (&*v.code, &*v.message)).collect();
    assert_eq!(found, [("A", "z"), ("A", "y"), ("B", "x")]);
}

#[test]
fn messages_are_fit_for_a_terminal() {
    let policy = policy(
        r#"decision := {"allow": false, "evidence": [], "violations": [
            {"code": "A", "control": "c", "msg": input.model.name},
        ]}"#,
    );
    let message = |name: &str| {
        let input = changed(|i| i["model"]["name"] = json!(name));
        decide_with(&policy, &input).unwrap().violations.remove(0).message
    };
    assert_eq!(message("a\r\nb\tc"), "a b c");
    assert_eq!(message("\u{1b}[31mred\u{7}\u{202e}"), "[31mred");
    assert_eq!(message(&"ä".repeat(5000)).chars().count(), 1001);
}

#[test]
fn the_longest_chain_of_rules_fits_the_stack() {
    let chain = |link: fn(usize) -> String, last: &str| {
        let mut body = format!("decision := {{{ALLOW}}} if r0\n");
        (0..Policy::MAX_RULES - 2).for_each(|n| body.push_str(&link(n)));
        body + last
    };
    let last = Policy::MAX_RULES - 2;
    let rules = chain(|n| format!("r{n} if r{}\n", n + 1), &format!("r{last} if input.kind"));
    assert!(outcome(&rules).allow);
    let functions = chain(|n| format!("f{n}(x) if f{}(x)\n", n + 1), &format!("f{last}(x) if x\n"));
    let functions = functions.replace("if r0", "if f0(true)");
    assert!(outcome(&functions).allow);
}

#[test]
fn an_input_that_nobody_can_have_made_denies() {
    let cases: [(&str, Change); 6] = [
        ("api", |i| i["apiVersion"] = json!("sealwright.dev/v2")),
        ("kind", |i| i["kind"] = json!("Something")),
        ("id", |i| i["evaluation"]["id"] = json!("")),
        ("digest", |i| i["model"]["digest"]["sha256"] = json!("5D")),
        ("verified", |i| i["attestations"][0]["verified"] = json!(false)),
        ("predicate", |i| i["attestations"][0]["predicate"] = json!([])),
    ];
    for (name, change) in cases {
        let outcome = decide_with(&STARTER, &changed(change)).unwrap();
        assert_eq!(outcome.violations[0].code, code::INPUT_INVALID, "{name}");
        assert!(!outcome.allow);
    }
    let many = changed(|i| {
        let one = i["attestations"][0].clone();
        i["attestations"] = vec![one; 5000].into();
    });
    assert_eq!(decide_with(&STARTER, &many).unwrap().violations[0].code, code::INPUT_INVALID);
    let large = changed(|i| i["attestations"][0]["predicate"]["x"] = json!("x".repeat(17 << 20)));
    assert_eq!(decide_with(&STARTER, &large).unwrap().violations[0].code, code::INPUT_INVALID);
}
