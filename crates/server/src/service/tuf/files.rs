//! `GET /tuf/…`: the repository as clients fetch it. Files only, each read as it is on disk.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::State as Shared;
use axum::http::{Uri, header};
use axum::response::{IntoResponse as _, Response};

use sealwright_tuf::is_target_name;

use super::repository::{TARGETS_DIR, repository_dir};
use crate::error::ApiError;
use crate::state::State;

/// A file of the repository. The path is taken as it was sent: a file has one, and no other spelling.
pub(crate) async fn file(
    Shared(state): Shared<Arc<State>>,
    uri: Uri,
) -> Result<Response, ApiError> {
    if !state.serves_tuf {
        return Err(ApiError::NotFound);
    }
    let path = uri.path().strip_prefix("/tuf/").unwrap_or_default();
    let place = place(path).ok_or(ApiError::NotFound)?;
    let dir = repository_dir(&state.vitals.data_dir);
    let read = tokio::task::spawn_blocking(move || fs::read(dir.join(place))).await;
    let content = match read.map_err(|_| ApiError::Stopping)? {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(ApiError::NotFound),
        Err(error) => {
            tracing::error!(%error, "a file of the TUF repository cannot be read");
            return Err(ApiError::Internal { what: "a file of the TUF repository cannot be read" });
        }
    };
    // Everything but the timestamp has version or digest in its name.
    let caching = match path {
        "timestamp.json" => "no-cache",
        _ => "public, max-age=31536000, immutable",
    };
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, caching)];
    Ok((headers, content).into_response())
}

/// Where a file is that clients may ask for.
fn place(path: &str) -> Option<PathBuf> {
    if let Some(name) = path.strip_prefix("targets/") {
        let (digest, target) = name.split_once('.')?;
        let is_digest = digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit());
        return (is_digest && is_target_name(target)).then(|| Path::new(TARGETS_DIR).join(name));
    }
    let is_version =
        |text: &str| (1..=16).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let role = path.split_once('.').filter(|(version, _)| is_version(version));
    let is_known = match role {
        Some((_, role)) => matches!(role, "root.json" | "targets.json" | "snapshot.json"),
        None => path == "timestamp.json",
    };
    is_known.then(|| path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_a_repository() {
        let digest = "a".repeat(64);
        for good in [
            "timestamp.json".to_owned(),
            "1.root.json".to_owned(),
            "12.targets.json".to_owned(),
            "3.snapshot.json".to_owned(),
            format!("targets/{digest}.trusted_root.json"),
        ] {
            assert_eq!(place(&good), Some(PathBuf::from(&good)), "{good}");
        }
        for bad in [
            "".to_owned(),
            "root.json".to_owned(),
            "1.timestamp.json".to_owned(),
            "../online/x.pem".to_owned(),
            "x.root.json".to_owned(),
            ".root.json".to_owned(),
            "targets/trusted_root.json".to_owned(),
            format!("targets/{digest}./../../log-key.pem"),
            format!("targets/{digest}...json"),
            format!("targets/{digest}"),
        ] {
            assert_eq!(place(&bad), None, "{bad}");
        }
    }
}
