//! Submitting bundles, and giving them back with their log entry: [`super::find`] finds them.

use std::sync::Arc;

use axum::extract::{Query, Request, State as Shared};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::Value;

use sealwright_attest::{
    Bundle, HASHEDREKORD_KIND, HASHEDREKORD_VERSION, InclusionEvidence, LogEntry, PublicKey,
    Timestamp, check_signature, hashedrekord_body,
};
use sealwright_store::{LoggedEntry, NewEntry, StatementRecord, Store};

use super::access::{Credentials, Project};
use super::body;
use super::facts::Facts;
use super::find::query_error;
use super::submission::{Judge, Submission};
use crate::error::ApiError;
use crate::state::{MAX_BODY, State, now};

const BUNDLE_0_1: &str = "application/vnd.dev.sigstore.bundle+json;version=0.1";
const BUNDLE_0_2: &str = "application/vnd.dev.sigstore.bundle+json;version=0.2";

/// What `POST /api/v1/bundles` takes beside its body.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SubmitQuery {
    /// The project that the statement belongs to.
    #[serde(default)]
    project: String,
}

pub(super) const JSON: [(header::HeaderName, &str); 1] =
    [(header::CONTENT_TYPE, "application/json")];

/// `POST /api/v1/bundles`: checks the bundle, logs it, answers with the bundle completed by its log
/// entry. 201, or 200 if the very same signature was logged before.
///
/// Who may sign what is not asked: that is for whoever verifies, against a role binding of their
/// own. The signature must be valid, though, and what it covers well-formed: see [`Submission`].
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
    let shared = Arc::clone(&state);
    let checked = state.compute(move || {
        let now = Timestamp::from_unix(now())
            .map_err(|_| ApiError::Internal { what: "the clock is outside of all calendars" })?;
        let standing = shared.standing.get();
        let tsa = standing.authorities.as_ref().map(|authorities| &authorities.tsa);
        Submission::check(&body, &Judge { trust: &standing.upload_trust, tsa, now })
    });
    let Submission { body, bundle, facts } = checked.await?;
    let retention = state.retention.class_of(&facts.predicate_type, project.as_str()).to_owned();
    let statement = StatementRecord {
        envelope_sha256: facts.digest,
        predicate_type: facts.predicate_type,
        subjects: facts.subjects,
        signers: facts.signer.names(),
        project: project.as_str().to_owned(),
        retention,
        bundle: bundle.clone(),
        public_key_pem: facts.verifier_pem,
    };
    let entry = NewEntry { body, statement: Some(statement) };
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
    let completed = complete(&bundle, logged, &state.log_id)?.to_string();
    drop(room);
    let status = if appended.duplicate { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, JSON, completed).into_response())
}

fn submitted_to(uri: &Uri) -> Result<Project, ApiError> {
    let Query(query) =
        Query::<SubmitQuery>::try_from_uri(uri).map_err(|rejection| query_error(&rejection))?;
    let message = "that is not the name of a project".to_owned();
    Project::parse(&query.project).ok_or(ApiError::Query { message })
}

/// The entry of a bundle of our own.
pub(super) fn entry_of(bundle: &Bundle, key: &PublicKey) -> Result<NewEntry, ApiError> {
    let facts = Facts::of_signed(&check_signature(bundle, key)?, key.pem());
    let statement = StatementRecord {
        envelope_sha256: facts.digest,
        predicate_type: facts.predicate_type,
        subjects: facts.subjects,
        signers: facts.signer.names(),
        bundle: bundle.to_json().into_bytes(),
        public_key_pem: facts.verifier_pem,
        ..StatementRecord::default()
    };
    Ok(NewEntry { body: hashedrekord_body(bundle.envelope(), key), statement: Some(statement) })
}

/// An entry that was submitted to that project. A statement is in the project that it was submitted to
/// first, and whoever submits it to another is told so rather than made to believe that it is there.
fn logged_in(store: &Store, index: u64, project: &Project) -> Result<LoggedEntry, ApiError> {
    match store.statement(index)? {
        Some(statement) if statement.project != project.as_str() => Err(ApiError::OtherProject),
        _ => logged(store, index),
    }
}

pub(super) fn logged(store: &Store, index: u64) -> Result<LoggedEntry, ApiError> {
    store.entry(index)?.ok_or(ApiError::Internal { what: "an appended entry is not in the store" })
}

/// The bundle with this log's entry in place of whatever entries it had.
///
/// One kind of entry stays beside it: that of another log whose promise of inclusion is all that says
/// when a certificate was used.
pub(super) fn complete(
    stored: &[u8],
    logged: LoggedEntry,
    log_id: &[u8],
) -> Result<Value, ApiError> {
    let broken = || ApiError::Internal { what: "a stored bundle does not parse" };
    let mut bundle: Value = serde_json::from_slice(stored).map_err(|_| broken())?;
    let entry = log_entry(logged, log_id)?.to_value();
    // An entry of Rekor v2 has no promise, which the first version of bundles asks for.
    if bundle["mediaType"] == BUNDLE_0_1 {
        bundle["mediaType"] = BUNDLE_0_2.into();
    }
    let material = bundle.get_mut("verificationMaterial").ok_or_else(broken)?;
    let is_timed = material["publicKey"].is_object()
        || material["timestampVerificationData"]["rfc3161Timestamps"]
            .as_array()
            .is_some_and(|stamps| !stamps.is_empty());
    let others = material["tlogEntries"].as_array().into_iter().flatten();
    let gives_time = |other: &&Value| {
        !is_timed
            && other["inclusionPromise"].is_object()
            && other["inclusionProof"].is_object()
            && other["logId"] != entry["logId"]
    };
    let others: Vec<Value> = others.filter(gives_time).cloned().collect();
    material["tlogEntries"] = [entry].into_iter().chain(others).collect();
    Ok(bundle)
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
