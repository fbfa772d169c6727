//! `AdamW` over one slot's values (Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2, with
//! the bias corrections placed as in PyTorch).

use rayon::prelude::*;

use super::real::{Real, simd};
use crate::backend::AdamWStep;

const VALUES_PER_TASK: usize = 32 * 1024;

/// With `g` the scaled gradient:
/// `m = b1 m + (1 - b1) g`, `v = b2 v + (1 - b2) g^2`,
/// `p = p (1 - lr wd) - lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps)`. Zeroes the gradient.
pub fn step<T: Real>(
    params: &mut [T],
    grad: &mut [T],
    first: &mut [T],
    second: &mut [T],
    s: &AdamWStep,
) {
    let t = f64::from(s.step);
    let real = T::from_f64;
    let (b1, b2) = (real(s.beta1), real(s.beta2));
    let (c1, c2) = (real(1.0 - s.beta1), real(1.0 - s.beta2));
    let decay = real(1.0 - s.learning_rate * s.weight_decay);
    let rate = real(s.learning_rate / (1.0 - s.beta1.powf(t)));
    let inverse_root = real(1.0 / (1.0 - s.beta2.powf(t)).sqrt());
    let (eps, scale) = (real(s.epsilon), real(s.grad_scale));
    let tasks = params
        .par_chunks_mut(VALUES_PER_TASK)
        .zip(grad.par_chunks_mut(VALUES_PER_TASK))
        .zip(first.par_chunks_mut(VALUES_PER_TASK))
        .zip(second.par_chunks_mut(VALUES_PER_TASK));
    tasks.for_each(|(((p, g), m), v)| {
        simd(
            #[inline(always)]
            || {
                for (((p, g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
                    let grad = *g * scale;
                    *m = b1 * *m + c1 * grad;
                    *v = b2 * *v + c2 * grad * grad;
                    *p = *p * decay - rate * *m / (v.root() * inverse_root + eps);
                    *g = T::default();
                }
            },
        );
    });
}
