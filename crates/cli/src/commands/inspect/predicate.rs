//! What the known predicates say, in a sentence; of others, what members they have.

use serde_json::{Value, json};

use sealwright_attest::predicate::{
    ADMINISTRATION, APPROVAL, CYCLONEDX, PROVENANCE, REVOCATION, ROLE_BINDING, SCAI, TEST_RESULT,
    VERIFICATION_SUMMARY, VULNS,
};

use super::place::Place;
use super::report::Section;
use crate::output::count;

pub(super) fn describe(section: &mut Section, kind: &str, predicate: &Place<'_>) {
    match kind {
        APPROVAL => approval(section, predicate),
        REVOCATION => revocation(section, predicate),
        ROLE_BINDING => role_binding(section, predicate),
        TEST_RESULT => test_result(section, predicate),
        VERIFICATION_SUMMARY => verification_summary(section, predicate),
        PROVENANCE => provenance(section, predicate),
        VULNS => vulnerabilities(section, predicate),
        SCAI => list(section, predicate, "attributes", "attribute"),
        ADMINISTRATION => administration(section, predicate),
        CYCLONEDX => list(section, predicate, "components", "component"),
        _ => others(section, predicate),
    }
}

fn text<'a>(place: &Place<'a>, name: &str) -> &'a str {
    place.text(name).unwrap_or("(nothing)")
}

fn approval(section: &mut Section, predicate: &Place<'_>) {
    let get = |name| text(predicate, name);
    let decision = match get("decision") {
        "APPROVED" => "Approves",
        "REJECTED" => "Rejects",
        other => other,
    };
    let sentence = format!(
        "{decision} the model as {} for environment {} until {}: {:?}.",
        get("role"),
        get("environment"),
        get("expiresOn"),
        get("meaning")
    );
    section.row("says", "says", sentence, predicate.value.clone());
    section.maybe("printed_name", "name", predicate.text("printedName"));
    section.maybe("comment", "comment", predicate.text("comment"));
    let conditions = predicate.items("conditions");
    let conditions: Vec<String> =
        conditions.iter().filter_map(|item| item.value.as_str()).map(str::to_owned).collect();
    section.lines("conditions", "conditions", conditions.clone(), json!(conditions));
    let seen = predicate.items("evidence");
    let seen = seen.iter().filter_map(|item| item.get("digest")?.text("sha256")).map(str::to_owned);
    let seen: Vec<String> = seen.collect();
    section.lines("evidence", "has seen", seen.clone(), json!(seen));
}

fn administration(section: &mut Section, predicate: &Place<'_>) {
    let get = |name| text(predicate, name);
    let sentence =
        format!("Those who run the service did this at {}: {}.", get("time"), get("act"));
    section.row("says", "says", sentence, predicate.value.clone());
    if let Some(detail) = predicate.get("detail") {
        section.row("detail", "detail", detail.value.to_string(), detail.value.clone());
    }
}

fn revocation(section: &mut Section, predicate: &Place<'_>) {
    let target = predicate.get("target");
    let part = |name| target.as_ref().and_then(|target| target.text(name));
    let what = match (part("model_sha256"), part("envelope_sha256"), part("signer")) {
        (Some(digest), _, _) => format!("model {digest}"),
        (_, Some(digest), _) => format!("statement {digest}"),
        (_, _, Some(name)) => format!("all that {name} signed"),
        _ => "nothing that is named".to_owned(),
    };
    let (role, reason) = (text(predicate, "role"), text(predicate, "reason"));
    let from = text(predicate, "effective");
    let sentence = format!("Revokes {what}, as {role}, from {from} on: {reason:?}.");
    section.row("says", "says", sentence, predicate.value.clone());
}

fn role_binding(section: &mut Section, predicate: &Place<'_>) {
    let principals = predicate.items("principals");
    let sentence = format!("Binds {} to roles.", count(principals.len(), "principal"));
    section.row("says", "says", sentence, predicate.value.clone());
    if let Some(revision) = predicate.number("revision") {
        section.row("revision", "revision", revision.to_string(), json!(revision));
    }
    let line = |principal: &Place<'_>| {
        let roles = principal.items("roles");
        let role = |role: &Place<'_>| {
            let (from, until) = (role.time("validFrom"), role.time("validUntil"));
            let day = |time: Option<sealwright_attest::Timestamp>| {
                time.map_or_else(
                    || "?".to_owned(),
                    |time| time.to_string().chars().take(10).collect(),
                )
            };
            format!("{} ({} to {})", text(role, "role"), day(from), day(until))
        };
        let roles: Vec<String> = roles.iter().map(role).collect();
        let mut keys = count(principal.items("publicKeys").len(), "key");
        for identity in principal.items("identities") {
            let issuer = identity.text("issuer").unwrap_or("an authority");
            keys += &format!(", {} by {issuer}", text(&identity, "subject"));
        }
        for ended in principal.items("ended") {
            let (key, reason) = (text(&ended, "keyId"), text(&ended, "reason"));
            keys += &format!(", key {key} {reason} since {}", text(&ended, "countsBefore"));
        }
        let roles = if roles.is_empty() { "no role".to_owned() } else { roles.join(", ") };
        format!("{}, {keys}: {roles}", text(principal, "name"))
    };
    let lines: Vec<String> = principals.iter().map(line).collect();
    section.lines("principals", "principals", lines, json!(principals.len()));
    let keys = principals.iter().flat_map(|principal| principal.items("publicKeys"));
    let keys: Vec<String> = keys.filter_map(|key| key.key_id()).collect();
    section.hidden("key_ids", json!(keys));
}

fn test_result(section: &mut Section, predicate: &Place<'_>) {
    let number = |name| predicate.items(name).len();
    let (passed, warned, failed) =
        (number("passedTests"), number("warnedTests"), number("failedTests"));
    let result = text(predicate, "result");
    let sentence = format!("{result}: {passed} passed, {warned} warned, {failed} failed.");
    section.row("says", "says", sentence, json!(result));
    let failed = predicate.items("failedTests");
    let failed: Vec<String> =
        failed.iter().filter_map(|test| test.value.as_str()).map(str::to_owned).collect();
    section.lines("failed", "failed", failed.clone(), json!(failed));
    let metrics = predicate.items("sealwright_metrics");
    let line = |metric: &Place<'_>| {
        let number =
            |name| metric.get(name).map_or_else(|| "no value".to_owned(), |n| n.value.to_string());
        let name = format!("{}[{}]", text(metric, "metric"), text(metric, "slice"));
        let passed = if metric.flag("passed") == Some(true) { "" } else { ", failed" };
        let gate = format!("gate {} {}{passed}", text(metric, "comparator"), number("threshold"));
        format!("{name} = {} ({gate})", number("value"))
    };
    let values: Vec<&Value> = metrics.iter().map(|metric| metric.value).collect();
    section.lines("metrics", "measured", metrics.iter().map(line).collect(), json!(values));
}

fn verification_summary(section: &mut Section, predicate: &Place<'_>) {
    let verifier = predicate.get("verifier").and_then(|verifier| verifier.text("id"));
    let sentence = format!(
        "{} by {} at {}, for {}.",
        text(predicate, "verificationResult"),
        verifier.unwrap_or("(nobody)"),
        text(predicate, "timeVerified"),
        text(predicate, "resourceUri")
    );
    section.row("says", "says", sentence, predicate.value.clone());
    section.maybe("policy", "policy", predicate.get("policy").and_then(|p| p.text("uri")));
    let levels = predicate.items("verifiedLevels");
    let levels: Vec<String> =
        levels.iter().filter_map(|level| level.value.as_str()).map(str::to_owned).collect();
    section.lines("levels", "levels", levels.clone(), json!(levels));
}

fn provenance(section: &mut Section, predicate: &Place<'_>) {
    section.maybe(
        "build_type",
        "build type",
        predicate.get("buildDefinition").and_then(|build| build.text("buildType")),
    );
    let details = predicate.get("runDetails");
    let part = |names: &[&str], name| details.as_ref()?.dig(names)?.text(name);
    section.maybe("builder", "builder", part(&["builder"], "id"));
    section.maybe("invocation", "invocation", part(&["metadata"], "invocationId"));
    section.maybe("started_on", "started", part(&["metadata"], "startedOn"));
    section.maybe("finished_on", "finished", part(&["metadata"], "finishedOn"));
    let inputs = predicate.dig(&["buildDefinition"]).map(|b| b.items("resolvedDependencies"));
    let lines: Vec<String> = inputs
        .unwrap_or_default()
        .iter()
        .filter_map(|input| input.text("uri"))
        .map(str::to_owned)
        .collect();
    section.lines("inputs", "made of", lines.clone(), json!(lines));
}

fn vulnerabilities(section: &mut Section, predicate: &Place<'_>) {
    let Some(scanner) = predicate.get("scanner") else { return };
    let found = scanner.items("result").len();
    let name = text(&scanner, "uri");
    let found_text = count(found, "vulnerability").replace("vulnerabilitys", "vulnerabilities");
    section.row("says", "says", format!("{found_text} found by {name}."), json!(found));
}

fn list(section: &mut Section, predicate: &Place<'_>, name: &str, noun: &str) {
    let items = predicate.items(name);
    section.row("says", "says", format!("Lists {}.", count(items.len(), noun)), json!(items.len()));
    let line = |item: &Place<'_>| {
        let name = item.get("attribute").or_else(|| item.get("name"))?;
        Some(name.value.as_str()?.to_owned())
    };
    let lines: Vec<String> = items.iter().filter_map(line).collect();
    section.lines("items", "which are", lines.clone(), json!(lines));
}

/// Of a type that nobody here knows.
fn others(section: &mut Section, predicate: &Place<'_>) {
    let Some(members) = predicate.value.as_object() else {
        return predicate.note("is not an object");
    };
    let line = |(name, value): (&String, &Value)| match value {
        Value::Null => format!("{name}: nothing"),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            format!("{name}: {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        }
        Value::Array(items) => format!("{name}: {}", count(items.len(), "item")),
        Value::Object(members) => {
            let names: Vec<&str> = members.keys().map(String::as_str).collect();
            format!("{name}: {}", names.join(", "))
        }
    };
    let lines = members.iter().map(line).collect();
    section.lines("predicate", "says", lines, predicate.value.clone());
}
