//! Matrices on a device.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::driver::{Arg, Buffer, Gpu, Job, Kind, View, value_bytes};
use crate::error::Result;

/// A row-major matrix in f32 or bf16.
pub struct Tensor {
    buffer: Buffer,
    rows: usize,
    cols: usize,
    narrow: bool,
}

impl Tensor {
    /// A matrix with unspecified contents.
    pub(super) fn stale(gpu: &Arc<Gpu>, rows: usize, cols: usize, narrow: bool) -> Result<Self> {
        let buffer = gpu.buffer(rows * cols * value_bytes(narrow))?;
        Ok(Self { buffer, rows, cols, narrow })
    }

    pub(super) fn zeros(gpu: &Arc<Gpu>, rows: usize, cols: usize) -> Result<Self> {
        let zeros = Self::stale(gpu, rows, cols, false)?;
        zeros.clear(gpu)?;
        Ok(zeros)
    }

    pub(super) fn clear(&self, gpu: &Gpu) -> Result<()> {
        gpu.queue(Job::on_values(Kind::Zero, self.len()).writes(self.view()))
    }

    pub(super) fn upload(gpu: &Arc<Gpu>, values: &[f32], rows: usize, cols: usize) -> Result<Self> {
        let mut tensor = Self::stale(gpu, rows, cols, false)?;
        gpu.upload(&mut tensor.buffer, 0, bytemuck::cast_slice(values))?;
        Ok(tensor)
    }

    /// Number of rows.
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub const fn cols(&self) -> usize {
        self.cols
    }

    /// Number of values.
    pub(super) const fn len(&self) -> usize {
        self.rows * self.cols
    }

    pub(super) const fn narrow(&self) -> bool {
        self.narrow
    }

    pub(super) const fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// All values.
    pub(super) fn view(&self) -> View<'_> {
        View::new(&self.buffer, 0, self.len(), self.narrow)
    }

    /// `len` values from the value `first` on.
    pub(super) fn view_of_values(&self, first: usize, len: usize) -> View<'_> {
        View::new(&self.buffer, first, len, self.narrow)
    }

    /// Some of the rows.
    pub(super) fn view_of_rows(&self, rows: Range<usize>) -> View<'_> {
        View::new(&self.buffer, rows.start * self.cols, rows.len() * self.cols, self.narrow)
    }

    /// The matrix as a kernel's argument.
    pub(super) fn arg(&self) -> Arg<'_> {
        self.view().arg()
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let format = if self.narrow { "bf16" } else { "f32" };
        write!(f, "Tensor[{} x {} {format}]", self.rows, self.cols)
    }
}
