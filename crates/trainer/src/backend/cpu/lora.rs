//! The low-rank paths of all slots at one linear layer.
//!
//! Letters: n rows of a slot, I in, O out, R rank, s scale. Slots are independent: no sum runs
//! over the rows of two slots, and how a slot's work is cut into tasks depends on its own sizes
//! only, so a slot's numbers do not depend on its company.

use std::ops::Range;
use std::sync::Arc;

use faer::prelude::{Reborrow, ReborrowMut};
use faer::{Accum, MatMut, MatRef};
use rayon::prelude::*;

use super::buffer::{Buf, Pool};
use super::gemm::{gemm, split_rows};
use crate::backend::{LoraPath, gradients_of};
use crate::dropout::Dropout;
use crate::error::Result;
use crate::real::{Real, simd};

/// Rows of one task.
const ROWS: usize = 64;

type Path<'a, T> = LoraPath<'a, Buf<T>>;

/// A block of rows of one path.
#[derive(Debug)]
pub struct Block {
    path: usize,
    rows: Range<usize>,
}

/// The adapters at a linear layer, and how their rows are cut.
#[derive(Clone, Copy)]
pub struct PlannedSite<'a, T: Real> {
    pub columns: &'a Range<usize>,
    pub paths: &'a [LoraPath<'a, Buf<T>>],
    pub blocks: &'a [Block],
}

/// The tasks that the products of some paths are cut into.
pub fn blocks<T: Real>(paths: &[Path<'_, T>]) -> Vec<Block> {
    let of_path = |(path, p): (usize, &Path<'_, T>)| {
        let end = p.rows.end;
        p.rows
            .clone()
            .step_by(ROWS)
            .map(move |start| Block { path, rows: start..(start + ROWS).min(end) })
            .collect::<Vec<_>>()
    };
    paths.iter().enumerate().flat_map(of_path).collect()
}

/// A `[R, in]`.
pub(super) fn a<'a, T: Real>(path: &Path<'a, T>, inputs: usize) -> MatRef<'a, T> {
    let values = &path.params.as_slice()[path.a..path.a + path.rank * inputs];
    MatRef::from_row_major_slice(values, path.rank, inputs)
}

/// B `[out, R]`.
pub(super) fn b<'a, T: Real>(path: &Path<'a, T>, outputs: usize) -> MatRef<'a, T> {
    let values = &path.params.as_slice()[path.b..path.b + outputs * path.rank];
    MatRef::from_row_major_slice(values, outputs, path.rank)
}

/// Cuts a flat buffer `[sum of rows * rank]` into the blocks' `[rows, rank]` matrices.
fn split_low_rank<'a, T: Real>(
    mut flat: &'a mut [T],
    blocks: &[Block],
    paths: &[Path<'_, T>],
) -> Vec<MatMut<'a, T>> {
    let mut parts = Vec::with_capacity(blocks.len());
    for block in blocks {
        let rank = paths[block.path].rank;
        let (part, rest) = flat.split_at_mut(block.rows.len() * rank);
        parts.push(MatMut::from_row_major_slice_mut(part, block.rows.len(), rank));
        flat = rest;
    }
    parts
}

/// `x[rows]`, with the path's dropout applied into `scratch` where there is one.
fn input<'a, T: Real>(
    x: &'a Buf<T>,
    rows: &Range<usize>,
    path: &Path<'_, T>,
    scratch: &'a mut Vec<T>,
) -> MatRef<'a, T> {
    let Some(dropout) = &path.dropout else {
        return x.mat().subrows(rows.start, rows.len());
    };
    scratch.clear();
    scratch.extend_from_slice(&x.as_slice()[rows.start * x.cols()..rows.end * x.cols()]);
    mask(scratch, x.cols(), dropout, rows.start - path.rows.start);
    MatRef::from_row_major_slice(scratch, rows.len(), x.cols())
}

/// Multiplies rows of the path, from `first` on, by their dropout factors.
fn mask<T: Real>(values: &mut [T], cols: usize, dropout: &Dropout, first: usize) {
    let (threshold, keep) = (dropout.threshold(), T::from_f64(dropout.keep_scale()));
    simd(
        #[inline(always)]
        || {
            for (i, row) in values.chunks_exact_mut(cols).enumerate() {
                let key = dropout.row_key(first + i);
                for (c, x) in row.iter_mut().enumerate() {
                    let kept = Dropout::keeps(key, c as u32, threshold);
                    *x = if kept { *x * keep } else { T::default() };
                }
            }
        },
    );
}

/// `u = dropout(x) A^T` `[n, R]`, `y[:, cols] += s u B^T`. Returns all u, block after block.
pub fn forward<T: Real>(
    pool: &Arc<Pool<T>>,
    y: &mut Buf<T>,
    x: &Buf<T>,
    site: &PlannedSite<'_, T>,
) -> Result<Buf<T>> {
    let PlannedSite { columns: cols, paths, blocks } = *site;
    let mut u = pool.stale(1, paths.iter().map(|p| p.rows.len() * p.rank).sum())?;
    let us = split_low_rank(u.as_mut_slice(), blocks, paths);
    let ys = split_rows(y.mat_mut().subcols_mut(cols.start, cols.len()), rows_of(blocks));
    let work = blocks.par_iter().zip(us).zip(ys);
    work.for_each_init(Vec::new, |scratch, ((block, mut u), y)| {
        let path = &paths[block.path];
        let x = input(x, &block.rows, path, scratch);
        gemm(u.rb_mut(), Accum::Replace, x, a(path, x.ncols()).transpose(), T::from_f64(1.0));
        let b = b(path, cols.len()).transpose();
        gemm(y, Accum::Add, u.rb(), b, T::from_f64(path.scale));
    });
    Ok(u)
}

fn rows_of(blocks: &[Block]) -> impl Iterator<Item = Range<usize>> {
    blocks.iter().map(|b| b.rows.clone())
}

/// `du = s dy B`, `dx += dropout'(du A)`, `dA += du^T dropout(x)`, `dB += s dy^T u`.
pub fn backward<T: Real>(
    pool: &Arc<Pool<T>>,
    dx: Option<&mut Buf<T>>,
    dy: &Buf<T>,
    x: &Buf<T>,
    u: &Buf<T>,
    site: &PlannedSite<'_, T>,
    grads: &mut [&mut Buf<T>],
) -> Result<()> {
    let PlannedSite { columns: cols, paths, blocks } = *site;
    let dy = dy.mat().subcols(cols.start, cols.len());
    let mut du = pool.stale(1, u.cols())?;
    let dus = split_low_rank(du.as_mut_slice(), blocks, paths);
    blocks.par_iter().zip(dus).for_each(|(block, du)| {
        let path = &paths[block.path];
        let dy = dy.subrows(block.rows.start, block.rows.len());
        gemm(du, Accum::Replace, dy, b(path, cols.len()), T::from_f64(path.scale));
    });
    if let Some(dx) = dx {
        input_gradient(dx, &mut du, blocks, paths);
    }
    let mut grads = gradients_of(grads, paths.iter().map(|path| path.adapter));
    weight_gradients(pool, dy, x, u, &du, paths, &mut grads)
}

/// `dx += dropout'(du A)`
fn input_gradient<T: Real>(
    dx: &mut Buf<T>,
    du: &mut Buf<T>,
    blocks: &[Block],
    paths: &[Path<'_, T>],
) {
    let inputs = dx.cols();
    let dus = split_low_rank(du.as_mut_slice(), blocks, paths);
    let dxs = split_rows(dx.mat_mut(), rows_of(blocks));
    let work = blocks.par_iter().zip(dus).zip(dxs);
    work.for_each_init(Vec::new, |scratch, ((block, du), mut dx)| {
        let path = &paths[block.path];
        let (a, one) = (a(path, inputs), T::from_f64(1.0));
        let Some(dropout) = &path.dropout else {
            return gemm(dx, Accum::Add, du.rb(), a, one);
        };
        scratch.clear();
        scratch.resize(block.rows.len() * inputs, T::default());
        let through = MatMut::from_row_major_slice_mut(scratch, block.rows.len(), inputs);
        gemm(through, Accum::Replace, du.rb(), a, one);
        mask(scratch, inputs, dropout, block.rows.start - path.rows.start);
        dx += MatRef::from_row_major_slice(scratch, block.rows.len(), inputs);
    });
}

/// A gradient to add to: `dst += alpha * lhs^T rhs`, with as many columns as `rhs`.
struct Product<'a, T> {
    dst: MatMut<'a, T>,
    lhs: MatRef<'a, T>,
    rhs: MatRef<'a, T>,
    alpha: T,
}

/// `dA += du^T dropout(x)`, `dB += s dy^T u`
fn weight_gradients<T: Real>(
    pool: &Arc<Pool<T>>,
    dy: MatRef<'_, T>,
    x: &Buf<T>,
    u: &Buf<T>,
    du: &Buf<T>,
    paths: &[Path<'_, T>],
    grads: &mut [&mut Buf<T>],
) -> Result<()> {
    let masked: Vec<Option<Buf<T>>> =
        paths.par_iter().map(|p| dropped(pool, x, p)).collect::<Result<_>>()?;
    let mut products = Vec::with_capacity(2 * paths.len());
    let mut done = 0;
    for ((path, grad), masked) in paths.iter().zip(grads).zip(&masked) {
        let (n, r) = (path.rows.len(), path.rank);
        let low_rank = |m: &'_ Buf<T>| -> Range<usize> { done..(done + n * r).min(m.cols()) };
        let du = MatRef::from_row_major_slice(&du.as_slice()[low_rank(du)], n, r);
        let u = MatRef::from_row_major_slice(&u.as_slice()[low_rank(u)], n, r);
        done += n * r;
        let x = masked.as_ref().map_or_else(|| x.mat().subrows(path.rows.start, n), Buf::mat);
        let dy = dy.subrows(path.rows.start, n);
        let (inputs, outputs) = (x.ncols(), dy.ncols());
        let (to_a, to_b) = grad.as_mut_slice()[path.a..].split_at_mut(path.b - path.a);
        let da = MatMut::from_row_major_slice_mut(&mut to_a[..r * inputs], r, inputs);
        let db = MatMut::from_row_major_slice_mut(&mut to_b[..outputs * r], outputs, r);
        products.push(Product { dst: da, lhs: du, rhs: x, alpha: T::from_f64(1.0) });
        products.push(Product { dst: db, lhs: dy, rhs: u, alpha: T::from_f64(path.scale) });
    }
    let products: Vec<_> = products.into_iter().flat_map(halves).collect();
    products.into_par_iter().for_each_init(Vec::new, |scratch, p| {
        if p.dst.ncols() < NARROW {
            add_narrow(p, scratch);
        } else {
            gemm(p.dst, Accum::Add, p.lhs.transpose(), p.rhs, p.alpha);
        }
    });
    Ok(())
}

/// A product with fewer columns than this fills no register of the kernel, and takes two to three
/// times as long as its transpose.
const NARROW: usize = 16;

/// `dst += alpha * (rhs^T lhs)^T`
fn add_narrow<T: Real>(p: Product<'_, T>, scratch: &mut Vec<T>) {
    let Product { mut dst, lhs, rhs, alpha } = p;
    let (rows, cols) = (dst.nrows(), dst.ncols());
    scratch.resize(rows * cols, T::default());
    let transposed = MatMut::from_row_major_slice_mut(scratch, cols, rows);
    gemm(transposed, Accum::Replace, rhs.transpose(), lhs, alpha);
    dst += MatRef::from_row_major_slice(scratch, cols, rows).transpose();
}

/// A large product is cut in two along its longer side, so that one slot can use several threads.
fn halves<T: Real>(p: Product<'_, T>) -> Vec<Product<'_, T>> {
    const WORTH_SPLITTING: usize = 256 * 1024;
    let Product { dst, lhs, rhs, alpha } = p;
    if lhs.nrows() * lhs.ncols() * rhs.ncols() < WORTH_SPLITTING {
        return vec![Product { dst, lhs, rhs, alpha }];
    }
    let (first, second) = if dst.ncols() > dst.nrows() {
        let at = dst.ncols() / 2;
        let (dst_a, dst_b) = dst.split_at_col_mut(at);
        let (rhs_a, rhs_b) = rhs.split_at_col(at);
        (
            Product { dst: dst_a, lhs, rhs: rhs_a, alpha },
            Product { dst: dst_b, lhs, rhs: rhs_b, alpha },
        )
    } else {
        let at = dst.nrows() / 2;
        let (dst_a, dst_b) = dst.split_at_row_mut(at);
        let (lhs_a, lhs_b) = lhs.split_at_col(at);
        (
            Product { dst: dst_a, lhs: lhs_a, rhs, alpha },
            Product { dst: dst_b, lhs: lhs_b, rhs, alpha },
        )
    };
    vec![first, second]
}

/// The path's rows of x with its dropout applied, if it has one.
fn dropped<T: Real>(pool: &Arc<Pool<T>>, x: &Buf<T>, path: &Path<'_, T>) -> Result<Option<Buf<T>>> {
    let Some(dropout) = path.dropout.as_ref() else { return Ok(None) };
    let mut copy = pool.stale(path.rows.len(), x.cols())?;
    let rows = path.rows.start * x.cols()..path.rows.end * x.cols();
    copy.as_mut_slice().copy_from_slice(&x.as_slice()[rows]);
    mask(copy.as_mut_slice(), x.cols(), dropout, 0);
    Ok(Some(copy))
}
