//! Values as Python's `str` and `repr` write them.

use std::fmt::Write;

use minijinja::value::{Value, ValueKind};

use crate::json::LongInteger;

/// Lists in lists that are written; checks elsewhere refuse deeper ones.
const MOST_DEPTH: usize = 200;

/// `str(value)`, as `{{ value }}` and `~` write it.
pub(super) fn text(value: &Value) -> String {
    if let Some(text) = value.as_str() {
        return text.to_owned();
    }
    let mut out = String::new();
    write(&mut out, value, 0);
    out
}

fn write(out: &mut String, value: &Value, depth: usize) {
    let is_simple = depth > MOST_DEPTH || value.downcast_object_ref::<LongInteger>().is_some();
    match value.kind() {
        ValueKind::String => quoted(out, value.as_str().unwrap_or_default()),
        ValueKind::Number if !value.is_integer() => {
            let float = f64::try_from(value.clone()).map(python_float);
            *out += &float.unwrap_or_else(|_| value.to_string());
        }
        ValueKind::Seq | ValueKind::Iterable if !is_simple => {
            out.push('[');
            for (index, item) in value.try_iter().into_iter().flatten().enumerate() {
                *out += if index > 0 { ", " } else { "" };
                write(out, &item, depth + 1);
            }
            out.push(']');
        }
        ValueKind::Map if !is_simple => {
            out.push('{');
            for (index, key) in value.try_iter().into_iter().flatten().enumerate() {
                *out += if index > 0 { ", " } else { "" };
                write(out, &key, depth + 1);
                *out += ": ";
                write(out, &value.get_item(&key).unwrap_or_default(), depth + 1);
            }
            out.push('}');
        }
        _ => *out += &value.to_string(),
    }
}

/// `repr` of a text.
fn quoted(out: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for char in text.chars() {
        let number = u32::from(char);
        // Writing to a text does not fail.
        let _ = match char {
            '\n' => out.write_str("\\n"),
            '\r' => out.write_str("\\r"),
            '\t' => out.write_str("\\t"),
            '\\' => out.write_str("\\\\"),
            _ if char == quote => write!(out, "\\{char}"),
            ' ' => out.write_char(' '),
            _ if is_printable(char) => out.write_char(char),
            _ if number <= 0xFF => write!(out, "\\x{number:02x}"),
            _ if number <= 0xFFFF => write!(out, "\\u{number:04x}"),
            _ => write!(out, "\\U{number:08x}"),
        };
    }
    out.push(quote);
}

/// About as Python: neither control nor format character, nor a blank other than the common one.
fn is_printable(char: char) -> bool {
    let is_format = matches!(char, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}');
    !char.is_control() && !char.is_whitespace() && !is_format
}

/// `repr` of a Python float: plain from 1e-4 to 1e16, else with an exponent of two digits or more.
pub(super) fn python_float(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        return if value.is_nan() { "nan".to_owned() } else { format!("{value}") };
    }
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
    use super::*;

    #[test]
    fn lists_and_objects_are_written_as_python_writes_them() {
        let json = r#"{"a": [1, 1e22, -0.0, true, null, "it's", "a\"'\n\u0001é\u2028"], "b": {}}"#;
        let value = crate::json::Json::from_text(json).expect("JSON").to_value();
        let expected =
            r#"{'a': [1, 1e+22, -0.0, True, None, "it's", 'a"\'\n\x01é\u2028'], 'b': {}}"#;
        assert_eq!(text(&value), expected);
        assert_eq!(text(&Value::from("a'b")), "a'b");
        assert_eq!(text(&Value::from(1e-7)), "1e-07");
    }
}
