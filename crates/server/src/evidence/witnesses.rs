//! The witnesses that a verifier knows, and which of them cosigned a checkpoint.

use sealwright_tlog::cosignature::CosignerKey;
use sealwright_tlog::{KeyError, SignedNote, VerifierKey};

/// Keys of witnesses (C2SP tlog-witness), each name and each key once: nobody counts twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Witnesses(Vec<CosignerKey>);

/// Why a list of witnesses cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WitnessesError {
    /// Not a vkey of type 4.
    #[error("witness {vkey:?}: {source}")]
    Key {
        /// As it was given.
        vkey: String,
        /// What is wrong.
        source: KeyError,
    },
    /// One name or one key for two witnesses.
    #[error("witness {name:?}: name or key is also another witness's")]
    Twice {
        /// The second one.
        name: String,
    },
}

impl Witnesses {
    /// Reads vkeys, `NAME+HEX+BASE64` of key type 4 (`cosignature/v1`).
    ///
    /// # Errors
    /// [`WitnessesError`].
    pub fn parse<T: AsRef<str>>(vkeys: &[T]) -> Result<Self, WitnessesError> {
        let mut keys: Vec<CosignerKey> = Vec::new();
        for vkey in vkeys {
            let vkey = vkey.as_ref();
            let key = CosignerKey::parse(vkey)
                .map_err(|source| WitnessesError::Key { vkey: vkey.to_owned(), source })?;
            let same = |known: &CosignerKey| {
                known.name() == key.name() || known.public_key() == key.public_key()
            };
            if keys.iter().any(same) {
                return Err(WitnessesError::Twice { name: key.name().to_owned() });
            }
            keys.push(key);
        }
        Ok(Self(keys))
    }

    /// Names of those whose cosignature on the note verifies, ascending. The log itself is no witness
    /// of its own, whatever name its key was given.
    pub(super) fn of(&self, note: &[u8], log: &VerifierKey) -> Vec<String> {
        let Ok(note) = SignedNote::parse(note) else { return Vec::new() };
        let log = log.cosigner().ok();
        let is_log = |key: &CosignerKey| {
            log.as_ref().is_some_and(|log| log.public_key() == key.public_key())
        };
        let signed = |key: &&CosignerKey| !is_log(key) && matches!(key.verify(&note), Ok(Some(_)));
        let mut names: Vec<_> =
            self.0.iter().filter(signed).map(|key| key.name().to_owned()).collect();
        names.sort_unstable();
        names
    }
}
