//! The adapters of a step.

use std::ops::Range;

use crate::adapter::AdapterLayout;

/// An adapter that somebody holds, to be used for a while.
#[derive(Debug)]
pub struct AttachedAdapter<'a, T> {
    /// Where its matrices lie.
    pub layout: &'a AdapterLayout,
    /// Their values, `[1, layout.len]`.
    pub params: &'a T,
}

/// A slot's adapter over its rows of a step.
#[derive(Debug)]
pub struct ActiveAdapter<'a, T> {
    /// Where its matrices lie.
    pub layout: &'a AdapterLayout,
    /// Their values, `[1, layout.len]`.
    pub params: &'a T,
    /// The slot's rows.
    pub rows: Range<usize>,
    /// Dropout on every site's input, in training.
    pub dropout: Option<SlotDropout>,
}

impl<T> Clone for ActiveAdapter<'_, T> {
    fn clone(&self) -> Self {
        Self { rows: self.rows.clone(), ..*self }
    }
}

/// What a slot's dropout masks depend on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlotDropout {
    /// Probability of a value being dropped, in `(0, 1)`.
    pub probability: f64,
    /// The trial's seed.
    pub seed: u64,
    /// The optimizer step the rows belong to.
    pub step: u32,
    /// Rows of the same batch that earlier micro-batches had.
    pub first_row: u64,
    /// Targets of the same batch that earlier micro-batches had: after its attention the last block
    /// has no other rows.
    pub first_target: u64,
}

/// An adapter over the rows of its own that are read, as ranges of `read`, which ascends.
pub fn among<'a, T>(adapter: &ActiveAdapter<'a, T>, read: &[usize]) -> ActiveAdapter<'a, T> {
    let place = |row: usize| read.partition_point(|other| *other < row);
    ActiveAdapter {
        layout: adapter.layout,
        params: adapter.params,
        rows: place(adapter.rows.start)..place(adapter.rows.end),
        dropout: adapter.dropout.map(|drop| SlotDropout { first_row: drop.first_target, ..drop }),
    }
}
