//! Permits as evidence: asked for by key, and the best of what comes decides.

use sealwright_attest::{Bundle, PublicKey, Timestamp, TrustedRoot};

use super::{Denial, EvidenceSource, LogMemory, LogState, code};
use crate::permit::{Needed, Permit, PermitProblem};
use crate::text;

/// Permits are asked for that were logged so long before they must have ended at the latest: clocks
/// differ.
const SLACK_S: u64 = 3600;

/// Most permits are younger: only if none of these is in force, all are asked for.
const RECENT_S: u64 = 4 * 3600;

/// A permit by `key` that is in force for what is needed.
///
/// A permit that is proven in a larger tree than `log` shows that `log` is old; the memory is asked
/// once more then, as for every other statement.
///
/// # Errors
/// [`Denial`] with one of the `PERMIT_…` codes, or because the source cannot be used.
pub(crate) fn find_permit(
    source: &dyn EvidenceSource,
    key: &PublicKey,
    (root, memory): (&TrustedRoot, &LogMemory),
    log: &LogState,
    needed: &Needed<'_>,
) -> Result<Permit, Denial> {
    let all = needed.max_age_s.saturating_add(SLACK_S);
    let mut best = None;
    for back in [RECENT_S, all] {
        let since = Timestamp::from_unix(needed.now.unix().saturating_sub(back));
        let since = since.unwrap_or(needed.now);
        let found = source.permits(needed.model, &key.id(), since)?;
        match newest(&found.bundles, key, root, log, needed) {
            Ok(permit) => return covered(source, (root, memory), log, permit),
            Err(problem) => best = problem,
        }
        if back >= all {
            break;
        }
    }
    Err(denial(best, needed))
}

/// The newest that is in force; else what is wrong with the one that is closest to it.
fn newest(
    bundles: &[Bundle],
    key: &PublicKey,
    root: &TrustedRoot,
    log: &LogState,
    needed: &Needed<'_>,
) -> Result<Permit, Option<PermitProblem>> {
    let mut best: Option<PermitProblem> = None;
    for bundle in bundles.iter().rev() {
        let checked = Permit::verify(bundle, key, root).and_then(|permit| {
            let elsewhere = PermitProblem::Form { message: "it is in another log" };
            if permit.origin == log.origin { Ok(permit) } else { Err(elsewhere) }
        });
        match checked.and_then(|permit| permit.check(needed).map(|()| permit)) {
            Ok(permit) => return Ok(permit),
            Err(problem) if best.as_ref().is_none_or(|best| *best < problem) => {
                best = Some(problem);
            }
            Err(_) => {}
        }
    }
    Err(best)
}

/// A permit may have been logged after the log was looked at; what it is proven in has to be that log.
fn covered(
    source: &dyn EvidenceSource,
    (root, memory): (&TrustedRoot, &LogMemory),
    log: &LogState,
    permit: Permit,
) -> Result<Permit, Denial> {
    if permit.tree_size <= log.size {
        log.covers_tree(permit.tree_size, &permit.tree_root, "a permit")?;
    } else {
        let log = memory.current(source, root)?;
        log.covers_tree(permit.tree_size, &permit.tree_root, "a permit")?;
    }
    Ok(permit)
}

fn denial(best: Option<PermitProblem>, needed: &Needed<'_>) -> Denial {
    let environment = needed.environment;
    match best {
        Some(PermitProblem::Expired { at }) => Denial::new(
            code::PERMIT_EXPIRED,
            format!(
                "The newest permit for environment {environment} ran out at {at} and was not renewed: \
                 something may have been revoked that is kept from here; look at the service that \
                 makes permits."
            ),
        ),
        Some(PermitProblem::TooOld { at, max_age_s }) => Denial::new(
            code::PERMIT_EXPIRED,
            format!(
                "The newest permit for environment {environment} has not run out, and counts here for no \
                 longer than {max_age_s} s, which ended at {at}; the service that makes permits did \
                 not renew it in time, or --permit-max-age is too short for it."
            ),
        ),
        Some(PermitProblem::Roles { found }) => Denial::new(
            code::PERMIT_OTHER_ROLES,
            format!(
                "The permit for environment {environment} was made under the role binding {}, and {} is \
                 in force; if it stays so, something keeps the newer one from the service that makes \
                 permits, or from here.",
                text::line(&found, 64),
                needed.role_binding
            ),
        ),
        Some(PermitProblem::Policy { found }) => Denial::new(
            code::PERMIT_OTHER_POLICY,
            format!(
                "The permit for environment {environment} was made by the policy {}, and this webhook \
                 decides by {}; give both the same one.",
                text::line(&found, 64),
                needed.policy
            ),
        ),
        other => {
            let found = other.map(|problem| format!(" (of the newest that came: {problem})"));
            Denial::new(
                code::PERMIT_MISSING,
                format!(
                    "No permit for environment {environment} was found{}; the service that makes \
                     permits must allow this model first.",
                    text::line(&found.unwrap_or_default(), 300)
                ),
            )
        }
    }
}
