//! PEM as it is found in keys and log entries: also with one long line, CRLF, or no newline at the
//! end, which RFC 7468's strict form does not allow.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Label and content of a text that is one PEM block.
pub(crate) fn decode(text: &str) -> Option<(&str, Vec<u8>)> {
    let (label, rest) = text.trim_ascii().strip_prefix("-----BEGIN ")?.split_once("-----")?;
    let (body, end) = rest.split_once("-----END ")?;
    if end.strip_suffix("-----")? != label || !body.starts_with(['\n', '\r']) {
        return None;
    }
    let body: String = body.split_ascii_whitespace().collect();
    Some((label, STANDARD.decode(body).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        for text in [
            "-----BEGIN X-----\nYWJj\n-----END X-----",
            "-----BEGIN X-----\r\nYW\r\nJj\r\n-----END X-----\r\n",
        ] {
            assert_eq!(decode(text), Some(("X", b"abc".to_vec())), "{text:?}");
        }
        for text in [
            "",
            "YWJj",
            "-----BEGIN X-----\nYWJj\n-----END Y-----",
            "-----BEGIN X-----YWJj\n-----END X-----",
            "-----BEGIN X-----\n!\n-----END X-----",
            "x-----BEGIN X-----\nYWJj\n-----END X-----",
            "-----BEGIN X-----\nYWJj\n-----END X-----\n-----BEGIN X-----\nYWJj\n-----END X-----",
        ] {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }
}
