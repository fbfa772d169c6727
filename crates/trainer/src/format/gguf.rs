//! The container of GGUF files, described in ggml's `docs/gguf.md`: a header of key-value pairs, then
//! the names, shapes (innermost first) and places of the tensors, then their bytes. Everything in it is
//! read with bounds: a damaged file is refused, whatever its header claims.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::number_format::Format;
use super::stored::{Bytes, Stored};
use super::tensor_files::{map_file, map_part, rows_and_cols};
use crate::error::{Result, TrainerError};

/// What every file begins with.
pub const MAGIC: &[u8; 4] = b"GGUF";
/// Bytes that tensors begin at a multiple of, unless a file says otherwise.
pub const ALIGNMENT: usize = 32;

type Parsed<T> = std::result::Result<T, String>;

/// An open GGUF file; tensors have the names of the file.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    file: File,
    bytes: usize,
    places: BTreeMap<String, Place>,
    /// `general.architecture`.
    pub architecture: Option<String>,
    /// `general.type`.
    pub kind: Option<String>,
    /// `split.count`: how many files hold the tensors.
    pub parts: u64,
}

/// Where a tensor lies, and as what.
#[derive(Debug)]
struct Place {
    /// Innermost last.
    shape: Vec<usize>,
    ggml_type: u32,
    /// First byte in the file.
    start: usize,
}

impl Gguf {
    /// Opens a file and reads its header.
    pub fn open(path: &Path) -> Result<Self> {
        let map = map_file(path)?;
        let header = Header::read(&map).map_err(|message| {
            TrainerError::weights(path, format!("is not a complete GGUF file: {message}"))
        })?;
        let Header { architecture, kind, parts, places } = header;
        Ok(Self {
            path: path.to_path_buf(),
            file: File::open(path).map_err(TrainerError::io("open", path))?,
            bytes: map.len(),
            places,
            architecture,
            kind,
            parts,
        })
    }

    /// The names of all tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Shape and number format of a tensor, where there is one; the error says why it cannot be read.
    pub fn header(&self, name: &str) -> Option<(&[usize], Parsed<Format>)> {
        let place = self.places.get(name)?;
        Some((&place.shape, format_of(place.ggml_type)))
    }

    /// Whether a tensor of this shape and format ends within the file.
    pub fn is_whole(&self, name: &str, shape: &[usize], format: Format) -> bool {
        let (rows, cols) = rows_and_cols(shape);
        let len = format.row_bytes(cols).checked_mul(rows);
        let place = self.places.get(name);
        let end = place.zip(len).and_then(|(place, len)| place.start.checked_add(len));
        end.is_some_and(|end| end <= self.bytes)
    }

    /// Some rows of a tensor of this shape; its bytes stay in the file.
    pub fn stored(&self, name: &str, shape: &[usize], part: Range<usize>) -> Result<Stored> {
        let refused =
            |message: String| TrainerError::weights(&self.path, format!("`{name}` {message}"));
        let Some(place) = self.places.get(name) else {
            return Err(refused("is not there".to_owned()));
        };
        let format = format_of(place.ggml_type).map_err(refused)?;
        let (rows, cols) = rows_and_cols(shape);
        if place.shape != shape || part.end > rows || !self.is_whole(name, shape, format) {
            return Err(refused(format!("is no whole tensor of the shape {shape:?}")));
        }
        let start = place.start + part.start * format.row_bytes(cols);
        let bytes = start..start + part.len() * format.row_bytes(cols);
        let bytes = Bytes::Mapped(Arc::new(map_part(&self.file, &self.path, bytes)?));
        Stored::new(bytes, format, part.len(), cols).map_err(refused)
    }
}

/// The format of a number in the file; the error continues after the tensor's name.
fn format_of(ggml_type: u32) -> Parsed<Format> {
    Ok(match ggml_type {
        0 => Format::F32,
        1 => Format::F16,
        2 => Format::Q4_0,
        3 => Format::Q4_1,
        6 => Format::Q5_0,
        7 => Format::Q5_1,
        8 => Format::Q8_0,
        12 => Format::Q4K,
        13 => Format::Q5K,
        14 => Format::Q6K,
        28 => Format::F64,
        30 => Format::Bf16,
        other => {
            let name = match other {
                10 => "Q2_K",
                11 => "Q3_K",
                16 | 17 | 22 => "IQ2",
                18 | 21 => "IQ3",
                19 | 29 => "IQ1",
                20 | 23 => "IQ4",
                34 | 35 => "TQ",
                39 => "MXFP4",
                _ => "unknown",
            };
            return Err(format!(
                "is stored as ggml's type {other} ({name}); Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, \
                 Q5_K, Q6_K, BF16, F16 and F32 are read: take another file of the model, such as \
                 its Q4_K_M"
            ));
        }
    })
}

/// What is read of a header.
#[derive(Default)]
struct Header {
    architecture: Option<String>,
    kind: Option<String>,
    parts: u64,
    places: BTreeMap<String, Place>,
}

impl Header {
    fn read(file: &[u8]) -> Parsed<Self> {
        let mut from = Cursor { file, at: 0 };
        if from.take(MAGIC.len())? != &MAGIC[..] {
            return Err("it does not begin with `GGUF`".to_owned());
        }
        let version = from.u32()?;
        if !(2..=3).contains(&version) {
            return Err(format!("its version is {version}; 2 and 3 are read"));
        }
        let (tensors, pairs) = (from.u64()?, from.u64()?);
        let mut header = Self::default();
        let mut alignment = ALIGNMENT;
        for _ in 0..pairs {
            let key = from.text()?;
            let value = from.value()?;
            match (key, value) {
                ("general.architecture", Value::Text(text)) => {
                    header.architecture = Some(text.to_owned());
                }
                ("general.type", Value::Text(text)) => header.kind = Some(text.to_owned()),
                ("general.alignment", Value::Whole(bytes)) => {
                    let bytes = usize::try_from(bytes).ok().filter(|bytes| bytes.is_power_of_two());
                    alignment = bytes.ok_or("its alignment is no power of two")?;
                }
                ("split.count", Value::Whole(parts)) => header.parts = parts,
                _ => {}
            }
        }
        for _ in 0..tensors {
            let (name, place) = from.tensor()?;
            if header.places.insert(name.to_owned(), place).is_some() {
                return Err(format!("it holds `{name}` twice"));
            }
        }
        let data =
            from.at.checked_next_multiple_of(alignment).ok_or("its alignment is too large")?;
        for place in header.places.values_mut() {
            place.start = place.start.checked_add(data).ok_or("a tensor lies beyond any file")?;
        }
        Ok(header)
    }
}

/// A value of the header, as far as it is of use.
enum Value<'a> {
    Text(&'a str),
    Whole(u64),
    Other,
}

/// Reads from the front, never beyond the end.
struct Cursor<'a> {
    file: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Parsed<&'a [u8]> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.file.len());
        let end = end.ok_or_else(|| format!("it ends within its header, at byte {}", self.at))?;
        let taken = &self.file[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Parsed<[u8; N]> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| "it ends within its header".to_owned())
    }

    fn u32(&mut self) -> Parsed<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Parsed<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn size(&mut self) -> Parsed<usize> {
        let size = self.u64()?;
        usize::try_from(size).map_err(|_| format!("a size of {size} is too large"))
    }

    fn text(&mut self) -> Parsed<&'a str> {
        let len = self.size()?;
        std::str::from_utf8(self.take(len)?).map_err(|_| "a name in it is no UTF-8".to_owned())
    }

    /// A value with its type before it.
    fn value(&mut self) -> Parsed<Value<'a>> {
        const TEXT: u32 = 8;
        const LIST: u32 = 9;
        let kind = self.u32()?;
        match kind {
            4 => return Ok(Value::Whole(self.u32()?.into())),
            10 => return Ok(Value::Whole(self.u64()?)),
            2 => return Ok(Value::Whole(u16::from_le_bytes(self.array()?).into())),
            // Tokens need not be UTF-8.
            TEXT => {
                let len = self.size()?;
                return Ok(std::str::from_utf8(self.take(len)?).map_or(Value::Other, Value::Text));
            }
            LIST => {
                let (of, len) = (self.u32()?, self.size()?);
                if of == TEXT {
                    for _ in 0..len {
                        let bytes = self.size()?;
                        self.take(bytes)?;
                    }
                } else {
                    let bytes = size_of_value(of)?.checked_mul(len).ok_or("a list is too long")?;
                    self.take(bytes)?;
                }
            }
            other => {
                self.take(size_of_value(other)?)?;
            }
        }
        Ok(Value::Other)
    }

    fn tensor(&mut self) -> Parsed<(&'a str, Place)> {
        const MOST_AXES: u32 = 4;
        let name = self.text()?;
        let axes = self.u32()?;
        if axes > MOST_AXES {
            return Err(format!("`{name}` has {axes} axes"));
        }
        let mut shape = (0..axes).map(|_| self.size()).collect::<Parsed<Vec<_>>>()?;
        shape.reverse();
        let (ggml_type, start) = (self.u32()?, self.size()?);
        Ok((name, Place { shape, ggml_type, start }))
    }
}

/// Bytes of a value whose type has a fixed size.
fn size_of_value(kind: u32) -> Parsed<usize> {
    match kind {
        0 | 1 | 7 => Ok(1),
        2 | 3 => Ok(2),
        4..=6 => Ok(4),
        10..=12 => Ok(8),
        other => Err(format!("a value in it has the unknown type {other}")),
    }
}
