//! Work on many files, on all cores, with results and errors that do not depend on the threads.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use crate::error::ManifestError;

/// Threads for hashing: one for each core that we may use.
pub(crate) fn cores() -> usize {
    // Asking means reading the files of our control group.
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| thread::available_parallelism().map_or(1, NonZero::get))
}

/// What several threads found about items that have an index.
///
/// The first error by index wins. After an error only items with a lower index still matter, so
/// whoever asks [`Results::wants`] before each item always ends with the same error, in whatever
/// order and on however many threads the items are done.
pub(crate) struct Results<T> {
    found: Mutex<Vec<(usize, Result<T, ManifestError>)>>,
    first_error: AtomicUsize,
}

impl<T> Results<T> {
    pub(crate) const fn new() -> Self {
        Self { found: Mutex::new(Vec::new()), first_error: AtomicUsize::new(usize::MAX) }
    }

    /// Whether the result of this item can still matter.
    pub(crate) fn wants(&self, index: usize) -> bool {
        index < self.first_error.load(Ordering::Relaxed)
    }

    pub(crate) fn put(&self, index: usize, result: Result<T, ManifestError>) {
        if result.is_err() {
            self.first_error.fetch_min(index, Ordering::Relaxed);
        }
        lock(&self.found).push((index, result));
    }

    /// The results in the order of their indexes, or the error with the lowest.
    pub(crate) fn finish(self) -> Result<Vec<T>, ManifestError> {
        let mut found = self.found.into_inner().unwrap_or_else(PoisonError::into_inner);
        found.sort_by_key(|(index, _)| *index);
        found.into_iter().map(|(_, result)| result).collect()
    }
}

/// Does `work` with every index of `order`, on `threads` threads that take them one by one.
pub(crate) fn run<T: Send>(
    threads: usize,
    order: &[usize],
    work: impl Fn(usize) -> Result<T, ManifestError> + Sync,
) -> Result<Vec<T>, ManifestError> {
    let next = AtomicUsize::new(0);
    let results = Results::new();
    let take = || {
        while let Some(&index) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            if results.wants(index) {
                results.put(index, work(index));
            }
        }
    };
    on_threads(threads.min(order.len()), take);
    results.finish()
}

/// Runs `work` on that many threads, of which one is ours.
pub(crate) fn on_threads(threads: usize, work: impl Fn() + Sync) {
    thread::scope(|scope| {
        (1..threads).for_each(|_| drop(scope.spawn(&work)));
        work();
    });
}

/// Files that several threads work on: each is opened once, by whoever comes first.
pub(crate) struct OpenFiles<T>(Mutex<BTreeMap<usize, Slot<T>>>);

/// Empty until the file is open; `None` if that failed.
type Slot<T> = Arc<OnceLock<Option<Arc<T>>>>;

impl<T> OpenFiles<T> {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    /// The file of that index. If it cannot be opened, whoever tried gets the error, and all
    /// others `None`.
    pub(crate) fn get(
        &self,
        index: usize,
        open: impl FnOnce() -> Result<T, ManifestError>,
    ) -> Result<Option<Arc<T>>, ManifestError> {
        let slot = Arc::clone(lock(&self.0).entry(index).or_default());
        let mut failed = None;
        let file = slot.get_or_init(|| match open() {
            Ok(file) => Some(Arc::new(file)),
            Err(error) => {
                failed = Some(error);
                None
            }
        });
        failed.map_or_else(|| Ok(file.clone()), Err)
    }

    /// Forgets the file, which is closed once nobody works on it.
    pub(crate) fn close(&self, index: usize) {
        lock(&self.0).remove(&index);
    }
}

/// A lock that a panicking thread does not take along: what it guards is complete at all times.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
