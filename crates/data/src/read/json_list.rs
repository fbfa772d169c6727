//! One JSON list of objects, read element by element.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, BufRead, Read};

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, SeqAccess, Visitor};

use super::super::error::DataError;
use super::super::json::Json;
use super::{MOST_ROW_BYTES, Source, without_place};

/// Hands on every element; there are no blank lines to tell of.
pub(super) fn read(reader: impl BufRead, source: Source) -> Result<usize, DataError> {
    let path = source.path.to_owned();
    let place = Place::default();
    let counting = Counting { reader, place: &place };
    let mut parser = serde_json::Deserializer::from_reader(counting);
    let mut list = List { source, place: &place, failed: None };
    let parsed = parser.deserialize_seq(&mut list).and_then(|()| parser.end());
    if let Some(error) = list.failed.take() {
        return Err(error);
    }
    match parsed {
        Ok(()) => Ok(0),
        Err(_) if place.is_too_long() => Err(list.source.row_too_long(place.row.get())),
        Err(error) if error.is_io() => {
            let line = place.line.get();
            Err(DataError::broken(&path, line)(io::Error::other(error.to_string())))
        }
        Err(error) => {
            let message = without_place(&error);
            let (line, column) = (error.line(), error.column());
            Err(DataError::MalformedJson { path, line, column, message })
        }
    }
}

/// Where the parser is, shared with the reader it reads from.
#[derive(Default)]
struct Place {
    /// Line ends that were read.
    line: Cell<u64>,
    /// Line on which the row in work begins.
    row: Cell<u64>,
    /// Its bytes, and what was read after it.
    bytes: RefCell<Vec<u8>>,
}

impl Place {
    fn begin_row(&self) {
        self.row.set(self.line.get() + 1);
        let mut bytes = self.bytes.borrow_mut();
        let first = bytes.len().saturating_sub(1);
        bytes.drain(..first);
    }

    fn is_too_long(&self) -> bool {
        self.bytes.borrow().len() > MOST_ROW_BYTES
    }
}

/// Counts what the parser takes; it takes single bytes, so it is never ahead.
struct Counting<'a, R> {
    reader: R,
    place: &'a Place,
}

impl<R: BufRead> Read for Counting<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(out)?;
        // One byte, mostly.
        for byte in &out[..read] {
            self.place.line.set(self.place.line.get() + u64::from(*byte == b'\n'));
        }
        self.place.bytes.borrow_mut().extend_from_slice(&out[..read]);
        if self.place.is_too_long() {
            return Err(io::Error::other("the row is too long"));
        }
        Ok(read)
    }
}

/// Takes the elements of the list.
struct List<'a, 'b, 'p> {
    source: Source<'a, 'b>,
    place: &'p Place,
    /// Why the rows were not taken, if so: serde carries its own errors only.
    failed: Option<DataError>,
}

impl<'de> Visitor<'de> for &mut List<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of rows")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(value) = seq.next_element_seed(Element(self.place))? {
            let row = self.source.row(value);
            if let Err(error) = self.source.push(self.place.row.get(), row) {
                self.failed = Some(error);
                return Err(A::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}

/// An element, whose first byte has been read when its turn comes.
struct Element<'p>(&'p Place);

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        self.0.begin_row();
        deserializer.deserialize_any(IgnoredAny)?;
        let bytes = self.0.bytes.borrow();
        let text = std::str::from_utf8(&bytes).map_err(Error::custom)?;
        Json::from_first(text).map_err(|error| Error::custom(without_place(&error)))
    }
}
