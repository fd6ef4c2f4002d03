use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use sealwright_policy::{
    Attestation, DecisionInput, Outcome, Policy, Violation, control_references, replay,
};

use super::decisions::{Decisions, input_of};
use super::{read_input, references};
use crate::error::CliError;
use crate::output::{self, BAD, DIM, GOOD, Ui, plain};
use crate::policy::PolicyChoice;

/// Decide once more what was decided, and say which rules and statements it came from.
///
/// DECISION is what `verify --policy --json` printed, or the `policy_input` in it; with --decisions it
/// is the id of a decision of the admission webhook, as its answer names it. Exit code 1 when the
/// policy now gives another answer than the one recorded.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The record of the decision (a JSON file), or its id.
    #[arg(value_name = "DECISION|ID")]
    decision: PathBuf,
    /// The decisions file of `admission` that the decision is in.
    #[arg(long, value_name = "FILE")]
    decisions: Option<PathBuf>,
    /// The policy it was made by: a directory, or `starter`.
    #[arg(long, value_name = "DIR")]
    policy: PolicyChoice,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let (record, input) = match &args.decisions {
        Some(file) => find(file, &args.decision.to_string_lossy())?,
        None => {
            let record = read_input(&args.decision)?;
            let shown = args.decision.display().to_string();
            let input = input_of(&shown, &record, None)?.ok_or_else(|| {
                CliError::input(format!("{shown} has no policy input"))
                    .hint("explain what `sealwright verify --policy DIR --json` prints")
            })?;
            (record, input)
        }
    };
    let policy = args.policy.load()?;
    // The webhook's answer may be no for want of a permit, which is no business of the policy's.
    let recorded = ["/verdict/allow", "/allow", "/policyAllowed"];
    let recorded = recorded.iter().find_map(|at| record.pointer(at)).and_then(Value::as_bool);
    let answered = record.get("allowed").and_then(Value::as_bool);
    let explained =
        Explained { recorded, answered, outcome: replay(&policy, &input), policy, input, record };
    ui.result(&explained.to_value(), &explained.told());
    Ok(ExitCode::from(u8::from(!explained.holds())))
}

/// A decision in a decisions file.
fn find(file: &Path, id: &str) -> Result<(Value, DecisionInput), CliError> {
    for record in Decisions::open(file)? {
        let record = record?;
        if record.is(id) {
            let input = record.input()?.ok_or_else(|| {
                let answer = record.value["violations"][0]["code"].as_str().unwrap_or("no policy");
                CliError::input(format!("{}: no policy was asked: {answer}", record.place))
                    .hint("`sealwright inspect` shows what the record says")
            })?;
            return Ok((record.value, input));
        }
    }
    Err(CliError::input(format!("{} has no decision {id:?}", file.display()))
        .hint("the answer to a pod names its decision: 32 hexadecimal digits"))
}

/// A decision, made again.
struct Explained {
    policy: Policy,
    input: DecisionInput,
    outcome: Outcome,
    /// The policy's answer in the record, if it has one.
    recorded: Option<bool>,
    /// The webhook's, if it is a decision of the webhook.
    answered: Option<bool>,
    /// What was recorded.
    record: Value,
}

impl Explained {
    /// Whether the answer is the recorded one.
    fn holds(&self) -> bool {
        self.recorded.is_none_or(|recorded| recorded == self.outcome.allow)
    }

    fn is_same_policy(&self) -> bool {
        self.input.evaluation.policy_sha256 == self.policy.digest()
    }

    /// Every statement, and whether the decision rests on it.
    fn statements(&self) -> impl Iterator<Item = (&Attestation, bool)> {
        let all = self.input.attestations.iter().chain(&self.input.revocations);
        all.map(|a| (a, self.outcome.evidence.contains(&a.envelope_sha256)))
    }

    fn to_value(&self) -> Value {
        let rules = |violation: &Violation| {
            let mut value = json!(violation);
            let places = self.policy.places_of(&violation.code);
            value["rules"] = places
                .into_iter()
                .map(|(file, line)| json!({"file": file, "line": line}))
                .collect();
            value["references"] = json!(control_references(&violation.control));
            value
        };
        let statement = |(a, counts): (&Attestation, bool)| {
            json!({
                "envelope_sha256": a.envelope_sha256,
                "predicate_type": a.predicate_type,
                "signer": a.signer,
                "time": a.time,
                "log": a.log,
                "counts": counts,
            })
        };
        json!({
            "ok": self.holds(),
            "allow": self.outcome.allow,
            "recorded": self.recorded,
            "answered": self.answered,
            "permit": self.record.get("permit"),
            "policy_digest": self.policy.digest(),
            "same_policy": self.is_same_policy(),
            "evaluation": self.input.evaluation,
            "request": self.input.request,
            "model": self.input.model,
            "violations": self.outcome.violations.iter().map(rules).collect::<Vec<_>>(),
            "statements": self.statements().map(statement).collect::<Vec<_>>(),
        })
    }

    fn told(&self) -> String {
        let input = &self.input;
        let mut text = match self.outcome.allow {
            true => format!("{GOOD}allowed{GOOD:#}\n"),
            false => format!("{BAD}refused{BAD:#}\n"),
        };
        text += &output::fields(&[
            ("model digest", plain(&input.model.digest.sha256)),
            ("environment", plain(&input.request.environment)),
            ("purpose", plain(&input.evaluation.purpose)),
            ("time", input.evaluation.time.to_string()),
            ("policy", self.policy.digest().to_owned()),
        ]);
        if !self.is_same_policy() {
            let then = plain(&input.evaluation.policy_sha256);
            text += &format!("{BAD}by another policy{BAD:#}: the decision was made by {then}\n");
        }
        if self.answered.is_some_and(|answered| answered != self.outcome.allow) {
            text += &format!("{BAD}the webhook answered otherwise{BAD:#}\n");
            for violation in self.record["violations"].as_array().into_iter().flatten() {
                let part = |name: &str| plain(violation[name].as_str().unwrap_or_default());
                text += &format!("{}  {}\n", part("code"), part("message"));
            }
        }
        if !self.holds() {
            text += &format!("{BAD}the record says otherwise{BAD:#}\n");
        }
        for violation in &self.outcome.violations {
            text += &format!("{}  {}\n", plain(&violation.code), plain(&violation.message));
            for (file, line) in self.policy.places_of(&violation.code) {
                text += &format!("    {DIM}rule{DIM:#} {file}:{line}\n");
            }
            text += &references::told(&violation.control);
        }
        for (a, counts) in self.statements() {
            let mark = if counts { "counts" } else { "does not count" };
            text += &format!(
                "{mark}: {}\n    by {} as {}, {} at {}, {}\n",
                plain(&a.predicate_type),
                plain(&a.signer.principal),
                plain(&a.signer.roles.join(", ")),
                plain(&a.log.origin),
                a.log.index,
                a.time
            );
        }
        text
    }
}
