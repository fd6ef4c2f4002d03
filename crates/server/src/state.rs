//! What the handlers of the attestation service share, and the one place where the clock is read.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{Extensions, HeaderMap};
use axum::response::Response;
use tokio::sync::Semaphore;

use sealwright_attest::Timestamp;
use sealwright_manifest::Sha256;
use sealwright_store::{Appended, NewEntry, Store};

use crate::error::ApiError;
use crate::http::Peer;
use crate::reload::{Live, Refusable};
use crate::service::StartError;
use crate::service::access::{Access, Credentials, Grants, Project, Projects};
use crate::service::audit::Audit;
use crate::service::authorities::Authorities;
use crate::service::body::{BodyBudget, Room};
use crate::service::client_address::{ForwardedHeader, Network, client_address};
use crate::service::health::Vitals;
use crate::service::issuers::Issuers;
use crate::service::keeper::LiveStanding;
use crate::service::limits::Limiter;
use crate::service::metrics::Metrics;
use crate::service::oci;
use crate::service::retention::Retention;
use crate::service::sequencer::Sequencer;
use crate::service::witnesses::Cosignatures;
use crate::traces::Traces;

/// The largest body of a request in bytes.
pub(crate) const MAX_BODY: usize = 16 << 20;

/// Requests that wait for other machines at one time.
const WAITING_PLACES: usize = 16;

/// A clock that was set back by up to this many seconds stands still instead: time servers correct
/// by so much, and the log may not sign an earlier time than its last.
pub(crate) const MAX_STEP_BACK_S: u64 = 5;

/// Shared by all handlers.
pub(crate) struct State {
    /// Locked for short reads by handlers, always off the async threads; for appending by the
    /// sequencer alone. Where several front ends share the log, the sequencer has one of its own.
    pub(crate) store: Arc<Mutex<Store>>,
    /// The only way to append.
    pub(crate) sequencer: Sequencer,
    /// The trusted root and the authorities, which change while the service runs.
    pub(crate) standing: Arc<LiveStanding>,
    /// The log's key id in log entries.
    pub(crate) log_id: [u8; 32],
    /// What witnesses signed.
    pub(crate) cosignatures: Arc<Cosignatures>,
    /// Who may come in, and how often.
    doors: Doors,
    /// What digests of OCI artifacts stand for.
    pub(crate) oci: oci::Known,
    /// How long statements are kept.
    pub(crate) retention: Retention,
    /// Whether the TUF repository is given out here.
    pub(crate) serves_tuf: bool,
    /// Where spans are sent, if they are.
    pub(crate) traces: Option<Arc<Traces>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) vitals: Vitals,
    /// For whoever does something that belongs into the log.
    pub(crate) audit: Arc<Audit>,
    /// Memory for bodies, taken as they come.
    body_budget: BodyBudget,
    /// Memory for answers that may be large, until they are sent.
    answer_budget: BodyBudget,
    /// One place per processor for what takes long to compute.
    compute_places: Arc<Semaphore>,
    /// Places for what waits for other machines, so that a slow one holds up nobody but its own.
    waiting_places: Arc<Semaphore>,
}

/// What stands between clients and the service, as files say that are read again when they change.
pub(crate) struct Doors {
    /// Whose tokens the certificate authority takes.
    pub(crate) issuers: Option<Arc<Live<Issuers, StartError>>>,
    /// Who may submit statements and read them; everybody, if there is no such file.
    pub(crate) access: Option<Arc<Live<Access, StartError>>>,
    pub(crate) limiter: Limiter,
    /// Proxies that are believed about for whom they ask.
    pub(crate) trusted_proxies: Vec<Network>,
    pub(crate) forwarded_header: ForwardedHeader,
}

/// What those see who run the service.
pub(crate) struct Watch {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) vitals: Vitals,
    pub(crate) audit: Arc<Audit>,
    pub(crate) traces: Option<Arc<Traces>>,
}

/// How access is asked who somebody is.
type Ask = fn(&Access, &Credentials, u64, bool) -> Result<Option<Grants>, ApiError>;

impl Doors {
    /// Digests of those files.
    pub(crate) fn digests(&self) -> [(&'static str, Option<Sha256>); 3] {
        [
            ("issuers", self.issuers.as_ref().map(|live| live.digest())),
            ("writers", self.access.as_ref().map(|live| live.digest())),
            ("limits", self.limiter.file().map(|live| live.digest())),
        ]
    }

    /// The files that it was read from.
    pub(crate) fn files(&self) -> Vec<Arc<dyn Refusable>> {
        let issuers = self.issuers.clone().map(|live| live as Arc<dyn Refusable>);
        let access = self.access.clone().map(|live| live as Arc<dyn Refusable>);
        let limits = self.limiter.file().map(|live| live as Arc<dyn Refusable>);
        issuers.into_iter().chain(access).chain(limits).collect()
    }
}

/// The address of the client, among the extensions of every request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client(pub(crate) IpAddr);

impl Client {
    pub(crate) fn of(extensions: &Extensions) -> IpAddr {
        extensions.get::<Self>().map_or(Ipv4Addr::UNSPECIFIED.into(), |client| client.0)
    }
}

impl State {
    pub(crate) fn new(
        store: Arc<Mutex<Store>>,
        sequencer: Sequencer,
        standing: Arc<LiveStanding>,
        log_id: [u8; 32],
        doors: Doors,
        watch: Watch,
    ) -> Self {
        let Watch { metrics, vitals, audit, traces } = watch;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            store,
            sequencer,
            standing,
            log_id,
            cosignatures: Arc::default(),
            doors,
            oci: oci::Known::default(),
            retention: Retention::default(),
            serves_tuf: true,
            metrics,
            vitals,
            audit,
            traces,
            body_budget: BodyBudget::new(),
            answer_budget: BodyBudget::new(),
            compute_places: Arc::new(Semaphore::new(processors)),
            waiting_places: Arc::new(Semaphore::new(WAITING_PLACES)),
        }
    }

    /// The same, keeping what is submitted for so long.
    pub(crate) fn with_retention(self, retention: Retention) -> Self {
        Self { retention, ..self }
    }

    /// The same, giving the TUF repository out or leaving that to another front end.
    pub(crate) fn with_tuf(self, serves_tuf: bool) -> Self {
        Self { serves_tuf, ..self }
    }

    /// The authorities.
    pub(crate) fn authorities(&self) -> Result<Arc<Authorities>, ApiError> {
        self.standing.get().authorities.clone().ok_or(ApiError::NoAuthorities)
    }

    /// Whose tokens the certificate authority takes.
    pub(crate) fn issuers(&self) -> Result<Arc<Issuers>, ApiError> {
        self.authorities()?;
        self.doors.issuers.as_ref().map(|issuers| issuers.get()).ok_or(ApiError::NoIssuers)
    }

    /// The name of whoever sends this, who may submit statements to that project; none if nobody is
    /// asked for a name.
    pub(crate) async fn writer(
        &self,
        shown: Credentials,
        project: &Project,
    ) -> Result<Option<Arc<str>>, ApiError> {
        let Some(access) = &self.doors.access else { return Ok(None) };
        let grants = self.grants(access.get(), shown, Access::writer).await?;
        if grants.is_empty() {
            return Err(ApiError::NoWriter);
        }
        grants.name_for(project).map(Some).ok_or(ApiError::Project)
    }

    /// The projects whose statements are given to whoever sends this.
    pub(crate) async fn readable(&self, shown: Credentials) -> Result<Projects, ApiError> {
        let Some(access) = &self.doors.access else { return Ok(Projects::all()) };
        Ok(self.grants(access.get(), shown, Access::reader).await?.projects())
    }

    /// Waits for an issuer's keys only if they are not at hand.
    async fn grants(
        &self,
        access: Arc<Access>,
        shown: Credentials,
        ask: Ask,
    ) -> Result<Grants, ApiError> {
        let asking = |may_fetch| {
            let (access, shown) = (Arc::clone(&access), shown.clone());
            move || ask(&access, &shown, now(), may_fetch)
        };
        if let Some(grants) = self.compute(asking(false)).await? {
            return Ok(grants);
        }
        let grants = self.wait(asking(true)).await?;
        grants.ok_or(ApiError::Internal { what: "keys were fetched, and are not there" })
    }

    /// Appends an entry; returns when it is durable and published.
    pub(crate) async fn append(&self, entry: NewEntry) -> Result<Appended, ApiError> {
        let started = Instant::now();
        let appended = self.sequencer.append(entry).await?;
        self.metrics.appended(started.elapsed());
        Ok(appended)
    }

    /// Counts what is asked for.
    pub(crate) fn limiter(&self) -> &Limiter {
        &self.doors.limiter
    }

    /// The address of whoever sends this.
    pub(crate) fn client_of(&self, extensions: &Extensions, headers: &HeaderMap) -> IpAddr {
        let peer = extensions.get::<Peer>();
        let peer = peer.map_or(Ipv4Addr::UNSPECIFIED.into(), |peer| peer.address.ip());
        let Doors { trusted_proxies, forwarded_header, .. } = &self.doors;
        client_address(peer, headers, trusted_proxies, *forwarded_header)
    }

    /// The body of a request, of at most `limit` bytes, and the memory that it takes; refuses when too
    /// much is under way.
    pub(crate) async fn receive(
        &self,
        request: Request,
        limit: usize,
    ) -> Result<(Bytes, Room), ApiError> {
        let client = Client::of(request.extensions());
        self.body_budget.receive(client, request.into_body(), limit).await
    }

    /// The answer, for which memory is taken until it is sent; refuses when too many are under way.
    pub(crate) async fn hold(
        &self,
        client: IpAddr,
        answer: Response,
    ) -> Result<Response, ApiError> {
        self.answer_budget.hold(client, answer).await
    }

    /// Runs `work`, which is mostly computing, away from the async threads.
    pub(crate) async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let place = Arc::clone(&self.compute_places).acquire_owned().await;
        let place = place.map_err(|_| ApiError::Stopping)?;
        blocking(move || {
            // Held to the end of the work, also when the client has gone.
            let _place = place;
            work()
        })
        .await
    }

    /// Runs `work`, which may wait for another machine, away from the async threads; refuses when too
    /// many do.
    pub(crate) async fn wait<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let place = Arc::clone(&self.waiting_places).try_acquire_owned();
        let place = place.map_err(|_| ApiError::Busy)?;
        blocking(move || {
            let _place = place;
            work()
        })
        .await
    }

    /// Runs `read` on the store, away from the async threads. The store is locked meanwhile.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let store = Arc::clone(&self.store);
        blocking(move || read(&*lock(&store)?)).await
    }
}

/// The store, for a short time. It has whatever any front end has acknowledged by now.
pub(crate) fn lock(store: &Mutex<Store>) -> Result<MutexGuard<'_, Store>, ApiError> {
    let mut store = store
        .lock()
        .map_err(|_| ApiError::Internal { what: "a thread panicked while it held the store" })?;
    store.follow()?;
    Ok(store)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let span = tracing::Span::current();
    match tokio::task::spawn_blocking(move || span.in_scope(work)).await {
        Ok(result) => result,
        Err(error) if error.is_cancelled() => Err(ApiError::Stopping),
        Err(_) => Err(ApiError::Internal { what: "a blocking task panicked" }),
    }
}

/// The time in seconds since 1970; 0 if the clock is before that.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

/// The same as a time of the calendar.
pub(crate) fn time_now() -> Result<Timestamp, StartError> {
    let now = now();
    Timestamp::from_unix(now).map_err(|_| StartError::ClockBehind { now, last_signed: 0 })
}

/// The time to sign with at `now`, when the last signature was at `last_signed`.
pub(crate) fn signing_time(now: u64, last_signed: u64) -> u64 {
    if last_signed.saturating_sub(now) <= MAX_STEP_BACK_S { now.max(last_signed) } else { now }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_steps_back_stand_still() {
        assert_eq!(signing_time(100, 90), 100);
        assert_eq!(signing_time(100, 100), 100);
        assert_eq!(signing_time(95, 100), 100);
        // The store refuses this one.
        assert_eq!(signing_time(94, 100), 94);
    }
}
