//! Asking witnesses for cosignatures (C2SP tlog-witness, the asking side).
//!
//! A thread of its own watches for new checkpoints and asks every witness; writers never wait for
//! it. A cosignature covers the checkpoint's text, which is the same when the log only signs it again
//! with a new time, so it counts until the tree grows.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::Deserialize;

use sealwright_store::Store;
use sealwright_tlog::cosignature::CosignerKey;
use sealwright_tlog::witness::AddCheckpoint;
use sealwright_tlog::{NoteSignature, SignedNote};

use super::StartError;
use crate::client::ServiceClient;
use crate::state::lock;

/// How often the thread looks for a new checkpoint.
const LOOK: Duration = Duration::from_millis(200);
/// A witness that did not cosign is asked again, but no sooner than this.
const RETRY: Duration = Duration::from_secs(10);
/// A witness may know another size than the log thinks, and say so; then it is asked once more.
const ATTEMPTS: usize = 3;
const MAX_WITNESSES: usize = 32;
const MAX_ANSWER: usize = 64 << 10;

/// `witnesses.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WitnessesFile {
    /// How many cosignatures make a checkpoint a witnessed one.
    quorum: usize,
    witness: Vec<WitnessEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WitnessEntry {
    /// Where `add-checkpoint` is.
    url: String,
    /// The witness's public key with its name.
    vkey: String,
    /// PEM file with the authorities for https.
    ca: Option<PathBuf>,
}

/// The witnesses to ask, and how many of them make a quorum.
pub(crate) struct Witnesses {
    quorum: usize,
    witnesses: Vec<Peer>,
}

struct Peer {
    key: CosignerKey,
    client: ServiceClient,
    /// The size it cosigned last, as far as we know.
    size: u64,
    /// The text of the checkpoint that it cosigned last.
    done: String,
    not_before: Option<Instant>,
}

/// The cosignatures that have come; shared with those who show the checkpoint.
#[derive(Default)]
pub(crate) struct Cosignatures(Mutex<Gathered>);

#[derive(Default)]
struct Gathered {
    /// The text of the checkpoint that they are on.
    text: String,
    lines: Vec<NoteSignature>,
    /// The last checkpoint that reached the quorum.
    witnessed: Option<String>,
}

/// Asks until it is stopped.
pub(super) struct Asking {
    stop: Sender<()>,
    stopping: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Witnesses {
    /// Reads the file.
    ///
    /// # Errors
    /// [`StartError::Witnesses`].
    pub(super) fn read(path: &Path) -> Result<Self, StartError> {
        let bad = |problem: String| StartError::Witnesses { path: path.to_owned(), problem };
        let text = fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
        let file: WitnessesFile =
            toml::from_str(&text).map_err(|error| bad(error.message().to_owned()))?;
        let count = file.witness.len();
        if count > MAX_WITNESSES || !(1..=count).contains(&file.quorum) {
            return Err(bad(format!("a quorum of {} out of {count} witnesses", file.quorum)));
        }
        let mut witnesses: Vec<Peer> = Vec::new();
        for entry in file.witness {
            let peer = Peer::new(entry).map_err(bad)?;
            // The same key twice would count twice.
            if witnesses.iter().any(|other| other.key == peer.key) {
                return Err(bad(format!("the witness {} is there twice", peer.key.name())));
            }
            witnesses.push(peer);
        }
        Ok(Self { quorum: file.quorum, witnesses })
    }

    /// Starts the thread.
    pub(super) fn start(
        mut self,
        store: Arc<Mutex<Store>>,
        gathered: Arc<Cosignatures>,
    ) -> std::io::Result<Asking> {
        let (stop, stopped) = channel();
        let stopping = Arc::new(AtomicBool::new(false));
        let is_stopping = Arc::clone(&stopping);
        let thread = thread::Builder::new().name("witnesses".to_owned()).spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(LOOK) {
                self.round(&store, &gathered, &is_stopping);
            }
        })?;
        Ok(Asking { stop, stopping, thread })
    }

    /// Asks all witnesses that have not cosigned the current checkpoint, at the same time.
    fn round(&mut self, store: &Mutex<Store>, gathered: &Cosignatures, stopping: &AtomicBool) {
        let Some(current) = current(store) else { return };
        let quorum = self.quorum;
        let due = |peer: &&mut Peer| {
            peer.done != current.text() && peer.not_before.is_none_or(|at| at <= Instant::now())
        };
        thread::scope(|scope| {
            for peer in self.witnesses.iter_mut().filter(due) {
                let current = &current;
                scope.spawn(move || match peer.ask(store, current, stopping) {
                    Ok(Some(line)) => gathered.add(current, line, quorum),
                    // The tree has grown in the meantime: the next round is about the new one.
                    Ok(None) => {}
                    Err(problem) => {
                        let witness = peer.key.name();
                        tracing::warn!(witness, problem, "a witness did not cosign");
                        peer.not_before = Some(Instant::now() + RETRY);
                    }
                });
            }
        });
    }
}

impl Asking {
    /// Ends the thread, which takes as long as one request to a witness may take.
    pub(super) fn stop(self) {
        self.stopping.store(true, Ordering::Relaxed);
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the thread that asks witnesses panicked");
        }
    }
}

impl Peer {
    fn new(entry: WitnessEntry) -> Result<Self, String> {
        let key = CosignerKey::parse(&entry.vkey).map_err(|error| format!("vkey: {error}"))?;
        let ca = entry
            .ca
            .map(|path| fs::read(&path).map_err(|error| format!("{}: {error}", path.display())));
        let client = ServiceClient::new(&entry.url, ca.transpose()?.as_deref())
            .map_err(|error| error.to_string())?;
        Ok(Self { key, client, size: 0, done: String::new(), not_before: None })
    }

    /// The witness's cosignature of `current`, verified; `None` if the log has grown since.
    fn ask(
        &mut self,
        store: &Mutex<Store>,
        current: &SignedNote,
        stopping: &AtomicBool,
    ) -> Result<Option<NoteSignature>, String> {
        for _ in 0..ATTEMPTS {
            if stopping.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let Some((request, size)) = self.request(store, current)? else { return Ok(None) };
            let (status, body) = self
                .client
                .post_text("add-checkpoint", &request.encode(), MAX_ANSWER)
                .map_err(|error| error.to_string())?;
            match status {
                200 => {
                    let line = self.read(current, &body)?;
                    self.size = size;
                    self.done = current.text().to_owned();
                    return Ok(Some(line));
                }
                409 => {
                    let known =
                        std::str::from_utf8(&body).ok().and_then(|b| b.trim_end().parse().ok());
                    self.size = known.ok_or("it answers 409 without a size")?;
                    if self.size > size {
                        // Rolled back, or a second instance with the same key.
                        return Err(format!(
                            "it has cosigned {} entries of this log, which has only {size}",
                            self.size
                        ));
                    }
                }
                status => return Err(format!("it answers with status {status}")),
            }
        }
        Err("it names another size each time".to_owned())
    }

    /// What to ask: the proof, from the size that the witness knows, for this very checkpoint.
    fn request(
        &self,
        store: &Mutex<Store>,
        current: &SignedNote,
    ) -> Result<Option<(AddCheckpoint, u64)>, String> {
        // A poisoned lock ends the sequencer; this thread has nothing to add to that.
        let Ok(store) = store.lock() else { return Ok(None) };
        let size = store.size();
        let is_current =
            SignedNote::parse(store.checkpoint().note()).is_ok_and(|n| n.text() == current.text());
        if !is_current {
            return Ok(None);
        }
        let proof = store.consistency(self.size.min(size)).map_err(|error| error.to_string())?;
        let (old_size, hashes) = (proof.old_size, proof.hashes);
        Ok(Some((AddCheckpoint { old_size, hashes, note: current.clone() }, size)))
    }

    /// Its line out of the answer; others are ignored.
    fn read(&self, current: &SignedNote, lines: &[u8]) -> Result<NoteSignature, String> {
        let note = [current.text().as_bytes(), b"\n", lines].concat();
        let note = SignedNote::parse(&note).map_err(|error| error.to_string())?;
        let time = self.key.verify(&note).map_err(|error| error.to_string())?;
        time.ok_or("its answer has no cosignature by its key")?;
        let line = note.signatures_by(self.key.name(), self.key.key_id()).next().cloned();
        line.ok_or_else(|| "its answer has no cosignature by its key".to_owned())
    }
}

impl Cosignatures {
    /// A checkpoint of the log with the cosignatures that are on it.
    pub(crate) fn put_on(&self, note: Vec<u8>) -> Vec<u8> {
        let gathered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_on = SignedNote::parse(&note).is_ok_and(|note| note.text() == gathered.text);
        if !is_on {
            return note;
        }
        let lines: String = gathered.lines.iter().map(|line| format!("{line}\n")).collect();
        [note, lines.into_bytes()].concat()
    }

    /// How many are on that checkpoint.
    pub(crate) fn count(&self, note: &[u8]) -> usize {
        let gathered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_on = SignedNote::parse(note).is_ok_and(|note| note.text() == gathered.text);
        if is_on { gathered.lines.len() } else { 0 }
    }

    /// The last checkpoint that reached the quorum, with its cosignatures.
    pub(crate) fn witnessed(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).witnessed.clone()
    }

    fn add(&self, current: &SignedNote, line: NoteSignature, quorum: usize) {
        let mut gathered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if gathered.text != current.text() {
            gathered.text = current.text().to_owned();
            gathered.lines.clear();
        }
        gathered.lines.push(line);
        if gathered.lines.len() >= quorum {
            let lines: String = gathered.lines.iter().map(|line| format!("{line}\n")).collect();
            gathered.witnessed = Some(format!("{current}{lines}"));
        }
    }
}

fn current(store: &Mutex<Store>) -> Option<SignedNote> {
    SignedNote::parse(lock(store).ok()?.checkpoint().note()).ok()
}
