//! How a model on disk differs from the one that was signed.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use crate::chunks::DifferentChunks;
use crate::digest::Sha256;
use crate::identity::Identity;

/// One way in which a file is not as recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// The content is not the recorded one.
    Changed(String),
    /// The content is not the recorded one in these places.
    ChangedChunks {
        /// The name.
        name: String,
        /// Which parts differ.
        chunks: DifferentChunks,
    },
    /// The content is not the recorded one, nor is its size.
    Resized {
        /// The name.
        name: String,
        /// The recorded size in bytes.
        from: u64,
        /// The size on disk in bytes.
        to: u64,
    },
    /// Recorded, but not there.
    Missing(String),
    /// There, but not recorded.
    Added(String),
    /// The recorded content is there under another name that is not recorded.
    Renamed {
        /// The recorded name.
        from: String,
        /// The name on disk.
        to: String,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Changed(name) => write!(f, "changed: {name}"),
            Difference::ChangedChunks { name, chunks } => write!(f, "changed: {name}: {chunks}"),
            Difference::Resized { name, from, to } => {
                write!(f, "changed: {name}: {to} bytes, {from} were signed")
            }
            Difference::Missing(name) => write!(f, "missing: {name}"),
            Difference::Added(name) => write!(f, "added: {name}"),
            Difference::Renamed { from, to } => write!(f, "renamed: {from} -> {to}"),
        }
    }
}

impl Identity {
    /// How `actual` differs from this, the recorded one, and where in each file if sizes or chunks tell.
    /// In the order of [`differences`]; empty means equal.
    pub fn differences(&self, actual: &Self) -> Vec<Difference> {
        let found = differences(&self.by_name(), &actual.by_name());
        let exact = |difference| match difference {
            Difference::Changed(name) => self.changed(actual, name),
            other => other,
        };
        found.into_iter().map(exact).collect()
    }

    fn by_name(&self) -> BTreeMap<&str, (Sha256, u64)> {
        self.files().iter().map(|file| (file.name.as_str(), (file.fsverity, file.size))).collect()
    }

    fn changed(&self, actual: &Self, name: String) -> Difference {
        let (Some(before), Some(after)) = (self.file(&name), actual.file(&name)) else {
            return Difference::Changed(name);
        };
        if before.size != after.size {
            return Difference::Resized { name, from: before.size, to: after.size };
        }
        let chunks = before.chunks.as_ref().zip(after.chunks.as_ref());
        match chunks.and_then(|(before, after)| before.differing(after)) {
            Some(chunks) => Difference::ChangedChunks { name, chunks },
            None => Difference::Changed(name),
        }
    }
}

/// Compares name → digest maps and gives all differences, in name order of what was expected, then
/// what was added. Empty means equal.
pub fn differences<D: Ord>(
    expected: &BTreeMap<&str, D>,
    actual: &BTreeMap<&str, D>,
) -> Vec<Difference> {
    // By digest, so that telling renamed files takes no longer the more of them there are.
    let mut added: BTreeMap<&D, VecDeque<&str>> = BTreeMap::new();
    for (name, digest) in actual {
        if !expected.contains_key(name) {
            added.entry(digest).or_default().push_back(name);
        }
    }
    let mut found = Vec::new();
    for (&name, digest) in expected {
        match actual.get(name) {
            Some(other) if other == digest => {}
            Some(_) => found.push(Difference::Changed(name.to_owned())),
            None => match added.get_mut(digest).and_then(VecDeque::pop_front) {
                Some(to) => {
                    let (from, to) = (name.to_owned(), to.to_owned());
                    found.push(Difference::Renamed { from, to });
                }
                None => found.push(Difference::Missing(name.to_owned())),
            },
        }
    }
    let mut left: Vec<&str> = added.into_values().flatten().collect();
    left.sort_unstable();
    found.extend(left.into_iter().map(|name| Difference::Added(name.to_owned())));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_difference_is_named() {
        let digest = |text: &str| Sha256::of(text.as_bytes());
        let expected = BTreeMap::from([
            ("a", digest("1")),
            ("b", digest("2")),
            ("c", digest("3")),
            ("d", digest("4")),
        ]);
        let actual = BTreeMap::from([
            ("a", digest("1")),
            ("b", digest("changed")),
            ("c2", digest("3")),
            ("e", digest("5")),
        ]);
        let texts: Vec<_> =
            differences(&expected, &actual).iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["changed: b", "renamed: c -> c2", "missing: d", "added: e"]);
        assert_eq!(differences(&actual, &actual), []);
    }

    #[test]
    fn twins_are_renamed_one_by_one_in_name_order() {
        let expected = BTreeMap::from([("a", 1), ("b", 1), ("c", 1)]);
        let actual = BTreeMap::from([("x", 1), ("y", 1), ("z", 2)]);
        let texts: Vec<_> =
            differences(&expected, &actual).iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["renamed: a -> x", "renamed: b -> y", "missing: c", "added: z"]);
    }

    #[test]
    fn very_many_differences_are_found_in_time() {
        let names = |prefix: char| (0..100_000).map(move |n| format!("{prefix}{n:06}"));
        let (old, new): (Vec<_>, Vec<_>) = (names('a').collect(), names('b').collect());
        let expected: BTreeMap<_, _> = old.iter().map(String::as_str).zip(0..).collect();
        let actual: BTreeMap<_, _> = new.iter().map(String::as_str).zip(1_000_000..).collect();
        assert_eq!(differences(&expected, &actual).len(), 200_000);
    }
}
