//! One decoder block, forward and backward beside each other.
//!
//! `x2 = x + o(attention(rope(qkv(norm(x)))))`, `x3 = x2 + down(swiglu(gate_up(norm(x2))))`, where
//! every linear layer is frozen and may carry the adapters of the slots.

use std::ops::Range;

use spec::TargetModule;

use super::{ActiveAdapter, Rows};
use crate::backend::{Backend, LoraPath};
use crate::dropout::Dropout;
use crate::error::Result;
use crate::model::{FrozenLayer, Model};

/// A block together with the rows and adapters of the step at hand.
pub(super) struct Block<'a, B: Backend> {
    pub(super) backend: &'a B,
    pub(super) model: &'a Model<B>,
    pub(super) index: usize,
    pub(super) rows: &'a Rows,
    pub(super) adapters: &'a [ActiveAdapter<'a, B::Tensor>],
}

/// One gradient vector an adapter, in the adapters' order.
pub(super) struct Gradients<'a, 'b, T> {
    pub(super) of: &'a mut [&'b mut T],
}

/// Activations kept for the backward pass. Norm outputs and the SwiGLU product are cheap and are
/// computed again.
pub(super) struct Saved<B: Backend> {
    x: B::Tensor,
    attention_inverse_rms: B::Tensor,
    /// q and k before their norms, where there are norms.
    raw_heads: Option<(B::Tensor, B::Tensor)>,
    /// After the rotation.
    qkv: B::Tensor,
    attention: B::Tensor,
    log_denominators: B::Tensor,
    x2: B::Tensor,
    mlp_inverse_rms: B::Tensor,
    gate_up: B::Tensor,
    /// `x A^T` of each module that carries adapters.
    low_rank: [Option<B::LowRank>; TargetModule::ALL.len()],
}

impl<B: Backend> Saved<B> {
    /// The block's input alone, from which the rest can be computed again.
    pub(super) fn into_input(self) -> B::Tensor {
        self.x
    }
}

impl<B: Backend> Block<'_, B> {
    pub(super) fn forward(&self, x: B::Tensor) -> Result<(B::Tensor, Saved<B>)> {
        let (be, w, c) = (self.backend, self.layer(), &self.model.config);
        let mut low_rank = std::array::from_fn(|_| None);

        let (h, attention_inverse_rms) = be.rms_norm(&x, &w.attention_norm, c.rms_norm_eps)?;
        let mut qkv = be.linear(&h, &w.qkv)?;
        for module in [TargetModule::QProj, TargetModule::KProj, TargetModule::VProj] {
            self.lora(module, &mut qkv, &h, &mut low_rank)?;
        }
        drop(h);
        let raw_heads = self.head_norms(&mut qkv)?;
        let frequencies = &self.model.inverse_frequencies;
        be.rope(&mut qkv, c.attention, &self.rows.positions, frequencies, false)?;
        let (attention, log_denominators) =
            be.attention(&qkv, c.attention, &self.rows.sequences)?;
        let mut x2 = be.linear(&attention, &w.o)?;
        self.lora(TargetModule::OProj, &mut x2, &attention, &mut low_rank)?;
        be.add_assign(&mut x2, &x)?;

        let (h, mlp_inverse_rms) = be.rms_norm(&x2, &w.mlp_norm, c.rms_norm_eps)?;
        let mut gate_up = be.linear(&h, &w.gate_up)?;
        for module in [TargetModule::GateProj, TargetModule::UpProj] {
            self.lora(module, &mut gate_up, &h, &mut low_rank)?;
        }
        drop(h);
        let product = be.swiglu(&gate_up)?;
        let mut x3 = be.linear(&product, &w.down)?;
        self.lora(TargetModule::DownProj, &mut x3, &product, &mut low_rank)?;
        be.add_assign(&mut x3, &x2)?;

        let saved = Saved {
            x,
            attention_inverse_rms,
            raw_heads,
            qkv,
            attention,
            log_denominators,
            x2,
            mlp_inverse_rms,
            gate_up,
            low_rank,
        };
        Ok((x3, saved))
    }

    /// From the gradient of x3 to the gradient of x, which the first block does not need: `None`.
    pub(super) fn backward(
        &self,
        dx3: B::Tensor,
        saved: Saved<B>,
        grads: &mut Gradients<'_, '_, B::Tensor>,
    ) -> Result<Option<B::Tensor>> {
        let dx2 = self.mlp_backward(
            dx3,
            &saved.low_rank,
            saved.gate_up,
            &saved.x2,
            &saved.mlp_inverse_rms,
            grads,
        )?;

        // x2 = x + o(attention)
        let (be, w, c) = (self.backend, self.layer(), &self.model.config);
        let mut d_attention = be.linear_backward(&dx2, &w.o)?;
        let low_rank = &saved.low_rank;
        let input = Some(&mut d_attention);
        self.lora_backward(TargetModule::OProj, input, &dx2, &saved.attention, low_rank, grads)?;
        let mut dqkv = be.attention_backward(
            &d_attention,
            &saved.qkv,
            &saved.attention,
            &saved.log_denominators,
            c.attention,
            &self.rows.sequences,
        )?;
        drop(d_attention);
        let frequencies = &self.model.inverse_frequencies;
        be.rope(&mut dqkv, c.attention, &self.rows.positions, frequencies, true)?;
        self.head_norms_backward(&mut dqkv, saved.raw_heads.as_ref())?;

        // qkv = W norm(x)
        let (h, _) = be.rms_norm(&saved.x, &w.attention_norm, c.rms_norm_eps)?;
        let mut dh = if self.index == 0 { None } else { Some(be.linear_backward(&dqkv, &w.qkv)?) };
        for module in [TargetModule::QProj, TargetModule::KProj, TargetModule::VProj] {
            self.lora_backward(module, dh.as_mut(), &dqkv, &h, low_rank, grads)?;
        }
        let Some(dh) = dh else { return Ok(None) };
        let mut dx = dx2;
        let inverse_rms = &saved.attention_inverse_rms;
        be.rms_norm_backward(&mut dx, &dh, &saved.x, inverse_rms, &w.attention_norm)?;
        Ok(Some(dx))
    }

    /// `x3 = x2 + down(swiglu(gate_up(norm(x2))))`: from the gradient of x3 to that of x2.
    fn mlp_backward(
        &self,
        dx3: B::Tensor,
        low_rank: &LowRanks<B>,
        gate_up: B::Tensor,
        x2: &B::Tensor,
        inverse_rms: &B::Tensor,
        grads: &mut Gradients<'_, '_, B::Tensor>,
    ) -> Result<B::Tensor> {
        let (be, w, c) = (self.backend, self.layer(), &self.model.config);
        let product = be.swiglu(&gate_up)?;
        let mut d_product = be.linear_backward(&dx3, &w.down)?;
        let input = Some(&mut d_product);
        self.lora_backward(TargetModule::DownProj, input, &dx3, &product, low_rank, grads)?;
        drop(product);
        let mut d_gate_up = gate_up;
        be.swiglu_backward(&mut d_gate_up, &d_product)?;
        drop(d_product);

        let (h, _) = be.rms_norm(x2, &w.mlp_norm, c.rms_norm_eps)?;
        let mut dh = be.linear_backward(&d_gate_up, &w.gate_up)?;
        for module in [TargetModule::GateProj, TargetModule::UpProj] {
            self.lora_backward(module, Some(&mut dh), &d_gate_up, &h, low_rank, grads)?;
        }
        let mut dx2 = dx3;
        be.rms_norm_backward(&mut dx2, &dh, x2, inverse_rms, &w.mlp_norm)?;
        Ok(dx2)
    }

    fn layer(&self) -> &FrozenLayer<B> {
        &self.model.layers[self.index]
    }

    /// Columns of the joined projection that a module writes.
    fn columns(&self, module: TargetModule) -> Range<usize> {
        let c = &self.model.config;
        let (q, kv) = (c.attention.q_columns(), c.attention.kv_columns());
        let f = c.intermediate_size;
        match module {
            TargetModule::QProj => 0..q,
            TargetModule::KProj => q..q + kv,
            TargetModule::VProj => q + kv..q + 2 * kv,
            TargetModule::GateProj => 0..f,
            TargetModule::UpProj => f..2 * f,
            TargetModule::OProj | TargetModule::DownProj => 0..c.hidden_size,
        }
    }

    /// The adapters that adapt this module, with their places among all adapters.
    fn paths(&self, module: TargetModule) -> (Vec<usize>, Vec<LoraPath<'_, B::Tensor>>) {
        let path = |(place, adapter): (usize, &'_ ActiveAdapter<'_, B::Tensor>)| {
            let (site_index, site) = adapter.layout.site(self.index, module)?;
            let dropout = adapter.dropout.map(|d| Dropout {
                probability: d.probability,
                key: Dropout::key(d.seed, d.step, site_index),
                first_row: d.first_row,
            });
            Some((place, site.a, site.b, dropout))
        };
        let found = self.adapters.iter().enumerate().filter_map(path);
        found
            .map(|(place, a, b, dropout)| {
                let adapter = &self.adapters[place];
                let (rows, rank, scale) =
                    (adapter.rows.clone(), adapter.layout.rank, adapter.scale);
                (place, LoraPath { rows, rank, scale, params: adapter.params, a, b, dropout })
            })
            .unzip()
    }

    fn lora(
        &self,
        module: TargetModule,
        y: &mut B::Tensor,
        x: &B::Tensor,
        low_rank: &mut LowRanks<B>,
    ) -> Result<()> {
        let (_, paths) = self.paths(module);
        if !paths.is_empty() {
            let u = self.backend.lora(y, self.columns(module), x, &paths)?;
            low_rank[module as usize] = Some(u);
        }
        Ok(())
    }

    fn lora_backward(
        &self,
        module: TargetModule,
        dx: Option<&mut B::Tensor>,
        dy: &B::Tensor,
        x: &B::Tensor,
        low_rank: &LowRanks<B>,
        grads: &mut Gradients<'_, '_, B::Tensor>,
    ) -> Result<()> {
        let Some(u) = &low_rank[module as usize] else { return Ok(()) };
        let (places, paths) = self.paths(module);
        let mut mine: Vec<&mut B::Tensor> = grads
            .of
            .iter_mut()
            .enumerate()
            .filter(|(place, _)| places.contains(place))
            .map(|(_, grad)| &mut **grad)
            .collect();
        self.backend.lora_backward(dx, dy, self.columns(module), x, u, &paths, &mut mine)
    }

    fn head_norms(&self, qkv: &mut B::Tensor) -> Result<Option<(B::Tensor, B::Tensor)>> {
        let Some((q_norm, k_norm)) = &self.layer().qk_norm else { return Ok(None) };
        let eps = self.model.config.rms_norm_eps;
        let q = self.backend.head_norm(qkv, self.columns(TargetModule::QProj), q_norm, eps)?;
        let k = self.backend.head_norm(qkv, self.columns(TargetModule::KProj), k_norm, eps)?;
        Ok(Some((q, k)))
    }

    fn head_norms_backward(
        &self,
        dqkv: &mut B::Tensor,
        raw: Option<&(B::Tensor, B::Tensor)>,
    ) -> Result<()> {
        let (Some((q_norm, k_norm)), Some((q, k))) = (&self.layer().qk_norm, raw) else {
            return Ok(());
        };
        let (be, eps) = (self.backend, self.model.config.rms_norm_eps);
        be.head_norm_backward(dqkv, self.columns(TargetModule::QProj), q, q_norm, eps)?;
        be.head_norm_backward(dqkv, self.columns(TargetModule::KProj), k, k_norm, eps)
    }
}

type LowRanks<B> = [Option<<B as Backend>::LowRank>; TargetModule::ALL.len()];
