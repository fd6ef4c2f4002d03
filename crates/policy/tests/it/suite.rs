//! Any Rego with tests, as OPA runs it.

use sealwright_policy::{Coverage, Failure, PolicyError, Suite, SuiteOptions, TestRun};
use serde_json::{Value, json};

fn suite_with(modules: &[(&str, &str)], data: &Value) -> Result<Suite, PolicyError> {
    let modules: Vec<(String, String)> =
        modules.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    Suite::new(&modules, data, SuiteOptions::default())
}

fn suite(rules: &str) -> Suite {
    let text = format!("package a\n\nimport rego.v1\n\n{rules}\n");
    suite_with(&[("a_test.rego", &text)], &json!({})).unwrap()
}

/// Every test that is not skipped, by its name.
fn run(suite: &Suite) -> Vec<(String, TestRun)> {
    let tests = suite.tests().iter().filter(|test| !test.todo);
    tests.map(|test| (test.name.clone(), suite.run(test))).collect()
}

/// Why the only test fails.
#[track_caller]
fn fault(rules: &str) -> String {
    let mut runs = run(&suite(rules));
    assert_eq!(runs.len(), 1, "{runs:?}");
    runs.pop().unwrap().1.fault.unwrap_or_default()
}

#[test]
fn only_true_passes() {
    assert_eq!(fault("test_x if true"), "");
    assert_eq!(fault("test_x := true"), "");
    assert_eq!(fault("test_x := false"), "it is false");
    assert_eq!(fault("test_x := \"true\""), "it is \"true\"");
    assert!(fault("test_x if false").starts_with("it is undefined"));
    assert!(fault("test_x contains 1").starts_with("it is "));
    assert_eq!(fault("default test_x := false\n\ntest_x if input.y"), "it is false");
}

#[test]
fn the_first_rule_may_have_a_reference_for_its_name() {
    let suite =
        suite("p.q.r contains 1\n\np.s := 2\n\ntest_x if p == {\"q\": {\"r\": {1}}, \"s\": 2}");
    assert_eq!(run(&suite)[0].1.fault, None);
    let only = "package a\n\nimport rego.v1\n\np.q := 1\n";
    let suite = suite_with(&[("a.rego", only)], &json!({})).unwrap();
    assert_eq!(suite.query("data.a.p", &json!({})), Ok(json!({"q": 1})));
}

#[test]
fn an_error_is_a_failure_that_says_where() {
    let said = fault("test_x if missing(1)");
    assert_eq!(said, "a_test.rego:5:18: could not find function missing");
    let said = fault("test_x if not to_number(\"a\")");
    assert!(said.starts_with("a_test.rego:5:"), "{said}");
    let lenient = SuiteOptions { lenient_builtin_errors: true, ..SuiteOptions::default() };
    let module = "package a\nimport rego.v1\ntest_x if not to_number(\"a\")\n";
    let suite = Suite::new(&[("a".into(), module.into())], &json!({}), lenient).unwrap();
    assert_eq!(suite.run(&suite.tests()[0]).fault, None);
}

#[test]
fn a_failure_says_how_far_it_came() {
    let said = fault("test_x if {\n\ty := 1\n\ty == 2\n\tprint(y)\n}");
    assert_eq!(said, "it is undefined; line 7 is as far as it came");
}

#[test]
fn a_runaway_fails() {
    let rules = "test_x if {\n\tsome i in n\n\tsome j in n\n\tsome k in n\n\tsome l in n\n\tfalse\n}\n\n\
        n := [i | some i in array.concat(m, m)]\n\n\
        m := [1 | some x in split(sprintf(\"%0999d\", [1]), \"\"); x]";
    assert_eq!(fault(rules), "it took too long");
}

#[test]
fn two_tests_of_one_name_are_two() {
    let runs = run(&suite("test_x if true\n\ntest_x if false\n\ntest_x if 1 == 1"));
    let names: Vec<&str> = runs.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["test_x", "test_x#01", "test_x#02"]);
    let passed: Vec<bool> = runs.iter().map(|(_, run)| run.fault.is_none()).collect();
    assert_eq!(passed, [true, false, true]);
}

#[test]
fn todo_and_helpers_are_no_tests() {
    let suite =
        suite("todo_test_x if false\n\nhelper if false\n\ntest_f(x) := x\n\ntest_y if true");
    let names: Vec<(&str, bool)> =
        suite.tests().iter().map(|test| (test.name.as_str(), test.todo)).collect();
    assert_eq!(names, [("todo_test_x", true), ("test_y", false)]);
    assert_eq!((suite.tests()[1].line, suite.tests()[1].package.as_str()), (11, "data.a"));
}

#[test]
fn input_and_data_are_replaced() {
    let policy = "package p\n\nimport rego.v1\n\nallow if input.user in data.users\n\n\
        double(x) := x * 2\n\nfour := double(2)\n";
    let tests = "package p_test\n\nimport data.p\nimport rego.v1\n\n\
        test_input if p.allow with input as {\"user\": \"ann\"}\n\n\
        test_field if p.allow with input.user as \"ann\"\n\n\
        test_data if p.allow with input.user as \"bob\" with data.users as [\"bob\"]\n\n\
        test_back if {\n\tp.allow with input.user as \"bob\" with data.users as [\"bob\"]\n\
        \tnot p.allow with input.user as \"bob\"\n}\n\n\
        test_rule if p.allow with data.p.allow as true\n\n\
        test_function if p.four == 8 with p.double as 8\n\n\
        test_builtin if count([]) == 7 with count as 7\n\n\
        test_no_input if not p.allow\n";
    let suite =
        suite_with(&[("p.rego", policy), ("p_test.rego", tests)], &json!({"users": ["ann"]}))
            .unwrap();
    for (name, run) in run(&suite) {
        assert_eq!(run.fault, None, "{name}");
    }
}

#[test]
fn what_a_test_prints_is_kept_within_bounds() {
    let runs = run(&suite("test_x if print(\"seen\", [1])"));
    assert_eq!(runs[0].1.printed, ["a_test.rego:5: seen [1]"]);
    let much = "test_x if {\n\tevery x in split(sprintf(\"%0999d\", [1]), \"\") {\n\
        \t\tprint(x, \"a line of some length that is printed again and again\")\n\t}\n}";
    let printed: usize = run(&suite(much))[0].1.printed.iter().map(String::len).sum();
    assert!(printed < 20_000, "{printed}");
}

#[test]
fn coverage_counts_lines_of_rules_that_were_and_were_not_reached() {
    let policy = "package p\n\nimport rego.v1\n\nallow if {\n\tinput.a\n\tinput.b\n}\n\n\
        never(x) if {\n\tx == 1\n}\n";
    let unused = "package q\n\nx := 1\n";
    let tests = "package p_test\n\nimport data.p\nimport rego.v1\n\n\
        test_no if not p.allow with input as {\"b\": 1}\n";
    let suite =
        suite_with(&[("p.rego", policy), ("p_test.rego", tests), ("q.rego", unused)], &json!({}))
            .unwrap();
    let mut covered = Coverage::default();
    for (_, run) in run(&suite) {
        covered.add(&run.covered);
    }
    assert_eq!(covered.lines("p.rego").into_iter().collect::<Vec<_>>(), [6]);
    let coverable = suite.coverable();
    assert_eq!(coverable.lines("p.rego").into_iter().collect::<Vec<_>>(), [6, 7, 11]);
    assert_eq!(coverable.lines("q.rego").into_iter().collect::<Vec<_>>(), [3]);
    assert_eq!(covered.lines("q.rego").len(), 0);
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let module = "package a.b\n\nimport rego.v1\n\nx := 1\n\nf(y) := f(y)\n";
    let error = suite_with(&[("a.rego", module)], &json!({})).unwrap_err();
    assert!(matches!(error, PolicyError::Recursion { .. }), "{error}");
    let module = "package a.b\n\nx := 1\n";
    let error = suite_with(&[("a.rego", module)], &json!({"a": {"b": {"x": 2}}})).unwrap_err();
    assert_eq!(error.to_string(), "there is both a rule data.a.b.x and a value in the data");
    assert!(suite_with(&[("a.rego", module)], &json!({"a": {"b": {"y": 2}}})).is_ok());
    let error = suite_with(&[("dir/a.rego", "package a\n\nx = = 1\n")], &json!({})).unwrap_err();
    assert!(
        error.to_string().starts_with("dir/a.rego is not valid Rego: dir/a.rego:3:"),
        "{error}"
    );
}

#[test]
fn old_rego_is_read_on_demand() {
    let modules = [(String::from("a"), String::from("package a\n\ntest_x { 1 == 1 }\n"))];
    assert!(Suite::new(&modules, &json!({}), SuiteOptions::default()).is_err());
    let options = SuiteOptions { v0_compatible: true, ..SuiteOptions::default() };
    let suite = Suite::new(&modules, &json!({}), options).unwrap();
    assert_eq!(suite.run(&suite.tests()[0]).fault, None);
    // A function that is only stated is true, also where the engine takes it for undefined.
    let facts = "package a\n\nf(\"any\", _)\n\nf(\"some\", x) = x == 1\n\n\
        test_x {\n\tf(\"any\", 2)\n\tf(\"some\", 1)\n\tnot f(\"some\", 2)\n}\n";
    let facts = [(String::from("a"), String::from(facts))];
    let suite = Suite::new(&facts, &json!({}), options).unwrap();
    assert_eq!(suite.run(&suite.tests()[0]).fault, None);
}

#[test]
fn a_query_has_a_value_or_a_reason() {
    let module = "package a[\"b-c\"]\n\nimport rego.v1\n\nx := input.x\n\nbad := to_number(input.x)\n\n\
        panics := strings.count(input.x, \"\")\n\ns contains 1\n";
    let suite = suite_with(&[("a.rego", module)], &json!({"d": {"e": 1}})).unwrap();
    let ask = |query: &str| suite.query(query, &json!({"x": "y"}));
    assert_eq!(ask("data.a[\"b-c\"].x"), Ok(json!("y")));
    assert_eq!(ask("data.a[\"b-c\"].s"), Ok(json!([1])));
    assert_eq!(ask("data.d.e"), Ok(json!(1)));
    assert_eq!(ask("data.nothing.here"), Err(Failure::Undefined));
    assert_eq!(suite.query("data.a[\"b-c\"].x", &json!({})), Err(Failure::Undefined));
    assert_eq!(ask("data.a[\"b-c\"].bad").unwrap_err().code(), "POLICY_ERROR");
    assert_eq!(ask("data.a[\"b-c\"].panics"), Err(Failure::Panic));
    assert_eq!(ask("input.x").unwrap_err().code(), "POLICY_ERROR");
    // One input does not see what another left behind.
    let both = suite.query_all("data.a[\"b-c\"].x", &[json!({"x": 1}), json!({}), json!({"x": 2})]);
    assert_eq!(both, [Ok(json!(1)), Err(Failure::Undefined), Ok(json!(2))]);
}
