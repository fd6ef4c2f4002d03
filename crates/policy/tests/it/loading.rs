//! What may be loaded as a policy.

use std::fs;

use sealwright_policy::{Policy, PolicyError};

use crate::support::{STARTER, starter_dir};

const MAIN: &str = "package sealwright.main\n\nimport rego.v1\n\n\
    decision := {\"allow\": false, \"violations\": set(), \"evidence\": set()}\n";

fn load(files: &[(&str, &str)]) -> Result<Policy, PolicyError> {
    Policy::from_files(files.iter().map(|(name, text)| (*name, text.as_bytes())))
}

/// The error of a policy with `rules` added to a sound one.
#[track_caller]
fn refused(rules: &str) -> PolicyError {
    match load(&[("main.rego", &format!("{MAIN}\n{rules}\n"))]) {
        Err(error) => error,
        Ok(_) => panic!("accepted: {rules}"),
    }
}

#[track_caller]
fn accepted(rules: &str) {
    if let Err(error) = load(&[("main.rego", &format!("{MAIN}\n{rules}\n"))]) {
        panic!("{rules}: {error}");
    }
}

#[test]
fn the_starter_policy_loads_the_same_from_memory() {
    let files = fs::read_dir(starter_dir()).unwrap().map(|entry| entry.unwrap().path());
    let decides = |name: &str| {
        name == "data.json" || name.ends_with(".rego") && !name.ends_with("_test.rego")
    };
    let files: Vec<(String, Vec<u8>)> = files
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), path))
        .filter(|(name, _)| decides(name))
        .map(|(name, path)| (name, fs::read(path).unwrap()))
        .collect();
    let embedded = Policy::from_files(files).unwrap();
    assert_eq!(embedded.digest(), STARTER.digest());
    assert_eq!(embedded.run_tests().unwrap(), []);
    assert_eq!(embedded.verified_levels(), ["SEALWRIGHT_TWO_ROLE_APPROVED"]);
}

#[test]
fn builtins_that_break_replay_are_refused() {
    for call in [
        "time.now_ns()",
        "rand.intn(\"x\", 10)",
        "uuid.rfc4122(\"x\")",
        "http.send({\"method\": \"get\", \"url\": \"http://localhost\"})",
        "opa.runtime()",
        "net.lookup_ip_addr(\"localhost\")",
        "time.clock([0, \"Local\"])",
        "time[\"now_ns\"]()",
    ] {
        for rules in [
            format!("x := {call}"),
            format!("x if {call}"),
            format!("x if not {call}"),
            format!("x := [1 | {call}]"),
            format!("x := {{\"a\": {{{call}}}}}"),
            format!("x if {{\n\tsome y in [{call}]\n\ty\n}}"),
            format!("x if {{\n\tevery y in [1] {{\n\t\ty == {call}\n\t}}\n}}"),
            format!("f(y) := 1 if y == {call}"),
            format!("f(y) := 1 if y\nelse := {call}"),
            format!("x contains {call} if true"),
            format!("x[{call}] := 1 if true"),
            format!("x if input.y with input.y as {call}"),
        ] {
            let error = refused(&rules);
            assert!(matches!(error, PolicyError::UnreplayableBuiltin { .. }), "{rules}: {error:?}");
        }
    }
}

#[test]
fn a_refusal_says_where() {
    let error = refused("# line 6\nx := time.now_ns()");
    assert_eq!(
        error.to_string(),
        "main.rego:8: time.now_ns is refused: a decision that uses it cannot be replayed"
    );
}

#[test]
fn replacing_a_function_does_not_hide_it() {
    let by_builtin = "f(x) := x\ny if f(1) with f as rand.intn";
    assert!(matches!(refused(by_builtin), PolicyError::UnreplayableBuiltin { .. }));
    let of_builtin = "y if input.x with http.send as 1";
    assert!(matches!(refused(of_builtin), PolicyError::UnreplayableBuiltin { .. }));
    let unjudged = "f(x) := x\ny if f(1) with f as trace";
    assert!(matches!(refused(unjudged), PolicyError::UnknownFunction { .. }));
    accepted("f(x) := x\ng(x) := 2\ny if f(1) with f as g");
}

#[test]
fn a_function_called_like_a_builtin_is_refused_as_well() {
    let rules = "now_ns() := 1\nx if data.sealwright.main.now_ns()";
    accepted(rules);
    let other = "package time\n\nimport rego.v1\n\nnow_ns() := 1\n";
    let main = format!("{MAIN}\nimport data.time\nx := time.now_ns()\n");
    let main = main
        .replace("import rego.v1\n", "import data.time\nimport rego.v1\n")
        .replace("\nimport data.time\nx", "\nx");
    let error = load(&[("main.rego", &main), ("other.rego", other)]).unwrap_err();
    assert!(matches!(error, PolicyError::UnreplayableBuiltin { .. }), "{error:?}");
}

#[test]
fn text_about_a_builtin_is_no_call_of_it() {
    accepted("# http.send(1) and time.now_ns()\nx := \"http.send({})\"");
    accepted("x := `time.now_ns()`");
    accepted("x := input.http.send\ny := input.time.now_ns");
    accepted("time := {\"now_ns\": 1}\nx := time.now_ns");
    accepted("trace := 1\nx := trace");
}

#[test]
fn unknown_functions_are_refused() {
    for call in [
        "no_such(1)",
        "lib.no_such(1)",
        "data.lib.no_such(1)",
        "print(1)",
        "trace(\"x\")",
        "walk([])",
        "numbers.range(1, 1000000000)",
        "bits.lsh(1, 1000000000)",
        "io.jwt.decode(\"x\")",
    ] {
        let error = refused(&format!("x := {call}"));
        assert!(matches!(error, PolicyError::UnknownFunction { .. }), "{call}: {error:?}");
    }
}

#[test]
fn functions_are_found_across_packages() {
    let lib = "package lib.text\n\nimport rego.v1\n\nf(x) := upper(x)\n\ndefault g(_) := 1\n";
    let main = MAIN.replace(
        "import rego.v1\n",
        "import data.lib.text\nimport data.lib.text as t\nimport rego.v1\n",
    );
    let rules = "a := text.f(\"x\")\nb := t.f(\"x\")\nc := data.lib.text.f(\"x\")\nd := t.g(1)\n";
    let policy = load(&[("main.rego", &format!("{main}\n{rules}")), ("lib.rego", lib)]);
    assert!(policy.is_ok(), "{policy:?}");
}

#[test]
fn a_computed_function_is_refused() {
    for rules in ["x := input[\"f\"][input.y](1)", "x := time[input.y].now_ns()"] {
        let error = load(&[("main.rego", &format!("{MAIN}\n{rules}\n"))]).unwrap_err();
        assert!(
            matches!(error, PolicyError::ComputedCall { .. } | PolicyError::Rego { .. }),
            "{rules}: {error:?}"
        );
    }
}

#[test]
fn recursive_functions_are_refused() {
    for rules in [
        "f(x) := f(x)",
        "f(x) := g(x)\ng(x) := f(x)",
        "f(x) := y if {\n\ty := [z | z := data.sealwright.main.f(x)]\n}",
        "f(x) := 1 if {\n\tg(x) with g as f\n}\ng(x) := 1",
    ] {
        assert!(matches!(refused(rules), PolicyError::Recursion { .. }), "{rules}");
    }
    accepted("f(x) := g(x)\ng(x) := h(x) + h(1)\nh(x) := x");
}

#[test]
fn a_policy_needs_a_decision() {
    let other = "package sealwright.other\n\nimport rego.v1\n\ndecision := 1\n";
    for files in [
        &[][..],
        &[("other.rego", other)],
        &[("main.rego", "package sealwright.main\n\nimport rego.v1\n\ndecision(x) := x\n")],
        &[("main_test.rego", MAIN)],
    ] {
        assert!(matches!(load(files).unwrap_err(), PolicyError::NoDecision), "{files:?}");
    }
}

#[test]
fn rego_that_does_not_compile_is_refused() {
    for text in ["", "package", "package sealwright.main\n\nallow if"] {
        let error = load(&[("main.rego", text)]).unwrap_err();
        assert!(matches!(error, PolicyError::Rego { .. }), "{text}: {error:?}");
    }
}

#[test]
fn files_are_bounded_and_named_plainly() {
    let rules = "x := 1\n".repeat(Policy::MAX_RULES + 1);
    let many: Vec<(String, Vec<u8>)> =
        (0..=Policy::MAX_FILES).map(|n| (format!("f{n}.rego"), MAIN.into())).collect();
    assert!(matches!(Policy::from_files(many), Err(PolicyError::TooManyFiles { limit: 256 })));
    let comment = |bytes: usize| format!("{MAIN}{}", "# x\n".repeat(bytes / 4));
    let large = comment(Policy::MAX_FILE_BYTES);
    assert!(matches!(load(&[("main.rego", &large)]), Err(PolicyError::TooLarge { .. })));
    let part = comment(Policy::MAX_FILE_BYTES - 1000);
    let names: Vec<String> = ('a'..='i').map(|name| format!("{name}.rego")).collect();
    let sum: Vec<_> = names.iter().map(|name| (name.as_str(), part.as_str())).collect();
    assert!(matches!(load(&sum), Err(PolicyError::TooLarge { .. })));
    assert!(matches!(refused(&rules), PolicyError::TooManyRules { .. }));
    for name in
        ["", ".rego", "../main.rego", "/b.rego", "a//b.rego", "ä.rego", "a b.rego", "a\nb.rego"]
    {
        assert!(matches!(load(&[(name, MAIN)]), Err(PolicyError::FileName { .. })), "{name:?}");
    }
    for name in ["main.txt", "extra.json", "a/b.yaml", "Main.REGO", "README.md"] {
        assert!(
            matches!(load(&[(name, MAIN)]), Err(PolicyError::UnexpectedFile { .. })),
            "{name:?}"
        );
    }
    for twin in ["main.rego", "Main.rego"] {
        let twice = load(&[("main.rego", MAIN), (twin, MAIN)]);
        assert!(matches!(twice, Err(PolicyError::DuplicateFile { .. })));
    }
    let latin = Policy::from_files([("main.rego", b"# \xe4\n".to_vec())]);
    assert!(matches!(latin, Err(PolicyError::NotUtf8 { .. })));
}

#[test]
fn data_is_one_plain_object() {
    let with = |data: &str| load(&[("main.rego", MAIN), ("data.json", data)]);
    assert!(with("{\"sealwright\": {\"config\": {\"x\": 1}}}").is_ok());
    for data in ["", "{", "{\"a\": 1, \"a\": 2}", "{\"a\": {\"b\": 1, \"b\": 1}}", "{} {}"] {
        assert!(matches!(with(data), Err(PolicyError::Data { .. })), "{data}");
    }
    for data in ["[]", "null", "1"] {
        assert!(matches!(with(data), Err(PolicyError::DataNotObject { .. })), "{data}");
    }
    let shadow = "{\"sealwright\": {\"main\": {\"decision\": {\"allow\": true}}}}";
    assert!(matches!(with(shadow), Err(PolicyError::DataShadowsPackage { .. })));
}

#[test]
fn levels_that_are_not_ours_are_not_claimed() {
    let levels = |list: &str| {
        let data = format!("{{\"sealwright\": {{\"config\": {{\"verified_levels\": {list}}}}}}}");
        load(&[("main.rego", MAIN), ("data.json", &data)]).unwrap().verified_levels()
    };
    assert_eq!(levels("[\"A\", \"SLSA_BUILD_LEVEL_3\", \"FAILED\", 1]"), ["A"]);
    assert_eq!(levels("[\"SLSA_BUILD_LEVEL_3\"]"), ["SEALWRIGHT_POLICY_PASSED"]);
    assert_eq!(levels("\"A\""), ["SEALWRIGHT_POLICY_PASSED"]);
}

#[test]
fn a_folder_is_read_like_a_mounted_config_map() {
    let dir = tempfile::tempdir().unwrap();
    let hidden = dir.path().join("..data");
    fs::create_dir(&hidden).unwrap();
    fs::write(hidden.join("main.rego"), MAIN).unwrap();
    std::os::unix::fs::symlink("..data/main.rego", dir.path().join("main.rego")).unwrap();
    fs::write(dir.path().join("README.md"), "text").unwrap();
    fs::write(dir.path().join("broken_test.rego"), "package").unwrap();
    let policy = Policy::load(dir.path()).unwrap();
    assert_eq!(policy.digest(), load(&[("main.rego", MAIN)]).unwrap().digest());
    assert!(matches!(policy.run_tests(), Err(PolicyError::Rego { .. })));

    // A folder's rules count, and a link that leads back has an end.
    fs::create_dir(dir.path().join("more")).unwrap();
    fs::write(dir.path().join("more/data.json"), "{\"x\": 1}").unwrap();
    let nested = load(&[("main.rego", MAIN), ("more/data.json", "{\"x\": 1}")]).unwrap();
    assert_eq!(Policy::load(dir.path()).unwrap().digest(), nested.digest());
    std::os::unix::fs::symlink(".", dir.path().join("more/again")).unwrap();
    assert!(matches!(Policy::load(dir.path()), Err(PolicyError::FileName { .. })));
    fs::remove_file(dir.path().join("more/again")).unwrap();
    fs::write(dir.path().join("more/limits.json"), "{}").unwrap();
    assert!(matches!(Policy::load(dir.path()), Err(PolicyError::UnexpectedFile { .. })));
    assert!(matches!(Policy::load(&dir.path().join("absent")), Err(PolicyError::Io { .. })));
}

#[test]
fn a_file_without_an_end_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/dev/zero", dir.path().join("main.rego")).unwrap();
    assert!(matches!(Policy::load(dir.path()), Err(PolicyError::Io { .. })));
}

#[test]
fn the_digest_covers_names_lengths_and_bytes_of_what_decides() {
    let digest = |files: &[(&str, &str)]| load(files).unwrap().digest().to_owned();
    let base = digest(&[("main.rego", MAIN)]);
    // printf 'sealwright.dev/policy/v1\nmain.rego\n%d\n%s\n' LENGTH MAIN | sha256sum
    assert_eq!(base, "1b1d2bd9a2b401b8ee1d2067d5f356f42ac6ea36d7f57c47d4162aaf5a3403b7");
    let others = [
        digest(&[("Main.rego", MAIN)]),
        digest(&[("main.rego", &format!("{MAIN}\n"))]),
        digest(&[("main.rego", MAIN), ("data.json", "{}")]),
        digest(&[("main.rego", MAIN), ("data.json", "{ }")]),
    ];
    let mut all: Vec<&String> = others.iter().chain([&base]).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 5);
    let test = "package sealwright.main_test\n\nimport rego.v1\n\ntest_x if true\n";
    assert_eq!(digest(&[("main_test.rego", test), ("main.rego", MAIN)]), base);
}

#[test]
fn a_test_passes_only_if_it_is_true() {
    let tests = "package sealwright.main_test\n\nimport rego.v1\n\n\
        test_true if true\n\ntest_false := false\n\ntest_one := 1\n\ntest_undefined if 1 == 2\n\n\
        test_error if to_number(\"x\")\n\nhelper if true\n";
    let policy = load(&[("main.rego", MAIN), ("main_test.rego", tests)]).unwrap();
    let outcomes = policy.run_tests().unwrap();
    let passed: Vec<_> =
        outcomes.iter().map(|o| (o.name.rsplit('.').next().unwrap(), o.passed)).collect();
    assert_eq!(
        passed,
        [
            ("test_true", true),
            ("test_false", false),
            ("test_one", false),
            ("test_undefined", false),
            ("test_error", false),
        ]
    );
    assert!(outcomes[1..].iter().all(|outcome| outcome.detail.is_some()));
}

#[test]
fn tests_that_prove_less_than_they_seem_to_do_not_pass() {
    let failing = |tests: &str| {
        let tests = format!("{tests}\n");
        let policy = load(&[("main.rego", MAIN), ("main_test.rego", &tests)]).unwrap();
        policy.run_tests().unwrap().iter().filter(|outcome| !outcome.passed).count()
    };
    let own = "package sealwright.main_test\n\nimport rego.v1\n\n";
    assert_eq!(failing(&format!("{own}test_x if true\n\nhelper if true")), 0);
    // One rule with two bodies is true if either is.
    assert_eq!(failing(&format!("{own}test_x if true\n\ntest_x if false")), 1);
    assert_eq!(failing(&format!("{own}default test_x := true\n\ntest_x if false")), 1);
    // What a test adds to a package that decides is not there later on.
    let deciding = "package sealwright.main\n\nimport rego.v1\n\n";
    assert_eq!(failing(&format!("{deciding}test_x if true")), 0);
    assert_eq!(failing(&format!("{deciding}test_x if true\n\nhelper if true")), 1);
}
