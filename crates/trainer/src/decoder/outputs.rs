//! The rows of a step whose last hidden states somebody reads.
//!
//! A loss looks at the tokens before its targets, and of a prompt's tokens only the last has one. The
//! others matter to later tokens as keys and values of the attention; what the last block makes of
//! them after its attention would be computed in vain, forward and backward.

use super::{ActiveAdapter, SlotDropout};

/// What the last block computes after its attention.
pub(super) struct Outputs<'a, T> {
    /// The rows that are read, as rows of the step, ascending.
    pub(super) rows: Vec<usize>,
    /// The step's adapters over them, as ranges of `rows`.
    pub(super) adapters: Vec<ActiveAdapter<'a, T>>,
}

impl<'a, T> Outputs<'a, T> {
    pub(super) fn new(rows: Vec<usize>, adapters: &[ActiveAdapter<'a, T>]) -> Self {
        let place = |row: usize| rows.partition_point(|read| *read < row);
        let adapters = adapters
            .iter()
            .map(|adapter| ActiveAdapter {
                layout: adapter.layout,
                params: adapter.params,
                rows: place(adapter.rows.start)..place(adapter.rows.end),
                dropout: adapter
                    .dropout
                    .map(|drop| SlotDropout { first_row: drop.first_target, ..drop }),
            })
            .collect();
        Self { rows, adapters }
    }
}
