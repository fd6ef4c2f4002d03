//! `.signatures.json`: OPA's own signature of a bundle, a JSON web token that lists its files.
//!
//! It shows that somebody with the key put these files together. Who may put a policy into force is
//! said by the owners' statement (see [`crate::ApprovedPolicy`]), and not by this.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sealwright_attest::{PublicKey, SignError, Signer, fixed_signature, from_value, parse_strict};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::hashes;

/// A thousand files with their digests.
const MAX_BYTES: usize = 1024 * 1024;

/// Why a bundle is not signed as it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// No `.signatures.json`.
    #[error("the bundle is not signed")]
    Missing,
    /// Not exactly one JSON web token.
    #[error(".signatures.json: {message}")]
    Form {
        /// What is wrong with it.
        message: String,
    },
    /// Signed with another algorithm than the key's.
    #[error("the bundle is signed with {found:?}, and the key is for {wanted}")]
    Algorithm {
        /// What the token says.
        found: String,
        /// What belongs to the key's curve.
        wanted: &'static str,
    },
    /// The signature is not the key's.
    #[error("the bundle's signature is not valid under this key")]
    Signature,
    /// Made for another purpose.
    #[error("the bundle is signed for the scope {found:?}, not {wanted:?}")]
    Scope {
        /// What the token says.
        found: String,
        /// What the verifier wants.
        wanted: String,
    },
    /// Files that are not signed, or signed and not there.
    #[error("{path} is in the {place} alone")]
    File {
        /// The file.
        path: String,
        /// `bundle` or `signature`.
        place: &'static str,
    },
    /// A file is not the one that was signed.
    #[error("{path} is not the file that was signed")]
    Digest {
        /// The file.
        path: String,
    },
    /// A hash that is not to be relied on, or none.
    #[error("the hash {algorithm:?} is not accepted; SHA-256, SHA-384 and SHA-512 are")]
    Hash {
        /// What the token says.
        algorithm: String,
    },
    /// A document that must be read to be hashed, and cannot.
    #[error("{path}: {message}")]
    Document {
        /// The file.
        path: String,
        /// What is wrong with it.
        message: String,
    },
    /// The key did not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    signatures: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plugin: Option<String>,
}

/// What is signed; the claims that OPA heeds. It ignores others, such as times, and so do we.
#[derive(Deserialize)]
struct Claims {
    files: Vec<SignedFile>,
    #[serde(default)]
    scope: String,
}

#[derive(Serialize, Deserialize)]
struct SignedFile {
    name: String,
    hash: String,
    algorithm: String,
}

/// The content of `.signatures.json` for `files`.
pub(super) fn sign<'a>(
    files: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    signer: &dyn Signer,
    scope: &str,
) -> Result<Vec<u8>, SignatureError> {
    let mut listed = Vec::new();
    for (name, content) in files {
        let hash = hashes::digest(name, content, hashes::ALGORITHM)?;
        let (name, algorithm) = (name.to_owned(), hashes::ALGORITHM.to_owned());
        listed.push(SignedFile { name, hash, algorithm });
    }
    let key = signer.public_key();
    let header = json!({"alg": key.curve().jws_algorithm(), "kid": key.id(), "typ": "JWT"});
    let mut claims = json!({"files": listed, "keyid": key.id()});
    if !scope.is_empty() {
        claims["scope"] = scope.into();
    }
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(&header), encode(&claims));
    let signature = signer.sign(signed.as_bytes())?;
    let signature = fixed_signature(key.curve(), &signature).ok_or(SignError::Failed)?;
    if !key.verifies_fixed(signed.as_bytes(), &signature) {
        return Err(SignError::SelfCheck.into());
    }
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
    Ok(format!("{}\n", json!({"signatures": [token]})).into_bytes())
}

/// Checks that `document` is the signature of all of `files`, and of nothing else.
pub(super) fn verify<'a>(
    document: &[u8],
    files: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    key: &PublicKey,
    scope: &str,
) -> Result<(), SignatureError> {
    let claims = verified_claims(document, key)?;
    if claims.scope != scope {
        return Err(SignatureError::Scope { found: claims.scope, wanted: scope.to_owned() });
    }
    let mut listed = BTreeMap::new();
    for file in claims.files {
        let name = file.name.clone();
        if listed.insert(name.clone(), file).is_some() {
            return Err(form(format!("{name} is listed twice")));
        }
    }
    let mut seen = BTreeSet::new();
    for (path, content) in files {
        let only = |place| SignatureError::File { path: path.to_owned(), place };
        let file = listed.get(path).ok_or_else(|| only("bundle"))?;
        if hashes::digest(path, content, &file.algorithm)? != file.hash.to_ascii_lowercase() {
            return Err(SignatureError::Digest { path: path.to_owned() });
        }
        seen.insert(path);
    }
    match listed.into_keys().find(|name| !seen.contains(name.as_str())) {
        Some(path) => Err(SignatureError::File { path, place: "signature" }),
        None => Ok(()),
    }
}

fn verified_claims(document: &[u8], key: &PublicKey) -> Result<Claims, SignatureError> {
    let document: Document = read(document)?;
    if document.plugin.is_some_and(|plugin| !matches!(plugin.as_str(), "" | "_default")) {
        return Err(form("it was made by a plugin"));
    }
    let [token] = &document.signatures[..] else {
        return Err(form("there must be exactly one signature"));
    };
    let mut parts = token.split('.');
    let (Some(header), Some(claims), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(form("the signature is not a compact JSON web token"));
    };
    let decode =
        |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| form("the token is not base64url"));
    let fields: Value =
        parse_strict(&decode(header)?, MAX_BYTES).map_err(|error| form(error.to_string()))?;
    // The key says how it is used; a token that could choose would choose the weakest way.
    let (found, wanted) = (fields.get("alg").and_then(Value::as_str), key.curve().jws_algorithm());
    if found != Some(wanted) {
        let found = found.unwrap_or_default().to_owned();
        return Err(SignatureError::Algorithm { found, wanted });
    }
    if fields.get("crit").is_some() {
        return Err(form("the token has extensions that must be understood"));
    }
    let signed = token.rsplit_once('.').map_or("", |(signed, _)| signed);
    if !key.verifies_fixed(signed.as_bytes(), &decode(signature)?) {
        return Err(SignatureError::Signature);
    }
    read(&decode(claims)?)
}

fn read<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, SignatureError> {
    let value = parse_strict(bytes, MAX_BYTES).map_err(|error| form(error.to_string()))?;
    from_value(value).map_err(|error| form(error.to_string()))
}

fn form(message: impl Into<String>) -> SignatureError {
    SignatureError::Form { message: message.into() }
}
