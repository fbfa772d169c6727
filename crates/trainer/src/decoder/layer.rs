//! A block's frozen weights beside the plan of the step: norms, rotation, and the rows that are read.

use std::ops::Range;

use spec::TargetModule;

use crate::backend::Backend;
use crate::error::Result;
use crate::model::{FrozenLayer, Model};

/// A block of the model and the step at hand.
pub struct Layer<'p, 'a, B: Backend> {
    pub backend: &'p B,
    pub model: &'p Model<B>,
    pub index: usize,
    pub plan: &'p B::Plan<'a>,
}

/// What a norm's backward pass needs: its input and the factors `1 / rms`.
pub struct NormInput<B: Backend> {
    x: B::Tensor,
    inverse_rms: B::Tensor,
}

type MaybeNormed<B> = (Option<<B as Backend>::Tensor>, Option<<B as Backend>::Tensor>);

impl<B: Backend> Layer<'_, '_, B> {
    /// Its frozen weights.
    pub fn frozen(&self) -> &FrozenLayer<B> {
        &self.model.layers[self.index]
    }

    const fn eps(&self) -> f64 {
        self.model.config.rms_norm_eps
    }

    /// Of the rows of the step those that this block computes after its attention; `None` where all.
    pub fn read(&self, x: &B::Tensor) -> Result<Option<B::Tensor>> {
        self.reads_some().then(|| self.backend.pick_rows(x, self.plan)).transpose()
    }

    /// The gradient through [`Self::read`].
    pub fn read_backward(&self, dy: B::Tensor) -> Result<B::Tensor> {
        if self.reads_some() { self.backend.place_rows(&dy, self.plan) } else { Ok(dy) }
    }

    /// How many rows this block computes after its attention.
    pub fn rows_read(&self) -> usize {
        if self.reads_some() { self.plan.rows_read() } else { self.plan.rows.len() }
    }

    /// Whether this is the last block, and rows that nobody reads end in it.
    fn reads_some(&self) -> bool {
        self.index + 1 == self.model.layers.len() && self.plan.read.is_some()
    }

    /// The norm of x and the factors for its backward pass, where the model has the norm.
    pub fn norm_before(&self, x: &B::Tensor, weight: Option<&B::Tensor>) -> Result<MaybeNormed<B>> {
        let Some(weight) = weight else { return Ok((None, None)) };
        let (h, inverse_rms) = self.backend.rms_norm(x, weight, self.eps())?;
        Ok((Some(h), Some(inverse_rms)))
    }

    /// `dx += ` the gradient through [`Self::norm_before`].
    pub fn norm_before_backward(
        &self,
        dx: &mut B::Tensor,
        dh: &B::Tensor,
        x: &B::Tensor,
        inverse_rms: Option<&B::Tensor>,
        weight: Option<&B::Tensor>,
    ) -> Result<()> {
        match (inverse_rms, weight) {
            (Some(inverse), Some(w)) => self.backend.rms_norm_backward(dx, dh, x, inverse, w),
            _ => self.backend.add_assign(dx, dh),
        }
    }

    /// The norm of y, where the model has the norm, with what its backward pass needs; else y.
    pub fn norm_after(
        &self,
        y: B::Tensor,
        weight: Option<&B::Tensor>,
    ) -> Result<(B::Tensor, Option<NormInput<B>>)> {
        let Some(weight) = weight else { return Ok((y, None)) };
        let (normed, inverse_rms) = self.backend.rms_norm(&y, weight, self.eps())?;
        Ok((normed, Some(NormInput { x: y, inverse_rms })))
    }

    /// The gradient of y through [`Self::norm_after`]; `None` where there is no norm and it is the
    /// one that arrives.
    pub fn norm_after_backward(
        &self,
        dx: &B::Tensor,
        saved: Option<&NormInput<B>>,
        weight: Option<&B::Tensor>,
    ) -> Result<Option<B::Tensor>> {
        let (Some(NormInput { x, inverse_rms }), Some(weight)) = (saved, weight) else {
            return Ok(None);
        };
        let mut dy = self.backend.zeros(self.rows_read(), self.model.config.hidden_size)?;
        self.backend.rms_norm_backward(&mut dy, dx, x, inverse_rms, weight)?;
        Ok(Some(dy))
    }

    /// Turns queries and keys by their positions, or back, where the block does so.
    pub fn rotate(&self, qkv: &mut B::Tensor, inverse: bool) -> Result<()> {
        match self.model.config.layers[self.index].rope {
            Some(rope) => self.backend.rope(qkv, rope, inverse, self.plan),
            None => Ok(()),
        }
    }

    /// Norms of queries and keys, in place, where the model has them; returns what they were.
    pub fn head_norms(&self, qkv: &mut B::Tensor) -> Result<Option<(B::Tensor, B::Tensor)>> {
        let Some((q_norm, k_norm)) = &self.frozen().qk_norm else { return Ok(None) };
        let eps = self.eps();
        let q = self.backend.head_norm(qkv, self.columns(TargetModule::QProj), q_norm, eps)?;
        let k = self.backend.head_norm(qkv, self.columns(TargetModule::KProj), k_norm, eps)?;
        Ok(Some((q, k)))
    }

    /// The gradient through [`Self::head_norms`], in place.
    pub fn head_norms_backward(
        &self,
        dqkv: &mut B::Tensor,
        raw: Option<&(B::Tensor, B::Tensor)>,
    ) -> Result<()> {
        let (Some((q_norm, k_norm)), Some((q, k))) = (&self.frozen().qk_norm, raw) else {
            return Ok(());
        };
        let (be, eps) = (self.backend, self.eps());
        be.head_norm_backward(dqkv, self.columns(TargetModule::QProj), q, q_norm, eps)?;
        be.head_norm_backward(dqkv, self.columns(TargetModule::KProj), k, k_norm, eps)
    }

    fn columns(&self, module: TargetModule) -> Range<usize> {
        self.model.config.columns_of(module)
    }
}
