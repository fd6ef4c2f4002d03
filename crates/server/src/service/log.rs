//! Reading the log: checkpoint, tiles, consistency, trusted root (C2SP tlog-tiles, under `/api/v2`
//! as Rekor v2 has them).

use std::io::Write as _;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State as Shared};
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Deserialize;
use serde_json::{Value, json};

use sealwright_store::Store;
use sealwright_tlog::{Tile, TileKind};

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
    ([(header::CONTENT_TYPE, "application/json")], state.standing.get().trusted_root_json.clone())
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
/// tile has one path and no other spelling of it. Entry bundles are gzipped for whoever takes that;
/// hashes would not get smaller.
pub(super) async fn tile(
    Shared(state): Shared<Arc<State>>,
    uri: Uri,
    request: HeaderMap,
) -> Result<Response, ApiError> {
    let path = uri.path();
    let path = path.strip_prefix(PREFIX).or(path.strip_prefix('/')).ok_or(ApiError::NotFound)?;
    let tile = Tile::parse(path).map_err(|_| ApiError::NotFound)?;
    let content = read_tile(&state, tile).await?;
    let content = content.ok_or(ApiError::NotFound)?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    match tile.kind() {
        TileKind::Hashes { .. } => Ok((headers, content).into_response()),
        TileKind::Entries => {
            let varies = [(header::VARY, "accept-encoding")];
            if !takes_gzip(&request) {
                return Ok((headers, varies, content).into_response());
            }
            let zipped = state.compute(move || gzip(&content)).await?;
            let encoding = [(header::CONTENT_ENCODING, "gzip")];
            Ok((headers, varies, encoding, zipped).into_response())
        }
    }
}

/// The content of a tile. Where the log is shared, the bucket is asked while others read from the store;
/// if it does not answer, or too many wait for it, the database has it.
async fn read_tile(state: &State, tile: Tile) -> Result<Option<Vec<u8>>, ApiError> {
    let reader = state.read(move |store| {
        let is_published = store.has_tile(&tile);
        Ok(is_published.then(|| store.tile_reader()).flatten())
    });
    if let Some(reader) = reader.await? {
        match state.wait(move || Ok(reader.read(&tile))).await {
            Ok(Some(content)) => return Ok(Some(content)),
            Ok(None) | Err(ApiError::Busy) => {}
            Err(error) => return Err(error),
        }
    }
    state.read(move |store| tile_content(store, &tile)).await
}

/// Whether the client asked for gzip by name, or for anything (RFC 9110 §12.5.3).
fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter();
    let codings = values.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
    let weights: Vec<(&str, bool)> = codings
        .filter_map(|coding| {
            let mut parts = coding.split(';').map(str::trim);
            let name = parts.next()?;
            let weight = parts.find_map(|part| part.strip_prefix("q=")).unwrap_or("1");
            Some((name, weight.parse().is_ok_and(|weight: f32| weight > 0.0)))
        })
        .collect();
    let named = |wanted: &str| {
        let mut found = weights.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.next().map(|(_, takes)| *takes)
    };
    named("gzip").or(named("*")).unwrap_or(false)
}

fn gzip(content: &[u8]) -> Result<Vec<u8>, ApiError> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder
        .write_all(content)
        .and_then(|()| encoder.finish())
        .map_err(|_| ApiError::Internal { what: "an entry bundle could not be compressed" })
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

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn gzip_is_for_those_who_ask() {
        let takes = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
            }
            takes_gzip(&headers)
        };
        for values in [
            &["gzip"][..],
            &["br, GZIP;q=0.5"],
            &["br", "gzip"],
            &["*"],
            &["identity;q=0.1, *;q=0.2"],
        ] {
            assert!(takes(values), "{values:?}");
        }
        for values in
            [&[][..], &["identity"], &["gzip;q=0"], &["gzip; q=0.0, *"], &["gzip;q=x"], &["x-gzip"]]
        {
            assert!(!takes(values), "{values:?}");
        }
    }

    #[test]
    fn gzip_comes_back_as_it_was() {
        let content = b"entry ".repeat(1000);
        let zipped = gzip(&content).unwrap();
        assert!(zipped.len() < content.len() / 10);
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(&zipped[..]).read_to_end(&mut back).unwrap();
        assert_eq!(back, content);
    }
}
