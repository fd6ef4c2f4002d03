//! Who may submit statements: bearers of tokens whose hashes are in a file.
//!
//! What a statement says counts by its signature alone. But whoever may submit can say so much about a
//! model that nobody can read it all, so an instance that strangers reach should know its writers.

use std::fs;
use std::path::Path;

use axum::http::{HeaderMap, header};
use serde::Deserialize;

use sealwright_manifest::Sha256;

use super::StartError;
use crate::error::ApiError;

/// Shorter tokens could be guessed from their hashes.
const MIN_TOKEN: usize = 32;
const MAX_TOKEN: usize = 1024;

/// The writers of an instance.
#[derive(Debug)]
pub(crate) struct Writers(Vec<Writer>);

#[derive(Debug)]
struct Writer {
    name: String,
    token: Sha256,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WritersFile {
    writer: Vec<WriterEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WriterEntry {
    /// For the service's log output.
    name: String,
    /// SHA-256 of the token, 64 lower-case hexadecimal digits.
    token_sha256: String,
}

impl Writers {
    /// Reads the file.
    pub(super) fn read(path: &Path) -> Result<Self, StartError> {
        let unusable = |problem: String| StartError::Writers { path: path.to_owned(), problem };
        let text = fs::read_to_string(path).map_err(|error| StartError::file(path, error))?;
        let file: WritersFile = toml::from_str(&text).map_err(|e| unusable(e.to_string()))?;
        let writer = |WriterEntry { name, token_sha256 }| {
            let token = Sha256::parse(&token_sha256)
                .map_err(|error| unusable(format!("token_sha256 of {name:?}: {error}")))?;
            Ok(Writer { name, token })
        };
        Ok(Self(file.writer.into_iter().map(writer).collect::<Result<_, StartError>>()?))
    }

    /// The name of whoever sends this request.
    pub(crate) fn authorise(&self, headers: &HeaderMap) -> Result<&str, ApiError> {
        let value = headers.get(header::AUTHORIZATION).ok_or(ApiError::NoWriter)?;
        let value = value.to_str().map_err(|_| ApiError::NoWriter)?;
        let (scheme, token) = value.split_once(' ').ok_or(ApiError::NoWriter)?;
        let token = token.trim();
        if !scheme.eq_ignore_ascii_case("bearer") || !(MIN_TOKEN..=MAX_TOKEN).contains(&token.len())
        {
            return Err(ApiError::NoWriter);
        }
        // Hashes are compared, of which nobody can choose one that is nearly right.
        let hash = Sha256::of(token.as_bytes());
        let writer = self.0.iter().find(|writer| writer.token == hash);
        writer.map(|writer| writer.name.as_str()).ok_or(ApiError::NoWriter)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn writers(text: &str) -> Result<Writers, StartError> {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("writers.toml");
        fs::write(&path, text).unwrap();
        Writers::read(&path)
    }

    #[test]
    fn only_bearers_of_whole_tokens_are_writers() {
        let hash = Sha256::of(TOKEN.as_bytes());
        let short = Sha256::of(b"short");
        let writers = writers(&format!(
            "[[writer]]\nname = \"ci\"\ntoken_sha256 = \"{hash}\"\n\
             [[writer]]\nname = \"weak\"\ntoken_sha256 = \"{short}\"\n"
        ))
        .unwrap();
        let who = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            writers.authorise(&headers).ok().map(str::to_owned)
        };
        assert_eq!(who(&format!("Bearer {TOKEN}")).as_deref(), Some("ci"));
        assert_eq!(who(&format!("bearer  {TOKEN} ")).as_deref(), Some("ci"));
        for value in [
            TOKEN.to_owned(),
            format!("Basic {TOKEN}"),
            format!("Bearer {}", &TOKEN[1..]),
            format!("Bearer {TOKEN}0"),
            format!("Bearer {hash}"),
            "Bearer short".to_owned(),
            "Bearer ".to_owned(),
        ] {
            assert_eq!(who(&value), None, "{value}");
        }
        assert!(writers.authorise(&HeaderMap::new()).is_err());
    }

    #[test]
    fn the_file_is_read_strictly() {
        for (text, problem) in [
            ("", "writer"),
            ("[[writer]]\nname = \"x\"", "token_sha256"),
            ("[[writer]]\nname = \"x\"\ntoken_sha256 = \"AB\"", "token_sha256 of \"x\""),
            ("[[writer]]\nname = \"x\"\ntoken = \"y\"", "unknown field"),
        ] {
            let error = writers(text).unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }
}
