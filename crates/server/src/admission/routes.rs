//! The webhook's HTTP surface.
//!
//! Judging blocks, on the attestation service and on the disk, so it runs on the blocking threads.
//! The deadline stands here: when it passes, the API server still gets a reason, and what was
//! under way is left to end by itself. Only a request that was answered leaves a record.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use sealwright_attest::Timestamp;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

use super::admit::{Admission, Asked, Decision};
use super::code;
use super::review::{MAX_REVIEW_SIZE, Review, Unreadable};
use crate::evidence::Denial;

/// How many requests are judged at once. The service that hangs holds no more threads than these;
/// a request that gets no turn before its deadline is denied.
const MAX_CONCURRENT: usize = 64;

#[derive(Clone)]
struct Webhook {
    admission: Arc<Admission>,
    turns: Arc<Semaphore>,
}

/// `POST /validate` (also `/`), `GET /healthz` (the process runs), `GET /readyz` (the attestation
/// service answers with a checkpoint that verifies), `GET /metrics` (OpenMetrics).
pub fn router(admission: Arc<Admission>) -> Router {
    let turns = Arc::new(Semaphore::new(MAX_CONCURRENT));
    Router::new()
        .route("/validate", post(validate))
        .route("/", post(validate))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(Webhook { admission, turns })
}

/// The content type of the request is not looked at: what is not a review is answered as such.
async fn validate(State(webhook): State<Webhook>, body: Body) -> Response {
    let deadline = webhook.deadline();
    let asked = match timeout_at(deadline, to_bytes(body, MAX_REVIEW_SIZE)).await {
        Ok(Ok(bytes)) => spawn_blocking(move || Review::parse(&bytes)).await.ok(),
        Ok(Err(_)) => Some(Err(unreadable("it is larger than 8 MiB, or ended too early"))),
        Err(_) => Some(Err(unreadable("it did not arrive in time"))),
    };
    let asked = Arc::new(asked.unwrap_or_else(|| Err(unreadable("reading it failed"))));
    let Some(now) = now() else { return reviewed(Admission::last_resort(&asked)) };
    let decision = webhook.decide(asked.clone(), now, deadline).await;
    let (admission, recorded) = (webhook.admission, asked.clone());
    let answer = spawn_blocking(move || admission.conclude(&recorded, decision)).await;
    reviewed(answer.unwrap_or_else(|_| Admission::last_resort(&asked)))
}

fn reviewed(json: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], json).into_response()
}

async fn ready(State(webhook): State<Webhook>) -> Response {
    let deadline = webhook.deadline();
    let admission = webhook.admission;
    match timeout_at(deadline, spawn_blocking(move || admission.ready())).await {
        Ok(Ok(Ok(()))) => "ready\n".into_response(),
        Ok(Ok(Err(reason))) => not_ready(&reason),
        Ok(Err(_)) => not_ready("INTERNAL: the check failed"),
        Err(_) => not_ready("SERVICE_UNREACHABLE: no answer in time"),
    }
}

async fn metrics(State(webhook): State<Webhook>) -> Response {
    let text = now().map(|now| webhook.admission.metrics_text(now)).unwrap_or_default();
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], text).into_response()
}

impl Webhook {
    fn deadline(&self) -> Instant {
        Instant::now() + Duration::from_millis(self.admission.deadline_ms)
    }

    async fn decide(&self, asked: Arc<Asked>, now: Timestamp, deadline: Instant) -> Decision {
        let judged = timeout_at(deadline, self.judge(Arc::clone(&asked), now)).await;
        judged
            .unwrap_or_else(|_| Err(too_late(self.admission.deadline_ms)))
            .unwrap_or_else(|denial| self.admission.refuse(&asked, denial, now))
    }

    async fn judge(&self, asked: Arc<Asked>, now: Timestamp) -> Result<Decision, Denial> {
        let internal = || Denial::new(code::INTERNAL, "Judging failed; see the webhook's log.");
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| internal())?;
        let admission = self.admission.clone();
        let judged = spawn_blocking(move || {
            // Given back when the work ends, not when somebody stops waiting for it.
            let _turn = turn;
            admission.judge(&asked, now)
        });
        judged.await.map_err(|_| internal())
    }
}

/// The one place where the webhook reads the clock. None before 1970.
fn now() -> Option<Timestamp> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Timestamp::from_unix(since.as_secs()).ok()
}

fn unreadable(what: &str) -> Unreadable {
    Unreadable {
        uid: String::new(),
        code: code::REVIEW_MALFORMED,
        message: format!("The AdmissionReview cannot be read: {what}."),
    }
}

fn too_late(deadline_ms: u64) -> Denial {
    Denial::new(
        code::SERVICE_UNREACHABLE,
        format!("The evidence could not be fetched and judged within {deadline_ms} ms."),
    )
}

fn not_ready(reason: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response()
}
