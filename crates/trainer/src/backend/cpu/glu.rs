//! `y = f(gate) * up`, forward and backward. N rows; `gate_up` has 2F columns, gate first.
//!
//! Both functions are `f(x) = x sigmoid(u(x))`: `u = x` for `SiLU`, and for `GELU` in its tanh form
//! `u = sqrt(8/pi) (x + 0.044715 x^3)`, because `(1 + tanh(z)) / 2 = sigmoid(2 z)`.

use rayon::prelude::*;

use crate::backend::Activation;
use crate::real::{Real, rows_per_task, simd};

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

/// [`forward`], with what the backward pass multiplies written over `gate_up`: with
/// `s = sigmoid(u(gate))` the factors of dy in `dgate`, `up s (1 + gate (1 - s) u'(gate))`, and in
/// `dup`, `gate s`.
pub fn forward_with_slopes<T: Real>(
    y: &mut [T],
    gate_up: &mut [T],
    ffn: usize,
    activation: Activation,
) {
    let one = T::from_f64(1.0);
    match activation {
        Activation::Silu => map_with_slopes(
            y,
            gate_up,
            ffn,
            #[inline(always)]
            |g| {
                let s = sigmoid(g);
                let silu = g * s;
                (silu, s + silu * (one - s))
            },
        ),
        Activation::GeluTanh => map_with_slopes(
            y,
            gate_up,
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
fn map_with_slopes<T: Real>(
    y: &mut [T],
    gate_up: &mut [T],
    ffn: usize,
    f: impl Fn(T) -> (T, T) + Sync,
) {
    let rows = rows_per_task(y.len() / ffn, 2 * ffn);
    y.par_chunks_mut(rows * ffn).zip(gate_up.par_chunks_mut(rows * 2 * ffn)).for_each(|(y, gu)| {
        simd(
            #[inline(always)]
            || {
                for (y, gu) in y.chunks_exact_mut(ffn).zip(gu.chunks_exact_mut(2 * ffn)) {
                    let (gate, up) = gu.split_at_mut(ffn);
                    row_with_slopes(y, gate, up, &f);
                }
            },
        );
    });
}

#[inline(always)]
fn row_with_slopes<T: Real>(y: &mut [T], gate: &mut [T], up: &mut [T], f: &impl Fn(T) -> (T, T)) {
    let (ys, y_tail) = y.as_chunks_mut::<LANES>();
    let (gates, gate_tail) = gate.as_chunks_mut::<LANES>();
    let (ups, up_tail) = up.as_chunks_mut::<LANES>();
    for ((y, gate), up) in ys.iter_mut().zip(gates).zip(ups) {
        let (mut products, mut g, mut u) = ([T::default(); LANES], *gate, *up);
        for lane in 0..LANES {
            (products[lane], g[lane], u[lane]) = one_with_slopes(g[lane], u[lane], f);
        }
        (*y, *gate, *up) = (products, g, u);
    }
    for ((y, g), u) in y_tail.iter_mut().zip(gate_tail).zip(up_tail) {
        (*y, *g, *u) = one_with_slopes(*g, *u, f);
    }
}

/// `(f(g) u, f'(g) u, f(g))`
#[inline(always)]
fn one_with_slopes<T: Real>(g: T, u: T, f: &impl Fn(T) -> (T, T)) -> (T, T, T) {
    let (value, slope) = f(g);
    (value * u, slope * u, value)
}

/// `[dgate | dup] = [dy | dy] * slopes`, written over the slopes.
pub fn backward<T: Real>(slopes: &mut [T], dy: &[T], ffn: usize) {
    let rows = rows_per_task(dy.len() / ffn, 2 * ffn);
    slopes.par_chunks_mut(rows * 2 * ffn).zip(dy.par_chunks(rows * ffn)).for_each(
        |(slopes, dy)| {
            simd(
                #[inline(always)]
                || {
                    for (slopes, dy) in slopes.chunks_exact_mut(2 * ffn).zip(dy.chunks_exact(ffn)) {
                        for half in slopes.chunks_exact_mut(ffn) {
                            for (slope, dy) in half.iter_mut().zip(dy) {
                                *slope *= *dy;
                            }
                        }
                    }
                },
            );
        },
    );
}
