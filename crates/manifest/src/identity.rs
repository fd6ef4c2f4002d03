//! The identity of a model: names, sizes and tree digests, and their one byte form.

use serde::Serialize;

use crate::chunks::Chunks;
use crate::digest::Sha256;
use crate::error::ManifestError;
use crate::model::Manifest;
use crate::name::check_name;

/// First line of the canonical form. A change of the form is a new version here, and so a
/// different model digest for every model.
pub const CANONICAL_VERSION: &str = "sealwright.dev/manifest/v1";

/// One regular file of a model, without its plain digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileIdentity {
    /// Relative name with `/` separators, valid by [`check_name`].
    pub name: String,
    /// Size in bytes.
    pub size: u64,
    /// fs-verity digest of the content (SHA-256, 4096-byte blocks, no salt).
    pub fsverity: Sha256,
    /// Hashes of the chunks of a large file.
    #[serde(skip)]
    pub chunks: Option<Chunks>,
}

/// The files of a model in ascending order of their names' bytes; never empty.
///
/// It has all that the model digest is made of and no plain SHA-256, so that nothing that OMS signs
/// can be made of it; that takes a [`Manifest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Identity {
    files: Vec<FileIdentity>,
}

impl Identity {
    /// Makes an identity from files in any order.
    ///
    /// # Errors
    /// As for [`Manifest::new`].
    pub fn new(mut files: Vec<FileIdentity>) -> Result<Self, ManifestError> {
        put_in_order(&mut files, |file| &file.name)?;
        Ok(Self { files })
    }

    /// A manifest is in order already.
    pub(crate) fn of(manifest: &Manifest) -> Self {
        let file = |entry: &crate::Entry| FileIdentity {
            name: entry.name.clone(),
            size: entry.size,
            fsverity: entry.fsverity,
            chunks: entry.chunks.clone(),
        };
        Self { files: manifest.entries().iter().map(file).collect() }
    }

    /// The files, ascending by name.
    pub fn files(&self) -> &[FileIdentity] {
        &self.files
    }

    /// The file of that name.
    pub fn file(&self, name: &str) -> Option<&FileIdentity> {
        let found = self.files.binary_search_by(|file| file.name.as_bytes().cmp(name.as_bytes()));
        self.files.get(found.ok()?)
    }

    /// Bytes of all files together. Sizes can be of a bundle's saying: the sum ends at `u64::MAX`.
    pub fn total_size(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| file.size.saturating_add(sum))
    }

    /// The canonical form, whose SHA-256 is the model digest.
    ///
    /// UTF-8 text. Three header lines: the version, the tree algorithm, the number of files in
    /// decimal. Then for each file, ascending by name: the fs-verity digest in hexadecimal, the
    /// size in bytes, the number of bytes in the name, the name; separated by single spaces and
    /// ended by a newline. The length before the name makes the form unambiguous for names that
    /// hold spaces or newlines.
    ///
    /// Plain SHA-256 digests are not part of it: they follow from the same bytes, and leaving them
    /// out lets the identity of one huge file be computed on all cores.
    pub fn canonical(&self) -> String {
        canonical(self.files.iter().map(|file| (file.name.as_str(), file.size, file.fsverity)))
    }

    /// The identity of the model: SHA-256 of [`Identity::canonical`].
    pub fn model_digest(&self) -> Sha256 {
        Sha256::of(self.canonical().as_bytes())
    }
}

/// The canonical form of files that are in order.
pub(crate) fn canonical<'a>(
    files: impl ExactSizeIterator<Item = (&'a str, u64, Sha256)>,
) -> String {
    use std::fmt::Write as _;
    let mut text = format!("{CANONICAL_VERSION}\nfsverity-sha256-4096\n{}\n", files.len());
    for (name, size, fsverity) in files {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{fsverity} {size} {} {name}", name.len());
    }
    text
}

/// Sorts files by name, and refuses bad names, names that are there twice, and no files at all.
pub(crate) fn put_in_order<T>(
    files: &mut [T],
    name: fn(&T) -> &String,
) -> Result<(), ManifestError> {
    // Byte order of UTF-8 is code point order, which OMS v1.0 §5.2 asks for.
    files.sort_by(|a, b| name(a).as_bytes().cmp(name(b).as_bytes()));
    for file in &*files {
        check_name(name(file))
            .map_err(|reason| ManifestError::Name { path: name(file).clone(), reason })?;
    }
    if let Some([_, twin]) = files.array_windows().find(|[a, b]| name(a) == name(b)) {
        return Err(ManifestError::Order { name: name(twin).clone() });
    }
    if files.is_empty() {
        return Err(ManifestError::Empty { path: std::path::PathBuf::from(".") });
    }
    Ok(())
}
