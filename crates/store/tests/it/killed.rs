//! A process that appends as fast as it can is killed at random moments, again and again.
//! What it had acknowledged must be there, and the log must be sound.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use sealwright_tlog::verify_checkpoint;

use crate::check_log::{check_log, check_published};
use crate::fixture::{START, batch, body, entry, key, open, signed_at};

const DIRECTORY: &str = "SEALWRIGHT_TEST_APPEND_TO";
const ROUNDS: u64 = 25;

/// When stores are opened here: later than anything the process signs.
const LATE: u64 = START + 1_000_000_000;

/// Not a test by itself: the test below starts it in a process of its own and kills that.
#[test]
fn appending_process() {
    let Some(dir) = std::env::var_os(DIRECTORY) else { return };
    let mut store = open(Path::new(&dir), LATE).unwrap();
    let mut random = store.size();
    loop {
        random = next(random);
        let now = signed_at(&store) + 1;
        if random.is_multiple_of(5) {
            store.refresh_checkpoint(now, 0).unwrap();
        }
        let mut new = batch(&store, 1 + random % 20);
        if let Some(old) = random.checked_rem(store.size()) {
            new.push(entry(old));
        }
        let appended = store.append(&new, now).unwrap();
        let last = appended.iter().map(|a| a.index).max().unwrap();
        // When the other process is gone, so are we.
        if writeln!(std::io::stdout(), "\nacknowledged {last} at {now}").is_err() {
            return;
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_to_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let (mut random, mut size, mut acknowledged) = (1, 0, None);
    let mut last_note = open(dir.path(), START).unwrap().checkpoint().note().to_vec();
    for round in 0..ROUNDS {
        random = next(random);
        let mut child = start(dir.path());
        // None at all: it dies while it opens the store.
        let wanted = usize::try_from(random % 9).unwrap();
        let seen: Vec<_> = acknowledgements(&mut child).take(wanted).collect();
        assert_eq!(seen.len(), wanted, "the process ended by itself");
        acknowledged = acknowledged.max(seen.iter().map(|(index, _)| *index).max());
        let time = seen.last().map_or(START, |(_, time)| *time);
        child.kill().unwrap();
        child.wait().unwrap();
        check_published(dir.path());

        let store = open(dir.path(), LATE).unwrap();
        assert!(store.size() >= size, "round {round}");
        assert!(signed_at(&store) >= time, "round {round}");
        if let Some(index) = acknowledged {
            assert_eq!(store.entry(index).unwrap().unwrap().body, body(index));
        }
        check_log(&store, dir.path());
        check_continues(&store, &last_note);
        size = store.size();
        last_note = store.checkpoint().note().to_vec();
    }
    assert!(size > 256, "only {size} entries: nothing much was tested");
}

/// The log of this round begins with the log of the last one.
fn check_continues(store: &sealwright_store::Store, last_note: &[u8]) {
    let last = verify_checkpoint(last_note, key().verifier()).unwrap();
    let proof = store.consistency(last.checkpoint().size).unwrap();
    proof.verify(&last.checkpoint().root, &store.checkpoint().checkpoint().root).unwrap();
}

fn start(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::appending_process", "--nocapture"])
        .env(DIRECTORY, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Index and time of what the child acknowledges, as it does.
fn acknowledgements(child: &mut Child) -> impl Iterator<Item = (u64, u64)> {
    let stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.lines().map_while(Result::ok).filter_map(|line| {
        let (index, time) = line.strip_prefix("acknowledged ")?.split_once(" at ")?;
        Some((index.parse().ok()?, time.parse().ok()?))
    })
}

/// Knuth's MMIX generator: enough to choose moments, and the same every time.
fn next(random: u64) -> u64 {
    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407) >> 8
}
