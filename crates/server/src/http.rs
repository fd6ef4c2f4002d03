//! One way to serve a router: over plain TCP or TLS, bounded, and stopped gracefully.
//!
//! Every surface of this crate is served by [`serve`], so the limits here hold for all of them.

mod places;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

pub use axum::Router;
use hyper::Request;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{CONNECTION, HeaderValue, TRANSFER_ENCODING};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use sealwright_sigstore::details::CertificateDetails;

use crate::reload::{Reload, follow};
use crate::tls::ServerTls;
use places::{Phase, Place, Places};

/// Connections at one time.
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

/// Who is at the other end of a connection: among the extensions of every request.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Where the connection comes from; a proxy's address if there is one in between.
    pub address: SocketAddr,
    /// The certificate that the client showed, of an authority that the server takes.
    pub certificate: Option<Arc<CertificateDetails>>,
}

/// Serves `router` on `listener` until `shutdown` is there, with TLS if `tls` says how. The files of
/// the certificate are read again when they change.
///
/// Then it stops accepting, lets requests under way finish for up to ten seconds, and returns.
/// How long a single request may take is the router's business.
pub async fn serve(
    router: Router,
    listener: TcpListener,
    tls: Option<Arc<ServerTls>>,
    shutdown: impl Future<Output = ()> + Send,
) {
    let places = Places::new(MAX_CONNECTIONS);
    let (stop, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    // Aborted when dropped.
    let mut following = JoinSet::new();
    if let Some(tls) = tls.as_ref().filter(|tls| !tls.is_followed()) {
        let certificate = Arc::clone(tls) as Arc<dyn Reload>;
        following.spawn(follow(vec![certificate], Arc::new(|_, _| Ok(()))));
    }
    tokio::pin!(shutdown);
    loop {
        let (stream, address, place) = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&listener, &places) => accepted,
            // Takes finished connections out of the set.
            Some(_) = connections.join_next() => continue,
        };
        let acceptor = tls.as_ref().map(|tls| TlsAcceptor::from(tls.config()));
        let (router, stopped) = (router.clone(), stopped.clone());
        connections.spawn(async move {
            tokio::select! {
                () = connection(stream, address, acceptor, router, stopped, &place) => {}
                () = place.evicted() => tracing::debug!(%address, "connection ended for another"),
            }
        });
    }
    drop(listener);
    drop(stop);
    while connections.join_next().await.is_some() {}
}

/// The next connection, and its place among [`MAX_CONNECTIONS`].
async fn accept(listener: &TcpListener, places: &Arc<Places>) -> (TcpStream, SocketAddr, Place) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => return (stream, address, places.take().await),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    address: SocketAddr,
    acceptor: Option<TlsAcceptor>,
    router: Router,
    mut stopped: watch::Receiver<()>,
    place: &Place,
) {
    // Answers are small and complete; waiting to fill a segment only adds latency.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let phase = place.phase();
    let Some(acceptor) = acceptor else {
        let peer = Peer { address, certificate: None };
        return requests(stream, peer, router, stopped, phase).await;
    };
    let handshake = tokio::select! {
        handshake = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)) => handshake,
        _ = stopped.changed() => return,
    };
    match handshake {
        Ok(Ok(stream)) => {
            let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let certificate = shown.and_then(|der| CertificateDetails::parse(der)).map(Arc::new);
            requests(stream, Peer { address, certificate }, router, stopped, phase).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
        Err(_) => tracing::debug!("TLS handshake timed out"),
    }
}

async fn requests<S>(
    stream: S,
    peer: Peer,
    router: Router,
    mut stopped: watch::Receiver<()>,
    phase: Phase,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request: Request<Incoming>| {
        let (mut head, body) = request.into_parts();
        // A proxy that believes in another length than ours would take what follows for a request of
        // somebody else; so nothing follows (RFC 9112 §6.1).
        let is_last = head.headers.contains_key(TRANSFER_ENCODING);
        head.extensions.insert(peer.clone());
        let answer = router.call(Request::from_parts(head, Received::new(body, phase.clone())));
        let phase = phase.clone();
        async move {
            let mut answer = answer.await;
            if let (Ok(answer), true) = (&mut answer, is_last) {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            phase.waiting();
            answer
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(MAX_HEADER_FIELDS)
        .max_buf_size(MAX_HEADER_SIZE)
        .serve_connection(TokioIo::new(stream), service);
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

/// The body of a request; says when it is there completely.
struct Received {
    body: Incoming,
    phase: Phase,
}

impl Received {
    fn new(body: Incoming, phase: Phase) -> Self {
        if body.is_end_stream() {
            phase.working();
        }
        Self { body, phase }
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if matches!(polled, Poll::Ready(None)) || self.body.is_end_stream() {
            self.phase.working();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A client that goes away or talks nonsense is not the server's failure.
fn log_end(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}
