//! The `tojson` filter of chat templates: Python's `json.dumps`, which is what they were written
//! against; Jinja's own filter escapes HTML.

use std::io::{self, Write};

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind};
use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, Serializer};

use super::jinja::{MOST_OF_ONE, limit};

/// Blanks for each step to the right.
const MOST_INDENT: usize = 80;

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
    let formatter = PythonFormatter { item, key, indent, ensure_ascii, depth: 0, is_empty: true };
    let value = if sort_keys == Some(true) { sorted(value)? } else { value.clone() };
    let mut written = Bounded { bytes: Vec::new(), is_full: false };
    let failed = |message: String| Error::new(ErrorKind::BadSerialization, message);
    let result = value.serialize(&mut Serializer::with_formatter(&mut written, formatter));
    if written.is_full {
        return Err(limit(format!("it writes more than {} MiB of JSON", MOST_OF_ONE >> 20)));
    }
    result.map_err(|error| failed(error.to_string()))?;
    String::from_utf8(written.bytes)
        .map(Value::from_safe_string)
        .map_err(|error| failed(error.to_string()))
}

/// What is written, up to the largest text that a template may make.
struct Bounded {
    bytes: Vec<u8>,
    is_full: bool,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.is_full |= self.bytes.len() + bytes.len() > MOST_OF_ONE;
        if self.is_full {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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
struct PythonFormatter {
    item: String,
    key: String,
    indent: Option<usize>,
    ensure_ascii: bool,
    depth: usize,
    /// Nothing stands in the innermost list or object yet.
    is_empty: bool,
}

impl PythonFormatter {
    fn begin<W: ?Sized + Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.is_empty = true;
        writer.write_all(bracket)
    }

    fn next<W: ?Sized + Write>(&mut self, writer: &mut W, is_first: bool) -> io::Result<()> {
        if !is_first {
            writer.write_all(self.item.as_bytes())?;
        }
        self.is_empty = false;
        self.new_line(writer)
    }

    fn end<W: ?Sized + Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        if !std::mem::take(&mut self.is_empty) {
            self.new_line(writer)?;
        }
        writer.write_all(bracket)
    }

    fn new_line<W: ?Sized + Write>(&self, writer: &mut W) -> io::Result<()> {
        match self.indent {
            Some(width) => write!(writer, "\n{:1$}", "", width * self.depth),
            None => Ok(()),
        }
    }
}

impl Formatter for PythonFormatter {
    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.begin(writer, b"[")
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.end(writer, b"]")
    }

    fn begin_array_value<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.next(writer, first)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.begin(writer, b"{")
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.end(writer, b"}")
    }

    fn begin_object_key<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.next(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(self.key.as_bytes())
    }

    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        writer.write_all(python_float(value).as_bytes())
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if !self.ensure_ascii {
            return writer.write_all(fragment.as_bytes());
        }
        for unit in fragment.encode_utf16() {
            match u8::try_from(unit) {
                Ok(byte) if byte.is_ascii() => writer.write_all(&[byte])?,
                _ => write!(writer, "\\u{unit:04x}")?,
            }
        }
        Ok(())
    }

    fn write_char_escape<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        match escape {
            CharEscape::Quote => writer.write_all(b"\\\""),
            CharEscape::ReverseSolidus => writer.write_all(b"\\\\"),
            CharEscape::Solidus => writer.write_all(b"/"),
            CharEscape::Backspace => writer.write_all(b"\\b"),
            CharEscape::FormFeed => writer.write_all(b"\\f"),
            CharEscape::LineFeed => writer.write_all(b"\\n"),
            CharEscape::CarriageReturn => writer.write_all(b"\\r"),
            CharEscape::Tab => writer.write_all(b"\\t"),
            CharEscape::AsciiControl(byte) => write!(writer, "\\u{byte:04x}"),
        }
    }
}

/// `repr` of a Python float: plain from 1e-4 to 1e16, else with an exponent of two digits or more.
fn python_float(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 || (1e-4..1e16).contains(&size) {
        return format!("{value:?}");
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{exponent:0>2}")
}

#[cfg(test)]
mod tests {
    use minijinja::{Environment, context};

    use super::*;

    fn written(arguments: &str) -> String {
        let mut environment = Environment::new();
        environment.add_filter("tojson", to_json);
        let value: crate::json::Json =
            serde_json::from_str(r#"{"b": [1, 2.5, 1e22, 1e-7], "a": {}, "é": "<'\n\u0001😀>"}"#)
                .expect("JSON");
        environment
            .render_str(&format!("{{{{ value | tojson{arguments} }}}}"), context! { value })
            .unwrap_or_else(|error| error.to_string())
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
