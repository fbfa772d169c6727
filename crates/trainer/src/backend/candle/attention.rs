//! Causal attention, sequence by sequence; letters as in the CPU backend's `attention`.

use std::ops::Range;

use candle_core::{D, DType, Tensor};

use super::step_cache::StepCache;
use crate::backend::{Attention, AttentionShape};
use crate::error::Result;

/// What the forward pass kept.
pub struct Saved<'a> {
    pub qkv: &'a Tensor,
    pub out: &'a Tensor,
    pub lse: &'a Tensor,
}

/// q, k, v of a sequence as `[H, T, E]` in the wide format, k and v repeated for their group.
fn heads(
    qkv: &Tensor,
    shape: AttentionShape,
    rows: &Range<usize>,
    wide: DType,
) -> Result<[Tensor; 3]> {
    let (t, group) = (rows.len(), shape.heads / shape.kv_heads);
    let part = |start: usize, heads: usize, repeat: usize| -> Result<Tensor> {
        let x = qkv.narrow(0, rows.start, t)?.narrow(1, start, heads * shape.head_dim)?;
        let x = x.to_dtype(wide)?.contiguous()?.reshape((t, heads, 1, shape.head_dim))?;
        let x = x.repeat((1, 1, repeat, 1))?.reshape((t, heads * repeat, shape.head_dim))?;
        Ok(x.transpose(0, 1)?.contiguous()?)
    };
    let (q, kv) = (shape.q_columns(), shape.kv_columns());
    Ok([
        part(0, shape.heads, 1)?,
        part(q, shape.kv_heads, group)?,
        part(q + kv, shape.kv_heads, group)?,
    ])
}

/// `c tanh(x / c)`
pub fn capped(x: &Tensor, cap: f64) -> Result<Tensor> {
    Ok(((x / cap)?.tanh()? * cap)?)
}

/// The derivative of [`capped`], from its result: `1 - (y / c)^2`
pub fn cap_slope(capped: &Tensor, cap: f64) -> Result<Tensor> {
    Ok((capped / cap)?.sqr()?.affine(-1.0, 1.0)?)
}

/// Scores of all pairs, capped but not masked.
fn scores(q: &Tensor, k: &Tensor, attention: &Attention) -> Result<Tensor> {
    let s = (q.matmul(&k.transpose(1, 2)?.contiguous()?)? * attention.scale)?;
    match attention.softcap {
        Some(cap) => capped(&s, cap),
        None => Ok(s),
    }
}

fn masked(step: &StepCache, scores: &Tensor, attention: &Attention) -> Result<Tensor> {
    let (dtype, device) = (scores.dtype(), scores.device());
    let mask = step.mask(scores.dim(1)?, attention.window, dtype, device)?;
    Ok(scores.broadcast_add(&mask)?)
}

/// `[H, T, E]` to `[T, H E]`.
fn joined(x: &Tensor) -> Result<Tensor> {
    let (h, t, e) = x.dims3()?;
    Ok(x.transpose(0, 1)?.contiguous()?.reshape((t, h * e))?)
}

/// Output `[N, H E]` and log denominators `[N, H]`.
pub fn forward(
    step: &StepCache,
    qkv: &Tensor,
    attention: &Attention,
    sequences: &[Range<usize>],
    wide: DType,
) -> Result<(Tensor, Tensor)> {
    let (mut outs, mut lses) = (Vec::new(), Vec::new());
    for rows in sequences {
        let [q, k, v] = heads(qkv, attention.shape, rows, wide)?;
        let s = masked(step, &scores(&q, &k, attention)?, attention)?;
        let max = s.max_keepdim(D::Minus1)?;
        let exp = s.broadcast_sub(&max)?.exp()?;
        let sum = exp.sum_keepdim(D::Minus1)?;
        outs.push(joined(&exp.broadcast_div(&sum)?.matmul(&v)?)?.to_dtype(qkv.dtype())?);
        lses.push((max + sum.log()?)?.squeeze(2)?.t()?.contiguous()?);
    }
    Ok((Tensor::cat(&outs, 0)?, Tensor::cat(&lses, 0)?))
}

/// Gradient of `[q | k | v]`; the algebra is in the CPU backend's `attention::backward`.
pub fn backward(
    step: &StepCache,
    dout: &Tensor,
    saved: &Saved<'_>,
    attention: &Attention,
    sequences: &[Range<usize>],
    wide: DType,
) -> Result<Tensor> {
    let (shape, scale) = (attention.shape, attention.scale);
    let (h, e, group) = (shape.heads, shape.head_dim, shape.heads / shape.kv_heads);
    let mut parts = Vec::new();
    for rows in sequences {
        let t = rows.len();
        let by_head = |x: &Tensor, width: usize| -> Result<Tensor> {
            let x = x.narrow(0, rows.start, t)?.to_dtype(wide)?.contiguous()?;
            Ok(x.reshape((t, h, width))?.transpose(0, 1)?.contiguous()?)
        };
        let [q, k, v] = heads(saved.qkv, shape, rows, wide)?;
        let (dout, out) = (by_head(dout, e)?, by_head(saved.out, e)?);
        let s = scores(&q, &k, attention)?;
        let p = masked(step, &s, attention)?.broadcast_sub(&by_head(saved.lse, 1)?)?.exp()?;
        let along = (&dout * out)?.sum_keepdim(D::Minus1)?;
        let dp = dout.matmul(&v.transpose(1, 2)?.contiguous()?)?;
        let mut ds = ((&p * dp.broadcast_sub(&along)?)? * scale)?;
        if let Some(cap) = attention.softcap {
            ds = (ds * cap_slope(&s, cap)?)?;
        }
        let dq = ds.matmul(&k)?;
        let over_group = |x: Tensor| x.reshape((shape.kv_heads, group, t, e))?.sum(1);
        let dk = over_group(ds.transpose(1, 2)?.contiguous()?.matmul(&q)?)?;
        let dv = over_group(p.transpose(1, 2)?.contiguous()?.matmul(&dout)?)?;
        parts.push(Tensor::cat(&[joined(&dq)?, joined(&dk)?, joined(&dv)?], 1)?);
    }
    Ok(Tensor::cat(&parts, 0)?.to_dtype(saved.qkv.dtype())?)
}
