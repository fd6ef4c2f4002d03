//! The attestation service: takes signed statements, logs them, gives them back with proof.
//!
//! | Route | What it answers |
//! | --- | --- |
//! | `POST /api/v1/bundles` | logs a bundle; the bundle with its log entry |
//! | `GET /api/v1/bundles?subject=…&predicateType=…` and more | bundles, in log order |
//! | `GET /api/v1/statements?…` | the same statements without their bundles |
//! | `GET /api/v1/bundles/{index}`, `…/original` | one bundle, with this log's entry or with its old ones |
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
//! | `GET /readyz` | whether it can take entries, and why not |
//!
//! Whoever submits gets an answer when the entry is durable and published, not before; a process
//! killed at any moment loses nothing that was answered.
//!
//! The log does not judge. It refuses what is malformed or not signed by the key that comes with
//! it, since nobody could ever use that; whether the signer may say such a thing is asked by those
//! who verify, against a role binding they trust.

pub(crate) mod access;
pub(crate) mod audit;
pub(crate) mod authorities;
mod authority_keys;
mod backup;
pub(crate) mod body;
mod bundles;
mod check;
pub(crate) mod client_address;
mod config;
mod data;
mod facts;
mod find;
mod fulcio;
#[cfg(fuzzing)]
pub mod fuzzing;
pub(crate) mod health;
mod issuer_keys;
pub(crate) mod issuers;
pub(crate) mod keeper;
pub(crate) mod limits;
mod log;
pub(crate) mod metrics;
mod migrate;
mod observe;
pub(crate) mod oci;
mod openapi;
mod permits;
mod rekor;
mod renew;
pub(crate) mod retention;
mod routes;
pub(crate) mod sequencer;
mod start_error;
mod submission;
mod trust;
mod tsa;
pub mod tuf;
mod twins;
pub(crate) mod upload_trust;
pub(crate) mod witnesses;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use sealwright_manifest::Sha256;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use sealwright_store::Store;

use crate::reload::{Live, Reload, follow};
use crate::state::{Doors, State, Watch};
use crate::traces::Traces;
use crate::{http, tls};

pub use audit::audit_public_key;
pub use authorities::Renewal;
pub use authority_keys::AuthorityKeys;
pub use backup::{BackupError, BackupReport, RestoreOptions, Restored, backup, restore};
pub use check::{InstanceReport, check};
pub use client_address::{ForwardedHeader, Network, NetworkError};
pub use config::{Config, TlsFiles};
pub use migrate::migrate;
pub use renew::{Issuer, Renewed, renew};
pub use retention::{EraseError, Erased, erase};
pub use sealwright_store::{Moved, Place};
pub use start_error::StartError;
pub use trust::{Initialised, TrustFiles, has_keys, init, trust_files};

use access::Access;
use audit::Audit;
use data::{LOG_KEY_FILE, TRUSTED_ROOT_FILE};
use health::Vitals;
use issuers::Issuers;
use keeper::Keeper;
use limits::{Limiter, Limits};
use metrics::Metrics;
use permits::{Permitting, Setup};
use retention::{Expiring, Retention};
use sequencer::Sequencer;
use witnesses::{Asking, Witnesses};

/// What still runs this long after everything has been answered is left behind.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// A service that answers. Dropping it stops it as [`Running::stop`] does.
///
/// Not for async code: starting and stopping block.
pub struct Running {
    local_addr: SocketAddr,
    metrics_addr: Option<SocketAddr>,
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
    /// Dropped at the end, since a connection to a database must not be closed on an async thread.
    stores: [Arc<Mutex<Store>>; 2],
    keeper: Keeper,
    expiring: Option<Expiring>,
    permitting: Option<Permitting>,
    traces: Option<Arc<Traces>>,
    /// Looks at files that may change.
    following: tokio::task::JoinHandle<()>,
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
    let tls = config.tls.as_ref().map(|files| {
        tls::ServerTls::load(&files.certificate, &files.key, files.client_ca.as_deref())
    });
    let tls = tls.transpose()?;
    // Before anything is written: a second start by mistake should leave no trace.
    let (listener, local_addr) = listen(config.listen)?;
    let watched = config.metrics.map(listen).transpose()?;
    let (doors, mut files) = doors(config)?;
    if let Some(tls) = &tls {
        tls.follow_elsewhere();
        files.push(Arc::clone(tls) as Arc<dyn Reload>);
    }
    let traces = config.otlp_endpoint.as_ref();
    let traces = traces.map(|url| Traces::start(url, &config.url_at(local_addr.port())));
    let traces = traces.transpose()?.map(Arc::new);
    let witnesses = config.witnesses.as_deref().map(Witnesses::read).transpose()?;
    let retention = config.retention.as_deref().map(Retention::read).transpose()?;
    let (data, initialised) = trust::open(config)?;
    let root = config.data_dir.join(TRUSTED_ROOT_FILE);
    let permits = config.permits.clone().map(|path| Setup::live(path, root)).transpose()?;
    let permits = permits.map(Arc::new);
    files.extend(permits.clone().map(|live| live as Arc<dyn Reload>));
    let standing = Arc::new(keeper::standing(config)?);
    files.push(Arc::clone(&standing) as Arc<dyn Reload>);

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(64)
        .thread_name("service")
        .build()
        .map_err(StartError::Threads)?;
    let adopt = |listener, listen| {
        let _runtime = runtime.enter();
        tokio::net::TcpListener::from_std(listener)
            .map_err(|source| StartError::Listen { listen, source })
    };
    let listener = adopt(listener, config.listen)?;
    let metrics_addr = watched.as_ref().map(|(_, address)| *address);
    let watched = watched.map(|(listener, address)| adopt(listener, address)).transpose()?;
    data::write_url(&config.data_dir, &config.url_at(local_addr.port()))?;
    let keeper = Keeper::start(config, Arc::clone(&standing), doors.issuers.clone())?;
    let store = Arc::new(Mutex::new(data.store));
    let metrics = Arc::new(Metrics::new());
    let (sequencer, sequencer_thread) =
        Sequencer::start(Arc::clone(&store), metrics.sequencer.clone())
            .map_err(StartError::Threads)?;
    let refusable = doors.files();
    let vitals = Vitals::new(&config.data_dir, tls.clone(), refusable, Arc::clone(&standing));
    let key = audit::open_key(&config.data_dir)?;
    let digests = doors.digests().into_iter().chain([
        ("witnesses", audit::digest_of(config.witnesses.as_deref())),
        ("retention", audit::digest_of(config.retention.as_deref())),
        ("permits", permits.as_ref().map(|permits| permits.digest())),
        ("trust", audit::digest_of_all(&config.trust)),
        ("trust_root_ca", audit::digest_of_all(&config.trust_root_ca)),
        ("tls", tls.as_ref().map(|tls| tls.digest())),
        ("authorities", Some(standing.digest())),
    ]);
    let configuration = audit::configuration(config, &key, digests);
    let audit = Audit::new(&config.data_dir, key, &config.origin, &data.log_id, sequencer.clone())?;
    let audit = Arc::new(audit);
    if let Err(error) = runtime.block_on(audit.start(configuration)) {
        sequencer.stop();
        // Its panic would be in the log output.
        let _ = sequencer_thread.join();
        return Err(error);
    }
    let reader = match data.reader {
        Some(reader) => Arc::new(Mutex::new(reader)),
        None => Arc::clone(&store),
    };
    let stores = [store, Arc::clone(&reader)];
    let state = State::new(
        Arc::clone(&reader),
        sequencer.clone(),
        standing,
        data.log_id,
        doors,
        Watch { metrics, vitals, audit: Arc::clone(&audit), traces: traces.clone() },
    );
    let state = state.with_retention(retention.clone().unwrap_or_default());
    let state = Arc::new(state.with_tuf(config.keeps_tuf()));
    let expiring = retention
        .map(|retention| {
            Expiring::start(retention, Arc::clone(&reader), audit, runtime.handle().clone())
        })
        .transpose()
        .map_err(StartError::Threads)?;
    let asking = witnesses
        .map(|witnesses| witnesses.start(reader, Arc::clone(&state.cosignatures)))
        .transpose()
        .map_err(StartError::Threads)?;
    let permitting = permits
        .map(|permits| Permitting::start(permits, Arc::clone(&state), runtime.handle().clone()))
        .transpose()
        .map_err(StartError::Threads)?;
    let shared = Arc::clone(&state);
    let before = move |what, digest: &Sha256| shared.audit.reloaded(what, digest);
    let following = runtime.spawn(follow(files, Arc::new(before)));
    let (shutdown, asked) = oneshot::channel::<()>();
    if let Some(listener) = watched {
        // Until everything else has stopped.
        let watchers = health::router(Arc::clone(&state));
        runtime.spawn(http::serve(watchers, listener, None, std::future::pending()));
    }
    let server = runtime.spawn(http::serve(routes::router(state), listener, tls, async {
        let _ = asked.await;
    }));
    Ok(Running {
        local_addr,
        metrics_addr,
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
            expiring,
            permitting,
            stores,
            traces,
            following,
        }),
    })
}

/// Who may come in, and what is to be looked at again and again for that.
fn doors(config: &Config) -> Result<(Doors, Vec<Arc<dyn Reload>>), StartError> {
    let mut files: Vec<Arc<dyn Reload>> = Vec::new();
    let issuers = config
        .issuers
        .clone()
        .map(|path| Live::load("issuers", move |files| Issuers::read(&path, files)));
    let issuers = issuers.transpose()?.map(Arc::new);
    files.extend(issuers.clone().map(|live| live as Arc<dyn Reload>));
    let has_client_ca = config.tls.as_ref().is_some_and(|files| files.client_ca.is_some());
    let access = config
        .writers
        .clone()
        .map(|path| Live::load("writers", move |files| Access::read(&path, has_client_ca, files)));
    let access = access.transpose()?.map(Arc::new);
    files.extend(access.clone().map(|live| live as Arc<dyn Reload>));
    let limits = config
        .limits
        .clone()
        .map(|path| Live::load("limits", move |files| Limits::read(&path, files)));
    let limits = limits.transpose()?.map(Arc::new);
    files.extend(limits.clone().map(|live| live as Arc<dyn Reload>));
    let doors = Doors {
        issuers,
        access,
        limiter: Limiter::new(limits),
        trusted_proxies: config.trusted_proxies.clone(),
        forwarded_header: config.forwarded_header,
    };
    Ok((doors, files))
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

    /// The address where it is watched, if it is.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics_addr
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
        let Parts {
            runtime,
            shutdown,
            server,
            sequencer,
            sequencer_thread,
            asking,
            keeper,
            expiring,
            permitting,
            following,
            stores,
            traces,
        } = parts;
        following.abort();
        drop(shutdown);
        if let Err(error) = runtime.block_on(server) {
            tracing::error!(%error, "the HTTP server ended badly");
        }
        if let Some(asking) = asking {
            asking.stop();
        }
        keeper.stop();
        if let Some(expiring) = expiring {
            expiring.stop();
        }
        if let Some(permitting) = permitting {
            permitting.stop();
        }
        sequencer.stop();
        if sequencer_thread.join().is_err() {
            tracing::error!("the sequencer panicked");
        }
        if let Some(traces) = traces {
            traces.stop();
        }
        runtime.shutdown_timeout(LAST_WAIT);
        drop(stores);
    }
}
