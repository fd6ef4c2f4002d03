use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use serde_json::{Value, json};

use sealwright_attest::{Timestamp, parse_strict};
use sealwright_policy::{DecisionInput, Outcome, Policy, replay};

use super::MAX_INPUT_BYTES;
use super::decisions::{Decisions, Record, input_of};
use super::sources::entries;
use crate::clock;
use crate::error::CliError;
use crate::files;
use crate::output::{self, BAD, DIM, GOOD, Ui, plain};
use crate::policy::PolicyChoice;

/// The largest file of recorded inputs, in bytes.
const MAX_FILE_BYTES: usize = 256 << 20;

const DAY: u64 = 24 * 60 * 60;

/// Decide again what was asked before, by two policies, and list where they differ.
///
/// With --decisions FILE it is what the admission webhook was asked, with --replay 90 in the last 90
/// days. With --replay FILE it is what `verify --policy --json` prints, or the `policy_input` in it, one
/// to a file or one to a line. Exit code 1 when a model that one policy allows is refused by the other.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The policy in force: a directory, or `starter`.
    #[arg(value_name = "OLD")]
    old: PolicyChoice,
    /// The policy to come.
    #[arg(value_name = "NEW")]
    new: PolicyChoice,
    /// The decisions file of `admission`; may be repeated.
    #[arg(long, value_name = "FILE")]
    decisions: Vec<PathBuf>,
    /// What was asked: `.json` and `.jsonl` files, or directories of them. A number is how many days
    /// of --decisions to look back; all of them without it.
    #[arg(long, value_name = "DAYS|FILE|DIR", required_unless_present = "decisions")]
    replay: Vec<Replay>,
}

/// What `--replay` says.
#[derive(Debug, Clone)]
enum Replay {
    Days(u64),
    Path(PathBuf),
}

impl FromStr for Replay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Self::Path(PathBuf::from(text)));
        }
        match text.parse() {
            Ok(days @ 1..=36_600) => Ok(Self::Days(days)),
            _ => Err("a number of days is from 1 to 36600".to_owned()),
        }
    }
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let mut compared = Compared::new(args.old.load()?, args.new.load()?);
    for path in args.paths() {
        compared.read(path)?;
    }
    let since = args.since()?;
    for path in &args.decisions {
        let mut decisions = Decisions::open(path)?;
        for record in &mut decisions {
            compared.take_record(&record?, since)?;
        }
        compared.others += decisions.torn;
    }
    if compared.decisions == 0 {
        return Err(CliError::input("there is no policy input to decide again").hint(
            "give --decisions FILE of the webhook, or keep what `sealwright verify --policy DIR \
             --json` prints",
        ));
    }
    ui.result(&compared.to_value(), &compared.told());
    Ok(ExitCode::from(u8::from(!compared.is_same())))
}

impl Args {
    fn paths(&self) -> impl Iterator<Item = &Path> {
        self.replay.iter().filter_map(|replay| match replay {
            Replay::Path(path) => Some(path.as_path()),
            Replay::Days(_) => None,
        })
    }

    /// From when on decisions are looked at.
    fn since(&self) -> Result<Option<Timestamp>, CliError> {
        let days = self.replay.iter().filter_map(|replay| match replay {
            Replay::Days(days) => Some(*days),
            Replay::Path(_) => None,
        });
        let Some(days) = days.max() else { return Ok(None) };
        if self.decisions.is_empty() {
            return Err(CliError::input(format!("--replay {days} is a number of days"))
                .hint("say of which decisions: --decisions FILE; a file of that name is ./NAME"));
        }
        let back = clock::now()?.unix().saturating_sub(days * DAY);
        Ok(Timestamp::from_unix(back).ok())
    }
}

/// What two policies say to what was asked.
struct Compared {
    old: Policy,
    new: Policy,
    decisions: usize,
    changes: Vec<Change>,
    /// Documents that have no input.
    others: usize,
    /// Decisions that were made before those that are looked at.
    earlier: usize,
}

impl Compared {
    fn new(old: Policy, new: Policy) -> Self {
        Self { old, new, decisions: 0, changes: Vec::new(), others: 0, earlier: 0 }
    }

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
            return self.take(&shown, input_of(&shown, &value, Some(path))?);
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
            self.take(&place, input_of(&place, &value, Some(path))?)?;
        }
        Ok(())
    }

    fn take_record(&mut self, record: &Record, since: Option<Timestamp>) -> Result<(), CliError> {
        if since.is_some_and(|since| record.time().is_some_and(|time| time < since)) {
            self.earlier += 1;
            return Ok(());
        }
        self.take(&record.place, record.input()?)
    }

    /// Decides it again. Only what differs is kept.
    fn take(&mut self, place: &str, input: Option<DecisionInput>) -> Result<(), CliError> {
        let Some(input) = input else {
            self.others += 1;
            return Ok(());
        };
        self.decisions += 1;
        let change =
            Change::of(place, &input, replay(&self.old, &input), replay(&self.new, &input));
        if change.kind() != Kind::None {
            self.changes.push(change);
        }
        Ok(())
    }

    fn count(&self, wanted: Kind) -> usize {
        self.changes.iter().filter(|change| change.kind() == wanted).count()
    }

    fn is_same(&self) -> bool {
        self.count(Kind::NowRefused) + self.count(Kind::NowAllowed) == 0
    }

    fn to_value(&self) -> Value {
        json!({
            "ok": self.is_same(),
            "old": self.old.digest(),
            "new": self.new.digest(),
            "decisions": self.decisions,
            "without_input": self.others,
            "earlier": self.earlier,
            "now_refused": self.count(Kind::NowRefused),
            "now_allowed": self.count(Kind::NowAllowed),
            "other_reasons": self.count(Kind::OtherReasons),
            "changes": self.changes.iter().map(Change::to_value).collect::<Vec<_>>(),
        })
    }

    fn told(&self) -> String {
        let mut text: String = self.changes.iter().map(Change::told).collect();
        if self.others > 0 {
            let documents = output::count(self.others, "document");
            text += &format!("{documents} without a policy input left out\n");
        }
        let (refused, allowed, reasons) = (
            self.count(Kind::NowRefused),
            self.count(Kind::NowAllowed),
            self.count(Kind::OtherReasons),
        );
        let decisions = output::count(self.decisions, "decision");
        text += &format!(
            "{decisions}: {refused} now refused, {allowed} now allowed, {reasons} for other reasons"
        );
        text
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    NowRefused,
    NowAllowed,
    OtherReasons,
    None,
}

/// One input, and what both policies say to it.
struct Change {
    place: String,
    id: String,
    time: Timestamp,
    environment: String,
    model_digest: String,
    before: Outcome,
    after: Outcome,
}

impl Change {
    fn of(place: &str, input: &DecisionInput, before: Outcome, after: Outcome) -> Self {
        Self {
            place: place.to_owned(),
            id: input.evaluation.id.clone(),
            time: input.evaluation.time,
            environment: input.request.environment.clone(),
            model_digest: input.model.digest.sha256.clone(),
            before,
            after,
        }
    }

    fn kind(&self) -> Kind {
        match (self.before.allow, self.after.allow) {
            (true, false) => Kind::NowRefused,
            (false, true) => Kind::NowAllowed,
            _ if codes(&self.before) == codes(&self.after) => Kind::None,
            _ => Kind::OtherReasons,
        }
    }

    fn to_value(&self) -> Value {
        json!({
            "record": self.place,
            "id": self.id,
            "time": self.time,
            "environment": self.environment,
            "model_digest": self.model_digest,
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
        let mut text = format!(
            "{mark}  {} for {} {DIM}{} {}{DIM:#}\n",
            plain(&self.model_digest),
            plain(&self.environment),
            self.time,
            plain(&self.place)
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
