//! The one table from what went wrong to what a client of the service is told.
//!
//! The body of every error is that of gRPC's JSON gateway, as Rekor answers too:
//! `{"code": <gRPC code>, "message": …, "details": […]}`. Programs branch on
//! `details[0].reason`, which is stable; people read `message`. What only the operator may know,
//! or can mend, goes to the log instead.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use sealwright_attest::{BundleError, JsonError, KeyError, VerifyError};
use sealwright_authority::{IssueError, ProofError, TimestampError};
use sealwright_sigstore::EntryRequestError;
use sealwright_store::{StoreError, WriteFault};

use crate::service::issuers::IdentityError;

/// Why a request is not answered as asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// The body is not JSON, or has a name twice.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// The body is JSON of another shape.
    #[error("not a submission: {message}")]
    Shape {
        /// Names the field.
        message: String,
    },
    /// What was submitted is not a bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The public key cannot be used.
    #[error("publicKey: {0}")]
    Key(#[from] KeyError),
    /// The signature is not the key's, or what it covers is malformed.
    #[error(transparent)]
    Statement(#[from] VerifyError),
    /// A digest is not 64 lower-case hexadecimal digits.
    #[error("{digest:?} is not a SHA-256 digest in 64 lower-case hexadecimal digits")]
    Digest {
        /// What was given, cut after 100 characters.
        digest: String,
    },
    /// What Rekor's API is asked to log is not right.
    #[error(transparent)]
    Entry(#[from] EntryRequestError),
    /// There is no time stamp.
    #[error(transparent)]
    Timestamp(#[from] TimestampError),
    /// The body is no timestamp request by its declaration.
    #[error("Content-Type must be application/timestamp-query or application/json")]
    TimestampContentType,
    /// Nobody who may submit statements.
    #[error("submitting needs a token or certificate of a writer: Authorization: Bearer")]
    NoWriter,
    /// A writer, but not of that project. Whether there is such a project is not said.
    #[error("this writer may not submit to that project")]
    Project,
    /// The statement is in the log under another project.
    #[error("this statement was submitted to another project before, and belongs there")]
    OtherProject,
    /// Too many requests.
    #[error("too many requests; the next one in {retry_after_s} seconds")]
    RateLimited {
        /// When the next one is taken.
        retry_after_s: u64,
    },
    /// No more entries today.
    #[error("this {of} has had its {limit} entries of today")]
    Quota {
        /// `writer` or `project`.
        of: &'static str,
        /// Entries a day.
        limit: u64,
        /// When the day is over.
        retry_after_s: u64,
    },
    /// No ID token.
    #[error(
        "there is no ID token: neither credentials.oidcIdentityToken nor Authorization: Bearer"
    )]
    NoToken,
    /// The ID token names nobody.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The key is not shown to be held.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// The certificate authority failed.
    #[error("no certificate was issued")]
    Issue(#[from] IssueError),
    /// Nobody's tokens are taken.
    #[error("this instance takes no ID tokens: no issuers are configured")]
    NoIssuers,
    /// The instance has no authorities.
    #[error("this instance issues neither certificates nor time stamps")]
    NoAuthorities,
    /// The log cannot hold such an entry.
    #[error("the log entry would have {len} bytes, more than the {limit} that fit")]
    EntryTooLong {
        /// Its length in bytes.
        len: usize,
        /// Most bytes of an entry.
        limit: usize,
    },
    /// The query string is not one that the route knows.
    #[error("query: {message}")]
    Query {
        /// What is wrong with it.
        message: String,
    },
    /// The body is not declared as JSON.
    #[error("Content-Type must be application/json")]
    ContentType,
    /// A bundle with a certificate does not verify against what this instance trusts.
    #[error("{message}")]
    NotVerified {
        /// Which step of verification failed: [`sealwright_sigstore::SigstoreError::code`].
        step: &'static str,
        /// What is wrong.
        message: String,
    },
    /// The statement was there, and its bundle was erased.
    #[error("statement {index} was erased; its entry is still in the log")]
    Erased {
        /// Its index.
        index: u64,
        /// When, in seconds since 1970.
        at: u64,
    },
    /// The body is too large.
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// Most bytes of a body.
        limit: usize,
    },
    /// The body did not arrive completely.
    #[error("the body ended before it was complete")]
    BodyIncomplete,
    /// The body comes too slowly.
    #[error("the body does not come fast enough")]
    BodySlow,
    /// The body is compressed, or encoded in another way.
    #[error("bodies are taken as they are: no Content-Encoding")]
    ContentEncoding,
    /// No such route, or nothing there.
    #[error("not found")]
    NotFound,
    /// The route has other methods.
    #[error("method not allowed")]
    MethodNotAllowed,
    /// The request took too long.
    #[error("the request took too long")]
    Timeout,
    /// Too much is under way already.
    #[error("the service is busy")]
    Busy,
    /// The service is about to stop.
    #[error("the service is stopping")]
    Stopping,
    /// The store refused or failed. Shared, since a whole batch fails together.
    #[error("the store refused")]
    Store(#[source] Arc<StoreError>),
    /// A defect, or a store whose contents cannot be.
    #[error("{what}")]
    Internal {
        /// For the log.
        what: &'static str,
    },
}

impl ApiError {
    /// After so long, one more request is taken.
    pub(crate) fn rate_limited(wait: Duration) -> Self {
        Self::RateLimited { retry_after_s: wait.as_secs().saturating_add(1) }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

/// Why a request was refused, among the extensions of the answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reason(pub(crate) &'static str);

/// gRPC status codes (`google.rpc.Code`).
#[derive(Clone, Copy)]
enum Code {
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

/// One row of the table; the message is the error's own unless the row replaces it.
struct Row(StatusCode, Code, &'static str, Option<&'static str>);

impl ApiError {
    fn row(&self) -> Row {
        use Code::{
            AlreadyExists, DeadlineExceeded, Internal, InvalidArgument, NotFound, PermissionDenied,
            ResourceExhausted, Unauthenticated, Unavailable, Unimplemented,
        };
        use StatusCode as Http;
        match self {
            Self::Json(JsonError::TooLarge { .. }) | Self::TooLarge { .. } => {
                Row(Http::PAYLOAD_TOO_LARGE, ResourceExhausted, "TOO_LARGE", None)
            }
            Self::Json(_) => Row(Http::BAD_REQUEST, InvalidArgument, "JSON_MALFORMED", None),
            Self::Shape { .. } => Row(Http::BAD_REQUEST, InvalidArgument, "REQUEST_SHAPE", None),
            Self::Bundle(_) => Row(Http::BAD_REQUEST, InvalidArgument, "BUNDLE_MALFORMED", None),
            Self::Key(_) => Row(Http::BAD_REQUEST, InvalidArgument, "KEY_MALFORMED", None),
            Self::Statement(error) => Row(Http::BAD_REQUEST, InvalidArgument, error.code(), None),
            Self::NotVerified { .. } => {
                Row(Http::BAD_REQUEST, InvalidArgument, "NOT_VERIFIED", None)
            }
            Self::Erased { .. } => Row(Http::GONE, NotFound, "ERASED", None),
            Self::Digest { .. } => Row(Http::BAD_REQUEST, InvalidArgument, "DIGEST", None),
            Self::Entry(EntryRequestError::Json(JsonError::TooLarge { .. })) => {
                Row(Http::PAYLOAD_TOO_LARGE, ResourceExhausted, "TOO_LARGE", None)
            }
            Self::Entry(error) => Row(Http::BAD_REQUEST, InvalidArgument, error.code(), None),
            Self::Timestamp(TimestampError::TooLarge { .. }) => {
                Row(Http::PAYLOAD_TOO_LARGE, ResourceExhausted, "TOO_LARGE", None)
            }
            Self::Timestamp(error) if error.is_bad_request() => {
                Row(Http::BAD_REQUEST, InvalidArgument, "TIMESTAMP_REQUEST", None)
            }
            Self::Timestamp(_) => Row(
                Http::INTERNAL_SERVER_ERROR,
                Internal,
                "TIMESTAMP_AUTHORITY",
                Some("the timestamp authority failed"),
            ),
            Self::TimestampContentType => {
                Row(Http::UNSUPPORTED_MEDIA_TYPE, InvalidArgument, "CONTENT_TYPE", None)
            }
            Self::NoWriter => Row(Http::UNAUTHORIZED, Unauthenticated, "WRITER", None),
            Self::Project => Row(Http::FORBIDDEN, PermissionDenied, "PROJECT", None),
            Self::OtherProject => Row(Http::CONFLICT, AlreadyExists, "OTHER_PROJECT", None),
            Self::RateLimited { .. } => {
                Row(Http::TOO_MANY_REQUESTS, ResourceExhausted, "RATE_LIMITED", None)
            }
            Self::Quota { .. } => Row(Http::TOO_MANY_REQUESTS, ResourceExhausted, "QUOTA", None),
            Self::BodySlow => Row(Http::REQUEST_TIMEOUT, DeadlineExceeded, "BODY_SLOW", None),
            Self::ContentEncoding => {
                Row(Http::UNSUPPORTED_MEDIA_TYPE, InvalidArgument, "CONTENT_ENCODING", None)
            }
            Self::NoToken => Row(Http::UNAUTHORIZED, Unauthenticated, "NO_TOKEN", None),
            Self::Identity(IdentityError::Keys { .. }) => Row(
                Http::SERVICE_UNAVAILABLE,
                Unavailable,
                "ISSUER_UNREACHABLE",
                Some("the issuer's keys cannot be fetched"),
            ),
            Self::Identity(IdentityError::UnknownIssuer { .. }) => {
                Row(Http::UNAUTHORIZED, Unauthenticated, "ISSUER", None)
            }
            Self::Identity(IdentityError::Token(_)) => {
                Row(Http::UNAUTHORIZED, Unauthenticated, "TOKEN", None)
            }
            Self::Proof(_) => Row(Http::BAD_REQUEST, InvalidArgument, "PROOF_OF_POSSESSION", None),
            Self::Issue(_) => {
                Row(Http::INTERNAL_SERVER_ERROR, Internal, "CERTIFICATE_AUTHORITY", None)
            }
            Self::NoIssuers => Row(Http::NOT_FOUND, NotFound, "NO_ISSUERS", None),
            Self::NoAuthorities => Row(Http::NOT_FOUND, NotFound, "NO_AUTHORITIES", None),
            Self::EntryTooLong { .. } => {
                Row(Http::BAD_REQUEST, InvalidArgument, "ENTRY_TOO_LONG", None)
            }
            Self::Query { .. } => Row(Http::BAD_REQUEST, InvalidArgument, "QUERY", None),
            Self::BodyIncomplete => {
                Row(Http::BAD_REQUEST, InvalidArgument, "BODY_INCOMPLETE", None)
            }
            Self::ContentType => {
                Row(Http::UNSUPPORTED_MEDIA_TYPE, InvalidArgument, "CONTENT_TYPE", None)
            }
            Self::NotFound => Row(Http::NOT_FOUND, NotFound, "NOT_FOUND", None),
            Self::MethodNotAllowed => {
                Row(Http::METHOD_NOT_ALLOWED, Unimplemented, "METHOD_NOT_ALLOWED", None)
            }
            Self::Timeout => Row(Http::GATEWAY_TIMEOUT, DeadlineExceeded, "TIMEOUT", None),
            Self::Busy => Row(Http::SERVICE_UNAVAILABLE, Unavailable, "BUSY", None),
            Self::Stopping => Row(Http::SERVICE_UNAVAILABLE, Unavailable, "STOPPING", None),
            Self::Store(error) => store_row(error),
            Self::Internal { .. } => {
                Row(Http::INTERNAL_SERVER_ERROR, Internal, "INTERNAL", Some("internal error"))
            }
        }
    }
}

fn store_row(error: &StoreError) -> Row {
    use StatusCode as Http;
    let unavailable =
        |reason, message| Row(Http::SERVICE_UNAVAILABLE, Code::Unavailable, reason, Some(message));
    match error {
        StoreError::Unwritable { fault: WriteFault::Full, .. } => {
            unavailable("STORE_FULL", "the store is full; nothing was added")
        }
        StoreError::Unwritable { fault: WriteFault::ReadOnly, .. } => {
            unavailable("STORE_READ_ONLY", "the store is read-only; nothing was added")
        }
        StoreError::Unwritable { fault: WriteFault::Device, .. } => {
            unavailable("STORE_DEVICE", "the store's disk reports errors")
        }
        StoreError::ClockBehind { .. } => unavailable(
            "CLOCK_BEHIND",
            "the service's clock was set back; it cannot sign before the time it signed last",
        ),
        StoreError::Unreachable { .. } | StoreError::LeaseLost | StoreError::LeaseBusy => {
            unavailable(
                "STORE_UNREACHABLE",
                "the store does not answer; what was submitted may be logged, and may be submitted again",
            )
        }
        StoreError::RolledBack { .. } => unavailable(
            "STORE_BEHIND",
            "the store is behind what it has published; nothing is added to it",
        ),
        StoreError::TextTooLong { .. } | StoreError::MalformedDigest { .. } => {
            Row(Http::BAD_REQUEST, Code::InvalidArgument, "ENTRY", None)
        }
        StoreError::NoSuchSize { .. } => Row(
            Http::BAD_REQUEST,
            Code::OutOfRange,
            "NO_SUCH_SIZE",
            Some("the log has fewer entries than that"),
        ),
        _ => Row(
            Http::INTERNAL_SERVER_ERROR,
            Code::Internal,
            "STORE_FAILED",
            Some("the store failed"),
        ),
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Row(status, code, reason, message) = self.row();
        if status.is_server_error() {
            // The one place where failures are logged, with all that the client is not told.
            let error: &(dyn std::error::Error + 'static) = &self;
            tracing::error!(%status, reason, error, "request failed");
        }
        let mut info = json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": reason,
            "domain": "sealwright.dev",
        });
        match &self {
            Self::NotVerified { step, .. } => info["metadata"] = json!({"step": step}),
            Self::Erased { index, at } => {
                let at = sealwright_attest::Timestamp::from_unix(*at).ok();
                info["metadata"] = json!({"index": index.to_string(), "erasedAt": at});
            }
            _ => {}
        }
        let body = json!({
            "code": code as u8,
            "message": message.map_or_else(|| self.to_string(), str::to_owned),
            "details": [info],
        });
        let mut response = (status, Json(body)).into_response();
        response.extensions_mut().insert(Reason(reason));
        let retry_after = match self {
            Self::RateLimited { retry_after_s } | Self::Quota { retry_after_s, .. } => {
                Some(retry_after_s)
            }
            _ => (status == StatusCode::SERVICE_UNAVAILABLE).then_some(1),
        };
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(error: impl Into<ApiError>) -> u16 {
        error.into().into_response().status().as_u16()
    }

    #[test]
    fn a_full_disk_is_temporary_and_says_when_to_come_back() {
        let full = || StoreError::Unwritable { fault: WriteFault::Full, source: "".into() };
        let response = ApiError::from(full()).into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        assert_eq!(ApiError::from(full()).row().2, "STORE_FULL");
        assert_eq!(status(StoreError::ClockBehind { now: 1, last_signed: 2 }), 503);
    }

    #[test]
    fn the_callers_mistakes_are_the_callers() {
        assert_eq!(status(StoreError::NoSuchSize { asked: 2, size: 1 }), 400);
        assert_eq!(status(VerifyError::Signature), 400);
        assert_eq!(status(JsonError::TooLarge { size: 2, limit: 1 }), 413);
    }
}
