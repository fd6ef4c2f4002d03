use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use sealwright_server::service::{
    self, Config, ForwardedHeader, Initialised, Network, StartError, TlsFiles,
};

use crate::daemon::{self, DaemonArgs};
use crate::error::CliError;
use crate::keyref::PassphraseArgs;
use crate::output::{self, BAD, GOOD, STRONG, Ui};

use authority_keys::AuthorityKeyArgs;
use storage::StorageArgs;

mod authority_keys;
mod backup;
mod check;
mod erase;
mod migrate;
mod renew;
mod restore;
mod storage;
mod trust;
mod tuf;

/// Run the attestation service: an append-only log, a store of statements, a timestamp authority.
///
/// Everything is kept in one directory (SQLite and a tile directory), and it listens on loopback
/// unless told otherwise. An entry is acknowledged when it is durable. Stop it with SIGTERM or Ctrl-C.
/// `--init` makes the keys on the first start; `sealwright serve init` makes them without starting.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make the keys of a new instance: log, authorities, TUF repository.
    Init(InitArgs),
    /// Write what clients need to know of the instance.
    Trust(trust::Args),
    /// Move the log of a stopped instance to PostgreSQL and a bucket.
    Migrate(migrate::Args),
    /// Give the authorities new keys and certificates.
    Renew(renew::Args),
    Tuf(tuf::Args),
    /// Check the whole store of a stopped instance: every hash, every checkpoint, every signature.
    Check(check::Args),
    /// Erase what statements of a stopped instance say, and keep their entries.
    Erase(erase::Args),
    /// Back up an instance, also while it runs.
    Backup(backup::Args),
    /// Restore a backup, after it was checked from end to end.
    Restore(restore::Args),
}

/// Where an instance is kept, and what it is called.
#[derive(Debug, clap::Args)]
struct InitArgs {
    #[command(flatten)]
    instance: InstanceArgs,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    #[command(flatten)]
    tuf: tuf::RootKeyArgs,
    #[command(flatten)]
    keys: AuthorityKeyArgs,
}

#[derive(Debug, clap::Args)]
struct InstanceArgs {
    /// Directory for the log's state and its key; created on the first start.
    #[arg(long, value_name = "DIR", default_value = "sealwright-data")]
    data: PathBuf,
    #[command(flatten)]
    storage: StorageArgs,
    /// Address to listen on; port 0 lets the system choose.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:3003")]
    listen: SocketAddr,
    /// Name of the log: the bare host name that clients know it by. A log keeps its name for ever.
    #[arg(long, value_name = "HOST", default_value = "localhost")]
    origin: String,
    /// PEM certificate chain, for https.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM private key of the certificate. Both files are read again when they change.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct ServeArgs {
    #[command(flatten)]
    instance: InstanceArgs,
    /// PEM certificates of the authorities for certificates that clients may show.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
    /// TOML file with the issuers of ID tokens for whom certificates are issued.
    #[arg(long, value_name = "FILE")]
    issuers: Option<PathBuf>,
    /// TOML file with the witnesses that are asked to cosign, and how many make a quorum.
    #[arg(long, value_name = "FILE")]
    witnesses: Option<PathBuf>,
    /// TOML file with the writers who may submit statements, and the readers; everybody otherwise.
    #[arg(long, value_name = "FILE")]
    writers: Option<PathBuf>,
    /// Verify bundles with certificates against this trusted root as well, when they are submitted, and
    /// keep the entries of its logs; may be repeated.
    #[arg(long, value_name = "FILE")]
    trust: Vec<PathBuf>,
    /// Take certificates that lead to a root in this PEM file (OMS); may be repeated.
    #[arg(long, value_name = "PEM")]
    trust_root_ca: Vec<PathBuf>,
    /// TOML file with the classes that say how long which statements are kept; for ever otherwise.
    #[arg(long, value_name = "FILE")]
    retention: Option<PathBuf>,
    /// TOML file that says for which environments deploy permits are made, and with which key.
    #[arg(long, value_name = "FILE")]
    permits: Option<PathBuf>,
    /// TOML file with limits: requests a second, entries a day.
    #[arg(long, value_name = "FILE")]
    limits: Option<PathBuf>,
    /// Network of proxies that say for whom they ask; may be given several times.
    #[arg(long = "trusted-proxy", value_name = "CIDR")]
    trusted_proxies: Vec<Network>,
    /// Header in which they say so: x-forwarded-for or forwarded.
    #[arg(long, value_name = "NAME", default_value = "x-forwarded-for")]
    forwarded_header: ForwardedHeader,
    /// Address for /metrics (Prometheus), /healthz and /readyz, in plain HTTP; none otherwise.
    #[arg(long, value_name = "ADDR:PORT")]
    metrics: Option<SocketAddr>,
    /// Send a span of each request to this collector (OTLP over HTTP); its base URL, such as
    /// http://127.0.0.1:4318.
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    otlp_endpoint: Option<String>,
    /// Keep the TUF repository here and give it out: one front end of a shared log does.
    #[arg(long, requires = "bucket")]
    tuf_publisher: bool,
    /// Make the keys first, if there are none.
    #[arg(long)]
    init: bool,
    /// Allow plain HTTP on an address that other machines reach, behind a TLS proxy.
    #[arg(long)]
    insecure_plain_http: bool,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    #[command(flatten)]
    daemon: DaemonArgs,
    #[command(flatten)]
    keys: AuthorityKeyArgs,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    match &args.command {
        None => serve(&args.serve, ui),
        Some(Command::Init(args)) => init(args, ui),
        Some(Command::Trust(args)) => trust::run(args, ui),
        Some(Command::Migrate(args)) => migrate::run(args, ui),
        Some(Command::Renew(args)) => renew::run(args, ui),
        Some(Command::Tuf(args)) => tuf::run(args, ui),
        Some(Command::Check(args)) => check::run(args, ui),
        Some(Command::Erase(args)) => erase::run(args, ui),
        Some(Command::Backup(args)) => backup::run(args, ui),
        Some(Command::Restore(args)) => restore::run(args, ui),
    }
}

fn init(args: &InitArgs, ui: &Ui) -> Result<ExitCode, CliError> {
    let authority_keys = args.keys.open(&args.passphrase, ui)?;
    let config = Config { tuf: args.tuf.keys(), authority_keys, ..args.instance.config()? };
    let made = service::init(&config)?;
    let data = &args.instance.data;
    let value = json!({
        "ok": true,
        "data": output::path(data),
        "log_key_created": made.log_key_created,
        "root_key": made.root_key.as_deref().map(output::path),
        "tuf": tuf::made_value(made.tuf.as_ref()),
    });
    let what = match (made.log_key_created, &made.root_key) {
        (false, None) if made.tuf.is_some() => "made the TUF repository",
        (false, None) => "everything was there already",
        (false, Some(_)) => "made the authorities",
        (true, None) => "made the log",
        (true, Some(_)) => "made log and authorities",
    };
    let rows = [("data", data.display().to_string()), ("log", args.instance.origin.clone())];
    ui.result(&value, &format!("{GOOD}{what}{GOOD:#}\n{}", output::fields(&rows)));
    say_what_was_made(&made, &args.instance, ui);
    Ok(ExitCode::SUCCESS)
}

/// Which keys lie about unencrypted, and which of them should not be here at all.
fn say_what_was_made(made: &Initialised, instance: &InstanceArgs, ui: &Ui) {
    if made.log_key_created || made.root_key.is_some() {
        ui.note(&format!(
            "{STRONG}note:{STRONG:#} the service's keys in {} are not encrypted: whoever reads them \
             can sign in its name.",
            instance.data.display()
        ));
    }
    if let Some(path) = &made.root_key {
        ui.note(&format!(
            "{STRONG}note:{STRONG:#} move {} to a place offline. The service does not need it; it \
             makes the next certificates of the authorities.",
            path.display()
        ));
    }
    if let Some(made) = &made.tuf {
        tuf::say_what_was_made(made, ui);
    }
}

impl InstanceArgs {
    fn config(&self) -> Result<Config, CliError> {
        let tls = self.tls_cert.clone().zip(self.tls_key.clone());
        Ok(Config {
            listen: self.listen,
            origin: self.origin.clone(),
            tls: tls.map(|(certificate, key)| TlsFiles { certificate, key, client_ca: None }),
            shared: self.storage.place()?,
            ..Config::new(&self.data)
        })
    }
}

fn serve(args: &ServeArgs, ui: &Ui) -> Result<ExitCode, CliError> {
    args.daemon.start(ui)?;
    let instance = &args.instance;
    let mut config = Config {
        insecure_plain_http: args.insecure_plain_http,
        issuers: args.issuers.clone(),
        witnesses: args.witnesses.clone(),
        writers: args.writers.clone(),
        trust: args.trust.clone(),
        trust_root_ca: args.trust_root_ca.clone(),
        retention: args.retention.clone(),
        permits: args.permits.clone(),
        limits: args.limits.clone(),
        trusted_proxies: args.trusted_proxies.clone(),
        forwarded_header: args.forwarded_header,
        metrics: args.metrics,
        otlp_endpoint: args.otlp_endpoint.clone(),
        init: args.init,
        tuf_publisher: args.tuf_publisher,
        authority_keys: args.keys.open(&args.passphrase, ui)?,
        ..instance.config()?
    };
    if let Some(tls) = &mut config.tls {
        tls.client_ca.clone_from(&args.tls_client_ca);
    }
    if !args.init && !service::has_keys(&instance.data) && !instance.data.is_file() {
        return Err(StartError::NotInitialised { dir: instance.data.clone() }.into());
    }
    let running = service::start(&config)?;
    instance.storage.say_what_is_insecure(ui);
    say_what_was_made(running.initialised(), instance, ui);
    let signals = running.catch_signals().map_err(|error| daemon::no_signals(&error))?;
    if args.insecure_plain_http {
        ui.note(&format!("{BAD}insecure:{BAD:#} plain HTTP, readable on the way"));
    }
    let value = json!({
        "ok": true,
        "url": running.url(),
        "origin": instance.origin,
        "data": output::path(&instance.data),
        "trusted_root": output::path(&running.trusted_root_path()),
        "metrics": running.metrics_addr().map(|address| format!("http://{address}/metrics")),
    });
    let rows = [
        ("service", running.url()),
        ("log", instance.origin.clone()),
        ("data", instance.data.display().to_string()),
        ("trusted root", running.trusted_root_path().display().to_string()),
    ];
    ui.ready(&value, &format!("{GOOD}serving{GOOD:#}\n{}", output::fields(&rows)));
    running.run_until(signals).map_err(|error| {
        CliError::environment(error.to_string())
            .hint("start it again; nothing that was acknowledged is lost")
    })?;
    Ok(ExitCode::SUCCESS)
}

impl From<StartError> for CliError {
    fn from(error: StartError) -> Self {
        let error = match error {
            StartError::Ceremony(error) => return (*error).into(),
            error => error,
        };
        let message = format!("cannot start the service: {}", Self::chain(&error));
        let hint = error.hint();
        match error {
            StartError::Exposed { .. }
            | StartError::Origin { .. }
            | StartError::Tls(_)
            | StartError::Traces(_)
            | StartError::NotInitialised { .. }
            | StartError::Moved { .. }
            | StartError::NotBuilt
            | StartError::OriginTooLong { .. }
            | StartError::OtherAuthorityKey { .. }
            | StartError::AuthorityKeyCurve
            | StartError::Issuers { .. }
            | StartError::Witnesses { .. }
            | StartError::Writers { .. }
            | StartError::UploadTrust { .. }
            | StartError::Retention { .. }
            | StartError::Permits { .. }
            | StartError::Limits { .. }
            | StartError::NotADirectory { .. } => Self::input(message).hint(hint),
            _ => Self::environment(message).hint(hint),
        }
    }
}
