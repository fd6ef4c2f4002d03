//! What a log entry says, held against the bundle that carries it.
//!
//! An entry that is proven to be in a log proves nothing unless it is the entry of *this* signature
//! by *this* key over *this* content (the class of CVE-2022-36056).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use sealwright_attest::{from_value, pae, parse_strict};

use crate::artifact::{Artifact, DigestAlgorithm};
use crate::bundle::{Content, Entry, MAX_BUNDLE_SIZE};
use crate::certificate::Certificate;
use crate::error::{ArtifactProblem, LogProblem, SigstoreError};
use crate::key::Key;
use crate::pem;

/// What the bundle says, verified or about to be.
pub(crate) struct Subject<'a> {
    pub(crate) content: &'a Content,
    pub(crate) key: &'a Key,
    /// DER of the signing certificate, unless the key is managed.
    pub(crate) certificate: Option<&'a [u8]>,
    /// What a plain signature is over.
    pub(crate) artifact: Option<&'a Artifact<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body<S> {
    api_version: String,
    kind: String,
    spec: S,
}

#[derive(Deserialize)]
struct HashedRekord1 {
    data: Data1,
    signature: Signature1,
}

#[derive(Deserialize)]
struct Data1 {
    hash: HexHash,
}

#[derive(Deserialize)]
struct HexHash {
    algorithm: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Signature1 {
    content: String,
    public_key: PublicKey1,
}

#[derive(Deserialize)]
struct PublicKey1 {
    content: String,
}

#[derive(Deserialize)]
struct HashedRekord2 {
    #[serde(rename = "hashedRekordV002")]
    inner: HashedRekord2Inner,
}

#[derive(Deserialize)]
struct HashedRekord2Inner {
    data: Data2,
    signature: Signature2,
}

#[derive(Deserialize)]
struct Data2 {
    algorithm: String,
    digest: String,
}

#[derive(Deserialize)]
struct Signature2 {
    content: String,
    verifier: Verifier2,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Verifier2 {
    x509_certificate: Option<RawBytes>,
    public_key: Option<RawBytes>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawBytes {
    raw_bytes: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dsse1 {
    payload_hash: HexHash,
    signatures: Vec<DsseSignature1>,
}

#[derive(Deserialize)]
struct DsseSignature1 {
    signature: String,
    verifier: String,
}

#[derive(Deserialize)]
struct Intoto2 {
    content: Intoto2Content,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Intoto2Content {
    envelope: Intoto2Envelope,
    payload_hash: HexHash,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Intoto2Envelope {
    payload_type: String,
    signatures: Vec<Intoto2Signature>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Intoto2Signature {
    sig: String,
    public_key: String,
}

/// Checks that an entry is the entry of this signature; the answer is the hash of what it covers.
pub(crate) fn check(
    entry: &Entry,
    subject: &Subject<'_>,
) -> Result<DigestAlgorithm, SigstoreError> {
    let in_entry = |problem| SigstoreError::LogEntry { index: entry.index, problem };
    match (subject.content, entry.kind.as_str(), entry.version.as_str()) {
        (Content::Message { .. }, "hashedrekord", "0.0.1") => hashedrekord1(entry, subject),
        (_, "hashedrekord", "0.0.2") => hashedrekord2(entry, subject),
        (Content::Envelope { payload, .. }, "dsse", "0.0.1") => {
            dsse1(entry, subject, payload).map_err(in_entry)
        }
        (Content::Envelope { payload, payload_type, .. }, "intoto", "0.0.2") => {
            intoto2(entry, subject, payload, payload_type).map_err(in_entry)
        }
        _ => Err(in_entry(LogProblem::Kind {
            kind: entry.kind.clone(),
            version: entry.version.clone(),
        })),
    }
}

fn hashedrekord1(entry: &Entry, subject: &Subject<'_>) -> Result<DigestAlgorithm, SigstoreError> {
    let in_entry = |problem| SigstoreError::LogEntry { index: entry.index, problem };
    let spec: HashedRekord1 = body(entry).map_err(in_entry)?;
    subject
        .check_signature(&base64(&spec.signature.content).map_err(in_entry)?)
        .map_err(in_entry)?;
    subject.check_pem(&spec.signature.public_key.content).map_err(in_entry)?;
    let (hash, logged) = spec.data.hash.read().map_err(in_entry)?;
    if subject.digest(hash)? != logged {
        return Err(in_entry(LogProblem::Mismatch { what: "digest" }));
    }
    Ok(hash)
}

fn hashedrekord2(entry: &Entry, subject: &Subject<'_>) -> Result<DigestAlgorithm, SigstoreError> {
    let in_entry = |problem| SigstoreError::LogEntry { index: entry.index, problem };
    let HashedRekord2Inner { data, signature } =
        body::<HashedRekord2>(entry).map_err(in_entry)?.inner;
    subject.check_signature(&base64(&signature.content).map_err(in_entry)?).map_err(in_entry)?;
    subject.check_verifier(&signature.verifier).map_err(in_entry)?;
    let hash = DigestAlgorithm::from_proto_name(&data.algorithm);
    let hash = hash.ok_or_else(|| in_entry(LogProblem::Body))?;
    if subject.digest(hash)? != base64(&data.digest).map_err(in_entry)? {
        return Err(in_entry(LogProblem::Mismatch { what: "digest" }));
    }
    Ok(hash)
}

/// `envelopeHash` is of JSON in a spelling that nobody knows any more, and so is not checked.
fn dsse1(
    entry: &Entry,
    subject: &Subject<'_>,
    payload: &[u8],
) -> Result<DigestAlgorithm, LogProblem> {
    let spec: Dsse1 = body(entry)?;
    let [signature] = spec.signatures.as_slice() else {
        return Err(LogProblem::Mismatch { what: "signature" });
    };
    subject.check_signature(&base64(&signature.signature)?)?;
    subject.check_pem(&signature.verifier)?;
    spec.payload_hash.check(payload)
}

fn intoto2(
    entry: &Entry,
    subject: &Subject<'_>,
    payload: &[u8],
    payload_type: &str,
) -> Result<DigestAlgorithm, LogProblem> {
    let spec: Intoto2 = body(entry)?;
    let Intoto2Envelope { payload_type: logged_type, signatures } = spec.content.envelope;
    let [signature] = signatures.as_slice() else {
        return Err(LogProblem::Mismatch { what: "signature" });
    };
    // Rekor stored the text of the signature, base64, as bytes.
    let text = String::from_utf8(base64(&signature.sig)?).map_err(|_| LogProblem::Body)?;
    subject.check_signature(&base64(&text)?)?;
    subject.check_pem(&signature.public_key)?;
    if logged_type != payload_type {
        return Err(LogProblem::Mismatch { what: "payload" });
    }
    spec.content.payload_hash.check(payload)
}

impl Subject<'_> {
    fn check_signature(&self, logged: &[u8]) -> Result<(), LogProblem> {
        let (Content::Message { signature, .. } | Content::Envelope { signature, .. }) =
            self.content;
        if signature == logged { Ok(()) } else { Err(LogProblem::Mismatch { what: "signature" }) }
    }

    /// The digest that an entry must name: of the artifact, or of what is signed of an envelope.
    fn digest(&self, hash: DigestAlgorithm) -> Result<Vec<u8>, SigstoreError> {
        match self.content {
            Content::Message { .. } => self
                .artifact
                .and_then(|artifact| artifact.digest(hash))
                .map(<[u8]>::to_vec)
                .ok_or(ArtifactProblem::DigestNeeded { algorithm: hash }.into()),
            Content::Envelope { payload, payload_type, .. } => {
                Ok(hash.hash(&pae(payload_type, payload)))
            }
        }
    }

    /// Rekor v1: base64 of the PEM of the certificate, or of the key if it is managed.
    fn check_pem(&self, content: &str) -> Result<(), LogProblem> {
        let text = String::from_utf8(base64(content)?).map_err(|_| LogProblem::Body)?;
        let (label, logged) = pem::decode(&text).ok_or(LogProblem::Body)?;
        let same = match (label, self.certificate) {
            ("CERTIFICATE", Some(certificate)) => logged == certificate,
            ("CERTIFICATE", None) => {
                Certificate::parse(&logged).is_ok_and(|logged| logged.key() == self.key)
            }
            ("PUBLIC KEY", None) => {
                Key::from_spki(&logged).is_some_and(|logged| logged == *self.key)
            }
            // A certificate's key without the certificate: somebody else's identity may go with it.
            _ => false,
        };
        if same { Ok(()) } else { Err(LogProblem::Mismatch { what: "verifier" }) }
    }

    /// Rekor v2: the certificate or the key, DER.
    fn check_verifier(&self, verifier: &Verifier2) -> Result<(), LogProblem> {
        let same = match (&verifier.x509_certificate, &verifier.public_key, self.certificate) {
            (Some(logged), None, Some(certificate)) => base64(&logged.raw_bytes)? == certificate,
            (None, Some(logged), None) => {
                Key::from_spki(&base64(&logged.raw_bytes)?).is_some_and(|key| key == *self.key)
            }
            _ => false,
        };
        if same { Ok(()) } else { Err(LogProblem::Mismatch { what: "verifier" }) }
    }
}

impl HexHash {
    fn read(&self) -> Result<(DigestAlgorithm, Vec<u8>), LogProblem> {
        let hash = DigestAlgorithm::from_name(&self.algorithm).ok_or(LogProblem::Body)?;
        let value = hex::decode(&self.value).map_err(|_| LogProblem::Body)?;
        Ok((hash, value))
    }

    fn check(&self, payload: &[u8]) -> Result<DigestAlgorithm, LogProblem> {
        let (hash, value) = self.read()?;
        if hash.hash(payload) != value {
            return Err(LogProblem::Mismatch { what: "payload" });
        }
        Ok(hash)
    }
}

/// The body's `spec`, if the body is of the kind and version that the entry claims.
fn body<S: DeserializeOwned>(entry: &Entry) -> Result<S, LogProblem> {
    let value = parse_strict(&entry.body, MAX_BUNDLE_SIZE).map_err(|_| LogProblem::Body)?;
    let body: Body<S> = from_value(value).map_err(|_| LogProblem::Body)?;
    if body.kind != entry.kind || body.api_version != entry.version {
        return Err(LogProblem::Body);
    }
    Ok(body.spec)
}

fn base64(text: &str) -> Result<Vec<u8>, LogProblem> {
    STANDARD.decode(text).map_err(|_| LogProblem::Body)
}
