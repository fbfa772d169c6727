//! `y = silu(gate) * up`, forward and backward. N rows; `gate_up` has 2F columns, gate first.

use rayon::prelude::*;

use super::real::{Real, rows_per_task, simd};

#[inline(always)]
fn sigmoid<T: Real>(x: T) -> T {
    let one = T::from_f64(1.0);
    one / (one + (-x).exp())
}

/// Values computed at a time: local copies of this many show the compiler that nothing overlaps,
/// without which the loop does not vectorise.
const LANES: usize = 16;

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
    let rows = rows_per_task(dy.len() / ffn, 2 * ffn);
    gate_up.par_chunks_mut(rows * 2 * ffn).zip(dy.par_chunks(rows * ffn)).for_each(|(gu, dy)| {
        simd(
            #[inline(always)]
            || {
                for (gu, dy) in gu.chunks_exact_mut(2 * ffn).zip(dy.chunks_exact(ffn)) {
                    let (gate, up) = gu.split_at_mut(ffn);
                    backward_row(gate, up, dy);
                }
            },
        );
    });
}

#[inline(always)]
fn backward_row<T: Real>(gate: &mut [T], up: &mut [T], dy: &[T]) {
    let (gates, gate_tail) = gate.as_chunks_mut::<LANES>();
    let (ups, up_tail) = up.as_chunks_mut::<LANES>();
    let (dys, dy_tail) = dy.as_chunks::<LANES>();
    for ((gate, up), dy) in gates.iter_mut().zip(ups).zip(dys) {
        let (mut g, mut u, dy) = (*gate, *up, *dy);
        for lane in 0..LANES {
            (g[lane], u[lane]) = backward_one(g[lane], u[lane], dy[lane]);
        }
        (*gate, *up) = (g, u);
    }
    for ((g, u), dy) in gate_tail.iter_mut().zip(up_tail).zip(dy_tail) {
        (*g, *u) = backward_one(*g, *u, *dy);
    }
}

/// `(dgate, dup)`
#[inline(always)]
fn backward_one<T: Real>(g: T, u: T, dy: T) -> (T, T) {
    let s = sigmoid(g);
    let silu = g * s;
    (dy * u * (s + silu * (T::from_f64(1.0) - s)), dy * silu)
}
