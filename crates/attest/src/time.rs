//! Points in time, to the second.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Seconds since 1970-01-01T00:00:00Z, within the years 1970 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

/// A text is not an RFC 3339 time, or the number is outside of the years 1970 to 9999.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an RFC 3339 time such as 2026-01-31T12:00:00Z")]
pub struct InvalidTime {
    /// What was given.
    pub text: String,
}

/// 9999-12-31T23:59:59Z.
const MAX: u64 = 253_402_300_799;

impl Timestamp {
    /// A time from Unix seconds.
    ///
    /// # Errors
    /// [`InvalidTime`] after the year 9999.
    pub fn from_unix(seconds: u64) -> Result<Self, InvalidTime> {
        if seconds > MAX {
            return Err(InvalidTime { text: seconds.to_string() });
        }
        Ok(Self(seconds))
    }

    /// Parses RFC 3339; fractions of a second are cut off.
    ///
    /// # Errors
    /// [`InvalidTime`] for other texts and for times before 1970.
    pub fn parse(text: &str) -> Result<Self, InvalidTime> {
        let bad = || InvalidTime { text: text.chars().take(40).collect() };
        let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| bad())?;
        let seconds = u64::try_from(time.unix_timestamp()).map_err(|_| bad())?;
        Self::from_unix(seconds).map_err(|_| bad())
    }

    /// Unix seconds.
    pub const fn unix(self) -> u64 {
        self.0
    }

    /// This time plus `seconds`, at most the year 9999.
    #[must_use]
    pub fn plus_seconds(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds).min(MAX))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, whole seconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = i64::try_from(self.0).map_err(|_| fmt::Error)?;
        let time = OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| fmt::Error)?;
        f.write_str(&time.format(&Rfc3339).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_both_ways() {
        let time = Timestamp::parse("2026-11-24T07:30:00+02:00").unwrap();
        assert_eq!(time.to_string(), "2026-11-24T05:30:00Z");
        assert_eq!(Timestamp::parse(&time.to_string()), Ok(time));
        for bad in ["", "2026-11-24", "1969-12-31T23:59:59Z", "2026-13-01T00:00:00Z", "now"] {
            assert!(Timestamp::parse(bad).is_err(), "{bad}");
        }
        assert!(Timestamp::from_unix(u64::MAX).is_err());
    }
}
