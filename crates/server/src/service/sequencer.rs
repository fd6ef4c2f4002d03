//! The sequencer: the one thread that appends to the log.
//!
//! Handlers put checked entries into a bounded queue and wait. The thread takes whatever has
//! gathered, up to 256 entries, and appends it as one batch: the longer a disk takes to sync, the
//! more entries share the next sync, without a timer. An entry is answered only after the store
//! has said that its batch is durable and published.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use tokio::sync::{oneshot, watch};

use sealwright_store::{Appended, NewEntry, Store, StoreError};

use super::metrics::SequencerMetrics;
use crate::error::ApiError;
use crate::state::now;

/// Most entries of one batch.
const MAX_BATCH: usize = 256;

/// Jobs that wait; more are refused.
const QUEUE: usize = 1024;

/// A checkpoint older than this many seconds is signed again when somebody asks for it.
pub(crate) const MAX_CHECKPOINT_AGE_S: u64 = 10;

type Answer<T> = oneshot::Sender<Result<T, ApiError>>;

enum Job {
    Append(Box<NewEntry>, Answer<Appended>),
    Refresh(Answer<Vec<u8>>),
    Stop,
}

/// The handlers' end of the queue.
#[derive(Clone)]
pub(crate) struct Sequencer {
    queue: SyncSender<Job>,
    /// Closed when the thread has ended, for whatever reason.
    ended: watch::Receiver<()>,
    metrics: SequencerMetrics,
}

impl Sequencer {
    /// Starts the thread.
    pub(crate) fn start(
        store: Arc<Mutex<Store>>,
        metrics: SequencerMetrics,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let measured = metrics.clone();
        let (queue, jobs) = sync_channel(QUEUE);
        let (alive, ended) = watch::channel(());
        let thread = thread::Builder::new().name("sequencer".to_owned()).spawn(move || {
            let _alive = alive;
            run(&store, &jobs, &measured);
        })?;
        Ok((Self { queue, ended, metrics }, thread))
    }

    /// Appends an entry; returns when it is durable and published.
    pub(crate) async fn append(&self, entry: NewEntry) -> Result<Appended, ApiError> {
        // Others in the same batch must not pay for it.
        entry.check()?;
        self.ask(|answer| Job::Append(Box::new(entry), answer)).await
    }

    /// A checkpoint signed at most [`MAX_CHECKPOINT_AGE_S`] seconds ago.
    pub(crate) async fn refresh(&self) -> Result<Vec<u8>, ApiError> {
        self.ask(Job::Refresh).await
    }

    /// Whether the thread still works.
    pub(crate) fn is_alive(&self) -> bool {
        self.ended.has_changed().is_ok()
    }

    /// Returns when the thread has ended.
    pub(crate) async fn ended(mut self) {
        while self.ended.changed().await.is_ok() {}
    }

    /// Lets the thread finish what is in the queue, and then end. Blocks while the queue is full.
    pub(crate) fn stop(&self) {
        // If it does not arrive, the thread has ended already.
        let _ = self.queue.send(Job::Stop);
    }

    async fn ask<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> Result<T, ApiError> {
        let (answer, answered) = oneshot::channel();
        self.queue.try_send(job(answer)).map_err(|error| match error {
            TrySendError::Full(_) => ApiError::Busy,
            TrySendError::Disconnected(_) => ApiError::Stopping,
        })?;
        self.metrics.queued.inc();
        answered.await.map_err(|_| ApiError::Stopping)?
    }
}

fn run(store: &Mutex<Store>, jobs: &Receiver<Job>, metrics: &SequencerMetrics) {
    let mut stop = false;
    while !stop {
        let Ok(first) = jobs.recv() else { return };
        let mut batch = Batch::default();
        stop = batch.add(first);
        while !stop && batch.entries.len() < MAX_BATCH {
            let Ok(job) = jobs.try_recv() else { break };
            stop = batch.add(job);
        }
        let Ok(mut store) = store.lock() else {
            tracing::error!("a thread panicked while it held the store; nothing more is appended");
            return;
        };
        let taken = batch.waiting.len() + batch.refreshing.len();
        metrics.queued.dec_by(i64::try_from(taken).unwrap_or(0));
        if let Ok(entries @ 1..) = u32::try_from(batch.entries.len()) {
            metrics.batches.observe(entries.into());
        }
        let outcome = batch.work(&mut store);
        // Whoever is answered wants to read.
        drop(store);
        outcome.answer();
    }
}

#[derive(Default)]
struct Batch {
    entries: Vec<NewEntry>,
    waiting: Vec<Answer<Appended>>,
    refreshing: Vec<Answer<Vec<u8>>>,
}

/// A batch that is done, and what came of it.
struct Outcome {
    appended: Result<Vec<Appended>, Arc<StoreError>>,
    waiting: Vec<Answer<Appended>>,
    checkpoint: Result<Vec<u8>, Arc<StoreError>>,
    refreshing: Vec<Answer<Vec<u8>>>,
}

impl Batch {
    /// Returns whether this was the last job.
    fn add(&mut self, job: Job) -> bool {
        match job {
            Job::Append(entry, answer) => {
                self.entries.push(*entry);
                self.waiting.push(answer);
            }
            Job::Refresh(answer) => self.refreshing.push(answer),
            Job::Stop => return true,
        }
        false
    }

    fn work(self, store: &mut Store) -> Outcome {
        let Self { entries, waiting, refreshing } = self;
        let appended = if entries.is_empty() {
            Ok(Vec::new())
        } else {
            store.append_by(&entries, &now).map_err(Arc::new)
        };
        let checkpoint = if refreshing.is_empty() {
            Ok(Vec::new())
        } else {
            store
                .refresh_checkpoint_by(&now, MAX_CHECKPOINT_AGE_S)
                .map(|checkpoint| checkpoint.note().to_vec())
                .map_err(Arc::new)
        };
        Outcome { appended, waiting, checkpoint, refreshing }
    }
}

impl Outcome {
    fn answer(self) {
        // A client that has gone away is not told, and what it sent is in the log nevertheless.
        match self.appended {
            Ok(appended) => {
                for (answer, appended) in self.waiting.into_iter().zip(appended) {
                    let _ = answer.send(Ok(appended));
                }
            }
            Err(error) => refuse(self.waiting, &error),
        }
        match self.checkpoint {
            Ok(note) => {
                for answer in self.refreshing {
                    let _ = answer.send(Ok(note.clone()));
                }
            }
            Err(error) => refuse(self.refreshing, &error),
        }
    }
}

fn refuse<T>(waiting: Vec<Answer<T>>, error: &Arc<StoreError>) {
    for answer in waiting {
        let _ = answer.send(Err(ApiError::Store(Arc::clone(error))));
    }
}

#[cfg(test)]
mod tests {
    use sealwright_store::StatementRecord;
    use sealwright_tlog::LogKey;

    use super::*;
    use crate::service::metrics::Metrics;

    fn entry(n: usize) -> NewEntry {
        NewEntry {
            body: n.to_string().into_bytes(),
            statement: Some(StatementRecord {
                envelope_sha256: "0".repeat(64),
                ..StatementRecord::default()
            }),
        }
    }

    #[test]
    fn a_full_queue_refuses_and_what_it_took_is_answered_before_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let key = LogKey::generate("localhost").unwrap();
        let store = Store::open(dir.path(), "localhost", &key, now()).unwrap();
        let store = Arc::new(Mutex::new(store));
        let (sequencer, thread) =
            Sequencer::start(Arc::clone(&store), Metrics::new().sequencer).unwrap();
        let mut answers = Vec::new();
        {
            // The thread gets no further than to its first batch.
            let _busy = store.lock().unwrap();
            let refused = loop {
                let (answer, answered) = oneshot::channel();
                match sequencer.queue.try_send(Job::Append(Box::new(entry(answers.len())), answer))
                {
                    Ok(()) => answers.push(answered),
                    Err(refused) => break refused,
                }
            };
            assert!(matches!(refused, TrySendError::Full(_)));
        }
        assert!((QUEUE..=QUEUE + MAX_BATCH).contains(&answers.len()));
        sequencer.stop();
        thread.join().unwrap();
        assert!(!sequencer.is_alive());
        for (index, mut answered) in answers.into_iter().enumerate() {
            let appended = answered.try_recv().unwrap().unwrap();
            assert_eq!((appended.index, appended.duplicate), (index as u64, false));
        }
        let (answer, _) = oneshot::channel();
        let late = sequencer.queue.try_send(Job::Refresh(answer));
        assert!(matches!(late, Err(TrySendError::Disconnected(_))));
    }
}
