//! What owners have signed, and a log holds.

use std::collections::{BTreeMap, BTreeSet};

use sealwright_attest::{
    Bundle, LogProof, Owners, OwnersError, TrustedRoot, VerificationMaterial, VerifyError,
    check_log_entries, hashedrekord_body,
};

/// Signatures of different owners over one payload.
#[derive(Default)]
pub(super) struct Group {
    pub(super) bundles: Vec<Bundle>,
    signers: BTreeSet<String>,
    /// Owners signed it, and it is not well-formed as far as this program can tell.
    pub(super) unreadable: bool,
    /// Of the last signature.
    pub(super) last_entry: u64,
}

impl Group {
    /// Whether as many owners signed as must.
    pub(super) fn is_whole(&self, owners: &Owners) -> bool {
        self.signers.len() >= owners.required()
    }
}

/// The owners' signatures that count, by what they are over: logged, and once for each owner, since the same
/// may be logged again as its twin. Strangers' are passed over. Of statements that cannot be read, those
/// of `predicate_type` are kept.
pub(super) fn groups(
    bundles: Vec<Bundle>,
    predicate_type: &str,
    owners: &Owners,
    root: &TrustedRoot,
) -> Vec<Group> {
    let mut groups = BTreeMap::<[u8; 32], Group>::new();
    for bundle in bundles {
        let (signer, proof, unreadable) = match owners.signature(&bundle, 1) {
            Ok(signed) => {
                let Ok(proof) = signed.check_log(&bundle, root) else { continue };
                (signed.key().id(), proof, false)
            }
            // The signature holds, and what it is over is nothing that we know.
            Err(OwnersError::Signature { source: VerifyError::Schema(problem), .. })
                if problem.predicate_type == predicate_type =>
            {
                let Some((signer, proof)) = logged(&bundle, owners, root) else { continue };
                (signer, proof, true)
            }
            Err(_) => continue,
        };
        let group = groups.entry(*bundle.envelope().digest().as_bytes()).or_default();
        if group.signers.insert(signer) {
            group.unreadable |= unreadable;
            group.last_entry = group.last_entry.max(proof.index());
            group.bundles.push(bundle);
        }
    }
    groups.into_values().collect()
}

/// Who signed what cannot be read, and where it was logged. The service names every key; what it does not
/// name could count twice.
fn logged(bundle: &Bundle, owners: &Owners, root: &TrustedRoot) -> Option<(String, LogProof)> {
    let VerificationMaterial::PublicKey { hint } = bundle.material() else { return None };
    let key = owners.keys().iter().find(|key| key.id() == *hint)?;
    let body = hashedrekord_body(bundle.envelope(), key);
    let proof = check_log_entries(bundle.log_entries(), &body, root).ok()?;
    Some((key.id(), proof))
}
