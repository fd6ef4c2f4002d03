//! What Rekor v2's write API takes (`CreateEntryRequest`), and the entry that is logged for it.
//!
//! A request is read as proto3 JSON: names in camelCase or snake_case, enums by name or number,
//! base64 of either alphabet with or without padding; unknown fields are an error. The signature in
//! it is verified. Who the signer is, and whether a certificate leads anywhere, is for those who
//! verify the entry later.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use serde_json::{Map, Value, json};

use sealwright_attest::{JsonError, pae, parse_strict};

use crate::artifact::DigestAlgorithm;
use crate::certificate::Certificate;
use crate::key::{Algorithm, Key};

mod made;

/// Largest request, in bytes, as in Rekor.
pub const MAX_ENTRY_REQUEST: usize = 4 << 20;

/// An entry that may be logged: kind `hashedrekord`, version `0.0.2`, its signature verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryRequest {
    body: Vec<u8>,
}

/// Why a request is not logged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryRequestError {
    /// Not JSON, too large, or a name twice.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A field is missing, unknown, there in both spellings, or of the wrong type.
    #[error("{field}: {problem}")]
    Field {
        /// The path of the field.
        field: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// The key cannot be read, or is not of an algorithm that is logged.
    #[error(
        "{field}: not an ECDSA key on P-256, P-384 or P-521, or an RSA key of 2048, 3072 or 4096 bits"
    )]
    Key {
        /// The path of the field.
        field: String,
    },
    /// `keyDetails` is not the one that goes with the key.
    #[error("{field}: {found} where the key is {expected}")]
    KeyDetails {
        /// The path of the field.
        field: String,
        /// What the request says.
        found: String,
        /// The default of the key, which is the only one that is logged.
        expected: &'static str,
    },
    /// The digest has not the length of the key's hash.
    #[error("digest: {found} bytes where {expected} are expected")]
    DigestLength {
        /// Bytes given.
        found: usize,
        /// Bytes of the key's hash.
        expected: usize,
    },
    /// The signature is not the key's over the digest.
    #[error("the signature does not verify")]
    Signature,
}

impl EntryRequestError {
    /// A stable name for scripts and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Json(_) => "JSON_MALFORMED",
            Self::Field { .. } => "REQUEST_SHAPE",
            Self::Key { .. } => "KEY_MALFORMED",
            Self::KeyDetails { .. } => "KEY_DETAILS",
            Self::DigestLength { .. } => "DIGEST",
            Self::Signature => "SIGNATURE_INVALID",
        }
    }
}

impl EntryRequest {
    /// Reads and verifies a request: `hashedRekordRequestV002`, or `dsseRequestV002`, for which the
    /// same kind of entry is logged over the hash of the envelope's PAE, as Rekor 2.3 wants it from
    /// its clients.
    ///
    /// # Errors
    /// [`EntryRequestError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, EntryRequestError> {
        let value = parse_strict(bytes, MAX_ENTRY_REQUEST)?;
        let mut request = Fields::of(value, Path::root())?;
        let hashed = request.take("hashedRekordRequestV002");
        let dsse = request.take("dsseRequestV002");
        request.end()?;
        match (hashed?, dsse?) {
            (Some(hashed), None) => Self::hashed(hashed),
            (None, Some(dsse)) => Self::dsse(dsse),
            _ => Err(Path::root().error("expected hashedRekordRequestV002 or dsseRequestV002")),
        }
    }

    /// The canonical body (RFC 8785), whose hash is the leaf of the log.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    fn hashed(field: Field) -> Result<Self, EntryRequestError> {
        let mut request = Fields::of_field(field)?;
        let digest = request.required("digest")?.bytes()?;
        let mut signature = Fields::of_field(request.required("signature")?)?;
        request.end()?;
        let content = signature.required("content")?.bytes()?;
        let verifier = Verifier::read(signature.required("verifier")?)?;
        signature.end()?;
        verifier.entry(&digest, &content)
    }

    fn dsse(field: Field) -> Result<Self, EntryRequestError> {
        let mut request = Fields::of_field(field)?;
        let envelope = request.required("envelope")?;
        let verifiers = request.required("verifiers")?;
        request.end()?;
        let [verifier] = verifiers.elements()?;
        let verifier = Verifier::read(verifier)?;

        let mut envelope = Fields::of_field(envelope)?;
        let payload = envelope.required("payload")?.bytes()?;
        let payload_type = envelope.required("payloadType")?.text()?;
        let [signature] = envelope.required("signatures")?.elements()?;
        envelope.end()?;
        let mut signature = Fields::of_field(signature)?;
        let content = signature.required("sig")?.bytes()?;
        signature.take("keyid")?.map(Field::text).transpose()?;
        signature.end()?;
        let digest = verifier.hash.hash(&pae(&payload_type, &payload));
        verifier.entry(&digest, &content)
    }
}

/// The key that a request names, and how it is written into the entry.
struct Verifier {
    key: Key,
    hash: DigestAlgorithm,
    key_details: &'static str,
    /// `publicKey` or `x509Certificate`.
    form: (&'static str, Vec<u8>),
}

impl Verifier {
    fn read(field: Field) -> Result<Self, EntryRequestError> {
        let mut verifier = Fields::of_field(field)?;
        let certificate = verifier.take("x509Certificate")?;
        let public_key = verifier.take("publicKey")?;
        let details = verifier.required("keyDetails")?;
        let path = verifier.path.clone();
        verifier.end()?;
        let (name, raw) = match (certificate, public_key) {
            (Some(field), None) => ("x509Certificate", raw_bytes(field)?),
            (None, Some(field)) => ("publicKey", raw_bytes(field)?),
            _ => return Err(path.error("expected publicKey or x509Certificate")),
        };
        let (raw, field) = raw;
        let refused = || EntryRequestError::Key { field: field.to_string() };
        let (key, der) = match name {
            "publicKey" => {
                let key = Key::from_spki(&raw).ok_or_else(refused)?;
                let spki = key.spki().to_vec();
                (key, spki)
            }
            _ => {
                let certificate = Certificate::parse(&raw).map_err(|_| refused())?;
                (certificate.key().clone(), raw.clone())
            }
        };
        // Verifiers rebuild the entry from the bundle, in DER: another encoding would never be found.
        if der != raw {
            return Err(field.error("not in DER"));
        }
        let (hash, key_details) = defaults(&key).ok_or_else(refused)?;
        let found = details.key_details()?;
        if found != key_details {
            let field = path.join("keyDetails").to_string();
            return Err(EntryRequestError::KeyDetails { field, found, expected: key_details });
        }
        Ok(Self { key, hash, key_details, form: (name, der) })
    }

    fn entry(&self, digest: &[u8], signature: &[u8]) -> Result<EntryRequest, EntryRequestError> {
        let expected = self.hash.digest_length();
        if digest.len() != expected {
            return Err(EntryRequestError::DigestLength { found: digest.len(), expected });
        }
        if !self.key.verifies_digest(self.hash, digest, signature) {
            return Err(EntryRequestError::Signature);
        }
        let (name, raw) = &self.form;
        let mut verifier = json!({"keyDetails": self.key_details});
        verifier[name] = json!({"rawBytes": STANDARD.encode(raw)});
        let body = json!({
            "apiVersion": "0.0.2",
            "kind": "hashedrekord",
            "spec": {"hashedRekordV002": {
                "data": {
                    "algorithm": self.hash.proto_name(),
                    "digest": STANDARD.encode(digest),
                },
                "signature": {"content": STANDARD.encode(signature), "verifier": verifier},
            }},
        });
        // Strings only: canonicalisation cannot fail, and an empty body verifies nothing.
        Ok(EntryRequest { body: serde_json_canonicalizer::to_vec(&body).unwrap_or_default() })
    }
}

/// The one hash and `keyDetails` with which a key's signatures are logged: verifiers rebuild the entry
/// with them.
fn defaults(key: &Key) -> Option<(DigestAlgorithm, &'static str)> {
    let details = match key.algorithm() {
        Algorithm::P256 => "PKIX_ECDSA_P256_SHA_256",
        Algorithm::P384 => "PKIX_ECDSA_P384_SHA_384",
        Algorithm::P521 => "PKIX_ECDSA_P521_SHA_512",
        Algorithm::Rsa => match key.rsa_bits()? {
            2048 => "PKIX_RSA_PKCS1V15_2048_SHA256",
            3072 => "PKIX_RSA_PKCS1V15_3072_SHA256",
            4096 => "PKIX_RSA_PKCS1V15_4096_SHA256",
            _ => return None,
        },
        Algorithm::Ed25519 => return None,
    };
    Some((key.default_hash()?, details))
}

fn raw_bytes(field: Field) -> Result<(Vec<u8>, Path), EntryRequestError> {
    let mut fields = Fields::of_field(field)?;
    let raw = fields.required("rawBytes")?;
    let path = raw.path.clone();
    // `PublicKey` and `X509Certificate` are the only messages here with more fields than are used.
    fields.end()?;
    Ok((raw.bytes()?, path))
}

/// Where a field is, for errors.
#[derive(Clone)]
struct Path(String);

impl Path {
    fn root() -> Self {
        Self(String::new())
    }

    fn join(&self, name: &str) -> Self {
        if self.0.is_empty() { Self(name.to_owned()) } else { Self(format!("{}.{name}", self.0)) }
    }

    fn error(&self, problem: &'static str) -> EntryRequestError {
        EntryRequestError::Field { field: self.to_string(), problem }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "request" } else { &self.0 })
    }
}

/// A value and where it is.
struct Field {
    path: Path,
    value: Value,
}

/// The members of a message that have not been taken yet.
struct Fields {
    path: Path,
    members: Map<String, Value>,
}

impl Fields {
    fn of(value: Value, path: Path) -> Result<Self, EntryRequestError> {
        match value {
            Value::Object(members) => Ok(Self { path, members }),
            _ => Err(path.error("expected an object")),
        }
    }

    fn of_field(field: Field) -> Result<Self, EntryRequestError> {
        Self::of(field.value, field.path)
    }

    /// The member of that camelCase name, or of the same in snake_case; `null` is as good as absent.
    fn take(&mut self, name: &str) -> Result<Option<Field>, EntryRequestError> {
        let path = self.path.join(name);
        let snake = snake_case(name);
        let camel = self.members.remove(name);
        let snake = if snake == name { None } else { self.members.remove(&snake) };
        let value = match (camel, snake) {
            (Some(_), Some(_)) => return Err(path.error("there in two spellings")),
            (value, None) | (None, value) => value,
        };
        Ok(value.filter(|value| !value.is_null()).map(|value| Field { path, value }))
    }

    fn required(&mut self, name: &str) -> Result<Field, EntryRequestError> {
        self.take(name)?.ok_or_else(|| self.path.join(name).error("missing"))
    }

    fn end(self) -> Result<(), EntryRequestError> {
        match self.members.keys().next() {
            Some(name) => Err(self.path.join(name).error("unknown field")),
            None => Ok(()),
        }
    }
}

impl Field {
    fn text(self) -> Result<String, EntryRequestError> {
        match self.value {
            Value::String(text) => Ok(text),
            _ => Err(self.path.error("expected a string")),
        }
    }

    fn bytes(self) -> Result<Vec<u8>, EntryRequestError> {
        let path = self.path.clone();
        let text = self.text()?;
        let config =
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let is_url = text.contains(['-', '_']);
        let alphabet = if is_url { alphabet::URL_SAFE } else { alphabet::STANDARD };
        let decoded = GeneralPurpose::new(&alphabet, config).decode(text);
        let bytes = decoded.map_err(|_| path.error("expected base64"))?;
        if bytes.is_empty() { Err(path.error("empty")) } else { Ok(bytes) }
    }

    fn elements<const N: usize>(self) -> Result<[Field; N], EntryRequestError> {
        let Value::Array(values) = self.value else {
            return Err(self.path.error("expected an array"));
        };
        let field = |(index, value)| Field { path: self.path.join(&format!("{index}")), value };
        let fields: Vec<Field> = values.into_iter().enumerate().map(field).collect();
        fields.try_into().map_err(|_| self.path.error("expected exactly one"))
    }

    /// `PublicKeyDetails` of sigstore_common.proto, by name or number; any other name as it is.
    fn key_details(self) -> Result<String, EntryRequestError> {
        let name = match self.value {
            Value::String(name) => return Ok(name),
            Value::Number(number) => match number.as_u64() {
                Some(5) => "PKIX_ECDSA_P256_SHA_256",
                Some(9) => "PKIX_RSA_PKCS1V15_2048_SHA256",
                Some(10) => "PKIX_RSA_PKCS1V15_3072_SHA256",
                Some(11) => "PKIX_RSA_PKCS1V15_4096_SHA256",
                Some(12) => "PKIX_ECDSA_P384_SHA_384",
                Some(13) => "PKIX_ECDSA_P521_SHA_512",
                _ => return Ok(number.to_string()),
            },
            _ => return Err(self.path.error("expected the name or number of an enum")),
        };
        Ok(name.to_owned())
    }
}

/// `x509Certificate` → `x509_certificate`, `hashedRekordRequestV002` → `hashed_rekord_request_v002`.
fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use sealwright_attest::{Curve, KeyFile, Signer as _};

    use super::*;

    fn request(curve: Curve, message: &[u8]) -> Value {
        let key = KeyFile::generate(curve).unwrap();
        let public = key.public_key();
        json!({"hashedRekordRequestV002": {
            "digest": STANDARD.encode(curve.hash(message)),
            "signature": {
                "content": STANDARD.encode(key.sign(message).unwrap()),
                "verifier": {
                    "publicKey": {"rawBytes": STANDARD.encode(public.spki())},
                    "keyDetails": curve.key_details(),
                },
            },
        }})
    }

    fn parse(value: &Value) -> Result<EntryRequest, EntryRequestError> {
        EntryRequest::parse(value.to_string().as_bytes())
    }

    #[test]
    fn every_curve_is_logged_as_it_was_sent() {
        for curve in [Curve::P256, Curve::P384, Curve::P521] {
            let sent = request(curve, b"message");
            let entry = parse(&sent).unwrap();
            let logged: Value = serde_json::from_slice(entry.body()).unwrap();
            let (sent, logged) =
                (&sent["hashedRekordRequestV002"], &logged["spec"]["hashedRekordV002"]);
            assert_eq!(logged["data"]["digest"], sent["digest"]);
            assert_eq!(logged["data"]["algorithm"], curve.hash_name());
            assert_eq!(logged["signature"], sent["signature"]);
        }
    }

    #[test]
    fn all_spellings_of_proto_json_give_one_entry() {
        let camel = request(Curve::P256, b"message");
        let expected = parse(&camel).unwrap();
        let text = camel.to_string();
        let snake = text
            .replace("hashedRekordRequestV002", "hashed_rekord_request_v002")
            .replace("publicKey", "public_key")
            .replace("rawBytes", "raw_bytes")
            .replace("\"keyDetails\":\"PKIX_ECDSA_P256_SHA_256\"", "\"key_details\":5");
        assert_ne!(snake, text);
        assert_eq!(EntryRequest::parse(snake.as_bytes()).unwrap(), expected);
        let mut url = camel.clone();
        for path in
            ["/hashedRekordRequestV002/digest", "/hashedRekordRequestV002/signature/content"]
        {
            let field = url.pointer_mut(path).unwrap();
            let text = field.as_str().unwrap().replace('+', "-").replace('/', "_");
            *field = text.trim_end_matches('=').into();
        }
        url["dsseRequestV002"] = Value::Null;
        assert_eq!(parse(&url).unwrap(), expected);
    }

    #[test]
    fn an_envelope_is_logged_over_its_pae() {
        let key = KeyFile::generate(Curve::P384).unwrap();
        let message = pae("application/x", b"payload");
        let signature = STANDARD.encode(key.sign(&message).unwrap());
        let dsse = json!({"dsseRequestV002": {
            "envelope": {
                "payload": STANDARD.encode(b"payload"),
                "payloadType": "application/x",
                "signatures": [{"sig": signature, "keyid": "k"}],
            },
            "verifiers": [{
                "publicKey": {"rawBytes": STANDARD.encode(key.public_key().spki())},
                "keyDetails": "PKIX_ECDSA_P384_SHA_384",
            }],
        }});
        let logged: Value = serde_json::from_slice(parse(&dsse).unwrap().body()).unwrap();
        let logged = &logged["spec"]["hashedRekordV002"];
        assert_eq!(logged["data"]["digest"], STANDARD.encode(Curve::P384.hash(&message)));
        assert_eq!(logged["signature"]["content"], signature);

        let mut two = dsse.clone();
        let twin = two["dsseRequestV002"]["envelope"]["signatures"][0].clone();
        two["dsseRequestV002"]["envelope"]["signatures"].as_array_mut().unwrap().push(twin);
        assert!(matches!(parse(&two), Err(EntryRequestError::Field { .. })));
        let mut other = dsse;
        other["dsseRequestV002"]["envelope"]["payload"] = STANDARD.encode(b"other").into();
        assert_eq!(parse(&other), Err(EntryRequestError::Signature));
    }

    #[test]
    fn refusals_name_the_field() {
        let refused = |change: fn(&mut Value)| {
            let mut value = request(Curve::P256, b"message");
            change(&mut value);
            parse(&value).unwrap_err().to_string()
        };
        let inner = "hashedRekordRequestV002";
        assert_eq!(
            refused(|v| *v = json!({})),
            "request: expected hashedRekordRequestV002 or dsseRequestV002"
        );
        assert_eq!(refused(|v| v["more"] = 1.into()), "more: unknown field");
        assert_eq!(
            refused(|v| v["hashedRekordRequestV002"]["more"] = 1.into()),
            format!("{inner}.more: unknown field")
        );
        assert_eq!(
            refused(|v| v["hashedRekordRequestV002"]["digest"] = "!".into()),
            format!("{inner}.digest: expected base64")
        );
        assert_eq!(
            refused(|v| v["hashedRekordRequestV002"]["digest"] = "AAAA".into()),
            "digest: 3 bytes where 32 are expected"
        );
        assert_eq!(
            refused(|v| {
                v["hashedRekordRequestV002"]["digest"] = STANDARD.encode([0; 32]).into();
            }),
            "the signature does not verify"
        );
        let verifier = format!("{inner}.signature.verifier");
        assert_eq!(
            refused(|v| {
                v["hashedRekordRequestV002"]["signature"]["verifier"]["keyDetails"] =
                    "PKIX_ED25519".into();
            }),
            format!("{verifier}.keyDetails: PKIX_ED25519 where the key is PKIX_ECDSA_P256_SHA_256")
        );
        assert_eq!(
            refused(|v| {
                let verifier = &mut v["hashedRekordRequestV002"]["signature"]["verifier"];
                verifier["public_key"] = verifier["publicKey"].clone();
            }),
            format!("{verifier}.publicKey: there in two spellings")
        );
        assert!(
            refused(|v| {
                let verifier = &mut v["hashedRekordRequestV002"]["signature"]["verifier"];
                verifier["publicKey"]["rawBytes"] = "AAAA".into();
            })
            .starts_with(&format!("{verifier}.publicKey.rawBytes: not an ECDSA key"))
        );
    }
}
