//! The `tojson` filter of chat templates: Python's `json.dumps`, which is what they were written
//! against; Jinja's own filter escapes HTML.

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind};

use super::budget::{MOST_OF_ONE, limit};
use super::python_text::python_float;
use crate::json::LongInteger;

/// Blanks for each step to the right.
const MOST_INDENT: usize = 80;
/// Lists in lists: JSON rows may have 128.
const MOST_DEPTH: usize = 200;

/// `json.dumps(value, ensure_ascii=False, indent=.., separators=.., sort_keys=..)`, as
/// transformers calls it.
#[expect(clippy::needless_pass_by_value, reason = "the signature that makes it a filter")]
pub(super) fn to_json(value: &Value, arguments: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = arguments.get("indent")?;
    if indent.is_some_and(|width| width > MOST_INDENT) {
        let message = format!("tojson: indent is {MOST_INDENT} at most");
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    let ensure_ascii: Option<bool> = arguments.get("ensure_ascii")?;
    let sort_keys: Option<bool> = arguments.get("sort_keys")?;
    let separators: Option<Vec<String>> = arguments.get("separators")?;
    arguments.assert_all_used()?;
    // Python leaves no blank at the end of an indented line.
    let between = if indent.is_some() { "," } else { ", " };
    let [item, key] = match separators.as_deref() {
        None => [between, ": "].map(str::to_owned),
        Some([item, key]) => [item.clone(), key.clone()],
        Some(_) => {
            let message = "tojson: separators are a pair of texts";
            return Err(Error::new(ErrorKind::InvalidOperation, message));
        }
    };
    let ensure_ascii = ensure_ascii.unwrap_or(false);
    let value = if sort_keys == Some(true) { sorted(value)? } else { value.clone() };
    let mut writer = Writer { text: String::new(), item, key, indent, ensure_ascii };
    writer.value(&value, 0)?;
    Ok(writer.text.into())
}

/// The value with the keys of every object in ascending order.
fn sorted(value: &Value) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::Map => {
            let mut keys: Vec<Value> = value.try_iter()?.collect();
            keys.sort();
            let fields =
                keys.into_iter().map(|key| Ok((key.clone(), sorted(&value.get_item(&key)?)?)));
            Ok(fields.collect::<Result<Vec<_>, Error>>()?.into_iter().collect())
        }
        ValueKind::Seq => {
            let items = value.try_iter()?.map(|item| sorted(&item));
            Ok(Value::from(items.collect::<Result<Vec<_>, Error>>()?))
        }
        _ => Ok(value.clone()),
    }
}

/// Writes JSON as Python does.
struct Writer {
    text: String,
    /// Between two items, and between a key and its value.
    item: String,
    key: String,
    indent: Option<usize>,
    ensure_ascii: bool,
}

impl Writer {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > MOST_DEPTH {
            return Err(limit(format!("tojson: lists in lists, more than {MOST_DEPTH} deep")));
        }
        match value.kind() {
            ValueKind::None => self.push("null")?,
            ValueKind::Bool => self.push(if value.is_true() { "true" } else { "false" })?,
            ValueKind::Number => self.push(&number(value))?,
            ValueKind::String => self.string(value.as_str().unwrap_or_default())?,
            ValueKind::Seq | ValueKind::Iterable => {
                self.open("[")?;
                let mut is_empty = true;
                for item in value.try_iter()? {
                    self.next(is_empty, depth + 1)?;
                    is_empty = false;
                    self.value(&item, depth + 1)?;
                }
                self.close("]", is_empty, depth)?;
            }
            ValueKind::Map => {
                self.open("{")?;
                let mut is_empty = true;
                for key in value.try_iter()? {
                    self.next(is_empty, depth + 1)?;
                    is_empty = false;
                    self.name(&key)?;
                    let between = self.key.clone();
                    self.push(&between)?;
                    self.value(&value.get_item(&key)?, depth + 1)?;
                }
                self.close("}", is_empty, depth)?;
            }
            _ if value.downcast_object_ref::<LongInteger>().is_some() => {
                self.push(&value.to_string())?;
            }
            ValueKind::Undefined => return Err(not_serializable("Undefined")),
            kind => return Err(not_serializable(&kind.to_string())),
        }
        Ok(())
    }

    /// The key of an object, which Python makes a text.
    fn name(&mut self, key: &Value) -> Result<(), Error> {
        match key.kind() {
            ValueKind::String => self.string(key.as_str().unwrap_or_default()),
            ValueKind::None => self.string("null"),
            ValueKind::Bool => self.string(if key.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.string(&number(key)),
            kind => Err(not_serializable(&format!("a {kind} as a key"))),
        }
    }

    fn open(&mut self, bracket: &str) -> Result<(), Error> {
        self.push(bracket)
    }

    fn next(&mut self, is_first: bool, depth: usize) -> Result<(), Error> {
        if !is_first {
            let between = self.item.clone();
            self.push(&between)?;
        }
        self.new_line(depth)
    }

    fn close(&mut self, bracket: &str, is_empty: bool, depth: usize) -> Result<(), Error> {
        if !is_empty {
            self.new_line(depth)?;
        }
        self.push(bracket)
    }

    fn new_line(&mut self, depth: usize) -> Result<(), Error> {
        match self.indent {
            Some(width) => self.push(&format!("\n{:1$}", "", width * depth)),
            None => Ok(()),
        }
    }

    fn string(&mut self, text: &str) -> Result<(), Error> {
        self.push("\"")?;
        for char in text.chars() {
            match char {
                '"' => self.push("\\\"")?,
                '\\' => self.push("\\\\")?,
                '\u{8}' => self.push("\\b")?,
                '\u{c}' => self.push("\\f")?,
                '\n' => self.push("\\n")?,
                '\r' => self.push("\\r")?,
                '\t' => self.push("\\t")?,
                '\0'..='\u{1f}' => self.push(&format!("\\u{:04x}", u32::from(char)))?,
                _ if self.ensure_ascii && (!char.is_ascii() || char == '\u{7f}') => {
                    for unit in char.encode_utf16(&mut [0; 2]) {
                        self.push(&format!("\\u{unit:04x}"))?;
                    }
                }
                _ => self.push(char.encode_utf8(&mut [0; 4]))?,
            }
        }
        self.push("\"")
    }

    /// Up to the largest text that a template may make.
    fn push(&mut self, text: &str) -> Result<(), Error> {
        if self.text.len() + text.len() > MOST_OF_ONE {
            return Err(limit(format!("it writes more than {} MiB of JSON", MOST_OF_ONE >> 20)));
        }
        self.text.push_str(text);
        Ok(())
    }
}

fn not_serializable(what: &str) -> Error {
    let message = format!("tojson: {what} is not JSON serializable");
    Error::new(ErrorKind::BadSerialization, message)
}

/// As Python's `json` writes a number.
fn number(value: &Value) -> String {
    match f64::try_from(value.clone()) {
        Ok(float) if !value.is_integer() => match float {
            f64::INFINITY => "Infinity".to_owned(),
            f64::NEG_INFINITY => "-Infinity".to_owned(),
            _ if float.is_nan() => "NaN".to_owned(),
            _ => python_float(float),
        },
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use minijinja::{Environment, context};

    use super::*;

    fn written_of(json: &str, arguments: &str) -> String {
        let mut environment = Environment::new();
        environment.add_filter("tojson", to_json);
        let value = crate::json::Json::from_text(json).expect("JSON");
        let value = value.to_value();
        environment
            .render_str(&format!("{{{{ value | tojson{arguments} }}}}"), context! { value })
            .unwrap_or_else(|error| error.to_string())
    }

    fn written(arguments: &str) -> String {
        let json = r#"{"b": [1, 2.5, 1e22, 1e-7], "a": {}, "é": "<'\n\u0001😀>"}"#;
        written_of(json, arguments)
    }

    #[test]
    fn integers_keep_all_their_digits_and_infinite_floats_their_names() {
        let long = "1".repeat(60);
        let json =
            format!("[100000000000000000000, -0, -0.0, {long}, 1e400, 18446744073709551615]");
        let expected =
            format!("[100000000000000000000, 0, -0.0, {long}, Infinity, 18446744073709551615]");
        assert_eq!(written_of(&json, ""), expected);
    }

    #[test]
    fn what_python_cannot_write_is_an_error() {
        let mut environment = Environment::new();
        environment.add_filter("tojson", to_json);
        let error = environment.render_str("{{ nothing | tojson }}", ()).unwrap_err();
        assert!(error.to_string().contains("Undefined is not JSON serializable"), "{error}");
    }

    #[test]
    fn values_are_written_as_python_writes_them() {
        assert_eq!(written(""), r#"{"b": [1, 2.5, 1e+22, 1e-07], "a": {}, "é": "<'\n\u0001😀>"}"#);
        assert_eq!(
            written("(indent=2)"),
            "{\n  \"b\": [\n    1,\n    2.5,\n    1e+22,\n    1e-07\n  ],\n  \"a\": {},\n  \"é\": \
             \"<'\\n\\u0001😀>\"\n}"
        );
        assert_eq!(
            written("(ensure_ascii=true, sort_keys=true, separators=(',', ':'))"),
            r#"{"a":{},"b":[1,2.5,1e+22,1e-07],"\u00e9":"<'\n\u0001\ud83d\ude00>"}"#
        );
    }
}
