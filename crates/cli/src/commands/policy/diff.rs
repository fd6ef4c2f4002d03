use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use sealwright_attest::parse_strict;
use sealwright_policy::{DecisionInput, Outcome, replay};

use super::MAX_INPUT_BYTES;
use super::sources::entries;
use crate::error::CliError;
use crate::files;
use crate::output::{self, BAD, DIM, GOOD, Ui, plain};
use crate::policy::PolicyChoice;

/// The largest file of recorded inputs, in bytes.
const MAX_FILE_BYTES: usize = 256 << 20;

/// Decide again what was asked before, by two policies, and list where they differ.
///
/// Inputs are what `verify --policy --json` prints, or the `policy_input` in it, one to a file or one
/// to a line. Exit code 1 when a model that one policy allows is refused by the other.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The policy in force: a directory, or `starter`.
    #[arg(value_name = "OLD")]
    old: PolicyChoice,
    /// The policy to come.
    #[arg(value_name = "NEW")]
    new: PolicyChoice,
    /// What was asked: `.json` and `.jsonl` files, or directories of them.
    #[arg(long, value_name = "FILE|DIR", required = true)]
    replay: Vec<PathBuf>,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let (old, new) = (args.old.load()?, args.new.load()?);
    let mut asked = Asked::default();
    for path in &args.replay {
        asked.read(path)?;
    }
    if asked.inputs.is_empty() {
        return Err(CliError::input("there is no policy input to decide again")
            .hint("keep what `sealwright verify --policy DIR --json` prints"));
    }
    let changes: Vec<Change<'_>> = asked
        .inputs
        .iter()
        .map(|(place, input)| Change {
            place,
            input,
            before: replay(&old, input),
            after: replay(&new, input),
        })
        .filter(Change::is_one)
        .collect();
    let count = |wanted: Kind| changes.iter().filter(|change| change.kind() == wanted).count();
    let (refused, allowed, reasons) =
        (count(Kind::NowRefused), count(Kind::NowAllowed), count(Kind::OtherReasons));
    let value = json!({
        "ok": refused + allowed == 0,
        "old": old.digest(),
        "new": new.digest(),
        "decisions": asked.inputs.len(),
        "without_input": asked.others,
        "now_refused": refused,
        "now_allowed": allowed,
        "other_reasons": reasons,
        "changes": changes.iter().map(Change::to_value).collect::<Vec<_>>(),
    });
    let mut text: String = changes.iter().map(Change::told).collect();
    if asked.others > 0 {
        let documents = output::count(asked.others, "document");
        text += &format!("{documents} without a policy input left out\n");
    }
    let decisions = output::count(asked.inputs.len(), "decision");
    text += &format!(
        "{decisions}: {refused} now refused, {allowed} now allowed, {reasons} for other reasons"
    );
    ui.result(&value, &text);
    Ok(ExitCode::from(u8::from(refused + allowed > 0)))
}

#[derive(Default)]
struct Asked {
    /// Where each was found, and what it is.
    inputs: Vec<(String, DecisionInput)>,
    /// Documents that have none.
    others: usize,
}

impl Asked {
    fn read(&mut self, path: &Path) -> Result<(), CliError> {
        if path.is_dir() {
            let is_record = |path: &PathBuf| {
                path.extension().is_some_and(|ending| ending == "json" || ending == "jsonl")
            };
            return entries(path)?.into_iter().filter(is_record).try_for_each(|p| self.read(&p));
        }
        let bytes = files::read(path, "record", MAX_FILE_BYTES)?;
        let shown = path.display().to_string();
        if let Ok(value) = parse_strict(&bytes, MAX_INPUT_BYTES) {
            return self.take(shown, &value);
        }
        for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if line.trim_ascii().is_empty() {
                continue;
            }
            let place = format!("{shown}:{}", number + 1);
            let value = parse_strict(line, MAX_INPUT_BYTES).map_err(|error| {
                CliError::input(format!("{place}: {error}"))
                    .hint("records are JSON, one to a file or one to a line")
            })?;
            self.take(place, &value)?;
        }
        Ok(())
    }

    fn take(&mut self, place: String, value: &Value) -> Result<(), CliError> {
        let Some(input) = input_of(&place, value)? else {
            self.others += 1;
            return Ok(());
        };
        self.inputs.push((place, input));
        Ok(())
    }
}

/// The input of a decision in what was recorded of it, if it is there.
pub(super) fn input_of(place: &str, value: &Value) -> Result<Option<DecisionInput>, CliError> {
    let is_input = |value: &&Value| value.get("kind").is_some_and(|k| k == "ModelDecisionInput");
    let candidates = ["", "/policy_input", "/verdict/policy_input"];
    let found = candidates.iter().filter_map(|at| value.pointer(at)).find(is_input);
    let input = found.map(|input| serde_json::from_value(input.clone())).transpose();
    input.map_err(|error| {
        CliError::input(format!("{place}: not a ModelDecisionInput: {error}"))
            .hint("it was changed, or is of another version")
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    NowRefused,
    NowAllowed,
    OtherReasons,
    None,
}

/// One input, and what both policies say to it.
struct Change<'a> {
    place: &'a str,
    input: &'a DecisionInput,
    before: Outcome,
    after: Outcome,
}

impl Change<'_> {
    fn kind(&self) -> Kind {
        match (self.before.allow, self.after.allow) {
            (true, false) => Kind::NowRefused,
            (false, true) => Kind::NowAllowed,
            _ if codes(&self.before) == codes(&self.after) => Kind::None,
            _ => Kind::OtherReasons,
        }
    }

    fn is_one(&self) -> bool {
        self.kind() != Kind::None
    }

    fn to_value(&self) -> Value {
        json!({
            "record": self.place,
            "id": self.input.evaluation.id,
            "time": self.input.evaluation.time,
            "environment": self.input.request.environment,
            "model_digest": self.input.model.digest.sha256,
            "before": self.before,
            "after": self.after,
        })
    }

    fn told(&self) -> String {
        let mark = match self.kind() {
            Kind::NowRefused => format!("{BAD}now refused{BAD:#}"),
            Kind::NowAllowed => format!("{BAD}NOW ALLOWED{BAD:#}"),
            Kind::OtherReasons | Kind::None => format!("{GOOD}other reasons{GOOD:#}"),
        };
        let input = self.input;
        let mut text = format!(
            "{mark}  {} for {} {DIM}{} {}{DIM:#}\n",
            plain(&input.model.digest.sha256),
            plain(&input.request.environment),
            input.evaluation.time,
            plain(self.place)
        );
        let (before, after) = (codes(&self.before), codes(&self.after));
        for violation in &self.after.violations {
            if !before.contains(violation.code.as_str()) {
                text += &format!("  + {}  {}\n", plain(&violation.code), plain(&violation.message));
            }
        }
        for code in before.difference(&after) {
            text += &format!("  - {}\n", plain(code));
        }
        text
    }
}

fn codes(outcome: &Outcome) -> BTreeSet<&str> {
    outcome.violations.iter().map(|violation| violation.code.as_str()).collect()
}
