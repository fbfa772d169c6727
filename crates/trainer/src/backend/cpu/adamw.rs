//! `AdamW` over one slot's values (Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2, with
//! the bias corrections placed as in PyTorch), and the norm of its gradient.

use rayon::prelude::*;

use crate::backend::AdamWStep;
use crate::real::{Real, dot, simd};

const VALUES_PER_TASK: usize = 32 * 1024;

/// The Euclidean norm, added up in double precision, chunk after chunk, whichever thread computes
/// them.
pub fn norm<T: Real>(x: &[T]) -> f64 {
    let square = |chunk: &[T]| {
        simd(
            #[inline(always)]
            || dot(chunk, chunk),
        )
    };
    let squares: Vec<T> = x.par_chunks(4096).with_min_len(8).map(square).collect();
    squares.into_iter().map(Real::to_f64).sum::<f64>().sqrt()
}

/// What a step reads and writes, all of one length.
pub struct Values<'a, T> {
    pub params: &'a mut [T],
    pub grad: &'a mut [T],
    pub first: &'a mut [T],
    pub second: &'a mut [T],
}

/// With `g` the scaled gradient:
/// `m = b1 m + (1 - b1) g`, `v = b2 v + (1 - b2) g^2`,
/// `p = p (1 - lr wd) - lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps)`, where `lr` is
/// multiplied by the value's factor, if there are factors. Zeroes the gradient.
pub fn step<T: Real>(values: Values<'_, T>, factors: Option<&[T]>, s: &AdamWStep) {
    let chunk = VALUES_PER_TASK;
    let Values { params, grad, first, second } = values;
    let tasks = params
        .par_chunks_mut(chunk)
        .zip(grad.par_chunks_mut(chunk))
        .zip(first.par_chunks_mut(chunk))
        .zip(second.par_chunks_mut(chunk));
    let constants = Constants::new(s);
    match factors {
        None => tasks.for_each(|(((params, grad), first), second)| {
            constants.update(
                Values { params, grad, first, second },
                std::iter::repeat(T::from_f64(1.0)),
            );
        }),
        Some(factors) => {
            let tasks = tasks.zip(factors.par_chunks(chunk));
            tasks.for_each(|((((params, grad), first), second), factors)| {
                constants.update(Values { params, grad, first, second }, factors.iter().copied());
            });
        }
    }
}

/// The constants of a step in the numbers of the values.
struct Constants<T> {
    b1: T,
    b2: T,
    c1: T,
    c2: T,
    decay: T,
    rate: T,
    inverse_root: T,
    eps: T,
    scale: T,
}

impl<T: Real> Constants<T> {
    fn new(s: &AdamWStep) -> Self {
        let t = f64::from(s.step);
        let real = T::from_f64;
        Self {
            b1: real(s.beta1),
            b2: real(s.beta2),
            c1: real(1.0 - s.beta1),
            c2: real(1.0 - s.beta2),
            decay: real(s.learning_rate * s.weight_decay),
            rate: real(s.learning_rate / (1.0 - s.beta1.powf(t))),
            inverse_root: real(1.0 / (1.0 - s.beta2.powf(t)).sqrt()),
            eps: real(s.epsilon),
            scale: real(s.grad_scale),
        }
    }

    #[inline(always)]
    fn update(&self, values: Values<'_, T>, factors: impl Iterator<Item = T>) {
        let one = T::from_f64(1.0);
        let Values { params, grad, first, second } = values;
        simd(
            #[inline(always)]
            || {
                let values = params.iter_mut().zip(grad).zip(first).zip(second);
                for ((((p, g), m), v), factor) in values.zip(factors) {
                    let grad = *g * self.scale;
                    *m = self.b1 * *m + self.c1 * grad;
                    *v = self.b2 * *v + self.c2 * grad * grad;
                    let step = self.rate * *m / (v.root() * self.inverse_root + self.eps);
                    *p = *p * (one - factor * self.decay) - factor * step;
                    *g = T::default();
                }
            },
        );
    }
}
