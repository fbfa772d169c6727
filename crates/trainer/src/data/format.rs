//! Reads the rows of a JSONL or CSV file, each with the line it starts on.
//!
//! Bad rows are collected with their reason, never dropped without a word; only what makes the
//! whole file unreadable is an error.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};

use super::error::DataError;
use super::row::{Row, Schema, detect_schema, type_name};
use super::skip::{SkipReason, SkippedRow};

const UTF8_BOM: &[u8] = b"\xEF\xBB\xBF";
const UTF16_BOMS: [&[u8]; 2] = [b"\xFF\xFE", b"\xFE\xFF"];

/// Put behind a CSV file's last byte on a line of its own: where it is not read back as a record
/// of its own, a quote was still open at the end of the file.
const CSV_END: &[u8] = b"\x01end of file\x01";

/// Format of a data file, told by its name's ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FileFormat {
    /// One JSON object a line.
    Jsonl,
    /// Comma-separated values with a header.
    Csv,
}

impl fmt::Display for FileFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Jsonl => "JSONL",
            Self::Csv => "CSV",
        })
    }
}

impl FileFormat {
    fn of(path: &Path) -> Result<Self, DataError> {
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        match ending.as_deref() {
            Some("jsonl" | "jsonlines" | "json") => Ok(Self::Jsonl),
            Some("csv") => Ok(Self::Csv),
            _ => Err(DataError::UnsupportedExtension { path: path.to_owned() }),
        }
    }
}

/// A row and the line it starts on, counted from 1.
#[derive(Debug, PartialEq)]
pub(super) struct LocatedRow {
    pub line: u64,
    pub schema: Schema,
    pub row: Row,
}

/// What a file holds.
#[derive(Debug)]
pub(super) struct FileRows {
    pub format: FileFormat,
    pub rows: Vec<LocatedRow>,
    /// In the order of their lines.
    pub skipped: Vec<SkippedRow>,
    /// Blank lines of a JSONL file.
    pub blank_lines: usize,
}

impl FileRows {
    fn new(format: FileFormat) -> Self {
        Self { format, rows: Vec::new(), skipped: Vec::new(), blank_lines: 0 }
    }

    fn push(&mut self, line: u64, parsed: Result<(Schema, Row), SkipReason>) {
        match parsed {
            Ok((schema, row)) => self.rows.push(LocatedRow { line, schema, row }),
            Err(reason) => self.skipped.push(SkippedRow { line, reason }),
        }
    }
}

/// Reads all rows of `path`.
pub(super) fn read_rows(path: &Path) -> Result<FileRows, DataError> {
    let format = FileFormat::of(path)?;
    let file = File::open(path).map_err(DataError::io("open", path))?;
    let mut reader = BufReader::new(file);
    let head = reader.fill_buf().map_err(DataError::io("read", path))?;
    if UTF16_BOMS.iter().any(|bom| head.starts_with(bom)) {
        return Err(DataError::Utf16 { path: path.to_owned() });
    }
    if head.starts_with(UTF8_BOM) {
        reader.consume(UTF8_BOM.len());
    }
    let rows = match format {
        FileFormat::Jsonl => read_jsonl(reader, path)?,
        FileFormat::Csv => read_csv(reader, path)?,
    };
    if rows.rows.is_empty() && rows.skipped.is_empty() {
        return Err(DataError::NoRows { path: path.to_owned() });
    }
    Ok(rows)
}

fn read_jsonl(mut reader: impl BufRead, path: &Path) -> Result<FileRows, DataError> {
    let mut rows = FileRows::new(FileFormat::Jsonl);
    let mut bytes = Vec::new();
    let mut line = 0;
    loop {
        bytes.clear();
        if reader.read_until(b'\n', &mut bytes).map_err(DataError::io("read", path))? == 0 {
            return Ok(rows);
        }
        line += 1;
        let content = bytes.trim_ascii_end();
        if content.is_empty() {
            rows.blank_lines += 1;
            continue;
        }
        let is_first = rows.rows.is_empty() && rows.skipped.is_empty();
        if is_first && content.trim_ascii_start().starts_with(b"[") {
            return Err(DataError::JsonList { path: path.to_owned() });
        }
        rows.push(line, parse_json_line(content));
    }
}

fn parse_json_line(line: &[u8]) -> Result<(Schema, Row), SkipReason> {
    let text = utf8(line, None)?;
    match parse_json(text, None)? {
        Value::Object(object) => Row::from_object(&object),
        other => Err(SkipReason::NotAnObject { found: type_name(&other) }),
    }
}

fn parse_json(text: &str, column: Option<&str>) -> Result<Value, SkipReason> {
    serde_json::from_str(text).map_err(|error| {
        let full = error.to_string();
        // The parser's own "at line 1 column 7" would be taken for the file's line.
        let mut message = full.split(" at line ").next().unwrap_or(&full).to_owned();
        if error.is_eof() {
            message.push_str(" (a row is one line)");
        }
        let column = column.map(str::to_owned);
        SkipReason::MalformedJson { position: error.column(), message, column }
    })
}

fn utf8<'a>(bytes: &'a [u8], column: Option<&str>) -> Result<&'a str, SkipReason> {
    std::str::from_utf8(bytes).map_err(|error| SkipReason::NotUtf8 {
        byte: bytes[error.valid_up_to()],
        position: error.valid_up_to() + 1,
        column: column.map(str::to_owned),
    })
}

/// The file is read whole: the CSV reader's position lies before the line ends in front of a
/// record, so the record's own first line is found by looking at the bytes.
fn read_csv(mut reader: impl Read, path: &Path) -> Result<FileRows, DataError> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).map_err(DataError::io("read", path))?;
    bytes.push(b'\n');
    bytes.extend_from_slice(CSV_END);

    let mut records = csv::ReaderBuilder::new().flexible(true).from_reader(bytes.as_slice());
    let columns = csv_columns(&mut records, path)?;
    let mut rows = FileRows::new(FileFormat::Csv);
    let mut record = csv::ByteRecord::new();
    let mut lines = LineCounter::new(&bytes);
    loop {
        let start = records.position().byte();
        if !records.read_byte_record(&mut record).map_err(csv_error(path))? {
            return Ok(rows);
        }
        if record.len() == 1 && record.as_slice() == CSV_END {
            continue;
        }
        rows.push(lines.of_record_after(start), csv_row(&columns, &record));
    }
}

fn csv_error(path: &Path) -> impl FnOnce(csv::Error) -> DataError {
    let path = path.to_owned();
    move |source| DataError::Csv { path, source }
}

fn csv_columns(records: &mut csv::Reader<&[u8]>, path: &Path) -> Result<Vec<String>, DataError> {
    let header = records.byte_headers().map_err(csv_error(path))?;
    if header.as_slice() == CSV_END {
        return Err(DataError::NoRows { path: path.to_owned() });
    }
    if header.as_slice().ends_with(CSV_END) {
        return Err(DataError::CsvHeaderQuote { path: path.to_owned() });
    }
    let columns: Vec<String> =
        header.iter().map(|name| String::from_utf8_lossy(name).trim().to_owned()).collect();
    let repeated = (1..columns.len()).find(|&i| columns[..i].contains(&columns[i]));
    if let Some(index) = repeated {
        let column = columns[index].clone();
        return Err(DataError::CsvDuplicateColumn { path: path.to_owned(), column });
    }
    if detect_schema(&columns).is_err() {
        return Err(DataError::CsvHeader { path: path.to_owned(), columns });
    }
    Ok(columns)
}

fn csv_row(columns: &[String], record: &csv::ByteRecord) -> Result<(Schema, Row), SkipReason> {
    if record.as_slice().ends_with(CSV_END) {
        return Err(SkipReason::OpenQuote);
    }
    if record.len() != columns.len() {
        return Err(SkipReason::FieldCount { expected: columns.len(), found: record.len() });
    }
    let mut object = Map::new();
    for (column, cell) in columns.iter().zip(record) {
        let text = utf8(cell, Some(column))?;
        // A conversation has no flat form; its cell holds the JSON list.
        let value = if column == "messages" {
            parse_json(text, Some(column))?
        } else {
            Value::String(text.to_owned())
        };
        object.insert(column.clone(), value);
    }
    Row::from_object(&object)
}

/// Counts lines up to a growing byte offset.
struct LineCounter<'a> {
    bytes: &'a [u8],
    offset: usize,
    line: u64,
}

impl<'a> LineCounter<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0, line: 1 }
    }

    /// Line of the first byte at or after `offset` that is no line end.
    fn of_record_after(&mut self, offset: u64) -> u64 {
        let after = usize::try_from(offset).unwrap_or(usize::MAX).min(self.bytes.len());
        let gap = self.bytes[after..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
        let start = after + gap.count();
        if start > self.offset {
            let passed = &self.bytes[self.offset..start];
            self.line += passed.split(|&byte| byte == b'\n').skip(1).count() as u64;
            self.offset = start;
        }
        self.line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, content: &[u8]) -> Result<FileRows, DataError> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join(name);
        std::fs::write(&path, content).expect("writing the sample");
        read_rows(&path)
    }

    fn lines(rows: &FileRows) -> Vec<u64> {
        rows.rows.iter().map(|row| row.line).collect()
    }

    fn prompt_row(prompt: &str, completion: &str) -> Row {
        Row::Completion { prompt: prompt.to_owned(), completion: completion.to_owned() }
    }

    #[test]
    fn jsonl_rows_keep_their_line_numbers_past_blank_and_bad_lines() {
        let content = b"{\"text\":\"a\"}\r\n\n{oops\n  \n{\"text\":\"b\"}";
        let rows = read("x.jsonl", content).expect("a readable file");
        assert_eq!(lines(&rows), [1, 5]);
        assert_eq!(rows.blank_lines, 2);
        assert_eq!(rows.skipped.len(), 1);
        assert_eq!(rows.skipped[0].line, 3);
    }

    #[test]
    fn every_line_of_a_jsonl_file_may_have_its_own_schema() {
        let content = b"{\"text\":\"a\"}\n{\"prompt\":\"p\",\"completion\":\"c\"}\n";
        let rows = read("x.jsonl", content).expect("a readable file");
        let schemas: Vec<_> = rows.rows.iter().map(|row| row.schema).collect();
        assert_eq!(schemas, [Schema::Text, Schema::PromptCompletion]);
    }

    #[test]
    fn a_csv_record_is_located_where_it_starts() {
        let content = b"prompt,completion\n\n\"two\nlines\",x\nb,y\n\n\nc,z\n";
        let rows = read("x.csv", content).expect("a readable file");
        assert_eq!(lines(&rows), [3, 5, 8]);
        assert_eq!(rows.rows[0].row, prompt_row("two\nlines", "x"));
    }

    #[test]
    fn windows_line_ends_do_not_move_csv_lines() {
        let content = b"prompt,completion\r\na,x\r\n\"b\r\nb\",y\r\n\r\nc,z\r\n";
        let rows = read("x.csv", content).expect("a readable file");
        assert_eq!(lines(&rows), [2, 3, 6]);
        assert_eq!(rows.rows[2].row, prompt_row("c", "z"));
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_row() {
        let csv = read("x.csv", b"\xEF\xBB\xBFprompt,completion\na,x\n").expect("a readable file");
        assert_eq!(csv.rows.len(), 1);
        let jsonl = read("x.jsonl", b"\xEF\xBB\xBF{\"text\":\"a\"}\n").expect("a readable file");
        assert_eq!(jsonl.rows.len(), 1);
    }

    #[test]
    fn a_quote_left_open_is_reported_at_the_record_that_opens_it() {
        let content = b"prompt,completion\na,x\nb,\"y\nc,z\nd,w\n";
        let rows = read("x.csv", content).expect("a readable file");
        assert_eq!(lines(&rows), [2]);
        assert_eq!(rows.skipped, [SkippedRow { line: 3, reason: SkipReason::OpenQuote }]);
    }

    #[test]
    fn a_bad_csv_record_does_not_take_its_neighbours_with_it() {
        let content = b"prompt,completion\na,x\nb\nc,\xFF\nd,w\n";
        let rows = read("x.csv", content).expect("a readable file");
        assert_eq!(lines(&rows), [2, 5]);
        let bad: Vec<String> = rows.skipped.iter().map(|row| row.reason.to_string()).collect();
        assert_eq!(
            bad,
            [
                "1 field(s) where the header has 2",
                "not UTF-8: byte 0xFF at byte 1 of column `completion`"
            ]
        );
    }

    #[test]
    fn a_csv_messages_column_holds_json() {
        let content =
            b"messages\n\"[{\"\"role\"\":\"\"assistant\"\",\"\"content\"\":\"\"hi\"\"}]\"\n";
        let rows = read("x.csv", content).expect("a readable file");
        assert!(matches!(&rows.rows[0].row, Row::Messages(messages) if messages.len() == 1));
    }
}
