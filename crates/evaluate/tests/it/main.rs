//! One binary for all integration tests of the crate.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod evaluation;
mod loan_approval;
mod properties;
mod reference;
