//! `sealwright policy test | eval | lint | fuzz | explain | diff`.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::home::{Home, Ran};

const POLICY: &str = "package p\n\nimport rego.v1\n\ndefault allow := false\n\n\
    allow if {\n\tis_number(input.score)\n\tinput.score >= data.limits.least\n\tinput.role == \"lead\"\n}\n\n\
    unused(x) if {\n\tx == 1\n}\n";

const TESTS: &str = "package p_test\n\nimport data.p\nimport rego.v1\n\n\
    test_good if p.allow with input as {\"score\": 3, \"role\": \"lead\"}\n\n\
    test_low if not p.allow with input as {\"score\": 1, \"role\": \"lead\"}\n";

/// A directory `p` with a policy, its data and two tests that pass.
fn home() -> Home {
    let home = Home::new();
    home.write("p/p.rego", POLICY);
    home.write("p/p_test.rego", TESTS);
    home.write("p/limits/data.json", r#"{"least": 2}"#);
    home.write("good.json", r#"{"score": 3, "role": "lead"}"#);
    home
}

fn starter() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../policies/starter")
}

/// `sealwright policy …` on a path that may have spaces.
fn on_starter(home: &Home, words: &[&str]) -> Ran {
    let starter = starter();
    let words = words.iter().map(|word| match *word {
        "STARTER" => starter.as_os_str(),
        word => word.as_ref(),
    });
    home.run_words(["policy".as_ref()].into_iter().chain(words))
}

fn last_line(ran: &Ran) -> &str {
    ran.stdout.trim_end().lines().last().unwrap_or_default()
}

#[test]
fn tests_pass_and_fail() {
    let home = home();
    assert_eq!(home.must("policy test p").stdout, "2 passed, 0 failed\n");
    home.write(
        "p/more_test.rego",
        "package more_test\n\nimport data.p\nimport rego.v1\n\n\
         test_bad if {\n\tprint(\"seen\")\n\tp.allow with input as {\"score\": 1}\n}\n\n\
         test_error if missing(1)\n\ntodo_test_later if false\n",
    );
    let ran = home.run("policy test p");
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""));
    assert!(ran.stdout.contains("FAIL  data.more_test.test_bad"), "{ran:#?}");
    assert!(ran.stdout.contains("p/more_test.rego:6: it is undefined; line 8"), "{ran:#?}");
    assert!(ran.stdout.contains("p/more_test.rego:7: seen"), "{ran:#?}");
    assert!(ran.stdout.contains("could not find function missing"), "{ran:#?}");
    assert!(!ran.stdout.contains("test_good"), "{ran:#?}");
    assert!(ran.stdout.ends_with("1 skipped\n2 passed, 2 failed\n"), "{ran:#?}");

    let ran = home.run("policy test p -v");
    assert!(ran.stdout.contains("pass  data.p_test.test_good  "), "{ran:#?}");
    assert!(ran.stdout.contains("skip  data.more_test.todo_test_later\n"), "{ran:#?}");
    assert!(ran.stdout.contains(" ms\n"), "{ran:#?}");

    assert_eq!(home.must("policy test p --run p_test.*good").stdout, "1 passed, 0 failed\n");
    let value = home.run("--json policy test p").json();
    assert_eq!(value["ok"], false);
    assert_eq!([&value["passed"], &value["failed"], &value["skipped"]], [2, 2, 1]);
    let bad = value["tests"].as_array().unwrap().iter().find(|test| test["name"] == "test_bad");
    let bad = bad.unwrap();
    assert_eq!(bad["fail"], true);
    assert_eq!(bad["location"], json!({"file": "p/more_test.rego", "row": 6, "col": 1}));
    assert!(bad["duration"].as_u64().unwrap() > 0);
}

#[test]
fn nothing_to_run_is_no_success() {
    let home = home();
    home.run("policy test p --run nothing").failed(2, "there are no tests to run");
    home.run("policy test nowhere").failed(2, "nowhere");
    home.run("policy test p --run (").failed(2, "invalid value '('");
    home.write("empty/readme.txt", "x");
    home.run("policy test empty").failed(2, "there are no tests to run");
    home.write("p/broken.rego", "package p\n\nx := := 1\n");
    home.run("policy test p").failed(2, "p/broken.rego is not valid Rego: p/broken.rego:3:");
    home.write("p/broken.rego", b"package p\n\nx := \"\xff\"\n");
    home.run("policy test p").failed(2, "p/broken.rego is not UTF-8");
    home.remove("p/broken.rego");
    home.write("p/data.json", r#"{"p": {"allow": true}}"#);
    home.run("policy test p").failed(2, "both a rule data.p.allow and a value in the data");
    home.write("p/data.json", r#"{"limits": {"least": 3}}"#);
    home.run("policy test p").failed(2, "there is another value at data.limits.least already");
}

#[test]
fn data_lies_where_its_directory_says() {
    let home = home();
    home.write(
        "p/data_test.rego",
        "package data_test\n\nimport rego.v1\n\n\
         test_yaml if data.deep.er.list == [1, \"two\"]\n\n\
         test_root if data.root == 1\n\n\
         test_input if data.sealwright_test.input.role == \"lead\"\n\n\
         test_prefix if data.a.b.role == \"lead\"\n",
    );
    home.write("p/deep/er/data.yaml", "list:\n  - 1\n  - two\n");
    home.write("p/data.json", r#"{"root": 1}"#);
    home.write("p/input.json", r#"{"role": "lead"}"#);
    home.write("p/other.json", "no JSON, and no data");
    home.write("p/.hidden/broken.rego", "no Rego");
    assert_eq!(last_line(&home.must("policy test p a.b:good.json")), "6 passed, 0 failed");
    // OPA's bundles have no input beside their rules.
    let ran = home.run("policy test --bundle p a.b:good.json");
    assert_eq!((ran.code, last_line(&ran)), (Some(1), "5 passed, 1 failed"));
}

#[test]
fn a_bundle_keeps_to_its_roots() {
    let home = home();
    home.write("p/.manifest", r#"{"revision": "1", "roots": ["p", "p_test", "limits"]}"#);
    assert_eq!(last_line(&home.must("policy test --bundle p")), "2 passed, 0 failed");
    home.write("p/.manifest", r#"{"roots": ["p", "limits"]}"#);
    home.run("policy test -b p").failed(2, "package p_test is not under the bundle's roots");
    home.write("p/.manifest", r#"{"roots": ["p", "p_test", "limits/other"]}"#);
    home.run("policy test -b p").failed(2, "data.limits.least is not under the bundle's roots");
    home.write("p/.manifest", r#"{"roots": "p"}"#);
    home.run("policy test -b p").failed(2, "roots is not a list");
    home.write("p/.manifest", "{}");
    home.write("q/q.rego", "package q\n");
    home.run("policy test -b p q").failed(2, "belongs to another bundle, too");
}

#[test]
fn coverage_is_told_and_given_in_the_form_of_opa() {
    let home = home();
    let ran = home.must("policy test p --coverage");
    assert!(ran.stdout.contains("p/p.rego: not evaluated: 14\n"), "{ran:#?}");
    assert!(ran.stdout.contains("coverage 85.7 % (6 of 7 lines)\n"), "{ran:#?}");
    let value = home.json("policy test p --coverage");
    let file = &value["files"]["p/p.rego"];
    assert_eq!(file["not_covered"], json!([{"start": {"row": 14}, "end": {"row": 14}}]));
    assert_eq!(file["covered"][1], json!({"start": {"row": 8}, "end": {"row": 10}}));
    assert_eq!([&file["covered_lines"], &file["not_covered_lines"]], [4, 1]);
    assert_eq!((&value["coverage"], &file["coverage"]), (&json!(85.71), &json!(80.0)));
}

#[test]
fn the_starter_policy_passes_its_tests_and_its_lint() {
    let home = Home::new();
    let ran = on_starter(&home, &["test", "STARTER"]).succeeded();
    assert!(last_line(&ran).ends_with(" passed, 0 failed"), "{ran:#?}");
    let ran = on_starter(&home, &["lint", "STARTER", "--strict"]).succeeded();
    assert_eq!(ran.stdout, "0 errors, 0 warnings\n");
}

#[test]
fn rules_of_any_rego_are_asked() {
    let home = home();
    home.write("bad.json", r#"{"score": 1, "role": "lead"}"#);
    let line = "policy eval --bundle p --query data.p.allow --input";
    assert_eq!(home.must(&format!("{line} good.json")).stdout, "allowed\n");
    let ran = home.run(&format!("{line} bad.json"));
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), "refused\n"));
    let value = home.json(&format!("{line} good.json"));
    assert_eq!((&value["ok"], &value["allow"]), (&json!(true), &json!(true)));
    assert_eq!(
        value["result"],
        json!([{"expressions": [{
            "value": true, "text": "data.p.allow", "location": {"row": 1, "col": 1},
        }]}])
    );
    // Undefined is no result, as for OPA, and a deny.
    let ran = home.run("--json policy eval --bundle p --input good.json --query data.p.nothing");
    assert_eq!((ran.code, &ran.json()["allow"]), (Some(1), &json!(false)));
    assert_eq!(ran.json().get("result"), None);
    assert_eq!(ran.json()["violations"][0]["code"], "POLICY_UNDEFINED");
    let value = home.json("policy eval --bundle p --input good.json --query data.limits");
    assert_eq!(value["result"][0]["expressions"][0]["value"], json!({"least": 2}));
    assert_eq!(value["allow"], Value::Null);

    home.write(
        "p/deny.rego",
        "package q\n\nimport rego.v1\n\ndeny contains \"too low\" if input.score < 2\n",
    );
    let ran = home.run("policy eval --bundle p --input bad.json --query data.q.deny");
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), "refused\ntoo low\n"));
    home.must("policy eval --bundle p --input good.json --query data.q.deny");

    home.run("policy eval --bundle p --input good.json").failed(2, "data.sealwright.main.decision");
    home.write("twice.json", r#"{"score": 3, "score": 1}"#);
    home.run(&format!("{line} twice.json")).failed(2, "twice.json");
    home.write("nan.json", r#"{"score": NaN}"#);
    home.run(&format!("{line} nan.json")).failed(2, "nan.json");
}

#[test]
fn a_policy_that_fails_denies_with_a_code() {
    let home = Home::new();
    home.write("input.json", r#"{"list": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], "text": "x"}"#);
    let loops = "some a in input.list\n\tsome b in input.list\n\tsome c in input.list\n\t\
        some d in input.list\n\tsome e in input.list\n\tsome f in input.list\n\tsome g in input.list\n\t\
        some h in input.list\n\tfalse";
    for (body, code) in [
        ("to_number(input.text) == 1", "POLICY_ERROR"),
        ("no.such(input.text)", "POLICY_ERROR"),
        ("strings.count(input.text, \"\") == 1", "POLICY_PANIC"),
        (loops, "POLICY_TIMEOUT"),
        ("input.missing", "POLICY_UNDEFINED"),
    ] {
        home.write(
            "r/r.rego",
            format!("package r\n\nimport rego.v1\n\nallow if {{\n\t{body}\n}}\n"),
        );
        let ran = home.run("--json policy eval --bundle r --input input.json --query data.r.allow");
        assert_eq!(ran.code, Some(1), "{ran:#?}");
        assert_eq!(ran.json()["violations"][0]["code"], code, "{body}");
        assert_eq!(ran.json()["allow"], false);
    }
}

/// What `verify --policy` would ask for a model about which nothing is known.
fn decision_input() -> Value {
    json!({
        "apiVersion": "sealwright.dev/v1",
        "kind": "ModelDecisionInput",
        "evaluation": {
            "id": "1", "time": "2026-11-20T10:00:00Z", "purpose": "deploy", "policy_sha256": "0",
        },
        "request": {
            "environment": "prod", "cluster": null, "namespace": null, "workload": null,
            "principal": null, "dry_run": false,
        },
        "model": {"name": "m", "digest": {"sha256": "5".repeat(64)}},
        "attestations": [],
        "revocations": [],
        "log": {"origin": "log.example", "checkpoint_time": "2026-11-20T09:50:00Z", "tree_size": 4},
        "rejected": [],
    })
}

#[test]
fn our_policies_decide_as_they_do_elsewhere() {
    let home = Home::new();
    home.write("input.json", decision_input().to_string());
    let words = ["eval", "--bundle", "STARTER", "--input", "input.json"];
    let ran = on_starter(&home, &words);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""));
    assert!(ran.stdout.starts_with("refused\nAPPROVAL_MISSING  No approval by role"), "{ran:#?}");
    let ran = on_starter(&home, &[&words[..], &["--json"]].concat());
    let value = ran.json();
    let codes: Vec<&str> =
        value["violations"].as_array().unwrap().iter().filter_map(|v| v["code"].as_str()).collect();
    assert!(codes.contains(&"SIGNATURE_MISSING") && codes.contains(&"GATE_MISSING"), "{codes:?}");
    assert_eq!(value["policy_digest"].as_str().unwrap().len(), 64);
    assert_eq!(value["result"][0]["expressions"][0]["value"]["allow"], false);

    // What is not an input for decisions is asked of the rules alone, and that is said.
    home.write("input.json", "{}");
    let ran = on_starter(&home, &words);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.starts_with("note: not a decision, only what the rules say"), "{ran:#?}");
    assert!(ran.stdout.starts_with("refused\nINPUT_INVALID"), "{ran:#?}");
}

#[test]
fn lint_says_where_why_and_how_to_mend_it() {
    let home = Home::new();
    home.write(
        "l/main.rego",
        "package sealwright.main\n\nimport rego.v1\n\ndefault allow := true\n\n\
         decision := {\"allow\": allow, \"violations\": set(), \"evidence\": set()}\n\n\
         allow := false if input.score < 1\n\nnow := time.now_ns()\n",
    );
    let ran = home.run("policy lint l");
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""));
    for said in [
        "l/main.rego:5:9: error: allow is true unless a rule says otherwise  default-allow\n    help: ",
        "l/main.rego:9:",
        "  threshold-unchecked\n    help: add is_number(input.score) beside the comparison\n",
        "l/main.rego:11:8: error: time.now_ns gives another answer another time",
        "warning: there are no tests  tests-missing\n",
    ] {
        assert!(ran.stdout.contains(said), "{said}: {ran:#?}");
    }
    assert_eq!(last_line(&ran), "3 errors, 1 warning");
    let value = home.run("--json policy lint l").json();
    assert_eq!(
        (&value["ok"], &value["errors"], &value["warnings"]),
        (&json!(false), &json!(3), &json!(1))
    );
    assert_eq!(value["findings"][0]["code"], "default-allow");
    assert_eq!(value["findings"][0]["severity"], "error");

    let ran = home.run("policy lint l --sarif");
    let value: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &value["version"]), (Some(1), &json!("2.1.0")));
    let result = &value["runs"][0]["results"][0];
    assert_eq!((&result["ruleId"], &result["level"]), (&json!("default-allow"), &json!("error")));
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "l/main.rego");
    assert_eq!(place["region"], json!({"startLine": 5, "startColumn": 9}));

    // Such a policy decides nothing.
    home.write("input.json", decision_input().to_string());
    let ran = home.run("policy eval --bundle l --input input.json");
    assert!(ran.stderr.contains("cannot be loaded as a policy"), "{ran:#?}");
}

#[test]
fn fuzz_finds_a_hole_and_is_quiet_without_one() {
    let home = home();
    home.write("bad.json", r#"{"score": 1, "role": "lead"}"#);
    let line = "policy fuzz p --query data.p.allow --input";
    let ran = home.must(&format!("{line} good.json"));
    assert!(ran.stdout.starts_with("the input is allowed\n"), "{ran:#?}");
    assert!(ran.stdout.contains("  /score: huge, beyond exact\n"), "{ran:#?}");
    assert!(last_line(&ran).ends_with("0 denies turned into an allow"), "{ran:#?}");
    assert_eq!(ran.stdout, home.must(&format!("{line} good.json")).stdout);
    home.must(&format!("{line} bad.json --except /score"));

    home.write("p/p.rego", POLICY.replace("is_number(input.score)", "true"));
    let ran = home.run(&format!("{line} bad.json"));
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.contains("ALLOWED  /score empty list"), "{ran:#?}");
    let value = home.run(&format!("--json {line} bad.json")).json();
    assert_eq!((&value["ok"], &value["allows"]), (&json!(false), &json!(false)));
    assert_eq!(value["turned"][0]["allowed_by"]["pointer"], "/score");
    home.run(&format!("{line} nowhere.json")).failed(2, "nowhere.json");
}

#[test]
fn diff_lists_what_another_policy_would_say() {
    let home = Home::new();
    let policy = |name: &str, rules: &str| {
        let text = format!(
            "package sealwright.main\n\nimport rego.v1\n\n\
            decision := {{\"allow\": count(violations) == 0, \"violations\": violations, \"evidence\": set()}}\n\n\
            {rules}\n"
        );
        home.write(format!("{name}/main.rego"), text);
    };
    let no = |code: &str, condition: &str| {
        format!(
            "violations contains {{\"code\": \"{code}\", \"control\": \"c\", \"msg\": \"m\"}} if {condition}\n"
        )
    };
    policy("open", &no("NEVER", "false"));
    policy("prod", &no("IN_PROD", "input.request.environment == \"prod\""));
    policy("big", &no("TOO_SMALL", "input.request.environment == \"prod\""));
    let mut staging = decision_input();
    staging["request"]["environment"] = json!("staging");
    let lines = format!("{}\n{}\n{{\"other\": 1}}\n", decision_input(), staging);
    home.write("records/decisions.jsonl", lines);
    home.write("records/verdict.json", json!({"verdict": {"policy_input": staging}}).to_string());
    home.write("records/notes.txt", "no record");

    let ran = home.run("policy diff open prod --replay records");
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""));
    assert!(ran.stdout.starts_with("now refused  5555"), "{ran:#?}");
    assert!(
        ran.stdout
            .contains(" for prod 2026-11-20T10:00:00Z records/decisions.jsonl:1\n  + IN_PROD  m\n"),
        "{ran:#?}"
    );
    assert!(ran.stdout.contains("1 document without a policy input left out\n"), "{ran:#?}");
    assert_eq!(last_line(&ran), "3 decisions: 1 now refused, 0 now allowed, 0 for other reasons");

    let value = home.run("--json policy diff prod open --replay records").json();
    assert_eq!((&value["ok"], &value["now_allowed"]), (&json!(false), &json!(1)));
    assert_eq!(value["changes"][0]["before"]["violations"][0]["code"], "IN_PROD");
    let ran = home.must("policy diff prod big --replay records/decisions.jsonl");
    assert!(ran.stdout.contains("  + TOO_SMALL  m\n  - IN_PROD\n"), "{ran:#?}");
    assert_eq!(last_line(&ran), "2 decisions: 0 now refused, 0 now allowed, 1 for other reasons");

    home.write("records/torn.jsonl", "{\"a\":1}\n{\"b");
    home.run("policy diff open prod --replay records").failed(2, "records/torn.jsonl:2");
    home.write("none.json", "{}");
    home.run("policy diff open prod --replay none.json").failed(2, "no policy input");
    home.write("odd.json", r#"{"kind": "ModelDecisionInput"}"#);
    home.run("policy diff open prod --replay odd.json").failed(2, "not a ModelDecisionInput");
}

#[test]
fn explain_names_rules_and_statements() {
    let home = Home::new();
    let mut input = decision_input();
    input["attestations"] = json!([{
        "envelope_sha256": "a".repeat(64), "verified": true, "predicate_type": "https://x/v1",
        "subject_digest": "5".repeat(64), "time": "2026-11-19T12:00:00Z",
        "time_source": "log-signed",
        "signer": {"principal": "ann", "key": "k", "roles": ["trainer"]},
        "log": {"origin": "log.example", "index": 3}, "predicate": {},
    }]);
    home.write("d.json", json!({"verdict": {"allow": false, "policy_input": input}}).to_string());
    let ran = home.must("policy explain d.json --policy starter");
    for said in [
        "refused\n",
        "environment   prod\n",
        "by another policy: the decision was made by 0\n",
        "SIGNATURE_MISSING  ",
        "    rule signature.rego:",
        "https://x/v1\n    by ann as trainer, log.example at 3, 2026-11-19T12:00:00Z\n",
    ] {
        assert!(ran.stdout.contains(said), "{said}: {ran:#?}");
    }
    let value = home.json("policy explain d.json --policy starter");
    assert_eq!((&value["ok"], &value["allow"]), (&json!(true), &json!(false)));
    assert_eq!(value["statements"][0]["signer"]["principal"], "ann");
    home.write("d.json", json!({"verdict": {"allow": true, "policy_input": input}}).to_string());
    let ran = home.run("policy explain d.json --policy starter");
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.contains("the record says otherwise\n"), "{ran:#?}");
    home.write("none.json", "{}");
    home.run("policy explain none.json --policy starter").failed(2, "has no policy input");
}

#[test]
fn rules_of_gatekeeper_and_conftest_are_asked_in_their_way() {
    let home = Home::new();
    home.write(
        "g/labels.rego",
        "package k8srequiredlabels\n\nviolation[{\"msg\": msg}] {\n\
         \tlabel := input.parameters.labels[_]\n\tnot input.review.object.metadata.labels[label]\n\
         \tmsg := sprintf(\"label %v is missing\", [label])\n}\n",
    );
    home.write("review.json", r#"{"object": {"metadata": {"labels": {"team": "x"}}}}"#);
    home.write("parameters.json", r#"{"labels": ["team", "owner"]}"#);
    let line = "policy eval --bundle g --input review.json --parameters parameters.json";
    let ran = home.run(&format!("{line} --v0-compatible"));
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    assert_eq!(ran.stdout, "refused\nlabel owner is missing\n");
    home.write("parameters.json", r#"{"labels": ["team"]}"#);
    assert_eq!(home.must(&format!("{line} --v0-compatible")).stdout, "allowed\n");
    home.run(line).failed(2, "labels.rego");

    home.write(
        "c/main.rego",
        "package main\n\nimport rego.v1\n\ndeny contains msg if {\n\tinput.kind == \"Pod\"\n\tmsg := \"no pods\"\n}\n\n\
         warn contains \"old\" if input.old\n",
    );
    home.write("pod.json", r#"{"kind": "Pod"}"#);
    let ran = home.run("policy eval --bundle c --input pod.json");
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), "refused\nno pods\n"));
    home.write(
        "c/more.rego",
        "package more\n\nimport rego.v1\n\nviolation contains \"x\" if input.x\n",
    );
    home.run("policy eval --bundle c --input pod.json")
        .failed(2, "is it data.main.deny, data.more.violation?");
    assert_eq!(
        home.run("policy eval --bundle c --input pod.json -q data.more.violation").code,
        Some(0)
    );
}
