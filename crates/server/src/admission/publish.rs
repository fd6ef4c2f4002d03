//! Signs and logs the verdicts in the decisions file, behind the answers.
//!
//! One thread follows the file, record by record, so it needs no queue: what waits is on disk already.
//! How far it is stands in a file beside (`….logged`), with the bundle that is under way: after a crash
//! the same signature is submitted again, which the service knows.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use sealwright_attest::{
    Bundle, BundleError, PublicKey, SharedSigner, SignError, Statement, Timestamp, TrustedRoot,
    VerifyError, check_signature, parse_strict, predicate, sign,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::admit::VERIFIER_ID;
use super::record::DecisionLog;
use crate::client::{ClientError, ServiceClient};
use crate::durable;

/// The longest line that is read: a record with the largest input that stands in it, and a summary of
/// the most statements that a decision may look at.
const MAX_LINE: usize = 8 << 20;

const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How long an earlier process may take to end.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// Where verdicts are logged.
pub trait StatementLog: Send + Sync {
    /// Has `bundle`, signed by `key`, logged; gives it completed by its log entry, which is for the
    /// caller to verify. Submitting again is safe.
    ///
    /// # Errors
    /// [`ClientError`].
    fn submit(&self, bundle: &Bundle, key: &PublicKey) -> Result<Bundle, ClientError>;
}

impl StatementLog for ServiceClient {
    fn submit(&self, bundle: &Bundle, key: &PublicKey) -> Result<Bundle, ClientError> {
        ServiceClient::submit(self, bundle, key)
    }
}

/// How far the thread is, for those who watch.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Bytes of the decisions file that are dealt with.
    pub(crate) offset: AtomicU64,
    /// When the oldest decision was made that is not logged yet, in seconds since 1970; 0 for none.
    pub(crate) oldest: AtomicU64,
    /// Logged since the start.
    pub(crate) logged: AtomicU64,
    /// Refused by the service for good, or not fit to be signed, since the start.
    pub(crate) refused: AtomicU64,
    /// Failed tries since the start.
    pub(crate) failures: AtomicU64,
    /// 1 if the thread has ended though it should not.
    pub(crate) dead: AtomicU64,
}

/// The thread, seen from whoever decides. When it is dropped, the thread ends after what it does.
#[derive(Debug)]
pub(crate) struct Publisher {
    wake: SyncSender<()>,
    pub(crate) progress: Arc<Progress>,
    /// [`PublicKey::id`].
    pub(crate) key_id: String,
}

impl Publisher {
    /// Reads how far an earlier process came, and goes on from there.
    pub(crate) fn start(mut work: Work) -> io::Result<Self> {
        // One token is enough: whoever wakes up looks for all there is.
        let (wake, woken) = sync_channel(1);
        let progress = Arc::clone(&work.progress);
        let key_id = work.signer.public_key().id();
        thread::Builder::new().name("verdicts".to_owned()).spawn(move || work.run(&woken))?;
        Ok(Self { wake, progress, key_id })
    }

    /// There is a new record. Never waits.
    pub(crate) fn wake(&self) {
        // If the channel is full, the thread looks anyway.
        if self.wake.try_send(()) == Err(TrySendError::Disconnected(()))
            && self.progress.dead.swap(1, Ordering::Relaxed) == 0
        {
            tracing::error!(
                "the thread that logs verdicts has ended: none are logged until a restart"
            );
        }
    }
}

/// What the thread works on.
pub(crate) struct Work {
    decisions: PathBuf,
    /// [`DecisionLog::durable`].
    durable: Arc<AtomicU64>,
    state_file: PathBuf,
    /// Two of them would log everything twice.
    _lock: File,
    signer: SharedSigner,
    log: Arc<dyn StatementLog>,
    root: TrustedRoot,
    state: State,
    progress: Arc<Progress>,
}

/// What is in the file beside the decisions file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    /// Where the first record begins that is not dealt with.
    offset: u64,
    /// The id of the file's first record: so that another file is noticed.
    #[serde(default)]
    first: Option<String>,
    /// Where the last one began that is, and its id: so that a lost end is noticed.
    #[serde(default)]
    last: Option<Last>,
    /// The signed verdict of the record at `offset`, before it is known to be logged.
    #[serde(default)]
    pending: Option<Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Last {
    offset: u64,
    end: u64,
    id: String,
}

/// A whole line of the decisions file.
struct Line {
    /// Where the next one begins.
    end: u64,
    /// None if it is not JSON, or too long for a record of ours.
    record: Option<Value>,
    is_too_long: bool,
}

/// What is to be done about a record.
enum ToSign {
    Nothing,
    /// It says that it is to be signed, and is no decision of ours.
    Unfit(&'static str),
    Statement(Box<Statement>),
}

/// Why a verdict is not logged yet. The next try may succeed.
#[derive(Debug, thiserror::Error)]
enum PublishError {
    #[error("the decisions file or the state beside it cannot be used: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Sign(#[from] SignError),
    #[error(transparent)]
    Submit(#[from] ClientError),
    #[error("the service's answer does not verify: {0}")]
    Unverified(#[from] VerifyError),
    #[error("a bundle of ours does not parse: {0}")]
    Bundle(#[from] BundleError),
}

impl Work {
    pub(crate) fn new(
        decisions: &DecisionLog,
        signer: SharedSigner,
        log: Arc<dyn StatementLog>,
        root: TrustedRoot,
    ) -> io::Result<Self> {
        let (decisions, durable) = (decisions.path().to_owned(), decisions.durable());
        let state_file = durable::beside(&decisions, ".logged");
        let lock = lock(&durable::beside(&state_file, ".lock"))?;
        let progress = Arc::default();
        let state = State::default();
        let mut work = Self {
            decisions,
            durable,
            state_file,
            _lock: lock,
            signer,
            log,
            root,
            state,
            progress,
        };
        work.state = work.recall()?;
        work.progress.offset.store(work.state.offset, Ordering::Relaxed);
        Ok(work)
    }

    /// How far an earlier process came with this very file.
    fn recall(&self) -> io::Result<State> {
        let bytes = match fs::read(&self.state_file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::default()),
            Err(error) => return Err(error),
        };
        let state: State = serde_json::from_slice(&bytes)
            .map_err(|error| io::Error::other(format!("{}: {error}", self.state_file.display())))?;
        if self.is_whole(&state)? {
            return Ok(state);
        }
        match &state.first {
            Some(first) if self.first_id()?.as_ref() == Some(first) => self.after_a_loss(&state),
            _ => {
                tracing::warn!(
                    "the decisions file is another one than before; all of it is looked at"
                );
                Ok(State::default())
            }
        }
    }

    /// Whether everything is still there that is dealt with.
    fn is_whole(&self, state: &State) -> io::Result<bool> {
        let size = self.durable.load(Ordering::Acquire);
        let Some(last) = &state.last else { return Ok(state.offset <= size) };
        if size < state.offset {
            return Ok(false);
        }
        let line = self.line_at(last.offset)?;
        let known = line.filter(|line| line.end == last.end).and_then(|line| line.record);
        Ok(known.is_some_and(|record| record["id"] == *last.id))
    }

    fn first_id(&self) -> io::Result<Option<String>> {
        let mut offset = 0;
        while let Some(line) = self.line_at(offset)? {
            if let Some(record) = line.record {
                return Ok(Some(id_of(&record)));
            }
            offset = line.end;
        }
        Ok(None)
    }

    /// The file lost its end: what is before is dealt with, and is not logged once more.
    fn after_a_loss(&self, state: &State) -> io::Result<State> {
        let until = state.last.as_ref().map_or(0, |last| last.offset);
        let mut kept = State { first: state.first.clone(), ..State::default() };
        while let Some(line) = self.line_at(kept.offset)?.filter(|line| line.end <= until) {
            if let Some(record) = line.record {
                let last = Last { offset: kept.offset, end: line.end, id: id_of(&record) };
                kept.last = Some(last);
            }
            kept.offset = line.end;
        }
        self.progress.failures.fetch_add(1, Ordering::Relaxed);
        let (logged, offset) = (state.offset, kept.offset);
        tracing::error!(
            logged,
            offset,
            "the decisions file has lost records whose verdicts are logged"
        );
        Ok(kept)
    }

    fn run(&mut self, woken: &Receiver<()>) {
        let mut wait = FIRST_WAIT;
        loop {
            match self.catch_up() {
                Ok(()) => {
                    if wait > FIRST_WAIT {
                        tracing::info!("verdicts are logged again");
                    }
                    wait = FIRST_WAIT;
                    if woken.recv().is_err() {
                        return;
                    }
                }
                Err(error) => {
                    self.progress.failures.fetch_add(1, Ordering::Relaxed);
                    self.say_behind(&error);
                    if ended_within(woken, wait) {
                        return;
                    }
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
            }
        }
    }

    fn say_behind(&self, error: &PublishError) {
        let size = fs::metadata(&self.decisions).map_or(0, |meta| meta.len());
        let behind_bytes = size.saturating_sub(self.state.offset);
        let oldest = Timestamp::from_unix(self.progress.oldest.load(Ordering::Relaxed));
        let oldest = oldest.map(|time| time.to_string()).unwrap_or_default();
        let error: &(dyn std::error::Error + 'static) = error;
        tracing::warn!(error, behind_bytes, oldest, "verdicts are not logged for now");
    }

    /// Logs everything that is in the file by now.
    fn catch_up(&mut self) -> Result<(), PublishError> {
        let before = self.state.clone();
        let key_id = self.signer.public_key().id();
        while let Some(Line { end, record, is_too_long }) = self.line_at(self.state.offset)? {
            if is_too_long {
                self.refuse("", "its record is too long");
            }
            if let Some(record) = record {
                match to_sign(&record, &key_id) {
                    ToSign::Nothing => {}
                    ToSign::Unfit(why) => self.refuse(&id_of(&record), why),
                    ToSign::Statement(statement) => {
                        let time = record["time"].as_str().and_then(|t| Timestamp::parse(t).ok());
                        let time = time.map_or(0, Timestamp::unix);
                        self.progress.oldest.store(time, Ordering::Relaxed);
                        self.publish(&record, &statement)?;
                    }
                }
                let id = id_of(&record);
                self.state.first.get_or_insert_with(|| id.clone());
                self.state.last = Some(Last { offset: self.state.offset, end, id });
            }
            self.state.offset = end;
            self.state.pending = None;
            self.progress.offset.store(end, Ordering::Relaxed);
            self.progress.oldest.store(0, Ordering::Relaxed);
        }
        if self.state != before {
            self.save()?;
        }
        Ok(())
    }

    fn refuse(&self, id: &str, why: &str) {
        self.progress.refused.fetch_add(1, Ordering::Relaxed);
        tracing::error!(id, why, "a record is not fit to be signed; it stays unlogged");
    }

    /// Signs, logs, and verifies that it was. An error leaves what was signed for the next try.
    fn publish(&mut self, record: &Value, statement: &Statement) -> Result<(), PublishError> {
        let key = self.signer.public_key().clone();
        let signed_before = self.state.pending.clone().map(Bundle::from_value).transpose()?;
        let payload = statement.to_payload();
        let signed_before = signed_before.filter(|bundle| {
            bundle.envelope().payload == payload && check_signature(bundle, &key).is_ok()
        });
        let bundle = match signed_before {
            Some(bundle) => bundle,
            None => sign(payload, self.signer.as_ref(), &key.id())?,
        };
        self.state.pending = Some(bundle.to_value());
        self.save()?;
        let id = record["id"].as_str().unwrap_or_default();
        match self.log.submit(&bundle, &key) {
            Ok(completed) => {
                let signed = check_signature(&completed, &key)?;
                let logged = signed.check_log(&completed, &self.root)?;
                self.progress.logged.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(id, index = logged.index(), "verdict is logged");
                Ok(())
            }
            Err(error) if is_final(&error) => {
                self.progress.refused.fetch_add(1, Ordering::Relaxed);
                let error: &(dyn std::error::Error + 'static) = &error;
                tracing::error!(id, error, "the service refuses a verdict; it stays unlogged");
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn save(&self) -> io::Result<()> {
        let bytes = serde_json::to_vec(&self.state)?;
        durable::replace(&self.state_file, &bytes, 0o600)
    }

    /// The line that begins there; none if it is not whole yet, or not on disk for certain.
    fn line_at(&self, offset: u64) -> io::Result<Option<Line>> {
        let mut file = File::open(&self.decisions)?;
        let durable = self.durable.load(Ordering::Acquire);
        if file.metadata()?.len().min(durable) < offset {
            return Err(io::Error::other("the decisions file is shorter than what was read of it"));
        }
        file.seek(SeekFrom::Start(offset))?;
        let mut reader = BufReader::with_capacity(64 << 10, file.take(durable - offset));
        let (mut bytes, mut length) = (Vec::new(), 0_u64);
        loop {
            let read = reader.by_ref().take(MAX_LINE as u64).read_until(b'\n', &mut bytes)?;
            length = length.saturating_add(read as u64);
            if bytes.last() == Some(&b'\n') {
                break;
            }
            if read < MAX_LINE {
                return Ok(None);
            }
            // Too long for a record of ours: only its end is looked for.
            bytes.clear();
        }
        let is_whole = bytes.len() as u64 == length;
        let record = if is_whole { parse_strict(&bytes, MAX_LINE).ok() } else { None };
        let end = offset.saturating_add(length);
        Ok(Some(Line { end, record, is_too_long: !is_whole }))
    }
}

/// The statement of a record that says that it is to be signed, by the key with this id: a verdict of
/// ours about the record's model that says what the record says, and nothing else.
fn to_sign(record: &Value, key_id: &str) -> ToSign {
    if record["signed"] != true {
        return ToSign::Nothing;
    }
    let statement = serde_json::to_vec(&record["statement"]).ok();
    let Some(statement) = statement.and_then(|json| Statement::parse(&json).ok()) else {
        return ToSign::Unfit("it has no statement");
    };
    let said = &statement.predicate;
    let [subject] = statement.subject.as_slice() else {
        return ToSign::Unfit("it is not about one model");
    };
    let is_about_model = record["model"]["sha256"].as_str().is_some_and(|model| {
        subject.digest.len() == 1 && subject.digest.get("sha256").is_some_and(|it| it == model)
    });
    let result = match record["allowed"].as_bool() {
        Some(true) => "PASSED",
        Some(false) => "FAILED",
        None => return ToSign::Unfit("it does not say what was answered"),
    };
    if statement.predicate_type != predicate::VERIFICATION_SUMMARY {
        ToSign::Unfit("its statement is no verdict")
    } else if said["verifier"]["id"] != VERIFIER_ID {
        ToSign::Unfit("its verdict is by another verifier")
    } else if !is_about_model {
        ToSign::Unfit("its verdict is about another model")
    } else if said["verificationResult"] != result {
        ToSign::Unfit("its verdict is not what was answered")
    } else if record["signer"] != key_id {
        ToSign::Unfit("it is to be signed by another key")
    } else {
        ToSign::Statement(Box::new(statement))
    }
}

fn id_of(record: &Value) -> String {
    record["id"].as_str().unwrap_or_default().to_owned()
}

fn lock(path: &Path) -> io::Result<File> {
    durable::lock(path, LOCK_WAIT).map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => io::Error::other(format!(
            "another process logs the verdicts of this decisions file: it has {}",
            path.display()
        )),
        _ => error,
    })
}

/// Whether trying again is of no use: the service has looked at the bundle, and does not want it.
fn is_final(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused { status: 400 | 409 | 410 | 413 | 422, .. })
}

/// Waits; says whether nobody decides any more.
fn ended_within(woken: &Receiver<()>, wait: Duration) -> bool {
    let until = Instant::now() + wait;
    loop {
        match woken.recv_timeout(until.saturating_duration_since(Instant::now())) {
            // The service must not be asked more often when there is more to tell.
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => return false,
            Err(RecvTimeoutError::Disconnected) => return true,
        }
    }
}
