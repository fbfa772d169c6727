//! RMS norm, forward and backward. N rows, D columns.

use rayon::prelude::*;

use crate::real::{Real, dot, rows_per_task, simd};

/// `inv[n] = 1 / sqrt(mean_d x[n,d]^2 + eps)`, `y[n,d] = x[n,d] * inv[n] * w[d]`
pub fn forward<T: Real>(y: &mut [T], inv: &mut [T], x: &[T], w: &[T], eps: T) {
    let cols = w.len();
    let rows = rows_per_task(inv.len(), cols);
    let tasks = y.par_chunks_mut(rows * cols).zip(inv.par_chunks_mut(rows));
    tasks.zip(x.par_chunks(rows * cols)).for_each(|((y, inv), x)| {
        simd(
            #[inline(always)]
            || {
                for ((y, inv), x) in y.chunks_exact_mut(cols).zip(inv).zip(x.chunks_exact(cols)) {
                    *inv = inverse_rms(x, eps);
                    for ((y, x), w) in y.iter_mut().zip(x).zip(w) {
                        *y = *x * *inv * *w;
                    }
                }
            },
        );
    });
}

/// With `g = dy * w`: `dx[n,d] += inv[n] * (g[n,d] - x[n,d] * inv[n]^2 * mean_d(g[n,d] x[n,d]))`
pub fn backward<T: Real>(dx: &mut [T], dy: &[T], x: &[T], inv: &[T], w: &[T]) {
    let cols = w.len();
    let rows = rows_per_task(inv.len(), cols);
    let tasks = dx.par_chunks_mut(rows * cols).zip(dy.par_chunks(rows * cols));
    tasks.zip(x.par_chunks(rows * cols)).zip(inv.par_chunks(rows)).for_each(
        |(((dx, dy), x), inv)| {
            simd(
                #[inline(always)]
                || {
                    let mut g = vec![T::default(); cols];
                    let rows = dx.chunks_exact_mut(cols).zip(dy.chunks_exact(cols));
                    for (((dx, dy), x), inv) in rows.zip(x.chunks_exact(cols)).zip(inv) {
                        for ((g, dy), w) in g.iter_mut().zip(dy).zip(w) {
                            *g = *dy * *w;
                        }
                        let along_x = *inv * *inv * dot(&g, x) / T::from_f64(cols as f64);
                        for ((dx, g), x) in dx.iter_mut().zip(&g).zip(x) {
                            *dx += *inv * (*g - *x * along_x);
                        }
                    }
                },
            );
        },
    );
}

/// `1 / sqrt(mean(x^2) + eps)`
#[inline(always)]
pub fn inverse_rms<T: Real>(x: &[T], eps: T) -> T {
    T::from_f64(1.0) / (dot(x, x) / T::from_f64(x.len() as f64) + eps).root()
}

/// RMS norm of each head of `row`, in place; all heads share `w`.
#[inline(always)]
pub fn heads_forward<T: Real>(row: &mut [T], w: &[T], eps: T) {
    for head in row.chunks_exact_mut(w.len()) {
        let inv = inverse_rms(head, eps);
        for (x, w) in head.iter_mut().zip(w) {
            *x = *x * inv * *w;
        }
    }
}

/// Gradient of [`heads_forward`], in place on `d`; `x` is its input.
#[inline(always)]
pub fn heads_backward<T: Real>(d: &mut [T], x: &[T], w: &[T], eps: T) {
    for (d, x) in d.chunks_exact_mut(w.len()).zip(x.chunks_exact(w.len())) {
        let inv = inverse_rms(x, eps);
        for (d, w) in d.iter_mut().zip(w) {
            *d *= *w;
        }
        let along_x = inv * inv * dot(d, x) / T::from_f64(w.len() as f64);
        for (d, x) in d.iter_mut().zip(x) {
            *d = inv * (*d - *x * along_x);
        }
    }
}
