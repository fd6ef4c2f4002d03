use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use sealwright_attest::oms_statement;

use crate::error::CliError;
use crate::files;
use crate::keyref::SigningKeyArgs;
use crate::model::{self, ModelArgs};
use crate::output::{self, GOOD, STRONG, Ui};
use crate::service::{KeyId, ServiceArgs, TrustArgs, make, read_bundle};

mod certificate;

use certificate::{Certificate, CertificateArgs};

/// Sign a model: an OpenSSF Model Signing v1.0 bundle over every file.
///
/// The bundle is `model.sig` beside the model, unless --output says otherwise. With --service the
/// signature is also logged, and the bundle carries the proof.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    key: SigningKeyArgs,
    #[command(flatten)]
    certificate: CertificateArgs,
    /// Where to write the bundle.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    trust: TrustArgs,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    args.certificate.check_service(&args.service)?;
    let certificate = args.certificate.read()?;
    let root = args.trust.root()?;
    let name = args.model.name()?;
    let path = args.output.clone().unwrap_or_else(|| args.model.beside("model.sig"));
    files::check_writable(&path)?;
    // A bundle inside the model must not be part of what it signs.
    let inside = args.model.relative(&path);
    refuse_to_replace_a_model_file(&args.model, &path, inside.is_some())?;
    let options = args.model.options(inside.iter().cloned().collect())?;
    let signer = args.key.open(ui)?;
    let of_key = |signing| Certificate::of(signing, signer.public_key());
    let certificate = certificate.map(of_key).transpose()?;
    let keyid = certificate.as_ref().map_or(KeyId::Empty, |c| KeyId::Certificate(&c.signing));
    let manifest = model::hash(&args.model.path, &options)?;
    let statement = oms_statement(&name, &manifest, &options.ignore_paths);
    let made = make(&statement, keyid, signer.as_ref(), &args.service, root.as_ref(), path)?;

    let (digest, oms_root) = (manifest.model_digest(), manifest.oms_root());
    let mut value = made.to_value();
    value["ok"] = json!(true);
    value["model_digest"] = json!(digest);
    value["oms_root"] = json!(oms_root);
    value["certificate"] = json!(certificate.as_ref().map(Certificate::to_value));
    let mut rows = vec![
        ("model digest", digest.to_string()),
        ("OMS root", oms_root.to_string()),
        ("content", output::count(manifest.entries().len(), "file")),
    ];
    rows.extend(certificate.iter().map(|certificate| ("certificate", certificate.to_row())));
    rows.extend(made.rows());
    ui.result(&value, &format!("{GOOD}signed{GOOD:#}\n{}", output::fields(&rows)));
    if let Some(certificate) = certificate.filter(|_| !ui.is_json()) {
        certificate.say_notes(ui);
    }
    if let Some(inside) = inside.filter(|_| !ui.is_json()) {
        ui.note(&format!(
            "{STRONG}note:{STRONG:#} the bundle lies in the model and is no part of it: give other \
             commands --ignore-path {}",
            output::plain(&inside)
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Only an older bundle may be replaced in a model.
fn refuse_to_replace_a_model_file(
    model: &ModelArgs,
    path: &Path,
    inside: bool,
) -> Result<(), CliError> {
    if !(inside || model.is_at(path)) || !path.exists() || read_bundle(path).is_ok() {
        return Ok(());
    }
    let path = path.display();
    Err(CliError::input(format!("refusing to replace {path}, a file of the model, by a bundle"))
        .hint("choose another --output"))
}
