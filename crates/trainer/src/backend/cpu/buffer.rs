//! Matrices on recycled memory.
//!
//! A training step asks for the same few hundred buffers again and again. Fresh memory from the
//! system costs a page fault every 4 KiB and clearing; so a dropped buffer goes back to its pool,
//! and the next one of about that size takes it over, stale contents and all.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use faer::{MatMut, MatRef};

use super::real::Real;

/// Free memory blocks, smallest first.
#[derive(Debug, Default)]
pub struct Pool<T> {
    free: Mutex<Vec<Vec<T>>>,
}

impl<T: Real> Pool<T> {
    /// A matrix with unspecified (but initialised) contents.
    pub fn stale(self: &Arc<Self>, rows: usize, cols: usize) -> Buf<T> {
        let len = rows * cols;
        let block = self.take(len).unwrap_or_else(|| vec![T::default(); size_class(len)]);
        Buf { block, rows, cols, pool: Arc::clone(self) }
    }

    /// A matrix of zeros.
    pub fn zeros(self: &Arc<Self>, rows: usize, cols: usize) -> Buf<T> {
        let mut buf = self.stale(rows, cols);
        buf.as_mut_slice().fill(T::default());
        buf
    }

    /// The smallest free block that holds `len` values without wasting more than half of it.
    /// When there is none, free blocks worth the missing memory are given back to the system, so
    /// that changing sizes do not pile up.
    fn take(&self, len: usize) -> Option<Vec<T>> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let at = free.partition_point(|block| block.len() < len);
        if free.get(at).is_some_and(|block| block.len() / 2 <= len.max(512)) {
            return Some(free.remove(at));
        }
        let mut returned = 0;
        while returned < len
            && let Some(block) = free.pop()
        {
            returned += block.len();
        }
        None
    }

    fn give_back(&self, block: Vec<T>) {
        if !block.is_empty() {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            let at = free.partition_point(|other| other.len() < block.len());
            free.insert(at, block);
        }
    }
}

/// Lengths are rounded up to an eighth of their power of two, so that steps with slightly
/// different token counts share blocks.
fn size_class(len: usize) -> usize {
    let granule = (len.next_power_of_two() / 8).max(64);
    len.div_ceil(granule) * granule
}

/// A row-major matrix on pooled memory.
pub struct Buf<T: Real> {
    block: Vec<T>,
    rows: usize,
    cols: usize,
    pool: Arc<Pool<T>>,
}

impl<T: Real> Buf<T> {
    /// Number of rows.
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub const fn cols(&self) -> usize {
        self.cols
    }

    /// All values, row-major.
    pub fn as_slice(&self) -> &[T] {
        &self.block[..self.rows * self.cols]
    }

    /// All values, row-major.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.block[..self.rows * self.cols]
    }

    /// One row.
    pub fn row(&self, row: usize) -> &[T] {
        &self.block[row * self.cols..(row + 1) * self.cols]
    }

    /// As a matrix for products.
    pub fn mat(&self) -> MatRef<'_, T> {
        MatRef::from_row_major_slice(self.as_slice(), self.rows, self.cols)
    }

    /// As a matrix to write products into.
    pub fn mat_mut(&mut self) -> MatMut<'_, T> {
        let (rows, cols) = (self.rows, self.cols);
        MatMut::from_row_major_slice_mut(self.as_mut_slice(), rows, cols)
    }
}

impl<T: Real> Drop for Buf<T> {
    fn drop(&mut self) {
        self.pool.give_back(std::mem::take(&mut self.block));
    }
}

impl<T: Real> fmt::Debug for Buf<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buf[{} x {}]", self.rows, self.cols)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_is_used_again_for_a_similar_size() {
        let pool = Arc::new(Pool::<f32>::default());
        let first = pool.stale(100, 100).as_slice().as_ptr();
        let second = pool.stale(99, 99).as_slice().as_ptr();
        assert_eq!(first, second);
    }

    #[test]
    fn a_zeroed_buffer_on_recycled_memory_is_zero() {
        let pool = Arc::new(Pool::<f32>::default());
        pool.stale(10, 10).as_mut_slice().fill(f32::NAN);
        assert!(pool.zeros(10, 10).as_slice().iter().all(|x| *x == 0.0));
    }

    #[test]
    fn changing_sizes_do_not_pile_up_memory() {
        let pool = Arc::new(Pool::<f32>::default());
        for n in 1..200 {
            drop(pool.stale(n * 100, 10));
        }
        let kept: usize = pool.free.lock().expect("not poisoned").iter().map(Vec::len).sum();
        assert!(kept <= 2 * size_class(199 * 1000), "kept {kept} values");
    }
}
