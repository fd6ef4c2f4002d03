//! Proof that a log holds an entry: the promise (SET) of Rekor v1, the Merkle path and checkpoint of
//! both, and the witnesses' cosignatures on the checkpoint.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use sealwright_attest::Timestamp;
use sealwright_tlog::checkpoint::Checkpoint;
use sealwright_tlog::cosignature::CosignerKey;
use sealwright_tlog::{Hash, InclusionProof, SignedNote, leaf_hash};

use crate::bundle::{Entry, Proof};
use crate::error::LogProblem;
use crate::key::{Algorithm, Key};
use crate::trust::Log;

/// What was proven of an entry.
#[derive(Debug, Clone)]
pub(crate) struct Proven {
    /// The log's own time, if it promised inclusion.
    pub(crate) promised_at: Option<Timestamp>,
    /// Leaves of the tree in which the entry is proven to be.
    pub(crate) tree_size: Option<u64>,
    /// Names of the witnesses that cosigned that tree.
    pub(crate) witnesses: BTreeSet<String>,
}

/// Verifies everything that an entry carries of its log. The bundle's version has already said
/// which of promise and proof must be there.
pub(crate) fn verify(
    entry: &Entry,
    log: &Log,
    witnesses: &[CosignerKey],
    now: Timestamp,
) -> Result<Proven, LogProblem> {
    let key = log.key.as_ref().ok_or(LogProblem::CheckpointSignature)?;
    let promised_at = match &entry.promise {
        // Rekor v2 makes no promises and has no time.
        Some(promise) if !entry.is_rekor_v2() => Some(check_promise(entry, promise, key, now)?),
        _ => None,
    };
    let mut proven = Proven { promised_at, tree_size: None, witnesses: BTreeSet::new() };
    if let Some(proof) = &entry.proof {
        let (note, checkpoint) = check_checkpoint(proof, log, key)?;
        check_inclusion(entry, proof, &checkpoint)?;
        proven.tree_size = Some(checkpoint.size);
        for witness in witnesses {
            if witness.verify(&note).map_err(|_| LogProblem::Cosignature)?.is_some() {
                proven.witnesses.insert(witness.to_string());
            }
        }
    }
    Ok(proven)
}

/// The signed entry timestamp: a signature over the entry, its place and its time, in JCS.
fn check_promise(
    entry: &Entry,
    promise: &[u8],
    key: &Key,
    now: Timestamp,
) -> Result<Timestamp, LogProblem> {
    let signed = json!({
        "body": STANDARD.encode(&entry.body),
        "integratedTime": entry.integrated_time,
        "logID": hex::encode(&entry.log_id),
        "logIndex": entry.index,
    });
    let signed = serde_json_canonicalizer::to_vec(&signed).map_err(|_| LogProblem::Promise)?;
    if !key.verifies(&signed, promise) {
        return Err(LogProblem::Promise);
    }
    let at = Timestamp::from_unix(entry.integrated_time).map_err(|_| LogProblem::Promise)?;
    if at > now {
        return Err(LogProblem::Future { at });
    }
    Ok(at)
}

/// The signed note, by the key of the entry's own log. Lines of other keys are let stand, in any
/// order; of several lines with the log's key id one must hold, since an id is four bytes only.
fn check_checkpoint(
    proof: &Proof,
    log: &Log,
    key: &Key,
) -> Result<(SignedNote, Checkpoint), LogProblem> {
    let note =
        SignedNote::parse(proof.checkpoint.as_bytes()).map_err(|_| LogProblem::Checkpoint)?;
    let checkpoint = Checkpoint::parse(note.text()).map_err(|_| LogProblem::Checkpoint)?;
    let is_log_id = |id: [u8; 4]| log.ids.iter().any(|known| known.starts_with(&id));
    // A C2SP log signs in the name of its origin; Rekor v1 has a tree id in the origin as well.
    let is_log_name =
        |name: &str| key.algorithm() != Algorithm::Ed25519 || name == checkpoint.origin;
    let signed = note.signatures().iter().any(|line| {
        is_log_id(line.key_id())
            && is_log_name(line.name())
            && key.verifies(note.text().as_bytes(), line.signature())
    });
    if signed { Ok((note, checkpoint)) } else { Err(LogProblem::CheckpointSignature) }
}

/// RFC 6962 §2.1.1, against the *signed* size and root. What the bundle repeats of them must agree.
fn check_inclusion(
    entry: &Entry,
    proof: &Proof,
    checkpoint: &Checkpoint,
) -> Result<(), LogProblem> {
    let v2 = entry.is_rekor_v2();
    // Rekor v1 counts all shards in `logIndex`, and the leaves of one in the proof.
    let index = if v2 { entry.index } else { proof.index };
    // Rekor v2 calls the repetition unauthenticated; it may be left out there.
    let left_out = v2 && proof.root.is_empty();
    if !left_out && (proof.root != checkpoint.root.as_bytes() || proof.size != checkpoint.size) {
        return Err(LogProblem::Proof);
    }
    let hashes = proof.hashes.iter().map(|bytes| Hash::from_slice(bytes)).collect::<Option<_>>();
    let path =
        InclusionProof { index, size: checkpoint.size, hashes: hashes.ok_or(LogProblem::Proof)? };
    path.verify(&leaf_hash(&entry.body), &checkpoint.root).map_err(|_| LogProblem::Proof)
}
