//! Holds the engine against OPA's conformance cases, for `bench/opa-conformance`.
//!
//! `opa_conformance SOURCE ROOT` reads the cases in SOURCE, the directory of OPA's Go module, writes the
//! report below ROOT, the directory of the repository, and prints one JSON object. It fails if there is
//! a difference that nobody has explained.

#![expect(clippy::print_stdout, reason = "a measurement for scripts")]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

#[path = "cases.rs"]
mod cases;
#[path = "report.rs"]
mod report;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [source, root] = arguments.as_slice() else { return Err("two arguments".into()) };
    let source = Path::new(source);
    let done = cases::run(&source.join(report::CASES))?;
    for (name, content) in report::files(&done, source) {
        std::fs::write(Path::new(root).join(name), content)?;
    }
    let mut counts = BTreeMap::<&str, usize>::new();
    for case in &done {
        *counts.entry(case.outcome.word()).or_default() += 1;
    }
    println!("{}", serde_json::json!({ "cases": done.len(), "outcomes": counts }));
    match report::unexplained(&done).as_slice() {
        [] => Ok(()),
        cases => Err(format!("not explained: {}", cases.join(", ")).into()),
    }
}
