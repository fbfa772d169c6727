//! What the CUDA backend makes of a step before its first operation: the whole numbers that kernels
//! look things up in, copied to the device at once.

use std::ops::Deref;
use std::sync::Arc;

use super::attention;
use super::driver::{Arg, Buffer, Fields, Gpu, View};
use super::rope::{AngleTables, Rotation, rotation};
use super::tensor::Tensor;
use crate::backend::Step;
use crate::error::Result;

/// A step with its tables on the device.
#[derive(Debug)]
pub struct Plan<'a> {
    step: Step<'a, Tensor>,
    buffer: Buffer,
    /// Token of each row.
    ids: Part,
    /// The rows that the last block computes after its attention.
    read_rows: Part,
    /// The tiles of all sequences for the attention, three numbers each.
    tiles: Part,
    /// The tokens to predict, and the factors of their losses as the bits of f32.
    targets: Part,
    weights: Part,
    /// How rows turn, for each rope.
    rotations: Vec<Rotation>,
}

/// Some of the plan's numbers.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    first: usize,
    pub(super) len: usize,
}

/// The numbers of a plan on the host.
#[derive(Default)]
pub struct Numbers(Vec<u32>);

impl Numbers {
    pub(super) fn push(&mut self, numbers: impl IntoIterator<Item = u32>) -> Part {
        let first = self.0.len();
        self.0.extend(numbers);
        Part { first, len: self.0.len() - first }
    }
}

impl<'a> Plan<'a> {
    pub(super) fn new(
        step: Step<'a, Tensor>,
        gpu: &Arc<Gpu>,
        angles: &AngleTables,
    ) -> Result<Self> {
        let mut numbers = Numbers::default();
        let rows = &step.rows;
        let ids = numbers.push(rows.ids.iter().copied());
        let read_rows = numbers.push(step.read_rows().map(|row| row as u32));
        let tiles = numbers.push(attention::tiles(&step.families));
        let targets = numbers.push(rows.targets.iter().map(|target| target.token));
        let weights = numbers.push(rows.targets.iter().map(|target| target.weight.to_bits()));
        let rotations =
            step.ropes.iter().map(|rope| rotation(rows, rope, gpu, angles, &mut numbers));
        let rotations = rotations.collect::<Result<_>>()?;
        let mut buffer = gpu.buffer(4 * numbers.0.len())?;
        gpu.upload(&mut buffer, 0, bytemuck::cast_slice(&numbers.0))?;
        Ok(Self { step, buffer, ids, read_rows, tiles, targets, weights, rotations })
    }

    /// Numbers as a kernel's `Ints`.
    pub(super) fn ints(&self, part: Part) -> Arg<'_> {
        Fields::default().address_of(&self.buffer, 4 * part.first).u64(part.len as u64).arg()
    }

    /// Numbers of which a job looks things up.
    pub(super) fn view(&self, part: Part) -> View<'_> {
        View::new(&self.buffer, part.first, part.len, false)
    }

    pub(super) fn ids(&self) -> View<'_> {
        self.view(self.ids)
    }

    pub(super) fn read(&self) -> View<'_> {
        self.view(self.read_rows)
    }

    /// The attention's tiles, and how many there are.
    pub(super) fn tiles(&self) -> (Arg<'_>, usize) {
        (self.ints(self.tiles), self.tiles.len / attention::NUMBERS_OF_A_TILE)
    }

    pub(super) fn targets(&self) -> Arg<'_> {
        self.ints(self.targets)
    }

    /// The factors of the targets' losses.
    pub(super) fn weights(&self) -> Arg<'_> {
        self.view(self.weights).arg()
    }

    pub(super) fn rotation(&self, rope: usize) -> &Rotation {
        &self.rotations[rope]
    }
}

impl<'a> Deref for Plan<'a> {
    type Target = Step<'a, Tensor>;

    fn deref(&self) -> &Self::Target {
        &self.step
    }
}
