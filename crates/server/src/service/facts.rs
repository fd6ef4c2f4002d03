//! What a bundle is found by: read from what was verified, or from what is stored.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use sealwright_attest::{
    Bundle, IN_TOTO_PAYLOAD_TYPE, OmsPredicate, PublicKey, STATEMENT_TYPE, Signed, Statement,
    VerificationMaterial, VerifyError, check_signature, from_value, hashedrekord_body, pae,
    parse_strict,
};
use sealwright_manifest::Sha256;
use sealwright_sigstore::details::{CertificateDetails, pem_blocks};
use sealwright_sigstore::{DigestAlgorithm, EntryRequest, ManagedKey, SigstoreBundle};

use crate::error::ApiError;
use crate::state::MAX_BODY;

/// What a bundle says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    /// Names the statement: SHA-256 of the envelope's PAE, or of the artifact if that is signed itself.
    pub(super) digest: String,
    /// Empty if an artifact itself is signed.
    pub(super) predicate_type: String,
    /// SHA-256 of each subject in hex.
    pub(super) subjects: Vec<String>,
    /// Who signed.
    pub(super) signer: SignerName,
    /// The key or the certificate that the signature is valid under, in PEM.
    pub(super) verifier_pem: String,
}

/// How a signer is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SignerName {
    /// By [`PublicKey::id`].
    Key(String),
    /// By what an authority certified.
    Certificate {
        /// Subject alternative names; the certificate's subject if it has none.
        identities: Vec<String>,
        /// The OIDC issuer that vouched for it to the authority.
        issuer: Option<String>,
    },
}

impl SignerName {
    /// The signer by a key or a certificate in PEM.
    pub(super) fn of(verifier_pem: &str) -> Self {
        let certificate = pem_blocks(verifier_pem)
            .into_iter()
            .find(|block| block.label == "CERTIFICATE")
            .and_then(|block| Self::of_certificate(&block.content?));
        certificate.unwrap_or_else(|| {
            Self::Key(PublicKey::from_pem(verifier_pem).map(|key| key.id()).unwrap_or_default())
        })
    }

    /// The signer by what was logged, which stays when a statement is erased.
    pub(super) fn of_entry(body: &[u8]) -> Option<Self> {
        let body: Value = serde_json::from_slice(body).ok()?;
        let verifier = body.pointer("/spec/hashedRekordV002/signature/verifier")?;
        let der = |form: &str| STANDARD.decode(verifier[form]["rawBytes"].as_str()?).ok();
        match der("x509Certificate") {
            Some(certificate) => Self::of_certificate(&certificate),
            None => Some(Self::Key(PublicKey::from_spki(&der("publicKey")?).ok()?.id())),
        }
    }

    fn of_certificate(der: &[u8]) -> Option<Self> {
        let CertificateDetails { subject, names, oidc_issuer, .. } =
            CertificateDetails::parse(der)?;
        let mut identities: Vec<String> = names.into_iter().map(|(_, name)| name).collect();
        if identities.is_empty() {
            identities.push(subject);
        }
        Some(Self::Certificate { identities, issuer: oidc_issuer })
    }

    /// Every name by which the store finds the signer.
    pub(super) fn names(&self) -> Vec<String> {
        match self {
            Self::Key(id) => vec![id.clone()],
            Self::Certificate { identities, issuer } => {
                let mut names: Vec<_> =
                    identities.iter().map(|identity| certified(Some(identity), None)).collect();
                if let Some(issuer) = issuer {
                    names.push(certified(None, Some(issuer)));
                    names.extend(
                        identities.iter().map(|identity| certified(Some(identity), Some(issuer))),
                    );
                }
                names
            }
        }
    }

    /// For answers.
    pub(super) fn to_value(&self) -> Value {
        match self {
            Self::Key(id) => serde_json::json!({"keyId": id}),
            Self::Certificate { identities, issuer } => {
                let mut value = serde_json::json!({"identities": identities});
                if let Some(issuer) = issuer {
                    value["issuer"] = issuer.as_str().into();
                }
                value
            }
        }
    }
}

/// The name under which a signer with a certificate is found. A key's name is another, whatever the
/// certificate says.
pub(super) fn certified(identity: Option<&str>, issuer: Option<&str>) -> String {
    let part = |label: &str, text: Option<&str>| {
        text.map(|text| format!("{label} {}\n", text.replace('\n', " "))).unwrap_or_default()
    };
    part("identity", identity) + &part("issuer", issuer)
}

impl Facts {
    /// Of a statement whose signature was checked.
    pub(super) fn of_signed(signed: &Signed, verifier_pem: String) -> Self {
        Self {
            digest: signed.digest().to_string(),
            predicate_type: signed.statement().predicate_type.clone(),
            subjects: signed.subject_digests(),
            signer: SignerName::of(&verifier_pem),
            verifier_pem,
        }
    }

    /// Of a statement of version 0.1 or 1.
    pub(super) fn of_payload(payload: &[u8], verifier_pem: String) -> Result<Self, ApiError> {
        let value = parse_strict(payload, MAX_BODY)?;
        let is_current = value["_type"] == STATEMENT_TYPE;
        let statement: AnyStatement =
            from_value(value).map_err(|error| ApiError::Shape { message: error.to_string() })?;
        let mut subjects = Vec::new();
        if is_current && OmsPredicate::is_oms_type(&statement.predicate_type) {
            let whole = Statement::parse(payload).map_err(VerifyError::from)?;
            let oms = OmsPredicate::from_statement(&whole).map_err(VerifyError::from)?;
            subjects.extend(oms.model_digest().map(|digest| digest.to_string()));
        }
        let digests = statement.subject.into_iter().filter_map(|mut s| s.digest.remove("sha256"));
        subjects.extend(digests);
        subjects.dedup();
        Ok(Self {
            digest: Sha256::of(&pae(IN_TOTO_PAYLOAD_TYPE, payload)).to_string(),
            predicate_type: statement.predicate_type,
            subjects,
            signer: SignerName::of(&verifier_pem),
            verifier_pem,
        })
    }

    /// Of an artifact that is signed itself. Only by its SHA-256 can it be found again.
    pub(super) fn of_message(
        bundle: &SigstoreBundle,
        verifier_pem: String,
    ) -> Result<Self, ApiError> {
        let digest = match bundle.message_digest() {
            Some((DigestAlgorithm::Sha256, digest)) => hex::encode(digest),
            Some((algorithm, _)) => {
                return Err(ApiError::Digest { digest: format!("messageDigest of {algorithm}") });
            }
            None => return Err(ApiError::Digest { digest: "no messageDigest".to_owned() }),
        };
        Ok(Self {
            digest: digest.clone(),
            predicate_type: String::new(),
            subjects: vec![digest],
            signer: SignerName::of(&verifier_pem),
            verifier_pem,
        })
    }

    /// Of a bundle as it is stored, with the entry that was logged for it. The signature is verified;
    /// whether a certificate was trusted then, nobody can say any more.
    pub(super) fn of_stored(
        bundle: &[u8],
        verifier_pem: &str,
    ) -> Result<(Self, Vec<u8>), ApiError> {
        let value: Value = parse_strict(bundle, sealwright_attest::MAX_BUNDLE_SIZE)?;
        let pem = verifier_pem.to_owned();
        let refused = |error: sealwright_sigstore::BundleError| ApiError::NotVerified {
            step: "bundle-malformed",
            message: error.to_string(),
        };
        if value["verificationMaterial"]["publicKey"].is_object() {
            if value["messageSignature"].is_object() {
                let bundle = SigstoreBundle::from_value(value).map_err(refused)?;
                let key = ManagedKey::from_pem(verifier_pem).ok();
                let entry = EntryRequest::of_bundle(&bundle, key.as_ref())?;
                return Ok((Self::of_message(&bundle, pem)?, entry.body().to_vec()));
            }
            let bundle = Bundle::from_value(value)?;
            let key = PublicKey::from_pem(verifier_pem)?;
            let signed = check_signature(&bundle, &key)?;
            let body = hashedrekord_body(bundle.envelope(), &key);
            return Ok((Self::of_signed(&signed, pem), body));
        }
        if let Ok(bundle) = SigstoreBundle::from_value(value.clone()) {
            let entry = EntryRequest::of_bundle(&bundle, None)?;
            let facts = match bundle.unverified_payload() {
                Some(payload) => Self::of_payload(payload, pem)?,
                None => Self::of_message(&bundle, pem)?,
            };
            return Ok((facts, entry.body().to_vec()));
        }
        let bundle = Bundle::from_value(value)?;
        let leaf = match bundle.material() {
            VerificationMaterial::Certificates(chain) => chain.first().cloned(),
            VerificationMaterial::PublicKey { .. } => None,
        };
        let leaf = leaf.ok_or(VerifyError::NotCertificateSigned)?;
        let envelope = bundle.envelope();
        let entry = EntryRequest::of_message(&leaf, &envelope.pae(), &envelope.signature)?;
        Ok((Self::of_payload(&envelope.payload, pem)?, entry.body().to_vec()))
    }
}

/// What a stored bundle is about, without verifying it again: SHA-256 of the subjects.
pub(super) fn subjects_of(bundle: &[u8]) -> Vec<String> {
    let Ok(value) = serde_json::from_slice::<Value>(bundle) else { return Vec::new() };
    let decode = |value: &Value| STANDARD.decode(value.as_str().unwrap_or_default()).ok();
    let message = &value["messageSignature"]["messageDigest"]["digest"];
    if message.is_string() {
        return decode(message).map(hex::encode).into_iter().collect();
    }
    decode(&value["dsseEnvelope"]["payload"])
        .and_then(|payload| Facts::of_payload(&payload, String::new()).ok())
        .map(|facts| facts.subjects)
        .unwrap_or_default()
}

/// Refuses what is not the SHA-256 of anything.
pub(super) fn check_digest(digest: &str) -> Result<(), ApiError> {
    Sha256::parse(digest)
        .map(|_| ())
        .map_err(|_| ApiError::Digest { digest: digest.chars().take(100).collect() })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnyStatement {
    predicate_type: String,
    subject: Vec<AnySubject>,
}

#[derive(Deserialize)]
struct AnySubject {
    #[serde(default)]
    digest: BTreeMap<String, String>,
}
