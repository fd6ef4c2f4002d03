//! What the handlers of the attestation service share, and the one place where the clock is read.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::HeaderMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use sealwright_attest::Timestamp;
use sealwright_store::Store;

use crate::error::ApiError;
use crate::service::StartError;
use crate::service::authorities::Authorities;
use crate::service::issuers::Issuers;
use crate::service::live::Live;
use crate::service::sequencer::Sequencer;
use crate::service::witnesses::Cosignatures;
use crate::service::writers::Writers;

/// The largest body of a request in bytes.
pub(crate) const MAX_BODY: usize = 16 << 20;

/// Bodies of all requests together, in pieces of [`PIECE`] bytes.
const BODY_BUDGET: usize = (256 << 20) / PIECE;
const PIECE: usize = 64 << 10;

/// Requests that wait for other machines at one time.
const WAITING_PLACES: usize = 16;

/// A clock that was set back by up to this many seconds stands still instead: time servers correct
/// by so much, and the log may not sign an earlier time than its last.
const MAX_STEP_BACK_S: u64 = 5;

/// Shared by all handlers.
pub(crate) struct State {
    /// Locked for short reads by handlers, always off the async threads; for appending by the
    /// sequencer alone.
    pub(crate) store: Arc<Mutex<Store>>,
    /// The only way to append.
    pub(crate) sequencer: Sequencer,
    /// The trusted root and the authorities, which change while the service runs.
    pub(crate) live: Arc<Live>,
    /// The log's key id in log entries.
    pub(crate) log_id: [u8; 32],
    /// Whose tokens the certificate authority takes.
    issuers: Option<Issuers>,
    /// What witnesses signed.
    pub(crate) cosignatures: Arc<Cosignatures>,
    /// Who may submit statements; everybody, if nobody is named.
    writers: Option<Writers>,
    /// Memory for bodies, taken before a body is read.
    body_budget: Arc<Semaphore>,
    /// One place per processor for what takes long to compute.
    compute_places: Arc<Semaphore>,
    /// Places for what waits for other machines, so that a slow one holds up nobody but its own.
    waiting_places: Arc<Semaphore>,
}

impl State {
    pub(crate) fn new(
        store: Arc<Mutex<Store>>,
        sequencer: Sequencer,
        live: Arc<Live>,
        log_id: [u8; 32],
        issuers: Option<Issuers>,
        writers: Option<Writers>,
    ) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            store,
            sequencer,
            live,
            log_id,
            issuers,
            cosignatures: Arc::default(),
            writers,
            body_budget: Arc::new(Semaphore::new(BODY_BUDGET)),
            compute_places: Arc::new(Semaphore::new(processors)),
            waiting_places: Arc::new(Semaphore::new(WAITING_PLACES)),
        }
    }

    /// The authorities.
    pub(crate) fn authorities(&self) -> Result<Arc<Authorities>, ApiError> {
        self.live.authorities().ok_or(ApiError::NoAuthorities)
    }

    /// Whose tokens the certificate authority takes.
    pub(crate) fn issuers(&self) -> Result<&Issuers, ApiError> {
        self.authorities()?;
        self.issuers.as_ref().ok_or(ApiError::NoIssuers)
    }

    /// Whether whoever sends this may submit statements; the name, if names are asked for.
    pub(crate) fn writer(&self, headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
        self.writers.as_ref().map(|writers| writers.authorise(headers)).transpose()
    }

    /// Reserves memory for a body of `len` bytes; refuses when too much is under way.
    pub(crate) fn room_for(&self, len: usize) -> Result<OwnedSemaphorePermit, ApiError> {
        let pieces = u32::try_from(len.div_ceil(PIECE)).map_err(|_| ApiError::Busy)?;
        Arc::clone(&self.body_budget).try_acquire_many_owned(pieces).map_err(|_| ApiError::Busy)
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

/// The store, for a short time.
pub(crate) fn lock(store: &Mutex<Store>) -> Result<MutexGuard<'_, Store>, ApiError> {
    store
        .lock()
        .map_err(|_| ApiError::Internal { what: "a thread panicked while it held the store" })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::task::spawn_blocking(work).await {
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
