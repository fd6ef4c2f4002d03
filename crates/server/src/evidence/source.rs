//! Where evidence comes from: a trait, so that deciding needs no sockets, and the attestation
//! service behind it.

use std::collections::BTreeSet;
use std::error::Error as _;

use sealwright_attest::{Timestamp, predicate};
use sealwright_manifest::Sha256;
use sealwright_tlog::ConsistencyProof;

use crate::client::{ClientError, Found, ServiceClient, StatementQuery};

/// Where statements and checkpoints come from. Nothing that comes is believed unverified. Calls
/// block; each returns in bounded time.
pub trait EvidenceSource: Send + Sync {
    /// Every statement about this model digest: by a subject, or by its OMS resources. Those that were
    /// erased are named: what they said nobody knows any more, and it may have been a no. Verdicts
    /// (verification summaries) need not be given.
    ///
    /// # Errors
    /// [`SourceError`]; an empty list only says that there is nothing.
    fn statements_about(&self, model: &Sha256) -> Result<Found, SourceError>;

    /// Every statement of this type by these signers, whatever it is about: a revocation of a signer
    /// reaches all models. Others' need not be given: strangers' count for nothing, and may be as many as
    /// they like.
    ///
    /// # Errors
    /// [`SourceError`]; an empty list only says that there is nothing.
    fn statements_by(&self, predicate_type: &str, signers: &Signers) -> Result<Found, SourceError>;

    /// The verdicts (verification summaries) about this model digest by the key with this id that were
    /// logged at `since` or later, in log order. A source that knows of none has no permits.
    ///
    /// # Errors
    /// [`SourceError`]; an empty list only says that there is nothing.
    fn permits(
        &self,
        _model: &Sha256,
        _signer: &str,
        _since: Timestamp,
    ) -> Result<Found, SourceError> {
        Ok(Vec::new().into())
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

/// Who may have signed what is asked for: any of these.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signers {
    /// Ids of keys.
    pub keys: BTreeSet<String>,
    /// Subjects of certificates, with the OIDC issuer; any issuer if there is none.
    pub identities: BTreeSet<(String, Option<String>)>,
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
        Ok(self.find(&StatementQuery {
            subject: Some(model.to_string()),
            except_type: Some(predicate::VERIFICATION_SUMMARY.to_owned()),
            ..StatementQuery::default()
        })?)
    }

    fn statements_by(&self, predicate_type: &str, signers: &Signers) -> Result<Found, SourceError> {
        let of_type = StatementQuery {
            predicate_type: Some(predicate_type.to_owned()),
            ..StatementQuery::default()
        };
        let by_key = signers
            .keys
            .iter()
            .map(|key| StatementQuery { signer: Some(key.clone()), ..of_type.clone() });
        let certified = signers.identities.iter().map(|(subject, issuer)| StatementQuery {
            identity: Some(subject.clone()),
            issuer: issuer.clone(),
            ..of_type.clone()
        });
        let mut all = Found::from(Vec::new());
        for query in by_key.chain(certified) {
            all.append(self.find(&query)?);
        }
        Ok(all)
    }

    fn permits(
        &self,
        model: &Sha256,
        signer: &str,
        since: Timestamp,
    ) -> Result<Found, SourceError> {
        Ok(self.find(&StatementQuery {
            subject: Some(model.to_string()),
            predicate_type: Some(predicate::VERIFICATION_SUMMARY.to_owned()),
            signer: Some(signer.to_owned()),
            since: Some(since.to_string()),
            ..StatementQuery::default()
        })?)
    }

    fn checkpoint(&self) -> Result<Vec<u8>, SourceError> {
        Ok(self.checkpoint()?)
    }

    fn consistency(&self, old_size: u64) -> Result<ConsistencyProof, SourceError> {
        Ok(self.consistency(old_size)?.proof)
    }
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
