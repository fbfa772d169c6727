//! A file of nothing but text, handed on in pieces of some kilobytes.

use std::io::{BufRead, Read};

use super::super::error::DataError;
use super::super::said::Row;
use super::super::schema::Schema;
use super::Source;

/// A piece ends with the paragraph in which it has come to this size ...
const PIECE_BYTES: usize = 16 << 10;
/// ... or with the line in which it has come to this one ...
const LONG_PIECE_BYTES: usize = 64 << 10;
/// ... or within a line that has come to this one.
const MOST_LINE_BYTES: u64 = 1 << 20;

/// Hands on the pieces; there are no blank lines to report.
pub(super) fn read(mut reader: impl BufRead, mut source: Source) -> Result<usize, DataError> {
    let mut piece = Piece::default();
    let (mut line, mut bytes) = (1, Vec::new());
    loop {
        let broken = DataError::broken(source.path, line);
        let read = reader.by_ref().take(MOST_LINE_BYTES).read_until(b'\n', &mut bytes);
        if read.map_err(broken)? == 0 {
            piece.hand_on(&mut source)?;
            return if bytes.is_empty() { Ok(0) } else { Err(not_utf8(&source, line, &bytes)) };
        }
        let whole = whole_characters(&bytes);
        let text = std::str::from_utf8(&bytes[..whole]).unwrap_or_default();
        // Only the end of what was read at once may be a part of a character.
        if whole + 3 < bytes.len() {
            return Err(not_utf8(&source, line, &bytes));
        }
        if piece.text.is_empty() {
            piece.line = line;
        }
        piece.text.push_str(text);
        let is_blank = text.trim().is_empty();
        line += u64::from(text.ends_with('\n'));
        bytes.drain(..whole);
        let size = piece.text.len();
        if size >= LONG_PIECE_BYTES || (is_blank && size >= PIECE_BYTES) {
            piece.hand_on(&mut source)?;
        }
    }
}

#[derive(Default)]
struct Piece {
    line: u64,
    text: String,
}

impl Piece {
    /// Hands on what is there, if it is more than blanks.
    fn hand_on(&mut self, source: &mut Source) -> Result<(), DataError> {
        let text = std::mem::take(&mut self.text);
        if text.trim().is_empty() {
            return Ok(());
        }
        source.push(self.line, Ok((Schema::PlainText, Row::Text(text))))
    }
}

/// How many bytes the leading whole characters take.
fn whole_characters(bytes: &[u8]) -> usize {
    std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), |_| bytes.len())
}

fn not_utf8(source: &Source, line: u64, bytes: &[u8]) -> DataError {
    let at = whole_characters(bytes);
    DataError::NotUtf8 { path: source.path.to_owned(), line, byte: bytes[at], position: at + 1 }
}
