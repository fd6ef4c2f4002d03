//! Grows the log of a stopped instance by entries that look like Rekor's, for `bench/log-size`.
//!
//! `grow_log DATA ORIGIN COUNT BATCH` appends through the store, as the service does, with the same
//! durability, but in batches of that size; nothing is signed by anybody, so the entries only have the
//! length and the shape of real ones. Prints one JSON object.

#![expect(clippy::print_stdout, reason = "a measurement for scripts")]

use std::error::Error;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pkcs8::SecretDocument;
use sealwright_store::{NewEntry, Store};
use sealwright_tlog::LogKey;
use serde_json::json;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [data, origin, count, batch] = arguments.as_slice() else {
        return Err("four arguments".into());
    };
    let (count, batch): (u64, u64) = (count.parse()?, batch.parse()?);
    let pem = std::fs::read_to_string(Path::new(data).join("log-key.pem"))?;
    let (_, der) = SecretDocument::from_pem(&pem).map_err(|error| error.to_string())?;
    let key = LogKey::from_pkcs8_der(origin, der.as_bytes())?;
    let start = Instant::now();
    let mut store = Store::open(Path::new(data), origin, &key, now()?)?;
    let opened = start.elapsed();
    let start = Instant::now();
    let first = store.size();
    let mut index = first;
    while index < first + count {
        let end = (index + batch).min(first + count);
        let entries: Vec<NewEntry> = (index..end).map(entry).collect();
        store.append(&entries, now()?)?;
        index = end;
    }
    let appended = start.elapsed();
    println!(
        "{}",
        json!({
            "entries": store.size(),
            "open_seconds": opened.as_secs_f64(),
            "append_seconds": appended.as_secs_f64(),
        })
    );
    Ok(())
}

fn now() -> Result<u64, Box<dyn Error>> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}

/// The body of a hashedrekord 0.0.2, as long as one of a P-256 key: random where that has a digest, a
/// signature and a key.
fn entry(index: u64) -> NewEntry {
    let noise = |length: usize| {
        let mut bytes = Vec::with_capacity(length + 8);
        // SplitMix64: no two entries are equal, and nothing compresses.
        let mut state = index.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        while bytes.len() < length {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut word = state ^ index;
            word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            bytes.extend_from_slice(&(word ^ (word >> 31)).to_le_bytes());
        }
        bytes.truncate(length);
        STANDARD.encode(bytes)
    };
    let body = format!(
        "{{\"apiVersion\":\"0.0.2\",\"kind\":\"hashedrekord\",\"spec\":{{\"hashedRekordV002\":{{\"data\":\
         {{\"algorithm\":\"SHA2_256\",\"digest\":\"{}\"}},\"signature\":{{\"content\":\"{}\",\"verifier\":\
         {{\"keyDetails\":\"PKIX_ECDSA_P256_SHA_256\",\"publicKey\":{{\"rawBytes\":\"{}\"}}}}}}}}}}}}",
        noise(32),
        noise(71),
        noise(91)
    );
    NewEntry { body: body.into_bytes(), statement: None }
}
