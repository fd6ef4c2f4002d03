//! PEM (RFC 7468), both ways.

use der::pem::{self, LineEnding};

/// The content of a text that is one block with one of these labels; CRLF line ends are accepted.
pub(crate) fn decode(text: &str, labels: &[&str]) -> Option<Vec<u8>> {
    let text = text.trim_ascii().replace("\r\n", "\n") + "\n";
    let (label, der) = pem::decode_vec(text.as_bytes()).ok()?;
    labels.contains(&label).then_some(der)
}

/// A certificate as PEM, LF line ends, a newline at the end: what Fulcio's answers, trust bundles
/// and the certificate chain of a timestamp authority carry.
pub fn certificate_pem(der: &[u8]) -> String {
    // Only a label that is no label can fail.
    pem::encode_string("CERTIFICATE", LineEnding::LF, der).unwrap_or_default()
}

/// The certificates of a PEM text, in their order; `None` if anything else is in it.
pub fn certificates_from_pem(text: &str) -> Option<Vec<Vec<u8>>> {
    const END: &str = "-----END CERTIFICATE-----";
    text.trim_ascii().split_inclusive(END).map(|block| decode(block, &["CERTIFICATE"])).collect()
}
