//! `log monitor`: has a log only grown, and what is new in it?

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use sealwright_attest::TrustedRoot;
use sealwright_manifest::Sha256;
use sealwright_server::client::{ClientError, ServiceClient};
use sealwright_server::monitor::{self, Alarm, Finding, InterestError, Interests, Look, LookError};
use sealwright_tlog::note::MAX_NOTE_LEN;
use sealwright_tlog::{Checkpoint, VerifiedCheckpoint, VerifierKey, verify_checkpoint};

use crate::error::CliError;
use crate::files::{self, Access};
use crate::output::{self, BAD, DIM, GOOD, STRONG, Ui};
use crate::service::is_plain_and_remote;

/// The last checkpoint that was verified, in the state directory.
const CHECKPOINT_FILE: &str = "checkpoint";

/// Watch a log: has it only grown since the last look, and what is new in it?
///
/// Fetches all new entries and computes the root from them, so that a fork, a rewind, and an omitted or
/// altered entry are noticed whatever the log says. Then both signed checkpoints are kept in
/// DIR/evidence and the exit code is 1; it is 3 when the log cannot be reached. The first look reads
/// the whole log, or what came after the checkpoint of --since.
///
/// Entries hold the signer's certificate or key and a digest of what was signed, never the statement
/// itself. New entries are told by --identity, --key-id and --digest; --model asks the service which
/// statements are about a model, so it misses those that the service hides.
#[derive(Debug, clap::Args)]
#[command(override_usage = "sealwright log monitor [OPTIONS] --url URL --state DIR --log VKEY")]
pub(crate) struct Args {
    /// Where the log's checkpoint and tiles are, such as `http://localhost:3003`; for a Rekor v2 log
    /// with /api/v2 at its end.
    #[arg(long, value_name = "URL")]
    url: String,
    #[command(flatten)]
    trust: LogKeyArgs,
    /// Directory for the last checkpoint seen, and for evidence; created if it is not there.
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// On the first look, begin after this signed checkpoint instead of with the first entry.
    #[arg(long, value_name = "FILE")]
    since: Option<PathBuf>,
    /// Tell entries whose certificate has this subject alternative name; may be given several times.
    #[arg(long = "identity", value_name = "SAN")]
    identities: Vec<String>,
    /// Tell entries signed by this key: SHA-256 of its PEM (as `sha256sum key.pub` prints) or of its
    /// DER SubjectPublicKeyInfo.
    #[arg(long = "key-id", value_name = "SHA256")]
    key_ids: Vec<String>,
    /// Tell entries about this digest: of a file, or of a statement's DSSE PAE.
    #[arg(long = "digest", value_name = "HEX")]
    digests: Vec<String>,
    /// Tell entries of statements about this model (URL must be a `sealwright serve`).
    #[arg(long = "model", value_name = "DIGEST")]
    models: Vec<String>,
    /// Look once and end, for cron.
    #[arg(long, conflicts_with = "interval")]
    once: bool,
    /// Seconds between two looks.
    #[arg(long, value_name = "SECONDS", default_value_t = 60,
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    interval: u64,
    /// PEM certificates to trust for https.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Allow plain http to another machine: whoever is between can show an old state of the log.
    #[arg(long)]
    insecure_http: bool,
}

/// Which log.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct LogKeyArgs {
    /// Key of the log, as `name+id+base64`.
    #[arg(long = "log", value_name = "VKEY")]
    key: Option<VerifierKey>,
    /// `trusted_root.json` with this one log in it.
    #[arg(long, value_name = "FILE")]
    trusted_root: Option<PathBuf>,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let key = args.trust.key()?;
    let client = args.client()?;
    let mut interests = Interests::default();
    args.identities.iter().for_each(|name| interests.identity(name));
    args.key_ids.iter().try_for_each(|id| interests.key(id))?;
    args.digests.iter().try_for_each(|digest| interests.digest(digest))?;
    args.models.iter().try_for_each(|model| check_model(model))?;
    std::fs::create_dir_all(&args.state).map_err(|error| {
        CliError::environment(format!("cannot create {}: {error}", args.state.display()))
            .hint("choose another --state")
    })?;
    let mut before = args.seen_before(&key)?;
    loop {
        let known = before.as_ref().map(VerifiedCheckpoint::checkpoint);
        let looked = with_models(&client, &interests, &args.models)
            .map_err(LookError::from)
            .and_then(|interests| monitor::look(&client, &key, known, &interests));
        match looked {
            Ok(look) => {
                report(&look, args.once, ui);
                // After the report: what was told twice is better than what was never told.
                let path = args.state.join(CHECKPOINT_FILE);
                if let Err(error) = files::write(&path, look.checkpoint.note(), Access::Public) {
                    return Ok(error.report_to_stderr(ui));
                }
                before = Some(look.checkpoint);
            }
            Err(LookError::Alarm(alarm)) => return shout(&alarm, before.as_ref(), args, ui),
            Err(LookError::Client(error)) if args.once => return Err(unreachable(&error)),
            Err(LookError::Client(error)) => {
                let problem = output::plain(&CliError::chain(&error));
                ui.note(&format!("{STRONG}note:{STRONG:#} not looked: {problem}"));
            }
        }
        if args.once {
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(Duration::from_secs(args.interval));
    }
}

impl LogKeyArgs {
    fn key(&self) -> Result<VerifierKey, CliError> {
        let Some(path) = &self.trusted_root else {
            return self.key.clone().ok_or_else(|| {
                CliError::input("the log's key is missing").hint("give --log or --trusted-root")
            });
        };
        let bytes = files::read(path, "trusted root", 4 << 20)?;
        let root = TrustedRoot::parse(&bytes)
            .map_err(|error| CliError::from(error).about(path.display()))?;
        match root.logs() {
            [log] => Ok(log.key.clone()),
            logs => {
                let count = output::count(logs.len(), "log");
                let message =
                    format!("{} has {count} with an Ed25519 key, not one", path.display());
                Err(CliError::input(message).hint("say which by its key: --log VKEY"))
            }
        }
    }
}

impl Args {
    fn client(&self) -> Result<ServiceClient, CliError> {
        if !self.insecure_http && is_plain_and_remote(&self.url) {
            return Err(CliError::input(format!("{} is plain http to another machine", self.url))
                .hint("use https with --ca FILE, or accept the risk with --insecure-http"));
        }
        let ca = self.ca.as_deref().map(|path| files::read(path, "CA", 1 << 20)).transpose()?;
        ServiceClient::new(&self.url, ca.as_deref()).map_err(|error| {
            CliError::input(error.to_string()).hint("check --url, and --ca FILE for https")
        })
    }

    /// The checkpoint of the last look, or that of --since.
    fn seen_before(&self, key: &VerifierKey) -> Result<Option<VerifiedCheckpoint>, CliError> {
        let path = self.state.join(CHECKPOINT_FILE);
        let path = match (path.exists(), &self.since) {
            (true, _) => &path,
            (false, Some(since)) => since,
            (false, None) => return Ok(None),
        };
        let note = files::read(path, "checkpoint", MAX_NOTE_LEN)?;
        verify_checkpoint(&note, key).map(Some).map_err(|error| {
            let message = format!("{}: {}", path.display(), CliError::chain(&error));
            CliError::input(message)
                .hint("a state directory is for one log; use its key, or another")
        })
    }
}

fn check_model(model: &str) -> Result<(), CliError> {
    match Sha256::parse(model) {
        Ok(_) => Ok(()),
        Err(_) => Err(CliError::input(format!("--model {model:?} is not a model digest"))
            .hint("give the 64 digits that `sealwright digest` prints")),
    }
}

/// The interests, and the statements that the service has about the models now.
fn with_models(
    client: &ServiceClient,
    interests: &Interests,
    models: &[String],
) -> Result<Interests, ClientError> {
    let mut interests = interests.clone();
    for model in models {
        for bundle in client.statements_about(model)? {
            interests.statement(&bundle, model);
        }
    }
    Ok(interests)
}

fn unreachable(error: &ClientError) -> CliError {
    CliError::environment(CliError::chain(error))
        .hint("check --url, and that the log can be reached; nothing was found out about it")
}

/// What was found. A monitor that runs on tells each look in one line of JSON.
fn report(look: &Look, once: bool, ui: &Ui) {
    let Checkpoint { origin, size, root, .. } = look.checkpoint.checkpoint();
    let new = size - look.old_size;
    if !once && new == 0 && !ui.is_json() {
        return;
    }
    let value = json!({
        "ok": true,
        "origin": origin,
        "size": size,
        "root": root.to_base64(),
        "log_signed_time": look.checkpoint.cosigned_at(),
        "old_size": look.old_size,
        "new_entries": new,
        "findings": look.findings.iter().map(finding_value).collect::<Vec<_>>(),
        "unreadable": look.unreadable,
    });
    let mut text = format!(
        "{GOOD}consistent{GOOD:#} {}: {size} entries, {new} new, {} of interest\n",
        output::plain(origin),
        look.findings.len()
    );
    for finding in &look.findings {
        text.push_str(&finding_text(finding));
    }
    if !look.unreadable.is_empty() {
        let count = look.unreadable.len();
        text.push_str(&format!("{BAD}unreadable{BAD:#} {count} of the new entries (see --json)\n"));
    }
    if once { ui.result(&value, &text) } else { ui.ready(&value, &text) }
}

fn finding_value(finding: &Finding) -> Value {
    json!({
        "index": finding.index,
        "concerns": finding.concerns,
        "digest": finding.digest,
        "identities": finding.identities,
        "key_ids": finding.key_ids,
    })
}

fn finding_text(finding: &Finding) -> String {
    let concerns: Vec<_> = finding.concerns.iter().map(|text| output::plain(text)).collect();
    format!(
        "{STRONG}entry {}{STRONG:#} {} {DIM}signed digest {}{DIM:#}\n",
        finding.index,
        concerns.join(", "),
        finding.digest
    )
}

/// Keeps the evidence, and says it as loudly as a program can.
fn shout(
    alarm: &Alarm,
    before: Option<&VerifiedCheckpoint>,
    args: &Args,
    ui: &Ui,
) -> Result<ExitCode, CliError> {
    let evidence = keep_evidence(alarm, before, &args.state);
    let kind = alarm.kind.name();
    let error = CliError::failed(format!("LOG MISBEHAVES ({kind}): {}", alarm.detail));
    let error = match &evidence {
        Ok(paths) if !paths.is_empty() => {
            let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
            error.hint(format!("do not trust this log now; evidence: {}", paths.join(", ")))
        }
        Ok(_) => error.hint("do not trust this log now; it showed nothing that could be kept"),
        Err(problem) => {
            let problem = problem.message();
            error.hint(format!("do not trust this log now; no evidence was kept: {problem}"))
        }
    };
    if ui.is_json() {
        let head = |checkpoint: &Checkpoint| json!({"size": checkpoint.size, "root": checkpoint.root.to_base64()});
        let paths = evidence.unwrap_or_default();
        let value = json!({
            "ok": false,
            "alarm": kind,
            "fork": kind == "fork",
            "seen_before": before.map(|before| head(before.checkpoint())),
            "shown_now": alarm.shown.as_ref().map(head),
            "evidence": paths.iter().map(|path| output::path(path)).collect::<Vec<_>>(),
            "error": error.to_value(),
        });
        if args.once { ui.result(&value, "") } else { ui.ready(&value, "") }
    }
    Ok(error.report_to_stderr(ui))
}

/// Both checkpoints, byte for byte; the same misbehaviour again gives the same files.
fn keep_evidence(
    alarm: &Alarm,
    before: Option<&VerifiedCheckpoint>,
    state: &Path,
) -> Result<Vec<PathBuf>, CliError> {
    let dir = state.join("evidence");
    std::fs::create_dir_all(&dir).map_err(|error| {
        CliError::environment(format!("cannot create {}: {error}", dir.display()))
            .hint("choose another --state")
    })?;
    let hash = Sha256::of(&alarm.note).to_string();
    let stem = format!("{}-{}", alarm.kind.name(), hash.get(..16).unwrap_or_default());
    let before = before.map(VerifiedCheckpoint::note).unwrap_or_default();
    let mut paths = Vec::new();
    for (what, note) in [("seen-before", before), ("shown-now", alarm.note.as_slice())] {
        if !note.is_empty() {
            let path = dir.join(format!("{stem}.{what}"));
            files::write(&path, note, Access::Public)?;
            paths.push(path);
        }
    }
    Ok(paths)
}

impl From<InterestError> for CliError {
    fn from(error: InterestError) -> Self {
        Self::input(error.to_string())
            .hint("a key id as `sha256sum key.pub` prints it, or a digest")
    }
}
