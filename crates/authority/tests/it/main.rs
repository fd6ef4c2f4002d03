//! The authorities against other programs: OpenSSL and the verifiers of this repository.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod builds;
mod ca;
mod clients;
mod instance;
mod keyless;
mod openssl;
mod tokens;
mod tsa;
mod verify_token;
