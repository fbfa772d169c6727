//! Causal attention of variable-length sequences, without a T x T matrix per head.
//!
//! Letters: T tokens of a sequence, H query heads, K key/value heads, E head size. One task is
//! one (family of sequences, key/value head) with its H/K query heads, so each task owns its
//! gradients of k and v. A task walks over blocks of query rows and looks only at keys up to its own
//! row, and where there is a window only at those within the block's. Where a sequence shares its
//! beginning, the keys and values of both are copied one below the other.

use std::ops::Range;

use faer::prelude::ReborrowMut;
use faer::{Accum, MatMut, MatRef};
use rayon::prelude::*;

use super::gemm::{gemm, split_cols, split_rows};
use crate::backend::{Attention, AttentionShape, Family, Run};
use crate::real::{Real, dot, largest, simd, sum};

/// Query rows whose scores exist at a time.
const BLOCK: usize = 64;
/// Rows of scores are a multiple of this many values long, so that loops over what a query sees need
/// not end in single values.
pub(super) const LANES: usize = 8;

/// What a task reads: the columns of one key/value head in one sequence.
struct Head<'a, T> {
    q: MatRef<'a, T>,
    k: MatRef<'a, T>,
    v: MatRef<'a, T>,
}

/// Tasks in the order family, then key/value head.
fn tasks(families: &[Family], kv_heads: usize) -> Vec<(&Family, usize)> {
    families.iter().flat_map(|family| (0..kv_heads).map(move |g| (family, g))).collect()
}

/// Rows of two matrices one below the other.
#[derive(Default)]
struct Joined<T> {
    values: Vec<T>,
    rows: usize,
    cols: usize,
}

impl<T: Real> Joined<T> {
    fn copy(&mut self, above: MatRef<'_, T>, below: MatRef<'_, T>) -> MatRef<'_, T> {
        (self.rows, self.cols) = (above.nrows() + below.nrows(), above.ncols());
        self.values.clear();
        for mat in [above, below] {
            for row in 0..mat.nrows() {
                self.values.extend_from_slice(contiguous_row(mat, row));
            }
        }
        self.mat()
    }

    fn zeros(&mut self, rows: usize, cols: usize) -> MatMut<'_, T> {
        (self.rows, self.cols) = (rows, cols);
        self.values.clear();
        self.values.resize(rows * cols, T::default());
        MatMut::from_row_major_slice_mut(&mut self.values, rows, cols)
    }

    fn mat(&self) -> MatRef<'_, T> {
        MatRef::from_row_major_slice(&self.values, self.rows, self.cols)
    }

    /// Adds the lower rows to those of `to` from `at` on, and the upper ones to its first.
    fn add_to(&self, mut to: MatMut<'_, T>, at: usize, lower: usize) {
        let (above, below) = self.mat().split_at_row(self.rows - lower);
        let mut upper = to.rb_mut().subrows_mut(0, above.nrows());
        upper += above;
        let mut lower = to.subrows_mut(at, below.nrows());
        lower += below;
    }
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

/// [`head`] with the keys and values before it, copied into `joined` where there are some.
fn head_of_run<'a, T: Real>(
    qkv: MatRef<'a, T>,
    shape: AttentionShape,
    run: &Run,
    group: usize,
    [keys, values]: &'a mut [Joined<T>; 2],
) -> Head<'a, T> {
    let own = head(qkv, shape, &run.rows, group);
    if run.before.is_empty() {
        return own;
    }
    let above = head(qkv, shape, &run.before, group);
    Head { q: own.q, k: keys.copy(above.k, own.k), v: values.copy(above.v, own.v) }
}

/// For each query row i and head: `s_j = scale q_i k_j`, or `c tanh(scale q_i k_j / c)`, for
/// `i - window < j <= i`, `p = softmax(s)`, `out_i = sum_j p_j v_j`; `lse_i = log sum_j exp(s_j)`.
/// `out` is `[N, H E]`, `lse` `[N, H]`.
pub fn forward<T: Real>(
    out: MatMut<'_, T>,
    lse: MatMut<'_, T>,
    qkv: MatRef<'_, T>,
    attention: &Attention,
    families: &[Family],
) {
    let shape = attention.shape;
    let per_group = shape.heads / shape.kv_heads;
    let outs = split_tasks(out, families, shape.kv_heads, per_group * shape.head_dim);
    let lses = split_tasks(lse, families, shape.kv_heads, per_group);
    let work = outs.into_par_iter().zip(lses).zip(tasks(families, shape.kv_heads));
    work.for_each(|((mut out, mut lse), (family, group))| {
        let (mut joined, mut scratch) = (Default::default(), Vec::new());
        for run in family.runs() {
            let Head { q, k, v } = head_of_run(qkv, shape, &run, group, &mut joined);
            let rows = &run.rows;
            let at = rows.start - family.rows().start;
            for h in 0..per_group {
                let (column, e) = (h * shape.head_dim, shape.head_dim);
                let out = out.rb_mut().submatrix_mut(at, column, rows.len(), e);
                let lse = lse.rb_mut().col_mut(h).subrows_mut(at, rows.len());
                forward_head(out, lse, [q.subcols(column, e), k, v], attention, &mut scratch);
            }
        }
    });
}

pub(super) fn forward_head<T: Real>(
    mut out: MatMut<'_, T>,
    mut lse: faer::ColMut<'_, T>,
    [q, k, v]: [MatRef<'_, T>; 3],
    attention: &Attention,
    scratch: &mut Vec<T>,
) {
    let (one, scale) = (T::from_f64(1.0), T::from_f64(attention.scale));
    for block in blocks(q.nrows(), k.nrows(), attention.window) {
        let Block { start, rows, first_key, keys, .. } = block;
        let stride = block.stride();
        scratch.resize(scratch.len().max(rows * stride), T::default());
        let scores = &mut scratch[..rows * stride];
        let p = MatMut::from_row_major_slice_mut(scores, rows, stride).subcols_mut(0, keys);
        let k = k.subrows(first_key, keys);
        gemm(p, Accum::Replace, q.subrows(start, rows), k.transpose(), scale);
        simd(
            #[inline(always)]
            || {
                if let Some(cap) = attention.softcap {
                    soft_cap(scores, cap);
                }
                for (i, row) in scores.chunks_exact_mut(stride).enumerate() {
                    lse[start + i] = softmax(row, block.visible(i, attention.window));
                }
            },
        );
        let p = MatRef::from_row_major_slice(scores, rows, stride).subcols(0, keys);
        let v = v.subrows(first_key, keys);
        gemm(out.rb_mut().subrows_mut(start, rows), Accum::Replace, p, v, one);
    }
}

/// `x = c tanh(x / c)`
#[inline(always)]
pub fn soft_cap<T: Real>(values: &mut [T], cap: f64) {
    let (inverse, cap) = (T::from_f64(1.0 / cap), T::from_f64(cap));
    for x in values {
        *x = cap * (*x * inverse).tanh();
    }
}

/// `dx *= 1 - (y / c)^2` with y the capped values.
#[inline(always)]
pub fn soft_cap_backward<T: Real>(dx: &mut [T], capped: &[T], cap: f64) {
    let (one, inverse) = (T::from_f64(1.0), T::from_f64(1.0 / cap));
    for (dx, y) in dx.iter_mut().zip(capped) {
        let t = *y * inverse;
        *dx *= one - t * t;
    }
}

/// Softmax over the visible scores, zero for the rest; returns the log denominator.
#[inline(always)]
pub(super) fn softmax<T: Real>(row: &mut [T], visible: Range<usize>) -> T {
    let end = visible.end.next_multiple_of(LANES);
    row[..visible.start].fill(T::default());
    // What is not seen but computed along with the rest is as large as something that is.
    let seen = row[visible.start];
    row[visible.end..].fill(seen);
    let computed = &mut row[visible.start..end];
    let max = largest(computed);
    for s in computed.iter_mut() {
        *s = (*s - max).exp();
    }
    row[visible.end..].fill(T::default());
    let computed = &mut row[visible.start..end];
    let sum = sum(computed);
    let inverse = T::from_f64(1.0) / sum;
    for s in computed.iter_mut() {
        *s *= inverse;
    }
    max + T::from_f64(sum.to_f64().ln())
}

/// Gradient of `[q | k | v]` into `dqkv`. With `p` recomputed as `exp(s - lse)`:
/// `dv_j = sum_i p_ij do_i`, `dp_ij = do_i v_j`, `ds_ij = p_ij (dp_ij - do_i o_i)`, where scores are
/// capped times `1 - (s_ij / c)^2`; `dq_i = scale sum_j ds_ij k_j`, `dk_j = scale sum_i ds_ij q_i`.
pub fn backward<T: Real>(
    dqkv: MatMut<'_, T>,
    dout: MatRef<'_, T>,
    qkv: MatRef<'_, T>,
    out: MatRef<'_, T>,
    lse: MatRef<'_, T>,
    attention: &Attention,
    families: &[Family],
) {
    let shape = attention.shape;
    let (e, per_group) = (shape.head_dim, shape.heads / shape.kv_heads);
    let mut parts = split_cols(dqkv, [shape.q_columns(), shape.kv_columns(), shape.kv_columns()]);
    let dv = split_tasks(parts.remove(2), families, shape.kv_heads, e);
    let dk = split_tasks(parts.remove(1), families, shape.kv_heads, e);
    let dq = split_tasks(parts.remove(0), families, shape.kv_heads, per_group * e);
    let work = dq.into_par_iter().zip(dk).zip(dv).zip(tasks(families, shape.kv_heads));
    work.for_each(|(((mut dq, mut dk), mut dv), (family, group))| {
        dk.fill(T::default());
        dv.fill(T::default());
        let (mut joined, mut scratch) = (Default::default(), Vec::new());
        let (mut d_keys, mut d_values) = (Joined::default(), Joined::default());
        for run in family.runs() {
            let kv = head_of_run(qkv, shape, &run, group, &mut joined);
            let rows = &run.rows;
            let (at, seen) = (rows.start - family.rows().start, kv.k.nrows());
            let [mut dk_seen, mut dv_seen] = if run.before.is_empty() {
                [&mut dk, &mut dv].map(|d| d.rb_mut().subrows_mut(at, seen))
            } else {
                [&mut d_keys, &mut d_values].map(|d| d.zeros(seen, e))
            };
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
                let dq = dq.rb_mut().submatrix_mut(at, h * e, rows.len(), e);
                let d_seen = [dk_seen.rb_mut(), dv_seen.rb_mut()];
                backward_head(dq, d_seen, &saved, attention, &mut scratch);
            }
            if !run.before.is_empty() {
                d_keys.add_to(dk.rb_mut(), at, rows.len());
                d_values.add_to(dv.rb_mut(), at, rows.len());
            }
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
    [mut dk, mut dv]: [MatMut<'_, T>; 2],
    s: &SavedHead<'_, T>,
    attention: &Attention,
    scratch: &mut Vec<T>,
) {
    let (one, scale) = (T::from_f64(1.0), T::from_f64(attention.scale));
    for block in blocks(s.q.nrows(), s.k.nrows(), attention.window) {
        let Block { start, rows, first_key, keys, .. } = block;
        let stride = block.stride();
        scratch.resize(scratch.len().max(2 * rows * stride), T::default());
        let (p, ds) = scratch[..2 * rows * stride].split_at_mut(rows * stride);
        let q = s.q.subrows(start, rows);
        let (k, v) = (s.k.subrows(first_key, keys), s.v.subrows(first_key, keys));
        let dout = s.dout.subrows(start, rows);
        let view = MatMut::from_row_major_slice_mut(p, rows, stride).subcols_mut(0, keys);
        gemm(view, Accum::Replace, q, k.transpose(), scale);
        let view = MatMut::from_row_major_slice_mut(ds, rows, stride).subcols_mut(0, keys);
        gemm(view, Accum::Replace, dout, v.transpose(), one);
        simd(
            #[inline(always)]
            || {
                if let Some(cap) = attention.softcap {
                    soft_cap(p, cap);
                }
                let rows = p.chunks_exact_mut(stride).zip(ds.chunks_exact_mut(stride));
                for (i, (p, ds)) in rows.enumerate() {
                    let row = start + i;
                    let along = dot(contiguous_row(s.dout, row), contiguous_row(s.out, row));
                    let visible = block.visible(i, attention.window);
                    if let Some(cap) = attention.softcap {
                        soft_cap_softmax_backward(p, ds, visible, s.lse[(row, 0)], along, cap);
                    } else {
                        softmax_backward(p, ds, visible, s.lse[(row, 0)], along);
                    }
                }
            },
        );
        let p = MatRef::from_row_major_slice(p, rows, stride).subcols(0, keys);
        let ds = MatRef::from_row_major_slice(ds, rows, stride).subcols(0, keys);
        gemm(dq.rb_mut().subrows_mut(start, rows), Accum::Replace, ds, k, scale);
        let (dk, dv) = (dk.rb_mut(), dv.rb_mut());
        gemm(dk.subrows_mut(first_key, keys), Accum::Add, ds.transpose(), q, scale);
        gemm(dv.subrows_mut(first_key, keys), Accum::Add, p.transpose(), dout, one);
    }
}

/// Scores become probabilities, and `dp` becomes `ds = p (dp - along)`.
#[inline(always)]
fn softmax_backward<T: Real>(p: &mut [T], dp: &mut [T], visible: Range<usize>, lse: T, along: T) {
    let computed = visible.start..visible.end.next_multiple_of(LANES);
    for (p, dp) in p[computed.clone()].iter_mut().zip(&mut dp[computed]) {
        *p = (*p - lse).exp();
        *dp = *p * (*dp - along);
    }
    for side in [p, dp] {
        side[visible.end..].fill(T::default());
        side[..visible.start].fill(T::default());
    }
}

/// [`softmax_backward`] of capped scores: `ds = p (dp - along) (1 - (s / c)^2)`.
#[inline(always)]
fn soft_cap_softmax_backward<T: Real>(
    p: &mut [T],
    dp: &mut [T],
    visible: Range<usize>,
    lse: T,
    along: T,
    cap: f64,
) {
    for dp in &mut dp[visible.clone()] {
        *dp += -along;
    }
    soft_cap_backward(&mut dp[visible.clone()], &p[visible.clone()], cap);
    softmax_backward(p, dp, visible, lse, T::default());
}

/// A block of query rows and the keys that they see.
#[derive(Clone, Copy)]
struct Block {
    start: usize,
    rows: usize,
    /// Keys before that of the sequence's first query.
    before: usize,
    /// The first key that the first row sees.
    first_key: usize,
    /// As many as the last row sees, from `first_key` on.
    keys: usize,
}

impl Block {
    /// Values of a row of scores.
    const fn stride(&self) -> usize {
        self.keys.next_multiple_of(LANES)
    }

    /// The keys that row i of the block sees, counted from `first_key`.
    #[inline(always)]
    fn visible(&self, i: usize, window: Option<usize>) -> Range<usize> {
        let end = self.before + self.start + i + 1;
        let first = window.map_or(0, |w| end.saturating_sub(w));
        first - self.first_key..end - self.first_key
    }
}

/// The last of the keys belong to the queries.
fn blocks(queries: usize, keys: usize, window: Option<usize>) -> impl Iterator<Item = Block> {
    let before = keys - queries;
    (0..queries).step_by(BLOCK).map(move |start| {
        let rows = BLOCK.min(queries - start);
        let first_key = window.map_or(0, |w| (before + start + 1).saturating_sub(w));
        Block { start, rows, before, first_key, keys: before + start + rows - first_key }
    })
}

/// Cuts a matrix into (family, key/value head) parts, each `width` columns wide.
pub(super) fn split_tasks<'a, T: Real>(
    mat: MatMut<'a, T>,
    families: &[Family],
    kv_heads: usize,
    width: usize,
) -> Vec<MatMut<'a, T>> {
    let by_family = split_rows(mat, families.iter().map(Family::rows));
    by_family
        .into_iter()
        .flat_map(|m| split_cols(m, std::iter::repeat_n(width, kv_heads)))
        .collect()
}

/// A row of a matrix whose columns lie side by side.
pub(super) fn contiguous_row<T: Real>(mat: MatRef<'_, T>, row: usize) -> &[T] {
    let row = mat.row(row).try_as_row_major();
    row.map_or(&[], faer::RowRef::as_slice)
}

/// [`contiguous_row`] to be written.
pub(super) fn contiguous_row_mut<T: Real>(mat: MatMut<'_, T>, row: usize) -> &mut [T] {
    let row = mat.row_mut(row).try_as_row_major_mut();
    row.map_or(&mut [], faer::RowMut::as_slice_mut)
}
