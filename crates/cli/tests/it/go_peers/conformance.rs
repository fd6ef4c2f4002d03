//! The report on OPA's conformance cases is what the engine does today.

use std::path::{Path, PathBuf};

#[path = "../../../../policy/examples/opa_conformance/cases.rs"]
mod cases;
#[path = "../../../../policy/examples/opa_conformance/report.rs"]
mod report;

#[test]
fn every_conformance_case_does_what_the_report_says() {
    let directory = std::env::var("SEALWRIGHT_TEST_OPA_SOURCE")
        .expect("SEALWRIGHT_TEST_OPA_SOURCE is not set: run these tests with ./test peers");
    let directory = PathBuf::from(directory);
    let done = cases::run(&directory.join(report::CASES)).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (name, made) in report::files(&done, &directory) {
        let kept = std::fs::read_to_string(root.join(name)).unwrap();
        let changed: Vec<&str> = made.lines().filter(|line| !kept.contains(line)).collect();
        assert!(kept == made, "{name} is not up to date; run bench/opa-conformance: {changed:#?}");
    }
    assert_eq!(report::unexplained(&done), [""; 0]);
}
