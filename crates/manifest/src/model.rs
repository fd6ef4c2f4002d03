//! The manifest and its two digests.

use sealwright_hash::{Engine, Sha256 as Hasher};
use serde::Serialize;

use crate::chunks::Chunks;
use crate::digest::Sha256;
use crate::error::ManifestError;
use crate::identity::{Identity, canonical, put_in_order};

/// One regular file of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Relative name with `/` separators, valid by [`crate::check_name`].
    pub name: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of the whole content.
    pub sha256: Sha256,
    /// fs-verity digest of the content (SHA-256, 4096-byte blocks, no salt).
    pub fsverity: Sha256,
    /// Hashes of the chunks of a large file. They follow from the content, as do the digests.
    #[serde(skip)]
    pub chunks: Option<Chunks>,
}

/// The files of a model in ascending order of their names' bytes; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Manifest {
    entries: Vec<Entry>,
}

impl Manifest {
    /// Makes a manifest from entries in any order.
    ///
    /// # Errors
    /// [`ManifestError::Name`] for a bad name, [`ManifestError::Order`] for a name that is there
    /// twice, [`ManifestError::Empty`] for no entries.
    pub fn new(mut entries: Vec<Entry>) -> Result<Self, ManifestError> {
        put_in_order(&mut entries, |entry| &entry.name)?;
        Ok(Self { entries })
    }

    /// The entries, ascending by name.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry of that name.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        let index = self
            .entries
            .binary_search_by(|entry| entry.name.as_bytes().cmp(name.as_bytes()))
            .ok()?;
        self.entries.get(index)
    }

    /// Bytes of all files together. Sizes can be of a bundle's saying: the sum ends at `u64::MAX`.
    pub fn total_size(&self) -> u64 {
        self.entries.iter().fold(0, |sum, entry| entry.size.saturating_add(sum))
    }

    /// What of it is the model's identity: the same files without their plain digests.
    pub fn identity(&self) -> Identity {
        Identity::of(self)
    }

    /// The canonical form, whose SHA-256 is the model digest: [`Identity::canonical`].
    pub fn canonical(&self) -> String {
        canonical(
            self.entries.iter().map(|entry| (entry.name.as_str(), entry.size, entry.fsverity)),
        )
    }

    /// The identity of the model: SHA-256 of [`Manifest::canonical`].
    pub fn model_digest(&self) -> Sha256 {
        Sha256::of(self.canonical().as_bytes())
    }

    /// The OMS root digest: SHA-256 of the files' raw SHA-256 digests in order (OMS v1.0 §6.5).
    ///
    /// It covers no names; it is written and read for interoperability and is not an identity.
    pub fn oms_root(&self) -> Sha256 {
        let mut hasher = Hasher::new(Engine::best());
        for entry in &self.entries {
            hasher.update(entry.sha256.as_bytes());
        }
        Sha256::from_bytes(hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, content: &[u8]) -> Entry {
        let mut tree = crate::FsVerityHasher::new();
        tree.update(content);
        Entry {
            name: name.to_owned(),
            size: content.len() as u64,
            sha256: Sha256::of(content),
            fsverity: tree.finish(),
            chunks: None,
        }
    }

    #[test]
    fn canonical_form_is_what_the_documentation_says() {
        let manifest =
            Manifest::new(vec![entry("weights.bin", b"abc"), entry("config.json", b"")]).unwrap();
        let empty = "3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95";
        let abc = entry("", b"abc").fsverity;
        assert_eq!(
            manifest.canonical(),
            format!(
                "sealwright.dev/manifest/v1\nfsverity-sha256-4096\n2\n\
                 {empty} 0 11 config.json\n{abc} 3 11 weights.bin\n"
            )
        );
    }

    #[test]
    fn order_of_entries_does_not_matter_but_names_do() {
        let (a, b) = (entry("a", b"1"), entry("b", b"2"));
        let one = Manifest::new(vec![a.clone(), b.clone()]).unwrap();
        assert_eq!(one, Manifest::new(vec![b, a]).unwrap());
        // Same contents in the same order under other names: one OMS root, two identities.
        let other = Manifest::new(vec![entry("a", b"1"), entry("c", b"2")]).unwrap();
        assert_eq!(one.oms_root(), other.oms_root());
        assert_ne!(one.model_digest(), other.model_digest());
    }

    #[test]
    fn names_with_newlines_cannot_forge_a_line() {
        let inner = Manifest::new(vec![entry("a", b"1"), entry("b", b"2")]).unwrap();
        let line = inner.canonical().lines().nth(4).unwrap().to_owned();
        let forged = Manifest::new(vec![entry(&format!("a\n{line}"), b"1")]).unwrap();
        assert_ne!(inner.model_digest(), forged.model_digest());
        assert_ne!(inner.canonical(), forged.canonical());
    }

    #[test]
    fn sizes_that_cannot_be_do_not_overflow() {
        let huge = |name: &str| Entry { size: u64::MAX - 1, ..entry(name, b"") };
        let manifest = Manifest::new(vec![huge("a"), huge("b")]).unwrap();
        assert_eq!(manifest.total_size(), u64::MAX);
        assert_eq!(manifest.identity().total_size(), u64::MAX);
    }

    #[test]
    fn duplicates_and_bad_names_are_refused() {
        let twice = vec![entry("a", b"1"), entry("a", b"2")];
        assert!(matches!(Manifest::new(twice), Err(ManifestError::Order { .. })));
        let up = vec![entry("../a", b"1")];
        assert!(matches!(Manifest::new(up), Err(ManifestError::Name { .. })));
        assert!(matches!(Manifest::new(vec![]), Err(ManifestError::Empty { .. })));
    }
}
