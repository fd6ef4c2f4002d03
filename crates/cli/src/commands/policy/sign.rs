use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use sealwright_attest::{Bundle, PublicKey, Statement, Timestamp, check_signature};
use sealwright_manifest::Sha256;
use sealwright_policy::{
    ChangeKind, PassedTests, Policy, PolicyBundle, PolicyChanges, PolicyError, PolicyPredicate,
    PreviousBundle,
};

use super::approval::read_policy_bundle;
use crate::clock;
use crate::error::CliError;
use crate::files::{self, Access};
use crate::keyref::SigningKeyArgs;
use crate::output::{self, GOOD, Ui, plain};
use crate::owners::read_bundles;
use crate::service::{KeyId, ServiceArgs, TrustArgs, seal};

/// Approve a policy bundle, as an owner.
///
/// What is signed is shown first, and with --previous how the policy differs from the one before. The
/// first owner writes the approval, every other one adds a signature to it with --add; it counts as soon
/// as enough have signed.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The bundle, a `.tar.gz` with name and revision.
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    #[command(flatten)]
    key: SigningKeyArgs,
    /// Add a signature to this approval instead of making one.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["meaning", "expires"])]
    add: Option<PathBuf>,
    /// The bundle before, to show what is different.
    #[arg(long, value_name = "BUNDLE")]
    previous: Option<PathBuf>,
    /// What the signature means.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "I have reviewed this policy and put it into force."
    )]
    meaning: String,
    /// Last moment at which the policy decides; without this it has no end.
    #[arg(long, value_name = "RFC3339", value_parser = Timestamp::parse)]
    expires: Option<Timestamp>,
    /// Where to write the approval; with --add, into FILE.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Sign without asking, also on a terminal.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    trust: TrustArgs,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let root = args.trust.root()?;
    let output = args.output.clone().or_else(|| args.add.clone());
    let output = output.unwrap_or_else(|| PathBuf::from("policy.sigstore.jsonl"));
    files::check_writable(&output)?;
    let (bytes, bundle) = read_policy_bundle(&args.bundle)?;
    let policy = bundle.policy()?;
    let passed = policy.check_tests()?;
    let previous = args.previous.as_deref().map(|path| previous(path, &bundle)).transpose()?;
    let earlier = args.add.as_deref().map(read_bundles).transpose()?.unwrap_or_default();
    let predicate = match earlier.first() {
        None => predicate(args, &bundle, &policy, passed, previous.as_ref().map(|(_, sha)| sha))?,
        Some(first) => {
            let predicate = predicate_of(first)?;
            check_belongs(&predicate, first, &bundle, &policy)?;
            predicate
        }
    };
    let changes =
        previous.as_ref().map(|(old, _)| PolicyChanges::between(old, &policy)).transpose()?;
    let shown = shown(&predicate, &bundle, passed, changes.as_ref());
    let statement = predicate.to_statement(&Sha256::of(&bytes));
    if earlier.iter().any(|bundle| bundle.envelope().payload != statement.to_payload()) {
        return Err(CliError::input("the approval does not say in our words what it says")
            .hint("make a new one, without --add"));
    }
    ui.confirm(&shown, "Sign this?", args.yes)?;
    let signer = args.key.open(ui)?;
    check_not_signed(&earlier, signer.public_key())?;
    let sealed = seal(&statement, KeyId::Hint, signer.as_ref(), &args.service, root.as_ref())?;
    let mut all = earlier;
    all.push(sealed.bundle().clone());
    files::write(&output, Bundle::to_json_lines(&all).as_bytes(), Access::Public)?;
    let made = sealed.at(output);
    let mut value = made.to_value();
    value["ok"] = json!(true);
    value["policy_digest"] = json!(policy.digest());
    value["bundle_sha256"] = json!(bundle.sha256());
    value["predicate"] = json!(predicate);
    value["signatures"] = json!(all.len());
    value["changes"] = json!(changes);
    let mut rows = vec![("signatures", all.len().to_string())];
    rows.extend(made.rows());
    ui.result(&value, &format!("{GOOD}policy approved{GOOD:#}\n{}", output::fields(&rows)));
    Ok(ExitCode::SUCCESS)
}

/// What is to be said about a bundle.
fn predicate(
    args: &Args,
    bundle: &PolicyBundle,
    policy: &Policy,
    passed: u64,
    previous: Option<&Sha256>,
) -> Result<PolicyPredicate, CliError> {
    let manifest = bundle.manifest();
    let (Some(name), Some(revision)) = (manifest.name(), manifest.number()) else {
        return Err(CliError::input("the bundle has no name, or its revision is not a number")
            .hint("build it with `sealwright policy build DIR --name NAME --revision N`"));
    };
    if let Some(at) = args.expires
        && at <= clock::now()?
    {
        return Err(CliError::input(format!("the policy would end at {at}, before now"))
            .hint("give a later time with --expires"));
    }
    Ok(PolicyPredicate {
        name: name.to_owned(),
        revision,
        policy_sha256: policy.digest().to_owned(),
        tests: PassedTests { passed },
        meaning: args.meaning.clone(),
        expires_on: args.expires,
        previous: previous.map(|sha256| PreviousBundle { sha256: sha256.to_string() }),
    })
}

fn predicate_of(bundle: &Bundle) -> Result<PolicyPredicate, CliError> {
    let unreadable = |error: String| {
        CliError::input(format!("the approval cannot be added to: {error}"))
            .hint("--add FILE is what `sealwright policy sign` wrote")
    };
    let statement = Statement::parse(&bundle.envelope().payload)
        .map_err(|error| unreadable(error.to_string()))?;
    PolicyPredicate::of(&statement).map_err(|error| unreadable(error.to_string()))
}

/// Nobody signs what the first owner only says of the bundle.
fn check_belongs(
    predicate: &PolicyPredicate,
    first: &Bundle,
    bundle: &PolicyBundle,
    policy: &Policy,
) -> Result<(), CliError> {
    let subject = Statement::parse(&first.envelope().payload).map(|s| s.subject_digests());
    let manifest = bundle.manifest();
    let is_same = subject.is_ok_and(|subject| subject == [bundle.sha256().to_string()])
        && manifest.name() == Some(predicate.name.as_str())
        && manifest.number() == Some(predicate.revision)
        && policy.digest() == predicate.policy_sha256;
    if is_same {
        return Ok(());
    }
    Err(CliError::failed("the approval is for another bundle")
        .hint("give the bundle that the first owner signed, or make a new approval without --add"))
}

fn check_not_signed(earlier: &[Bundle], key: &PublicKey) -> Result<(), CliError> {
    if earlier.iter().any(|bundle| check_signature(bundle, key).is_ok()) {
        return Err(CliError::input("this key has signed already")
            .hint("another owner has to sign with another key"));
    }
    Ok(())
}

/// The policy before, which must be of the same name and older.
fn previous(path: &Path, new: &PolicyBundle) -> Result<(Policy, Sha256), CliError> {
    let (_, old) = read_policy_bundle(path)?;
    let (before, after) = (old.manifest(), new.manifest());
    if before.name() != after.name() {
        return Err(CliError::input(format!(
            "{} is the policy {}, and this one is {}",
            path.display(),
            before.name().unwrap_or("(no name)"),
            after.name().unwrap_or("(no name)")
        ))
        .hint("revisions count up under one name: build it with --name"));
    }
    if before.number() >= after.number() {
        return Err(CliError::input(format!(
            "revision {} does not come after revision {}",
            after.revision, before.revision
        ))
        .hint("build it with a larger --revision: an older one never comes into force"));
    }
    let policy = old.policy().map_err(|error: PolicyError| CliError::from(error))?;
    Ok((policy, *old.sha256()))
}

/// What is about to be signed.
fn shown(
    predicate: &PolicyPredicate,
    bundle: &PolicyBundle,
    passed: u64,
    changes: Option<&PolicyChanges>,
) -> String {
    let until = predicate.expires_on.map_or_else(|| "no end".to_owned(), |at| at.to_string());
    let mut rows = vec![
        ("policy", format!("{}, revision {}", predicate.name, predicate.revision)),
        ("bundle digest", bundle.sha256().to_string()),
        ("policy digest", predicate.policy_sha256.clone()),
        ("tests", format!("{passed} passed")),
        ("until", until),
        ("meaning", plain(&predicate.meaning).to_string()),
    ];
    match changes {
        None => rows.push(("changes", "not compared (give --previous BUNDLE)".to_owned())),
        Some(changes) if changes.is_empty() => rows.push(("changes", "none".to_owned())),
        Some(changes) => {
            for (label, listed) in [("files", &changes.files), ("rules", &changes.rules)] {
                for changed in listed {
                    rows.push((
                        label,
                        format!("{} {}", mark(changed.change), plain(&changed.name)),
                    ));
                }
            }
            for changed in &changes.data {
                let text = |value: &Option<_>| {
                    value.as_ref().map_or_else(|| "(nothing)".to_owned(), ToString::to_string)
                };
                let (before, after) = (text(&changed.before), text(&changed.after));
                let line = format!("{}: {before} → {after}", changed.place);
                rows.push(("data", plain(&line).to_string()));
            }
        }
    }
    format!("You sign:\n{}", output::fields(&rows))
}

fn mark(change: ChangeKind) -> &'static str {
    match change {
        ChangeKind::Added => "+",
        ChangeKind::Removed => "-",
        ChangeKind::Changed => "~",
    }
}
