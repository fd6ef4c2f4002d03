//! The attestation service and the admission controller: thin HTTP surfaces.
//!
//! A surface translates: it reads a request, calls one room below, and answers from one table of
//! errors. What is true is decided in the crates below; a verifier needs none of this one.
//!
//! | Module | What it is |
//! | --- | --- |
//! | [`admission`] | the webhook: may this pod run this model? |
//! | [`service`] | the log, and the statements by subject |
//! | [`evidence`] | what is known about a model, verified |
//! | [`client`] | the service, seen from the command line and from admission |
//! | [`permit`] | verdicts with a short life, without which no pod starts |
//! | [`monitor`] | has a log only grown, and what is new in it? |
//! | [`witness`] | cosignatures for other logs (C2SP tlog-witness) |
//! | [`opa`] | OPA's REST API over any rules |
//! | [`http`], [`tls`] | how every surface is served |

pub mod admission;
pub mod client;
mod durable;
mod error;
pub mod evidence;
pub mod http;
pub mod monitor;
pub mod opa;
pub mod permit;
mod reload;
pub mod service;
mod state;
mod text;
pub mod tls;
mod traces;
pub mod witness;
