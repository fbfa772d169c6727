//! JSON values as Python reads them: objects keep the order of their keys, integers have any size.
//! Chat templates print tools and their arguments as they were written.

use std::fmt::{self, Write};

use indexmap::IndexMap;
use minijinja::value::Value;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

mod number;

pub(super) use number::{LongInteger, Number};

/// Lists in lists that a value may have, as many as `serde_json` takes.
const MOST_DEPTH: usize = 127;

/// An object's fields in the order of the file; of a repeated key the last value counts.
pub(super) type Object = IndexMap<String, Json>;

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    Array(Vec<Json>),
    Object(Object),
}

impl Json {
    /// The value that a JSON text is.
    pub fn from_text(text: &str) -> Result<Self, serde_json::Error> {
        if has_inexact_number(text) {
            serde_json::from_str::<IgnoredAny>(text)?;
            return exact(text.trim(), 0);
        }
        serde_json::from_str(text).map(|Simple(value)| value)
    }

    /// The value with which a text begins.
    pub fn from_first(text: &str) -> Result<Self, serde_json::Error> {
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
        values.next().transpose()?;
        Self::from_text(&text[..values.byte_offset()])
    }

    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    pub fn as_array(&self) -> Option<&[Self]> {
        if let Self::Array(items) = self { Some(items) } else { None }
    }

    pub fn as_object(&self) -> Option<&Object> {
        if let Self::Object(fields) = self { Some(fields) } else { None }
    }

    /// Null, an empty list, object or text: as good as absent.
    pub fn is_void(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Array(items) => items.is_empty(),
            Self::Object(fields) => fields.is_empty(),
            Self::String(text) => text.trim().is_empty(),
            _ => false,
        }
    }

    /// Name of the value's type, for messages.
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::Array(_) => "a list",
            Self::Object(_) => "an object",
        }
    }

    /// The value as a chat template gets it.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Null => Value::from(()),
            Self::Bool(value) => Value::from(*value),
            Self::Number(number) => number.to_value(),
            Self::String(text) => Value::from(text.as_str()),
            Self::Array(items) => Value::from(items.iter().map(Self::to_value).collect::<Vec<_>>()),
            Self::Object(fields) => {
                fields.iter().map(|(key, value)| (key.as_str(), value.to_value())).collect()
            }
        }
    }
}

/// As compact JSON; the hashes of rows are taken of it.
impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::String(text) => write_text(f, text),
            Self::Array(items) => {
                f.write_char('[')?;
                for (index, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if index > 0 { "," } else { "" })?;
                }
                f.write_char(']')
            }
            Self::Object(fields) => {
                f.write_char('{')?;
                for (index, (key, value)) in fields.iter().enumerate() {
                    f.write_str(if index > 0 { "," } else { "" })?;
                    write_text(f, key)?;
                    write!(f, ":{value}")?;
                }
                f.write_char('}')
            }
        }
    }
}

fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str(&serde_json::to_string(text).map_err(|_| fmt::Error)?)
}

/// Whether a number stands in the JSON that `serde_json` would change or refuse: an integer beyond
/// 64 bits, `-0`, or an exponent of three digits.
fn has_inexact_number(json: &str) -> bool {
    let bytes = json.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at = end_of_text(bytes, at),
            b'-' | b'0'..=b'9' => {
                let is_part = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
                let len = bytes[at..].iter().take_while(|byte| is_part(byte)).count();
                let number = &json[at..at + len];
                if len > 18 || number == "-0" || number.contains(['e', 'E']) && len > 4 {
                    return true;
                }
                at += len;
            }
            _ => at += 1,
        }
    }
    false
}

/// The place behind the text that begins at `at`.
fn end_of_text(bytes: &[u8], mut at: usize) -> usize {
    at += 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

/// The value of well-formed JSON, with its numbers as they are written.
fn exact(text: &str, depth: usize) -> Result<Json, serde_json::Error> {
    if depth > MOST_DEPTH {
        return Err(serde_json::Error::custom("recursion limit exceeded"));
    }
    match text.as_bytes().first() {
        Some(b'[') => {
            let items = members(text)?.into_iter().map(|item| exact(item, depth + 1));
            Ok(Json::Array(items.collect::<Result<_, _>>()?))
        }
        Some(b'{') => {
            let mut fields = Object::new();
            for pair in members(text)?.chunks_exact(2) {
                fields.insert(serde_json::from_str(pair[0])?, exact(pair[1], depth + 1)?);
            }
            Ok(Json::Object(fields))
        }
        Some(b'-' | b'0'..=b'9') => {
            Number::from_text(text).map(Json::Number).map_err(serde_json::Error::custom)
        }
        _ => serde_json::from_str(text).map(|Simple(value)| value),
    }
}

/// The texts of a list's items, or of an object's keys and values in turn.
fn members(text: &str) -> Result<Vec<&str>, serde_json::Error> {
    let mut members = Vec::new();
    let mut rest = &text[1..text.len() - 1];
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n', ',', ':']);
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<IgnoredAny>();
        let Some(value) = values.next() else { return Ok(members) };
        value?;
        let (member, after) = rest.split_at(values.byte_offset());
        members.push(member);
        rest = after;
    }
}

/// A value without numbers that `serde_json` would change.
struct Simple(Json);

impl<'de> Deserialize<'de> for Simple {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SimpleVisitor).map(Self)
    }
}

struct SimpleVisitor;

impl<'de> Visitor<'de> for SimpleVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Number(Number::Float(value)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Json, E> {
        Ok(Json::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(Simple(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut fields = Object::new();
        while let Some((key, Simple(value))) = map.next_entry()? {
            fields.insert(key, value);
        }
        Ok(Json::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Json {
        Json::from_text(text).expect("well-formed JSON")
    }

    #[test]
    fn objects_keep_the_order_of_their_keys() {
        let text = r#"{"b":1,"a":[true,null,"x",-2,1.5],"0":{"z":{},"y":[]}}"#;
        assert_eq!(read(text).to_string(), text);
    }

    #[test]
    fn nesting_without_end_is_an_error() {
        for inside in ["", "100000000000000000000"] {
            let deep = format!("{}{inside}", "[".repeat(100_000));
            assert!(Json::from_text(&deep).is_err());
            let closed = format!("{}{inside}{}", "[".repeat(300), "]".repeat(300));
            assert!(Json::from_text(&closed).is_err());
        }
    }

    #[test]
    fn integers_of_any_size_and_zeros_with_a_sign_are_read_as_python_reads_them() {
        let text =
            r#"{"a": [100000000000000000000, -0, -0.0], "b": "\"-0", "a": {"c": [1e5, 12]}}"#;
        assert_eq!(read(text).to_string(), r#"{"a":{"c":[100000.0,12]},"b":"\"-0"}"#);
        let long = "9".repeat(60);
        let text = format!("[100000000000000000000, -0, -0.0, -{long}, 18446744073709551615]");
        let exact = format!("[100000000000000000000,0,-0.0,-{long},18446744073709551615]");
        assert_eq!(read(&text).to_string(), exact);
        assert!(Json::from_text(&"9".repeat(5000)).is_err());
    }

    #[test]
    fn a_float_beyond_all_floats_is_infinite_as_in_python() {
        assert_eq!(read("-1e400"), Json::Number(Number::Float(f64::NEG_INFINITY)));
        assert_eq!(read("1e-400"), Json::Number(Number::Float(0.0)));
    }
}
