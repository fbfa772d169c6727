//! Reads the rows of a data file one after another, each with the line it starts on.
//!
//! Nothing here holds a whole file: a reader hands every row on as soon as it is read, and a row
//! longer than [`MOST_ROW_BYTES`] is refused. Bad rows are handed on with their reason, never
//! dropped without a word; only what makes the rest of the file unreadable is an error.

mod csv;
mod files;
mod json_list;
mod jsonl;
mod layout;
mod nan;
mod open;
mod parquet;
mod text;

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use files::data_files;

use super::error::DataError;
use super::field::MEDIA;
use super::json::{Json, Object};
use super::said::Row;
use super::schema::{Columns, Schema};
use super::skip::SkipReason;
use super::unused;
use layout::Layout;
use open::Opened;

/// Fields that have no flat form: their values may be JSON as text.
const JSON_FIELDS: [&str; 6] =
    ["messages", "conversations", "tools", "chat_template_kwargs", "history", "loss_mask"];

/// The longest row that is read. A longer one is a damaged file, or a quote left open.
const MOST_ROW_BYTES: usize = 64 << 20;

/// Format of a data file, detected from its name's ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileFormat {
    /// One JSON object a line.
    Jsonl,
    /// One JSON list of objects.
    JsonList,
    /// Comma-separated values with a header.
    Csv,
    /// The same, separated by tabs.
    Tsv,
    /// Parquet.
    Parquet,
    /// Nothing but text.
    Text,
}

impl fmt::Display for FileFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Jsonl => "JSONL",
            Self::JsonList => "JSON list",
            Self::Csv => "CSV",
            Self::Tsv => "TSV",
            Self::Parquet => "Parquet",
            Self::Text => "text file",
        })
    }
}

impl FileFormat {
    /// What a row's place counts: lines, but for a binary file.
    pub const fn unit(self) -> &'static str {
        if matches!(self, Self::Parquet) { "row" } else { "line" }
    }
}

/// A row as read, with the line (of a Parquet file, the row) it starts on, counted from 1.
#[derive(Debug, PartialEq)]
pub(super) struct LocatedRow {
    pub line: u64,
    pub parsed: Result<(Schema, Row), SkipReason>,
}

/// What is reported of a file besides its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileFacts {
    pub format: FileFormat,
    /// Blank lines of a JSONL file.
    pub blank_lines: usize,
    /// Columns that hold text and are not read.
    pub unused_columns: Vec<String>,
}

/// Takes the rows, in the order of the file.
pub(super) type Sink<'a> = dyn FnMut(LocatedRow) -> Result<(), DataError> + 'a;

/// Hands every row of `path` to `sink`.
pub(super) fn each_row(
    path: &Path,
    columns: &Columns,
    sink: &mut Sink<'_>,
) -> Result<FileFacts, DataError> {
    let mut rows = 0_u64;
    let mut counting = |row: LocatedRow| {
        rows += 1;
        sink(row)
    };
    let mut unused = BTreeSet::new();
    let rows_of = Source { path, columns, sink: &mut counting, unused: &mut unused };
    let (format, blank_lines) = match open::open(path)? {
        Opened::Jsonl(reader) => match layout::of(path, columns)? {
            Layout::Lines => (FileFormat::Jsonl, jsonl::read(reader, rows_of)?),
            layout => (FileFormat::JsonList, json_list::read(reader, &layout, rows_of)?),
        },
        Opened::JsonList(reader) => {
            (FileFormat::JsonList, json_list::read(reader, &Layout::Values, rows_of)?)
        }
        Opened::Csv(reader) => (FileFormat::Csv, csv::read(reader, b',', rows_of)?),
        Opened::Tsv(reader) => (FileFormat::Tsv, csv::read(reader, b'\t', rows_of)?),
        Opened::Parquet(file) => (FileFormat::Parquet, parquet::read(file, rows_of)?),
        Opened::Text(reader) => (FileFormat::Text, text::read(reader, rows_of)?),
    };
    if rows == 0 {
        return Err(DataError::NoRows { path: path.to_owned() });
    }
    let unused_columns = unused.into_iter().collect();
    Ok(FileFacts { format, blank_lines, unused_columns })
}

/// A file and where its rows go.
struct Source<'a, 'b> {
    path: &'a Path,
    columns: &'a Columns,
    sink: &'a mut Sink<'b>,
    /// Columns that hold text and are not read.
    unused: &'a mut BTreeSet<String>,
}

impl Source<'_, '_> {
    fn push(
        &mut self,
        line: u64,
        parsed: Result<(Schema, Row), SkipReason>,
    ) -> Result<(), DataError> {
        (self.sink)(LocatedRow { line, parsed })
    }

    /// A value that should be a row's object.
    fn row(&mut self, value: Json) -> Result<(Schema, Row), SkipReason> {
        let Json::Object(object) = value else {
            return Err(SkipReason::NotAnObject { found: value.type_name() });
        };
        let mut object = self.columns.apply(object)?;
        // A text that is no JSON is refused where the field is read, by its type.
        for field in JSON_FIELDS {
            if let Some(Json::String(text)) = object.get(field)
                && text.trim_start().starts_with(['[', '{'])
            {
                let value = parse_json(text, Some(field))?;
                object.insert(field.to_owned(), value);
            }
        }
        self.row_of(object)
    }

    /// A row of a table, where fields that have no flat form must be JSON as text.
    fn table_row(&mut self, object: Object) -> Result<(Schema, Row), SkipReason> {
        let mut object = self.columns.apply(object)?;
        for field in JSON_FIELDS {
            if let Some(Json::String(text)) = object.get(field)
                && !(text.trim().is_empty() && field != "messages")
            {
                let value = parse_json(text, Some(field))?;
                object.insert(field.to_owned(), value);
            }
        }
        for field in MEDIA {
            // What pandas writes for a row without pictures.
            if object.get(field).and_then(Json::as_str).is_some_and(|cell| cell.trim() == "[]") {
                object.shift_remove(field);
            }
        }
        self.row_of(object)
    }

    fn row_of(&mut self, mut object: Object) -> Result<(Schema, Row), SkipReason> {
        turns_from_text(&mut object);
        let (schema, row) = Row::from_object(&object)?;
        unused::note(&object, schema, &row, self.unused);
        Ok((schema, row))
    }

    fn row_too_long(&self, line: u64) -> DataError {
        DataError::RowTooLong { path: self.path.to_owned(), line, most: MOST_ROW_BYTES }
    }

    /// The header's columns as fields; an error where they make no schema.
    fn check_columns(&self, columns: &[String]) -> Result<(), DataError> {
        let fields = self.columns.fields(columns);
        let schema = fields.and_then(|fields| super::schema::detect_schema(&fields));
        schema.map(|_| ()).map_err(|reason| {
            let columns = columns.to_vec();
            let path = self.path.to_owned();
            match reason {
                SkipReason::MissingColumn { field, column, .. } => {
                    DataError::MissingColumn { path, field, column, columns }
                }
                _ => DataError::Header { path, columns },
            }
        })
    }
}

/// Puts turns in the place of their JSON text where a field is a text or turns. A completion is
/// turns only beside a prompt that is: alone it may be an answer in JSON.
fn turns_from_text(object: &mut Object) {
    for field in ["prompt", "chosen", "rejected", "completion"] {
        let is_answer = field == "completion";
        let has_text_prompt = object.get("prompt").is_some_and(|prompt| prompt.as_str().is_some());
        if is_answer && has_text_prompt {
            continue;
        }
        if let Some(Json::String(text)) = object.get(field)
            && text.trim_start().starts_with(['[', '{'])
            && let Ok(value) = parse_json(text, Some(field))
            && is_turns(&value)
        {
            object.insert(field.to_owned(), value);
        }
    }
}

fn is_turns(value: &Json) -> bool {
    let is_turn = |turn: &Json| {
        let has = |field: &str| turn.as_object().is_some_and(|turn| turn.contains_key(field));
        (has("role") && has("content")) || (has("from") && has("value"))
    };
    match value {
        Json::Array(turns) => !turns.is_empty() && turns.iter().all(is_turn),
        turn => is_turn(turn),
    }
}

fn parse_json(text: &str, column: Option<&str>) -> Result<Json, SkipReason> {
    Json::from_text(text).map_err(|error| {
        let mut message = without_place(&error);
        if error.is_eof() {
            message.push_str(" (a row is one line)");
        }
        if let Some(word) = nan::word_at(text, error.column().saturating_sub(1)) {
            message = format!("{word} is no JSON; write null");
        }
        let column = column.map(str::to_owned);
        SkipReason::MalformedJson { position: error.column(), message, column }
    })
}

/// The parser's own "at line 1 column 7" would be taken for the file's line.
fn without_place(error: &serde_json::Error) -> String {
    let full = error.to_string();
    full.split(" at line ").next().unwrap_or(&full).to_owned()
}

fn utf8<'a>(bytes: &'a [u8], column: Option<&str>) -> Result<&'a str, SkipReason> {
    std::str::from_utf8(bytes).map_err(|error| SkipReason::NotUtf8 {
        byte: bytes[error.valid_up_to()],
        position: error.valid_up_to() + 1,
        column: column.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests;
