use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};

use sealwright_policy::{DecisionInput, Failure, Suite, is_yes, replay};

use super::sources::RegoArgs;
use super::{DECISION, default_query, read_input};
use crate::error::CliError;
use crate::output::{BAD, GOOD, Ui, plain};
use crate::policy::load;

/// Ask a policy about one input.
///
/// A policy of ours decides as `verify --policy` and the admission controller do; other Rego gives
/// the value of a rule, with --json in OPA's form. Exit code 1 for a deny: `false`, reasons in `deny`
/// or `violation`, undefined, an error, or no answer in time. Nothing is verified: the input is
/// taken at its word.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The policy: a directory with `.rego` files and data, or an OPA bundle.
    #[arg(long, value_name = "DIR|FILE")]
    bundle: PathBuf,
    /// What it is asked (JSON).
    #[arg(long, short, value_name = "FILE")]
    input: PathBuf,
    /// The rule to ask for, such as data.authz.allow; data.sealwright.main.decision otherwise.
    #[arg(long, short, value_name = "RULE")]
    query: Option<String>,
    /// Ask as Gatekeeper does: the input is `input.review`, and this (JSON) `input.parameters`.
    #[arg(long, value_name = "FILE")]
    parameters: Option<PathBuf>,
    /// Read modules without `import rego.v1` as OPA before 1.0 did.
    #[arg(long)]
    v0_compatible: bool,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let mut input = read_input(&args.input)?;
    if let Some(parameters) = &args.parameters {
        input = json!({"review": input, "parameters": read_input(parameters)?});
    }
    let answer = match &args.query {
        Some(query) => ask(args, query.clone(), &input)?,
        None => decide(args, &input, ui)?,
    };
    ui.result(&answer.to_value(), &answer.told());
    Ok(ExitCode::from(u8::from(!answer.ok())))
}

/// What came of a question.
struct Answer {
    query: String,
    /// The digest of the policy, if a policy decided.
    policy: Option<String>,
    result: Result<Value, Failure>,
}

/// The decision of a policy of ours; else the value of the rule callers read.
fn decide(args: &Args, input: &Value, ui: &Ui) -> Result<Answer, CliError> {
    let refused = match load(&args.bundle) {
        Ok(policy) => match serde_json::from_value::<DecisionInput>(input.clone()) {
            Ok(input) => {
                let outcome = json!(replay(&policy, &input));
                let policy = Some(policy.digest().to_owned());
                return Ok(Answer { query: DECISION.to_owned(), policy, result: Ok(outcome) });
            }
            Err(error) => format!("the input is not a ModelDecisionInput ({error})"),
        },
        Err(error) => format!("it cannot be loaded as a policy ({})", CliError::chain(&error)),
    };
    let suite = load_suite(args)?;
    let query = default_query(&suite)?;
    if query == DECISION {
        ui.note(&format!("note: not a decision, only what the rules say: {}", plain(&refused)));
    }
    let result = suite.query(&query, input);
    Ok(Answer { query, policy: None, result })
}

fn load_suite(args: &Args) -> Result<Suite, CliError> {
    let rego = RegoArgs { v0_compatible: args.v0_compatible, ..RegoArgs::default() };
    rego.load(std::slice::from_ref(&args.bundle))
}

fn ask(args: &Args, query: String, input: &Value) -> Result<Answer, CliError> {
    let suite = load_suite(args)?;
    let result = suite.query(&query, input);
    Ok(Answer { query, policy: None, result })
}

impl Answer {
    /// Whether it is a yes; a value that is no decision counts as one if there is a value.
    fn ok(&self) -> bool {
        self.result.as_ref().is_ok_and(|value| is_yes(&self.query, value).unwrap_or(true))
    }

    fn allow(&self) -> Option<bool> {
        match &self.result {
            Ok(value) => is_yes(&self.query, value),
            Err(_) => Some(false),
        }
    }

    fn violations(&self) -> Value {
        match &self.result {
            Ok(value) => value.get("violations").cloned().unwrap_or_else(|| json!([])),
            Err(failure) => json!([{
                "code": failure.code(),
                "control": "policy-engine",
                "message": format!("{}: {failure}", self.query),
            }]),
        }
    }

    fn to_value(&self) -> Value {
        let mut value = json!({
            "ok": self.ok(),
            "query": self.query,
            "allow": self.allow(),
            "violations": self.violations(),
            "policy_digest": self.policy,
        });
        // As `opa eval`: no `result` at all for undefined.
        if let Ok(result) = &self.result {
            value["result"] = json!([{"expressions": [{
                "value": result,
                "text": self.query,
                "location": {"row": 1, "col": 1},
            }]}]);
        }
        value
    }

    fn told(&self) -> String {
        let mut text = match (self.allow(), &self.result) {
            (None, Ok(value)) => {
                return serde_json::to_string_pretty(value).unwrap_or_default();
            }
            (Some(true), _) => format!("{GOOD}allowed{GOOD:#}\n"),
            _ => format!("{BAD}refused{BAD:#}\n"),
        };
        for violation in self.violations().as_array().into_iter().flatten() {
            let part = |name: &str| violation.get(name).and_then(Value::as_str);
            let message = part("message").or(part("msg")).unwrap_or_default();
            let code = part("code").unwrap_or("(no code)");
            text += &format!("{}  {}\n", plain(code), plain(message));
        }
        if let (Some(false), Ok(Value::Array(reasons))) = (self.allow(), &self.result) {
            for reason in reasons {
                let said = reason.get("msg").unwrap_or(reason);
                let said = said.as_str().map_or_else(|| said.to_string(), str::to_owned);
                text += &format!("{}\n", plain(&said));
            }
        }
        if let Some(digest) = &self.policy {
            text += &format!("policy  {digest}\n");
        }
        text
    }
}
