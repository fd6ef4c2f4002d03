//! How a model on disk differs from the one that was signed.

use std::collections::BTreeMap;
use std::fmt;

/// One way in which a file is not as recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// The content is not the recorded one.
    Changed(String),
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
            Difference::Missing(name) => write!(f, "missing: {name}"),
            Difference::Added(name) => write!(f, "added: {name}"),
            Difference::Renamed { from, to } => write!(f, "renamed: {from} -> {to}"),
        }
    }
}

/// Compares name → digest maps and gives all differences, in name order of what was expected, then
/// what was added. Empty means equal.
pub fn differences<D: PartialEq>(
    expected: &BTreeMap<&str, D>,
    actual: &BTreeMap<&str, D>,
) -> Vec<Difference> {
    let mut added: Vec<_> =
        actual.iter().filter(|(name, _)| !expected.contains_key(*name)).collect();
    let mut found = Vec::new();
    for (&name, digest) in expected {
        match actual.get(name) {
            Some(other) if other == digest => {}
            Some(_) => found.push(Difference::Changed(name.to_owned())),
            None => match added.iter().position(|(_, other)| *other == digest) {
                Some(index) => {
                    let (to, _) = added.remove(index);
                    let (from, to) = (name.to_owned(), (*to).to_owned());
                    found.push(Difference::Renamed { from, to });
                }
                None => found.push(Difference::Missing(name.to_owned())),
            },
        }
    }
    found.extend(added.into_iter().map(|(name, _)| Difference::Added((*name).to_owned())));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Sha256;

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
}
