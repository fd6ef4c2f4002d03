//! One way to serve a router: over plain TCP or TLS, bounded, and stopped gracefully.
//!
//! Every surface of this crate is served by [`serve`], so the limits here hold for all of them.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

/// Connections at one time; more wait in the kernel's backlog.
const MAX_CONNECTIONS: usize = 1024;

/// A TLS handshake takes at most this long, and holds up only its own connection.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// From the end of one request to the end of the next one's header. Ends idle connections too.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Bounds the whole header of a request in bytes.
const MAX_HEADER_SIZE: usize = 32 << 10;

/// Most header fields of a request.
const MAX_HEADER_FIELDS: usize = 100;

/// After this long a connection is asked to close, however it was used: a client that reads its
/// answer a byte at a time cannot keep its place for ever.
const MAX_CONNECTION_AGE: Duration = Duration::from_secs(300);

/// What is under way when the server stops, or when a connection is too old, may still take this
/// long.
const GRACE: Duration = Duration::from_secs(10);

/// After the system refused a connection, for lack of file descriptors for instance.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` on `listener` until `shutdown` is there, with TLS if `tls` says how.
///
/// Then it stops accepting, lets requests under way finish for up to ten seconds, and returns.
/// How long a single request may take is the router's business.
pub async fn serve(
    router: Router,
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    shutdown: impl Future<Output = ()> + Send,
) {
    let acceptor = tls.map(TlsAcceptor::from);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let (stop, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&listener, &places) => accepted,
            // Takes finished connections out of the set.
            Some(_) = connections.join_next() => continue,
        };
        let Some((stream, place)) = accepted else { break };
        let (router, acceptor, stopped) = (router.clone(), acceptor.clone(), stopped.clone());
        connections.spawn(async move {
            connection(stream, acceptor, router, stopped).await;
            drop(place);
        });
    }
    drop(listener);
    drop(stop);
    while connections.join_next().await.is_some() {}
}

/// The next connection, and its place among [`MAX_CONNECTIONS`].
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return Some((stream, place)),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    router: Router,
    mut stopped: watch::Receiver<()>,
) {
    // Answers are small and complete; waiting to fill a segment only adds latency.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let Some(acceptor) = acceptor else { return requests(stream, router, stopped).await };
    let handshake = tokio::select! {
        handshake = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)) => handshake,
        _ = stopped.changed() => return,
    };
    match handshake {
        Ok(Ok(stream)) => requests(stream, router, stopped).await,
        Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
        Err(_) => tracing::debug!("TLS handshake timed out"),
    }
}

async fn requests<S>(stream: S, router: Router, mut stopped: watch::Receiver<()>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(MAX_HEADER_FIELDS)
        .max_buf_size(MAX_HEADER_SIZE)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return log_end(ended),
        // The sender says nothing; it goes away when the server stops.
        _ = stopped.changed() => {}
        () = sleep(MAX_CONNECTION_AGE) => {}
    }
    connection.as_mut().graceful_shutdown();
    match timeout(GRACE, connection).await {
        Ok(ended) => log_end(ended),
        Err(_) => tracing::debug!("connection cut: it did not finish in time"),
    }
}

/// A client that goes away or talks nonsense is not the server's failure.
fn log_end(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}
