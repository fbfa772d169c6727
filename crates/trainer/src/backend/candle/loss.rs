//! The language-model head with cross-entropy, a few rows of logits at a time.

use candle_core::{D, DType, Tensor};

use super::attention::{cap_slope, capped};
use super::plan::Targets;
use crate::backend::Head;
use crate::error::Result;

/// Rows whose logits exist at a time.
const ROWS: usize = 512;

/// The algebra is in the CPU backend's `loss::cross_entropy`.
pub fn cross_entropy(
    h: &Tensor,
    head: Head<'_, Tensor>,
    targets: &Targets,
    with_gradient: bool,
    wide: DType,
) -> Result<(Vec<f32>, Option<Tensor>)> {
    let (weight, all) = (head.weight, h.dim(0)?);
    let mut nll = Vec::with_capacity(all);
    let mut dh = Vec::new();
    for first in (0..all).step_by(ROWS) {
        let count = ROWS.min(all - first);
        let rows = h.narrow(0, first, count)?;
        let tokens = targets.tokens.narrow(0, first, count)?;
        let mut logits = rows.matmul(&weight.t()?)?.to_dtype(wide)?;
        if let Some(cap) = head.softcap {
            logits = capped(&logits, cap)?;
        }
        let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?)?;
        let exp = shifted.exp()?;
        let sum = exp.sum_keepdim(D::Minus1)?;
        let losses = (sum.log()? - shifted.gather(&tokens, 1)?)?;
        nll.extend(losses.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>()?);
        if with_gradient {
            let weights = targets.weights.narrow(0, first, count)?;
            let p = exp.broadcast_div(&sum)?.broadcast_mul(&weights)?;
            let dlogits = p.scatter_add(&tokens, &weights.neg()?.contiguous()?, 1)?;
            let dlogits = match head.softcap {
                Some(cap) => (dlogits * cap_slope(&logits, cap)?)?,
                None => dlogits,
            };
            dh.push(dlogits.to_dtype(weight.dtype())?.matmul(weight)?.to_dtype(wide)?);
        }
    }
    let dh = if dh.is_empty() { None } else { Some(Tensor::cat(&dh, 0)?) };
    Ok((nll, dh))
}
