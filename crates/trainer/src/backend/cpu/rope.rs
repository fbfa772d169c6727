//! Rotary position embedding in Llama's half-split form. E head size.

use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use super::real::{Real, rows_per_task, simd};
use crate::backend::AttentionShape;

/// Cosines and sines of `position * frequency`, computed once and kept.
#[derive(Debug, Default)]
pub struct Table<T> {
    cached: Mutex<Option<Arc<Angles<T>>>>,
}

/// For each position E/2 cosines, then E/2 sines.
#[derive(Debug)]
pub struct Angles<T> {
    frequencies: Vec<f64>,
    positions: usize,
    values: Vec<T>,
}

impl<T: Real> Table<T> {
    /// Angles of at least the positions `0..positions`.
    pub fn angles(&self, frequencies: &[f64], positions: usize) -> Arc<Angles<T>> {
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(angles) = cached.as_ref()
            && angles.positions >= positions
            && angles.frequencies == frequencies
        {
            return Arc::clone(angles);
        }
        let positions = positions.next_power_of_two().max(128);
        let values = (0..positions)
            .flat_map(|p| {
                let angle = move |f: &f64| p as f64 * f;
                let cosines = frequencies.iter().map(move |f| T::from_f64(angle(f).cos()));
                cosines.chain(frequencies.iter().map(move |f| T::from_f64(angle(f).sin())))
            })
            .collect();
        let angles = Arc::new(Angles { frequencies: frequencies.to_vec(), positions, values });
        *cached = Some(Arc::clone(&angles));
        angles
    }
}

/// For each pair `(a, b) = (x[i], x[i + E/2])` of every query and key head:
/// `a' = a cos - b sin`, `b' = b cos + a sin`. The inverse has `-sin`.
pub fn rotate<T: Real>(
    qkv: &mut [T],
    shape: AttentionShape,
    positions: &[u32],
    angles: &Angles<T>,
    inverse: bool,
) {
    let (cols, half) = (shape.qkv_columns(), shape.head_dim / 2);
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
                    for head in row[..rotated].chunks_exact_mut(2 * half) {
                        let (first, second) = head.split_at_mut(half);
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
