//! A `.tar.gz` as files, and files as a `.tar.gz`.
//!
//! Readers of tar disagree on what is in an archive that has extended headers, links or several
//! streams, and whoever signs one must not see other rules than whoever decides by them. So what is
//! read is narrow: one gzip stream, plain files and folders, no header that changes the next one, and
//! nothing after the end.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};

use flate2::bufread::GzDecoder;
use flate2::{Compression, GzBuilder};
use tar::{Archive, Builder, EntryType, Header, PaxExtensions};

use super::BundleError;
use crate::files;

/// The largest archive in bytes, packed.
pub(super) const MAX_PACKED_BYTES: usize = 4 * 1024 * 1024;
/// The largest archive in bytes, unpacked: headers and padding come on top of the files.
const MAX_UNPACKED_BYTES: usize = 8 * 1024 * 1024;
/// The largest file in an archive: `data.json` of a bundle that only answers questions may be long.
const MAX_FILE_BYTES: usize = 4 * 1024 * 1024;
/// How many headers an archive may have.
const MAX_ENTRIES: usize = 2048;
const BLOCK: usize = 512;
/// What follows the last file: two blocks of zeros (POSIX pax, "ustar Interchange Format"), to which
/// some writers add up to a whole record and more.
const MIN_END: usize = 2 * BLOCK;
const MAX_END: usize = 64 * 1024;
/// What a header before a file may say of it: nothing that another reader would take for its name, kind
/// or length.
const HARMLESS: [&str; 7] = ["mtime", "atime", "ctime", "uid", "gid", "uname", "gname"];

/// Files by path, sorted; paths are relative, with `/`.
pub(super) fn unpack(bytes: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, BundleError> {
    let tar = gunzip(bytes)?;
    let mut files = BTreeMap::new();
    let mut end = 0;
    let mut archive = Archive::new(tar.as_slice());
    let entries = archive.entries().map_err(|error| BundleError::tar(&error))?.raw(true);
    for (index, entry) in entries.enumerate() {
        if index == MAX_ENTRIES {
            return Err(BundleError::TooMany { limit: MAX_ENTRIES });
        }
        let mut entry = entry.map_err(|error| BundleError::tar(&error))?;
        let kind = entry.header().entry_type();
        let (start, size) = (entry.raw_file_position(), entry.size());
        let name = entry.path_bytes().into_owned();
        let size = usize::try_from(size).ok().filter(|size| *size <= MAX_FILE_BYTES);
        let size = size.ok_or_else(|| BundleError::TooLarge {
            what: String::from_utf8_lossy(&name).into_owned(),
            limit: MAX_FILE_BYTES,
        })?;
        let mut content = Vec::with_capacity(size);
        entry.read_to_end(&mut content).map_err(|error| BundleError::tar(&error))?;
        if content.len() != size {
            return Err(BundleError::Tar { message: String::from("a file is cut short") });
        }
        end = usize::try_from(start).unwrap_or(usize::MAX).saturating_add(size);
        match kind {
            EntryType::Regular => {
                let path = path_of(&name, false)?;
                if path.is_empty() {
                    return Err(BundleError::Path { path, reason: "it is empty" });
                }
                if files.insert(path.clone(), content).is_some() {
                    return Err(BundleError::Duplicate { path });
                }
            }
            // To other readers what follows a directory is the next header, whatever size it claims.
            EntryType::Directory if size != 0 => return Err(kind_refused(&name, kind)),
            EntryType::Directory => {
                path_of(&name, true)?;
            }
            EntryType::XHeader => check_extension(&content)?,
            other => return Err(kind_refused(&name, other)),
        }
    }
    check_end(&tar, end)?;
    check_twins(&files)?;
    Ok(files)
}

/// The archive of `files`: the same bytes whenever and wherever it is made by this version.
pub(super) fn pack<'a>(
    files: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> Result<Vec<u8>, BundleError> {
    let failed = |error: std::io::Error| BundleError::tar(&error);
    let mut tar = Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = Header::new_ustar();
        header
            .set_path(path)
            .map_err(|_| BundleError::Path { path: path.to_owned(), reason: "it is too long" })?;
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(u64::try_from(content.len()).unwrap_or(u64::MAX));
        header.set_cksum();
        tar.append(&header, content).map_err(failed)?;
    }
    let tar = tar.into_inner().map_err(failed)?;
    // 255: of no operating system in particular (RFC 1952 §2.3.1).
    let mut gzip = GzBuilder::new().operating_system(255).write(Vec::new(), Compression::best());
    gzip.write_all(&tar).map_err(failed)?;
    gzip.finish().map_err(failed)
}

fn gunzip(bytes: &[u8]) -> Result<Vec<u8>, BundleError> {
    let too_large = |limit| BundleError::TooLarge { what: String::from("the bundle"), limit };
    if bytes.len() > MAX_PACKED_BYTES {
        return Err(too_large(MAX_PACKED_BYTES));
    }
    let mut decoder = GzDecoder::new(bytes);
    let mut unpacked = Vec::new();
    let limit = u64::try_from(MAX_UNPACKED_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    decoder
        .by_ref()
        .take(limit)
        .read_to_end(&mut unpacked)
        .map_err(|error| BundleError::Gzip { message: error.to_string() })?;
    if unpacked.len() > MAX_UNPACKED_BYTES {
        return Err(too_large(MAX_UNPACKED_BYTES));
    }
    if !decoder.into_inner().is_empty() {
        return Err(BundleError::Trailing { after: "the gzip stream" });
    }
    Ok(unpacked)
}

/// The path that a header's name stands for. `./a`, `/a` (as `opa build` writes it) and `a` are one.
fn path_of(name: &[u8], is_directory: bool) -> Result<String, BundleError> {
    let shown = String::from_utf8_lossy(name).into_owned();
    let wrong = |reason| BundleError::Path { path: shown.clone(), reason };
    let text = std::str::from_utf8(name).map_err(|_| wrong("it is not UTF-8"))?;
    let text = text.strip_prefix("./").or_else(|| text.strip_prefix('/')).unwrap_or(text);
    let text = if is_directory { text.strip_suffix('/').unwrap_or(text) } else { text };
    if is_directory && matches!(text, "" | ".") {
        return Ok(String::new());
    }
    if text.split('/').any(|part| matches!(part, ".." | "." | "")) {
        return Err(wrong("it leads elsewhere"));
    }
    if text == super::MANIFEST || text == super::SIGNATURES || files::is_path(text) {
        return Ok(text.to_owned());
    }
    let is_hidden = text.split('/').any(|part| part.starts_with('.'));
    Err(wrong(if is_hidden { "it is hidden" } else { "its name or depth is not allowed" }))
}

/// Writers such as Python's put times of more than a second's precision into a header of its own.
fn check_extension(content: &[u8]) -> Result<(), BundleError> {
    for record in PaxExtensions::new(content) {
        let record = record.map_err(|error| BundleError::tar(&error))?;
        if !record.key().is_ok_and(|key| HARMLESS.contains(&key)) {
            return Err(BundleError::Kind {
                path: String::from_utf8_lossy(record.key_bytes()).into_owned(),
                kind: "an extended header",
            });
        }
    }
    Ok(())
}

fn kind_refused(name: &[u8], kind: EntryType) -> BundleError {
    let kind = match kind {
        EntryType::Link => "a hard link",
        EntryType::Symlink => "a symbolic link",
        EntryType::Char | EntryType::Block => "a device",
        EntryType::Fifo => "a FIFO",
        EntryType::GNUSparse => "a sparse file",
        EntryType::GNULongName | EntryType::GNULongLink | EntryType::XGlobalHeader => {
            "an extended header"
        }
        _ => "of an unknown kind",
    };
    BundleError::Kind { path: String::from_utf8_lossy(name).into_owned(), kind }
}

fn check_end(tar: &[u8], end: usize) -> Result<(), BundleError> {
    let end = end.checked_next_multiple_of(BLOCK).unwrap_or(usize::MAX);
    let rest = tar.get(end..).unwrap_or_default();
    if rest.len() < MIN_END {
        return Err(BundleError::Tar { message: String::from("it has no end") });
    }
    if rest.len() > MAX_END || rest.len() % BLOCK != 0 || rest.iter().any(|byte| *byte != 0) {
        return Err(BundleError::Trailing { after: "the archive" });
    }
    Ok(())
}

/// Two files that would be one where case does not count, or a file that is a folder as well.
fn check_twins(files: &BTreeMap<String, Vec<u8>>) -> Result<(), BundleError> {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for path in files.keys() {
        if seen.insert(path.to_ascii_lowercase(), path).is_some() {
            return Err(BundleError::Duplicate { path: path.clone() });
        }
    }
    for path in files.keys() {
        let lower = path.to_ascii_lowercase();
        let above = lower.match_indices('/').filter_map(|(at, _)| lower.get(..at));
        if let Some(file) = above.filter_map(|folder| seen.get(folder)).next() {
            return Err(BundleError::Duplicate { path: (*file).to_owned() });
        }
    }
    Ok(())
}
