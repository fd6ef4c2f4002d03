//! RFC 3161 timestamps by the authorities of the trusted root.

use cms::cert::CertificateChoices;
use cms::content_info::ContentInfo;
use cms::signed_data::{SignedAttributes, SignedData, SignerIdentifier, SignerInfo};
use der::asn1::{Any, BitString, GeneralizedTime, Int, ObjectIdentifier, OctetString};
use der::{Decode as _, Encode as _, Sequence};
use x509_cert::ext::Extensions;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{ExtendedKeyUsage, SubjectKeyIdentifier};
use x509_cert::spki::AlgorithmIdentifierOwned;

use sealwright_attest::Timestamp;

use crate::artifact::DigestAlgorithm;
use crate::certificate::{Certificate, Purpose, check_path};
use crate::error::TimestampProblem;
use crate::key::Algorithm;
use crate::trust::{Authority, Trust};

const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const TST_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.1.4");
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
const SIGNING_CERTIFICATE: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.12");
const SIGNING_CERTIFICATE_V2: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.47");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");

/// A time that an authority of the trusted root signed over a signature.
pub(crate) struct Stamp<'t> {
    pub(crate) authority: &'t Authority,
    pub(crate) time: Timestamp,
}

impl Stamp<'_> {
    /// Whether the authority's key is of a kind that every Sigstore client knows.
    pub(crate) fn is_ecdsa_p256_or_p384(&self) -> bool {
        let leaf = self.authority.chain.first().and_then(|der| Certificate::parse(der).ok());
        leaf.is_some_and(|leaf| matches!(leaf.key().algorithm(), Algorithm::P256 | Algorithm::P384))
    }
}

/// Verifies one `TimeStampResp` (or bare `TimeStampToken`) over `signature`.
///
/// `None` if no authority of the trusted root claims to have made it: that counts for nothing, and
/// the certificates inside of it are not looked at. A claim that does not hold is an error.
pub(crate) fn verify<'t>(
    response: &[u8],
    signature: &[u8],
    trust: &'t Trust,
    now: Timestamp,
) -> Result<Option<Stamp<'t>>, TimestampProblem> {
    let token = Token::parse(response).ok_or(TimestampProblem::Malformed)?;
    let mut problem = None;
    for authority in &trust.timestamp_authorities {
        let leaf = authority.chain.first().and_then(|der| Certificate::parse(der).ok());
        let Some(leaf) = leaf.filter(|leaf| token.claims_signer(leaf)) else { continue };
        match token.verify(signature, authority, &leaf, now) {
            Ok(time) => return Ok(Some(Stamp { authority, time })),
            Err(error) => problem = Some(error),
        }
    }
    problem.map_or(Ok(None), Err)
}

/// A granted token; not verified.
pub(crate) struct Token {
    pub(crate) info: TstInfo,
    info_der: Vec<u8>,
    pub(crate) signer: SignerInfo,
    pub(crate) time: Timestamp,
    /// DER. Verification takes its certificates from the trusted root and never from here.
    pub(crate) certificates: Vec<Vec<u8>>,
}

impl Token {
    /// §2.4.2: granted, CMS SignedData over a TSTInfo, one signer.
    pub(crate) fn parse(response: &[u8]) -> Option<Self> {
        let token = match TimeStampResp::from_der(response) {
            // Granted, or granted with modifications.
            Ok(response) if response.status.status <= 1 => response.time_stamp_token?,
            Ok(_) => return None,
            Err(_) => ContentInfo::from_der(response).ok()?,
        };
        if token.content_type != SIGNED_DATA {
            return None;
        }
        let data: SignedData = token.content.decode_as().ok()?;
        if data.encap_content_info.econtent_type != TST_INFO {
            return None;
        }
        let content: OctetString = data.encap_content_info.econtent?.decode_as().ok()?;
        let info_der = content.into_bytes();
        let info = TstInfo::from_der(&info_der).ok()?;
        let critical = info.extensions.iter().flatten().any(|extension| extension.critical);
        if info.version != 1 || critical || data.signer_infos.0.len() != 1 {
            return None;
        }
        let signer = data.signer_infos.0.get(0)?.clone();
        let time = Timestamp::from_unix(info.gen_time.to_unix_duration().as_secs()).ok()?;
        let certificates = data.certificates.iter().flat_map(|set| set.0.iter());
        let certificates = certificates
            .filter_map(|choice| match choice {
                CertificateChoices::Certificate(certificate) => certificate.to_der().ok(),
                CertificateChoices::Other(_) => None,
            })
            .collect();
        Some(Self { info, info_der, signer, time, certificates })
    }

    fn claims_signer(&self, leaf: &Certificate) -> bool {
        match &self.signer.sid {
            SignerIdentifier::IssuerAndSerialNumber(id) => {
                id.issuer == leaf.tbs().issuer && id.serial_number == leaf.tbs().serial_number
            }
            SignerIdentifier::SubjectKeyIdentifier(id) => {
                leaf.tbs().get::<SubjectKeyIdentifier>().is_ok_and(|found| {
                    found.is_some_and(|(_, found)| found.0.as_bytes() == id.0.as_bytes())
                })
            }
        }
    }

    fn verify(
        &self,
        signature: &[u8],
        authority: &Authority,
        leaf: &Certificate,
        now: Timestamp,
    ) -> Result<Timestamp, TimestampProblem> {
        let at = self.time;
        let imprint = &self.info.message_imprint;
        let hash = hash(&imprint.hash_algorithm).ok_or(TimestampProblem::Malformed)?;
        if hash.hash(signature) != imprint.hashed_message.as_bytes() {
            return Err(TimestampProblem::Imprint);
        }
        if !self.is_signed_by(leaf) {
            return Err(TimestampProblem::Signature);
        }
        let path = check_path(leaf.der(), &[], authority, Purpose::TimeStamping, at);
        if path.is_err() || !is_for_timestamps_only(leaf) {
            return Err(TimestampProblem::Path { at });
        }
        if !authority.validity.contains(at) {
            return Err(TimestampProblem::Validity { at });
        }
        if at > now {
            return Err(TimestampProblem::Future { at });
        }
        Ok(at)
    }

    /// RFC 5652 §5.4 and §5.6, with the signing-certificate attribute of RFC 3161 §2.4.1.
    fn is_signed_by(&self, leaf: &Certificate) -> bool {
        let signer = &self.signer;
        let Some((hash, attributes)) = hash(&signer.digest_alg).zip(signer.signed_attrs.as_ref())
        else {
            return false;
        };
        let bound = attribute::<ObjectIdentifier>(attributes, CONTENT_TYPE) == Some(TST_INFO)
            && attribute::<OctetString>(attributes, MESSAGE_DIGEST)
                .is_some_and(|digest| digest.as_bytes() == hash.hash(&self.info_der))
            && names_certificate(attributes, leaf.der());
        // Signed as the SET OF that the implicit tag hides.
        let Ok(signed) = attributes.to_der() else { return false };
        bound && leaf.key().verifies_digest(hash, &hash.hash(&signed), signer.signature.as_bytes())
    }
}

/// RFC 3161 §2.3: the one purpose of the certificate, and marked critical.
fn is_for_timestamps_only(leaf: &Certificate) -> bool {
    leaf.tbs().get::<ExtendedKeyUsage>().is_ok_and(|purposes| {
        purposes.is_some_and(|(critical, purposes)| {
            critical && purposes.0 == [Purpose::TimeStamping.oid()]
        })
    })
}

/// The only value of an attribute that is there once.
fn attribute<T: for<'a> der::Choice<'a> + for<'a> der::DecodeValue<'a>>(
    attributes: &SignedAttributes,
    oid: ObjectIdentifier,
) -> Option<T> {
    let mut found = attributes.iter().filter(|attribute| attribute.oid == oid);
    let (attribute, None) = (found.next()?, found.next()) else { return None };
    match attribute.values.as_slice() {
        [value] => value.decode_as().ok(),
        _ => None,
    }
}

/// Whether `SigningCertificate` or `SigningCertificateV2` (RFC 5035) names this certificate first.
fn names_certificate(attributes: &SignedAttributes, der: &[u8]) -> bool {
    if let Some(named) = attribute::<SigningCertificateV2>(attributes, SIGNING_CERTIFICATE_V2) {
        return named.certs.first().is_some_and(|id| {
            let hash = id.hash_algorithm.as_ref().map_or(Some(DigestAlgorithm::Sha256), hash);
            hash.is_some_and(|hash| hash.hash(der) == id.cert_hash.as_bytes())
        });
    }
    let named = attribute::<SigningCertificate>(attributes, SIGNING_CERTIFICATE);
    named.and_then(|named| named.certs.into_iter().next()).is_some_and(|id| {
        let sha1 = &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY;
        aws_lc_rs::digest::digest(sha1, der).as_ref() == id.cert_hash.as_bytes()
    })
}

pub(crate) fn hash(algorithm: &AlgorithmIdentifierOwned) -> Option<DigestAlgorithm> {
    match algorithm.oid {
        SHA256 => Some(DigestAlgorithm::Sha256),
        SHA384 => Some(DigestAlgorithm::Sha384),
        SHA512 => Some(DigestAlgorithm::Sha512),
        _ => None,
    }
}

/// `TimeStampResp`, §2.4.2.
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

/// `TSTInfo`, §2.4.2.
#[derive(Sequence)]
pub(crate) struct TstInfo {
    version: u8,
    pub(crate) policy: ObjectIdentifier,
    pub(crate) message_imprint: MessageImprint,
    pub(crate) serial_number: Int,
    gen_time: GeneralizedTime,
    #[asn1(optional = "true")]
    accuracy: Option<Accuracy>,
    #[asn1(default = "Default::default")]
    ordering: bool,
    #[asn1(optional = "true")]
    nonce: Option<Int>,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    tsa: Option<GeneralName>,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    extensions: Option<Extensions>,
}

#[derive(Sequence)]
pub(crate) struct MessageImprint {
    pub(crate) hash_algorithm: AlgorithmIdentifierOwned,
    pub(crate) hashed_message: OctetString,
}

#[derive(Sequence)]
struct Accuracy {
    #[asn1(optional = "true")]
    seconds: Option<u64>,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", optional = "true")]
    millis: Option<u16>,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    micros: Option<u16>,
}

#[derive(Sequence)]
struct SigningCertificateV2 {
    certs: Vec<EssCertIdV2>,
    #[asn1(optional = "true")]
    policies: Option<Any>,
}

#[derive(Sequence)]
struct EssCertIdV2 {
    // The default, SHA-256, is left out.
    #[asn1(optional = "true")]
    hash_algorithm: Option<AlgorithmIdentifierOwned>,
    cert_hash: OctetString,
    #[asn1(optional = "true")]
    issuer_serial: Option<Any>,
}

#[derive(Sequence)]
struct SigningCertificate {
    certs: Vec<EssCertId>,
    #[asn1(optional = "true")]
    policies: Option<Any>,
}

#[derive(Sequence)]
struct EssCertId {
    /// SHA-1, by RFC 2634; the key that signed is pinned by other means.
    cert_hash: OctetString,
    #[asn1(optional = "true")]
    issuer_serial: Option<Any>,
}
