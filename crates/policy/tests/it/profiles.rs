//! The shipped profiles over real evidence, and inputs that are bad in every way.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use sealwright_attest::predicate;
use sealwright_policy::{
    DecisionInput, Outcome, Policy, Profile, Suite, SuiteOptions, control_references, mutations,
    replay,
};
use serde_json::{Value, json};

type Change = fn(&mut Value);

fn policies() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../policies")
}

fn file(profile: Profile, name: &str) -> Vec<u8> {
    let (_, bytes) = profile.files().find(|(found, _)| *found == name).unwrap();
    bytes.to_vec()
}

/// The input that a profile allows.
fn allowed(profile: Profile) -> Value {
    serde_json::from_slice(&file(profile, "input.json")).unwrap()
}

fn config(profile: Profile) -> Value {
    let data: Value = serde_json::from_slice(&file(profile, "data.json")).unwrap();
    data["sealwright"]["config"].clone()
}

fn decide(policy: &Policy, input: &Value) -> Option<Outcome> {
    let input: DecisionInput = serde_json::from_value(input.clone()).ok()?;
    Some(replay(policy, &input))
}

#[track_caller]
fn codes(policy: &Policy, input: &Value) -> Vec<String> {
    let outcome = decide(policy, input).unwrap();
    assert_eq!(outcome.allow, outcome.violations.is_empty());
    assert!(outcome.violations.iter().all(|violation| !violation.message.is_empty()));
    let mut codes: Vec<String> = outcome.violations.into_iter().map(|v| v.code).collect();
    codes.dedup();
    codes
}

#[track_caller]
fn passes_its_tests(profile: Profile) {
    let outcomes = Policy::of_profile(profile).unwrap().run_tests().unwrap();
    let failed: Vec<_> = outcomes.iter().filter(|outcome| !outcome.passed).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(outcomes.len() > 200, "only {} tests ran", outcomes.len());
}

// The starter's are in `starter`.

#[test]
fn the_bank_passes_its_tests() {
    passes_its_tests(Profile::Bank);
}

#[test]
fn the_clinic_passes_its_tests() {
    passes_its_tests(Profile::Clinic);
}

#[test]
fn each_profile_allows_its_input_on_all_of_its_evidence() {
    for profile in Profile::ALL {
        let (policy, input) = (Policy::of_profile(profile).unwrap(), allowed(profile));
        let outcome = decide(&policy, &input).unwrap();
        assert!(outcome.allow, "{}: {outcome:#?}", profile.name());
        let statements = input["attestations"].as_array().unwrap();
        assert_eq!(outcome.evidence.len(), statements.len());
        for statement in statements {
            let predicate_type = statement["predicate_type"].as_str().unwrap();
            // Evidence that could not be signed would prove nothing about the rules.
            if predicate_type != sealwright_attest::OMS_PREDICATE_TYPE {
                assert!(predicate::schema(predicate_type).is_some(), "{predicate_type}");
                predicate::check(predicate_type, &statement["predicate"]).unwrap();
            }
        }
    }
}

#[test]
fn nothing_is_wrong_in_the_library() {
    for profile in Profile::ALL {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let modules: Vec<(String, String)> = profile
            .files()
            .filter(|(name, _)| name.ends_with(".rego"))
            .map(|(name, bytes)| (name.to_owned(), text(bytes)))
            .collect();
        let suite = Suite::new(&modules, &json!({}), SuiteOptions::default()).unwrap();
        assert_eq!(suite.lint(), [], "{}", profile.name());
    }
}

/// Codes and controls as the rules write them.
fn written(key: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (name, bytes) in Profile::Starter.files() {
        if name.ends_with(".rego") && !name.ends_with("_test.rego") {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            let prefix = format!("\"{key}\": \"");
            let lines = text.lines().filter_map(|line| line.trim().strip_prefix(&*prefix));
            found.extend(lines.filter_map(|rest| rest.split('"').next()).map(str::to_owned));
        }
    }
    found
}

#[test]
fn every_code_is_explained_where_it_can_come_up() {
    let codes = written("code");
    assert_eq!(codes.len(), 27, "{codes:?}");
    let manual = fs::read_to_string(policies().join("../docs/policy-library.md")).unwrap();
    for code in &codes {
        assert!(manual.contains(&format!("`{code}`")), "{code} is not in docs/policy-library.md");
    }
    // What only a section makes possible that a profile has not, its README is silent about.
    let by_section = [
        ("MODEL_EXPIRED", "expiry"),
        ("PROVENANCE_MISSING", "provenance"),
        ("BUILDER_NOT_ALLOWED", "provenance"),
        ("BUILD_LEVEL_TOO_LOW", "provenance"),
        ("INPUTS_UNKNOWN", "inputs"),
        ("INPUT_NOT_PINNED", "inputs"),
        ("VULNERABILITY_SCAN_MISSING", "vulnerabilities"),
        ("VULNERABILITY", "vulnerabilities"),
        ("MODEL_SCAN_MISSING", "model_scan"),
        ("MODEL_SCAN_FINDINGS", "model_scan"),
        ("BOM_MISSING", "licences"),
        ("BOM_UNREADABLE", "licences"),
        ("LICENCE_NOT_ALLOWED", "licences"),
        ("TEE_REQUIRED", "tee"),
    ];
    for profile in Profile::ALL {
        let (readme, config) = (file(profile, "README.md"), config(profile));
        let readme = String::from_utf8(readme).unwrap();
        for code in &codes {
            let section = by_section.iter().find(|(other, _)| other == code).map(|(_, name)| *name);
            let can_come = match (code.as_str(), section) {
                ("GATE_INTERVAL_MISSING", _) => config["gates"]["judge_by"] == "interval",
                ("LOG_NOT_WITNESSED", _) => config["log"].get("witnesses").is_some(),
                (_, Some(section)) => config.get(section).is_some(),
                (_, None) => true,
            };
            let explained = readme.contains(&format!("| `{code}` |"));
            assert_eq!(explained, can_come, "{code} in the README of {}", profile.name());
        }
    }
}

#[test]
fn every_control_has_its_references() {
    for control in written("control") {
        let none = ["input", "configuration"].contains(&control.as_str());
        assert_eq!(control_references(&control).is_empty(), none, "{control}");
    }
}

#[test]
fn every_setting_is_in_the_manual() {
    let manual = fs::read_to_string(policies().join("../docs/policy-library.md")).unwrap();
    let settings = ["bank", "clinic"].map(|name| {
        let path = policies().join(name).join("data.json");
        serde_json::from_slice::<Value>(&fs::read(path).unwrap()).unwrap()
    });
    for config in settings.map(|data| data["sealwright"]["config"].clone()) {
        for (section, inner) in config.as_object().unwrap() {
            assert!(manual.contains(&format!("`{section}")), "{section}");
            for key in inner.as_object().into_iter().flat_map(|fields| fields.keys()) {
                assert!(manual.contains(&format!("`{section}.{key}`")), "{section}.{key}");
            }
        }
    }
}

// ---- denied inputs -------------------------------------------------------------------------

fn of_type<'a>(input: &'a mut Value, predicate_type: &str) -> &'a mut Value {
    let statements = input["attestations"].as_array_mut().unwrap();
    statements.iter_mut().find(|s| s["predicate_type"] == predicate_type).unwrap()
}

fn place(input: &Value, predicate_type: &str) -> usize {
    let statements = input["attestations"].as_array().unwrap();
    statements.iter().position(|s| s["predicate_type"] == predicate_type).unwrap()
}

fn without(input: &mut Value, predicate_type: &str) {
    let statements = input["attestations"].as_array_mut().unwrap();
    statements.retain(|s| s["predicate_type"] != predicate_type);
}

fn metric(input: &mut Value) -> &mut Value {
    &mut of_type(input, predicate::TEST_RESULT)["predicate"]["sealwright_metrics"][0]
}

fn revoke(input: &mut Value, target: &Value) {
    let mut revocation = input["attestations"][0].clone();
    revocation["envelope_sha256"] = json!("0".repeat(64));
    revocation["predicate_type"] = json!(predicate::REVOCATION);
    revocation["signer"] =
        json!({"principal": "security@example", "key": "key", "roles": ["security"]});
    revocation["predicate"] = json!({
        "target": target, "role": "security", "reason": "recall",
        "effective": "2026-11-01T00:00:00Z",
    });
    input["revocations"] = json!([revocation]);
}

/// An input that is denied, and where the "no" is: as the pointer of a field, with a predicate type
/// in place of `/attestations/N`. Changes there may allow; none elsewhere may.
struct Denied {
    name: &'static str,
    change: Change,
    codes: &'static [&'static str],
    except: &'static [(&'static str, &'static str)],
}

const ANYWHERE: &str = "";

const DENIED: &[Denied] = &[
    Denied {
        name: "no interval",
        change: |i| drop(metric(i).as_object_mut().unwrap().remove("ci95")),
        codes: &["GATE_INTERVAL_MISSING"],
        except: &[],
    },
    Denied {
        name: "the interval reaches below the threshold",
        change: |i| metric(i)["ci95"] = json!([0.1, 1]),
        codes: &["GATE_FAILED"],
        except: &[(predicate::TEST_RESULT, "/predicate/sealwright_metrics/0/ci95")],
    },
    Denied {
        name: "the interval is one of texts",
        change: |i| metric(i)["ci95"] = json!(["0.8", "0.9"]),
        codes: &["GATE_FAILED"],
        except: &[],
    },
    Denied {
        name: "no witnesses",
        change: |i| drop(i["log"].as_object_mut().unwrap().remove("witnesses")),
        codes: &["LOG_NOT_WITNESSED"],
        except: &[],
    },
    Denied {
        name: "one witness twice, and a stranger",
        change: |i| {
            let first = i["log"]["witnesses"][0].clone();
            i["log"]["witnesses"] = json!([first, first, "stranger.example"]);
        },
        codes: &["LOG_NOT_WITNESSED"],
        except: &[],
    },
    Denied {
        name: "signed long ago",
        change: |i| {
            of_type(i, sealwright_attest::OMS_PREDICATE_TYPE)["time"] =
                json!("2022-01-01T00:00:00Z")
        },
        codes: &["MODEL_EXPIRED"],
        except: &[(ANYWHERE, "/evaluation/time"), (sealwright_attest::OMS_PREDICATE_TYPE, "/time")],
    },
    Denied {
        name: "no provenance",
        change: |i| without(i, predicate::PROVENANCE),
        codes: &["INPUTS_UNKNOWN", "PROVENANCE_MISSING"],
        except: &[],
    },
    Denied {
        name: "another builder",
        change: |i| {
            of_type(i, predicate::PROVENANCE)["predicate"]["runDetails"]["builder"]["id"] =
                json!("https://laptop.example");
        },
        codes: &["BUILDER_NOT_ALLOWED"],
        except: &[],
    },
    Denied {
        name: "an input without a digest",
        change: |i| {
            of_type(i, predicate::PROVENANCE)["predicate"]["buildDefinition"]["resolvedDependencies"]
                [0] = json!({"uri": "https://data.example/latest"});
        },
        codes: &["INPUT_NOT_PINNED"],
        // The list itself: without the entry, everything that is listed is pinned.
        except: &[(predicate::PROVENANCE, "/predicate/buildDefinition/resolvedDependencies/0")],
    },
    Denied {
        name: "no scan",
        change: |i| without(i, predicate::VULNS),
        codes: &["VULNERABILITY_SCAN_MISSING"],
        except: &[],
    },
    Denied {
        name: "an old critical vulnerability",
        change: |i| {
            of_type(i, predicate::VULNS)["predicate"]["scanner"]["result"] = json!([{
                "id": "CVE-2026-9999",
                "severity": [{"method": "CVSS_V3", "score": "critical"}],
                "annotations": {"published": "2026-01-01T00:00:00Z"},
            }]);
        },
        codes: &["VULNERABILITY"],
        // What the scanner found, how bad it is and since when it is known.
        except: &[(predicate::VULNS, "/predicate/scanner/result"), (ANYWHERE, "/evaluation/time")],
    },
    Denied {
        name: "no scan of the files",
        change: |i| without(i, predicate::MODEL_SCAN),
        codes: &["MODEL_SCAN_MISSING"],
        except: &[],
    },
    Denied {
        name: "a file left out",
        change: |i| {
            of_type(i, predicate::MODEL_SCAN)["predicate"]["skipped"] = json!(["extra.bin"])
        },
        codes: &["MODEL_SCAN_FINDINGS", "MODEL_SCAN_MISSING"],
        except: &[(predicate::MODEL_SCAN, "/predicate/skipped")],
    },
    Denied {
        name: "no bill of materials",
        change: |i| without(i, predicate::CYCLONEDX),
        codes: &["BOM_MISSING"],
        except: &[],
    },
    Denied {
        name: "a component without a licence",
        change: |i| {
            of_type(i, predicate::CYCLONEDX)["predicate"]["components"][0] =
                json!({"type": "data", "name": "scraped"});
        },
        codes: &["LICENCE_NOT_ALLOWED"],
        // The component; also its type, since a profile may exempt types.
        except: &[(predicate::CYCLONEDX, "/predicate/components/0")],
    },
    Denied {
        name: "approved for another environment",
        change: |i| i["request"]["environment"] = json!("staging"),
        codes: &["APPROVAL_MISSING"],
        except: &[],
    },
    Denied {
        name: "approved, and expired",
        change: |i| {
            of_type(i, predicate::APPROVAL)["predicate"]["expiresOn"] =
                json!("2026-11-20T09:59:59Z")
        },
        codes: &["APPROVAL_MISSING"],
        except: &[(ANYWHERE, "/evaluation/time"), (predicate::APPROVAL, "/predicate/expiresOn")],
    },
    Denied {
        name: "approved in the future",
        change: |i| of_type(i, predicate::APPROVAL)["time"] = json!("2026-11-21T00:00:00Z"),
        codes: &["APPROVAL_MISSING"],
        except: &[(ANYWHERE, "/evaluation/time"), (predicate::APPROVAL, "/time")],
    },
    Denied {
        name: "a failed test",
        change: |i| of_type(i, predicate::TEST_RESULT)["predicate"]["result"] = json!("FAILED"),
        codes: &["GATE_FAILED"],
        except: &[(predicate::TEST_RESULT, "/predicate/result")],
    },
    Denied {
        name: "an old view of the log",
        change: |i| i["log"]["checkpoint_time"] = json!("2026-11-20T08:00:00Z"),
        codes: &["LOG_STALE"],
        except: &[(ANYWHERE, "/log/checkpoint_time"), (ANYWHERE, "/evaluation/time")],
    },
];

/// Only where the evidence has to come from a trusted environment.
const UNATTESTED: &[Denied] = &[
    Denied {
        name: "no report",
        change: |i| without(i, predicate::SCAI),
        codes: &["TEE_REQUIRED"],
        // The tag that demands one.
        except: &[(predicate::CYCLONEDX, "/predicate/metadata/component/tags")],
    },
    Denied {
        name: "an environment that is debugged",
        change: |i| {
            of_type(i, predicate::SCAI)["predicate"]["attributes"][0]["conditions"]["debug"] =
                json!(true);
        },
        codes: &["TEE_REQUIRED"],
        except: &[
            (predicate::CYCLONEDX, "/predicate/metadata/component/tags"),
            (predicate::SCAI, "/predicate/attributes/0/conditions/debug"),
        ],
    },
    Denied {
        name: "an old report",
        change: |i| of_type(i, predicate::SCAI)["time"] = json!("2026-11-19T09:59:59Z"),
        codes: &["TEE_REQUIRED"],
        except: &[
            (ANYWHERE, "/evaluation/time"),
            (predicate::CYCLONEDX, "/predicate/metadata/component/tags"),
            (predicate::SCAI, "/time"),
        ],
    },
    Denied {
        name: "tags unknown, and no report",
        change: |i| {
            without(i, predicate::SCAI);
            let component =
                &mut of_type(i, predicate::CYCLONEDX)["predicate"]["metadata"]["component"];
            component.as_object_mut().unwrap().remove("tags");
        },
        codes: &["TEE_REQUIRED"],
        except: &[],
    },
];

/// Every one of so many changes is tried of each denied input; which ones differs from input to
/// input, so that all together no kind and no field is left out. `sealwright policy fuzz` tries all.
const STRIDE: usize = 48;

fn denies_whatever_is_changed(profile: Profile, cases: &[Denied]) {
    let policy = Policy::of_profile(profile).unwrap();
    let (mut decided, mut turned) = (0_usize, Vec::new());
    for (number, case) in cases.iter().enumerate() {
        let mut input = allowed(profile);
        (case.change)(&mut input);
        assert_eq!(codes(&policy, &input), case.codes, "{}", case.name);
        let except: Vec<String> = case
            .except
            .iter()
            .map(|(kind, field)| match *kind {
                ANYWHERE => (*field).to_owned(),
                kind => format!("/attestations/{}{field}", place(&input, kind)),
            })
            .collect();
        let offset = number * 7 % STRIDE;
        for mutation in mutations(&input).into_iter().skip(offset).step_by(STRIDE) {
            if except.iter().any(|place| {
                mutation.pointer.starts_with(place) || place.starts_with(&mutation.pointer)
            }) {
                continue;
            }
            let Some(outcome) = decide(&policy, &mutation.apply(&input)) else { continue };
            decided += 1;
            assert_eq!(outcome.allow, outcome.violations.is_empty());
            if outcome.allow {
                turned.push(format!("{}: {} {}", case.name, mutation.pointer, mutation.kind));
            }
        }
    }
    assert!(turned.is_empty(), "{turned:#?}");
    assert!(decided > 60 * cases.len(), "only {decided} were decided");
}

#[test]
fn no_change_turns_a_deny_of_the_bank_into_an_allow() {
    denies_whatever_is_changed(Profile::Bank, DENIED);
}

#[test]
fn no_change_turns_a_deny_of_the_clinic_into_an_allow() {
    denies_whatever_is_changed(Profile::Clinic, UNATTESTED);
}

#[test]
fn revocations_reach_what_the_profiles_rest_on() {
    for profile in [Profile::Bank, Profile::Clinic] {
        let policy = Policy::of_profile(profile).unwrap();
        let input = allowed(profile);
        let statement = |kind: &str| &input["attestations"][place(&input, kind)];
        for (target, expected) in [
            (json!({"model_sha256": input["model"]["digest"]["sha256"]}), &["MODEL_REVOKED"][..]),
            (
                json!({"envelope_sha256": statement(predicate::PROVENANCE)["envelope_sha256"]}),
                &["INPUTS_UNKNOWN", "PROVENANCE_MISSING"],
            ),
            (
                json!({"signer": statement(predicate::MODEL_SCAN)["signer"]["principal"]}),
                &["MODEL_SCAN_MISSING", "VULNERABILITY_SCAN_MISSING"],
            ),
        ] {
            let mut revoked = input.clone();
            revoke(&mut revoked, &target);
            assert_eq!(codes(&policy, &revoked), expected, "{target} in {}", profile.name());
        }
    }
}

// ---- bad statements ------------------------------------------------------------------------

/// Statements of other types and versions never stand in for what is asked for.
#[test]
fn unknown_types_and_versions_never_count() {
    for profile in [Profile::Bank, Profile::Clinic] {
        let (policy, input) = (Policy::of_profile(profile).unwrap(), allowed(profile));
        let statements = input["attestations"].as_array().unwrap();
        for index in 0..statements.len() {
            let known = statements[index]["predicate_type"].as_str().unwrap();
            for other in [
                format!("{known}.1"),
                format!("{known}/"),
                format!("{known}#x"),
                known.replace("v0.", "v9."),
                "https://example.com/unknown/v1".to_owned(),
            ] {
                if other == known {
                    continue;
                }
                let mut changed = input.clone();
                changed["attestations"][index]["predicate_type"] = json!(other);
                assert!(!codes(&policy, &changed).is_empty(), "{other} in {}", profile.name());
                // Beside what is known it changes nothing.
                let mut more = input.clone();
                let mut statement = changed["attestations"][index].clone();
                statement["envelope_sha256"] = json!("f".repeat(64));
                more["attestations"].as_array_mut().unwrap().push(statement);
                assert_eq!(codes(&policy, &more), [""; 0], "{other} in {}", profile.name());
            }
        }
    }
}

/// Two approvals with two keys by one person are those of one person; so are two people with one key.
#[test]
fn one_person_with_two_keys_is_one_person() {
    for profile in Profile::ALL {
        let policy = Policy::of_profile(profile).unwrap();
        let mut input = allowed(profile);
        let approvals: Vec<&mut Value> = input["attestations"]
            .as_array_mut()
            .unwrap()
            .iter_mut()
            .filter(|statement| statement["predicate_type"] == predicate::APPROVAL)
            .collect();
        for (index, approval) in approvals.into_iter().enumerate() {
            let role = approval["predicate"]["role"].clone();
            approval["signer"] =
                json!({"principal": "one@example", "key": format!("key {index}"), "roles": [role]});
        }
        assert_eq!(codes(&policy, &input), ["SAME_PERSON"], "{}", profile.name());
    }
}

/// What cannot be an input is refused before the rules are asked, and said to be.
#[test]
fn an_input_for_another_model_is_none() {
    for profile in Profile::ALL {
        let policy = Policy::of_profile(profile).unwrap();
        let changes: [Change; 4] = [
            |i| i["attestations"][0]["subject_digest"] = json!("0".repeat(64)),
            |i| i["model"]["digest"]["sha256"] = json!("0".repeat(64)),
            |i| i["attestations"][0]["verified"] = json!(false),
            |i| i["request"]["environment"] = json!("prоd"),
        ];
        for change in changes {
            let mut input = allowed(profile);
            change(&mut input);
            assert_eq!(codes(&policy, &input), ["INPUT_INVALID"], "{}", profile.name());
        }
    }
}
