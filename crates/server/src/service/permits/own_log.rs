//! The service's own log as a source of evidence: what is in the store, without a network.

use std::sync::Arc;

use sealwright_attest::{
    Bundle, BundleError, MAX_BUNDLE_SIZE, Timestamp, TrustError, TrustedRoot, predicate,
};
use sealwright_manifest::Sha256;
use sealwright_store::{Filter, NewEntry, Payload};
use sealwright_tlog::ConsistencyProof;
use tokio::runtime::Handle;

use super::super::access::Projects;
use super::super::bundles::complete;
use super::super::facts::certified;
use super::super::find::{describe, read};
use crate::client::{ErasedStatement, Found};
use crate::error::ApiError;
use crate::evidence::{EvidenceSource, Signers, SourceError};
use crate::state::{State, lock};

/// Statements that are read at a time.
const PAGE: u32 = 256;

pub(super) struct OwnLog {
    pub(super) state: Arc<State>,
    pub(super) runtime: Handle,
}

/// A statement of the log.
pub(super) struct Stored {
    pub(super) index: u64,
    pub(super) predicate_type: String,
    /// None if it was erased, or is a signature over a file.
    pub(super) bundle: Option<Bundle>,
    erased: Option<ErasedStatement>,
}

impl OwnLog {
    pub(super) fn trusted_root(&self) -> Result<(TrustedRoot, Sha256), TrustError> {
        let standing = self.state.standing.get();
        let json = standing.trusted_root_json.as_bytes();
        Ok((sealwright_sigstore::trusted_root(json)?, Sha256::of(json)))
    }

    pub(super) fn size(&self) -> Result<u64, ApiError> {
        Ok(lock(&self.state.store)?.size())
    }

    /// The first statements that the filter finds.
    pub(super) fn page(&self, filter: &Filter) -> Result<Vec<Stored>, ApiError> {
        let indexes = lock(&self.state.store)?.find(filter, PAGE)?;
        indexes.into_iter().map(|index| self.stored(index)).collect()
    }

    /// Appends an entry; returns when it is durable and published.
    pub(super) fn append(&self, entry: NewEntry) -> Result<u64, ApiError> {
        Ok(self.runtime.block_on(self.state.append(entry))?.index)
    }

    fn stored(&self, index: u64) -> Result<Stored, ApiError> {
        let (stored, logged) = read(&self.state, index, &Projects::all())?;
        let predicate_type = stored.predicate_type.clone();
        let Payload::Kept { bundle, .. } = &stored.payload else {
            let listed = serde_json::from_value(describe(&stored, &logged));
            let broken = |_| ApiError::Internal { what: "an erased statement cannot be named" };
            let erased = Some(listed.map_err(broken)?);
            return Ok(Stored { index, predicate_type, bundle: None, erased });
        };
        let value = complete(bundle, logged, &self.state.log_id)?;
        let bundle = match Bundle::from_value(value) {
            Ok(bundle) => Some(bundle),
            Err(BundleError::NoStatement) => None,
            Err(_) => return Err(ApiError::Internal { what: "a stored bundle does not parse" }),
        };
        Ok(Stored { index, predicate_type, bundle, erased: None })
    }

    /// All that the filter finds; an error if that is more than a client would take.
    fn find(&self, mut filter: Filter) -> Result<Found, SourceError> {
        let failed = |error: ApiError| SourceError::Answer { reason: error.to_string() };
        let mut found = Found::from(Vec::new());
        let mut size = 0_usize;
        loop {
            let page = self.page(&filter).map_err(failed)?;
            let Some(last) = page.last() else { return Ok(found) };
            filter.from = Some(last.index + 1);
            for stored in page {
                found.erased.extend(stored.erased);
                let Some(bundle) = stored.bundle else { continue };
                size = size.saturating_add(bundle.envelope().payload.len());
                found.bundles.push(bundle);
            }
            if size > MAX_BUNDLE_SIZE {
                let reason = format!("more than {MAX_BUNDLE_SIZE} bytes of statements");
                return Err(SourceError::Answer { reason });
            }
        }
    }
}

impl EvidenceSource for OwnLog {
    fn statements_about(&self, model: &Sha256) -> Result<Found, SourceError> {
        self.find(Filter {
            subject: Some(model.to_string()),
            except_type: Some(predicate::VERIFICATION_SUMMARY.to_owned()),
            ..Filter::default()
        })
    }

    fn statements_by(&self, predicate_type: &str, signers: &Signers) -> Result<Found, SourceError> {
        let certificates = signers.identities.iter();
        let certificates =
            certificates.map(|(subject, issuer)| certified(Some(subject), issuer.as_deref()));
        let mut all = Found::from(Vec::new());
        for signer in signers.keys.iter().cloned().chain(certificates) {
            all.append(self.find(Filter {
                predicate_type: Some(predicate_type.to_owned()),
                signer: Some(signer),
                ..Filter::default()
            })?);
        }
        Ok(all)
    }

    fn permits(
        &self,
        model: &Sha256,
        signer: &str,
        since: Timestamp,
    ) -> Result<Found, SourceError> {
        let failed = |error: ApiError| SourceError::Answer { reason: error.to_string() };
        let store = lock(&self.state.store).map_err(failed)?;
        let from = store.index_at(since.unix()).map_err(|error| failed(error.into()))?;
        drop(store);
        self.find(Filter {
            subject: Some(model.to_string()),
            predicate_type: Some(predicate::VERIFICATION_SUMMARY.to_owned()),
            signer: Some(signer.to_owned()),
            from: Some(from),
            ..Filter::default()
        })
    }

    fn checkpoint(&self) -> Result<Vec<u8>, SourceError> {
        let refreshed = self.runtime.block_on(self.state.sequencer.refresh());
        let note = refreshed.map_err(|error| SourceError::Answer { reason: error.to_string() })?;
        Ok(self.state.cosignatures.put_on(note))
    }

    fn consistency(&self, old_size: u64) -> Result<ConsistencyProof, SourceError> {
        let failed = |error: ApiError| SourceError::Answer { reason: error.to_string() };
        let store = lock(&self.state.store).map_err(failed)?;
        store.consistency(old_size).map_err(|error| failed(error.into()))
    }
}
