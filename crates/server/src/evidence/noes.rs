//! What ended keys refused.
//!
//! A key that was lost or replaced says nothing more, and then a rejection that it signed would be gone,
//! and the model allowed. So its noes go on: a rejection and a recall of the model as they are, because
//! policy can make nothing but a no of them. Everything else that it refused could be turned into a yes (a
//! revocation of a rejection, numbers in a failed test): there is no decision until somebody who still
//! counts has taken it back.

use sealwright_attest::Verified;
use sealwright_attest::predicate::{APPROVAL, REVOCATION};
use sealwright_manifest::Sha256;
use serde_json::Value;

use super::{Denial, code};

/// Those of `noes` that policy may see.
///
/// # Errors
/// [`code::NO_BY_LOST_KEY`] for one that concerns this model, that policy may not see, and that its
/// signer has not taken back.
pub(super) fn sort(
    noes: Vec<Verified>,
    verified: &[Verified],
    model: &Sha256,
) -> Result<Vec<Verified>, Denial> {
    let mut plain = Vec::new();
    for no in noes {
        // Whether a rejection was taken back, policy says.
        let is_rejection = no.statement().predicate_type == APPROVAL;
        if !concerns(&no, verified, model) || (!is_rejection && is_taken_back(&no, verified)) {
            continue;
        }
        if is_plain(&no) {
            plain.push(no);
            continue;
        }
        // Nobody in any role: it never counted.
        if no.signer().roles().is_empty() {
            continue;
        }
        let (digest, principal) = (no.digest(), no.signer().principal());
        return Err(Denial::new(
            code::NO_BY_LOST_KEY,
            format!(
                "The statement {digest} (entry {}) says no, by a key of {principal:?} that was lost or \
                 replaced: {principal:?} has to withdraw it with another key (`sealwright revoke MODEL \
                 --statement {digest}`), or the owners have to remove the key from the role binding.",
                no.logged().index()
            ),
        ));
    }
    Ok(plain)
}

/// Policy can make a no of it, and never a yes.
fn is_plain(no: &Verified) -> bool {
    match no.statement().predicate_type.as_str() {
        APPROVAL => true,
        REVOCATION => target(no, "model_sha256").is_some(),
        _ => false,
    }
}

/// Its signer, with a key that counts, has revoked that statement.
fn is_taken_back(no: &Verified, verified: &[Verified]) -> bool {
    let digest = no.digest().to_string();
    verified.iter().any(|other| {
        other.signer().principal() == no.signer().principal()
            && other.statement().predicate_type == REVOCATION
            && target(other, "envelope_sha256") == Some(&digest)
    })
}

fn concerns(no: &Verified, verified: &[Verified], model: &Sha256) -> bool {
    if no.is_about(model) || target(no, "model_sha256") == Some(&model.to_string()) {
        return true;
    }
    let envelope = target(no, "envelope_sha256");
    let signer = target(no, "signer");
    verified.iter().any(|other| {
        let names = [other.signer().principal(), other.signer().key_id()];
        envelope == Some(&other.digest().to_string())
            || signer.is_some_and(|signer| names.contains(&signer))
    })
}

fn target<'a>(statement: &'a Verified, name: &str) -> Option<&'a str> {
    statement.statement().predicate.get("target")?.get(name).and_then(Value::as_str)
}
