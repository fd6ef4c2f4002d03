//! Verified statements and a request in, a [`Verdict`] out.
//!
//! The rules are written in Rego and come as a [`Policy`]: a folder of `.rego` files and
//! data, or the same as an OPA bundle ([`PolicyBundle`]). Everything that needs cryptography (the
//! signature, the log proof, the binding of a signer to its roles, the schema of
//! a predicate) has been checked before: [`decide`] takes
//! [`sealwright_attest::Verified`] and nothing else.
//!
//! Three things always hold:
//!
//! - **Whatever is not a clear "allow" is a deny.** An error, a time-out, a panic of
//!   the engine, an undefined or ill-formed answer, and an "allow" that comes with
//!   violations, each become a deny with a stable code (see [`code`]).
//! - **A decision replays.** The time of the decision is part of its input; builtins
//!   that read a clock, the network, the host or a random source are refused when a
//!   policy is loaded; the verdict carries the input and the digest of the policy,
//!   and [`replay`] gives the same answer again.
//! - **A verdict has a reason.** A deny names at least one violation with a code, the
//!   control it belongs to, and a sentence that says how to mend it.
//!
//! The engine is `regorus`' interpreter. Its virtual machine gives wrong answers for
//! partial rules with variable keys and is not compiled in.

mod answer;
mod approval;
mod builtins;
mod bundle;
mod compare;
pub mod conformance;
mod controls;
mod coverage;
mod decide;
mod engine;
mod error;
mod files;
mod fuzz;
mod input;
mod judge;
mod lint;
mod policy;
mod profile;
mod scan;
mod suite;
mod summary;
mod tree;
mod verdict;

pub use approval::{
    ActivationError, ApprovedPolicy, PassedTests, PolicyApproval, PolicyPredicate, PreviousBundle,
    Superseded,
};
pub use bundle::{BundleError, BundleManifest, BundleOptions, PolicyBundle, SignatureError};
pub use compare::{ChangeKind, Changed, ChangedData, PolicyChanges};
pub use controls::{ControlReference, control_references};
pub use coverage::Coverage;
pub use decide::{LogView, Request, decide, replay};
pub use engine::{ENGINE_THREAD, Failure};
pub use error::PolicyError;
pub use fuzz::{Change, FuzzOptions, FuzzReport, Mutation, Turned, fuzz, mutations};
pub use input::{
    Attestation, DecisionInput, Evaluation, LogEntry, LogInput, Model, ModelDigest, Refused,
    RequestInput, SignerInput,
};
pub use judge::is_yes;
pub use lint::{Finding, Severity};
pub use policy::{Policy, TestOutcome};
pub use profile::Profile;
pub use suite::{Suite, SuiteOptions, Test, TestRun};
pub use summary::{Summary, VSA_EXTENSION};
pub use verdict::{Outcome, VSA_TYPE, Verdict, Violation, code};
