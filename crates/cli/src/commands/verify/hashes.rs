//! What was hashed for one signature need not be hashed again for the next.
//!
//! This is not the cache of digests on disk, which verifying never asks.

use std::path::Path;

use sealwright_manifest::{
    ChunkSize, GIT_PATHS, Identity, Manifest, ManifestError, Resources, Serialization,
    SymlinkPolicy, WalkOptions,
};

use crate::model;

/// The model as it was hashed so far.
#[derive(Default)]
pub(super) struct Hashes {
    /// Whether the model digest is wanted also where the signature does not need it: the plain digests
    /// of other tools' signatures alone take half the time.
    pub(super) identity_wanted: bool,
    identities: Known<(Walked, Option<ChunkSize>), Identity>,
    manifests: Known<Walked, Manifest>,
    resources: Known<(Walked, Serialization, usize), Resources>,
}

/// Results by what they were asked for with.
struct Known<K, V>(Vec<(K, V)>);

/// Walks with the same of it find the same files.
#[derive(PartialEq, Eq)]
struct Walked {
    ignore_paths: Vec<String>,
    ignore_git_paths: bool,
    symlinks: SymlinkPolicy,
}

impl Hashes {
    /// Nothing hashed so far.
    pub(super) fn wanting_identity(identity_wanted: bool) -> Self {
        Self { identity_wanted, ..Self::default() }
    }

    /// [`model::identify`], once for each way to walk the model and size of chunks.
    pub(super) fn identity(
        &mut self,
        path: &Path,
        options: &WalkOptions,
        chunk_size: Option<ChunkSize>,
    ) -> Result<Identity, ManifestError> {
        let key = (Walked::of(options), chunk_size);
        self.identities.get(key, || Ok(model::identify(path, options, None, chunk_size)?.value))
    }

    /// [`model::hash`], once for each way to walk the model.
    pub(super) fn manifest(
        &mut self,
        path: &Path,
        options: &WalkOptions,
    ) -> Result<Manifest, ManifestError> {
        self.manifests.get(Walked::of(options), || Ok(model::hash(path, options, None)?.value))
    }

    /// [`model::hash_resources`], once for each way to walk and hash the model.
    pub(super) fn resources(
        &mut self,
        path: &Path,
        options: &WalkOptions,
        serialization: Serialization,
        limit: usize,
    ) -> Result<Resources, ManifestError> {
        let key = (Walked::of(options), serialization, limit);
        self.resources.get(key, || model::hash_resources(path, options, serialization, limit))
    }
}

impl<K, V> Default for Known<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: PartialEq, V: Clone> Known<K, V> {
    fn get(
        &mut self,
        key: K,
        make: impl FnOnce() -> Result<V, ManifestError>,
    ) -> Result<V, ManifestError> {
        if let Some((_, value)) = self.0.iter().find(|(known, _)| *known == key) {
            return Ok(value.clone());
        }
        let value = make()?;
        self.0.push((key, value.clone()));
        Ok(value)
    }
}

impl Walked {
    fn of(options: &WalkOptions) -> Self {
        let WalkOptions { ignore_paths, ignore_git_paths, symlinks } = options;
        // Some signers record the defaults, some do not.
        let is_default = |path: &String| *ignore_git_paths && GIT_PATHS.contains(&path.as_str());
        let mut ignore_paths: Vec<String> =
            ignore_paths.iter().filter(|path| !is_default(path)).cloned().collect();
        ignore_paths.sort_unstable();
        ignore_paths.dedup();
        Self { ignore_paths, ignore_git_paths: *ignore_git_paths, symlinks: *symlinks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_hashed_once_for_each_way_to_walk_it() {
        let model = tempfile::tempdir().unwrap();
        std::fs::write(model.path().join("a"), "1").unwrap();
        std::fs::write(model.path().join("b"), "2").unwrap();
        let options = |paths: &[&str]| WalkOptions {
            ignore_paths: paths.iter().map(|&path| path.to_owned()).collect(),
            ..WalkOptions::default()
        };
        let mut hashes = Hashes::default();
        let mut digest =
            |paths: &[&str]| hashes.manifest(model.path(), &options(paths)).unwrap().model_digest();
        let whole = digest(&[".git", ".github"]);
        let part = digest(&["b", "c"]);
        assert_ne!(whole, part);
        // A second look would see the change.
        std::fs::write(model.path().join("a"), "3").unwrap();
        assert_eq!(digest(&[]), whole);
        assert_eq!(digest(&["c", "b", "c"]), part);
        assert_ne!(digest(&["c"]), whole);
        let identity = hashes.identity(model.path(), &options(&[]), None).unwrap();
        assert_ne!(identity.model_digest(), whole);
        std::fs::write(model.path().join("a"), "4").unwrap();
        assert_eq!(hashes.identity(model.path(), &options(&[]), None).unwrap(), identity);
    }
}
