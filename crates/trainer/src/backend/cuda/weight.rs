//! Frozen matrices: values, or codes that become values before each product.

use std::sync::Arc;

use super::driver::{Arg, Buffer, Fields, Gpu};
use super::tensor::Tensor;
use super::{Cuda, elementwise};
use crate::error::Result;
use crate::format::{Format, RowOrder, Stored};

/// Bytes of a file that are copied to the device at a time.
const CHUNK: usize = 32 << 20;

/// A frozen matrix.
#[derive(Debug)]
pub enum Weight {
    /// In the backend's number format.
    Plain(Tensor),
    /// As codes, one matrix below the other.
    Coded(Vec<Coded>),
}

/// A matrix as codes.
#[derive(Debug)]
pub struct Coded {
    bytes: Buffer,
    len: usize,
    layout: Layout,
}

/// How a matrix is stored.
#[derive(Debug, Clone, Copy)]
struct Layout {
    rows: usize,
    cols: usize,
    row_bytes: usize,
    format: Format,
    order: RowOrder,
}

impl Layout {
    fn of(stored: &Stored) -> Self {
        let (rows, cols, format) = (stored.rows(), stored.cols(), stored.format());
        Self { rows, cols, row_bytes: format.row_bytes(cols), format, order: stored.order() }
    }

    /// Rows of a head whose order is llama.cpp's; 0 where rows are in their order.
    const fn head(&self) -> usize {
        match self.order {
            RowOrder::Same => 0,
            RowOrder::Neighbours(head) => head,
        }
    }
}

impl Weight {
    /// Matrices with the same columns, one below the other; codes stay codes where all are.
    pub fn new(be: &Cuda, parts: &[Stored]) -> Result<Self> {
        if !parts.iter().all(|part| part.format().is_coded()) {
            return Self::plain(be, parts);
        }
        let coded = |part: &Stored| {
            let raw = part.raw();
            let mut bytes = be.gpu().buffer(raw.len())?;
            for (chunk, values) in raw.chunks(CHUNK).enumerate() {
                be.gpu().upload(&mut bytes, chunk * CHUNK, values)?;
            }
            Ok(Coded { bytes, len: raw.len(), layout: Layout::of(part) })
        };
        Ok(Self::Coded(parts.iter().map(coded).collect::<Result<_>>()?))
    }

    /// Matrices with the same columns, one below the other, in the backend's number format.
    pub fn plain(be: &Cuda, parts: &[Stored]) -> Result<Self> {
        let rows = parts.iter().map(Stored::rows).sum();
        let cols = parts.first().map_or(0, Stored::cols);
        let tensor = be.stale(rows, cols)?;
        upload(be.gpu(), &tensor, parts)?;
        Ok(Self::Plain(tensor))
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        match self {
            Self::Plain(tensor) => tensor.rows(),
            Self::Coded(parts) => parts.iter().map(|part| part.layout.rows).sum(),
        }
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        match self {
            Self::Plain(tensor) => tensor.cols(),
            Self::Coded(parts) => parts.first().map_or(0, |part| part.layout.cols),
        }
    }

    /// The values in the backend's number format.
    pub fn values(&self, be: &Cuda) -> Result<Wide<'_>> {
        let parts = match self {
            Self::Plain(tensor) => return Ok(Wide::Kept(tensor)),
            Self::Coded(parts) => parts,
        };
        let tensor = be.stale(self.rows(), self.cols())?;
        let mut to = 0;
        for part in parts {
            decode(be.gpu(), &tensor, to, &part.bytes, part.len, part.layout)?;
            to += part.layout.rows * part.layout.cols;
        }
        Ok(Wide::Decoded(tensor))
    }
}

/// A matrix whose values are there.
#[derive(Debug)]
pub enum Wide<'a> {
    Kept(&'a Tensor),
    Decoded(Tensor),
}

impl std::ops::Deref for Wide<'_> {
    type Target = Tensor;

    fn deref(&self) -> &Tensor {
        match self {
            Self::Kept(tensor) => tensor,
            Self::Decoded(tensor) => tensor,
        }
    }
}

/// Copies matrices to the device, some rows at a time, and decodes them there into `to`.
pub fn upload(gpu: &Arc<Gpu>, to: &Tensor, parts: &[Stored]) -> Result<()> {
    let mut first = 0;
    for part in parts {
        let layout = Layout::of(part);
        // Whole heads where their rows are reordered.
        let unit = layout.head().max(1);
        let rows = (CHUNK / layout.row_bytes.max(1) / unit).max(1) * unit;
        for bytes in part.raw().chunks((rows * layout.row_bytes).max(1)) {
            let chunk = Layout { rows: bytes.len() / layout.row_bytes, ..layout };
            let mut staged = gpu.buffer(bytes.len())?;
            gpu.upload(&mut staged, 0, bytes)?;
            decode(gpu, to, first, &staged, bytes.len(), chunk)?;
            first += chunk.rows * chunk.cols;
        }
    }
    Ok(())
}

fn decode(
    gpu: &Gpu,
    to: &Tensor,
    first: usize,
    bytes: &Buffer,
    len: usize,
    layout: Layout,
) -> Result<()> {
    let values = layout.rows * layout.cols;
    let args = [
        to.arg(),
        Fields::default().address(bytes).u64(len as u64).arg(),
        Arg::u64(first),
        Arg::u64(values),
        Arg::u32(layout.cols),
        Arg::u32(layout.row_bytes),
        Arg::u32(layout.format as usize),
        Arg::u32(layout.head()),
    ];
    elementwise(gpu, "decode", values, &args)
}
