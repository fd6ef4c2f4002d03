//! Reading what a policy answered.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use crate::input::DecisionInput;
use crate::verdict::{Outcome, Violation, code};

/// How much of a policy's message is kept, in characters.
const MAX_MESSAGE_CHARS: usize = 1000;

/// The decision in `value`, or what is wrong with it. Whatever contradicts itself or the
/// `input` it was made for is no decision.
pub(crate) fn read_decision(value: Value, input: &DecisionInput) -> Result<Outcome, String> {
    let decision: Decision = serde_json::from_value(value).map_err(|error| error.to_string())?;
    if decision.allow && !decision.violations.is_empty() {
        return Err(String::from("it allows and has violations"));
    }
    let mut violations = BTreeSet::new();
    for Reason { code, control, msg } in decision.violations {
        if !is_policy_code(&code) {
            return Err(format!("{code:?} is not a code a policy may use"));
        }
        violations.insert(Violation { code, control: clean(&control), message: clean(&msg) });
    }
    let given: BTreeSet<&String> = input
        .attestations
        .iter()
        .chain(&input.revocations)
        .map(|statement| &statement.envelope_sha256)
        .collect();
    let evidence: BTreeSet<String> = decision.evidence.into_iter().collect();
    if let Some(stranger) = evidence.iter().find(|digest| !given.contains(digest)) {
        return Err(format!("{stranger:?} in its evidence was not given to it"));
    }
    if !decision.allow && violations.is_empty() {
        let message = "The policy denied and gave no reason; its author must add a violation.";
        return Ok(Outcome::deny(code::POLICY_NO_REASON, message));
    }
    Ok(Outcome {
        allow: decision.allow,
        violations: violations.into_iter().collect(),
        evidence: evidence.into_iter().collect(),
    })
}

/// Text from statements ends up in terminals and logs: line breaks become spaces,
/// other control characters and direction marks go, and the length is bounded.
pub(crate) fn clean(text: &str) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut kept = words.chars().filter(|c| !hidden(*c));
    let mut short: String = kept.by_ref().take(MAX_MESSAGE_CHARS).collect();
    if kept.next().is_some() {
        short.push('…');
    }
    short
}

/// `data.sealwright.main.decision` as the policy gives it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Decision {
    allow: bool,
    violations: Vec<Reason>,
    evidence: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reason {
    code: String,
    control: String,
    msg: String,
}

/// Codes that start with `POLICY_` are this crate's.
fn is_policy_code(code: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=64).contains(&code.len()) && code.bytes().all(allowed) && !code.starts_with("POLICY_")
}
