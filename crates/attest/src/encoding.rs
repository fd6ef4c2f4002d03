//! Standard base64 (RFC 4648 §4, with padding) as serde fields, and the integers of proto3 JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serializer, de};

pub(crate) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub(crate) fn decode(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    STANDARD.decode(text)
}

/// `#[serde(with = "encoding::base64_bytes")]` for `Vec<u8>`.
pub(crate) mod base64_bytes {
    use super::{Deserialize, Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(d)?;
        super::decode(&text).map_err(|_| de::Error::custom("expected standard base64 with padding"))
    }
}

/// proto3 JSON writes 64-bit integers as strings; a reader takes numbers too.
pub(crate) mod proto_u64 {
    use serde_json::Value;

    use super::{Deserialize, Deserializer, Serializer, de};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's `with` gives references")]
    pub(crate) fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
        let value = Value::deserialize(d)?;
        let number = match &value {
            Value::Number(number) => number.as_u64(),
            // `007` and `+7` are not what any writer produces.
            Value::String(text) => {
                text.parse().ok().filter(|number: &u64| number.to_string() == *text)
            }
            _ => None,
        };
        number.ok_or_else(|| de::Error::custom("expected a non-negative 64-bit integer"))
    }
}
