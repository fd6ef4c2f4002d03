use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::json;

use sealwright_server::opa::{self, Collector, DecisionLogs, LogsError, Opa};
use sealwright_server::tls;

use super::approval::{activate_bytes, check_signature, read_policy_bundle};
use super::sources::{RegoArgs, is_bundle};
use crate::daemon::{self, DaemonArgs};
use crate::error::CliError;
use crate::files;
use crate::output::{self, BAD, GOOD, Ui};
use crate::owners::OwnerArgs;
use crate::service::{is_plain_and_remote, read_trusted_root};

/// Answer OPA's REST API: programs that ask an OPA can ask this.
///
/// `POST /v1/data/PATH` with {"input": …} gives the value of data.PATH. Nothing can be changed through
/// it. There is no authentication: let only those reach it who may ask. What it says is what the rules
/// say about an unverified input, and no decision about a model.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Rules and data: OPA bundles, directories or files; may be repeated.
    #[arg(long, short, value_name = "DIR|FILE", required = true)]
    bundle: Vec<PathBuf>,
    /// Public key of OPA's own signature, which every bundle must have then.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Scope of OPA's own signature.
    #[arg(long, value_name = "SCOPE", requires = "key", default_value = "")]
    scope: String,
    /// The owners' approval of the bundle, which is then the only one.
    #[arg(long, value_name = "FILE")]
    approval: Option<PathBuf>,
    #[command(flatten)]
    owners: OwnerArgs,
    /// `trusted_root.json`: the logs in which the approval must be.
    #[arg(long, value_name = "FILE", env = "SEALWRIGHT_TRUSTED_ROOT")]
    trusted_root: Option<PathBuf>,
    /// Read modules without `import rego.v1` as OPA before 1.0 did.
    #[arg(long)]
    v0_compatible: bool,
    /// Builtins that fail are undefined, as in OPA, and no errors.
    #[arg(long)]
    lenient_builtin_errors: bool,
    /// Address to listen on; port 0 lets the system choose.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8181")]
    listen: SocketAddr,
    /// PEM certificate chain, for https.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM private key of the certificate.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Allow plain http on other addresses than the machine's own, and to a collector elsewhere.
    #[arg(long)]
    insecure_http: bool,
    /// File to which every decision is appended before it is answered, in OPA's form (JSON Lines).
    #[arg(long, value_name = "FILE")]
    decision_log: Option<PathBuf>,
    /// Collector that decisions are sent to in OPA's form: `POST URL/logs`.
    #[arg(long, value_name = "URL")]
    decision_log_url: Option<String>,
    /// PEM certificates to trust for a collector with https.
    #[arg(long, value_name = "FILE", requires = "decision_log_url")]
    decision_log_ca: Option<PathBuf>,
    /// File with the token that the collector wants.
    #[arg(long, value_name = "FILE", requires = "decision_log_url")]
    decision_log_token_file: Option<PathBuf>,
    #[command(flatten)]
    daemon: DaemonArgs,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    args.daemon.start(ui)?;
    check_listen(args)?;
    let bundles = bundles(args)?;
    let rego = RegoArgs {
        bundle: false,
        v0_compatible: args.v0_compatible,
        lenient_builtin_errors: args.lenient_builtin_errors,
    };
    let (suite, modules) = rego.load_with_texts(&args.bundle)?;
    let opa = Opa::new(suite, modules, bundles.clone(), logs(args)?).map_err(|error| {
        CliError::environment(error.to_string()).hint("the system must give randomness")
    })?;
    let opa = Arc::new(opa);
    let tls = match (&args.tls_cert, &args.tls_key) {
        (Some(certificate), Some(key)) => Some(tls::load(certificate, key)?),
        _ => None,
    };
    let router = || opa::router(Arc::clone(&opa));
    daemon::serve(router, args.listen, tls, |address| announce(args, address, &bundles, ui))?;
    opa.finish();
    Ok(ExitCode::SUCCESS)
}

/// Name and revision of every bundle, after the checks that were asked for.
fn bundles(args: &Args) -> Result<BTreeMap<String, String>, CliError> {
    let root = args.trusted_root.as_deref().map(read_trusted_root).transpose()?;
    let mut bundles = BTreeMap::new();
    if args.approval.is_some() && args.bundle.len() != 1 {
        return Err(CliError::input("--approval is for one --bundle").hint("serve one policy"));
    }
    for path in &args.bundle {
        let mut revision = String::new();
        if is_bundle(path) {
            let (bytes, bundle) = read_policy_bundle(path)?;
            revision.clone_from(&bundle.manifest().revision);
            if let Some(key) = &args.key {
                check_signature(&bundle, path, key, &args.scope)?;
            }
            if let Some(approval) = &args.approval {
                activate_bytes((path, &bytes), approval, &args.owners, root.as_ref())?;
            }
        } else if args.key.is_some() || args.approval.is_some() {
            return Err(CliError::failed(format!("{} is not a bundle", path.display()))
                .hint("only bundles (.tar.gz) are signed or approved"));
        }
        bundles.insert(path.display().to_string(), revision);
    }
    Ok(bundles)
}

fn logs(args: &Args) -> Result<DecisionLogs, CliError> {
    let mut logs = DecisionLogs::default();
    if let Some(path) = &args.decision_log {
        logs = logs.with_file(path).map_err(|error| CliError::from(error).about(path.display()))?;
    }
    if let Some(url) = &args.decision_log_url {
        let is_url = url.starts_with("https://") || url.starts_with("http://");
        if !is_url || (is_plain_and_remote(url) && !args.insecure_http) {
            return Err(CliError::input(format!("{url} is no collector to send decisions to")).hint(
                "use https with --decision-log-ca FILE, or accept the risk with --insecure-http",
            ));
        }
        let ca = args.decision_log_ca.as_deref();
        let token = args.decision_log_token_file.as_deref();
        let collector = Collector {
            url: url.clone(),
            ca: ca.map(|path| files::read(path, "collector CA", 1 << 20)).transpose()?,
            token: token
                .map(|path| files::read_text(path, "token file"))
                .transpose()?
                .map(|token| token.trim().to_owned()),
        };
        logs = logs.with_collector(&collector)?;
    }
    Ok(logs)
}

fn check_listen(args: &Args) -> Result<(), CliError> {
    if args.listen.ip().is_loopback() || args.tls_cert.is_some() || args.insecure_http {
        return Ok(());
    }
    Err(CliError::input(format!("{} would be plain http for other machines", args.listen))
        .hint("give --tls-cert and --tls-key, or accept the risk with --insecure-http"))
}

fn announce(args: &Args, address: SocketAddr, bundles: &BTreeMap<String, String>, ui: &Ui) {
    if args.insecure_http {
        ui.note(&format!("{BAD}insecure:{BAD:#} inputs and answers can be read on the way"));
    }
    let scheme = if args.tls_cert.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{address}");
    let value = json!({
        "ok": true,
        "url": url,
        "bundles": bundles,
        "decision_log": args.decision_log.as_deref().map(output::path),
    });
    let mut rows = vec![("OPA API", format!("{url}/v1/data"))];
    for (name, revision) in bundles {
        let revision = if revision.is_empty() { "no revision" } else { revision };
        rows.push(("bundle", format!("{name} ({revision})")));
    }
    ui.ready(&value, &format!("{GOOD}answering{GOOD:#}\n{}", output::fields(&rows)));
}

impl From<LogsError> for CliError {
    fn from(error: LogsError) -> Self {
        let message = Self::chain(&error);
        match error {
            LogsError::Collector { .. } => {
                Self::input(message).hint("--decision-log-ca FILE holds certificates in PEM")
            }
            LogsError::File { .. } | LogsError::Thread { .. } => {
                Self::environment(message).hint("check the path and who may use it")
            }
        }
    }
}
