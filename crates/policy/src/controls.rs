//! Which clauses of which texts a control can be evidence for: `policies/controls.json`.
//!
//! Texts like these are replaced; each reference comes with the state of its text, and all of them
//! with the date on which that was looked up. None says that a clause is fulfilled.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

/// A clause that a control can be evidence for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ControlReference {
    /// The text, with its number and its publisher.
    pub framework: String,
    /// The clauses in it.
    pub clause: String,
    /// Its edition or date.
    pub version: String,
    /// Whether and since when it applies, and what it replaced.
    pub status: String,
    /// Where to read it.
    pub source: String,
    /// The date of all this, RFC 3339.
    pub as_of: String,
}

/// The references of the control of a violation; empty for a control that is not the library's.
#[must_use]
pub fn control_references(control: &str) -> Vec<ControlReference> {
    let Some(all) = controls() else { return Vec::new() };
    let reference = |clause: &Clause| {
        let framework = all.frameworks.get(&clause.framework)?;
        Some(ControlReference {
            framework: framework.name.clone(),
            clause: clause.clause.clone(),
            version: framework.version.clone(),
            status: framework.status.clone(),
            source: framework.source.clone(),
            as_of: all.as_of.clone(),
        })
    };
    all.controls.get(control).into_iter().flatten().filter_map(reference).collect()
}

/// None only if the built-in file is broken, which the tests rule out.
fn controls() -> Option<&'static Controls> {
    static CONTROLS: OnceLock<Option<Controls>> = OnceLock::new();
    let text = include_str!("../../../policies/controls.json");
    CONTROLS.get_or_init(|| serde_json::from_str(text).ok()).as_ref()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Controls {
    as_of: String,
    #[serde(rename = "note")]
    _note: String,
    frameworks: BTreeMap<String, Framework>,
    controls: BTreeMap<String, Vec<Clause>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Framework {
    name: String,
    version: String,
    status: String,
    source: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Clause {
    framework: String,
    clause: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_to_a_text() {
        let all = controls().unwrap();
        for (control, clauses) in &all.controls {
            assert_eq!(control_references(control).len(), clauses.len(), "{control}");
        }
        assert!(sealwright_attest::Timestamp::parse(&format!("{}T00:00:00Z", all.as_of)).is_ok());
        assert!(all.frameworks.values().all(|framework| framework.source.starts_with("https://")));
        assert_eq!(control_references("no-such-control"), []);
    }

    #[test]
    fn what_was_replaced_says_so() {
        let all = controls().unwrap();
        assert!(all.frameworks["sr-11-7"].status.contains("rescinded on 2026-04-17"));
        assert!(all.controls.values().flatten().all(|clause| clause.framework != "sr-11-7"));
        assert!(all.frameworks["ai-act"].status.contains("2027-12-02"));
    }

    #[test]
    fn nothing_claims_to_be_fulfilled() {
        let text = include_str!("../../../policies/controls.json").to_lowercase();
        assert!(!text.contains("complian"), "a reference is no claim");
    }
}
