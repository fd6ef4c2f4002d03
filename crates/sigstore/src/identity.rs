//! Who must have signed: the identity in a keyless certificate.

use regex::Regex;

/// Which signer is acceptable. There is no default: either both halves are named, or the caller
/// says loudly that anybody will do.
#[derive(Debug, Clone)]
pub struct IdentityPolicy(Rule);

#[derive(Debug, Clone)]
enum Rule {
    Issued { subject: Matcher, issuer: Matcher },
    WithoutIssuer { subject: Matcher },
    Anybody,
}

/// One text compared whole: exactly, or with a pattern that must match all of it.
#[derive(Debug, Clone)]
pub struct Matcher(Form);

#[derive(Debug, Clone)]
enum Form {
    Exact(String),
    Pattern(Regex),
}

/// A pattern that is not a regular expression, or too large.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pattern:?} is not a regular expression that can be used: {message}")]
pub struct InvalidPattern {
    /// What was given.
    pub pattern: String,
    /// The parser's message.
    pub message: String,
}

/// Bytes of a compiled pattern; a policy file must not be able to fill the memory.
const PATTERN_SIZE_LIMIT: usize = 1 << 20;

impl Matcher {
    /// Matches this text and no other.
    pub fn exact(text: impl Into<String>) -> Self {
        Self(Form::Exact(text.into()))
    }

    /// Matches texts that are, as a whole, of the form of this regular expression.
    ///
    /// The pattern is anchored at both ends: `.*@bank\.example` does not match
    /// `a@bank.example.evil.example`.
    ///
    /// # Errors
    /// [`InvalidPattern`].
    pub fn pattern(pattern: &str) -> Result<Self, InvalidPattern> {
        let compile = |text: &str| {
            regex::RegexBuilder::new(text).size_limit(PATTERN_SIZE_LIMIT).build().map_err(|error| {
                InvalidPattern { pattern: pattern.to_owned(), message: error.to_string() }
            })
        };
        // Valid by itself, so that it cannot close the group that anchors it.
        compile(pattern)?;
        Ok(Self(Form::Pattern(compile(&format!(r"\A(?:{pattern})\z"))?)))
    }

    /// Whether the whole of `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        match &self.0 {
            Form::Exact(expected) => expected == text,
            Form::Pattern(pattern) => pattern.is_match(text),
        }
    }
}

impl IdentityPolicy {
    /// A signer whose subject alternative name and whose OIDC issuer both match.
    pub fn new(subject: Matcher, issuer: Matcher) -> Self {
        Self(Rule::Issued { subject, issuer })
    }

    /// A signer whose certificate names no OIDC issuer at all, as those of GitHub's own releases.
    pub fn without_issuer(subject: Matcher) -> Self {
        Self(Rule::WithoutIssuer { subject })
    }

    /// Anybody to whom a trusted authority gives a certificate; with public authorities that is
    /// everybody on Earth. The caller must judge the verified signer by other means.
    pub fn insecure_any_identity() -> Self {
        Self(Rule::Anybody)
    }

    /// Whether a certificate with these names is acceptable.
    pub fn accepts(&self, subject: &str, issuer: Option<&str>) -> bool {
        match &self.0 {
            Rule::Issued { subject: wanted, issuer: authority } => {
                wanted.matches(subject) && issuer.is_some_and(|issuer| authority.matches(issuer))
            }
            Rule::WithoutIssuer { subject: wanted } => wanted.matches(subject) && issuer.is_none(),
            Rule::Anybody => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_texts() {
        let matcher = Matcher::pattern(r"trainer|.*@bank\.example").unwrap();
        for (text, expected) in [
            ("trainer", true),
            ("a@bank.example", true),
            ("trainers", false),
            ("the trainer", false),
            ("a@bank.example.evil.example", false),
            ("a@bank.example\n", false),
            ("evil\na@bank.example", false),
            ("a@bankxexample", false),
        ] {
            assert_eq!(matcher.matches(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_pattern_cannot_leave_its_anchors() {
        for pattern in ["a)|(b", "a)|(?:b", "(?x)a #", "(", "a{1000000}"] {
            assert!(Matcher::pattern(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn both_halves_must_match() {
        let exact = IdentityPolicy::new(Matcher::exact("a"), Matcher::exact("b"));
        assert!(exact.accepts("a", Some("b")));
        assert!(!exact.accepts("a", Some("c")));
        assert!(!exact.accepts("x", Some("b")));
        assert!(!exact.accepts("a", None));
        let bare = IdentityPolicy::without_issuer(Matcher::exact("a"));
        assert!(bare.accepts("a", None));
        assert!(!bare.accepts("a", Some("b")));
        assert!(IdentityPolicy::insecure_any_identity().accepts("x", None));
    }
}
