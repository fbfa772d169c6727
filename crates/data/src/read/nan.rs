//! NaN and Infinity as Python's json writes them, which are no JSON. pandas makes a NaN of every
//! empty cell: as a field of a row it is as good as null. Inside lists and objects it would be a
//! number that was computed, and is refused.

use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::rc::Rc;

/// The words, longest first.
const WORDS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];
const NULL: &str = "null";
/// More bytes than any of the words has.
const MOST_WORD: usize = 12;

/// Where in a JSON text a byte is.
#[derive(Debug, Default)]
struct Position {
    depth: usize,
    in_string: bool,
    is_escaped: bool,
}

impl Position {
    /// Goes past a byte.
    fn pass(&mut self, byte: u8) {
        if self.in_string {
            let is_escaped = std::mem::take(&mut self.is_escaped);
            match byte {
                _ if is_escaped => {}
                b'\\' => self.is_escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }

    /// Brackets that are open.
    const fn depth(&self) -> usize {
        self.depth
    }

    /// Whether a word could begin with this byte here.
    const fn may_begin(&self, byte: u8) -> bool {
        !self.in_string && matches!(byte, b'N' | b'I' | b'-')
    }
}

/// Whether a text is one of the words.
fn is_word(text: &[u8]) -> bool {
    WORDS.iter().any(|word| word.as_bytes() == text)
}

/// Bytes that words are made of.
const fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'-'
}

/// The word at a byte of a text.
pub(super) fn word_at(text: &str, at: usize) -> Option<&'static str> {
    let rest = text.as_bytes().get(at..)?;
    // Of `-Infinity` the parser reports the letter behind the sign.
    let rest_with_sign = text.as_bytes().get(at.saturating_sub(1)..)?;
    let begins = |word: &&&str| rest.starts_with(word.as_bytes());
    let begins_with_sign = |word: &&&str| rest_with_sign.starts_with(word.as_bytes());
    let signed = WORDS[..1].iter().find(begins_with_sign);
    signed.or_else(|| WORDS.iter().find(begins)).copied()
}

/// A row with null in the place of the words among its fields; `None` where there are none.
pub(super) fn as_null(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let (mut out, mut taken, mut at) = (String::new(), 0, 0);
    let mut position = Position::default();
    while at < bytes.len() {
        if position.depth() == 1 && position.may_begin(bytes[at]) {
            let end = at + bytes[at..].iter().take_while(|byte| is_of_word(**byte)).count();
            if is_word(&bytes[at..end]) {
                out.push_str(&text[taken..at]);
                out.push_str(NULL);
                taken = end;
            }
            at = end;
            continue;
        }
        position.pass(bytes[at]);
        at += 1;
    }
    (taken > 0).then(|| out + &text[taken..])
}

/// A stream of JSON with null in the place of the words among the fields of its rows.
pub(super) struct PlainJson<R> {
    reader: R,
    position: Position,
    /// Brackets that are open around the fields of rows.
    row_depth: usize,
    /// They are counted anew for every value of the stream.
    is_row_depth_found: bool,
    /// What is handed out before more is read, last byte first.
    pending: Vec<u8>,
    was_refused: Rc<Cell<bool>>,
}

impl<R: BufRead> PlainJson<R> {
    /// With the number of brackets that are open around a row's fields; `None` for rows that are
    /// the values of the stream, or elements of lists that are.
    pub fn new(reader: R, row_depth: Option<usize>) -> Self {
        Self {
            reader,
            position: Position::default(),
            row_depth: row_depth.unwrap_or_default(),
            is_row_depth_found: row_depth.is_none(),
            pending: Vec::new(),
            was_refused: Rc::default(),
        }
    }

    /// Becomes true when a word is left where it makes the stream malformed.
    pub fn was_refused(&self) -> Rc<Cell<bool>> {
        Rc::clone(&self.was_refused)
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        Ok(self.reader.fill_buf()?.first().copied())
    }

    fn next(&mut self) -> io::Result<Option<u8>> {
        if let Some(byte) = self.pending.pop() {
            return Ok(Some(byte));
        }
        let Some(byte) = self.peek()? else { return Ok(None) };
        if self.position.may_begin(byte) {
            self.take_word()?;
            return Ok(self.pending.pop());
        }
        self.reader.consume(1);
        if self.is_row_depth_found && self.position.depth() == 0 {
            self.row_depth = if byte == b'[' { 2 } else { 1 };
        }
        self.position.pass(byte);
        Ok(Some(byte))
    }

    /// Reads what may be a word, and has it or null handed out.
    fn take_word(&mut self) -> io::Result<()> {
        let mut word = Vec::new();
        while word.len() < MOST_WORD
            && let Some(byte) = self.peek()?.filter(|byte| is_of_word(*byte))
        {
            self.reader.consume(1);
            word.push(byte);
        }
        if is_word(&word) {
            if self.position.depth() <= self.row_depth {
                word = NULL.as_bytes().to_vec();
            } else {
                self.was_refused.set(true);
            }
        }
        word.reverse();
        self.pending = word;
        Ok(())
    }
}

impl<R: BufRead> Read for PlainJson<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        // One byte: a parser that is never ahead knows its place.
        let Some(byte) = self.next()? else { return Ok(0) };
        out[0] = byte;
        Ok(1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_stream_is_changed_as_a_row_is(
            pieces in proptest::collection::vec(
                proptest::sample::select(
                    &["NaN", "-Infinity", "Infinity", "-1", "{", "[", "\"", "\\", "a", "N", "é"][..],
                ),
                0..24,
            ),
        ) {
            let row = format!("{{{}", pieces.join(" "));
            let mut stream = PlainJson::new(row.as_bytes(), None);
            let mut text = String::new();
            stream.read_to_string(&mut text).expect("UTF-8 from memory");
            prop_assert_eq!(text, as_null(&row).unwrap_or(row));
        }
    }

    #[test]
    fn only_the_fields_of_a_row_may_be_nan() {
        let null = |text: &str| as_null(text).unwrap_or_else(|| "unchanged".to_owned());
        assert_eq!(
            null(r#"{"a": NaN, "b": -Infinity,"c":Infinity}"#),
            r#"{"a": null, "b": null,"c":null}"#
        );
        let mut stream =
            PlainJson::new(&b"[{\"a\": NaN}, {\"b\": [-Infinity, -1]}] {\"c\":NaN}"[..], None);
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("reading from memory");
        assert_eq!(text, r#"[{"a": null}, {"b": [-Infinity, -1]}] {"c":null}"#);
        assert!(stream.was_refused().get());
        for unchanged in [
            r#"{"a": "NaN", "b\"": "x: NaN,"}"#,
            r#"{"a": [NaN], "b": {"c": NaN}}"#,
            r#"{"a": NaNs, "b": -12, "c": Nan}"#,
            "NaN",
        ] {
            assert_eq!(null(unchanged), "unchanged", "{unchanged}");
        }
    }
}
