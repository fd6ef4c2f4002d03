use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use sealwright_attest::{Bundle, PublicKey, Timestamp, TrustedRoot, predicate};
use sealwright_manifest::Sha256;
use sealwright_server::client::StatementQuery;
use sealwright_server::permit::{Life, Needed, Permit, PermitProblem};

use crate::clock;
use crate::error::CliError;
use crate::keyref;
use crate::model::ModelArgs;
use crate::output::{self, BAD, DIM, GOOD, Ui, plain};
use crate::policy::PolicyChoice;
use crate::service::{ServiceArgs, TrustArgs};

/// Look at deploy permits: which model may run where, and for how long.
///
/// Permits are made by `sealwright serve --permits`, and asked for by `admission --permit-key`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: PermitCommand,
}

#[derive(Debug, clap::Subcommand)]
enum PermitCommand {
    List(ListArgs),
    Show(ShowArgs),
}

/// List the permits of all models that are in force.
#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Those that have run out, too, of the last 30 days.
    #[arg(long)]
    all: bool,
}

/// Show the permits of one model. Exit code 1 if none is in force.
#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// Directory or file of the model, or its digest (sha256:…).
    #[arg(value_name = "MODEL|DIGEST")]
    model: PathBuf,
    /// For this environment only.
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
    #[command(flatten)]
    source: SourceArgs,
}

#[derive(Debug, clap::Args)]
struct SourceArgs {
    /// Public key of whoever makes permits.
    #[arg(long, value_name = "FILE")]
    permit_key: PathBuf,
    /// Only permits by this policy are in force: a directory, or `starter`.
    #[arg(long, value_name = "DIR")]
    policy: Option<PolicyChoice>,
    /// For how long after it was made a permit counts at most, such as 4h or 1d.
    #[arg(long, value_name = "TIME", default_value = "24h")]
    permit_max_age: Life,
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    trust: TrustArgs,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let now = clock::now()?;
    match &args.command {
        PermitCommand::List(args) => {
            let mut found = args.source.find(None, now)?;
            found.permits.retain(|seen| args.all || seen.problem.is_none());
            ui.result(&found.to_value(true), &found.told());
            Ok(ExitCode::SUCCESS)
        }
        PermitCommand::Show(args) => {
            let model = digest(&args.model)?;
            let mut found = args.source.find(Some(&model), now)?;
            let wanted = args.environment.as_ref();
            found.permits.retain(|seen| wanted.is_none_or(|name| *name == seen.permit.environment));
            let is_in_force = found.permits.iter().any(|seen| seen.problem.is_none());
            ui.result(&found.to_value(is_in_force), &found.told());
            Ok(ExitCode::from(u8::from(!is_in_force)))
        }
    }
}

fn digest(model: &Path) -> Result<Sha256, CliError> {
    let text = model.to_string_lossy();
    if let Ok(digest) = Sha256::parse(text.strip_prefix("sha256:").unwrap_or(&text)) {
        return Ok(digest);
    }
    let model = ModelArgs { path: model.to_owned(), ignore_paths: Vec::new() };
    Ok(model.identity()?.model_digest())
}

/// Verified permits, newest first.
struct Found {
    permits: Vec<Seen>,
    /// Verdicts by the key that are no permits, or do not verify.
    others: usize,
}

/// A verified permit.
struct Seen {
    permit: Permit,
    /// Why it is not in force; none if it is.
    problem: Option<PermitProblem>,
}

/// By what permits are judged.
struct Judge<'a> {
    key: &'a PublicKey,
    root: &'a TrustedRoot,
    /// Whatever model, if none.
    model: Option<&'a Sha256>,
    /// Digest; whatever policy, if none.
    policy: Option<&'a str>,
    max_age_s: u64,
    now: Timestamp,
}

impl Judge<'_> {
    /// The permit, if it verifies and is for the model.
    fn see(&self, bundle: &Bundle) -> Option<Seen> {
        let permit = Permit::verify(bundle, self.key, self.root).ok()?;
        let model = match self.model {
            Some(model) => *model,
            None => Sha256::parse(permit.models.first()?).ok()?,
        };
        // Which environment and which role binding are wanted nobody has said.
        let checked = permit.check(&Needed {
            model: &model,
            environment: &permit.environment,
            policy: self.policy.unwrap_or(&permit.policy),
            role_binding: &Sha256::parse(&permit.role_binding).ok()?,
            max_age_s: self.max_age_s,
            now: self.now,
        });
        let problem = checked.err();
        (problem != Some(PermitProblem::Model)).then_some(Seen { permit, problem })
    }
}

impl SourceArgs {
    /// The permits of the last 30 days, which is as long as one can live.
    fn find(&self, model: Option<&Sha256>, now: Timestamp) -> Result<Found, CliError> {
        let missing = |what: &str| {
            CliError::input(format!("permits cannot be verified without {what}"))
                .hint("give --service URL and --trusted-root FILE")
        };
        let client = self.service.client()?.ok_or_else(|| missing("a service to ask"))?;
        let root = self.trust.root()?.ok_or_else(|| missing("the trusted root"))?;
        let key = keyref::read_public(&self.permit_key)?;
        let policy = self.policy.as_ref().map(PolicyChoice::load).transpose()?;
        let policy = policy.as_ref().map(|policy| policy.digest());
        let max_age_s = self.permit_max_age.seconds();
        let judge = Judge { key: &key, root: &root, model, policy, max_age_s, now };
        let longest = Life::LONGEST.seconds();
        let since = Timestamp::from_unix(now.unix().saturating_sub(longest)).unwrap_or(now);
        let query = StatementQuery {
            subject: model.map(Sha256::to_string),
            predicate_type: Some(predicate::VERIFICATION_SUMMARY.to_owned()),
            signer: Some(key.id()),
            since: Some(since.to_string()),
            ..StatementQuery::default()
        };
        let mut found = Found { permits: Vec::new(), others: 0 };
        client.find_json(&query, |bundle| {
            found.take(bundle, &judge);
            Ok(())
        })?;
        found.permits.sort_by_key(|seen| std::cmp::Reverse(seen.permit.index));
        Ok(found)
    }
}

impl Found {
    fn take(&mut self, bundle: Value, judge: &Judge<'_>) {
        match Bundle::from_value(bundle).ok().and_then(|bundle| judge.see(&bundle)) {
            Some(seen) => self.permits.push(seen),
            None => self.others += 1,
        }
    }

    fn to_value(&self, ok: bool) -> Value {
        let one = |Seen { permit, problem }: &Seen| {
            let mut value = json!(permit);
            value["in_force"] = json!(problem.is_none());
            value["problem"] = json!(problem.as_ref().map(ToString::to_string));
            value
        };
        json!({
            "ok": ok,
            "permits": self.permits.iter().map(one).collect::<Vec<_>>(),
            "others": self.others,
        })
    }

    fn told(&self) -> String {
        let mut text = String::new();
        for Seen { permit, problem } in &self.permits {
            let state = match problem {
                None => format!("{GOOD}in force{GOOD:#}"),
                Some(PermitProblem::Expired { .. } | PermitProblem::TooOld { .. }) => {
                    format!("{BAD}ended{BAD:#}")
                }
                Some(_) => format!("{BAD}not in force{BAD:#}"),
            };
            let model = permit.models.first().map_or("?", String::as_str);
            text += &format!("{}\n", plain(model));
            text += &format!(
                "  {state} for {} until {}\n",
                plain(&permit.environment),
                permit.expires_on
            );
            text += &format!("  {DIM}entry {} of {}{DIM:#}\n", permit.index, permit.logged_at);
            text += &format!("  {DIM}policy {}{DIM:#}\n", plain(&permit.policy));
            text += &format!("  {DIM}role binding {}{DIM:#}\n", plain(&permit.role_binding));
            if let Some(problem) = problem {
                text += &format!("  {}\n", plain(&problem.to_string()));
            }
        }
        if self.permits.is_empty() {
            text += "there are no permits\n";
        }
        if self.others > 0 {
            let others = output::count(self.others, "verdict");
            text += &format!(
                "{others} by this key left out: no permits for this, or not to be verified\n"
            );
        }
        text
    }
}
