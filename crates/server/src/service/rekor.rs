//! Rekor v2's write API: `POST /api/v2/log/entries`, as stock Sigstore clients speak it.

use std::sync::Arc;

use axum::extract::{Request, State as Shared};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use sealwright_attest::LogEntry;
use sealwright_sigstore::{EntryRequest, MAX_ENTRY_REQUEST};
use sealwright_store::NewEntry;
use sealwright_tlog::tile::MAX_ENTRY_LEN;

use super::bundles::{declared_length, log_entry, logged};
use crate::error::ApiError;
use crate::state::State;

/// Checks the request, logs its entry, and answers with a `TransparencyLogEntry` that has the proof.
///
/// Always 201: sigstore-go takes nothing else, and clients who ask again after a lost answer have no
/// use for the error that Rekor gives for a duplicate, which is the first entry here.
pub(super) async fn create_entry(
    Shared(state): Shared<Arc<State>>,
    request: Request,
) -> Result<Response, ApiError> {
    let declared = declared_length(request.headers(), MAX_ENTRY_REQUEST)?;
    let (body, room) = state.receive(request, declared).await?;
    let checked = state.compute(move || Ok(EntryRequest::parse(&body)?)).await?;
    drop(room);
    let body = checked.body().to_vec();
    if body.len() > MAX_ENTRY_LEN {
        return Err(ApiError::EntryTooLong { len: body.len(), limit: MAX_ENTRY_LEN });
    }
    let appended = state.append(NewEntry { body, statement: None }).await?;
    let logged = state.read(move |store| logged(store, appended.index)).await?;
    let entry: LogEntry = log_entry(logged, &state.log_id)?;
    let json = [(header::CONTENT_TYPE, "application/json")];
    Ok((StatusCode::CREATED, json, entry.to_rekor_json()).into_response())
}
