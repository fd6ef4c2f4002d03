//! What is known about a model: statements that verify, and a view of the log that moves only
//! forward.
//!
//! The attestation service is asked, not believed: signatures, log proofs and checkpoints are
//! verified here. What this cannot see is a statement that the service leaves out. The age of the
//! checkpoint, which policy bounds, limits for how long a service that was cut off from its log
//! can go on showing an old state of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use sealwright_attest::predicate::{REVOCATION, VERIFICATION_SUMMARY};
use sealwright_attest::{
    Bundle, LogProof, PublicKey, RoleBinding, Statement, Timestamp, TrustedRoot, Verified, verify,
    verify_no,
};
use sealwright_manifest::Sha256;
use sealwright_policy::LogView;
use sealwright_tlog::{Hash, verify_checkpoint};

use crate::client::ErasedStatement;
use crate::text;

mod noes;
mod owned;
mod permits;
mod policies;
mod roles;
mod source;
mod witnesses;

pub(crate) use permits::find_permit;
pub use policies::check_policy_in_force;
pub use roles::{RoleBindings, RolesRecord};
pub use source::{EvidenceSource, Signers, SourceError};
pub use witnesses::{Witnesses, WitnessesError};

/// Why there is no evidence to decide on: [`Denial::code`] is stable, the message one sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Denial {
    /// One of [`code`], or a code of the room that denies.
    pub code: &'static str,
    /// What is wrong and how to mend it.
    pub message: String,
}

impl Denial {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// The codes with which gathering evidence fails.
pub mod code {
    /// The attestation service did not answer in time.
    pub const SERVICE_UNREACHABLE: &str = "SERVICE_UNREACHABLE";
    /// The attestation service answered something that cannot be used.
    pub const SERVICE_ANSWER: &str = "SERVICE_ANSWER";
    /// The current checkpoint is not signed by a log of the trusted root.
    pub const LOG_CHECKPOINT_INVALID: &str = "LOG_CHECKPOINT_INVALID";
    /// The log shows less than it has shown before.
    pub const LOG_ROLLED_BACK: &str = "LOG_ROLLED_BACK";
    /// A revocation was erased, so that nobody knows what it revoked.
    pub const REVOCATION_ERASED: &str = "REVOCATION_ERASED";
    /// The service gives us only the statements of some projects.
    pub const EVIDENCE_INCOMPLETE: &str = "EVIDENCE_INCOMPLETE";
    /// The owners approved a newer revision of the policy than the one that would decide.
    pub const POLICY_SUPERSEDED: &str = "POLICY_SUPERSEDED";
    /// The owners approved a policy in a form that is not known here.
    pub const POLICY_UNREADABLE: &str = "POLICY_UNREADABLE";
    /// The owners approved two policies as one revision.
    pub const POLICY_CONFLICT: &str = "POLICY_CONFLICT";
    /// The approval of the policy has expired.
    pub const POLICY_EXPIRED: &str = "POLICY_EXPIRED";
    /// Two different role bindings of the owners have one revision.
    pub const ROLES_AMBIGUOUS: &str = "ROLES_AMBIGUOUS";
    /// The owners signed a newer role binding that cannot be read.
    pub const ROLES_UNREADABLE: &str = "ROLES_UNREADABLE";
    /// A key that was lost or replaced has said no, and nobody has taken that back.
    pub const NO_BY_LOST_KEY: &str = "NO_BY_LOST_KEY";
    /// A role binding was erased that may have been newer than the one in force.
    pub const ROLES_ERASED: &str = "ROLES_ERASED";
    /// The log's history is not one history.
    pub const LOG_INCONSISTENT: &str = "LOG_INCONSISTENT";
    /// Policy allows, and no permit was found for this model and environment.
    pub const PERMIT_MISSING: &str = "PERMIT_MISSING";
    /// The permit ran out, and was not renewed.
    pub const PERMIT_EXPIRED: &str = "PERMIT_EXPIRED";
    /// The permit was made by another policy than the one that decides.
    pub const PERMIT_OTHER_POLICY: &str = "PERMIT_OTHER_POLICY";
    /// The permit was made under another role binding than the one in force.
    pub const PERMIT_OTHER_ROLES: &str = "PERMIT_OTHER_ROLES";
}

/// Everything that a decision about one model rests on.
#[derive(Debug)]
pub struct Evidence {
    /// What may be believed.
    pub verified: Vec<Verified>,
    /// Why other bundles do not count, a few of them, `CODE: reason`.
    pub ignored: Vec<String>,
    /// The newest state of the log.
    pub log: LogState,
    /// Who was who.
    pub roles: Arc<RoleBinding>,
}

/// A verified checkpoint of a log of the trusted root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogState {
    log_id: [u8; 32],
    pub(crate) origin: String,
    pub(crate) size: u64,
    pub(crate) root: Hash,
    pub(crate) time: Timestamp,
    pub(crate) witnesses: Vec<String>,
}

/// The newest checkpoint seen of each log, since the process started; and the witnesses whose word on it
/// is noted.
#[derive(Debug, Default)]
pub struct LogMemory {
    witnesses: Witnesses,
    /// Size and root by log id. Each entry only ever grows, and only by [`LogMemory::advance`].
    newest: Mutex<BTreeMap<[u8; 32], (u64, Hash)>>,
}

/// How often the log may grow between the questions of one request.
const MAX_TRIES: usize = 8;

/// How many refused bundles are named.
const MAX_IGNORED: usize = 5;

/// Fetches and verifies all that is to be known about `model`.
///
/// Verdicts (verification summaries) are left out, whoever signed them: a thousand pods of one model
/// make a thousand verdicts about it, and no verdict rests on another.
///
/// # Errors
/// [`Denial`] when the source fails or its log cannot be believed; bundles that do not verify are
/// no error, they are left out and named in [`Evidence::ignored`].
pub fn gather(
    source: &dyn EvidenceSource,
    roles: &RoleBindings,
    root: &TrustedRoot,
    memory: &LogMemory,
    model: &Sha256,
) -> Result<Evidence, Denial> {
    let mut log = memory.current(source, root)?;
    let in_force = roles.in_force(source, root, &log.origin)?;
    let roles = in_force.as_ref();
    let (mut verified, mut ignored, mut noes) = (Vec::new(), Vec::new(), Vec::new());
    let about = source.statements_about(model)?;
    let revocations = source.statements_by(REVOCATION, &signers(roles))?;
    if !about.complete || !revocations.complete {
        return Err(incomplete());
    }
    let by_principal = |list: Vec<ErasedStatement>| -> Vec<ErasedStatement> {
        list.into_iter().filter(|statement| may_be_by_principal(statement, roles)).collect()
    };
    let erased = by_principal(about.erased);
    check_erased(erased.iter().chain(&by_principal(revocations.erased)))?;
    // Those about this model come twice; policy counts what is the same once.
    for bundle in about.bundles.into_iter().chain(revocations.bundles) {
        match verify(&bundle, roles, root) {
            Ok(statement) if is_verdict(statement.statement()) => {}
            Ok(statement) if statement.logged().origin() == log.origin => verified.push(statement),
            Err(_) if is_unverified_verdict(&bundle) => {}
            Ok(_) => ignored.push(format!("OTHER_LOG: logged elsewhere than in {}", log.origin)),
            Err(error) => {
                noes.extend(verify_no(&bundle, roles, root));
                ignored.push(format!("{}: {error}", error.code()));
            }
        }
    }
    noes.retain(|no| no.logged().origin() == log.origin);
    let noes = noes::sort(noes, &verified, model)?;
    // A no holds until its author takes it back, whatever was said after it: what was erased may have
    // been one, and then nothing of its type can be believed, be it earlier or later.
    verified.retain(|statement| {
        let predicate_type = &statement.statement().predicate_type;
        let gap = erased.iter().find(|erased| erased.predicate_type == *predicate_type);
        let Some(gap) = gap else { return true };
        let index = statement.logged().index();
        ignored.push(format!("ERASED: entry {} may have said no to entry {index}", gap.index));
        false
    });
    // Only now: what a lost key said must not spoil what others say of the same type.
    verified.extend(noes);
    // A statement may have been logged after the first question.
    let bindings = roles.logged().iter().filter(|proof| proof.origin() == log.origin);
    let proofs: Vec<_> = verified.iter().map(Verified::logged).chain(bindings).collect();
    if proofs.iter().any(|proof| proof.tree_size() > log.size) {
        log = memory.current(source, root)?;
    }
    proofs.into_iter().try_for_each(|proof| log.covers(proof))?;
    Ok(Evidence { verified, ignored: shorten(ignored), log, roles: in_force })
}

fn is_verdict(statement: &Statement) -> bool {
    statement.predicate_type == VERIFICATION_SUMMARY
}

/// Not worth naming among what is ignored.
fn is_unverified_verdict(bundle: &Bundle) -> bool {
    Statement::parse(&bundle.envelope().payload).is_ok_and(|statement| is_verdict(&statement))
}

fn incomplete() -> Denial {
    Denial::new(
        code::EVIDENCE_INCOMPLETE,
        "The attestation service keeps statements of some projects back, and one of them may be a \
         no: whoever decides must be a reader of all projects (\"*\"), and show it.",
    )
}

/// Everything by which somebody with a role can sign.
fn signers(roles: &RoleBinding) -> Signers {
    let keys = roles.principals().iter().flat_map(|principal| &principal.keys);
    let identities = roles.identities().map(|(_, identity)| {
        (identity.subject().to_owned(), identity.issuer().map(ToOwned::to_owned))
    });
    Signers { keys: keys.map(PublicKey::id).collect(), identities: identities.collect() }
}

/// Whether an erased statement may have counted: strangers' never did.
fn may_be_by_principal(erased: &ErasedStatement, roles: &RoleBinding) -> bool {
    let Some(signer) = &erased.signer else { return true };
    match &signer.key_id {
        Some(key) => roles.holder(key).is_some(),
        // A certificate that names nobody may have been anybody's.
        None if signer.identities.is_empty() => roles.identities().next().is_some(),
        None => {
            let names = signer.identities.iter().map(String::as_str);
            roles.may_be_certified(names, signer.issuer.as_deref())
        }
    }
}

/// Without a revocation nobody can say yes.
fn check_erased<'a>(mut erased: impl Iterator<Item = &'a ErasedStatement>) -> Result<(), Denial> {
    match erased.find(|statement| statement.predicate_type == REVOCATION) {
        Some(ErasedStatement { index, .. }) => Err(Denial::new(
            code::REVOCATION_ERASED,
            format!("Entry {index} is a revocation that was erased: nobody knows of what."),
        )),
        None => Ok(()),
    }
}

impl LogMemory {
    /// An empty memory, with the witnesses that are known.
    #[must_use]
    pub fn new(witnesses: Witnesses) -> Self {
        Self { witnesses, ..Self::default() }
    }

    /// Fetches the current checkpoint, verifies it, and holds it against the newest one seen.
    ///
    /// What was remembered before the question decides, and an answer counts only if nobody has
    /// moved the memory meanwhile: an answer that was overtaken by another request's is not a
    /// rollback, and must not replace a newer one either.
    pub(crate) fn current(
        &self,
        source: &dyn EvidenceSource,
        root: &TrustedRoot,
    ) -> Result<LogState, Denial> {
        for _ in 0..MAX_TRIES {
            let before = self.snapshot();
            let state = verified_checkpoint(&source.checkpoint()?, root, &self.witnesses)?;
            let old = before.get(&state.log_id).copied();
            let continues = match old {
                Some(old) => state.continues(old, source)?,
                None => true,
            };
            if continues && self.advance(old, &state) {
                return Ok(state);
            }
        }
        Err(Denial::new(
            code::LOG_INCONSISTENT,
            "The log's checkpoint and its consistency proof do not go together; try again.",
        ))
    }

    fn snapshot(&self) -> BTreeMap<[u8; 32], (u64, Hash)> {
        // A panic elsewhere cannot leave half an entry behind.
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Remembers `state` if `old` is still the newest one.
    fn advance(&self, old: Option<(u64, Hash)>, state: &LogState) -> bool {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.get(&state.log_id).copied() != old {
            return false;
        }
        newest.insert(state.log_id, (state.size, state.root));
        true
    }
}

impl LogState {
    /// The part that policy sees.
    #[must_use]
    pub fn view(&self) -> LogView {
        LogView {
            origin: self.origin.clone(),
            checkpoint_time: self.time,
            tree_size: self.size,
            witnesses: self.witnesses.clone(),
        }
    }

    /// Whether this state continues an older one; `false` if the log grew between the checkpoint
    /// and the proof, so that both have to be fetched again.
    fn continues(
        &self,
        (old_size, old_root): (u64, Hash),
        source: &dyn EvidenceSource,
    ) -> Result<bool, Denial> {
        if self.size < old_size || (self.size == old_size && self.root != old_root) {
            let now = format!("{} entries with root {}", self.size, self.root);
            return Err(Denial::new(
                code::LOG_ROLLED_BACK,
                format!(
                    "The log {} shows {now}, after it had shown {old_size} entries with root \
                     {old_root}; it was restored from an old copy or hides entries.",
                    self.origin
                ),
            ));
        }
        if self.size == old_size {
            return Ok(true);
        }
        let proof = source.consistency(old_size)?;
        if (proof.old_size, proof.new_size) != (old_size, self.size) {
            return Ok(false);
        }
        proof.verify(&old_root, &self.root).map(|()| true).map_err(|error| {
            Denial::new(
                code::LOG_INCONSISTENT,
                format!(
                    "The log {} of {} entries does not continue the one of {old_size}: {error}.",
                    self.origin, self.size
                ),
            )
        })
    }

    /// A statement that is proven in a larger tree than the current one, or in another tree of the
    /// same size, shows that the checkpoint is not the log's newest or that the log has two.
    fn covers(&self, proof: &LogProof) -> Result<(), Denial> {
        self.covers_tree(proof.tree_size(), proof.root(), "a statement")
    }

    /// The same for `what`, which is proven in the tree of `size` leaves with this root.
    fn covers_tree(&self, size: u64, root: &[u8; 32], what: &str) -> Result<(), Denial> {
        if size > self.size {
            return Err(Denial::new(
                code::LOG_ROLLED_BACK,
                format!(
                    "The log {} shows {} entries, and {what} proven in {size}; it was restored from \
                     an old copy or hides entries.",
                    self.origin, self.size
                ),
            ));
        }
        if size == self.size && root != self.root.as_bytes() {
            return Err(Denial::new(
                code::LOG_INCONSISTENT,
                format!("The log {} has two trees of {} entries.", self.origin, self.size),
            ));
        }
        Ok(())
    }
}

impl From<SourceError> for Denial {
    fn from(error: SourceError) -> Self {
        let code = match error {
            SourceError::Unreachable { .. } => code::SERVICE_UNREACHABLE,
            SourceError::Answer { .. } => code::SERVICE_ANSWER,
        };
        Self::new(
            code,
            format!("Nothing can be verified: {}.", text::line(&error.to_string(), 400)),
        )
    }
}

/// Verifies a signed note against the logs of the trusted root, whichever signed it.
fn verified_checkpoint(
    note: &[u8],
    root: &TrustedRoot,
    witnesses: &Witnesses,
) -> Result<LogState, Denial> {
    let invalid = |reason: String| {
        let reason = text::line(&reason, 400);
        Denial::new(
            code::LOG_CHECKPOINT_INVALID,
            format!("The current checkpoint is not of a log of the trusted root: {reason}."),
        )
    };
    let mut reason = "the trusted root has no log".to_owned();
    for log in root.logs() {
        let checkpoint = match verify_checkpoint(note, &log.key) {
            Ok(checkpoint) => checkpoint,
            Err(error) => {
                reason = error.to_string();
                continue;
            }
        };
        let time = checkpoint.cosigned_at().and_then(|time| Timestamp::from_unix(time).ok());
        let time = time.ok_or_else(|| invalid("it carries no log-signed time".to_owned()))?;
        if !log.is_valid_at(time) {
            return Err(invalid(format!("its time {time} is outside of the log key's validity")));
        }
        let tree = checkpoint.checkpoint();
        return Ok(LogState {
            log_id: log.key.log_id(),
            origin: tree.origin.clone(),
            size: tree.size,
            root: tree.root,
            time,
            witnesses: witnesses.of(checkpoint.note(), &log.key),
        });
    }
    Err(invalid(reason))
}

/// Why something is ignored that people have to know of, whatever else was ignored: somebody with a
/// role may have said it.
pub(crate) fn is_weighty(reason: &str) -> bool {
    ["KEY_LOST:", "KEY_REPLACED:", "AMBIGUOUS_SIGNER:", "ERASED:"]
        .iter()
        .any(|code| reason.starts_with(code))
}

fn shorten(mut ignored: Vec<String>) -> Vec<String> {
    for reason in &mut ignored {
        *reason = text::line(reason, 200);
    }
    ignored.sort_unstable();
    ignored.dedup();
    let (mut kept, mut others): (Vec<_>, Vec<_>) = ignored.into_iter().partition(|r| is_weighty(r));
    let more = others.len().saturating_sub(MAX_IGNORED);
    others.truncate(MAX_IGNORED);
    kept.extend(others);
    if more > 0 {
        kept.push(format!("{more} more"));
    }
    kept
}
