//! What a witness must not forget: one file for each log, replaced durably.

use std::path::{Path, PathBuf};

use crate::error::StoreError;
use crate::files::Files;

const RECORDS: &str = "witnessed";

/// The records of a witness, in a directory of its own that is held exclusively.
///
/// ```text
/// <dir>/lock               held exclusively while the records are open
/// <dir>/witnessed/<name>   one record
/// <dir>/tmp/               files being written
/// ```
pub struct WitnessRecords {
    files: Files,
}

impl WitnessRecords {
    /// Opens the records in `dir`, which is created (mode 0700) if it is not there.
    ///
    /// # Errors
    /// [`StoreError::Locked`], and whatever the file system says.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        Ok(Self { files: Files::open(dir)? })
    }

    /// A record, byte for byte as it was written; `None` if there never was one.
    ///
    /// # Errors
    /// [`StoreError::File`].
    pub fn read(&self, name: &RecordName) -> Result<Option<Vec<u8>>, StoreError> {
        self.files.read(&name.path())
    }

    /// Writes a record in the place of the last one. When this returns the new one is durable; after
    /// a crash or an error either the old or the new one is there, whole.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn replace(&mut self, name: &RecordName, record: &[u8]) -> Result<(), StoreError> {
        self.files.replace(&name.path(), record)
    }

    /// Where a record is.
    pub fn path(&self, name: &RecordName) -> PathBuf {
        self.files.path(&name.path())
    }
}

/// The name of a record: 64 lower-case hexadecimal digits, so that it is a file name everywhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordName(String);

impl RecordName {
    /// Checks a name; `None` if it is not 64 lower-case hexadecimal digits.
    pub fn new(name: &str) -> Option<Self> {
        let is_digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        (name.len() == 64 && name.bytes().all(is_digit)).then(|| Self(name.to_owned()))
    }

    fn path(&self) -> String {
        format!("{RECORDS}/{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_kept_and_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let name = RecordName::new(&"a1".repeat(32)).unwrap();
        let mut records = WitnessRecords::open(dir.path()).unwrap();
        assert!(matches!(WitnessRecords::open(dir.path()), Err(StoreError::Locked { .. })));
        assert_eq!(records.read(&name).unwrap(), None);
        for record in [b"first".as_slice(), b"second"] {
            records.replace(&name, record).unwrap();
            assert_eq!(records.read(&name).unwrap().unwrap(), record);
        }
        drop(records);
        let again = WitnessRecords::open(dir.path()).unwrap();
        assert_eq!(again.read(&name).unwrap().unwrap(), b"second");
    }

    #[test]
    fn names_are_hashes() {
        for name in ["", "..", &"A1".repeat(32), &"a1".repeat(33), &"/a".repeat(32)] {
            assert_eq!(RecordName::new(name), None, "{name}");
        }
    }
}
