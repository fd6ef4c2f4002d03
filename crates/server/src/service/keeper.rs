//! What the service itself is trusted for, as it is on disk; and the thread that keeps it from expiring.
//!
//! A command changes files: it gives the authorities new certificates, publishes a root. The service sees
//! it and goes on with what is there. It signs the TUF metadata anew long before it expires, and says in
//! its log output what people have to sign.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::StartError;
use super::authorities::{self, Authorities};
use super::config::Config;
use super::data::TRUSTED_ROOT_FILE;
use super::issuers::Issuers;
use super::tuf::{self, CeremonyError};
use super::upload_trust::UploadTrust;
use crate::reload::Live;
use crate::state::time_now;

/// How often the thread looks whether the trusted root is another one.
const LOOK: Duration = Duration::from_secs(1);
/// How often it looks what expires.
const RENEW: Duration = Duration::from_secs(60);
/// How often it repeats what people have to do.
const REMIND: Duration = Duration::from_secs(24 * 60 * 60);

/// The trusted root, and the authorities that it names last.
pub(crate) struct Standing {
    /// `trusted_root.json` as it is on disk.
    pub(crate) trusted_root_json: String,
    /// The authorities, if this instance has them.
    pub(crate) authorities: Option<Arc<Authorities>>,
    /// Whether the trusted root says that it has them.
    pub(crate) names_authorities: bool,
    /// Whom the instance believes when bundles are submitted: itself first.
    pub(crate) upload_trust: UploadTrust,
}

/// The same, looked at again when the trusted root changes.
pub(crate) type LiveStanding = Live<Standing, StartError>;

/// Where people log in, as a file says that may change.
type IssuersFile = Option<Arc<Live<Issuers, StartError>>>;

/// Reads all of it.
pub(super) fn standing(config: &Config) -> Result<LiveStanding, StartError> {
    let (dir, keys) = (config.data_dir.clone(), config.authority_keys.clone());
    let (roots, certificates) = (config.trust.clone(), config.trust_root_ca.clone());
    Live::load("authorities", move |files| {
        let path = dir.join(TRUSTED_ROOT_FILE);
        let text = files.read_text(&path).map_err(|error| StartError::file(&path, error))?;
        let authorities = authorities::open(&dir, &keys)?.map(Arc::new);
        let upload_trust = UploadTrust::read(&text, authorities.as_deref(), &roots, &certificates)?;
        let names_authorities = names_authorities(&text);
        Ok(Standing { trusted_root_json: text, authorities, names_authorities, upload_trust })
    })
}

fn names_authorities(trusted_root: &str) -> bool {
    let root: Value = serde_json::from_str(trusted_root).unwrap_or_default();
    let lists = ["certificateAuthorities", "timestampAuthorities"];
    lists.iter().any(|list| root[list].as_array().is_some_and(|list| !list.is_empty()))
}

/// The thread. When it is dropped, the thread ends by itself.
pub(super) struct Keeper {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

/// What the thread works on.
struct Work {
    data_dir: PathBuf,
    standing: Arc<LiveStanding>,
    issuers: IssuersFile,
    /// Whether the repository is this front end's to keep.
    keeps_tuf: bool,
    reminded: Option<Instant>,
}

impl Keeper {
    /// Renews what is due, and goes on doing so.
    ///
    /// # Errors
    /// [`StartError::Ceremony`] when the repository cannot be renewed now, [`StartError::Threads`].
    pub(super) fn start(
        config: &Config,
        standing: Arc<LiveStanding>,
        issuers: IssuersFile,
    ) -> Result<Self, StartError> {
        let (data_dir, keeps_tuf) = (config.data_dir.clone(), config.keeps_tuf());
        let mut work = Work { data_dir, standing, issuers, keeps_tuf, reminded: None };
        work.renew().map_err(|error| StartError::Ceremony(Box::new(error)))?;
        let (stop, stopped) = channel();
        let run = move || {
            let (mut renewed, mut known) = (Instant::now(), work.standing.get());
            while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                let now = work.standing.get();
                if Arc::ptr_eq(&known, &now) && renewed.elapsed() < RENEW {
                    continue;
                }
                (renewed, known) = (Instant::now(), now);
                if let Err(error) = work.renew() {
                    tracing::error!(%error, "the TUF metadata cannot be renewed");
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
        if !self.keeps_tuf {
            return Ok(());
        }
        let now = time_now()?;
        let issuers = self.issuers.as_ref().map(|issuers| issuers.get());
        let login = issuers.as_ref().and_then(|issuers| issuers.login_url());
        let wanted = tuf::wanted(&self.data_dir, login)?;
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
