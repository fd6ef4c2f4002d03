//! The files of a policy: which ones count, how large they may be, their digest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;

use sealwright_attest::parse_strict;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::PolicyError;

mod data;

pub(crate) use data::{merged_data, yaml};

pub(crate) const MAX_FILES: usize = 256;
pub(crate) const MAX_FILE_BYTES: usize = 256 * 1024;
pub(crate) const MAX_TOTAL_BYTES: usize = 2 * 1024 * 1024;

/// The document that is found under the path of its folder.
pub(crate) const DATA: &str = "data.json";
const YAML_DATA: [&str; 2] = ["data.yaml", "data.yml"];
/// An input for the tests.
pub(crate) const TEST_INPUT: &str = "input.json";
/// The same as a document where the tests look for it, for programs that know of no `input.json`.
pub(crate) const TEST_DOCUMENT: &str = "sealwright_test/input/data.json";
const MAX_NAME_BYTES: usize = 128;
/// Of a path with its folders: what fits into a tar header.
const MAX_PATH_BYTES: usize = 240;
/// Folders within folders.
const MAX_DEPTH: usize = 8;

/// The files of one policy, read and bounded but not parsed.
pub(crate) struct Files {
    /// What decides: `.rego` files that are not tests, and data.
    deciding: BTreeMap<String, Vec<u8>>,
    /// `*_test.rego`, and `input.json`.
    tests: BTreeMap<String, Vec<u8>>,
}

impl Files {
    /// Reads the folder `dir` with its sub-folders. Hidden entries (a leading dot) and files of other
    /// kinds, such as a README, are left out; links are followed, since Kubernetes mounts a
    /// ConfigMap as links into a hidden folder.
    pub(crate) fn read(dir: &Path) -> Result<Self, PolicyError> {
        let mut found = Vec::new();
        read_folder(dir, "", 1, &mut found)?;
        Self::from_pairs(found)
    }

    /// The same for files that are already in memory, with their paths in the folder.
    pub(crate) fn from_folder(
        pairs: impl IntoIterator<Item = (String, Vec<u8>)>,
    ) -> Result<Self, PolicyError> {
        let mut found = Vec::new();
        for (path, bytes) in pairs {
            if is_policy_file(&path)? {
                found.push((path, bytes));
            }
        }
        Self::from_pairs(found)
    }

    /// Takes files that are already in memory; every one of them must be a `.rego` file,
    /// data, or `input.json`.
    pub(crate) fn from_pairs(
        pairs: impl IntoIterator<Item = (String, Vec<u8>)>,
    ) -> Result<Self, PolicyError> {
        let mut files = Self { deciding: BTreeMap::new(), tests: BTreeMap::new() };
        let mut names = BTreeSet::new();
        let mut total = 0_usize;
        for (index, (name, bytes)) in pairs.into_iter().enumerate() {
            if index >= MAX_FILES {
                return Err(PolicyError::TooManyFiles { limit: MAX_FILES });
            }
            if !is_path(&name) {
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
            // Where case does not count, only one of `a.rego` and `A.rego` would be left.
            if !names.insert(name.to_ascii_lowercase()) {
                return Err(PolicyError::DuplicateFile { name });
            }
            let is_test = name.ends_with("_test.rego")
                || [TEST_INPUT, TEST_DOCUMENT].contains(&name.as_str());
            let part = if is_test { &mut files.tests } else { &mut files.deciding };
            part.insert(name, bytes);
        }
        Ok(files)
    }

    /// Paths and contents of all files, sorted.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let files = self.deciding.iter().chain(&self.tests);
        files.map(|(path, bytes)| (path.as_str(), bytes.as_slice()))
    }

    /// Name and text of the modules that decide, sorted by name.
    pub(crate) fn modules(&self) -> Result<Vec<(&str, &str)>, PolicyError> {
        texts(&self.deciding)
    }

    /// Name and text of the test modules, sorted by name.
    pub(crate) fn test_modules(&self) -> Result<Vec<(&str, &str)>, PolicyError> {
        texts(&self.tests)
    }

    /// The data, an object: each document under the path of its folder.
    pub(crate) fn data(&self) -> Result<Value, PolicyError> {
        let files = self.deciding.iter();
        merged_data(files.map(|(path, bytes)| (path.as_str(), bytes.as_slice())))
    }

    /// What tests find at `data.sealwright_test.input`: `input.json`, or the document of that place.
    pub(crate) fn test_input(&self) -> Result<Option<Value>, PolicyError> {
        let parse = |bytes: &Vec<u8>| {
            parse_strict(bytes, MAX_FILE_BYTES).map_err(|source| PolicyError::TestInput { source })
        };
        match (self.tests.get(TEST_INPUT), self.tests.get(TEST_DOCUMENT)) {
            (Some(_), Some(_)) => {
                Err(PolicyError::DuplicateFile { name: TEST_DOCUMENT.to_owned() })
            }
            (one, other) => one.or(other).map(parse).transpose(),
        }
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
fn is_policy_file(path: &str) -> Result<bool, PolicyError> {
    let name = base(path);
    let lower = name.to_ascii_lowercase();
    let policy_file =
        name == DATA || is_yaml_data(name) || path == TEST_INPUT || name.ends_with(".rego");
    // `Main.REGO` and `extra.json` look like parts of the policy to a person.
    let misleading =
        [".rego", ".json", ".yaml", ".yml"].iter().any(|ending| lower.ends_with(ending));
    match (policy_file, misleading) {
        (true, _) if is_path(path) => Ok(true),
        (true, _) => Err(PolicyError::FileName { name: path.to_owned() }),
        (false, true) => Err(PolicyError::UnexpectedFile { name: path.to_owned() }),
        (false, false) => Ok(false),
    }
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Whether a file of this name is a document in YAML.
pub(crate) fn is_yaml_data(name: &str) -> bool {
    YAML_DATA.contains(&name)
}

/// Whether `path` is relative, short, and of names that are the same file on every system.
pub(crate) fn is_path(path: &str) -> bool {
    path.len() <= MAX_PATH_BYTES
        && path.split('/').count() <= MAX_DEPTH
        && path.split('/').all(is_name)
}

fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !name.is_empty()
        && name.len() <= MAX_NAME_BYTES
        && !name.starts_with('.')
        && name.bytes().all(allowed)
}

/// Adds what belongs to the policy in `dir`, which is `prefix` below the policy's own folder.
fn read_folder(
    dir: &Path,
    prefix: &str,
    depth: usize,
    found: &mut Vec<(String, Vec<u8>)>,
) -> Result<(), PolicyError> {
    let failed = |source| PolicyError::Io { path: dir.to_path_buf(), source };
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let Some(name) = name.to_str() else {
            return Err(PolicyError::FileName { name: name.to_string_lossy().into_owned() });
        };
        if name.starts_with('.') {
            continue;
        }
        let (path, inner) = (dir.join(name), format!("{prefix}{name}"));
        let unreadable = |source| PolicyError::Io { path: path.clone(), source };
        let meta = fs::metadata(&path).map_err(unreadable)?;
        if meta.is_dir() {
            // Links that lead back end here.
            if depth == MAX_DEPTH {
                return Err(PolicyError::FileName { name: inner });
            }
            read_folder(&path, &format!("{inner}/"), depth + 1, found)?;
            continue;
        }
        if !is_policy_file(&inner)? {
            continue;
        }
        // Reading a FIFO or a device may never end.
        if !meta.is_file() {
            return Err(unreadable(ErrorKind::InvalidInput.into()));
        }
        if found.len() == MAX_FILES {
            return Err(PolicyError::TooManyFiles { limit: MAX_FILES });
        }
        found.push((inner.clone(), read_bounded(&path, &inner)?));
    }
    Ok(())
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
