//! Causal attention, by groups of S sequences of about one length ([`super::groups`]), the shorter
//! ones filled up to T tokens; other letters as in the CPU backend's `attention`.

use candle_core::{D, DType, Tensor};

use super::groups::{Group, Grouping};
use super::masks::Masks;
use crate::backend::{Attention, AttentionShape};
use crate::error::Result;

/// `e^-NOTHING` is 0, and no score comes near it.
const NOTHING: f64 = 1e30;

/// What the forward pass kept.
pub struct Saved<'a> {
    pub qkv: &'a Tensor,
    pub out: &'a Tensor,
    pub lse: &'a Tensor,
}

/// q, k, v of a group's sequences as `[S, H, T, E]` in the wide format, k and v repeated for their
/// group of heads.
fn heads(qkv: &Tensor, shape: AttentionShape, group: &Group, wide: DType) -> Result<[Tensor; 3]> {
    let (rows, repeat) = (group.gather(qkv)?, shape.heads / shape.kv_heads);
    let (s, t) = (group.members.len(), group.rows);
    let part = |start: usize, heads: usize, repeat: usize| -> Result<Tensor> {
        let x = rows.narrow(2, start, heads * shape.head_dim)?.to_dtype(wide)?.contiguous()?;
        let x = x.reshape((s, t, heads, 1, shape.head_dim))?.repeat((1, 1, 1, repeat, 1))?;
        let x = x.reshape((s, t, heads * repeat, shape.head_dim))?;
        Ok(x.transpose(1, 2)?.contiguous()?)
    };
    let (q, kv) = (shape.q_columns(), shape.kv_columns());
    Ok([
        part(0, shape.heads, 1)?,
        part(q, shape.kv_heads, repeat)?,
        part(q + kv, shape.kv_heads, repeat)?,
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
    let s = (q.matmul(&k.transpose(2, 3)?.contiguous()?)? * attention.scale)?;
    match attention.softcap {
        Some(cap) => capped(&s, cap),
        None => Ok(s),
    }
}

/// No query sees a later key, so that no real one sees one that was filled in.
fn masked(masks: &Masks, scores: &Tensor, attention: &Attention) -> Result<Tensor> {
    let (dtype, device) = (scores.dtype(), scores.device());
    let mask = masks.mask(scores.dim(2)?, attention.window, dtype, device)?;
    Ok(scores.broadcast_add(&mask)?)
}

/// `[S, H, T, E]` to `[S, T, H E]`.
fn joined(x: &Tensor) -> Result<Tensor> {
    let (s, h, t, e) = x.dims4()?;
    Ok(x.transpose(1, 2)?.contiguous()?.reshape((s, t, h * e))?)
}

/// Output `[N, H E]` and log denominators `[N, H]`.
pub fn forward(
    masks: &Masks,
    qkv: &Tensor,
    attention: &Attention,
    sequences: &Grouping,
    wide: DType,
) -> Result<(Tensor, Tensor)> {
    let (mut outs, mut lses) = (Vec::new(), Vec::new());
    for group in &sequences.groups {
        let [q, k, v] = heads(qkv, attention.shape, group, wide)?;
        let s = masked(masks, &scores(&q, &k, attention)?, attention)?;
        let max = s.max_keepdim(D::Minus1)?;
        let exp = s.broadcast_sub(&max)?.exp()?;
        let sum = exp.sum_keepdim(D::Minus1)?;
        outs.push(joined(&exp.broadcast_div(&sum)?.matmul(&v)?)?.to_dtype(qkv.dtype())?);
        lses.push(joined(&(max + sum.log()?)?)?);
    }
    Ok((sequences.scatter(&outs)?, sequences.scatter(&lses)?))
}

/// Gradient of `[q | k | v]`; the algebra is in the CPU backend's `attention::backward`.
pub fn backward(
    masks: &Masks,
    dout: &Tensor,
    saved: &Saved<'_>,
    attention: &Attention,
    sequences: &Grouping,
    wide: DType,
) -> Result<Tensor> {
    let mut parts = Vec::new();
    for group in &sequences.groups {
        parts.push(backward_of_group(masks, dout, saved, attention, group, wide)?);
    }
    Ok(sequences.scatter(&parts)?.to_dtype(saved.qkv.dtype())?)
}

/// The gradient over the rows of a group: `[S, T, (H + 2K) E]`.
fn backward_of_group(
    masks: &Masks,
    dout: &Tensor,
    saved: &Saved<'_>,
    attention: &Attention,
    group: &Group,
    wide: DType,
) -> Result<Tensor> {
    let (shape, scale) = (attention.shape, attention.scale);
    let (sequences, t, e) = (group.members.len(), group.rows, shape.head_dim);
    let by_head = |x: &Tensor, width: usize| -> Result<Tensor> {
        let x = group.gather(x)?.to_dtype(wide)?.reshape((sequences, t, shape.heads, width))?;
        Ok(x.transpose(1, 2)?.contiguous()?)
    };
    let [q, k, v] = heads(saved.qkv, shape, group, wide)?;
    let (dout, out) = (by_head(dout, e)?, by_head(saved.out, e)?);
    let s = scores(&q, &k, attention)?;
    let mut log_p = masked(masks, &s, attention)?.broadcast_sub(&by_head(saved.lse, 1)?)?;
    if let Some(real) = &group.real {
        // A filled-in query has no part in the gradients of the keys, whatever its scores are.
        log_p = log_p.broadcast_add(&real.affine(NOTHING, -NOTHING)?.unsqueeze(1)?)?;
    }
    let p = log_p.exp()?;
    let along = (&dout * out)?.sum_keepdim(D::Minus1)?;
    let dp = dout.matmul(&v.transpose(2, 3)?.contiguous()?)?;
    let mut ds = ((&p * dp.broadcast_sub(&along)?)? * scale)?;
    if let Some(cap) = attention.softcap {
        ds = (ds * cap_slope(&s, cap)?)?;
    }
    let dq = ds.matmul(&k)?;
    let over_group = |x: Tensor| {
        let repeat = shape.heads / shape.kv_heads;
        x.reshape((sequences, shape.kv_heads, repeat, t, e))?.sum(2)
    };
    let dk = over_group(ds.transpose(2, 3)?.contiguous()?.matmul(&q)?)?;
    let dv = over_group(p.transpose(2, 3)?.contiguous()?.matmul(&dout)?)?;
    Ok(Tensor::cat(&[joined(&dq)?, joined(&dk)?, joined(&dv)?], 2)?)
}
