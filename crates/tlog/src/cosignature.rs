//! Cosignatures: a checkpoint signed together with a time (C2SP tlog-cosignature,
//! `cosignature/v1`, signature type `0x04`).
//!
//! Witnesses make them; our own log makes one too, beside its plain signature, so that a
//! checkpoint says when it was signed.

use std::fmt;

use crate::key::{KeyError, NamedKey};
use crate::note::SignedNote;

/// The latest time accepted: it must fit a signed 64-bit number.
const MAX_TIME: u64 = i64::MAX as u64;

/// The public key of someone who cosigns checkpoints.
#[derive(Clone, PartialEq, Eq)]
pub struct CosignerKey(NamedKey);

/// Why a cosignature that claims to be of a known key is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CosignatureError {
    /// Not a time of 8 bytes and a signature of 64.
    #[error("the cosignature has {len} bytes, not 72")]
    WrongLength {
        /// Bytes after the key id.
        len: usize,
    },
    /// The time is beyond what a signed 64-bit number can hold.
    #[error("the cosignature's time {time} is out of range")]
    TimeOutOfRange {
        /// Seconds since 1970.
        time: u64,
    },
    /// The signature does not hold: text or time was altered, or another key made it.
    #[error("the cosignature does not verify")]
    BadSignature,
    /// Two times for one checkpoint by one key leave open which is meant.
    #[error("the note has several cosignatures of the same key")]
    Several,
}

impl CosignerKey {
    const TYPE: u8 = 0x04;

    /// A key from its name and its 32 raw bytes.
    pub fn new(name: &str, public_key: &[u8; 32]) -> Result<Self, KeyError> {
        NamedKey::new(Self::TYPE, name, public_key).map(Self)
    }

    /// Parses a vkey, `name+hex(key id)+base64(0x04 || key)`.
    pub fn parse(vkey: &str) -> Result<Self, KeyError> {
        NamedKey::parse(Self::TYPE, vkey).map(Self)
    }

    /// The key's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The 32 raw bytes of the key (RFC 8032 §5.1.5).
    pub fn public_key(&self) -> &[u8; 32] {
        self.0.public_key()
    }

    /// The key's id in signature lines.
    pub fn key_id(&self) -> [u8; 4] {
        self.0.key_id()
    }

    /// When this key cosigned the note, in seconds since 1970; `None` if it did not.
    pub fn verify(&self, note: &SignedNote) -> Result<Option<u64>, CosignatureError> {
        let mut lines = note.signatures_by(self.name(), self.key_id());
        let Some(line) = lines.next() else { return Ok(None) };
        if lines.next().is_some() {
            return Err(CosignatureError::Several);
        }
        let wrong_length = CosignatureError::WrongLength { len: line.signature().len() };
        let (time, signature) = line.signature().split_first_chunk::<8>().ok_or(wrong_length)?;
        if signature.len() != 64 {
            return Err(wrong_length);
        }
        let time = check_time(u64::from_be_bytes(*time))?;
        if self.0.verifies(Self::message(time, note.text()).as_bytes(), signature) {
            Ok(Some(time))
        } else {
            Err(CosignatureError::BadSignature)
        }
    }

    /// What is signed.
    pub(crate) fn message(unix_time: u64, text: &str) -> String {
        format!("cosignature/v1\ntime {unix_time}\n{text}")
    }

    /// What stands in the signature line after the key id.
    pub(crate) fn blob(unix_time: u64, signature: &[u8]) -> Result<Vec<u8>, CosignatureError> {
        Ok([check_time(unix_time)?.to_be_bytes().as_slice(), signature].concat())
    }
}

impl fmt::Display for CosignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for CosignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CosignerKey({self})")
    }
}

fn check_time(time: u64) -> Result<u64, CosignatureError> {
    if time > MAX_TIME { Err(CosignatureError::TimeOutOfRange { time }) } else { Ok(time) }
}
