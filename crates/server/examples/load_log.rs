//! Submits entries to a running service from many clients at once, for `bench/log`.
//!
//! `load_log URL CLIENTS SECONDS [DIFFERENT]` prints one JSON object: how many entries were acknowledged,
//! and how long each took. Every entry is signed beforehand, so that signing is not measured. With
//! DIFFERENT only so many entries are submitted, over and over: the answers are the proofs of entries that
//! are there.

#![expect(clippy::print_stdout, reason = "a measurement for scripts")]

use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sealwright_attest::{Curve, KeyFile, Signer as _};
use serde_json::json;

/// More than any client submits in the time.
const ENTRIES_A_SECOND: usize = 10_000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (url, clients, seconds, different) = match arguments.as_slice() {
        [url, clients, seconds] => (url, clients, seconds, None),
        [url, clients, seconds, different] => (url, clients, seconds, Some(different.parse()?)),
        _ => return Err("three or four arguments".into()),
    };
    let (clients, seconds): (usize, u64) = (clients.parse()?, seconds.parse()?);
    let url = format!("{url}/api/v2/log/entries");
    let count = different.unwrap_or(ENTRIES_A_SECOND * usize::try_from(seconds)?);
    let entries = entries(count)?;
    let entry = |number: usize| entries.get(different.map_or(number, |count| number % count));
    let next = AtomicUsize::new(0);
    let start = Instant::now();
    let end = start + Duration::from_secs(seconds);
    let client = || -> Result<Vec<Duration>, String> {
        let agent = ureq::Agent::new_with_defaults();
        let mut times = Vec::new();
        while Instant::now() < end
            && let Some(entry) = entry(next.fetch_add(1, Ordering::Relaxed))
        {
            let begin = Instant::now();
            let answer = agent.post(&url).content_type("application/json").send(entry.as_str());
            let mut answer = answer.map_err(|error| error.to_string())?;
            answer.body_mut().read_to_vec().map_err(|error| error.to_string())?;
            times.push(begin.elapsed());
        }
        Ok(times)
    };
    let times: Result<Vec<_>, _> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|_| Err("a client panicked".to_owned()))
        };
        threads.into_iter().map(join).collect()
    });
    let elapsed = start.elapsed().as_secs_f64();
    let mut times: Vec<Duration> = times?.concat();
    times.sort_unstable();
    let percentile = |percent: usize| {
        let time = times.get(times.len().saturating_sub(1) * percent / 100);
        time.map_or(0.0, |time| time.as_secs_f64() * 1000.0)
    };
    let answer = json!({
        "entries": times.len(),
        "seconds": elapsed,
        "p50_ms": percentile(50),
        "p99_ms": percentile(99),
    });
    println!("{answer}");
    Ok(())
}

/// Requests that differ in their message, signed by one key.
fn entries(count: usize) -> Result<Vec<String>, Box<dyn Error>> {
    let key = KeyFile::generate(Curve::P256)?;
    let spki = STANDARD.encode(key.public_key().spki());
    let entry = |index: usize| -> Result<String, Box<dyn Error>> {
        let message = index.to_le_bytes();
        Ok(json!({"hashedRekordRequestV002": {
            "digest": STANDARD.encode(Curve::P256.hash(&message)),
            "signature": {
                "content": STANDARD.encode(key.sign(&message)?),
                "verifier": {
                    "publicKey": {"rawBytes": spki},
                    "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                },
            },
        }})
        .to_string())
    };
    (0..count).map(entry).collect()
}
