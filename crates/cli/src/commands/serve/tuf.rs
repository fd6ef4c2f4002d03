//! `serve tuf`: the TUF repository of an instance, and the ceremonies of its root.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};

use sealwright_server::service::tuf::{self, CeremonyError, RootKeys, TufMade};

use crate::error::CliError;
use crate::output::{self, GOOD, STRONG, Ui};

mod root;
mod sign;
mod status;

/// The TUF repository from which clients learn whom to trust.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make the repository of an instance that has none.
    Init(InitArgs),
    /// Show versions and expiries, and who has to sign by when; exit code 1 if something expired.
    Status(status::Args),
    /// Prepare the next root: other keys, another threshold, a new online key, or only a new expiry.
    Rotate(root::RotateArgs),
    /// Sign a prepared root, offline.
    Sign(sign::Args),
    /// Publish a root that enough key holders have signed.
    Publish(root::PublishArgs),
}

/// The instance.
#[derive(Debug, clap::Args)]
struct DataArgs {
    /// Directory of the instance. It may be running.
    #[arg(long, value_name = "DIR", default_value = "sealwright-data")]
    data: PathBuf,
}

/// Who signs the root of a new repository.
#[derive(Debug, clap::Args)]
pub(super) struct RootKeyArgs {
    /// How many keys of the root to make; each belongs in a place of its own, offline.
    #[arg(long, value_name = "N", default_value_t = RootKeys::default().count)]
    tuf_root_keys: u32,
    /// How many of them must sign a root.
    #[arg(long, value_name = "K", default_value_t = RootKeys::default().threshold)]
    tuf_threshold: u32,
    /// Public key that somebody holds already; none is made then, and the root waits for signatures.
    #[arg(long, value_name = "PEM", conflicts_with = "tuf_root_keys")]
    tuf_root_key: Vec<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct InitArgs {
    #[command(flatten)]
    instance: DataArgs,
    #[command(flatten)]
    keys: RootKeyArgs,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    match &args.command {
        Command::Init(args) => init(args, ui),
        Command::Status(args) => status::run(args, ui),
        Command::Rotate(args) => root::rotate(args, ui),
        Command::Sign(args) => sign::run(args, ui),
        Command::Publish(args) => root::publish(args, ui),
    }
}

impl RootKeyArgs {
    pub(super) fn keys(&self) -> RootKeys {
        RootKeys {
            count: self.tuf_root_keys,
            threshold: self.tuf_threshold,
            public: self.tuf_root_key.clone(),
        }
    }
}

fn init(args: &InitArgs, ui: &Ui) -> Result<ExitCode, CliError> {
    let made = tuf::init(&args.instance.data, &args.keys.keys())?;
    let mut value = json!({"ok": true});
    value["tuf"] = made_value(Some(&made));
    let rows = [("root", made.root.display().to_string())];
    ui.result(&value, &format!("{GOOD}made the TUF repository{GOOD:#}\n{}", output::fields(&rows)));
    say_what_was_made(&made, ui);
    Ok(ExitCode::SUCCESS)
}

/// What was made, for `--json`.
pub(super) fn made_value(made: Option<&TufMade>) -> Value {
    let Some(made) = made else { return Value::Null };
    json!({
        "root": output::path(&made.root),
        "root_keys": made.root_keys.iter().map(|path| output::path(path)).collect::<Vec<_>>(),
        "waits_for_signatures": made.waits,
    })
}

/// What people have to do with what was made.
pub(super) fn say_what_was_made(made: &TufMade, ui: &Ui) {
    if made.waits {
        ui.note(&format!(
            "{STRONG}note:{STRONG:#} clients find no root before enough key holders have signed {0}: \
             `sealwright serve tuf sign --key REF {0}`, then `sealwright serve tuf publish {0}`.",
            made.root.display()
        ));
        return;
    }
    let keys: Vec<_> = made.root_keys.iter().map(|path| path.display().to_string()).collect();
    ui.note(&format!(
        "{STRONG}note:{STRONG:#} move {} offline, each to a different place and person. They sign the \
         root of what clients trust; the service needs none of them.",
        keys.join(", ")
    ));
    ui.note(&format!(
        "{STRONG}note:{STRONG:#} give clients {} by a way that they trust.",
        made.root.display()
    ));
}

impl From<CeremonyError> for CliError {
    fn from(error: CeremonyError) -> Self {
        let (message, hint) = (Self::chain(&error), error.hint());
        match error.is_input() {
            true => Self::input(message).hint(hint),
            false => Self::environment(message).hint(hint),
        }
    }
}
