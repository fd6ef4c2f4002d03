//! The statements about an image or a model as OCI referrers: the reading part of the OCI distribution
//! specification 1.1, over what is stored anyway.
//!
//! Each statement about a subject is an artifact manifest with the bundle as its one layer, as cosign and
//! GitHub's attest action push them beside images. Any repository name will do: a digest is a digest.
//! A manifest is made of nothing but the statement and the subject's digest, so its bytes are the same
//! whenever and by whichever instance over this log it is made. What its digest stands for is known from
//! when its subject was last asked for; clients ask in that order.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Query, Request, State as Shared};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use sealwright_attest::Timestamp;
use sealwright_manifest::Sha256;
use sealwright_store::{Filter, LoggedEntry, Payload, StoredStatement};

use super::access::{Credentials, Projects};
use super::bundles::complete;
use super::find;
use crate::error::ApiError;
use crate::state::{State, lock};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// How bundles of version 0.2 name themselves, and how an artifact type, which has no parameters, does.
const OLD_MEDIA_TYPE: &str = "\"application/vnd.dev.sigstore.bundle+json;version=0.2\"";
const OLD_BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.2+json";

/// The content of [`EMPTY`], and its digest (OCI image specification, "Guidance for an Empty Descriptor").
const EMPTY_CONTENT: &str = "{}";
const EMPTY_DIGEST: &str = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

/// Referrers of a page.
const PAGE_COUNT: u32 = 100;

/// Longest name of a repository.
const MAX_NAME: usize = 255;

/// Most digests that are remembered.
const MAX_KNOWN: usize = 100_000;

/// What digests stand for: those of manifests and of their layers.
#[derive(Debug, Default)]
pub(crate) struct Known(Mutex<BTreeMap<Sha256, Thing>>);

#[derive(Debug, Clone, Copy)]
struct Thing {
    /// Of the statement.
    index: u64,
    /// Of a manifest; `None` for a layer.
    subject: Option<Sha256>,
}

impl Known {
    fn get(&self, digest: &Sha256) -> Option<Thing> {
        // Every step leaves the map whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(digest).copied()
    }

    fn put(&self, digest: Sha256, thing: Thing) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KNOWN && !known.contains_key(&digest) {
            // Whichever: it is found again when its subject is asked for.
            known.pop_first();
        }
        known.insert(digest, thing);
    }
}

/// Why a request is not answered as asked (OCI distribution specification, "Error Codes").
#[derive(Debug)]
pub(super) enum OciError {
    Name,
    Digest,
    UnknownManifest,
    UnknownBlob,
    NotFound,
    ReadOnly,
    Api(ApiError),
}

impl From<ApiError> for OciError {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl IntoResponse for OciError {
    fn into_response(self) -> Response {
        let (status, code, message) = match self {
            Self::Name => (StatusCode::BAD_REQUEST, "NAME_INVALID", "not a repository's name"),
            Self::Digest => {
                (StatusCode::BAD_REQUEST, "DIGEST_INVALID", "not a SHA-256 or SHA-512 digest")
            }
            Self::UnknownManifest => (
                StatusCode::NOT_FOUND,
                "MANIFEST_UNKNOWN",
                "not the manifest of a statement; ask for the referrers of its subject first",
            ),
            Self::UnknownBlob => (
                StatusCode::NOT_FOUND,
                "BLOB_UNKNOWN",
                "not a statement's bundle; ask for the referrers of its subject first",
            ),
            Self::NotFound => (StatusCode::NOT_FOUND, "NAME_UNKNOWN", "there is nothing here"),
            Self::ReadOnly => (
                StatusCode::METHOD_NOT_ALLOWED,
                "UNSUPPORTED",
                "statements are submitted to /api/v1/bundles; here they are only read",
            ),
            // Of a project that may not be read.
            Self::Api(ApiError::NotFound) => return Self::NotFound.into_response(),
            Self::Api(error) => return error.into_response(),
        };
        let body = json!({"errors": [{"code": code, "message": message}]}).to_string();
        let mut response = (status, body).into_response();
        set(&mut response, header::CONTENT_TYPE, "application/json");
        if status == StatusCode::METHOD_NOT_ALLOWED {
            set(&mut response, header::ALLOW, "GET, HEAD");
        }
        response
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReferrersQuery {
    artifact_type: Option<String>,
    /// Where the page begins.
    from: Option<u64>,
}

/// What a path below `/v2/` names.
enum Resource {
    Referrers { name: String, digest: Option<Sha256> },
    Manifest(Sha256),
    Blob(Sha256),
}

/// `GET /v2/`: that this is a registry.
pub(super) async fn version(method: Method) -> Result<Response, OciError> {
    check_method(&method)?;
    let mut response = EMPTY_CONTENT.into_response();
    set(&mut response, header::CONTENT_TYPE, "application/json");
    set(&mut response, HeaderName::from_static("docker-distribution-api-version"), "registry/2.0");
    Ok(response)
}

/// `GET /v2/<name>/referrers/<digest>`, `…/manifests/<digest>`, `…/blobs/<digest>`.
pub(super) async fn resource(
    Shared(state): Shared<Arc<State>>,
    request: Request,
) -> Result<Response, OciError> {
    let (head, _) = request.into_parts();
    check_method(&head.method)?;
    let resource = Resource::parse(head.uri.path())?;
    let query = Query::<ReferrersQuery>::try_from_uri(&head.uri);
    let Query(query) = query.map_err(|rejection| find::query_error(&rejection))?;
    let readable = state.readable(Credentials::of(&head)).await?;
    let shared = Arc::clone(&state);
    let answer = state.compute(move || Ok(resource.answer(&shared, &query, &readable)));
    let Answer { media_type, body, digest, extra } = answer.await??;
    let mut response = body.into_response();
    set(&mut response, header::CONTENT_TYPE, media_type);
    for (name, value) in extra {
        set(&mut response, name, &value);
    }
    if let Some(digest) = digest {
        let digest = format!("sha256:{digest}");
        let tag = format!("\"{digest}\"");
        let is_known =
            head.headers.get_all(header::IF_NONE_MATCH).iter().any(|known| known == tag.as_str());
        set(&mut response, HeaderName::from_static("docker-content-digest"), &digest);
        set(&mut response, header::ETAG, &tag);
        if is_known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = axum::body::Body::empty();
        }
    }
    Ok(response)
}

struct Answer {
    media_type: &'static str,
    body: Vec<u8>,
    /// What was asked for.
    digest: Option<Sha256>,
    extra: Vec<(HeaderName, String)>,
}

impl Resource {
    fn parse(path: &str) -> Result<Self, OciError> {
        let rest = path.strip_prefix("/v2/").ok_or(OciError::NotFound)?;
        let mut parts = rest.rsplitn(3, '/');
        let (Some(reference), Some(kind), Some(name)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(OciError::NotFound);
        };
        if !is_name(name) {
            return Err(OciError::Name);
        }
        match kind {
            "referrers" => {
                Ok(Self::Referrers { name: name.to_owned(), digest: parse_digest(reference)? })
            }
            // Nothing here has a tag.
            "manifests" if !reference.contains(':') => Err(OciError::UnknownManifest),
            "manifests" => {
                parse_digest(reference)?.map(Self::Manifest).ok_or(OciError::UnknownManifest)
            }
            "blobs" => parse_digest(reference)?.map(Self::Blob).ok_or(OciError::UnknownBlob),
            _ => Err(OciError::NotFound),
        }
    }

    fn answer(
        &self,
        state: &State,
        query: &ReferrersQuery,
        readable: &Projects,
    ) -> Result<Answer, OciError> {
        match self {
            Self::Referrers { name, digest } => referrers(state, name, *digest, query, readable),
            Self::Manifest(digest) => {
                let Some(Thing { index, subject: Some(subject) }) = state.oci.get(digest) else {
                    return Err(OciError::UnknownManifest);
                };
                let artifact =
                    artifact(state, index, &subject, readable)?.ok_or(OciError::UnknownManifest)?;
                exactly(MANIFEST, artifact.manifest, *digest).ok_or(OciError::UnknownManifest)
            }
            Self::Blob(digest) if digest.to_string() == EMPTY_DIGEST => {
                let body = EMPTY_CONTENT.as_bytes().to_vec();
                exactly("application/octet-stream", body, *digest).ok_or(OciError::UnknownBlob)
            }
            Self::Blob(digest) => {
                let Some(Thing { index, subject: None }) = state.oci.get(digest) else {
                    return Err(OciError::UnknownBlob);
                };
                let (stored, logged) = find::read(state, index, readable)?;
                let layer = layer(state, stored, logged)?.ok_or(OciError::UnknownBlob)?;
                exactly("application/octet-stream", layer.into_bytes(), *digest)
                    .ok_or(OciError::UnknownBlob)
            }
        }
    }
}

/// The content, if it still is what the digest says: a statement may have been erased.
fn exactly(media_type: &'static str, body: Vec<u8>, digest: Sha256) -> Option<Answer> {
    let is_same = Sha256::of(&body) == digest;
    is_same.then_some(Answer { media_type, body, digest: Some(digest), extra: Vec::new() })
}

/// An image index with the manifests of all statements about the subject.
fn referrers(
    state: &State,
    name: &str,
    subject: Option<Sha256>,
    query: &ReferrersQuery,
    readable: &Projects,
) -> Result<Answer, OciError> {
    let mut manifests = Vec::new();
    let mut extra = Vec::new();
    if let Some(subject) = subject {
        let filter =
            Filter { subject: Some(subject.to_string()), from: query.from, ..Filter::default() };
        let mut found =
            find::find_readable(&*lock(&state.store)?, &filter, readable, PAGE_COUNT + 1)?;
        let is_more = u32::try_from(found.len()).is_ok_and(|count| count > PAGE_COUNT);
        if let Some(next) = found.pop_if(|_| is_more) {
            let mut link = format!("/v2/{name}/referrers/sha256:{subject}?from={next}");
            if let Some(artifact_type) = &query.artifact_type {
                let escaped = artifact_type.replace('%', "%25").replace('+', "%2B");
                link += &format!("&artifactType={}", escaped.replace(['&', ' ', '>'], ""));
            }
            extra.push((header::LINK, format!("<{link}>; rel=\"next\"")));
        }
        for index in found {
            let Some(artifact) = artifact(state, index, &subject, readable)? else { continue };
            let is_wanted = query
                .artifact_type
                .as_deref()
                .is_none_or(|wanted| wanted == artifact.artifact_type);
            if is_wanted {
                manifests.push(artifact.descriptor);
            }
        }
    }
    if query.artifact_type.is_some() {
        let applied = HeaderName::from_static("oci-filters-applied");
        extra.push((applied, "artifactType".to_owned()));
    }
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
    Ok(Answer { media_type: INDEX, body: index.to_string().into_bytes(), digest: None, extra })
}

/// A statement as an artifact.
struct Artifact {
    artifact_type: &'static str,
    manifest: Vec<u8>,
    descriptor: Value,
}

/// `None` if the statement was erased.
fn artifact(
    state: &State,
    index: u64,
    subject: &Sha256,
    readable: &Projects,
) -> Result<Option<Artifact>, ApiError> {
    let (stored, logged) = find::read(state, index, readable)?;
    let created = logged.checkpoint.cosigned_at().and_then(|at| Timestamp::from_unix(at).ok());
    let predicate_type = stored.predicate_type.clone();
    let Some(layer) = layer(state, stored, logged)? else { return Ok(None) };
    let is_old = layer.contains(OLD_MEDIA_TYPE);
    let mut annotations = json!({
        "dev.sigstore.bundle.content":
            if predicate_type.is_empty() { "message-signature" } else { "dsse-envelope" },
        "org.opencontainers.image.created": created,
    });
    if !predicate_type.is_empty() {
        annotations["dev.sigstore.bundle.predicateType"] = predicate_type.into();
    }
    let artifact_type = if is_old { OLD_BUNDLE } else { BUNDLE };
    let layer_digest = Sha256::of(layer.as_bytes());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": artifact_type,
        "config": {
            "mediaType": EMPTY,
            "digest": format!("sha256:{EMPTY_DIGEST}"),
            "size": EMPTY_CONTENT.len(),
        },
        "layers": [{
            "mediaType": artifact_type,
            "digest": format!("sha256:{layer_digest}"),
            "size": layer.len(),
            // What clients call the file.
            "annotations": {
                "org.opencontainers.image.title": format!("entry-{index}.sigstore.json"),
            },
        }],
        // Only its digest is known here.
        "subject": {"mediaType": MANIFEST, "digest": format!("sha256:{subject}"), "size": 0},
        "annotations": annotations,
    });
    let manifest = manifest.to_string().into_bytes();
    let digest = Sha256::of(&manifest);
    state.oci.put(digest, Thing { index, subject: Some(*subject) });
    state.oci.put(layer_digest, Thing { index, subject: None });
    let descriptor = json!({
        "mediaType": MANIFEST,
        "digest": format!("sha256:{digest}"),
        "size": manifest.len(),
        "artifactType": artifact_type,
        "annotations": annotations,
    });
    Ok(Some(Artifact { artifact_type, manifest, descriptor }))
}

/// The completed bundle; `None` if it was erased.
fn layer(
    state: &State,
    stored: StoredStatement,
    logged: LoggedEntry,
) -> Result<Option<String>, ApiError> {
    match stored.payload {
        Payload::Kept { bundle, .. } => {
            Ok(Some(complete(&bundle, logged, &state.log_id)?.to_string()))
        }
        Payload::Erased { .. } => Ok(None),
    }
}

/// SHA-256, or `None` for a SHA-512, by which nothing is found here.
fn parse_digest(text: &str) -> Result<Option<Sha256>, OciError> {
    let is_hex = |hex: &str| hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    match text.split_once(':') {
        Some(("sha256", hex)) => Sha256::parse(hex).map(Some).map_err(|_| OciError::Digest),
        Some(("sha512", hex)) if hex.len() == 128 && is_hex(hex) => Ok(None),
        _ => Err(OciError::Digest),
    }
}

/// Whether this is a repository's name (OCI distribution specification, "Pulling manifests").
fn is_name(name: &str) -> bool {
    let is_part = |part: &str| {
        let is_inner =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
        let is_end =
            |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        part.bytes().all(is_inner)
            && is_end(part.bytes().next())
            && is_end(part.bytes().next_back())
            && !["..", "._", "_.", "-.", ".-", "___", "-_", "_-"]
                .iter()
                .any(|bad| part.contains(bad))
    };
    name.len() <= MAX_NAME && name.split('/').all(is_part)
}

fn check_method(method: &Method) -> Result<(), OciError> {
    match *method {
        Method::GET | Method::HEAD => Ok(()),
        _ => Err(OciError::ReadOnly),
    }
}

/// Sets a header; a value that cannot be one is left out.
fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_repositories() {
        for name in ["a", "model", "team/loan-approval", "a.b_c__d/e---f", "1/2/3"] {
            assert!(is_name(name), "{name}");
        }
        let long = "a".repeat(256);
        for name in ["", "/", "A", "a/", "/a", "a//b", "-a", "a_", "a..b", "a___b", "a b", &long] {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn digests() {
        let sha256 = "0a".repeat(32);
        assert!(matches!(parse_digest(&format!("sha256:{sha256}")), Ok(Some(_))));
        assert!(matches!(parse_digest(&format!("sha512:{}", "0a".repeat(64))), Ok(None)));
        for text in ["", "sha256:", "sha256:0A", "md5:00", &sha256, &format!("sha512:{sha256}")] {
            assert!(matches!(parse_digest(text), Err(OciError::Digest)), "{text}");
        }
        assert_eq!(Sha256::of(EMPTY_CONTENT.as_bytes()).to_string(), EMPTY_DIGEST);
    }

    #[test]
    fn a_full_memory_forgets_and_does_not_grow() {
        let known = Known::default();
        for number in 0..MAX_KNOWN + 10 {
            let digest = Sha256::of(&number.to_le_bytes());
            known.put(digest, Thing { index: 0, subject: None });
            assert!(known.get(&digest).is_some());
        }
        assert_eq!(known.0.lock().unwrap().len(), MAX_KNOWN);
    }
}
