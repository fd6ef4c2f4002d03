//! The owners: several people, of whom some number must sign before a statement of theirs counts.
//!
//! Role bindings and policies decide who may say yes. Whoever could change them alone could say yes
//! alone, so they count only with the signatures of `required` different owners over the very same
//! bytes. An owner is one key here: one who signs twice, or whose ECDSA signature somebody turned into
//! its twin, is one owner all the same.

use std::collections::BTreeSet;

use sealwright_manifest::Sha256;

use crate::bundle::{Bundle, VerificationMaterial};
use crate::key::PublicKey;
use crate::statement::Statement;
use crate::time::Timestamp;
use crate::trust::TrustedRoot;
use crate::verify::{LogProof, Signed, VerifyError, check_signature};

/// Most owners, and so most signatures of one statement.
pub const MAX_OWNERS: usize = 64;

/// The owners' keys, and how many of them must sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owners {
    keys: Vec<PublicKey>,
    required: usize,
}

/// A statement that enough owners signed.
///
/// The only maker is [`Owners::verify`].
#[derive(Debug, Clone)]
pub struct OwnerSigned {
    statement: Statement,
    digest: Sha256,
    signers: Vec<String>,
    logged: Vec<LogProof>,
}

/// Why there are no such owners, or why they did not sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OwnersError {
    /// No key, or more than [`MAX_OWNERS`].
    #[error("there must be 1 to {MAX_OWNERS} owners' keys, not {found}")]
    Count {
        /// How many were given.
        found: usize,
    },
    /// Nobody, or more owners than there are, would have to sign.
    #[error("{required} of {owners} owners cannot be required to sign")]
    Required {
        /// How many should.
        required: usize,
        /// How many there are.
        owners: usize,
    },
    /// One key stands for two owners: one person could then pass for two.
    #[error("the key {key_id} was given for two owners")]
    SharedKey {
        /// [`PublicKey::id`].
        key_id: String,
    },
    /// A bundle has another payload than the first one.
    #[error("signature {number} is over another statement than the first one")]
    OtherStatement {
        /// Place of the bundle, from 1.
        number: usize,
    },
    /// A bundle names a key, or was signed with one, that is no owner's.
    #[error("signature {number} is not an owner's: it is signed by key {found:?}")]
    NotOwner {
        /// Place of the bundle, from 1.
        number: usize,
        /// What the bundle says of its key.
        found: String,
    },
    /// Two bundles are by one owner.
    #[error("signature {number} is by an owner who has signed already: key {key_id}")]
    Twice {
        /// Place of the bundle, from 1.
        number: usize,
        /// The owner's key.
        key_id: String,
    },
    /// A bundle does not verify, or is not logged where it must be.
    #[error("signature {number}: {source}")]
    Signature {
        /// Place of the bundle, from 1.
        number: usize,
        /// What is wrong.
        source: VerifyError,
    },
    /// All signatures are right, and there are too few of them.
    #[error("signed by {found} of the owners, and {required} must sign")]
    TooFew {
        /// How many signed.
        found: usize,
        /// How many must.
        required: usize,
    },
}

impl Owners {
    /// Owners by their keys, of whom at least `required` must sign.
    ///
    /// # Errors
    /// [`OwnersError::Count`], [`OwnersError::Required`], [`OwnersError::SharedKey`].
    pub fn new(keys: Vec<PublicKey>, required: usize) -> Result<Self, OwnersError> {
        if keys.is_empty() || keys.len() > MAX_OWNERS {
            return Err(OwnersError::Count { found: keys.len() });
        }
        if required == 0 || required > keys.len() {
            return Err(OwnersError::Required { required, owners: keys.len() });
        }
        let mut ids = BTreeSet::new();
        if let Some(twin) = keys.iter().find(|key| !ids.insert(key.id())) {
            return Err(OwnersError::SharedKey { key_id: twin.id() });
        }
        Ok(Self { keys, required })
    }

    /// The owners' keys.
    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    /// How many owners must sign.
    pub fn required(&self) -> usize {
        self.required
    }

    /// Checks that `bundles` are one statement, signed by at least [`Owners::required`] owners: all carry
    /// the same payload, byte for byte, and each is another owner's. With `root`, each must be logged as
    /// well. One bundle that is not so spoils all: nothing is passed over.
    ///
    /// # Errors
    /// [`OwnersError`].
    pub fn verify(
        &self,
        bundles: &[Bundle],
        root: Option<&TrustedRoot>,
    ) -> Result<OwnerSigned, OwnersError> {
        let too_few = |found| OwnersError::TooFew { found, required: self.required };
        let (mut first, mut signers, mut logged) = (None::<Signed>, Vec::new(), Vec::new());
        for (number, bundle) in (1..).zip(bundles) {
            let signed = self.signature(bundle, number)?;
            let key_id = signed.key().id();
            if first.as_ref().is_some_and(|first| first.digest() != signed.digest()) {
                return Err(OwnersError::OtherStatement { number });
            }
            if signers.contains(&key_id) {
                return Err(OwnersError::Twice { number, key_id });
            }
            signers.push(key_id);
            if let Some(root) = root {
                let proof = signed.check_log(bundle, root);
                logged.push(proof.map_err(|source| OwnersError::Signature { number, source })?);
            }
            first.get_or_insert(signed);
        }
        let first = first.ok_or_else(|| too_few(0))?;
        if signers.len() < self.required {
            return Err(too_few(signers.len()));
        }
        let digest = first.digest();
        Ok(OwnerSigned { statement: first.into_statement(), digest, signers, logged })
    }

    /// The owner's signature in a bundle, on its own.
    ///
    /// # Errors
    /// [`OwnersError::NotOwner`], [`OwnersError::Signature`]; `number` is only for the message.
    pub fn signature(&self, bundle: &Bundle, number: usize) -> Result<Signed, OwnersError> {
        let invalid = |source| OwnersError::Signature { number, source };
        let VerificationMaterial::PublicKey { hint } = bundle.material() else {
            return Err(invalid(VerifyError::NotKeySigned));
        };
        let not_owner = || OwnersError::NotOwner { number, found: hint.clone() };
        if hint.is_empty() {
            // Without a hint the signature decides.
            let valid = |key: &PublicKey| {
                key.verifies(&bundle.envelope().pae(), &bundle.envelope().signature)
            };
            let key = self.keys.iter().find(|key| valid(key)).ok_or_else(not_owner)?;
            return check_signature(bundle, key).map_err(invalid);
        }
        let key = self.keys.iter().find(|key| key.id() == *hint).ok_or_else(not_owner)?;
        check_signature(bundle, key).map_err(invalid)
    }
}

impl OwnerSigned {
    /// What was signed.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// Names the statement: [`crate::Envelope::digest`].
    pub fn digest(&self) -> Sha256 {
        self.digest
    }

    /// [`PublicKey::id`] of each owner who signed, in the order of the bundles.
    pub fn signers(&self) -> &[String] {
        &self.signers
    }

    /// Where each signature was logged; empty if no trusted root was given.
    pub fn logged(&self) -> &[LogProof] {
        &self.logged
    }

    /// The latest log-signed time of the signatures: at this time or before, all of them were logged.
    /// None without a trusted root.
    pub fn time(&self) -> Option<Timestamp> {
        self.logged.iter().map(LogProof::time).max()
    }
}
