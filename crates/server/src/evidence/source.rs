//! Where evidence comes from: a trait, so that deciding needs no sockets, and the attestation
//! service behind it.

use std::collections::BTreeSet;
use std::error::Error as _;

use sealwright_attest::predicate;
use sealwright_manifest::Sha256;
use sealwright_tlog::ConsistencyProof;

use crate::client::{ClientError, Found, ServiceClient, StatementQuery};

/// Where statements and checkpoints come from. Nothing that comes is believed unverified. Calls
/// block; each returns in bounded time.
pub trait EvidenceSource: Send + Sync {
    /// Every statement about this model digest: by a subject, or by its OMS resources. Those that were
    /// erased are named: what they said nobody knows any more, and it may have been a no.
    ///
    /// # Errors
    /// [`SourceError`]; an empty list only says that there is nothing.
    fn statements_about(&self, model: &Sha256) -> Result<Found, SourceError>;

    /// Every revocation by the keys with these ids, whatever it is about: one of a signer reaches all
    /// models. Others need not be given: strangers' count for nothing, and may be as many as they like.
    ///
    /// # Errors
    /// [`SourceError`]; an empty list only says that there is nothing.
    fn revocations(&self, signers: &BTreeSet<String>) -> Result<Found, SourceError>;

    /// Every statement about a policy by the keys with these ids.
    ///
    /// # Errors
    /// [`SourceError`]; a source that cannot be asked this cannot tell of newer policies.
    fn policies(&self, signers: &BTreeSet<String>) -> Result<Found, SourceError> {
        let _ = signers;
        let reason = "it cannot be asked for policies".to_owned();
        Err(SourceError::Unreachable { reason })
    }

    /// The log's newest checkpoint, a signed note.
    ///
    /// # Errors
    /// [`SourceError`].
    fn checkpoint(&self) -> Result<Vec<u8>, SourceError>;

    /// Proof that the log's current tree continues the one of `old_size` leaves.
    ///
    /// # Errors
    /// [`SourceError`].
    fn consistency(&self, old_size: u64) -> Result<ConsistencyProof, SourceError>;
}

/// Why the service gave no answer that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// No connection, or none in time.
    #[error("the attestation service cannot be reached: {reason}")]
    Unreachable {
        /// What the network said.
        reason: String,
    },
    /// An answer with an error status, or one that is not well-formed.
    #[error("the attestation service's answer cannot be used: {reason}")]
    Answer {
        /// What is wrong with it.
        reason: String,
    },
}

impl EvidenceSource for ServiceClient {
    fn statements_about(&self, model: &Sha256) -> Result<Found, SourceError> {
        let subject = Some(model.to_string());
        Ok(self.find(&StatementQuery { subject, ..StatementQuery::default() })?)
    }

    fn revocations(&self, signers: &BTreeSet<String>) -> Result<Found, SourceError> {
        of_type_by(self, predicate::REVOCATION, signers)
    }

    fn policies(&self, signers: &BTreeSet<String>) -> Result<Found, SourceError> {
        of_type_by(self, predicate::POLICY, signers)
    }

    fn checkpoint(&self) -> Result<Vec<u8>, SourceError> {
        Ok(self.checkpoint()?)
    }

    fn consistency(&self, old_size: u64) -> Result<ConsistencyProof, SourceError> {
        Ok(self.consistency(old_size)?.proof)
    }
}

fn of_type_by(
    client: &ServiceClient,
    predicate_type: &str,
    signers: &BTreeSet<String>,
) -> Result<Found, SourceError> {
    let mut all = Found::from(Vec::new());
    for signer in signers {
        let found = client.find(&StatementQuery {
            predicate_type: Some(predicate_type.to_owned()),
            signer: Some(signer.clone()),
            ..StatementQuery::default()
        })?;
        all.bundles.extend(found.bundles);
        all.erased.extend(found.erased);
        all.complete &= found.complete;
    }
    Ok(all)
}

impl From<ClientError> for SourceError {
    fn from(error: ClientError) -> Self {
        let reason = match error.source() {
            Some(cause) if !error.to_string().contains(&cause.to_string()) => {
                format!("{error}: {cause}")
            }
            _ => error.to_string(),
        };
        match error {
            ClientError::Unreachable { .. } => SourceError::Unreachable { reason },
            _ => SourceError::Answer { reason },
        }
    }
}
