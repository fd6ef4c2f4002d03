//! The HTTP surface: OPA's paths, parameters and errors.

use std::io::Read as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, any, get, post};
use flate2::read::GzDecoder;
use sealwright_attest::parse_strict;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::{Answered, Asked, NoAnswer, Opa};
use crate::http::Peer;

/// The largest body, and the largest input after unpacking it, in bytes.
pub const MAX_BODY_SIZE: usize = 16 << 20;

/// A body must be here by then.
const BODY_TIME: Duration = Duration::from_secs(20);
/// How many questions are answered at once; one that gets no turn in this time is refused.
const MAX_CONCURRENT: usize = 16;
const TURN_TIME: Duration = Duration::from_secs(10);

#[derive(Clone)]
struct Api {
    opa: Arc<Opa>,
    turns: Arc<Semaphore>,
}

type Parameters = Vec<(String, String)>;

/// `GET` and `POST /v1/data/…`, `POST /v0/data/…`, `GET /v1/policies`, `/health`, `/metrics`. Everything
/// else is refused in OPA's form.
pub fn router(opa: Arc<Opa>) -> Router {
    let api = Api { opa, turns: Arc::new(Semaphore::new(MAX_CONCURRENT)) };
    let data = || -> MethodRouter<Api> { get(data_get).post(data_post).fallback(read_only) };
    let v0 = || -> MethodRouter<Api> { post(v0_data).fallback(read_only) };
    let policies = || -> MethodRouter<Api> { get(policies).fallback(read_only) };
    Router::new()
        .route("/v1/data", data())
        .route("/v1/data/", data())
        .route("/v1/data/{*path}", data())
        .route("/v0/data", v0())
        .route("/v0/data/{*path}", v0())
        .route("/v1/policies", policies())
        .route("/v1/policies/", policies())
        .route("/v1/policies/{*id}", any(read_only))
        .route("/health", get(|| async { answer(StatusCode::OK, &json!({}), false) }))
        .route("/metrics", get(metrics))
        .fallback(nothing)
        .with_state(api)
}

async fn data_get(
    State(api): State<Api>,
    Extension(peer): Extension<Peer>,
    Query(parameters): Query<Parameters>,
    uri: Uri,
) -> Response {
    let started = Instant::now();
    let given = parameters.iter().rev().find(|(name, _)| name == "input");
    let input =
        match given.map(|(_, text)| parse_strict(text.as_bytes(), MAX_BODY_SIZE)).transpose() {
            Ok(input) => input,
            Err(error) => {
                return invalid(&format!("parameter contains malformed input document: {error}"));
            }
        };
    match api.ask(Question::of(&uri, &peer, input)).await {
        Ok((answered, _)) => v1_answer(&api.opa, answered, &parameters, started, false),
        Err(refusal) => *refusal,
    }
}

async fn data_post(
    State(api): State<Api>,
    Extension(peer): Extension<Peer>,
    Query(parameters): Query<Parameters>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let started = Instant::now();
    let document = match read_json(&headers, body).await {
        Ok(document) => document,
        Err(refusal) => return *refusal,
    };
    let input = match document {
        None => None,
        Some(Value::Object(mut fields)) => fields.remove("input"),
        Some(_) => return invalid("body contains malformed input document: it is not an object"),
    };
    let no_input = input.is_none();
    match api.ask(Question::of(&uri, &peer, input)).await {
        Ok((answered, _)) => v1_answer(&api.opa, answered, &parameters, started, no_input),
        Err(refusal) => *refusal,
    }
}

/// The input is the whole body, and the value is the whole answer.
async fn v0_data(
    State(api): State<Api>,
    Extension(peer): Extension<Peer>,
    Query(parameters): Query<Parameters>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let input = match read_json(&headers, body).await {
        Ok(input) => input,
        Err(refusal) => return *refusal,
    };
    match api.ask(Question::of(&uri, &peer, input)).await {
        Ok((Answered { result: Ok(Some(value)), .. }, _)) => {
            answer(StatusCode::OK, &value, is_set(&parameters, "pretty"))
        }
        Ok((Answered { result: Ok(None), .. }, path)) => {
            let message = format!("document missing or undefined: data{}", dotted(&path));
            refusal(StatusCode::NOT_FOUND, "undefined_document", &message)
        }
        Ok((Answered { result: Err(problem), .. }, _)) => evaluation_failed(&problem),
        Err(refusal) => *refusal,
    }
}

async fn policies(State(api): State<Api>, Query(parameters): Query<Parameters>) -> Response {
    let policy = |(id, raw): &(String, String)| json!({"id": id, "raw": raw});
    let listed: Vec<Value> = api.opa.modules.iter().map(policy).collect();
    answer(StatusCode::OK, &json!({"result": listed}), is_set(&parameters, "pretty"))
}

async fn metrics(State(api): State<Api>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], api.opa.metrics()).into_response()
}

async fn read_only() -> Response {
    let message = "rules and data are those that the server was started with";
    refusal(StatusCode::METHOD_NOT_ALLOWED, "invalid_operation", message)
}

async fn nothing(uri: Uri) -> Response {
    let message = format!("there is nothing at {}", crate::text::line(uri.path(), 200));
    refusal(StatusCode::NOT_FOUND, "resource_not_found", &message)
}

struct Question {
    path: String,
    input: Option<Value>,
    by: String,
}

impl Question {
    /// About what stands after `/v1/data`, as it was sent.
    fn of(uri: &Uri, peer: &Peer, input: Option<Value>) -> Self {
        let path = uri.path().splitn(4, '/').nth(3).unwrap_or_default().to_owned();
        Self { path, input, by: peer.address.to_string() }
    }
}

impl Api {
    /// The answer, and the path of the question.
    async fn ask(&self, question: Question) -> Result<(Answered, String), Box<Response>> {
        let busy =
            || refusal(StatusCode::SERVICE_UNAVAILABLE, "internal_error", "too many questions");
        let turn = timeout(TURN_TIME, self.turns.clone().acquire_owned()).await;
        let turn = turn.ok().and_then(Result::ok).ok_or_else(|| Box::new(busy()))?;
        let opa = Arc::clone(&self.opa);
        let answered = spawn_blocking(move || {
            // Given back when the work ends, not when somebody stops waiting for it.
            let _turn = turn;
            let Question { path, input, by } = question;
            let asked = Asked { path: &path, input: input.as_ref(), requested_by: by };
            opa.answer(&asked).map(|answered| (answered, path))
        });
        answered.await.unwrap_or(Err(NoAnswer::Internal("answering failed"))).map_err(|no_answer| {
            Box::new(match no_answer {
                NoAnswer::Path(message) => invalid(&message),
                NoAnswer::Internal(message) => {
                    refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", message)
                }
            })
        })
    }
}

fn dotted(path: &str) -> String {
    path.split('/').filter(|part| !part.is_empty()).map(|part| format!(".{part}")).collect()
}

/// The document in a body; none if it is empty.
async fn read_json(headers: &HeaderMap, body: Body) -> Result<Option<Value>, Box<Response>> {
    let boxed = |response| Box::new(response);
    let bytes = match timeout(BODY_TIME, to_bytes(body, MAX_BODY_SIZE)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => return Err(boxed(invalid("request body too large, or it ended too early"))),
        Err(_) => return Err(boxed(invalid("the request body did not arrive in time"))),
    };
    let says = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if says(header::CONTENT_TYPE).contains("yaml") {
        return Err(boxed(invalid("input is read as JSON, not as YAML")));
    }
    let bytes = match says(header::CONTENT_ENCODING) {
        "" | "identity" => bytes,
        "gzip" => unpacked(&bytes).map_err(|message| boxed(invalid(message)))?,
        _ => return Err(boxed(invalid("the body is packed in a way that is not known"))),
    };
    if bytes.trim_ascii().is_empty() {
        return Ok(None);
    }
    parse_strict(&bytes, MAX_BODY_SIZE).map(Some).map_err(|error| {
        boxed(invalid(&format!("body contains malformed input document: {error}")))
    })
}

fn unpacked(bytes: &[u8]) -> Result<Bytes, &'static str> {
    let mut unpacked = Vec::new();
    let limit = u64::try_from(MAX_BODY_SIZE).unwrap_or(u64::MAX).saturating_add(1);
    GzDecoder::new(bytes)
        .take(limit)
        .read_to_end(&mut unpacked)
        .map_err(|_| "the body is not gzip, as its header says")?;
    if unpacked.len() > MAX_BODY_SIZE {
        return Err("compressed request body too large");
    }
    Ok(unpacked.into())
}

fn v1_answer(
    opa: &Opa,
    answered: Answered,
    parameters: &Parameters,
    started: Instant,
    no_input: bool,
) -> Response {
    let result = match answered.result {
        Ok(result) => result,
        Err(problem) => return evaluation_failed(&problem),
    };
    let mut value = json!({"decision_id": answered.id});
    // As OPA: no `result` at all for undefined.
    if let Some(result) = result {
        value["result"] = result;
    }
    if is_set(parameters, "metrics") || is_set(parameters, "instrument") {
        let handler = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        value["metrics"] = json!({
            "timer_rego_query_eval_ns": answered.evaluation_ns,
            "timer_server_handler_ns": handler,
        });
    }
    if is_set(parameters, "provenance") {
        let bundles = opa.bundles.iter();
        let bundles: serde_json::Map<String, Value> =
            bundles.map(|(name, revision)| (name.clone(), json!({"revision": revision}))).collect();
        value["provenance"] = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "build_commit": "", "build_timestamp": "", "build_hostname": "",
            "bundles": bundles,
        });
    }
    if no_input {
        value["warning"] = json!({
            "code": "api_usage_warning",
            "message": "'input' key missing from the request",
        });
    }
    answer(StatusCode::OK, &value, is_set(parameters, "pretty"))
}

/// A parameter that is there without a value, or as `true`.
fn is_set(parameters: &Parameters, name: &str) -> bool {
    let given = parameters.iter().find(|(parameter, _)| parameter == name);
    given.is_some_and(|(_, value)| value.is_empty() || value.eq_ignore_ascii_case("true"))
}

fn evaluation_failed(problem: &str) -> Response {
    let value = json!({
        "code": "internal_error",
        "message": "error(s) occurred while evaluating query",
        "errors": [{"code": "eval_internal_error", "message": crate::text::line(problem, 500)}],
    });
    answer(StatusCode::INTERNAL_SERVER_ERROR, &value, true)
}

fn invalid(message: &str) -> Response {
    refusal(StatusCode::BAD_REQUEST, "invalid_parameter", message)
}

fn refusal(status: StatusCode, code: &str, message: &str) -> Response {
    answer(status, &json!({"code": code, "message": message}), true)
}

fn answer(status: StatusCode, value: &Value, pretty: bool) -> Response {
    let text =
        if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    let text = text.unwrap_or_default() + "\n";
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}
