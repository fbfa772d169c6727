//! The language-model head with cross-entropy, a few rows of logits at a time; the algebra is in
//! `kernels/loss.cu`.

use super::driver::{Arg, View};
use super::plan::Plan;
use super::tensor::Tensor;
use super::weight::Weight;
use super::{Cuda, THREADS};
use crate::backend::Head;
use crate::error::Result;

/// Values of the logits that exist at a time, a row at least.
const LOGITS: usize = 32 << 20;
/// Rows of them at most.
const MOST_ROWS: usize = 1024;

/// Rows of logits that exist at a time.
pub const fn rows_at_a_time(vocab: usize) -> usize {
    let rows = LOGITS / vocab;
    if rows > MOST_ROWS {
        MOST_ROWS
    } else if rows == 0 {
        1
    } else {
        rows
    }
}

/// Negative log-likelihood of each target and, if wanted, the gradient of h.
pub fn cross_entropy(
    be: &Cuda,
    h: &Tensor,
    head: Head<'_, Weight>,
    with_gradient: bool,
    plan: &Plan<'_>,
) -> Result<(Vec<f32>, Option<Tensor>)> {
    let (dim, vocab, targets) = (h.cols(), head.weight.rows(), plan.rows.targets.len());
    let weight = head.weight.values(be)?;
    let nll = Tensor::stale(be.gpu(), 1, targets, false)?;
    let dh = with_gradient.then(|| be.stale(targets, dim)).transpose()?;
    let most = rows_at_a_time(vocab).min(targets);
    let logits = Tensor::stale(be.gpu(), most, vocab, false)?;
    let narrow = (with_gradient && be.narrow()).then(|| be.stale(most, vocab)).transpose()?;
    let slopes = narrow.as_ref().unwrap_or(&logits);
    for first in (0..targets).step_by(most.max(1)) {
        let rows = most.min(targets - first);
        let (of_chunk, now) = (first..first + rows, 0..rows);
        let logits = logits.view_of_rows(now.clone());
        be.product(logits, h.view_of_rows(of_chunk.clone()), &weight, rows, true)?;
        let d = if with_gradient { slopes.view_of_rows(now.clone()) } else { View::none() };
        let args = [
            nll.arg(),
            d.arg(),
            logits.arg(),
            plan.targets(),
            plan.weights(),
            Arg::u32(first),
            Arg::u32(vocab),
            Arg::f32(head.softcap.unwrap_or(0.0) as f32),
        ];
        be.gpu().launch("cross_entropy", (rows, 1), THREADS, 0, &args)?;
        if let Some(dh) = &dh {
            be.product(dh.view_of_rows(of_chunk), d, &weight, rows, false)?;
        }
    }
    let mut values = vec![0.0_f32; targets];
    be.gpu().download(nll.buffer(), bytemuck::cast_slice_mut(&mut values))?;
    Ok((values, dh))
}
