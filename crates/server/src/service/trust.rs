//! Making a new instance, and what its clients need to know of it.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use sealwright_attest::TrustedRoot;

use super::StartError;
use super::audit;
use super::authorities;
use super::config::Config;
use super::data::{self, Data, TRUSTED_ROOT_FILE};
use super::tuf::{self, TufMade};
use crate::state::{now, time_now};

/// What [`init`] made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Initialised {
    /// Whether the log's key was made.
    pub log_key_created: bool,
    /// Where the private key of the authorities' root is, if it was made: it belongs offline.
    pub root_key: Option<PathBuf>,
    /// The TUF repository, if it was made.
    pub tuf: Option<TufMade>,
}

/// The files that clients need, as JSON documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustFiles {
    /// `trusted_root.json`: what verifiers need.
    pub trusted_root: String,
    /// `signing_config.json` (v0.2): where signers send what they want signed, logged and stamped.
    pub signing_config: String,
    /// Both in one (`ClientTrustConfig`), for sigstore-python's `--trust-config`.
    pub trust_config: String,
}

/// Whether the instance in `data_dir` has its keys.
pub fn has_keys(data_dir: &Path) -> bool {
    data_dir.join(data::LOG_KEY_FILE).exists()
}

/// Makes the keys of an instance, and its log: log, certificate authority, timestamp authority, TUF
/// repository. What is there already stays as it is.
///
/// # Errors
/// [`StartError`].
pub fn init(config: &Config) -> Result<Initialised, StartError> {
    if !config.has_host_name() {
        return Err(StartError::Origin { origin: config.origin.clone() });
    }
    let config = Config { init: true, ..config.clone() };
    Ok(open(&config)?.1)
}

/// Opens the data directory, and makes first what is to be made.
pub(super) fn open(config: &Config) -> Result<(Data, Initialised), StartError> {
    let (now, time) = (now(), time_now()?);
    let root_key = match config.init {
        true => {
            authorities::create(&config.data_dir, &config.origin, &config.authority_keys, time)?
        }
        false => None,
    };
    let data = data::open(config, now)?;
    audit::open_key(&config.data_dir)?;
    let log_key_created = data.log_key_created;
    let tuf = match config.init {
        true => tuf::create(&config.data_dir, &config.tuf, time)
            .map_err(|error| StartError::Ceremony(Box::new(error)))?,
        false => None,
    };
    Ok((data, Initialised { log_key_created, root_key, tuf }))
}

/// What clients of the instance in `data_dir` need. `base_url` is where they reach it, if that is not
/// where it was last started.
///
/// # Errors
/// [`StartError::NotInitialised`], [`StartError::TrustedRoot`].
pub fn trust_files(
    data_dir: &Path,
    base_url: Option<&str>,
    oidc_url: Option<&str>,
) -> Result<TrustFiles, StartError> {
    if !has_keys(data_dir) {
        return Err(StartError::NotInitialised { dir: data_dir.to_owned() });
    }
    let path = data_dir.join(TRUSTED_ROOT_FILE);
    let text = std::fs::read_to_string(&path).map_err(|error| StartError::file(&path, error))?;
    let bad = || StartError::TrustedRoot { path: path.clone() };
    let root = TrustedRoot::parse(text.as_bytes()).map_err(|_| bad())?;
    let log = root.logs().first().ok_or_else(bad)?;
    let last = data::read_url(data_dir);
    let url = base_url.or(last.as_deref()).unwrap_or(&log.base_url).trim_end_matches('/');
    let trusted_root: Value = serde_json::from_str(&text).map_err(|_| bad())?;
    let signing_config = authorities::signing_config(url, oidc_url, &json!(log.valid_from));
    let trust_config = json!({
        "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
        "trustedRoot": trusted_root,
        "signingConfig": signing_config,
    });
    let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap_or_default() + "\n";
    Ok(TrustFiles {
        trusted_root: text,
        signing_config: pretty(&signing_config),
        trust_config: pretty(&trust_config),
    })
}
