//! Reading JSON that may be anything: what has the wrong form is noted by its place, and read on.

use std::cell::RefCell;

use serde_json::Value;

use sealwright_attest::{PublicKey, Timestamp};

const MAX_PROBLEMS: usize = 200;

/// What is malformed in a document.
#[derive(Debug, Default)]
pub(super) struct Problems(RefCell<Vec<String>>);

impl Problems {
    pub(super) fn note(&self, problem: impl Into<String>) {
        let problem = problem.into();
        let mut list = self.0.borrow_mut();
        // A hostile document can have millions.
        if list.len() < MAX_PROBLEMS && !list.contains(&problem) {
            list.push(problem);
        }
    }

    pub(super) fn into_list(self) -> Vec<String> {
        self.0.into_inner()
    }
}

/// A value in a document, and how to get there.
#[derive(Clone)]
pub(super) struct Place<'a> {
    pub(super) value: &'a Value,
    path: String,
    problems: &'a Problems,
}

impl<'a> Place<'a> {
    pub(super) fn root(value: &'a Value, problems: &'a Problems) -> Self {
        Self { value, path: String::new(), problems }
    }

    /// A document inside of another, named for messages.
    pub(super) fn named(value: &'a Value, name: &str, problems: &'a Problems) -> Self {
        Self { value, path: name.to_owned(), problems }
    }

    /// Notes what is wrong here.
    pub(super) fn note(&self, problem: &str) {
        match self.path.as_str() {
            "" => self.problems.note(format!("the document {problem}")),
            path => self.problems.note(format!("{path} {problem}")),
        }
    }

    pub(super) fn problems(&self) -> &'a Problems {
        self.problems
    }

    /// A member that is there and not null.
    pub(super) fn get(&self, name: &str) -> Option<Self> {
        let Some(members) = self.value.as_object() else {
            self.note("is not an object");
            return None;
        };
        let value = members.get(name).filter(|value| !value.is_null())?;
        let dot = if self.path.is_empty() { "" } else { "." };
        Some(Self { value, path: format!("{}{dot}{name}", self.path), problems: self.problems })
    }

    /// A member further down.
    pub(super) fn dig(&self, names: &[&str]) -> Option<Self> {
        names.iter().try_fold(self.clone(), |place, name| place.get(name))
    }

    /// The items of a list that may be missing.
    pub(super) fn items(&self, name: &str) -> Vec<Self> {
        let Some(list) = self.get(name) else { return Vec::new() };
        let Some(items) = list.value.as_array() else {
            list.note("is not a list");
            return Vec::new();
        };
        let place = |(at, value)| Self {
            value,
            path: format!("{}[{at}]", list.path),
            problems: self.problems,
        };
        items.iter().enumerate().map(place).collect()
    }

    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.read(name, "is not a text", Value::as_str)
    }

    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        self.read(name, "is neither true nor false", Value::as_bool)
    }

    /// Standard base64.
    pub(super) fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        self.read(name, "is not standard base64 with padding", |value| base64(value.as_str()?))
    }

    /// A number, or a text with one as proto3 JSON writes it.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.read(name, "is not a whole number", |value| match value {
            Value::String(text) => text.parse().ok(),
            other => other.as_u64(),
        })
    }

    pub(super) fn time(&self, name: &str) -> Option<Timestamp> {
        self.read(name, "is not an RFC 3339 time", |value| Timestamp::parse(value.as_str()?).ok())
    }

    /// The id of a PEM key.
    pub(super) fn key_id(&self) -> Option<String> {
        let key = self.value.as_str().and_then(|text| PublicKey::from_pem(text).ok());
        if key.is_none() {
            self.note("is not the PEM text of an ECDSA key");
        }
        key.map(|key| key.id())
    }

    fn read<T>(
        &self,
        name: &str,
        problem: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Option<T> {
        let place = self.get(name)?;
        let found = read(place.value);
        if found.is_none() {
            place.note(problem);
        }
        found
    }
}

/// Standard base64 with padding.
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}
