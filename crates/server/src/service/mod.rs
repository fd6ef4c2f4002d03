//! The attestation service: takes signed statements, logs them, gives them back with proof.
//!
//! | Route | What it answers |
//! | --- | --- |
//! | `POST /api/v1/bundles` | logs a bundle; the bundle with its log entry |
//! | `GET /api/v1/bundles?subject=…` or `?predicateType=…` | bundles, in log order |
//! | `GET /api/v1/trusted-root` | `trusted_root.json` |
//! | `GET /api/v1/consistency?old=…` | that the log only grew |
//! | `POST /api/v2/log/entries` | Rekor v2: logs a signature over a digest; the entry with its proof |
//! | `POST /api/v2/signingCert` | Fulcio: a certificate for whoever an ID token names |
//! | `GET /api/v2/trustBundle`, `/api/v2/configuration` | the CA's certificates, whose tokens it takes |
//! | `POST /api/v1/timestamp` | RFC 3161: a time stamp |
//! | `GET /api/v1/timestamp/certchain` | its certificates |
//! | `GET /api/v2/checkpoint`, `/api/v2/tile/…` | the log itself (C2SP tlog-tiles) |
//! | `GET /api/v1/witnessed-checkpoint` | the last checkpoint that enough witnesses cosigned |
//! | `GET /tuf/…` | the TUF repository, from which clients learn whom to trust |
//! | `GET /healthz` | whether it works |
//!
//! Whoever submits gets an answer when the entry is durable and published, not before; a process
//! killed at any moment loses nothing that was answered.
//!
//! The log does not judge. It refuses what is malformed or not signed by the key that comes with
//! it, since nobody could ever use that; whether the signer may say such a thing is asked by those
//! who verify, against a role binding they trust.

pub(crate) mod authorities;
mod bundles;
mod check;
mod config;
mod data;
mod fulcio;
pub(crate) mod issuers;
pub(crate) mod live;
mod log;
mod rekor;
mod renew;
mod routes;
pub(crate) mod sequencer;
mod start_error;
mod trust;
mod tsa;
pub mod tuf;
pub(crate) mod witnesses;
pub(crate) mod writers;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::state::State;
use crate::{http, tls};

pub use authorities::Renewal;
pub use check::{InstanceReport, check};
pub use config::{Config, TlsFiles};
pub use renew::{Issuer, Renewed, renew};
pub use start_error::StartError;
pub use trust::{Initialised, TrustFiles, has_keys, init, trust_files};

use data::{LOG_KEY_FILE, TRUSTED_ROOT_FILE};
use issuers::Issuers;
use live::{Keeper, Live};
use sequencer::Sequencer;
use witnesses::{Asking, Witnesses};
use writers::Writers;

/// What still runs this long after everything has been answered is left behind.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// A service that answers. Dropping it stops it as [`Running::stop`] does.
///
/// Not for async code: starting and stopping block.
pub struct Running {
    local_addr: SocketAddr,
    scheme: &'static str,
    data_dir: PathBuf,
    trusted_root_json: String,
    initialised: Initialised,
    /// The rest; taken out when the service stops.
    parts: Option<Parts>,
}

struct Parts {
    runtime: Runtime,
    /// Dropped to ask the HTTP server to stop.
    shutdown: oneshot::Sender<()>,
    server: tokio::task::JoinHandle<()>,
    sequencer: Sequencer,
    sequencer_thread: JoinHandle<()>,
    asking: Option<Asking>,
    keeper: Keeper,
}

/// SIGTERM and SIGINT, caught.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

/// The sequencer ended by itself, after a panic for instance: the service can only read.
#[derive(Debug, thiserror::Error)]
#[error("the service can no longer append to its log")]
pub struct Broken;

/// Starts the service: when this returns, it answers.
///
/// The first start makes the log's key and the trusted root. The key is not encrypted on disk, which
/// whoever starts the service should say: see [`Running::initialised`].
///
/// # Errors
/// [`StartError`].
pub fn start(config: &Config) -> Result<Running, StartError> {
    if config.is_exposed() {
        return Err(StartError::Exposed { listen: config.listen });
    }
    if !config.has_host_name() {
        return Err(StartError::Origin { origin: config.origin.clone() });
    }
    let tls = config.tls.as_ref().map(|files| tls::load(&files.certificate, &files.key));
    let tls = tls.transpose()?;
    // Before anything is written: a second start by mistake should leave no trace.
    let (listener, local_addr) = listen(config.listen)?;
    let issuers = config.issuers.as_deref().map(Issuers::read).transpose()?;
    let witnesses = config.witnesses.as_deref().map(Witnesses::read).transpose()?;
    let writers = config.writers.as_deref().map(Writers::read).transpose()?;
    let (data, initialised) = trust::open(config)?;

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(64)
        .thread_name("service")
        .build()
        .map_err(StartError::Threads)?;
    let listener = {
        let _runtime = runtime.enter();
        tokio::net::TcpListener::from_std(listener)
            .map_err(|source| StartError::Listen { listen: config.listen, source })?
    };
    data::write_url(&config.data_dir, &config.url_at(local_addr.port()))?;
    let live = Arc::new(Live::new(&data.trusted_root_json, data.authorities));
    let keeper = Keeper::start(&config.data_dir, Arc::clone(&live), issuers.as_ref())?;
    let store = Arc::new(Mutex::new(data.store));
    let (sequencer, sequencer_thread) =
        Sequencer::start(Arc::clone(&store)).map_err(StartError::Threads)?;
    let state =
        State::new(Arc::clone(&store), sequencer.clone(), live, data.log_id, issuers, writers);
    let asking = witnesses
        .map(|witnesses| witnesses.start(store, Arc::clone(&state.cosignatures)))
        .transpose()
        .map_err(StartError::Threads)?;
    let (shutdown, asked) = oneshot::channel::<()>();
    let server =
        runtime.spawn(http::serve(routes::router(state, &config.data_dir), listener, tls, async {
            let _ = asked.await;
        }));
    Ok(Running {
        local_addr,
        scheme: config.scheme(),
        data_dir: config.data_dir.clone(),
        trusted_root_json: data.trusted_root_json,
        initialised,
        parts: Some(Parts {
            runtime,
            shutdown,
            server,
            sequencer,
            sequencer_thread,
            asking,
            keeper,
        }),
    })
}

fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        let local_addr = listener.local_addr()?;
        Ok((listener, local_addr))
    });
    bound.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => StartError::PortInUse { listen: address },
        _ => StartError::Listen { listen: address, source },
    })
}

impl Running {
    /// The address it listens on, with the port that the system chose.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The URL of [`Running::local_addr`].
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.local_addr)
    }

    /// `trusted_root.json`: what verifiers need. The same at every start.
    pub fn trusted_root_json(&self) -> &str {
        &self.trusted_root_json
    }

    /// Where `trusted_root.json` is.
    pub fn trusted_root_path(&self) -> PathBuf {
        self.data_dir.join(TRUSTED_ROOT_FILE)
    }

    /// Where the log's private key is.
    pub fn log_key_path(&self) -> PathBuf {
        self.data_dir.join(LOG_KEY_FILE)
    }

    /// The keys that this start made.
    pub fn initialised(&self) -> &Initialised {
        &self.initialised
    }

    /// The data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// From now on SIGTERM and SIGINT no longer end the process but come out of
    /// [`Running::run_until`]. Call it before telling anybody that the service is there.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn catch_signals(&self) -> io::Result<Signals> {
        let _runtime = self.parts.as_ref().map(|parts| parts.runtime.enter());
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Serves until SIGTERM or SIGINT, then stops as [`Running::stop`] does.
    ///
    /// # Errors
    /// [`Broken`] when the service has to stop by itself.
    pub fn run_until(self, mut signals: Signals) -> Result<(), Broken> {
        let Some(parts) = &self.parts else { return Ok(()) };
        let ended = parts.sequencer.clone().ended();
        let outcome = parts.runtime.block_on(async {
            tokio::select! {
                _ = signals.terminate.recv() => Ok(()),
                _ = signals.interrupt.recv() => Ok(()),
                () = ended => Err(Broken),
            }
        });
        self.stop();
        outcome
    }

    /// Stops accepting, answers what is under way (for up to ten seconds), appends what is queued,
    /// closes the store.
    pub fn stop(self) {
        // See `drop`.
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(parts) = self.parts.take() else { return };
        let Parts { runtime, shutdown, server, sequencer, sequencer_thread, asking, keeper } =
            parts;
        drop(shutdown);
        if let Err(error) = runtime.block_on(server) {
            tracing::error!(%error, "the HTTP server ended badly");
        }
        if let Some(asking) = asking {
            asking.stop();
        }
        keeper.stop();
        sequencer.stop();
        if sequencer_thread.join().is_err() {
            tracing::error!("the sequencer panicked");
        }
        runtime.shutdown_timeout(LAST_WAIT);
    }
}
