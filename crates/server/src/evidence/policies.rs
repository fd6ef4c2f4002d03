//! Is an approved policy still in force? The log is asked what else the owners approved.

use std::collections::BTreeMap;

use sealwright_attest::{Bundle, Owners, PublicKey, Statement, Timestamp, TrustedRoot, predicate};
use sealwright_manifest::Sha256;
use sealwright_policy::{ActivationError, PolicyApproval, PolicyPredicate, Superseded};

use super::{Denial, EvidenceSource, Signers, code};

/// Checks that nothing that enough of `owners` signed, and that is logged, puts the policy out of force
/// that was approved by `active`: a newer revision, or another bundle of the same one; and that its
/// time is not over.
///
/// # Errors
/// [`Denial`] with `POLICY_SUPERSEDED`, `POLICY_CONFLICT` or `POLICY_EXPIRED`, or because the source
/// cannot be used.
pub fn check_policy_in_force(
    source: &dyn EvidenceSource,
    owners: &Owners,
    root: &TrustedRoot,
    active: &PolicyApproval,
    time: Timestamp,
) -> Result<(), Denial> {
    active.check_time(time).map_err(|error| denial(&error))?;
    let keys = owners.keys().iter().map(PublicKey::id).collect();
    let signers = Signers { keys, ..Signers::default() };
    let found = source.statements_by(predicate::POLICY, &signers)?;
    if !found.complete {
        return Err(Denial::new(
            code::EVIDENCE_INCOMPLETE,
            "The attestation service keeps statements of some projects back, and one of them may be a \
             newer policy: whoever decides must be a reader of all projects (\"*\"), and show it.",
        ));
    }
    if let Some(erased) = found.erased.iter().find(|one| one.predicate_type == predicate::POLICY) {
        return Err(Denial::new(
            code::EVIDENCE_INCOMPLETE,
            format!("Entry {} is a policy that was erased: it may have been newer.", erased.index),
        ));
    }
    for approval in approvals(&found.bundles, owners, root, active) {
        active.check_against(&approval).map_err(|error| denial(&error.into()))?;
    }
    Ok(())
}

/// Everything in `bundles` that enough owners signed and that may be newer than `active`.
///
/// Signatures are put together by what they are over. Whoever logs a copy of one, as anybody can, or
/// something that does not verify, adds nothing and takes nothing away.
fn approvals(
    bundles: &[Bundle],
    owners: &Owners,
    root: &TrustedRoot,
    active: &PolicyApproval,
) -> Vec<PolicyApproval> {
    let mut by_statement: BTreeMap<Sha256, BTreeMap<String, &Bundle>> = BTreeMap::new();
    for bundle in bundles.iter().filter(|bundle| may_be_newer(bundle, active)) {
        let Ok(signed) = owners.signature(bundle, 1) else { continue };
        if signed.check_log(bundle, root).is_ok() {
            let signatures = by_statement.entry(signed.digest()).or_default();
            signatures.entry(signed.key().id()).or_insert(bundle);
        }
    }
    let whole = |signatures: BTreeMap<String, &Bundle>| {
        let signatures: Vec<Bundle> = signatures.into_values().cloned().collect();
        let signed = owners.verify(&signatures, Some(root)).ok()?;
        PolicyApproval::of(&signed).ok()
    };
    by_statement.into_values().filter_map(whole).collect()
}

/// Spares verifying what cannot matter: policies of other names, and those that came before.
fn may_be_newer(bundle: &Bundle, active: &PolicyApproval) -> bool {
    let Ok(statement) = Statement::parse(&bundle.envelope().payload) else { return false };
    let said = PolicyPredicate::of(&statement);
    said.is_ok_and(|said| {
        said.name == active.predicate().name && said.revision >= active.predicate().revision
    })
}

fn denial(error: &ActivationError) -> Denial {
    let message = match error {
        ActivationError::Expired { at } => {
            format!("The approval of the policy expired at {at}; the owners must approve it anew.")
        }
        ActivationError::Superseded(Superseded::Newer { name, found, newest }) => format!(
            "Revision {newest} of the policy {name} was approved, and revision {found} would decide; \
             give the newest one to whoever decides."
        ),
        ActivationError::Superseded(Superseded::Conflict { name, revision, .. }) => format!(
            "Two bundles were approved as revision {revision} of the policy {name}; the owners must \
             approve one under a new revision."
        ),
        error => format!("The policy is not in force: {error}."),
    };
    let code = match error.code() {
        "POLICY_SUPERSEDED" => code::POLICY_SUPERSEDED,
        "POLICY_EXPIRED" => code::POLICY_EXPIRED,
        _ => code::POLICY_CONFLICT,
    };
    Denial::new(code, message)
}
