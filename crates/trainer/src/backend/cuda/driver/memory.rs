//! Memory of a device: blocks that buffers take and give back, and copies.
#![allow(unsafe_code, reason = "calls of the CUDA driver")]

use std::fmt;
use std::sync::{Arc, MutexGuard, PoisonError};

use cudarc::driver::sys as cu;

use super::Gpu;
use super::status::{mib, out_of_memory};
use crate::error::Result;

/// Free blocks of a pool up to this are kept: a small model's buffers have sizes that fit each other
/// badly.
const SMALL_POOL: usize = 64 << 20;

/// A block's bytes and its address.
pub type Block = (usize, cu::CUdeviceptr);

/// Blocks of memory, in use or free.
#[derive(Default)]
pub struct Blocks {
    /// Free ones, smallest first.
    pub free: Vec<Block>,
    /// Bytes of all blocks.
    bytes: usize,
    /// The most that `bytes` has been.
    peak: usize,
    /// Bytes of the blocks in use, and the most that they have been.
    in_use: usize,
    most_in_use: usize,
}

impl Blocks {
    /// Takes a block back.
    pub fn release(&mut self, (bytes, at): Block) {
        let place = self.free.partition_point(|(block, _)| *block < bytes);
        self.free.insert(place, (bytes, at));
        self.in_use -= bytes;
    }

    /// A free block that is not much too large.
    fn take_free(&mut self, bytes: usize) -> Option<Block> {
        let at = self.free.partition_point(|(block, _)| *block < bytes);
        let (block, _) = self.free.get(at)?;
        if block / 2 > bytes.max(4096) {
            return None;
        }
        let block = self.free.remove(at);
        self.use_block(block.0);
        Some(block)
    }

    fn use_block(&mut self, bytes: usize) {
        self.in_use += bytes;
        self.most_in_use = self.most_in_use.max(self.in_use);
    }

    /// Whether free blocks have piled up, as they do when the sizes of steps change. A steady step
    /// needs about what was in use at most, so that its blocks are kept.
    fn have_piled_up(&self, bytes: usize) -> bool {
        let most = self.most_in_use + self.most_in_use / 2;
        self.bytes + bytes > most.max(SMALL_POOL)
    }
}

/// The device has no more memory.
struct NoMore;

/// Memory of a device.
pub struct Buffer {
    pub(super) at: cu::CUdeviceptr,
    /// Bytes that were asked for.
    pub(super) bytes: usize,
    /// Bytes of its block.
    block: usize,
    gpu: Arc<Gpu>,
}

impl Gpu {
    /// The most bytes its blocks have taken together.
    pub fn peak_bytes(&self) -> usize {
        self.blocks().peak
    }

    /// Gives the free blocks back to the driver.
    pub fn trim(&self) {
        // What cannot be given back stays among the free blocks; the next call reports the device.
        let _ = self.trim_blocks();
    }

    fn trim_blocks(&self) -> Result<()> {
        let mut pending = self.pending();
        self.run(&mut pending)?;
        self.give_back(&mut self.blocks(), usize::MAX)
    }

    /// Memory with unspecified contents. The error is `TrainerError::OutOfMemory` where there is
    /// none left.
    pub fn buffer(self: &Arc<Self>, bytes: usize) -> Result<Buffer> {
        let (block, at) = self.block(bytes.max(1))?;
        Ok(Buffer { at, bytes, block, gpu: Arc::clone(self) })
    }

    pub(super) fn block(&self, bytes: usize) -> Result<Block> {
        let class = size_class(bytes);
        let found = self.blocks().take_free(bytes);
        if let Some(block) = found {
            return Ok(block);
        }
        if let Some(at) = self.grow(class)? {
            return Ok((class, at));
        }
        // Memory has to be given back, which jobs that wait may have.
        let mut pending = self.pending();
        self.run(&mut pending)?;
        let mut blocks = self.blocks();
        if let Some(block) = blocks.take_free(bytes) {
            return Ok(block);
        }
        if blocks.have_piled_up(class) {
            self.give_back(&mut blocks, bytes)?;
        }
        let at = self.allocate(class, &mut blocks)?;
        blocks.use_block(class);
        Ok((class, at))
    }

    /// One block more, where there is memory for it and free ones have not piled up.
    fn grow(&self, bytes: usize) -> Result<Option<cu::CUdeviceptr>> {
        let mut blocks = self.blocks();
        if blocks.have_piled_up(bytes) || blocks.bytes + bytes > self.limit {
            return Ok(None);
        }
        let status = self.ask_for(bytes, &mut blocks)?;
        let at = status.ok();
        if at.is_some() {
            blocks.use_block(bytes);
        }
        Ok(at)
    }

    /// Asks the driver for a block; the inner error is that the device has no more.
    fn ask_for(
        &self,
        bytes: usize,
        blocks: &mut Blocks,
    ) -> Result<std::result::Result<cu::CUdeviceptr, NoMore>> {
        self.enter()?;
        let mut at = 0;
        self.counters.allocations.add(1);
        // SAFETY: the context is current, and `at` outlives the call.
        let status = unsafe { cu::cuMemAlloc_v2(&raw mut at, bytes) };
        if status == cu::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
            return Ok(Err(NoMore));
        }
        self.check(status, "take memory")?;
        blocks.bytes += bytes;
        blocks.peak = blocks.peak.max(blocks.bytes);
        Ok(Ok(at))
    }

    /// Memory for two counters, which begin with zero.
    pub(super) fn new_progress(&self) -> Result<cu::CUdeviceptr> {
        let at = self.allocate(size_class(8), &mut self.blocks())?;
        // SAFETY: the block has at least this length, and the stream lives as long as `self`.
        let status = unsafe { cu::cuMemsetD8Async(at, 0, 8, self.stream) };
        self.check(status, "clear memory").map(|()| at)
    }

    pub(super) fn allocate(&self, bytes: usize, blocks: &mut Blocks) -> Result<cu::CUdeviceptr> {
        if blocks.bytes + bytes > self.limit {
            self.give_back(blocks, usize::MAX)?;
        }
        if blocks.bytes + bytes > self.limit {
            return Err(out_of_memory(
                bytes,
                blocks.bytes,
                &format!("{} may be used", mib(self.limit)),
            ));
        }
        let mut asked = self.ask_for(bytes, blocks)?;
        if asked.is_err() && !blocks.free.is_empty() {
            self.give_back(blocks, usize::MAX)?;
            asked = self.ask_for(bytes, blocks)?;
        }
        asked.map_err(|NoMore| out_of_memory(bytes, blocks.bytes, "the GPU has no more"))
    }

    /// Gives free blocks back to the driver, largest first, until this many bytes are given back.
    fn give_back(&self, blocks: &mut Blocks, bytes: usize) -> Result<()> {
        if blocks.free.is_empty() {
            return Ok(());
        }
        // Work that is queued may still use them; none of it waits in a program.
        self.settle()?;
        let mut returned = 0;
        while returned < bytes
            && let Some((block, at)) = blocks.free.pop()
        {
            // SAFETY: the block is no buffer's, and no queued work has it.
            let status = unsafe { cu::cuMemFree_v2(at) };
            blocks.bytes -= block;
            returned += block;
            self.check(status, "give memory back")?;
        }
        Ok(())
    }

    pub(super) fn blocks(&self) -> MutexGuard<'_, Blocks> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies bytes into a buffer, from its byte `first` on.
    ///
    /// # Panics
    /// If they do not fit into it.
    pub fn upload(&self, to: &mut Buffer, first: usize, bytes: &[u8]) -> Result<()> {
        assert!(first + bytes.len() <= to.bytes, "a copy stays within its buffer");
        if bytes.is_empty() {
            return Ok(());
        }
        let mut pending = self.pending();
        self.run(&mut pending)?;
        self.enter()?;
        self.counters.uploads.add(1);
        self.counters.uploaded.add(bytes.len() as u64);
        let (to, from) = (to.at + first as u64, bytes.as_ptr().cast());
        // SAFETY: the buffer is long enough. From pageable memory the driver has read the bytes when
        // the call returns (CUDA driver API, API synchronization behavior).
        let status = unsafe { cu::cuMemcpyHtoDAsync_v2(to, from, bytes.len(), self.stream) };
        self.check(status, "copy to the GPU")
    }

    /// Copies the first bytes of a buffer into `to`, and waits for them.
    ///
    /// # Panics
    /// If the buffer has fewer.
    pub fn download(&self, from: &Buffer, to: &mut [u8]) -> Result<()> {
        assert!(to.len() <= from.bytes, "a copy stays within its buffer");
        if to.is_empty() {
            return Ok(());
        }
        self.run_pending()?;
        self.enter()?;
        self.counters.downloads.add(1);
        let (len, into) = (to.len(), to.as_mut_ptr().cast());
        // SAFETY: both are long enough, and `to` is borrowed until the copy is done.
        let status = unsafe { cu::cuMemcpyDtoHAsync_v2(into, from.at, len, self.stream) };
        let queued = self.check(status, "copy from the GPU");
        self.settle().and(queued)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.gpu.blocks().release((self.block, self.at));
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer[{} bytes]", self.bytes)
    }
}

/// Sizes are rounded up to an eighth of their power of two, so that steps with slightly different
/// token counts share blocks.
pub fn size_class(bytes: usize) -> usize {
    let granule = (bytes.next_power_of_two() / 8).max(512);
    bytes.div_ceil(granule) * granule
}
