use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use sealwright_attest::VerifyError;
use sealwright_manifest::Identity;

use crate::error::CliError;
use crate::files;
use crate::model::ModelArgs;
use crate::output::{self, BAD, GOOD, Ui};
use crate::service::{ServiceArgs, TrustArgs};

mod artifact;
mod compare;
mod hashes;
mod keyless;
mod policy;
mod several;
mod signer;

use compare::Comparison;
use hashes::Hashes;
use signer::{Checked, SignerArgs};

/// Verify a model: every byte against a signature, or all evidence against a policy.
///
/// With --bundle and a choice of whom to trust (--key; or --cert-root with --identity; or
/// --trusted-root with --identity and --issuer, for keyless certificates): the signature is checked,
/// then every file of the model against what was signed. Several bundles must all be valid, or, with
/// --require N, be by N different signers. With --policy: everything that the policy asks for is
/// gathered from --service or --attestation, verified, and decided. Exit code 0 accepted, 1 refused,
/// 2 unusable input.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Bundle that signs the model: an OpenSSF Model Signing bundle of any age; may be repeated.
    #[arg(long = "bundle", value_name = "FILE", required_unless_present = "policy")]
    bundles: Vec<PathBuf>,
    /// Accept the model if N different signers signed it, each of them trusted: with the bundles
    /// given, and those that `sign --add` put beside them (model.2.sig, …). Two signatures with one
    /// key, or by one --identity, are by one signer.
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..),
        requires = "bundles",
        conflicts_with = "artifact"
    )]
    require: Option<u16>,
    /// MODEL is any file, signed as such: a Sigstore bundle over its bytes, or over a statement that
    /// has it as subject.
    #[arg(long, requires = "bundles", conflicts_with = "policy")]
    artifact: bool,
    #[command(flatten)]
    signer: SignerArgs,
    /// The bundle is not a signature over the files but this statement about the model: a predicate
    /// type, or a short name as for `attest`. What it says is for a policy to judge.
    #[arg(long = "type", value_name = "TYPE", requires = "bundles", conflicts_with = "require")]
    predicate_type: Option<String>,
    /// Accept files that the signature does not list.
    #[arg(long, requires = "bundles")]
    ignore_unsigned_files: bool,
    /// Taken for compatibility: whether links count is what the signature says.
    #[arg(long, requires = "bundles")]
    allow_symlinks: bool,
    /// Look at the top-level .git, .gitignore, .gitattributes and .github as well.
    #[arg(long, requires = "bundles")]
    no_ignore_git_paths: bool,
    #[command(flatten)]
    policy: policy::PolicyArgs,
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    trust: TrustArgs,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    args.signer.check_witnesses(args.policy.is_given())?;
    let mut value = json!({"ok": true});
    let mut text = String::new();
    let mut identity = None;
    let mut left_out = Vec::new();
    match (&args.bundles[..], args.require) {
        ([], _) => {}
        ([path], None) if args.artifact => {
            let (value, text) = artifact::run(args, path, ui)?;
            ui.result(&value, &text);
            return Ok(ExitCode::SUCCESS);
        }
        (_, _) if args.artifact => {
            return Err(CliError::input("--artifact takes one --bundle")
                .hint("verify the bundles one by one"));
        }
        ([path], None) => {
            let signature = verify_signature(args, path, ui)?;
            signature.add_to(&mut value);
            text += &signature.to_text(args);
            identity = signature.comparison.identity;
            left_out = signature.comparison.left_out;
        }
        _ => {
            let signatures = several::verify(args, ui)?;
            signatures.add_to(&mut value);
            text += &signatures.to_text(args);
            identity = signatures.identity().cloned();
            left_out = signatures.left_out().to_vec();
        }
    }
    if value["ok"] == true && args.policy.is_given() {
        // Else policy would judge a part of MODEL, and its yes would be taken for the whole.
        if !left_out.is_empty() {
            let files = left_out.join(", ");
            return Err(CliError::failed(format!(
                "the signature leaves out files of the model, about which policy is asked: {files}"
            ))
            .hint("if they are no part of the model, leave them out with --ignore-path"));
        }
        let model_digest = match identity {
            Some(identity) => identity.model_digest(),
            None => args.model.identity()?.model_digest(),
        };
        let signer = args.policy.signer(&args.signer.passphrase, ui)?;
        let decided = policy::decide_model(args, model_digest)?;
        let signed = signer.map(|signer| decided.sign(args, signer.as_ref())).transpose()?;
        value["ok"] = json!(decided.verdict.allow);
        value["verdict"] = decided.to_value(signed.as_ref());
        text += &decided.told(signed.as_ref());
    }
    ui.result(&value, &text);
    Ok(ExitCode::from(u8::from(value["ok"] != true)))
}

/// A valid signature, and how the model compares with what it covers.
struct Signature {
    checked: Checked,
    comparison: Comparison,
}

fn verify_signature(args: &Args, path: &Path, ui: &Ui) -> Result<Signature, CliError> {
    let trusted = args.signer.open(&args.trust, ui)?;
    let bytes = read(path)?;
    let checked =
        trusted.check(&bytes).map_err(|refusal| CliError::from(refusal).about(path.display()))?;
    Signature::compare(args, path, checked, &mut Hashes::wanting_identity(wants_identity(args, ui)))
}

/// Whether the model digest is wanted, whatever the signature needs.
fn wants_identity(args: &Args, ui: &Ui) -> bool {
    ui.is_json() || args.policy.is_given()
}

fn read(bundle: &Path) -> Result<Vec<u8>, CliError> {
    files::read(bundle, "bundle", sealwright_attest::MAX_BUNDLE_SIZE)
}

impl Signature {
    /// Holds the model against what the signature in `bundle` covers.
    fn compare(
        args: &Args,
        bundle: &Path,
        checked: Checked,
        hashes: &mut Hashes,
    ) -> Result<Self, CliError> {
        let comparison = compare::compare(args, bundle, &checked, hashes)?;
        Ok(Self { checked, comparison })
    }

    fn is_accepted(&self) -> bool {
        self.refused_as().is_none()
    }

    /// A stable name for why it does not count.
    fn refused_as(&self) -> Option<&'static str> {
        let log_problem = self.checked.signer.log_problem();
        let is_same = self.comparison.differences.is_empty();
        if is_same { log_problem.map(VerifyError::code) } else { Some("MODEL_DIFFERS") }
    }

    fn identity(&self) -> Option<&Identity> {
        self.comparison.identity.as_ref()
    }

    fn add_to(&self, value: &mut Value) {
        let Comparison { identity, differences, unlisted, ignored, covered, .. } = &self.comparison;
        value["ok"] = json!(self.is_accepted());
        value["predicate_type"] = json!(self.checked.statement.predicate_type);
        value["statement"] = json!(self.checked.digest);
        self.checked.signer.add_to(value);
        value["differences"] = json!(differences);
        value["unsigned"] = json!(unlisted);
        value["ignored"] = json!(ignored);
        if differences.is_empty() {
            value["files"] = json!(covered.len());
            value["model_digest"] = json!(identity.as_ref().map(Identity::model_digest));
            value["oms_root"] = json!(self.comparison.oms_root);
        }
    }

    fn to_text(&self, args: &Args) -> String {
        let Comparison { identity, differences, unlisted, ignored, covered, .. } = &self.comparison;
        let verdict = match self.is_accepted() {
            true => format!("{GOOD}verified{GOOD:#}"),
            false => format!("{BAD}refused{BAD:#}"),
        };
        let mut rows = vec![("model", args.model.path.display().to_string())];
        if identity.is_none() {
            rows.extend(self.comparison.oms_root.map(|root| ("OMS root", root.to_string())));
        }
        let checked = format!("every byte of {}", output::count(covered.len(), "file"));
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
