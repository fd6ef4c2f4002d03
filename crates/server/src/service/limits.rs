//! How much anybody may ask for: rates by client address and by writer, entries a day by writer and by
//! project.
//!
//! Rates are kept in tables of fixed size, so that no number of addresses takes more memory. Two
//! addresses may fall on one place of the table and share its rate; the places are chosen anew at
//! every start, so nobody can aim at somebody else's.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::StartError;
use super::access::Project;
use crate::error::ApiError;
use crate::reload::{FilesRead, Live};

/// Places of a table: half a megabyte.
const PLACES: usize = 1 << 16;
/// Projects and writers that are counted on one day. Whoever may write to all projects can make up
/// names; those beyond this number share one count.
const MAX_COUNTED: usize = 10_000;
const DAY_S: u64 = 86_400;

/// What the file of `--limits` says. What is not there has no limit.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    /// Requests that send something (POST), for each client address.
    writes: Option<Rate>,
    /// Other requests, for each client address.
    reads: Option<Rate>,
    /// Statements of each writer.
    writer: Option<WriterLimits>,
    /// Statements of each project.
    project: Option<ProjectLimits>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rate {
    per_second: f64,
    /// As many at once.
    burst: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct WriterLimits {
    per_second: Option<f64>,
    burst: Option<u32>,
    entries_per_day: Option<u64>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProjectLimits {
    entries_per_day: Option<u64>,
}

/// The limits, and what has been used of them since the start.
pub(crate) struct Limiter {
    limits: Option<Arc<Live<Limits, StartError>>>,
    writes: Table,
    reads: Table,
    writers: Table,
    today: Mutex<Today>,
}

#[derive(Default)]
struct Today {
    day: u64,
    /// Entries by writer and by project.
    entries: HashMap<(&'static str, String), u64>,
}

/// An entry that was counted before it is there; taken back unless it is kept.
pub(crate) struct Counted<'a> {
    limiter: &'a Limiter,
    day: u64,
    keys: Vec<(&'static str, String)>,
}

impl Limits {
    pub(super) fn read(path: &Path, files: &mut FilesRead) -> Result<Self, StartError> {
        let unusable = |problem: String| StartError::Limits { path: path.to_owned(), problem };
        let text = files.read_text(path).map_err(|error| StartError::file(path, error))?;
        let limits: Self = toml::from_str(&text).map_err(|e| unusable(e.to_string()))?;
        if let Some(WriterLimits { per_second, burst, .. }) = &limits.writer
            && per_second.is_some() != burst.is_some()
        {
            return Err(unusable("writer: per_second and burst go together".to_owned()));
        }
        let rates =
            [limits.writes, limits.reads, limits.writer.as_ref().and_then(WriterLimits::rate)];
        let is_rate =
            |rate: &Rate| rate.per_second > 0.0 && rate.per_second <= 1e6 && rate.burst > 0;
        if !rates.iter().flatten().all(is_rate) {
            return Err(unusable("per_second is more than 0, and burst is 1 or more".to_owned()));
        }
        Ok(limits)
    }
}

impl WriterLimits {
    fn rate(&self) -> Option<Rate> {
        Some(Rate { per_second: self.per_second?, burst: self.burst? })
    }
}

impl Limiter {
    pub(crate) fn new(limits: Option<Arc<Live<Limits, StartError>>>) -> Self {
        let (writes, reads, writers) = (Table::new(), Table::new(), Table::new());
        Self { limits, writes, reads, writers, today: Mutex::default() }
    }

    /// The file that it was read from.
    pub(crate) fn file(&self) -> Option<Arc<Live<Limits, StartError>>> {
        self.limits.clone()
    }

    /// Counts a request of this client.
    pub(crate) fn request(&self, client: IpAddr, is_write: bool) -> Result<(), ApiError> {
        let Some(limits) = self.limits.as_ref().map(|limits| limits.get()) else { return Ok(()) };
        let (rate, table) = match is_write {
            true => (limits.writes, &self.writes),
            false => (limits.reads, &self.reads),
        };
        match rate {
            Some(rate) => table.take(rate, &network_of(client)).map_err(ApiError::rate_limited),
            None => Ok(()),
        }
    }

    /// Counts an entry of this writer (if writers are known) for this project at `now` (seconds since
    /// 1970).
    pub(crate) fn entry(
        &self,
        writer: Option<&str>,
        project: &Project,
        now: u64,
    ) -> Result<Counted<'_>, ApiError> {
        let day = now / DAY_S;
        let mut counted = Counted { limiter: self, day, keys: Vec::new() };
        let Some(limits) = self.limits.as_ref().map(|limits| limits.get()) else {
            return Ok(counted);
        };
        let of_writer = writer.zip(limits.writer.as_ref());
        if let Some((writer, limits)) = of_writer
            && let Some(rate) = limits.rate()
        {
            self.writers.take(rate, writer).map_err(ApiError::rate_limited)?;
        }
        let quotas = [
            of_writer
                .and_then(|(writer, limits)| Some(("writer", writer, limits.entries_per_day?))),
            limits
                .project
                .as_ref()
                .and_then(|limits| Some(("project", project.as_str(), limits.entries_per_day?))),
        ];
        let mut today = self.today.lock().unwrap_or_else(PoisonError::into_inner);
        if today.day != day {
            *today = Today { day, entries: HashMap::new() };
        }
        for (kind, name, limit) in quotas.into_iter().flatten() {
            let mut key = (kind, name.to_owned());
            if today.entries.len() >= MAX_COUNTED && !today.entries.contains_key(&key) {
                key.1 = String::from("*");
            }
            let used = today.entries.entry(key.clone()).or_default();
            if *used >= limit {
                drop(today);
                // What was counted is taken back by then.
                drop(counted);
                let left = DAY_S - now % DAY_S;
                return Err(ApiError::Quota { of: kind, limit, retry_after_s: left });
            }
            *used += 1;
            counted.keys.push(key);
        }
        Ok(counted)
    }
}

impl Counted<'_> {
    /// The entry is new in the log.
    pub(crate) fn keep(mut self) {
        self.keys.clear();
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if self.keys.is_empty() {
            return;
        }
        let mut today = self.limiter.today.lock().unwrap_or_else(PoisonError::into_inner);
        if today.day == self.day {
            for key in &self.keys {
                if let Some(used) = today.entries.get_mut(key) {
                    *used = used.saturating_sub(1);
                }
            }
        }
    }
}

/// What one customer of a provider has: an IPv4 address, or an IPv6 network of 64 bits.
pub(crate) fn network_of(client: IpAddr) -> u128 {
    match client.to_canonical() {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => (address.to_bits() >> 64 << 64) | 1 << 32,
    }
}

/// Rates by key (the generic cell rate algorithm): each place has the time at which all that was taken
/// would have come at the rate, in nanoseconds after the start.
struct Table {
    started: Instant,
    hasher: RandomState,
    places: Box<[AtomicU64]>,
}

impl Table {
    fn new() -> Self {
        let places = (0..PLACES).map(|_| AtomicU64::new(0)).collect();
        Self { started: Instant::now(), hasher: RandomState::new(), places }
    }

    /// Takes one; says how long to wait if there is none left.
    fn take(&self, rate: Rate, key: &(impl Hash + ?Sized)) -> Result<(), Duration> {
        self.take_at(rate, key, self.started.elapsed())
    }

    fn take_at(
        &self,
        rate: Rate,
        key: &(impl Hash + ?Sized),
        now: Duration,
    ) -> Result<(), Duration> {
        let place = self.hasher.hash_one(key) % PLACES as u64;
        let place = usize::try_from(place).ok().and_then(|place| self.places.get(place));
        let Some(place) = place else { return Ok(()) };
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let interval = nanos(Duration::from_secs_f64(1.0 / rate.per_second));
        let (now, most) = (nanos(now), interval.saturating_mul(rate.burst.into()));
        let mut wait = Duration::ZERO;
        let taken = place.fetch_update(Ordering::AcqRel, Ordering::Acquire, |paid| {
            let paid = paid.max(now).saturating_add(interval);
            wait = Duration::from_nanos(paid.saturating_sub(now.saturating_add(most)));
            wait.is_zero().then_some(paid)
        });
        taken.map(|_| ()).map_err(|_| wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(text: &str) -> Result<Limiter, StartError> {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("limits.toml");
        std::fs::write(&path, text).unwrap();
        let live = Live::load("the limits", move |files| Limits::read(&path, files))?;
        Ok(Limiter::new(Some(Arc::new(live))))
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let (table, rate) = (Table::new(), Rate { per_second: 2.0, burst: 3 });
        let take = |key: &str, ms| table.take_at(rate, key, Duration::from_millis(ms));
        for _ in 0..3 {
            take("a", 1000).unwrap();
        }
        assert_eq!(take("a", 1000), Err(Duration::from_millis(500)));
        assert_eq!(take("a", 1400), Err(Duration::from_millis(100)));
        take("a", 1500).unwrap();
        assert!(take("a", 1500).is_err());
        // Refused requests cost nothing, and others have rates of their own.
        take("a", 2000).unwrap();
        take("b", 2000).unwrap();
    }

    #[test]
    fn one_customer_has_one_rate() {
        let limiter = limiter("writes = { per_second = 0.001, burst = 1 }").unwrap();
        let ask = |address: &str| limiter.request(address.parse().unwrap(), true).is_ok();
        assert!(ask("192.0.2.1"));
        assert!(!ask("::ffff:192.0.2.1"));
        assert!(ask("2001:db8::1"));
        assert!(!ask("2001:db8::2:1"));
        assert!(ask("2001:db8:0:1::1"));
        assert!(limiter.request("192.0.2.1".parse().unwrap(), false).is_ok());
    }

    #[test]
    fn entries_are_counted_by_day_and_given_back_if_they_do_not_come() {
        let limiter =
            limiter("writer = { entries_per_day = 2 }\nproject = { entries_per_day = 3 }").unwrap();
        let project = |name: &str| Project::parse(name).unwrap();
        let take = |writer: &str, name: &str, now| {
            let counted = limiter.entry(Some(writer), &project(name), now);
            counted.map(Counted::keep).map_err(|error| error.to_string())
        };
        drop(limiter.entry(Some("a"), &project("p"), 100).unwrap());
        take("a", "p", 100).unwrap();
        take("a", "q", 100).unwrap();
        let error = limiter.entry(Some("a"), &project("q"), DAY_S - 60).err().unwrap();
        assert!(matches!(error, ApiError::Quota { of: "writer", limit: 2, retry_after_s: 60 }));
        take("b", "p", 100).unwrap();
        take("c", "p", 100).unwrap();
        assert!(take("d", "p", 100).unwrap_err().contains("project"));
        // What the refused one had taken of the writer's is given back.
        take("d", "q", 100).unwrap();
        take("d", "r", 100).unwrap();
        take("a", "p", DAY_S).unwrap();
    }

    #[test]
    fn the_file_is_read_strictly() {
        limiter("").unwrap();
        for text in [
            "writes = { per_second = 0, burst = 1 }",
            "writes = { per_second = nan, burst = 1 }",
            "writes = { per_second = 1.0, burst = 0 }",
            "writes = { per_second = 1.0 }",
            "writer = { per_second = 1.0 }",
            "project = { per_second = 1.0 }",
            "other = 1",
        ] {
            assert!(limiter(text).is_err(), "{text}");
        }
    }
}
