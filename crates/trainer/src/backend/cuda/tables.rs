//! The whole numbers of a step that kernels look things up in: tokens, rows, places.

use std::sync::Arc;

use super::driver::{Arg, Buffer, Fields, Gpu, View};
use crate::error::Result;

/// Some of the numbers.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    first: usize,
    pub len: usize,
}

/// The numbers of a step on the host, table after table.
#[derive(Default)]
pub struct Numbers(Vec<u32>);

impl Numbers {
    pub fn push(&mut self, numbers: impl IntoIterator<Item = u32>) -> Part {
        let first = self.0.len();
        self.0.extend(numbers);
        Part { first, len: self.0.len() - first }
    }

    /// Copies all of them to the device at once.
    pub fn upload(&self, gpu: &Arc<Gpu>) -> Result<Tables> {
        let mut buffer = gpu.buffer(4 * self.0.len())?;
        gpu.upload(&mut buffer, 0, bytemuck::cast_slice(&self.0))?;
        Ok(Tables(buffer))
    }
}

/// The same on the device.
#[derive(Debug)]
pub struct Tables(Buffer);

impl Tables {
    /// Numbers as a kernel's `Ints`.
    pub fn ints(&self, part: Part) -> Arg<'_> {
        Fields::default().address_of(&self.0, 4 * part.first).u64(part.len as u64).arg()
    }

    /// Numbers, or the bits of f32, that a job looks things up in.
    pub fn view(&self, part: Part) -> View<'_> {
        View::new(&self.0, part.first, part.len, false)
    }
}
