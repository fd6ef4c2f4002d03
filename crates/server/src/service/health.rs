//! Whether the service works, whether it is ready, and what it measures.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use rustix::fs::{StatVfsMountFlags, statvfs};
use serde_json::{Value, json};

use super::keeper::LiveStanding;
use super::metrics::Snapshot;
use crate::error::ApiError;
use crate::reload::Refusable;
use crate::state::{State, now, signing_time};
use crate::tls::ServerTls;

/// With less space than this, the next entries may not fit.
const MIN_FREE: u64 = 16 << 20;

/// What is looked at beside the store.
pub(crate) struct Vitals {
    pub(crate) data_dir: PathBuf,
    pub(crate) tls: Option<Arc<ServerTls>>,
    /// Files that are read again when they change.
    pub(crate) files: Vec<Arc<dyn Refusable>>,
    /// The authorities, whose certificates end.
    standing: Arc<LiveStanding>,
}

impl Vitals {
    pub(super) fn new(
        data_dir: &Path,
        tls: Option<Arc<ServerTls>>,
        files: Vec<Arc<dyn Refusable>>,
        standing: Arc<LiveStanding>,
    ) -> Self {
        Self { data_dir: data_dir.to_owned(), tls, files, standing }
    }

    fn certificates(&self) -> Vec<(&'static str, u64)> {
        let tls = self.tls.iter().map(|tls| ("tls", tls.not_after()));
        let authorities = self.standing.get().authorities.clone();
        tls.chain(authorities.iter().flat_map(|it| it.ends())).collect()
    }
}

/// What other machines ask that watch this one: `/metrics`, `/healthz`, `/readyz`.
pub(super) fn router(state: Arc<State>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(super::log::health))
        .route("/readyz", get(ready))
        .fallback(async || ApiError::NotFound)
        .with_state(state)
}

/// `GET /metrics`: OpenMetrics text.
async fn metrics(Shared(state): Shared<Arc<State>>) -> Result<impl IntoResponse, ApiError> {
    let shared = Arc::clone(&state);
    let snapshot = state.compute(move || snapshot(&shared)).await?;
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, content_type)], state.metrics.text(&snapshot)))
}

/// `GET /readyz`: whether entries can be taken now, and if not, why.
pub(super) async fn ready(Shared(state): Shared<Arc<State>>) -> (StatusCode, Json<Value>) {
    let shared = Arc::clone(&state);
    let reasons = match state.compute(move || Ok(reasons(&shared))).await {
        Ok(reasons) => reasons,
        Err(_) => vec!["STOPPING"],
    };
    let status = match reasons.is_empty() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(json!({"ready": reasons.is_empty(), "reasons": reasons})))
}

fn reasons(state: &State) -> Vec<&'static str> {
    let mut reasons = Vec::new();
    if !state.sequencer.is_alive() {
        reasons.push("SEQUENCER_ENDED");
    }
    let now = now();
    match crate::state::lock(&state.store) {
        Ok(store) => {
            let signed = store.checkpoint().cosigned_at().unwrap_or(0);
            if signing_time(now, signed) < signed {
                reasons.push("CLOCK_BEHIND");
            }
        }
        Err(_) => reasons.push("STORE_UNREACHABLE"),
    }
    let vitals = &state.vitals;
    match statvfs(&vitals.data_dir) {
        Ok(disk) => {
            if disk.f_flag.contains(StatVfsMountFlags::RDONLY) {
                reasons.push("STORE_READ_ONLY");
            }
            if disk.f_bavail.saturating_mul(disk.f_frsize) < MIN_FREE {
                reasons.push("STORE_FULL");
            }
        }
        Err(_) => reasons.push("STORE_GONE"),
    }
    let standing = vitals.standing.get();
    if standing.names_authorities && standing.authorities.is_none() {
        reasons.push("AUTHORITIES_MISSING");
    }
    let is_expired =
        |of: &str| vitals.certificates().iter().any(|(name, end)| *name == of && *end < now);
    for (of, reason) in [
        ("tls", "TLS_EXPIRED"),
        ("certificate-authority", "CERTIFICATE_AUTHORITY_EXPIRED"),
        ("timestamp-authority", "TIMESTAMP_AUTHORITY_EXPIRED"),
    ] {
        if is_expired(of) {
            reasons.push(reason);
        }
    }
    reasons
}

fn snapshot(state: &State) -> Result<Snapshot, ApiError> {
    let (entries, signed, note) = {
        let store = crate::state::lock(&state.store)?;
        let checkpoint = store.checkpoint();
        (store.size(), checkpoint.cosigned_at().unwrap_or(0), checkpoint.note().to_vec())
    };
    let vitals = &state.vitals;
    let refused_tls = vitals.tls.as_ref().is_some_and(|tls| tls.is_refused());
    let refused = vitals.files.iter().filter(|file| file.is_refused()).count();
    let free =
        statvfs(&vitals.data_dir).map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    let database = std::fs::metadata(vitals.data_dir.join("log.db")).map_or(0, |file| file.len());
    Ok(Snapshot {
        entries,
        checkpoint_age_s: now().saturating_sub(signed),
        cosignatures: state.cosignatures.count(&note),
        certificates: vitals.certificates(),
        free_bytes: free,
        database_bytes: database,
        refused_files: refused + usize::from(refused_tls),
    })
}
