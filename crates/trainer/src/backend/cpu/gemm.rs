//! Matrix products: faer's single-threaded kernel, split over rayon's threads.

use std::ops::Range;

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

use crate::real::Real;

/// Multiply-adds below which handing work to another thread costs more than it saves.
const WORTH_SPLITTING: usize = 128 * 1024;

/// `dst (+)= alpha * lhs * rhs` on this thread.
pub fn gemm<T: Real>(
    dst: MatMut<'_, T>,
    accum: Accum,
    lhs: MatRef<'_, T>,
    rhs: MatRef<'_, T>,
    alpha: T,
) {
    matmul(dst, accum, lhs, rhs, alpha, Par::Seq);
}

/// How many parts a product is worth by its number of multiply-adds, on the threads of the current pool.
pub fn parts(work: usize) -> usize {
    (work / WORTH_SPLITTING).clamp(1, rayon::current_num_threads())
}

/// `dst = lhs * rhs` in `parts` parts beside each other.
pub fn split<T: Real>(dst: MatMut<'_, T>, lhs: MatRef<'_, T>, rhs: MatRef<'_, T>, parts: usize) {
    if parts <= 1 {
        return gemm(dst, Accum::Replace, lhs, rhs, T::from_f64(1.0));
    }
    let (first, second) = (parts / 2, parts - parts / 2);
    if dst.nrows() > dst.ncols() {
        let at = cut(dst.nrows(), first, parts);
        let (dst_a, dst_b) = dst.split_at_row_mut(at);
        let (lhs_a, lhs_b) = lhs.split_at_row(at);
        rayon::join(|| split(dst_a, lhs_a, rhs, first), || split(dst_b, lhs_b, rhs, second));
    } else {
        let at = cut(dst.ncols(), first, parts);
        let (dst_a, dst_b) = dst.split_at_col_mut(at);
        let (rhs_a, rhs_b) = rhs.split_at_col(at);
        rayon::join(|| split(dst_a, lhs, rhs_a, first), || split(dst_b, lhs, rhs_b, second));
    }
}

/// Rows or columns of a register tile.
pub const TILE: usize = 16;

/// Where to cut so that the first part is a whole number of register tiles.
pub fn cut(len: usize, part: usize, parts: usize) -> usize {
    let at = len * part / parts;
    if at > TILE { at / TILE * TILE } else { at }
}

/// Cuts a matrix into the given row ranges, which ascend without overlap; rows between them are
/// left out.
pub fn split_rows<T: Real>(
    mut mat: MatMut<'_, T>,
    ranges: impl IntoIterator<Item = Range<usize>>,
) -> Vec<MatMut<'_, T>> {
    let mut done = 0;
    let mut parts = Vec::new();
    for range in ranges {
        let (_, rest) = mat.split_at_row_mut(range.start - done);
        let (part, rest) = rest.split_at_row_mut(range.len());
        parts.push(part);
        mat = rest;
        done = range.end;
    }
    parts
}

/// Cuts a matrix into parts of these widths, from the left.
pub fn split_cols<T: Real>(
    mut mat: MatMut<'_, T>,
    widths: impl IntoIterator<Item = usize>,
) -> Vec<MatMut<'_, T>> {
    let mut parts = Vec::new();
    for width in widths {
        let (part, rest) = mat.split_at_col_mut(width);
        parts.push(part);
        mat = rest;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_product_equals_the_plain_one_for_every_number_of_parts() {
        let (m, k, n) = (37, 29, 53);
        let a: Vec<f64> = (0..m * k).map(|i| (i as f64 * 0.37).sin()).collect();
        let b: Vec<f64> = (0..k * n).map(|i| (i as f64 * 0.11).cos()).collect();
        let (a, b) =
            (MatRef::from_row_major_slice(&a, m, k), MatRef::from_row_major_slice(&b, k, n));
        let mut plain = vec![0.0; m * n];
        gemm(MatMut::from_row_major_slice_mut(&mut plain, m, n), Accum::Replace, a, b, 1.0);
        for parts in 1..9 {
            let mut parted = vec![f64::NAN; m * n];
            split(MatMut::from_row_major_slice_mut(&mut parted, m, n), a, b, parts);
            for (x, y) in plain.iter().zip(&parted) {
                assert!((x - y).abs() < 1e-12, "{parts} parts: {x} against {y}");
            }
        }
    }
}
