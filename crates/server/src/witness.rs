//! A witness for other logs: `add-checkpoint` over HTTP (C2SP tlog-witness).
//!
//! ```text
//! <data_dir>/witness-key.pem   Ed25519 private key, PKCS#8, mode 0600
//! <data_dir>/vkey              its public half with the witness's name; public
//! <data_dir>/witnessed/<hash>  the checkpoint that was cosigned last for a log
//! ```
//!
//! One request at a time is checked, recorded and answered: between the check and the record there
//! is nobody else, and the record is durable before the cosignature goes out.

mod error;
mod key;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State as Shared};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use sealwright_store::{RecordName, StoreError, WitnessRecords};
use sealwright_tlog::witness::{
    AddCheckpointError, KnownLog, MAX_REQUEST_LEN, SIZE_CONTENT_TYPE, Witness, Witnessed,
    origin_hash,
};

use crate::state::now;
use crate::{http, tls};

pub use error::WitnessStartError;

/// A client that sends its request slowly does not hold its place for longer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// What still runs this long after everything has been answered is left behind.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// How a witness runs.
#[derive(Debug, Clone)]
pub struct WitnessConfig {
    /// Where its key and its records are. Created with mode 0700 if it is not there.
    pub data_dir: PathBuf,
    /// Address and port to listen on; port 0 lets the system choose. An address that other machines
    /// reach needs [`WitnessConfig::tls`].
    pub listen: SocketAddr,
    /// Files of the certificate chain and of its key, both PEM. Without them it speaks plain HTTP.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Allows plain HTTP on an address that other machines reach, for a TLS proxy. Checkpoints and
    /// cosignatures are signed, so nothing can be forged on the way, only held back.
    pub insecure_plain_http: bool,
    /// The witness's name. Needed when the key is made; afterwards it must be the same if given.
    pub name: Option<String>,
    /// Makes a key if there is none.
    pub init: bool,
    /// The logs to cosign for.
    pub logs: Vec<KnownLog>,
}

/// A witness that answers. Dropping it stops it.
pub struct RunningWitness {
    local_addr: SocketAddr,
    scheme: &'static str,
    vkey: String,
    key_created: bool,
    runtime: Option<Runtime>,
    serving: Option<Serving>,
}

struct Serving {
    shutdown: tokio::sync::oneshot::Sender<()>,
    server: tokio::task::JoinHandle<()>,
    terminate: Signal,
    interrupt: Signal,
}

/// Starts a witness: when this returns, it answers, and SIGTERM and SIGINT are caught.
///
/// # Errors
/// [`WitnessStartError`].
pub fn start(config: &WitnessConfig) -> Result<RunningWitness, WitnessStartError> {
    let is_loopback = config.listen.ip().to_canonical().is_loopback();
    if !is_loopback && config.tls.is_none() && !config.insecure_plain_http {
        return Err(WitnessStartError::Exposed { listen: config.listen });
    }
    let tls = config.tls.as_ref().map(|(certificate, key)| tls::load(certificate, key));
    let tls = tls.transpose()?;
    let listen = |source| WitnessStartError::Listen { listen: config.listen, source };
    // Before anything is written: a second start by mistake should leave no trace.
    let listener = TcpListener::bind(config.listen).map_err(listen)?;
    listener.set_nonblocking(true).map_err(listen)?;
    let local_addr = listener.local_addr().map_err(listen)?;
    let (key, key_created) = key::open(config)?;
    let witness = Witness::new(key, config.logs.clone());
    let vkey = witness.cosigner().to_string();
    let records = Records::open(&config.data_dir, &witness)?;

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(16)
        .thread_name("witness")
        .build()
        .map_err(WitnessStartError::System)?;
    let (shutdown, asked) = tokio::sync::oneshot::channel::<()>();
    let serving = {
        let _runtime = runtime.enter();
        let catch = |kind| signal(kind).map_err(WitnessStartError::System);
        let listener = tokio::net::TcpListener::from_std(listener).map_err(listen)?;
        let router = router(State { witness, records: Mutex::new(records) });
        let server = runtime.spawn(http::serve(router, listener, tls, async {
            let _ = asked.await;
        }));
        let (terminate, interrupt) =
            (catch(SignalKind::terminate())?, catch(SignalKind::interrupt())?);
        Serving { shutdown, server, terminate, interrupt }
    };
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let (runtime, serving) = (Some(runtime), Some(serving));
    Ok(RunningWitness { local_addr, scheme, vkey, key_created, runtime, serving })
}

impl RunningWitness {
    /// The URL it answers at.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.local_addr)
    }

    /// The witness's public key with its name: what logs and verifiers need to know of it.
    pub fn vkey(&self) -> &str {
        &self.vkey
    }

    /// Whether this start made the key.
    pub fn key_created(&self) -> bool {
        self.key_created
    }

    /// Serves until SIGTERM or SIGINT; then answers what is under way, for up to ten seconds.
    pub fn run(mut self) {
        let (Some(runtime), Some(serving)) = (self.runtime.take(), self.serving.take()) else {
            return;
        };
        let Serving { shutdown, server, mut terminate, mut interrupt } = serving;
        let ended = runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            drop(shutdown);
            server.await
        });
        if let Err(error) = ended {
            tracing::error!(%error, "the HTTP server ended badly");
        }
        runtime.shutdown_timeout(LAST_WAIT);
    }
}

/// What every request has.
struct State {
    witness: Witness,
    records: Mutex<Records>,
}

/// The last checkpoint of each log by its origin, on disk and in memory.
struct Records {
    files: WitnessRecords,
    last: BTreeMap<String, Witnessed>,
}

impl Records {
    fn open(dir: &std::path::Path, witness: &Witness) -> Result<Self, WitnessStartError> {
        let files = WitnessRecords::open(dir).map_err(WitnessStartError::Store)?;
        let mut last = BTreeMap::new();
        for origin in witness.logs().iter().map(KnownLog::origin) {
            let Some(name) = name_of(origin) else { continue };
            let Some(note) = files.read(&name).map_err(WitnessStartError::Store)? else { continue };
            let witnessed = witness
                .recall(origin, &note)
                .map_err(|source| WitnessStartError::Record { path: files.path(&name), source })?;
            last.insert(origin.to_owned(), witnessed);
        }
        Ok(Self { files, last })
    }

    fn record(&mut self, new: &Witnessed) -> Result<(), StoreError> {
        let origin = &new.checkpoint().origin;
        if let Some(name) = name_of(origin) {
            self.files.replace(&name, new.note().as_bytes())?;
        }
        self.last.insert(origin.clone(), new.clone());
        Ok(())
    }
}

/// Always there: a SHA-256 in hexadecimal is a name.
fn name_of(origin: &str) -> Option<RecordName> {
    RecordName::new(&origin_hash(origin))
}

fn router(state: State) -> Router {
    Router::new()
        .route("/add-checkpoint", post(add_checkpoint))
        .route("/{origin_hash}/checkpoint", get(last_checkpoint))
        .layer(DefaultBodyLimit::max(MAX_REQUEST_LEN))
        .layer(axum::middleware::from_fn(async |request, next: axum::middleware::Next| {
            match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
                Ok(response) => response,
                Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
            }
        }))
        .with_state(Arc::new(state))
}

/// `POST /add-checkpoint`.
async fn add_checkpoint(Shared(state): Shared<Arc<State>>, body: Bytes) -> Response {
    // Once begun it runs to its end, also if the client goes away.
    let decided = tokio::task::spawn_blocking(move || state.add(&body)).await;
    match decided {
        Ok(Ok(witnessed)) => text(StatusCode::OK, witnessed.cosignature().to_owned()),
        Ok(Err(refusal)) => refusal.into_response(),
        Err(error) => {
            tracing::error!(%error, "a request ended badly");
            internal()
        }
    }
}

/// `GET /<hex SHA-256 of the origin>/checkpoint`: what was cosigned last.
async fn last_checkpoint(Shared(state): Shared<Arc<State>>, Path(hash): Path<String>) -> Response {
    let Ok(records) = state.records.lock() else { return internal() };
    let found = records.last.iter().find(|(origin, _)| origin_hash(origin) == hash);
    match found {
        Some((_, witnessed)) => text(StatusCode::OK, witnessed.note().to_owned()),
        None => text(StatusCode::NOT_FOUND, "nothing was cosigned for such a log\n".to_owned()),
    }
}

enum Refusal {
    NotCosigned(AddCheckpointError),
    Broken,
}

impl State {
    fn add(&self, request: &[u8]) -> Result<Witnessed, Refusal> {
        // After a panic nobody knows what is on disk: only a restart reads it again.
        let mut records = self.records.lock().map_err(|_| Refusal::Broken)?;
        let last = |origin: &str| records.last.get(origin).map(Witnessed::checkpoint);
        let new = self.witness.add_checkpoint(request, last, now()).map_err(|error| {
            if let AddCheckpointError::Inconsistent(problem) = &error {
                // Signed by the log: this may be proof that it has two histories.
                let request = String::from_utf8_lossy(request);
                tracing::error!(%problem, %request, "a log signed what does not extend its past");
            }
            Refusal::NotCosigned(error)
        })?;
        records.record(&new).map_err(|error| {
            tracing::error!(%error, "cannot record a checkpoint, so it is not cosigned");
            Refusal::Broken
        })?;
        Ok(new)
    }
}

impl Refusal {
    fn into_response(self) -> Response {
        let error = match self {
            Self::NotCosigned(error) => error,
            Self::Broken => return internal(),
        };
        let status = StatusCode::from_u16(error.status());
        match (status, &error) {
            (Ok(status), AddCheckpointError::OtherSize { recorded, .. }) => {
                let headers = [(header::CONTENT_TYPE, SIZE_CONTENT_TYPE)];
                (status, headers, format!("{recorded}\n")).into_response()
            }
            (Ok(status), _) if status != StatusCode::INTERNAL_SERVER_ERROR => {
                text(status, format!("{error}\n"))
            }
            _ => {
                tracing::error!(%error, "cannot cosign");
                internal()
            }
        }
    }
}

fn text(status: StatusCode, body: String) -> Response {
    let headers =
        [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
    (status, headers, body).into_response()
}

fn internal() -> Response {
    text(StatusCode::INTERNAL_SERVER_ERROR, "the witness cannot cosign now\n".to_owned())
}
