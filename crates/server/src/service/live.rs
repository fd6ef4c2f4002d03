//! What a running service says of itself, and the thread that keeps it true.
//!
//! A command changes files: it gives the authorities new certificates, publishes a root. The service sees
//! it within a second and goes on with what is there. It signs the TUF metadata anew long before it
//! expires, and says in its log what people have to sign.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::authorities::{self, Authorities};
use super::data::TRUSTED_ROOT_FILE;
use super::tuf::{self, CeremonyError};
use super::{StartError, issuers::Issuers};
use crate::state::time_now;

/// How often the thread looks whether the trusted root is another one.
const LOOK: Duration = Duration::from_secs(1);
/// How often it looks what expires.
const RENEW: Duration = Duration::from_secs(60);
/// How often it repeats what people have to do.
const REMIND: Duration = Duration::from_secs(24 * 60 * 60);

/// The trusted root and the authorities, as they are now.
pub(crate) struct Live(RwLock<Now>);

#[derive(Clone)]
struct Now {
    trusted_root_json: Arc<str>,
    authorities: Option<Arc<Authorities>>,
}

impl Live {
    pub(super) fn new(trusted_root_json: &str, authorities: Option<Authorities>) -> Self {
        let trusted_root_json = trusted_root_json.into();
        Self(RwLock::new(Now { trusted_root_json, authorities: authorities.map(Arc::new) }))
    }

    /// `trusted_root.json` as it is on disk.
    pub(crate) fn trusted_root_json(&self) -> Arc<str> {
        self.now().trusted_root_json
    }

    /// The authorities, if this instance has them.
    pub(crate) fn authorities(&self) -> Option<Arc<Authorities>> {
        self.now().authorities
    }

    fn now(&self) -> Now {
        // Nobody panics between two assignments.
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes over what is on disk, if it is another trusted root; says whether it was.
    fn reload(&self, data_dir: &Path) -> Result<bool, StartError> {
        let path = data_dir.join(TRUSTED_ROOT_FILE);
        let text = fs::read_to_string(&path).map_err(|error| StartError::file(&path, error))?;
        if *text == *self.trusted_root_json() {
            return Ok(false);
        }
        let authorities = authorities::open(data_dir)?.map(Arc::new);
        let now = Now { trusted_root_json: text.into(), authorities };
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = now;
        Ok(true)
    }
}

/// The thread. When it is dropped, the thread ends by itself.
pub(super) struct Keeper {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

/// What the thread works on.
struct Work {
    data_dir: PathBuf,
    live: Arc<Live>,
    oidc_url: Option<String>,
    reminded: Option<Instant>,
}

impl Keeper {
    /// Renews what is due, and goes on doing so.
    ///
    /// # Errors
    /// [`StartError::Ceremony`] when the repository cannot be renewed now, [`StartError::Threads`].
    pub(super) fn start(
        data_dir: &Path,
        live: Arc<Live>,
        issuers: Option<&Issuers>,
    ) -> Result<Self, StartError> {
        let oidc_url = issuers.and_then(Issuers::login_url).map(str::to_owned);
        let mut work = Work { data_dir: data_dir.to_owned(), live, oidc_url, reminded: None };
        work.renew().map_err(|error| StartError::Ceremony(Box::new(error)))?;
        let (stop, stopped) = channel();
        let run = move || {
            let mut renewed = Instant::now();
            while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                let changed = work.live.reload(&work.data_dir);
                let changed = changed.unwrap_or_else(|error| {
                    tracing::error!(%error, "the trusted root on disk cannot be used");
                    false
                });
                if changed {
                    tracing::info!("the trusted root is another one now");
                }
                if changed || renewed.elapsed() >= RENEW {
                    renewed = Instant::now();
                    if let Err(error) = work.renew() {
                        tracing::error!(%error, "the TUF metadata cannot be renewed");
                    }
                }
            }
        };
        let thread = thread::Builder::new().name("keeper".to_owned()).spawn(run);
        Ok(Self { stop, thread: thread.map_err(StartError::Threads)? })
    }

    /// Lets it finish what it does.
    pub(super) fn stop(self) {
        // If it does not arrive, the thread has ended already.
        let _ = self.stop.send(());
        if self.thread.join().is_err() {
            tracing::error!("the keeper of the TUF metadata panicked");
        }
    }
}

impl Work {
    fn renew(&mut self) -> Result<(), CeremonyError> {
        let now = time_now()?;
        let wanted = tuf::wanted(&self.data_dir, self.oidc_url.as_deref())?;
        if tuf::renew(&self.data_dir, &wanted, now)? {
            tracing::info!("signed the TUF metadata anew");
        }
        if self.reminded.is_some_and(|last| last.elapsed() < REMIND) {
            return Ok(());
        }
        self.reminded = Some(Instant::now());
        match tuf::status(&self.data_dir, now) {
            Ok(status) => {
                for problem in &status.problems {
                    tracing::error!(problem, "clients cannot learn whom to trust");
                }
                for warning in &status.warnings {
                    tracing::warn!(warning, "somebody has to do something");
                }
                Ok(())
            }
            Err(CeremonyError::NoRepository { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
