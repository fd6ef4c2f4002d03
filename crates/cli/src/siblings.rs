//! Further signatures of one model: `model.2.sig`, `model.3.sig`, … beside `model.sig`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The highest number that is looked for.
const LAST: u16 = 999;

/// Where the signatures after `first` belong, in order: `stem.N.ext` from 2 on.
pub(crate) fn places(first: &Path) -> impl Iterator<Item = PathBuf> + '_ {
    (2..=LAST).filter_map(|number| place(first, number))
}

/// Those of [`places`] where there is something.
pub(crate) fn existing(first: &Path) -> Vec<PathBuf> {
    places(first).filter(|path| is_there(path)).collect()
}

/// Those of [`places`] where there is nothing.
pub(crate) fn free(first: &Path) -> impl Iterator<Item = PathBuf> + '_ {
    places(first).filter(|path| !is_there(path))
}

/// Also a link that leads nowhere.
fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn place(first: &Path, number: u16) -> Option<PathBuf> {
    let mut name = OsString::from(first.file_stem()?);
    name.push(format!(".{number}"));
    if let Some(extension) = first.extension() {
        name.push(".");
        name.push(extension);
    }
    Some(first.with_file_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_stands_before_the_last_extension() {
        for (first, second) in [
            ("model.sig", "model.2.sig"),
            ("a/b.sigstore.json", "a/b.sigstore.2.json"),
            ("bundle", "bundle.2"),
            (".sig", ".sig.2"),
        ] {
            assert_eq!(place(Path::new(first), 2), Some(PathBuf::from(second)));
        }
        assert_eq!(place(Path::new("/"), 2), None);
        assert_eq!(places(Path::new("m.sig")).last(), Some(PathBuf::from("m.999.sig")));
    }
}
