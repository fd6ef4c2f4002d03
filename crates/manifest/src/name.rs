//! Names of files inside a model: OMS v1.0 §6.1.2.

/// What makes a name unusable in a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Bytes that are not UTF-8.
    #[error("it is not valid UTF-8")]
    NotUtf8,
    /// The empty string.
    #[error("it is empty")]
    Empty,
    /// A leading or trailing `/`, or `//`.
    #[error("it has an empty path component")]
    EmptyComponent,
    /// A `.` or `..` component.
    #[error("it has a `.` or `..` component")]
    DotComponent,
    /// A NUL byte: no file system can hold such a name.
    #[error("it has a NUL character")]
    Nul,
}

/// Checks a relative name with `/` separators.
///
/// Names are compared byte for byte: no case folding, no Unicode normalisation. Backslash, newline,
/// control characters and colon are ordinary characters.
///
/// # Errors
/// [`InvalidName`] says which rule is broken.
pub fn check_name(name: &str) -> Result<(), InvalidName> {
    if name.is_empty() {
        return Err(InvalidName::Empty);
    }
    if name.contains('\0') {
        return Err(InvalidName::Nul);
    }
    for component in name.split('/') {
        match component {
            "" => return Err(InvalidName::EmptyComponent),
            "." | ".." => return Err(InvalidName::DotComponent),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_relative_names_pass() {
        for good in ["a", "a/b", ".hidden", "..a", "a:b", "a\\b", "new\nline", "…", "a b"] {
            assert_eq!(check_name(good), Ok(()), "{good:?}");
        }
        for (bad, why) in [
            ("", InvalidName::Empty),
            ("/a", InvalidName::EmptyComponent),
            ("a/", InvalidName::EmptyComponent),
            ("a//b", InvalidName::EmptyComponent),
            (".", InvalidName::DotComponent),
            ("a/../b", InvalidName::DotComponent),
            ("a\0", InvalidName::Nul),
        ] {
            assert_eq!(check_name(bad), Err(why), "{bad:?}");
        }
    }
}
