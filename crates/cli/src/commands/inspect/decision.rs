//! Records of the admission controller, and verdicts as `verify --json` prints them.

use serde_json::{Value, json};

use super::place::{Place, Problems};
use super::report::{Report, Section};

/// A line of the decisions file.
pub(super) fn explain_record(value: &Value, problems: &Problems) -> Report {
    let record = Place::root(value, problems);
    let mut section = Section::new("decision", "Decision");
    let answer = match record.flag("allowed") {
        Some(true) => "allowed",
        Some(false) => "denied",
        None => "unknown",
    };
    section.text("answer", "answer", answer);
    section.maybe("time", "time", record.text("time"));
    section.maybe("mode", "mode", record.text("mode"));
    if let Some(basis) = record.get("basis") {
        let text = basis.value.as_str().map_or_else(|| basis.value.to_string(), str::to_owned);
        section.row("basis", "basis", text, basis.value.clone());
    }
    if let Some(request) = record.get("request") {
        let part = |name| request.text(name).unwrap_or_default();
        let text = format!(
            "{} {} {}/{} by {}",
            part("operation"),
            part("resource"),
            part("namespace"),
            part("name"),
            part("user")
        );
        section.row("request", "request", text, request.value.clone());
    }
    if let Some(model) = record.get("model") {
        let text = model.value.as_str().map_or_else(|| model.value.to_string(), str::to_owned);
        section.row("model", "model", text, model.value.clone());
    }
    reasons(&mut section, &record);
    section.maybe("id", "id", record.text("id"));
    Report::new("admission-decision", "decision of the admission controller", vec![section])
}

/// What `sealwright verify --policy --json` printed.
pub(super) fn explain_verdict(value: &Value, problems: &Problems) -> Report {
    let mut section = Section::new("verdict", "Verdict");
    if let Some(verdict) = Place::root(value, problems).get("verdict") {
        let answer = match verdict.flag("allow") {
            Some(true) => "allowed",
            Some(false) => "denied",
            None => "unknown",
        };
        section.text("answer", "answer", answer);
        reasons(&mut section, &verdict);
        section.maybe("policy", "policy", verdict.text("policy_digest"));
        if let Some(summary) = verdict.get("verification_summary") {
            section.maybe("time", "time", summary.text("timeVerified"));
            section.maybe("for", "for", summary.text("resourceUri"));
        }
    }
    Report::new("verdict", "verdict of a policy", vec![section])
}

fn reasons(section: &mut Section, place: &Place<'_>) {
    let violations = place.items("violations");
    let line = |violation: &Place<'_>| {
        let part = |name| violation.text(name).unwrap_or_default();
        format!("{}: {}", part("code"), part("message"))
    };
    let lines = violations.iter().map(line).collect();
    let values: Vec<&Value> = violations.iter().map(|violation| violation.value).collect();
    section.lines("violations", "because", lines, json!(values));
}
