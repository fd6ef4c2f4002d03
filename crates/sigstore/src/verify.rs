//! The whole verification, in the order of the Sigstore client specification.

use std::collections::BTreeSet;

use sealwright_attest::{Timestamp, pae};
use sealwright_tlog::cosignature::CosignerKey;

use crate::artifact::{Artifact, DigestAlgorithm};
use crate::bundle::{Content, Material, SigstoreBundle};
use crate::certificate::Certificate;
use crate::entry::{self, Subject};
use crate::error::{ArtifactProblem, Evidence, LogProblem, SigstoreError};
use crate::identity::IdentityPolicy;
use crate::key::{Algorithm, Key, ManagedKey};
use crate::log;
use crate::sct;
use crate::second::{Form, Question};
use crate::statement::SubjectDigests;
use crate::timestamp;
use crate::trust::{Log, Trust};

/// Who must have signed.
#[derive(Debug, Clone, Copy)]
pub enum Signer<'a> {
    /// The holder of a keyless certificate with this identity.
    Identity(&'a IdentityPolicy),
    /// The holder of this key, for which there is no certificate.
    Key(&'a ManagedKey),
}

/// How much evidence is required, counted in operators: two logs of one operator count once. All
/// logs and authorities whose operator the trusted root does not name count as of one operator.
#[derive(Debug, Clone)]
pub struct Thresholds {
    /// Logs that prove to hold the signature's entry.
    pub logs: usize,
    /// Signed times, of timestamp authorities and of logs that promise inclusion. A keyless
    /// certificate lives for minutes and so always needs one, even if this is 0.
    pub times: usize,
    /// Certificate transparency logs that promise to hold the signing certificate.
    pub scts: usize,
    /// Cosignatures that each counted log entry's checkpoint must have.
    pub witnesses: WitnessPolicy,
}

/// Witnesses (C2SP tlog-witness) of which some must have cosigned a checkpoint.
#[derive(Debug, Clone, Default)]
pub struct WitnessPolicy {
    /// The witnesses that are believed.
    pub keys: Vec<CosignerKey>,
    /// How many different ones are required.
    pub quorum: usize,
}

/// A bundle whose signature, signer, times and log entries were verified. Only
/// [`verify_artifact`] and [`verify_statement`] make one.
#[derive(Debug, Clone)]
pub struct VerifiedSigstore {
    signer: SignerIdentity,
    times: Vec<VerifiedTime>,
    logs: Vec<LoggedIn>,
    payload: Option<Vec<u8>>,
    artifact: Option<(DigestAlgorithm, Vec<u8>)>,
    confirmed: bool,
}

/// The verified signer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignerIdentity {
    /// By a certificate of a trusted authority.
    Certificate {
        /// Subject alternative name: an e-mail address, a URI or a user name.
        subject: String,
        /// The OIDC issuer that vouched for it to the authority.
        issuer: Option<String>,
        /// The certificate, DER.
        certificate: Vec<u8>,
    },
    /// By the key that the caller named.
    Key {
        /// Its SubjectPublicKeyInfo, DER.
        spki: Vec<u8>,
    },
}

/// A time at which the signature existed, by the clock of a trusted party.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedTime {
    /// The time.
    pub at: Timestamp,
    /// Whose clock it is.
    pub source: TimeSource,
    /// Who runs it, if the trusted root says.
    pub operator: Option<String>,
}

/// Whose clock a time is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimeSource {
    /// An RFC 3161 timestamp authority, by its URL in the trusted root.
    TimestampAuthority(String),
    /// A Rekor v1 log that promised inclusion, by its URL.
    Log(String),
}

/// A log that is proven to hold the signature's entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedIn {
    /// URL of the log in the trusted root.
    pub log: String,
    /// Who runs it, if the trusted root says.
    pub operator: Option<String>,
    /// Index of the entry.
    pub index: u64,
    /// Leaves of the tree in which it is proven; `None` if the log only promised to include it
    /// (bundle version 0.1).
    pub tree_size: Option<u64>,
    /// Keys (vkey) of the required witnesses that cosigned that tree.
    pub witnesses: Vec<String>,
}

/// Verifies that a bundle is `signer`'s over this very artifact: over its bytes, or over an in-toto
/// statement one of whose subjects it is.
///
/// `now` is the upper bound of every signed time; nothing else depends on it.
///
/// # Errors
/// [`SigstoreError`].
pub fn verify_artifact(
    bundle: &SigstoreBundle,
    artifact: &Artifact<'_>,
    trust: &Trust,
    signer: Signer<'_>,
    thresholds: &Thresholds,
    now: Timestamp,
) -> Result<VerifiedSigstore, SigstoreError> {
    let binding = match &bundle.content {
        Content::Message { .. } => None,
        content @ Content::Envelope { .. } => {
            let subjects = SubjectDigests::of(content)?;
            let (algorithm, digest) = subjects.find(artifact)?;
            Some((algorithm, digest.to_vec()))
        }
    };
    let artifact = Some(artifact);
    Verification { bundle, artifact, binding, subject: None, trust, signer, thresholds, now }.run()
}

/// Verifies that a bundle is `signer`'s over an in-toto statement, whatever it is about. To hold the
/// subjects against something is up to the caller; an OMS statement's are roots of models.
///
/// # Errors
/// [`SigstoreError`].
pub fn verify_statement(
    bundle: &SigstoreBundle,
    trust: &Trust,
    signer: Signer<'_>,
    thresholds: &Thresholds,
    now: Timestamp,
) -> Result<VerifiedSigstore, SigstoreError> {
    let subjects = SubjectDigests::of(&bundle.content)?;
    // The second verifier wants an artifact; the statement's own first subject is always one.
    let subject = subjects.first();
    Verification { bundle, artifact: None, binding: None, subject, trust, signer, thresholds, now }
        .run()
}

impl Thresholds {
    /// What an instance of Sigstore gives with each bundle, by its trusted root: an entry in a log
    /// if it has logs, a certificate timestamp if it has certificate logs. GitHub's own has neither.
    pub fn of(trust: &Trust) -> Self {
        Self {
            logs: usize::from(trust.has_logs()),
            times: 0,
            scts: usize::from(trust.has_certificate_logs()),
            witnesses: WitnessPolicy::default(),
        }
    }
}

impl VerifiedSigstore {
    /// Who signed.
    pub fn signer(&self) -> &SignerIdentity {
        &self.signer
    }

    /// Every verified time at which the signature existed, timestamps first. Not empty for a
    /// certificate.
    pub fn times(&self) -> &[VerifiedTime] {
        &self.times
    }

    /// The latest moment at which the signature was made at all: the earliest verified time.
    pub fn signed_before(&self) -> Option<Timestamp> {
        self.times.iter().map(|time| time.at).min()
    }

    /// The logs that hold it.
    pub fn logs(&self) -> &[LoggedIn] {
        &self.logs
    }

    /// The in-toto statement that was signed, byte for byte; `None` for a signature over the
    /// artifact itself.
    pub fn payload(&self) -> Option<&[u8]> {
        self.payload.as_deref()
    }

    /// A digest by which the artifact was recognised; `None` from [`verify_statement`].
    pub fn artifact(&self) -> Option<(DigestAlgorithm, &[u8])> {
        self.artifact.as_ref().map(|(algorithm, digest)| (*algorithm, digest.as_slice()))
    }

    /// Whether the second, independent verifier knew the bundle's algorithms and accepted it too.
    pub fn confirmed(&self) -> bool {
        self.confirmed
    }
}

struct Verification<'a> {
    bundle: &'a SigstoreBundle,
    artifact: Option<&'a Artifact<'a>>,
    /// The subject's digest, if a statement is about the artifact.
    binding: Option<(DigestAlgorithm, Vec<u8>)>,
    /// A subject's digest, if there is no artifact.
    subject: Option<(DigestAlgorithm, &'a [u8])>,
    trust: &'a Trust,
    signer: Signer<'a>,
    thresholds: &'a Thresholds,
    now: Timestamp,
}

/// What the steps find out on the way.
#[derive(Default)]
struct Findings {
    times: Vec<VerifiedTime>,
    logs: Vec<LoggedIn>,
    scts: Vec<Option<String>>,
    /// Something that the second verifier does not know.
    foreign: bool,
}

impl Verification<'_> {
    fn run(self) -> Result<VerifiedSigstore, SigstoreError> {
        let certificate = self.certificate()?;
        let key = match (self.signer, &certificate) {
            (Signer::Key(key), _) => key.key(),
            (Signer::Identity(_), Some(certificate)) => certificate.key(),
            (Signer::Identity(_), None) => return Err(SigstoreError::KeyAlgorithm),
        };
        let mut findings = Findings::default();
        self.check_timestamps(&mut findings)?;
        self.check_entries(key, certificate.as_ref(), &mut findings)?;
        let signer = match (self.signer, &certificate) {
            (Signer::Identity(policy), Some(certificate)) => {
                self.check_certificate(certificate, policy, &mut findings)?
            }
            _ => SignerIdentity::Key { spki: key.spki().to_vec() },
        };
        self.check_signature(key)?;
        self.check_thresholds(&findings, certificate.is_some())?;
        findings.foreign |= key.algorithm() == Algorithm::P521;
        let confirmed = self.ask_second_verifier(key, &findings)?;
        let payload = match &self.bundle.content {
            Content::Envelope { payload, .. } => Some(payload.clone()),
            Content::Message { .. } => None,
        };
        let plain = || {
            let algorithm = self.message_hash(key)?;
            Some((algorithm, self.artifact?.digest(algorithm)?.to_vec()))
        };
        let artifact = self.binding.clone().or_else(|| payload.is_none().then(plain).flatten());
        let Findings { times, logs, .. } = findings;
        Ok(VerifiedSigstore { signer, times, logs, payload, artifact, confirmed })
    }

    /// The leaf, if the signer must have one; material of the other kind is refused.
    fn certificate(&self) -> Result<Option<Certificate>, SigstoreError> {
        match (self.signer, &self.bundle.material) {
            (Signer::Identity(_), Material::Certificates { leaf, .. }) => {
                Ok(Some(Certificate::parse(leaf)?))
            }
            (Signer::Key(_), Material::ManagedKey { .. }) => Ok(None),
            (Signer::Identity(_), Material::ManagedKey { .. }) => {
                Err(SigstoreError::Material { found: "key", wanted: "certificate" })
            }
            (Signer::Key(_), Material::Certificates { .. }) => {
                Err(SigstoreError::Material { found: "certificate", wanted: "key" })
            }
        }
    }

    fn check_timestamps(&self, findings: &mut Findings) -> Result<(), SigstoreError> {
        let signature = self.bundle.signature();
        for (number, response) in self.bundle.timestamps.iter().enumerate() {
            let stamp = timestamp::verify(response, signature, self.trust, self.now)
                .map_err(|problem| SigstoreError::Timestamp { number, problem })?;
            // Of an authority that nobody here trusts: not a fault of the bundle, and no evidence.
            let Some(stamp) = stamp else {
                findings.foreign = true;
                continue;
            };
            findings.foreign |= !stamp.is_ecdsa_p256_or_p384();
            findings.times.push(VerifiedTime {
                at: stamp.time,
                source: TimeSource::TimestampAuthority(stamp.authority.url.clone()),
                operator: stamp.authority.operator.clone(),
            });
        }
        Ok(())
    }

    fn check_entries(
        &self,
        key: &Key,
        certificate: Option<&Certificate>,
        findings: &mut Findings,
    ) -> Result<(), SigstoreError> {
        let stamped: Vec<_> = findings.times.iter().map(|time| time.at).collect();
        let subject = Subject {
            content: &self.bundle.content,
            key,
            certificate: certificate.map(Certificate::der),
            artifact: self.artifact,
        };
        for entry in &self.bundle.entries {
            let Some(log) = self.trust.log(&entry.log_id) else {
                findings.foreign = true;
                continue;
            };
            let in_entry = |problem| SigstoreError::LogEntry { index: entry.index, problem };
            let witnesses = &self.thresholds.witnesses;
            let proven = log::verify(entry, log, &witnesses.keys, self.now).map_err(in_entry)?;
            self.check_log_validity(log, proven.promised_at, &stamped).map_err(in_entry)?;
            let hash = entry::check(entry, &subject)?;
            findings.foreign |= hash != DigestAlgorithm::Sha256;
            let (found, needed) = (proven.witnesses.len(), witnesses.quorum);
            if found < needed {
                return Err(SigstoreError::TooFew { what: Evidence::Cosignatures, found, needed });
            }
            findings.times.extend(proven.promised_at.map(|at| VerifiedTime {
                at,
                source: TimeSource::Log(log.url.clone()),
                operator: log.operator.clone(),
            }));
            findings.logs.push(LoggedIn {
                log: log.url.clone(),
                operator: log.operator.clone(),
                index: entry.index,
                tree_size: proven.tree_size,
                witnesses: proven.witnesses.into_iter().collect(),
            });
        }
        Ok(())
    }

    /// The log's key must have been believed when the entry was made: at the log's own time, or else
    /// at a timestamp; without either, it must at least not be a key of the future.
    fn check_log_validity(
        &self,
        log: &Log,
        promised_at: Option<Timestamp>,
        stamped: &[Timestamp],
    ) -> Result<(), LogProblem> {
        let valid = match promised_at {
            Some(at) => log.validity.contains(at),
            None if stamped.is_empty() => log.validity.has_begun(self.now),
            None => stamped.iter().any(|&at| log.validity.contains(at)),
        };
        if valid { Ok(()) } else { Err(LogProblem::Validity) }
    }

    fn check_certificate(
        &self,
        certificate: &Certificate,
        policy: &IdentityPolicy,
        findings: &mut Findings,
    ) -> Result<SignerIdentity, SigstoreError> {
        let Material::Certificates { intermediates, .. } = &self.bundle.material else {
            return Err(SigstoreError::Material { found: "key", wanted: "certificate" });
        };
        certificate.check_profile()?;
        // At *every* verified time: one lenient clock must not cover for another.
        let mut issuer = None;
        for time in &findings.times {
            issuer = Some(certificate.check_path(intermediates, self.trust, time.at)?);
        }
        let issuer =
            issuer.ok_or(SigstoreError::TooFew { what: Evidence::Times, found: 0, needed: 1 })?;
        let (logs, carried) = sct::verify(certificate, &issuer, self.trust)?;
        findings.foreign |= self.thresholds.scts > 0 && carried != 1;
        findings.scts = logs.into_iter().map(|log| log.operator.clone()).collect();
        let subject = certificate.subject()?;
        let issuer = certificate.issuer()?;
        if !policy.accepts(&subject, issuer.as_deref()) {
            return Err(SigstoreError::Identity { subject, issuer });
        }
        Ok(SignerIdentity::Certificate { subject, issuer, certificate: certificate.der().to_vec() })
    }

    fn check_signature(&self, key: &Key) -> Result<(), SigstoreError> {
        let holds = match &self.bundle.content {
            Content::Envelope { payload, payload_type, signature } => {
                key.verifies(&pae(payload_type, payload), signature)
            }
            Content::Message { signature, digest: hint } => {
                let artifact = self.artifact.ok_or(ArtifactProblem::BytesNeeded)?;
                let digest = |algorithm| {
                    artifact.digest(algorithm).ok_or(ArtifactProblem::DigestNeeded { algorithm })
                };
                if let Some((algorithm, claimed)) = hint
                    && digest(*algorithm)? != claimed
                {
                    return Err(ArtifactProblem::Mismatch.into());
                }
                match self.message_hash(key) {
                    Some(hash) => key.verifies_digest(hash, digest(hash)?, signature),
                    None => {
                        let bytes = artifact.bytes().ok_or(ArtifactProblem::BytesNeeded)?;
                        key.verifies_message(bytes, signature)
                    }
                }
            }
        };
        if holds { Ok(()) } else { Err(SigstoreError::Signature) }
    }

    /// The hash under a plain signature: what the bundle names, or the key's own. `None` for keys
    /// that sign whole messages.
    fn message_hash(&self, key: &Key) -> Option<DigestAlgorithm> {
        let default = key.default_hash()?;
        match &self.bundle.content {
            Content::Message { digest: Some((named, _)), .. } => Some(*named),
            _ => Some(default),
        }
    }

    fn check_thresholds(&self, findings: &Findings, keyless: bool) -> Result<(), SigstoreError> {
        let needed_times = self.thresholds.times.max(usize::from(keyless));
        let times = operators(findings.times.iter().map(|time| &time.operator));
        let logs = operators(findings.logs.iter().map(|log| &log.operator));
        let scts = operators(findings.scts.iter());
        let needed_scts = if keyless { self.thresholds.scts } else { 0 };
        for (what, found, needed) in [
            (Evidence::Times, times, needed_times),
            (Evidence::LogEntries, logs, self.thresholds.logs),
            (Evidence::Scts, scts, needed_scts),
        ] {
            if found < needed {
                return Err(SigstoreError::TooFew { what, found, needed });
            }
        }
        Ok(())
    }

    fn ask_second_verifier(&self, key: &Key, found: &Findings) -> Result<bool, SigstoreError> {
        let Some(artifact) = self.form(key) else { return Ok(false) };
        if found.foreign {
            return Ok(false);
        }
        self.trust.second.confirms(&Question {
            bundle: self.bundle,
            artifact,
            key: match self.signer {
                Signer::Key(key) => Some(key),
                Signer::Identity(_) => None,
            },
            logs: self.thresholds.logs > 0,
            scts: self.thresholds.scts > 0,
        })
    }

    /// The artifact as the second verifier takes it; `None` if one digest is not enough for it.
    fn form(&self, key: &Key) -> Option<Form<'_>> {
        if let Some(bytes) = self.artifact.and_then(Artifact::bytes) {
            return Some(Form::Bytes(bytes));
        }
        match (&self.bundle.content, &self.binding, self.artifact) {
            (Content::Envelope { .. }, Some((algorithm, digest)), _) => {
                Some(Form::Digest(*algorithm, digest))
            }
            (Content::Envelope { .. }, None, _) => {
                self.subject.map(|(algorithm, digest)| Form::Digest(algorithm, digest))
            }
            (Content::Message { .. }, _, Some(artifact)) => {
                let sha256 = DigestAlgorithm::Sha256;
                let enough = self.message_hash(key) == Some(sha256);
                let digest = artifact.digest(sha256).filter(|_| enough)?;
                Some(Form::Digest(sha256, digest))
            }
            (Content::Message { .. }, _, None) => None,
        }
    }
}

/// How many different ones; those without a name are one.
fn operators<'a>(names: impl Iterator<Item = &'a Option<String>>) -> usize {
    names.collect::<BTreeSet<_>>().len()
}
