//! `manifest.json` of a backup.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};

use sealwright_attest::{from_value, parse_strict};
use sealwright_manifest::Sha256;

use super::BackupError;

pub(super) const MANIFEST_FILE: &str = "manifest.json";
pub(super) const FORMAT: u32 = 1;

/// A log of a hundred million entries has four hundred thousand tiles, with 150 bytes here for each.
const MAX_MANIFEST: u64 = 256 << 20;

/// What a backup has in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub(super) format: u32,
    /// Name of the log.
    pub(super) origin: String,
    /// When it was made, in seconds since 1970.
    pub(super) made: u64,
    /// Entries of the log.
    pub(super) entries: u64,
    /// The log's checkpoint, a signed note.
    pub(super) checkpoint: String,
    /// Private keys that are not in it, relative to the data directory.
    pub(super) left_out: Vec<String>,
    /// The files, relative to the data directory.
    pub(super) files: BTreeMap<String, FileEntry>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileEntry {
    pub(super) size: u64,
    /// In hex.
    pub(super) sha256: String,
    /// Permission bits.
    pub(super) mode: u32,
}

impl Manifest {
    /// Writes it; gives its SHA-256 in hex.
    pub(super) fn write(&self, dir: &Path) -> Result<String, BackupError> {
        let path = dir.join(MANIFEST_FILE);
        let text = serde_json::to_string_pretty(self).unwrap_or_default() + "\n";
        fs::write(&path, &text).map_err(|error| BackupError::file(&path, error))?;
        Ok(Sha256::of(text.as_bytes()).to_string())
    }

    /// Reads it strictly: no path in it leads out of the directory.
    pub(super) fn read(dir: &Path) -> Result<Self, BackupError> {
        let path = dir.join(MANIFEST_FILE);
        let bad = |problem: String| BackupError::Manifest { path: path.clone(), problem };
        let size = fs::metadata(&path).map_err(|error| bad(error.to_string()))?.len();
        if size > MAX_MANIFEST {
            return Err(bad("it is too large".to_owned()));
        }
        let bytes = fs::read(&path).map_err(|error| bad(error.to_string()))?;
        let value = parse_strict(&bytes, usize::try_from(MAX_MANIFEST).unwrap_or(usize::MAX));
        let value = value.map_err(|error| bad(error.to_string()))?;
        let manifest: Self = from_value(value).map_err(|error| bad(error.to_string()))?;
        if manifest.format != FORMAT {
            return Err(bad(format!("format {} is not known", manifest.format)));
        }
        let paths = manifest.files.keys().chain(&manifest.left_out);
        if let Some(path) = paths.into_iter().find(|path| !is_inside(path)) {
            return Err(bad(format!("{path:?} is no path in a data directory")));
        }
        Ok(manifest)
    }
}

fn is_inside(path: &str) -> bool {
    let mut parts = Path::new(path).components().peekable();
    parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        for path in ["a", "a/b", "authority/ca.pem"] {
            assert!(is_inside(path), "{path}");
        }
        for path in ["", "/a", "..", "a/../b", "../a", "./a", "a/.."] {
            assert!(!is_inside(path), "{path}");
        }
    }
}
