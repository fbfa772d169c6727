//! One decoder block, forward and backward beside each other.
//!
//! `x2 = x + after(o(attention(rope(qkv(before(x))))))`,
//! `x3 = x2 + after(down(glu(gate_up(before(x2)))))`, where `before` and `after` are RMS norms that
//! a model may not have, and every linear layer is frozen and may carry the adapters of the slots.

use std::ops::Range;

use spec::TargetModule;

use super::outputs::Outputs;
use super::{ActiveAdapter, Rows, Step};
use crate::backend::{Backend, Linear, LoraPath, Places};
use crate::dropout::Dropout;
use crate::error::Result;
use crate::model::{FrozenLayer, Model};

/// Modules that read the attention's input; a model has the first three or the last.
const QKV: [TargetModule; 4] =
    [TargetModule::QProj, TargetModule::KProj, TargetModule::VProj, TargetModule::QkvProj];
/// Modules that read the feed-forward network's input; a model has the first two or the last.
const GATE_UP: [TargetModule; 3] =
    [TargetModule::GateProj, TargetModule::UpProj, TargetModule::GateUpProj];

/// A block together with the rows and adapters of the step at hand.
pub(super) struct Block<'a, B: Backend> {
    pub(super) backend: &'a B,
    pub(super) model: &'a Model<B>,
    pub(super) index: usize,
    pub(super) step: Step<'a, B::Tensor>,
    /// In the last block the rows that go on after its attention, where others end there.
    pub(super) outputs: Option<&'a Outputs<'a, B::Tensor>>,
}

/// One gradient vector an adapter, in the adapters' order.
pub(super) struct Gradients<'a, 'b, T> {
    pub(super) of: &'a mut [&'b mut T],
}

impl<T> Gradients<'_, '_, T> {
    /// Those of the adapters at these places.
    fn of_places(&mut self, places: &[usize]) -> Vec<&mut T> {
        let all = self.of.iter_mut().enumerate();
        all.filter(|(place, _)| places.contains(place)).map(|(_, grad)| &mut **grad).collect()
    }
}

/// Activations kept for the backward pass. The results of norms before and the gated product are
/// cheap and are computed again.
pub(super) struct Saved<B: Backend> {
    x: B::Tensor,
    attention_inverse_rms: Option<B::Tensor>,
    /// q and k before their norms, where there are norms.
    raw_heads: Option<(B::Tensor, B::Tensor)>,
    /// After the rotation.
    qkv: B::Tensor,
    attention: B::Tensor,
    log_denominators: B::Tensor,
    attention_after: Option<NormInput<B>>,
    x2: B::Tensor,
    mlp_inverse_rms: Option<B::Tensor>,
    gate_up: B::Tensor,
    mlp_after: Option<NormInput<B>>,
    /// What each module that carries adapters keeps.
    low_rank: LowRanks<B>,
}

/// What a module's adapters keep.
struct SavedPaths<B: Backend> {
    /// `x A^T`
    u: B::LowRank,
    /// Of those with `DoRA`.
    dora: Option<B::Dora>,
}

/// What the feed-forward network's backward pass needs beside `gate_up`, over which it writes.
struct SavedMlp<'a, B: Backend> {
    x2: &'a B::Tensor,
    inverse_rms: Option<&'a B::Tensor>,
    after: Option<&'a NormInput<B>>,
    low_rank: &'a LowRanks<B>,
}

/// What a norm's backward pass needs: its input and the factors `1 / rms`.
struct NormInput<B: Backend> {
    x: B::Tensor,
    inverse_rms: B::Tensor,
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

        let (h, attention_inverse_rms) = self.norm_before(&x, w.attention_norm.as_ref())?;
        let input = h.as_ref().unwrap_or(&x);
        let mut qkv = be.linear(input, &w.qkv)?;
        for module in QKV {
            self.lora(module, &mut qkv, input, &mut low_rank)?;
        }
        drop(h);
        let raw_heads = self.head_norms(&mut qkv)?;
        self.rotate(&mut qkv, false)?;
        let rule = c.attention_of(self.index);
        let (attention, log_denominators) = be.attention(&qkv, &rule, self.step.families)?;
        let read = self.read(&attention)?;
        let input = read.as_ref().unwrap_or(&attention);
        let mut y = be.linear(input, &w.o)?;
        self.lora(TargetModule::OProj, &mut y, input, &mut low_rank)?;
        drop(read);
        let (mut x2, attention_after) = self.norm_after(y, w.attention_after.as_ref())?;
        be.add_assign(&mut x2, self.read(&x)?.as_ref().unwrap_or(&x))?;

        let (h, mlp_inverse_rms) = self.norm_before(&x2, w.mlp_norm.as_ref())?;
        let input = h.as_ref().unwrap_or(&x2);
        let mut gate_up = be.linear(input, &w.gate_up)?;
        for module in GATE_UP {
            self.lora(module, &mut gate_up, input, &mut low_rank)?;
        }
        drop(h);
        let product = be.glu(&gate_up, c.activation)?;
        let mut y = be.linear(&product, &w.down)?;
        self.lora(TargetModule::DownProj, &mut y, &product, &mut low_rank)?;
        let (mut x3, mlp_after) = self.norm_after(y, w.mlp_after.as_ref())?;
        be.add_assign(&mut x3, &x2)?;

        let saved = Saved {
            x,
            attention_inverse_rms,
            raw_heads,
            qkv,
            attention,
            log_denominators,
            attention_after,
            x2,
            mlp_inverse_rms,
            gate_up,
            mlp_after,
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
        let Saved { x, x2, attention, low_rank, gate_up, mlp_inverse_rms, mlp_after, .. } = saved;
        let mlp = SavedMlp {
            x2: &x2,
            inverse_rms: mlp_inverse_rms.as_ref(),
            after: mlp_after.as_ref(),
            low_rank: &low_rank,
        };
        let dx2 = self.mlp_backward(dx3, gate_up, &mlp, grads)?;

        // x2 = x + after(o(attention))
        let (be, w, c) = (self.backend, self.layer(), &self.model.config);
        let after = saved.attention_after.as_ref();
        let through = self.norm_after_backward(&dx2, after, w.attention_after.as_ref())?;
        let through = self.dora_apart(TargetModule::OProj, through, &dx2, &low_rank, grads)?;
        let dy = through.as_ref().unwrap_or(&dx2);
        let mut d_attention = be.linear_backward(dy, &w.o)?;
        let read = self.read(&attention)?;
        let input = read.as_ref().unwrap_or(&attention);
        let d_input = Some(&mut d_attention);
        self.lora_backward(TargetModule::OProj, d_input, dy, input, &low_rank, grads)?;
        drop((through, read));
        let d_attention = self.read_backward(d_attention)?;
        let mut dqkv = be.attention_backward(
            &d_attention,
            &saved.qkv,
            &attention,
            &saved.log_denominators,
            &c.attention_of(self.index),
            self.step.families,
        )?;
        drop(d_attention);
        self.rotate(&mut dqkv, true)?;
        self.head_norms_backward(&mut dqkv, saved.raw_heads.as_ref())?;
        for module in QKV {
            self.dora_backward(module, &mut dqkv, &low_rank, grads)?;
        }

        // qkv = W before(x)
        let norm = w.attention_norm.as_ref();
        let (h, _) = self.norm_before(&x, norm)?;
        let input = h.as_ref().unwrap_or(&x);
        let mut dh = if self.index == 0 { None } else { Some(be.linear_backward(&dqkv, &w.qkv)?) };
        for module in QKV {
            self.lora_backward(module, dh.as_mut(), &dqkv, input, &low_rank, grads)?;
        }
        let Some(dh) = dh else { return Ok(None) };
        let mut dx = self.read_backward(dx2)?;
        let inverse_rms = saved.attention_inverse_rms.as_ref();
        self.norm_before_backward(&mut dx, &dh, &x, inverse_rms, norm)?;
        Ok(Some(dx))
    }

    /// `x3 = x2 + after(down(glu(gate_up(before(x2)))))`: from the gradient of x3 to that of x2.
    fn mlp_backward(
        &self,
        dx3: B::Tensor,
        mut gate_up: B::Tensor,
        saved: &SavedMlp<'_, B>,
        grads: &mut Gradients<'_, '_, B::Tensor>,
    ) -> Result<B::Tensor> {
        let (be, w, c) = (self.backend, self.layer(), &self.model.config);
        let through = self.norm_after_backward(&dx3, saved.after, w.mlp_after.as_ref())?;
        let module = TargetModule::DownProj;
        let through = self.dora_apart(module, through, &dx3, saved.low_rank, grads)?;
        let dy = through.as_ref().unwrap_or(&dx3);
        let product = be.glu_with_slopes(&mut gate_up, c.activation)?;
        let mut d_product = be.linear_backward(dy, &w.down)?;
        let input = Some(&mut d_product);
        self.lora_backward(TargetModule::DownProj, input, dy, &product, saved.low_rank, grads)?;
        drop((product, through));
        let mut d_gate_up = gate_up;
        be.glu_backward(&mut d_gate_up, &d_product)?;
        drop(d_product);
        for module in GATE_UP {
            self.dora_backward(module, &mut d_gate_up, saved.low_rank, grads)?;
        }

        let norm = w.mlp_norm.as_ref();
        let (h, _) = self.norm_before(saved.x2, norm)?;
        let input = h.as_ref().unwrap_or(saved.x2);
        let mut dh = be.linear_backward(&d_gate_up, &w.gate_up)?;
        for module in GATE_UP {
            self.lora_backward(module, Some(&mut dh), &d_gate_up, input, saved.low_rank, grads)?;
        }
        let mut dx2 = dx3;
        self.norm_before_backward(&mut dx2, &dh, saved.x2, saved.inverse_rms, norm)?;
        Ok(dx2)
    }

    /// Of rows of the step those that go on after the attention; `None` where all do.
    fn read(&self, x: &B::Tensor) -> Result<Option<B::Tensor>> {
        self.outputs.map(|outputs| self.backend.pick_rows(x, &outputs.rows)).transpose()
    }

    /// The gradient through [`Self::read`].
    fn read_backward(&self, dy: B::Tensor) -> Result<B::Tensor> {
        match self.outputs {
            Some(outputs) => self.backend.place_rows(&dy, &outputs.rows, self.step.rows.len()),
            None => Ok(dy),
        }
    }

    /// How many rows go on after the attention.
    fn rows_read(&self) -> usize {
        self.outputs.map_or(self.step.rows.len(), |outputs| outputs.rows.len())
    }

    /// The norm of x and the factors for its backward pass, where the model has the norm.
    fn norm_before(&self, x: &B::Tensor, weight: Option<&B::Tensor>) -> Result<MaybeNormed<B>> {
        let Some(weight) = weight else { return Ok((None, None)) };
        let (h, inverse_rms) = self.backend.rms_norm(x, weight, self.eps())?;
        Ok((Some(h), Some(inverse_rms)))
    }

    /// `dx += ` the gradient through [`Self::norm_before`].
    fn norm_before_backward(
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
    fn norm_after(
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
    fn norm_after_backward(
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
    fn rotate(&self, qkv: &mut B::Tensor, inverse: bool) -> Result<()> {
        let config = &self.model.config;
        let Some(rope) = config.rope_of(self.index) else { return Ok(()) };
        let Rows { positions, sequences, .. } = self.step.rows;
        let places = Places { positions, sequences };
        self.backend.rope(qkv, config.attention, places, rope, inverse)
    }

    const fn eps(&self) -> f64 {
        self.model.config.rms_norm_eps
    }

    fn layer(&self) -> &FrozenLayer<B> {
        &self.model.layers[self.index]
    }

    /// The frozen layer that a module is a part of.
    fn linear_of(&self, module: TargetModule) -> &Linear<B::Frozen, B::Tensor> {
        let layer = self.layer();
        match module {
            TargetModule::QProj
            | TargetModule::KProj
            | TargetModule::VProj
            | TargetModule::QkvProj => &layer.qkv,
            TargetModule::OProj => &layer.o,
            TargetModule::GateProj | TargetModule::UpProj | TargetModule::GateUpProj => {
                &layer.gate_up
            }
            TargetModule::DownProj => &layer.down,
        }
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
            TargetModule::QkvProj => 0..q + 2 * kv,
            TargetModule::GateProj => 0..f,
            TargetModule::UpProj => f..2 * f,
            TargetModule::GateUpProj => 0..2 * f,
            TargetModule::OProj | TargetModule::DownProj => 0..c.hidden_size,
        }
    }

    /// The adapters that adapt this module in some row, with their places among all adapters.
    fn paths(&self, module: TargetModule) -> (Vec<usize>, Vec<LoraPath<'_, B::Tensor>>) {
        let adapters = match self.outputs {
            Some(outputs) if !QKV.contains(&module) => &outputs.adapters,
            _ => self.step.adapters,
        };
        let adapters = adapters.iter().enumerate().filter(|(_, adapter)| !adapter.rows.is_empty());
        adapters.filter_map(|(place, adapter)| Some((place, self.path(module, adapter)?))).unzip()
    }

    fn path<'b>(
        &self,
        module: TargetModule,
        adapter: &'b ActiveAdapter<'_, B::Tensor>,
    ) -> Option<LoraPath<'b, B::Tensor>> {
        let (index, site) = adapter.layout.site(self.index, module)?;
        let dropout = adapter.dropout.map(|d| Dropout {
            probability: d.probability,
            key: Dropout::key(d.seed, d.step, index),
            first_row: d.first_row,
        });
        Some(LoraPath {
            rows: adapter.rows.clone(),
            rank: site.rank,
            scale: site.scale,
            params: adapter.params,
            a: site.a,
            b: site.b,
            magnitude: site.magnitude,
            dropout,
        })
    }

    fn lora(
        &self,
        module: TargetModule,
        y: &mut B::Tensor,
        x: &B::Tensor,
        low_rank: &mut LowRanks<B>,
    ) -> Result<()> {
        let (_, mut paths) = self.paths(module);
        if paths.is_empty() {
            return Ok(());
        }
        let u = self.backend.lora(y, self.columns(module), x, &paths)?;
        paths.retain(|path| path.magnitude.is_some());
        let dora = if paths.is_empty() {
            None
        } else {
            let layer = self.linear_of(module);
            Some(self.backend.dora(y, self.columns(module), layer, &paths)?)
        };
        low_rank[module as usize] = Some(SavedPaths { u, dora });
        Ok(())
    }

    /// From the gradient of a module's output to that of what `DoRA` scales, in place.
    fn dora_backward(
        &self,
        module: TargetModule,
        dy: &mut B::Tensor,
        low_rank: &LowRanks<B>,
        grads: &mut Gradients<'_, '_, B::Tensor>,
    ) -> Result<()> {
        let Some(SavedPaths { dora: Some(saved), .. }) = &low_rank[module as usize] else {
            return Ok(());
        };
        let (places, paths) = self.paths(module);
        let (places, paths): (Vec<usize>, Vec<_>) =
            places.into_iter().zip(paths).filter(|(_, p)| p.magnitude.is_some()).unzip();
        let mut mine = grads.of_places(&places);
        self.backend.dora_backward(dy, self.columns(module), saved, &paths, &mut mine)
    }

    /// The same where the gradient that arrives is also that of the sum after the module, and has to
    /// stay as it is: it is copied. `through`, where there is one, belongs to the module alone.
    fn dora_apart(
        &self,
        module: TargetModule,
        through: Option<B::Tensor>,
        dx: &B::Tensor,
        low_rank: &LowRanks<B>,
        grads: &mut Gradients<'_, '_, B::Tensor>,
    ) -> Result<Option<B::Tensor>> {
        if low_rank[module as usize].as_ref().is_none_or(|saved| saved.dora.is_none()) {
            return Ok(through);
        }
        let mut dy = if let Some(through) = through {
            through
        } else {
            let mut copy = self.backend.zeros(self.rows_read(), self.columns(module).len())?;
            self.backend.add_assign(&mut copy, dx)?;
            copy
        };
        self.dora_backward(module, &mut dy, low_rank, grads)?;
        Ok(Some(dy))
    }

    /// The lengths of the rows of `W + scale B A` of a module, for each adapter that adapts it.
    pub(super) fn row_norms(&self, module: TargetModule) -> Result<Vec<Vec<f32>>> {
        let layer = self.linear_of(module);
        let norms = |path| self.backend.row_norms(self.columns(module), layer, &path);
        self.step
            .adapters
            .iter()
            .filter_map(|adapter| self.path(module, adapter))
            .map(norms)
            .collect()
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
        let Some(SavedPaths { u, .. }) = &low_rank[module as usize] else { return Ok(()) };
        let (places, paths) = self.paths(module);
        let mut mine = grads.of_places(&places);
        self.backend.lora_backward(dx, dy, self.columns(module), x, u, &paths, &mut mine)
    }

    fn head_norms(&self, qkv: &mut B::Tensor) -> Result<Option<(B::Tensor, B::Tensor)>> {
        let Some((q_norm, k_norm)) = &self.layer().qk_norm else { return Ok(None) };
        let eps = self.eps();
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
        let (be, eps) = (self.backend, self.eps());
        be.head_norm_backward(dqkv, self.columns(TargetModule::QProj), q, q_norm, eps)?;
        be.head_norm_backward(dqkv, self.columns(TargetModule::KProj), k, k_norm, eps)
    }
}

type MaybeNormed<B> = (Option<<B as Backend>::Tensor>, Option<<B as Backend>::Tensor>);

type LowRanks<B> = [Option<SavedPaths<B>>; TargetModule::COUNT];
