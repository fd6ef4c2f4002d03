//! Submitting bundles and finding them again.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State as Shared};
use axum::http::{HeaderMap, StatusCode, Uri, header};
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

use super::access::{Credentials, Project, Projects};
use super::body;
use crate::error::ApiError;
use crate::state::{MAX_BODY, State, lock, now};

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
    let (head, body) = request.into_parts();
    let project = submitted_to(&head.uri)?;
    let writer = state.writer(Credentials::of(&head), &project).await?;
    let request = Request::from_parts(head, body);
    let declared = declared_length(request.headers(), MAX_BODY)?;
    let (body, room) = state.receive(request, declared).await?;
    let Submission { bundle, mut entry } = state.compute(move || Submission::check(&body)).await?;
    if let Some(statement) = &mut entry.statement {
        project.as_str().clone_into(&mut statement.project);
    }
    let counted = state.limiter().entry(writer.as_deref(), &project, now())?;
    if let Some(writer) = writer.as_deref() {
        let project = project.as_str();
        tracing::info!(target: "audit", writer, project, "a statement is submitted");
    }
    let appended = state.append(entry).await?;
    if !appended.duplicate {
        counted.keep();
    }
    let logged = state.read(move |store| logged_in(store, appended.index, &project)).await?;
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
    project: Option<String>,
    #[serde(default)]
    from: u64,
}

/// What `POST /api/v1/bundles` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SubmitQuery {
    #[serde(default)]
    project: String,
}

fn submitted_to(uri: &Uri) -> Result<Project, ApiError> {
    let Query(query) = Query::<SubmitQuery>::try_from_uri(uri)
        .map_err(|rejection| ApiError::Query { message: rejection.body_text() })?;
    let message = "that is not the name of a project".to_owned();
    Project::parse(&query.project).ok_or(ApiError::Query { message })
}

/// `GET /api/v1/bundles?subject=<SHA-256 hex>` or `?predicateType=<URI>`: the bundles, completed, in
/// log order. An answer that would grow too large has `next`; `&from=<next>` continues.
pub(super) async fn find(
    Shared(state): Shared<Arc<State>>,
    query: Result<Query<FindQuery>, QueryRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let Query(query) =
        query.map_err(|rejection| ApiError::Query { message: rejection.body_text() })?;
    let readable = state.readable(Credentials::of(&request.into_parts().0)).await?;
    let shared = Arc::clone(&state);
    let answer = state.compute(move || find_page(&shared, query, &readable)).await?;
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

/// The entry of a bundle of our own.
pub(super) fn entry_of(bundle: &Bundle, key: &PublicKey) -> Result<NewEntry, ApiError> {
    let body = json!({"bundle": bundle.to_value(), "publicKey": key.pem()}).to_string();
    Ok(Submission::check(body.as_bytes())?.entry)
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

fn find_page(state: &State, query: FindQuery, readable: &Projects) -> Result<String, ApiError> {
    let FindQuery { subject, predicate_type, project, from } = query;
    // One more than a page has, to know whether it is the last.
    let limit = PAGE_COUNT + 1;
    let all = Filter::default();
    let (name, value, found) = match (subject, predicate_type) {
        (Some(subject), None) => {
            check_digest(&subject)?;
            let filter =
                Filter { subject: Some(subject.clone()), from: Some(from), project, ..all };
            let found = find_readable(state, &filter, readable, limit)?;
            ("subject", subject, found)
        }
        (None, Some(predicate_type)) => {
            let type_ = Some(predicate_type.clone());
            let filter = Filter { predicate_type: type_, from: Some(from), project, ..all };
            let found = find_readable(state, &filter, readable, limit)?;
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

/// An entry that was submitted to that project. A statement is in the project that it was submitted to
/// first, and whoever submits it to another is told so rather than made to believe that it is there.
fn logged_in(store: &Store, index: u64, project: &Project) -> Result<LoggedEntry, ApiError> {
    match store.statement(index)? {
        Some(statement) if statement.project != project.as_str() => Err(ApiError::OtherProject),
        _ => logged(store, index),
    }
}

/// Indexes of statements in projects that may be read. One project that may not be read looks as one
/// that is not there.
fn find_readable(
    state: &State,
    filter: &Filter,
    readable: &Projects,
    limit: u32,
) -> Result<Vec<u64>, ApiError> {
    let store = lock(&state.store)?;
    if let Some(project) = &filter.project {
        return match readable.contains(project) {
            true => Ok(store.find(filter, limit)?),
            false => Ok(Vec::new()),
        };
    }
    if readable.is_all() {
        return Ok(store.find(filter, limit)?);
    }
    let mut found = Vec::new();
    for project in readable.names() {
        let filter = Filter { project: Some(project.to_owned()), ..filter.clone() };
        found.extend(store.find(&filter, limit)?);
    }
    found.sort_unstable();
    found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(found)
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
    body::declared_length(headers, limit)
}

/// Whether the body is declared as of this media type, whatever its parameters.
pub(super) fn is_of_type(headers: &HeaderMap, media_type: &str) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next()).map(str::trim);
    essence.is_some_and(|essence| essence.eq_ignore_ascii_case(media_type))
}
