//! Causal attention of variable-length sequences, without a T x T matrix per head.
//!
//! Letters: T tokens of a sequence, H query heads, K key/value heads, E head size. One task is
//! one (sequence, key/value head) with its H/K query heads, so each task owns its gradients of
//! k and v. A task walks over blocks of query rows and looks only at keys up to its own row.

use std::ops::Range;

use faer::prelude::ReborrowMut;
use faer::{Accum, MatMut, MatRef};
use rayon::prelude::*;

use super::gemm::{gemm, split_cols, split_rows};
use super::real::{Real, dot, simd};
use crate::backend::AttentionShape;

/// Query rows whose scores exist at a time.
const BLOCK: usize = 64;

/// What a task reads: the columns of one key/value head in one sequence.
struct Head<'a, T> {
    q: MatRef<'a, T>,
    k: MatRef<'a, T>,
    v: MatRef<'a, T>,
}

/// Tasks in the order sequence, then key/value head.
fn tasks(sequences: &[Range<usize>], kv_heads: usize) -> Vec<(Range<usize>, usize)> {
    sequences.iter().flat_map(|s| (0..kv_heads).map(|g| (s.clone(), g))).collect()
}

fn head<'a, T: Real>(
    qkv: MatRef<'a, T>,
    shape: AttentionShape,
    rows: &Range<usize>,
    group: usize,
) -> Head<'a, T> {
    let per_group = shape.q_columns() / shape.kv_heads;
    let e = shape.head_dim;
    let sequence = qkv.subrows(rows.start, rows.len());
    Head {
        q: sequence.subcols(group * per_group, per_group),
        k: sequence.subcols(shape.q_columns() + group * e, e),
        v: sequence.subcols(shape.q_columns() + shape.kv_columns() + group * e, e),
    }
}

/// For each query row i and head: `s_j = q_i k_j / sqrt(E)` for `j <= i`, `p = softmax(s)`,
/// `out_i = sum_j p_j v_j`; `lse_i = log sum_j exp(s_j)`. `out` is `[N, H E]`, `lse` `[N, H]`.
pub fn forward<T: Real>(
    out: MatMut<'_, T>,
    lse: MatMut<'_, T>,
    qkv: MatRef<'_, T>,
    shape: AttentionShape,
    sequences: &[Range<usize>],
) {
    let per_group = shape.heads / shape.kv_heads;
    let outs = split_tasks(out, sequences, shape.kv_heads, per_group * shape.head_dim);
    let lses = split_tasks(lse, sequences, shape.kv_heads, per_group);
    let work = outs.into_par_iter().zip(lses).zip(tasks(sequences, shape.kv_heads));
    work.for_each(|((mut out, mut lse), (rows, group))| {
        let Head { q, k, v } = head(qkv, shape, &rows, group);
        let mut scratch = vec![T::default(); BLOCK.min(rows.len()) * rows.len()];
        for h in 0..per_group {
            let q = q.subcols(h * shape.head_dim, shape.head_dim);
            let out = out.rb_mut().subcols_mut(h * shape.head_dim, shape.head_dim);
            let lse = lse.rb_mut().col_mut(h);
            forward_head(out, lse, q, k, v, &mut scratch);
        }
    });
}

fn forward_head<T: Real>(
    mut out: MatMut<'_, T>,
    mut lse: faer::ColMut<'_, T>,
    q: MatRef<'_, T>,
    k: MatRef<'_, T>,
    v: MatRef<'_, T>,
    scratch: &mut [T],
) {
    let (one, scale) = (T::from_f64(1.0), scale(q.ncols()));
    for (start, rows, keys) in blocks(q.nrows()) {
        let scores = &mut scratch[..rows * keys];
        let p = MatMut::from_row_major_slice_mut(scores, rows, keys);
        gemm(p, Accum::Replace, q.subrows(start, rows), k.subrows(0, keys).transpose(), scale);
        simd(
            #[inline(always)]
            || {
                for (i, row) in scores.chunks_exact_mut(keys).enumerate() {
                    lse[start + i] = softmax(row, start + i + 1);
                }
            },
        );
        let p = MatRef::from_row_major_slice(scores, rows, keys);
        gemm(out.rb_mut().subrows_mut(start, rows), Accum::Replace, p, v.subrows(0, keys), one);
    }
}

/// Softmax over the first `visible` scores, zero for the rest; returns the log denominator.
#[inline(always)]
fn softmax<T: Real>(row: &mut [T], visible: usize) -> T {
    let (seen, hidden) = row.split_at_mut(visible);
    let max = seen.iter().fold(seen[0], |a, b| a.larger(*b));
    for s in seen.iter_mut() {
        *s = (*s - max).exp();
    }
    let sum: T = sum(seen);
    let inverse = T::from_f64(1.0) / sum;
    for s in seen.iter_mut() {
        *s *= inverse;
    }
    hidden.fill(T::default());
    max + T::from_f64(sum.to_f64().ln())
}

/// Sum with sixteen accumulators, so that it vectorises.
#[inline(always)]
pub fn sum<T: Real>(x: &[T]) -> T {
    let mut sums = [T::default(); 16];
    let (head, tail) = x.as_chunks::<16>();
    for chunk in head {
        for (sum, x) in sums.iter_mut().zip(chunk) {
            *sum += *x;
        }
    }
    sums.into_iter().chain(tail.iter().copied()).sum()
}

/// Gradient of `[q | k | v]` into `dqkv`. With `p` recomputed as `exp(s - lse)`:
/// `dv_j = sum_i p_ij do_i`, `dp_ij = do_i v_j`, `ds_ij = p_ij (dp_ij - do_i o_i)`,
/// `dq_i = sum_j ds_ij k_j / sqrt(E)`, `dk_j = sum_i ds_ij q_i / sqrt(E)`.
pub fn backward<T: Real>(
    dqkv: MatMut<'_, T>,
    dout: MatRef<'_, T>,
    qkv: MatRef<'_, T>,
    out: MatRef<'_, T>,
    lse: MatRef<'_, T>,
    shape: AttentionShape,
    sequences: &[Range<usize>],
) {
    let (e, per_group) = (shape.head_dim, shape.heads / shape.kv_heads);
    let mut parts = split_cols(dqkv, [shape.q_columns(), shape.kv_columns(), shape.kv_columns()]);
    let dv = split_tasks(parts.remove(2), sequences, shape.kv_heads, e);
    let dk = split_tasks(parts.remove(1), sequences, shape.kv_heads, e);
    let dq = split_tasks(parts.remove(0), sequences, shape.kv_heads, per_group * e);
    let work = dq.into_par_iter().zip(dk).zip(dv).zip(tasks(sequences, shape.kv_heads));
    work.for_each(|(((mut dq, mut dk), mut dv), (rows, group))| {
        dk.fill(T::default());
        dv.fill(T::default());
        let kv = head(qkv, shape, &rows, group);
        let mut scratch = vec![T::default(); 2 * BLOCK.min(rows.len()) * rows.len()];
        for h in 0..per_group {
            let column = (group * per_group + h) * e;
            let saved = SavedHead {
                q: kv.q.subcols(h * e, e),
                k: kv.k,
                v: kv.v,
                dout: dout.submatrix(rows.start, column, rows.len(), e),
                out: out.submatrix(rows.start, column, rows.len(), e),
                lse: lse.submatrix(rows.start, group * per_group + h, rows.len(), 1),
            };
            let dq = dq.rb_mut().subcols_mut(h * e, e);
            backward_head(dq, dk.rb_mut(), dv.rb_mut(), &saved, &mut scratch);
        }
    });
}

/// One query head's part of what the forward pass kept, and the gradient that arrives.
struct SavedHead<'a, T> {
    q: MatRef<'a, T>,
    k: MatRef<'a, T>,
    v: MatRef<'a, T>,
    dout: MatRef<'a, T>,
    out: MatRef<'a, T>,
    lse: MatRef<'a, T>,
}

fn backward_head<T: Real>(
    mut dq: MatMut<'_, T>,
    mut dk: MatMut<'_, T>,
    mut dv: MatMut<'_, T>,
    s: &SavedHead<'_, T>,
    scratch: &mut [T],
) {
    let (one, scale) = (T::from_f64(1.0), scale(s.q.ncols()));
    for (start, rows, keys) in blocks(s.q.nrows()) {
        let (p, ds) = scratch[..2 * rows * keys].split_at_mut(rows * keys);
        let (q, k, v) = (s.q.subrows(start, rows), s.k.subrows(0, keys), s.v.subrows(0, keys));
        let dout = s.dout.subrows(start, rows);
        let view = MatMut::from_row_major_slice_mut(p, rows, keys);
        gemm(view, Accum::Replace, q, k.transpose(), scale);
        let view = MatMut::from_row_major_slice_mut(ds, rows, keys);
        gemm(view, Accum::Replace, dout, v.transpose(), one);
        simd(
            #[inline(always)]
            || {
                let rows = p.chunks_exact_mut(keys).zip(ds.chunks_exact_mut(keys));
                for (i, (p, ds)) in rows.enumerate() {
                    let row = start + i;
                    let along = dot(contiguous_row(s.dout, row), contiguous_row(s.out, row));
                    softmax_backward(p, ds, row + 1, s.lse[(row, 0)], along);
                }
            },
        );
        let p = MatRef::from_row_major_slice(p, rows, keys);
        let ds = MatRef::from_row_major_slice(ds, rows, keys);
        gemm(dq.rb_mut().subrows_mut(start, rows), Accum::Replace, ds, k, scale);
        gemm(dk.rb_mut().subrows_mut(0, keys), Accum::Add, ds.transpose(), q, scale);
        gemm(dv.rb_mut().subrows_mut(0, keys), Accum::Add, p.transpose(), dout, one);
    }
}

/// Scores become probabilities, and `dp` becomes `ds = p (dp - along)`.
#[inline(always)]
fn softmax_backward<T: Real>(p: &mut [T], dp: &mut [T], visible: usize, lse: T, along: T) {
    p[visible..].fill(T::default());
    dp[visible..].fill(T::default());
    for (p, dp) in p[..visible].iter_mut().zip(&mut dp[..visible]) {
        *p = (*p - lse).exp();
        *dp = *p * (*dp - along);
    }
}

/// Blocks of query rows: (first row, rows, keys seen by the last row).
fn blocks(len: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..len).step_by(BLOCK).map(move |start| {
        let rows = BLOCK.min(len - start);
        (start, rows, start + rows)
    })
}

fn scale<T: Real>(head_dim: usize) -> T {
    T::from_f64(1.0 / (head_dim as f64).sqrt())
}

/// Cuts a matrix into (sequence, key/value head) parts, each `width` columns wide.
fn split_tasks<'a, T: Real>(
    mat: MatMut<'a, T>,
    sequences: &[Range<usize>],
    kv_heads: usize,
    width: usize,
) -> Vec<MatMut<'a, T>> {
    let by_sequence = split_rows(mat, sequences.iter().cloned());
    by_sequence
        .into_iter()
        .flat_map(|m| split_cols(m, std::iter::repeat_n(width, kv_heads)))
        .collect()
}

/// A row of a matrix whose columns lie side by side.
fn contiguous_row<T: Real>(mat: MatRef<'_, T>, row: usize) -> &[T] {
    let row = mat.row(row).try_as_row_major();
    row.map_or(&[], faer::RowRef::as_slice)
}
