//! A step as it is described to a backend: made once from the slots' micro-batches, and handed to every
//! operation of the forward and the backward pass.

use std::ops::Range;

use spec::TargetModule;

use super::ops::AttentionShape;
use crate::dropout::Dropout;
use crate::rope::Rope;

/// A token to predict: the last hidden state of `row` should give `token`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    /// Row of the token before.
    pub row: usize,
    /// The token to predict.
    pub token: u32,
    /// Factor of this token's loss in the objective (1 / target tokens of its batch).
    pub weight: f32,
}

/// What a step computes on: N rows of several sequences.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rows {
    /// Token of each row.
    pub ids: Vec<u32>,
    /// Position of each row within its sequence.
    pub positions: Vec<u32>,
    /// Rows of each sequence; together they cover all rows in order.
    pub sequences: Vec<Range<usize>>,
    /// Tokens to predict, ascending by row; a row has one at most.
    pub targets: Vec<Target>,
}

impl Rows {
    /// Appends a sequence; each target token gets `weight`. Returns its rows.
    pub fn push(&mut self, input_ids: &[u32], loss_mask: &[bool], weight: f32) -> Range<usize> {
        let start = self.ids.len();
        self.ids.extend_from_slice(input_ids);
        self.positions.extend(0..input_ids.len() as u32);
        self.sequences.push(start..self.ids.len());
        for (i, _) in loss_mask.iter().enumerate().skip(1).filter(|(_, is_target)| **is_target) {
            self.targets.push(Target { row: start + i - 1, token: input_ids[i], weight });
        }
        start..self.ids.len()
    }

    /// Appends the next tokens of a sequence of which there are `before` already; none is a target.
    pub fn push_behind(&mut self, before: usize, input_ids: &[u32]) {
        let start = self.ids.len();
        self.ids.extend_from_slice(input_ids);
        self.positions.extend((before..before + input_ids.len()).map(|at| at as u32));
        self.sequences.push(start..self.ids.len());
    }

    /// Every sequence by itself.
    pub fn families_of_one(&self) -> Vec<Family> {
        self.sequences.iter().cloned().map(Family::alone).collect()
    }

    /// The rows of the targets.
    pub fn target_rows(&self) -> Vec<usize> {
        self.targets.iter().map(|target| target.row).collect()
    }

    /// Number of rows N.
    pub const fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is nothing to compute.
    pub const fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

/// Sequences that begin with the same tokens, whose rows are there once. Most are alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// The rows of the beginning; empty where a sequence is alone.
    pub beginning: Range<usize>,
    /// The rows of each sequence behind its beginning, right after it, in order.
    pub sequences: Vec<Range<usize>>,
}

impl Family {
    /// A sequence that shares nothing.
    pub fn alone(rows: Range<usize>) -> Self {
        Self { beginning: rows.start..rows.start, sequences: vec![rows] }
    }

    /// All its rows.
    pub fn rows(&self) -> Range<usize> {
        self.beginning.start..self.sequences.last().map_or(self.beginning.end, |last| last.end)
    }

    /// Rows that attend to themselves and, where there are some, to rows before them.
    pub fn runs(&self) -> impl Iterator<Item = Run> {
        let first = (!self.beginning.is_empty()).then(|| Run {
            rows: self.beginning.clone(),
            before: self.beginning.start..self.beginning.start,
        });
        let behind =
            |rows: &Range<usize>| Run { rows: rows.clone(), before: self.beginning.clone() };
        first.into_iter().chain(self.sequences.iter().map(behind))
    }
}

/// Neighbouring rows of a sequence, and the rows that it has before them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The rows.
    pub rows: Range<usize>,
    /// Where the sequence begins, if not with them.
    pub before: Range<usize>,
}

/// One slot's adapter at one linear layer, over the slot's rows of that layer's input.
#[derive(Debug)]
pub struct LoraPath<'a, T> {
    /// Its place among the step's adapters, and so among their gradients.
    pub adapter: usize,
    /// The slot's rows among those of the input.
    pub rows: Range<usize>,
    /// Rank R.
    pub rank: usize,
    /// `alpha / r` or `alpha / sqrt(r)`.
    pub scale: f64,
    /// All of the slot's adapter values, `[1, P]`.
    pub params: &'a T,
    /// Where A `[R, in]` begins in `params`.
    pub a: usize,
    /// Where B `[out, R]` begins in `params`.
    pub b: usize,
    /// `DoRA`: where the magnitudes of the outputs begin in `params`.
    pub magnitude: Option<usize>,
    /// The dropout on the adapter's input, in training.
    pub dropout: Option<Dropout>,
}

/// The adapters at one linear layer.
#[derive(Debug)]
pub struct Site<'a, T> {
    /// Columns of the joined projection that the layer writes.
    pub columns: Range<usize>,
    /// Rows of its input.
    pub rows: usize,
    /// Sorted by rows, which do not overlap, and by adapter; none where the layer is not adapted.
    pub paths: Vec<LoraPath<'a, T>>,
}

impl<T> Site<'_, T> {
    /// Whether some of its adapters have magnitudes.
    pub fn has_dora(&self) -> bool {
        self.paths.iter().any(|path| path.magnitude.is_some())
    }
}

/// What a step computes on, and with which adapters.
#[derive(Debug)]
pub struct Step<'a, T> {
    /// Tokens, positions, sequences and targets.
    pub rows: Rows,
    /// The sequences by what they share; together they have all rows, in order.
    pub families: Vec<Family>,
    /// The rows that the last block computes after its attention, ascending; `None`: all.
    pub read: Option<Vec<usize>>,
    /// The linear layers of all blocks; [`Self::site`] says where each one is.
    pub sites: Vec<Site<'a, T>>,
    /// The rotations of the model.
    pub ropes: &'a [Rope],
    /// Its heads and their size.
    pub attention: AttentionShape,
}

impl<T> Step<'_, T> {
    /// The place among [`Self::sites`] of a module in a block.
    pub const fn site(layer: usize, module: TargetModule) -> usize {
        layer * TargetModule::COUNT + module as usize
    }

    /// The rows that the last block computes after its attention.
    pub fn read_rows(&self) -> impl Iterator<Item = usize> {
        let all = if self.read.is_none() { 0..self.rows.len() } else { 0..0 };
        all.chain(self.read.iter().flatten().copied())
    }

    /// How many they are.
    pub fn rows_read(&self) -> usize {
        self.read.as_ref().map_or(self.rows.len(), Vec::len)
    }
}

/// The gradients of the adapters at these places, which ascend, out of those of all adapters.
pub fn gradients_of<'g, T>(
    grads: &'g mut [&mut T],
    places: impl Iterator<Item = usize>,
) -> Vec<&'g mut T> {
    let mut places = places.peekable();
    let all = grads.iter_mut().enumerate();
    all.filter(|(place, _)| places.next_if_eq(place).is_some())
        .map(|(_, grad)| &mut **grad)
        .collect()
}
