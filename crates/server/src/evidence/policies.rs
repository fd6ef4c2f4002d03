//! Is an approved policy still in force? The log is asked what else the owners approved.

use sealwright_attest::{Bundle, Owners, PublicKey, Statement, Timestamp, TrustedRoot, predicate};
use sealwright_policy::{ActivationError, PolicyApproval, Superseded};

use super::{Denial, EvidenceSource, Signers, code, owned};

/// Checks that nothing that enough of `owners` signed, and that is logged, puts the policy out of force
/// that was approved by `active`: a newer revision, or another bundle of the same one; and that its
/// time is not over.
///
/// # Errors
/// [`Denial`] with `POLICY_SUPERSEDED`, `POLICY_CONFLICT`, `POLICY_UNREADABLE` or `POLICY_EXPIRED`, or because
/// the source cannot be used.
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
    for approval in approvals(found.bundles, owners, root, active)? {
        active.check_against(&approval).map_err(|error| denial(&error.into()))?;
    }
    Ok(())
}

/// Everything in `bundles` that enough owners signed and that may be newer than `active`.
///
/// Signatures are put together by what they are over. Whoever logs a copy of one, as anybody can, or
/// something that does not verify, adds nothing and takes nothing away.
///
/// # Errors
/// [`Denial`] with `POLICY_UNREADABLE`: what enough owners signed may put the policy out of force, and
/// nobody here can tell.
fn approvals(
    bundles: Vec<Bundle>,
    owners: &Owners,
    root: &TrustedRoot,
    active: &PolicyApproval,
) -> Result<Vec<PolicyApproval>, Denial> {
    let newer = bundles.into_iter().filter(|bundle| may_be_newer(bundle, active)).collect();
    let mut found = Vec::new();
    for group in owned::groups(newer, predicate::POLICY, owners, root) {
        if !group.is_whole(owners) {
            continue;
        }
        let signed = owners.verify(&group.bundles, Some(root)).ok();
        let approval = signed.and_then(|signed| PolicyApproval::of(&signed).ok());
        found.push(approval.filter(|_| !group.unreadable).ok_or_else(|| unreadable(active))?);
    }
    Ok(found)
}

/// Spares verifying what cannot matter: what is no approval of a policy, policies of other names, and those
/// that came before. What does not say its name or revision as it should may be anything.
fn may_be_newer(bundle: &Bundle, active: &PolicyApproval) -> bool {
    let Ok(statement) = Statement::parse(&bundle.envelope().payload) else { return false };
    let said = |member: &str| &statement.predicate[member];
    let is_other = said("name").as_str().is_some_and(|name| name != active.predicate().name);
    let is_older =
        said("revision").as_u64().is_some_and(|number| number < active.predicate().revision);
    statement.predicate_type == predicate::POLICY && !is_other && !is_older
}

fn unreadable(active: &PolicyApproval) -> Denial {
    let message = format!(
        "The owners approved a policy that may be a newer {}, in a form that is not known here: nobody \
         knows whether revision {} is still in force. Use a newer version of this program.",
        active.predicate().name,
        active.predicate().revision
    );
    Denial::new(code::POLICY_UNREADABLE, message)
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
