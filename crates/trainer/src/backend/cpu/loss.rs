//! The language-model head with cross-entropy, a few rows of logits at a time.
//!
//! Letters: M target rows, D hidden, V vocabulary.

use std::sync::Arc;

use faer::{MatMut, MatRef};
use rayon::prelude::*;

use super::attention::{soft_cap, soft_cap_backward};
use super::buffer::{Buf, Pool};
use super::weight::Weight;
use crate::backend::{Head, Target};
use crate::error::Result;
use crate::real::{Real, largest, simd, sum};

/// Rows whose logits one task holds: enough for an efficient product, few enough that every
/// thread has some and that memory stays at `threads * 64 * V` values.
fn rows_per_task(rows: usize) -> usize {
    rows.div_ceil(rayon::current_num_threads()).clamp(1, 64)
}

/// `logits = h W^T`; `nll = log sum_v exp(logit_v) - logit_target`;
/// `dlogit_v = weight (softmax_v - [v = target])`, where logits are capped times
/// `1 - (logit_v / c)^2`; `dh = dlogits W`, written over h.
pub fn cross_entropy<T: Real>(
    pool: &Arc<Pool<T>>,
    mut h: Buf<T>,
    head: Head<'_, Weight<T>>,
    targets: &[Target],
    with_gradient: bool,
) -> Result<(Vec<f32>, Option<Buf<T>>)> {
    let (dim, vocab) = (h.cols(), head.weight.rows());
    let weight = head.weight;
    let rows = rows_per_task(targets.len());
    let mut nll = vec![0.0_f32; targets.len()];
    let tasks = h.as_mut_slice().par_chunks_mut(rows * dim).zip(nll.par_chunks_mut(rows));
    tasks.zip(targets.par_chunks(rows)).try_for_each(|((mine, nll), targets)| -> Result<()> {
        let mut logits = pool.stale(targets.len(), vocab)?;
        let rows = MatRef::from_row_major_slice(mine, targets.len(), dim);
        weight.forward(pool, logits.mat_mut(), rows, 1)?;
        simd(
            #[inline(always)]
            || {
                let mut capped = Vec::new();
                let rows = logits.as_mut_slice().chunks_exact_mut(vocab);
                for ((row, target), nll) in rows.zip(targets).zip(nll) {
                    let Some(cap) = head.softcap else {
                        *nll = row_loss(row, target);
                        continue;
                    };
                    soft_cap(row, cap);
                    capped.clear();
                    capped.extend_from_slice(row);
                    *nll = row_loss(row, target);
                    soft_cap_backward(row, &capped, cap);
                }
            },
        );
        if with_gradient {
            let into = MatMut::from_row_major_slice_mut(mine, targets.len(), dim);
            weight.backward(pool, into, logits.mat(), 1)?;
        }
        Ok(())
    })?;
    Ok((nll, with_gradient.then_some(h)))
}

/// The loss of one row; its logits become their gradients.
#[inline(always)]
fn row_loss<T: Real>(row: &mut [T], target: &Target) -> f32 {
    let max = largest(row);
    let logit = row[target.token as usize] - max;
    for x in row.iter_mut() {
        *x = (*x - max).exp();
    }
    let sum = sum(row);
    let factor = T::from_f64(f64::from(target.weight)) / sum;
    for x in row.iter_mut() {
        *x *= factor;
    }
    row[target.token as usize] += T::from_f64(-f64::from(target.weight));
    (sum.to_f64().ln() - logit.to_f64()) as f32
}
