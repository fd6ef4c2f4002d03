//! What may be logged: a bundle that verifies, and its entry.
//!
//! | signed with | verified against |
//! | --- | --- |
//! | a key | the PEM that comes with the bundle |
//! | a certificate of Fulcio's kind | the trusted roots of the instance, at the times that the bundle proves |
//! | another certificate (OMS v1.0 §8.2) | the authorities that the operator named, now |
//!
//! Who may sign what is not asked. But what nobody could verify is not logged, and of what comes with
//! a signature nothing is kept that was not verified: whoever submits somebody else's bundle first
//! must not be able to spoil it with evidence that does not hold.

use serde::Deserialize;
use serde_json::{Value, json};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sealwright_attest::{
    Bundle, Envelope, ExpectedIdentity, LogEntry, PublicKey, STATEMENT_TYPE, Signed, Timestamp,
    VerificationMaterial, VerifyError, check_certificate, check_readable, check_signature,
    from_value, hashedrekord_body, parse_strict, predicate,
};
use sealwright_authority::{TimestampAuthority, TimestampRequest, certificate_pem};
use sealwright_manifest::Sha256;
use sealwright_sigstore::{
    Artifact, ArtifactProblem, EntryRequest, Evidence, IdentityPolicy, ManagedKey, Signer,
    SigstoreBundle, SigstoreError, Thresholds, TimeSource, Trust, VerifiedSigstore, VerifiedTime,
    verify_artifact, verify_statement,
};
use sealwright_tlog::tile::MAX_ENTRY_LEN;

use super::facts::{Facts, check_digest};
use super::upload_trust::UploadTrust;
use crate::error::ApiError;
use crate::state::MAX_BODY;

/// Most certificates of a chain; a path has at most eight.
const MAX_CHAIN: usize = 10;

/// Most bytes of a certificate.
const MAX_CERTIFICATE: usize = 16 << 10;

/// A bundle that may be logged.
#[derive(Debug)]
pub(super) struct Submission {
    /// What the log hashes.
    pub(super) body: Vec<u8>,
    /// The bundle as it is kept, JSON: as it came, without evidence that nobody here can verify.
    pub(super) bundle: Vec<u8>,
    /// What it is found by.
    pub(super) facts: Facts,
}

/// What verification needs beside the bundle.
pub(super) struct Judge<'a> {
    pub(super) trust: &'a UploadTrust,
    /// Stamps what carries no time of its own.
    pub(super) tsa: Option<&'a TimestampAuthority>,
    pub(super) now: Timestamp,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SubmitRequest {
    bundle: Value,
    #[serde(default)]
    public_key: Option<String>,
}

impl Submission {
    /// Reads and verifies the body of a request: `{"bundle": …}`, with `"publicKey": PEM` unless the
    /// bundle has a certificate.
    ///
    /// # Errors
    /// What is malformed, or which step of verification failed.
    pub(super) fn check(body: &[u8], judge: &Judge<'_>) -> Result<Self, ApiError> {
        let request: SubmitRequest = from_value(parse_strict(body, MAX_BODY)?)
            .map_err(|error| ApiError::Shape { message: error.to_string() })?;
        let SubmitRequest { bundle, public_key } = request;
        let material = &bundle["verificationMaterial"];
        let has_certificate =
            !material["certificate"].is_null() || !material["x509CertificateChain"].is_null();
        let submission = match public_key {
            Some(_) if has_certificate => {
                let message = "a bundle with a certificate is sent without publicKey".to_owned();
                return Err(ApiError::Shape { message });
            }
            Some(pem) if !bundle["messageSignature"].is_null() => {
                judge.message_by_key(bundle, &pem)?
            }
            Some(pem) => judge.statement_by_key(bundle, &pem)?,
            None if has_certificate => judge.by_certificate(bundle)?,
            None => {
                let message = "missing field `publicKey`: the bundle has no certificate".to_owned();
                return Err(ApiError::Shape { message });
            }
        };
        submission.facts.subjects.iter().try_for_each(|digest| check_digest(digest))?;
        match submission.body.len() {
            len if len > MAX_ENTRY_LEN => Err(ApiError::EntryTooLong { len, limit: MAX_ENTRY_LEN }),
            _ => Ok(submission),
        }
    }
}

impl Judge<'_> {
    /// An in-toto statement, signed with the key that comes with it.
    fn statement_by_key(&self, value: Value, pem: &str) -> Result<Submission, ApiError> {
        let key = PublicKey::from_pem(pem)?;
        let bundle = Bundle::from_value(value)?;
        let signed = check_signature(&bundle, &key)?;
        let bundle = self.with_known_entries(&signed, with_hint(bundle, &key))?;
        Ok(Submission {
            body: hashedrekord_body(bundle.envelope(), &key),
            facts: Facts::of_signed(&signed, key.pem()),
            bundle: bundle.to_json().into_bytes(),
        })
    }

    /// The bundle with those of its log entries that hold in other logs that this instance knows.
    fn with_known_entries(&self, signed: &Signed, bundle: Bundle) -> Result<Bundle, ApiError> {
        let mut known = Vec::new();
        for root in self.trust.other_logs() {
            let entries = bundle.log_entries().iter();
            let entries: Vec<LogEntry> =
                entries.filter(|entry| root.log(&entry.log_id).is_some()).cloned().collect();
            if !entries.is_empty() {
                signed.check_log(&bundle, root)?;
                known.extend(entries);
            }
        }
        Ok(bundle.with_log_entries(known))
    }

    /// An artifact, signed itself with the key that comes with it.
    fn message_by_key(&self, value: Value, pem: &str) -> Result<Submission, ApiError> {
        let public = PublicKey::from_pem(pem)?;
        let key = ManagedKey::from_pem(pem).map_err(|error| not_verified(&error))?;
        let bundle = parse(value)?;
        let verified = self.verify(&bundle, Signer::Key(&key))?;
        let entry = EntryRequest::of_bundle(&bundle, Some(&key))?;
        let facts = Facts::of_message(&bundle, public.pem())?;
        self.submission(bundle, &verified, &entry, facts)
    }

    /// Anything with a certificate.
    fn by_certificate(&self, value: Value) -> Result<Submission, ApiError> {
        let keyless = match SigstoreBundle::from_value(value.clone()) {
            Ok(bundle) => self.keyless(value.clone(), bundle),
            // OMS bundles have chains where Sigstore's of the same version have none.
            Err(error) => Err(not_verified(&error.into())),
        };
        let Err(refused) = keyless else { return keyless };
        if !self.trust.has_certificates() || !value["messageSignature"].is_null() {
            return Err(refused);
        }
        // Of the two reasons, that of the kind which the certificate is of.
        self.oms(value).map_err(|error| if is_about_keyless(&refused) { refused } else { error })
    }

    fn keyless(&self, value: Value, bundle: SigstoreBundle) -> Result<Submission, ApiError> {
        let anybody = IdentityPolicy::insecure_any_identity();
        let signer = Signer::Identity(&anybody);
        let (bundle, verified) = match (self.verify(&bundle, signer), self.tsa) {
            (
                Err(Refusal { error: SigstoreError::TooFew { what: Evidence::Times, .. } }),
                Some(tsa),
            ) if bundle.timestamp_count() == 0 => {
                let stamped = parse(self.stamp(value, &bundle, tsa)?)?;
                let verified = self.verify(&stamped, signer)?;
                (stamped, verified)
            }
            (outcome, _) => (bundle, outcome?),
        };
        let entry = EntryRequest::of_bundle(&bundle, None)?;
        let pem = certificate_pem(bundle.certificate().unwrap_or_default());
        let facts = match verified.0.payload() {
            Some(payload) => Facts::of_payload(payload, pem)?,
            None => Facts::of_message(&bundle, pem)?,
        };
        self.submission(bundle, &verified, &entry, facts)
    }

    /// The first trusted root that vouches for the bundle, and what it vouches for.
    fn verify<'a>(
        &'a self,
        bundle: &SigstoreBundle,
        signer: Signer<'_>,
    ) -> Result<(VerifiedSigstore, &'a Trust), Refusal> {
        let mut first = None;
        for trust in self.trust.roots() {
            match verify_under(bundle, trust, signer, self.now) {
                Ok(verified) => return Ok((verified, trust)),
                // A root that knows nothing of the bundle's authorities has the least to say.
                Err(error) if first.as_ref().is_none_or(knows_nothing) => first = Some(error),
                Err(_) => {}
            }
        }
        Err(Refusal { error: first.unwrap_or(SigstoreError::Signature) })
    }

    /// Puts a time stamp of this instance on a bundle that has no time, as its signer could have done.
    fn stamp(
        &self,
        mut value: Value,
        bundle: &SigstoreBundle,
        tsa: &TimestampAuthority,
    ) -> Result<Value, ApiError> {
        let hash = Sha256::of(bundle.signature());
        let request = json!({
            "artifactHash": STANDARD.encode(hash.as_bytes()),
            "hashAlgorithm": "sha256",
            "certificates": true,
        });
        let request = TimestampRequest::from_json(request.to_string().as_bytes())?;
        let response = tsa.respond(&request, self.now)?;
        let stamps = json!([{"signedTimestamp": STANDARD.encode(response)}]);
        value["verificationMaterial"]["timestampVerificationData"] =
            json!({"rfc3161Timestamps": stamps});
        Ok(value)
    }

    /// What is kept of a verified bundle: not the entries of logs that nobody here knows.
    fn submission(
        &self,
        bundle: SigstoreBundle,
        (_, trust): &(VerifiedSigstore, &Trust),
        entry: &EntryRequest,
        facts: Facts,
    ) -> Result<Submission, ApiError> {
        let is_statement = !bundle.signs_message();
        let mut value = bundle.into_value();
        if let Some(Value::Array(entries)) = value.pointer_mut("/verificationMaterial/tlogEntries")
        {
            entries.retain(|entry| {
                let id = entry["logId"]["keyId"].as_str().unwrap_or_default();
                STANDARD
                    .decode(id)
                    .is_ok_and(|id| trust.knows_log(&id) && !self.trust.is_own_log(&id))
            });
        }
        if is_statement {
            // Whoever decides about a model reads all statements about it: none may stand in the way.
            let bundle = Bundle::from_value(value.clone())?;
            if must_be_readable(bundle.envelope()) {
                check_readable(&bundle)?;
            }
        }
        let body = entry.body().to_vec();
        Ok(Submission { body, bundle: value.to_string().into_bytes(), facts })
    }

    /// A certificate as OMS v1.0 §8.2 has it: a chain that leads to an authority that the operator
    /// named, now.
    fn oms(&self, value: Value) -> Result<Submission, ApiError> {
        let bundle = Bundle::from_value(value)?;
        let VerificationMaterial::Certificates(chain) = bundle.material() else {
            return Err(VerifyError::NotCertificateSigned.into());
        };
        let size = chain.iter().map(Vec::len).max().unwrap_or_default();
        if chain.len() > MAX_CHAIN || size > MAX_CERTIFICATE {
            let message =
                format!("a chain has at most {MAX_CHAIN} certificates of {MAX_CERTIFICATE} bytes");
            return Err(ApiError::Shape { message });
        }
        let leaf = chain.first().cloned().unwrap_or_default();
        let certificates = self.trust.certificates().ok_or(VerifyError::NotCertificateSigned)?;
        let anybody = ExpectedIdentity::InsecureAny;
        let (signed, _) = check_certificate(&bundle, certificates, &anybody, self.now)?;
        let envelope = bundle.envelope();
        let entry = EntryRequest::of_message(&leaf, &envelope.pae(), &envelope.signature)?;
        let facts = Facts::of_signed(&signed, certificate_pem(&leaf));
        // Other logs' entries are about another kind of verifier, or unknown here.
        let bundle = bundle.with_log_entries(Vec::new());
        Ok(Submission { body: entry.body().to_vec(), bundle: bundle.to_json().into_bytes(), facts })
    }
}

/// Whether verifiers here know the type: a rejection that is logged, and that they cannot read, would be a
/// no that nobody hears. Other people's statements of version 0.1 are none of these.
fn must_be_readable(envelope: &Envelope) -> bool {
    let Ok(value) = parse_strict(&envelope.payload, MAX_BODY) else { return true };
    let kind = value["predicateType"].as_str().unwrap_or_default();
    let is_ours =
        [predicate::APPROVAL, predicate::REVOCATION, predicate::TEST_RESULT].contains(&kind);
    predicate::schema(kind).is_some() && (is_ours || value["_type"] == STATEMENT_TYPE)
}

/// Why no trusted root vouches for a bundle.
struct Refusal {
    error: SigstoreError,
}

impl From<Refusal> for ApiError {
    fn from(Refusal { error }: Refusal) -> Self {
        not_verified(&error)
    }
}

fn not_verified(error: &SigstoreError) -> ApiError {
    ApiError::NotVerified { step: error.code(), message: error.to_string() }
}

fn parse(value: Value) -> Result<SigstoreBundle, ApiError> {
    SigstoreBundle::from_value(value).map_err(|error| not_verified(&error.into()))
}

/// Whether the fault is not that the bundle is no keyless one at all.
fn is_about_keyless(error: &ApiError) -> bool {
    const OF_OTHERS: [&str; 4] =
        ["bundle-malformed", "certificate-profile", "certificate-untrusted", "too-few-times"];
    matches!(error, ApiError::NotVerified { step, .. } if !OF_OTHERS.contains(step))
}

fn knows_nothing(error: &SigstoreError) -> bool {
    ["certificate-untrusted", "too-few-times", "too-few-scts"].contains(&error.code())
}

fn verify_under(
    bundle: &SigstoreBundle,
    trust: &Trust,
    signer: Signer<'_>,
    now: Timestamp,
) -> Result<VerifiedSigstore, SigstoreError> {
    // It is to be logged: entries that it has must hold, but need not be there.
    let thresholds = Thresholds { logs: 0, ..Thresholds::of(trust) };
    let verified = match bundle.message_digest() {
        Some((algorithm, digest)) => {
            let artifact =
                Artifact::from_digest(algorithm, digest).ok_or(ArtifactProblem::Mismatch)?;
            verify_artifact(bundle, &artifact, trust, signer, &thresholds, now)?
        }
        None => verify_statement(bundle, trust, signer, &thresholds, now)?,
    };
    let is_stamp = |time: &&VerifiedTime| matches!(time.source, TimeSource::TimestampAuthority(_));
    let (found, needed) =
        (verified.times().iter().filter(is_stamp).count(), bundle.timestamp_count());
    if found < needed {
        // Other verifiers refuse a bundle with a stamp of an authority that they do not know.
        return Err(SigstoreError::TooFew { what: Evidence::Times, found, needed });
    }
    Ok(verified)
}

/// The bundle with a hint at its key. Verifiers look the key up by the hint, the signature does not
/// cover it, and the first to submit a statement may not be the one who signed it: a copy without
/// the hint would stand in the way of the whole one.
fn with_hint(bundle: Bundle, key: &PublicKey) -> Bundle {
    match bundle.material() {
        VerificationMaterial::PublicKey { hint } if hint.is_empty() => {
            bundle.with_key_hint(key.id())
        }
        _ => bundle,
    }
}
