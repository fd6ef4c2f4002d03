//! One binary for all integration tests of this crate.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod approval;
mod bundle;
mod failures;
mod fuzz;
mod fuzzing;
mod lint;
mod loading;
mod profiles;
mod signed;
mod starter;
mod suite;
mod support;
