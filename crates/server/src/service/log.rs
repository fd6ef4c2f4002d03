//! Reading the log: checkpoint, tiles, consistency, trusted root (C2SP tlog-tiles, under `/api/v2`
//! as Rekor v2 has them).

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State as Shared};
use axum::http::{HeaderName, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use sealwright_store::Store;
use sealwright_tlog::Tile;

use super::sequencer::MAX_CHECKPOINT_AGE_S;
use crate::error::ApiError;
use crate::state::{State, now};

/// Rekor v2 has the log below this path; other readers of tiles expect it at the root.
const PREFIX: &str = "/api/v2/";

const CHECKPOINT_HEADERS: [(HeaderName, &str); 2] =
    [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];

/// `GET /healthz`: whether the log can be appended to.
pub(super) async fn health(Shared(state): Shared<Arc<State>>) -> (StatusCode, Json<Value>) {
    if state.sequencer.is_alive() {
        (StatusCode::OK, Json(json!({"status": "SERVING"})))
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": "NOT_SERVING"})))
    }
}

/// `GET /api/v1/trusted-root`. A convenience: whoever needs to trust it gets it another way.
pub(super) async fn trusted_root(Shared(state): Shared<Arc<State>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], state.live.trusted_root_json().to_string())
}

/// `GET /api/v2/checkpoint`: signed at most ten seconds ago, with the cosignatures that have come.
pub(super) async fn checkpoint(
    Shared(state): Shared<Arc<State>>,
) -> Result<impl IntoResponse, ApiError> {
    let published = state
        .read(|store| {
            let checkpoint = store.checkpoint();
            Ok((checkpoint.cosigned_at().unwrap_or(0), checkpoint.note().to_vec()))
        })
        .await?;
    let note = match published {
        (signed_at, note) if now().saturating_sub(signed_at) <= MAX_CHECKPOINT_AGE_S => note,
        _ => state.sequencer.refresh().await?,
    };
    Ok((CHECKPOINT_HEADERS, state.cosignatures.put_on(note)))
}

/// `GET /api/v1/witnessed-checkpoint`: the last one that reached the quorum of witnesses.
pub(super) async fn witnessed_checkpoint(
    Shared(state): Shared<Arc<State>>,
) -> Result<impl IntoResponse, ApiError> {
    let note = state.cosignatures.witnessed().ok_or(ApiError::NotFound)?;
    Ok((CHECKPOINT_HEADERS, note))
}

/// `GET /api/v2/tile/…`: hash tiles and entry bundles. The path is taken as it was sent, since a
/// tile has one path and no other spelling of it.
pub(super) async fn tile(
    Shared(state): Shared<Arc<State>>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let path = uri.path();
    let path = path.strip_prefix(PREFIX).or(path.strip_prefix('/')).ok_or(ApiError::NotFound)?;
    let tile = Tile::parse(path).map_err(|_| ApiError::NotFound)?;
    let content = state.read(move |store| tile_content(store, &tile)).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    Ok((headers, content.ok_or(ApiError::NotFound)?).into_response())
}

/// What `GET /api/v1/consistency` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConsistencyQuery {
    old: u64,
}

/// `GET /api/v1/consistency?old=<size>`: that the log begins with its first `old` entries
/// unchanged, up to the checkpoint that comes with the proof.
pub(super) async fn consistency(
    Shared(state): Shared<Arc<State>>,
    query: Result<Query<ConsistencyQuery>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(ConsistencyQuery { old }) =
        query.map_err(|rejection| ApiError::Query { message: rejection.body_text() })?;
    state
        .read(move |store| {
            let proof = store.consistency(old)?;
            let hashes: Vec<_> = proof.hashes.iter().map(|hash| hash.to_base64()).collect();
            Ok(Json(json!({
                "oldSize": proof.old_size,
                "newSize": proof.new_size,
                "hashes": hashes,
                "checkpoint": String::from_utf8_lossy(store.checkpoint().note()),
            })))
        })
        .await
}

/// A tile; a partial one that was never published alone is cut from the full one.
fn tile_content(store: &Store, tile: &Tile) -> Result<Option<Vec<u8>>, ApiError> {
    if let Some(content) = store.tile(tile)? {
        return Ok(Some(content));
    }
    let full = tile.full();
    if full == *tile {
        return Ok(None);
    }
    let Some(content) = store.tile(&full)? else { return Ok(None) };
    tile.cut(&content)
        .map(Some)
        .ok_or(ApiError::Internal { what: "a full tile is not as long as it should be" })
}
