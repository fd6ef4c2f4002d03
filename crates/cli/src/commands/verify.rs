use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};

use sealwright_attest::{LogProof, Signed, VerifyError, check_signature};
use sealwright_manifest::{Difference, Manifest, ManifestError};

use crate::error::CliError;
use crate::keyref::{self, PassphraseArgs};
use crate::model::{self, ModelArgs};
use crate::output::{self, BAD, GOOD, Ui};
use crate::service::{self, ServiceArgs, TrustArgs, read_bundle};

mod policy;

/// Verify a model: every byte against a signature, or all evidence against a policy.
///
/// With --bundle and --key: the signature is checked, then every file of the model against what was
/// signed. With --policy: everything that the policy asks for is gathered from --service or
/// --attestation, verified, and decided. Exit code 0 accepted, 1 refused.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Bundle that signs the model, as `sealwright sign` writes it.
    #[arg(long, value_name = "FILE", requires = "key", required_unless_present = "policy")]
    bundle: Option<PathBuf>,
    /// Public key of whoever should have signed: `file:PATH` or a path.
    #[arg(long, value_name = "PUB", requires = "bundle")]
    key: Option<String>,
    #[command(flatten)]
    policy: policy::PolicyArgs,
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let mut value = json!({"ok": true});
    let mut text = String::new();
    let mut manifest = None;
    if let (Some(path), Some(key)) = (&args.bundle, &args.key) {
        let signature = verify_signature(args, path, key, ui)?;
        signature.add_to(&mut value);
        text += &signature.to_text(args);
        manifest = signature.manifest.ok();
    }
    if value["ok"] == true && args.policy.is_given() {
        let manifest = manifest.map_or_else(|| args.model.manifest(), Ok)?;
        let verdict = policy::decide_model(args, &manifest)?;
        value["ok"] = json!(verdict.allow);
        value["verdict"] = policy::verdict_value(&verdict)?;
        text += &policy::verdict_text(&verdict);
    }
    ui.result(&value, &text);
    Ok(ExitCode::from(u8::from(value["ok"] != true)))
}

/// A valid signature, and how the model compares with what it covers.
struct Signature {
    signed: Signed,
    log: Option<Result<LogProof, VerifyError>>,
    /// The model's manifest if it is the signed one, else how it differs.
    manifest: Result<Manifest, Vec<String>>,
}

fn verify_signature(
    args: &Args,
    path: &std::path::Path,
    key: &str,
    ui: &Ui,
) -> Result<Signature, CliError> {
    let key = keyref::open_public(key, &args.passphrase, ui)?;
    let root = args.trust.root()?;
    let bundle = read_bundle(path)?;
    let signed = check_signature(&bundle, &key)
        .map_err(|error| CliError::from(error).about(path.display()))?;
    let log = root.map(|root| signed.check_log(&bundle, &root));
    let manifest = compare(args, path, &signed)?;
    Ok(Signature { signed, log, manifest })
}

/// Walks the model as the signature says and holds it against what was signed.
fn compare(
    args: &Args,
    path: &std::path::Path,
    signed: &Signed,
) -> Result<Result<Manifest, Vec<String>>, CliError> {
    let mut ignored: Vec<String> = args.model.relative(path).into_iter().collect();
    if let Some(oms) = signed.oms() {
        ignored.extend(oms.walk_options().ignore_paths);
    }
    let manifest = match model::hash(&args.model.path, &args.model.options(ignored)?) {
        Ok(manifest) => manifest,
        Err(error) => return refuse_or_fail(error, signed),
    };
    let Some(oms) = signed.oms() else {
        let is_about = signed.statement().is_about(&manifest.model_digest().to_string());
        return Ok(is_about
            .then_some(manifest)
            .ok_or_else(|| vec!["the statement is about another model digest".to_owned()]));
    };
    let differences: Vec<_> = oms.compare(&manifest).iter().map(ToString::to_string).collect();
    Ok(if differences.is_empty() { Ok(manifest) } else { Err(differences) })
}

/// A link, FIFO or odd name was never signed: the model is not the signed one, nor is an empty
/// one. A file that cannot be read says nothing about the model.
fn refuse_or_fail(
    error: ManifestError,
    signed: &Signed,
) -> Result<Result<Manifest, Vec<String>>, CliError> {
    match error {
        ManifestError::Empty { .. } => {
            let resources = signed.oms().map_or(&[][..], |oms| oms.resources());
            let missing = resources.iter().map(|r| Difference::Missing(r.name.clone()).to_string());
            Ok(Err(std::iter::once(error.to_string()).chain(missing).collect()))
        }
        ManifestError::Symlink { .. }
        | ManifestError::SpecialFile { .. }
        | ManifestError::Name { .. }
        | ManifestError::TooDeep { .. }
        | ManifestError::TooManyFiles { .. }
        | ManifestError::ChangedWhileReading { .. } => Ok(Err(vec![error.to_string()])),
        other => Err(other.into()),
    }
}

impl Signature {
    fn is_accepted(&self) -> bool {
        self.manifest.is_ok() && !matches!(self.log, Some(Err(_)))
    }

    fn add_to(&self, value: &mut Value) {
        value["ok"] = json!(self.is_accepted());
        value["key_id"] = json!(self.signed.key().id());
        value["predicate_type"] = json!(self.signed.statement().predicate_type);
        value["statement"] = json!(self.signed.digest());
        value["log"] = match &self.log {
            None => Value::Null,
            Some(Ok(proof)) => service::log_value(proof),
            Some(Err(error)) => json!({"verified": false, "error": error.to_string()}),
        };
        match &self.manifest {
            Ok(manifest) => {
                value["model_digest"] = json!(manifest.model_digest());
                value["oms_root"] = json!(manifest.oms_root());
                value["files"] = json!(manifest.entries().len());
                value["differences"] = json!([]);
            }
            Err(differences) => value["differences"] = json!(differences),
        }
    }

    fn to_text(&self, args: &Args) -> String {
        let verdict = match self.is_accepted() {
            true => format!("{GOOD}verified{GOOD:#}"),
            false => format!("{BAD}refused{BAD:#}"),
        };
        let mut rows = vec![("model", args.model.path.display().to_string())];
        if let Ok(manifest) = &self.manifest {
            let files = output::count(manifest.entries().len(), "file");
            let size = output::size(manifest.total_size());
            rows.push(("model digest", manifest.model_digest().to_string()));
            rows.push(("checked", format!("every byte of {files}, {size}")));
        }
        rows.push(("signed by", format!("key {}", self.signed.key().id())));
        rows.push(("signed at", self.time_text()));
        let mut text = format!("{verdict}\n{}", output::fields(&rows));
        for difference in self.manifest.as_ref().err().into_iter().flatten() {
            text += &format!("{BAD}{}{BAD:#}\n", output::plain(difference));
        }
        text
    }

    fn time_text(&self) -> String {
        match &self.log {
            None => "not proven (give --trusted-root for the log-signed time)".to_owned(),
            Some(Ok(proof)) => format!("or before {}", service::log_text(proof)),
            Some(Err(error)) => format!("{BAD}{error}{BAD:#}"),
        }
    }
}
