//! Signed certificate timestamps (RFC 6962 §3): the certificate log's promise, put into the
//! certificate. There is no way to get one but to be issued a certificate.

use der::Encode as _;
use der::asn1::OctetString;
use x509_cert::certificate::TbsCertificate;
use x509_cert::ext::Extension;

use sealwright_attest::{Curve, Signer, Timestamp};

use crate::error::IssueError;
use crate::oid;
use crate::x509;

/// `v1` and `timestamped_entry`; in a signature, `certificate_timestamp` (§3.2, §3.4).
const V1_TIMESTAMPED: [u8; 2] = [0, 0];
const PRECERT_ENTRY: [u8; 2] = [0, 1];
/// TLS `sha256`, `ecdsa` (RFC 5246 §7.4.1.4.1).
const SHA256_ECDSA: [u8; 2] = [4, 3];
const NO_EXTENSIONS: [u8; 2] = [0, 0];

/// `MerkleTreeLeaf` (§3.4) for a certificate before it has its timestamp. The timestamp's signature
/// is over these very bytes (§3.2).
///
/// A precertificate is the same with the poison in it, which logs take out again (§3.2); nobody but
/// this log sees one, so none is made.
pub(crate) fn merkle_tree_leaf(
    tbs: &TbsCertificate,
    issuer_spki: &[u8],
    at: Timestamp,
) -> Result<Vec<u8>, IssueError> {
    let tbs = tbs.to_der()?;
    let length = u32::try_from(tbs.len()).map_err(|_| IssueError::Encoding)?;
    let [0, length @ ..] = length.to_be_bytes() else { return Err(IssueError::Encoding) };
    let issuer = Curve::P256.hash(issuer_spki);
    Ok([
        V1_TIMESTAMPED.as_slice(),
        &milliseconds(at),
        &PRECERT_ENTRY,
        &issuer,
        &length,
        &tbs,
        &NO_EXTENSIONS,
    ]
    .concat())
}

/// `SignedCertificateTimestamp` over that leaf.
pub(crate) fn sign(
    leaf: &[u8],
    log_id: &[u8],
    signer: &dyn Signer,
    at: Timestamp,
) -> Result<Vec<u8>, IssueError> {
    let signature = x509::sign_checked(signer, leaf)?;
    let signature = vector(&signature)?;
    let parts =
        [&[0], log_id, &milliseconds(at), &NO_EXTENSIONS, &SHA256_ECDSA, signature.as_slice()];
    Ok(parts.concat())
}

/// The extension with a list of this one (§3.3).
pub(crate) fn list(sct: &[u8]) -> Result<Extension, IssueError> {
    let list = vector(&vector(sct)?)?;
    Ok(x509::extension(oid::SCT_LIST, false, OctetString::new(list)?.to_der()?)?)
}

fn milliseconds(at: Timestamp) -> [u8; 8] {
    // Within the year 9999 this is far from an overflow.
    at.unix().saturating_mul(1000).to_be_bytes()
}

/// `opaque <0..2^16-1>`.
fn vector(bytes: &[u8]) -> Result<Vec<u8>, IssueError> {
    let length = u16::try_from(bytes.len()).map_err(|_| IssueError::Encoding)?;
    Ok([length.to_be_bytes().as_slice(), bytes].concat())
}
