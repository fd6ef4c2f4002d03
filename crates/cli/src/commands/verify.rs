use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};

use sealwright_manifest::Identity;

use crate::error::CliError;
use crate::files;
use crate::model::ModelArgs;
use crate::output::{self, BAD, GOOD, Ui};
use crate::service::{ServiceArgs, TrustArgs};

mod artifact;
mod compare;
mod policy;
mod signer;

use compare::Comparison;
use signer::{Checked, SignerArgs};

/// Verify a model: every byte against a signature, or all evidence against a policy.
///
/// With --bundle and one choice of whom to trust (--key; or --cert-root with --identity; or
/// --trusted-root with --identity and --issuer, for keyless certificates): the signature is checked, then every file of the model against what was signed. With --policy:
/// everything that the policy asks for is gathered from --service or --attestation, verified, and
/// decided. Exit code 0 accepted, 1 refused, 2 unusable input.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Bundle that signs the model: an OpenSSF Model Signing bundle of any age.
    #[arg(long, value_name = "FILE", required_unless_present = "policy")]
    bundle: Option<PathBuf>,
    /// MODEL is any file, signed as such: a Sigstore bundle over its bytes, or over a statement that
    /// has it as subject.
    #[arg(long, requires = "bundle", conflicts_with = "policy")]
    artifact: bool,
    #[command(flatten)]
    signer: SignerArgs,
    /// The bundle is not a signature over the files but this statement about the model: a predicate
    /// type, or a short name as for `attest`. What it says is for a policy to judge.
    #[arg(long = "type", value_name = "TYPE", requires = "bundle")]
    predicate_type: Option<String>,
    /// Accept files that the signature does not list.
    #[arg(long, requires = "bundle")]
    ignore_unsigned_files: bool,
    /// Taken for compatibility: whether links count is what the signature says.
    #[arg(long, requires = "bundle")]
    allow_symlinks: bool,
    /// Look at the top-level .git, .gitignore, .gitattributes and .github as well.
    #[arg(long, requires = "bundle")]
    no_ignore_git_paths: bool,
    #[command(flatten)]
    policy: policy::PolicyArgs,
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    trust: TrustArgs,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let mut value = json!({"ok": true});
    let mut text = String::new();
    let mut identity = None;
    if let Some(path) = args.bundle.as_ref().filter(|_| args.artifact) {
        let (value, text) = artifact::run(args, path, ui)?;
        ui.result(&value, &text);
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(path) = &args.bundle {
        let signature = verify_signature(args, path, ui)?;
        signature.add_to(&mut value);
        text += &signature.to_text(args);
        identity = signature.comparison.identity;
    }
    if value["ok"] == true && args.policy.is_given() {
        let model_digest = match identity {
            Some(identity) => identity.model_digest(),
            None => args.model.identity()?.model_digest(),
        };
        let verdict = policy::decide_model(args, model_digest)?;
        value["ok"] = json!(verdict.allow);
        value["verdict"] = policy::verdict_value(&verdict)?;
        text += &policy::verdict_text(&verdict);
    }
    ui.result(&value, &text);
    Ok(ExitCode::from(u8::from(value["ok"] != true)))
}

/// A valid signature, and how the model compares with what it covers.
struct Signature {
    checked: Checked,
    comparison: Comparison,
}

fn verify_signature(args: &Args, path: &std::path::Path, ui: &Ui) -> Result<Signature, CliError> {
    let trusted = args.signer.open(&args.trust, ui)?;
    let bytes = files::read(path, "bundle", sealwright_attest::MAX_BUNDLE_SIZE)?;
    let checked = trusted.check(&bytes).map_err(|error| error.about(path.display()))?;
    let comparison = compare::compare(args, path, &checked)?;
    Ok(Signature { checked, comparison })
}

impl Signature {
    fn is_accepted(&self) -> bool {
        self.comparison.differences.is_empty() && self.checked.signer.is_sound()
    }

    fn add_to(&self, value: &mut Value) {
        let Comparison { identity, differences, unlisted, ignored, files, .. } = &self.comparison;
        value["ok"] = json!(self.is_accepted());
        value["predicate_type"] = json!(self.checked.statement.predicate_type);
        value["statement"] = json!(self.checked.digest);
        self.checked.signer.add_to(value);
        value["differences"] = json!(differences);
        value["unsigned"] = json!(unlisted);
        value["ignored"] = json!(ignored);
        if differences.is_empty() {
            value["files"] = json!(files);
            value["model_digest"] = json!(identity.as_ref().map(Identity::model_digest));
            value["oms_root"] = json!(self.comparison.oms_root);
        }
    }

    fn to_text(&self, args: &Args) -> String {
        let Comparison { identity, differences, unlisted, ignored, files, .. } = &self.comparison;
        let verdict = match self.is_accepted() {
            true => format!("{GOOD}verified{GOOD:#}"),
            false => format!("{BAD}refused{BAD:#}"),
        };
        let mut rows = vec![("model", args.model.path.display().to_string())];
        let checked = format!("every byte of {}", output::count(*files, "file"));
        match identity {
            Some(identity) if differences.is_empty() => {
                let size = output::size(identity.total_size());
                rows.push(("model digest", identity.model_digest().to_string()));
                rows.push(("checked", format!("{checked}, {size}")));
            }
            None if differences.is_empty() => rows.push(("checked", checked)),
            _ => {}
        }
        rows.push(("signed by", self.checked.signer.to_string()));
        rows.push(("signed at", self.checked.signer.time_text()));
        if !unlisted.is_empty() {
            let files = output::count(unlisted.len(), "file");
            rows.push(("not signed", format!("{files}: {}", output::plain(&unlisted.join(", ")))));
        }
        if !ignored.is_empty() {
            rows.push(("ignored", output::plain(&ignored.join(", ")).to_string()));
        }
        let mut text = format!("{verdict}\n{}", output::fields(&rows));
        for difference in differences {
            text += &format!("{BAD}{}{BAD:#}\n", output::plain(difference));
        }
        text
    }
}
