//! Which entries concern whom.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use sealwright_attest::{Bundle, Curve, PublicKey, parse_strict};
use sealwright_manifest::Sha256;
use sealwright_sigstore::details::CertificateDetails;
use sealwright_tlog::tile::MAX_ENTRY_LEN;

/// Whom and what a monitor looks for.
#[derive(Debug, Clone, Default)]
pub struct Interests {
    identities: Vec<String>,
    keys: Vec<String>,
    /// A digest in hexadecimal, and what it is called when it is found.
    digests: BTreeMap<String, String>,
}

/// An entry of interest. The entry is in the log; nobody has verified the signature in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Number of the entry, from 0.
    pub index: u64,
    /// Digest of what was signed, in hexadecimal.
    pub digest: String,
    /// Names in the signer's certificate, if there is one.
    pub identities: Vec<String>,
    /// Ids of the signer's key: SHA-256 of its DER SubjectPublicKeyInfo, and of its PEM.
    pub key_ids: Vec<String>,
    /// Which of the interests it concerns, such as `identity a@example.com`.
    pub concerns: Vec<String>,
}

/// Not something that can be looked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not {expected} lower-case hexadecimal digits")]
pub struct InterestError {
    /// What was given.
    pub given: String,
    /// How many digits.
    pub expected: &'static str,
}

/// The entry is none that is known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreadable;

impl Interests {
    /// Adds a certificate's name (subject alternative name), exactly as it is written there.
    pub fn identity(&mut self, name: &str) {
        self.identities.push(name.to_owned());
    }

    /// Adds a key by the SHA-256 of its DER SubjectPublicKeyInfo or of its PEM.
    ///
    /// # Errors
    /// [`InterestError`].
    pub fn key(&mut self, id: &str) -> Result<(), InterestError> {
        check_hex(id, &[64], "64")?;
        self.keys.push(id.to_owned());
        Ok(())
    }

    /// Adds a digest of what is signed: of a file, or of a statement's DSSE PAE.
    ///
    /// # Errors
    /// [`InterestError`].
    pub fn digest(&mut self, digest: &str) -> Result<(), InterestError> {
        check_hex(digest, &[64, 96, 128], "64, 96 or 128")?;
        self.digests.insert(digest.to_owned(), format!("digest {digest}"));
        Ok(())
    }

    /// Adds a statement about a model.
    pub fn statement(&mut self, bundle: &Bundle, model: &str) {
        let pae = bundle.envelope().pae();
        for curve in [Curve::P256, Curve::P384, Curve::P521] {
            self.digests.insert(hex::encode(curve.hash(&pae)), format!("model {model}"));
        }
    }

    /// What an entry has to do with the interests; `None` if nothing.
    pub(super) fn look_at(&self, index: u64, body: &[u8]) -> Result<Option<Finding>, Unreadable> {
        let Entry { digests, identities, key_ids } = Entry::read(body)?;
        let is_known = |list: &[String], name: &String| list.contains(name);
        let mut concerns: Vec<String> = Vec::new();
        let names = identities.iter().filter(|name| is_known(&self.identities, name));
        concerns.extend(names.map(|name| format!("identity {name}")));
        let keys = key_ids.iter().filter(|id| is_known(&self.keys, id));
        concerns.extend(keys.map(|id| format!("key {id}")));
        concerns.extend(digests.iter().filter_map(|digest| self.digests.get(digest)).cloned());
        concerns.dedup();
        let digest = digests.into_iter().next().unwrap_or_default();
        let finding = Finding { index, digest, identities, key_ids, concerns };
        Ok((!finding.concerns.is_empty()).then_some(finding))
    }
}

/// What an entry names, whatever its kind.
#[derive(Default)]
struct Entry {
    digests: Vec<String>,
    identities: Vec<String>,
    key_ids: Vec<String>,
}

impl Entry {
    /// Reads a Rekor v2 entry body: `hashedrekord` and `dsse`. Everything in it that could name a
    /// signer must be readable.
    fn read(body: &[u8]) -> Result<Self, Unreadable> {
        let value = parse_strict(body, MAX_ENTRY_LEN).map_err(|_| Unreadable)?;
        let spec = value.get("spec").and_then(Value::as_object).ok_or(Unreadable)?;
        let mut entry = Self::default();
        if let Some(spec) = spec.get("hashedRekordV002") {
            entry.data(spec.get("data"))?;
            entry.signature(spec.get("signature"))?;
        } else if let Some(spec) = spec.get("dsseV002") {
            entry.data(spec.get("payloadHash"))?;
            let signatures = spec.get("signatures").and_then(Value::as_array).ok_or(Unreadable)?;
            for signature in signatures {
                entry.signature(Some(signature))?;
            }
        } else {
            return Err(Unreadable);
        }
        Ok(entry)
    }

    fn data(&mut self, data: Option<&Value>) -> Result<(), Unreadable> {
        let data = data.and_then(Value::as_object).ok_or(Unreadable)?;
        self.digests.push(hex::encode(decode(data, "digest")?));
        Ok(())
    }

    fn signature(&mut self, signature: Option<&Value>) -> Result<(), Unreadable> {
        let verifier = signature.and_then(|signature| signature.get("verifier"));
        let verifier = verifier.and_then(Value::as_object).ok_or(Unreadable)?;
        let part = |name: &str| verifier.get(name).and_then(Value::as_object);
        match (part("x509Certificate"), part("publicKey")) {
            (Some(certificate), None) => {
                let der = decode(certificate, "rawBytes")?;
                let details = CertificateDetails::parse(&der).ok_or(Unreadable)?;
                // A name that cannot be read could be anybody's.
                if !details.problems.is_empty() {
                    return Err(Unreadable);
                }
                self.identities.extend(details.names.into_iter().map(|(_, name)| name));
                self.key_ids.push(hex::encode(details.key.spki_sha256));
            }
            (None, Some(key)) => {
                let spki = decode(key, "rawBytes")?;
                self.key_ids.push(Sha256::of(&spki).to_string());
                if let Ok(key) = PublicKey::from_spki(&spki) {
                    self.key_ids.push(key.id());
                }
            }
            _ => return Err(Unreadable),
        }
        Ok(())
    }
}

fn decode(object: &Map<String, Value>, name: &str) -> Result<Vec<u8>, Unreadable> {
    let text = object.get(name).and_then(Value::as_str).ok_or(Unreadable)?;
    STANDARD.decode(text).map_err(|_| Unreadable)
}

fn check_hex(text: &str, lengths: &[usize], expected: &'static str) -> Result<(), InterestError> {
    let is_digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    if lengths.contains(&text.len()) && text.bytes().all(is_digit) {
        Ok(())
    } else {
        Err(InterestError { given: text.to_owned(), expected })
    }
}
