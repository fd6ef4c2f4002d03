//! Bodies of requests: as large as they may be, no slower than they may be, and together no larger
//! than there is memory for. And bodies of answers, which wait for whoever reads them slowly.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::limits::network_of;
use crate::error::ApiError;

/// Bodies of all requests together, and of all answers, in pieces of [`PIECE`] bytes.
const BUDGET: usize = (256 << 20) / PIECE;
const PIECE: usize = 64 << 10;

/// Of one client address: a quarter of all, so that no single one takes it all.
const BUDGET_OF_ONE: usize = BUDGET / 4;
/// Client addresses that are told apart; two that fall on one place share its part.
const PLACES: usize = 4096;

/// A body that stands still for this long is given up, and so is one that takes longer than
/// [`START`] and a second for every [`SLOWEST`] bytes.
const STALL: Duration = Duration::from_secs(10);
const START: Duration = Duration::from_secs(10);
const SLOWEST: usize = 64 << 10;

/// The memory for bodies.
pub(crate) struct BodyBudget {
    all: Arc<Semaphore>,
    hasher: RandomState,
    of_one: Arc<[AtomicUsize]>,
}

/// Memory that is taken, until this is dropped.
pub(crate) struct Room {
    budget: Arc<Semaphore>,
    permits: Option<OwnedSemaphorePermit>,
    of_one: Arc<[AtomicUsize]>,
    place: usize,
    pieces: usize,
}

/// Bytes and the memory that they take.
struct Held {
    bytes: Bytes,
    _room: Room,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl BodyBudget {
    pub(crate) fn new() -> Self {
        Self {
            all: Arc::new(Semaphore::new(BUDGET)),
            hasher: RandomState::new(),
            of_one: (0..PLACES).map(|_| AtomicUsize::new(0)).collect(),
        }
    }

    /// Reads a body of at most `limit` bytes; takes memory as it comes, so that nobody can reserve what
    /// they do not send.
    pub(crate) async fn receive(
        &self,
        client: IpAddr,
        mut body: Body,
        limit: usize,
    ) -> Result<(Bytes, Room), ApiError> {
        let started = Instant::now();
        let mut room = self.room(client);
        let mut received = Vec::new();
        loop {
            let seconds = u64::try_from(received.len() / SLOWEST).unwrap_or(u64::MAX);
            let latest = started + START + Duration::from_secs(seconds);
            let deadline = latest.min(Instant::now() + STALL);
            let frame = timeout_at(deadline, body.frame()).await.map_err(|_| ApiError::BodySlow)?;
            let Some(frame) = frame else { break };
            let frame = frame.map_err(|_| ApiError::BodyIncomplete)?;
            // Trailers say nothing to us.
            let Ok(data) = frame.into_data() else { continue };
            if received.len().saturating_add(data.len()) > limit {
                return Err(ApiError::TooLarge { limit });
            }
            room.grow(received.len() + data.len())?;
            received.extend_from_slice(&data);
        }
        Ok((received.into(), room))
    }

    /// Takes memory for an answer, which is whole already, until all of it has been sent or given up.
    pub(crate) async fn hold(
        &self,
        client: IpAddr,
        answer: Response,
    ) -> Result<Response, ApiError> {
        let (head, body) = answer.into_parts();
        let bytes = body.collect().await;
        let bytes = bytes.map_err(|_| ApiError::Internal { what: "an answer has no end" })?;
        let bytes = bytes.to_bytes();
        let mut room = self.room(client);
        room.grow(bytes.len())?;
        // The server takes the bytes out of the body long before they are sent.
        let body = Bytes::from_owner(Held { bytes, _room: room });
        Ok(Response::from_parts(head, body.into()))
    }

    fn room(&self, client: IpAddr) -> Room {
        let hash = self.hasher.hash_one(network_of(client)) % PLACES as u64;
        let place = usize::try_from(hash).unwrap_or(0);
        let (budget, of_one) = (Arc::clone(&self.all), Arc::clone(&self.of_one));
        Room { budget, permits: None, of_one, place, pieces: 0 }
    }
}

impl Room {
    /// Makes room for `len` bytes in all; refuses when too much is under way.
    fn grow(&mut self, len: usize) -> Result<(), ApiError> {
        let more = len.div_ceil(PIECE).saturating_sub(self.pieces);
        if more == 0 {
            return Ok(());
        }
        let count = u32::try_from(more).map_err(|_| ApiError::Busy)?;
        let permits = Arc::clone(&self.budget).try_acquire_many_owned(count);
        let permits = permits.map_err(|_| ApiError::Busy)?;
        match &mut self.permits {
            Some(held) => held.merge(permits),
            None => self.permits = Some(permits),
        }
        self.pieces += more;
        let Some(of_one) = self.of_one.get(self.place) else { return Err(ApiError::Busy) };
        let before = of_one.fetch_add(more, Ordering::AcqRel);
        if before + more > BUDGET_OF_ONE { Err(ApiError::Busy) } else { Ok(()) }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(of_one) = self.of_one.get(self.place) {
            of_one.fetch_sub(self.pieces, Ordering::AcqRel);
        }
    }
}

/// How long the body may be: no longer than it says, if it says so.
pub(crate) fn declared_length(headers: &HeaderMap, limit: usize) -> Result<usize, ApiError> {
    let Some(length) = headers.get(header::CONTENT_LENGTH) else { return Ok(limit) };
    let length = length.to_str().ok().and_then(|text| text.parse().ok());
    length.filter(|length| *length <= limit).ok_or(ApiError::TooLarge { limit })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[tokio::test]
    async fn no_single_client_takes_all_of_the_memory() {
        let budget = BodyBudget::new();
        let mut rooms = Vec::new();
        let refused = loop {
            let mut room = budget.room(client(1));
            match room.grow(16 << 20) {
                Ok(()) => rooms.push(room),
                Err(refused) => break refused,
            }
        };
        assert!(matches!(refused, ApiError::Busy));
        assert_eq!(rooms.len(), 4);
        let body = || Body::from(vec![b' '; 100_000]);
        assert!(budget.receive(client(1), body(), 1 << 20).await.is_err());
        // Of another one; the places are chosen at random, so one of many must be free.
        let mut others = Vec::new();
        for last in 2..20 {
            others.push(budget.receive(client(last), body(), 1 << 20).await.is_ok());
        }
        assert!(others.iter().filter(|taken| **taken).count() > 15);
        rooms.clear();
        let (bytes, room) = budget.receive(client(1), body(), 100_000).await.unwrap();
        assert_eq!((bytes.len(), room.pieces), (100_000, 2));
        drop(room);
        let too_large = budget.receive(client(1), body(), 99_999).await;
        assert!(matches!(too_large.err(), Some(ApiError::TooLarge { limit: 99_999 })));
        assert_eq!(budget.all.available_permits(), BUDGET);
        assert!(budget.of_one.iter().all(|held| held.load(Ordering::Acquire) == 0));
    }

    #[tokio::test]
    async fn answers_that_nobody_reads_take_no_more_than_there_is() {
        let budget = BodyBudget::new();
        let answer = || Response::new(Body::from(vec![b' '; 16 << 20]));
        let mut unread = Vec::new();
        let refused = loop {
            match budget.hold(client(1), answer()).await {
                // As the server does: the bytes are out of the body, and not sent.
                Ok(answer) => unread.push(answer.into_body().collect().await.unwrap().to_bytes()),
                Err(refused) => break refused,
            }
        };
        assert!(matches!(refused, ApiError::Busy));
        assert_eq!(unread.len(), 4);
        assert_eq!(unread[0].len(), 16 << 20);
        unread.pop();
        assert!(budget.hold(client(1), answer()).await.is_ok());
        unread.clear();
        assert_eq!(budget.all.available_permits(), BUDGET);
    }
}
