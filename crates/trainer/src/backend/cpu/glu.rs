//! `y = f(gate) * up`, forward and backward. N rows; `gate_up` has 2F columns, gate first.
//!
//! Both functions are `f(x) = x sigmoid(u(x))`: `u = x` for `SiLU`, and for `GELU` in its tanh form
//! `u = sqrt(8/pi) (x + 0.044715 x^3)`, because `(1 + tanh(z)) / 2 = sigmoid(2 z)`.

use rayon::prelude::*;

use super::real::{Real, rows_per_task, simd};
use crate::backend::Activation;

const GELU_CUBE: f64 = 0.044_715;
/// `sqrt(8 / pi)`
const GELU_SCALE: f64 = 1.595_769_121_605_730_7;

/// Values computed at a time: local copies of this many show the compiler that nothing overlaps,
/// without which the loop does not vectorise.
const LANES: usize = 16;

#[inline(always)]
fn sigmoid<T: Real>(x: T) -> T {
    let one = T::from_f64(1.0);
    one / (one + (-x).exp())
}

/// `u(x)` of `GELU`.
#[inline(always)]
fn gelu_inner<T: Real>(x: T) -> T {
    x * (T::from_f64(GELU_SCALE) + T::from_f64(GELU_SCALE * GELU_CUBE) * x * x)
}

/// `u'(x)` of `GELU`.
#[inline(always)]
fn gelu_inner_slope<T: Real>(x: T) -> T {
    T::from_f64(GELU_SCALE) + T::from_f64(3.0 * GELU_SCALE * GELU_CUBE) * x * x
}

/// `y[n,f] = f(gate[n,f]) * up[n,f]`
pub fn forward<T: Real>(y: &mut [T], gate_up: &[T], ffn: usize, activation: Activation) {
    match activation {
        Activation::Silu => map(
            y,
            gate_up,
            ffn,
            #[inline(always)]
            |g| g * sigmoid(g),
        ),
        Activation::GeluTanh => map(
            y,
            gate_up,
            ffn,
            #[inline(always)]
            |g| g * sigmoid(gelu_inner(g)),
        ),
    }
}

#[inline(always)]
fn map<T: Real>(y: &mut [T], gate_up: &[T], ffn: usize, f: impl Fn(T) -> T + Sync) {
    let rows = rows_per_task(y.len() / ffn, 2 * ffn);
    y.par_chunks_mut(rows * ffn).zip(gate_up.par_chunks(rows * 2 * ffn)).for_each(|(y, gu)| {
        simd(
            #[inline(always)]
            || {
                for (y, gu) in y.chunks_exact_mut(ffn).zip(gu.chunks_exact(2 * ffn)) {
                    let (gate, up) = gu.split_at(ffn);
                    for ((y, g), u) in y.iter_mut().zip(gate).zip(up) {
                        *y = f(*g) * *u;
                    }
                }
            },
        );
    });
}

/// With `s = sigmoid(u(gate))`: `dgate = dy * up * s * (1 + gate * (1 - s) * u'(gate))`,
/// `dup = dy * gate * s`, both written over `gate_up`.
pub fn backward<T: Real>(gate_up: &mut [T], dy: &[T], ffn: usize, activation: Activation) {
    let one = T::from_f64(1.0);
    match activation {
        Activation::Silu => map_backward(
            gate_up,
            dy,
            ffn,
            #[inline(always)]
            |g| {
                let s = sigmoid(g);
                let silu = g * s;
                (silu, s + silu * (one - s))
            },
        ),
        Activation::GeluTanh => map_backward(
            gate_up,
            dy,
            ffn,
            #[inline(always)]
            |g| {
                let s = sigmoid(gelu_inner(g));
                let gelu = g * s;
                (gelu, s + gelu * (one - s) * gelu_inner_slope(g))
            },
        ),
    }
}

/// `f` gives the value and the slope of the function.
#[inline(always)]
fn map_backward<T: Real>(gate_up: &mut [T], dy: &[T], ffn: usize, f: impl Fn(T) -> (T, T) + Sync) {
    let rows = rows_per_task(dy.len() / ffn, 2 * ffn);
    gate_up.par_chunks_mut(rows * 2 * ffn).zip(dy.par_chunks(rows * ffn)).for_each(|(gu, dy)| {
        simd(
            #[inline(always)]
            || {
                for (gu, dy) in gu.chunks_exact_mut(2 * ffn).zip(dy.chunks_exact(ffn)) {
                    let (gate, up) = gu.split_at_mut(ffn);
                    backward_row(gate, up, dy, &f);
                }
            },
        );
    });
}

#[inline(always)]
fn backward_row<T: Real>(gate: &mut [T], up: &mut [T], dy: &[T], f: &impl Fn(T) -> (T, T)) {
    let (gates, gate_tail) = gate.as_chunks_mut::<LANES>();
    let (ups, up_tail) = up.as_chunks_mut::<LANES>();
    let (dys, dy_tail) = dy.as_chunks::<LANES>();
    for ((gate, up), dy) in gates.iter_mut().zip(ups).zip(dys) {
        let (mut g, mut u, dy) = (*gate, *up, *dy);
        for lane in 0..LANES {
            (g[lane], u[lane]) = backward_one(g[lane], u[lane], dy[lane], f);
        }
        (*gate, *up) = (g, u);
    }
    for ((g, u), dy) in gate_tail.iter_mut().zip(up_tail).zip(dy_tail) {
        (*g, *u) = backward_one(*g, *u, *dy, f);
    }
}

/// `(dgate, dup)`
#[inline(always)]
fn backward_one<T: Real>(g: T, u: T, dy: T, f: &impl Fn(T) -> (T, T)) -> (T, T) {
    let (value, slope) = f(g);
    (dy * u * slope, dy * value)
}
