//! Decides by a policy over and over, for `bench/policy`.
//!
//! `decide_load POLICY INPUT THREADS SECONDS` prints one JSON object: how many decisions were made, how
//! long each took, and the decision. A decision is what `verify --policy` and the admission controller
//! wait for: from the typed input to the outcome.

#![expect(clippy::print_stdout, reason = "a measurement for scripts")]

use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use sealwright_policy::{DecisionInput, Policy, replay};
use serde_json::json;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [policy, input, threads, seconds] = arguments.as_slice() else {
        return Err("four arguments".into());
    };
    let (threads, seconds): (usize, f64) = (threads.parse()?, seconds.parse()?);
    let policy = Policy::load(Path::new(policy))?;
    let input: DecisionInput = serde_json::from_slice(&std::fs::read(input)?)?;
    let outcome = replay(&policy, &input);
    let start = Instant::now();
    let end = start + Duration::from_secs_f64(seconds);
    let work = || {
        let mut times = Vec::new();
        let mut begin = Instant::now();
        while begin < end {
            black_box(replay(&policy, &input));
            times.push(begin.elapsed());
            begin = Instant::now();
        }
        times
    };
    let times: Result<Vec<_>, _> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(thread::ScopedJoinHandle::join).collect()
    });
    let elapsed = start.elapsed().as_secs_f64();
    let mut times: Vec<Duration> = times.map_err(|_| "a thread panicked")?.concat();
    times.sort_unstable();
    let percentile = |percent: usize| {
        let time = times.get(times.len().saturating_sub(1) * percent / 100);
        time.map_or(0.0, |time| time.as_secs_f64() * 1000.0)
    };
    let answer = json!({
        "decisions": times.len(),
        "seconds": elapsed,
        "p50_ms": percentile(50),
        "p99_ms": percentile(99),
        "answer": outcome,
    });
    println!("{answer}");
    Ok(())
}
