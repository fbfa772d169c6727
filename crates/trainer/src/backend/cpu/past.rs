//! Causal attention of rows that continue sequences whose keys and values are kept.
//!
//! Letters: K key/value heads, E head size, C tokens that a sequence has room for. What is kept of a
//! sequence at one layer is `[2 K C, E]`: the keys of one head after the other, each with its C rows,
//! then the values. A step that adds one token reads them as they lie.

use std::sync::Arc;

use faer::{MatMut, MatRef};
use rayon::prelude::*;

use super::attention::{
    LANES, contiguous_row, contiguous_row_mut, forward_head, soft_cap, softmax, split_tasks,
};
use super::buffer::{Buf, Pool};
use crate::backend::{Attention, AttentionShape, Step};
use crate::error::Result;
use crate::real::{Real, dot, simd};

/// Heads that one task attends at least: a head of one row is a few microseconds of work.
const HEADS_OF_A_TASK: usize = 4;

/// What is kept of one sequence at one layer.
struct Kept<'a, T> {
    values: &'a [T],
    shape: AttentionShape,
    /// Tokens that there are.
    tokens: usize,
}

impl<'a, T: Real> Kept<'a, T> {
    /// The keys and the values of a head, `[tokens, E]` each.
    fn head(&self, head: usize) -> [&'a [T]; 2] {
        let AttentionShape { kv_heads, head_dim, .. } = self.shape;
        let room = self.values.len() / (2 * kv_heads);
        [head, kv_heads + head].map(|at| &self.values[at * room..][..self.tokens * head_dim])
    }
}

/// Writes the keys and values of new rows behind those of `before` tokens.
fn keep<T: Real>(kept: &mut [T], qkv: &[T], shape: AttentionShape, before: usize) {
    let (e, heads) = (shape.head_dim, 2 * shape.kv_heads);
    let room = kept.len() / heads;
    for (row, new) in qkv.chunks_exact(shape.qkv_columns()).enumerate() {
        let new = new[shape.q_columns()..].chunks_exact(e);
        for (kept, new) in kept.chunks_exact_mut(room).zip(new) {
            kept[(before + row) * e..][..e].copy_from_slice(new);
        }
    }
}

/// The rows of each sequence of the step attend to what is kept of it and to themselves; their own
/// keys and values are kept from then on. Returns the output `[N, H E]` and the log denominators
/// `[N, H]`, of rows that are alone in their sequence not set.
pub fn forward<T: Real>(
    pool: &Arc<Pool<T>>,
    qkv: &Buf<T>,
    attention: &Attention,
    past: &mut [&mut Buf<T>],
    step: &Step<'_, Buf<T>>,
) -> Result<(Buf<T>, Buf<T>)> {
    let shape = attention.shape;
    let (sequences, positions) = (&step.rows.sequences, &step.rows.positions);
    let kept: Vec<Kept<'_, T>> = past
        .iter_mut()
        .zip(sequences)
        .map(|(past, rows)| {
            let (before, cols) = (positions[rows.start] as usize, qkv.cols());
            let new = &qkv.as_slice()[rows.start * cols..rows.end * cols];
            keep(past.as_mut_slice(), new, shape, before);
            Kept { values: past.as_slice(), shape, tokens: before + rows.len() }
        })
        .collect();

    let mut out = pool.stale(qkv.rows(), shape.q_columns())?;
    let mut lse = pool.stale(qkv.rows(), shape.heads)?;
    let per_group = shape.heads / shape.kv_heads;
    let outs =
        split_tasks(out.mat_mut(), &step.families, shape.kv_heads, per_group * shape.head_dim);
    let lses = split_tasks(lse.mat_mut(), &step.families, shape.kv_heads, per_group);
    let tasks = (0..sequences.len() * shape.kv_heads).into_par_iter();
    let work = tasks.zip(outs).zip(lses).with_min_len(HEADS_OF_A_TASK);
    work.for_each_init(Vec::new, |scratch, ((task, out), lse)| {
        let (sequence, group) = (task / shape.kv_heads, task % shape.kv_heads);
        let rows = &sequences[sequence];
        let q = qkv.mat().subrows(rows.start, rows.len());
        let q = q.subcols(group * per_group * shape.head_dim, per_group * shape.head_dim);
        heads(out, lse, q, kept[sequence].head(group), attention, scratch);
    });
    Ok((out, lse))
}

/// The query heads of one key/value head.
fn heads<T: Real>(
    mut out: MatMut<'_, T>,
    mut lse: MatMut<'_, T>,
    q: MatRef<'_, T>,
    [keys, values]: [&[T]; 2],
    attention: &Attention,
    scratch: &mut Vec<T>,
) {
    let e = attention.shape.head_dim;
    if q.nrows() == 1 {
        let out = contiguous_row_mut(out, 0).chunks_exact_mut(e);
        for (out, q) in out.zip(contiguous_row(q, 0).chunks_exact(e)) {
            row(out, q, [keys, values], attention, scratch);
        }
        return;
    }
    let [k, v] = [keys, values].map(|kept| MatRef::from_row_major_slice(kept, kept.len() / e, e));
    for h in 0..q.ncols() / e {
        let out = out.as_mut().subcols_mut(h * e, e);
        forward_head(out, lse.as_mut().col_mut(h), [q.subcols(h * e, e), k, v], attention, scratch);
    }
}

/// One query: [`forward_head`] without products of matrices, which are slow where they have one row.
fn row<T: Real>(
    out: &mut [T],
    q: &[T],
    [keys, values]: [&[T]; 2],
    attention: &Attention,
    scores: &mut Vec<T>,
) {
    let e = q.len();
    let tokens = keys.len() / e;
    let first = attention.window.map_or(0, |window| tokens.saturating_sub(window));
    let seen = tokens - first;
    scores.clear();
    scores.resize(seen.next_multiple_of(LANES), T::default());
    let scale = T::from_f64(attention.scale);
    simd(
        #[inline(always)]
        || {
            for (score, key) in scores.iter_mut().zip(keys[first * e..].chunks_exact(e)) {
                *score = dot(q, key) * scale;
            }
            if let Some(cap) = attention.softcap {
                soft_cap(scores, cap);
            }
            softmax(scores, 0..seen);
            out.fill(T::default());
            for (p, value) in scores.iter().zip(values[first * e..].chunks_exact(e)) {
                for (out, value) in out.iter_mut().zip(value) {
                    *out += *p * *value;
                }
            }
        },
    );
}
