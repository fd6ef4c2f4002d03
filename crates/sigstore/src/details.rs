//! What certificates, keys and timestamps say of themselves, for people to read.
//!
//! Nothing here is verified, and nothing here may be used to verify: that is what
//! [`crate::verify_artifact`] and [`crate::verify_statement`] are for. Reading is lenient where
//! verification is strict, so that what was refused can be looked at.

mod certificate;
mod key;
mod timestamp;

pub use certificate::{CertificateDetails, SctDetails};
pub use key::KeyDetails;
pub use timestamp::TimestampDetails;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// One block of a PEM text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PemBlock {
    /// Such as `CERTIFICATE`.
    pub label: String,
    /// What is in it; `None` if that is not base64.
    pub content: Option<Vec<u8>>,
}

/// The blocks of a PEM text in order; text around them, as `openssl x509 -text` writes it, is passed
/// over. A block without an end is none.
pub fn pem_blocks(text: &str) -> Vec<PemBlock> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("-----BEGIN ") {
        rest = after;
        let Some((label, after)) = after.split_once("-----") else { break };
        let Some((body, after)) = after.split_once(&format!("-----END {label}-----")) else {
            continue;
        };
        let body: String = body.split_ascii_whitespace().collect();
        blocks.push(PemBlock { label: label.to_owned(), content: STANDARD.decode(body).ok() });
        rest = after;
    }
    blocks
}

/// Bytes in lower-case hexadecimal with `:` between them, as serial numbers are written.
fn colons(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_with_text_around_them() {
        let block = |label: &str, content: Option<&[u8]>| PemBlock {
            label: label.to_owned(),
            content: content.map(<[u8]>::to_vec),
        };
        for (text, expected) in [
            ("", vec![]),
            ("-----BEGIN X-----", vec![]),
            ("-----BEGIN X-----\nYWJj\n-----END Y-----", vec![]),
            ("-----BEGIN X-----\nYWJj\n-----END X-----", vec![block("X", Some(b"abc"))]),
            ("-----BEGIN X-----\n!\n-----END X-----", vec![block("X", None)]),
            (
                "a\r\n-----BEGIN X-----\r\nYW\r\nJj\r\n-----END X-----\r\nb\n\
                 -----BEGIN OPEN-----\n-----BEGIN Y Z-----\n-----END Y Z-----\n",
                vec![block("X", Some(b"abc")), block("Y Z", Some(b""))],
            ),
        ] {
            assert_eq!(pem_blocks(text), expected, "{text:?}");
        }
    }
}
