//! The witness's key and its name on disk.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use pkcs8::{LineEnding, SecretDocument};
use zeroize::Zeroizing;

use sealwright_tlog::cosignature::CosignerKey;
use sealwright_tlog::witness::WitnessKey;

use super::{WitnessConfig, WitnessStartError};
use crate::durable;

const KEY_FILE: &str = "witness-key.pem";
/// Written after the key: if it is there, so is the key.
const VKEY_FILE: &str = "vkey";
const PEM_LABEL: &str = "PRIVATE KEY";

/// The witness's key, and whether it was made just now.
pub(super) fn open(config: &WitnessConfig) -> Result<(WitnessKey, bool), WitnessStartError> {
    let dir = config.data_dir.as_path();
    let vkey_path = dir.join(VKEY_FILE);
    match fs::read_to_string(&vkey_path) {
        Ok(text) => Ok((known(config, text.trim_end())?, false)),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(WitnessStartError::File { path: vkey_path, source: error })
        }
        Err(_) => match (config.init, &config.name) {
            (true, Some(name)) => Ok((create(dir, name)?, true)),
            _ => Err(WitnessStartError::NotInitialised { dir: dir.to_owned() }),
        },
    }
}

fn known(config: &WitnessConfig, vkey: &str) -> Result<WitnessKey, WitnessStartError> {
    let dir = config.data_dir.as_path();
    let public = CosignerKey::parse(vkey)
        .map_err(|_| WitnessStartError::Key { path: dir.join(VKEY_FILE) })?;
    if let Some(given) = config.name.as_ref().filter(|name| *name != public.name()) {
        let found = public.name().to_owned();
        return Err(WitnessStartError::OtherName { given: given.clone(), found });
    }
    read(&dir.join(KEY_FILE), public.name())?
        .filter(|key| *key.cosigner() == public)
        .ok_or_else(|| WitnessStartError::Key { path: dir.join(KEY_FILE) })
}

fn create(dir: &Path, name: &str) -> Result<WitnessKey, WitnessStartError> {
    let file = |path: &Path| {
        let path = path.to_owned();
        move |source| WitnessStartError::File { path, source }
    };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(file(dir))?;
    let path = dir.join(KEY_FILE);
    // Left by a start that ended between the two files.
    let key = match read(&path, name)? {
        Some(key) => key,
        None => {
            let key = WitnessKey::generate(name).map_err(WitnessStartError::Name)?;
            let pem = key
                .to_pkcs8_der()
                .ok()
                .and_then(|der| SecretDocument::try_from(der.as_slice()).ok())
                .and_then(|document| document.to_pem(PEM_LABEL, LineEnding::LF).ok())
                .ok_or_else(|| WitnessStartError::Key { path: path.clone() })?;
            write_new(&path, pem.as_bytes(), 0o600).map_err(file(&path))?;
            key
        }
    };
    let vkey = format!("{}\n", key.cosigner());
    let path = dir.join(VKEY_FILE);
    write_new(&path, vkey.as_bytes(), 0o644).map_err(file(&path))?;
    Ok(key)
}

fn read(path: &Path, name: &str) -> Result<Option<WitnessKey>, WitnessStartError> {
    let pem = match fs::read_to_string(path) {
        Ok(pem) => Zeroizing::new(pem),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(WitnessStartError::File { path: path.to_owned(), source }),
    };
    let key = match SecretDocument::from_pem(&pem) {
        Ok((PEM_LABEL, document)) => WitnessKey::from_pkcs8_der(name, document.as_bytes()),
        _ => return Err(WitnessStartError::Key { path: path.to_owned() }),
    };
    key.map(Some).map_err(|_| WitnessStartError::Key { path: path.to_owned() })
}

/// Never over another file: somebody else was faster.
fn write_new(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    match durable::write_new(path, content, mode)? {
        true => Ok(()),
        false => Err(io::ErrorKind::AlreadyExists.into()),
    }
}
