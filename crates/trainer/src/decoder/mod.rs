//! The packed decoder: one forward and one explicit backward pass over the rows of many slots.
//!
//! Rows of all sequences of all slots lie one after another, without padding. Every frozen layer
//! runs once over all rows; adapters run over their slot's rows; attention stays within a
//! sequence. No gradient of a frozen weight is ever computed, and nothing below the first block's
//! adapters is differentiated.

use std::ops::Range;

use crate::adapter::AdapterLayout;
use crate::backend::{Backend, Family, Target};
use crate::error::Result;
use crate::model::Model;

mod beginnings;
mod block;
mod outputs;
pub(crate) mod shares;

use block::{Block, Gradients};
use outputs::Outputs;

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

    /// Every sequence by itself.
    fn families_of_one(&self) -> Vec<Family> {
        self.sequences.iter().cloned().map(Family::alone).collect()
    }

    /// The rows of the targets.
    fn target_rows(&self) -> Vec<usize> {
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

/// Rows that go through all blocks together, and the adapters over them.
struct Step<'a, T> {
    rows: &'a Rows,
    /// Those of the rows.
    families: &'a [Family],
    adapters: &'a [ActiveAdapter<'a, T>],
}

impl<T> Clone for Step<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Step<'_, T> {}

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

/// A frozen model on its backend, ready to run rows.
#[derive(Debug)]
pub struct Decoder<B: Backend> {
    /// Where it computes.
    pub backend: B,
    /// The frozen weights.
    pub model: Model<B>,
}

impl<B: Backend> Decoder<B> {
    /// Negative log-likelihood of each target, in nats. Keeps no activations.
    pub fn losses(
        &self,
        rows: &Rows,
        adapters: &[ActiveAdapter<'_, B::Tensor>],
    ) -> Result<Vec<f32>> {
        if let Some(lanes) = self.backend.lanes() {
            return self.losses_of_shares(rows, adapters, lanes);
        }
        let families = &rows.families_of_one();
        self.losses_of_share(Step { rows, families, adapters })
    }

    fn losses_of_share(&self, step: Step<'_, B::Tensor>) -> Result<Vec<f32>> {
        let targets = &step.rows.targets;
        if targets.is_empty() {
            return Ok(Vec::new());
        }
        let outputs = Outputs::new(step.rows.target_rows(), step.adapters);
        let h = self.hidden(step, &outputs)?;
        Ok(self.backend.cross_entropy(h, self.model.head(), targets, false)?.0)
    }

    /// Logits of the given rows, which ascend, `[which.len(), V]` row-major.
    pub fn logits(
        &self,
        rows: &Rows,
        adapters: &[ActiveAdapter<'_, B::Tensor>],
        which: &[usize],
    ) -> Result<Vec<f32>> {
        let families = &rows.families_of_one();
        let step = Step { rows, families, adapters };
        let h = self.hidden(step, &Outputs::new(which.to_vec(), adapters))?;
        self.backend.logits(&h, self.model.head())
    }

    /// Puts the magnitudes that `DoRA` begins with, the lengths of the rows of `W + s B A`, among an
    /// adapter's values.
    pub fn set_magnitudes(&self, layout: &AdapterLayout, values: &mut [f32]) -> Result<()> {
        if layout.sites.iter().all(|site| site.magnitude.is_none()) {
            return Ok(());
        }
        let params = self.backend.tensor(values, 1, layout.len)?;
        let adapter = ActiveAdapter { layout, params: &params, rows: 0..0, dropout: None };
        let (rows, adapters) = (&Rows::default(), &[adapter]);
        let step = Step { rows, families: &[], adapters };
        let outputs = Outputs::new(Vec::new(), adapters);
        for (index, site) in layout.sites.iter().enumerate() {
            let Some(range) = layout.magnitude_range(index) else { continue };
            let norms = self.block(site.layer, step, &outputs).row_norms(site.module)?;
            values[range].copy_from_slice(&norms.concat());
        }
        Ok(())
    }

    fn embed(&self, rows: &Rows) -> Result<B::Tensor> {
        let scale = self.model.config.embedding_scale;
        self.backend.embed(&self.model.embedding, &rows.ids, scale)
    }

    /// The normalised last hidden states of the rows that are read.
    fn hidden(
        &self,
        step: Step<'_, B::Tensor>,
        outputs: &Outputs<'_, B::Tensor>,
    ) -> Result<B::Tensor> {
        let mut x = self.embed(step.rows)?;
        for index in 0..self.model.layers.len() {
            x = self.block(index, step, outputs).forward(x)?.0;
        }
        Ok(self.backend.rms_norm(&x, &self.model.norm, self.model.config.rms_norm_eps)?.0)
    }

    /// Forward and backward: returns each target's negative log-likelihood and adds to each
    /// adapter's `grads` the gradient of `sum(weight * nll)` over its rows. With `recompute`, a
    /// block's activations are computed again in the backward pass instead of kept.
    pub fn train(
        &self,
        rows: &Rows,
        adapters: &[ActiveAdapter<'_, B::Tensor>],
        grads: &mut [&mut B::Tensor],
        recompute: bool,
    ) -> Result<Vec<f32>> {
        if let Some(lanes) = self.backend.lanes() {
            return self.train_shares(rows, adapters, grads, recompute, lanes);
        }
        let families = &rows.families_of_one();
        self.train_share(Step { rows, families, adapters }, grads, recompute)
    }

    fn train_share(
        &self,
        step: Step<'_, B::Tensor>,
        grads: &mut [&mut B::Tensor],
        recompute: bool,
    ) -> Result<Vec<f32>> {
        let rows = step.rows;
        if rows.targets.is_empty() {
            return Ok(Vec::new());
        }
        let eps = self.model.config.rms_norm_eps;
        let outputs = Outputs::new(rows.target_rows(), step.adapters);
        let mut kept = Vec::with_capacity(self.model.layers.len());
        let mut x = self.embed(rows)?;
        for index in 0..self.model.layers.len() {
            let (y, saved) = self.block(index, step, &outputs).forward(x)?;
            kept.push(if recompute { Kept::Input(saved.into_input()) } else { Kept::All(saved) });
            x = y;
        }
        let (h, inverse_rms) = self.backend.rms_norm(&x, &self.model.norm, eps)?;
        let (nll, dh) = self.backend.cross_entropy(h, self.model.head(), &rows.targets, true)?;
        let Some(dh) = dh else { return Ok(nll) };
        let mut dx = self.backend.zeros(outputs.rows.len(), self.model.config.hidden_size)?;
        self.backend.rms_norm_backward(&mut dx, &dh, &x, &inverse_rms, &self.model.norm)?;
        drop((x, dh));
        while let Some(saved) = kept.pop() {
            let block = self.block(kept.len(), step, &outputs);
            let saved = match saved {
                Kept::All(saved) => saved,
                Kept::Input(x) => block.forward(x)?.1,
            };
            match block.backward(dx, saved, &mut Gradients { of: grads })? {
                Some(next) => dx = next,
                None => break,
            }
        }
        Ok(nll)
    }

    fn block<'a>(
        &'a self,
        index: usize,
        step: Step<'a, B::Tensor>,
        outputs: &'a Outputs<'a, B::Tensor>,
    ) -> Block<'a, B> {
        let is_last = index + 1 == self.model.layers.len();
        let outputs = (is_last && outputs.rows.len() < step.rows.len()).then_some(outputs);
        Block { backend: &self.backend, model: &self.model, index, step, outputs }
    }
}

/// What the forward pass leaves of a block for its backward pass.
enum Kept<B: Backend> {
    All(block::Saved<B>),
    Input(B::Tensor),
}
