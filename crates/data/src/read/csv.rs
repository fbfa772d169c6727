//! Values with a header, separated by commas, or by what the header shows that they are.

use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::rc::Rc;

use super::super::error::DataError;
use super::super::json::{Json, Object};
use super::super::skip::SkipReason;
use super::{MOST_ROW_BYTES, Source, utf8};

/// Put behind a file's last byte on a line of its own: where it is not read back as a record of
/// its own, a quote was still open at the end of the file.
const END: &[u8] = b"\x01end of file\x01";

/// What may separate values, besides the separator that the file's name implies.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];
/// The longest first line in which separators are looked for.
const MOST_HEADER_BYTES: u64 = 1 << 20;

/// Hands on every record; there are no blank lines to report.
pub(super) fn read(
    mut reader: impl BufRead,
    delimiter: u8,
    mut source: Source,
) -> Result<usize, DataError> {
    let mut first = Vec::new();
    let read = reader.by_ref().take(MOST_HEADER_BYTES).read_until(b'\n', &mut first);
    read.map_err(DataError::broken(source.path, 0))?;
    let delimiter = separator(&first, delimiter, &source);
    let place = Rc::new(Place::default());
    let ended = first.as_slice().chain(reader).chain(&b"\n"[..]).chain(END);
    let lines = LineByLine { reader: ended, line: 0, place: Rc::clone(&place) };
    let mut records =
        csv::ReaderBuilder::new().flexible(true).delimiter(delimiter).from_reader(lines);
    let columns = header(&mut records, &place, &source)?;
    let mut record = csv::ByteRecord::new();
    loop {
        place.begin_record();
        let more = records.read_byte_record(&mut record).map_err(failed(&place, &source))?;
        if !more {
            return Ok(0);
        }
        if record.len() == 1 && record.as_slice() == END {
            continue;
        }
        let row = row(&columns, &record).and_then(|object| source.table_row(object));
        source.push(place.start(), row)?;
    }
}

/// `told`, unless the header makes no schema with it and does with another: tables from where
/// commas stand in numbers are separated by semicolons.
fn separator(first: &[u8], told: u8, source: &Source) -> u8 {
    let is_schema = |delimiter: &u8| {
        let mut records = csv::ReaderBuilder::new().delimiter(*delimiter).from_reader(first);
        let columns = records.byte_headers().map(columns_of).unwrap_or_default();
        source.check_columns(&columns).is_ok()
    };
    std::iter::once(told).chain(DELIMITERS).find(is_schema).unwrap_or(told)
}

fn columns_of(header: &csv::ByteRecord) -> Vec<String> {
    header.iter().map(|name| String::from_utf8_lossy(name).trim().to_owned()).collect()
}

fn failed(place: &Place, source: &Source) -> impl FnOnce(csv::Error) -> DataError {
    let (path, line) = (source.path.to_owned(), place.start());
    let too_long = place.is_too_long().then(|| source.row_too_long(line));
    move |error| too_long.unwrap_or(DataError::Csv { path, line, source: error })
}

fn header(
    records: &mut csv::Reader<impl Read>,
    place: &Place,
    source: &Source,
) -> Result<Vec<String>, DataError> {
    let path = || source.path.to_owned();
    let header = records.byte_headers().map_err(failed(place, source))?;
    if header.as_slice() == END {
        return Err(DataError::NoRows { path: path() });
    }
    if header.as_slice().ends_with(END) {
        return Err(DataError::CsvHeaderQuote { path: path() });
    }
    let columns = columns_of(header);
    if let Some(index) = (1..columns.len()).find(|&i| columns[..i].contains(&columns[i])) {
        let column = columns[index].clone();
        return Err(DataError::CsvDuplicateColumn { path: path(), column });
    }
    source.check_columns(&columns)?;
    Ok(columns)
}

/// A record's cells; text, but where only JSON can say it.
fn row(columns: &[String], record: &csv::ByteRecord) -> Result<Object, SkipReason> {
    if record.as_slice().ends_with(END) {
        return Err(SkipReason::OpenQuote);
    }
    if record.len() != columns.len() {
        return Err(SkipReason::FieldCount { expected: columns.len(), found: record.len() });
    }
    let mut object = Object::new();
    for (column, cell) in columns.iter().zip(record) {
        let text = utf8(cell, Some(column))?;
        object.insert(column.clone(), Json::String(text.to_owned()));
    }
    Ok(object)
}

/// Where the reader is, shared with the lines it reads.
#[derive(Default)]
struct Place {
    /// Line of the record's first byte, once that was read.
    start: Cell<Option<u64>>,
    /// The line that was handed out last.
    line: Cell<u64>,
    /// Bytes since the record's start.
    bytes: Cell<usize>,
}

impl Place {
    fn begin_record(&self) {
        self.start.set(None);
        self.bytes.set(0);
    }

    /// Records that end in a bare carriage return share a line.
    fn start(&self) -> u64 {
        self.start.get().unwrap_or(self.line.get())
    }

    fn is_too_long(&self) -> bool {
        self.bytes.get() > MOST_ROW_BYTES
    }
}

/// Hands out one line at a time, so that the reader's buffer never holds a line of which nothing
/// belongs to the record in work, and that record's first line is known.
struct LineByLine<R> {
    reader: R,
    /// Line ends that were handed out.
    line: u64,
    place: Rc<Place>,
}

impl<R: BufRead> Read for LineByLine<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let chunk = self.reader.fill_buf()?;
        let line = chunk.iter().position(|byte| *byte == b'\n').map_or(chunk.len(), |at| at + 1);
        let len = line.min(out.len());
        let handed = &chunk[..len];
        out[..len].copy_from_slice(handed);
        self.place.line.set(self.line + 1);
        let is_blank = handed.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
        if self.place.start.get().is_none() && !is_blank {
            self.place.start.set(Some(self.line + 1));
        }
        if handed.ends_with(b"\n") {
            self.line += 1;
        }
        self.reader.consume(len);
        self.place.bytes.set(self.place.bytes.get() + len);
        if self.place.is_too_long() {
            return Err(io::Error::other("the record is too long"));
        }
        Ok(len)
    }
}
