//! How the objects of a JSON file lie in it: one a line, over several lines, or as a list in a
//! field of one object that is the whole file.
//!
//! Almost always the first line shows it. Where that is not a row of its own, the first value of the
//! file is read, without keeping it.

use std::fmt;
use std::io::{BufRead, Read};
use std::path::Path;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::super::error::DataError;
use super::super::json::{Json, Object};
use super::super::schema::{Columns, detect_schema};
use super::jsonl::{next_line, parse_line};
use super::nan::PlainJson;
use super::{open, utf8};

/// How a file's rows lie in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// One a line, each read by itself.
    Lines,
    /// Objects and lists of objects behind each other, over any lines.
    Values,
    /// One object, of which this field holds the list of rows.
    Wrapped(String),
}

/// The layout of a file that begins with no list.
pub(super) fn of(path: &Path, columns: &Columns) -> Result<Layout, DataError> {
    let mut reader = open::again(path)?;
    let mut line = Vec::new();
    // What cannot be read is reported where the rows are.
    while let Ok(Some(is_whole)) = next_line(&mut reader, &mut line) {
        let content = line.trim_ascii();
        if is_whole && content.is_empty() {
            continue;
        }
        let parsed = utf8(content, None).map(parse_line);
        return match parsed {
            Ok(Ok(Json::Object(object))) if is_whole => {
                let outline = Outline::of(&object);
                let is_all = || is_blank(&mut reader);
                outline.layout(path, columns, Layout::Lines, is_all)
            }
            Ok(Err(_)) if is_whole && content.starts_with(b"{") => {
                first_value(path, columns, content)
            }
            _ if !is_whole => first_value(path, columns, b"{"),
            _ => Ok(Layout::Lines),
        };
    }
    Ok(Layout::Lines)
}

/// The layout of a file whose first line is no row.
fn first_value(path: &Path, columns: &Columns, line: &[u8]) -> Result<Layout, DataError> {
    let mut parser =
        serde_json::Deserializer::from_reader(PlainJson::new(open::again(path)?, Some(usize::MAX)));
    match Outline::deserialize(&mut parser) {
        // The values behind each other on a line, or a value on several.
        Ok(outline) => {
            let is_on_lines = !is_value_with_more(line);
            let other = if is_on_lines { Layout::Lines } else { Layout::Values };
            let is_all = || parser.end().is_ok();
            outline.layout(path, columns, other, is_all)
        }
        // It breaks off at the end of the file and not of the line.
        Err(error) if error.is_eof() && error.line() > 1 => Ok(Layout::Values),
        Err(_) => Ok(Layout::Lines),
    }
}

/// Whether a line holds more than a value, of which the next begins as a row does, or less than one.
fn is_value_with_more(line: &[u8]) -> bool {
    let mut values = serde_json::Deserializer::from_slice(line).into_iter::<IgnoredAny>();
    let first = values.next();
    let rest = line[values.byte_offset().min(line.len())..].trim_ascii_start();
    match first {
        Some(Ok(_)) => rest.starts_with(b"{") || rest.starts_with(b"["),
        Some(Err(error)) => error.is_eof(),
        None => false,
    }
}

fn is_blank(reader: &mut impl BufRead) -> bool {
    let mut rest = reader.by_ref().bytes();
    rest.all(|byte| byte.is_ok_and(|byte| byte.is_ascii_whitespace()))
}

/// The fields of an object, and whether each holds a list of objects.
struct Outline(Vec<(String, bool)>);

impl Outline {
    fn of(object: &Object) -> Self {
        let is_list = |value: &Json| {
            let first = value.as_array().and_then(<[Json]>::first);
            first.is_some_and(|first| first.as_object().is_some())
        };
        Self(object.iter().map(|(name, value)| (name.clone(), is_list(value))).collect())
    }

    /// The layout of the file that begins with this object; `otherwise` where it is a row, or no
    /// field of it holds rows. `is_all` says whether the file ends behind it.
    fn layout(
        self,
        path: &Path,
        columns: &Columns,
        otherwise: Layout,
        is_all: impl FnOnce() -> bool,
    ) -> Result<Layout, DataError> {
        let keys: Vec<String> = self.0.iter().map(|(name, _)| name.clone()).collect();
        let is_row = columns.fields(&keys).and_then(|fields| detect_schema(&fields)).is_ok();
        let mut lists: Vec<String> =
            self.0.into_iter().filter_map(|(name, is_list)| is_list.then_some(name)).collect();
        if is_row || lists.is_empty() || !is_all() {
            return Ok(otherwise);
        }
        if lists.len() > 1 {
            return Err(DataError::SeveralLists { path: path.to_owned(), fields: lists });
        }
        Ok(lists.pop().map_or(otherwise, Layout::Wrapped))
    }
}

impl<'de> Deserialize<'de> for Outline {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OutlineVisitor)
    }
}

struct OutlineVisitor;

impl<'de> Visitor<'de> for OutlineVisitor {
    type Value = Outline;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Outline, A::Error> {
        let mut fields = Vec::new();
        while let Some((name, kind)) = map.next_entry::<String, Kind>()? {
            fields.push((name, kind == Kind::ListOfObjects));
        }
        Ok(Outline(fields))
    }
}

/// What a value is, its content passed over.
#[derive(PartialEq, Eq)]
enum Kind {
    Object,
    ListOfObjects,
    Other,
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Kind, E> {
        Ok(Kind::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Kind, E> {
        Ok(Kind::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Kind, E> {
        Ok(Kind::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Kind, E> {
        Ok(Kind::Other)
    }

    fn visit_str<E>(self, _: &str) -> Result<Kind, E> {
        Ok(Kind::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Kind, A::Error> {
        let first: Option<Kind> = seq.next_element()?;
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(if first == Some(Kind::Object) { Kind::ListOfObjects } else { Kind::Other })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kind, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Kind::Object)
    }
}
