//! The files of a policy: which ones count, how large they may be, their digest.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;

use sealwright_attest::parse_strict;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::PolicyError;

pub(crate) const MAX_FILES: usize = 64;
pub(crate) const MAX_FILE_BYTES: usize = 256 * 1024;
pub(crate) const MAX_TOTAL_BYTES: usize = 1024 * 1024;

const DATA: &str = "data.json";
/// An input for the tests.
const TEST_INPUT: &str = "input.json";
const MAX_NAME_BYTES: usize = 128;

/// The files of one policy, read and bounded but not parsed.
pub(crate) struct Files {
    /// What decides: `.rego` files that are not tests, and `data.json`.
    deciding: BTreeMap<String, Vec<u8>>,
    /// `*_test.rego`, and `input.json`.
    tests: BTreeMap<String, Vec<u8>>,
}

impl Files {
    /// Reads the folder `dir`. Hidden entries (a leading dot) and files of other kinds,
    /// such as a README, are left out; links are followed, since Kubernetes mounts a
    /// ConfigMap as links into a hidden folder.
    pub(crate) fn read(dir: &Path) -> Result<Self, PolicyError> {
        let failed = |source| PolicyError::Io { path: dir.to_path_buf(), source };
        let mut found = Vec::new();
        for entry in fs::read_dir(dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let Some(name) = name.to_str() else {
                return Err(PolicyError::FileName { name: name.to_string_lossy().into_owned() });
            };
            if name.starts_with('.') {
                continue;
            }
            let path = dir.join(name);
            let unreadable = |source| PolicyError::Io { path: path.clone(), source };
            let meta = fs::metadata(&path).map_err(unreadable)?;
            if meta.is_dir() {
                return Err(PolicyError::UnexpectedFile { name: name.to_owned() });
            }
            if !is_policy_file(name)? {
                continue;
            }
            // Reading a FIFO or a device may never end.
            if !meta.is_file() {
                return Err(unreadable(ErrorKind::InvalidInput.into()));
            }
            if found.len() == MAX_FILES {
                return Err(PolicyError::TooManyFiles { limit: MAX_FILES });
            }
            found.push((name.to_owned(), read_bounded(&path, name)?));
        }
        Self::from_pairs(found)
    }

    /// Takes files that are already in memory; every one of them must be a `.rego` file,
    /// `data.json` or `input.json`.
    pub(crate) fn from_pairs(
        pairs: impl IntoIterator<Item = (String, Vec<u8>)>,
    ) -> Result<Self, PolicyError> {
        let mut files = Self { deciding: BTreeMap::new(), tests: BTreeMap::new() };
        let mut total = 0_usize;
        for (index, (name, bytes)) in pairs.into_iter().enumerate() {
            if index >= MAX_FILES {
                return Err(PolicyError::TooManyFiles { limit: MAX_FILES });
            }
            if !is_name(&name) {
                return Err(PolicyError::FileName { name });
            }
            if !is_policy_file(&name)? {
                return Err(PolicyError::UnexpectedFile { name });
            }
            if bytes.len() > MAX_FILE_BYTES {
                return Err(PolicyError::TooLarge { name, limit: MAX_FILE_BYTES });
            }
            total = total.saturating_add(bytes.len());
            if total > MAX_TOTAL_BYTES {
                let name = String::from("the policy");
                return Err(PolicyError::TooLarge { name, limit: MAX_TOTAL_BYTES });
            }
            let is_test = name.ends_with("_test.rego") || name == TEST_INPUT;
            let part = if is_test { &mut files.tests } else { &mut files.deciding };
            if part.contains_key(&name) {
                return Err(PolicyError::DuplicateFile { name });
            }
            part.insert(name, bytes);
        }
        Ok(files)
    }

    /// Name and text of the modules that decide, sorted by name.
    pub(crate) fn modules(&self) -> Result<Vec<(&str, &str)>, PolicyError> {
        texts(&self.deciding)
    }

    /// Name and text of the test modules, sorted by name.
    pub(crate) fn test_modules(&self) -> Result<Vec<(&str, &str)>, PolicyError> {
        texts(&self.tests)
    }

    /// The content of `data.json`, an object; empty if there is none.
    pub(crate) fn data(&self) -> Result<Value, PolicyError> {
        let Some(bytes) = self.deciding.get(DATA) else {
            return Ok(Value::Object(serde_json::Map::new()));
        };
        let value =
            parse_strict(bytes, MAX_FILE_BYTES).map_err(|source| PolicyError::Data { source })?;
        if value.is_object() { Ok(value) } else { Err(PolicyError::DataNotObject) }
    }

    /// What tests find at `data.sealwright_test.input`, if there is an `input.json`.
    pub(crate) fn test_input(&self) -> Result<Option<Value>, PolicyError> {
        let parse = |bytes: &Vec<u8>| {
            parse_strict(bytes, MAX_FILE_BYTES).map_err(|source| PolicyError::TestInput { source })
        };
        self.tests.get(TEST_INPUT).map(parse).transpose()
    }

    /// SHA-256, in lower-case hex, over the files that decide:
    ///
    /// ```text
    /// sealwright.dev/policy/v1 LF
    /// then for each file, sorted by name in byte order:
    /// NAME LF LENGTH LF BYTES LF
    /// ```
    ///
    /// with the length in decimal. Names hold no line feed and the length says where
    /// the bytes end, so two different sets of files never give the same text.
    /// Tests do not decide and are left out.
    pub(crate) fn digest(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(b"sealwright.dev/policy/v1\n");
        for (name, bytes) in &self.deciding {
            hash.update(name.as_bytes());
            hash.update(b"\n");
            hash.update(bytes.len().to_string().as_bytes());
            hash.update(b"\n");
            hash.update(bytes);
            hash.update(b"\n");
        }
        hex::encode(hash.finalize())
    }
}

fn texts(files: &BTreeMap<String, Vec<u8>>) -> Result<Vec<(&str, &str)>, PolicyError> {
    files
        .iter()
        .filter(|(name, _)| name.ends_with(".rego"))
        .map(|(name, bytes)| match std::str::from_utf8(bytes) {
            Ok(text) => Ok((name.as_str(), text)),
            Err(_) => Err(PolicyError::NotUtf8 { name: name.clone() }),
        })
        .collect()
}

/// True for what belongs to a policy, false for what may lie beside it.
fn is_policy_file(name: &str) -> Result<bool, PolicyError> {
    let lower = name.to_ascii_lowercase();
    let policy_file = name == DATA || name == TEST_INPUT || name.ends_with(".rego");
    // `Main.REGO`, `extra.json` and `data.yaml` look like parts of the policy to a person.
    let misleading =
        [".rego", ".json", ".yaml", ".yml"].iter().any(|ending| lower.ends_with(ending));
    match (policy_file, misleading) {
        (true, _) if is_name(name) => Ok(true),
        (true, _) => Err(PolicyError::FileName { name: name.to_owned() }),
        (false, true) => Err(PolicyError::UnexpectedFile { name: name.to_owned() }),
        (false, false) => Ok(false),
    }
}

fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !name.is_empty()
        && name.len() <= MAX_NAME_BYTES
        && !name.starts_with('.')
        && name.bytes().all(allowed)
}

fn read_bounded(path: &Path, name: &str) -> Result<Vec<u8>, PolicyError> {
    let failed = |source| PolicyError::Io { path: path.to_path_buf(), source };
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_FILE_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path).map_err(failed)?.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > MAX_FILE_BYTES {
        return Err(PolicyError::TooLarge { name: name.to_owned(), limit: MAX_FILE_BYTES });
    }
    Ok(bytes)
}
