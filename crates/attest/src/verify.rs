//! From a bundle to a fact.

use sealwright_manifest::Sha256;
use sealwright_tlog::{Hash, InclusionProof, VerifiedCheckpoint, leaf_hash, verify_checkpoint};

use crate::bundle::{Bundle, InclusionEvidence, LogEntry, VerificationMaterial};
use crate::envelope::{IN_TOTO_PAYLOAD_TYPE, pae_of_model_signing_0_2};
use crate::key::{PublicKey, signature_r};
use crate::oms::{OMS_DIGESTS_TYPE, OmsError, OmsPredicate};
use crate::predicate::{self, SchemaViolation};
use crate::rekor::{
    HASHEDREKORD_KIND, HASHEDREKORD_VERSION, certified_hashedrekord_body, hashedrekord_body,
};
use crate::roles::{EndReason, RoleBinding};
use crate::statement::{Statement, StatementError};
use crate::time::Timestamp;
use crate::trust::{TransparencyLog, TrustedRoot};
use crate::x509::{CertificateError, CertificateTrust, CertifiedKey, certified_key};
use certified::Certified;

mod certified;

/// A statement whose signature is valid under a key that the caller named.
///
/// The only maker is [`check_signature`].
#[derive(Debug, Clone)]
pub struct Signed {
    statement: Statement,
    oms: Option<OmsPredicate>,
    key: PublicKey,
    digest: Sha256,
    signing: Sha256,
}

/// A statement that policy may believe: signed by a principal of the role binding, logged, and
/// timed by a log of the trusted root.
///
/// The only maker is [`verify`].
#[derive(Debug, Clone)]
pub struct Verified {
    signed: Signed,
    signer: SignerIdentity,
    logged: LogProof,
}

/// Who signed, as the role binding knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignerIdentity {
    principal: String,
    key_id: String,
    roles: Vec<String>,
}

/// That a log holds the entry, and since when at the latest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogProof {
    origin: String,
    index: u64,
    tree_size: u64,
    root: [u8; 32],
    time: Timestamp,
}

/// Why a bundle is not a fact. [`VerifyError::code`] is stable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The bundle was signed with a certificate, and the caller trusts a key.
    #[error("the bundle is signed with a certificate, not with a key")]
    NotKeySigned,
    /// The bundle was signed with a key, and the caller trusts certificates.
    #[error("the bundle is signed with a key, not with a certificate")]
    NotCertificateSigned,
    /// The certificate does not count.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The certificate is somebody else's.
    #[error("the certificate is for {found:?}, not for {expected:?}")]
    Identity {
        /// The leaf's subject alternative names.
        found: String,
        /// What the caller expects.
        expected: String,
    },
    /// The hint names another key than the caller's.
    #[error("the bundle is signed by key {found}, not by {wanted}")]
    OtherKey {
        /// The bundle's hint.
        found: String,
        /// The caller's key.
        wanted: String,
    },
    /// No principal has the key.
    #[error("no principal of the role binding has the key {hint:?}")]
    UnknownSigner {
        /// The bundle's hint.
        hint: String,
    },
    /// The key or identity no longer counted when the statement was logged.
    #[error(
        "the key of {principal:?} was {reason}: it counts only for what was logged before {counts_before}, and this was logged at {logged}"
    )]
    KeyEnded {
        /// The principal.
        principal: String,
        /// Why it no longer counted.
        reason: EndReason,
        /// Since when.
        counts_before: Timestamp,
        /// The log-signed time.
        logged: Timestamp,
    },
    /// What the signature was made with stands for more than one principal.
    #[error("the certificate stands for both {first:?} and {second:?}")]
    AmbiguousSigner {
        /// A principal.
        first: String,
        /// Another.
        second: String,
    },
    /// The keyless certificate does not count.
    #[error("the certificate does not count: {reason}")]
    Keyless {
        /// What is wrong.
        reason: String,
    },
    /// The signature is not the key's over these bytes.
    #[error("the signature is not valid")]
    Signature,
    /// The DSSE payload type is not that of in-toto statements.
    #[error("payload type {found:?} is not {IN_TOTO_PAYLOAD_TYPE}")]
    PayloadType {
        /// What the envelope says.
        found: String,
    },
    /// The payload is not an in-toto statement.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The predicate does not obey the schema of its type.
    #[error(transparent)]
    Schema(#[from] SchemaViolation),
    /// An OMS signature whose predicate is not sound.
    #[error(transparent)]
    Oms(#[from] OmsError),
    /// No entry of a log of the trusted root.
    #[error("the bundle has no entry of a trusted log")]
    NotLogged,
    /// An entry of a trusted log is there, and is not right.
    #[error("log entry {index} of {origin}: {problem}")]
    LogEntry {
        /// The log.
        origin: String,
        /// The index that the bundle claims.
        index: u64,
        /// What is wrong.
        problem: LogProblem,
    },
}

/// What is wrong with a log entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogProblem {
    /// Not `hashedrekord` 0.0.2.
    #[error("kind {kind} {version} is not supported")]
    Kind {
        /// Kind.
        kind: String,
        /// Version.
        version: String,
    },
    /// The entry is about another signature.
    #[error("it is about another signature, key or payload")]
    Body,
    /// Neither proof nor checkpoint.
    #[error("it has no inclusion proof")]
    NoProof,
    /// The checkpoint is not the log's.
    #[error("the checkpoint is not signed by the log")]
    Checkpoint,
    /// Index, size, root or hashes do not lead to the checkpoint's root.
    #[error("the inclusion proof does not hold")]
    Proof,
    /// The checkpoint has no time signed by the log.
    #[error("the checkpoint carries no log-signed time")]
    NoTime,
    /// The time is outside of the period for which the trusted root vouches for the log's key.
    #[error("its time {time} is outside of the log key's validity")]
    Validity {
        /// The log-signed time.
        time: Timestamp,
    },
}

impl VerifyError {
    /// A stable name for scripts, policies and tests.
    pub fn code(&self) -> &'static str {
        match self {
            VerifyError::NotKeySigned => "NOT_KEY_SIGNED",
            VerifyError::NotCertificateSigned => "NOT_CERTIFICATE_SIGNED",
            VerifyError::Certificate(_) => "CERTIFICATE_INVALID",
            VerifyError::Identity { .. } => "OTHER_IDENTITY",
            VerifyError::OtherKey { .. } => "OTHER_KEY",
            VerifyError::UnknownSigner { .. } => "UNKNOWN_SIGNER",
            VerifyError::KeyEnded { reason: EndReason::Lost, .. } => "KEY_LOST",
            VerifyError::KeyEnded { reason: EndReason::Replaced, .. } => "KEY_REPLACED",
            VerifyError::AmbiguousSigner { .. } => "AMBIGUOUS_SIGNER",
            VerifyError::Keyless { .. } => "CERTIFICATE_INVALID",
            VerifyError::Signature => "SIGNATURE_INVALID",
            VerifyError::PayloadType { .. } => "PAYLOAD_TYPE",
            VerifyError::Statement(_) => "STATEMENT_MALFORMED",
            VerifyError::Schema(_) => "PREDICATE_SCHEMA",
            VerifyError::Oms(_) => "OMS_MALFORMED",
            VerifyError::NotLogged => "NOT_LOGGED",
            VerifyError::LogEntry { .. } => "LOG_ENTRY_INVALID",
        }
    }
}

/// Checks a bundle's signature under `key`, and then what it says for being well-formed (OMS v1.0
/// §8 steps 1 to 5: the payload is parsed only after its signature is valid).
///
/// An empty hint is accepted: the signature decides.
///
/// # Errors
/// [`VerifyError`].
pub fn check_signature(bundle: &Bundle, key: &PublicKey) -> Result<Signed, VerifyError> {
    let hint = hint(bundle)?;
    if !hint.is_empty() && hint != key.id() {
        return Err(VerifyError::OtherKey { found: hint.to_owned(), wanted: key.id() });
    }
    check_with_key(bundle, key)
}

/// Whose certificate a verifier accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExpectedIdentity {
    /// One with one of these subject alternative names.
    OneOf(Vec<String>),
    /// Anybody's under the given roots.
    InsecureAny,
}

/// Checks a bundle that was signed with a certificate: the chain leads to a root of `trust` and is
/// valid at `at`, the leaf is `identity`'s, and everything of [`check_signature`].
///
/// # Errors
/// [`VerifyError`].
pub fn check_certificate(
    bundle: &Bundle,
    trust: &CertificateTrust,
    identity: &ExpectedIdentity,
    at: Timestamp,
) -> Result<(Signed, CertifiedKey), VerifyError> {
    let VerificationMaterial::Certificates(chain) = bundle.material() else {
        return Err(VerifyError::NotCertificateSigned);
    };
    let certified = trust.verify(chain, at)?;
    if let ExpectedIdentity::OneOf(expected) = identity
        && !certified.identities.iter().any(|identity| expected.contains(identity))
    {
        let found = certified.identities.join(", ");
        return Err(VerifyError::Identity { found, expected: expected.join(" or ") });
    }
    Ok((check_with_key(bundle, &certified.key)?, certified))
}

/// Checks that a verifier that trusts the certificate of a bundle will be able to read the statement: its
/// key is of a supported kind, the signature is valid under it, and everything of [`check_signature`].
/// Says nothing of whose certificate that is.
///
/// # Errors
/// [`VerifyError`].
pub fn check_readable(bundle: &Bundle) -> Result<(), VerifyError> {
    let VerificationMaterial::Certificates(chain) = bundle.material() else {
        return Err(VerifyError::NotCertificateSigned);
    };
    let leaf = chain.first().ok_or(VerifyError::NotCertificateSigned)?;
    check_with_key(bundle, &certified_key(leaf)?).map(drop)
}

fn check_with_key(bundle: &Bundle, key: &PublicKey) -> Result<Signed, VerifyError> {
    let envelope = bundle.envelope();
    if envelope.payload_type != IN_TOTO_PAYLOAD_TYPE {
        return Err(VerifyError::PayloadType { found: envelope.payload_type.clone() });
    }
    let is_valid = key.verifies(&envelope.pae(), &envelope.signature);
    let is_old = !is_valid && {
        let message = pae_of_model_signing_0_2(&envelope.payload_type, &envelope.payload);
        key.verifies_with_sha256(&message, &envelope.signature)
    };
    if !is_valid && !is_old {
        return Err(VerifyError::Signature);
    }
    let statement = Statement::parse(&envelope.payload)?;
    // The old encoding is for the old predicate: nothing newer may come in by that door.
    if is_old && statement.predicate_type != OMS_DIGESTS_TYPE {
        return Err(VerifyError::Signature);
    }
    predicate::check(&statement.predicate_type, &statement.predicate)?;
    let oms = OmsPredicate::is_oms_type(&statement.predicate_type)
        .then(|| OmsPredicate::from_statement(&statement))
        .transpose()?;
    let r = signature_r(&envelope.signature).ok_or(VerifyError::Signature)?;
    let digest = envelope.digest();
    let signing = signing(&digest, key, &r);
    Ok(Signed { statement, oms, key: key.clone(), digest, signing })
}

/// All three parts have a length that the first two of them fix.
fn signing(digest: &Sha256, key: &PublicKey, r: &[u8]) -> Sha256 {
    Sha256::of(&[digest.as_bytes().as_slice(), key.id().as_bytes(), r].concat())
}

/// Checks everything that policy relies on: the signer is a principal of `roles`, by a key or by a
/// certificate, the signature is valid, the statement is well-formed, and a log of `root` holds it.
///
/// The trusted time is the log-signed time: that of the log's own cosignature on the checkpoint in
/// which the entry is proven. Roles are those of that time, and a key that was lost by then does not
/// count. The caller's clock plays no part.
///
/// # Errors
/// [`VerifyError`].
pub fn verify(
    bundle: &Bundle,
    roles: &RoleBinding,
    root: &TrustedRoot,
) -> Result<Verified, VerifyError> {
    let (verified, ended) = check(bundle, roles, root)?;
    ended.map_or(Ok(verified), Err)
}

/// A statement that [`verify`] refuses only because the key had ended, if it says no: a rejection, a
/// revocation, or a test result that is not `PASSED`. `None` for everything else.
///
/// Whoever took a key must not speak with it, and its loss must not make what it had refused allowed. What
/// this gives may make a decision a no, and must never make one a yes: a revocation can also take back a
/// no.
pub fn verify_no(bundle: &Bundle, roles: &RoleBinding, root: &TrustedRoot) -> Option<Verified> {
    let (verified, ended) = check(bundle, roles, root).ok()?;
    (ended.is_some() && verified.statement().says_no()).then_some(verified)
}

/// All but whether the key had ended, and that.
fn check(
    bundle: &Bundle,
    roles: &RoleBinding,
    root: &TrustedRoot,
) -> Result<(Verified, Option<VerifyError>), VerifyError> {
    let (principal, key_ids, signed, logged) = match bundle.material() {
        VerificationMaterial::PublicKey { hint } => {
            let unknown = || VerifyError::UnknownSigner { hint: hint.clone() };
            let (principal, key) = roles.holder(hint).ok_or_else(unknown)?;
            let signed = check_signature(bundle, key)?;
            let logged = signed.check_log(bundle, root)?;
            (principal, vec![key.id()], signed, logged)
        }
        VerificationMaterial::Certificates(chain) => {
            // Nobody is known by certificates.
            if roles.identities().next().is_none() {
                return Err(VerifyError::NotKeySigned);
            }
            let leaf = chain.first().ok_or(VerifyError::NotCertificateSigned)?;
            let signed = check_with_key(bundle, &certified_key(leaf)?)?;
            let logged = signed.check_log(bundle, root)?;
            let holder = Certified { bundle, chain, key: signed.key(), at: logged.time };
            let (principal, key_ids) = holder.find(roles, root)?;
            (principal, key_ids, signed, logged)
        }
    };
    // Of several ways in which it is somebody's, none may have ended; a loss is the worse end.
    let ends = key_ids.iter().filter_map(|id| principal.ended_at(id, logged.time));
    let ended = ends.max_by_key(|ended| ended.reason == EndReason::Lost);
    let ended = ended.map(|ended| VerifyError::KeyEnded {
        principal: principal.name.clone(),
        reason: ended.reason,
        counts_before: ended.counts_before,
        logged: logged.time,
    });
    let key_id = key_ids.into_iter().next().unwrap_or_else(|| signed.key().id());
    let roles = principal.roles_at(logged.time);
    let signer = SignerIdentity { principal: principal.name.clone(), key_id, roles };
    Ok((Verified { signed, signer, logged }, ended))
}

impl Signed {
    /// The statement.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// The statement, for whoever needs nothing else.
    pub(crate) fn into_statement(self) -> Statement {
        self.statement
    }

    /// The checked OMS predicate, when the statement is an OMS signature.
    pub fn oms(&self) -> Option<&OmsPredicate> {
        self.oms.as_ref()
    }

    /// The key that the signature is valid under.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Names the statement: [`crate::Envelope::digest`].
    pub fn digest(&self) -> Sha256 {
        self.digest
    }

    /// Every SHA-256 by which this statement can be found: its subjects, and the model digest that
    /// an OMS signature covers through its resources.
    pub fn subject_digests(&self) -> Vec<String> {
        let bound = self.oms.as_ref().and_then(OmsPredicate::model_digest);
        let mut digests: Vec<String> = bound.iter().map(ToString::to_string).collect();
        digests.extend(self.statement.subject_digests());
        digests.dedup();
        digests
    }

    /// Proves that a log of `root` holds this statement. `bundle` is the one it came from.
    ///
    /// # Errors
    /// [`VerifyError::NotLogged`] without an entry of a known log, [`VerifyError::LogEntry`] when
    /// there is one and it does not hold: a wrong entry is never passed over for a right one.
    pub fn check_log(&self, bundle: &Bundle, root: &TrustedRoot) -> Result<LogProof, VerifyError> {
        let body = match bundle.material() {
            VerificationMaterial::PublicKey { .. } => {
                hashedrekord_body(bundle.envelope(), &self.key)
            }
            VerificationMaterial::Certificates(chain) => {
                let leaf = chain.first().ok_or(VerifyError::NotCertificateSigned)?;
                if certified_key(leaf)? != self.key {
                    return Err(VerifyError::Signature);
                }
                certified_hashedrekord_body(bundle.envelope(), &self.key, leaf)
            }
        };
        check_log_entries(bundle.log_entries(), &body, root)
    }
}

/// Proves that a log of `root` holds an entry with this body: by the first of `entries` that is of such
/// a log. All that are of such logs must hold.
///
/// # Errors
/// [`VerifyError::NotLogged`], [`VerifyError::LogEntry`].
pub fn check_log_entries(
    entries: &[LogEntry],
    body: &[u8],
    root: &TrustedRoot,
) -> Result<LogProof, VerifyError> {
    let mut first = None;
    for entry in entries {
        let Some(log) = root.log(&entry.log_id) else { continue };
        let proof = check_entry(entry, log, body).map_err(|problem| {
            let origin = log.key.name().to_owned();
            VerifyError::LogEntry { origin, index: entry.log_index, problem }
        })?;
        first.get_or_insert(proof);
    }
    first.ok_or(VerifyError::NotLogged)
}

impl Verified {
    /// What was signed.
    pub fn statement(&self) -> &Statement {
        &self.signed.statement
    }

    /// The checked OMS predicate, when the statement is an OMS signature.
    pub fn oms(&self) -> Option<&OmsPredicate> {
        self.signed.oms()
    }

    /// Who signed.
    pub fn signer(&self) -> &SignerIdentity {
        &self.signer
    }

    /// Where and when it was logged.
    pub fn logged(&self) -> &LogProof {
        &self.logged
    }

    /// Names the statement: [`crate::Envelope::digest`].
    pub fn digest(&self) -> Sha256 {
        self.signed.digest
    }

    /// Names the act of signing: the same for two envelopes only if both have the statement, the key
    /// and the signature in common, or the twin that anybody can make of an ECDSA signature.
    ///
    /// Whoever finds one act of signing logged twice must believe the first entry only: the second
    /// may be somebody else's, who wants the statement to look newer than it is.
    pub fn signing(&self) -> Sha256 {
        self.signed.signing
    }

    /// Whether the statement is about this model digest: by a subject, or by the resources of an OMS
    /// signature.
    pub fn is_about(&self, model_digest: &Sha256) -> bool {
        match self.oms() {
            // The subject of an OMS signature is a root that covers no names: not an identity.
            Some(oms) => oms.model_digest() == Some(*model_digest),
            None => self.signed.statement.is_about(&model_digest.to_string()),
        }
    }
}

impl SignerIdentity {
    /// The principal's name.
    pub fn principal(&self) -> &str {
        &self.principal
    }

    /// [`PublicKey::id`] of the key that signed, or [`crate::CertificateIdentity::id`] if that was a key
    /// for one signature: two such keys of one person are one.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Roles at the trusted time of the signature, ascending.
    pub fn roles(&self) -> &[String] {
        &self.roles
    }
}

impl LogProof {
    /// The log's origin.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Index of the entry.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Leaves in the tree in which the entry is proven.
    pub fn tree_size(&self) -> u64 {
        self.tree_size
    }

    /// Root hash of that tree.
    pub fn root(&self) -> &[u8; 32] {
        &self.root
    }

    /// The log-signed time: the entry was in the log at this time or before.
    pub fn time(&self) -> Timestamp {
        self.time
    }
}

fn hint(bundle: &Bundle) -> Result<&str, VerifyError> {
    match bundle.material() {
        VerificationMaterial::PublicKey { hint } => Ok(hint),
        VerificationMaterial::Certificates(_) => Err(VerifyError::NotKeySigned),
    }
}

fn check_entry(
    entry: &LogEntry,
    log: &TransparencyLog,
    body: &[u8],
) -> Result<LogProof, LogProblem> {
    if (entry.kind.as_str(), entry.version.as_str()) != (HASHEDREKORD_KIND, HASHEDREKORD_VERSION) {
        return Err(LogProblem::Kind { kind: entry.kind.clone(), version: entry.version.clone() });
    }
    if entry.canonicalized_body != body {
        return Err(LogProblem::Body);
    }
    let evidence = entry.inclusion.as_ref().ok_or(LogProblem::NoProof)?;
    let checkpoint = verify_checkpoint(evidence.checkpoint.as_bytes(), &log.key)
        .map_err(|_| LogProblem::Checkpoint)?;
    check_inclusion(entry, evidence, &checkpoint)?;
    let time = checkpoint.cosigned_at().ok_or(LogProblem::NoTime)?;
    let time = Timestamp::from_unix(time).map_err(|_| LogProblem::NoTime)?;
    if !log.is_valid_at(time) {
        return Err(LogProblem::Validity { time });
    }
    Ok(LogProof {
        origin: log.key.name().to_owned(),
        index: entry.log_index,
        tree_size: checkpoint.checkpoint().size,
        root: *checkpoint.checkpoint().root.as_bytes(),
        time,
    })
}

/// RFC 6962 §2.1.1 against the *signed* size and root; what the bundle repeats of them must agree,
/// and in Rekor v2 the two indexes are one.
fn check_inclusion(
    entry: &LogEntry,
    evidence: &InclusionEvidence,
    checkpoint: &VerifiedCheckpoint,
) -> Result<(), LogProblem> {
    let root_agrees = evidence.root_hash == checkpoint.checkpoint().root.as_bytes();
    if evidence.log_index != entry.log_index || !root_agrees {
        return Err(LogProblem::Proof);
    }
    let hashes = evidence.hashes.iter().map(|bytes| Hash::from_slice(bytes)).collect::<Option<_>>();
    let proof = InclusionProof {
        index: evidence.log_index,
        size: evidence.tree_size,
        hashes: hashes.ok_or(LogProblem::Proof)?,
    };
    let leaf = leaf_hash(&entry.canonicalized_body);
    checkpoint.verify_inclusion(&proof, &leaf).map_err(|_| LogProblem::Proof)
}
