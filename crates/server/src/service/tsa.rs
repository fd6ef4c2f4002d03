//! RFC 3161 over HTTP (§3.4), as Sigstore's timestamp authority has it.

use std::sync::Arc;

use axum::extract::{Request, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use sealwright_attest::Timestamp;
use sealwright_authority::{
    MAX_DER_REQUEST_SIZE, MAX_JSON_REQUEST_SIZE, TimestampRequest, certificate_pem,
};

use super::body::declared_length;
use super::bundles::is_of_type;
use crate::error::ApiError;
use crate::state::{State, now};

/// `POST /api/v1/timestamp`: a `TimeStampReq` in DER, or the JSON form that sigstore-js sends. 201 with
/// a `TimeStampResp`.
pub(super) async fn timestamp(
    Shared(state): Shared<Arc<State>>,
    request: Request,
) -> Result<Response, ApiError> {
    state.authorities()?;
    let is_json = is_json(request.headers())?;
    let limit = if is_json { MAX_JSON_REQUEST_SIZE } else { MAX_DER_REQUEST_SIZE };
    let limit = declared_length(request.headers(), limit)?;
    let (body, room) = state.receive(request, limit).await?;
    let shared = Arc::clone(&state);
    let answer = state.compute(move || {
        let request = match is_json {
            true => TimestampRequest::from_json(&body)?,
            false => TimestampRequest::from_der(&body)?,
        };
        let time = Timestamp::from_unix(now())
            .map_err(|_| ApiError::Internal { what: "the clock is outside of all calendars" })?;
        Ok(shared.authorities()?.tsa.respond(&request, time)?)
    });
    let answer = answer.await?;
    drop(room);
    let headers = [(header::CONTENT_TYPE, "application/timestamp-reply")];
    Ok((StatusCode::CREATED, headers, answer).into_response())
}

/// `GET /api/v1/timestamp/certchain`: leaf to root, in PEM.
pub(super) async fn certificate_chain(
    Shared(state): Shared<Arc<State>>,
) -> Result<Response, ApiError> {
    let chain: String = state.authorities()?.tsa.chain().map(certificate_pem).collect();
    let headers = [(header::CONTENT_TYPE, "application/pem-certificate-chain")];
    Ok((headers, chain).into_response())
}

fn is_json(headers: &HeaderMap) -> Result<bool, ApiError> {
    let is_json = is_of_type(headers, "application/json");
    let is_known = is_json || is_of_type(headers, "application/timestamp-query");
    is_known.then_some(is_json).ok_or(ApiError::TimestampContentType)
}
