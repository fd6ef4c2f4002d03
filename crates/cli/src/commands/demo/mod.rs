use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::error::CliError;
use crate::output::{BAD, DIM, GOOD, STRONG, Ui, wrap};

mod example;
mod inference;
mod process;
mod scenes;
mod world;

/// Show the whole chain on a real model, and three attacks that fail.
///
/// Trains nothing, simulates nothing: the committed output of a real training run is signed,
/// evaluated, approved by two people's keys, logged and admitted by servers that this command starts
/// on loopback. Exit code 0 only if everything came out as it should.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Leave everything in DIR (which must be empty or not exist) for inspection.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// What a step should do, or did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Something was made.
    Done,
    /// A question was answered with yes.
    Allow,
    /// A question was answered with no.
    Deny,
}

/// One step of the story.
struct Step {
    name: &'static str,
    expected: Outcome,
    outcome: Outcome,
    reason: String,
}

/// The story so far; prints each step as it happens.
struct Story<'a> {
    ui: &'a Ui,
    steps: Vec<Step>,
    /// What was typed for the next step.
    typed: Option<String>,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let place = Place::prepare(args.keep.as_deref())?;
    let mut story = Story { ui, steps: Vec::new(), typed: None };
    let told = world::World::start(place.path(), &mut story)
        .and_then(|world| scenes::play(&world, &mut story));
    let ok = told.is_ok() && story.steps.iter().all(|step| step.expected == step.outcome);
    // A demo that breaks down is reported with the steps that it did take.
    let steps: Vec<Value> = story.steps.iter().map(Step::to_value).collect();
    match told {
        Ok(()) => {
            ui.result(&json!({"ok": ok, "steps": steps}), &summary(ok, &story, &place));
            Ok(ExitCode::from(u8::from(!ok)))
        }
        Err(error) if ui.is_json() => {
            ui.result(&json!({"ok": false, "steps": steps}), "");
            Ok(error.report_to_stderr(ui))
        }
        Err(error) => Err(error),
    }
}

fn summary(ok: bool, story: &Story<'_>, place: &Place) -> String {
    let (allowed, refused) = (story.count(Outcome::Allow), story.count(Outcome::Deny));
    let verdict = match ok {
        true => format!("{GOOD}As it should be:{GOOD:#}"),
        false => format!("{BAD}Not as it should be:{BAD:#}"),
    };
    let kept = match place {
        Place::Kept(path) => format!("\nEverything is in {}.", path.display()),
        Place::Temporary(_) => String::from("\n--keep DIR leaves everything for inspection."),
    };
    format!("{verdict} {allowed} times allowed, {refused} times refused.{kept}")
}

/// Where the demo happens.
enum Place {
    /// Gone afterwards.
    Temporary(tempfile::TempDir),
    /// The user's.
    Kept(PathBuf),
}

impl Place {
    fn prepare(keep: Option<&Path>) -> Result<Self, CliError> {
        let Some(path) = keep else {
            let directory = tempfile::Builder::new().prefix("sealwright-demo-").tempdir();
            return directory.map(Self::Temporary).map_err(|error| {
                CliError::environment(format!("cannot make a temporary directory: {error}"))
                    .hint("free some space in TMPDIR, or give --keep DIR")
            });
        };
        let failed = |error: std::io::Error| {
            CliError::environment(format!("cannot use {}: {error}", path.display()))
                .hint("give --keep a directory that can be created")
        };
        std::fs::create_dir_all(path).map_err(failed)?;
        if std::fs::read_dir(path).map_err(failed)?.next().is_some() {
            return Err(CliError::input(format!("{} is not empty", path.display()))
                .hint("give --keep a directory that is empty or does not exist yet"));
        }
        Ok(Self::Kept(path.canonicalize().map_err(failed)?))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(directory) => directory.path(),
            Self::Kept(path) => path,
        }
    }
}

impl Story<'_> {
    /// A heading between the steps.
    fn chapter(&self, title: &str) {
        if !self.ui.is_json() {
            self.ui.line(&format!("\n{STRONG}{title}{STRONG:#}"));
        }
    }

    /// The command of the step that is told next.
    fn typed(&mut self, command: String) {
        self.typed = Some(command);
    }

    /// Tells a step: what was done or asked, and what came of it.
    fn tell(
        &mut self,
        name: &'static str,
        title: &str,
        expected: Outcome,
        outcome: Outcome,
        reason: &str,
    ) {
        if !self.ui.is_json() {
            let word = match outcome {
                Outcome::Done => format!("{DIM}done   {DIM:#}"),
                Outcome::Allow => format!("{GOOD}ALLOWED{GOOD:#}"),
                Outcome::Deny => format!("{BAD}REFUSED{BAD:#}"),
            };
            self.ui.line(&format!(" {word}  {title}"));
            if let Some(command) = self.typed.take() {
                self.ui.line(&format!("           $ {command}"));
            }
            for line in reason.lines().flat_map(|line| wrap(line, 68)) {
                self.ui.line(&format!("{DIM}           {line}{DIM:#}"));
            }
            if expected != outcome {
                self.ui.line(&format!("           {BAD}expected: {expected:?}{BAD:#}"));
            }
        }
        self.steps.push(Step { name, expected, outcome, reason: reason.to_owned() });
    }

    /// A step that only makes something.
    fn done(&mut self, name: &'static str, title: &str, reason: &str) {
        self.tell(name, title, Outcome::Done, Outcome::Done, reason);
    }

    fn count(&self, outcome: Outcome) -> usize {
        self.steps.iter().filter(|step| step.outcome == outcome).count()
    }
}

impl Step {
    fn to_value(&self) -> Value {
        json!({
            "name": self.name,
            "expected": self.expected.word(),
            "outcome": self.outcome.word(),
            "reason": self.reason,
        })
    }
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Outcome::Done => "done",
            Outcome::Allow => "allow",
            Outcome::Deny => "deny",
        }
    }
}
