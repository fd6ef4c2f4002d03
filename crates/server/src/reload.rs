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
pub(crate) struct FilesRead(Vec<(PathBuf, Option<Sha256>)>);

impl FilesRead {
    /// Reads a file and remembers what was in it, also if it cannot be read.
    pub(crate) fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        let content = fs::read(path);
        self.0.push((path.to_owned(), content.as_ref().ok().map(|bytes| Sha256::of(bytes))));
        content
    }

    /// The same for text.
    pub(crate) fn read_text(&mut self, path: &Path) -> io::Result<String> {
        let bytes = self.read(path)?;
        String::from_utf8(bytes)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8"))
    }

    /// One digest over all of them: what was read, in the order in which it was.
    pub(crate) fn digest(&self) -> Sha256 {
        let parts = self.0.iter().map(|(_, digest)| match digest {
            Some(digest) => digest.to_string(),
            None => "-".to_owned(),
        });
        Sha256::of(parts.collect::<Vec<_>>().join("\n").as_bytes())
    }

    fn has_changed(&self) -> bool {
        self.0.iter().any(|(path, known)| {
            let now = fs::read(path).ok().map(|bytes| Sha256::of(&bytes));
            now != *known
        })
    }
}

/// Something that was read from files, as it is in force.
pub(crate) struct Live<T, E> {
    /// What it is, for the log: "the file with the writers".
    what: &'static str,
    read: Box<dyn Fn(&mut FilesRead) -> Result<T, E> + Send + Sync>,
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
    New(Sha256),
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
    pub(crate) fn look(&self) -> Look<E> {
        let mut seen = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let last = seen.refused.as_ref().unwrap_or(&seen.used);
        if !last.has_changed() {
            return Look::Same;
        }
        let mut files = FilesRead::default();
        match (self.read)(&mut files) {
            Ok(new) => {
                let is_same = seen.used == files;
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
                seen.refused = None;
                seen.used = files;
                if is_same { Look::Same } else { Look::New(seen.used.digest()) }
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
    /// Looks at the files, and says in the log what came of it; gives the digest of new ones.
    fn reload(&self) -> Option<(&'static str, Sha256)>;
}

impl<T: Send + Sync + 'static, E: Error + Send + Sync + 'static> Reload for Live<T, E> {
    fn reload(&self) -> Option<(&'static str, Sha256)> {
        let what = self.what;
        match self.look() {
            Look::Same => None,
            Look::New(digest) => {
                tracing::info!(target: "audit", what, "changed; what is new is in force");
                Some((what, digest))
            }
            Look::Refused(error) => {
                let error: &(dyn Error + 'static) = &error;
                tracing::error!(
                    what,
                    error,
                    "changed and cannot be used; the old one stays in force"
                );
                None
            }
        }
    }
}

/// Looks at `things` every two seconds and on SIGHUP, for ever; calls `changed` with what is new.
pub(crate) async fn follow(
    things: Vec<Arc<dyn Reload>>,
    mut changed: impl FnMut(&'static str, Sha256) + Send,
) {
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
            let thing = Arc::clone(thing);
            if let Ok(Some((what, digest))) =
                tokio::task::spawn_blocking(move || thing.reload()).await
            {
                changed(what, digest);
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
        let live = Live::load("the number", move |files| -> Result<u32, String> {
            let text = files.read_text(&from).map_err(|error| error.to_string())?;
            text.parse().map_err(|_| format!("{text:?} is no number"))
        })
        .unwrap();
        assert!(matches!(live.look(), Look::Same));
        for broken in ["x", "y"] {
            fs::write(&path, broken).unwrap();
            assert!(matches!(live.look(), Look::Refused(_)), "{broken}");
            assert!(matches!(live.look(), Look::Same), "{broken}");
            assert!(live.is_refused());
        }
        fs::remove_file(&path).unwrap();
        assert!(matches!(live.look(), Look::Refused(_)));
        assert_eq!(*live.get(), 1);
        // As it was.
        fs::write(&path, "1").unwrap();
        assert!(matches!(live.look(), Look::Same));
        assert!(!live.is_refused());
        fs::write(&path, "2").unwrap();
        assert!(matches!(live.look(), Look::New(digest) if digest == live.digest()));
        assert_eq!(*live.get(), 2);
    }
}
