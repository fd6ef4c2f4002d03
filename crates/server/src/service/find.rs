//! Finding statements: by subject, type, signer, project and time, in pages; and one by its index.

use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State as Shared};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use sealwright_attest::Timestamp;
use sealwright_manifest::Sha256;
use sealwright_store::{Filter, LoggedEntry, Payload, Store, StoredStatement};

use super::access::{Credentials, Projects};
use super::bundles::{JSON, complete, logged};
use super::facts::{SignerName, certified, check_digest, subjects_of};
use crate::error::ApiError;
use crate::state::{State, lock};

/// A page of bundles ends after this many bytes of them; one bundle more may fit on it.
const PAGE_SIZE: usize = 8 << 20;

/// Most statements of a page.
const PAGE_COUNT: u32 = 1000;

/// Statements of a page of their own, if nobody says how many.
const DEFAULT_COUNT: u32 = 100;

/// What is asked for: statements to which all of this applies.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct FindQuery {
    /// SHA-256 of a subject, with or without `sha256:` before it.
    subject: Option<String>,
    predicate_type: Option<String>,
    /// Not of this type: verdicts are many, and no evidence.
    except_type: Option<String>,
    /// A key's id, with or without `sha256:` before it.
    signer: Option<String>,
    /// A certificate's subject alternative name.
    identity: Option<String>,
    /// The OIDC issuer that a certificate names.
    issuer: Option<String>,
    project: Option<String>,
    /// Logged at this time (RFC 3339) or later, by the log-signed time.
    since: Option<String>,
    /// Logged before this time.
    until: Option<String>,
    /// The cursor: `next` of the page before.
    #[serde(default)]
    from: u64,
    /// Most statements of the page.
    limit: Option<u32>,
}

/// `GET /api/v1/bundles`: the bundles, completed, in log order. An answer that would grow too large has
/// `next`; `&from=<next>` continues. Of what was erased it says so.
pub(super) async fn bundles(
    Shared(state): Shared<Arc<State>>,
    query: Result<Query<FindQuery>, QueryRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    page(state, query, request, bundle_page).await
}

/// `GET /api/v1/statements`: what is known of the statements, without the bundles.
pub(super) async fn statements(
    Shared(state): Shared<Arc<State>>,
    query: Result<Query<FindQuery>, QueryRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    page(state, query, request, statement_page).await
}

/// A page of what whoever asks may read.
async fn page(
    state: Arc<State>,
    query: Result<Query<FindQuery>, QueryRejection>,
    request: Request,
    make: fn(&State, &FindQuery, &Projects) -> Result<Value, ApiError>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|rejection| query_error(&rejection))?;
    let readable = state.readable(Credentials::of(&request.into_parts().0)).await?;
    let shared = Arc::clone(&state);
    let answer = state.compute(move || make(&shared, &query, &readable)).await?;
    Ok((JSON, answer.to_string()).into_response())
}

/// `GET /api/v1/bundles/{index}`: one bundle, completed, as a file.
pub(super) async fn bundle(
    Shared(state): Shared<Arc<State>>,
    index: Result<Path<u64>, PathRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let Path(index) = index.map_err(|_| ApiError::NotFound)?;
    let head = request.into_parts().0;
    let readable = state.readable(Credentials::of(&head)).await?;
    let shared = Arc::clone(&state);
    let read = state.compute(move || {
        let (stored, logged) = read(&shared, index, &readable)?;
        complete(&kept(stored)?, logged, &shared.log_id)
    });
    file(&read.await?, index, "", &head.headers)
}

/// `GET /api/v1/bundles/{index}/original`: the bundle with the log entries that it came with. What other
/// logs said of it can be verified against their trusted roots.
pub(super) async fn original(
    Shared(state): Shared<Arc<State>>,
    index: Result<Path<u64>, PathRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let Path(index) = index.map_err(|_| ApiError::NotFound)?;
    let head = request.into_parts().0;
    let readable = state.readable(Credentials::of(&head)).await?;
    let shared = Arc::clone(&state);
    let read = state.compute(move || {
        let (stored, _) = read(&shared, index, &readable)?;
        serde_json::from_slice(&kept(stored)?)
            .map_err(|_| ApiError::Internal { what: "a stored bundle does not parse" })
    });
    file(&read.await?, index, ".original", &head.headers)
}

/// What a query string has that no route takes.
pub(super) fn query_error(rejection: &QueryRejection) -> ApiError {
    ApiError::Query { message: rejection.body_text() }
}

impl FindQuery {
    /// What the store is asked. Times are those of the entries' first checkpoints.
    pub(super) fn filter(&self, store: &Store) -> Result<Filter, ApiError> {
        let subject =
            self.subject.as_deref().map(|text| text.strip_prefix("sha256:").unwrap_or(text));
        subject.map(check_digest).transpose()?;
        let signer = match (&self.signer, &self.identity, &self.issuer) {
            (None, None, None) => None,
            (Some(key), None, None) => Some(key.strip_prefix("sha256:").unwrap_or(key).to_owned()),
            (None, identity, issuer) => Some(certified(identity.as_deref(), issuer.as_deref())),
            _ => return Err(bad("give either signer, or identity and issuer")),
        };
        let from = match &self.since {
            Some(since) => store.index_at(seconds(since)?)?.max(self.from),
            None => self.from,
        };
        let until = match &self.until {
            Some(until) => Some(store.index_at(seconds(until)?)?),
            None => None,
        };
        Ok(Filter {
            subject: subject.map(str::to_owned),
            predicate_type: self.predicate_type.clone(),
            except_type: self.except_type.clone(),
            signer,
            project: self.project.clone(),
            envelope_sha256: None,
            from: Some(from),
            until,
        })
    }

    /// The indexes of a page, and where to go on.
    fn page(
        &self,
        state: &State,
        readable: &Projects,
        default: u32,
    ) -> Result<(Vec<u64>, Option<u64>), ApiError> {
        let limit = self.limit.unwrap_or(default);
        if !(1..=PAGE_COUNT).contains(&limit) {
            return Err(bad(&format!("limit is from 1 to {PAGE_COUNT}")));
        }
        let store = lock(&state.store)?;
        // One more than the page has, to know whether it is the last.
        let mut found = find_readable(&store, &self.filter(&store)?, readable, limit + 1)?;
        let is_more = u32::try_from(found.len()).is_ok_and(|count| count > limit);
        let next = if is_more { found.pop() } else { None };
        Ok((found, next))
    }
}

fn bundle_page(state: &State, query: &FindQuery, readable: &Projects) -> Result<Value, ApiError> {
    let (found, mut next) = query.page(state, readable, PAGE_COUNT)?;
    let (mut bundles, mut erased) = (Vec::new(), Vec::new());
    let mut size = 0_usize;
    for index in found {
        if size >= PAGE_SIZE {
            next = Some(index);
            break;
        }
        // Locked anew for each, so that a long page does not hold up who appends; and read one by
        // one, since all of them together may be more than fits into memory.
        let (stored, logged) = read(state, index, readable)?;
        let Payload::Kept { bundle, .. } = &stored.payload else {
            erased.push(describe(&stored, &logged));
            continue;
        };
        size = size.saturating_add(bundle.len());
        bundles.push(complete(bundle, logged, &state.log_id)?);
    }
    let mut answer = json!({
        "bundles": bundles,
        "erased": erased,
        "complete": readable.is_all(),
    });
    let named = [("subject", &query.subject), ("predicateType", &query.predicate_type)];
    for (name, value) in named {
        if let Some(value) = value {
            answer[name] = value.as_str().into();
        }
    }
    if let Some(next) = next {
        answer["next"] = next.into();
    }
    Ok(answer)
}

fn statement_page(
    state: &State,
    query: &FindQuery,
    readable: &Projects,
) -> Result<Value, ApiError> {
    let (found, mut next) = query.page(state, readable, DEFAULT_COUNT)?;
    let mut statements = Vec::new();
    let mut size = 0_usize;
    for index in found {
        if size >= PAGE_SIZE {
            next = Some(index);
            break;
        }
        let (stored, logged) = read(state, index, readable)?;
        if let Payload::Kept { bundle, .. } = &stored.payload {
            size = size.saturating_add(bundle.len());
        }
        statements.push(describe(&stored, &logged));
    }
    let mut answer = json!({"statements": statements, "complete": readable.is_all()});
    if let Some(next) = next {
        answer["next"] = next.into();
    }
    Ok(answer)
}

/// What is known of a statement beside its bundle.
pub(super) fn describe(stored: &StoredStatement, logged: &LoggedEntry) -> Value {
    let time = |seconds| Timestamp::from_unix(seconds).ok();
    let mut value = json!({
        "index": stored.index,
        "digest": stored.envelope_sha256,
        "predicateType": stored.predicate_type,
        "project": stored.project,
        "retention": stored.retention,
        "loggedAt": logged.checkpoint.cosigned_at().and_then(time),
    });
    match &stored.payload {
        Payload::Kept { bundle, public_key_pem } => {
            value["subjects"] = subjects_of(bundle).into();
            value["signer"] = SignerName::of(public_key_pem).to_value();
            value["size"] = bundle.len().into();
        }
        Payload::Erased { at } => {
            value["erasedAt"] = json!(time(*at));
            if let Some(signer) = SignerName::of_entry(&logged.body) {
                value["signer"] = signer.to_value();
            }
        }
    }
    value
}

/// A statement and its entry. One in a project that may not be read looks as one that is not there.
pub(super) fn read(
    state: &State,
    index: u64,
    readable: &Projects,
) -> Result<(StoredStatement, LoggedEntry), ApiError> {
    let store = lock(&state.store)?;
    let stored = store.statement(index)?.filter(|stored| readable.contains(&stored.project));
    let stored = stored.ok_or(ApiError::NotFound)?;
    let logged = logged(&store, index)?;
    Ok((stored, logged))
}

/// Indexes of statements in projects that may be read. One project that may not be read looks as one
/// that is not there.
pub(super) fn find_readable(
    store: &Store,
    filter: &Filter,
    readable: &Projects,
    limit: u32,
) -> Result<Vec<u64>, ApiError> {
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

/// The bundle of a statement that was not erased.
pub(super) fn kept(stored: StoredStatement) -> Result<Vec<u8>, ApiError> {
    match stored.payload {
        Payload::Kept { bundle, .. } => Ok(bundle),
        Payload::Erased { at } => Err(ApiError::Erased { index: stored.index, at }),
    }
}

/// A bundle as a file to save. Whoever saved it can ask whether it is still there.
fn file(
    bundle: &Value,
    index: u64,
    suffix: &str,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let body = bundle.to_string();
    let tag = format!("\"{}\"", Sha256::of(body.as_bytes()));
    let media_type = bundle["mediaType"].as_str().unwrap_or("application/json");
    let is_known = headers.get_all(header::IF_NONE_MATCH).iter().any(|value| {
        let value = value.to_str().unwrap_or_default();
        value.split(',').any(|known| {
            matches!(known.trim(), "*") || known.trim().trim_start_matches("W/") == tag
        })
    });
    let broken = |_| ApiError::Internal { what: "a stored bundle has an impossible media type" };
    let mut response = match is_known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => body.into_response(),
    };
    let name = format!("attachment; filename=\"entry-{index}{suffix}.sigstore.json\"");
    let answer = response.headers_mut();
    answer.insert(header::CONTENT_TYPE, HeaderValue::try_from(media_type).map_err(broken)?);
    answer.insert(header::CONTENT_DISPOSITION, HeaderValue::try_from(name).map_err(broken)?);
    answer.insert(header::ETAG, HeaderValue::try_from(tag).map_err(broken)?);
    Ok(response)
}

fn seconds(text: &str) -> Result<u64, ApiError> {
    let time = Timestamp::parse(text).map_err(|_| {
        bad(&format!("{:?} is not a time (RFC 3339)", text.chars().take(40).collect::<String>()))
    })?;
    Ok(time.unix())
}

fn bad(message: &str) -> ApiError {
    ApiError::Query { message: message.to_owned() }
}
