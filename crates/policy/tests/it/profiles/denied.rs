//! Denied inputs, each with the place of its "no".

use sealwright_attest::predicate;
use serde_json::{Value, json};

use super::Change;

fn of_type<'a>(input: &'a mut Value, predicate_type: &str) -> &'a mut Value {
    let statements = input["attestations"].as_array_mut().unwrap();
    statements.iter_mut().find(|s| s["predicate_type"] == predicate_type).unwrap()
}

pub(super) fn place(input: &Value, predicate_type: &str) -> usize {
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

/// An input that is denied, and where the "no" is: as the pointer of a field, with a predicate type
/// in place of `/attestations/N`. Changes there may allow; none elsewhere may.
pub(super) struct Denied {
    pub(super) name: &'static str,
    pub(super) change: Change,
    pub(super) codes: &'static [&'static str],
    pub(super) except: &'static [(&'static str, &'static str)],
}

pub(super) const ANYWHERE: &str = "";

pub(super) const DENIED: &[Denied] = &[
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
pub(super) const UNATTESTED: &[Denied] = &[
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
