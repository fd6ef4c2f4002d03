//! Projects: names that statements are submitted under.

use std::collections::BTreeSet;

const MAX_NAME: usize = 64;

/// The name of a project; empty for statements that belong to none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub(crate) struct Project(String);

/// A set of projects, or all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Projects {
    /// Those there are now, and those to come.
    has_all: bool,
    named: BTreeSet<Project>,
}

impl Project {
    /// Checks a name: lower-case letters, digits, and `.`, `_`, `-` between them. `None` if it is not
    /// one.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let is_end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let fits = name.len() <= MAX_NAME
            && name.chars().all(|c| is_end(c) || "._-".contains(c))
            && name.chars().next().is_none_or(is_end)
            && name.chars().next_back().is_none_or(is_end);
        fits.then(|| Self(name.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Projects {
    pub(crate) fn none() -> Self {
        Self { has_all: false, named: BTreeSet::new() }
    }

    pub(crate) fn all() -> Self {
        Self { has_all: true, named: BTreeSet::new() }
    }

    /// From the list in the file.
    pub(super) fn parse(names: &[String]) -> Result<Self, String> {
        let mut projects = Self::none();
        for name in names {
            if name == "*" {
                projects.has_all = true;
            } else {
                let project = Project::parse(name).ok_or_else(|| {
                    format!(
                        "{name:?} is not the name of a project: at most {MAX_NAME} of a-z0-9._-"
                    )
                })?;
                projects.named.insert(project);
            }
        }
        Ok(projects)
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.has_all || self.named.iter().any(|project| project.as_str() == name)
    }

    pub(crate) fn is_all(&self) -> bool {
        self.has_all
    }

    /// The names, unless it is all.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.named.iter().map(Project::as_str)
    }

    pub(super) fn union(mut self, other: &Self) -> Self {
        self.has_all |= other.has_all;
        self.named.extend(other.named.iter().cloned());
        self
    }
}
