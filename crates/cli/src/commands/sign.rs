use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use sealwright_attest::{OmsForm, oms_statement_as};

use crate::cache::FileCache;
use crate::error::CliError;
use crate::keyref::SigningKeyArgs;
use crate::model::{self, Hashed, ModelArgs};
use crate::output::{self, GOOD, STRONG, Ui};
use crate::service::{KeyId, ServiceArgs, TrustArgs, seal};

mod add;
pub(super) mod certificate;
mod place;

use certificate::{Certificate, CertificateArgs};
use place::Place;

/// Sign a model: an OpenSSF Model Signing v1.0 bundle over every file.
///
/// The bundle is `model.sig` beside the model, unless --output says otherwise. With --service the
/// signature is also logged, and the bundle carries the proof. Files that have not changed since they
/// were last hashed are not read again.
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
    /// Sign once more what the bundle at --output signs, and leave it as it is: the new bundle gets
    /// the next free name beside it, model.2.sig, model.3.sig, …
    #[arg(long)]
    add: bool,
    /// Write the bundle so that this tool reads it too; only for a model that is one file is there a
    /// difference.
    #[arg(long, value_name = "TOOL")]
    compat: Option<Compat>,
    /// Sign the top-level .git, .gitignore, .gitattributes and .github as well.
    #[arg(long)]
    no_ignore_git_paths: bool,
    /// Read every byte, also of files that have not changed since they were last hashed, as far as the
    /// file system tells.
    #[arg(long)]
    no_cache: bool,
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    trust: TrustArgs,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Compat {
    /// The reference implementation up to 1.1.1 and Red Hat's rh-model-signing, which look for one
    /// file under the name "." and not, as the specification says, under its own.
    ModelSigning,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let certificate = args.certificate.read()?;
    let root = args.trust.root()?;
    let name = args.model.name()?;
    let output = args.output.clone().unwrap_or_else(|| args.model.beside("model.sig"));
    // A bundle inside the model must not be part of what it signs.
    let place = Place::open(&args.model, output, args.add)?;
    let inside = place.inside.clone();
    let mut options = args.model.options(place.left_out(&args.model))?;
    options.ignore_git_paths = !args.no_ignore_git_paths;
    let signer = args.key.open(ui)?;
    let of_key = |signing| Certificate::of(signing, signer.public_key());
    let certificate = certificate.map(of_key).transpose()?;
    let keyid = certificate.as_ref().map_or(KeyId::Hint, |c| KeyId::Certificate(&c.signing));
    place.check_signer(signer.public_key())?;
    let cache = if args.no_cache { None } else { FileCache::of_user() };
    let Hashed { value: manifest, cached } =
        model::hash(&args.model.path, &options, cache.as_ref())?;
    place.check_model(&args.model, &options, &manifest)?;
    let form = OmsForm {
        with_git_paths: args.no_ignore_git_paths,
        file_as_dot: args.compat.is_some() && args.model.path.is_file(),
    };
    let statement = oms_statement_as(&name, &manifest, &options.ignore_paths, form);
    let sealed = seal(&statement, keyid, signer.as_ref(), &args.service, root.as_ref())?;
    let path = place.write(&args.model, &options, &sealed.to_bytes())?;
    let made = sealed.at(path);

    let (digest, oms_root) = (manifest.model_digest(), manifest.oms_root());
    let mut value = made.to_value();
    value["ok"] = json!(true);
    value["model_digest"] = json!(digest);
    value["oms_root"] = json!(oms_root);
    value["certificate"] = json!(certificate.as_ref().map(Certificate::to_value));
    value["size"] = json!(manifest.total_size());
    value["cached_size"] = json!(cached);
    let mut rows = vec![
        ("model digest", digest.to_string()),
        ("OMS root", oms_root.to_string()),
        ("content", model::content(manifest.entries().len(), manifest.total_size(), cached)),
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
