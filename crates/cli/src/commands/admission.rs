use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::json;

use sealwright_server::admission::{self, Admission, Config, ConfigError};
use sealwright_server::permit::Life;
use sealwright_server::tls::{self, ServerTls, TlsError};

use crate::clock;
use crate::daemon::{self, DaemonArgs};
use crate::error::CliError;
use crate::keyref::{self, PassphraseArgs};
use crate::output::{self, BAD, GOOD, Ui};
use crate::policy::PolicyChoice;
use crate::service::{ServiceArgs, TrustArgs};

/// Run the Kubernetes admission webhook: no pod runs a model that policy does not allow.
///
/// Answers AdmissionReviews for pods over HTTPS. A pod names its model in the annotation
/// `sealwright.dev/model`, as NAME@sha256:DIGEST. If the service cannot be reached, it denies.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    trust: TrustArgs,
    /// Policy: a bundle that the owners approved, or `starter` for the built-in one.
    #[arg(long, value_name = "FILE", default_value = "starter")]
    policy: PolicyChoice,
    /// The owners' approval of the bundle, which `sealwright policy sign` writes.
    #[arg(long, value_name = "FILE")]
    policy_approval: Option<PathBuf>,
    /// Decide by a bundle or a directory that nobody approved: whoever can write it can let in what
    /// they like.
    #[arg(long, conflicts_with = "policy_approval")]
    insecure_unapproved_policy: bool,
    /// Witness (C2SP vkey) whose cosignature on the log's checkpoint policy is told of; may be repeated.
    #[arg(long = "witness", value_name = "VKEY")]
    witnesses: Vec<String>,
    /// Environment that approvals must be for.
    #[arg(long, value_name = "NAME", default_value = "production")]
    environment: String,
    /// Name of the cluster, for records and policies.
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// File to which every decision is appended before it is answered (JSON Lines).
    #[arg(long, value_name = "FILE", default_value = "decisions.jsonl")]
    decisions: PathBuf,
    /// Key to sign every verdict with, after it was answered: `file:PATH` or a path. The verdicts are
    /// logged in the service, in the background; how far that is stands in FILE.logged.
    #[arg(long, value_name = "REF")]
    sign_key: Option<String>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// Let a model in only with a deploy permit by this public key (see `serve --permits`), too.
    #[arg(long, value_name = "FILE")]
    permit_key: Option<PathBuf>,
    /// For how long after it was logged a permit counts at most, such as 30m, 4h or 1d.
    #[arg(long, value_name = "TIME", default_value = "24h", requires = "permit_key")]
    permit_max_age: Life,
    /// Address to listen on; port 0 lets the system choose.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8443")]
    listen: SocketAddr,
    /// PEM certificate chain.
    #[arg(long, value_name = "FILE", requires = "tls_key", conflicts_with = "tls_dir")]
    tls_cert: Option<PathBuf>,
    /// PEM private key of the certificate.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Directory with ca.pem, tls.crt and tls.key, made on the first start.
    #[arg(long, value_name = "DIR", default_value = "sealwright-admission-tls")]
    tls_dir: PathBuf,
    /// Name or IP address for a certificate that is made; may be repeated.
    #[arg(long = "tls-name", value_name = "NAME", default_values = [
        "localhost", "127.0.0.1", "sealwright-admission.sealwright.svc",
    ])]
    tls_names: Vec<String>,
    /// How long one answer may take, in milliseconds; less than the webhook's timeoutSeconds.
    #[arg(long, value_name = "MS", default_value_t = 5000)]
    deadline_ms: u64,
    /// Let pods that name no model pass, with a warning.
    #[arg(long)]
    insecure_allow_unnamed: bool,
    #[command(flatten)]
    daemon: DaemonArgs,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    args.daemon.start(ui)?;
    let admission = Arc::new(load(args, ui)?);
    let tls = tls_config(args)?;
    let router = || admission::router(admission);
    daemon::serve(router, args.listen, Some(tls), |address| announce(args, address, ui))?;
    Ok(ExitCode::SUCCESS)
}

fn load(args: &Args, ui: &Ui) -> Result<Admission, CliError> {
    let missing = |option: &str| {
        CliError::input(format!("the webhook needs {option}"))
            .hint("give --service, --trusted-root, --roles and --owner-key")
    };
    let client = args.service.client()?.ok_or_else(|| missing("--service URL"))?;
    let file = |path: &Option<PathBuf>, option| path.clone().ok_or_else(|| missing(option));
    if args.trust.owners.files().is_empty() {
        return Err(missing("--owner-key FILE"));
    }
    let config = Config {
        role_binding: file(&args.trust.roles, "--roles FILE")?,
        owner_keys: args.trust.owners.files().to_vec(),
        owners_required: args.trust.owners.required(),
        trusted_root: file(&args.trust.trusted_root, "--trusted-root FILE")?,
        policy: args.policy.path().map(Path::to_owned),
        policy_approval: args.policy_approval.clone(),
        insecure_unapproved_policy: args.insecure_unapproved_policy,
        witnesses: args.witnesses.clone(),
        decisions: args.decisions.clone(),
        environment: args.environment.clone(),
        cluster: args.cluster.clone(),
        deadline_ms: args.deadline_ms,
        insecure_allow_unnamed: args.insecure_allow_unnamed,
        insecure_unlogged_roles: args.trust.insecure_unlogged_roles,
        permit_key: args.permit_key.clone(),
        permit_max_age_s: args.permit_max_age.seconds(),
    };
    let client = Arc::new(client);
    let admission = Admission::load(&config, client.clone())?;
    let Some(reference) = &args.sign_key else { return Ok(admission) };
    let signer = keyref::open_signer(reference, &args.passphrase, ui)?;
    admission.with_signer(signer.into(), client).map_err(|error| {
        CliError::environment(format!("verdicts cannot be signed and logged: {error}"))
            .hint("check the file FILE.logged beside the decisions file")
    })
}

/// The given certificate, or the one in `--tls-dir`, which is made if it is not there.
fn tls_config(args: &Args) -> Result<Arc<ServerTls>, CliError> {
    if let (Some(certificate), Some(key)) = (&args.tls_cert, &args.tls_key) {
        return tls::load(certificate, key).map_err(|error| {
            CliError::input(format!("TLS: {}", CliError::chain(&error))).hint(
                "--tls-cert and --tls-key are a PEM certificate chain and its unencrypted key",
            )
        });
    }
    let (certificate, key) =
        (args.tls_dir.join(tls::CERTIFICATE_FILE), args.tls_dir.join(tls::KEY_FILE));
    if !certificate.exists() && !key.exists() {
        std::fs::create_dir_all(&args.tls_dir).map_err(|error| {
            CliError::environment(format!("cannot create {}: {error}", args.tls_dir.display()))
                .hint("choose another --tls-dir")
        })?;
        tls::create(&args.tls_dir, &args.tls_names, clock::now()?.unix())?;
    }
    Ok(tls::load(&certificate, &key)?)
}

fn announce(args: &Args, address: SocketAddr, ui: &Ui) {
    if args.insecure_allow_unnamed {
        ui.note(&format!("{BAD}insecure:{BAD:#} pods that name no model are let through"));
    }
    if args.insecure_unapproved_policy && args.policy.path().is_some() {
        ui.note(&format!("{BAD}insecure:{BAD:#} the policy was approved by nobody"));
    }
    if args.trust.insecure_unlogged_roles {
        ui.note(&format!("{BAD}insecure:{BAD:#} the role binding need not be in any log"));
    }
    let url = format!("https://{address}/validate");
    let mut value = json!({
        "ok": true,
        "url": url,
        "environment": args.environment,
        "decisions": output::path(&args.decisions),
        "signed": args.sign_key.is_some(),
        "permits": args.permit_key.is_some(),
    });
    let mut rows = vec![
        ("webhook", url),
        ("environment", args.environment.clone()),
        ("decisions", args.decisions.display().to_string()),
        ("verdicts", if args.sign_key.is_some() { "signed, logged" } else { "not signed" }.into()),
        ("permits", if args.permit_key.is_some() { "needed" } else { "not needed" }.into()),
    ];
    if args.tls_cert.is_none() {
        let ca = args.tls_dir.join(tls::CA_FILE);
        value["ca"] = output::path(&ca);
        rows.push(("CA", ca.display().to_string()));
    }
    ui.ready(&value, &format!("{GOOD}admitting{GOOD:#}\n{}", output::fields(&rows)));
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        let message = Self::chain(&error);
        match error {
            ConfigError::Read { source, .. }
                if matches!(source.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput) =>
            {
                Self::input(message).hint("check the path")
            }
            ConfigError::Witnesses(error) => error.into(),
            ConfigError::Read { .. } | ConfigError::Decisions { .. } => {
                Self::environment(message).hint("check the path and who may use it")
            }
            ConfigError::PolicyUnapproved { .. } => Self::input(message).hint(
                "give --policy-approval FILE, made by `sealwright policy sign`; or \
                 --insecure-unapproved-policy",
            ),
            ConfigError::PolicyNotInForce { .. } => Self::failed(message)
                .hint("check with `sealwright policy verify BUNDLE --approval FILE`"),
            _ => Self::input(message).hint("see `sealwright admission --help`"),
        }
    }
}

impl From<TlsError> for CliError {
    fn from(error: TlsError) -> Self {
        let message = format!("TLS: {}", Self::chain(&error));
        Self::environment(message)
            .hint("choose another --tls-dir, or remove its files to have new ones made")
    }
}
