//! A matrix of the base model in the number format of its file, decoded where it is used.

use std::ops::{Deref, Range};
use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::format::Format;
use crate::backend::cpu::Real;
use crate::error::Result;

/// Bytes of a weight file, or made from one.
#[derive(Clone)]
pub enum Bytes {
    /// A part of a mapped file.
    Mapped(Arc<memmap2::Mmap>, Range<usize>),
    /// Made while loading.
    Owned(Arc<[u8]>),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map, range) => &map[range.clone()],
            Self::Owned(bytes) => bytes,
        }
    }
}

/// A matrix `[rows, cols]` as bytes in some format; a vector is one row.
#[derive(Clone)]
pub struct Stored {
    bytes: Bytes,
    format: Format,
    rows: usize,
    cols: usize,
}

impl Stored {
    /// Takes bytes for a matrix; the error says why they are none.
    pub fn new(
        bytes: Bytes,
        format: Format,
        rows: usize,
        cols: usize,
    ) -> std::result::Result<Self, String> {
        let block = format.block();
        if !cols.is_multiple_of(block) {
            return Err(format!(
                "the format {format} holds blocks of {block} values, but a row has {cols}"
            ));
        }
        let needed = format.row_bytes(cols).checked_mul(rows);
        if needed != Some(bytes.len()) {
            return Err(format!(
                "{} bytes are no {rows} x {cols} values in the format {format}",
                bytes.len()
            ));
        }
        Ok(Self { bytes, format, rows, cols })
    }

    /// Number of rows.
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub const fn cols(&self) -> usize {
        self.cols
    }

    /// How its values are stored.
    pub const fn format(&self) -> Format {
        self.format
    }

    /// Bytes it takes.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Decodes some columns of some rows into `out`, row-major. The columns begin at a multiple of
    /// the format's block.
    #[inline(always)]
    pub fn decode<T: Real>(&self, rows: Range<usize>, cols: Range<usize>, out: &mut [T]) {
        let row_bytes = self.format.row_bytes(self.cols);
        for (row, out) in rows.zip(out.chunks_exact_mut(cols.len())) {
            let bytes = &self.bytes[row * row_bytes..(row + 1) * row_bytes];
            self.format.decode(bytes, cols.start, out);
        }
    }

    /// The same values as a tensor in host memory, in the file's format where candle has it.
    pub fn to_tensor(&self) -> Result<Tensor> {
        let shape = (self.rows, self.cols);
        if let Some(dtype) = self.format.dtype() {
            return Ok(Tensor::from_raw_buffer(
                &self.bytes,
                dtype,
                &[shape.0, shape.1],
                &Device::Cpu,
            )?);
        }
        let mut values = vec![0.0_f32; self.rows * self.cols];
        self.decode(0..self.rows, 0..self.cols, &mut values);
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
    }
}

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stored[{} x {} {}]", self.rows, self.cols, self.format)
    }
}
