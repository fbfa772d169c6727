//! One decoder block, forward and backward beside each other.
//!
//! `x2 = x + after(o(attention(rope(qkv(before(x))))))`,
//! `x3 = x2 + after(down(glu(gate_up(before(x2)))))`, where `before` and `after` are RMS norms that
//! a model may not have, and every linear layer is frozen and may carry the adapters of the slots.

use spec::TargetModule;

use super::adapted::{Gradients, LowRanks, SavedPaths};
use super::layer::{Layer, NormInput};
use crate::backend::Backend;
use crate::error::Result;

/// Modules that read the attention's input; a model has the first three or the last.
const QKV: [TargetModule; 4] =
    [TargetModule::QProj, TargetModule::KProj, TargetModule::VProj, TargetModule::QkvProj];
/// Modules that read the feed-forward network's input; a model has the first two or the last.
const GATE_UP: [TargetModule; 3] =
    [TargetModule::GateProj, TargetModule::UpProj, TargetModule::GateUpProj];

/// Activations kept for the backward pass. The results of norms before and the gated product are
/// cheap and are computed again.
pub struct Saved<B: Backend> {
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

/// What the feed-forward network's backward pass needs beside `gate_up`, over which it writes.
struct SavedMlp<'a, B: Backend> {
    x2: &'a B::Tensor,
    inverse_rms: Option<&'a B::Tensor>,
    after: Option<&'a NormInput<B>>,
    low_rank: &'a LowRanks<B>,
}

/// What is kept of a block whose activations are computed again: its input and, where the backward
/// pass needs nothing else of the feed-forward network's last product, what its adapters keep.
pub struct Input<B: Backend> {
    x: B::Tensor,
    down: Option<SavedPaths<B>>,
    is_enough: bool,
}

impl<B: Backend> Saved<B> {
    /// The block's input, from which the rest can be computed again.
    pub fn into_input(mut self) -> Input<B> {
        let down = self.low_rank[TargetModule::DownProj as usize].take();
        let has_dora = down.as_ref().is_some_and(SavedPaths::has_dora);
        let is_enough = self.mlp_after.is_none() && !has_dora;
        Input { x: self.x, down: down.filter(|_| is_enough), is_enough }
    }
}

pub fn forward<B: Backend>(
    layer: &Layer<'_, '_, B>,
    x: B::Tensor,
) -> Result<(B::Tensor, Saved<B>)> {
    let rule = layer.model.config.attention_of(layer.index);
    forward_with(layer, x, |qkv| layer.backend.attention(qkv, &rule, layer.plan))
}

/// The same for rows that continue sequences, without what a backward pass needs.
pub fn forward_with_past<B: Backend>(
    layer: &Layer<'_, '_, B>,
    x: B::Tensor,
    past: &mut [&mut B::Tensor],
) -> Result<B::Tensor> {
    let rule = layer.model.config.attention_of(layer.index);
    let attention = |qkv: &_| layer.backend.attention_with_past(qkv, &rule, past, layer.plan);
    Ok(forward_with(layer, x, attention)?.0)
}

fn forward_with<B: Backend>(
    layer: &Layer<'_, '_, B>,
    x: B::Tensor,
    attention: impl FnOnce(&B::Tensor) -> Result<(B::Tensor, B::Tensor)>,
) -> Result<(B::Tensor, Saved<B>)> {
    let (be, w) = (layer.backend, layer.frozen());
    let mut saved = to_gate_up(layer, x, attention)?;
    let product = be.glu(&saved.gate_up, layer.model.config.activation)?;
    let mut y = be.linear(&product, &w.down)?;
    layer.lora(TargetModule::DownProj, &mut y, &product, &mut saved.low_rank)?;
    let (mut x3, mlp_after) = layer.norm_after(y, w.mlp_after.as_ref())?;
    be.add_assign(&mut x3, &saved.x2)?;
    saved.mlp_after = mlp_after;
    Ok((x3, saved))
}

/// The activations once more.
pub fn forward_again<B: Backend>(layer: &Layer<'_, '_, B>, input: Input<B>) -> Result<Saved<B>> {
    let Input { x, down, is_enough } = input;
    if !is_enough {
        return Ok(forward(layer, x)?.1);
    }
    let rule = layer.model.config.attention_of(layer.index);
    let mut saved = to_gate_up(layer, x, |qkv| layer.backend.attention(qkv, &rule, layer.plan))?;
    saved.low_rank[TargetModule::DownProj as usize] = down;
    Ok(saved)
}

/// The forward pass up to gate and up.
fn to_gate_up<B: Backend>(
    layer: &Layer<'_, '_, B>,
    x: B::Tensor,
    attention: impl FnOnce(&B::Tensor) -> Result<(B::Tensor, B::Tensor)>,
) -> Result<Saved<B>> {
    let (be, w) = (layer.backend, layer.frozen());
    let mut low_rank = std::array::from_fn(|_| None);

    let (h, attention_inverse_rms) = layer.norm_before(&x, w.attention_norm.as_ref())?;
    let input = h.as_ref().unwrap_or(&x);
    let mut qkv = be.linear(input, &w.qkv)?;
    for module in QKV {
        layer.lora(module, &mut qkv, input, &mut low_rank)?;
    }
    drop(h);
    let raw_heads = layer.head_norms(&mut qkv)?;
    layer.rotate(&mut qkv, false)?;
    let (attention, log_denominators) = attention(&qkv)?;
    let read = layer.read(&attention)?;
    let input = read.as_ref().unwrap_or(&attention);
    let mut y = be.linear(input, &w.o)?;
    layer.lora(TargetModule::OProj, &mut y, input, &mut low_rank)?;
    drop(read);
    let (mut x2, attention_after) = layer.norm_after(y, w.attention_after.as_ref())?;
    be.add_assign(&mut x2, layer.read(&x)?.as_ref().unwrap_or(&x))?;

    let (h, mlp_inverse_rms) = layer.norm_before(&x2, w.mlp_norm.as_ref())?;
    let input = h.as_ref().unwrap_or(&x2);
    let mut gate_up = be.linear(input, &w.gate_up)?;
    for module in GATE_UP {
        layer.lora(module, &mut gate_up, input, &mut low_rank)?;
    }
    drop(h);

    Ok(Saved {
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
        mlp_after: None,
        low_rank,
    })
}

/// From the gradient of x3 to the gradient of x, which the first block does not need: `None`.
pub fn backward<B: Backend>(
    layer: &Layer<'_, '_, B>,
    dx3: B::Tensor,
    saved: Saved<B>,
    grads: Gradients<'_, '_, B::Tensor>,
) -> Result<Option<B::Tensor>> {
    let Saved { x, x2, attention, low_rank, gate_up, mlp_inverse_rms, mlp_after, .. } = saved;
    let mlp = SavedMlp {
        x2: &x2,
        inverse_rms: mlp_inverse_rms.as_ref(),
        after: mlp_after.as_ref(),
        low_rank: &low_rank,
    };
    let dx2 = mlp_backward(layer, dx3, gate_up, &mlp, grads)?;

    // x2 = x + after(o(attention))
    let (be, w, c) = (layer.backend, layer.frozen(), &layer.model.config);
    let after = saved.attention_after.as_ref();
    let through = layer.norm_after_backward(&dx2, after, w.attention_after.as_ref())?;
    let through = layer.dora_apart(TargetModule::OProj, through, &dx2, &low_rank, grads)?;
    let dy = through.as_ref().unwrap_or(&dx2);
    let mut d_attention = be.linear_backward(dy, &w.o)?;
    let read = layer.read(&attention)?;
    let input = read.as_ref().unwrap_or(&attention);
    let d_input = Some(&mut d_attention);
    layer.lora_backward(TargetModule::OProj, d_input, dy, input, &low_rank, grads)?;
    drop((through, read));
    let d_attention = layer.read_backward(d_attention)?;
    let mut dqkv = be.attention_backward(
        &d_attention,
        &saved.qkv,
        &attention,
        &saved.log_denominators,
        &c.attention_of(layer.index),
        layer.plan,
    )?;
    drop(d_attention);
    layer.rotate(&mut dqkv, true)?;
    layer.head_norms_backward(&mut dqkv, saved.raw_heads.as_ref())?;
    for module in QKV {
        layer.dora_backward(module, &mut dqkv, &low_rank, grads)?;
    }

    // qkv = W before(x)
    let norm = w.attention_norm.as_ref();
    let (h, _) = layer.norm_before(&x, norm)?;
    let input = h.as_ref().unwrap_or(&x);
    let mut dh = if layer.index == 0 { None } else { Some(be.linear_backward(&dqkv, &w.qkv)?) };
    for module in QKV {
        layer.lora_backward(module, dh.as_mut(), &dqkv, input, &low_rank, grads)?;
    }
    let Some(dh) = dh else { return Ok(None) };
    let mut dx = layer.read_backward(dx2)?;
    let inverse_rms = saved.attention_inverse_rms.as_ref();
    layer.norm_before_backward(&mut dx, &dh, &x, inverse_rms, norm)?;
    Ok(Some(dx))
}

/// `x3 = x2 + after(down(glu(gate_up(before(x2)))))`: from the gradient of x3 to that of x2.
fn mlp_backward<B: Backend>(
    layer: &Layer<'_, '_, B>,
    dx3: B::Tensor,
    mut gate_up: B::Tensor,
    saved: &SavedMlp<'_, B>,
    grads: Gradients<'_, '_, B::Tensor>,
) -> Result<B::Tensor> {
    let (be, w, c) = (layer.backend, layer.frozen(), &layer.model.config);
    let through = layer.norm_after_backward(&dx3, saved.after, w.mlp_after.as_ref())?;
    let module = TargetModule::DownProj;
    let through = layer.dora_apart(module, through, &dx3, saved.low_rank, grads)?;
    let dy = through.as_ref().unwrap_or(&dx3);
    let product = be.glu_with_slopes(&mut gate_up, c.activation)?;
    let mut d_product = be.linear_backward(dy, &w.down)?;
    let input = Some(&mut d_product);
    layer.lora_backward(TargetModule::DownProj, input, dy, &product, saved.low_rank, grads)?;
    drop((product, through));
    let mut d_gate_up = gate_up;
    be.glu_backward(&mut d_gate_up, &d_product)?;
    drop(d_product);
    for module in GATE_UP {
        layer.dora_backward(module, &mut d_gate_up, saved.low_rank, grads)?;
    }

    let norm = w.mlp_norm.as_ref();
    let (h, _) = layer.norm_before(saved.x2, norm)?;
    let input = h.as_ref().unwrap_or(saved.x2);
    let mut dh = be.linear_backward(&d_gate_up, &w.gate_up)?;
    for module in GATE_UP {
        layer.lora_backward(module, Some(&mut dh), &d_gate_up, input, saved.low_rank, grads)?;
    }
    let mut dx2 = dx3;
    layer.norm_before_backward(&mut dx2, &dh, saved.x2, saved.inverse_rms, norm)?;
    Ok(dx2)
}
