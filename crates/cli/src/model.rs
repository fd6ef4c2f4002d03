//! MODEL on the command line: a directory or one file.

use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use sealwright_manifest::{
    ChunkSize, DigestCache, Hashing, Identity, Manifest, ManifestError, Progress, Resources,
    Serialization, WalkOptions, digest_model, identify_model, resource_digests,
};

use crate::cache::FileCache;
use crate::error::CliError;
use crate::output;

/// A model, and what of it to leave out.
#[derive(Debug, clap::Args)]
pub(crate) struct ModelArgs {
    /// Model: a directory, or one file.
    #[arg(value_name = "MODEL")]
    pub(crate) path: PathBuf,
    /// Leave out this file or subtree (relative to MODEL, no globs); may be repeated.
    #[arg(long = "ignore-path", value_name = "PATH")]
    pub(crate) ignore_paths: Vec<String>,
}

impl ModelArgs {
    /// The base name, for people and for `subject.name`.
    pub(crate) fn name(&self) -> Result<String, CliError> {
        let path = &self.path;
        let absolute = path.canonicalize().unwrap_or_else(|_| path.clone());
        // A link named `current` should give the name that was typed, unless that is `.` or `..`.
        let name = path.file_name().or_else(|| absolute.file_name()).and_then(|name| name.to_str());
        name.map(str::to_owned).ok_or_else(|| {
            CliError::input(format!("{} has no usable name", path.display()))
                .hint("give the path of a directory or file with a UTF-8 name")
        })
    }

    /// Walks and hashes the model, with a progress bar on a terminal.
    pub(crate) fn manifest(&self) -> Result<Manifest, CliError> {
        Ok(hash(&self.path, &self.options(Vec::new())?, None)?.value)
    }

    /// The same without the plain digests, in less time.
    pub(crate) fn identity(&self) -> Result<Identity, CliError> {
        Ok(identify(&self.path, &self.options(Vec::new())?, None, None)?.value)
    }

    /// What to leave out: `more` and what the user said.
    pub(crate) fn options(&self, mut more: Vec<String>) -> Result<WalkOptions, CliError> {
        for path in &self.ignore_paths {
            more.push(normal(path)?);
        }
        Ok(WalkOptions { ignore_paths: more, ..WalkOptions::default() })
    }

    /// The name below MODEL of a file that lies in it, if it does.
    pub(crate) fn relative(&self, file: &Path) -> Option<String> {
        let root = self.path.canonicalize().ok()?;
        let parent = crate::files::parent(file).canonicalize().ok()?;
        let inside = parent.join(file.file_name()?);
        Some(inside.strip_prefix(root).ok()?.to_str()?.to_owned())
    }

    /// The base name of a model that is one file.
    pub(crate) fn single_file(&self) -> Option<String> {
        let path = &self.path;
        path.is_file().then(|| path.file_name()?.to_str().map(str::to_owned))?
    }

    /// Whether `file` is the model itself, one file.
    pub(crate) fn is_at(&self, file: &Path) -> bool {
        matches!((self.path.canonicalize(), file.canonicalize()), (Ok(a), Ok(b)) if a == b)
    }

    /// Refuses to write a statement about the model into the model: that would make another model
    /// of it.
    pub(crate) fn refuse_output(&self, file: &Path) -> Result<(), CliError> {
        let refused = match self.relative(file) {
            Some(name) => !self.options(Vec::new())?.ignores(&name),
            None => self.is_at(file),
        };
        if !refused {
            return Ok(());
        }
        Err(CliError::input(format!("writing {} would change the model", file.display()))
            .hint("choose an --output outside of MODEL, or leave it out with --ignore-path"))
    }

    /// A file beside the model: `model.sig` for `/m/loan` is `/m/model.sig`.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        // `models/x/..` and `.` have no name of their own: resolve them first.
        match (self.path.file_name(), self.path.canonicalize()) {
            (None, Ok(path)) => crate::files::parent(&path).join(name),
            _ => crate::files::parent(&self.path).join(name),
        }
    }
}

/// What hashing gave, and how many bytes did not have to be read for it.
pub(crate) struct Hashed<T> {
    pub(crate) value: T,
    pub(crate) cached: u64,
}

/// Walks and hashes a model, with a progress bar when standard error is a terminal. Only files that
/// `cache` does not know are read.
pub(crate) fn hash(
    path: &Path,
    options: &WalkOptions,
    cache: Option<&FileCache>,
) -> Result<Hashed<Manifest>, ManifestError> {
    with_progress(cache, None, |hashing| digest_model(path, options, hashing))
}

/// The same for the tree digests alone, in chunks of that size.
pub(crate) fn identify(
    path: &Path,
    options: &WalkOptions,
    cache: Option<&FileCache>,
    chunk_size: Option<ChunkSize>,
) -> Result<Hashed<Identity>, ManifestError> {
    with_progress(cache, chunk_size, |hashing| identify_model(path, options, hashing))
}

/// The same for resources of any kind.
pub(crate) fn hash_resources(
    path: &Path,
    options: &WalkOptions,
    serialization: Serialization,
    limit: usize,
) -> Result<Resources, ManifestError> {
    let hashed = with_progress(None, None, |hashing| {
        resource_digests(path, options, serialization, None, limit, hashing)
    });
    Ok(hashed?.value)
}

fn with_progress<T>(
    cache: Option<&FileCache>,
    chunk_size: Option<ChunkSize>,
    work: impl FnOnce(&Hashing<'_>) -> Result<T, ManifestError>,
) -> Result<Hashed<T>, ManifestError> {
    let bar = ProgressBar::no_length();
    let template = "hashing {bar:24} {binary_bytes} of {binary_total_bytes}, \
                    {binary_bytes_per_sec}, {eta} left";
    bar.set_style(
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let cached = AtomicU64::new(0);
    let progress = |progress| match progress {
        Progress::Listed { bytes, .. } => {
            bar.set_length(bytes);
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        Progress::Hashed(bytes) => bar.inc(bytes),
        Progress::Cached(bytes) => {
            cached.fetch_add(bytes, Ordering::Relaxed);
            // Nothing was read: neither rate nor time left may count it.
            bar.dec_length(bytes);
        }
    };
    let cache = cache.map(|cache| cache as &dyn DigestCache);
    let result = work(&Hashing { progress: &progress, cache, chunk_size });
    bar.finish_and_clear();
    Ok(Hashed { value: result?, cached: cached.into_inner() })
}

/// What was hashed, in words.
pub(crate) fn content(files: usize, bytes: u64, cached: u64) -> String {
    let all = format!("{}, {}", output::count(files, "file"), output::size(bytes));
    match cached {
        0 => all,
        cached => format!("{all} ({} unchanged, not read again)", output::size(cached)),
    }
}

/// `./a//b/` and `a/b` are the same to whoever types them. A path that cannot lie in the model would
/// leave out nothing, which whoever gave it does not expect.
fn normal(path: &str) -> Result<String, CliError> {
    let names = Path::new(path).components().filter(|part| *part != Component::CurDir);
    let names: Option<Vec<&str>> = names
        .map(|part| match part {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect();
    match names {
        Some(names) if !names.is_empty() => Ok(names.join("/")),
        _ => Err(CliError::input(format!("--ignore-path {path:?} is not a path below MODEL"))
            .hint("write it relative to MODEL: --ignore-path logs/train.txt")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_paths_lie_below_the_model() {
        for (typed, meant) in [("a", "a"), ("./a//b/", "a/b"), ("a/./b", "a/b"), ("..a", "..a")] {
            assert_eq!(normal(typed).ok().as_deref(), Some(meant), "{typed}");
        }
        for typed in ["", ".", "./", "/m/a", "..", "../m/a", "a/../b"] {
            assert!(normal(typed).is_err(), "{typed}");
        }
    }
}
