use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};

use sealwright_attest::{
    PublicKey, Signer, Statement, TrustedRoot, model_subjects, parse_strict, predicate,
};
use sealwright_manifest::{Manifest, Sha256};

use crate::commands::sign::certificate::{Certificate, CertificateArgs};
use crate::error::CliError;
use crate::files;
use crate::keyref::SigningKeyArgs;
use crate::model::ModelArgs;
use crate::output::{self, GOOD, Ui};
use crate::service::{KeyId, Made, ServiceArgs, TrustArgs, make};

/// Make any statement about a model: a predicate of some type, signed.
///
/// Predicates of known types must obey their published schema. The subjects are the model digest and
/// the OMS root.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Predicate type: a URI, or a short name (approval, revocation, test-result, slsaprovenance1,
    /// vsa, vulns, scai, cyclonedx, openvex, model-scan).
    #[arg(long = "type", value_name = "TYPE")]
    predicate_type: String,
    /// JSON file with the predicate.
    #[arg(long, value_name = "FILE")]
    predicate: PathBuf,
    #[command(flatten)]
    certificate: CertificateArgs,
    #[command(flatten)]
    out: StatementArgs,
}

/// What every command that signs a statement takes.
#[derive(Debug, clap::Args)]
pub(crate) struct StatementArgs {
    #[command(flatten)]
    pub(crate) key: SigningKeyArgs,
    /// Where to write the bundle; beside the model otherwise.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) service: ServiceArgs,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let predicate_type = resolve(&args.predicate_type)?;
    let bytes = files::read(&args.predicate, "predicate", 16 << 20)?;
    let predicate = parse_strict(&bytes, 16 << 20).map_err(|error| {
        CliError::input(format!("{}: {error}", args.predicate.display()))
            .hint("the predicate must be one JSON object")
    })?;
    if !predicate.is_object() {
        return Err(CliError::input(format!("{}: not a JSON object", args.predicate.display()))
            .hint("the predicate must be one JSON object"));
    }
    check(predicate_type, &predicate)?;
    let certificate = args.certificate.read()?;
    let draft = prepare(&args.model, &args.out, predicate_type, None, ui)?;
    let of_key = |signing| Certificate::of(signing, draft.signer.public_key());
    let certificate = certificate.map(of_key).transpose()?;
    let made = draft.sign_with(predicate, certificate.as_ref())?;
    report(&made, predicate_type, ui);
    if let Some(certificate) = certificate.filter(|_| !ui.is_json()) {
        certificate.say_notes(ui);
    }
    Ok(ExitCode::SUCCESS)
}

/// Refuses a predicate that does not obey the schema of its type.
pub(crate) fn check(predicate_type: &str, predicate: &Value) -> Result<(), CliError> {
    predicate::check(predicate_type, predicate).map_err(|error| {
        CliError::input(error.to_string())
            .hint("correct the predicate; `sealwright attest --help` lists the known types")
    })
}

/// A statement that wants only its predicate and its signature.
pub(crate) struct Draft<'a> {
    name: String,
    manifest: Manifest,
    predicate_type: &'a str,
    signer: Box<dyn Signer>,
    root: Option<TrustedRoot>,
    out: &'a StatementArgs,
    path: PathBuf,
}

/// Opens the key and hashes the model, after everything that is quick to refuse.
///
/// `suffix` is put into the default file name after the type's short name.
pub(crate) fn prepare<'a>(
    model: &ModelArgs,
    out: &'a StatementArgs,
    predicate_type: &'a str,
    suffix: Option<&str>,
    ui: &Ui,
) -> Result<Draft<'a>, CliError> {
    let root = out.trust.root()?;
    let name = model.name()?;
    let path = out.output.clone().unwrap_or_else(|| {
        model.beside(&format!("{name}.{}.sigstore.json", file_label(predicate_type, suffix)))
    });
    files::check_writable(&path)?;
    model.refuse_output(&path)?;
    let signer = out.key.open(ui)?;
    let manifest = model.manifest()?;
    Ok(Draft { name, manifest, predicate_type, signer, root, out, path })
}

impl Draft<'_> {
    /// The model that the statement is about.
    pub(crate) fn model_digest(&self) -> Sha256 {
        self.manifest.model_digest()
    }

    /// The key that will sign.
    pub(crate) fn public_key(&self) -> &PublicKey {
        self.signer.public_key()
    }

    /// What will be signed.
    pub(crate) fn statement(&self, predicate: Value) -> Result<Statement, CliError> {
        check(self.predicate_type, &predicate)?;
        Ok(Statement {
            subject: model_subjects(&self.name, &self.manifest),
            predicate_type: self.predicate_type.to_owned(),
            predicate,
        })
    }

    /// Signs, logs and writes.
    pub(crate) fn sign(self, predicate: Value) -> Result<MadeStatement, CliError> {
        self.sign_with(predicate, None)
    }

    /// The same with a certificate for the key.
    fn sign_with(
        self,
        predicate: Value,
        certificate: Option<&Certificate>,
    ) -> Result<MadeStatement, CliError> {
        let statement = self.statement(predicate)?;
        let (signer, service) = (self.signer.as_ref(), &self.out.service);
        let keyid = certificate.map_or(KeyId::Hint, |c| KeyId::Certificate(&c.signing));
        let made = make(&statement, keyid, signer, service, self.root.as_ref(), self.path)?;
        Ok(MadeStatement { model_digest: self.manifest.model_digest().to_string(), made })
    }
}

/// A statement that was made, and the model it is about.
pub(crate) struct MadeStatement {
    pub(crate) model_digest: String,
    pub(crate) made: Made,
}

/// Prints what was made.
pub(crate) fn report(made: &MadeStatement, predicate_type: &str, ui: &Ui) {
    report_with(made, predicate_type, json!({}), ui);
}

/// The same; `more` is for `--json` alone.
pub(crate) fn report_with(made: &MadeStatement, predicate_type: &str, more: Value, ui: &Ui) {
    let mut value = made.made.to_value();
    if let (Some(all), Value::Object(more)) = (value.as_object_mut(), more) {
        all.extend(more);
    }
    value["ok"] = json!(true);
    value["model_digest"] = json!(made.model_digest);
    value["predicate_type"] = json!(predicate_type);
    let mut rows = vec![
        ("model digest", made.model_digest.clone()),
        ("predicate", predicate_type.to_owned()),
        ("statement", made.made.digest.clone()),
    ];
    rows.extend(made.made.rows());
    ui.result(&value, &format!("{GOOD}attested{GOOD:#}\n{}", output::fields(&rows)));
}

/// A short name or a URI; a word that is neither is more likely a mistake than a type.
fn resolve(text: &str) -> Result<&str, CliError> {
    let uri = predicate::resolve_type(text);
    if uri.contains("://") {
        return Ok(uri);
    }
    let names: Vec<_> = predicate::known_types().map(|(short, _)| short).collect();
    Err(CliError::input(format!("{text:?} is not a predicate type"))
        .hint(format!("give a URI, or one of {}", names.join(", "))))
}

fn file_label(predicate_type: &str, suffix: Option<&str>) -> String {
    let known = predicate::known_types().find(|(_, uri)| *uri == predicate_type);
    let label = known.map_or("statement", |(short, _)| short);
    match suffix {
        Some(suffix) => format!("{label}.{}", file_safe(suffix)),
        None => label.to_owned(),
    }
}

fn file_safe(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(60).collect()
}
