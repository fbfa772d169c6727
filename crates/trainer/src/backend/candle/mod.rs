//! The candle backend: candle operations on any device.
//!
//! It is the oracle that the kernels of the other backends are tested against. Activations and frozen weights have the backend's number format (f32, bf16, f64 in
//! tests); adapters, their gradients and the optimizer's moments stay at least f32, and so do
//! norms, softmax and the loss.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{D, DType, Device, DeviceLocation, Tensor};

use super::{Activation, AdamWUpdate, Attention, Backend, Head, Linear, LoraPath, Step};
use crate::error::Result;
use crate::format::Stored;

mod attention;
mod columns;
mod dora;
mod groups;
mod lora;
mod loss;
mod masks;
mod plan;
mod weight;

pub use plan::Plan;
pub use weight::Weight;

use columns::with_columns;
use masks::Masks;

/// Computes with candle tensors.
#[derive(Debug, Clone)]
pub struct CandleBackend {
    device: Device,
    dtype: DType,
    masks: Arc<Masks>,
}

impl CandleBackend {
    /// A backend on a device with a number format for base and activations.
    pub fn new(device: Device, dtype: DType) -> Self {
        Self { device, dtype, masks: Arc::default() }
    }

    /// The format of adapters, norms and losses: f32, or f64 when everything is f64.
    fn wide(&self) -> DType {
        if self.dtype == DType::F64 { DType::F64 } else { DType::F32 }
    }

    /// `x w / rms(x)` over the last axis in the wide format, with `1 / rms`.
    fn normalise(&self, x: &Tensor, weight: &Tensor, eps: f64) -> Result<(Tensor, Tensor)> {
        let x = x.to_dtype(self.wide())?;
        let inverse = (x.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?.recip()?;
        let weight = weight.to_dtype(self.wide())?;
        Ok((x.broadcast_mul(&inverse)?.broadcast_mul(&weight)?, inverse))
    }

    /// Gradient of x through [`Self::normalise`], in the wide format.
    fn normalise_backward(
        &self,
        dy: &Tensor,
        x: &Tensor,
        inverse: &Tensor,
        weight: &Tensor,
    ) -> Result<Tensor> {
        let (dy, x) = (dy.to_dtype(self.wide())?, x.to_dtype(self.wide())?);
        let g = dy.broadcast_mul(&weight.to_dtype(self.wide())?)?;
        let along = ((&g * &x)?.mean_keepdim(D::Minus1)? * inverse.sqr()?)?;
        Ok((g - x.broadcast_mul(&along)?)?.broadcast_mul(inverse)?)
    }
}

impl Backend for CandleBackend {
    type Tensor = Tensor;
    type Frozen = Weight;
    type LowRank = Vec<Tensor>;
    type Dora = Vec<dora::Saved>;
    type Plan<'a> = Plan<'a>;

    fn plan<'a>(&self, step: Step<'a, Tensor>) -> Result<Plan<'a>> {
        Plan::new(step, self.dtype, self.wide(), &self.device)
    }

    fn device(&self) -> String {
        match self.device.location() {
            DeviceLocation::Cpu => "cpu".to_owned(),
            DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
            DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
        }
    }

    /// Candle keeps no freed memory.
    fn trim(&self) {}

    fn tensor(&self, values: &[f32], rows: usize, cols: usize) -> Result<Tensor> {
        let tensor = Tensor::from_slice(values, (rows, cols), &Device::Cpu)?;
        Ok(tensor.to_dtype(self.wide())?.to_device(&self.device)?)
    }

    fn zeros(&self, rows: usize, cols: usize) -> Result<Tensor> {
        Ok(Tensor::zeros((rows, cols), self.wide(), &self.device)?)
    }

    fn clear(&self, tensor: &mut Tensor) -> Result<()> {
        *tensor = tensor.zeros_like()?;
        Ok(())
    }

    fn values(&self, tensor: &Tensor) -> Result<Vec<f32>> {
        Ok(tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
    }

    fn freeze(&self, parts: &[Stored]) -> Result<Weight> {
        Weight::new(parts, self.dtype, &self.device)
    }

    /// Looking a row up would decode the whole table.
    fn freeze_table(&self, table: &Stored) -> Result<Weight> {
        Weight::plain(std::slice::from_ref(table), self.dtype, &self.device)
    }

    fn freeze_bias(&self, parts: &[Stored]) -> Result<Tensor> {
        let parts = parts.iter().map(Stored::to_tensor).collect::<Result<Vec<_>>>()?;
        Ok(Tensor::cat(&parts, 1)?.to_dtype(self.dtype)?.to_device(&self.device)?)
    }

    fn freeze_norm(&self, weight: &Stored, offset: f64) -> Result<Tensor> {
        let weight = (weight.to_tensor()?.to_dtype(self.wide())? + offset)?;
        Ok(weight.to_device(&self.device)?)
    }

    fn embed(&self, table: &Weight, scale: f64, plan: &Plan<'_>) -> Result<Tensor> {
        let x = table.tensor(self.dtype)?.index_select(&plan.ids, 0)?;
        Ok(if scale == 1.0 { x } else { (x * scale)? })
    }

    fn pick_rows(&self, x: &Tensor, plan: &Plan<'_>) -> Result<Tensor> {
        Ok(x.index_select(&plan.read_rows, 0)?)
    }

    fn place_rows(&self, y: &Tensor, plan: &Plan<'_>) -> Result<Tensor> {
        let zeros = Tensor::zeros((plan.rows.len(), y.dim(1)?), y.dtype(), &self.device)?;
        Ok(zeros.index_add(&plan.read_rows, y, 0)?)
    }

    fn add_assign(&self, x: &mut Tensor, y: &Tensor) -> Result<()> {
        *x = (&*x + y.to_dtype(x.dtype())?)?;
        Ok(())
    }

    fn linear(&self, x: &Tensor, layer: &Linear<Weight, Tensor>) -> Result<Tensor> {
        let y = x.matmul(&layer.weight.tensor(self.dtype)?.t()?)?;
        Ok(match &layer.bias {
            Some(bias) => y.broadcast_add(bias)?,
            None => y,
        })
    }

    fn linear_backward(&self, dy: &Tensor, layer: &Linear<Weight, Tensor>) -> Result<Tensor> {
        Ok(dy.to_dtype(self.dtype)?.matmul(&layer.weight.tensor(self.dtype)?)?)
    }

    fn lora(
        &self,
        y: &mut Tensor,
        x: &Tensor,
        plan: &Plan<'_>,
        site: usize,
    ) -> Result<Vec<Tensor>> {
        lora::forward(y, x, &plan.site(site))
    }

    fn lora_backward(
        &self,
        dx: Option<&mut Tensor>,
        dy: &Tensor,
        x: &Tensor,
        low_rank: &Vec<Tensor>,
        plan: &Plan<'_>,
        site: usize,
        grads: &mut [&mut Tensor],
    ) -> Result<()> {
        lora::backward(dx, dy, x, low_rank, &plan.site(site), grads)
    }

    fn row_norms(
        &self,
        columns: Range<usize>,
        layer: &Linear<Weight, Tensor>,
        path: &LoraPath<'_, Tensor>,
    ) -> Result<Vec<f32>> {
        let weight = layer.weight.tensor(self.wide())?.narrow(0, columns.start, columns.len())?;
        self.values(&dora::norms(&weight, path, self.wide())?)
    }

    fn dora(
        &self,
        y: &mut Tensor,
        layer: &Linear<Weight, Tensor>,
        plan: &Plan<'_>,
        site: usize,
    ) -> Result<Self::Dora> {
        let site = &plan.sites[site];
        let (first, count) = (site.columns.start, site.columns.len());
        let weight = layer.weight.tensor(self.wide())?.narrow(0, first, count)?;
        let bias = layer.bias.as_ref().map(|bias| bias.narrow(1, first, count)).transpose()?;
        dora::forward(y, &weight, bias.as_ref(), site, self.wide())
    }

    fn dora_backward(
        &self,
        dy: &mut Tensor,
        saved: &Self::Dora,
        plan: &Plan<'_>,
        site: usize,
        grads: &mut [&mut Tensor],
    ) -> Result<()> {
        dora::backward(dy, saved, &plan.sites[site], grads)
    }

    fn rms_norm(&self, x: &Tensor, weight: &Tensor, eps: f64) -> Result<(Tensor, Tensor)> {
        let (y, inverse) = self.normalise(x, weight, eps)?;
        Ok((y.to_dtype(self.dtype)?, inverse))
    }

    fn rms_norm_backward(
        &self,
        dx: &mut Tensor,
        dy: &Tensor,
        x: &Tensor,
        inverse_rms: &Tensor,
        weight: &Tensor,
    ) -> Result<()> {
        let through = self.normalise_backward(dy, x, inverse_rms, weight)?;
        self.add_assign(dx, &through)
    }

    fn head_norm(
        &self,
        x: &mut Tensor,
        cols: Range<usize>,
        weight: &Tensor,
        eps: f64,
    ) -> Result<Tensor> {
        let raw = x.narrow(1, cols.start, cols.len())?.contiguous()?;
        let heads = raw.reshape((raw.dim(0)?, (), weight.dim(1)?))?;
        let normed = self.normalise(&heads, weight, eps)?.0.to_dtype(x.dtype())?;
        *x = with_columns(x, &cols, normed.reshape(raw.shape())?)?;
        Ok(raw)
    }

    fn head_norm_backward(
        &self,
        dx: &mut Tensor,
        cols: Range<usize>,
        saved: &Tensor,
        weight: &Tensor,
        eps: f64,
    ) -> Result<()> {
        let shape = (saved.dim(0)?, cols.len() / weight.dim(1)?, weight.dim(1)?);
        let x = saved.reshape(shape)?;
        let dy = dx.narrow(1, cols.start, cols.len())?.contiguous()?.reshape(shape)?;
        let inverse = self.normalise(&x, weight, eps)?.1;
        let d = self.normalise_backward(&dy, &x, &inverse, weight)?.to_dtype(dx.dtype())?;
        *dx = with_columns(dx, &cols, d.reshape(saved.shape())?)?;
        Ok(())
    }

    fn rope(&self, qkv: &mut Tensor, rope: usize, inverse: bool, plan: &Plan<'_>) -> Result<()> {
        let [cos, sin] = &plan.angles[rope];
        let (half, shape) = (cos.dim(1)?, plan.attention);
        let (cos, sin) = (cos.unsqueeze(1)?, sin.unsqueeze(1)?);
        let sin = if inverse { sin.neg()? } else { sin };
        let (n, e) = (plan.rows.len(), shape.head_dim);
        let rotated = 0..shape.q_columns() + shape.kv_columns();
        let heads = qkv.narrow(1, 0, rotated.end)?.to_dtype(self.wide())?;
        let heads = heads.contiguous()?.reshape((n, shape.heads + shape.kv_heads, e))?;
        let (a, b) = (heads.narrow(2, 0, half)?, heads.narrow(2, half, half)?);
        let rest = heads.narrow(2, 2 * half, e - 2 * half)?;
        let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
        let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
        let heads = Tensor::cat(&[first, second, rest], 2)?.reshape((n, rotated.end))?;
        *qkv = with_columns(qkv, &rotated, heads.to_dtype(qkv.dtype())?)?;
        Ok(())
    }

    fn attention(
        &self,
        qkv: &Tensor,
        attention: &Attention,
        plan: &Plan<'_>,
    ) -> Result<(Tensor, Tensor)> {
        attention::forward(&self.masks, qkv, attention, &plan.sequences, self.wide())
    }

    fn attention_backward(
        &self,
        dout: &Tensor,
        qkv: &Tensor,
        out: &Tensor,
        log_denominators: &Tensor,
        attention: &Attention,
        plan: &Plan<'_>,
    ) -> Result<Tensor> {
        let saved = attention::Saved { qkv, out, lse: log_denominators };
        attention::backward(&self.masks, dout, &saved, attention, &plan.sequences, self.wide())
    }

    fn glu(&self, gate_up: &Tensor, f: Activation) -> Result<Tensor> {
        let ffn = gate_up.dim(1)? / 2;
        let (gate, up) = (gate_up.narrow(1, 0, ffn)?, gate_up.narrow(1, ffn, ffn)?);
        let gate = gate.contiguous()?;
        let gate = match f {
            Activation::Silu => gate.silu()?,
            Activation::GeluTanh => gate.gelu()?,
        };
        Ok((gate * up)?)
    }

    fn glu_with_slopes(&self, gate_up: &mut Tensor, f: Activation) -> Result<Tensor> {
        let ffn = gate_up.dim(1)? / 2;
        let wide = |t: Tensor| t.contiguous()?.to_dtype(self.wide());
        let gate = wide(gate_up.narrow(1, 0, ffn)?)?;
        let up = wide(gate_up.narrow(1, ffn, ffn)?)?;
        // Both are x sigmoid(u(x)): the algebra is in the CPU backend's `glu`.
        let (u, du) = match f {
            Activation::Silu => (gate.clone(), gate.ones_like()?),
            Activation::GeluTanh => {
                let (c, squares) = ((8.0 / std::f64::consts::PI).sqrt(), gate.sqr()?);
                let u = (&gate * squares.affine(0.044_715 * c, c)?)?;
                (u, squares.affine(3.0 * 0.044_715 * c, c)?)
            }
        };
        let s = (u.neg()?.exp()? + 1.0)?.recip()?;
        let value = (&gate * &s)?;
        let slope = (&s + ((&value * s.affine(-1.0, 1.0)?)? * du)?)?;
        let y = (&value * &up)?;
        *gate_up = Tensor::cat(&[(up * slope)?, value], 1)?;
        Ok(y.to_dtype(self.dtype)?)
    }

    fn glu_backward(&self, slopes: &mut Tensor, dy: &Tensor) -> Result<()> {
        let dy = dy.to_dtype(slopes.dtype())?;
        *slopes = (&*slopes * Tensor::cat(&[&dy, &dy], 1)?)?.to_dtype(self.dtype)?;
        Ok(())
    }

    fn logits(&self, h: &Tensor, head: Head<'_, Weight>) -> Result<Vec<f32>> {
        let logits = h.matmul(&head.weight.tensor(self.dtype)?.t()?)?;
        self.values(&match head.softcap {
            Some(cap) => attention::capped(&logits.to_dtype(self.wide())?, cap)?,
            None => logits,
        })
    }

    fn cross_entropy(
        &self,
        h: Tensor,
        head: Head<'_, Weight>,
        with_gradient: bool,
        plan: &Plan<'_>,
    ) -> Result<(Vec<f32>, Option<Tensor>)> {
        let weight = head.weight.tensor(self.dtype)?;
        let head = Head { weight: &weight, softcap: head.softcap };
        loss::cross_entropy(&h, head, &plan.targets, with_gradient, self.wide())
    }

    fn norms(&self, vectors: &[&Tensor]) -> Result<Vec<f64>> {
        let norm = |x: &&Tensor| {
            let squares = x.sqr()?.sum_all()?.to_dtype(DType::F32)?.to_scalar::<f32>()?;
            Ok(f64::from(squares).sqrt())
        };
        vectors.iter().map(norm).collect()
    }

    fn adamw(&self, updates: &mut [AdamWUpdate<'_, Tensor>]) -> Result<()> {
        updates.iter_mut().try_for_each(adamw)
    }
}

fn adamw(of: &mut AdamWUpdate<'_, Tensor>) -> Result<()> {
    let (s, t) = (&of.step, f64::from(of.step.step));
    let g = of.grad.affine(s.grad_scale, 0.0)?;
    let m = (of.first_moment.affine(s.beta1, 0.0)? + g.affine(1.0 - s.beta1, 0.0)?)?;
    let v = (of.second_moment.affine(s.beta2, 0.0)? + g.sqr()?.affine(1.0 - s.beta2, 0.0)?)?;
    let root = v.sqrt()?.affine(1.0 / (1.0 - s.beta2.powf(t)).sqrt(), s.epsilon)?;
    let update = (&m / root)?.affine(s.learning_rate / (1.0 - s.beta1.powf(t)), 0.0)?;
    let update = (update + of.params.affine(s.learning_rate * s.weight_decay, 0.0)?)?;
    *of.params = match of.rate_factors {
        Some(factors) => (&*of.params - (update * factors)?)?,
        None => (&*of.params - update)?,
    };
    *of.grad = of.grad.zeros_like()?;
    (*of.first_moment, *of.second_moment) = (m, v);
    Ok(())
}
