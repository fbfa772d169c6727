//! Matrices on recycled memory.
//!
//! A training step asks for the same few hundred buffers again and again. Fresh memory from the
//! system costs a page fault every 4 KiB and clearing; so a dropped buffer goes back to its pool,
//! and the next one of about that size takes it over, stale contents and all.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use faer::{MatMut, MatRef};

use crate::error::{Result, TrainerError};
use crate::real::Real;

/// Memory blocks of one backend, in use or free.
#[derive(Debug)]
pub struct Pool<T> {
    blocks: Mutex<Blocks<T>>,
    /// Bytes that blocks may take together.
    limit: usize,
}

#[derive(Debug)]
struct Blocks<T> {
    /// Free ones, smallest first.
    free: Vec<Vec<T>>,
    /// Bytes of all blocks, in use and free.
    bytes: usize,
    /// The most that `bytes` has been.
    peak: usize,
}

impl<T: Real> Pool<T> {
    /// A pool whose blocks take at most `limit` bytes together.
    pub const fn new(limit: usize) -> Self {
        let blocks = Blocks { free: Vec::new(), bytes: 0, peak: 0 };
        Self { blocks: Mutex::new(blocks), limit }
    }

    /// A matrix with unspecified (but initialised) contents. The error is
    /// [`TrainerError::OutOfMemory`].
    pub fn stale(self: &Arc<Self>, rows: usize, cols: usize) -> Result<Buf<T>> {
        let block = self.block(rows * cols)?;
        Ok(Buf { block, rows, cols, pool: Arc::clone(self) })
    }

    /// A matrix of zeros.
    pub fn zeros(self: &Arc<Self>, rows: usize, cols: usize) -> Result<Buf<T>> {
        let mut buf = self.stale(rows, cols)?;
        buf.as_mut_slice().fill(T::default());
        Ok(buf)
    }

    /// Counts memory that others take as memory of the pool, as long as the result lives.
    pub fn reserve(self: &Arc<Self>, bytes: usize) -> Result<Reserved<T>> {
        let mut blocks = self.lock();
        self.make_room(&mut blocks, bytes)?;
        Ok(Reserved { bytes, pool: Arc::clone(self) })
    }

    /// The most bytes its blocks have taken together.
    pub fn peak_bytes(&self) -> usize {
        self.lock().peak
    }

    /// Gives all free blocks back to the system.
    pub fn trim(&self) {
        let mut blocks = self.lock();
        blocks.give_back(usize::MAX);
    }

    fn block(&self, len: usize) -> Result<Vec<T>> {
        let mut blocks = self.lock();
        if let Some(block) = blocks.take(len) {
            return Ok(block);
        }
        let class = size_class(len);
        let bytes = class * size_of::<T>();
        self.make_room(&mut blocks, bytes)?;
        bytemuck::allocation::try_zeroed_vec(class).map_err(|()| {
            blocks.bytes -= bytes;
            out_of_memory(bytes, blocks.bytes, "the system has no more")
        })
    }

    /// Counts `bytes` more, giving back what is free where that makes them fit.
    fn make_room(&self, blocks: &mut Blocks<T>, bytes: usize) -> Result<()> {
        if blocks.bytes + bytes > self.limit {
            blocks.give_back(usize::MAX);
        }
        if blocks.bytes + bytes > self.limit {
            let limit = format!("{} may be used", mib(self.limit));
            return Err(out_of_memory(bytes, blocks.bytes, &limit));
        }
        blocks.bytes += bytes;
        blocks.peak = blocks.peak.max(blocks.bytes);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Blocks<T>> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Blocks<T> {
    /// The smallest free block that holds `len` values without wasting more than half of it.
    /// When there is none, free blocks worth the missing memory are given back to the system, so
    /// that changing sizes do not pile up.
    fn take(&mut self, len: usize) -> Option<Vec<T>> {
        let at = self.free.partition_point(|block| block.len() < len);
        if self.free.get(at).is_some_and(|block| block.len() / 2 <= len.max(512)) {
            return Some(self.free.remove(at));
        }
        self.give_back(len);
        None
    }

    /// Returns free blocks, largest first, until `values` values are returned.
    fn give_back(&mut self, values: usize) {
        let mut returned = 0;
        while returned < values
            && let Some(block) = self.free.pop()
        {
            returned += block.len();
            self.bytes -= block.len() * size_of::<T>();
        }
    }
}

fn out_of_memory(bytes: usize, in_use: usize, limit: &str) -> TrainerError {
    TrainerError::OutOfMemory(format!(
        "a buffer of {} beside {} in use ({limit})",
        mib(bytes),
        mib(in_use)
    ))
}

fn mib(bytes: usize) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// Lengths are rounded up to an eighth of their power of two, so that steps with slightly
/// different token counts share blocks.
fn size_class(len: usize) -> usize {
    let granule = (len.next_power_of_two() / 8).max(64);
    len.div_ceil(granule) * granule
}

/// Memory outside the pool that counts as its own.
#[derive(Debug)]
pub struct Reserved<T: Real> {
    bytes: usize,
    pool: Arc<Pool<T>>,
}

impl<T: Real> Drop for Reserved<T> {
    fn drop(&mut self) {
        self.pool.lock().bytes -= self.bytes;
    }
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

    /// One row.
    pub fn row_mut(&mut self, row: usize) -> &mut [T] {
        &mut self.block[row * self.cols..(row + 1) * self.cols]
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
        let block = std::mem::take(&mut self.block);
        let free = &mut self.pool.lock().free;
        let at = free.partition_point(|other| other.len() < block.len());
        free.insert(at, block);
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

    fn pool(limit: usize) -> Arc<Pool<f32>> {
        Arc::new(Pool::new(limit))
    }

    fn stale(pool: &Arc<Pool<f32>>, rows: usize, cols: usize) -> Buf<f32> {
        pool.stale(rows, cols).expect("room")
    }

    #[test]
    fn a_dropped_buffer_is_used_again_for_a_similar_size() {
        let pool = pool(usize::MAX);
        let first = stale(&pool, 100, 100).as_slice().as_ptr();
        let second = stale(&pool, 99, 99).as_slice().as_ptr();
        assert_eq!(first, second);
    }

    #[test]
    fn a_zeroed_buffer_on_recycled_memory_is_zero() {
        let pool = pool(usize::MAX);
        stale(&pool, 10, 10).as_mut_slice().fill(f32::NAN);
        assert!(pool.zeros(10, 10).expect("room").as_slice().iter().all(|x| *x == 0.0));
    }

    #[test]
    fn changing_sizes_do_not_pile_up_memory() {
        let pool = pool(usize::MAX);
        for n in 1..200 {
            drop(stale(&pool, n * 100, 10));
        }
        let kept: usize = pool.lock().free.iter().map(Vec::len).sum();
        assert!(kept <= 2 * size_class(199 * 1000), "kept {kept} values");
        assert_eq!(pool.lock().bytes, kept * 4);
    }

    #[test]
    fn a_buffer_beyond_the_limit_is_an_error_and_the_others_go_on() {
        let pool = pool(1 << 20);
        let kept = stale(&pool, 1000, 100);
        let message = pool.stale(1000, 200).expect_err("no room").to_string();
        assert!(
            message.contains("out of memory") && message.contains("1.0 MiB may be"),
            "{message}"
        );
        drop(kept);
        drop(stale(&pool, 1000, 200));
        assert!(pool.peak_bytes() <= 1 << 20);
    }

    #[test]
    fn free_blocks_make_room_before_a_buffer_is_refused() {
        let pool = pool(1 << 20);
        let small: Vec<_> = (0..9).map(|_| stale(&pool, 100, 256)).collect();
        drop(small);
        drop(stale(&pool, 1000, 256));
    }

    #[test]
    fn a_buffer_that_the_system_cannot_give_is_an_error() {
        assert!(matches!(
            pool(usize::MAX).stale(1 << 30, 1 << 30),
            Err(TrainerError::OutOfMemory(_))
        ));
    }
}
