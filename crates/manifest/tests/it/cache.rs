//! The cache of digests never turns a changed byte into an old digest.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, StatxFlags, Timespec, Timestamps, utimensat};
use sealwright_manifest::{
    CachedDigests, DigestCache, FileState, Hashing, Progress, WalkOptions, digest_model,
    identify_model,
};

use crate::on_bytes;

/// More than one part, so that several threads hash it.
const SIZE: usize = (4 << 20) + 4097;
/// Large enough to be kept.
const OTHER: usize = (1 << 20) + 1;

/// A cache in memory, whose clock is as many seconds ahead of the real one as a test needs to have
/// its files settled.
#[derive(Default)]
struct Cache {
    kept: Mutex<HashMap<FileState, CachedDigests>>,
    ahead_s: AtomicI64,
}

impl DigestCache for Cache {
    fn find(&self, state: &FileState) -> Option<CachedDigests> {
        self.kept.lock().unwrap().get(state).cloned()
    }

    fn keep(&self, state: &FileState, digests: CachedDigests) {
        self.kept.lock().unwrap().insert(state.clone(), digests);
    }

    fn now(&self) -> i64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        i64::try_from(now).unwrap() + self.ahead_s.load(Ordering::Relaxed)
    }
}

impl Cache {
    fn settled() -> Self {
        Self { ahead_s: AtomicI64::new(10), ..Self::default() }
    }

    fn len(&self) -> usize {
        self.kept.lock().unwrap().len()
    }

    /// The model digest by both ways of hashing with this cache, and the bytes that were read.
    #[track_caller]
    fn digest(&self, root: &Path) -> (String, u64) {
        let read = AtomicU64::new(0);
        let progress = on_bytes(|bytes| {
            read.fetch_add(bytes, Ordering::Relaxed);
        });
        let hashing = Hashing { progress: &progress, cache: Some(self), ..Hashing::default() };
        let manifest = digest_model(root, &WalkOptions::default(), &hashing).unwrap();
        let identity = identify_model(root, &WalkOptions::default(), &hashing).unwrap();
        assert_eq!(manifest.identity(), identity);
        (manifest.model_digest().to_string(), read.load(Ordering::Relaxed))
    }
}

#[track_caller]
fn truth(root: &Path) -> String {
    let manifest = digest_model(root, &WalkOptions::default(), &Hashing::default()).unwrap();
    manifest.model_digest().to_string()
}

fn large_model() -> (tempfile::TempDir, PathBuf) {
    let model = tempfile::tempdir().unwrap();
    let content = vec![7; SIZE];
    for (name, content) in
        [("weights", &content[..]), ("other", &content[..OTHER]), ("small", b"1")]
    {
        fs::write(model.path().join(name), content).unwrap();
    }
    let weights = model.path().join("weights");
    (model, weights)
}

/// Whether digests are kept there: on ext4 and Btrfs, by a kernel that numbers its mounts. Elsewhere
/// everything is read each time.
fn is_kept(place: &Path) -> bool {
    const UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);
    let kind = rustix::fs::statfs(place).unwrap().f_type;
    let found = rustix::fs::statx(rustix::fs::CWD, place, AtFlags::empty(), UNIQUE).unwrap();
    [0xef53, 0x9123_683e].contains(&kind)
        && StatxFlags::from_bits_retain(found.stx_mask).contains(UNIQUE)
}

/// Puts other bytes of the same number into the middle of the file.
fn overwrite(path: &Path) {
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(4 << 20)).unwrap();
    file.write_all(b"other").unwrap();
}

#[test]
fn what_did_not_change_is_not_read_again() {
    let (model, weights) = large_model();
    let cache = Cache::settled();
    let (first, read) = cache.digest(model.path());
    assert!(read > SIZE as u64, "{read}");
    if !is_kept(model.path()) {
        assert_eq!((cache.len(), cache.digest(model.path())), (0, (first, read)));
        return;
    }
    assert_eq!(cache.len(), 2, "small files are not worth it");
    // One small file, twice.
    assert_eq!(cache.digest(model.path()), (first.clone(), 2));

    overwrite(&weights);
    let (second, read) = cache.digest(model.path());
    assert_eq!(second, truth(model.path()));
    assert_ne!(first, second);
    // The changed file by the first way only, the small one by both.
    assert_eq!(read, SIZE as u64 + 2);
}

#[test]
fn an_identity_that_was_kept_does_not_stand_in_for_a_manifest() {
    let (model, _) = large_model();
    let cache = Cache::settled();
    let hashing = Hashing { cache: Some(&cache), ..Hashing::default() };
    let identity = identify_model(model.path(), &WalkOptions::default(), &hashing).unwrap();
    let manifest = digest_model(model.path(), &WalkOptions::default(), &hashing).unwrap();
    let plain = digest_model(model.path(), &WalkOptions::default(), &Hashing::default()).unwrap();
    assert_eq!(manifest, plain);
    assert_eq!(manifest.identity(), identity);
}

#[test]
fn times_that_were_set_back_do_not_help() {
    let (model, weights) = large_model();
    let cache = Cache::settled();
    let modified = fs::metadata(&weights).unwrap().modified().unwrap();
    cache.digest(model.path());
    overwrite(&weights);
    let since = modified.duration_since(UNIX_EPOCH).unwrap();
    let time = Timespec {
        tv_sec: i64::try_from(since.as_secs()).unwrap(),
        tv_nsec: since.subsec_nanos().into(),
    };
    let times = Timestamps { last_access: time, last_modification: time };
    let flags = rustix::fs::AtFlags::empty();
    utimensat(rustix::fs::CWD, &weights, &times, flags).unwrap();
    assert_eq!(fs::metadata(&weights).unwrap().modified().unwrap(), modified);
    assert_eq!(cache.digest(model.path()).0, truth(model.path()));
}

#[test]
fn a_file_in_the_place_of_another_is_another() {
    let (model, weights) = large_model();
    let cache = Cache::settled();
    cache.digest(model.path());
    let replacement = model.path().join("small");
    fs::write(&replacement, vec![8; SIZE]).unwrap();
    fs::rename(&replacement, &weights).unwrap();
    assert_eq!(cache.digest(model.path()).0, truth(model.path()));
    // And the two that are left change places.
    let (other, aside) = (model.path().join("other"), model.path().join("aside"));
    fs::rename(&other, &aside).unwrap();
    fs::rename(&weights, &other).unwrap();
    fs::rename(&aside, &weights).unwrap();
    assert_eq!(cache.digest(model.path()).0, truth(model.path()));
}

/// Two changes in one tick of the clock have one time: nothing is kept that is younger than the
/// margin.
#[test]
fn a_file_that_changed_a_moment_ago_is_not_kept() {
    let (model, weights) = large_model();
    let cache = Cache::default();
    cache.digest(model.path());
    assert_eq!(cache.len(), 0);
    for _ in 0..20 {
        overwrite(&weights);
        cache.digest(model.path());
        File::options().write(true).open(&weights).unwrap().write_all(b"more").unwrap();
        assert_eq!(cache.digest(model.path()).0, truth(model.path()));
    }
}

/// A write that has begun goes on without another time; the kernel tells that there is a writer.
#[test]
fn a_file_that_is_open_for_writing_is_not_kept() {
    let (model, weights) = large_model();
    let cache = Cache::settled();
    let writer = OpenOptions::new().append(true).open(&weights).unwrap();
    cache.digest(model.path());
    let kept = usize::from(is_kept(model.path()));
    assert_eq!(cache.len(), kept, "only the other file");
    drop(writer);
    cache.digest(model.path());
    assert_eq!(cache.len(), 2 * kept);
    // Whoever has it open now may be about to write: it is read.
    let _writer = OpenOptions::new().append(true).open(&weights).unwrap();
    assert!(cache.digest(model.path()).1 >= 2 * SIZE as u64);
}

/// The progress callback is the moment in the middle of the file.
#[test]
fn a_file_that_changes_while_it_is_read_is_not_kept() {
    for way in ["manifest", "identity"] {
        let (_model, weights) = large_model();
        let cache = Cache::settled();
        let calls = AtomicU64::new(0);
        let progress = |progress| {
            if matches!(progress, Progress::Hashed(_)) && calls.fetch_add(1, Ordering::Relaxed) == 1
            {
                overwrite(&weights);
            }
        };
        let hashing = Hashing { progress: &progress, cache: Some(&cache), ..Hashing::default() };
        let options = WalkOptions::default();
        let refused = match way {
            "manifest" => digest_model(&weights, &options, &hashing).is_err(),
            _ => identify_model(&weights, &options, &hashing).is_err(),
        };
        assert!(refused, "{way}");
        assert_eq!(cache.len(), 0, "{way}");
    }
}

/// Writers and readers for a while, with a margin that is real.
#[test]
fn no_old_digest_survives_a_race() {
    let (model, weights) = large_model();
    let cache = Cache::default();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let writes = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let turn = writes.fetch_add(1, Ordering::Relaxed);
                let mut file = OpenOptions::new().write(true).open(&weights).unwrap();
                file.seek(SeekFrom::Start(turn * 4099 % SIZE as u64)).unwrap();
                file.write_all(&turn.to_le_bytes()).unwrap();
            }
        });
        let hashing = Hashing { cache: Some(&cache), ..Hashing::default() };
        let until = std::time::Instant::now() + Duration::from_millis(1500);
        while std::time::Instant::now() < until {
            // Most of these find that the file is being written to.
            let _ = identify_model(&weights, &WalkOptions::default(), &hashing);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(writes.load(Ordering::Relaxed) > 10);
    assert_eq!(cache.digest(model.path()).0, truth(model.path()));
    cache.ahead_s.store(10, Ordering::Relaxed);
    assert_eq!(cache.digest(model.path()).0, truth(model.path()));
    assert_eq!(cache.digest(model.path()).0, truth(model.path()));
}
