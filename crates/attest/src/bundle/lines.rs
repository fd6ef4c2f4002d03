//! Several bundles in one file: one bundle a line (JSON Lines).
//!
//! A file with one bundle is a plain bundle, which may have line breaks inside.

use super::{Bundle, BundleError, MAX_BUNDLE_SIZE};
use crate::json::{JsonError, parse_strict};
use crate::owners::MAX_OWNERS;

impl Bundle {
    /// Parses a file with one bundle, or with several, one a line; at least one, at most
    /// [`MAX_OWNERS`], no two of them alike, and all of them together no larger than one may be.
    ///
    /// # Errors
    /// [`BundleError`].
    pub fn parse_all(bytes: &[u8]) -> Result<Vec<Self>, BundleError> {
        let whole = match parse_strict(bytes, MAX_BUNDLE_SIZE) {
            Ok(value) => return Ok(vec![Self::from_value(value)?]),
            Err(error @ JsonError::TooLarge { .. }) => return Err(error.into()),
            Err(error @ JsonError::Syntax { .. }) => error,
        };
        let is_blank = |line: &&[u8]| line.trim_ascii().is_empty();
        let lines: Vec<_> = bytes.split(|byte| *byte == b'\n').filter(|l| !is_blank(l)).collect();
        // One document that is broken, and not the first of several.
        if lines.len() < 2
            || lines.first().is_none_or(|line| parse_strict(line, line.len()).is_err())
        {
            return Err(whole.into());
        }
        if lines.len() > MAX_OWNERS {
            return Err(BundleError::Repeated { what: "bundles" });
        }
        let mut bundles: Vec<Self> = Vec::new();
        for line in lines {
            let bundle = Self::parse(line)?;
            if bundles.contains(&bundle) {
                return Err(BundleError::Repeated { what: "bundles" });
            }
            bundles.push(bundle);
        }
        Ok(bundles)
    }

    /// The file that [`Bundle::parse_all`] reads: one bundle a line.
    pub fn to_json_lines(bundles: &[Self]) -> String {
        bundles.iter().map(|bundle| bundle.to_json() + "\n").collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Curve, KeyFile, sign};

    fn bundle() -> Bundle {
        sign(b"{}".to_vec(), &KeyFile::generate(Curve::P256).unwrap(), "").unwrap()
    }

    #[test]
    fn one_bundle_or_one_a_line() {
        let (one, two) = (bundle(), bundle());
        let text = Bundle::to_json_lines(&[one.clone(), two.clone()]);
        assert_eq!(Bundle::parse_all(text.as_bytes()), Ok(vec![one.clone(), two.clone()]));
        let spaced = format!("\n{}\r\n\n{}", one.to_json(), two.to_json());
        assert_eq!(Bundle::parse_all(spaced.as_bytes()), Ok(vec![one.clone(), two.clone()]));
        let pretty = serde_json::to_string_pretty(&one.to_value()).unwrap();
        assert_eq!(Bundle::parse_all(pretty.as_bytes()), Ok(vec![one.clone()]));
        for bad in [
            String::new(),
            "\n\n".to_owned(),
            format!("{text}{{}}"),
            format!("{text}{}", &one.to_json()[..50]),
            format!("{}{}", one.to_json(), two.to_json()),
            format!("{}\n{pretty}", two.to_json()),
            format!("{pretty}\n{pretty}"),
            Bundle::to_json_lines(&[one.clone(), two, one.clone()]),
            "[]\n[]\n".to_owned(),
        ] {
            assert!(Bundle::parse_all(bad.as_bytes()).is_err(), "{bad}");
        }
        let many: Vec<_> =
            (0..=MAX_OWNERS).map(|n| one.clone().with_key_hint(n.to_string())).collect();
        let text = Bundle::to_json_lines(&many);
        assert_eq!(
            Bundle::parse_all(text.as_bytes()),
            Err(BundleError::Repeated { what: "bundles" })
        );
        assert!(Bundle::parse_all(Bundle::to_json_lines(&many[1..]).as_bytes()).is_ok());
    }
}
