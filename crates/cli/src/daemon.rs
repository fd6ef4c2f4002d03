//! What the long-running commands have in common.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use sealwright_server::http::{self, Router};
use sealwright_server::tls::ServerTls;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::error::CliError;
use crate::output::Ui;

/// What lines of the log look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// How a server process behaves.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DaemonArgs {
    /// What to log on standard error, such as `info` or `sealwright_server=debug`. `audit` says who was
    /// given a certificate, and which writer submitted a statement.
    #[arg(long, value_name = "FILTER", env = "SEALWRIGHT_LOG", default_value = "warn,audit=info")]
    log: String,
    /// How: lines for people, or one JSON object a line (also with --json).
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    log_format: LogFormat,
    /// End when the process that started this one ends.
    #[arg(long, hide = true)]
    exit_with_parent: bool,
}

impl DaemonArgs {
    /// For a command whose option `--log` is something else.
    pub(crate) fn with_filter(log: &str) -> Self {
        Self { log: log.to_owned(), log_format: LogFormat::Text, exit_with_parent: false }
    }

    /// Sets up logging, and the link to the parent.
    pub(crate) fn start(&self, ui: &Ui) -> Result<(), CliError> {
        let filter = EnvFilter::try_new(&self.log).map_err(|error| {
            CliError::input(format!("--log {:?}: {error}", self.log)).hint("for example --log info")
        })?;
        let logger = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
        // Fails only if there is one already.
        let _ = if ui.is_json() || self.log_format == LogFormat::Json {
            logger.json().try_init()
        } else {
            logger.with_ansi(output_has_colour()).try_init()
        };
        allow_many_files();
        if self.exit_with_parent {
            let signal = Some(rustix::process::Signal::TERM);
            rustix::process::set_parent_process_death_signal(signal).map_err(|error| {
                CliError::environment(format!("cannot follow the parent process: {error}"))
                    .hint("this needs Linux")
            })?;
        }
        Ok(())
    }
}

/// Serves what `router` makes at `address`, until SIGTERM or SIGINT. `ready` tells whoever waits, and is given
/// the address with the port that the system chose.
pub(crate) fn serve(
    router: impl FnOnce() -> Router,
    address: SocketAddr,
    tls: Option<Arc<ServerTls>>,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), CliError> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
            CliError::environment(format!("cannot start threads: {error}"))
                .hint("raise the limit on processes for this user")
        })?;
    runtime.block_on(async {
        let failed = |error| listen_error(address, &error);
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(|error| no_signals(&error))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| no_signals(&error))?;
        ready(address);
        let shutdown = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        http::serve(router(), listener, tls, shutdown).await;
        Ok(())
    })
}

fn listen_error(address: SocketAddr, error: &io::Error) -> CliError {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => "stop what listens there, or choose another --listen",
        _ => "choose another --listen",
    };
    CliError::environment(format!("cannot listen on {address}: {error}")).hint(hint)
}

/// Connections are files, and the limit that shells give is for programs that count them in one byte
/// set; the system's own is higher.
fn allow_many_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // With fewer files, fewer clients are served at a time.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// Signals cannot be caught, so the process could not be stopped in good order.
pub(crate) fn no_signals(error: &io::Error) -> CliError {
    CliError::environment(format!("cannot catch signals: {error}"))
        .hint("raise the limit on open files for this user")
}

fn output_has_colour() -> bool {
    use std::io::IsTerminal as _;
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
