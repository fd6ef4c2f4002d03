//! Witnesses: who sees to it that a log only grows, and says so with a cosignature
//! (C2SP tlog-witness).
//!
//! [`Witness::add_checkpoint`] decides; it reads no clock and keeps nothing. Whoever calls it must
//! keep what [`Witnessed`] holds durably *before* giving the answer out, and let no second request
//! for the same log in between.

use std::fmt;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::checkpoint::{Checkpoint, CheckpointError, CheckpointTextError};
use crate::cosignature::{CosignatureError, CosignerKey};
use crate::hash::Hash;
use crate::key::{KeyError, LogKey, VerifierKey};
use crate::note::{NoteError, SignedNote};
use crate::proof::{ConsistencyProof, ProofError};

/// The most hashes a consistency proof may have in a request.
pub const MAX_PROOF_HASHES: usize = 63;

/// The longest request accepted, in bytes: a proof, and a checkpoint with dozens of signatures.
pub const MAX_REQUEST_LEN: usize = 256 << 10;

/// The content type of the size in a refusal with status 409.
pub const SIZE_CONTENT_TYPE: &str = "text/x.tlog.size";

/// A witness's signing key. It signs nothing but cosignatures.
#[derive(Clone)]
pub struct WitnessKey(LogKey);

/// A log that a witness knows: its name in checkpoints, and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownLog {
    origin: String,
    key: VerifierKey,
}

/// A witness: its key, and the logs it knows.
#[derive(Debug)]
pub struct Witness {
    key: WitnessKey,
    logs: Vec<KnownLog>,
}

/// What `POST add-checkpoint` asks. Parsed, not trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The size of the checkpoint that the witness is thought to have cosigned last; 0 for none.
    pub old_size: u64,
    /// The consistency proof from that size to the checkpoint's.
    pub hashes: Vec<Hash>,
    /// The checkpoint, a signed note.
    pub note: SignedNote,
}

/// A checkpoint that was accepted. Only [`Witness::add_checkpoint`] and [`Witness::recall`] make
/// one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witnessed {
    checkpoint: Checkpoint,
    note: String,
    cosignature: String,
}

/// Why bytes are not a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Longer than [`MAX_REQUEST_LEN`].
    #[error("the request has {len} bytes; at most {MAX_REQUEST_LEN} are accepted")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The first line is not `old` and a decimal number in its shortest form.
    #[error("the request's first line is not `old` and a tree size")]
    OldSize,
    /// A line of the proof is not 32 bytes of base64.
    #[error("the request's line {line} is not a hash")]
    ProofHash {
        /// Number of the line, from 1.
        line: usize,
    },
    /// More hashes than [`MAX_PROOF_HASHES`].
    #[error("the proof has more than {MAX_PROOF_HASHES} hashes")]
    TooManyHashes,
    /// No blank line ends the proof.
    #[error("the request has no blank line before its checkpoint")]
    NoCheckpoint,
    /// What follows the blank line is not a signed note.
    #[error("the request's checkpoint is not a signed note")]
    Note(#[from] NoteError),
    /// The note's text is not a checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointTextError),
}

/// Why a witness does not cosign. [`AddCheckpointError::status`] is the answer's HTTP status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddCheckpointError {
    /// The request is malformed (400).
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The older tree would be the larger one (400).
    #[error("the old size {old_size} is above the checkpoint's size {size}")]
    OldSizeAbove {
        /// The old size in the request.
        old_size: u64,
        /// The checkpoint's.
        size: u64,
    },
    /// The witness does not know this log (404).
    #[error("the log {origin:?} is not known here")]
    UnknownLog {
        /// The checkpoint's first line.
        origin: String,
    },
    /// No signature of the log's key, or one that does not hold (403).
    #[error("the checkpoint is not signed by the key of {origin:?}")]
    NotSigned {
        /// The log's name.
        origin: String,
    },
    /// The witness cosigned another size last (409, with that size).
    #[error("the old size is {old_size}, but the last checkpoint cosigned here has {recorded}")]
    OtherSize {
        /// The old size in the request.
        old_size: u64,
        /// The size that the witness recorded; 0 if it never cosigned for this log.
        recorded: u64,
    },
    /// The tree does not extend the recorded one, or the proof does not show it (422).
    #[error("the consistency proof does not hold")]
    Inconsistent(#[source] ProofError),
    /// The empty tree has another root than the empty one (422).
    #[error("the checkpoint is of an empty tree with a root that is not the empty one")]
    EmptyTree,
    /// Signing failed; the time is out of range, for instance (500).
    #[error("cannot cosign")]
    Sign(#[from] CheckpointError),
}

/// Why a recorded checkpoint cannot be taken up again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecallError {
    /// It is not a checkpoint.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// It is of another log.
    #[error("the recorded checkpoint is of log {found:?}")]
    Origin {
        /// Its first line.
        found: String,
    },
    /// This witness did not cosign it.
    #[error("the recorded checkpoint is not cosigned by this witness")]
    NotCosigned,
    /// The cosignature does not hold.
    #[error(transparent)]
    Cosignature(#[from] CosignatureError),
}

impl WitnessKey {
    /// A new key from the system's random source. The name is the witness's, best a URL without
    /// its scheme.
    ///
    /// # Errors
    /// [`KeyError::BadName`], [`KeyError::CannotGenerate`].
    pub fn generate(name: &str) -> Result<Self, KeyError> {
        LogKey::generate(name).map(Self)
    }

    /// The key in a PKCS#8 document in DER.
    ///
    /// # Errors
    /// [`KeyError::BadName`], [`KeyError::BadPrivateKey`].
    pub fn from_pkcs8_der(name: &str, der: &[u8]) -> Result<Self, KeyError> {
        LogKey::from_pkcs8_der(name, der).map(Self)
    }

    /// The private key as PKCS#8 in DER.
    ///
    /// # Errors
    /// [`KeyError::BadPrivateKey`].
    pub fn to_pkcs8_der(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        self.0.to_pkcs8_der()
    }

    /// The public half; its text is the witness's vkey.
    pub fn cosigner(&self) -> &CosignerKey {
        self.0.cosigner()
    }
}

impl fmt::Debug for WitnessKey {
    // Never the private half.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WitnessKey({})", self.cosigner())
    }
}

impl KnownLog {
    /// A log whose checkpoints begin with the name of its key.
    pub fn new(key: VerifierKey) -> Self {
        Self { origin: key.name().to_owned(), key }
    }

    /// A log whose checkpoints begin with another line than the name of its key.
    pub fn with_origin(key: VerifierKey, origin: impl Into<String>) -> Self {
        Self { origin: origin.into(), key }
    }

    /// The first line of the log's checkpoints.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The log's signature lines, if there are any and all of them hold.
    fn signatures(&self, note: &SignedNote) -> Option<Vec<String>> {
        let lines: Vec<_> = note.signatures_by(self.key.name(), self.key.key_id()).collect();
        let hold = lines.iter().all(|l| self.key.verifies(note.text().as_bytes(), l.signature()));
        (hold && !lines.is_empty()).then(|| lines.iter().map(ToString::to_string).collect())
    }
}

impl Witness {
    /// A witness for these logs.
    pub fn new(key: WitnessKey, logs: Vec<KnownLog>) -> Self {
        Self { key, logs }
    }

    /// The witness's public key.
    pub fn cosigner(&self) -> &CosignerKey {
        self.key.cosigner()
    }

    /// The logs it knows.
    pub fn logs(&self) -> &[KnownLog] {
        &self.logs
    }

    /// Decides on the body of a `POST add-checkpoint` at `unix_time` (seconds since 1970).
    ///
    /// `recorded` gives the checkpoint accepted last for an origin. The result must take its place
    /// durably before [`Witnessed::cosignature`] goes out.
    ///
    /// # Errors
    /// [`AddCheckpointError`]; nothing is to be recorded then.
    pub fn add_checkpoint<'a>(
        &self,
        request: &[u8],
        recorded: impl FnOnce(&str) -> Option<&'a Checkpoint>,
        unix_time: u64,
    ) -> Result<Witnessed, AddCheckpointError> {
        let AddCheckpoint { old_size, hashes, note } = AddCheckpoint::parse(request)?;
        let checkpoint = parse_checkpoint(note.text())?;
        let origin = || checkpoint.origin.clone();
        let mut logs = self.logs.iter().filter(|log| log.origin == checkpoint.origin).peekable();
        if logs.peek().is_none() {
            return Err(AddCheckpointError::UnknownLog { origin: origin() });
        }
        let signatures = logs
            .find_map(|log| log.signatures(&note))
            .ok_or_else(|| AddCheckpointError::NotSigned { origin: origin() })?;
        let size = checkpoint.size;
        if old_size > size {
            return Err(AddCheckpointError::OldSizeAbove { old_size, size });
        }
        let (known_size, known_root) =
            recorded(&checkpoint.origin).map_or((0, Hash::EMPTY_ROOT), |old| (old.size, old.root));
        if old_size != known_size {
            return Err(AddCheckpointError::OtherSize { old_size, recorded: known_size });
        }
        ConsistencyProof { old_size, new_size: size, hashes }
            .verify(&known_root, &checkpoint.root)
            .map_err(AddCheckpointError::Inconsistent)?;
        let cosignature = format!("{}\n", self.key.0.cosign(note.text(), unix_time)?);
        // Others' signatures are left out: nobody here has looked at them.
        let note = format!("{}\n{}\n{cosignature}", note.text(), signatures.join("\n"));
        Ok(Witnessed { checkpoint, note, cosignature })
    }

    /// Takes up again what was recorded: the bytes of [`Witnessed::note`].
    ///
    /// # Errors
    /// [`RecallError`]: the record was damaged, or is another witness's.
    pub fn recall(&self, origin: &str, note: &[u8]) -> Result<Witnessed, RecallError> {
        let signed = SignedNote::parse(note).map_err(RequestError::from)?;
        let checkpoint = Checkpoint::parse(signed.text()).map_err(RequestError::from)?;
        if checkpoint.origin != origin {
            return Err(RecallError::Origin { found: checkpoint.origin });
        }
        let key = self.cosigner();
        key.verify(&signed)?.ok_or(RecallError::NotCosigned)?;
        let cosignature: String = signed
            .signatures_by(key.name(), key.key_id())
            .map(|line| format!("{line}\n"))
            .collect();
        Ok(Witnessed { checkpoint, note: signed.to_string(), cosignature })
    }
}

impl Witnessed {
    /// The checkpoint.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The checkpoint as a signed note with the log's signatures and the witness's: what to record,
    /// and what the witness shows to monitors.
    pub fn note(&self) -> &str {
        &self.note
    }

    /// The body of the answer: the cosignature's line.
    pub fn cosignature(&self) -> &str {
        &self.cosignature
    }
}

impl AddCheckpoint {
    /// Parses a request; the size limit comes before everything else.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, RequestError> {
        if bytes.len() > MAX_REQUEST_LEN {
            return Err(RequestError::TooLong { len: bytes.len() });
        }
        let (first, mut rest) = split_line(bytes).ok_or(RequestError::OldSize)?;
        let old_size = parse_old_size(first).ok_or(RequestError::OldSize)?;
        let mut hashes = Vec::new();
        loop {
            let (line, after) = split_line(rest).ok_or(RequestError::NoCheckpoint)?;
            rest = after;
            if line.is_empty() {
                break;
            }
            if hashes.len() == MAX_PROOF_HASHES {
                return Err(RequestError::TooManyHashes);
            }
            let hash = std::str::from_utf8(line).ok().and_then(Hash::from_base64);
            hashes.push(hash.ok_or(RequestError::ProofHash { line: hashes.len() + 2 })?);
        }
        Ok(Self { old_size, hashes, note: SignedNote::parse(rest)? })
    }

    /// Writes what [`AddCheckpoint::parse`] reads.
    pub fn encode(&self) -> String {
        let hashes: String = self.hashes.iter().map(|hash| format!("{hash}\n")).collect();
        format!("old {}\n{hashes}\n{}", self.old_size, self.note)
    }
}

impl AddCheckpointError {
    /// The HTTP status of the answer.
    pub fn status(&self) -> u16 {
        match self {
            Self::Request(_) | Self::OldSizeAbove { .. } => 400,
            Self::NotSigned { .. } => 403,
            Self::UnknownLog { .. } => 404,
            Self::OtherSize { .. } => 409,
            Self::Inconsistent(_) | Self::EmptyTree => 422,
            Self::Sign(_) => 500,
        }
    }
}

/// The checkpoint in a request. A wrong root of the empty tree is a false claim, not a wrong form.
fn parse_checkpoint(text: &str) -> Result<Checkpoint, AddCheckpointError> {
    Checkpoint::parse(text).map_err(|error| {
        let mut lines = text.lines().skip(1);
        let (size, root) = (lines.next(), lines.next().and_then(Hash::from_base64));
        match (error, size, root) {
            (CheckpointTextError::Root, Some("0"), Some(_)) => AddCheckpointError::EmptyTree,
            _ => RequestError::from(error).into(),
        }
    })
}

/// Where a witness shows its last checkpoint of a log: the SHA-256 of the origin in hexadecimal.
pub fn origin_hash(origin: &str) -> String {
    Sha256::digest(origin).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|&b| b == b'\n')?;
    Some((bytes.get(..end)?, bytes.get(end + 1..)?))
}

fn parse_old_size(line: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(line).ok()?.strip_prefix("old ")?;
    let size: u64 = digits.parse().ok()?;
    (size.to_string() == digits).then_some(size)
}
