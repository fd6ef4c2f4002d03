//! What is asked of a timestamp authority: RFC 3161 §2.4.1 as DER, or Sigstore's JSON form.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use der::asn1::{AnyRef, Int, Null, ObjectIdentifier, OctetString, Uint};
use der::{Decode as _, Encode as _, Sequence};
use serde::Deserialize;
use x509_cert::spki::AlgorithmIdentifierOwned;

use sealwright_attest::{from_value, parse_strict};

use super::TimestampError;
use crate::oid;

/// Longest request, DER. A real one is below 150 bytes.
pub const MAX_DER_REQUEST_SIZE: usize = 4096;

/// Longest request, JSON; the limit of Sigstore's own authority.
pub const MAX_JSON_REQUEST_SIZE: usize = 1024;

/// Longest nonce in bytes. Clients send 8 or 16.
const MAX_NONCE: usize = 32;

/// A well-formed request for a time stamp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimestampRequest {
    pub(super) imprint: MessageImprint,
    pub(super) policy: Option<ObjectIdentifier>,
    pub(super) nonce: Option<Int>,
    pub(super) wants_certificate: bool,
}

/// `MessageImprint`, kept as it came so that it is answered as it came.
#[derive(Debug, Clone, PartialEq, Eq, Sequence)]
pub(super) struct MessageImprint {
    hash_algorithm: AlgorithmIdentifierOwned,
    hashed_message: OctetString,
}

#[derive(Sequence)]
struct TimeStampReq<'a> {
    version: u8,
    message_imprint: MessageImprint,
    #[asn1(optional = "true")]
    req_policy: Option<ObjectIdentifier>,
    #[asn1(optional = "true")]
    nonce: Option<Int>,
    #[asn1(default = "Default::default")]
    cert_req: bool,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", optional = "true")]
    extensions: Option<Vec<AnyRef<'a>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireRequest {
    #[serde(rename = "artifactHash")]
    artifact_hash: String,
    #[serde(default)]
    certificates: Option<bool>,
    #[serde(rename = "hashAlgorithm")]
    hash_algorithm: String,
    #[serde(default)]
    nonce: Option<u64>,
    #[serde(default, rename = "tsaPolicyOID")]
    tsa_policy_oid: Option<String>,
}

impl TimestampRequest {
    /// Parses a DER `TimeStampReq` (`application/timestamp-query`).
    ///
    /// # Errors
    /// [`TimestampError`]: not DER, too long, another version, a weak or unknown hash, a digest of
    /// the wrong length, extensions, a nonce of more than 32 bytes.
    pub fn from_der(bytes: &[u8]) -> Result<Self, TimestampError> {
        if bytes.len() > MAX_DER_REQUEST_SIZE {
            return Err(TimestampError::TooLarge { limit: MAX_DER_REQUEST_SIZE });
        }
        let request = TimeStampReq::from_der(bytes)
            .map_err(|_| TimestampError::Malformed { message: "not a DER TimeStampReq".into() })?;
        if request.version != 1 {
            return Err(TimestampError::Malformed { message: "its version is not 1".into() });
        }
        if request.extensions.is_some() {
            return Err(TimestampError::Extensions);
        }
        Self {
            imprint: request.message_imprint,
            policy: request.req_policy,
            nonce: request.nonce,
            wants_certificate: request.cert_req,
        }
        .check()
    }

    /// Parses Sigstore's JSON form (`application/json`):
    /// `{"artifactHash":base64,"hashAlgorithm":"sha256","certificates":bool,"nonce":0…2^64-1,
    /// "tsaPolicyOID":"1.2.3"}`, of which the first two are required. Unknown members are refused.
    ///
    /// # Errors
    /// As [`TimestampRequest::from_der`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, TimestampError> {
        if bytes.len() > MAX_JSON_REQUEST_SIZE {
            return Err(TimestampError::TooLarge { limit: MAX_JSON_REQUEST_SIZE });
        }
        let malformed = |message: String| TimestampError::Malformed { message };
        let json = parse_strict(bytes, MAX_JSON_REQUEST_SIZE)
            .map_err(|error| malformed(error.to_string()))?;
        let wire: WireRequest = from_value(json).map_err(|error| malformed(error.to_string()))?;
        let oid = match wire.hash_algorithm.to_ascii_lowercase().as_str() {
            "sha256" => oid::SHA256,
            "sha384" => oid::SHA384,
            "sha512" => oid::SHA512,
            "sha1" => return Err(TimestampError::WeakHash),
            _ => return Err(TimestampError::UnknownHash),
        };
        let digest = STANDARD
            .decode(&wire.artifact_hash)
            .map_err(|_| malformed("artifactHash is not standard base64".into()))?;
        let policy = wire.tsa_policy_oid.filter(|text| !text.is_empty()).map(|text| {
            text.parse().map_err(|_| malformed("tsaPolicyOID is not an object identifier".into()))
        });
        let encoded = |_| malformed("it cannot be encoded".into());
        let nonce = wire.nonce.map(|nonce| Uint::new(&nonce.to_be_bytes()).map(Int::from));
        Self {
            imprint: MessageImprint {
                hash_algorithm: AlgorithmIdentifierOwned { oid, parameters: Some(Null.into()) },
                hashed_message: OctetString::new(digest).map_err(encoded)?,
            },
            policy: policy.transpose()?,
            nonce: nonce.transpose().map_err(encoded)?,
            wants_certificate: wire.certificates.unwrap_or_default(),
        }
        .check()
    }

    /// Whether the authority's certificate is to be in the answer.
    pub fn wants_certificate(&self) -> bool {
        self.wants_certificate
    }

    /// The digest that is to be stamped.
    pub fn digest(&self) -> &[u8] {
        self.imprint.hashed_message.as_bytes()
    }

    fn check(self) -> Result<Self, TimestampError> {
        let algorithm = &self.imprint.hash_algorithm;
        let expected = match algorithm.oid {
            oid::SHA256 => digest::SHA256_OUTPUT_LEN,
            oid::SHA384 => digest::SHA384_OUTPUT_LEN,
            oid::SHA512 => digest::SHA512_OUTPUT_LEN,
            oid::SHA1 => return Err(TimestampError::WeakHash),
            _ => return Err(TimestampError::UnknownHash),
        };
        // RFC 5754 §2: absent, or NULL.
        let null = Null.to_der().ok();
        let parameters = algorithm.parameters.as_ref().map(|any| any.to_der().ok());
        if parameters.is_some_and(|parameters| parameters != null) {
            return Err(TimestampError::UnknownHash);
        }
        let found = self.digest().len();
        if found != expected {
            return Err(TimestampError::DigestLength { found, expected });
        }
        if self.nonce.as_ref().is_some_and(|nonce| nonce.as_bytes().len() > MAX_NONCE) {
            return Err(TimestampError::Nonce { limit: MAX_NONCE });
        }
        Ok(self)
    }
}
