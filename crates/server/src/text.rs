//! Text from outside, on its way into answers, records and logs.

/// At most `limit` characters of `text`, with `…` where more was cut off. Line breaks stay; other
/// control characters and those that change the direction of reading become `\u{fffd}`.
pub(crate) fn short(text: &str, limit: usize) -> String {
    let mut rest = text.chars().map(|c| if is_hidden(c) { char::REPLACEMENT_CHARACTER } else { c });
    let mut kept: String = rest.by_ref().take(limit).collect();
    if rest.next().is_some() {
        kept.push('…');
    }
    kept
}

/// [`short`] without line breaks.
pub(crate) fn line(text: &str, limit: usize) -> String {
    short(text, limit).replace('\n', " ")
}

/// Whether `text` is a DNS label (RFC 1123 §2.1), as the names of namespaces are.
pub(crate) fn is_dns_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_hidden(c: char) -> bool {
    let directs = matches!(
        c,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    );
    directs || (c.is_control() && c != '\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_hides_and_nothing_grows() {
        assert_eq!(short("a\u{202e}b\u{1b}[0m\nc", 100), "a\u{fffd}b\u{fffd}[0m\nc");
        assert_eq!(short("äöü", 2), "äö…");
        assert_eq!(line("a\nb", 3), "a b");
    }

    #[test]
    fn dns_labels() {
        for (text, is) in
            [("a", true), ("ml-1", true), ("", false), ("-a", false), ("A", false), ("a.b", false)]
        {
            assert_eq!(is_dns_label(text), is, "{text}");
        }
        assert!(!is_dns_label(&"a".repeat(64)));
    }
}
