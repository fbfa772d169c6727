//! What the CUDA backend makes of a step before its first operation: the whole numbers that kernels
//! look things up in, copied to the device at once.

use std::ops::Deref;
use std::sync::Arc;

use super::attention;
use super::driver::{Arg, Gpu, View};
use super::rope::{AngleTables, Rotation, rotation};
use super::tables::{Numbers, Part, Tables};
use super::tensor::Tensor;
use crate::backend::Step;
use crate::error::Result;

/// A step with its tables on the device.
#[derive(Debug)]
pub struct Plan<'a> {
    step: Step<'a, Tensor>,
    tables: Tables,
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
        let tables = numbers.upload(gpu)?;
        Ok(Self { step, tables, ids, read_rows, tiles, targets, weights, rotations })
    }

    /// Tokens, one for each row.
    pub(super) fn ids(&self) -> View<'_> {
        self.tables.view(self.ids)
    }

    pub(super) fn read(&self) -> View<'_> {
        self.tables.view(self.read_rows)
    }

    /// The attention's tiles, and how many there are.
    pub(super) fn tiles(&self) -> (Arg<'_>, usize) {
        (self.tables.ints(self.tiles), self.tiles.len / attention::NUMBERS_OF_A_TILE)
    }

    pub(super) fn targets(&self) -> Arg<'_> {
        self.tables.ints(self.targets)
    }

    /// The factors of the targets' losses.
    pub(super) fn weights(&self) -> Arg<'_> {
        self.tables.view(self.weights).arg()
    }

    /// How the rows turn by a rope: the angles, and the row of them for each row of the step.
    pub(super) fn rotation(&self, rope: usize) -> (&Tensor, View<'_>) {
        let rotation = &self.rotations[rope];
        (rotation.angles(), self.tables.view(rotation.places))
    }
}

impl<'a> Deref for Plan<'a> {
    type Target = Step<'a, Tensor>;

    fn deref(&self) -> &Self::Target {
        &self.step
    }
}
