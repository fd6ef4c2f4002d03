//! Every route of the service.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State as Shared};
use axum::http::{HeaderValue, Method, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get, post};

use super::observe::observe;
use super::{bundles, find, fulcio, health, log, oci, openapi, rekor, tsa, tuf};
use crate::error::ApiError;
use crate::state::{Client, MAX_BODY, State};

/// A whole request, from the end of its header to the start of the answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) fn router(state: Arc<State>) -> Router {
    let for_readers = Router::new()
        .route("/api/v1/bundles", get(find::bundles).post(bundles::submit))
        .route("/api/v1/bundles/{index}", get(find::bundle))
        .route("/api/v1/bundles/{index}/original", get(find::original))
        .route("/api/v1/statements", get(find::statements))
        .route("/v2/{*path}", any(oci::resource))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&state), hold))
        .route_layer(middleware::map_response(keep_private));
    Router::new()
        .merge(for_readers)
        .route("/healthz", get(log::health))
        .route("/readyz", get(health::ready))
        .route("/api/v1/trusted-root", get(log::trusted_root))
        .route("/api/v1/witnessed-checkpoint", get(log::witnessed_checkpoint))
        .route("/api/v1/consistency", get(log::consistency))
        .route("/api/v2/log/entries", post(rekor::create_entry))
        .route("/api/v2/signingCert", post(fulcio::signing_certificate))
        .route("/api/v2/trustBundle", get(fulcio::trust_bundle))
        .route("/api/v2/configuration", get(fulcio::configuration))
        .route("/api/v1/rootCert", get(fulcio::root_certificate))
        .route("/api/v1/timestamp", post(tsa::timestamp))
        .route("/api/v1/timestamp/certchain", get(tsa::certificate_chain))
        .route("/api/v2/checkpoint", get(log::checkpoint))
        .route("/api/v2/tile/{*path}", get(log::tile))
        .route("/checkpoint", get(log::checkpoint))
        .route("/tile/{*path}", get(log::tile))
        .route("/tuf/{*path}", get(tuf::file))
        .route("/v2/", any(oci::version))
        .route("/openapi.json", get(openapi::description))
        .fallback(async || ApiError::NotFound)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(middleware::from_fn(time_limit))
        .layer(middleware::from_fn_with_state(Arc::clone(&state), admit))
        .layer(middleware::from_fn_with_state(Arc::clone(&state), observe))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(state)
}

/// Answers that nobody reads must not fill the memory.
async fn hold(
    Shared(state): Shared<Arc<State>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let client = Client::of(request.extensions());
    let answer = next.run(request).await;
    state.hold(client, answer).await
}

/// What somebody may read is not for whoever asks next.
async fn keep_private(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    headers.append(header::VARY, HeaderValue::from_static("Authorization"));
    response
}

/// Says where the request comes from, counts it, and turns away what nobody here can read.
async fn admit(
    Shared(state): Shared<Arc<State>>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let client = state.client_of(request.extensions(), request.headers());
    request.extensions_mut().insert(Client(client));
    let is_probe = matches!(request.uri().path(), "/healthz" | "/readyz");
    if !is_probe {
        state.limiter().request(client, request.method() == Method::POST)?;
    }
    let encodings = request.headers().get_all(header::CONTENT_ENCODING);
    if encodings.iter().any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(ApiError::ContentEncoding);
    }
    Ok(next.run(request).await)
}

async fn time_limit(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::Timeout.into_response(),
    }
}
