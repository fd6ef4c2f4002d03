//! What looks wrong, and what does not.

use sealwright_policy::{Finding, Policy, PolicyError, Severity, Suite, SuiteOptions};
use serde_json::json;

use crate::support::starter_dir;

const MAIN: &str = "package sealwright.main\n\nimport rego.v1\n\n\
    decision := {\"allow\": false, \"violations\": set(), \"evidence\": set()}\n\n";

fn lint(modules: &[(&str, &str)]) -> Vec<Finding> {
    let modules: Vec<(String, String)> =
        modules.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    Suite::new(&modules, &json!({}), SuiteOptions::default()).unwrap().lint()
}

/// Codes and severities for rules beside a sound decision; they start in line 7.
fn found(rules: &str) -> Vec<(&'static str, Severity)> {
    let findings = lint(&[("main.rego", &format!("{MAIN}{rules}\n"))]);
    for finding in &findings {
        assert!(finding.line >= 7 && finding.column >= 1, "{finding}");
        assert!(!finding.help.is_empty() && !finding.message.is_empty());
    }
    findings.into_iter().map(|finding| (finding.code, finding.severity)).collect()
}

#[track_caller]
fn error(rules: &str, code: &str) {
    assert_eq!(found(rules), [(code, Severity::Error)], "{rules}");
    let loaded = Policy::from_files([("main.rego", format!("{MAIN}{rules}\n"))]);
    assert!(loaded.is_err(), "it loads: {rules}");
}

#[track_caller]
fn warning(rules: &str, code: &str) {
    assert_eq!(found(rules), [(code, Severity::Warning)], "{rules}");
}

#[track_caller]
fn fine(rules: &str) {
    assert_eq!(found(rules), [], "{rules}");
}

#[test]
fn calls_of_what_may_not_be_called() {
    error("x := time.now_ns()", "builtin-unreplayable");
    error("x if rand.intn(\"a\", 2) == 1", "builtin-unreplayable");
    error("x if input.a with input.b as http.send({})", "builtin-unreplayable");
    error("x := opa.runtime()", "builtin-unreplayable");
    error("x := net.lookup_ip_addr(\"a\")", "builtin-unreplayable");
    error("x := no.such_thing(1)", "builtin-unknown");
    error("x if print(1)", "builtin-refused");
    error("x := numbers.range(1, 10)", "builtin-refused");
    error("x := strings.count(\"aaa\", \"a\")", "builtin-refused");
    fine("x := json.patch({}, [])");
    fine("f(y) := y\n\nx := f(1)\n\nz := data.sealwright.main.f(2)");
}

#[test]
fn thresholds() {
    error("x if input.score >= 0.9", "threshold-unchecked");
    error("x if 0.9 <= input.score", "threshold-unchecked");
    error("x if {\n\tsome a in input.list\n\ta.value < 3\n}", "threshold-unchecked");
    error("x if {\n\tv := input.score\n\tv > 1\n}", "threshold-unchecked");
    error("x if {\n\tevery a in input.list {\n\t\ta.value < 3\n\t}\n}", "threshold-unchecked");
    error("x := [a | some a in input.list; a > 3]", "threshold-unchecked");
    error("x if {\n\tis_number(input.other)\n\tinput.score > 1\n}", "threshold-unchecked");
    warning("x(m) if m.value >= 1", "threshold-unchecked");
    warning("y := 1\n\nx if {\n\tsome m in y\n\tm.value >= 1\n}", "threshold-unchecked");
    fine("x if {\n\tis_number(input.score)\n\tinput.score >= 0.9\n}");
    fine("x if {\n\tinput.score >= 0.9\n\tis_number(input.score)\n}");
    fine("x if {\n\tv := input.score\n\tis_number(v)\n\tv >= 0.9\n}");
    fine("x if {\n\tv := input.score\n\tis_number(input.score)\n\tv >= 0.9\n}");
    fine("x if {\n\ttype_name(input.score) == \"number\"\n\tinput.score >= 0.9\n}");
    fine("x if {\n\tsome a in input.list\n\tis_number(a.value)\n\ty := [1 | a.value > 2]\n\ty\n}");
    fine("x if count(input.list) >= 2");
    fine("x if data.limits.a > 1");
    fine("x(m) if m >= 1");
    fine("x if input.a == 1");
}

#[test]
fn calls_under_not() {
    error("x if not f(input.a)\n\nf(y) if y", "negated-call");
    error("x if not startswith(input.a, \"b\")", "negated-call");
    error("x if {\n\tsome a in input.list\n\tnot endswith(a.name, \"b\")\n}", "negated-call");
    error("x if not count(object.get(input.a, \"b\", [])) == 0", "negated-call");
    warning("x(m) if not startswith(m.name, \"b\")", "negated-call");
    fine("x if {\n\ta := input.a\n\tnot startswith(a, \"b\")\n}");
    fine("x(m) if not startswith(m, \"b\")");
    fine("x if not object.get(input, [\"a\", \"b\"], false)");
    fine("x if not input.a");
    fine("x if not input.a == 1");
    fine("x if not startswith(data.limits.name, \"b\")");
}

/// In OPA `not` may have a body, by an import that this engine takes without heeding it.
#[test]
fn not_has_no_body() {
    error("x if not { false }", "negated-body");
    let text = MAIN.replace("import rego.v1", "import future.keywords.not\nimport rego.v1");
    let findings = lint(&[("main.rego", &format!("{text}x if not {{ input.a }}\n"))]);
    assert_eq!(findings.iter().map(|f| f.code).collect::<Vec<_>>(), ["negated-body"]);
    error("x if not {a | a := input.a}", "negated-body");
    fine("x if not y\n\ny := {1}");
}

#[test]
fn rules_that_say_yes() {
    error("default allow := true", "default-allow");
    error("default isCompliant := true", "default-allow");
    error("default answer := {\"allow\": true}", "default-allow");
    warning("allow := true", "always-allow");
    fine("default allow := false");
    fine("allow if input.a\n\ndefault limit := 3");
}

#[test]
fn rules_that_decide_replace_nothing() {
    warning("f(y) := y\n\nx if f(1) == 2 with data.sealwright.main.f as 2", "with-in-rule");
    warning("x if data.limit == 2 with data.limit as 2", "with-in-rule");
    fine("x if input.limit == 2 with input.limit as 2");
}

#[test]
fn modules_and_tests() {
    let codes = |modules: &[(&str, &str)]| -> Vec<String> {
        lint(modules).iter().map(|finding| format!("{} {}", finding.file, finding.code)).collect()
    };
    assert_eq!(
        codes(&[("main.rego", "package a\n\nimport rego.v1\n\nx := 1\n")]),
        ["main.rego entry-point-missing"]
    );
    assert_eq!(
        codes(&[("a.rego", "package signature\n\nimport rego.v1\n\nallow if input.x\n")]),
        [""; 0]
    );
    assert_eq!(
        codes(&[("a.rego", "package main\n\ndeny contains 1 if input.x\n")]),
        ["a.rego import-missing"]
    );
    let ours = "package sealwright.other\n\nimport rego.v1\n\nallow if input.x\n";
    assert_eq!(codes(&[("a.rego", ours)]), ["a.rego entry-point-missing"]);
    let tests = "package t\n\nimport rego.v1\n\nhelper := 1\n\nunused := 2\n\n\
        test_x if helper == 1\n\ntodo_test_y if true\n\ntset_z if true\n";
    assert_eq!(
        codes(&[("main.rego", MAIN), ("main_test.rego", tests)]),
        ["main_test.rego test-unused", "main_test.rego test-skipped", "main_test.rego test-unused"]
    );
    let misplaced = format!("{MAIN}test_x if true\n");
    assert_eq!(codes(&[("main.rego", &misplaced)]), ["main.rego test-misplaced"]);
    // Tests decide nothing, so that nothing in them is an error.
    let loose = "package t\n\nimport rego.v1\n\ntest_x if not startswith(input.a, \"b\")\n";
    let found = lint(&[("main.rego", MAIN), ("main_test.rego", loose)]);
    assert!(found.iter().all(|f| f.severity == Severity::Warning) && found.len() == 1, "{found:?}");
}

#[test]
fn a_policy_with_errors_is_not_loaded() {
    let text = format!("{MAIN}x if input.a > 1\n\ny if not startswith(input.a, \"b\")\n");
    let error = Policy::from_files([("main.rego", text)]).unwrap_err();
    let PolicyError::Unsafe { findings } = &error else { panic!("{error:?}") };
    let codes: Vec<&str> = findings.iter().map(|finding| finding.code).collect();
    assert_eq!(codes, ["threshold-unchecked", "negated-call"]);
    assert!(error.to_string().starts_with("main.rego:7:"), "{error}");
    assert!(error.to_string().ends_with(", and 1 more"), "{error}");
    // Warnings do not keep it from deciding.
    assert!(Policy::from_files([("main.rego", format!("{MAIN}x(m) if m.a > 1\n"))]).is_ok());
}

#[test]
fn nothing_is_wrong_in_the_starter_policy() {
    let mut modules = Vec::new();
    for entry in std::fs::read_dir(starter_dir()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "rego") {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            modules.push((name, std::fs::read_to_string(&path).unwrap()));
        }
    }
    modules.sort();
    let suite = Suite::new(&modules, &json!({}), SuiteOptions::default()).unwrap();
    let errors: Vec<Finding> =
        suite.lint().into_iter().filter(|f| f.severity == Severity::Error).collect();
    assert_eq!(errors, []);
}
