//! Checkpoints: what a log commits to, signed (C2SP tlog-checkpoint).

use crate::cosignature::CosignatureError;
use crate::hash::Hash;
use crate::key::{KeyError, VerifierKey};
use crate::note::{NoteError, SignedNote};
use crate::proof::{InclusionProof, ProofError};

/// A tree head. Parsed or composed, not yet trusted: see [`VerifiedCheckpoint`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Name of the log.
    pub origin: String,
    /// How many leaves the tree has.
    pub size: u64,
    /// Root of the tree.
    pub root: Hash,
    /// Further lines, opaque and usually none; each not empty and without newline.
    pub extensions: Vec<String>,
}

/// A checkpoint whose signature by the log's key holds. Only [`verify_checkpoint`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedCheckpoint {
    checkpoint: Checkpoint,
    cosigned_at: Option<u64>,
    note: Vec<u8>,
}

/// Why a text is not a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointTextError {
    /// The last line has no newline.
    #[error("the checkpoint's last line is not finished")]
    Unfinished,
    /// The first line is empty.
    #[error("the checkpoint has no origin")]
    Origin,
    /// The second line is not a decimal number in its shortest form.
    #[error("the checkpoint's second line is not a tree size")]
    Size,
    /// The third line is not 32 bytes of base64, or not the root of the empty tree at size 0.
    #[error("the checkpoint's third line is not a root hash")]
    Root,
    /// A further line is empty, or has a control character in it.
    #[error("the checkpoint's line {line} is not an extension line")]
    Extension {
        /// Number of the line, from 1.
        line: usize,
    },
}

/// Why a checkpoint is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Not a signed note.
    #[error("the checkpoint is not a signed note")]
    Note(#[from] NoteError),
    /// The note's text is not a checkpoint.
    #[error(transparent)]
    Text(#[from] CheckpointTextError),
    /// The checkpoint is of another log.
    #[error("the checkpoint is of log {found:?}, not {expected:?}")]
    OriginMismatch {
        /// The key's name.
        expected: String,
        /// The checkpoint's first line.
        found: String,
    },
    /// No signature of the log's key; unknown ones do not count.
    #[error("the checkpoint is not signed by the key of {origin:?}")]
    MissingSignature {
        /// The key's name.
        origin: String,
    },
    /// A signature in the name of the log's key does not hold.
    #[error("the signature of {origin:?} on the checkpoint does not verify")]
    BadSignature {
        /// The key's name.
        origin: String,
    },
    /// The log's own cosignature does not hold.
    #[error("the log's cosignature is refused")]
    Cosignature(#[from] CosignatureError),
    /// The key cannot cosign.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Checks a signed note against the key of a log.
///
/// The note must carry a plain signature of this key over a checkpoint whose origin is the key's
/// name. Signatures of other keys are ignored, wherever they stand. Anything in the name and with
/// the id of this key must hold, its cosignature too.
pub fn verify_checkpoint(
    note: &[u8],
    key: &VerifierKey,
) -> Result<VerifiedCheckpoint, CheckpointError> {
    let signed = SignedNote::parse(note)?;
    let checkpoint = Checkpoint::parse(signed.text())?;
    if checkpoint.origin != key.name() {
        return Err(CheckpointError::OriginMismatch {
            expected: key.name().to_owned(),
            found: checkpoint.origin,
        });
    }
    let origin = || key.name().to_owned();
    let mut lines = signed.signatures_by(key.name(), key.key_id()).peekable();
    if lines.peek().is_none() {
        return Err(CheckpointError::MissingSignature { origin: origin() });
    }
    if !lines.all(|line| key.verifies(signed.text().as_bytes(), line.signature())) {
        return Err(CheckpointError::BadSignature { origin: origin() });
    }
    let cosigned_at = key.cosigner()?.verify(&signed)?;
    Ok(VerifiedCheckpoint { checkpoint, cosigned_at, note: note.to_vec() })
}

impl VerifiedCheckpoint {
    /// What the log signed.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The log-signed time in seconds since 1970, if the log cosigned its checkpoint.
    pub fn cosigned_at(&self) -> Option<u64> {
        self.cosigned_at
    }

    /// Checks that the leaf with this hash is in the log, at the place the proof names.
    pub fn verify_inclusion(&self, proof: &InclusionProof, leaf: &Hash) -> Result<(), ProofError> {
        let Checkpoint { size, root, .. } = &self.checkpoint;
        if proof.size != *size {
            return Err(ProofError::SizeMismatch { proof: proof.size, checkpoint: *size });
        }
        proof.verify(leaf, root)
    }

    /// The signed note, byte for byte as it was verified.
    pub fn note(&self) -> &[u8] {
        &self.note
    }
}

impl Checkpoint {
    /// Parses the text of a checkpoint: every part in its one right spelling.
    pub fn parse(text: &str) -> Result<Self, CheckpointTextError> {
        let body = text.strip_suffix('\n').ok_or(CheckpointTextError::Unfinished)?;
        let mut lines = body.split('\n');
        let origin = lines.next().unwrap_or_default().to_owned();
        let size_line = lines.next().ok_or(CheckpointTextError::Size)?;
        let size: u64 = size_line.parse().map_err(|_| CheckpointTextError::Size)?;
        if size.to_string() != size_line {
            return Err(CheckpointTextError::Size);
        }
        let root = lines.next().and_then(Hash::from_base64).ok_or(CheckpointTextError::Root)?;
        let checkpoint =
            Self { origin, size, root, extensions: lines.map(str::to_owned).collect() };
        checkpoint.check()?;
        Ok(checkpoint)
    }

    /// The text that is signed, with its final newline.
    pub fn to_text(&self) -> Result<String, CheckpointTextError> {
        self.check()?;
        let mut text = format!("{}\n{}\n{}\n", self.origin, self.size, self.root);
        for line in &self.extensions {
            text.push_str(line);
            text.push('\n');
        }
        Ok(text)
    }

    fn check(&self) -> Result<(), CheckpointTextError> {
        if !is_line(&self.origin) {
            return Err(CheckpointTextError::Origin);
        }
        if self.size == 0 && self.root != Hash::EMPTY_ROOT {
            return Err(CheckpointTextError::Root);
        }
        match self.extensions.iter().position(|line| !is_line(line)) {
            Some(at) => Err(CheckpointTextError::Extension { line: at + 4 }),
            None => Ok(()),
        }
    }
}

/// Whether a text can be a line of a checkpoint.
fn is_line(text: &str) -> bool {
    !text.is_empty() && !text.bytes().any(|b| b < 0x20)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "rs1YPY0ydAV0lxgfrq5pE4oRpUJwo3syeps5+eGUTDI=";

    #[test]
    fn text_and_value_are_the_same() {
        for extensions in ["", "one\n", "one\ntwo words\n"] {
            let text = format!("log.example\n736\n{ROOT}\n{extensions}");
            let checkpoint = Checkpoint::parse(&text).unwrap();
            assert_eq!(checkpoint.size, 736);
            assert_eq!(checkpoint.to_text().unwrap(), text);
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        use CheckpointTextError::{Extension, Origin, Root, Size, Unfinished};
        for (text, error) in [
            ("", Unfinished),
            ("log.example", Unfinished),
            ("log.example\n", Size),
            ("log.example\n736\n", Root),
            (&format!("log.example\n736\n{ROOT}"), Unfinished),
            (&format!("\n736\n{ROOT}\n"), Origin),
            (&format!("log.example\n0736\n{ROOT}\n"), Size),
            (&format!("log.example\n+736\n{ROOT}\n"), Size),
            (&format!("log.example\n-1\n{ROOT}\n"), Size),
            (&format!("log.example\n18446744073709551616\n{ROOT}\n"), Size),
            (&format!("log.example\n{ROOT}\n"), Size),
            (&format!("log.example\n0\n{ROOT}\n"), Root),
            (&format!("log.example\n736\n{}\n", &ROOT[..40]), Root),
            (&format!("log.example\n736\n{ROOT}\n\n"), Extension { line: 4 }),
            (&format!("log.example\n736\n{ROOT}\na\n\nb\n"), Extension { line: 5 }),
        ] {
            assert_eq!(Checkpoint::parse(text), Err(error), "{text:?}");
        }
    }
}
