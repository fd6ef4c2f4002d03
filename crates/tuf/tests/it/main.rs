//! Repositories, honest and not, as a client sees them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod attacks;
mod formats;
mod repository;
mod rotation;
