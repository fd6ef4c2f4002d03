//! What those do who run the service, in the log itself: signed, in order, and not to be taken back.
//!
//! ```text
//! <data_dir>/audit-key.pem         ECDSA P-256 private key, PKCS#8, mode 0600
//! <data_dir>/audit-key.pub         its public key; public
//! <data_dir>/configuration.json    what the service was last started with, or read again
//! ```
//!
//! An act is recorded before it takes effect. One that cannot be recorded does not take effect.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value, json};

use sealwright_attest::{
    Curve, KeyFile, Signer as _, Statement, Subject, Timestamp, predicate, sign,
};
use sealwright_manifest::Sha256;
use zeroize::Zeroizing;

use super::StartError;
use super::bundles::entry_of;
use super::config::Config;
use super::data::{replace, write_new};
use super::sequencer::Sequencer;
use crate::error::ApiError;
use crate::state::now;

pub(super) const KEY_FILE: &str = "audit-key.pem";
const PUBLIC_KEY_FILE: &str = "audit-key.pub";
const CONFIGURATION_FILE: &str = "configuration.json";
/// In the configuration of an instance that was restored and not started since.
const RESTORED: &str = "restored";

/// Something that was done to the service.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Act {
    /// Lower-case words with hyphens: the schema of the predicate names some.
    pub(crate) act: &'static str,
    /// What else there is to say; an object.
    pub(crate) detail: Value,
}

/// Who writes acts into the log.
pub(crate) struct Audit {
    key: KeyFile,
    log: Subject,
    sequencer: Sequencer,
    data_dir: PathBuf,
    configuration: Mutex<Value>,
}

impl Audit {
    pub(super) fn new(
        data_dir: &Path,
        key: KeyFile,
        origin: &str,
        log_id: &[u8; 32],
        sequencer: Sequencer,
    ) -> Result<Self, StartError> {
        let problem = || StartError::Audit { problem: "the log has no id".to_owned() };
        let log_id = Sha256::parse(&hex::encode(log_id)).map_err(|_| problem())?;
        Ok(Self {
            key,
            log: Subject::sha256(origin, &log_id),
            sequencer,
            data_dir: data_dir.to_owned(),
            configuration: Mutex::new(Value::Null),
        })
    }

    /// Writes an act into the log; returns its index when it is durable. Call it before the act takes
    /// effect, and let it not take effect after an error.
    ///
    /// # Errors
    /// [`ApiError`].
    pub(crate) async fn record(&self, act: Act) -> Result<u64, ApiError> {
        let failed = |_| ApiError::Internal { what: "an administrative act cannot be signed" };
        let time = Timestamp::from_unix(now())
            .map_err(|_| ApiError::Internal { what: "the clock is outside of all calendars" })?;
        let statement = Statement {
            subject: vec![self.log.clone()],
            predicate_type: predicate::ADMINISTRATION.to_owned(),
            predicate: json!({"act": act.act, "time": time, "detail": act.detail}),
        };
        let key = self.key.public_key();
        let bundle = sign(statement.to_payload(), &self.key, "").map_err(failed)?;
        let appended = self.sequencer.append(entry_of(&bundle, key)?).await?;
        tracing::info!(target: "audit", act = act.act, index = appended.index, "recorded");
        Ok(appended.index)
    }

    /// Records that the service starts with another configuration than the last time. The first time
    /// there is none before, and nothing to tell.
    pub(super) async fn start(&self, configuration: Value) -> Result<(), StartError> {
        let last = self.read()?;
        let is_new = last.as_ref().is_some_and(|last| *last != configuration);
        if let (Some(before), true) = (&last, is_new) {
            let act = if before.get(RESTORED).is_some() { "restore" } else { "configuration" };
            let detail = json!({"before": before, "now": configuration});
            self.record(Act { act, detail })
                .await
                .map_err(|error| StartError::Audit { problem: error.to_string() })?;
        }
        if last.as_ref() != Some(&configuration) {
            self.write(&configuration)?;
        }
        *self.configuration.lock().unwrap_or_else(PoisonError::into_inner) = configuration;
        Ok(())
    }

    /// Records that a file was read again and is about to come into force. Blocks; for a thread that
    /// belongs to the runtime.
    pub(super) fn reloaded(&self, what: &'static str, digest: &Sha256) -> Result<(), String> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|error| error.to_string())?;
        let detail = json!({"file": what, "sha256": digest});
        let recorded = runtime.block_on(self.record(Act { act: "reload", detail }));
        recorded.map_err(|error| error.to_string())?;
        let mut configuration = self.configuration.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(members) = configuration.as_object_mut() {
            members.insert(what.to_owned(), json!(digest));
        }
        // If that fails, the next start records it once more.
        if let Err(error) = self.write(&configuration) {
            tracing::error!(%error, "the configuration cannot be written down");
        }
        Ok(())
    }

    fn read(&self) -> Result<Option<Value>, StartError> {
        read_configuration(&self.data_dir)
    }

    fn write(&self, configuration: &Value) -> Result<(), StartError> {
        write_configuration(&self.data_dir, configuration)
    }
}

/// Notes in a data directory that it was restored, for the next start to record.
pub(super) fn note_restored(data_dir: &Path, made: u64, entries: u64) -> Result<(), StartError> {
    let mut configuration = read_configuration(data_dir)?.unwrap_or_else(|| json!({}));
    if let Some(members) = configuration.as_object_mut() {
        members.insert(RESTORED.to_owned(), json!({"backup_made": made, "entries": entries}));
    }
    write_configuration(data_dir, &configuration)
}

/// The key that signs acts; made if it is not there.
pub(super) fn open_key(data_dir: &Path) -> Result<KeyFile, StartError> {
    let path = data_dir.join(KEY_FILE);
    let bad =
        |problem: &str| StartError::Audit { problem: format!("{}: {problem}", path.display()) };
    if !path.exists() {
        let key = KeyFile::generate(Curve::P256).map_err(|_| bad("it cannot be made"))?;
        let pem = key.unencrypted_pem().map_err(|_| bad("it cannot be made"))?;
        write_new(data_dir, KEY_FILE, pem.as_bytes(), 0o600)?;
    }
    let pem = fs::read_to_string(&path).map_err(|error| StartError::file(&path, error))?;
    let key = KeyFile::from_pem(&Zeroizing::new(pem), None);
    let key = key.map_err(|_| bad("it is not a private key in PEM"))?;
    let public = key.public_key().pem();
    if fs::read_to_string(data_dir.join(PUBLIC_KEY_FILE)).ok().as_deref() != Some(&public) {
        replace(data_dir, PUBLIC_KEY_FILE, public.as_bytes())?;
    }
    Ok(key)
}

/// The public key that verifies acts, in PEM, if the instance in `data_dir` has one.
pub fn audit_public_key(data_dir: &Path) -> Option<String> {
    fs::read_to_string(data_dir.join(PUBLIC_KEY_FILE)).ok()
}

/// What a service is started with: options, and digests of files and certificates by name. Where it
/// listens is not among them.
pub(super) fn configuration(
    config: &Config,
    key: &KeyFile,
    digests: impl IntoIterator<Item = (&'static str, Option<Sha256>)>,
) -> Value {
    let proxies: Vec<String> = config.trusted_proxies.iter().map(ToString::to_string).collect();
    let mut members = Map::new();
    members.insert("version".to_owned(), json!(env!("CARGO_PKG_VERSION")));
    members.insert("audit_key".to_owned(), json!(key.public_key().id()));
    members.insert("trusted_proxies".to_owned(), json!(proxies));
    members.insert("forwarded_header".to_owned(), json!(config.forwarded_header.name()));
    members.insert("insecure_plain_http".to_owned(), json!(config.insecure_plain_http));
    for (name, digest) in digests {
        members.insert(name.to_owned(), json!(digest));
    }
    Value::Object(members)
}

/// Digest of a file that is read once.
pub(super) fn digest_of(path: Option<&Path>) -> Option<Sha256> {
    fs::read(path?).ok().map(|content| Sha256::of(&content))
}

/// Digest of files that are read once; `None` if there are none.
pub(super) fn digest_of_all(paths: &[PathBuf]) -> Option<Sha256> {
    let digests = paths.iter().filter_map(|path| digest_of(Some(path)));
    let all: Vec<u8> = digests.flat_map(|digest| *digest.as_bytes()).collect();
    (!all.is_empty()).then(|| Sha256::of(&all))
}

fn read_configuration(data_dir: &Path) -> Result<Option<Value>, StartError> {
    let path = data_dir.join(CONFIGURATION_FILE);
    match fs::read(&path) {
        // One that cannot be read differs from every other.
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).unwrap_or_else(|_| json!({})))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StartError::file(&path, error)),
    }
}

fn write_configuration(data_dir: &Path, configuration: &Value) -> Result<(), StartError> {
    let text = serde_json::to_string_pretty(configuration).unwrap_or_default() + "\n";
    replace(data_dir, CONFIGURATION_FILE, text.as_bytes())
}
