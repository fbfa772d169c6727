//! A matrix of the base model in the number format of its file, decoded where it is used.

use std::ops::{Deref, Range};
use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::number_format::Format;
use crate::error::Result;
use crate::real::Real;

/// Bytes of a weight file, or made from one.
#[derive(Clone)]
pub enum Bytes {
    /// A mapped part of a file: its pages go when the last matrix on it goes.
    Mapped(Arc<memmap2::Mmap>),
    /// Made while loading.
    Owned(Arc<[u8]>),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
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
    order: RowOrder,
}

/// In which order the rows are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowOrder {
    /// As they are asked for.
    Same,
    /// llama.cpp's order of the rows of q and k in its `llama` architecture, which rotates
    /// neighbours: within a head of this many rows, row `j` and row `j + half` stand side by side.
    Neighbours(usize),
}

impl RowOrder {
    /// The place of a row among the stored ones.
    #[inline(always)]
    pub const fn place(self, row: usize) -> usize {
        match self {
            Self::Same => row,
            Self::Neighbours(head) => {
                let (start, within) = (row / head * head, row % head);
                start + 2 * (within % (head / 2)) + within / (head / 2)
            }
        }
    }
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
        Ok(Self { bytes, format, rows, cols, order: RowOrder::Same })
    }

    /// Takes the bytes that this program has made for a matrix.
    pub(super) fn coded(bytes: Bytes, format: Format, rows: usize, cols: usize) -> Self {
        debug_assert_eq!(bytes.len(), rows * format.row_bytes(cols));
        Self { bytes, format, rows, cols, order: RowOrder::Same }
    }

    /// The same matrix, if its rows are stored in this order.
    #[must_use]
    pub fn in_order(self, order: RowOrder) -> Self {
        Self { order, ..self }
    }

    /// A vector whose values are stored in this order, as f32 in the order that is asked for.
    #[must_use]
    pub fn reordered(&self, order: RowOrder) -> Self {
        let mut values = vec![0.0_f32; self.cols];
        self.decode(0..1, 0..self.cols, &mut values);
        let bytes = (0..self.cols).flat_map(|at| values[order.place(at)].to_le_bytes());
        let bytes: Arc<[u8]> = bytes.collect();
        Self::coded(Bytes::Owned(bytes), Format::F32, 1, self.cols)
    }

    /// In which order its rows are stored.
    pub const fn order(&self) -> RowOrder {
        self.order
    }

    /// Its bytes as they are stored.
    pub fn raw(&self) -> &[u8] {
        &self.bytes
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
            let place = self.order.place(row);
            let bytes = &self.bytes[place * row_bytes..(place + 1) * row_bytes];
            self.format.decode(bytes, cols.start, out);
        }
    }

    /// The same values as a tensor in host memory, in the file's format where candle has it.
    pub fn to_tensor(&self) -> Result<Tensor> {
        let shape = (self.rows, self.cols);
        if let (Some(dtype), RowOrder::Same) = (self.format.dtype(), self.order) {
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
