//! The data directory: the log's key, its trusted root, its store.
//!
//! ```text
//! <data_dir>/log-key.pem         Ed25519 private key of the log, PKCS#8, mode 0600
//! <data_dir>/trusted_root.json   what verifiers need; public
//! <data_dir>/url                 where the service was last to be reached
//! <data_dir>/audit-key.pem, configuration.json   see [`super::audit`]
//! <data_dir>/authority/          certificate and timestamp authority, if the instance has them
//! <data_dir>/tuf/                the TUF repository, if it has one
//! <data_dir>/…                   the store's files
//! ```

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use pkcs8::{LineEnding, SecretDocument};
use serde_json::Value;

use sealwright_attest::{Timestamp, TransparencyLog, TrustedRoot};
use sealwright_store::{Place, Store, StoreError};
use sealwright_tlog::{LogKey, VerifierKey};

use super::StartError;
use super::authorities::{self, Authorities};
use super::config::Config;
use crate::durable;
use crate::state::{MAX_STEP_BACK_S, now, signing_time};

pub(super) const LOG_KEY_FILE: &str = "log-key.pem";
pub(super) const TRUSTED_ROOT_FILE: &str = "trusted_root.json";
const URL_FILE: &str = "url";

/// The store's database. If it is there, a log key was there before it.
const DATABASE_FILE: &str = "log.db";

const PEM_LABEL: &str = "PRIVATE KEY";

/// An open data directory.
pub(super) struct Data {
    pub(super) store: Store,
    /// Another one over the same log, for reading; where one process holds the log there is none.
    pub(super) reader: Option<Store>,
    pub(super) log_id: [u8; 32],
    pub(super) trusted_root_json: String,
    /// Whether this start made the log's key.
    pub(super) log_key_created: bool,
}

/// Opens the data directory at `now` (seconds since 1970); makes what is not there yet.
pub(super) fn open(config: &Config, now: u64) -> Result<Data, StartError> {
    let dir = config.data_dir.as_path();
    create_dir(dir)?;
    let (key, log_key_created) = log_key(config)?;
    let (store, reader) = match &config.shared {
        None => (open_store(dir, &key, now)?, None),
        Some(place) => {
            // A log that has promised something must not begin anew under the same key.
            let may_start = !dir.join(TRUSTED_ROOT_FILE).exists();
            let store = open_shared(config, place, &key, may_start, now)?;
            (store, Some(open_shared(config, place, &key, false, now)?))
        }
    };
    let newest = authorities::newest(dir);
    let authorities = authorities::open(dir, &config.authority_keys)?;
    let trusted_root_json = trusted_root(config, &key, &store, authorities.as_ref(), now)?;
    if let Some((number, _)) = newest {
        // A renewal that was cut short may have left them.
        authorities::forget_keys_before(dir, number)?;
    }
    let log_id = key.verifier().log_id();
    Ok(Data { store, reader, log_id, trusted_root_json, log_key_created })
}

/// Opens the store of an instance that is there, and publishes what is owed; makes no key.
pub(super) fn open_log(config: &Config, now: u64) -> Result<Store, StartError> {
    let dir = config.data_dir.as_path();
    let key_path = dir.join(LOG_KEY_FILE);
    let key = read_log_key(&key_path, &config.origin)?
        .ok_or(StartError::LogKeyMissing { path: key_path })?;
    open_store(dir, &key, now)
}

/// Opens the store of an instance that is there, and makes nothing: neither a log nor files of it that
/// are missing.
pub(super) fn open_as_it_is(config: &Config, now: u64) -> Result<Store, StartError> {
    let dir = config.data_dir.as_path();
    let key = present_log_key(config)?;
    let opened = match &config.shared {
        None => Store::open_as_it_is(dir, &config.origin, &key, now),
        Some(place) => Store::open_shared_as_it_is(place, &key, now),
    };
    let mut store = opened.map_err(|error| StartError::store(dir, error))?;
    if config.shared.is_some() {
        store.tolerate_steps_back(MAX_STEP_BACK_S);
    }
    Ok(store)
}

/// The same by the name that the instance's own trusted root gives its log.
pub(super) fn open_stopped(
    data_dir: &Path,
    shared: Option<&Place>,
) -> Result<(Store, VerifierKey), StartError> {
    let key = logged_key(data_dir)?;
    let (origin, shared) = (key.name().to_owned(), shared.cloned());
    Ok((open_as_it_is(&Config { origin, shared, ..Config::new(data_dir) }, now())?, key))
}

/// The key of an instance's log, with its name, by the instance's own trusted root.
pub(super) fn logged_key(data_dir: &Path) -> Result<VerifierKey, StartError> {
    let path = data_dir.join(TRUSTED_ROOT_FILE);
    let bad = || StartError::TrustedRoot { path: path.clone() };
    let text = fs::read(&path).map_err(|error| StartError::file(&path, error))?;
    let root = TrustedRoot::parse(&text).map_err(|_| bad())?;
    Ok(root.logs().first().ok_or_else(bad)?.key.clone())
}

/// The log's key, which has to be there.
pub(super) fn present_log_key(config: &Config) -> Result<LogKey, StartError> {
    let path = config.data_dir.join(LOG_KEY_FILE);
    read_log_key(&path, &config.origin)?.ok_or(StartError::LogKeyMissing { path })
}

pub(super) fn create_dir(dir: &Path) -> Result<(), StartError> {
    match DirBuilder::new().recursive(true).mode(0o700).create(dir) {
        Ok(()) => Ok(()),
        Err(_) if dir.exists() && !dir.is_dir() => {
            Err(StartError::NotADirectory { path: dir.to_owned() })
        }
        Err(error) => Err(StartError::file(dir, error)),
    }
}

/// The log's key, and whether it was made just now.
fn log_key(config: &Config) -> Result<(LogKey, bool), StartError> {
    let (dir, origin) = (config.data_dir.as_path(), config.origin.as_str());
    let is_elsewhere = config.shared.is_some();
    let path = dir.join(LOG_KEY_FILE);
    if let Some(key) = read_log_key(&path, origin)? {
        // A log that has promised something must not begin anew under the same key.
        let is_promised = dir.join(TRUSTED_ROOT_FILE).exists() && !is_elsewhere;
        if is_promised && !dir.join(DATABASE_FILE).exists() {
            return Err(StartError::LogMissing { path: dir.join(DATABASE_FILE) });
        }
        return Ok((key, false));
    }
    // A new key would start a second history; the old one may be in a backup.
    if dir.join(DATABASE_FILE).exists() {
        return Err(StartError::LogKeyMissing { path });
    }
    let bad = || StartError::LogKey { path: path.clone() };
    let key = LogKey::generate(origin).map_err(|_| bad())?;
    let der = key.to_pkcs8_der().map_err(|_| bad())?;
    let pem = SecretDocument::try_from(der.as_slice())
        .and_then(|document| document.to_pem(PEM_LABEL, LineEnding::LF))
        .map_err(|_| bad())?;
    if write_new(dir, LOG_KEY_FILE, pem.as_bytes(), 0o600)? {
        return Ok((key, true));
    }
    // Another service made one in the meantime; the store's lock decides which of the two runs.
    Ok((read_log_key(&path, origin)?.ok_or_else(bad)?, false))
}

fn read_log_key(path: &Path, origin: &str) -> Result<Option<LogKey>, StartError> {
    let pem = match fs::read_to_string(path) {
        Ok(pem) => pkcs8::der::zeroize::Zeroizing::new(pem),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StartError::file(path, error)),
    };
    let key = match SecretDocument::from_pem(&pem) {
        Ok((PEM_LABEL, document)) => LogKey::from_pkcs8_der(origin, document.as_bytes()).ok(),
        _ => None,
    };
    Ok(Some(key.ok_or_else(|| StartError::LogKey { path: path.to_owned() })?))
}

fn open_store(dir: &Path, key: &LogKey, now: u64) -> Result<Store, StartError> {
    let opened = match Store::open(dir, key.origin(), key, now) {
        Err(StoreError::ClockBehind { last_signed, .. }) => {
            Store::open(dir, key.origin(), key, signing_time(now, last_signed))
        }
        opened => opened,
    };
    let mut store = opened.map_err(|error| StartError::store(dir, error))?;
    // Time servers correct by so much.
    store.tolerate_steps_back(MAX_STEP_BACK_S);
    Ok(store)
}

fn open_shared(
    config: &Config,
    place: &Place,
    key: &LogKey,
    may_start: bool,
    now: u64,
) -> Result<Store, StartError> {
    let opened = Store::open_shared(place, key, may_start, now);
    let mut store = opened.map_err(|error| StartError::store(&config.data_dir, error))?;
    // Front ends have clocks of their own.
    store.tolerate_steps_back(MAX_STEP_BACK_S);
    Ok(store)
}

/// The trusted root on disk; written if it is not there.
///
/// Its key counts from the time of the first checkpoint with an entry in it, or from now for a new
/// log: no entry can have an earlier log-signed time.
fn trusted_root(
    config: &Config,
    key: &LogKey,
    store: &Store,
    authorities: Option<&Authorities>,
    now: u64,
) -> Result<String, StartError> {
    let now =
        Timestamp::from_unix(now).map_err(|_| StartError::ClockBehind { now, last_signed: 0 })?;
    let with_authorities = |text: &str, base_url: &str| {
        authorities.and_then(|authorities| with_authorities(text, authorities, base_url, now))
    };
    let dir = config.data_dir.as_path();
    let path = dir.join(TRUSTED_ROOT_FILE);
    let bad = || StartError::TrustedRoot { path: path.clone() };
    match fs::read_to_string(&path) {
        Ok(text) => {
            let root = TrustedRoot::parse(text.as_bytes()).map_err(|_| bad())?;
            let log = root.log(&key.verifier().log_id()).ok_or_else(bad)?;
            let Some(text) = with_authorities(&text, &log.base_url) else { return Ok(text) };
            replace(dir, TRUSTED_ROOT_FILE, text.as_bytes())?;
            return Ok(text);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(StartError::file(&path, error)),
    }
    let first = store.entry(0).map_err(|error| StartError::store(dir, error))?;
    let checkpoint = first.as_ref().map_or(store.checkpoint(), |entry| &entry.checkpoint);
    let start = checkpoint.cosigned_at().and_then(|time| Timestamp::from_unix(time).ok());
    let text = TrustedRoot::of_log(TransparencyLog {
        base_url: config.base_url(),
        key: key.verifier().clone(),
        valid_from: start.ok_or_else(bad)?,
        valid_until: None,
    })
    .to_json();
    let text = with_authorities(&text, &config.base_url()).unwrap_or(text);
    write_new(dir, TRUSTED_ROOT_FILE, text.as_bytes(), 0o644)?;
    Ok(text)
}

/// Remembers where the service was last to be reached.
pub(super) fn write_url(dir: &Path, url: &str) -> Result<(), StartError> {
    match fs::read_to_string(dir.join(URL_FILE)) {
        Ok(known) if known.trim_end() == url => Ok(()),
        _ => replace(dir, URL_FILE, format!("{url}\n").as_bytes()),
    }
}

/// Where the service was last to be reached, if it ever was.
pub(super) fn read_url(dir: &Path) -> Option<String> {
    Some(fs::read_to_string(dir.join(URL_FILE)).ok()?.trim_end().to_owned())
}

/// A trusted root with the authorities as they are now: those that it does not know yet, of an instance that
/// had none before or whose renewal was cut short. `None` if it knows them.
pub(super) fn with_authorities(
    trusted_root: &str,
    authorities: &Authorities,
    base_url: &str,
    now: Timestamp,
) -> Option<String> {
    let mut value: Value = serde_json::from_str(trusted_root).ok()?;
    let changed = authorities.add_to(&mut value, base_url, now);
    changed.then(|| serde_json::to_string_pretty(&value).unwrap_or_default() + "\n")
}

/// [`durable::replace`], readable for all.
pub(super) fn replace(dir: &Path, name: &str, content: &[u8]) -> Result<(), StartError> {
    let path = dir.join(name);
    durable::replace(&path, content, 0o644).map_err(|error| StartError::file(&path, error))
}

/// [`durable::write_new`].
pub(super) fn write_new(
    dir: &Path,
    name: &str,
    content: &[u8],
    mode: u32,
) -> Result<bool, StartError> {
    let path = dir.join(name);
    durable::write_new(&path, content, mode).map_err(|error| StartError::file(&path, error))
}
