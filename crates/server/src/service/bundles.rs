//! Submitting bundles and finding them again.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use sealwright_attest::{
    Bundle, HASHEDREKORD_KIND, HASHEDREKORD_VERSION, InclusionEvidence, LogEntry, PublicKey,
    VerificationMaterial, check_signature, from_value, hashedrekord_body, parse_strict,
};
use sealwright_manifest::Sha256;
use sealwright_store::{Filter, LoggedEntry, NewEntry, Payload, StatementRecord, Store};
use sealwright_tlog::tile::MAX_ENTRY_LEN;

use crate::error::ApiError;
use crate::state::{MAX_BODY, State, lock};

/// A page of bundles ends after this many bytes of them; one bundle more may fit on it.
const PAGE_SIZE: usize = 8 << 20;

/// Most bundles of a page.
const PAGE_COUNT: u32 = 1000;

const JSON: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];

/// `POST /api/v1/bundles`: checks the bundle, logs it, answers with the bundle completed by its log
/// entry. 201, or 200 if the very same signature was logged before.
///
/// Who may sign what is not asked: that is for whoever verifies, against a role binding of their
/// own. The signature must be valid, though, and what it covers well-formed.
pub(super) async fn submit(
    Shared(state): Shared<Arc<State>>,
    request: Request,
) -> Result<Response, ApiError> {
    if let Some(writer) = state.writer(request.headers())? {
        tracing::info!(target: "audit", writer, "a statement is submitted");
    }
    let declared = declared_length(request.headers(), MAX_BODY)?;
    let room = state.room_for(declared)?;
    let body = read_body(request, declared).await?;
    let Submission { bundle, entry } = state.compute(move || Submission::check(&body)).await?;
    let appended = state.sequencer.append(entry).await?;
    let logged = state.read(move |store| logged(store, appended.index)).await?;
    let completed = complete(bundle, logged, &state.log_id)?.to_json();
    drop(room);
    let status = if appended.duplicate { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, JSON, completed).into_response())
}

/// What `GET /api/v1/bundles` takes: `subject` or `predicateType`, and where to go on.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct FindQuery {
    subject: Option<String>,
    predicate_type: Option<String>,
    #[serde(default)]
    from: u64,
}

/// `GET /api/v1/bundles?subject=<SHA-256 hex>` or `?predicateType=<URI>`: the bundles, completed, in
/// log order. An answer that would grow too large has `next`; `&from=<next>` continues.
pub(super) async fn find(
    Shared(state): Shared<Arc<State>>,
    query: Result<Query<FindQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(query) =
        query.map_err(|rejection| ApiError::Query { message: rejection.body_text() })?;
    let shared = Arc::clone(&state);
    let answer = state.compute(move || find_page(&shared, query)).await?;
    Ok((JSON, answer).into_response())
}

/// A bundle that may be logged, and its entry.
struct Submission {
    bundle: Bundle,
    entry: NewEntry,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SubmitRequest {
    bundle: Value,
    public_key: String,
}

impl Submission {
    fn check(body: &[u8]) -> Result<Self, ApiError> {
        let request: SubmitRequest = from_value(parse_strict(body, MAX_BODY)?)
            .map_err(|error| ApiError::Shape { message: error.to_string() })?;
        let key = PublicKey::from_pem(&request.public_key)?;
        let bundle = Bundle::from_value(request.bundle)?;
        let signed = check_signature(&bundle, &key)?;
        let bundle = with_hint(bundle, &key);
        let subjects = signed.subject_digests();
        subjects.iter().try_for_each(|digest| check_digest(digest))?;
        let body = hashedrekord_body(bundle.envelope(), &key);
        if body.len() > MAX_ENTRY_LEN {
            return Err(ApiError::EntryTooLong { len: body.len(), limit: MAX_ENTRY_LEN });
        }
        let statement = StatementRecord {
            envelope_sha256: signed.digest().to_string(),
            predicate_type: signed.statement().predicate_type.clone(),
            subjects,
            bundle: bundle.to_json().into_bytes(),
            public_key_pem: key.pem(),
            ..StatementRecord::default()
        };
        Ok(Self { bundle, entry: NewEntry { body, statement: Some(statement) } })
    }
}

/// The bundle with a hint at its key. Verifiers look the key up by the hint, the signature does not
/// cover it, and the first to submit a statement may not be the one who signed it: a copy without
/// the hint would stand in the way of the whole one.
fn with_hint(bundle: Bundle, key: &PublicKey) -> Bundle {
    match bundle.material() {
        VerificationMaterial::PublicKey { hint } if hint.is_empty() => {
            let material = VerificationMaterial::PublicKey { hint: key.id() };
            Bundle::new(bundle.envelope().clone(), material)
        }
        _ => bundle,
    }
}

fn find_page(state: &State, query: FindQuery) -> Result<String, ApiError> {
    let FindQuery { subject, predicate_type, from } = query;
    // One more than a page has, to know whether it is the last.
    let limit = PAGE_COUNT + 1;
    let all = Filter::default();
    let (name, value, found) = match (subject, predicate_type) {
        (Some(subject), None) => {
            check_digest(&subject)?;
            let filter = Filter { subject: Some(subject.clone()), from: Some(from), ..all };
            let found = lock(&state.store)?.find(&filter, limit)?;
            ("subject", subject, found)
        }
        (None, Some(predicate_type)) => {
            let type_ = Some(predicate_type.clone());
            let filter = Filter { predicate_type: type_, from: Some(from), ..all };
            let found = lock(&state.store)?.find(&filter, limit)?;
            ("predicateType", predicate_type, found)
        }
        _ => {
            let message = "give either subject or predicateType".to_owned();
            return Err(ApiError::Query { message });
        }
    };
    let mut bundles = Vec::new();
    let mut size = 0_usize;
    let mut next = None;
    for (place, index) in (0..).zip(found) {
        if size >= PAGE_SIZE || place >= PAGE_COUNT {
            next = Some(index);
            break;
        }
        // Locked anew for each, so that a long page does not hold up who appends; and read one by
        // one, since all of them together may be more than fits into memory.
        let (stored, logged) = {
            let store = lock(&state.store)?;
            (stored(&store, index)?, logged(&store, index)?)
        };
        let Some(stored) = stored else { continue };
        size = size.saturating_add(stored.len());
        let bundle = Bundle::parse(&stored)
            .map_err(|_| ApiError::Internal { what: "a stored bundle does not parse" })?;
        bundles.push(complete(bundle, logged, &state.log_id)?.to_value());
    }
    let mut answer = json!({name: value, "bundles": bundles});
    if let (Some(next), Some(members)) = (next, answer.as_object_mut()) {
        members.insert("next".to_owned(), next.into());
    }
    Ok(answer.to_string())
}

/// The bundle of a statement; `None` if it was erased.
fn stored(store: &Store, index: u64) -> Result<Option<Vec<u8>>, ApiError> {
    let statement = store.statement(index)?;
    let missing = ApiError::Internal { what: "a logged statement is not in the store" };
    match statement.ok_or(missing)?.payload {
        Payload::Kept { bundle, .. } => Ok(Some(bundle)),
        Payload::Erased { .. } => Ok(None),
    }
}

pub(super) fn logged(store: &Store, index: u64) -> Result<LoggedEntry, ApiError> {
    store.entry(index)?.ok_or(ApiError::Internal { what: "an appended entry is not in the store" })
}

/// The bundle with this log's entry in place of whatever entries it had.
fn complete(bundle: Bundle, logged: LoggedEntry, log_id: &[u8]) -> Result<Bundle, ApiError> {
    Ok(bundle.with_log_entry(log_entry(logged, log_id)?))
}

/// The entry as bundles carry it.
pub(super) fn log_entry(logged: LoggedEntry, log_id: &[u8]) -> Result<LogEntry, ApiError> {
    let tree = logged.checkpoint.checkpoint();
    let checkpoint = String::from_utf8(logged.checkpoint.note().to_vec())
        .map_err(|_| ApiError::Internal { what: "a checkpoint is not UTF-8" })?;
    Ok(LogEntry {
        log_index: logged.index,
        log_id: log_id.to_vec(),
        kind: HASHEDREKORD_KIND.to_owned(),
        version: HASHEDREKORD_VERSION.to_owned(),
        // Rekor v2 has none; the time is the checkpoint's.
        integrated_time: 0,
        inclusion_promise: None,
        inclusion: Some(InclusionEvidence {
            log_index: logged.index,
            root_hash: tree.root.as_bytes().to_vec(),
            tree_size: tree.size,
            hashes: logged.proof.hashes.iter().map(|hash| hash.as_bytes().to_vec()).collect(),
            checkpoint,
        }),
        canonicalized_body: logged.body,
    })
}

fn check_digest(digest: &str) -> Result<(), ApiError> {
    Sha256::parse(digest)
        .map(|_| ())
        .map_err(|_| ApiError::Digest { digest: digest.chars().take(100).collect() })
}

/// How long the body will be; a body without a declared length may have the largest one.
///
/// Only `application/json` is taken: a web page cannot send that to a service on somebody's own
/// machine without asking the service first.
pub(super) fn declared_length(headers: &HeaderMap, limit: usize) -> Result<usize, ApiError> {
    if !is_of_type(headers, "application/json") {
        return Err(ApiError::ContentType);
    }
    let Some(length) = headers.get(header::CONTENT_LENGTH) else { return Ok(limit) };
    let length = length.to_str().ok().and_then(|text| text.parse().ok());
    length.filter(|length| *length <= limit).ok_or(ApiError::TooLarge { limit })
}

/// The body, of at most `limit` bytes: as many as there is room for, also if it comes in chunks.
pub(super) async fn read_body(request: Request, limit: usize) -> Result<Bytes, ApiError> {
    let body = axum::body::to_bytes(request.into_body(), limit).await;
    body.map_err(|error| {
        let is_too_large = std::error::Error::source(&error)
            .is_some_and(|source| source.is::<http_body_util::LengthLimitError>());
        if is_too_large { ApiError::TooLarge { limit } } else { ApiError::BodyIncomplete }
    })
}

/// Whether the body is declared as of this media type, whatever its parameters.
pub(super) fn is_of_type(headers: &HeaderMap, media_type: &str) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next()).map(str::trim);
    essence.is_some_and(|essence| essence.eq_ignore_ascii_case(media_type))
}
