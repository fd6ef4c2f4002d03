//! The program as people and scripts meet it: real processes, real files, real sockets.
//!
//! Every test works in a temporary directory of its own, and every server listens on a port that
//! the system chose. What needs a mount of its own runs in a namespace of its own ([`isolated`]).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod admission;
mod backup;
mod bad_files;
mod bad_log;
mod bad_models;
mod bad_output;
mod certificate;
mod demo;
mod digest;
mod doctor;
mod evidence;
#[cfg(feature = "go-peers")]
mod go_peers;
mod home;
mod inspect;
mod instance;
mod interop;
mod isolated;
mod key;
mod killed;
mod log_monitor;
mod log_witness;
mod manual;
mod oci;
mod oidc;
mod oms_vectors;
mod openapi;
mod permits;
mod pki;
mod policy;
mod policy_bundles;
mod policy_init;
mod policy_serve;
mod policy_tools;
mod review;
mod roles;
mod server;
mod service;
#[cfg(feature = "scale-out")]
mod shared_log;
mod sign;
mod signatures;
#[cfg(feature = "scale-out")]
#[path = "../../../store/tests/it/shared/stage.rs"]
mod stage;
mod statements;
mod stock;
mod team;
mod terminal;
mod tuf;
mod verdicts;
mod verify;
