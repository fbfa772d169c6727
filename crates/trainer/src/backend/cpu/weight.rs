//! Frozen matrices of the CPU backend: in the numbers that are computed with, or in the format of
//! their file and decoded a few rows at a time inside each product.
//!
//! Letters: N rows of activations, O outputs and I inputs of a linear layer; W is `[O, I]`.

use std::ops::Range;
use std::sync::Arc;

use faer::{Accum, MatMut, MatRef};
use rayon::prelude::*;

use super::buffer::{Buf, Pool, Reserved};
use super::gemm::{TILE, cut, gemm, split};
use crate::error::Result;
use crate::format::{Format, Stored};
use crate::real::{Real, simd};

/// Values that are decoded at a time: few enough to stay in a core's cache, enough rows for a
/// product near the peak.
const DECODED: usize = 256 * 1024;
/// Columns that the backward pass may be cut at: a multiple of every format's block.
const COLUMNS: usize = 256;

/// A frozen matrix.
#[derive(Debug)]
pub enum Weight<T: Real> {
    /// In the numbers that are computed with.
    Wide(Buf<T>),
    /// In the format of its file.
    Narrow(Narrow<T>),
}

/// Matrices in their files' formats, one below the other.
#[derive(Debug)]
pub struct Narrow<T: Real> {
    parts: Vec<Stored>,
    rows: usize,
    cols: usize,
    /// Their bytes count as memory of the pool.
    _reserved: Reserved<T>,
}

impl<T: Real> Weight<T> {
    /// Takes matrices with the same columns, one below the other. They are widened if they are
    /// stored in no less than f32, or have fewer than `keep_from` values together.
    pub fn new(pool: &Arc<Pool<T>>, parts: &[Stored], keep_from: usize) -> Result<Self> {
        let rows = parts.iter().map(Stored::rows).sum();
        let cols = parts.first().map_or(0, Stored::cols);
        if !keeps_format(parts.iter().map(|p| (p.format(), p.rows() * p.cols())), keep_from) {
            let mut wide = pool.stale(rows, cols)?;
            let tasks = wide.as_mut_slice().par_chunks_mut(TILE * cols.max(1)).enumerate();
            tasks.for_each(|(task, out)| {
                let first = task * TILE;
                decode(parts, first..first + out.len() / cols, 0..cols, out);
            });
            return Ok(Self::Wide(wide));
        }
        let bytes = parts.iter().map(Stored::bytes).sum();
        let reserved = pool.reserve(bytes)?;
        Ok(Self::Narrow(Narrow { parts: parts.to_vec(), rows, cols, _reserved: reserved }))
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        match self {
            Self::Wide(buf) => buf.rows(),
            Self::Narrow(narrow) => narrow.rows,
        }
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        match self {
            Self::Wide(buf) => buf.cols(),
            Self::Narrow(narrow) => narrow.cols,
        }
    }

    /// Copies a row.
    pub fn row(&self, row: usize, to: &mut [T]) {
        match self {
            Self::Wide(buf) => to.copy_from_slice(buf.row(row)),
            Self::Narrow(narrow) => narrow.decode(row..row + 1, 0..narrow.cols, to),
        }
    }

    /// `y = x W^T` with y `[N, O]` and x `[N, I]`, in `parts` parts beside each other.
    pub fn forward(
        &self,
        pool: &Arc<Pool<T>>,
        y: MatMut<'_, T>,
        x: MatRef<'_, T>,
        parts: usize,
    ) -> Result<()> {
        match self {
            Self::Wide(buf) => split(y, x, buf.mat().transpose(), parts),
            Self::Narrow(narrow) => narrow.forward(pool, y, x, 0..narrow.rows, parts)?,
        }
        Ok(())
    }

    /// `dx = dy W` with dx `[N, I]` and dy `[N, O]`, in `parts` parts beside each other.
    pub fn backward(
        &self,
        pool: &Arc<Pool<T>>,
        dx: MatMut<'_, T>,
        dy: MatRef<'_, T>,
        parts: usize,
    ) -> Result<()> {
        match self {
            Self::Wide(buf) => split(dx, dy, buf.mat(), parts),
            Self::Narrow(narrow) => narrow.backward(pool, dx, dy, 0..narrow.cols, parts)?,
        }
        Ok(())
    }
}

impl<T: Real> Narrow<T> {
    fn decode(&self, rows: Range<usize>, cols: Range<usize>, out: &mut [T]) {
        decode(&self.parts, rows, cols, out);
    }

    /// Rows that are decoded at a time. They do not depend on what a product is cut into, so that
    /// its sums do not either.
    fn rows_at_a_time(&self) -> usize {
        (decoded_values(self.cols) / self.cols).min(self.rows)
    }

    /// `y = x W[rows]^T`. A row of W is a column of y: every sum is one product's.
    fn forward(
        &self,
        pool: &Arc<Pool<T>>,
        y: MatMut<'_, T>,
        x: MatRef<'_, T>,
        rows: Range<usize>,
        parts: usize,
    ) -> Result<()> {
        if parts > 1 && rows.len() > TILE {
            let at = cut(rows.len(), parts / 2, parts);
            let (y_a, y_b) = y.split_at_col_mut(at);
            let (rows_a, rows_b) = (rows.start..rows.start + at, rows.start + at..rows.end);
            let (a, b) = rayon::join(
                || self.forward(pool, y_a, x, rows_a, parts / 2),
                || self.forward(pool, y_b, x, rows_b, parts - parts / 2),
            );
            return a.and(b);
        }
        let step = self.rows_at_a_time().min(rows.len());
        let mut decoded = pool.stale(step, self.cols)?;
        let (mut y, mut start) = (y, rows.start);
        while start < rows.end {
            let count = step.min(rows.end - start);
            let w = &mut decoded.as_mut_slice()[..count * self.cols];
            self.decode(start..start + count, 0..self.cols, w);
            let w = MatRef::from_row_major_slice(&*w, count, self.cols);
            let (now, later) = y.split_at_col_mut(count);
            gemm(now, Accum::Replace, x, w.transpose(), T::from_f32(1.0));
            (y, start) = (later, start + count);
        }
        Ok(())
    }

    /// `dx = dy W[.., cols]`: the sum over the outputs continues from one group of rows to the next.
    fn backward(
        &self,
        pool: &Arc<Pool<T>>,
        dx: MatMut<'_, T>,
        dy: MatRef<'_, T>,
        cols: Range<usize>,
        parts: usize,
    ) -> Result<()> {
        let groups = cols.len().div_ceil(COLUMNS);
        if parts > 1 && groups > 1 {
            let at = COLUMNS * (groups * (parts / 2) / parts).max(1);
            let (dx_a, dx_b) = dx.split_at_col_mut(at);
            let (cols_a, cols_b) = (cols.start..cols.start + at, cols.start + at..cols.end);
            let (a, b) = rayon::join(
                || self.backward(pool, dx_a, dy, cols_a, parts / 2),
                || self.backward(pool, dx_b, dy, cols_b, parts - parts / 2),
            );
            return a.and(b);
        }
        let step = self.rows_at_a_time();
        let mut decoded = pool.stale(step, cols.len())?;
        let (mut dx, mut accum) = (dx, Accum::Replace);
        for start in (0..self.rows).step_by(step) {
            let count = step.min(self.rows - start);
            let w = &mut decoded.as_mut_slice()[..count * cols.len()];
            self.decode(start..start + count, cols.clone(), w);
            let w = MatRef::from_row_major_slice(&*w, count, cols.len());
            gemm(dx.as_mut(), accum, dy.subcols(start, count), w, T::from_f32(1.0));
            accum = Accum::Add;
        }
        Ok(())
    }
}

/// Decodes rows of matrices that lie one below the other.
fn decode<T: Real>(parts: &[Stored], rows: Range<usize>, cols: Range<usize>, out: &mut [T]) {
    let (mut out, mut above) = (out, 0);
    for part in parts {
        let own = rows.start.max(above)..rows.end.min(above + part.rows());
        if !own.is_empty() {
            let (mine, rest) = out.split_at_mut(own.len() * cols.len());
            let own = own.start - above..own.end - above;
            simd(
                #[inline(always)]
                || part.decode(own, cols.clone(), mine),
            );
            out = rest;
        }
        above += part.rows();
    }
}

/// Values that are decoded at a time of a matrix with this many columns: whole tiles of rows.
pub fn decoded_values(cols: usize) -> usize {
    (DECODED / cols.max(1) / TILE).max(1) * TILE * cols
}

/// Whether matrices of these formats and sizes keep their format. What has few values stays in the
/// cache once it is wide: decoding it in every product would cost more than the memory is worth.
pub fn keeps_format(parts: impl IntoIterator<Item = (Format, usize)>, keep_from: usize) -> bool {
    let (mut values, mut is_narrow) = (0, false);
    for (format, len) in parts {
        values += len;
        is_narrow |= !format.is_wide();
    }
    is_narrow && values >= keep_from
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};

    use super::*;
    use crate::format::Bytes;

    const COLS: usize = 600;

    fn number(i: usize) -> f32 {
        (i as f32 * 0.37).sin()
    }

    /// Matrices of several formats, one below the other: too many rows to be decoded at once.
    fn parts() -> Vec<Stored> {
        let stored = |format, bytes: Vec<u8>, rows| {
            Stored::new(Bytes::Owned(bytes.into()), format, rows, COLS).expect("fits")
        };
        let values = |rows: usize| (0..rows * COLS).map(number);
        vec![
            stored(
                Format::Bf16,
                values(500).flat_map(|x| bf16::from_f32(x).to_le_bytes()).collect(),
                500,
            ),
            stored(
                Format::F16,
                values(401).flat_map(|x| f16::from_f32(x).to_le_bytes()).collect(),
                401,
            ),
            stored(Format::F32, values(3).flat_map(f32::to_le_bytes).collect(), 3),
        ]
    }

    fn mat(values: &[f64], rows: usize) -> MatRef<'_, f64> {
        MatRef::from_row_major_slice(values, rows, values.len() / rows)
    }

    #[test]
    fn products_with_a_narrow_matrix_are_those_with_the_widened_one_in_any_number_of_parts() {
        let pool = Arc::new(Pool::<f64>::new(usize::MAX));
        let wide = Weight::new(&pool, &parts(), usize::MAX).expect("room");
        let narrow = Weight::new(&pool, &parts(), 0).expect("room");
        assert!(matches!((&wide, &narrow), (Weight::Wide(_), Weight::Narrow(_))));
        let (n, outputs) = (7, wide.rows());
        let x: Vec<f64> = (0..n * COLS).map(|i| f64::from(number(i + 5))).collect();
        let dy: Vec<f64> = (0..n * outputs).map(|i| f64::from(number(3 * i))).collect();
        let product = |weight: &Weight<f64>, parts| {
            let mut y = pool.stale(n, outputs).expect("room");
            let mut dx = pool.stale(n, COLS).expect("room");
            weight.forward(&pool, y.mat_mut(), mat(&x, n), parts).expect("room");
            weight.backward(&pool, dx.mat_mut(), mat(&dy, n), parts).expect("room");
            (y.as_slice().to_vec(), dx.as_slice().to_vec())
        };
        let (y, dx) = product(&wide, 1);
        let once = product(&narrow, 1);
        for parts in 1..6 {
            let narrow = product(&narrow, parts);
            assert_eq!(narrow, once, "{parts} parts");
            for (ours, exact) in [(&narrow.0, &y), (&narrow.1, &dx)] {
                let off = ours.iter().zip(exact).map(|(a, b)| (a - b).abs());
                assert!(off.fold(0.0, f64::max) < 1e-10, "{parts} parts");
            }
        }
    }

    #[test]
    fn a_narrow_matrix_counts_with_its_bytes_and_a_wide_one_with_its_values() {
        let stored: usize = parts().iter().map(Stored::bytes).sum();
        assert_eq!(stored, 2 * 901 * COLS + 4 * 3 * COLS);
        let limit = Arc::new(Pool::<f32>::new(stored));
        let kept = Weight::new(&limit, &parts(), 0).expect("room");
        assert!(Weight::new(&limit, &parts(), 0).is_err(), "one takes all the room");
        drop(kept);
        assert!(Weight::new(&limit, &parts(), 0).is_ok(), "its room was given back");
        assert!(Weight::new(&limit, &parts(), usize::MAX).is_err());
    }

    #[test]
    fn rows_are_those_that_were_stored() {
        let pool = Arc::new(Pool::<f32>::new(usize::MAX));
        let (wide, narrow) = (
            Weight::new(&pool, &parts(), usize::MAX).expect("room"),
            Weight::new(&pool, &parts(), 0).expect("room"),
        );
        let row = |weight: &Weight<f32>, row| {
            let mut to = vec![f32::NAN; COLS];
            weight.row(row, &mut to);
            to
        };
        for at in [0, 499, 500, 900, 901, 903] {
            assert_eq!(row(&wide, at), row(&narrow, at), "row {at}");
        }
        assert_eq!(row(&narrow, 901)[..3], [number(0), number(1), number(2)]);
    }
}
