//! A timestamp authority: RFC 3161, as Sigstore's clients use it.
//!
//! [`TimestampRequest`] is what was asked, [`TimestampAuthority::respond`] answers it with a
//! strictly DER `TimeStampResp`. A request that is refused is an HTTP 400 to Sigstore's clients;
//! [`rejection`] is the same refusal for clients that read RFC 3161 answers.

mod request;

use std::sync::Arc;
use std::time::Duration;

use cms::cert::{CertificateChoices, IssuerAndSerialNumber};
use cms::content_info::{CmsVersion, ContentInfo};
use cms::signed_data::{
    CertificateSet, EncapsulatedContentInfo, SignedAttributes, SignedData, SignerIdentifier,
    SignerInfo, SignerInfos,
};
use der::asn1::{
    Any, BitString, GeneralizedTime, Int, ObjectIdentifier, OctetString, SetOfVec, Uint,
};
use der::{Encode as _, Sequence, Tag};
use x509_cert::attr::Attribute;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, KeyUsages};

use sealwright_attest::{Curve, Signer, Timestamp};

use crate::error::{AuthorityError, IssueError};
use crate::oid;
use crate::x509::{self, Link};
use request::MessageImprint;
pub use request::{MAX_DER_REQUEST_SIZE, MAX_JSON_REQUEST_SIZE, TimestampRequest};

/// The policy under which time is stamped where nothing else is said: Sigstore's own identifier.
pub const SIGSTORE_TIMESTAMP_POLICY: &str = "1.3.6.1.4.1.57264.2";

/// Seconds by which the clock may be off, as every stamp says.
const ACCURACY_S: u8 = 1;

/// Why there is no time stamp.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimestampError {
    /// The request is longer than any real one.
    #[error("the timestamp request is longer than {limit} bytes")]
    TooLarge {
        /// Bytes allowed.
        limit: usize,
    },
    /// The request is not of the form that its content type says.
    #[error("malformed timestamp request: {message}")]
    Malformed {
        /// What is wrong.
        message: String,
    },
    /// SHA-1.
    #[error("weak hash algorithm in timestamp request: must be SHA-256, SHA-384 or SHA-512")]
    WeakHash,
    /// Another hash, or one with parameters.
    #[error("unsupported hash algorithm: must be SHA-256, SHA-384 or SHA-512")]
    UnknownHash,
    /// The digest is not of its algorithm.
    #[error("message digest of {found} bytes where the algorithm gives {expected}")]
    DigestLength {
        /// Bytes given.
        found: usize,
        /// Bytes of the algorithm.
        expected: usize,
    },
    /// A nonce longer than is echoed.
    #[error("the nonce is longer than {limit} bytes")]
    Nonce {
        /// Bytes allowed.
        limit: usize,
    },
    /// Extensions were asked for; none is known.
    #[error("unaccepted extension: requested extensions are not supported")]
    Extensions,
    /// A policy was asked for that is not this authority's.
    #[error("unaccepted policy: requested timestamp policy {policy} is not supported")]
    Policy {
        /// The policy asked for.
        policy: String,
    },
    /// The request is in order, but the authority cannot answer.
    #[error(transparent)]
    Authority(#[from] IssueError),
}

impl TimestampError {
    /// A stable name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too_large",
            Self::Malformed { .. } => "malformed",
            Self::WeakHash => "weak_hash",
            Self::UnknownHash => "unknown_hash",
            Self::DigestLength { .. } => "digest_length",
            Self::Nonce { .. } => "nonce",
            Self::Extensions => "extensions",
            Self::Policy { .. } => "policy",
            Self::Authority(_) => "authority",
        }
    }

    /// Whether the request is to blame, and not the authority.
    pub fn is_bad_request(&self) -> bool {
        !matches!(self, Self::Authority(_))
    }

    /// The bit of `PKIFailureInfo`, RFC 3161 §2.4.2.
    fn failure_bit(&self) -> u8 {
        match self {
            Self::WeakHash | Self::UnknownHash => 0,
            Self::Malformed { .. } | Self::DigestLength { .. } => 5,
            Self::TooLarge { .. } | Self::Nonce { .. } => 2,
            Self::Authority(IssueError::NotValidNow { .. }) => 14,
            Self::Policy { .. } => 15,
            Self::Extensions => 16,
            Self::Authority(_) => 25,
        }
    }
}

impl From<der::Error> for TimestampError {
    fn from(error: der::Error) -> Self {
        Self::Authority(error.into())
    }
}

/// Signs times with one key.
pub struct TimestampAuthority {
    signer: Arc<dyn Signer + Send + Sync>,
    links: Vec<Link>,
    policy: ObjectIdentifier,
}

impl TimestampAuthority {
    /// An authority that signs with `signer`, whose certificate is the first of `chain` (DER, up to
    /// and including the root; two certificates at least, or Sigstore's clients refuse the trusted
    /// root).
    ///
    /// # Errors
    /// [`AuthorityError`] if the certificates do not fit the key, each other, or RFC 3161 §2.3.
    pub fn new(
        signer: Arc<dyn Signer + Send + Sync>,
        chain: &[Vec<u8>],
    ) -> Result<Self, AuthorityError> {
        let links = x509::parse_chain(chain, signer.as_ref())?;
        let (Some(leaf), true) = (links.first(), links.len() > 1) else {
            return Err(AuthorityError::Profile { what: "there is no certificate above the leaf" });
        };
        check_leaf(leaf)?;
        for issuer in links.iter().skip(1) {
            let purposes = issuer.purposes()?;
            if purposes.is_some_and(|(_, purposes)| !purposes.contains(&oid::TIME_STAMPING)) {
                return Err(AuthorityError::Profile { what: "an issuer is for other purposes" });
            }
        }
        let policy = ObjectIdentifier::new_unwrap(SIGSTORE_TIMESTAMP_POLICY);
        Ok(Self { signer, links, policy })
    }

    /// The same authority under another policy, a dotted object identifier.
    ///
    /// # Errors
    /// [`AuthorityError::Policy`].
    pub fn with_policy(self, policy: &str) -> Result<Self, AuthorityError> {
        let policy =
            policy.parse().map_err(|_| AuthorityError::Policy { text: policy.to_owned() })?;
        Ok(Self { policy, ..self })
    }

    /// The certificates, DER, leaf to root: for the trusted root and for `certchain`.
    pub fn chain(&self) -> impl Iterator<Item = &[u8]> {
        self.links.iter().map(|link| link.der.as_slice())
    }

    /// A `TimeStampResp` that says that what was asked about existed at `now`, DER (RFC 3161
    /// §2.4.2).
    ///
    /// The signature is verified before it leaves. The leaf is in the answer if it was asked for,
    /// and never a certificate above it.
    ///
    /// # Errors
    /// [`TimestampError::Policy`]; [`TimestampError::Authority`] if a certificate of the chain is
    /// not valid at `now`, or the key cannot sign.
    pub fn respond(
        &self,
        request: &TimestampRequest,
        now: Timestamp,
    ) -> Result<Vec<u8>, TimestampError> {
        if let Some(policy) = request.policy.filter(|policy| *policy != self.policy) {
            return Err(TimestampError::Policy { policy: policy.to_string() });
        }
        if self.links.iter().any(|link| !link.is_valid_at(now)) {
            return Err(TimestampError::Authority(IssueError::NotValidNow { at: now }));
        }
        let since_1970 = Duration::from_secs(now.unix());
        let info = TstInfo {
            version: 1,
            policy: self.policy,
            message_imprint: request.imprint.clone(),
            serial_number: Uint::new(&x509::random_serial()?)?.into(),
            gen_time: GeneralizedTime::from_unix_duration(since_1970)?,
            accuracy: Accuracy { seconds: ACCURACY_S },
            nonce: request.nonce.clone(),
        };
        let token = self.sign(&info.to_der()?, request.wants_certificate, now)?;
        let response = TimeStampResp {
            status: PkiStatusInfo { status: 0, status_string: None, fail_info: None },
            time_stamp_token: Some(token),
        };
        Ok(response.to_der()?)
    }

    /// CMS SignedData over a `TSTInfo` (RFC 5652 §5).
    fn sign(
        &self,
        info: &[u8],
        with_certificate: bool,
        now: Timestamp,
    ) -> Result<ContentInfo, IssueError> {
        let leaf = self.links.first().ok_or(IssueError::Encoding)?;
        let curve = self.signer.public_key().curve();
        let attributes = signed_attributes(info, leaf, curve, now)?;
        // Signed as the SET OF that the implicit tag hides (§5.4).
        let signature = x509::sign_checked(self.signer.as_ref(), &attributes.to_der()?)?;
        let signer = SignerInfo {
            version: CmsVersion::V1,
            sid: SignerIdentifier::IssuerAndSerialNumber(IssuerAndSerialNumber {
                issuer: leaf.tbs().issuer.clone(),
                serial_number: leaf.tbs().serial_number.clone(),
            }),
            digest_alg: oid::digest(curve),
            signed_attrs: Some(attributes),
            signature_algorithm: oid::ecdsa(curve),
            signature: OctetString::new(signature)?,
            unsigned_attrs: None,
        };
        let certificates = with_certificate.then(|| {
            CertificateSet::try_from(vec![CertificateChoices::Certificate(leaf.parsed.clone())])
        });
        let data = SignedData {
            version: CmsVersion::V3,
            digest_algorithms: SetOfVec::try_from(vec![oid::digest(curve)])?,
            encap_content_info: EncapsulatedContentInfo {
                econtent_type: oid::TST_INFO,
                econtent: Some(Any::new(Tag::OctetString, info)?),
            },
            certificates: certificates.transpose()?,
            crls: None,
            signer_infos: SignerInfos::try_from(vec![signer])?,
        };
        Ok(ContentInfo { content_type: oid::SIGNED_DATA, content: Any::encode_from(&data)? })
    }
}

impl std::fmt::Debug for TimestampAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TimestampAuthority")
            .field("key", self.signer.public_key())
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// The refusal as a `TimeStampResp` without a token, DER: status rejection, the text, and the bit
/// of `PKIFailureInfo` that fits.
pub fn rejection(error: &TimestampError) -> Vec<u8> {
    let bit = error.failure_bit();
    let (byte, bit) = (usize::from(bit / 8), bit % 8);
    let mut bits = vec![0; byte + 1];
    if let Some(last) = bits.last_mut() {
        *last = 0x80 >> bit;
    }
    let encode = || -> der::Result<Vec<u8>> {
        TimeStampResp {
            status: PkiStatusInfo {
                status: 2,
                status_string: Some(vec![error.to_string()]),
                fail_info: Some(BitString::new(7 - bit, bits)?),
            },
            time_stamp_token: None,
        }
        .to_der()
    };
    // Three bytes and a short text cannot fail to be encoded.
    encode().unwrap_or_default()
}

/// RFC 3161 §2.3: for time stamps only, and no authority.
fn check_leaf(leaf: &Link) -> Result<(), AuthorityError> {
    let malformed = |_| AuthorityError::Malformed;
    let usage = leaf.tbs().get::<KeyUsage>().map_err(malformed)?;
    if !usage.is_some_and(|(_, usage)| usage.0.contains(KeyUsages::DigitalSignature)) {
        return Err(AuthorityError::Profile { what: "the leaf lacks digitalSignature" });
    }
    let constraints = leaf.tbs().get::<BasicConstraints>().map_err(malformed)?;
    if constraints.is_some_and(|(_, constraints)| constraints.ca) {
        return Err(AuthorityError::Profile { what: "the leaf is a certificate authority" });
    }
    if leaf.purposes()? != Some((true, vec![oid::TIME_STAMPING])) {
        return Err(AuthorityError::Profile {
            what: "the leaf is not, critically, for time stamping only",
        });
    }
    Ok(())
}

fn signed_attributes(
    info: &[u8],
    leaf: &Link,
    curve: Curve,
    now: Timestamp,
) -> der::Result<SignedAttributes> {
    let named = SigningCertificateV2 {
        certs: vec![EssCertIdV2 { cert_hash: OctetString::new(Curve::P256.hash(&leaf.der))? }],
    };
    let attributes = [
        (oid::CONTENT_TYPE, Any::encode_from(&oid::TST_INFO)?),
        (oid::SIGNING_TIME, Any::encode_from(&x509::time(now)?)?),
        (oid::MESSAGE_DIGEST, Any::encode_from(&OctetString::new(curve.hash(info))?)?),
        (oid::SIGNING_CERTIFICATE_V2, Any::encode_from(&named)?),
    ];
    let attributes = attributes
        .into_iter()
        .map(|(oid, value)| Ok(Attribute { oid, values: SetOfVec::try_from(vec![value])? }));
    // Sorts, as DER wants a SET OF.
    SetOfVec::try_from(attributes.collect::<der::Result<Vec<_>>>()?)
}

#[derive(Sequence)]
struct TimeStampResp {
    status: PkiStatusInfo,
    #[asn1(optional = "true")]
    time_stamp_token: Option<ContentInfo>,
}

#[derive(Sequence)]
struct PkiStatusInfo {
    status: u8,
    #[asn1(optional = "true")]
    status_string: Option<Vec<String>>,
    #[asn1(optional = "true")]
    fail_info: Option<BitString>,
}

/// `TSTInfo` without what this authority never says: ordering, its name, extensions.
#[derive(Sequence)]
struct TstInfo {
    version: u8,
    policy: ObjectIdentifier,
    message_imprint: MessageImprint,
    serial_number: Int,
    gen_time: GeneralizedTime,
    accuracy: Accuracy,
    #[asn1(optional = "true")]
    nonce: Option<Int>,
}

#[derive(Sequence)]
struct Accuracy {
    seconds: u8,
}

/// RFC 5035 §3, with the default hash, SHA-256, left out.
#[derive(Sequence)]
struct SigningCertificateV2 {
    certs: Vec<EssCertIdV2>,
}

#[derive(Sequence)]
struct EssCertIdV2 {
    cert_hash: OctetString,
}
