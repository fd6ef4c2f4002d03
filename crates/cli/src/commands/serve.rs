use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use sealwright_server::service::{self, Config, StartError, TlsFiles};

use crate::daemon::{self, DaemonArgs};
use crate::error::CliError;
use crate::output::{self, BAD, GOOD, STRONG, Ui};

/// Run the attestation service: an append-only log and a store of statements.
///
/// Everything has a default: the log is kept in one directory (SQLite and a tile directory), its key
/// is made on the first start, and it listens on loopback. An entry is acknowledged when it is
/// durable. Stop it with SIGTERM or Ctrl-C.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory for the log's state and its key; created on the first start.
    #[arg(long, value_name = "DIR", default_value = "sealwright-data")]
    data: PathBuf,
    /// Address to listen on; port 0 lets the system choose.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:3003")]
    listen: SocketAddr,
    /// Name of the log: the bare host name that clients know it by. A log keeps its name for ever.
    #[arg(long, value_name = "HOST", default_value = "localhost")]
    origin: String,
    /// PEM certificate chain, for https.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM private key of the certificate.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Allow plain HTTP on an address that other machines reach, behind a TLS proxy.
    #[arg(long)]
    insecure_plain_http: bool,
    #[command(flatten)]
    daemon: DaemonArgs,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    args.daemon.start(ui)?;
    let tls = args.tls_cert.clone().zip(args.tls_key.clone());
    let config = Config {
        data_dir: args.data.clone(),
        listen: args.listen,
        origin: args.origin.clone(),
        tls: tls.map(|(certificate, key)| TlsFiles { certificate, key }),
        insecure_plain_http: args.insecure_plain_http,
    };
    let running = service::start(&config)?;
    let signals = running.catch_signals().map_err(|error| daemon::no_signals(&error))?;
    if running.log_key_created() {
        ui.note(&format!(
            "{STRONG}note:{STRONG:#} made the log's key {}. It is not encrypted: whoever reads it \
             can sign checkpoints in the log's name.",
            running.log_key_path().display()
        ));
    }
    if args.insecure_plain_http {
        ui.note(&format!("{BAD}insecure:{BAD:#} plain HTTP, readable on the way"));
    }
    let value = json!({
        "ok": true,
        "url": running.url(),
        "origin": args.origin,
        "data": output::path(&args.data),
        "trusted_root": output::path(&running.trusted_root_path()),
    });
    let rows = [
        ("service", running.url()),
        ("log", args.origin.clone()),
        ("data", args.data.display().to_string()),
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
        let message = format!("cannot start the service: {}", Self::chain(&error));
        let hint = error.hint();
        match error {
            StartError::Exposed { .. }
            | StartError::Origin { .. }
            | StartError::Tls(_)
            | StartError::NotADirectory { .. } => Self::input(message).hint(hint),
            _ => Self::environment(message).hint(hint),
        }
    }
}
