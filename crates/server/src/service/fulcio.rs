//! Fulcio's API: an ID token and a key become a certificate.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State as Shared};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use sealwright_attest::{Timestamp, from_value, parse_strict};
use sealwright_authority::{
    CERTIFICATE_LIFETIME_S, IssueRequest, ProofError, ProvenKey, SubjectKey, VerifiedIdentity,
    certificate_pem,
};

use super::bundles::declared_length;
use crate::error::ApiError;
use crate::state::{State, now};

/// Token, certificate request, and what JSON adds.
const MAX_REQUEST: usize = 128 << 10;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SigningCertRequest {
    #[serde(default)]
    credentials: Option<Credentials>,
    #[serde(default, alias = "certificate_signing_request")]
    certificate_signing_request: Option<String>,
    #[serde(default, alias = "public_key_request")]
    public_key_request: Option<PublicKeyRequest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Credentials {
    #[serde(alias = "oidc_identity_token")]
    oidc_identity_token: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PublicKeyRequest {
    #[serde(alias = "public_key")]
    public_key: PublicKey,
    #[serde(alias = "proof_of_possession")]
    proof_of_possession: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PublicKey {
    /// A hint that the key itself makes superfluous.
    #[serde(default, rename = "algorithm")]
    _algorithm: Option<Value>,
    content: String,
}

/// `POST /api/v2/signingCert`: 200 with `signedCertificateEmbeddedSct`.
pub(super) async fn signing_certificate(
    Shared(state): Shared<Arc<State>>,
    request: Request,
) -> Result<Response, ApiError> {
    state.issuers()?;
    let declared = declared_length(request.headers(), MAX_REQUEST)?;
    let bearer = bearer(request.headers())?;
    let (body, room) = state.receive(request, declared).await?;
    let mut request: SigningCertRequest = from_value(parse_strict(&body, MAX_REQUEST)?)
        .map_err(|error| ApiError::Shape { message: error.to_string() })?;
    drop(room);
    let in_body = request.credentials.take().map(|credentials| credentials.oidc_identity_token);
    let token = in_body.or(bearer).ok_or(ApiError::NoToken)?;
    let identity = identify(&state, token).await?;
    let shared = Arc::clone(&state);
    let answer = state.compute(move || issue(&shared, request, &identity)).await?;
    Ok(Json(answer).into_response())
}

/// Who the token names; waits for the issuer's keys only if they are not at hand.
async fn identify(state: &Arc<State>, token: String) -> Result<VerifiedIdentity, ApiError> {
    let ask = |may_fetch| {
        let (shared, token) = (Arc::clone(state), token.clone());
        move || Ok(shared.issuers()?.identify(&token, now(), may_fetch)?)
    };
    if let Some(identity) = state.compute(ask(false)).await? {
        return Ok(identity);
    }
    let identity = state.wait(ask(true)).await?;
    identity.ok_or(ApiError::Internal { what: "keys were fetched, and are not there" })
}

fn issue(
    state: &State,
    request: SigningCertRequest,
    identity: &VerifiedIdentity,
) -> Result<Value, ApiError> {
    let key = match (request.certificate_signing_request, request.public_key_request) {
        (Some(encoded), None) => {
            let pem = text_of(&encoded).ok_or(ProofError::MalformedRequest)?;
            ProvenKey::by_request(&pem)?
        }
        (None, Some(request)) => by_challenge(&request, identity)?,
        _ => {
            let message = "expected certificateSigningRequest or publicKeyRequest".to_owned();
            return Err(ApiError::Shape { message });
        }
    };
    let time = Timestamp::from_unix(now())
        .map_err(|_| ApiError::Internal { what: "the clock is outside of all calendars" })?;
    let request =
        IssueRequest { identity, key: &key, now: time, lifetime_s: CERTIFICATE_LIFETIME_S };
    let issued = state.authorities()?.ca.issue(&request)?;
    tracing::info!(
        target: "audit",
        subject = identity.subject().as_str(),
        issuer = identity.issuer(),
        "issued a certificate"
    );
    Ok(json!({
        "signedCertificateEmbeddedSct": {"chain": {"certificates": issued.chain_pem()}},
    }))
}

fn by_challenge(
    request: &PublicKeyRequest,
    identity: &VerifiedIdentity,
) -> Result<ProvenKey, ApiError> {
    let key = SubjectKey::from_pem(&request.public_key.content)
        .map_err(|error| ApiError::Proof(error.into()))?;
    let signature =
        STANDARD.decode(&request.proof_of_possession).map_err(|_| ProofError::Signature)?;
    Ok(ProvenKey::by_challenge(key, identity, &signature)?)
}

/// Base64 of a text.
fn text_of(encoded: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(encoded).ok()?).ok()
}

/// The token in the header, where sigstore-python has it.
fn bearer(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let value = value.to_str().map_err(|_| ApiError::NoToken)?;
    let (scheme, token) = value.split_once(' ').ok_or(ApiError::NoToken)?;
    let is_bearer = scheme.eq_ignore_ascii_case("bearer");
    is_bearer.then(|| Some(token.trim().to_owned())).ok_or(ApiError::NoToken)
}

/// `GET /api/v2/trustBundle`.
pub(super) async fn trust_bundle(
    Shared(state): Shared<Arc<State>>,
) -> Result<Json<Value>, ApiError> {
    let chain: Vec<String> = state.authorities()?.ca.chain().map(certificate_pem).collect();
    Ok(Json(json!({"chains": [{"certificates": chain}]})))
}

/// `GET /api/v1/rootCert`: the same in PEM.
pub(super) async fn root_certificate(
    Shared(state): Shared<Arc<State>>,
) -> Result<Response, ApiError> {
    let chain: String = state.authorities()?.ca.chain().map(certificate_pem).collect();
    let headers = [(header::CONTENT_TYPE, "application/pem-certificate-chain")];
    Ok((headers, chain).into_response())
}

/// `GET /api/v2/configuration`: whose tokens are taken.
pub(super) async fn configuration(
    Shared(state): Shared<Arc<State>>,
) -> Result<Json<Value>, ApiError> {
    let issuers = state.issuers();
    Ok(Json(issuers.map_or_else(|_| json!({"issuers": []}), |issuers| issuers.configuration())))
}
