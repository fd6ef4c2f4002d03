//! Deploy permits: made, and renewed at half their life, for every model that policy allows.
//!
//! ```toml
//! key = "permit.pem"                 # private key in PEM, not encrypted; for permits alone
//! roles = "roles.sigstore.json"
//! owner_keys = ["owner.pub"]
//! policy = "policy"                  # a directory; the starter policy if it is not there
//! environments = ["production"]
//! life = "4h"
//! witnesses = ["witness.example+…"]  # for policies that ask who cosigned the checkpoint
//! ```
//!
//! One thread looks at the log, decides about each model that somebody approved for an environment as
//! the admission webhook would, and logs a permit (see [`crate::permit`]) if the answer is yes. What is
//! no longer allowed is not renewed.

mod own_log;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use sealwright_attest::{
    KeyFile, RoleBinding, SignError, Signer as _, Timestamp, TrustError, TrustedRoot, predicate,
    sign, verify,
};
use sealwright_manifest::Sha256;
use sealwright_policy::{Policy, Request, decide};
use sealwright_store::Filter;
use serde::Deserialize;
use tokio::runtime::Handle;
use zeroize::Zeroizing;

use super::StartError;
use super::bundles::entry_of;
use super::facts::subjects_of;
use crate::admission::config::{ConfigError, load_owners, load_policy, load_roles};
use crate::error::ApiError;
use crate::evidence::{
    Denial, EvidenceSource as _, LogMemory, RoleBindings, Witnesses, code, gather,
};
use crate::permit::{Life, Permit, ROLE_BINDING, statement};
use crate::reload::{FilesRead, Live};
use crate::state::{State, time_now};
use crate::text;

use own_log::{OwnLog, Stored};

/// How often the thread looks whether there is something to do.
const LOOK: Duration = Duration::from_secs(1);
/// How long it waits after something failed.
const PAUSE: Duration = Duration::from_secs(10);
/// A model that is refused is looked at again after this many seconds, or when something is logged
/// about it; or earlier, so that a refusal for once lets no permit run out.
const RETRY_S: u64 = 600;
/// A permit is renewed after this many seconds at the latest, whatever its life: those who ask for
/// permits believe none for longer than a day unless they are told to.
const LONGEST_UNTIL_RENEWAL_S: u64 = 12 * 60 * 60;
/// Decisions in one go; others may want to use the log meanwhile.
const MAX_PER_PASS: usize = 100;
/// Models times environments, unless the file says otherwise.
const DEFAULT_MAX_MODELS: usize = 10_000;

/// What the file says, read and checked.
pub(super) struct Setup {
    key: KeyFile,
    roles: RoleBindings,
    policy: Policy,
    environments: Vec<String>,
    life: Life,
    max_models: usize,
    witnesses: Witnesses,
}

/// The same, read again when its files change.
pub(super) type LiveSetup = Live<Setup, StartError>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetupFile {
    key: String,
    roles: PathBuf,
    owner_keys: Vec<PathBuf>,
    owners_required: Option<usize>,
    policy: Option<PathBuf>,
    environments: Vec<String>,
    life: Option<Life>,
    max_models: Option<usize>,
    #[serde(default)]
    witnesses: Vec<String>,
}

impl Setup {
    /// Reads the file, and those that it names (relative to it). The role binding has to be in the log of
    /// the trusted root at `root`.
    pub(super) fn read(
        path: &Path,
        root: &Path,
        files: &mut FilesRead,
    ) -> Result<Self, StartError> {
        let unusable = |problem: String| StartError::Permits { path: path.to_owned(), problem };
        let text = files.read_text(path).map_err(|error| StartError::file(path, error))?;
        let file: SetupFile = toml::from_str(&text).map_err(|e| unusable(e.to_string()))?;
        let dir = path.parent().unwrap_or(Path::new("."));
        let bad = |error: ConfigError| unusable(chain(&error));
        let owners: Vec<PathBuf> = file.owner_keys.iter().map(|key| dir.join(key)).collect();
        let roles = dir.join(&file.roles);
        let policy = file.policy.map(|policy| dir.join(policy));
        // So that a change is seen; those who use them read them themselves.
        for used in owners.iter().chain([&roles]) {
            files.read(used).map_err(|error| StartError::file(used, error))?;
        }
        if let Some(folder) = &policy {
            note_files(folder, files).map_err(|error| StartError::file(folder, error))?;
        }
        let environments = file.environments;
        if environments.is_empty() || !environments.iter().all(|name| text::is_dns_label(name)) {
            return Err(unusable("environments is a list of DNS labels, and not empty".to_owned()));
        }
        let json = files.read_text(root).map_err(|error| StartError::file(root, error))?;
        let log = sealwright_sigstore::trusted_root(json.as_bytes())
            .map_err(|_| StartError::TrustedRoot { path: root.to_owned() })?;
        let owners = load_owners(&owners, file.owners_required).map_err(bad)?;
        let key = read_key(dir, &file.key, files).map_err(unusable)?;
        let roles = load_roles(&roles, owners, Some(&log)).map_err(bad)?;
        if let Some((principal, _)) = roles.newest().holder(&key.public_key().id()) {
            let error = PermitsError::KeyOfPrincipal(principal.name.clone());
            return Err(unusable(error.to_string()));
        }
        Ok(Self {
            key,
            roles,
            policy: load_policy(policy.as_deref()).map_err(bad)?,
            environments,
            life: file.life.unwrap_or(Life::DEFAULT),
            max_models: file.max_models.unwrap_or(DEFAULT_MAX_MODELS),
            witnesses: Witnesses::parse(&file.witnesses).map_err(|e| unusable(e.to_string()))?,
        })
    }

    /// Reads it for the first time.
    pub(super) fn live(path: PathBuf, root: PathBuf) -> Result<LiveSetup, StartError> {
        Live::load("permits", move |files| Self::read(&path, &root, files))
    }
}

fn read_key(dir: &Path, reference: &str, files: &mut FilesRead) -> Result<KeyFile, String> {
    let path = dir.join(reference.strip_prefix("file:").unwrap_or(reference));
    let pem = files.read_secret(&path).map(Zeroizing::new);
    let pem = pem.map_err(|error| format!("{}: {error}", path.display()))?;
    let pem = Zeroizing::new(String::from_utf8_lossy(&pem).into_owned());
    KeyFile::from_pem(&pem, None).map_err(|error| format!("{}: {error}", path.display()))
}

/// The files of a policy, so that a change of any of them is seen.
fn note_files(folder: &Path, files: &mut FilesRead) -> io::Result<()> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            paths.push(entry.path());
        }
    }
    paths.sort();
    for path in paths {
        files.read(&path)?;
    }
    Ok(())
}

fn chain(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}

/// The thread.
pub(super) struct Permitting {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Permitting {
    pub(super) fn start(
        setup: Arc<LiveSetup>,
        state: Arc<State>,
        runtime: Handle,
    ) -> io::Result<Self> {
        let (stop, stopped) = channel();
        let mut work = Work::new(setup, OwnLog { state, runtime });
        let thread = thread::Builder::new().name("permits".to_owned()).spawn(move || {
            let mut wait = Duration::ZERO;
            while stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                wait = LOOK;
                let Ok(now) = time_now() else { continue };
                if let Err(error) = work.pass(now) {
                    wait = PAUSE;
                    let error: &(dyn std::error::Error + 'static) = &error;
                    tracing::error!(error, "permits cannot be made");
                }
            }
        })?;
        Ok(Self { stop, thread })
    }

    pub(super) fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the thread that makes permits panicked");
        }
    }
}

/// Why no permits can be made for now.
#[derive(Debug, thiserror::Error)]
enum PermitsError {
    #[error(transparent)]
    Log(#[from] ApiError),
    #[error("{0}")]
    Evidence(#[from] Denial),
    #[error(transparent)]
    Sign(#[from] SignError),
    #[error("the service's own trusted root cannot be used: {0}")]
    Root(#[from] TrustError),
    #[error("the system gives no randomness")]
    Randomness,
    #[error(
        "the role binding in force gives the permit key to {0:?}: it has to be for permits alone"
    )]
    KeyOfPrincipal(String),
}

/// A model in an environment.
type Place = (Sha256, String);

/// What is known of it.
#[derive(Debug, Default)]
struct Candidate {
    /// For people.
    name: String,
    /// When it is looked at next, in seconds since 1970.
    next: u64,
    /// Before that its permit is young, and no other is made; 0 if it has none.
    renew: u64,
}

/// What came of looking at a candidate.
enum Outcome {
    /// A permit that ends then.
    Made(Timestamp),
    /// Policy says no.
    Refused,
    /// The log could not be asked.
    Unknown,
}

struct Work {
    setup: Arc<LiveSetup>,
    log: OwnLog,
    memory: LogMemory,
    /// What `candidates` rest on; none before the first pass.
    known: Option<(Arc<Setup>, Arc<RoleBinding>)>,
    /// Entries that have been looked at.
    seen: u64,
    candidates: BTreeMap<Place, Candidate>,
}

impl Work {
    fn new(setup: Arc<LiveSetup>, log: OwnLog) -> Self {
        let (memory, candidates) = (LogMemory::default(), BTreeMap::new());
        Self { setup, log, memory, known: None, seen: 0, candidates }
    }

    /// Makes the permits that are due at `now`, up to [`MAX_PER_PASS`]; returns how many.
    fn pass(&mut self, now: Timestamp) -> Result<usize, PermitsError> {
        let setup = self.setup.get();
        let (root, root_digest) = self.log.trusted_root()?;
        self.look(&setup, &root, now)?;
        let due = self.candidates.iter().filter(|(_, candidate)| candidate.next <= now.unix());
        let mut due: Vec<(u64, Place)> = due.map(|(place, c)| (c.next, place.clone())).collect();
        // Who waits longest comes first, so that everybody comes.
        due.sort();
        let mut made = 0;
        for (_, place) in due.into_iter().take(MAX_PER_PASS) {
            let outcome = self.permit(&setup, (&root, root_digest), &place, now);
            let outcome = outcome.unwrap_or_else(|error| {
                let (model, environment) = &place;
                let error: &(dyn std::error::Error + 'static) = &error;
                tracing::error!(error, %model, environment, "a permit cannot be made");
                Outcome::Unknown
            });
            let Some(candidate) = self.candidates.get_mut(&place) else { continue };
            candidate.next = match outcome {
                Outcome::Made(ends) => {
                    made += 1;
                    candidate.renew = renewal(now, ends);
                    candidate.renew
                }
                Outcome::Refused => now.unix() + RETRY_S.min(setup.life.seconds() / 4),
                Outcome::Unknown => now.unix() + PAUSE.as_secs(),
            };
        }
        Ok(made)
    }

    /// Looks at what is new in the log.
    fn look(
        &mut self,
        setup: &Arc<Setup>,
        root: &TrustedRoot,
        now: Timestamp,
    ) -> Result<(), PermitsError> {
        let origin = self.memory.current(&self.log, root)?.origin;
        let roles = setup.roles.in_force(&self.log, root, &origin)?;
        if let Some((principal, _)) = roles.holder(&setup.key.public_key().id()) {
            return Err(PermitsError::KeyOfPrincipal(principal.name.clone()));
        }
        let is_known = self.known.as_ref().is_some_and(|(known, bound)| {
            Arc::ptr_eq(known, setup) && bound.digest() == roles.digest()
        });
        let mut filter = Filter::default();
        if is_known {
            filter.except_type = Some(predicate::VERIFICATION_SUMMARY.to_owned());
        } else {
            self.candidates.clear();
            self.seen = 0;
            // Of one's own log there is nothing to remember.
            self.memory = LogMemory::new(setup.witnesses.clone());
            filter.predicate_type = Some(predicate::APPROVAL.to_owned());
        }
        let size = self.log.size()?;
        filter.until = Some(size);
        while self.seen < size {
            filter.from = Some(self.seen);
            let page = self.log.page(&filter)?;
            let Some(last) = page.last() else { break };
            let next = last.index + 1;
            for stored in &page {
                self.consider((setup, &roles), root, stored);
            }
            self.seen = next;
        }
        self.seen = size;
        if !is_known {
            self.recall(setup, &roles, root, now);
            self.known = Some((Arc::clone(setup), roles));
        }
        Ok(())
    }

    /// An approval by somebody in the role binding makes a candidate; what such people say about one
    /// makes it due, unless its permit is young. Strangers' statements change nothing.
    fn consider(
        &mut self,
        (setup, roles): (&Setup, &RoleBinding),
        root: &TrustedRoot,
        stored: &Stored,
    ) {
        let Some(bundle) = &stored.bundle else { return };
        let Ok(verified) = verify(bundle, roles, root) else { return };
        if stored.predicate_type == predicate::APPROVAL {
            let said = verified.statement();
            let environment = said.predicate["environment"].as_str().unwrap_or_default();
            // The model digest comes first; the OMS root after it names no model.
            let model = said.subject.first().and_then(|subject| {
                let digest = Sha256::parse(subject.digest.get("sha256")?).ok()?;
                Some((digest, subject.name.clone()))
            });
            let is_ours = setup.environments.iter().any(|known| known == environment);
            if let (Some((digest, name)), true) = (model, is_ours) {
                let place = (digest, environment.to_owned());
                let is_full = self.candidates.len() >= setup.max_models;
                if is_full && !self.candidates.contains_key(&place) {
                    tracing::error!(%digest, "there are more models than permits are made for");
                    return;
                }
                let candidate = self.candidates.entry(place).or_default();
                candidate.name = name;
                candidate.next = candidate.next.min(candidate.renew);
            }
            return;
        }
        for subject in subjects_of(bundle.to_json().as_bytes()) {
            let Ok(digest) = Sha256::parse(&subject) else { continue };
            let last = (digest, char::MAX.to_string());
            for (_, candidate) in self.candidates.range_mut((digest, String::new())..=last) {
                candidate.next = candidate.next.min(candidate.renew);
            }
        }
    }

    /// Permits that were made before this process began, or by another front end.
    fn recall(&mut self, setup: &Setup, roles: &RoleBinding, root: &TrustedRoot, now: Timestamp) {
        let key = setup.key.public_key();
        let since = Timestamp::from_unix(now.unix().saturating_sub(setup.life.seconds()));
        for ((model, environment), candidate) in &mut self.candidates {
            let since = since.clone().unwrap_or(now);
            let found = match self.log.permits(model, &key.id(), since) {
                Ok(found) => found.bundles,
                // One permit more than needed does no harm.
                Err(error) => {
                    tracing::warn!(%model, environment, %error, "earlier permits cannot be read");
                    Vec::new()
                }
            };
            let permits = found.iter().filter_map(|b| Permit::verify(b, key, root).ok());
            let ours = permits.filter(|permit| {
                permit.environment == *environment
                    && permit.policy == setup.policy.digest()
                    && permit.role_binding == roles.digest().to_string()
            });
            let newest = ours.max_by_key(|permit| permit.expires_on);
            candidate.renew = newest.map_or(0, |p| renewal(p.decided_at, p.expires_on));
            candidate.next = candidate.renew;
        }
    }

    /// Decides about a model, and logs a permit if the answer is yes.
    fn permit(
        &self,
        setup: &Setup,
        (root, root_digest): (&TrustedRoot, Sha256),
        (model, environment): &Place,
        now: Timestamp,
    ) -> Result<Outcome, PermitsError> {
        let evidence = match gather(&self.log, &setup.roles, root, &self.memory, model) {
            Ok(evidence) => evidence,
            // Of this model alone: others may have their permits.
            Err(denial) => {
                tracing::warn!(%model, environment, %denial, "no permit");
                return Ok(if is_of_the_log(&denial) {
                    Outcome::Unknown
                } else {
                    Outcome::Refused
                });
            }
        };
        let name = self.candidates.get(&(*model, environment.clone())).map(|c| c.name.clone());
        let mut id = [0; 16];
        aws_lc_rs::rand::fill(&mut id).map_err(|_| PermitsError::Randomness)?;
        let request = Request {
            id: format!("permit-{}", hex::encode(id)),
            time: now,
            purpose: "deploy".to_owned(),
            environment: environment.clone(),
            cluster: None,
            namespace: None,
            workload: None,
            principal: None,
            dry_run: false,
            model_name: name.unwrap_or_default(),
            model_digest: *model,
            rejected: evidence.ignored,
        };
        let verdict =
            decide(&setup.policy, &request, Some(&evidence.log.view()), &evidence.verified);
        if !verdict.allow {
            let codes: Vec<&str> = verdict.violations.iter().map(|v| v.code.as_str()).collect();
            tracing::info!(%model, environment, codes = codes.join(","), "no permit");
            return Ok(Outcome::Refused);
        }
        let ends = now.plus_seconds(setup.life.seconds());
        let resources = [
            (ROLE_BINDING, evidence.roles.digest()),
            ("trusted-root", root_digest),
            ("policy-input", verdict.input.digest()),
        ];
        let statement = statement(&request, &verdict, &resources, ends);
        let key = setup.key.public_key();
        let bundle = sign(statement.to_payload(), &setup.key, &key.id())?;
        let index = self.log.append(entry_of(&bundle, key)?)?;
        tracing::info!(%model, environment, index, expires_on = %ends, "permit");
        Ok(Outcome::Made(ends))
    }
}

/// Whether it says nothing of the model: the log could not be asked, or not believed, this time.
fn is_of_the_log(denial: &Denial) -> bool {
    [
        code::SERVICE_UNREACHABLE,
        code::SERVICE_ANSWER,
        code::LOG_CHECKPOINT_INVALID,
        code::LOG_ROLLED_BACK,
        code::LOG_INCONSISTENT,
    ]
    .contains(&denial.code)
}

/// When a permit is made anew that was made at `from` and ends at `to`.
fn renewal(from: Timestamp, to: Timestamp) -> u64 {
    let life = to.unix().saturating_sub(from.unix());
    from.unix() + (life / 2).min(LONGEST_UNTIL_RENEWAL_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_are_renewed_at_half_their_life_and_in_time_for_who_believes_none_for_long() {
        let from = Timestamp::parse("2026-11-24T00:00:00Z").unwrap();
        for (life, after) in [(4, 2), (24, 12), (48, 12), (24 * 30, 12)] {
            let at = renewal(from, from.plus_seconds(life * 3600));
            assert_eq!(at - from.unix(), after * 3600, "{life}");
        }
    }

    #[test]
    fn what_the_log_does_not_say_is_no_refusal() {
        assert!(is_of_the_log(&Denial::new(code::SERVICE_ANSWER, "")));
        assert!(!is_of_the_log(&Denial::new(code::REVOCATION_ERASED, "")));
    }
}
