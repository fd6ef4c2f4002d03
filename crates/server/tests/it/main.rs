//! Integration tests, one binary.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod admission;
mod audit;
mod client;
mod hostile;
mod operation;
mod service;
mod twins;
mod world;
