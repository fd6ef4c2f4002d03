//! Metadata with its signatures: read, written, signed. Not trusted.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use sealwright_attest::{JsonError, SignError, Signer, parse_strict};

use crate::canonical::{NotCanonical, canonical_json};
use crate::key::{Key, KeyId, UnusableKey};
use crate::metadata::{Members, Metadata};

const MAX_SIGNATURES: usize = 256;
/// Longer than any signature of a key that is used here, and than most others.
const MAX_SIGNATURE: usize = 8 << 10;

/// Why bytes are not metadata of a role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Not JSON, too large, or a name twice in one object.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A number that cannot be signed.
    #[error(transparent)]
    Canonical(#[from] NotCanonical),
    /// A member is missing, or is of the wrong kind.
    #[error("not TUF metadata: {message}")]
    Shape {
        /// Names the member.
        message: String,
    },
}

impl FormatError {
    pub(crate) fn of(message: impl Into<String>) -> Self {
        Self::Shape { message: message.into() }
    }
}

/// Why a signature was not added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// The key cannot be in TUF metadata.
    #[error(transparent)]
    Unusable(#[from] UnusableKey),
    /// The key did not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// Metadata of one role, well-formed, with the signatures that came with it. Nothing was verified.
#[derive(Debug, Clone)]
pub struct Document<T> {
    content: T,
    /// As it came, with members that are not ours: what is signed is what was read.
    signed: Value,
    payload: Vec<u8>,
    signatures: BTreeMap<KeyId, Vec<u8>>,
}

impl<T: Metadata> Document<T> {
    /// Metadata that nobody has signed yet.
    ///
    /// # Errors
    /// [`FormatError`] for content that could not be read back: a role that names a key which is not
    /// there, a version of 0.
    pub fn new(content: &T) -> Result<Self, FormatError> {
        let document = json!({"signed": content.write(), "signatures": []});
        Self::parse(document.to_string().as_bytes())
    }

    /// Reads metadata of this role.
    ///
    /// # Errors
    /// [`FormatError`], also for more bytes than stock clients take.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let value = parse_strict(bytes, T::ROLE.max_size())?;
        let mut members = Members::of(value, "the document")?;
        let signed = members.take("signed")?;
        let signatures = read_signatures(members.take("signatures")?)?;
        let payload = canonical_json(&signed)?;
        let mut inner = Members::of(signed.clone(), "signed")?;
        inner.check_type(T::ROLE)?;
        Ok(Self { content: T::read(&mut inner)?, signed, payload, signatures })
    }

    /// What it says, which nobody may believe yet.
    pub fn unverified(&self) -> &T {
        &self.content
    }

    /// The bytes that are signed.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Names of the keys by which there is a signature, or an empty place for one; good or bad.
    pub fn signature_ids(&self) -> impl Iterator<Item = &KeyId> {
        self.signatures.keys()
    }

    /// Whether this key has signed.
    pub fn is_signed_by(&self, id: &str, key: &Key) -> bool {
        self.signatures.get(id).is_some_and(|signature| key.verifies(&self.payload, signature))
    }

    /// Adds a signature, in place of an older one by the same key. It is verified before it stays.
    ///
    /// # Errors
    /// [`AddError`].
    pub fn sign(&mut self, signer: &dyn Signer) -> Result<KeyId, AddError> {
        let key = Key::of(signer.public_key())?;
        let signature = signer.sign(&self.payload)?;
        if !key.verifies(&self.payload, &signature) {
            return Err(SignError::SelfCheck.into());
        }
        self.signatures.insert(key.id(), signature);
        Ok(key.id())
    }

    /// The document as a file.
    pub fn to_json(&self) -> Vec<u8> {
        let signatures: Vec<Value> = self
            .signatures
            .iter()
            .map(|(id, signature)| json!({"keyid": id, "sig": hex::encode(signature)}))
            .collect();
        let document = json!({"signatures": signatures, "signed": self.signed});
        // A value that was read can be written.
        let mut bytes = serde_json::to_vec_pretty(&document).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }
}

fn read_signatures(value: Value) -> Result<BTreeMap<KeyId, Vec<u8>>, FormatError> {
    let Value::Array(items) = value else {
        return Err(FormatError::of("signatures is not a list"));
    };
    if items.len() > MAX_SIGNATURES {
        return Err(FormatError::of(format!("more than {MAX_SIGNATURES} signatures")));
    }
    let mut signatures = BTreeMap::new();
    for item in items {
        let mut members = Members::of(item, "a signature")?;
        let (id, text) = (members.text("keyid")?, members.text("sig")?);
        let signature = hex::decode(&text).ok().filter(|bytes| bytes.len() <= MAX_SIGNATURE);
        let signature = signature.ok_or_else(|| FormatError::of("sig is not hexadecimal"))?;
        if signatures.insert(id, signature).is_some() {
            return Err(FormatError::of("two signatures by one key"));
        }
    }
    Ok(signatures)
}
