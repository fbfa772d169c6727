//! Reads the rows of a data file one after another, each with the line it starts on.
//!
//! Nothing here holds a whole file: a reader hands every row on as soon as it is read, and a row
//! longer than [`MOST_ROW_BYTES`] is refused. Bad rows are handed on with their reason, never
//! dropped without a word; only what makes the rest of the file unreadable is an error.

mod csv;
mod files;
mod json_list;
mod jsonl;
mod open;
mod parquet;
mod text;

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use files::data_files;

use super::error::DataError;
use super::json::{Json, Object};
use super::row::Row;
use super::schema::{Columns, Schema};
use super::skip::SkipReason;
use open::Opened;

/// Fields that have no flat form: in a table their cells may hold JSON.
const JSON_FIELDS: [&str; 4] = ["messages", "conversations", "tools", "chat_template_kwargs"];
/// Fields that are a text or a list: in a table their cells may hold the list as JSON.
const TEXT_OR_LIST_FIELDS: [&str; 4] = ["prompt", "completion", "chosen", "rejected"];

/// The longest row that is read. A longer one is a damaged file, or a quote left open.
const MOST_ROW_BYTES: usize = 64 << 20;

/// Format of a data file, told by its name's ending.
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

/// What is told of a file besides its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileFacts {
    pub format: FileFormat,
    /// Blank lines of a JSONL file.
    pub blank_lines: usize,
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
    let rows_of = Source { path, columns, sink: &mut counting };
    let opened = open::open(path)?;
    let (format, blank_lines) = match opened {
        Opened::Jsonl(reader) => (FileFormat::Jsonl, jsonl::read(reader, rows_of)?),
        Opened::JsonList(reader) => (FileFormat::JsonList, json_list::read(reader, rows_of)?),
        Opened::Csv(reader) => (FileFormat::Csv, csv::read(reader, b',', rows_of)?),
        Opened::Tsv(reader) => (FileFormat::Tsv, csv::read(reader, b'\t', rows_of)?),
        Opened::Parquet(file) => (FileFormat::Parquet, parquet::read(file, rows_of)?),
        Opened::Text(reader) => (FileFormat::Text, text::read(reader, rows_of)?),
    };
    if rows == 0 {
        return Err(DataError::NoRows { path: path.to_owned() });
    }
    Ok(FileFacts { format, blank_lines })
}

/// A file and where its rows go.
struct Source<'a, 'b> {
    path: &'a Path,
    columns: &'a Columns,
    sink: &'a mut Sink<'b>,
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
    fn row(&self, value: Json) -> Result<(Schema, Row), SkipReason> {
        match value {
            Json::Object(object) => self.row_of(object),
            other => Err(SkipReason::NotAnObject { found: other.type_name() }),
        }
    }

    fn row_of(&self, object: Object) -> Result<(Schema, Row), SkipReason> {
        Row::from_object(&self.columns.apply(object)?)
    }

    /// A row of a table, whose cells may hold JSON as text.
    fn table_row(&self, object: Object) -> Result<(Schema, Row), SkipReason> {
        let mut object = self.columns.apply(object)?;
        for field in JSON_FIELDS {
            if let Some(Json::String(text)) = object.get(field)
                && !(text.trim().is_empty() && field != "messages")
            {
                let value = parse_json(text, Some(field))?;
                object.insert(field.to_owned(), value);
            }
        }
        for field in TEXT_OR_LIST_FIELDS {
            if let Some(Json::String(text)) = object.get(field)
                && text.starts_with("[{")
                && let Ok(list @ Json::Array(_)) = parse_json(text, Some(field))
            {
                object.insert(field.to_owned(), list);
            }
        }
        Row::from_object(&object)
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

fn parse_json(text: &str, column: Option<&str>) -> Result<Json, SkipReason> {
    Json::from_text(text).map_err(|error| {
        let mut message = without_place(&error);
        if error.is_eof() {
            message.push_str(" (a row is one line)");
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
