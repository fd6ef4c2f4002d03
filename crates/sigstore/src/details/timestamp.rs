//! What an RFC 3161 timestamp says.

use cms::signed_data::SignerIdentifier;
use sealwright_attest::Timestamp;

use super::colons;
use crate::artifact::DigestAlgorithm;
use crate::timestamp::{Token, hash};

/// A granted timestamp as it is written; not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimestampDetails {
    /// The time that it claims.
    pub time: Timestamp,
    /// Object identifier of the authority's policy.
    pub policy: String,
    /// Hexadecimal, with `:` between the bytes.
    pub serial: String,
    /// The hash of the message imprint; `None` for those that are not accepted, such as SHA-1.
    pub hash: Option<DigestAlgorithm>,
    /// Object identifier of that hash.
    pub hash_oid: String,
    /// The hash of what was stamped.
    pub imprint: Vec<u8>,
    /// Which certificate its signer claims to have: issuer and serial number, or a key id.
    pub signer: String,
    /// DER certificates that it carries.
    pub certificates: Vec<Vec<u8>>,
}

impl TimestampDetails {
    /// Reads a DER TimeStampResp or TimeStampToken; `None` if it is malformed or was not granted.
    pub fn parse(der: &[u8]) -> Option<Self> {
        let token = Token::parse(der)?;
        let signer = match &token.signer.sid {
            SignerIdentifier::IssuerAndSerialNumber(id) => {
                format!("issued by {}, serial {}", id.issuer, colons(id.serial_number.as_bytes()))
            }
            SignerIdentifier::SubjectKeyIdentifier(id) => {
                format!("key id {}", colons(id.0.as_bytes()))
            }
        };
        let imprint = &token.info.message_imprint;
        Some(Self {
            time: token.time,
            policy: token.info.policy.to_string(),
            serial: colons(token.info.serial_number.as_bytes()),
            hash: hash(&imprint.hash_algorithm),
            hash_oid: imprint.hash_algorithm.oid.to_string(),
            imprint: imprint.hashed_message.as_bytes().to_vec(),
            signer,
            certificates: token.certificates,
        })
    }

    /// Whether the imprint is that of `message`; `None` if its hash is not known here.
    pub fn is_over(&self, message: &[u8]) -> Option<bool> {
        Some(self.hash?.hash(message) == self.imprint)
    }
}
