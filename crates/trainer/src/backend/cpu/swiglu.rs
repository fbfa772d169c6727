//! `y = silu(gate) * up`, forward and backward. N rows; `gate_up` has 2F columns, gate first.

use rayon::prelude::*;

use super::real::{Real, rows_per_task, simd};

#[inline(always)]
fn sigmoid<T: Real>(x: T) -> T {
    let one = T::from_f64(1.0);
    one / (one + (-x).exp())
}

/// `y[n,f] = gate[n,f] * sigmoid(gate[n,f]) * up[n,f]`
pub fn forward<T: Real>(y: &mut [T], gate_up: &[T], ffn: usize) {
    let rows = rows_per_task(y.len() / ffn, 2 * ffn);
    y.par_chunks_mut(rows * ffn).zip(gate_up.par_chunks(rows * 2 * ffn)).for_each(|(y, gu)| {
        simd(
            #[inline(always)]
            || {
                for (y, gu) in y.chunks_exact_mut(ffn).zip(gu.chunks_exact(2 * ffn)) {
                    let (gate, up) = gu.split_at(ffn);
                    for ((y, g), u) in y.iter_mut().zip(gate).zip(up) {
                        *y = *g * sigmoid(*g) * *u;
                    }
                }
            },
        );
    });
}

/// With `s = sigmoid(gate)`: `dgate = dy * up * s * (1 + gate * (1 - s))`, `dup = dy * gate * s`,
/// both written over `gate_up`.
pub fn backward<T: Real>(gate_up: &mut [T], dy: &[T], ffn: usize) {
    let one = T::from_f64(1.0);
    let rows = rows_per_task(dy.len() / ffn, 2 * ffn);
    gate_up.par_chunks_mut(rows * 2 * ffn).zip(dy.par_chunks(rows * ffn)).for_each(|(gu, dy)| {
        simd(
            #[inline(always)]
            || {
                for (gu, dy) in gu.chunks_exact_mut(2 * ffn).zip(dy.chunks_exact(ffn)) {
                    let (gate, up) = gu.split_at_mut(ffn);
                    for ((g, u), dy) in gate.iter_mut().zip(up).zip(dy) {
                        let s = sigmoid(*g);
                        let silu = *g * s;
                        *g = *dy * *u * (s + silu * (one - s));
                        *u = *dy * silu;
                    }
                }
            },
        );
    });
}
