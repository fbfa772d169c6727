//! `DoRA`: each output has a trained magnitude, and `W + s B A` gives its direction alone.
//!
//! `y = g ∘ v + b` with `v = W x + s B A x` and `g = m / |W + s B A|`, row by row; the norm counts as
//! a constant in the backward pass (Liu et al. 2024, arXiv:2402.09353, eq. 5 and 11; PEFT does so,
//! too). Letters: n rows of a slot, I in, O out.

use std::ops::Range;
use std::sync::Arc;

use faer::Accum;
use rayon::prelude::*;

use super::buffer::{Buf, Pool};
use super::gemm::gemm;
use super::lora::{a, b};
use super::weight::Weight;
use crate::backend::{Linear, LoraPath, Site, gradients_of};
use crate::error::Result;
use crate::real::{Real, dot, simd};

/// Rows of `W + s B A` that exist at a time.
const ROWS: usize = 64;

type Path<'a, T> = LoraPath<'a, Buf<T>>;

/// What the backward pass of one path needs.
#[derive(Debug)]
pub struct Saved<T: Real> {
    /// v, `[n, O]`.
    directions: Buf<T>,
    /// `|W + s B A|` of each output, `[1, O]`.
    norms: Buf<T>,
    /// g, `[1, O]`.
    factors: Buf<T>,
}

fn magnitudes<'a, T: Real>(path: &Path<'a, T>, outputs: usize) -> &'a [T] {
    let begin = path.magnitude.unwrap_or_default();
    &path.params.as_slice()[begin..begin + outputs]
}

/// The Euclidean norms of the rows `cols` of `W + s B A`, `[1, O]`.
pub fn norms<T: Real>(
    pool: &Arc<Pool<T>>,
    weight: &Weight<T>,
    cols: &Range<usize>,
    path: &Path<'_, T>,
) -> Result<Buf<T>> {
    let inputs = weight.cols();
    let mut norms = pool.stale(1, cols.len())?;
    let tasks = norms.as_mut_slice().par_chunks_mut(ROWS).enumerate();
    tasks.try_for_each(|(task, norms)| -> Result<()> {
        let first = task * ROWS;
        let mut sums = pool.stale(norms.len(), inputs)?;
        let mut row = pool.stale(1, inputs)?;
        let b = b(path, cols.len()).subrows(first, norms.len());
        let scale = T::from_f64(path.scale);
        gemm(sums.mat_mut(), Accum::Replace, b, a(path, inputs), scale);
        let sums = sums.as_mut_slice().chunks_exact_mut(inputs);
        for (i, (norm, sum)) in norms.iter_mut().zip(sums).enumerate() {
            weight.row(cols.start + first + i, row.as_mut_slice());
            let row = row.as_slice();
            *norm = simd(
                #[inline(always)]
                || {
                    for (sum, w) in sum.iter_mut().zip(row) {
                        *sum += *w;
                    }
                    dot(sum, sum)
                },
            )
            .root();
        }
        Ok(())
    })?;
    Ok(norms)
}

/// The paths of a site that have magnitudes.
fn scaled<'s, 'a, T: Real>(site: &'s Site<'a, Buf<T>>) -> impl Iterator<Item = &'s Path<'a, T>> {
    site.paths.iter().filter(|path| path.magnitude.is_some())
}

/// From `v + b` in the paths' rows of `y[:, cols]` to `g ∘ v + b`.
pub fn forward<T: Real>(
    pool: &Arc<Pool<T>>,
    y: &mut Buf<T>,
    layer: &Linear<Weight<T>, Buf<T>>,
    site: &Site<'_, Buf<T>>,
) -> Result<Vec<Saved<T>>> {
    let cols = &site.columns;
    let bias = layer.bias.as_ref().map(|bias| &bias.as_slice()[cols.clone()]);
    let width = y.cols();
    let mut saved = Vec::new();
    for path in scaled(site) {
        let norms = norms(pool, &layer.weight, cols, path)?;
        let mut directions = pool.stale(path.rows.len(), cols.len())?;
        let rows = y.as_mut_slice()[path.rows.start * width..path.rows.end * width]
            .chunks_exact_mut(width);
        let mut factors = pool.stale(1, cols.len())?;
        let of_output = magnitudes(path, cols.len()).iter().zip(norms.as_slice());
        for (g, (m, norm)) in factors.as_mut_slice().iter_mut().zip(of_output) {
            *g = *m / *norm;
        }
        let g = factors.as_slice();
        for (row, v) in rows.zip(directions.as_mut_slice().chunks_exact_mut(cols.len())) {
            let y = &mut row[cols.clone()];
            simd(
                #[inline(always)]
                || {
                    if let Some(bias) = bias {
                        for (y, b) in y.iter_mut().zip(bias) {
                            *y -= *b;
                        }
                    }
                    v.copy_from_slice(y);
                    for (y, g) in y.iter_mut().zip(g) {
                        *y *= *g;
                    }
                    if let Some(bias) = bias {
                        for (y, b) in y.iter_mut().zip(bias) {
                            *y += *b;
                        }
                    }
                },
            );
        }
        saved.push(Saved { directions, norms, factors });
    }
    Ok(saved)
}

/// `dm += sum over rows of dy ∘ v / |W + s B A|`, and from dy to the gradient of v, `g ∘ dy`.
pub fn backward<T: Real>(
    dy: &mut Buf<T>,
    saved: &[Saved<T>],
    site: &Site<'_, Buf<T>>,
    grads: &mut [&mut Buf<T>],
) {
    let (cols, width) = (&site.columns, dy.cols());
    let grads = gradients_of(grads, scaled(site).map(|path| path.adapter));
    for ((path, saved), grad) in scaled(site).zip(saved).zip(grads) {
        let (g, norms) = (saved.factors.as_slice(), saved.norms.as_slice());
        let begin = path.magnitude.unwrap_or_default();
        let dm = &mut grad.as_mut_slice()[begin..begin + cols.len()];
        let rows = dy.as_mut_slice()[path.rows.start * width..path.rows.end * width]
            .chunks_exact_mut(width);
        for (row, v) in rows.zip(saved.directions.as_slice().chunks_exact(cols.len())) {
            let dy = &mut row[cols.clone()];
            simd(
                #[inline(always)]
                || {
                    let of_output = dy.iter_mut().zip(v).zip(g).zip(norms).zip(dm.iter_mut());
                    for ((((dy, v), g), norm), dm) in of_output {
                        *dm += *dy * *v / *norm;
                        *dy *= *g;
                    }
                },
            );
        }
    }
}
