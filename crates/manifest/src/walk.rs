//! Enumerating a model: OMS v1.0 §6.1 (regular files only, hidden files included) and §6.2 (what
//! is always ignored).

use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::{AtFlags, Dir, FileType, fstat, statat};

use crate::error::ManifestError;
use crate::hash::hash_file;
use crate::model::{Entry, Manifest};
use crate::name::{InvalidName, check_name};
use crate::open::{open_beneath, open_child, open_root, require_regular, unreadable};

/// Deepest nesting of directories that is followed.
pub const MAX_DEPTH: usize = 128;
/// Most files in one model.
pub const MAX_FILES: usize = 1_000_000;

/// Top-level names that OMS v1.0 §6.2 always ignores, with everything below them.
pub const GIT_PATHS: [&str; 4] = [".git", ".gitattributes", ".github", ".gitignore"];

/// What of a directory is not part of the model.
#[derive(Debug, Clone)]
pub struct WalkOptions {
    /// Relative names to leave out, each a file or a whole subtree; no globs.
    pub ignore_paths: Vec<String>,
    /// Leave out [`GIT_PATHS`] as well.
    pub ignore_git_paths: bool,
}

impl Default for WalkOptions {
    fn default() -> Self {
        Self { ignore_paths: Vec::new(), ignore_git_paths: true }
    }
}

impl WalkOptions {
    /// Whether `name` (relative, `/`-separated) is left out.
    pub fn ignores(&self, name: &str) -> bool {
        let git = if self.ignore_git_paths { &GIT_PATHS[..] } else { &[] };
        let paths = self.ignore_paths.iter().map(String::as_str).chain(git.iter().copied());
        paths.into_iter().any(|ignored| {
            name.strip_prefix(ignored).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }
}

/// Walks and hashes the model at `path`, using all cores, and gives its manifest.
///
/// A path that is one regular file is a model with one entry, named by the file's base name.
/// `progress` is called from several threads with the number of bytes just hashed.
///
/// # Errors
/// [`ManifestError`] names the first file that stands in the way; files are looked at in name
/// order, so the same model gives the same error.
pub fn digest_model(
    path: &Path,
    options: &WalkOptions,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Manifest, ManifestError> {
    let root = open_root(path)?;
    let stat = fstat(&root).map_err(|errno| unreadable(path, errno))?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if !kind.is_dir() {
        require_regular(kind, path)?;
        return Manifest::new(vec![hash_file(root, &base_name(path)?, progress)?]);
    }
    let mut names = Vec::new();
    list(&root, "", 0, options, &mut names)?;
    if names.is_empty() {
        return Err(ManifestError::Empty { path: path.to_owned() });
    }
    names.sort_unstable();
    Manifest::new(hash_all(&root, &names, progress)?)
}

fn base_name(path: &Path) -> Result<String, ManifestError> {
    let lossy = path.to_string_lossy().into_owned();
    let bad = |reason| ManifestError::Name { path: lossy.clone(), reason };
    let name = path.file_name().ok_or_else(|| bad(InvalidName::DotComponent))?;
    let name = name.to_str().ok_or_else(|| bad(InvalidName::NotUtf8))?;
    check_name(name).map_err(bad)?;
    Ok(name.to_owned())
}

fn list(
    directory: &OwnedFd,
    prefix: &str,
    depth: usize,
    options: &WalkOptions,
    names: &mut Vec<String>,
) -> Result<(), ManifestError> {
    let here = PathBuf::from(if prefix.is_empty() { "." } else { prefix });
    if depth > MAX_DEPTH {
        return Err(ManifestError::TooDeep { path: here, limit: MAX_DEPTH });
    }
    let mut children = Vec::new();
    for child in Dir::read_from(directory).map_err(|errno| unreadable(&here, errno))? {
        let child = child.map_err(|errno| unreadable(&here, errno))?;
        let bytes = child.file_name().to_bytes();
        if bytes != b"." && bytes != b".." {
            children.push(bytes.to_vec());
        }
    }
    children.sort_unstable();
    for child in children {
        let child = String::from_utf8(child).map_err(|bad| ManifestError::Name {
            path: format!("{prefix}{}{}", slash(prefix), String::from_utf8_lossy(bad.as_bytes())),
            reason: InvalidName::NotUtf8,
        })?;
        let name = format!("{prefix}{}{child}", slash(prefix));
        if options.ignores(&name) {
            continue;
        }
        visit(directory, &child, name, depth, options, names)?;
    }
    Ok(())
}

fn visit(
    directory: &OwnedFd,
    child: &str,
    name: String,
    depth: usize,
    options: &WalkOptions,
    names: &mut Vec<String>,
) -> Result<(), ManifestError> {
    let path = Path::new(&name);
    let stat = statat(directory, child, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|errno| unreadable(path, errno))?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind.is_dir() {
        let fd = open_child(directory, child, true).map_err(|errno| unreadable(path, errno))?;
        return list(&fd, &name, depth + 1, options, names);
    }
    require_regular(kind, path)?;
    if names.len() == MAX_FILES {
        return Err(ManifestError::TooManyFiles { limit: MAX_FILES });
    }
    names.push(name);
    Ok(())
}

fn slash(prefix: &str) -> &'static str {
    if prefix.is_empty() { "" } else { "/" }
}

/// Hashes `names` on all cores. Results are put back by index, so threads cannot change the order.
fn hash_all(
    root: &OwnedFd,
    names: &[String],
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Vec<Entry>, ManifestError> {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(names.len());
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, Result<Entry, ManifestError>)>> = Mutex::new(Vec::new());
    let work = || {
        while let Some((index, name)) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            names.get(index).map(|name| (index, name))
        } {
            let result = open_beneath(root, name).and_then(|fd| hash_file(fd, name, progress));
            if result.is_err() {
                // Lower indexes are already taken by some thread, so the first error stays first.
                next.fetch_max(names.len(), Ordering::Relaxed);
            }
            results.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((index, result));
        }
    };
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let mut results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}
