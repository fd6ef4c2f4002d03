//! Files that are read again when they change: certificates, and who may do what.
//!
//! They are looked at every few seconds, and at once on SIGHUP. What cannot be used is reported, and
//! what was read before stays in force.

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use sealwright_manifest::Sha256;

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// What was read of files, so that a change can be seen. Contents are compared, not times: those
/// change in ways of their own where files are links into a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FilesRead(Vec<FileRead>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct FileRead {
    path: PathBuf,
    digest: Option<Sha256>,
    is_secret: bool,
}

impl FilesRead {
    /// Reads a file and remembers what was in it, also if it cannot be read.
    pub(crate) fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        self.read_as(path, false)
    }

    /// The same for what nobody else should see, not even its digest.
    pub(crate) fn read_secret(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        self.read_as(path, true)
    }

    fn read_as(&mut self, path: &Path, is_secret: bool) -> io::Result<Vec<u8>> {
        let content = fs::read(path);
        let digest = content.as_ref().ok().map(|bytes| Sha256::of(bytes));
        self.0.push(FileRead { path: path.to_owned(), digest, is_secret });
        content
    }

    /// The same for text.
    pub(crate) fn read_text(&mut self, path: &Path) -> io::Result<String> {
        let bytes = self.read(path)?;
        String::from_utf8(bytes)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8"))
    }

    /// One digest over all of them but the secret ones: what was read, in the order in which it was.
    pub(crate) fn digest(&self) -> Sha256 {
        let parts = self.0.iter().filter(|file| !file.is_secret).map(|file| match file.digest {
            Some(digest) => digest.to_string(),
            None => "-".to_owned(),
        });
        Sha256::of(parts.collect::<Vec<_>>().join("\n").as_bytes())
    }

    fn has_changed(&self) -> bool {
        self.0.iter().any(|FileRead { path, digest, .. }| {
            let now = fs::read(path).ok().map(|bytes| Sha256::of(&bytes));
            now != *digest
        })
    }
}

/// What is done before something new comes into force, which it does not after an error: gets what it
/// is, and the digest of its files.
pub(crate) type Before = dyn Fn(&'static str, &Sha256) -> Result<(), String> + Send + Sync;

type Read<T, E> = Box<dyn Fn(&mut FilesRead) -> Result<T, E> + Send + Sync>;

/// Something that was read from files, as it is in force.
pub(crate) struct Live<T, E> {
    /// What it is, in a word: "writers".
    what: &'static str,
    read: Read<T, E>,
    current: RwLock<Arc<T>>,
    files: Mutex<Seen>,
}

struct Seen {
    /// What `current` was made of.
    used: FilesRead,
    /// What could not be used, and was reported.
    refused: Option<FilesRead>,
}

/// What came of looking at files again.
pub(crate) enum Look<E> {
    /// Nothing is new.
    Same,
    /// They changed, and what is in them now is in force.
    New,
    /// They changed, and what has to be done first failed; the next look tries again.
    Postponed(String),
    /// They changed, and cannot be used.
    Refused(E),
}

impl<T, E> Live<T, E> {
    /// Reads for the first time.
    pub(crate) fn load(
        what: &'static str,
        read: impl Fn(&mut FilesRead) -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, E> {
        let mut used = FilesRead::default();
        let current = RwLock::new(Arc::new(read(&mut used)?));
        let files = Mutex::new(Seen { used, refused: None });
        Ok(Self { what, read: Box::new(read), current, files })
    }

    /// What is in force.
    pub(crate) fn get(&self) -> Arc<T> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Digest of the files that it was read from.
    pub(crate) fn digest(&self) -> Sha256 {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).used.digest()
    }

    /// Whether the files hold something that cannot be used.
    pub(crate) fn is_refused(&self) -> bool {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).refused.is_some()
    }

    /// Looks at the files, and reads them again if they changed.
    pub(crate) fn look(&self, before: &Before) -> Look<E> {
        let mut seen = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let last = seen.refused.as_ref().unwrap_or(&seen.used);
        if !last.has_changed() {
            return Look::Same;
        }
        let mut files = FilesRead::default();
        match (self.read)(&mut files) {
            Ok(new) => {
                let is_same = seen.used == files;
                if !is_same && let Err(problem) = before(self.what, &files.digest()) {
                    return Look::Postponed(problem);
                }
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
                seen.refused = None;
                seen.used = files;
                if is_same { Look::Same } else { Look::New }
            }
            Err(error) => {
                seen.refused = Some(files);
                Look::Refused(error)
            }
        }
    }
}

/// Something of which the files may hold what cannot be used.
pub(crate) trait Refusable: Send + Sync {
    /// Whether they do.
    fn is_refused(&self) -> bool;
}

impl<T: Send + Sync, E: Send + Sync> Refusable for Live<T, E> {
    fn is_refused(&self) -> bool {
        Self::is_refused(self)
    }
}

/// Something that [`follow`] looks at again and again. Blocks.
pub(crate) trait Reload: Send + Sync + 'static {
    /// Looks at the files, and says in the log what came of it.
    fn reload(&self, before: &Before);
}

impl<T: Send + Sync + 'static, E: Error + Send + Sync + 'static> Reload for Live<T, E> {
    fn reload(&self, before: &Before) {
        let what = self.what;
        match self.look(before) {
            Look::Same => {}
            Look::New => tracing::info!(target: "audit", what, "changed; what is new is in force"),
            Look::Postponed(problem) => {
                tracing::error!(what, problem, "changed; the old one stays in force for now");
            }
            Look::Refused(error) => {
                let error: &(dyn Error + 'static) = &error;
                tracing::error!(
                    what,
                    error,
                    "changed and cannot be used; the old one stays in force"
                );
            }
        }
    }
}

/// Looks at `things` every two seconds and on SIGHUP, for ever.
pub(crate) async fn follow(things: Vec<Arc<dyn Reload>>, before: Arc<Before>) {
    // Without the signal, looking now and then is enough.
    let mut hangup = signal(SignalKind::hangup()).ok();
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = look.tick() => {}
            () = received(&mut hangup) => {}
        }
        for thing in &things {
            let (thing, before) = (Arc::clone(thing), Arc::clone(&before));
            if tokio::task::spawn_blocking(move || thing.reload(&*before)).await.is_err() {
                tracing::error!("looking at a file again panicked");
            }
        }
    }
}

async fn received(signal: &mut Option<Signal>) {
    let came = match signal {
        Some(signal) => signal.recv().await,
        None => None,
    };
    if came.is_none() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_file_changes_nothing_and_is_reported_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("number");
        fs::write(&path, "1").unwrap();
        let from = path.clone();
        let fine = |_: &str, _: &Sha256| Ok(());
        let live = Live::load("number", move |files| -> Result<u32, String> {
            let text = files.read_text(&from).map_err(|error| error.to_string())?;
            text.parse().map_err(|_| format!("{text:?} is no number"))
        })
        .unwrap();
        assert!(matches!(live.look(&fine), Look::Same));
        for broken in ["x", "y"] {
            fs::write(&path, broken).unwrap();
            assert!(matches!(live.look(&fine), Look::Refused(_)), "{broken}");
            assert!(matches!(live.look(&fine), Look::Same), "{broken}");
            assert!(live.is_refused());
        }
        fs::remove_file(&path).unwrap();
        assert!(matches!(live.look(&fine), Look::Refused(_)));
        assert_eq!(*live.get(), 1);
        // As it was.
        fs::write(&path, "1").unwrap();
        assert!(matches!(live.look(&fine), Look::Same));
        assert!(!live.is_refused());
        fs::write(&path, "2").unwrap();
        assert!(matches!(live.look(&fine), Look::New));
        assert_eq!(*live.get(), 2);
        let digest = live.digest();
        // What cannot be recorded waits.
        fs::write(&path, "3").unwrap();
        let refuse = |_: &str, _: &Sha256| Err("full".to_owned());
        for _ in 0..2 {
            assert!(matches!(live.look(&refuse), Look::Postponed(_)));
            assert_eq!((*live.get(), live.digest()), (2, digest));
        }
        assert!(matches!(live.look(&fine), Look::New));
        assert_ne!((*live.get(), live.digest()), (3, digest));
    }
}
