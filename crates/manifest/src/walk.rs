//! Enumerating a model: OMS v1.0 §6.1 (regular files only, hidden files included) and §6.2 (what
//! is always ignored).

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Stat, fstat, statat};

use crate::error::ManifestError;
use crate::hash::{FileJob, buffer_size, hash_file};
use crate::hashing::Hashing;
use crate::model::Manifest;
use crate::name::{InvalidName, check_name};
use crate::open::{open_beneath, open_child, open_inside, open_root, require_regular, unreadable};
use crate::pool;

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
///
/// # Errors
/// [`ManifestError`] names the first file that stands in the way; files are looked at in name
/// order, so the same model gives the same error.
pub fn digest_model(
    path: &Path,
    options: &WalkOptions,
    hashing: &Hashing<'_>,
) -> Result<Manifest, ManifestError> {
    match list_model(path, options)? {
        Listing::File { fd, name } => {
            let stat = fstat(&fd).map_err(|errno| unreadable(path, errno))?;
            let sizes = [u64::try_from(stat.st_size).unwrap_or(0)];
            hashing.begin(&sizes);
            let chunk_size = hashing.chunk_size(&sizes);
            let (buffer_size, beside) = (buffer_size(1), pool::cores() > 1);
            let job = FileJob { hashing, chunk_size, buffer_size, beside };
            Manifest::new(vec![hash_file(fd, &name, &job)?])
        }
        Listing::Directory { root, names, sizes } => {
            hashing.begin(&sizes);
            let chunk_size = hashing.chunk_size(&sizes);
            let threads = pool::cores().min(names.len());
            let buffer_size = buffer_size(threads);
            let total = sizes.iter().sum();
            Manifest::new(pool::run(threads, &largest_first(&sizes), |index| {
                let name = names.get(index).map_or("", String::as_str);
                let size = sizes.get(index).copied().unwrap_or(0);
                let beside = outlasts(size, total, pool::cores());
                let job = FileJob { hashing, chunk_size, buffer_size, beside };
                hash_file(open_beneath(&root, name)?, name, &job)
            })?)
        }
    }
}

/// The files of a model, before they are read.
pub(crate) enum Listing {
    /// A model that is one file, named by its base name.
    File { fd: OwnedFd, name: String },
    /// A directory, with the names of its files in ascending order, at least one, and the size of
    /// each in bytes when it was listed.
    Directory { root: OwnedFd, names: Vec<String>, sizes: Vec<u64> },
}

/// Indexes by falling size. A large file that comes last would keep one core busy and the others
/// idle.
fn largest_first(sizes: &[u64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(sizes.get(index)));
    order
}

/// Whether a file of `size` bytes, hashed by one core, takes longer than all the others on the rest
/// of the cores, some of which then have nothing to do.
fn outlasts(size: u64, total: u64, cores: usize) -> bool {
    let others = total.saturating_sub(size);
    others.checked_div(cores as u64 - 1).is_some_and(|share| share < size)
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
    let mut walk = Walk { root: &root, options, files: Vec::new() };
    walk.list(&root, "", 0)?;
    let mut files = walk.files;
    if files.is_empty() {
        return Err(ManifestError::Empty { path: path.to_owned() });
    }
    files.sort_unstable();
    let (names, sizes) = files.into_iter().unzip();
    Ok(Listing::Directory { root, names, sizes })
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
    files: Vec<(String, u64)>,
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
        let target = if kind.is_symlink() && follow { file_inside(self.root, &name) } else { None };
        if target.is_none() {
            require_regular(kind, path)?;
        }
        if self.files.len() == MAX_FILES {
            return Err(ManifestError::TooManyFiles { limit: MAX_FILES });
        }
        let size = target.unwrap_or(stat).st_size;
        self.files.push((name, u64::try_from(size).unwrap_or(0)));
        Ok(())
    }
}

/// The regular file inside the model that a link leads to.
fn file_inside(root: &OwnedFd, name: &str) -> Option<Stat> {
    let stat = fstat(open_inside(root, name).ok()?).ok()?;
    FileType::from_raw_mode(stat.st_mode).is_file().then_some(stat)
}

fn slash(prefix: &str) -> &'static str {
    if prefix.is_empty() { "" } else { "/" }
}
