//! Tests of the store: what it keeps, and what no crash and no full disk takes from it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod append;
mod check;
mod check_log;
mod crash;
mod fixture;
mod killed;
mod migrate;
mod open;
mod read;
#[cfg(feature = "scale-out")]
mod shared;
mod statements;
mod torn;
mod unwritable;
