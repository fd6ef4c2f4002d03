//! JSON from outside: RFC 8259, and no name twice in one object.
//!
//! Parsers disagree on which of two members with one name counts, so a document that has them can
//! mean one thing to a signer and another to a verifier.

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess,
    SeqAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::{Map, Number, Value};

/// Deepest nesting of arrays and objects. `serde_json` itself ends at 127; what is read here must
/// still be readable when it stands inside of something else, such as a record of a decision.
const MAX_DEPTH: usize = 100;

/// Why bytes are not acceptable JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// More bytes than the caller allows.
    #[error("{size} bytes of JSON, more than the {limit} allowed")]
    TooLarge {
        /// Bytes given.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// A syntax error, a name twice in one object, invalid UTF-8, too deep nesting, or data after
    /// the end. The message has line and column.
    #[error("not acceptable JSON: {message}")]
    Syntax {
        /// The parser's message.
        message: String,
    },
}

/// Parses one JSON document of at most `limit` bytes; names in an object must be unique.
///
/// # Errors
/// [`JsonError`]; also for a byte order mark and for nesting deeper than 100.
pub fn parse_strict(bytes: &[u8], limit: usize) -> Result<Value, JsonError> {
    if bytes.len() > limit {
        return Err(JsonError::TooLarge { size: bytes.len(), limit });
    }
    let syntax = |error: serde_json::Error| JsonError::Syntax { message: error.to_string() };
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Unique { depth_left: MAX_DEPTH }.deserialize(&mut deserializer).map_err(syntax)?;
    deserializer.end().map_err(syntax)?;
    Ok(value)
}

/// Reads `T` from a value as `serde_json::from_value` does, but takes no array for an object.
///
/// serde reads a struct from a list of its members in order, too; no other reader of our formats
/// does, and what one tool accepts and another refuses is no format.
///
/// # Errors
/// Names what was expected and found.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, serde_json::Error> {
    T::deserialize(Exact(value))
}

struct Exact(Value);

impl<'de> Deserializer<'de> for Exact {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self.0 {
            Value::Array(items) => {
                let mut items = SeqDeserializer::new(items.into_iter().map(Exact));
                let value = visitor.visit_seq(&mut items)?;
                items.end()?;
                Ok(value)
            }
            Value::Object(members) => {
                let members = members.into_iter().map(|(name, value)| (name, Exact(value)));
                visitor.visit_map(MapDeserializer::new(members))
            }
            scalar => scalar.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        match self.0 {
            Value::Array(_) => {
                Err(Self::Error::invalid_type(serde::de::Unexpected::Seq, &"an object"))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, serde_json::Error> for Exact {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

#[derive(Clone, Copy)]
struct Unique {
    depth_left: usize,
}

impl Unique {
    /// For what is inside of an array or object.
    fn inner<E: serde::de::Error>(self) -> Result<Self, E> {
        let too_deep = || E::custom(format_args!("nested deeper than {MAX_DEPTH}"));
        Ok(Self { depth_left: self.depth_left.checked_sub(1).ok_or_else(too_deep)? })
    }
}

impl<'de> DeserializeSeed<'de> for Unique {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.contains_key(&name) {
                return Err(A::Error::custom(format_args!("name {name:?} occurs twice")));
            }
            let value = members.next_value_seed(inner)?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Value, JsonError> {
        parse_strict(text.as_bytes(), 1 << 20)
    }

    #[test]
    fn names_must_be_unique_at_every_depth() {
        assert!(parse(r#"{"a": [{"b": 1, "c": 2}]}"#).is_ok());
        for bad in [r#"{"a":1,"a":1}"#, r#"[{"x":{"a":1,"b":2,"a":3}}]"#, r#"{"a":1,"\u0061":2}"#] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.contains(r#"name "a" occurs twice"#), "{error}");
        }
    }

    #[test]
    fn an_array_is_no_object() {
        #[derive(Debug, PartialEq, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Outer {
            inner: Option<Inner>,
            list: Vec<Inner>,
            any: Value,
        }
        #[derive(Debug, PartialEq, serde::Deserialize)]
        struct Inner {
            number: f64,
        }
        let read = |text: &str| from_value::<Outer>(parse(text).unwrap());
        let inner = |number| Inner { number };
        assert_eq!(
            read(r#"{"inner": {"number": 1}, "list": [{"number": 2.5}], "any": [null, {}]}"#)
                .unwrap(),
            Outer {
                inner: Some(inner(1.0)),
                list: vec![inner(2.5)],
                any: serde_json::json!([null, {}]),
            }
        );
        assert!(read(r#"{"inner": null, "list": [], "any": null}"#).is_ok());
        for bad in [
            r#"[null, [], null]"#,
            r#"{"inner": [1], "list": [], "any": null}"#,
            r#"{"inner": null, "list": [[1]], "any": null}"#,
            r#"{"inner": null, "list": {}, "any": null}"#,
            r#"{"inner": {"number": "1"}, "list": [], "any": null}"#,
            r#"{"inner": null, "list": [], "any": null, "more": 1}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn other_surprises_are_refused() {
        for bad in ["", "{}x", "\u{feff}{}", "{'a':1}", "[1,]", "NaN", "1e999", r#""\ud800""#] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse(&"[".repeat(100_000)).is_err());
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(&nested(MAX_DEPTH)).is_ok());
        assert!(parse(&nested(MAX_DEPTH + 1)).is_err());
        assert!(parse_strict(b"\"\xff\"", 10).is_err());
        assert!(matches!(
            parse_strict(b"[1,2]", 4),
            Err(JsonError::TooLarge { size: 5, limit: 4 })
        ));
    }
}
