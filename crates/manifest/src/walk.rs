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
use crate::open::{open_beneath, open_child, open_inside, open_root, require_regular, unreadable};

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
    /// What to do with links. Only signatures by other tools ask for anything but refusing.
    pub symlinks: SymlinkPolicy,
}

impl Default for WalkOptions {
    fn default() -> Self {
        Self { ignore_paths: Vec::new(), ignore_git_paths: true, symlinks: SymlinkPolicy::Refuse }
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

/// What to do with a symbolic link that is not ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SymlinkPolicy {
    /// A link is an error: what it points to can change without the model changing.
    #[default]
    Refuse,
    /// A link to a regular file inside the model counts as a file with the target's bytes (OMS v1.0
    /// §6.1.1, `allow_symlinks`). Links to directories, absolute links and links that leave the
    /// model stay errors.
    FollowFilesInside,
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
    match list_model(path, options)? {
        Listing::File { fd, name } => Manifest::new(vec![hash_file(fd, &name, progress)?]),
        Listing::Directory { root, names } => Manifest::new(hash_all(&root, &names, progress)?),
    }
}

/// The files of a model, before they are read.
pub(crate) enum Listing {
    /// A model that is one file, named by its base name.
    File { fd: OwnedFd, name: String },
    /// A directory, with the names of its files in ascending order; at least one.
    Directory { root: OwnedFd, names: Vec<String> },
}

/// Enumerates the model at `path`.
pub(crate) fn list_model(path: &Path, options: &WalkOptions) -> Result<Listing, ManifestError> {
    let root = open_root(path)?;
    let stat = fstat(&root).map_err(|errno| unreadable(path, errno))?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if !kind.is_dir() {
        require_regular(kind, path)?;
        return Ok(Listing::File { fd: root, name: base_name(path)? });
    }
    let mut walk = Walk { root: &root, options, names: Vec::new() };
    walk.list(&root, "", 0)?;
    let mut names = walk.names;
    if names.is_empty() {
        return Err(ManifestError::Empty { path: path.to_owned() });
    }
    names.sort_unstable();
    Ok(Listing::Directory { root, names })
}

fn base_name(path: &Path) -> Result<String, ManifestError> {
    let lossy = path.to_string_lossy().into_owned();
    let bad = |reason| ManifestError::Name { path: lossy.clone(), reason };
    let name = path.file_name().ok_or_else(|| bad(InvalidName::DotComponent))?;
    let name = name.to_str().ok_or_else(|| bad(InvalidName::NotUtf8))?;
    check_name(name).map_err(bad)?;
    Ok(name.to_owned())
}

struct Walk<'a> {
    root: &'a OwnedFd,
    options: &'a WalkOptions,
    names: Vec<String>,
}

impl Walk<'_> {
    fn list(
        &mut self,
        directory: &OwnedFd,
        prefix: &str,
        depth: usize,
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
                path: format!(
                    "{prefix}{}{}",
                    slash(prefix),
                    String::from_utf8_lossy(bad.as_bytes())
                ),
                reason: InvalidName::NotUtf8,
            })?;
            let name = format!("{prefix}{}{child}", slash(prefix));
            if !self.options.ignores(&name) {
                self.visit(directory, &child, name, depth)?;
            }
        }
        Ok(())
    }

    fn visit(
        &mut self,
        directory: &OwnedFd,
        child: &str,
        name: String,
        depth: usize,
    ) -> Result<(), ManifestError> {
        let path = Path::new(&name);
        let stat = statat(directory, child, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| unreadable(path, errno))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind.is_dir() {
            let fd = open_child(directory, child, true).map_err(|errno| unreadable(path, errno))?;
            return self.list(&fd, &name, depth + 1);
        }
        let follow = self.options.symlinks == SymlinkPolicy::FollowFilesInside;
        if !(kind.is_symlink() && follow && leads_to_a_file(self.root, &name)) {
            require_regular(kind, path)?;
        }
        if self.names.len() == MAX_FILES {
            return Err(ManifestError::TooManyFiles { limit: MAX_FILES });
        }
        self.names.push(name);
        Ok(())
    }
}

fn leads_to_a_file(root: &OwnedFd, name: &str) -> bool {
    let Ok(fd) = open_inside(root, name) else { return false };
    fstat(&fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_file())
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
