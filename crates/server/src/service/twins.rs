//! One act of signing is one statement.
//!
//! Anybody can turn an ECDSA signature (r, s) into (r, n - s), which is as valid and makes another entry.
//! What was erased would come back that way, and would look as if it had been said today.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use sealwright_attest::signature_r;
use sealwright_store::{Filter, Payload, Store};

use super::facts::Facts;
use crate::error::ApiError;
use crate::state::{State, lock};

/// Entries looked at while the store is locked.
const PAGE: u32 = 100;

/// Refuses a statement that was submitted before with the other form of its signature. `body` is its
/// entry. The very same entry is none of its own twins.
pub(super) fn refuse(state: &State, body: &[u8], facts: &Facts) -> Result<(), ApiError> {
    let Some(own) = signing(body) else { return Ok(()) };
    // It is the same for a twin, and stays when a statement is erased. Whatever else they have in
    // common, others have too: a webhook's verdicts about one model are as many as its pods.
    let digest = Some(facts.digest.clone());
    let mut filter = Filter { envelope_sha256: digest, ..Filter::default() };
    loop {
        let store = lock(&state.store)?;
        let found = store.find(&filter, PAGE)?;
        let Some(last) = found.last() else { return Ok(()) };
        filter.from = Some(last.saturating_add(1));
        for index in found {
            let logged = super::bundles::logged(&store, index)?;
            if logged.body != body && signing(&logged.body).as_ref() == Some(&own) {
                return Err(refusal(&store, index)?);
            }
        }
    }
}

/// What was signed and the `r` of the signature, by the entry.
fn signing(body: &[u8]) -> Option<(String, Vec<u8>)> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let record = body.pointer("/spec/hashedRekordV002")?;
    let digest = record.pointer("/data/digest")?.as_str()?.to_owned();
    let signature = STANDARD.decode(record.pointer("/signature/content")?.as_str()?).ok()?;
    Some((digest, signature_r(&signature)?))
}

fn refusal(store: &Store, index: u64) -> Result<ApiError, ApiError> {
    Ok(match store.statement(index)?.map(|statement| statement.payload) {
        Some(Payload::Erased { at }) => ApiError::Erased { index, at },
        _ => ApiError::Twin { index },
    })
}
