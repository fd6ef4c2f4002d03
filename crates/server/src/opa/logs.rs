//! OPA's decision log: a line for each decision in a file, and batches to a collector.
//!
//! The file is written before the answer goes out. The collector is sent a gzipped array of events
//! (`POST …/logs`) in the background, and again if it does not take them; there is room for so many, and
//! what finds none is dropped and counted.

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use ureq::Agent;

use crate::admission::record::DecisionLog;
use crate::client::{ClientError, tls_config};

/// Events that wait for the collector, and their size.
const MAX_WAITING: usize = 10_000;
const MAX_WAITING_BYTES: usize = 64 << 20;
/// One batch: events, and bytes before they are packed.
const MAX_BATCH: usize = 1000;
const MAX_BATCH_BYTES: usize = 1 << 20;
/// How long an event waits for others.
const GATHER: Duration = Duration::from_millis(500);
const MIN_RETRY: Duration = Duration::from_millis(100);
const MAX_RETRY: Duration = Duration::from_secs(30);
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// At the end.
const FINISH: Duration = Duration::from_secs(5);

/// Where decisions are written; nowhere by default.
#[derive(Default)]
pub struct DecisionLogs {
    file: Option<DecisionLog>,
    upload: Option<Upload>,
}

/// Somebody who takes decision logs.
#[derive(Debug, Clone, Default)]
pub struct Collector {
    /// What `/logs` is added to.
    pub url: String,
    /// PEM certificates to trust; those of the system's kind otherwise.
    pub ca: Option<Vec<u8>>,
    /// A bearer token to show.
    pub token: Option<String>,
}

/// Why decisions cannot be logged.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The file cannot be written.
    #[error("cannot append to the decision log")]
    File {
        /// What the system said.
        source: io::Error,
    },
    /// The certificates of the collector cannot be used.
    #[error("the collector of decision logs")]
    Collector {
        /// What is wrong.
        source: ClientError,
    },
    /// No thread to send from.
    #[error("the system gives no thread")]
    Thread {
        /// What the system said.
        source: io::Error,
    },
}

impl DecisionLogs {
    /// Also to the end of a file, one JSON object a line.
    ///
    /// # Errors
    /// [`LogsError::File`].
    pub fn with_file(mut self, path: &Path) -> Result<Self, LogsError> {
        self.file = Some(DecisionLog::open(path).map_err(|source| LogsError::File { source })?);
        Ok(self)
    }

    /// Also to a collector.
    ///
    /// # Errors
    /// [`LogsError`].
    pub fn with_collector(mut self, collector: &Collector) -> Result<Self, LogsError> {
        self.upload = Some(Upload::start(collector)?);
        Ok(self)
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.file.is_some() || self.upload.is_some()
    }

    pub(super) fn write(&self, event: &Value) -> io::Result<()> {
        if let Some(file) = &self.file {
            file.append(event)?;
        }
        if let Some(upload) = &self.upload {
            upload.queue.push(event.to_string());
        }
        Ok(())
    }

    /// Events that were sent, and that were dropped.
    pub(super) fn counts(&self) -> (u64, u64) {
        let queue = self.upload.as_ref().map(|upload| &upload.queue);
        queue.map_or((0, 0), |queue| {
            (queue.sent.load(Ordering::Relaxed), queue.dropped.load(Ordering::Relaxed))
        })
    }

    pub(super) fn finish(&self) {
        if let Some(upload) = &self.upload {
            upload.finish();
        }
    }
}

/// Now, as OPA writes it.
pub(super) fn timestamp() -> String {
    OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default()
}

struct Upload {
    queue: Arc<Queue>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    sent: AtomicU64,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<String>,
    bytes: usize,
    /// No more will come; what is there has until then.
    ends: Option<Instant>,
}

/// What came of sending.
enum Sent {
    Yes,
    /// Perhaps later.
    Later(String),
    /// The collector will never take this.
    Never(String),
}

impl Upload {
    fn start(collector: &Collector) -> Result<Self, LogsError> {
        let failed = |source| LogsError::Collector { source };
        let tls = tls_config(collector.ca.as_deref(), None).map_err(failed)?;
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(SEND_TIMEOUT))
            .user_agent(concat!("sealwright/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls)
            .build()
            .new_agent();
        let url = format!("{}/logs", collector.url.trim_end_matches('/'));
        let (queue, token) = (Arc::new(Queue::default()), collector.token.clone());
        let work = Arc::clone(&queue);
        let thread = std::thread::Builder::new()
            .name("decision-logs".to_owned())
            .spawn(move || work.send_all(|batch| post(&agent, &url, token.as_deref(), batch)))
            .map_err(|source| LogsError::Thread { source })?;
        Ok(Self { queue, thread: Mutex::new(Some(thread)) })
    }

    fn finish(&self) {
        self.queue.lock().ends.get_or_insert_with(|| Instant::now() + FINISH);
        self.queue.changed.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("sending decision logs panicked");
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // A panic elsewhere cannot leave half an event behind.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, event: String) {
        let mut waiting = self.lock();
        let bytes = waiting.bytes.saturating_add(event.len());
        if waiting.events.len() >= MAX_WAITING || bytes > MAX_WAITING_BYTES {
            // Said once for each thousand: a collector that is away must not fill the disk instead.
            if self.dropped.fetch_add(1, Ordering::Relaxed).is_multiple_of(1000) {
                tracing::warn!("the collector takes no decision logs; events are dropped");
            }
            return;
        }
        waiting.bytes = bytes;
        waiting.events.push_back(event);
        self.changed.notify_all();
    }

    fn send_all(&self, send: impl Fn(&[u8]) -> Sent) {
        let mut retry = MIN_RETRY;
        while let Some(batch) = self.next_batch() {
            let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
            loop {
                match packed(&batch)
                    .map_or_else(|error| Sent::Never(error.to_string()), |b| send(&b))
                {
                    Sent::Yes => {
                        self.sent.fetch_add(count, Ordering::Relaxed);
                        retry = MIN_RETRY;
                        break;
                    }
                    Sent::Never(problem) => {
                        tracing::error!(problem, count, "the collector refuses decision logs");
                        self.dropped.fetch_add(count, Ordering::Relaxed);
                        break;
                    }
                    Sent::Later(problem) => {
                        tracing::warn!(
                            problem,
                            count,
                            "the collector took no decision logs; again"
                        );
                        if !self.pause(retry) {
                            self.dropped.fetch_add(count, Ordering::Relaxed);
                            break;
                        }
                        retry = (retry * 2).min(MAX_RETRY);
                    }
                }
            }
        }
    }

    /// Events to send together; none when there will be no more.
    fn next_batch(&self) -> Option<Vec<String>> {
        let mut waiting = self.lock();
        while waiting.events.is_empty() {
            if waiting.ends.is_some() {
                return None;
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        let until = Instant::now() + GATHER;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let is_full = waiting.events.len() >= MAX_BATCH || waiting.bytes >= MAX_BATCH_BYTES;
            if is_full || left.is_zero() || waiting.ends.is_some() {
                break;
            }
            let waited = self.changed.wait_timeout(waiting, left);
            waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let (mut batch, mut bytes) = (Vec::new(), 0_usize);
        while batch.len() < MAX_BATCH
            && let Some(event) = waiting.events.front()
            && (batch.is_empty() || bytes.saturating_add(event.len()) <= MAX_BATCH_BYTES)
        {
            bytes = bytes.saturating_add(event.len());
            batch.extend(waiting.events.pop_front());
        }
        waiting.bytes = waiting.bytes.saturating_sub(bytes);
        Some(batch)
    }

    /// Waits before the next try; false if there is none, because the process ends.
    fn pause(&self, how_long: Duration) -> bool {
        let until = Instant::now() + how_long;
        let mut waiting = self.lock();
        loop {
            let now = Instant::now();
            if waiting.ends.is_some_and(|ends| ends <= now) {
                return false;
            }
            let until = waiting.ends.map_or(until, |ends| until.min(ends));
            let left = until.saturating_duration_since(now);
            if left.is_zero() {
                return true;
            }
            let waited = self.changed.wait_timeout(waiting, left);
            waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn packed(batch: &[String]) -> io::Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(format!("[{}]", batch.join(",")).as_bytes())?;
    gzip.finish()
}

fn post(agent: &Agent, url: &str, token: Option<&str>, body: &[u8]) -> Sent {
    let mut request = agent.post(url).content_type("application/json");
    request = request.header("content-encoding", "gzip");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    match request.send(body) {
        Ok(answer) => match answer.status().as_u16() {
            200..300 => Sent::Yes,
            // Not what is sent is wrong, but the time, or who may.
            status @ (401 | 403 | 404 | 408 | 425 | 429 | 500..) => {
                Sent::Later(format!("HTTP {status}"))
            }
            status => Sent::Never(format!("HTTP {status}")),
        },
        Err(error) => Sent::Later(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_is_dropped_and_counted() {
        let queue = Queue::default();
        for _ in 0..MAX_WAITING + 7 {
            queue.push("{}".to_owned());
        }
        assert_eq!(queue.dropped.load(Ordering::Relaxed), 7);
        let large = Queue::default();
        large.push("x".repeat(MAX_WAITING_BYTES));
        large.push("x".to_owned());
        assert_eq!(large.dropped.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn batches_are_sent_in_order_again_and_to_the_end() {
        let queue = Queue::default();
        for number in 0..MAX_BATCH + 1 {
            queue.push(number.to_string());
        }
        queue.lock().ends = Some(Instant::now() + Duration::from_secs(60));
        let tries = Mutex::new(Vec::new());
        queue.send_all(|body| {
            let mut tries = tries.lock().unwrap();
            let text = io::read_to_string(flate2::read::GzDecoder::new(body)).unwrap();
            let events: Vec<usize> = serde_json::from_str(&text).unwrap();
            tries.push((events[0], events.len()));
            match tries.len() {
                1 => Sent::Later("busy".to_owned()),
                2 => Sent::Yes,
                _ => Sent::Never("bad".to_owned()),
            }
        });
        assert_eq!(*tries.lock().unwrap(), [(0, MAX_BATCH), (0, MAX_BATCH), (MAX_BATCH, 1)]);
        assert_eq!(queue.sent.load(Ordering::Relaxed), 1000);
        assert_eq!(queue.dropped.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_collector_that_stays_away_does_not_hold_the_end_up() {
        let queue = Queue::default();
        queue.push("{}".to_owned());
        queue.lock().ends = Some(Instant::now());
        queue.send_all(|_| Sent::Later("gone".to_owned()));
        assert_eq!(queue.dropped.load(Ordering::Relaxed), 1);
    }
}
