//! JSON that is not one object a line: a list of rows, rows and lists of them behind each other, or
//! an object with the list in one of its fields; read element by element.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, BufRead, Read};

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::super::error::DataError;
use super::super::json::Json;
use super::layout::Layout;
use super::nan::PlainJson;
use super::{MOST_ROW_BYTES, Source, without_place};

/// Brackets around the fields of a row that stands in a list in an object.
const WRAPPED_DEPTH: usize = 3;

/// Hands on every row; there are no blank lines to report.
pub(super) fn read(
    reader: impl BufRead,
    layout: &Layout,
    source: Source,
) -> Result<usize, DataError> {
    let path = source.path.to_owned();
    let place = Place::default();
    let field = if let Layout::Wrapped(field) = layout { Some(field.as_str()) } else { None };
    let json = PlainJson::new(reader, field.map(|_| WRAPPED_DEPTH));
    let has_nan = json.was_refused();
    let mut parser = serde_json::Deserializer::from_reader(Counting { json, place: &place });
    let mut rows = Rows { source, place: &place, field, failed: None };
    let parsed = loop {
        match (&mut parser).deserialize_any(&mut rows) {
            Ok(()) if parser.end().is_ok() => break Ok(()),
            Ok(()) => {}
            Err(error) => break Err(error),
        }
    };
    if let Some(error) = rows.failed.take() {
        return Err(error);
    }
    match parsed {
        Ok(()) => Ok(0),
        Err(_) if place.is_too_long() => Err(rows.source.row_too_long(place.row.get())),
        Err(error) if error.is_io() => {
            let line = place.line.get();
            Err(DataError::broken(&path, line)(io::Error::other(error.to_string())))
        }
        Err(error) => {
            let mut message = without_place(&error);
            if has_nan.get() {
                message.push_str("; NaN inside a list or an object is no JSON: write null");
            }
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

    /// The value of the row, all of which has been read: numbers keep their digits.
    fn row<E: Error>(&self) -> Result<Json, E> {
        let bytes = self.bytes.borrow();
        let text = std::str::from_utf8(&bytes).map_err(E::custom)?;
        Json::from_first(text).map_err(|error| E::custom(without_place(&error)))
    }

    fn is_too_long(&self) -> bool {
        self.bytes.borrow().len() > MOST_ROW_BYTES
    }
}

/// Counts what the parser takes; it takes single bytes, so it is never ahead.
struct Counting<'a, R> {
    json: PlainJson<R>,
    place: &'a Place,
}

impl<R: BufRead> Read for Counting<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.json.read(out)?;
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

/// Takes the rows of a value of the file.
struct Rows<'a, 'b, 'p> {
    source: Source<'a, 'b>,
    place: &'p Place,
    /// The field of the file's object that holds the rows, if they are not the values themselves.
    field: Option<&'p str>,
    /// Why the rows were not taken, if so: serde carries its own errors only.
    failed: Option<DataError>,
}

impl Rows<'_, '_, '_> {
    fn take<E: Error>(&mut self, value: Json) -> Result<(), E> {
        let row = self.source.row(value);
        self.source.push(self.place.row.get(), row).map_err(|error| {
            self.failed = Some(error);
            E::custom("stopped")
        })
    }

    /// Takes the rows of the list in `field`, and passes over what stands beside it.
    fn unwrap<'de, A: MapAccess<'de>>(&mut self, mut map: A, field: &str) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            self.place.begin_row();
            if name == field {
                map.next_value_seed(&mut *self)?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for &mut Rows<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for &mut Rows<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row or a list of rows")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(value) = seq.next_element_seed(Element(self.place))? {
            self.take(value)?;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.place.begin_row();
        if let Some(field) = self.field {
            return self.unwrap(map, field);
        }
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        let value = self.place.row()?;
        self.take(value)
    }
}

/// An element, whose first byte has been read when its turn comes.
struct Element<'p>(&'p Place);

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        self.0.begin_row();
        deserializer.deserialize_any(IgnoredAny)?;
        self.0.row()
    }
}
