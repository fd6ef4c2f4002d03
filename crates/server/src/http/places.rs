//! Who has a connection, and who loses it when there are too many.
//!
//! A client that says nothing, or says it slowly, costs a place. When all places are taken, whoever
//! has kept the server waiting longest makes room; a request that is being worked on never does.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

/// Stands for a request that is being worked on.
const WORKING: u64 = u64::MAX;

/// The places of one server.
pub(super) struct Places {
    limit: usize,
    started: Instant,
    taken: Mutex<Taken>,
    /// Told when a place is given back.
    freed: Notify,
}

#[derive(Default)]
struct Taken {
    next: u64,
    connections: HashMap<u64, Arc<Connection>>,
}

/// One connection, as its place sees it.
struct Connection {
    /// Since when the server waits for the client, in milliseconds after the start; [`WORKING`] while
    /// the client waits for the server.
    waiting_since: AtomicU64,
    evicted: Notify,
}

/// A place; given back when dropped.
pub(super) struct Place {
    places: Arc<Places>,
    id: u64,
    connection: Arc<Connection>,
}

/// What a connection says of itself.
#[derive(Clone)]
pub(super) struct Phase {
    started: Instant,
    connection: Arc<Connection>,
}

impl Places {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        let (taken, freed) = (Mutex::default(), Notify::new());
        Arc::new(Self { limit, started: Instant::now(), taken, freed })
    }

    /// A place for a connection that is there. If all are taken, the one that has kept the server
    /// waiting longest is ended; if the server works on all of them, this waits.
    pub(super) async fn take(self: &Arc<Self>) -> Place {
        loop {
            let freed = self.freed.notified();
            if let Some(place) = self.try_take() {
                return place;
            }
            freed.await;
        }
    }

    fn try_take(self: &Arc<Self>) -> Option<Place> {
        let mut taken = self.lock();
        if taken.connections.len() >= self.limit {
            let (id, _) = taken
                .connections
                .iter()
                .map(|(id, connection)| (*id, connection.waiting_since.load(Ordering::Acquire)))
                .filter(|(_, since)| *since != WORKING)
                .min_by_key(|(id, since)| (*since, *id))?;
            if let Some(connection) = taken.connections.remove(&id) {
                connection.evicted.notify_one();
            }
        }
        let id = taken.next;
        taken.next += 1;
        let connection = Arc::new(Connection {
            waiting_since: AtomicU64::new(since(self.started)),
            evicted: Notify::new(),
        });
        taken.connections.insert(id, Arc::clone(&connection));
        drop(taken);
        Some(Place { places: Arc::clone(self), id, connection })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// For whoever knows what the connection does.
    pub(super) fn phase(&self) -> Phase {
        Phase { started: self.places.started, connection: Arc::clone(&self.connection) }
    }

    /// Returns when somebody else needs the place.
    pub(super) async fn evicted(&self) {
        self.connection.evicted.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().connections.remove(&self.id);
        self.places.freed.notify_one();
    }
}

impl Phase {
    /// The server has the whole request.
    pub(super) fn working(&self) {
        self.connection.waiting_since.store(WORKING, Ordering::Release);
    }

    /// The client has yet to send something, or to read the answer.
    pub(super) fn waiting(&self) {
        self.connection.waiting_since.store(since(self.started), Ordering::Release);
    }
}

fn since(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(WORKING - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_waits_longest_makes_room_and_whoever_is_worked_for_does_not() {
        let places = Places::new(2);
        let busy = places.take().await;
        busy.phase().working();
        let idle = places.take().await;
        let next = places.take().await;
        idle.evicted().await;
        drop(idle);
        assert!(places.lock().connections.contains_key(&busy.id));
        next.phase().working();
        assert!(places.try_take().is_none());
        // Whoever waits for a place gets the first that is given back.
        let waiting = tokio::spawn({
            let places = Arc::clone(&places);
            async move { places.take().await.id }
        });
        drop(busy);
        assert_eq!(waiting.await.unwrap(), 3);
    }
}
