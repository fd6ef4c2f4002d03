//! `log witness`: cosignatures for other logs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use sealwright_server::witness::{self, WitnessConfig, WitnessStartError};
use sealwright_tlog::VerifierKey;
use sealwright_tlog::witness::KnownLog;

use crate::daemon::DaemonArgs;
use crate::error::CliError;
use crate::output::{self, BAD, GOOD, STRONG, Ui};

/// Be a witness: cosign the checkpoints of logs that only grow (C2SP tlog-witness).
///
/// A log posts its new checkpoint to URL/add-checkpoint with the proof that nothing was changed since
/// the one before. The checkpoint is recorded durably before the cosignature goes out; one that does
/// not extend the recorded one is never cosigned. Stop it with SIGTERM or Ctrl-C.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory for the key and the records; created with --init. Losing it is forgetting the past.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Address to listen on; port 0 lets the system choose.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:3004")]
    listen: SocketAddr,
    /// Key of a log to cosign for, as `name+id+base64`; may be given several times. With `=ORIGIN`
    /// after it if the log's checkpoints do not begin with the name of the key.
    #[arg(long = "log", value_name = "VKEY[=ORIGIN]", required = true, value_parser = known_log)]
    logs: Vec<KnownLog>,
    /// Make the key first, if there is none.
    #[arg(long, requires = "name")]
    init: bool,
    /// Name of the witness, best a URL without its scheme, such as `witness.example/w1`.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// PEM certificate chain, for https.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM private key of the certificate.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Allow plain HTTP on an address that other machines reach, behind a TLS proxy.
    #[arg(long)]
    insecure_plain_http: bool,
    /// What to log on standard error, such as `info` or `sealwright_server=debug`.
    #[arg(long, value_name = "FILTER", env = "SEALWRIGHT_LOG", default_value = "warn")]
    log_filter: String,
}

fn known_log(text: &str) -> Result<KnownLog, String> {
    // A vkey has 33 bytes in base64, so never a `=` of its own; a name may have one.
    let parse = |vkey: &str| VerifierKey::parse(vkey);
    match (parse(text), text.rsplit_once('=')) {
        (Ok(key), _) => Ok(KnownLog::new(key)),
        (Err(_), Some((vkey, origin))) if !origin.is_empty() => parse(vkey)
            .map(|key| KnownLog::with_origin(key, origin))
            .map_err(|error| error.to_string()),
        (Err(error), _) => Err(error.to_string()),
    }
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    DaemonArgs::with_filter(&args.log_filter).start(ui)?;
    let running = witness::start(&WitnessConfig {
        data_dir: args.data.clone(),
        listen: args.listen,
        tls: args.tls_cert.clone().zip(args.tls_key.clone()),
        insecure_plain_http: args.insecure_plain_http,
        name: args.name.clone(),
        init: args.init,
        logs: args.logs.clone(),
    })?;
    if running.key_created() {
        ui.note(&format!(
            "{STRONG}note:{STRONG:#} the witness's key in {} is not encrypted: whoever reads it can \
             cosign in its name.",
            args.data.display()
        ));
    }
    if args.insecure_plain_http {
        ui.note(&format!("{BAD}insecure:{BAD:#} plain HTTP, readable on the way"));
    }
    let origins: Vec<&str> = args.logs.iter().map(KnownLog::origin).collect();
    let value = json!({
        "ok": true,
        "url": running.url(),
        "vkey": running.vkey(),
        "key_created": running.key_created(),
        "logs": origins,
        "data": output::path(&args.data),
    });
    let rows = [
        ("witness", running.url()),
        ("vkey", running.vkey().to_owned()),
        ("logs", output::plain(&origins.join(", "))),
        ("data", args.data.display().to_string()),
    ];
    ui.ready(&value, &format!("{GOOD}witnessing{GOOD:#}\n{}", output::fields(&rows)));
    running.run();
    Ok(ExitCode::SUCCESS)
}

impl From<WitnessStartError> for CliError {
    fn from(error: WitnessStartError) -> Self {
        let message = format!("cannot start the witness: {}", Self::chain(&error));
        let hint = error.hint();
        let make = if error.is_input() { Self::input } else { Self::environment };
        make(message).hint(hint)
    }
}
