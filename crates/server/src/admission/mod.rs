//! The admission webhook: may this pod run this model, here, now?
//!
//! A pod names its model in the annotation [`MODEL_ANNOTATION`]. For every pod that would start to
//! run, or that would run something else than before, the webhook fetches the statements about
//! that model digest, verifies each, asks the policy, writes the decision down, and answers. The
//! answer is about the *identity* of the model: that the bytes in the container are those of the
//! digest is not something an API server can see.
//!
//! | Module | What it does |
//! | --- | --- |
//! | `review` | reads `AdmissionReview` requests, writes responses |
//! | `scope`, `pod` | which requests are judged, and what the pod names |
//! | `admit` | puts it together: request in, decision out |
//! | `policy` | which policy decides, and by whose word |
//! | `record` | the decisions file |
//! | `publish` | signs and logs the verdicts in it, behind the answers |
//! | `metrics` | what `/metrics` gives |
//! | `config`, `routes` | files into values, sockets into calls |
//!
//! Three things always hold:
//!
//! - **Whatever is not a clear "allow" is a denial** with a code and a sentence: bytes that are not
//!   a review, a service that does not answer in time, a log that went back, a panic. It is sent
//!   with HTTP status 200, so that the API server shows the reason.
//! - **No answer without a record.** A decision that cannot be written down is a denial.
//! - **Every allow that skipped something says so**, in the answer and in the record.

mod admit;
pub(crate) mod config;
mod metrics;
mod pod;
mod policy;
mod publish;
pub(crate) mod record;
mod review;
mod routes;
mod scope;

pub use admit::{Admission, VERIFIER_ID};
pub use config::{Config, ConfigError, DEFAULT_PERMIT_MAX_AGE_S};
pub use pod::{InvalidModelReference, MODEL_ANNOTATION, ModelReference};
pub use publish::StatementLog;
pub use record::input_file;
pub use review::MAX_REVIEW_SIZE;
pub use routes::router;

/// The codes that the webhook itself denies with; others are the policy's.
pub mod code {
    /// The bytes are not an AdmissionReview, or not one that can be read without doubt.
    pub const REVIEW_MALFORMED: &str = "REVIEW_MALFORMED";
    /// Not `admission.k8s.io/v1`.
    pub const REVIEW_VERSION: &str = "REVIEW_VERSION";
    /// The object of the request is missing, or is not what its kind says.
    pub const OBJECT_MALFORMED: &str = "OBJECT_MALFORMED";
    /// The webhook is registered for something that it does not understand.
    pub const UNSUPPORTED_RESOURCE: &str = "UNSUPPORTED_RESOURCE";
    /// The pod names no model.
    pub const MODEL_UNNAMED: &str = "MODEL_UNNAMED";
    /// The model annotation is not `NAME@sha256:DIGEST`.
    pub const MODEL_REFERENCE: &str = "MODEL_REFERENCE";
    /// The model of a pod that exists would be another one.
    pub const MODEL_CHANGED: &str = "MODEL_CHANGED";
    pub use crate::evidence::code::{
        LOG_CHECKPOINT_INVALID, LOG_INCONSISTENT, LOG_ROLLED_BACK, PERMIT_EXPIRED, PERMIT_MISSING,
        PERMIT_OTHER_POLICY, POLICY_CONFLICT, POLICY_EXPIRED, POLICY_SUPERSEDED, SERVICE_ANSWER,
        SERVICE_UNREACHABLE,
    };
    /// The decision could not be written to the decisions file.
    pub const DECISION_NOT_RECORDED: &str = "DECISION_NOT_RECORDED";
    /// A fault of the webhook itself.
    pub const INTERNAL: &str = "INTERNAL";
}
