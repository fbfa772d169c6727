//! One JSON object a line.

use std::io::{self, BufRead, Read};

use super::super::error::DataError;
use super::super::json::Json;
use super::super::skip::SkipReason;
use super::{MOST_ROW_BYTES, Source, nan, parse_json, utf8};

/// Hands on the row of every line; returns how many lines are blank.
pub(super) fn read(mut reader: impl BufRead, mut source: Source) -> Result<usize, DataError> {
    let mut bytes = Vec::new();
    let (mut line, mut blank_lines) = (0, 0);
    loop {
        let broken = DataError::broken(source.path, line);
        let Some(is_whole) = next_line(&mut reader, &mut bytes).map_err(broken)? else {
            return Ok(blank_lines);
        };
        line += 1;
        let content = bytes.trim_ascii_end();
        if !is_whole {
            source.push(line, Err(SkipReason::TooLong { most: MOST_ROW_BYTES }))?;
        } else if content.is_empty() {
            blank_lines += 1;
        } else {
            let value = utf8(content, None).and_then(parse_line);
            let row = value.and_then(|value| source.row(value));
            source.push(line, row)?;
        }
    }
}

/// A row as Python's json writes it: empty cells may be NaN.
pub(super) fn parse_line(text: &str) -> Result<Json, SkipReason> {
    parse_json(text, None).or_else(|error| match nan::as_null(text) {
        Some(text) => parse_json(&text, None),
        None => Err(error),
    })
}

/// The next line with its end, or the beginning of one that is too long; `None` at the end.
pub(super) fn next_line(
    reader: &mut impl BufRead,
    bytes: &mut Vec<u8>,
) -> io::Result<Option<bool>> {
    bytes.clear();
    let most = MOST_ROW_BYTES as u64 + 1;
    if reader.by_ref().take(most).read_until(b'\n', bytes)? == 0 {
        return Ok(None);
    }
    if (bytes.len() as u64) < most || bytes.ends_with(b"\n") {
        return Ok(Some(true));
    }
    bytes.clear();
    skip_line(reader)?;
    Ok(Some(false))
}

fn skip_line(reader: &mut impl BufRead) -> io::Result<()> {
    loop {
        let chunk = reader.fill_buf()?;
        let (passed, is_end) = match chunk.iter().position(|byte| *byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (chunk.len(), chunk.is_empty()),
        };
        reader.consume(passed);
        if is_end {
            return Ok(());
        }
    }
}
