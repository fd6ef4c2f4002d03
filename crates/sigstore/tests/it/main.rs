//! Sigstore verification against data that others made, and against what we make ourselves.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;
mod conformance;
mod data;
mod details;
mod keyed;
mod mutated;
mod policy;
mod realworld;
mod strict;
