//! Tests of the log's mathematics against other implementations and their data.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod checkpoints;
mod proofs;
mod rekor;
mod robustness;
mod tiles;
mod witness;

use sealwright_tlog::{Hash, leaf_hash, stored_hashes_for_leaf};

/// The stored hashes of a log whose entries are the decimal numbers from 0.
fn stored_hashes(size: u64) -> Vec<Hash> {
    let mut hashes = Vec::new();
    for index in 0..size {
        hashes.extend(stored_hashes_for_leaf(index, leaf_hash(&body(index)), &hashes).unwrap());
    }
    hashes
}

fn body(index: u64) -> Vec<u8> {
    index.to_string().into_bytes()
}
