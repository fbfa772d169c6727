//! Rotary position embedding in Llama's half-split form. E head size, P columns of it rotated.

use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use crate::backend::AttentionShape;
use crate::real::{Real, rows_per_task, simd};

/// Cosines and sines of `position * frequency`, computed once and kept.
#[derive(Debug, Default)]
pub struct Table<T> {
    /// Latest last.
    cached: Mutex<Vec<Arc<Angles<T>>>>,
}

/// As many sets of frequencies as one step asks for: blocks with and without a window, and some
/// lengths of sequences where frequencies depend on them.
const KEPT: usize = 8;

/// For each position P/2 cosines, then P/2 sines.
#[derive(Debug)]
pub struct Angles<T> {
    frequencies: Vec<f64>,
    amplitude: f64,
    positions: usize,
    values: Vec<T>,
}

impl<T: Real> Table<T> {
    /// Angles of at least the positions `0..positions`; cosines and sines times `amplitude`.
    pub fn angles(&self, frequencies: &[f64], amplitude: f64, positions: usize) -> Arc<Angles<T>> {
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |a: &Angles<T>| a.frequencies == frequencies && a.amplitude == amplitude;
        if let Some(angles) = cached.iter().find(|a| same(a) && a.positions >= positions) {
            return Arc::clone(angles);
        }
        let positions = positions.next_power_of_two().max(128);
        let values = (0..positions)
            .flat_map(|p| {
                let angle = move |f: &f64| p as f64 * f;
                let scaled = move |x: f64| T::from_f64(amplitude * x);
                let cosines = frequencies.iter().map(move |f| scaled(angle(f).cos()));
                cosines.chain(frequencies.iter().map(move |f| scaled(angle(f).sin())))
            })
            .collect();
        let frequencies = frequencies.to_vec();
        let angles = Arc::new(Angles { frequencies, amplitude, positions, values });
        cached.retain(|a| !(a.frequencies == angles.frequencies && a.amplitude == amplitude));
        if cached.len() == KEPT {
            cached.remove(0);
        }
        cached.push(Arc::clone(&angles));
        angles
    }
}

/// For each pair `(a, b) = (x[i], x[i + P/2])` of every query and key head:
/// `a' = a cos - b sin`, `b' = b cos + a sin`. The inverse has `-sin`.
pub fn rotate<T: Real>(
    qkv: &mut [T],
    shape: AttentionShape,
    positions: &[u32],
    angles: &Angles<T>,
    inverse: bool,
) {
    let (cols, half) = (shape.qkv_columns(), angles.frequencies.len());
    let rotated = shape.q_columns() + shape.kv_columns();
    let sign = T::from_f64(if inverse { -1.0 } else { 1.0 });
    let rows = rows_per_task(positions.len(), cols);
    qkv.par_chunks_mut(rows * cols).zip(positions.par_chunks(rows)).for_each(|(qkv, positions)| {
        simd(
            #[inline(always)]
            || {
                for (row, position) in qkv.chunks_exact_mut(cols).zip(positions) {
                    let at = *position as usize * 2 * half;
                    let (cos, sin) = angles.values[at..at + 2 * half].split_at(half);
                    for head in row[..rotated].chunks_exact_mut(shape.head_dim) {
                        let (first, second) = head[..2 * half].split_at_mut(half);
                        for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                            let (x, y, sin) = (*a, *b, sign * *sin);
                            *a = x * *cos - y * sin;
                            *b = y * *cos + x * sin;
                        }
                    }
                }
            },
        );
    });
}
