//! The forward and the backward pass through all blocks.

use rayon::prelude::*;

use super::adapted::row_norms;
use super::adapters::ActiveAdapter;
use super::block;
use super::layer::Layer;
use super::shares::{self, Share};
use super::step;
use crate::adapter::AdapterLayout;
use crate::backend::{Backend, Rows};
use crate::error::Result;
use crate::model::Model;

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
        let shares = self.shares(rows, adapters);
        let nll = shares.into_par_iter().map(|share| self.losses_of_share(share));
        Ok(nll.collect::<Result<Vec<_>>>()?.concat())
    }

    fn losses_of_share(&self, share: Share<'_, B::Tensor>) -> Result<Vec<f32>> {
        let read = share.rows.target_rows();
        if read.is_empty() {
            return Ok(Vec::new());
        }
        let plan = self.plan(share, read)?;
        let h = self.hidden(&plan)?;
        Ok(self.backend.cross_entropy(h, self.model.head(), false, &plan)?.0)
    }

    /// Logits of the given rows, which ascend, `[which.len(), V]` row-major.
    pub fn logits(
        &self,
        rows: &Rows,
        adapters: &[ActiveAdapter<'_, B::Tensor>],
        which: &[usize],
    ) -> Result<Vec<f32>> {
        let plan = self.plan(Share::of_all(rows, adapters), which.to_vec())?;
        self.backend.logits(&self.hidden(&plan)?, self.model.head())
    }

    /// Puts the magnitudes that `DoRA` begins with, the lengths of the rows of `W + s B A`, among an
    /// adapter's values.
    pub fn set_magnitudes(&self, layout: &AdapterLayout, values: &mut [f32]) -> Result<()> {
        if layout.sites.iter().all(|site| site.magnitude.is_none()) {
            return Ok(());
        }
        let params = self.backend.tensor(values, 1, layout.len)?;
        for (index, site) in layout.sites.iter().enumerate() {
            let Some(range) = layout.magnitude_range(index) else { continue };
            let norms = row_norms(&self.backend, &self.model, &params, site)?;
            values[range].copy_from_slice(&norms);
        }
        Ok(())
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
        let shares = self.shares(rows, adapters);
        // An adapter that is cut in two has a second gradient, which is added at the end.
        let seconds = shares.iter().flat_map(|share| &share.parts).filter(|part| part.is_second);
        let mut seconds: Vec<(usize, B::Tensor)> = seconds
            .map(|part| {
                Ok((part.adapter, self.backend.zeros(1, adapters[part.adapter].layout.len)?))
            })
            .collect::<Result<_>>()?;
        let (mut first, mut second) = (grads.iter_mut(), seconds.iter_mut());
        let mut next = |is_second: bool| {
            if is_second { second.next().map(|(_, g)| g) } else { first.next().map(|g| &mut **g) }
        };
        let mut grads_of_shares: Vec<Vec<&mut B::Tensor>> = shares
            .iter()
            .map(|share| share.parts.iter().filter_map(|part| next(part.is_second)).collect())
            .collect();
        let nll: Vec<Vec<f32>> = shares
            .into_par_iter()
            .zip(&mut grads_of_shares)
            .map(|(share, grads)| self.train_share(share, grads, recompute))
            .collect::<Result<_>>()?;
        for (adapter, gradient) in &seconds {
            self.backend.add_assign(grads[*adapter], gradient)?;
        }
        Ok(nll.concat())
    }

    fn train_share(
        &self,
        share: Share<'_, B::Tensor>,
        grads: &mut [&mut B::Tensor],
        recompute: bool,
    ) -> Result<Vec<f32>> {
        let read = share.rows.target_rows();
        if read.is_empty() {
            return Ok(Vec::new());
        }
        let plan = &self.plan(share, read)?;
        let eps = self.model.config.rms_norm_eps;
        let mut kept = Vec::with_capacity(self.model.layers.len());
        let mut x = self.embed(plan)?;
        for index in 0..self.model.layers.len() {
            let (y, saved) = block::forward(&self.layer(index, plan), x)?;
            kept.push(if recompute { Kept::Input(saved.into_input()) } else { Kept::All(saved) });
            x = y;
        }
        let (h, inverse_rms) = self.backend.rms_norm(&x, &self.model.norm, eps)?;
        let (nll, dh) = self.backend.cross_entropy(h, self.model.head(), true, plan)?;
        let Some(dh) = dh else { return Ok(nll) };
        let mut dx = self.backend.zeros(plan.rows_read(), self.model.config.hidden_size)?;
        self.backend.rms_norm_backward(&mut dx, &dh, &x, &inverse_rms, &self.model.norm)?;
        drop((x, dh));
        while let Some(saved) = kept.pop() {
            let layer = self.layer(kept.len(), plan);
            let saved = match saved {
                Kept::All(saved) => saved,
                Kept::Input(input) => block::forward_again(&layer, input)?,
            };
            match block::backward(&layer, dx, saved, grads)? {
                Some(next) => dx = next,
                None => break,
            }
        }
        Ok(nll)
    }

    /// The shares of a step that are computed beside each other: one where every operation fills the
    /// backend alone.
    fn shares<'a>(
        &self,
        rows: &Rows,
        adapters: &[ActiveAdapter<'a, B::Tensor>],
    ) -> Vec<Share<'a, B::Tensor>> {
        match self.backend.lanes() {
            Some(lanes) => shares::cut(rows, adapters, &self.model.config, lanes),
            None => vec![Share::of_all(rows, adapters)],
        }
    }

    /// Plans a share of which these rows are read.
    pub(super) fn plan<'a>(
        &'a self,
        share: Share<'a, B::Tensor>,
        read: Vec<usize>,
    ) -> Result<B::Plan<'a>> {
        self.backend.plan(step::of_share(share, read, &self.model.config))
    }

    pub(super) fn embed(&self, plan: &B::Plan<'_>) -> Result<B::Tensor> {
        self.backend.embed(&self.model.embedding, self.model.config.embedding_scale, plan)
    }

    /// The normalised last hidden states of the rows that are read.
    fn hidden(&self, plan: &B::Plan<'_>) -> Result<B::Tensor> {
        let mut x = self.embed(plan)?;
        for index in 0..self.model.layers.len() {
            x = block::forward(&self.layer(index, plan), x)?.0;
        }
        Ok(self.backend.rms_norm(&x, &self.model.norm, self.model.config.rms_norm_eps)?.0)
    }

    pub(super) fn layer<'p, 'a>(&'p self, index: usize, plan: &'p B::Plan<'a>) -> Layer<'p, 'a, B> {
        Layer { backend: &self.backend, model: &self.model, index, plan }
    }
}

/// What the forward pass leaves of a block for its backward pass.
enum Kept<B: Backend> {
    All(block::Saved<B>),
    Input(block::Input<B>),
}
